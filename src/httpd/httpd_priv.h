/* httpd, inside: connections, requests and those that wait. */
#ifndef BERTH_HTTPD_HTTPD_PRIV_H
#define BERTH_HTTPD_HTTPD_PRIV_H

#include "httpd/httpd.h"
#include "httpd/pace.h"
#include "httpd/route.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#define WAKE_SLOTS   1024 /* keys that share one may make a run that is about to wait look again, which is harmless */
#define KEPT_MAX     16
#define TICK_MS      200
#define FAREWELL_S   3 /* for answers under way when the server stops */
#define CLIENT_MAX   64
#define STREAM_PIECE 65536
#define FILE_PIECE   65536
#define STREAM_MAX   (4u << 20) /* what one next() may append */
#define RESPONSE_MAX ((size_t)64 << 20)

/* One TCP connection, for the clock that cuts off slow requests. Guarded by conns.mu. */
struct conn {
    struct conn *prev, *next;
    int fd;
    uint64_t since_ms; /* waiting for a whole request since; 0: one is being answered */
};

struct waiter {
    struct waiter *prev, *next;
    bool listed;
    uint64_t until_ms;
    struct {
        uint64_t hash;       /* of the key */
        uint64_t generation; /* when watching began */
    } watched[HTTPD_WATCH_MAX];
    size_t watched_n;
};

struct httpd_request {
    struct httpd *h;
    struct MHD_Connection *connection;
    const char *method;
    char *path;
    char client[CLIENT_MAX];
    struct conn *conn; /* borrowed; NULL where unknown */
    struct route_match match;
    char *params[HTTPD_PARAMS_MAX];
    struct buf body;
    uint64_t body_counted; /* of h->bodies */
    uint64_t body_max;
    bool large;                    /* the body may pass opts.body_small */
    int refused;                   /* status of what the frame answers by itself; 0: nothing */
    uint64_t begun_us, handled_ms; /* 0: not yet */
    int status;
    void *state;
    void (*drop_state)(void *state);
    char *kept[KEPT_MAX];
    size_t kept_n;
    struct waiter waiter;
    /* of an event stream */
    const struct httpd_stream *stream;
    void *stream_ctx;
    struct buf piece;
    size_t piece_sent;
    bool ended;
};

struct httpd {
    struct httpd_opts opts; /* constant; strings borrowed until httpd_start() returns */
    struct MHD_Daemon *daemon;
    char address[128];
    uint16_t port;
    bool tls;
    atomic_bool stopping;
    atomic_uint_fast64_t bodies;
    struct {
        pthread_mutex_t mu;
        struct waiter *first;
        uint64_t generation[WAKE_SLOTS];
        unsigned handled; /* requests whose handler ran, and whose answer is not away */
        pthread_cond_t none_handled;
    } waits;
    struct {
        pthread_mutex_t mu;
        struct conn *first;
    } conns;
    struct {
        pthread_mutex_t mu;
        struct pace pace; /* guarded by mu */
        atomic_uint_fast64_t sent;
    } files;
    pthread_t timer;
    bool timer_runs;
    int timer_fd; /* eventfd that ends it */
};

/* waits.c */
void waits_begin_run(struct httpd_request *r);
/* Suspend until woken or `ms` later. False: a watched key was woken already, or the server stops: run again now. */
bool waits_suspend(struct httpd_request *r, uint32_t ms);
void waits_handled(struct httpd *h, int change); /* one more, one fewer */
void waits_say_farewell(struct httpd *h);        /* wake all, and see their answers off */
int waits_start_timer(struct httpd *h, struct err *err);
void waits_stop_timer(struct httpd *h);

/* serve.c: microhttpd's callbacks */
enum MHD_Result serve_access(void *cls, struct MHD_Connection *c, const char *url, const char *method,
                             const char *version, const char *data, size_t *data_n, void **request);
void serve_completed(void *cls, struct MHD_Connection *c, void **request, enum MHD_RequestTerminationCode why);
void serve_connection(void *cls, struct MHD_Connection *c, void **socket_ctx, enum MHD_ConnectionNotificationCode what);

/* file.c: takes over the file's descriptor, whatever comes of it. NULL: out of memory. */
struct MHD_Response *file_response(struct httpd_request *r, const struct httpd_response *resp);

/* answer.c */
enum MHD_Result answer_error(struct httpd_request *r, int status);
enum MHD_Result answer(struct httpd_request *r, struct httpd_response *resp);

#endif
