/* xfer_rig: one transfer engine, one object behind a scripted server on loopback, one file in memory. Every test that
 * uses it runs over both lanes. */
#ifndef BERTH_TESTS_XFER_RIG_H
#define BERTH_TESTS_XFER_RIG_H

#include "loopback.h"
#include "xfer/xfer.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define PART        (256u * 1024)
#define OBJECT_SIZE (8u * PART + 123)

/* One request as the server sees it. */
struct ask {
    const char *text;
    bool head, ranged;
    uint64_t first, last; /* of the object, also without a range */
    unsigned number;      /* counting from 0, all requests */
};

struct xrig;
#define GO_ON (-1) /* from a fault: answer as a good server does */
typedef int fault_fn(struct xrig *r, const struct ask *ask, struct buf *out);

struct xrig {
    struct xfer *x;
    struct loopback *server;
    struct xfer_group group;
    struct cancel cancel;
    bool no_raw;

    /* the object and how it is served; the server's thread, after rig_serve() */
    uint8_t *bytes;
    size_t size;
    const char *etag, *extra; /* extra: more header lines */
    fault_fn *fault;
    unsigned asks, faults; /* requests; and a count for faults to use */
    uint64_t sent;         /* payload bytes */
    struct strv texts;     /* the first requests, whole */

    /* the transfer */
    struct xfer_get get;
    atomic_uint_fast64_t given_size;
    int fd, map_fd;
    struct partmap *map;
    int open_error; /* errno that the sink's open() fails with */
    char url[256];
    const char *headers; /* sent with every request */
    int (*refresh)(void *ctx, struct err *err);
    enum xfer_verdict (*judge)(struct xrig *r, const struct xfer_head *head, struct xfer_want *want, struct err *err);
    atomic_uint judged, refreshed, signed_requests, opened;

    /* the outcome */
    pthread_mutex_t mu;
    pthread_cond_t cond;
    unsigned dones, pending;
    struct err err;
    struct xfer_result result;
    char head_etag[64];
};

/* `state`: whether the curl lane is to be used. */
void xrig_init(struct xrig *r, void **state, size_t size);
void xrig_open(struct xrig *r, const struct xfer_opts *opts); /* NULL: parts of PART, one thread */
/* Start and wait for done; then the server is stopped, so that its counts can be read. */
void xrig_run(struct xrig *r);
void xrig_start(struct xrig *r);
void xrig_wait(struct xrig *r);
void xrig_must_succeed(struct xrig *r); /* and the file is the object */
void xrig_must_fail(struct xrig *r, enum err_kind kind, const char *word);
void xrig_close(struct xrig *r);
bool xrig_asked(const struct xrig *r, size_t request, const char *text);

/* The head of a good answer to `ask`. */
void answer_head(const struct xrig *r, const struct ask *ask, struct buf *out);
/* The whole of it, but only the first `n` payload bytes. */
void answer_cut(struct xrig *r, const struct ask *ask, uint64_t n, struct buf *out);

extern bool lane_is_raw, lane_is_curl;
#define BOTH_LANES(f)                                                                                                  \
    {"raw: " #f, f, NULL, NULL, &lane_is_raw},                                                                         \
    {                                                                                                                  \
        "curl: " #f, f, NULL, NULL, &lane_is_curl                                                                      \
    }

#endif
