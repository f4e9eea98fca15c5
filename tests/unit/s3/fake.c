#include "fake.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- credentials ---- */

struct creds {
    char id[64], secret[64], next[64];
    bool stale;
    unsigned expired;
};

struct creds *fake_creds(const char *id, const char *secret)
{
    struct creds *c = calloc(1, sizeof *c);
    assert_non_null(c);
    snprintf(c->id, sizeof c->id, "%s", id ? id : "");
    snprintf(c->secret, sizeof c->secret, "%s", secret ? secret : "");
    return c;
}

void fake_creds_renew_as(struct creds *c, const char *id)
{
    snprintf(c->next, sizeof c->next, "%s", id);
}

unsigned fake_creds_expired(const struct creds *c)
{
    return c->expired;
}

void creds_free(struct creds *c)
{
    free(c);
}

int creds_get(struct creds *c, const struct cancel *cancel, struct creds_keys *out, struct err *err)
{
    (void)cancel;
    (void)err;
    if (c->stale)
        memcpy(c->id, c->next, sizeof c->id);
    c->stale = false;
    *out = (struct creds_keys){0};
    if (!c->id[0])
        return 0;
    out->storage = malloc(sizeof c->id + sizeof c->secret);
    assert_non_null(out->storage);
    memcpy(out->storage, c->id, sizeof c->id);
    memcpy(out->storage + sizeof c->id, c->secret, sizeof c->secret);
    out->keys = (struct s3_keys){.access_key_id = out->storage, .secret_access_key = out->storage + sizeof c->id};
    return 0;
}

void creds_keys_release(struct creds_keys *k)
{
    free(k->storage);
    *k = (struct creds_keys){0};
}

bool creds_peek(struct creds *c, struct creds_keys *out)
{
    struct err err = ERR_INIT;
    return !c->stale && creds_get(c, NULL, out, &err) == 0;
}

void creds_expired(struct creds *c, const char *access_key_id)
{
    c->expired++;
    c->stale = strcmp(c->id, access_key_id) == 0;
}

const char *creds_describe(struct creds *c)
{
    return c->id[0] ? "the job's own IAM keys" : "none (anonymous)";
}

const char *creds_region(struct creds *c)
{
    (void)c;
    return NULL;
}

bool creds_anonymous(struct creds *c)
{
    return !c->id[0];
}

/* ---- network ---- */

static const struct fake_answer *script;
static char sent[8192];
static fake_server *serving;
static void *serving_ctx;

void fake_serve(fake_server *serve, void *ctx)
{
    serving = serve;
    serving_ctx = ctx;
}

void fake_play(const struct fake_answer *answers)
{
    script = answers;
}

bool fake_played_out(void)
{
    return !script->expect;
}

const char *fake_headers(void)
{
    return sent;
}

/* Names and values point into one copy of the lines, which is the block that begins with the array. */
void fake_response(struct http_response *out, int status, const char *headers, const char *body)
{
    enum { MAX = 16 };
    *out = (struct http_response){.status = status};
    buf_init(&out->body, 1u << 20);
    if (body)
        buf_adds(&out->body, body);
    size_t n = headers ? strlen(headers) : 0;
    out->headers = calloc(1, MAX * sizeof *out->headers + n + 1);
    assert_non_null(out->headers);
    char *at = (char *)(out->headers + MAX);
    memcpy(at, headers ? headers : "", n);
    while (*at) {
        char *colon = strchr(at, ':'), *end = strchr(at, '\n');
        if (!colon || !end || out->header_count == MAX) {
            fail_msg("a script's headers must be lines: %s", at);
            return;
        }
        *colon = *end = '\0';
        out->headers[out->header_count++] = (struct http_header){at, colon + 2};
        at = end + 1;
    }
    const char *date = http_response_get(out, "date");
    struct err ignored = ERR_INIT;
    if (date)
        (void)time_parse_http(span_of(date), &out->date_ms, &ignored);
}

const char *http_response_get(const struct http_response *r, const char *name)
{
    for (size_t i = 0; i < r->header_count; i++)
        if (strcmp(r->headers[i].name, name) == 0)
            return r->headers[i].value;
    return NULL;
}

void http_response_release(struct http_response *r)
{
    buf_release(&r->body);
    free(r->headers);
    *r = (struct http_response){0};
}

static void note_headers(const struct http_request *req)
{
    const struct http_header *headers = NULL;
    size_t n = 0, used = 0;
    struct err err = ERR_INIT;
    sent[0] = '\0';
    if (req->sign)
        assert_int_equal(req->sign(req->sign_ctx, req->method ? req->method : "GET", req->url, &headers, &n, &err), 0);
    for (size_t i = 0; i < n; i++)
        used += (size_t)snprintf(sent + used, sizeof sent - used, "%s: %s\n", headers[i].name, headers[i].value);
}

int http_call(struct http *h, const struct http_request *req, struct http_response *resp, struct err *err)
{
    (void)h;
    if (serving)
        return serving(serving_ctx, req, resp, err);
    char asked[4096];
    snprintf(asked, sizeof asked, "%s %s", req->method ? req->method : "GET", req->url);
    if (!script->expect) {
        fail_msg("one request too many: %s", asked);
        return -1;
    }
    if (strncmp(asked, script->expect, strlen(script->expect)) != 0)
        fail_msg("asked %s\nnot   %s", asked, script->expect);
    note_headers(req);
    const struct fake_answer *a = script++;
    bool good = a->status == 0 || (a->status >= 200 && a->status < 300);
    fake_response(resp, a->status, a->headers, good && req->on_body ? NULL : a->body);
    if (good && req->on_body && a->body && req->on_body(req->ctx, resp, a->body, strlen(a->body), err) < 0) {
        http_response_release(resp);
        return -1;
    }
    if (a->status != 0)
        return 0;
    http_response_release(resp);
    return err_set(err, ERR_TRANSIENT, "connection reset");
}
