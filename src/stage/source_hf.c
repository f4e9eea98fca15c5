/* The Hugging Face Hub as a source: hf_resolve() says what is there, hf_fetch feeds the transfer engine. */
#include "hf/hf.h"
#include "stage/stage_priv.h"

#include <stdlib.h>

#define IDENTITY_MAX (1u << 20)
#define LOCATION_MAX (32u << 10)

struct source_hf_state {
    struct source base;
    struct hf_token *token;
    struct hf *hf;
    struct hf_resolution *now;
    struct cache_link *links;
    /* Of the last file(): */
    struct buf location, name;
    char version[HF_VERSION_MAX];
    struct xfer_want want;
};

static struct source_hf_state *state_of(struct source *s)
{
    return (struct source_hf_state *)s;
}

static const char *revision_of(const struct input *in)
{
    return in->resolved ? in->resolved : in->hf.revision;
}

static void forget(struct source_hf_state *s)
{
    hf_resolution_free(s->now);
    free(s->links);
    s->now = NULL;
    s->links = NULL;
    s->base.file_count = s->base.folder_count = s->base.link_count = 0;
}

/* The folder of the commit is there also where it holds nothing: a ref leads to it. */
static int take_layout(struct source_hf_state *s, struct err *err)
{
    const struct hf_resolution *r = s->now;
    s->base.folders = &r->snapshot_path;
    s->base.folder_count = r->snapshot_path != NULL;
    s->links = calloc(r->link_count + 1, sizeof *s->links);
    if (!s->links)
        return err_nomem(err);
    for (size_t i = 0; i < r->link_count; i++)
        s->links[i] = (struct cache_link){r->links[i].path, r->links[i].to};
    s->base.links = s->links;
    s->base.link_count = r->link_count;
    return 0;
}

static int resolve_hf(struct source *base, struct err *err)
{
    struct source_hf_state *s = state_of(base);
    forget(s);
    if (hf_resolve(s->hf, revision_of(base->input), &s->now, err) < 0 || take_layout(s, err) < 0)
        return -1;
    base->file_count = s->now->file_count + (s->now->ref_path != NULL);
    for (size_t i = 0; i < s->now->warning_count; i++)
        stage_warn(base->stage, base->index, "%s", s->now->warnings[i]);
    return 0;
}

/* Without memory for its place, a file has no version either: nothing is found for it. */
static const char *version_at(const struct source_hf_state *s, const char *version)
{
    return s->location.state == BUF_OK ? version : NULL;
}

/* The hub's layout has one file more, whose content is the commit. */
static void file_ref(struct source_hf_state *s, struct source_file *out)
{
    const struct hf_resolution *r = s->now;
    buf_reset(&s->location);
    hf_location(s->hf, r, "refs", &s->location);
    snprintf(s->version, sizeof s->version, "ref:%s", r->commit);
    *out = (struct source_file){.path = r->ref_path,
                                .location = buf_str(&s->location),
                                .version = version_at(s, s->version),
                                .size = strlen(r->commit),
                                .proved = true,
                                .content = span_of(r->commit)};
}

/* In the hub's layout a file lies under its digest, and is known by the first link to it. */
static const char *name_of(struct source_hf_state *s, const struct hf_file *f)
{
    if (!s->now->snapshot_path)
        return NULL;
    buf_reset(&s->name);
    buf_addf(&s->name, "%s/%s", s->now->snapshot_path, f->path);
    return s->name.state == BUF_OK ? buf_str(&s->name) : NULL;
}

static void file_hf(struct source *base, size_t i, struct source_file *out)
{
    struct source_hf_state *s = state_of(base);
    if (i == s->now->file_count) {
        file_ref(s, out);
        return;
    }
    const struct hf_file *f = &s->now->files[i];
    buf_reset(&s->location);
    hf_location(s->hf, s->now, f->path, &s->location);
    hf_want(f, &s->want);
    *out = (struct source_file){.path = f->target,
                                .name = name_of(s, f),
                                .location = buf_str(&s->location),
                                .version = version_at(s, hf_version(f, s->version)),
                                .size = f->size,
                                .want = &s->want,
                                .sha256 = f->lfs ? &s->want.full : NULL};
}

static int get_begin_hf(struct source *base, size_t i, struct xfer_get *get, struct err *err)
{
    struct source_hf_state *s = state_of(base);
    const struct hf_file *f = &s->now->files[i];
    struct hf_fetch *t;
    if (hf_fetch_new(&t, s->hf, s->now, f, err) < 0)
        return -1;
    get->name = f->path;
    get->size = f->size;
    hf_want(f, &get->want);
    if (s->now->snapshot_path) /* several revisions may share a target: the same content has to be known as the same */
        get->want.compute |= BIT(DIGEST_SHA256);
    get->source = &hf_xfer_source;
    get->source_ctx = t;
    return 0;
}

/* Known from the start. */
static const char *get_version_hf(void *ctx)
{
    (void)ctx;
    return NULL;
}

static void get_end_hf(void *ctx)
{
    hf_fetch_free(ctx);
}

static int prove_hf(struct source *base, size_t i, struct err *err)
{
    struct source_hf_state *s = state_of(base);
    return hf_prove(s->hf, s->now, &s->now->files[i], err);
}

static int describe_hf(const struct source *base, json_t *into, struct err *err)
{
    const struct source_hf_state *s = (const struct source_hf_state *)base;
    if (!s->now)
        return 0;
    if (json_put_str(into, "repo", s->now->repo, err) < 0 || json_put_str(into, "resolved", s->now->commit, err) < 0)
        return -1;
    return json_put_str(into, "credentials", hf_token_describe(s->token), err);
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static void free_hf(struct source *base)
{
    struct source_hf_state *s = state_of(base);
    forget(s);
    hf_free(s->hf);
    hf_token_free(s->token);
    buf_release(&s->location);
    buf_release(&s->name);
    free(base->identity);
    free(base->label);
    free(s);
}

static const struct source_ops ops_hf = {
    .name = "hf",
    .resolve = resolve_hf,
    .file = file_hf,
    .get_begin = get_begin_hf,
    .get_version = get_version_hf,
    .get_end = get_end_hf,
    .prove = prove_hf,
    .describe = describe_hf,
    .free = free_hf,
};

static void add_place(const struct input *in, struct buf *out)
{
    buf_addf(out, "hf://%s", in->hf.repo);
    if (revision_of(in))
        buf_addf(out, "@%s", revision_of(in));
}

/* All that shapes the result, and nothing that does not. The first line is for people. */
static char *identity_of(const struct input *in, const struct stage_opts *o, struct err *err)
{
    AUTO_BUF b;
    buf_init(&b, IDENTITY_MAX);
    add_place(in, &b);
    buf_addf(&b, "\nsource=hf\nendpoint=%s", o->access.hub ? o->access.hub : HF_ENDPOINT_DEFAULT);
    for (size_t i = 0; i < in->hf.files.n; i++)
        buf_addf(&b, "\nfile=%s", in->hf.files.v[i]);
    if (in->hf.hub_layout)
        buf_addf(&b, "\nlayout=hub revision=%s", in->hf.revision ? in->hf.revision : "");
    return buf_take(&b, "identity of an input", err);
}

static char *label_of(const struct input *in, struct err *err)
{
    AUTO_BUF b;
    buf_init(&b, LOCATION_MAX);
    add_place(in, &b);
    if (in->target)
        buf_addf(&b, " → %s", in->target);
    return buf_take(&b, "label of an input", err);
}

static int open_client(struct source_hf_state *s, struct err *err)
{
    const struct stage_opts *o = &s->base.stage->opts;
    const struct source_hf *src = &s->base.input->hf;
    const struct hf_token_opts who = {.job = src->access_token, .ambient = o->access.ambient};
    if (hf_token_open(&s->token, &who, err) < 0)
        return -1;
    if (!hf_token_anonymous(s->token) && hf_token_scope(s->token, s->base.principal, err) < 0)
        return -1;
    const struct hf_opts opts = {
        .http = o->http,
        .endpoint = o->access.hub,
        .mirrors = o->access.mirrors,
        .plain_http_refused = o->access.policy.https_only,
        .cancel = &s->base.stage->stop,
    };
    return hf_open(&s->hf, src, s->token, &opts, err);
}

int source_hf_new(struct source **out, struct stage *stage, size_t index, struct err *err)
{
    const struct input *in = &stage->inputs[index];
    struct source_hf_state *s = calloc(1, sizeof *s);
    if (!s)
        return err_nomem(err);
    s->base = (struct source){.ops = &ops_hf, .input = in, .stage = stage, .index = index};
    buf_init(&s->location, LOCATION_MAX);
    buf_init(&s->name, LOCATION_MAX);
    s->base.identity = identity_of(in, &stage->opts, err);
    s->base.label = label_of(in, err);
    if (!s->base.identity || !s->base.label || open_client(s, err) < 0) {
        free_hf(&s->base);
        return -1;
    }
    *out = &s->base;
    return 0;
}
