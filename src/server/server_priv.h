/* server, inside: calls, routes and what they share. */
#ifndef BERTH_SERVER_SERVER_PRIV_H
#define BERTH_SERVER_SERVER_PRIV_H

#include "server/server.h"

#include "base/cancel.h"
#include "httpd/httpd.h"
#include "market/market.h"
#include "server/known.h"
#include "server/managed.h"
#include "server/metrics.h"
#include "server/pages.h"
#include "server/rate.h"

#include <pthread.h>
#include <stdatomic.h>

#define POLL_MS           1000  /* those who wait look by themselves this often */
#define WAIT_MAX_MS       30000 /* of a long poll */
#define KEEP_ALIVE_MS     15000 /* of an event stream */
#define CLAIM_WAKES       8     /* nodes woken by one job: the others look by themselves */
#define NODE_BODY_MAX     (4u << 20)
#define SMALL_BODY_MAX    (64u << 10)
#define POST_BODY_MAX     (6u << 20) /* a definition of SPEC_FILE_MAX, and what goes with it */
#define SEALED_BODY_MAX   (8u << 20)
#define IDLE_MARKETS_MAX  64
#define IDEMPOTENCY_MAX   128
#define SERVER_ROUTES_MAX 128

struct server {
    struct server_opts opts;
    struct seal_keys *keys;
    struct managed *managed;       /* NULL: no place for managed results */
    _Atomic(struct httpd *) httpd; /* NULL while it starts: requests may come before its start returns */
    struct httpd_route routes[SERVER_ROUTES_MAX];
    size_t route_count;
    struct metrics metrics;
    struct rate rate;
    struct known known;
    struct {
        pthread_mutex_t mu;
        struct market *v[IDLE_MARKETS_MAX]; /* connections that nobody uses */
        size_t n;
        unsigned out, most; /* in use; how many may be (0: any number) */
        pthread_cond_t given;
    } idle;
    pthread_t ticker, listener;
    bool ticker_runs, listener_runs;
    bool loopback;    /* listens on this machine only */
    atomic_bool down; /* the database could not be reached; the ticker finds out when it can */
    struct cancel stop;
};

/* A connection for one call: the calling thread's alone until it is given back. NULL with `err`; at once where the
 * database is known to be away, so that calls do not hold threads that others need. */
struct market *server_take(struct server *s, struct err *err);
/* `broken`: its last error was the database's: closed rather than kept, and so are the idle ones, which most likely saw
 * the same. */
void server_give(struct server *s, struct market *m, bool broken);

/* "127.0.0.1:80", "[::1]:80", "localhost:80": nobody else can connect there. NULL: false. */
bool server_is_loopback(const char *listen);

#define ROLE_BIT(role) (1u << MARKET_##role)

/* One request being answered. */
struct call {
    struct server *s;
    struct market *m;
    struct httpd_request *req;
    struct httpd_response *resp;
    struct market_caller caller; /* of public routes: zero where no token came */
    json_t *body;                /* an object, or NULL */
    int status;                  /* of success; 200 to begin with */
    bool wait;                   /* nothing yet: run again when woken, or after wait_ms */
    uint32_t wait_ms;
    bool known;    /* `caller` is somebody */
    bool worded;   /* an error's text is for the caller, whatever its kind; otherwise that of 5xx is for the log */
    bool answered; /* `resp` is filled already */
    bool broken;   /* the connection to the database is of no more use */
};

/* What is known of a route. */
struct route_about {
    const char *method, *pattern;
    /* Members that a body may have, NULL-terminated; NULL: takes no body. "version" may always be there. */
    const char *const *members;
    int (*run)(struct call *c, json_t **out, struct err *err);
    const char *const *queries; /* names that the query may have; NULL: none */
    uint64_t body_max;          /* 0: SMALL_BODY_MAX */
    unsigned roles;             /* 0: public */
    bool node_message;          /* "version" and "node" must be there, and the node be the caller's */
    bool plain;                 /* public, and works without the database */
    bool looks_at_token;        /* by itself, each time it runs */
    bool lasting;               /* of a node's message: outlives a power cut once it is answered */
};

#define ROUTE(method_, pattern_, roles_, members_, run_, ...)                                                          \
    {                                                                                                                  \
        .method = method_, .pattern = pattern_, .roles = roles_, .members = members_, .run = run_, __VA_ARGS__         \
    }

extern const struct route_about routes_jobs[], routes_markets[], routes_nodes[], routes_agent[], routes_self[];

/* Of a large body: only from who may call this. */
bool server_admit(void *ctx, struct httpd_request *req, struct httpd_response *resp);
enum httpd_verdict server_handle(void *ctx, struct httpd_request *req, struct httpd_response *resp);
enum httpd_verdict server_handle_plain(void *ctx, struct httpd_request *req, struct httpd_response *resp);
enum httpd_verdict server_page(void *ctx, struct httpd_request *req, struct httpd_response *resp);

/* Members of the body, typed: -1 with ERR_INVALID naming the member. An absent or null one leaves *out as it is. */
int body_str(const struct call *c, const char *name, const char **out, struct err *err);
int body_i64(const struct call *c, const char *name, int64_t min, int64_t max, int64_t *out, struct err *err);
int body_bool(const struct call *c, const char *name, bool *out, struct err *err);
int body_json(const struct call *c, const char *name, json_type type, const json_t **out, struct err *err);
int body_need(const struct call *c, const char *name, struct err *err); /* it must be there */
/* An object within the body (NULL is fine) has no members but these. */
int body_only(const json_t *object, const char *what, const char *const *names, struct err *err);
int query_u32(const struct call *c, const char *name, uint32_t max, uint32_t *out, struct err *err);
int query_page(const struct call *c, struct market_page *out, struct err *err);

/* results.c: `url` and `expires_ms` into {"results": […]}, where they can be signed. */
int results_sign(struct call *c, const char *job, json_t *results, struct err *err);
/* logs.c: the event stream. */
int logs_stream(struct call *c, json_t **out, struct err *err);

#endif
