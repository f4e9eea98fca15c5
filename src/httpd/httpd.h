/* httpd: a small HTTP server frame: routes, limits, TLS, long polls and event streams.
 *
 * Handlers run on a few threads and may block for as long as a database takes, not longer: each thread also moves the
 * bytes of its share of the connections, which stand still meanwhile. What has to wait for an
 * event does not hold a thread: the handler says which keys it watches, looks whether there is something, and if not
 * returns HTTPD_WAIT; it runs again when one of the keys is woken, or at its deadline. No wake-up is lost in between:
 * watching comes first. Streams work alike.
 *
 * A client that goes away while its request waits is noticed at the next wake-up or deadline; what the handler left
 * with the request (httpd_set_state(), a stream) is freed then.
 *
 * Heads, bodies, connections, and the time that a request may take to arrive are bounded. No file is ever opened but
 * certificate and key; a handler may hand over one that it has opened. What the frame answers by itself is JSON:
 * {"error": {"code", "message", "hint"}}: 400, 404, 405 (with Allow), 413, 431, 503. libmicrohttpd answers what is no
 * HTTP and heads above twice the limit with a short page of its own; a body that was announced without its length
 * (chunked) and passes the limit ends with the connection.
 *
 * Sources: RFC 9110, RFC 9112; event streams: the HTML standard, 9.2. */
#ifndef BERTH_HTTPD_HTTPD_H
#define BERTH_HTTPD_HTTPD_H

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

struct httpd;
struct httpd_request;

#define HTTPD_PARAMS_MAX  4
#define HTTPD_HEADERS_MAX 8
#define HTTPD_WATCH_MAX   4
#define HTTPD_WAIT_MAX_MS 60000

/* A stream in pieces. */
struct httpd_stream {
    /* Append what there is now. 1: more may come, when a watched key is woken or after *wait_ms (0: at once); 0: the
     * end. Called on the frame's threads, one call at a time. */
    int (*next)(void *ctx, struct httpd_request *req, struct buf *out, uint32_t *wait_ms);
    void (*free)(void *ctx);
};

struct httpd_response {
    int status;               /* 200 to begin with */
    const char *content_type; /* "application/json" to begin with */
    struct buf body;          /* initialised; becomes the frame's */
    struct span fixed;        /* instead of body: lives for ever; gets an ETag, and 304 where the client has it */
    struct {
        bool given; /* instead of body: so many bytes of `fd` from `offset` on, which the file must have */
        int fd;     /* closed by the frame, whatever comes of it */
        uint64_t offset, bytes;
    } file;
    struct {
        const char *name, *value; /* of the request's memory (httpd_keep()) or literals */
    } headers[HTTPD_HEADERS_MAX];
    size_t header_count;
    uint32_t wait_ms;                  /* of HTTPD_WAIT: run again after so long at the latest */
    const struct httpd_stream *stream; /* instead of a body; NULL: none */
    void *stream_ctx;                  /* freed by stream->free */
};

enum httpd_verdict { HTTPD_DONE, HTTPD_WAIT };
typedef enum httpd_verdict httpd_handler(void *ctx, struct httpd_request *req, struct httpd_response *resp);
/* Whether a large body is to be taken of who sends this head; false: `resp` is the answer. */
typedef bool httpd_admit(void *ctx, struct httpd_request *req, struct httpd_response *resp);

struct httpd_route {
    const char *method;  /* HEAD goes to GET's */
    const char *pattern; /* "/jobs/{id}/logs"; a segment in braces matches one that is not empty, a last
                          * one "*" all the rest (parameter "*"; may be empty or hold "..") */
    httpd_handler *handler;
    uint64_t body_max;  /* 0: the frame's */
    httpd_admit *admit; /* asked before a byte of a body is read that counts for `bodies_max`, or has no length; NULL:
                         * anybody's is taken */
    const void *about;  /* the handler's own; see httpd_about() */
};

struct httpd_opts {
    const char *listen;                     /* "127.0.0.1:0", "[::]:7480"; port 0: a free one, see httpd_port() */
    const char *tls_cert, *tls_key;         /* PEM files; NULL: plain HTTP, or: */
    const char *tls_cert_pem, *tls_key_pem; /* the PEM text itself; copied, both or none */
    const struct httpd_route *routes;
    size_t route_count;
    void *ctx;                    /* for handlers and `done` */
    unsigned threads;             /* 0: 8 */
    unsigned connections;         /* at once; 0: 4,096 */
    unsigned connections_address; /* from one address; 0: no limit of its own */
    uint64_t body_max;            /* of one request; 0: 8 MiB */
    uint64_t bodies_max;          /* of all together; above it 503; 0: 256 MiB. See httpd_route.admit */
    uint64_t body_small;          /* so much of each counts for nothing there: whoever fills it with large ones keeps
                                   * small ones from nobody; 0: 64 KiB */
    uint32_t head_max;            /* request line and headers; 0: 16 KiB. A connection takes twice as much. */
    uint32_t request_ms;          /* to arrive whole; 0: 30,000 */
    uint32_t idle_ms;             /* a client that takes nothing of its answer; 0: 60,000. Between two requests a
                                   * connection lasts the shorter of both times. */
    /* Of all files that handlers hand over, together; addresses that read at the same time get alike, however many
     * connections each has. Half a second's worth may go at once. 0: unlimited */
    uint64_t file_bytes_per_second;
    /* After each answer: the route's pattern ("" where none fits), for metrics and logs. NULL is fine. */
    void (*done)(void *ctx, const char *method, const char *pattern, int status, uint64_t us);
};

int httpd_start(struct httpd **out, const struct httpd_opts *opts, struct err *err);
uint16_t httpd_port(const struct httpd *h);
const char *httpd_address(const struct httpd *h); /* "http://127.0.0.1:41234" */
uint64_t httpd_file_bytes(const struct httpd *h); /* of files, handed to connections since it started */
/* No new connections; who waits gets 503, streams end; then all is freed. */
void httpd_stop(struct httpd *h);

/* Wake up to `most` (0: all) that watch this key. Any thread. */
void httpd_wake(struct httpd *h, const char *key, unsigned most);

/* --- within handlers ---------------------------------------------------------------------------------------------- */

const char *httpd_method(const struct httpd_request *r);
const void *httpd_about(const struct httpd_request *r);                    /* of its route */
const char *httpd_param(const struct httpd_request *r, const char *name);  /* "" where the pattern has none */
const char *httpd_query(const struct httpd_request *r, const char *name);  /* decoded; NULL: absent */
const char *httpd_header(const struct httpd_request *r, const char *name); /* NULL: absent */
struct span httpd_body(const struct httpd_request *r);
const char *httpd_client(const struct httpd_request *r); /* its numeric address */
/* Each query name, until `visit` returns non-zero, which is returned. */
int httpd_each_query(const struct httpd_request *r, int (*visit)(void *ctx, const char *name), void *ctx);

/* Watch a key from now on; at most HTTPD_WATCH_MAX a run, forgotten at the next. */
void httpd_watch(struct httpd_request *r, const char *key);
/* How long ago the request was first handled: 0 in the first run. */
uint64_t httpd_waited_ms(const struct httpd_request *r);
/* Whether the client has closed its connection: before giving away, after a wait, what nobody would get. */
bool httpd_client_gone(const struct httpd_request *r);
/* Something of the handler's own, kept between its runs; `drop` frees it at the end of the request. */
void httpd_set_state(struct httpd_request *r, void *state, void (*drop)(void *state));
void *httpd_state(const struct httpd_request *r);
/* A copy that lives as long as the request; NULL: out of memory. */
const char *httpd_keep(struct httpd_request *r, const char *text);
/* Control characters in a value drop the header. */
void httpd_add_header(struct httpd_response *resp, const char *name, const char *value);

#endif
