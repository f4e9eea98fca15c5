/* S3 as a source: s3_resolve() says what is there, s3_fetch feeds the transfer engine. */
#include "stage/stage_priv.h"
#include "xfer/url.h"

#include <stdlib.h>

#define IDENTITY_MAX (1u << 20)
#define LOCATION_MAX (32u << 10)

struct source_s3_state {
    struct source base;
    struct creds *creds; /* borrowed from the stage's logins */
    struct s3 *s3;
    struct s3_resolution *now;
    /* Of the last file(): */
    struct buf location, version;
    struct digest_value sha256;
};

static struct source_s3_state *state_of(struct source *s)
{
    return (struct source_s3_state *)s;
}

/* What the object is called when it is the same bytes: its version id, else its strong ETag (RFC 9110, 8.8.3). */
static const char *version_of(const struct s3_object *o, struct buf *scratch)
{
    buf_reset(scratch);
    if (o->version_id)
        buf_addf(scratch, "version %s", o->version_id);
    else if (o->etag && !span_starts(span_of(o->etag), SPAN_LIT("W/")))
        buf_adds(scratch, o->etag);
    return scratch->n && scratch->state == BUF_OK ? buf_str(scratch) : NULL;
}

static int resolve_s3(struct source *base, struct err *err)
{
    struct source_s3_state *s = state_of(base);
    const struct stage_opts *o = &base->stage->opts;
    const struct s3_resolve_opts opts = {
        .partition_index = o->partition_index,
        .partition_count = o->partition_count,
        .pins = base->input->pins,
        .pin_count = base->input->pin_count,
    };
    s3_resolution_free(s->now);
    s->now = NULL;
    if (s3_resolve(s->s3, &base->input->s3, &opts, &s->now, err) < 0)
        return -1;
    base->file_count = s->now->object_count;
    base->folders = s->now->folders;
    base->folder_count = s->now->folder_count;
    base->unasked = opts.pin_count > 0;
    base->states_by_head = !base->unasked && !base->input->s3.checksum_sha256;
    base->single = s->now->single;
    for (size_t i = 0; i < s->now->warning_count; i++)
        stage_warn(base->stage, base->index, "%s", s->now->warnings[i]);
    return 0;
}

static void file_s3(struct source *base, size_t i, struct source_file *out)
{
    struct source_s3_state *s = state_of(base);
    struct s3_object o;
    s3_resolution_get(s->now, i, &o);
    buf_reset(&s->location);
    s3_location(s->s3, o.key, &s->location);
    /* A checksum that the job states was checked for no blob that came without it: those are other origins. */
    if (base->input->s3.checksum_sha256 && s->now->single)
        buf_addf(&s->location, "#sha256=%s", base->input->s3.checksum_sha256);
    *out = (struct source_file){.path = o.path,
                                .location = buf_str(&s->location),
                                .version = version_of(&o, &s->version),
                                .size = o.size,
                                .modified_ms = o.modified_ms,
                                .proved = o.looked};
    if (base->states_by_head && o.looked && o.want.has_full && o.want.full.kind == DIGEST_SHA256) {
        s->sha256 = o.want.full;
        out->sha256 = &s->sha256;
    }
}

/* --- one transfer ------------------------------------------------------------------------------------------------- */

/* One s3_fetch, with room for the text of the version that it learns. */
struct s3_transfer {
    struct s3_fetch *fetch;
    struct buf version;
};

static int request_s3(void *ctx, uint64_t offset, uint64_t length, struct xfer_request *out, struct err *err)
{
    struct s3_transfer *t = ctx;
    return s3_xfer_source.request(t->fetch, offset, length, out, err);
}

static enum xfer_verdict judge_s3(void *ctx, const struct xfer_head *head, struct xfer_want *want, struct err *err)
{
    struct s3_transfer *t = ctx;
    return s3_xfer_source.judge(t->fetch, head, want, err);
}

static int refresh_s3(void *ctx, struct err *err)
{
    struct s3_transfer *t = ctx;
    return s3_xfer_source.refresh(t->fetch, err);
}

static const struct xfer_source transfer_source = {.request = request_s3, .judge = judge_s3, .refresh = refresh_s3};

static void get_end_s3(void *ctx)
{
    struct s3_transfer *t = ctx;
    s3_fetch_free(t->fetch);
    buf_release(&t->version);
    free(t);
}

static int get_begin_s3(struct source *base, size_t i, struct xfer_get *get, struct err *err)
{
    struct source_s3_state *s = state_of(base);
    struct s3_object o;
    s3_resolution_get(s->now, i, &o);
    struct s3_transfer *t = calloc(1, sizeof *t);
    if (!t)
        return err_nomem(err);
    buf_init(&t->version, LOCATION_MAX);
    if (s3_fetch_new(&t->fetch, s->s3, &o, err) < 0) {
        free(t);
        return -1;
    }
    if (get->head_only) {
        s3_fetch_head_only(t->fetch);
    } else if (s3_fetch_look(t->fetch, err) < 0) {
        get_end_s3(t);
        return -1;
    }
    get->name = o.key;
    get->size = o.size;
    get->want = get->head_only ? o.want : s3_fetch_learned(t->fetch)->want;
    get->source = &transfer_source;
    get->source_ctx = t;
    return 0;
}

static const char *get_version_s3(void *ctx)
{
    struct s3_transfer *t = ctx;
    return version_of(s3_fetch_learned(t->fetch), &t->version);
}

/* --- the record --------------------------------------------------------------------------------------------------- */

static int describe_s3(const struct source *base, json_t *into, struct err *err)
{
    const struct source_s3_state *s = (const struct source_s3_state *)base;
    if (!s->now)
        return 0;
    if (json_put_str(into, "endpoint", s->now->endpoint, err) < 0 ||
        json_put_str(into, "bucket", s->now->bucket, err) < 0 || json_put_str(into, "region", s->now->region, err) < 0)
        return -1;
    return json_put_str(into, "credentials", creds_describe(s->creds), err);
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static void free_s3(struct source *base)
{
    struct source_s3_state *s = state_of(base);
    s3_resolution_free(s->now);
    s3_free(s->s3);
    buf_release(&s->location);
    buf_release(&s->version);
    free(base->identity);
    free(base->label);
    free(s);
}

static const struct source_ops ops_s3 = {
    .name = "s3",
    .resolve = resolve_s3,
    .file = file_s3,
    .get_begin = get_begin_s3,
    .get_version = get_version_s3,
    .get_end = get_end_s3,
    .describe = describe_s3,
    .free = free_s3,
};

static void add_field(struct buf *b, const char *name, const char *value)
{
    if (value)
        buf_addf(b, "\n%s=%s", name, value);
}

static void add_place(const struct source_s3 *src, struct buf *out)
{
    if (src->url)
        url_redact(span_of(src->url), out);
    else
        buf_addf(out, "s3://%s/%s", src->bucket ? src->bucket : "", src->key ? src->key : "");
}

/* All that shapes the result, and nothing that does not (the target, the credentials). The first line is for people. */
static char *identity_of(const struct source_s3 *src, bool pinned, const struct stage_opts *o, struct err *err)
{
    AUTO_BUF b;
    buf_init(&b, IDENTITY_MAX);
    add_place(src, &b);
    buf_adds(&b, "\nsource=s3");
    add_field(&b, "url", src->url);
    add_field(&b, "bucket", src->bucket);
    add_field(&b, "key", src->key);
    add_field(&b, "endpoint", src->endpoint ? src->endpoint : o->access.endpoint);
    add_field(&b, "region", src->region);
    add_field(&b, "filter", src->filter);
    add_field(&b, "version", src->version_id);
    add_field(&b, "checksum", src->checksum_sha256);
    for (size_t i = 0; i < src->files.n; i++)
        add_field(&b, "file", src->files.v[i]);
    if (src->exact_key)
        buf_adds(&b, "\nexact");
    if (pinned)
        buf_adds(&b, "\nas recorded");
    if (o->partition_count > 1)
        buf_addf(&b, "\npartition=%u/%u kind=%d %s %u-%u %s", o->partition_index, o->partition_count,
                 (int)src->partition.kind, src->partition.pattern ? src->partition.pattern : "", src->partition.start,
                 src->partition.end, src->partition.date_format ? src->partition.date_format : "");
    return buf_take(&b, "identity of an input", err);
}

static char *label_of(const struct input *in, struct err *err)
{
    AUTO_BUF b;
    buf_init(&b, LOCATION_MAX);
    add_place(&in->s3, &b);
    if (in->target)
        buf_addf(&b, " → %s", in->target);
    return buf_take(&b, "label of an input", err);
}

/* --- credentials: asked for once, however many inputs use them ---------------------------------------------------- */

struct s3_login {
    struct s3_login *next;
    bool ambient;
    const struct source_s3 *src; /* whose keys; borrowed from the job */
    struct creds *creds;
};

static bool same_keys(const struct source_s3 *a, const struct source_s3 *b)
{
    return str_eq(a->access_key_id, b->access_key_id) && str_eq(a->secret_access_key, b->secret_access_key) &&
           str_eq(a->session_token, b->session_token);
}

/* A bucket's name means something at the operator's own endpoint only. */
static bool may_be_ambient(const struct stage_access *a, const struct source_s3 *src)
{
    if (a->ambient || !a->ambient_buckets || src->endpoint || src->url)
        return a->ambient;
    for (const char *const *b = a->ambient_buckets; *b; b++)
        if (str_eq(*b, src->bucket))
            return true;
    return false;
}

static struct creds *log_in(struct stage *stage, const struct source_s3 *src, struct err *err)
{
    bool ambient = may_be_ambient(&stage->opts.access, src);
    for (struct s3_login *l = stage->s3_logins; l; l = l->next)
        if (l->ambient == ambient && same_keys(l->src, src))
            return l->creds;
    const struct creds_opts who = {
        .job = {src->access_key_id, src->secret_access_key, src->session_token},
        .ambient = ambient,
        .profile = stage->opts.access.profile,
    };
    struct s3_login *mine = calloc(1, sizeof *mine);
    if (!mine) {
        err_nomem(err);
        return NULL;
    }
    if (creds_open(&mine->creds, &who, err) < 0) {
        free(mine);
        return NULL;
    }
    mine->src = src;
    mine->ambient = ambient;
    mine->next = stage->s3_logins;
    stage->s3_logins = mine;
    return mine->creds;
}

void source_s3_logout(struct stage *s)
{
    while (s->s3_logins) {
        struct s3_login *l = s->s3_logins;
        s->s3_logins = l->next;
        creds_free(l->creds);
        free(l);
    }
}

static int open_client(struct source_s3_state *s, struct err *err)
{
    const struct stage_opts *o = &s->base.stage->opts;
    const struct source_s3 *src = &s->base.input->s3;
    s->creds = log_in(s->base.stage, src, err);
    if (!s->creds)
        return -1;
    if (!creds_anonymous(s->creds) && creds_scope(s->creds, s->base.principal, err) < 0)
        return -1;
    const struct s3_opts opts = {
        .http = o->http,
        .memory = s->base.stage->s3_memory,
        .addressing = o->access.addressing,
        .default_endpoint = o->access.endpoint,
        .default_region = o->access.region,
        .mirrors = o->access.mirrors,
        .plain_http_refused = o->access.policy.https_only,
        .cancel = &s->base.stage->stop,
    };
    return s3_open(&s->s3, src, s->creds, &opts, err);
}

int source_s3_new(struct source **out, struct stage *stage, size_t index, struct err *err)
{
    struct source_s3_state *s = calloc(1, sizeof *s);
    if (!s)
        return err_nomem(err);
    s->base = (struct source){.ops = &ops_s3, .input = &stage->inputs[index], .stage = stage, .index = index};
    buf_init(&s->location, LOCATION_MAX);
    buf_init(&s->version, LOCATION_MAX);
    s->base.identity = identity_of(&stage->inputs[index].s3, stage->inputs[index].pin_count > 0, &stage->opts, err);
    s->base.label = label_of(&stage->inputs[index], err);
    if (!s->base.identity || !s->base.label || open_client(s, err) < 0) {
        free_s3(&s->base);
        return -1;
    }
    *out = &s->base;
    return 0;
}
