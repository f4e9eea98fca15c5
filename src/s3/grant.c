#include "s3/grant.h"

#include "s3/upload.h"
#include "xfer/url.h"

#include <strings.h>

static int bad(struct err *err, const char *member, const char *expected)
{
    return err_set(err, ERR_INVALID, "grant: '%s': expected %s", member, expected);
}

/* A member that is a whole number above 0; absent is `otherwise`. */
static int read_number(const json_t *doc, const char *name, uint64_t otherwise, uint64_t *out, struct err *err)
{
    int64_t n = 0;
    *out = otherwise;
    if (!json_object_get(doc, name))
        return 0;
    if (!json_get_i64(doc, name, &n) || n <= 0)
        return bad(err, name, "a whole number above 0");
    *out = (uint64_t)n;
    return 0;
}

static bool is_web_url(const char *url)
{
    return url && strlen(url) < URL_LENGTH_MAX &&
           (strncasecmp(url, "https://", 8) == 0 || strncasecmp(url, "http://", 7) == 0);
}

static int read_url(const json_t *doc, const char *name, const char **out, struct err *err)
{
    *out = json_get_str(doc, name);
    return is_web_url(*out) ? 0 : bad(err, name, "an https:// URL");
}

static int read_headers(const json_t *doc, struct arena *a, struct s3_grant *out, struct err *err)
{
    json_t *headers = json_object_get(doc, "headers");
    if (!headers)
        return 0;
    size_t n = json_object_size(headers), i = 0;
    if (!json_is_object(headers) || n > S3_GRANT_HEADERS_MAX)
        return bad(err, "headers", "an object of at most 32 strings");
    struct http_header *list = arena_array(a, n + 1, sizeof *list);
    if (!list)
        return arena_check(a, err);
    for (void *at = json_object_iter(headers); at; at = json_object_iter_next(headers, at)) {
        list[i] = (struct http_header){json_object_iter_key(at), json_string_value(json_object_iter_value(at))};
        if (!list[i].value || !list[i].name[0])
            return bad(err, "headers", "an object of at most 32 strings");
        i++;
    }
    out->headers = list;
    out->header_count = i;
    return 0;
}

static int read_parts(const json_t *doc, struct arena *a, struct s3_grant *out, struct err *err)
{
    const json_t *parts = json_object_get(doc, "parts");
    size_t n = json_array_size(parts);
    if (read_number(doc, "part_size", 0, &out->part_bytes, err) < 0)
        return -1;
    if (out->part_bytes < S3_PART_MIN || out->part_bytes > S3_GRANT_PART_MAX)
        return bad(err, "part_size", "5 MiB to 64 MiB, in bytes");
    if ((parts && !json_is_array(parts)) || n > S3_PARTS_MAX)
        return bad(err, "parts", "a list of at most 10,000 URLs");
    out->parts = arena_array(a, n + 1, sizeof *out->parts);
    if (!out->parts)
        return arena_check(a, err);
    for (size_t i = 0; i < n; i++) {
        out->parts[i] = json_string_value(json_array_get(parts, i));
        if (!is_web_url(out->parts[i]))
            return bad(err, "parts", "https:// URLs");
    }
    out->part_count = n;
    return read_url(doc, "complete", &out->complete, err) < 0 ? -1 : read_url(doc, "abort", &out->abort, err);
}

static int read_method(const json_t *doc, struct arena *a, struct s3_grant *out, struct err *err)
{
    const char *method = json_get_str(doc, "method");
    if (str_eq(method, "put")) {
        out->method = S3_GRANT_PUT;
        return read_url(doc, "url", &out->url, err);
    }
    if (str_eq(method, "multipart")) {
        out->method = S3_GRANT_MULTIPART;
        return read_parts(doc, a, out, err);
    }
    return err_set(err, ERR_UNSUPPORTED, "grant: 'method': this version knows put and multipart");
}

int s3_grant_read(const json_t *document, struct arena *a, struct s3_grant *out, struct err *err)
{
    struct s3_grant g = {0};
    int64_t version = 0;
    uint64_t expires = 0;
    if (!json_is_object(document) || !json_get_i64(document, "version", &version))
        return err_set(err, ERR_INVALID, "not a grant: expected an object with 'version' and 'method'");
    if (version != S3_GRANT_VERSION)
        return err_set(err, ERR_UNSUPPORTED, "grant: 'version': this version of berth knows %d", S3_GRANT_VERSION);
    if (read_method(document, a, &g, err) < 0 || read_headers(document, a, &g, err) < 0 ||
        read_number(document, "max_bytes", 0, &g.max_bytes, err) < 0 ||
        read_number(document, "expires_unix", 0, &expires, err) < 0)
        return -1;
    if (expires > INT64_MAX / 1000)
        return bad(err, "expires_unix", "seconds since 1970");
    g.expires_ms = (int64_t)expires * 1000;
    g.result = json_object_get(document, "result");
    if (g.result && !json_is_object(json_object_get(g.result, "Params")))
        return bad(err, "result", "an object with 'Type' and 'Params'");
    *out = g;
    return 0;
}
