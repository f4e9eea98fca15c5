/* Room before a download: against the quota, the floor of free space and the inodes, what other jobs have reserved of
 * the space counted in. */
#include "cache/cache_priv.h"

#include "base/fs.h"

#define RESERVE_ROUNDS 4 /* others may take what was just freed */

struct room {
    uint64_t have;
    uint64_t stored, reserved, free_bytes, quota_left;
    uint64_t free_inodes;
};

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static struct lack lack_of(const struct room *room, uint64_t bytes, uint64_t files)
{
    return (struct lack){.bytes = less(bytes, room->have), .files = less(files, room->free_inodes)};
}

static bool is_enough(struct lack lack)
{
    return lack.bytes == 0 && lack.files == 0;
}

/* What is reserved and not yet on disk: partials under way are. */
static int measure(struct cache *c, struct db *db, uint64_t live_bytes, struct room *out, struct err *err)
{
    struct fs_space space;
    int64_t stored = 0, reserved = 0;
    if (index_value(db, "SELECT coalesce(sum(size), 0) FROM blobs WHERE lost = 0", &stored, err) < 0 ||
        index_value(db, "SELECT coalesce(sum(reserved), 0) FROM leases", &reserved, err) < 0 ||
        fs_space(c->dir_fd, &space, err) < 0)
        return -1;
    *out = (struct room){.stored = (uint64_t)stored, .free_bytes = space.free_bytes, .free_inodes = space.free_inodes};
    out->reserved = less((uint64_t)reserved, live_bytes);
    uint64_t floor = c->min_free_bytes == UINT64_MAX ? space.total_bytes / 10 : c->min_free_bytes;
    uint64_t on_disk = less(less(space.free_bytes, floor), out->reserved);
    out->quota_left =
        c->max_bytes ? less(less(less(c->max_bytes, out->stored), live_bytes), out->reserved) : UINT64_MAX;
    out->have = on_disk < out->quota_left ? on_disk : out->quota_left;
    return 0;
}

static int add_reservation(struct cache *c, const struct cache_lease *l, uint64_t bytes, struct err *err)
{
    struct db_stmt *s = NULL;
    if (!l || bytes == 0)
        return 0;
    if (db_prepare(c->index.db, "UPDATE leases SET reserved = reserved + $2 WHERE n = $1", &s, err) < 0)
        return -1;
    db_bind_i64(s, 1, l->n);
    db_bind_i64(s, 2, (int64_t)bytes);
    return db_run(s, err);
}

/* Measured and reserved under one hold of the write lock, so that two jobs cannot both have the last room. */
static int try_reserve(struct cache *c, const struct cache_lease *l, uint64_t bytes, uint64_t files, struct room *room,
                       struct err *err)
{
    struct partials partials;
    if (partials_sweep(c, INT64_MIN, false, &partials, err) < 0 || index_begin(c, err) < 0)
        return -1;
    int rc = measure(c, c->index.db, partials.live_bytes, room, err);
    if (rc == 0 && is_enough(lack_of(room, bytes, files)))
        rc = add_reservation(c, l, bytes, err);
    return index_end(c, rc, err);
}

/* In the order of regret: leftovers, the least recently used, and last what an interrupted fetch could go on with. */
static int make_room(struct cache *c, struct lack need, bool *helped, struct err *err)
{
    struct partials partials;
    struct sweep s = {.c = c};
    uint64_t orphans = 0, orphan_bytes = 0;
    if (lease_reap(c, NULL, err) < 0 || partials_sweep(c, cache_now(c) - c->ttl_ms, true, &partials, err) < 0 ||
        orphans_sweep(c, true, &orphans, &orphan_bytes, err) < 0)
        return -1;
    uint64_t gone = partials.stale + orphans;
    need.bytes = less(need.bytes, partials.stale_bytes + orphan_bytes);
    need.files = less(need.files, gone);
    if (sweep_oldest(&s, need, err) < 0)
        return -1;
    gone += s.done.blobs + s.done.snapshots;
    need.bytes = less(need.bytes, s.done.bytes);
    need.files = less(need.files, s.done.blobs);
    if (!is_enough(need)) {
        if (partials_sweep(c, INT64_MAX, true, &partials, err) < 0)
            return -1;
        gone += partials.stale;
    }
    *helped = gone > 0;
    return 0;
}

static int no_space(struct cache *c, uint64_t bytes, const struct room *room, struct err *err)
{
    char need[HUMAN_MAX], have[HUMAN_MAX], free_text[HUMAN_MAX], leased[HUMAN_MAX], pinned[HUMAN_MAX], res[HUMAN_MAX];
    int64_t by_leases = 0, loose = 0, by_pins = 0;
    struct db *db = index_enter(c);
    int rc = index_value(db,
                         "SELECT coalesce(sum(bytes), 0) FROM snapshots WHERE n IN (SELECT snapshot FROM "
                         "lease_snapshots) AND n NOT IN (SELECT snapshot FROM pins)",
                         &by_leases, err);
    if (rc == 0)
        rc = index_value(db,
                         "SELECT coalesce(sum(size), 0) FROM blobs WHERE refs = 0 AND n IN (SELECT blob FROM "
                         "lease_blobs)",
                         &loose, err);
    if (rc == 0)
        rc = index_value(db, "SELECT coalesce(sum(bytes), 0) FROM snapshots WHERE n IN (SELECT snapshot FROM pins)",
                         &by_pins, err);
    index_leave(c);
    if (rc < 0)
        return -1;
    err_set(err, ERR_NOSPACE,
            "%s needed, %s to be had in %s (%s free on the disk; running jobs hold %s, pins %s, %s more is reserved)",
            human_bytes(need, bytes), human_bytes(have, room->have), c->dir, human_bytes(free_text, room->free_bytes),
            human_bytes(leased, (uint64_t)(by_leases + loose)), human_bytes(pinned, (uint64_t)by_pins),
            human_bytes(res, room->reserved));
    return err_hint(err, room->quota_left < bytes ? "unpin something, or raise cache.max_bytes"
                                                  : "free some disk space, unpin something, or lower cache.min_free");
}

static int no_inodes(const struct cache *c, uint64_t files, const struct room *room, struct err *err)
{
    err_set(err, ERR_NOSPACE, "room for %llu more files needed, the file system of %s takes %llu more (free inodes)",
            (unsigned long long)files, c->dir, (unsigned long long)room->free_inodes);
    return err_hint(err, "remove files there (df -i shows how full it is), unpin something, or set cache.dir to a file "
                         "system with more inodes");
}

static int reserve(struct cache *c, const struct cache_lease *l, uint64_t bytes, uint64_t files, struct err *err)
{
    struct room room = {0};
    for (int i = 0;; i++) {
        bool helped = false;
        if (try_reserve(c, l, bytes, files, &room, err) < 0)
            return -1;
        struct lack lack = lack_of(&room, bytes, files);
        if (is_enough(lack))
            return 0;
        if (i < RESERVE_ROUNDS && make_room(c, lack, &helped, err) < 0)
            return -1;
        if (!helped)
            return lack.bytes ? no_space(c, bytes, &room, err) : no_inodes(c, files, &room, err);
    }
}

int cache_reserve(struct cache *c, struct cache_lease *lease, uint64_t bytes, uint64_t files, struct err *err)
{
    return reserve(c, lease, bytes > INT64_MAX ? INT64_MAX : bytes, files, err) < 0 ? err_wrap(err, "cache") : 0;
}
