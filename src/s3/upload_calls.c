/* The requests of an upload, one function each. */
#include "s3/upload_priv.h"

#include "base/clock.h"
#include "base/enc.h"
#include "base/log.h"
#include "base/rng.h"
#include "xfer/retry.h"

#include <stdio.h>

#define QUERY_MAX      ((size_t)8 << 10)
#define COMPLETE_TRIES 5
#define FIRST_TRIES    3 /* of a completion, before it is asked whether there is anything to complete */
#define HASTY_TRIES    2 /* where somebody waits for the answer who can come again */

/* ---- headers ---- */

struct headers {
    struct sigv4_header v[S3_ASK_HEADERS_MAX];
    size_t n;
};

static void add_header(struct headers *h, const char *name, const char *value)
{
    if (!str_empty(value))
        h->v[h->n++] = (struct sigv4_header){span_of(name), span_of(value)};
}

/* At most six. */
static void add_options(struct headers *h, const struct s3_put_opts *o)
{
    add_header(h, "content-type", o->content_type);
    add_header(h, "x-amz-storage-class", o->storage_class);
    add_header(h, "x-amz-server-side-encryption", o->sse);
    add_header(h, "x-amz-server-side-encryption-aws-kms-key-id", o->sse_kms_key_id);
    add_header(h, "x-amz-tagging", o->tags);
    add_header(h, "x-amz-acl", o->acl);
}

static void add_sums(struct headers *h, const struct sums *s)
{
    add_header(h, "x-amz-checksum-crc32c", s->crc32c);
    add_header(h, "content-md5", s->md5);
}

/* ---- answers ---- */

static bool is_busy(const struct http_response *resp)
{
    return resp->status == 503 || resp->status == 429;
}

/* The waits between tries are drawn at random, so that their number says little about how long is waited in all. A
 * server that only asks for time gets it. */
static int ask(struct s3 *s3, const struct s3_ask *ask_for, struct http_response *resp, struct fault *f,
               struct err *err)
{
    uint64_t start = clock_mono_ms();
    if (s3_exchange(s3, ask_for, NULL, resp, err) < 0)
        return -1;
    while (is_busy(resp) && ask_for->tries != HASTY_TRIES && !ask_for->cleaning_up &&
           clock_mono_ms() - start < http_patience_ms(s3->http)) {
        unsigned sent = resp->sent;
        http_response_release(resp);
        if (s3_exchange(s3, ask_for, NULL, resp, err) < 0)
            return -1;
        resp->sent += sent;
    }
    s3_read_fault(resp, f);
    return 0;
}

/* If-None-Match: "Conditional writes" of the Amazon S3 user guide. */
static bool is_taken(const struct fault *f)
{
    return f->status == 412 || strcmp(f->code, "ConditionalRequestConflict") == 0;
}

static int report(struct s3 *s3, const struct s3_ask *a, const struct fault *f, struct err *err)
{
    char name[S3_NAME_MAX];
    s3_name(s3, a->key ? a->key : "", name);
    if (strcmp(f->code, "BadDigest") == 0 || strcmp(f->code, "XAmzContentSHA256Mismatch") == 0 ||
        strcmp(f->code, "XAmzContentChecksumMismatch") == 0)
        return err_set(err, ERR_CHANGED, "%.700s: what arrived is not what was sent (HTTP %d %s)", name, f->status,
                       f->code);
    if (is_taken(f)) {
        err_set(err, ERR_EXISTS, "%.700s: there is an object already (HTTP %d)", name, f->status);
        return err_hint(err, "choose another key, or allow it to be replaced");
    }
    return s3_report(s3, a, f, false, err);
}

/* Servers without checksums refuse the header, or do as if it were not there. */
static bool refuses_sums(const struct fault *f)
{
    static const char *const codes[] = {"NotImplemented", "InvalidArgument", "InvalidRequest",
                                        "XAmzContentSHA256Mismatch"};
    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        if (strcmp(f->code, codes[i]) == 0)
            return true;
    return f->status == 501;
}

void s3_stored_release(struct s3_stored *s)
{
    free(s->etag);
    free(s->version_id);
    *s = (struct s3_stored){0};
}

static int take_stored(const struct http_response *resp, const char *etag, uint64_t size, struct s3_stored *out,
                       struct err *err)
{
    const char *version = http_response_get(resp, "x-amz-version-id");
    *out = (struct s3_stored){.size = size};
    if ((etag && !(out->etag = str_dup(etag, err))) || (version && !(out->version_id = str_dup(version, err)))) {
        s3_stored_release(out);
        return -1;
    }
    return 0;
}

/* ---- one request for the whole ---- */

static uint64_t body_size(const struct s3_body *b)
{
    return b->file ? b->file->length : b->bytes.n;
}

static bool has_digest(struct s3 *s3, const struct s3_body *body, const struct digest_value *wanted)
{
    struct digest_value is;
    struct digest *d = NULL;
    struct err ignored = ERR_INIT;
    const struct http_region *r = body->file;
    if (digest_open(&d, BIT(wanted->kind), &ignored) < 0)
        return false;
    int rc = r ? digest_fd(d, r->fd, r->offset, r->length, s3->cancel, &ignored)
               : digest_update(d, body->bytes.p, body->bytes.n, &ignored);
    bool same = rc == 0 && digest_final(d, wanted->kind, &is, &ignored) == 0 && digest_equal(&is, wanted);
    digest_free(d);
    return same;
}

/* Whether the object that is there is this body, where it may be looked at; then what it is. */
static bool look_for_body(struct s3 *s3, const char *key, const struct s3_body *body, struct s3_stored *out)
{
    struct http_response resp;
    struct s3_object o;
    struct err ignored = ERR_INIT;
    if (s3_head_ask(s3, key, NULL, &resp, &ignored) < 0)
        return false;
    struct arena *a = arena_new(0, &ignored);
    bool same = a && s3_head_read(s3, key, NULL, &resp, a, &o, &ignored) == 0 && o.size == body_size(body) &&
                o.want.has_full && has_digest(s3, body, &o.want.full) &&
                take_stored(&resp, o.etag, o.size, out, &ignored) == 0;
    arena_free(a);
    http_response_release(&resp);
    return same;
}

/* 1: once more, without checksums that this server does not take. */
static int put_once(struct s3 *s3, const char *key, const struct s3_body *body, const struct s3_put_opts *opts,
                    enum sums_known known, struct s3_stored *out, struct err *err)
{
    struct headers h = {0};
    struct sums sums;
    struct fault f;
    struct http_response resp;
    if (sums_compute(s3, body, known, &sums, err) < 0)
        return -1;
    add_options(&h, opts);
    add_sums(&h, &sums);
    const struct s3_ask a = {.action = S3_ACTION_PUT,
                             .method = "PUT",
                             .key = key,
                             .body = body->bytes,
                             .body_file = body->file,
                             .payload_hash = sums.payload,
                             .headers = h.v,
                             .header_count = h.n,
                             .if_none = opts->only_new,
                             .tries = UPLOAD_TRIES};
    if (ask(s3, &a, &resp, &f, err) < 0)
        return -1;
    bool ok = s3_ok(resp.status), again = !ok && known == SUMS_UNKNOWN && refuses_sums(&f);
    if (known == SUMS_UNKNOWN && (ok || again))
        sums_learn(s3, http_response_get(&resp, "x-amz-checksum-crc32c") ? SUMS_CRC32C : SUMS_MD5);
    /* What is in the way can be what an earlier try stored, whose answer got lost. */
    bool stored = opts->only_new && is_taken(&f) && resp.sent > 1 && look_for_body(s3, key, body, out);
    int rc = ok       ? take_stored(&resp, http_response_get(&resp, "etag"), body_size(body), out, err)
             : again  ? 1
             : stored ? 0
                      : report(s3, &a, &f, err);
    http_response_release(&resp);
    return rc;
}

int s3_put(struct s3 *s3, const char *key, const struct s3_body *body, const struct s3_put_opts *opts,
           struct s3_stored *out, struct err *err)
{
    int rc = put_once(s3, key, body, opts, sums_known(s3), out, err);
    return rc == 1 ? put_once(s3, key, body, opts, SUMS_MD5, out, err) : rc;
}

/* ---- parts ---- */

static int create_once(struct s3 *s3, const char *key, const struct s3_put_opts *opts, unsigned tries,
                       char id[S3_UPLOAD_ID_MAX], enum sums_known *sums, struct err *err)
{
    struct headers h = {0};
    struct fault f;
    struct http_response resp;
    enum sums_known known = *sums;
    add_options(&h, opts);
    add_header(&h, "x-amz-checksum-algorithm", known == SUMS_MD5 ? NULL : "CRC32C");
    const struct s3_ask a = {.action = S3_ACTION_PUT,
                             .method = "POST",
                             .key = key,
                             .query = SPAN_LIT("uploads="),
                             .headers = h.v,
                             .header_count = h.n,
                             .tries = tries,
                             .makes = true};
    if (ask(s3, &a, &resp, &f, err) < 0)
        return -1;
    bool ok = s3_ok(resp.status), again = !ok && known == SUMS_UNKNOWN && refuses_sums(&f);
    if (ok || again)
        *sums = ok && http_response_get(&resp, "x-amz-checksum-algorithm") ? SUMS_CRC32C : SUMS_MD5;
    if (known == SUMS_UNKNOWN && (ok || again))
        sums_learn(s3, *sums);
    int rc = ok ? upload_answer_created(buf_span(&resp.body), id, err) : again ? 1 : report(s3, &a, &f, err);
    http_response_release(&resp);
    return rc;
}

int upload_create(struct s3 *s3, const char *key, const struct s3_put_opts *opts, char id[S3_UPLOAD_ID_MAX],
                  enum sums_known *sums, struct err *err)
{
    *sums = sums_known(s3);
    int rc = create_once(s3, key, opts, UPLOAD_TRIES, id, sums, err);
    return rc == 1 ? create_once(s3, key, opts, UPLOAD_TRIES, id, sums, err) : rc;
}

int s3_upload_begin(struct s3 *s3, const char *key, const struct s3_put_opts *opts, char id[S3_UPLOAD_ID_MAX],
                    struct err *err)
{
    enum sums_known sums = SUMS_MD5;
    return s3_settle(s3, err) < 0 ? -1 : create_once(s3, key, opts, HASTY_TRIES, id, &sums, err);
}

static int id_query(const char *id, struct buf *out, struct err *err)
{
    buf_adds(out, "uploadId=");
    percent_encode(out, span_of(id), false);
    return buf_check(out, "upload id", err);
}

static int take_etag(struct s3 *s3, const char *key, const struct http_response *resp, char out[ETAG_MAX],
                     struct err *err)
{
    const char *etag = http_response_get(resp, "etag");
    char name[S3_NAME_MAX];
    if (etag && strlen(etag) < ETAG_MAX) {
        snprintf(out, ETAG_MAX, "%s", etag);
        return 0;
    }
    s3_name(s3, key, name);
    return err_set(err, ERR_PROTOCOL, "%.700s: the server took a part and gave no ETag for it", name);
}

int upload_put_part(struct s3 *s3, const char *key, const char *id, unsigned number, const struct s3_body *body,
                    enum sums_known known, struct upload_part *out, struct err *err)
{
    struct headers h = {0};
    struct sums sums;
    struct fault f;
    struct http_response resp;
    AUTO_BUF query;
    buf_init(&query, QUERY_MAX);
    buf_addf(&query, "partNumber=%u&", number);
    if (id_query(id, &query, err) < 0 || sums_compute(s3, body, known, &sums, err) < 0)
        return -1;
    add_sums(&h, &sums);
    const struct s3_ask a = {.action = S3_ACTION_PUT,
                             .method = "PUT",
                             .key = key,
                             .query = buf_span(&query),
                             .body = body->bytes,
                             .body_file = body->file,
                             .payload_hash = sums.payload,
                             .headers = h.v,
                             .header_count = h.n,
                             .tries = UPLOAD_TRIES};
    if (ask(s3, &a, &resp, &f, err) < 0)
        return err_wrap(err, "part %u", number);
    int rc = s3_ok(resp.status) ? take_etag(s3, key, &resp, out->etag, err) : report(s3, &a, &f, err);
    memcpy(out->crc32c, sums.crc32c, sizeof out->crc32c);
    out->size = body_size(body);
    http_response_release(&resp);
    return rc < 0 ? err_wrap(err, "part %u", number) : 0;
}

/* ---- the end ---- */

struct completing {
    struct s3 *s3;
    const char *key, *id;
    uint64_t size;
    size_t parts;
    unsigned asked;          /* how often for the completion */
    char expected[ETAG_MAX]; /* "": not known */
    struct buf query, body;
    struct digest_value sha256;
    char payload[DIGEST_HEX_MAX];
    bool only_new;
};

static struct span unquoted(const char *etag)
{
    struct span s = span_of(etag);
    return s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"' ? (struct span){s.p + 1, s.n - 2} : s;
}

/* The ETag of an object of parts ends in their number, where it has the form that Amazon's have; the rest is the MD5 of
 * the parts' own ETags, unless the object is encrypted by a key of its own. */
static int check_etag(const struct completing *c, const char *etag, struct err *err)
{
    struct span is = unquoted(etag), digits, number;
    uint64_t parts = 0;
    struct err ignored = ERR_INIT;
    if (!span_cut(is, '-', &digits, &number) || digits.n != 32 || span_to_u64(number, &parts, &ignored) < 0)
        return 0;
    if (parts == c->parts)
        return 0;
    return err_set(err, ERR_CORRUPT, "s3 object %.700s: the server made it of %llu parts, %zu were sent", c->key,
                   (unsigned long long)parts, c->parts);
}

/* Whether the object is there as it was put together, where it may be looked at; then what it is. */
static bool look(const struct completing *c, struct s3_stored *out)
{
    struct http_response resp;
    const struct s3_ask head = {.action = S3_ACTION_HEAD, .method = "HEAD", .key = c->key};
    struct err ignored = ERR_INIT;
    if (s3_exchange(c->s3, &head, NULL, &resp, &ignored) < 0)
        return false;
    const char *etag = http_response_get(&resp, "etag");
    bool same = s3_ok(resp.status) && etag && c->expected[0] && span_eq(unquoted(etag), span_of(c->expected));
    same = same && take_stored(&resp, etag, c->size, out, &ignored) == 0;
    http_response_release(&resp);
    return same;
}

/* Whether the server knows the upload no more. Ceph has an internal error for the completion of one that was completed
 * already, where the object has gone since, and calls the upload a key when its parts are asked for. */
static bool is_gone(const struct completing *c)
{
    struct http_response resp;
    struct fault f;
    struct err ignored = ERR_INIT;
    AUTO_BUF query;
    buf_init(&query, QUERY_MAX);
    buf_adds(&query, "max-parts=1&");
    buf_add(&query, c->query.p, c->query.n);
    const struct s3_ask list = {.action = S3_ACTION_LIST, .method = "GET", .key = c->key, .query = buf_span(&query)};
    if (buf_check(&query, "query", &ignored) < 0 || s3_exchange(c->s3, &list, NULL, &resp, &ignored) < 0)
        return false;
    s3_read_fault(&resp, &f);
    http_response_release(&resp);
    return strcmp(f.code, "NoSuchUpload") == 0 || strcmp(f.code, "NoSuchKey") == 0;
}

/* Some servers tell neither ETag nor version of what they put together. 1: the answer can't be read, though the object
 * may be there; another try tells. */
static int take_completed(const struct completing *c, const struct http_response *resp, struct s3_stored *out,
                          struct err *err)
{
    char etag[ETAG_MAX];
    if (upload_answer_etag(buf_span(&resp->body), etag, err) < 0) {
        err_wrap(err, "s3 object %.700s: the answer to its completion", c->key);
        return 1;
    }
    if (check_etag(c, etag, err) < 0)
        return -1;
    if (!etag[0] && look(c, out))
        return 0;
    return take_stored(resp, etag[0] ? etag : NULL, c->size, out, err);
}

/* 1: worth another try. */
static int complete_once(struct completing *c, unsigned tries, struct s3_stored *out, struct err *err)
{
    struct http_response resp;
    struct fault f;
    const struct s3_ask a = {.action = S3_ACTION_PUT,
                             .method = "POST",
                             .key = c->key,
                             .query = buf_span(&c->query),
                             .body = buf_span(&c->body),
                             .payload_hash = c->payload,
                             .if_none = c->only_new,
                             .tries = tries,
                             .idle_timeout_ms = COMPLETE_IDLE_MS};
    if (ask(c->s3, &a, &resp, &f, err) < 0)
        return -1;
    int rc;
    c->asked += resp.sent;
    bool maybe_done = strcmp(f.code, "NoSuchUpload") == 0 || (c->only_new && is_taken(&f) && c->asked > 1);
    if (s3_ok(resp.status) && f.code[0] == '\0') { /* an error can come after the head said 200 */
        rc = take_completed(c, &resp, out, err);
    } else if (maybe_done && look(c, out)) {
        rc = 0; /* it was completed, and the answer got lost */
    } else {
        bool again = s3_ok(resp.status) || resp.status >= 500;
        rc = report(c->s3, &a, &f, err);
        rc = again ? 1 : rc;
    }
    http_response_release(&resp);
    return rc;
}

static int complete_until_final(struct completing *c, struct s3_stored *out, struct err *err)
{
    struct rng rng;
    if (rng_bytes(&rng, sizeof rng, err) < 0)
        return -1;
    for (unsigned attempt = 0;; attempt++) {
        struct err why = ERR_INIT;
        int rc = complete_once(c, attempt == 0 ? FIRST_TRIES : UPLOAD_TRIES, out, &why);
        if (rc == 0)
            return 0;
        if (rc == 1 && is_gone(c))
            return look(c, out)
                       ? 0
                       : err_set(err, ERR_NOTFOUND, "s3 object %.700s: the server knows its upload no more", c->key);
        if (rc < 0 || attempt + 1 == COMPLETE_TRIES)
            return err_move(err, &why);
        log_info("s3", "completing again (key=%.256s try=%u reason=\"%s\")", c->key, attempt + 2, why.text);
        if (cancel_sleep_ms(c->s3->cancel, retry_delay_ms(attempt, 0, &rng), err) < 0)
            return -1;
    }
}

int upload_complete(struct s3 *s3, const char *key, const char *id, const struct upload_part *parts, size_t n,
                    bool only_new, struct s3_stored *out, struct err *err)
{
    struct completing c = {.s3 = s3, .key = key, .id = id, .parts = n, .only_new = only_new};
    buf_init(&c.query, QUERY_MAX);
    buf_init(&c.body, UPLOAD_ANSWER_MAX);
    for (size_t i = 0; i < n; i++)
        c.size += parts[i].size;
    upload_write_parts(parts, n, &c.body);
    int rc = id_query(id, &c.query, err);
    if (rc == 0)
        rc = buf_check(&c.body, "list of parts", err);
    if (rc == 0)
        rc = upload_expected_etag(parts, n, c.expected, err);
    if (rc == 0)
        rc = digest_bytes(DIGEST_SHA256, c.body.p, c.body.n, &c.sha256, err);
    if (rc == 0) {
        digest_hex(c.payload, &c.sha256);
        rc = complete_until_final(&c, out, err);
    }
    buf_release(&c.query);
    buf_release(&c.body);
    return rc;
}

int s3_upload_abort(struct s3 *s3, const char *key, const char *upload_id, struct err *err)
{
    struct http_response resp;
    struct fault f;
    AUTO_BUF query;
    buf_init(&query, QUERY_MAX);
    if (id_query(upload_id, &query, err) < 0)
        return -1;
    const struct s3_ask a = {
        .action = S3_ACTION_ABORT, .method = "DELETE", .key = key, .query = buf_span(&query), .cleaning_up = true};
    if (ask(s3, &a, &resp, &f, err) < 0)
        return -1;
    bool gone = s3_ok(resp.status) || strcmp(f.code, "NoSuchUpload") == 0;
    int rc = gone ? 0 : report(s3, &a, &f, err);
    http_response_release(&resp);
    return rc;
}

/* ---- what others left ---- */

static void add_param(struct buf *query, const char *name, const char *value)
{
    buf_addf(query, "%s%s=", query->n ? "&" : "", name);
    percent_encode(query, span_of(value), false);
}

static int list_page(struct s3 *s3, const char *prefix, struct upload_page *page,
                     int (*each)(void *ctx, const struct s3_unfinished *upload, struct err *err), void *ctx,
                     struct err *err)
{
    struct http_response resp;
    struct fault f;
    AUTO_BUF query;
    buf_init(&query, QUERY_MAX);
    if (page->next_key.n > 0)
        add_param(&query, "key-marker", buf_str(&page->next_key));
    if (!str_empty(prefix))
        add_param(&query, "prefix", prefix);
    if (page->next_id.n > 0)
        add_param(&query, "upload-id-marker", buf_str(&page->next_id));
    add_param(&query, "uploads", "");
    if (buf_check(&query, "query", err) < 0)
        return -1;
    const struct s3_ask a = {
        .action = S3_ACTION_UPLOADS, .method = "GET", .query = buf_span(&query), .body_max = UPLOAD_ANSWER_MAX};
    if (ask(s3, &a, &resp, &f, err) < 0)
        return -1;
    buf_reset(&page->next_key);
    buf_reset(&page->next_id);
    int rc =
        s3_ok(resp.status) ? upload_answer_page(buf_span(&resp.body), page, each, ctx, err) : report(s3, &a, &f, err);
    http_response_release(&resp);
    return rc;
}

#define PAGES_MAX 10000

int s3_uploads_list(struct s3 *s3, const char *prefix,
                    int (*each)(void *ctx, const struct s3_unfinished *upload, struct err *err), void *ctx,
                    struct err *err)
{
    struct upload_page page = {0};
    buf_init(&page.next_key, QUERY_MAX);
    buf_init(&page.next_id, S3_UPLOAD_ID_MAX);
    int rc = 0;
    for (unsigned i = 0; rc == 0 && (i == 0 || page.more); i++) {
        rc = i < PAGES_MAX ? list_page(s3, prefix, &page, each, ctx, err)
                           : err_set(err, ERR_PROTOCOL, "the listing of uploads does not end");
        if (rc == 0 && page.more && page.next_key.n == 0)
            rc = err_set(err, ERR_PROTOCOL, "the listing of uploads goes on, but does not say where");
    }
    buf_release(&page.next_key);
    buf_release(&page.next_id);
    return rc;
}
