#include "publish/managed.h"

#include "publish/publish_priv.h"

#define PLACE_MAX ((size_t)16 << 10)

struct granted {
    const struct publish_opts *opts;
    int dir_fd;
    struct archive_totals totals;
    uint64_t total_bytes;
    struct odd_ones odd;
    /* Of the pass under way. */
    struct gzip *gzip;
    struct digest *sums;
    s3_give_fn give; /* NULL: only measured */
    void *to;
    bool silent;               /* what was left out is told once */
    unsigned pass, passes;     /* for the progress of the whole */
    struct digest_value known; /* SHA-256 of the first pass */
};

/* ---- one pass: folder → tar → gzip → sums → where it goes ---- */

static int on_gzip(void *ctx, const void *p, size_t n, struct err *err)
{
    struct granted *g = ctx;
    if (digest_update(g->sums, p, n, err) < 0)
        return -1;
    return g->give ? g->give(g->to, p, n, err) : 0;
}

static int on_tar(void *ctx, const void *p, size_t n, struct err *err)
{
    struct granted *g = ctx;
    return gzip_write(g->gzip, p, n, err);
}

static void on_odd(void *ctx, const char *path, const char *why)
{
    struct granted *g = ctx;
    if (!g->silent)
        odd_ones_tell(&g->odd, path, why);
}

static void on_progress(void *ctx, uint64_t bytes)
{
    const struct granted *g = ctx;
    uint64_t total = g->total_bytes;
    if (g->opts->progress)
        g->opts->progress(g->opts->ctx, g->pass * (total / g->passes) + bytes / g->passes, total);
}

static int pass(struct granted *g, s3_give_fn give, void *to, struct err *err)
{
    const struct archive_pack_opts how = {.max_bytes = g->opts->max_bytes,
                                          .max_entries = g->opts->max_entries,
                                          .cancel = g->opts->cancel,
                                          .odd = on_odd,
                                          .progress = on_progress,
                                          .ctx = g};
    g->give = give;
    g->to = to;
    digest_free(g->sums);
    g->sums = NULL;
    if (digest_open(&g->sums, BIT(DIGEST_SHA256) | BIT(DIGEST_MD5), err) < 0 ||
        gzip_open(&g->gzip, g->opts->threads, on_gzip, g, err) < 0)
        return -1;
    int rc = archive_pack(g->dir_fd, on_tar, g, &how, &g->totals, err);
    if (rc == 0)
        rc = gzip_finish(g->gzip, err);
    gzip_free(g->gzip);
    g->gzip = NULL;
    return rc;
}

/* ---- one PUT ---- */

static int make_again(void *ctx, s3_give_fn give, void *to, struct err *err)
{
    struct granted *g = ctx;
    struct digest_value is;
    g->silent = true;
    g->pass = 1;
    if (pass(g, give, to, err) < 0 || digest_final(g->sums, DIGEST_SHA256, &is, err) < 0)
        return -1;
    return digest_equal(&is, &g->known) ? 0 : err_set(err, ERR_CHANGED, "the results changed while they were sent");
}

static int by_put(struct granted *g, const struct s3_grant *grant, const struct s3_granted_opts *how,
                  struct s3_stored *stored, struct err *err)
{
    struct s3_stream stream = {.make = make_again, .ctx = g};
    g->passes = 2;
    if (pass(g, NULL, NULL, err) < 0 || digest_final(g->sums, DIGEST_SHA256, &g->known, err) < 0 ||
        digest_final(g->sums, DIGEST_MD5, &stream.md5, err) < 0)
        return -1;
    stream.size = digest_length(g->sums);
    odd_ones_end(&g->odd);
    return s3_granted_put(grant, &stream, how, stored, err);
}

/* ---- parts ---- */

static int give_part(void *to, const void *p, size_t n, struct err *err)
{
    return s3_granted_write(to, p, n, err);
}

static int by_parts(struct granted *g, const struct s3_grant *grant, const struct s3_granted_opts *how,
                    struct s3_stored *stored, struct err *err)
{
    struct s3_granted *upload = NULL;
    g->passes = 1;
    if (s3_granted_open(&upload, grant, how, err) < 0)
        return -1;
    int rc = pass(g, give_part, upload, err);
    odd_ones_end(&g->odd);
    if (rc == 0)
        rc = digest_final(g->sums, DIGEST_SHA256, &g->known, err);
    if (rc == 0)
        rc = s3_granted_finish(upload, stored, err);
    s3_granted_free(upload);
    return rc;
}

/* ---- what is there now ---- */

static char *dup_given(const json_t *params, const char *name, struct err *err)
{
    const char *text = json_get_str(params, name);
    return text ? str_dup(text, err) : NULL;
}

static int tell_place(const struct s3_grant *grant, struct publish_result *out, struct err *err)
{
    const json_t *params = json_object_get(grant->result, "Params");
    const char *url = grant->method == S3_GRANT_PUT ? grant->url : grant->complete;
    struct span place, query;
    if (params) {
        out->kind = PUBLISH_S3;
        out->bucket = dup_given(params, "Bucket", err);
        out->key = dup_given(params, "Key", err);
        out->endpoint = dup_given(params, "Endpoint", err);
        out->region = dup_given(params, "Region", err);
        return err_is_set(err) ? -1 : 0;
    }
    span_cut(span_of(url), '?', &place, &query);
    out->path = str_dup_span(span_head(place, PLACE_MAX), err);
    return out->path ? 0 : -1;
}

static int tell(const struct granted *g, const struct s3_grant *grant, const struct s3_stored *stored,
                struct publish_result *out, struct err *err)
{
    AUTO_BUF sum;
    buf_init(&sum, sizeof out->sha256);
    digest_base64(&sum, &g->known);
    snprintf(out->sha256, sizeof out->sha256, "%s", buf_str(&sum));
    out->totals = g->totals;
    out->stored_bytes = stored->size;
    if (stored->version_id && !(out->version_id = str_dup(stored->version_id, err)))
        return -1;
    return buf_check(&sum, "checksum", err) < 0 ? -1 : tell_place(grant, out, err);
}

int publish_by_grant(int dir_fd, const struct s3_grant *grant, const struct publish_opts *opts,
                     int (*more)(void *ctx, enum s3_grant_for what, unsigned part, struct buf *url, struct err *err),
                     struct publish_result *out, struct err *err)
{
    struct granted g = {.opts = opts, .dir_fd = dir_fd, .odd = {.opts = opts}};
    const struct archive_pack_opts measure = {
        .max_bytes = opts->max_bytes, .max_entries = opts->max_entries, .cancel = opts->cancel};
    const struct s3_granted_opts how = {.http = opts->http,
                                        .cancel = opts->cancel,
                                        .buffer_bytes = opts->buffer_bytes,
                                        .more = more,
                                        .commit = opts->commit,
                                        .ctx = opts->ctx};
    struct s3_stored stored = {0};
    uint64_t tar_bytes = 0;
    *out = (struct publish_result){.kind = PUBLISH_S3MANAGED, .encoding = PUBLISH_GZIP};
    if (archive_measure(dir_fd, &measure, &tar_bytes, &g.totals, err) < 0)
        return -1;
    int rc =
        grant->method == S3_GRANT_PUT ? by_put(&g, grant, &how, &stored, err) : by_parts(&g, grant, &how, &stored, err);
    if (rc == 0)
        rc = tell(&g, grant, &stored, out, err);
    digest_free(g.sums);
    s3_stored_release(&stored);
    if (rc < 0)
        publish_result_release(out);
    return rc;
}
