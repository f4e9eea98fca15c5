#include "stage/url_answer_priv.h"

#include "base/clock.h"

#include <ctype.h>

#define MD5_HEX 32

static void copy_validator(char out[URL_VALIDATOR_MAX], const char *value)
{
    if (value && strlen(value) < URL_VALIDATOR_MAX)
        memcpy(out, value, strlen(value) + 1);
}

/* "bytes 0-0/1234", with an asterisk before the slash where the range is not in the file, after it where its size is
 * not known. */
static uint64_t read_size(const struct http_response *resp)
{
    struct err unknown = ERR_INIT;
    struct span range, total;
    uint64_t size;
    const char *text = http_response_get(resp, "content-range");
    if (text && span_cut(span_of(text), '/', &range, &total))
        return span_to_u64(span_trim(total), &size, &unknown) == 0 ? size : XFER_SIZE_UNKNOWN;
    text = http_response_get(resp, "content-length");
    bool whole = resp->status != 206 && resp->status != 416;
    return whole && text && span_to_u64(span_of(text), &size, &unknown) == 0 ? size : XFER_SIZE_UNKNOWN;
}

/* --- digests ------------------------------------------------------------------------------------------------------ */

struct named_digest {
    const char *name;
    enum digest_kind kind;
};

static bool take_digest(struct url_answer *out, enum digest_kind kind, struct span text)
{
    struct err odd = ERR_INIT;
    if (out->has_digest || digest_parse(kind, text, &out->digest, &odd) < 0)
        return false;
    out->has_digest = true;
    return true;
}

/* "sha-256=:…:, md5=…": the member called `wanted`. Colons are the structured form's (RFC 8941, 3.3.5). */
static bool take_member(struct url_answer *out, const char *field, const struct named_digest *wanted)
{
    struct span rest = span_of(field), one, name, value, ignored;
    while (rest.n > 0) {
        span_cut(rest, ',', &one, &rest);
        if (!span_cut(span_trim(one), '=', &name, &value) || !span_eq_nocase(span_trim(name), span_of(wanted->name)))
            continue;
        span_cut(value, ';', &value, &ignored);
        value = span_trim(value);
        if (value.n >= 2 && value.p[0] == ':' && value.p[value.n - 1] == ':')
            value = (struct span){value.p + 1, value.n - 2};
        if (take_digest(out, wanted->kind, value))
            return true;
    }
    return false;
}

/* An ETag is the MD5 of what one PUT stored, unless a key of KMS or of the customer encrypts it ("Object" of the S3 API
 * reference). */
static void take_s3_etag(const struct http_response *resp, struct url_answer *out)
{
    const char *sse = http_response_get(resp, "x-amz-server-side-encryption");
    bool keyed = (sse && strncmp(sse, "aws:kms", strlen("aws:kms")) == 0) ||
                 http_response_get(resp, "x-amz-server-side-encryption-customer-algorithm");
    struct span text = span_of(out->etag);
    if (keyed || !http_response_get(resp, "x-amz-request-id") || text.n != MD5_HEX + 2 || text.p[0] != '"')
        return;
    for (size_t i = 1; i <= MD5_HEX; i++)
        if (!isxdigit((unsigned char)text.p[i]))
            return;
    take_digest(out, DIGEST_MD5, (struct span){text.p + 1, MD5_HEX});
}

static void read_digest(const struct http_response *resp, struct url_answer *out)
{
    static const struct named_digest by_strength[] = {
        {"sha-256", DIGEST_SHA256}, {"md5", DIGEST_MD5}, {"crc32c", DIGEST_CRC32C}};
    static const char *const fields[] = {"repr-digest", "digest", "x-goog-hash"};
    for (size_t d = 0; d < ARRAY_LEN(by_strength); d++)
        for (size_t i = 0; i < resp->header_count; i++)
            for (size_t f = 0; f < ARRAY_LEN(fields); f++)
                if (str_eq(resp->headers[i].name, fields[f]) &&
                    take_member(out, resp->headers[i].value, &by_strength[d]))
                    return;
    const char *md5 = http_response_get(resp, "content-md5");
    if (md5 && resp->status == 200)
        take_digest(out, DIGEST_MD5, span_of(md5));
    take_s3_etag(resp, out);
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

void url_answer_read(const struct http_response *resp, struct url_answer *out)
{
    struct err odd = ERR_INIT;
    *out = (struct url_answer){.size = read_size(resp)};
    copy_validator(out->etag, http_response_get(resp, "etag"));
    copy_validator(out->modified_text, http_response_get(resp, "last-modified"));
    if (out->modified_text[0] && time_parse_http(span_of(out->modified_text), &out->modified_ms, &odd) < 0)
        out->modified_ms = 0;
    struct span type, parameters;
    span_cut(span_of(http_response_get(resp, "content-type")), ';', &type, &parameters);
    out->html = span_eq_nocase(span_trim(type), SPAN_LIT("text/html"));
    read_digest(resp, out);
}

bool url_etag_is_strong(const char *etag)
{
    return etag[0] == '"';
}

static const char *opaque_part(const char *etag)
{
    return strncmp(etag, "W/", 2) == 0 ? etag + 2 : etag;
}

const char *url_answer_differs(const struct url_answer *before, const struct url_answer *now)
{
    if (before->etag[0] && now->etag[0])
        return str_eq(opaque_part(before->etag), opaque_part(now->etag)) ? NULL : "ETag";
    if (before->modified_text[0] && now->modified_text[0] && !str_eq(before->modified_text, now->modified_text))
        return "Last-Modified";
    if (before->size != XFER_SIZE_UNKNOWN && now->size != XFER_SIZE_UNKNOWN && before->size != now->size)
        return "size";
    return NULL;
}
