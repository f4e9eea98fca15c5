/* http_priv: the inside of single calls. Nothing here leaves the folder.
 *
 * A struct http_slot is one libcurl multi with one easy handle and the connection they keep; one thread owns it from
 * http_slot_take() to http_slot_give(). The wait between tries can be replaced, so that tests need not sleep. */
#ifndef BERTH_XFER_HTTP_PRIV_H
#define BERTH_XFER_HTTP_PRIV_H

#include "base/rng.h"
#include "xfer/http.h"
#include "xfer/url.h"
#include "xfer/xfer_common.h"

#include <curl/curl.h>
#include <pthread.h>

#define HTTP_MAX_CONNECTIONS_DEFAULT 32
#define HTTP_BODY_MAX_DEFAULT        (4u * 1024 * 1024)
#define HTTP_IDLE_TIMEOUT_MS         30000
#define HTTP_PATIENCE_MS             60000
#define HTTP_REQUEST_HEADERS_MAX     128
#define HTTP_HEADS_MAX               16         /* 1xx answers before the final one, and that one */
#define HTTP_LARGE_BODY              (1u << 20) /* from here on a larger buffer pays */
#define HTTP_UPLOAD_BUFFER           (256u * 1024)
#define HTTP_STREAM_BUFFER           (64u * 1024)
#define HTTP_STREAM_ERROR_MAX        (64u * 1024)

typedef int http_wait_fn(void *ctx, const struct cancel *cancel, uint64_t ms, struct err *err);

struct http_slot {
    CURLM *multi;
    CURL *easy;
    struct xfer_guard guard;
    char detail[CURL_ERROR_SIZE];
    uint64_t origin; /* hash of scheme, host and port it last talked to */
    struct http_slot *next;
};

struct http {
    /* Never change after http_open(). */
    struct xfer_policy policy; /* with strings of its own */
    struct strv allow;
    char *ca_file, *unix_socket, *client_cert, *client_key, *user_agent;
    uint32_t max_connections, idle_timeout_ms, patience_ms;
    http_wait_fn *wait;
    void *wait_ctx;

    struct {
        pthread_mutex_t mu;
        struct http_slot *idle; /* the most recently used first */
        uint32_t idle_count;
        struct rng rng;
    } shared;
};

/* Replace the wait between tries; before the first call. */
void http_set_wait(struct http *h, http_wait_fn *wait, void *ctx);

/* A slot for this URL, with a kept connection where there is one. Give it back with no exchange under way. */
struct http_slot *http_slot_take(struct http *h, const struct url *url, struct err *err);
void http_slot_give(struct http *h, struct http_slot *slot);

/* One request and its answer: no retry, no redirect. The caller fills in what is above the line. */
struct http_exchange {
    struct http *http;
    const struct http_request *req;
    const char *method;
    const struct url *url;
    struct http_response *resp; /* initialised; what an earlier exchange left there goes */
    bool other_origin;          /* leave out what is bound to the first origin, and do not sign */
    bool without_body;          /* a redirect made it a GET */
    uint64_t idle_ms;           /* no byte for so long: ERR_TIMEOUT; UINT64_MAX: none */
    uint64_t deadline_ms;       /* by the monotonic clock; 0: none */
    /* Where the bytes of the answer's body go; 0, -1, or HTTP_TAKE_PAUSE. */
    int (*take)(struct http_exchange *x, const void *p, size_t n, struct err *err);
    void *take_ctx;
    /* ---- */
    struct http_slot *slot;
    struct err *err;           /* of the running call; callbacks report there */
    struct curl_slist *fields; /* request headers, kept until the exchange is over */
    uint64_t sent;             /* of the body */
    uint64_t last_byte_ms;     /* in either direction */
    uint64_t grace_end_ms;     /* of a cancelled request whose answer is awaited; 0: not cancelled */
    bool connected;            /* the idle limit counts from then */
    bool head_done;
    unsigned heads;       /* interim ones included */
    size_t trailer_bytes; /* read over, and bounded */
    bool ended;
    enum xfer_failure failure;
};
#define HTTP_TAKE_PAUSE 1

/* Take a slot, give its easy handle this exchange, and let the multi have it. End it in any case. */
int http_exchange_start(struct http_exchange *x, struct err *err);

/* Let libcurl work without waiting; x->ended tells when the answer is complete. */
int http_exchange_step(struct http_exchange *x, struct err *err);

/* Wait until there is something to do. ERR_CANCELLED, ERR_TIMEOUT (idle or deadline). */
int http_exchange_wait(struct http_exchange *x, struct err *err);

/* Give the slot back and free the headers. Fine on an exchange that never started, and twice. */
void http_exchange_end(struct http_exchange *x);

/* All of that until the answer is complete. After -1, x->failure says whether another try makes sense. */
int http_exchange_run(struct http_exchange *x, struct err *err);

/* ERR_INVALID for what cannot be sent: no URL, a broken header, a method that is no token. */
int http_check_request(const struct http_request *req, struct err *err);

#endif
