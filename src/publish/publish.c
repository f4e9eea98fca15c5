#include "publish/publish_priv.h"

#include "base/log.h"

#include <stdio.h>

#define ENDPOINT_MAX 1024 /* "https://host:port" */

/* ---- the place ---- */

int target_open(struct target *t, const struct publish_opts *opts, struct err *err)
{
    const struct publish_access *a = &opts->access;
    const struct publisher *to = opts->to;
    const struct creds_opts who = {.job = a->keys, .ambient = a->ambient, .profile = a->profile};
    const struct s3_opts how = {
        .http = opts->http,
        .addressing = a->addressing,
        .default_endpoint = a->endpoint,
        .default_region = a->region,
        .mirrors = a->mirrors,
        .plain_http_refused = a->https_only,
        .cancel = opts->cancel,
    };
    const struct source_s3 place = {
        .bucket = to->bucket,
        .key = "",
        .endpoint = to->endpoint,
        .region = to->region,
        .sse_customer_key = to->sse_customer_key,
    };
    if (creds_open(&t->creds, &who, err) < 0)
        return -1;
    return s3_open(&t->s3, &place, t->creds, &how, err);
}

void target_release(struct target *t)
{
    s3_free(t->s3);
    creds_free(t->creds);
    *t = (struct target){0};
}

struct s3_put_opts target_put_opts(const struct publisher *to)
{
    return (struct s3_put_opts){
        .storage_class = to->storage_class,
        .sse = to->sse,
        .sse_kms_key_id = to->sse_kms_key_id,
        .tags = to->tags,
        .acl = to->acl,
        .only_new = to->only_new,
    };
}

int target_describe(const struct target *t, const struct publish_opts *opts, const char *key,
                    const struct s3_stored *stored, struct publish_result *out, struct err *err)
{
    AUTO_BUF endpoint;
    char region[S3_REGION_NAME_MAX];
    buf_init(&endpoint, ENDPOINT_MAX);
    s3_where(t->s3, &endpoint, region);
    if (buf_check(&endpoint, "endpoint", err) < 0)
        return -1;
    out->endpoint = str_dup(buf_str(&endpoint), err);
    out->bucket = str_dup(opts->to->bucket, err);
    out->key = str_dup(key, err);
    out->region = str_dup(region, err);
    if (stored->version_id)
        out->version_id = str_dup(stored->version_id, err);
    return err_is_set(err) ? -1 : 0;
}

/* ---- what the caller wants to know ---- */

int storing_begun(void *ctx, const char *upload_id, struct err *err)
{
    const struct storing *s = ctx;
    AUTO_BUF endpoint;
    char region[S3_REGION_NAME_MAX];
    buf_init(&endpoint, ENDPOINT_MAX);
    s3_where(s->target->s3, &endpoint, region);
    if (buf_check(&endpoint, "endpoint", err) < 0)
        return -1;
    const struct publish_upload u = {s->opts->to->bucket, s->key, upload_id, buf_str(&endpoint), region};
    return s->opts->begun(s->opts->ctx, &u, err);
}

int storing_commit(void *ctx, struct err *err)
{
    const struct storing *s = ctx;
    return s->opts->commit(s->opts->ctx, err);
}

/* ---- what is left out ---- */

void odd_ones_tell(void *ctx, const char *path, const char *why)
{
    struct odd_ones *o = ctx;
    char text[ERR_TEXT_MAX];
    if (o->n++ >= PUBLISH_WARNINGS_MAX || !o->opts->warn)
        return;
    snprintf(text, sizeof text, "%.1000s: %s", path, why);
    o->opts->warn(o->opts->ctx, text);
}

void odd_ones_end(const struct odd_ones *o)
{
    char text[64];
    if (o->n <= PUBLISH_WARNINGS_MAX || !o->opts->warn)
        return;
    snprintf(text, sizeof text, "%u more such files", o->n - PUBLISH_WARNINGS_MAX);
    o->opts->warn(o->opts->ctx, text);
}

/* ---- publishing ---- */

int publish_folder(int dir_fd, const struct publish_opts *opts, struct publish_result *out, struct err *err)
{
    const struct publisher *to = opts->to;
    *out = (struct publish_result){.kind = to->kind, .encoding = to->encoding};
    int rc;
    switch (to->kind) {
    case PUBLISH_S3:
    case PUBLISH_LOCAL:
        rc = to->encoding == PUBLISH_PLAIN ? publish_plain(dir_fd, opts, out, err)
                                           : publish_gzip(dir_fd, opts, out, err);
        break;
    case PUBLISH_NONE:
    case PUBLISH_S3MANAGED:
    default:
        rc = err_set(err, ERR_UNSUPPORTED, "not supported here: this publisher");
    }
    if (rc < 0)
        publish_result_release(out);
    return rc;
}

/* ---- what crashes left ---- */

int publish_abort(const struct publish_opts *opts, const struct publish_upload *upload, struct err *err)
{
    struct target t = {0};
    const struct publisher to = {.kind = PUBLISH_S3,
                                 .bucket = upload->bucket,
                                 .endpoint = upload->endpoint,
                                 .region = upload->region,
                                 .sse_customer_key = opts->to->sse_customer_key};
    struct publish_opts there = *opts;
    there.to = &to;
    int rc = target_open(&t, &there, err);
    if (rc == 0)
        rc = s3_upload_abort(t.s3, upload->key, upload->upload_id, err);
    target_release(&t);
    return rc;
}

struct sweep {
    const struct publish_stale *stale;
    struct target *target;
    unsigned aborted;
};

static int sweep_one(void *ctx, const struct s3_unfinished *u, struct err *err)
{
    struct sweep *s = ctx;
    const struct publish_stale *stale = s->stale;
    if (u->begun_ms == 0 || u->begun_ms > stale->now_ms - (int64_t)stale->older_ms)
        return 0;
    if (s3_upload_abort(s->target->s3, u->key, u->upload_id, err) < 0)
        return -1;
    s->aborted++;
    if (stale->each)
        stale->each(stale->ctx, u->key, u->begun_ms);
    return 0;
}

int publish_abort_stale(const struct publish_opts *opts, const struct publish_stale *stale, unsigned *aborted,
                        struct err *err)
{
    struct target t = {0};
    struct sweep s = {.stale = stale, .target = &t};
    int rc = target_open(&t, opts, err);
    if (rc == 0)
        rc = s3_uploads_list(t.s3, opts->to->key, sweep_one, &s, err);
    target_release(&t);
    *aborted = s.aborted;
    return rc;
}
