/* Composite checksums: the digests of an object's parts, by GetObjectAttributes of the S3 API. */
#include "base/buf.h"
#include "s3/s3_priv.h"
#include "s3/xml.h"

#include <stdio.h>
#include <stdlib.h>

#define PARTS_MAX 10000 /* of a multipart upload */
#define PAGES_MAX (PARTS_MAX / 100)

/* One answer, added to what earlier ones gave. */
struct reading {
    struct s3_parts *parts;
    enum digest_kind kind;
    const char *element; /* "ChecksumCRC32C" */
    uint64_t number, size;
    bool has_digest, truncated;
    uint64_t next_marker;
    char marker[24];     /* the same as text */
    uint64_t last_bytes; /* of the last part so far */
};

static const char *element_of(enum digest_kind kind)
{
    switch (kind) {
    case DIGEST_SHA256:
        return "ChecksumSHA256";
    case DIGEST_SHA1:
        return "ChecksumSHA1";
    case DIGEST_CRC64NVME:
        return "ChecksumCRC64NVME";
    case DIGEST_CRC32C:
        return "ChecksumCRC32C";
    default:
        return "ChecksumCRC32";
    }
}

/* Parts come in order, each as large as the first; only the last may be smaller. */
static int end_part(struct reading *r, struct err *err)
{
    struct s3_parts *p = r->parts;
    bool in_order = r->has_digest && r->number == p->n + 1 && r->size > 0;
    bool fits = p->n == 0 || (r->last_bytes == p->part_bytes && r->size <= p->part_bytes);
    if (!in_order || !fits || p->n == PARTS_MAX)
        return err_set(err, ERR_UNSUPPORTED, "parts that are not of one size");
    if (p->n == 0)
        p->part_bytes = r->size;
    p->total_bytes += r->size;
    r->last_bytes = r->size;
    p->n++;
    return 0;
}

static int open_element(void *ctx, const char *name, unsigned depth, struct err *err)
{
    struct reading *r = ctx;
    if (depth != 3 || strcmp(name, "Part") != 0)
        return 0;
    r->number = r->size = 0;
    r->has_digest = false;
    struct digest_value *bigger = reallocarray(r->parts->v, r->parts->n + 1, sizeof *bigger);
    if (!bigger)
        return err_nomem(err);
    r->parts->v = bigger;
    return 0;
}

static int close_element(void *ctx, const char *name, unsigned depth, struct span text, struct err *err)
{
    struct reading *r = ctx;
    struct span s = span_trim(text);
    if (depth == 3 && strcmp(name, "Part") == 0)
        return end_part(r, err);
    if (depth == 3 && strcmp(name, "IsTruncated") == 0)
        r->truncated = span_eq(s, SPAN_LIT("true"));
    else if (depth == 3 && strcmp(name, "NextPartNumberMarker") == 0)
        return span_to_u64(s, &r->next_marker, err);
    else if (depth == 4 && strcmp(name, "PartNumber") == 0)
        return span_to_u64(s, &r->number, err);
    else if (depth == 4 && strcmp(name, "Size") == 0)
        return span_to_u64(s, &r->size, err);
    else if (depth == 4 && strcmp(name, r->element) == 0 && r->parts->v) {
        r->has_digest = true;
        return digest_parse(r->kind, s, &r->parts->v[r->parts->n], err);
    }
    return 0;
}

static const struct xml_events events = {open_element, close_element};

static int read_page(struct reading *r, const struct http_response *resp, struct err *err)
{
    struct xml *x = xml_open(&events, r, S3_PARTS_BODY_MAX, err);
    int rc = x ? xml_feed(x, resp->body.p, resp->body.n, err) : -1;
    if (rc == 0)
        rc = xml_finish(x, err);
    xml_free(x);
    return rc;
}

static int fetch_pages(struct s3 *s3, struct s3_ask *ask, struct reading *r, struct err *err)
{
    for (unsigned pages = 0; pages < PAGES_MAX; pages++) {
        struct http_response resp;
        if (s3_exchange(s3, ask, NULL, &resp, err) < 0)
            return -1;
        r->truncated = false;
        int rc = s3_ok(resp.status) ? read_page(r, &resp, err) : err_set(err, ERR_DENIED, "HTTP %d", resp.status);
        http_response_release(&resp);
        if (rc < 0 || !r->truncated)
            return rc;
        snprintf(r->marker, sizeof r->marker, "%llu", (unsigned long long)r->next_marker);
        ask->part_marker = r->marker;
    }
    return err_set(err, ERR_PROTOCOL, "a list of parts without end");
}

bool s3_composite_kind(const struct http_response *resp, enum digest_kind *kind)
{
    static const enum digest_kind by_strength[] = {DIGEST_SHA256, DIGEST_SHA1, DIGEST_CRC64NVME, DIGEST_CRC32C,
                                                   DIGEST_CRC32};
    const char *type = http_response_get(resp, "x-amz-checksum-type");
    bool composite = type && span_eq_nocase(span_of(type), SPAN_LIT("COMPOSITE"));
    for (size_t i = 0; i < ARRAY_LEN(by_strength); i++) {
        char name[64];
        snprintf(name, sizeof name, "x-amz-checksum-%s", digest_name(by_strength[i]));
        const char *value = http_response_get(resp, name);
        *kind = by_strength[i];
        if (value && (composite || strchr(value, '-')))
            return true;
    }
    return false;
}

bool s3_read_parts(struct s3 *s3, const char *key, const char *version_id, enum digest_kind kind, uint64_t size,
                   struct s3_parts *out, struct err *why)
{
    AUTO_BUF query;
    buf_init(&query, S3_URL_MAX);
    buf_adds(&query, str_empty(version_id) ? "attributes" : "attributes&");
    *out = (struct s3_parts){0};
    struct reading r = {.parts = out, .kind = kind, .element = element_of(kind)};
    if (s3_version_query(version_id, &query, why) < 0)
        return false;
    struct s3_ask ask = {
        .action = S3_ACTION_GET, .method = "GET", .key = key, .query = buf_span(&query), .part_digests = true};
    if (fetch_pages(s3, &ask, &r, why) == 0 && out->n > 0 && out->total_bytes == size)
        return true;
    s3_parts_release(out);
    return false;
}

void s3_parts_release(struct s3_parts *p)
{
    free(p->v);
    *p = (struct s3_parts){0};
}
