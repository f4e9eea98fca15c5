#include "s3/presigned_priv.h"

#include "base/clock.h"
#include "xfer/url.h"

#include <stdio.h>
#include <strings.h>

#define NAME_MAX_BYTES  1024
#define CLEAN_UP_MS     15000
#define OWN_HEADERS     2
#define MD5_BASE64_ROOM 32

/* ---- what an answer means ---- */

static void name_place(const char *url, char out[NAME_MAX_BYTES])
{
    AUTO_BUF text;
    buf_init(&text, URL_LENGTH_MAX);
    struct span place, query;
    span_cut(span_of(url), '?', &place, &query);
    url_redact(place, &text);
    snprintf(out, NAME_MAX_BYTES, "%s", buf_str(&text));
}

static bool is_one_of(const char *code, const char *const *codes)
{
    for (; *codes; codes++)
        if (strcmp(code, *codes) == 0)
            return true;
    return false;
}

/* Servers say it by a code of its own, or as AccessDenied in words ("Request has expired"). */
static bool has_expired(const struct fault *f, const struct s3_grant *grant)
{
    static const char *const codes[] = {"ExpiredToken", "ExpiredRequest", "RequestExpired", "TokenRefreshRequired",
                                        NULL};
    return is_one_of(f->code, codes) || strcasestr(f->message, "expired") ||
           (grant->expires_ms && clock_wall_ms() >= grant->expires_ms);
}

static int report_denied(const struct fault *f, const struct s3_grant *grant, const char *place, struct err *err)
{
    if (has_expired(f, grant)) {
        char time[TIME_MAX];
        err_set(err, ERR_DENIED, "%s: the grant to upload has expired (HTTP %d %s)", place, f->status, f->code);
        return grant->expires_ms
                   ? err_hint(err, "it was good until %s; ask for a new one", time_iso(time, grant->expires_ms))
                   : err_hint(err, "ask for a new one");
    }
    err_set(err, ERR_DENIED, "%s: the grant to upload was refused (HTTP %d %s)", place, f->status, f->code);
    return strcmp(f->code, "SignatureDoesNotMatch") == 0
               ? err_hint(err, "headers that were signed must be in the grant's 'headers' as they were signed")
               : err_hint(err, "whoever signed it may not write there, or it was signed for another method");
}

/* The message of the server is not repeated: it may quote what was signed. */
static int report(const struct fault *f, const struct s3_grant *grant, const char *place, struct err *err)
{
    static const char *const damaged[] = {"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", NULL};
    static const char *const too_large[] = {"EntityTooLarge", "QuotaExceeded", NULL};
    static const char *const gone[] = {"NoSuchUpload", "NoSuchBucket", NULL};
    if (is_one_of(f->code, damaged))
        return err_set(err, ERR_CHANGED, "%s: what arrived is not what was sent (HTTP %d %s)", place, f->status,
                       f->code);
    if (f->status == 413 || is_one_of(f->code, too_large))
        return err_set(err, ERR_LIMIT, "%s: larger than the server takes (HTTP %d %s)", place, f->status, f->code);
    if (f->status == 401 || f->status == 403 || has_expired(f, grant))
        return report_denied(f, grant, place, err);
    if (f->status == 404 || is_one_of(f->code, gone))
        return err_set(err, ERR_NOTFOUND, "%s: the upload, or its bucket, is no more (HTTP %d %s)", place, f->status,
                       f->code);
    if (f->status == 412)
        return err_set(err, ERR_EXISTS, "%s: there is an object already (HTTP %d)", place, f->status);
    bool later = f->status < 300 || f->status >= 500 || f->status == 408 || f->status == 429;
    return err_set(err, later ? ERR_TRANSIENT : ERR_PROTOCOL, "%s: the upload failed (HTTP %d %s)", place, f->status,
                   f->code);
}

/* ---- asking ---- */

/* Signature Version 4 covers the headers that it names; older ones cover Content-MD5 whether it was there or not. */
static bool takes_md5(const struct presigned_ask *ask)
{
    for (size_t i = 0; i < ask->header_count; i++)
        if (strcasecmp(ask->headers[i].name, "Content-MD5") == 0)
            return false;
    return ask->md5 && strstr(ask->url, "X-Amz-Signature=");
}

static int send_ask(const struct s3_granted_opts *opts, const struct presigned_ask *ask, struct http_response *resp,
                    struct err *err)
{
    struct http_header headers[S3_GRANT_HEADERS_MAX + OWN_HEADERS];
    size_t n = 0;
    AUTO_BUF md5;
    buf_init(&md5, MD5_BASE64_ROOM);
    for (; n < ask->header_count; n++)
        headers[n] = ask->headers[n];
    if (takes_md5(ask)) {
        digest_base64(&md5, ask->md5);
        headers[n++] = (struct http_header){"Content-MD5", buf_str(&md5)};
    }
    if (strcmp(ask->method, "POST") == 0)
        headers[n++] = (struct http_header){"Content-Type", "application/xml"};
    const struct http_request req = {.method = ask->method,
                                     .url = ask->url,
                                     .headers = headers,
                                     .header_count = n,
                                     .body = ask->body,
                                     .read_body = ask->read_body,
                                     .ctx = ask->ctx,
                                     .body_length = ask->body_length,
                                     .body_max = FAULT_BODY_MAX,
                                     .idle_timeout_ms = ask->idle_timeout_ms,
                                     .total_timeout_ms = ask->cleaning_up ? CLEAN_UP_MS : 0,
                                     .tries = PRESIGNED_TRIES,
                                     .keep_redirects = true,
                                     .cancel = ask->cleaning_up ? NULL : opts->cancel};
    return http_call(opts->http, &req, resp, err);
}

int presigned_call(const struct s3_granted_opts *opts, const struct s3_grant *grant, const struct presigned_ask *ask,
                   struct http_response *resp, struct err *err)
{
    char place[NAME_MAX_BYTES];
    struct fault f;
    if (send_ask(opts, ask, resp, err) < 0)
        return -1;
    fault_read(&f, resp->status, NULL, resp->date_ms, buf_span(&resp->body));
    if (resp->status >= 200 && resp->status < 300 && f.code[0] == '\0') /* an error can come after the head said 200 */
        return 0;
    name_place(ask->url, place);
    http_response_release(resp);
    return report(&f, grant, place, err);
}

int presigned_stored(const struct http_response *resp, uint64_t size, struct s3_stored *out, struct err *err)
{
    const char *etag = http_response_get(resp, "etag"), *version = http_response_get(resp, "x-amz-version-id");
    *out = (struct s3_stored){.size = size};
    if ((etag && !(out->etag = str_dup(etag, err))) || (version && !(out->version_id = str_dup(version, err)))) {
        s3_stored_release(out);
        return -1;
    }
    return 0;
}
