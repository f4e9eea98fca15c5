#include "fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define HEADERS_MAX 16

static const struct fake_answer *script;
static char authorization[256];
void (*fake_pause)(bool on);

void fake_play(const struct fake_answer *answers)
{
    script = answers;
}

bool fake_played_out(void)
{
    return !script->expect;
}

const char *fake_authorization(void)
{
    return authorization[0] ? authorization : NULL;
}

/* Names and values point into one copy of the lines, in the block that begins with the array. */
void fake_response(struct http_response *out, int status, const char *headers, const char *body)
{
    size_t n = headers ? strlen(headers) : 0;
    *out = (struct http_response){.status = status};
    buf_init(&out->body, 1u << 20);
    buf_adds(&out->body, body ? body : "");
    out->headers = calloc(1, HEADERS_MAX * sizeof *out->headers + n + 1);
    assert_non_null(out->headers);
    char *at = (char *)(out->headers + HEADERS_MAX);
    memcpy(at, headers ? headers : "", n);
    while (*at) {
        char *colon = strchr(at, ':'), *end = strchr(at, '\n');
        assert_true(colon && end && out->header_count < HEADERS_MAX);
        *colon = *end = '\0';
        out->headers[out->header_count++] = (struct http_header){at, colon + 2};
        at = end + 1;
    }
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

int http_call(struct http *h, const struct http_request *req, struct http_response *resp, struct err *err)
{
    (void)h;
    char asked[4096];
    snprintf(asked, sizeof asked, "%s %s", req->method, req->url);
    assert_non_null(script->expect);
    assert_string_equal(asked, script->expect);
    snprintf(authorization, sizeof authorization, "%s", req->header_count ? req->headers[0].value : "");
    const struct fake_answer *a = script++;
    if (a->status == 0)
        return err_set(err, ERR_TRANSIENT, "connection reset");
    if (fake_pause)
        fake_pause(true);
    fake_response(resp, a->status, a->headers, a->body);
    snprintf(resp->effective_url, sizeof resp->effective_url, "%s", a->landed ? a->landed : req->url);
    if (fake_pause)
        fake_pause(false);
    return 0;
}
