#include "xfer/http_priv.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

/* The engine answers an attach with "200 OK", no length, and then raw bytes until it closes (Docker Engine API,
 * ContainerAttach without Upgrade); to HTTP that is a body like any other, which is read here as it comes. libcurl is
 * paused while the reader lags, so that a talkative container fills the socket and not our memory. */
struct http_stream {
    struct http_request req; /* pointers borrowed from the caller */
    struct arena *arena;
    struct url url;
    struct http_response resp;
    struct http_exchange exchange;
    struct buf pending; /* received, not yet read */
    struct err failed;  /* why the stream broke; told once what came before has been read */
    bool paused;
};

static bool is_stream(const struct http_response *r)
{
    return r->status >= 200 && r->status < 300;
}

static int take_stream(struct http_exchange *x, const void *p, size_t n, struct err *err)
{
    struct http_stream *s = x->take_ctx;
    if (!is_stream(&s->resp)) {
        size_t kept = s->resp.body.n;
        buf_add(&s->resp.body, p, n < HTTP_STREAM_ERROR_MAX - kept ? n : HTTP_STREAM_ERROR_MAX - kept);
        return buf_check(&s->resp.body, "the answer's body", err);
    }
    if (s->pending.n >= HTTP_STREAM_BUFFER) {
        s->paused = true;
        return HTTP_TAKE_PAUSE;
    }
    buf_add(&s->pending, p, n);
    return buf_check(&s->pending, "a stream's buffer", err);
}

void http_stream_free(struct http_stream *s)
{
    if (!s)
        return;
    http_exchange_end(&s->exchange);
    http_response_release(&s->resp);
    buf_release(&s->pending);
    arena_free(s->arena);
    free(s);
}

static void free_stream(struct http_stream **s)
{
    http_stream_free(*s);
}

static struct http_stream *stream_new(struct http *h, const struct http_request *req, struct err *err)
{
    struct http_stream *s = calloc(1, sizeof *s);
    if (!s) {
        err_nomem(err);
        return NULL;
    }
    s->req = *req;
    s->req.tries = 1;
    http_response_init(&s->resp, HTTP_STREAM_ERROR_MAX);
    buf_init(&s->pending, HTTP_STREAM_BUFFER + CURL_MAX_WRITE_SIZE);
    uint32_t idle = req->idle_timeout_ms ? req->idle_timeout_ms : h->idle_timeout_ms;
    s->exchange = (struct http_exchange){
        .http = h,
        .req = &s->req,
        .method = req->method ? req->method : "POST",
        .url = &s->url,
        .resp = &s->resp,
        .idle_ms = idle == UINT32_MAX ? UINT64_MAX : idle,
        .deadline_ms = req->total_timeout_ms ? clock_mono_ms() + req->total_timeout_ms : 0,
        .take = take_stream,
        .take_ctx = s,
    };
    s->arena = arena_new(0, err);
    if (!s->arena) {
        http_stream_free(s);
        return NULL;
    }
    return s;
}

/* Until the head says that this is a stream; the whole answer where it says otherwise. */
static int open_stream(struct http_stream *s, struct err *err)
{
    struct http_exchange *x = &s->exchange;
    if (http_check_request(&s->req, err) < 0 || url_parse(s->arena, span_of(s->req.url), &s->url, err) < 0 ||
        xfer_check_url(&x->http->policy, &s->url, err) < 0 || http_exchange_start(x, err) < 0)
        return -1;
    for (;;) {
        http_exchange_step(x, &s->failed);
        if (x->head_done && is_stream(&s->resp))
            return 0; /* even if it broke since: what came is told first */
        if (err_is_set(&s->failed))
            return err_move(err, &s->failed);
        if (x->ended)
            return 0;
        if (http_exchange_wait(x, err) < 0)
            return -1;
    }
}

int http_stream_open(struct http *h, const struct http_request *req, struct http_stream **out, int *status,
                     struct buf *error_body, struct err *err)
{
    *out = NULL;
    *status = 0;
    AUTO(free_stream) struct http_stream *s = stream_new(h, req, err);
    if (!s)
        return -1;
    if (open_stream(s, err) < 0)
        return err_wrap(err, "%s %s", s->exchange.method, s->url.path ? s->url.path : "stream");
    *status = s->resp.status;
    if (!is_stream(&s->resp)) {
        buf_add_span(error_body, buf_span(&s->resp.body));
        return 0;
    }
    if (req->idle_timeout_ms == 0) /* once open, silence is what quiet containers do */
        s->exchange.idle_ms = UINT64_MAX;
    *out = s;
    s = NULL;
    return 0;
}

static int64_t hand_over(struct http_stream *s, void *p, size_t max)
{
    size_t n = s->pending.n < max ? s->pending.n : max;
    memcpy(p, buf_str(&s->pending), n);
    buf_drop_front(&s->pending, n);
    return (int64_t)n;
}

/* Take in more. Failures go to s->failed, since bytes may have come before them. */
static void receive(struct http_stream *s)
{
    struct http_exchange *x = &s->exchange;
    if (s->paused) {
        s->paused = false;
        x->err = &s->failed;
        if (curl_easy_pause(x->slot->easy, CURLPAUSE_CONT) != CURLE_OK)
            err_set(&s->failed, ERR_SYSTEM, "libcurl cannot go on with a stream");
    }
    if (!err_is_set(&s->failed))
        http_exchange_step(x, &s->failed);
}

int64_t http_stream_read(struct http_stream *s, void *p, size_t max, struct err *err)
{
    struct http_exchange *x = &s->exchange;
    if (max == 0)
        return 0;
    x->last_byte_ms = clock_mono_ms(); /* the time between reads is not the server's */
    for (;;) {
        if (s->pending.n > 0)
            return hand_over(s, p, max);
        if (err_is_set(&s->failed)) {
            struct err why = s->failed; /* kept, for whoever reads on */
            return err_move(err, &why);
        }
        if (x->ended)
            return 0;
        if (cancel_check(s->req.cancel, err) < 0)
            return -1;
        receive(s);
        bool settled = s->pending.n > 0 || err_is_set(&s->failed) || x->ended;
        if (!settled && http_exchange_wait(x, err) < 0)
            return -1;
    }
}
