#include "cache/cache_priv.h"

/* Rows, in one go where it is only to be known what would go. */
static int sweep(struct sweep *s, const struct cache_gc_opts *opts, int64_t before_ms, uint64_t freed, struct err *err)
{
    if (sweep_begin(s, err) < 0)
        return -1;
    int rc = 0;
    if (sweep_entries(s, before_ms, err) < 0 || sweep_snapshots(s, before_ms, err) < 0 ||
        sweep_blobs(s, before_ms, err) < 0)
        rc = -1;
    freed += s->done.bytes;
    if (rc == 0 && opts->need_bytes > freed)
        rc = sweep_oldest(s, (struct lack){.bytes = opts->need_bytes - freed}, err);
    return sweep_end(s, rc, err);
}

static int gc(struct cache *c, const struct cache_gc_opts *opts, struct cache_gc_result *out, struct err *err)
{
    struct sweep s = {.c = c, .dry = opts->dry_run};
    struct lease_probe probe = {.container = opts->container, .ctx = opts->ctx};
    struct partials partials;
    uint64_t orphans = 0, orphan_bytes = 0;
    int64_t before_ms = opts->all ? INT64_MAX : cache_now(c) - c->ttl_ms;
    if (lease_reap(c, &probe, err) < 0 || /* also for a dry run: they hold nothing that is anybody's */
        partials_sweep(c, before_ms, !opts->dry_run, &partials, err) < 0 ||
        orphans_sweep(c, !opts->dry_run, &orphans, &orphan_bytes, err) < 0)
        return -1;
    int rc = sweep(&s, opts, before_ms, partials.stale_bytes + orphan_bytes, err);
    *out = s.done;
    out->blobs += orphans;
    out->partials += partials.stale;
    out->bytes += partials.stale_bytes + orphan_bytes;
    if (rc == 0 && !opts->dry_run)
        rc = writer_sync(c, err);
    return rc;
}

int cache_gc(struct cache *c, const struct cache_gc_opts *opts, struct cache_gc_result *out, struct err *err)
{
    *out = (struct cache_gc_result){0};
    return gc(c, opts, out, err) < 0 ? err_wrap(err, "cache: gc") : 0;
}
