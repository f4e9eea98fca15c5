#include "cache/cache_priv.h"

#include "base/clock.h"
#include "base/log.h"

#define TTL_MS ((int64_t)24 * 3600 * 1000)

static int64_t wall_now(void *ctx)
{
    (void)ctx;
    return clock_wall_ms();
}

static struct cache *cache_new(const struct cache_opts *opts, struct err *err)
{
    struct cache *c = calloc(1, sizeof *c);
    if (!c) {
        err_nomem(err);
        return NULL;
    }
    c->dir_fd = c->blobs_fd = c->partial_fd = c->views_fd = c->locks_fd = c->leases_fd = c->quarantine_fd = -1;
    c->max_bytes = opts->max_bytes;
    c->min_free_bytes = opts->min_free_bytes;
    c->ttl_ms = opts->ttl_ms ? (int64_t)(opts->ttl_ms < INT64_MAX / 2 ? opts->ttl_ms : INT64_MAX / 2) : TTL_MS;
    c->durable = opts->durable;
    c->now_ms = opts->now_ms ? opts->now_ms : wall_now;
    c->now_ctx = opts->now_ctx;
    atomic_init(&c->unsynced, false);
    pthread_mutex_init(&c->index.mu, NULL);
    c->dir = str_dup(opts->dir, err);
    if (!c->dir) {
        cache_free(c);
        return NULL;
    }
    return c;
}

int cache_open(struct cache **out, const struct cache_opts *opts, struct err *err)
{
    struct cache *c = cache_new(opts, err);
    if (!c)
        return err_wrap(err, "cache");
    if (layout_open(c, err) < 0 || locks_open(&c->locks, c->locks_fd, err) < 0 || index_open(c, err) < 0 ||
        writer_open(c, err) < 0 || repair_cheap(c, err) < 0) {
        cache_free(c);
        return err_wrap(err, "cache");
    }
    *out = c;
    return 0;
}

void cache_free(struct cache *c)
{
    struct err err = ERR_INIT;
    if (!c)
        return;
    if (c->writer) {
        writer_drain(c);
        if (writer_sync(c, &err) < 0)
            log_warn("cache", "%s", err.text);
    }
    writer_close(c);
    index_close(c);
    locks_free(c->locks);
    layout_close(c);
    pthread_mutex_destroy(&c->index.mu);
    free(c->dir);
    free(c);
}

const char *cache_dir(const struct cache *c)
{
    return c->dir;
}
