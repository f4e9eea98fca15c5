#include "cache/cache_priv.h"

#include "base/enc.h"
#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>

#define PARTIAL_NAME_MAX (ORIGIN_KEY_MAX + 8)

/* From begin to commit or abandon. Its partial is named by the origin's key, or at random where that is of no use to
 * another: a fetch without a version. */
struct cache_fill {
    struct cache *cache;
    struct cache_lease *lease;
    char key[ORIGIN_KEY_MAX];
    struct lock_name lock; /* held */
    bool versioned;
    int fd, map_fd; /* -1: not yet opened, no map */
    struct partmap *map;
    char bound[DIGEST_HEX_MAX]; /* the digest that the bytes will be checked against; "": by whoever fetches them */
};

static void partial_name(char out[PARTIAL_NAME_MAX], const struct cache_fill *f, const char *suffix)
{
    snprintf(out, PARTIAL_NAME_MAX, "%s.%s", f->key, suffix);
}

static void unlink_partial(const struct cache_fill *f, const char *suffix)
{
    char name[PARTIAL_NAME_MAX];
    partial_name(name, f, suffix);
    unlinkat(f->cache->partial_fd, name, 0); /* what stays is swept by gc */
}

static void close_files(struct cache_fill *f)
{
    partmap_free(f->map);
    f->map = NULL;
    auto_close(&f->map_fd);
    auto_close(&f->fd);
    f->map_fd = f->fd = -1;
}

/* The map goes first: one that outlived its data would vouch for bytes of a file that is begun anew. */
static void unlink_both(const struct cache_fill *f)
{
    unlink_partial(f, "map");
    unlink_partial(f, "data");
}

/* Free the fill but not its lock. */
static void fill_discard(struct cache_fill *f, bool keep)
{
    bool opened = f->fd >= 0;
    close_files(f);
    if (!keep && opened)
        unlink_both(f);
    free(f);
}

static struct cache_fill *fill_new(struct cache *c, struct cache_lease *lease, const struct cache_origin *origin,
                                   struct err *err)
{
    struct cache_fill *f = calloc(1, sizeof *f);
    if (!f) {
        err_nomem(err);
        return NULL;
    }
    *f = (struct cache_fill){.cache = c, .lease = lease, .versioned = origin->version != NULL, .fd = -1, .map_fd = -1};
    if ((f->versioned ? key_of_origin(c, origin, f->key, err) : key_random(f->key, err)) < 0) {
        free(f);
        return NULL;
    }
    f->lock = lock_name_of(LOCK_ORIGIN, f->key);
    return f;
}

/* First the lock, then the look: who had the lock before may have stored it. */
static int fill_begin(struct cache *c, struct cache_fill *f, uint64_t size, struct cache_blob *hit,
                      enum cache_fill_state *state, struct err *err)
{
    int rc = locks_try(c->locks, f->lock, LOCK_ALONE, err);
    if (rc <= 0) {
        *state = CACHE_FILL_BUSY;
        return rc;
    }
    *state = CACHE_FILL_MINE;
    rc = f->versioned ? lookup_one(c, f->lease, f->key, size, hit, err) : 0;
    if (hit->found)
        *state = CACHE_FILL_HIT;
    if (rc < 0 || hit->found)
        locks_drop(c->locks, f->lock);
    return rc;
}

int cache_fill_begin(struct cache *c, struct cache_lease *lease, const struct cache_origin *origin,
                     struct cache_fill **out, struct cache_blob *hit, enum cache_fill_state *state, struct err *err)
{
    *out = NULL;
    *hit = (struct cache_blob){0};
    struct cache_fill *f = fill_new(c, lease, origin, err);
    if (!f || fill_begin(c, f, origin->size, hit, state, err) < 0) {
        free(f);
        return err_wrap(err, "cache");
    }
    if (*state == CACHE_FILL_MINE)
        *out = f;
    else
        free(f);
    return 0;
}

int cache_fill_wait(struct cache *c, const struct cache_origin *origin, const struct cancel *cancel, struct err *err)
{
    char key[ORIGIN_KEY_MAX];
    if (!origin->version)
        return 0;
    if (key_of_origin(c, origin, key, err) < 0)
        return err_wrap(err, "cache");
    struct lock_name lock = lock_name_of(LOCK_ORIGIN, key);
    writer_drain(c); /* it may be a fill of ours that is done but for its row */
    if (locks_wait(c->locks, lock, LOCK_ALONE, cancel, err) < 0)
        return err_wrap(err, "cache");
    locks_drop(c->locks, lock);
    return 0;
}

static int open_partial(const struct cache_fill *f, const char *suffix, struct err *err)
{
    char name[PARTIAL_NAME_MAX];
    partial_name(name, f, suffix);
    return fs_open_beneath(f->cache->partial_fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0600, err);
}

/* The map is bound to the origin, to this boot of the machine, and to the digest where there is one. */
static int open_map(struct cache_fill *f, uint64_t size, uint64_t part_bytes, struct err *err)
{
    char identity[ORIGIN_KEY_MAX + DIGEST_HEX_MAX + 24];
    f->map_fd = open_partial(f, "map", err);
    if (f->map_fd < 0)
        return -1;
    int n = snprintf(identity, sizeof identity, "%s %lld%s%s", f->key, (long long)f->cache->boot_id,
                     *f->bound ? " " : "", f->bound);
    return partmap_open(&f->map, f->map_fd, size, part_bytes, (struct span){identity, (size_t)n}, err);
}

/* How far the file must reach if the map is right. */
static uint64_t end_of_marks(const struct partmap *m, uint64_t size)
{
    uint64_t n = partmap_count(m);
    while (n && !partmap_has(m, n - 1))
        n--;
    return n == partmap_count(m) ? size : n * partmap_part_bytes(m);
}

static int prepare_data(const struct cache_fill *f, uint64_t size, struct err *err)
{
    struct stat st;
    if (fstat(f->fd, &st) < 0)
        return err_sys(err, "stat a partial");
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_REFUSED, "partial/%s.data is not a file", f->key);
    bool resumes = f->map && partmap_done_bytes(f->map) > 0;
    if (resumes && (uint64_t)st.st_size < end_of_marks(f->map, size)) { /* somebody else cut it */
        resumes = false;
        if (partmap_clear(f->map, 0, partmap_count(f->map), err) < 0)
            return -1;
    }
    if (!resumes && st.st_size > 0 && ftruncate(f->fd, 0) < 0)
        return err_sys(err, "truncate a partial");
    /* Only where data must survive a power cut is the disk a disk: on tmpfs, setting aside means filling with zeros. */
    return f->map && f->cache->durable ? fs_preallocate(f->fd, size, err) : 0;
}

int cache_fill_open(struct cache_fill *f, uint64_t size, uint64_t part_bytes, int *fd, struct partmap **map,
                    struct err *err)
{
    if (part_bytes == 0)
        part_bytes = CACHE_PART_BYTES;
    bool resumable = f->versioned && size != XFER_SIZE_UNKNOWN && size > part_bytes;
    close_files(f); /* opened again: what was learned about the size has changed */
    f->fd = open_partial(f, "data", err);
    if (f->fd < 0 || (resumable && open_map(f, size, part_bytes, err) < 0) || prepare_data(f, size, err) < 0) {
        if (err->kind == ERR_NOSPACE && f->fd >= 0) {
            close_files(f);
            unlink_both(f);
        }
        return err_wrap(err, "cache");
    }
    *fd = f->fd;
    *map = f->map;
    return 0;
}

static int check_partial(const struct cache_fill *f, uint64_t size, struct err *err)
{
    struct stat st;
    if (f->fd < 0)
        return err_set(err, ERR_SYSTEM, "a fill was committed that was never opened");
    if (fstat(f->fd, &st) < 0)
        return err_sys(err, "stat a partial");
    if ((uint64_t)st.st_size != size)
        return err_set(err, ERR_CORRUPT, "%llu bytes were to be stored, the file has %llu", (unsigned long long)size,
                       (unsigned long long)st.st_size);
    return fchmod(f->fd, 0444) < 0 ? err_sys(err, "chmod") : 0;
}

static int choose_id(struct pending *p, struct err *err)
{
    if (p->how.has_digest && p->how.by.kind == DIGEST_SHA256) {
        p->how.has_sha256 = true;
        p->how.sha256 = p->how.by;
    }
    if (!p->how.has_sha256)
        return key_random(p->id, err);
    hex_encode(p->id, p->how.sha256.bytes, digest_size(DIGEST_SHA256));
    return 0;
}

/* Nobody waits for a blob while others may wait for theirs: first all that this process holds is settled. */
static int lock_blob(struct cache *c, struct pending *p, struct err *err)
{
    p->blob_lock = lock_name_of(LOCK_BLOB, p->id);
    int rc = locks_try(c->locks, p->blob_lock, LOCK_AMONG_THREADS, err);
    if (rc != 0)
        return rc < 0 ? -1 : 0;
    writer_drain(c);
    return locks_wait(c->locks, p->blob_lock, LOCK_AMONG_THREADS, NULL, err);
}

/* Under the blob's lock. A file of that id is there already: known to the index, it is the same verified content and
 * serves both; unknown (left by a crash), nobody vouches for it and ours takes its place. */
static int place_blob(struct cache_fill *f, struct pending *p, struct err *err)
{
    char name[PARTIAL_NAME_MAX];
    struct cache *c = f->cache;
    struct blob_row row;
    bool exists, known;
    partial_name(name, f, "data");
    if (blob_place(c, p->id, c->partial_fd, name, false, &exists, err) < 0)
        return -1;
    p->stored = true;
    if (!exists)
        return 0;
    int rc = blob_row_by_id(index_enter(c), p->id, &row, &known, err);
    index_leave(c);
    if (rc < 0)
        return -1;
    if (!known)
        return blob_place(c, p->id, c->partial_fd, name, true, &exists, err);
    p->stored = false;
    if ((uint64_t)row.size != p->size)
        return err_set(err, ERR_CORRUPT, "blob %s has %lld bytes in the index, not %llu", p->id, (long long)row.size,
                       (unsigned long long)p->size);
    unlink_partial(f, "data");
    return 0;
}

static int store(struct cache_fill *f, struct pending *p, struct err *err)
{
    if (check_partial(f, p->size, err) < 0 || choose_id(p, err) < 0 || lock_blob(f->cache, p, err) < 0)
        return -1;
    if (f->map)
        unlink_partial(f, "map");
    if (place_blob(f, p, err) == 0)
        return 0;
    locks_drop(f->cache->locks, p->blob_lock);
    return -1;
}

static struct pending *pending_new(const struct cache_fill *f, const struct cache_origin *origin, uint64_t size,
                                   const struct cache_verified *how, struct err *err)
{
    struct pending *p = calloc(1, sizeof *p);
    if (!p) {
        err_nomem(err);
        return NULL;
    }
    *p = (struct pending){.lease = f->lease, .size = size, .how = *how, .origin_lock = f->lock};
    if (!origin && f->versioned)
        memcpy(p->key, f->key, sizeof p->key);
    if (origin && origin->version && key_of_origin(f->cache, origin, p->key, err) < 0) {
        free(p);
        return NULL;
    }
    return p;
}

int cache_fill_commit(struct cache_fill *f, const struct cache_origin *origin, uint64_t size,
                      const struct cache_verified *how, struct cache_blob *out, struct err *err)
{
    struct cache *c = f->cache;
    struct lock_name lock = f->lock;
    struct pending *p = pending_new(f, origin, size, how, err);
    if (!p || store(f, p, err) < 0) {
        free(p);
        fill_discard(f, false);
        locks_drop(c->locks, lock);
        return err_wrap(err, "cache");
    }
    *out = (struct cache_blob){.found = true, .size = size};
    memcpy(out->id, p->id, sizeof out->id);
    close_files(f);
    free(f);
    return writer_add(c, p, err) < 0 ? err_wrap(err, "cache") : 0; /* the locks go on with `p` */
}

void cache_fill_bind(struct cache_fill *f, const struct digest_value *stated)
{
    digest_hex(f->bound, stated);
}

void cache_fill_wipe(struct cache_fill *f)
{
    close_files(f);
    unlink_both(f);
}

void cache_fill_abandon(struct cache_fill *f, bool keep)
{
    if (!f)
        return;
    struct cache *c = f->cache;
    struct lock_name lock = f->lock;
    fill_discard(f, keep && f->map);
    locks_drop(c->locks, lock);
}

int cache_fill_flush(struct cache *c, struct err *err)
{
    writer_drain(c);
    int rc = writer_failure(c, err);
    if (writer_sync(c, err) < 0)
        rc = -1;
    return rc < 0 ? err_wrap(err, "cache") : 0;
}
