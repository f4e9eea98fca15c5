/* A model of an Ollama registry as a source: its manifest, which came with the resolution, and its blobs.
 *
 * Blobs are named by their SHA-256, but only those of this very repository are taken from the cache: that somebody's
 * manifest claims a digest does not open another repository's blobs. Whoever was given the manifest may read its blobs,
 * since registries decide by repository. */
#include "ollama/ollama.h"
#include "stage/stage_priv.h"

#include <stdlib.h>

#define PATH_TEXT_MAX 1024
#define LOCATION_MAX  (8u << 10)

struct source_ollama_state {
    struct source base;
    struct ollama *client;
    struct ollama_resolution *now;
    struct buf path, location, version; /* of the last file() */
};

static struct source_ollama_state *state_of(struct source *s)
{
    return (struct source_ollama_state *)s;
}

static int resolve_ollama(struct source *base, struct err *err)
{
    struct source_ollama_state *s = state_of(base);
    ollama_resolution_free(s->now);
    s->now = NULL;
    if (ollama_resolve(s->client, base->input->resolved, &s->now, err) < 0)
        return -1;
    base->file_count = s->now->manifest.blob_count + 1;
    return 0;
}

/* The blobs, sorted by their digests, then the manifest: so are the paths. */
static void file_ollama(struct source *base, size_t i, struct source_file *out)
{
    struct source_ollama_state *s = state_of(base);
    const struct ollama_ref *ref = ollama_ref(s->client);
    const char *place = ollama_place(s->client);
    buf_reset(&s->path);
    buf_reset(&s->location);
    buf_reset(&s->version);
    *out = (struct source_file){.proved = true};
    if (i < s->now->manifest.blob_count) {
        const struct ollama_blob *b = &s->now->manifest.blobs[i];
        char hex[DIGEST_HEX_MAX];
        digest_hex(hex, &b->digest);
        buf_addf(&s->path, "blobs/sha256-%s", hex);
        buf_addf(&s->location, "%s/blobs/sha256:%s", place, hex);
        buf_addf(&s->version, "sha256:%s", hex);
        out->size = b->size;
        out->sha256 = &b->digest;
    } else {
        buf_addf(&s->path, "manifests/%s/%s/%s/%s", ref->host, ref->space, ref->name, ref->tag);
        buf_addf(&s->location, "%s/manifests/%s", place, s->now->digest);
        buf_adds(&s->version, s->now->digest);
        out->size = s->now->text.n;
        out->content = s->now->text;
    }
    out->path = buf_str(&s->path);
    out->location = buf_str(&s->location);
    out->version = buf_str(&s->version);
}

static int get_begin_ollama(struct source *base, size_t i, struct xfer_get *get, struct err *err)
{
    struct source_ollama_state *s = state_of(base);
    const struct ollama_blob *b = &s->now->manifest.blobs[i];
    struct ollama_fetch *f = NULL;
    struct source_file file;
    if (ollama_fetch_new(&f, s->client, b, err) < 0)
        return -1;
    file_ollama(base, i, &file);
    get->name = file.path;
    get->size = b->size;
    get->want.has_full = true;
    get->want.full = b->digest;
    get->source = &ollama_xfer_source;
    get->source_ctx = f;
    return 0;
}

static const char *get_version_ollama(void *ctx)
{
    (void)ctx;
    return NULL; /* each file has its version from the manifest */
}

static void get_end_ollama(void *ctx)
{
    ollama_fetch_free(ctx);
}

static int describe_ollama(const struct source *base, json_t *into, struct err *err)
{
    const struct source_ollama_state *s = (const struct source_ollama_state *)base;
    AUTO_BUF model;
    buf_init(&model, PATH_TEXT_MAX);
    ollama_ref_write(ollama_ref(s->client), &model);
    if (json_put_str(into, "model", buf_str(&model), err) < 0)
        return -1;
    return s->now ? json_put_str(into, "resolved", s->now->digest, err) : 0;
}

static void free_ollama(struct source *base)
{
    struct source_ollama_state *s = state_of(base);
    ollama_resolution_free(s->now);
    ollama_free(s->client);
    buf_release(&s->path);
    buf_release(&s->location);
    buf_release(&s->version);
    free(base->identity);
    free(base->label);
    free(s);
}

static const struct source_ops ops_ollama = {
    .name = "ollama",
    .resolve = resolve_ollama,
    .file = file_ollama,
    .get_begin = get_begin_ollama,
    .get_version = get_version_ollama,
    .get_end = get_end_ollama,
    .describe = describe_ollama,
    .free = free_ollama,
};

static int set_up(struct source_ollama_state *s, struct err *err)
{
    const struct stage_opts *o = &s->base.stage->opts;
    const struct input *in = s->base.input;
    const struct ollama_opts opts = {.http = o->http, .mirrors = o->access.mirrors, .cancel = &s->base.stage->stop};
    AUTO_BUF model;
    buf_init(&model, PATH_TEXT_MAX);
    if (ollama_open(&s->client, in->ollama.model, &opts, err) < 0)
        return -1;
    ollama_ref_write(ollama_ref(s->client), &model);
    s->base.label = str_printf(err, in->target ? "ollama://%s → %s" : "ollama://%s", in->ollama.model, in->target);
    s->base.identity =
        str_printf(err, "ollama://%s\nsource=ollama\nplace=%s%s%s", buf_str(&model), ollama_place(s->client),
                   in->resolved ? "\nmanifest=" : "", in->resolved ? in->resolved : "");
    return s->base.label && s->base.identity ? 0 : -1;
}

int source_ollama_new(struct source **out, struct stage *stage, size_t index, struct err *err)
{
    struct source_ollama_state *s = calloc(1, sizeof *s);
    if (!s)
        return err_nomem(err);
    s->base = (struct source){.ops = &ops_ollama, .input = &stage->inputs[index], .stage = stage, .index = index};
    buf_init(&s->path, PATH_TEXT_MAX);
    buf_init(&s->location, LOCATION_MAX);
    buf_init(&s->version, OLLAMA_DIGEST_MAX);
    if (set_up(s, err) < 0) {
        free_ollama(&s->base);
        return -1;
    }
    *out = &s->base;
    return 0;
}
