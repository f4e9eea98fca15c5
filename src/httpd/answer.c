/* What goes back: bodies, fixed content with an ETag, files, streams, and the frame's own errors. */
#include "httpd/httpd_priv.h"

#include "base/clock.h"
#include "base/json.h"

#include <inttypes.h>
#include <unistd.h>

static const struct {
    int status;
    const char *code, *message, *hint;
} own_errors[] = {
    {400, "invalid", "the request is malformed", NULL},
    {404, "not_found", "there is nothing at this path", "see /api/v1/openapi.json"},
    {405, "method", "this path has no such method", "the header Allow names those it has"},
    {413, "too_large", "the request's body is larger than this path takes", NULL},
    {431, "too_large", "the request's head is too large", NULL},
    {503, "busy", "the server is stopping, or has too much to do", "try again a little later"},
    {500, "internal", "the server failed", "its log says why"},
};

static void add_common_headers(struct MHD_Response *response)
{
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(response, "X-Frame-Options", "DENY");
    MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
    MHD_add_response_header(response, "Content-Security-Policy",
                            "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'");
}

static enum MHD_Result queue(struct httpd_request *r, int status, struct MHD_Response *response)
{
    if (!response)
        return MHD_NO;
    r->status = status;
    add_common_headers(response);
    enum MHD_Result rc = MHD_queue_response(r->connection, (unsigned)status, response);
    MHD_destroy_response(response);
    return rc;
}

enum MHD_Result answer_error(struct httpd_request *r, int status)
{
    size_t i = 0;
    while (i + 1 < ARRAY_LEN(own_errors) && own_errors[i].status != status)
        i++;
    struct err err = ERR_INIT;
    AUTO_JSON out = json_object();
    json_t *error = json_object();
    AUTO_BUF text, allowed;
    buf_init(&text, 4096);
    buf_init(&allowed, 256);
    json_put_str(error, "code", own_errors[i].code, &err);
    json_put_str(error, "message", own_errors[i].message, &err);
    if (own_errors[i].hint)
        json_put_str(error, "hint", own_errors[i].hint, &err);
    json_put(out, "error", error, &err);
    if (err_is_set(&err) || json_write(out, false, &text, &err) < 0)
        return MHD_NO;
    struct MHD_Response *response = MHD_create_response_from_buffer(text.n, text.p, MHD_RESPMEM_MUST_COPY);
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, "Content-Type", "application/json");
    if (status == 503)
        MHD_add_response_header(response, "Retry-After", "1");
    if (status == 405) {
        route_allowed(r->h->opts.routes, r->h->opts.route_count, r->path, &allowed);
        MHD_add_response_header(response, "Allow", buf_str(&allowed));
    }
    return queue(r, status, response);
}

/* --- streams ------------------------------------------------------------------------------------------------------ */

static ssize_t read_stream(void *cls, uint64_t pos, char *out, size_t max)
{
    struct httpd_request *r = cls;
    (void)pos;
    for (;;) {
        if (r->piece_sent < r->piece.n) {
            size_t n = r->piece.n - r->piece_sent < max ? r->piece.n - r->piece_sent : max;
            memcpy(out, r->piece.p + r->piece_sent, n);
            r->piece_sent += n;
            return (ssize_t)n;
        }
        if (r->ended || atomic_load(&r->h->stopping))
            return MHD_CONTENT_READER_END_OF_STREAM;
        uint32_t wait_ms = 0;
        buf_reset(&r->piece);
        r->piece_sent = 0;
        waits_begin_run(r);
        r->ended = r->stream->next(r->stream_ctx, r, &r->piece, &wait_ms) == 0;
        if (r->piece.state != BUF_OK)
            return MHD_CONTENT_READER_END_WITH_ERROR;
        if (r->piece.n == 0 && !r->ended && waits_suspend(r, wait_ms))
            return 0;
    }
}

static void add_own_headers(struct MHD_Response *response, const struct httpd_response *resp)
{
    if (resp->content_type)
        MHD_add_response_header(response, "Content-Type", resp->content_type);
    for (size_t i = 0; i < resp->header_count; i++)
        MHD_add_response_header(response, resp->headers[i].name, resp->headers[i].value);
}

static enum MHD_Result answer_stream(struct httpd_request *r, struct httpd_response *resp)
{
    r->stream = resp->stream;
    r->stream_ctx = resp->stream_ctx;
    buf_init(&r->piece, STREAM_MAX);
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_PIECE, read_stream, r, NULL);
    if (!response)
        return MHD_NO;
    add_own_headers(response, resp);
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "X-Accel-Buffering", "no"); /* proxies are to pass events on at once */
    return queue(r, resp->status, response);
}

/* --- bodies ------------------------------------------------------------------------------------------------------- */

void httpd_add_header(struct httpd_response *resp, const char *name, const char *value)
{
    if (!value || resp->header_count == HTTPD_HEADERS_MAX)
        return;
    for (const char *p = value; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return;
    resp->headers[resp->header_count].name = name;
    resp->headers[resp->header_count++].value = value;
}

static void etag_of(struct span fixed, char out[24])
{
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
    for (size_t i = 0; i < fixed.n; i++)
        hash = (hash ^ (uint8_t)fixed.p[i]) * UINT64_C(1099511628211);
    snprintf(out, 24, "\"%016" PRIx64 "\"", hash);
}

/* If-None-Match (RFC 9110, 13.1.2): "*", or a list of tags, each perhaps weak. */
static bool client_has(const char *header, const char *etag)
{
    struct span rest = span_of(header), tag;
    bool more = rest.n > 0;
    while (more) {
        more = span_cut(rest, ',', &tag, &rest);
        tag = span_trim(tag);
        if (span_starts(tag, SPAN_LIT("W/")))
            tag = (struct span){tag.p + 2, tag.n - 2};
        if (span_eq(tag, SPAN_LIT("*")) || span_eq(tag, span_of(etag)))
            return true;
    }
    return false;
}

static enum MHD_Result answer_fixed(struct httpd_request *r, struct httpd_response *resp)
{
    char etag[24];
    etag_of(resp->fixed, etag);
    bool same = client_has(httpd_header(r, "If-None-Match"), etag);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(same ? 0 : resp->fixed.n, (void *)resp->fixed.p, MHD_RESPMEM_PERSISTENT);
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, "ETag", etag);
    MHD_add_response_header(response, "Cache-Control", "no-cache");
    add_own_headers(response, resp);
    return queue(r, same ? 304 : resp->status, response);
}

static enum MHD_Result answer_body(struct httpd_request *r, struct httpd_response *resp)
{
    if (resp->body.state != BUF_OK)
        return answer_error(r, 500);
    struct MHD_Response *response =
        resp->body.n ? MHD_create_response_from_buffer(resp->body.n, resp->body.p, MHD_RESPMEM_MUST_FREE)
                     : MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT);
    if (!response)
        return MHD_NO;
    if (resp->body.n)
        resp->body = (struct buf){0}; /* the response frees it */
    add_own_headers(response, resp);
    MHD_add_response_header(response, "Cache-Control", "no-store");
    return queue(r, resp->status, response);
}

static enum MHD_Result answer_file(struct httpd_request *r, struct httpd_response *resp)
{
    struct MHD_Response *response = file_response(r, resp);
    if (!response)
        return answer_error(r, 500);
    add_own_headers(response, resp);
    return queue(r, resp->status, response);
}

enum MHD_Result answer(struct httpd_request *r, struct httpd_response *resp)
{
    if (resp->file.given)
        return answer_file(r, resp);
    if (resp->stream)
        return answer_stream(r, resp);
    return resp->fixed.p ? answer_fixed(r, resp) : answer_body(r, resp);
}
