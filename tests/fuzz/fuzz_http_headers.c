/* Heads from any server: status line and fields are taken within their bounds or refused with an error, names are lower
 * case tokens, no text is torn, Retry-After never asks for more than its bound, and a redirect never leaves http(s). */
#include "xfer/retry.h"
#include "xfer/xfer_common.h"

#include <stdlib.h>
#include <string.h>

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void check_response(const struct http_response *r)
{
    size_t bytes = 0;
    require(r->status == 0 || (r->status >= 100 && r->status <= 599));
    require(r->header_count <= XFER_HEADERS_MAX);
    for (size_t i = 0; i < r->header_count; i++) {
        const struct http_header *h = &r->headers[i];
        bytes += strlen(h->name) + strlen(h->value);
        require(h->name[0] && !strpbrk(h->name, " \t:\r\nABCDEFGHIJKLMNOPQRSTUVWXYZ"));
        require(!strpbrk(h->value, "\r\n"));
        require(http_response_get(r, h->name) != NULL);
    }
    require(bytes == r->header_bytes && bytes <= XFER_HEAD_BYTES_MAX);
}

static void check_retry_after(const struct http_response *r)
{
    const char *header = http_response_get(r, "retry-after");
    if (!header)
        return;
    const int64_t nows[] = {0, INT64_MIN, INT64_MAX, r->date_ms};
    struct rng rng = {.state = 1};
    for (size_t i = 0; i < ARRAY_LEN(nows); i++) {
        uint64_t asked = retry_after_ms(span_of(header), nows[i]);
        require(asked <= RETRY_AFTER_MAX_MS);
        require(retry_delay_ms((unsigned)i, asked, &rng) >= asked);
    }
}

static void check_redirect(const struct http_response *r)
{
    struct err err = ERR_INIT;
    struct arena *a = arena_new(0, &err);
    struct url from;
    struct xfer_redirect to;
    const struct xfer_policy policy = {.public_only = true};
    require(a && url_parse(a, SPAN_LIT("https://origin.example/a/b?c"), &from, &err) == 0);
    if (xfer_redirect_decide(a, &policy, "POST", &from, 0, r, &to, &err) == 0 && to.follow) {
        require(str_eq(to.to.scheme, "http") || str_eq(to.to.scheme, "https"));
        require(to.other_origin == !url_same_origin(&from, &to.to));
        require(!str_eq(to.to.host, "127.0.0.1") && !str_eq(to.to.host, "169.254.169.254"));
    }
    arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_response r;
    http_response_init(&r, 16);
    struct span rest = {(const char *)data, size}, line;
    struct err err = ERR_INIT;
    bool more = span_cut(rest, '\n', &line, &rest);
    if (http_response_status_line(&r, line, &err) == 0) {
        while (more && !err_is_set(&err)) {
            more = span_cut(rest, '\n', &line, &rest);
            size_t before = r.header_count;
            int rc = http_response_field_line(&r, line, &err);
            require((rc == 0) == !err_is_set(&err) && r.header_count == before + (rc == 0));
        }
        check_retry_after(&r);
        check_redirect(&r);
    }
    check_response(&r);
    http_response_release(&r);
    return 0;
}
