/* http_rig: one client, one scripted server, and the waits between tries as they were asked for. */
#ifndef BERTH_TESTS_HTTP_RIG_H
#define BERTH_TESTS_HTTP_RIG_H

#include "loopback.h"
#include "xfer/http.h"
#include "xfer/http_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct waits {
    size_t n;
    uint64_t ms[16];
};

static inline int record_wait(void *ctx, const struct cancel *cancel, uint64_t ms, struct err *err)
{
    struct waits *w = ctx;
    if (w->n < ARRAY_LEN(w->ms))
        w->ms[w->n++] = ms;
    return cancel_check(cancel, err);
}

struct rig {
    struct http *http;
    struct loopback *server;
    struct script script;
    struct waits waits;
    struct http_response resp;
    struct err err;
    char url[256];
};

static inline void rig_open(struct rig *r, const struct script_step *steps, size_t n, const struct http_opts *opts)
{
    static const struct http_opts plain = {.policy = {.no_proxy_env = true}};
    *r = (struct rig){.script = {.steps = steps, .step_count = n}};
    r->server = loopback_start(script_answer, &r->script, NULL);
    struct err err = ERR_INIT;
    if (http_open(&r->http, opts ? opts : &plain, &err) < 0)
        fail_msg("%s", err.text);
    http_set_wait(r->http, record_wait, &r->waits);
    snprintf(r->url, sizeof r->url, "http://127.0.0.1:%u/path?sig=canary", loopback_port(r->server));
}

static inline void rig_close(struct rig *r)
{
    http_response_release(&r->resp);
    http_free(r->http);
    loopback_free(r->server);
    script_release(&r->script);
}

static inline int rig_call(struct rig *r, struct http_request req)
{
    if (!req.url)
        req.url = r->url;
    int rc = http_call(r->http, &req, &r->resp, &r->err);
    loopback_stop(r->server);
    assert_null(strstr(r->err.text, "canary"));
    return rc;
}

static inline void must_answer(struct rig *r, struct http_request req, int status)
{
    if (rig_call(r, req) < 0)
        fail_msg("%s", r->err.text);
    assert_int_equal(r->resp.status, status);
}

static inline void must_fail(struct rig *r, struct http_request req, enum err_kind kind)
{
    assert_int_equal(rig_call(r, req), -1);
    if (r->err.kind != kind)
        fail_msg("%s: %s", err_kind_name(r->err.kind), r->err.text);
}

static inline bool sent(const struct rig *r, size_t request, const char *text)
{
    assert_true(request < r->script.request_count);
    return strcasestr(r->script.requests[request], text) != NULL;
}

#define RIG(r, ...)                                                                                                    \
    static const struct script_step r##_steps[] = {__VA_ARGS__};                                                       \
    struct rig r;                                                                                                      \
    rig_open(&r, r##_steps, ARRAY_LEN(r##_steps), NULL)

#define OK_HELLO "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
#define EMPTY    "Content-Length: 0\r\n\r\n"

/* A body in pieces of three bytes. */
struct feed {
    const char *text;
    size_t at, n;
};

static inline int64_t read_feed(void *ctx, void *p, size_t max, struct err *err)
{
    (void)err;
    struct feed *f = ctx;
    size_t n = f->n - f->at < 3 ? f->n - f->at : 3;
    n = n < max ? n : max;
    memcpy(p, f->text + f->at, n);
    f->at += n;
    return (int64_t)n;
}

/* Authorization: try-1, try-2, … */
struct signer {
    unsigned calls;
    char urls[4][256];
    struct http_header headers[2];
    char token[16];
};

static inline int sign(void *ctx, const char *method, const char *url, const struct http_header **headers, size_t *n,
                       struct err *err)
{
    (void)err;
    struct signer *s = ctx;
    assert_string_equal(method, "GET");
    snprintf(s->urls[s->calls % 4], sizeof s->urls[0], "%s", url);
    snprintf(s->token, sizeof s->token, "try-%u", ++s->calls);
    s->headers[0] = (struct http_header){"Authorization", s->token};
    *headers = s->headers;
    *n = 1;
    return 0;
}

#endif
