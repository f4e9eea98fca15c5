/* The cache as the place where fetched bytes are kept. */
#include "stage/stage_priv.h"

static struct cache_origin origin_of(const struct stage_input *in, const struct source_file *file)
{
    return (struct cache_origin){
        .source = in->source->ops->name, .location = file->location, .version = file->version, .size = file->size};
}

static void hold(struct fetch *f, const struct cache_blob *blob)
{
    struct held_blob *to = &f->in->own.blobs[f->file];
    memcpy(to->id, blob->id, sizeof to->id);
    to->size = blob->size;
}

static int cache_begin(struct fetch *f, const struct source_file *file, enum cache_fill_state *state, struct err *err)
{
    struct stage *s = f->in->stage;
    struct cache_origin origin = origin_of(f->in, file);
    struct cache_blob hit;
    if (cache_fill_begin(s->opts.cache, s->lease, &origin, &f->fill, &hit, state, err) < 0)
        return -1;
    if (*state == CACHE_FILL_HIT)
        hold(f, &hit);
    return 0;
}

static int cache_open_partial(struct fetch *f, uint64_t size, int *fd, struct partmap **map, struct err *err)
{
    return cache_fill_open(f->fill, size, 0, fd, map, err);
}

/* Quota and the floor of free space hold for what comes without a size, too: room for one step ahead. */
static int cache_grow(struct fetch *f, uint64_t bytes, struct err *err)
{
    struct stage *s = f->in->stage;
    uint64_t wanted = bytes + XFER_GROW_STEP;
    if (wanted <= f->reserved)
        return 0; /* an earlier try had come as far */
    if (cache_reserve(s->opts.cache, s->lease, wanted - f->reserved, 0, err) < 0)
        return -1;
    f->reserved = wanted;
    return 0;
}

static int cache_commit(struct fetch *f, const struct source_file *file, struct err *err)
{
    const struct xfer_result *r = &f->result;
    struct cache_origin origin = origin_of(f->in, file);
    if (!origin.version)
        origin.version = f->learned_version;
    static const uint8_t anybody[32];
    struct cache_verified how = {
        .has_digest = r->verified,
        .by = r->verified_by,
        .has_sha256 = (r->computed & BIT(DIGEST_SHA256)) != 0,
        .sha256 = r->values[DIGEST_SHA256],
        .world_readable = memcmp(f->in->source->principal, anybody, sizeof anybody) == 0,
    };
    if (!how.has_sha256 && r->verified && r->verified_by.kind == DIGEST_SHA256) {
        how.has_sha256 = true;
        how.sha256 = r->verified_by;
    }
    struct cache_blob blob;
    struct cache_fill *fill = f->fill;
    f->fill = NULL;
    if (cache_fill_commit(fill, &origin, r->size, &how, &blob, err) < 0)
        return -1;
    hold(f, &blob);
    return 0;
}

static void cache_abandon(struct fetch *f, bool keep)
{
    if (f->fill)
        cache_fill_abandon(f->fill, keep);
    f->fill = NULL;
}

const struct store_ops store_cache = {.begin = cache_begin,
                                      .open = cache_open_partial,
                                      .grow = cache_grow,
                                      .commit = cache_commit,
                                      .abandon = cache_abandon};
