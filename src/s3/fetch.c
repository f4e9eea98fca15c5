/* One object for the transfer engine: its requests, and what their answers mean. */
#include "s3/s3_priv.h"

#include "base/log.h"

#include <stdio.h>

/* A signature says nothing about Range and holds for 15 minutes, so all ranges of some minutes share one. */
#define SIGNATURE_LIFE_MS ((int64_t)5 * 60 * 1000)

struct s3_fetch {
    struct s3 *s3;
    struct s3_ask ask;
    char *key, *version_id;
    char *etag;          /* as the first answer or the listing has it; NULL: not known yet */
    char *last_modified; /* of the first answer, where there is no ETag to compare */
    struct buf query;
    struct s3_object learned; /* its strings are those above */
    struct s3_parts parts;    /* what learned.want.parts points to */
    unsigned cured;           /* BIT(enum fault_cure) */

    /* The signed headers, kept. The calls of a source never overlap, refresh() excepted, which leaves these alone. */
    struct buf headers;
    int64_t signed_ms;   /* 0: never */
    atomic_uint lessons; /* s3->lessons when it was signed; refresh() reads it too */
};

/* ---- opening ---- */

static int copy_text(char **out, const char *text, struct err *err)
{
    if (!text)
        return 0;
    *out = str_dup(text, err);
    return *out ? 0 : -1;
}

/* Some listings leave the quotes out; If-Match needs them. */
static int copy_etag(char **out, const char *etag, struct err *err)
{
    if (str_empty(etag))
        return 0;
    bool quoted = etag[0] == '"' || strncmp(etag, "W/", 2) == 0;
    *out = str_printf(err, quoted ? "%s" : "\"%s\"", etag);
    return *out ? 0 : -1;
}

static int set_up(struct s3_fetch *f, const struct s3_object *o, struct err *err)
{
    buf_init(&f->query, S3_URL_MAX);
    buf_init(&f->headers, S3_HEADERS_MAX);
    f->ask = (struct s3_ask){.action = S3_ACTION_GET, .method = "GET", .checksum_mode = true};
    if (copy_text(&f->key, o->key, err) < 0 || copy_text(&f->version_id, o->version_id, err) < 0 ||
        copy_etag(&f->etag, o->etag, err) < 0 || s3_version_query(o->version_id, &f->query, err) < 0)
        return -1;
    f->ask.key = f->key;
    f->ask.query = buf_span(&f->query);
    f->learned = *o;
    f->learned.key = f->key;
    f->learned.path = f->learned.storage_class = NULL;
    f->learned.etag = f->etag;
    f->learned.version_id = f->version_id;
    return s3_have_keys(f->s3, err);
}

int s3_fetch_new(struct s3_fetch **out, struct s3 *s3, const struct s3_object *object, struct err *err)
{
    struct s3_fetch *f = calloc(1, sizeof *f);
    if (!f)
        return err_nomem(err);
    f->s3 = s3;
    if (set_up(f, object, err) < 0) {
        s3_fetch_free(f);
        return -1;
    }
    *out = f;
    return 0;
}

static void take_looked(struct s3_fetch *f, const struct http_response *resp)
{
    enum digest_kind kind;
    struct err why = ERR_INIT;
    struct xfer_want *want = &f->learned.want;
    s3_learn_digest(resp, resp->status == 200, s3_md5_etags(f->s3, resp), want);
    if (want->has_full || !s3_composite_kind(resp, &kind))
        return;
    if (!s3_read_parts(f->s3, f->key, f->version_id, kind, f->learned.size, &f->parts, &why)) {
        log_debug("s3", "no digests of the parts (key=%s reason=\"%s\")", f->key, why.text);
        return;
    }
    want->parts = f->parts.v;
    want->part_count = f->parts.n;
    want->parts_bytes = f->parts.part_bytes;
}

int s3_fetch_look(struct s3_fetch *f, struct err *err)
{
    const struct s3_object *o = &f->learned;
    if (o->size == XFER_SIZE_UNKNOWN || o->size < S3_LOOK_BYTES || o->want.has_full || o->want.parts)
        return 0;
    struct arena *a = arena_new(0, err);
    struct http_response resp;
    struct s3_object seen;
    if (!a)
        return -1;
    int rc = s3_head_ask(f->s3, f->key, f->version_id, &resp, err);
    if (rc == 0) {
        rc = s3_head_read(f->s3, f->key, f->version_id, &resp, a, &seen, err);
        if (rc == 0 && seen.archived)
            rc = s3_refuse_archived(f->s3, f->key, err);
        if (rc == 0)
            take_looked(f, &resp);
        http_response_release(&resp);
    }
    arena_free(a);
    return rc;
}

void s3_fetch_head_only(struct s3_fetch *f)
{
    f->ask.action = S3_ACTION_HEAD;
    f->ask.method = "HEAD";
    f->signed_ms = 0;
}

void s3_fetch_free(struct s3_fetch *f)
{
    if (!f)
        return;
    if (f->headers.p)
        mem_wipe(f->headers.p, f->headers.cap);
    buf_release(&f->headers);
    buf_release(&f->query);
    free(f->key);
    free(f->version_id);
    free(f->etag);
    free(f->last_modified);
    s3_parts_release(&f->parts);
    free(f);
}

const struct s3_object *s3_fetch_learned(const struct s3_fetch *f)
{
    return &f->learned;
}

/* ---- requests ---- */

static bool is_weak(const char *etag)
{
    return strncmp(etag, "W/", 2) == 0;
}

static int sign_again(struct s3_fetch *f, const char *url, struct err *err)
{
    int64_t now = s3_clock_now(f->s3);
    unsigned lessons = atomic_load(&f->s3->lessons);
    bool fresh = f->signed_ms && atomic_load(&f->lessons) == lessons && now - f->signed_ms < SIGNATURE_LIFE_MS &&
                 now >= f->signed_ms;
    if (fresh)
        return 0;
    buf_reset(&f->headers);
    if (s3_sign_now(f->s3, &f->ask, url, &f->headers, err) < 0)
        return -1;
    f->signed_ms = now;
    atomic_store(&f->lessons, lessons);
    return 0;
}

static int fetch_request(void *ctx, uint64_t offset, uint64_t length, struct xfer_request *out, struct err *err)
{
    struct s3_fetch *f = ctx;
    (void)offset; /* Range is the engine's, and unsigned */
    (void)length;
    if (s3_write_url(f->s3, &f->ask, &out->url, err) < 0 || sign_again(f, buf_str(&out->url), err) < 0)
        return -1;
    buf_add_span(&out->headers, buf_span(&f->headers));
    out->keep_redirects = s3_keeps_redirects(f->s3);
    /* A weak ETag never matches (RFC 9110, 13.1.1): then each answer's own is compared. */
    if (f->etag && !is_weak(f->etag))
        buf_addf(&out->headers, "If-Match: %s\r\n", f->etag);
    return buf_check(&out->headers, "request headers", err);
}

static int fetch_refresh(void *ctx, struct err *err)
{
    const struct s3_fetch *f = ctx;
    if (atomic_load(&f->lessons) != atomic_load(&f->s3->lessons))
        return 0; /* another object's refresh has been here */
    return s3_renew_keys(f->s3, err);
}

/* ---- answers ---- */

static struct span opaque_part(const char *etag)
{
    struct span s = span_of(etag);
    if (is_weak(etag)) {
        s.p += 2;
        s.n -= 2;
    }
    return s;
}

static enum xfer_verdict changed(const struct s3_fetch *f, const char *what, const char *was, const char *is,
                                 struct err *err)
{
    char name[S3_NAME_MAX];
    s3_name(f->s3, f->key, name);
    err_set(err, ERR_CHANGED, "%.700s: changed while downloading: %s was %.128s, is %.128s", name, what, was, is);
    return XFER_FAIL;
}

/* Every answer must be about the same object. */
static enum xfer_verdict compare(struct s3_fetch *f, const struct http_response *resp, struct err *err)
{
    const char *etag = http_response_get(resp, "etag"), *date = http_response_get(resp, "last-modified");
    if (f->etag && etag && !span_eq(opaque_part(f->etag), opaque_part(etag)))
        return changed(f, "ETag", f->etag, etag, err);
    if (!f->etag && f->last_modified && date && strcmp(f->last_modified, date) != 0)
        return changed(f, "Last-Modified", f->last_modified, date, err);
    if (!f->etag && !str_empty(etag) && copy_text(&f->etag, etag, err) < 0)
        return XFER_FAIL;
    if (!f->last_modified && date && copy_text(&f->last_modified, date, err) < 0)
        return XFER_FAIL;
    f->learned.etag = f->etag;
    return XFER_ACCEPT;
}

static void learn(struct s3_fetch *f, const struct http_response *resp, struct xfer_want *want)
{
    /* Checksums of an answer in part may be of that part. */
    const char *type = http_response_get(resp, "x-amz-checksum-type");
    bool whole = resp->status == 200 || (type && span_eq_nocase(span_of(type), SPAN_LIT("FULL_OBJECT")));
    bool looked = f->learned.want.has_full || f->learned.want.parts;
    if (!want->has_full && !want->parts && looked) {
        unsigned compute = want->compute;
        *want = f->learned.want;
        want->compute |= compute;
    }
    if (!want->has_full && !want->parts)
        s3_learn_digest(resp, whole, s3_md5_etags(f->s3, resp), want);
    if (want->has_full)
        f->learned.want = *want;
    uint64_t size = s3_read_size(resp);
    if (size != XFER_SIZE_UNKNOWN)
        f->learned.size = size;
    f->learned.looked = true;
}

/* An object that was there a moment ago. */
static bool is_gone(const struct s3_fetch *f, const struct fault *fault)
{
    bool missing = fault->status == 404 && strcmp(fault->code, "NoSuchBucket") != 0;
    return missing && f->etag && !f->version_id;
}

/* Parts that were under way with the old signature when another part's answer taught a better one. */
static bool signed_before_lesson(const struct s3_fetch *f, const struct fault *fault)
{
    bool about_signing =
        strcmp(fault->code, "AuthorizationHeaderMalformed") == 0 || fault->status == 301 || fault->status == 307;
    return about_signing && f->cured != 0;
}

static enum xfer_verdict refuse(struct s3_fetch *f, const struct http_response *resp, struct err *err)
{
    struct fault fault;
    s3_read_fault(resp, &fault);
    enum fault_cure cure = s3_find_cure(f->s3, &fault);
    switch (cure) {
    case FAULT_RETRY:
        return XFER_RETRY;
    case FAULT_EXPIRED:
        return XFER_REFRESH;
    case FAULT_REGION:
    case FAULT_CLOCK:
        if ((f->cured & BIT(cure)) || s3_apply_cure(f->s3, cure, &fault, NULL)) {
            f->cured |= BIT(cure);
            return XFER_RESIGN; /* the engine counts these */
        }
        break;
    case FAULT_FINAL:
        if (signed_before_lesson(f, &fault))
            return XFER_RESIGN;
        break;
    }
    if (is_gone(f, &fault))
        return changed(f, "the object", "there", "gone", err);
    s3_report(f->s3, &f->ask, &fault, f->version_id != NULL, err);
    return XFER_FAIL;
}

static enum xfer_verdict fetch_judge(void *ctx, const struct xfer_head *head, struct xfer_want *want, struct err *err)
{
    struct s3_fetch *f = ctx;
    if (!s3_ok(head->status))
        return refuse(f, head->http, err);
    enum xfer_verdict verdict = compare(f, head->http, err);
    if (verdict == XFER_ACCEPT)
        learn(f, head->http, want);
    return verdict;
}

const struct xfer_source s3_xfer_source = {
    .request = fetch_request,
    .judge = fetch_judge,
    .refresh = fetch_refresh,
};
