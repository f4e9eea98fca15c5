#include "xfer/http_priv.h"

#include "base/clock.h"
#include "base/log.h"
#include "xfer/retry.h"

#include <string.h>

#define SHOWN_URL_MAX (URL_LENGTH_MAX + 16)

struct call {
    struct http *http;
    const struct http_request *req;
    struct http_response *resp;
    uint64_t deadline_ms;
    bool handed_over; /* on_body has seen bytes, which cannot be taken back */
};

static void free_arena(struct arena **a)
{
    arena_free(*a);
}

static void note_effective(struct http_response *r, const struct url *u)
{
    AUTO_BUF text;
    buf_init(&text, URL_LENGTH_MAX);
    struct url shown = *u;
    shown.query = NULL;
    url_write(&shown, &text);
    snprintf(r->effective_url, sizeof r->effective_url, "%s", buf_str(&text));
}

static int take_body(struct http_exchange *x, const void *p, size_t n, struct err *err)
{
    struct call *c = x->take_ctx;
    struct http_response *r = x->resp;
    if (c->req->on_body && r->status >= 200 && r->status < 300) {
        if (!c->handed_over)
            note_effective(r, x->url);
        c->handed_over = true;
        return c->req->on_body(c->req->ctx, r, p, n, err);
    }
    buf_add(&r->body, p, n);
    return buf_check(&r->body, "the answer's body", err);
}

static struct http_exchange first_exchange(struct call *c, const struct url *url)
{
    const struct http_request *req = c->req;
    uint32_t idle = req->idle_timeout_ms ? req->idle_timeout_ms : c->http->idle_timeout_ms;
    return (struct http_exchange){
        .http = c->http,
        .req = req,
        .method = req->method ? req->method : "GET",
        .url = url,
        .resp = c->resp,
        .idle_ms = idle == UINT32_MAX ? UINT64_MAX : idle,
        .deadline_ms = c->deadline_ms,
        .take = take_body,
        .take_ctx = c,
    };
}

static int check_repeatable(const struct http_exchange *x, const struct xfer_redirect *r, struct err *err)
{
    if (!x->req->read_body || x->without_body || r->as_get)
        return 0;
    return err_set(err, ERR_PROTOCOL, "%s redirects a request whose body can be sent only once", x->url->host);
}

/* Turn the exchange into the one that it is redirected to. What was dropped for one origin stays dropped. */
static void redirect(struct call *c, struct http_exchange *x, struct url *at, const struct xfer_redirect *r)
{
    struct http_exchange next = first_exchange(c, at);
    next.other_origin = x->other_origin || r->other_origin;
    next.without_body = x->without_body || r->as_get;
    c->resp->sent--; /* nothing was done there */
    next.method = r->as_get ? "GET" : x->method;
    *at = r->to;
    *x = next;
}

/* One try: the request, and what it is redirected to, up to an answer that is final. */
static int try_once(struct call *c, enum xfer_failure *failure, struct err *err)
{
    AUTO(free_arena) struct arena *arena = arena_new(0, err);
    struct url at;
    *failure = XFER_FAILURE_FINAL;
    if (!arena || url_parse(arena, span_of(c->req->url), &at, err) < 0 ||
        xfer_check_url(&c->http->policy, &at, err) < 0)
        return -1;
    struct http_exchange x = first_exchange(c, &at);
    for (unsigned hops = 0;; hops++) {
        if (http_exchange_run(&x, err) < 0) {
            *failure = c->handed_over ? XFER_FAILURE_FINAL : x.failure;
            return -1;
        }
        note_effective(c->resp, &at);
        struct xfer_redirect r = {0};
        if (!c->req->keep_redirects &&
            xfer_redirect_decide(arena, &c->http->policy, x.method, &at, hops, c->resp, &r, err) < 0)
            return -1;
        if (!r.follow)
            return 0;
        if (check_repeatable(&x, &r, err) < 0)
            return -1;
        redirect(c, &x, &at, &r);
    }
}

static uint64_t choose_delay(struct call *c, unsigned attempt, uint64_t asked)
{
    struct http *h = c->http;
    pthread_mutex_lock(&h->shared.mu);
    uint64_t delay = retry_delay_ms(attempt, asked, &h->shared.rng);
    pthread_mutex_unlock(&h->shared.mu);
    return delay;
}

static void log_retry(const struct call *c, unsigned attempt, uint64_t delay_ms, const struct err *why)
{
    AUTO_BUF url;
    buf_init(&url, SHOWN_URL_MAX);
    url_redact(span_of(c->req->url), &url);
    log_debug("http", "trying again (url=%.512s try=%u delay_ms=%llu status=%d reason=\"%s\")", buf_str(&url),
              attempt + 2, (unsigned long long)delay_ms, err_is_set(why) ? 0 : c->resp->status, why->text);
}

static int name_request(const struct http_request *req, unsigned tries, struct err *why, struct err *err)
{
    AUTO_BUF url;
    buf_init(&url, SHOWN_URL_MAX);
    url_redact(span_of(req->url), &url);
    const char *method = req->method ? req->method : "GET";
    if (tries > 1)
        err_wrap(why, "%s %.512s (%u tries)", method, buf_str(&url), tries);
    else
        err_wrap(why, "%s %.512s", method, buf_str(&url));
    return err_move(err, why);
}

static unsigned tries_of(const struct http_request *req)
{
    if (req->read_body)
        return 1;
    return req->tries ? req->tries : RETRY_TRIES_DEFAULT;
}

static int call_until_final(struct call *c, struct err *err)
{
    unsigned tries = tries_of(c->req);
    uint64_t waited_ms = 0; /* but for what the server asked for */
    for (unsigned attempt = 0;; attempt++) {
        struct err why = ERR_INIT;
        enum xfer_failure failure;
        bool answered = try_once(c, &failure, &why) == 0;
        bool again = answered ? retry_status(c->resp->status) : failure == XFER_FAILURE_PASSING;
        uint64_t asked = again && answered ? http_response_wait_ms(c->resp) : 0;
        uint64_t delay_ms = again ? choose_delay(c, attempt, asked) : 0;
        waited_ms += asked ? 0 : delay_ms;
        if (waited_ms > c->http->patience_ms || (c->deadline_ms && clock_mono_ms() + delay_ms >= c->deadline_ms))
            again = false;
        if (!again || attempt + 1 >= tries)
            return answered ? 0 : name_request(c->req, attempt + 1, &why, err);
        log_retry(c, attempt, delay_ms, &why);
        if (c->http->wait(c->http->wait_ctx, c->req->cancel, delay_ms, err) < 0)
            return -1;
    }
}

int http_call(struct http *h, const struct http_request *req, struct http_response *resp, struct err *err)
{
    http_response_init(resp, req->body_max ? req->body_max : HTTP_BODY_MAX_DEFAULT);
    struct call c = {.http = h, .req = req, .resp = resp};
    if (req->total_timeout_ms)
        c.deadline_ms = clock_mono_ms() + req->total_timeout_ms;
    if (http_check_request(req, err) == 0 && cancel_check(req->cancel, err) == 0 && call_until_final(&c, err) == 0)
        return 0;
    http_response_release(resp);
    return -1;
}
