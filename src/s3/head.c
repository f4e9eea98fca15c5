#include "s3/s3_priv.h"

#include "base/clock.h"
#include "base/pool.h"

#include <ctype.h>
#include <stdio.h>

/* ---- asking ---- */

/* HEAD answers have no body. Where one says no, the first byte is asked for: its answer tells why, and some gateways
 * know no HEAD, as URLs that were signed for GET do. */
int s3_head_ask(struct s3 *s3, const char *key, const char *version_id, struct http_response *resp, struct err *err)
{
    AUTO_BUF query;
    buf_init(&query, S3_URL_MAX);
    if (s3_version_query(version_id, &query, err) < 0)
        return -1;
    struct s3_ask ask = {
        .action = S3_ACTION_HEAD, .method = "HEAD", .key = key, .query = buf_span(&query), .checksum_mode = true};
    if (s3_exchange(s3, &ask, NULL, resp, err) < 0)
        return -1;
    if (s3_ok(resp->status))
        return 0;
    http_response_release(resp);
    ask.method = "GET";
    ask.range = "bytes=0-0";
    return s3_exchange(s3, &ask, NULL, resp, err);
}

/* ---- reading ---- */

bool s3_md5_etags(struct s3 *s3, const struct http_response *resp)
{
    const struct s3_place *p = s3_place_now(s3);
    if (p->style == S3_STYLE_PLAIN)
        return false;
    bool listed = s3_settled(s3) && s3->places.n > 1; /* it answered as S3 does */
    return p->service != S3_SERVICE_OTHER || listed || http_response_get(resp, "x-amz-request-id");
}

static bool take_digest(struct xfer_want *want, enum digest_kind kind, struct span text)
{
    struct err ignored = ERR_INIT; /* composite values end in "-N" and are not of the whole object */
    if (want->has_full || digest_parse(kind, text, &want->full, &ignored) < 0)
        return false;
    want->has_full = true;
    return true;
}

/* "crc32c=n03x6A==,md5=Ojk9c3dhfxgoKVVHYwFbHQ==": Google's own, in one header or several. */
static void take_google(const struct http_response *resp, struct xfer_want *want)
{
    for (size_t i = 0; i < resp->header_count; i++) {
        struct span rest = span_of(resp->headers[i].value), one, name, value;
        if (strcmp(resp->headers[i].name, "x-goog-hash") != 0)
            continue;
        while (rest.n > 0) {
            span_cut(rest, ',', &one, &rest);
            span_cut(span_trim(one), '=', &name, &value);
            if (span_eq(name, SPAN_LIT("md5")))
                take_digest(want, DIGEST_MD5, value);
            else if (span_eq(name, SPAN_LIT("crc32c")))
                take_digest(want, DIGEST_CRC32C, value);
        }
    }
}

/* An ETag is the MD5 of objects stored by one PUT, unless they are encrypted by KMS or a customer's key ("Object" of
 * the S3 API reference). */
static void take_etag(const struct http_response *resp, struct xfer_want *want)
{
    const char *etag = http_response_get(resp, "etag"), *sse = http_response_get(resp, "x-amz-server-side-encryption");
    bool keyed = (sse && strncmp(sse, "aws:kms", 7) == 0) ||
                 http_response_get(resp, "x-amz-server-side-encryption-customer-algorithm") ||
                 http_response_get(resp, "x-amz-server-side-encryption-aws-kms-key-id");
    struct span text = span_of(etag);
    if (keyed || text.n != 34 || text.p[0] != '"' || text.p[33] != '"')
        return;
    for (size_t i = 1; i <= 32; i++)
        if (!isxdigit((unsigned char)text.p[i]))
            return;
    take_digest(want, DIGEST_MD5, (struct span){text.p + 1, 32});
}

void s3_learn_digest(const struct http_response *resp, bool whole, bool md5_etags, struct xfer_want *want)
{
    static const enum digest_kind by_strength[] = {DIGEST_SHA256, DIGEST_SHA1, DIGEST_CRC64NVME, DIGEST_CRC32C,
                                                   DIGEST_CRC32};
    const char *type = http_response_get(resp, "x-amz-checksum-type");
    bool full = type && span_eq_nocase(span_of(type), SPAN_LIT("FULL_OBJECT"));
    bool composite = type && span_eq_nocase(span_of(type), SPAN_LIT("COMPOSITE"));
    for (size_t i = 0; (full || (whole && !composite)) && i < ARRAY_LEN(by_strength); i++) {
        char name[64];
        snprintf(name, sizeof name, "x-amz-checksum-%s", digest_name(by_strength[i]));
        const char *value = http_response_get(resp, name);
        if (value && take_digest(want, by_strength[i], span_of(value)))
            return;
    }
    take_google(resp, want);
    if (md5_etags)
        take_etag(resp, want);
}

uint64_t s3_read_size(const struct http_response *resp)
{
    struct err ignored = ERR_INIT;
    uint64_t size;
    struct span range, total;
    const char *text = http_response_get(resp, "content-range");
    if (text && span_cut(span_of(text), '/', &range, &total) && span_to_u64(total, &size, &ignored) == 0)
        return size;
    err_clear(&ignored);
    text = http_response_get(resp, "content-length");
    return resp->status != 206 && text && span_to_u64(span_of(text), &size, &ignored) == 0 ? size : XFER_SIZE_UNKNOWN;
}

static bool read_archived(const struct http_response *resp)
{
    const char *name = http_response_get(resp, "x-amz-storage-class"),
               *restore = http_response_get(resp, "x-amz-restore");
    bool archived = (name && (strcmp(name, "GLACIER") == 0 || strcmp(name, "DEEP_ARCHIVE") == 0)) ||
                    http_response_get(resp, "x-amz-archive-status");
    return archived && !(restore && strstr(restore, "ongoing-request=\"false\""));
}

int s3_head_read(struct s3 *s3, const char *key, const char *version_id, const struct http_response *resp,
                 struct arena *a, struct s3_object *out, struct err *err)
{
    uint64_t size = s3_read_size(resp);
    bool empty = resp->status == 416 && size == 0; /* the first byte of nothing */
    if (!s3_ok(resp->status) && !empty) {
        struct fault f;
        const struct s3_ask ask = {.action = S3_ACTION_HEAD, .key = key};
        s3_read_fault(resp, &f);
        return s3_report(s3, &ask, &f, version_id != NULL, err);
    }
    struct err ignored = ERR_INIT;
    const char *date = http_response_get(resp, "last-modified");
    *out = (struct s3_object){.key = arena_dup(a, key),
                              .size = size,
                              .etag = arena_dup(a, http_response_get(resp, "etag")),
                              .version_id = arena_dup(a, version_id),
                              .storage_class = arena_dup(a, http_response_get(resp, "x-amz-storage-class")),
                              .archived = read_archived(resp),
                              .looked = true};
    if (date && time_parse_http(span_of(date), &out->modified_ms, &ignored) < 0)
        out->modified_ms = 0;
    s3_learn_digest(resp, resp->status == 200, s3_md5_etags(s3, resp), &out->want);
    return arena_check(a, err);
}

int s3_refuse_archived(struct s3 *s3, const char *key, struct err *err)
{
    const struct fault f = {.status = 403, .code = "InvalidObjectState"};
    const struct s3_ask ask = {.action = S3_ACTION_GET, .key = key};
    return s3_report(s3, &ask, &f, false, err);
}

int s3_head(struct s3 *s3, const char *key, const char *version_id, struct arena *a, struct s3_object *out,
            struct err *err)
{
    struct http_response resp;
    if (s3_head_ask(s3, key, version_id, &resp, err) < 0)
        return -1;
    int rc = s3_head_read(s3, key, version_id, &resp, a, out, err);
    http_response_release(&resp);
    return rc;
}

/* ---- many at once ---- */

#define LOOK_THREADS 8

struct look {
    struct looking *all;
    size_t index;
};

struct looking {
    struct s3 *s3;
    const char *const *keys;
    struct s3_object *out;
    pthread_mutex_t mu; /* guards what follows */
    struct arena *arena;
    size_t failed; /* the first key, in order, that failed; SIZE_MAX: none */
    struct err err;
};

static bool given_up(struct looking *all, size_t index)
{
    pthread_mutex_lock(&all->mu);
    bool earlier = all->failed < index;
    pthread_mutex_unlock(&all->mu);
    return earlier;
}

static void look_one(void *ctx)
{
    const struct look *l = ctx;
    struct looking *all = l->all;
    if (given_up(all, l->index))
        return;
    struct http_response resp;
    struct err err = ERR_INIT;
    const char *key = all->keys[l->index];
    bool answered = s3_head_ask(all->s3, key, NULL, &resp, &err) == 0;
    pthread_mutex_lock(&all->mu);
    if (answered)
        (void)s3_head_read(all->s3, key, NULL, &resp, all->arena, &all->out[l->index], &err);
    if (err_is_set(&err) && l->index < all->failed) {
        all->failed = l->index;
        all->err = err;
    }
    pthread_mutex_unlock(&all->mu);
    if (answered)
        http_response_release(&resp);
}

static int look_in_pool(struct looking *all, struct look *looks, size_t n, struct err *err)
{
    struct pool *pool = pool_new("s3-look", n < LOOK_THREADS ? (unsigned)n : LOOK_THREADS, 0, err);
    int rc = pool ? 0 : -1;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        looks[i] = (struct look){all, i};
        rc = pool_submit(pool, look_one, &looks[i], err);
    }
    pool_free(pool);
    return rc;
}

int s3_look(struct s3 *s3, const char *const *keys, size_t n, struct arena *a, struct s3_object *out, struct err *err)
{
    if (n == 0)
        return 0;
    struct look *looks = calloc(n, sizeof *looks);
    if (!looks)
        return err_nomem(err);
    struct looking all = {.s3 = s3, .keys = keys, .out = out, .arena = a, .failed = SIZE_MAX};
    pthread_mutex_init(&all.mu, NULL);
    int rc = look_in_pool(&all, looks, n, err);
    pthread_mutex_destroy(&all.mu);
    free(looks);
    if (all.failed != SIZE_MAX) {
        if (all.err.kind == ERR_NOTFOUND)
            s3_hint_near(s3, keys[all.failed], &all.err);
        return err_move(err, &all.err);
    }
    return rc;
}
