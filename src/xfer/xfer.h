/* xfer: the transfer engine. Many HTTP downloads at once, in ranged parts, written in place as they arrive, verified
 * off the transfer threads.
 *
 * A struct xfer owns a few transfer threads (one event loop each: epoll, libcurl multi and raw sockets), their
 * connections, and a small pool that hashes. It schedules *parts* of *files* that belong to *groups* (one per declared
 * input): groups take turns, so that one 40 GB file and 200 small ones progress together. Per host it adapts the number
 * of connections (additive increase, multiplicative decrease on 429/503), retries parts with back-off, hedges stalled
 * ones, and honours process-wide ceilings on bandwidth, memory and connections.
 *
 * What a file is and how its requests are signed is told by the source (S3, hub, URL) through struct xfer_source; what
 * becomes of the bytes by struct xfer_sink. Both are called on transfer threads and must not block on the network. */
#ifndef BERTH_XFER_XFER_H
#define BERTH_XFER_XFER_H

#include "base/buf.h"
#include "base/cancel.h"
#include "base/err.h"
#include "digest/digest.h"
#include "xfer/http.h"
#include "xfer/partmap.h"
#include "xfer/policy.h"

#include <stdatomic.h>
#include <stdint.h>

#define XFER_PART_DEFAULT (UINT64_C(8) << 20)

struct xfer;

struct xfer_opts {
    uint32_t threads;                          /* 0: one per core, at most 4 */
    uint32_t hash_threads;                     /* 0: one per core, at most 4 */
    uint64_t part_bytes;                       /* 0: 8 MiB */
    uint64_t buffer_bytes;                     /* ceiling over all buffers; 0: 32 MiB */
    uint64_t bytes_per_second;                 /* over all transfers; 0: unlimited */
    uint32_t max_connections;                  /* over all hosts; 0: 64 */
    uint32_t max_connections_host;             /* 0: 32 */
    uint32_t stall_bytes_per_second, stall_ms; /* slower for so long: hedge; 0: 1,024 and 30,000 */
    uint32_t connect_timeout_ms;               /* 0: 20,000 */
    unsigned tries;                            /* per part, those that came 64 KiB further not counted; 0: 5 */
    uint32_t patience_ms;                      /* 429 and 503 without one good answer for so long: fail; 0: 60,000 */
    bool no_raw;                               /* take every byte through libcurl (for comparison and odd networks) */
};

int xfer_open(struct xfer **out, const struct xfer_opts *opts, struct err *err);
void xfer_free(struct xfer *x); /* cancels what is under way; every `done` has run when it returns */

/* A group: what is accounted, cancelled and shown together. Counters may be read by any thread at any time. */
struct xfer_group {
    const struct cancel *cancel;     /* NULL: none */
    struct xfer_policy policy;       /* strings borrowed for the group's life */
    atomic_uint_fast64_t bytes_done; /* payload bytes written, less those thrown away */
    atomic_uint_fast64_t bytes_wire; /* payload bytes received, retries included */
    atomic_uint_fast64_t requests;
    atomic_uint_fast64_t retries;
    atomic_uint_fast64_t files_done;
    atomic_uint_fast64_t stalled; /* connections now below the stall limit */
};

/* The request for one range, filled in by the source. Buffers are initialised by xfer and reused. */
struct xfer_request {
    struct buf url;      /* absolute */
    struct buf headers;  /* "Name: value\r\n" lines; Host, Range, Connection and User-Agent are xfer's own */
    bool keep_redirects; /* a 3xx is judged by the source instead of followed */
};

/* Head of an answer, as the source sees it. Valid during the call. */
struct xfer_head {
    int status;
    int64_t date_ms;
    const struct http_response *http; /* headers; an error status has up to 64 KiB of body */
};

enum xfer_verdict {
    XFER_ACCEPT,  /* the body is wanted */
    XFER_RETRY,   /* transient: back off, try again */
    XFER_RESIGN,  /* ask for the request anew at once (region or clock corrected); counts as a try */
    XFER_REFRESH, /* credentials expired: call refresh() on a worker, then try again; once per try */
    XFER_FAIL,    /* err is set */
};

#define XFER_SIZE_UNKNOWN UINT64_MAX
#define XFER_WHOLE        UINT64_MAX /* `length` of a request without Range */

/* What the bytes must hash to, and what else to compute. Part-wise expectations (composite checksums) are optional. */
struct xfer_want {
    bool has_full;
    struct digest_value full;         /* of the whole file */
    const struct digest_value *parts; /* borrowed; of consecutive ranges of `parts_bytes` */
    size_t part_count;
    uint64_t parts_bytes;
    unsigned compute; /* BIT(DIGEST_…)s wanted in the result besides */
    bool git_blob;    /* `full` is a git blob id: SHA-1 over header and content */
};

struct xfer_source {
    /* The request for bytes [offset, offset + length) (XFER_WHOLE: no range; xfer adds the Range header). */
    int (*request)(void *ctx, uint64_t offset, uint64_t length, struct xfer_request *out, struct err *err);
    /* Judge a head. Redirects, 206/Content-Range checks and the statuses of retry_status() are xfer's own; asked for
     * every other final answer, and for 2xx so that ETags can be compared and digests be learned: `want` may be filled
     * in from headers. */
    enum xfer_verdict (*judge)(void *ctx, const struct xfer_head *head, struct xfer_want *want, struct err *err);
    /* May block; on a worker thread. NULL: XFER_REFRESH is a failure. */
    int (*refresh)(void *ctx, struct err *err);
};

/* Where the bytes go. open() is called once, on a transfer thread: before the first request where the size is known
 * (the part map says what need not be asked for), else right before the first byte. The calls of source and sink for
 * one file never overlap (refresh() excepted). */
struct xfer_sink {
    /* Give an fd for reading and writing (kept open by the sink until done) and optionally a part map of the same size,
     * whose part size then is the file's. `size` as learned (XFER_SIZE_UNKNOWN possible). */
    int (*open)(void *ctx, uint64_t size, int *fd, struct partmap **map, struct err *err);
    /* Of a file whose size is not known: is there room for `bytes` in all? Asked each time that it grows past another
     * XFER_GROW_STEP; its error ends the file. NULL: nobody minds. */
    int (*grow)(void *ctx, uint64_t bytes, struct err *err);
};
#define XFER_GROW_STEP ((uint64_t)16 << 20)

struct xfer_result {
    uint64_t size;
    uint64_t bytes_wire;   /* received for this file, retries included */
    struct xfer_want want; /* as it was in the end */
    bool verified;         /* a full or part-wise digest matched */
    struct digest_value verified_by;
    unsigned computed; /* which of `values` are set */
    struct digest_value values[DIGEST_KIND_COUNT];
    const struct http_response *head; /* of the first accepted answer; borrowed during done() */
};

struct xfer_get {
    struct xfer_group *group; /* borrowed until done */
    const char *name;         /* for errors and logs: "s3://bucket/key"; copied */
    uint64_t size;            /* XFER_SIZE_UNKNOWN: one stream, length found out */
    uint64_t part_bytes;      /* 0: the engine's */
    struct xfer_want want;
    const struct xfer_source *source;
    void *source_ctx; /* borrowed until done */
    const struct xfer_sink *sink;
    void *sink_ctx;
    bool head_only; /* a HEAD request: no sink, no body */
    /* Exactly once, on a transfer or hashing thread, also after cancellation; all bytes are in the file (not fsynced).
     * `err` is NULL on success. Must not block for long; may call xfer_get_start(). */
    void (*done)(void *ctx, const struct xfer_result *result, const struct err *err);
    void *done_ctx;
};

/* Queue one file. Only argument errors and exhaustion fail here. Any thread. */
int xfer_get_start(struct xfer *x, const struct xfer_get *get, struct err *err);

/* Figures over the engine's life, for the record and for tests. */
struct xfer_stats {
    uint64_t requests, retries, hedges, connections_opened, bytes_wire, bytes_written;
    uint64_t wake_ups; /* of transfer threads by others, for new work and for news about work under way */
    uint64_t buffer_bytes_peak;
};
void xfer_stats(struct xfer *x, struct xfer_stats *out);

#endif
