/* lane: one way to carry out HTTP exchanges on a transfer thread. Two are there behind the same table of functions:
 * `raw` (libcurl connects, berth speaks HTTP/1.1 on the socket) and `curl` (libcurl does all of it: proxies, oddities).
 *
 * A lane belongs to one thread, and every function and upcall runs on it. A lane is told to start an exchange and calls
 * back exchange_head() once, exchange_body() any number of times, then exchange_end() exactly once, never after
 * drop(); that may be from within start(), which is the last thing its caller does. Upcalls neither start nor drop
 * exchanges of the lane. */
#ifndef BERTH_XFER_LANE_H
#define BERTH_XFER_LANE_H

#include "xfer/xfer_common.h"

#define XFER_USER_AGENT "berth/" BERTH_VERSION

struct exchange;
struct loop;
struct lane;

/* What a lane has to know of an exchange; filled in by the engine before start(), constant until it ends. */
struct lane_request {
    const char *method; /* "GET" or "HEAD" */
    const struct url *url;
    struct span url_text; /* NUL-terminated */
    struct span target;   /* path and query */
    struct span authority;
    struct span headers; /* checked "Name: value\r\n" lines */
    struct xfer_host *host;
};

struct lane_ops {
    const char *name;
    int (*open)(struct lane **out, struct loop *loop, struct err *err);
    void (*free)(struct lane *l);
    int (*start)(struct lane *l, struct exchange *ex, const struct lane_request *req, struct err *err);
    void (*drop)(struct lane *l, struct exchange *ex);
    /* Receive nothing more until resume(); pause() may be called inside exchange_body(). */
    void (*pause)(struct lane *l, struct exchange *ex);
    void (*resume)(struct lane *l, struct exchange *ex);
};

extern const struct lane_ops lane_raw;
extern const struct lane_ops lane_curl;

/* The lane's own state of an exchange; NULL while it has none. */
void **exchange_lane_slot(struct exchange *ex);

/* Where to put the head of the answer; empty. */
struct http_response *exchange_response(struct exchange *ex);
/* The final head (never 1xx) is in exchange_response(). `body_bytes`: as framed, UINT64_MAX where unknown. -1: the body
 * is not wanted, drop the connection; exchange_end() follows all the same. */
int exchange_head(struct exchange *ex, uint64_t body_bytes);
/* Payload, valid during the call. -1: as above. */
int exchange_body(struct exchange *ex, const void *p, size_t n);
/* The answer breaks the rules: say why, before the lane lets its library end the exchange. */
void exchange_refuse(struct exchange *ex, struct err *err);
/* `err` is set where the exchange broke, and is consumed; `passing`: whether trying again may help. */
void exchange_end(struct exchange *ex, struct err *err, bool passing);

#endif
