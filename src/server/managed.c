#include "server/managed.h"

#include "base/clock.h"
#include "base/enc.h"
#include "base/log.h"
#include "s3/grant.h"
#include "s3/upload.h"

#include <inttypes.h>
#include <stdatomic.h>

#define SCHEME    "s3://"
#define SUFFIX    ".tar.gz"
#define URL_MAX   16384
#define QUERY_MAX 4096
#define STALE_MAX 64 /* uploads of earlier claims, aborted in one call */

struct managed {
    char *bucket, *prefix; /* the prefix without a slash at its end; may be "" */
    struct creds *creds;
    struct s3 *s3;
    atomic_uint calls;
};

static int split_place(struct managed *m, const char *place, struct err *err)
{
    struct span rest = span_of(place), bucket, prefix;
    if (!span_starts(rest, SPAN_LIT(SCHEME)))
        return err_set(err, ERR_INVALID, "place for managed results: '%s' is not s3://BUCKET/PREFIX", place);
    rest = (struct span){rest.p + sizeof SCHEME - 1, rest.n - (sizeof SCHEME - 1)};
    span_cut(rest, '/', &bucket, &prefix);
    while (prefix.n > 0 && prefix.p[prefix.n - 1] == '/')
        prefix.n--;
    if (bucket.n == 0)
        return err_set(err, ERR_INVALID, "place for managed results: '%s' is not s3://BUCKET/PREFIX", place);
    m->bucket = str_dup_span(bucket, err);
    m->prefix = str_dup_span(prefix, err);
    return m->bucket && m->prefix ? 0 : -1;
}

int managed_open(struct managed **out, const char *place, const struct publish_access *access, struct http *http,
                 struct err *err)
{
    struct managed *m = calloc(1, sizeof *m);
    if (!m)
        return err_nomem(err);
    const struct creds_opts who = {.ambient = true, .profile = access->profile};
    const struct s3_opts how = {
        .http = http,
        .addressing = access->addressing,
        .default_endpoint = access->endpoint,
        .default_region = access->region,
        .mirrors = access->mirrors,
    };
    int rc = split_place(m, place, err);
    const struct source_s3 at = {.bucket = m->bucket, .key = ""};
    if (rc < 0 || creds_open(&m->creds, &who, err) < 0 || s3_open(&m->s3, &at, m->creds, &how, err) < 0) {
        managed_free(m);
        return -1;
    }
    *out = m;
    return 0;
}

void managed_free(struct managed *m)
{
    if (!m)
        return;
    s3_free(m->s3);
    creds_free(m->creds);
    free(m->bucket);
    free(m->prefix);
    free(m);
}

/* --- keys --------------------------------------------------------------------------------------------------------- */

/* "<prefix>/<job>/" */
static void add_folder(const struct managed *m, const char *job, struct buf *out)
{
    buf_addf(out, "%s%s%s/", m->prefix, *m->prefix ? "/" : "", job);
}

static int key_of(const struct managed *m, const struct market_ref *x, struct buf *out, struct err *err)
{
    add_folder(m, x->job, out);
    buf_addf(out, "%" PRIu32 "/%" PRId64 SUFFIX, x->index, x->epoch);
    return buf_check(out, "key of a result", err);
}

static bool is_number(struct span s)
{
    size_t digits = 0;
    while (digits < s.n && ascii_is_digit(s.p[digits]))
        digits++;
    return s.n > 0 && digits == s.n;
}

/* "<index>/<epoch>.tar.gz", as keys are made: "../" would lead to another job where a store resolves it. */
static bool is_result_name(struct span name)
{
    struct span index, file;
    if (!span_cut(name, '/', &index, &file) || !span_ends(file, SPAN_LIT(SUFFIX)))
        return false;
    return is_number(index) && is_number(span_head(file, file.n - (sizeof SUFFIX - 1)));
}

bool managed_holds(const struct managed *m, const char *job, const char *bucket, const char *key)
{
    if (!m || !str_eq(bucket, m->bucket))
        return false;
    struct span name = span_of(key);
    AUTO_BUF folder;
    buf_init(&folder, PUBLISH_KEY_MAX);
    add_folder(m, job, &folder);
    return folder.state == BUF_OK && span_starts(name, buf_span(&folder)) &&
           is_result_name((struct span){name.p + folder.n, name.n - folder.n});
}

/* --- grants ------------------------------------------------------------------------------------------------------- */

/* The node is not to blame, and another try may help; what the store says is for the log. */
static int reword(int rc, struct err *err)
{
    if (rc == 0 || err->kind == ERR_LIMIT)
        return rc;
    log_warn("server", "managed results: %s", err->text);
    err_clear(err);
    return err_set(err, ERR_TRANSIENT, "the store of managed results does not take uploads now");
}

static int sign(struct managed *m, const char *method, const char *key, const char *upload_id, unsigned part,
                struct buf *url, struct err *err)
{
    AUTO_BUF query;
    buf_init(&query, QUERY_MAX);
    if (part)
        buf_addf(&query, "partNumber=%u&", part);
    buf_adds(&query, "uploadId=");
    percent_encode(&query, span_of(upload_id), false);
    return buf_check(&query, "query", err) < 0
               ? -1
               : s3_presign(m->s3, method, key, buf_span(&query), MANAGED_URL_S, url, err);
}

static json_t *signed_url(struct managed *m, const char *method, const char *key, const char *id, unsigned part,
                          struct err *err)
{
    AUTO_BUF url;
    buf_init(&url, URL_MAX);
    return sign(m, method, key, id, part, &url, err) < 0 ? NULL : json_string(buf_str(&url));
}

static json_t *place_of(const struct managed *m, const char *key, struct err *err)
{
    char region[S3_REGION_NAME_MAX];
    AUTO_BUF endpoint;
    buf_init(&endpoint, URL_MAX);
    s3_where(m->s3, &endpoint, region);
    json_t *params = json_object(), *result = json_object();
    json_put_str(params, "Bucket", m->bucket, err);
    json_put_str(params, "Key", key, err);
    json_put_str(params, "Endpoint", buf_str(&endpoint), err);
    json_put_str(params, "Region", region, err);
    json_put_str(result, "Type", "s3", err);
    json_put(result, "Params", params, err);
    return result;
}

/* Uploads of this execution's earlier claims: their keys are others', so nothing depends on it. */
struct stale {
    struct managed *m;
    const char *key; /* this claim's own */
    unsigned n;
};

static int abort_one(void *ctx, const struct s3_unfinished *upload, struct err *err)
{
    struct stale *stale = ctx;
    struct err minor = ERR_INIT;
    (void)err;
    if (!str_eq(upload->key, stale->key) && s3_upload_abort(stale->m->s3, upload->key, upload->upload_id, &minor) < 0)
        log_debug("server", "managed results: %s", minor.text);
    return ++stale->n == STALE_MAX;
}

static void abort_stale(struct managed *m, const struct market_ref *x, const char *key)
{
    struct stale stale = {.m = m, .key = key};
    struct err minor = ERR_INIT;
    AUTO_BUF prefix;
    buf_init(&prefix, PUBLISH_KEY_MAX);
    add_folder(m, x->job, &prefix);
    buf_addf(&prefix, "%" PRIu32 "/", x->index);
    if (s3_uploads_list(m->s3, buf_str(&prefix), abort_one, &stale, &minor) < 0)
        log_debug("server", "managed results: %s", minor.text);
}

static json_t *make_grant(struct managed *m, const char *key, const char *id, uint64_t part_bytes, unsigned parts,
                          struct err *err)
{
    json_t *grant = json_object(), *list = json_array();
    json_put_u64(grant, "version", S3_GRANT_VERSION, err);
    json_put_str(grant, "method", "multipart", err);
    json_put_u64(grant, "part_size", part_bytes, err);
    for (unsigned i = 1; i <= parts && !err_is_set(err); i++)
        if (json_array_append_new(list, signed_url(m, "PUT", key, id, i, err)) < 0)
            err_nomem(err);
    json_put(grant, "parts", list, err);
    json_put(grant, "complete", signed_url(m, "POST", key, id, 0, err), err);
    json_put(grant, "abort", signed_url(m, "DELETE", key, id, 0, err), err);
    json_put_u64(grant, "expires_unix", (uint64_t)clock_wall_ms() / 1000 + MANAGED_URL_S, err);
    json_put(grant, "result", place_of(m, key, err), err);
    json_put_str(grant, "upload_id", id, err);
    return grant;
}

static int grant(struct managed *m, const struct market_ref *x, uint64_t bytes, json_t **out, struct err *err)
{
    static const struct s3_put_opts how = {.content_type = "application/gzip"};
    char id[S3_UPLOAD_ID_MAX];
    AUTO_BUF key;
    buf_init(&key, PUBLISH_KEY_MAX);
    uint64_t part = s3_part_bytes(bytes), parts = bytes / part + 1;
    if (part > S3_GRANT_PART_MAX)
        return err_set(err, ERR_LIMIT, "a result of %" PRIu64 " bytes is larger than managed results may be", bytes);
    if (key_of(m, x, &key, err) < 0)
        return -1;
    if (s3_upload_begin(m->s3, buf_str(&key), &how, id, err) < 0)
        return -1;
    if (x->epoch > 1)
        abort_stale(m, x, buf_str(&key));
    *out = make_grant(m, buf_str(&key), id, part, parts < MANAGED_PARTS_AHEAD ? (unsigned)parts : MANAGED_PARTS_AHEAD,
                      err);
    return err_is_set(err) ? -1 : 0;
}

int managed_grant(struct managed *m, const struct market_ref *x, uint64_t bytes, json_t **out, struct err *err)
{
    bool room = atomic_fetch_add(&m->calls, 1) < MANAGED_CALLS_MAX;
    int rc =
        room ? reword(grant(m, x, bytes, out, err), err) : err_set(err, ERR_BUSY, "too many grants are being made");
    atomic_fetch_sub(&m->calls, 1);
    return rc;
}

int managed_url(struct managed *m, const struct market_ref *x, const char *upload_id, unsigned part, const char *last,
                struct buf *url, struct err *err)
{
    AUTO_BUF key;
    buf_init(&key, PUBLISH_KEY_MAX);
    const char *method = part ? "PUT" : str_eq(last, "complete") ? "POST" : "DELETE";
    return key_of(m, x, &key, err) < 0 ? -1 : reword(sign(m, method, buf_str(&key), upload_id, part, url, err), err);
}

int managed_get_url(struct managed *m, const char *key, const char *version_id, uint32_t expires_s, struct buf *url,
                    struct err *err)
{
    return s3_presign_get(m->s3, key, version_id, expires_s, url, err);
}
