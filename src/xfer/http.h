/* http: single HTTP calls that block the calling thread: listings, HEADs, tokens, the container engine's API.
 *
 * One struct http holds a pool of kept-alive connections (libcurl easy handles) and may be used by any number of
 * threads at once. Retries, back-off with full jitter, Retry-After, and redirects are berth's own (docs: 20 s connect,
 * 5 tries, at most 5 redirects; a redirect to another origin loses Authorization, Cookie, x-amz-… and whatever else
 * sounds like a credential, and is not signed). Heads and bodies are bounded. */
#ifndef BERTH_XFER_HTTP_H
#define BERTH_XFER_HTTP_H

#include "base/buf.h"
#include "base/cancel.h"
#include "base/err.h"
#include "xfer/policy.h"

#include <stdint.h>

struct http;

struct http_opts {
    struct xfer_policy policy; /* strings are copied */
    const char *unix_socket;   /* all requests go there, whatever their host, and no policy applies; NULL: TCP */
    const char *client_cert, *client_key; /* PEM files for TLS to an engine; NULL: none */
    const char *user_agent;               /* NULL: "berth/<version>" */
    uint32_t max_connections;             /* kept for reuse; 0: 32 */
    uint32_t idle_timeout_ms;             /* of requests that don't set their own; 0: 30,000 */
    uint32_t patience_ms;                 /* no further try once so much was waited between them; 0: 60,000 */
};

/* The first one in a process sets up libcurl, and SIGPIPE to be ignored where nobody handles it. */
int http_open(struct http **out, const struct http_opts *opts, struct err *err);
void http_free(struct http *h);

/* For callers with loops of their own around http_call(). */
uint32_t http_patience_ms(const struct http *h);

struct http_header {
    const char *name; /* any case */
    const char *value;
};

/* What came back. Header names are lower case; the first of equal names wins in http_response_get(). */
struct http_response {
    int status;
    struct http_header *headers;
    size_t header_count;
    size_t header_bytes;      /* of names and values together, which are bounded */
    struct buf body;          /* empty where a `body` callback took it */
    int64_t date_ms;          /* of the Date header; 0: none */
    unsigned sent;            /* how often the request was; an earlier time can have done it, and its answer got lost */
    char effective_url[1024]; /* redacted: after redirects, without query */
};
void http_response_release(struct http_response *r);
const char *http_response_get(const struct http_response *r, const char *name); /* NULL: absent */

/* Bytes of an open file as a body: read by pread() as they are sent, and again at each try. ERR_CHANGED where the file
 * has become too short. The fd is borrowed. */
struct http_region {
    int fd;
    uint64_t offset, length;
};

struct http_request {
    const char *method; /* NULL: GET */
    const char *url;
    const struct http_header *headers; /* at most 128; ERR_INVALID for controls in them */
    size_t header_count;
    struct span body;
    const struct http_region *body_file; /* instead of `body`; NULL: none */
    /* A streamed body instead of `body`: like fread; called on the calling thread, restarted never (so such a request
     * is tried once). body_length: UINT64_MAX for chunked. */
    int64_t (*read_body)(void *ctx, void *p, size_t max, struct err *err);
    uint64_t body_length;
    /* A streamed answer: called with each piece of a 2xx body on the calling thread; -1 ends the call with that err.
     * Error bodies still go to response.body. NULL: all of it to response.body. */
    int (*on_body)(void *ctx, const struct http_response *head, const void *p, size_t n, struct err *err);
    void *ctx;                   /* for read_body and on_body */
    size_t body_max;             /* most bytes of an answer kept in response.body; 0: 4 MiB. Above: ERR_LIMIT */
    uint32_t connect_timeout_ms; /* 0: 20,000 */
    uint32_t idle_timeout_ms;    /* no byte for so long: ERR_TIMEOUT; 0: of http_opts; UINT32_MAX: none (log streams) */
    uint32_t total_timeout_ms;   /* 0: none */
    unsigned tries;              /* 0: 5; 1 for what must not be repeated */
    bool keep_redirects;         /* 3xx is given back instead of followed */
    /* Asked before each try for the headers that depend on time or credentials; replaces headers of the same name. The
     * array it returns is borrowed until its next call. NULL: none. */
    int (*sign)(void *sign_ctx, const char *method, const char *url, const struct http_header **headers, size_t *n,
                struct err *err);
    void *sign_ctx;
    const struct cancel *cancel;
    /* For what the server makes and the caller must know of to undo it: a request under way is not given up before it
     * was answered or this time has passed since CANCEL_STOP. CANCEL_KILL ends it all the same. 0: at once. */
    uint32_t cancel_grace_ms;
};

/* 0: an answer came, whatever its status (look at it; release it); -1: none could be had, `resp` is empty, and the
 * error names method, URL, host and port: ERR_TRANSIENT or ERR_TIMEOUT after the tries, ERR_PROTOCOL for TLS failures
 * and broken answers, ERR_REFUSED by policy, ERR_LIMIT for answers above a bound, ERR_CANCELLED. Retried within:
 * connection errors, timeouts, 408, 429, 500, 502, 503, 504; the last answer is given back when the tries are spent. A
 * body is never decoded. Once on_body has seen bytes, or where read_body has given some, there is no other try. */
int http_call(struct http *h, const struct http_request *req, struct http_response *resp, struct err *err);

/* A stream of bytes: a POST (or other method) that is answered by bytes which go on until one side closes, as the
 * engine's attach does. Tried once; redirects are not followed; `req->on_body` is not used, and an idle limit counts
 * after the head only where it is given. What `req` points to is borrowed until http_stream_free(). One thread at a
 * time. */
struct http_stream;

/* Returns after the answer's head: 0 with a stream for 2xx; 0 with *out NULL, the status and (in a buffer the caller
 * initialised) up to 64 KiB of the body for any other answer; -1 where none came. */
int http_stream_open(struct http *h, const struct http_request *req, struct http_stream **out, int *status,
                     struct buf *error_body, struct err *err);

/* Blocks until there are bytes (their number), the end (0), ERR_CANCELLED or a failure (-1). */
int64_t http_stream_read(struct http_stream *s, void *p, size_t max, struct err *err);
void http_stream_free(struct http_stream *s);

#endif
