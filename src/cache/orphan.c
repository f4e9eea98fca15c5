/* Files that the index does not know, left by crashes. Whatever has a name that this cache does not give is let be. */
#include "cache/cache_priv.h"

#include "base/fs.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static void auto_closedir(DIR **d)
{
    if (*d)
        closedir(*d);
}
#define AUTO_DIR AUTO(auto_closedir) DIR *

static DIR *list_folder(int parent, const char *name, struct err *err)
{
    AUTO_FD fd = fs_open_beneath(parent, name, O_RDONLY | O_DIRECTORY, 0, err);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (d)
        fd_take(&fd);
    else if (fd >= 0)
        err_sys(err, "list %s", name);
    return d;
}

struct orphans {
    struct cache *c;
    bool remove;
    uint64_t count, bytes;
};

static int blob_is_known(struct cache *c, const char *id, bool *known, struct err *err)
{
    struct blob_row row;
    int rc = blob_row_by_id(index_enter(c), id, &row, known, err);
    index_leave(c);
    return rc;
}

/* Who stores a blob holds its lock until the row is there: a free lock and no row mean that nobody will come. */
static int orphan_blob(struct orphans *o, int shard, const char *id, struct err *err)
{
    struct stat st;
    bool known;
    if (!blob_id_ok(id))
        return 0;
    if (blob_is_known(o->c, id, &known, err) < 0 || known)
        return known ? 0 : -1;
    struct lock_name lock = lock_name_of(LOCK_BLOB, id);
    int rc = locks_try(o->c->locks, lock, LOCK_ALONE, err);
    if (rc <= 0)
        return rc;
    rc = blob_is_known(o->c, id, &known, err);
    if (rc == 0 && !known && fstatat(shard, id, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        o->count++;
        o->bytes += (uint64_t)st.st_size;
        if (o->remove && unlinkat(shard, id, 0) < 0 && errno != ENOENT)
            rc = err_sys(err, "remove blob %s", id);
    }
    locks_drop(o->c->locks, lock);
    return rc;
}

static int orphan_blobs(struct orphans *o, struct err *err)
{
    const struct dirent *e, *f;
    AUTO_DIR shards = list_folder(o->c->blobs_fd, ".", err);
    if (!shards)
        return -1;
    while ((e = readdir(shards))) {
        if (strlen(e->d_name) != 2 || e->d_name[0] == '.')
            continue;
        AUTO_DIR shard = list_folder(o->c->blobs_fd, e->d_name, err);
        if (!shard)
            return -1;
        while ((f = readdir(shard)))
            if (orphan_blob(o, dirfd(shard), f->d_name, err) < 0)
                return -1;
    }
    return 0;
}

static int view_state(struct cache *c, const char *id, bool *known, bool *leases, struct err *err)
{
    int64_t n = 0;
    struct snapshot_row row;
    struct db *db = index_enter(c);
    int rc = snapshot_row_get(db, id, &row, known, err);
    if (rc == 0)
        rc = index_value(db, "SELECT count(*) FROM leases", &n, err);
    index_leave(c);
    *leases = n > 0;
    return rc;
}

/* "<id>", "<id>.new", "<id>.old" under the lock; "<id>.<number>" is a detached one, kept while any job runs. */
static int orphan_view(struct orphans *o, const char *name, struct err *err)
{
    char id[SNAPSHOT_ID_MAX];
    bool known, leases;
    size_t n = strspn(name, "0123456789abcdef");
    const char *suffix = name + n;
    bool detached = suffix[0] == '.' && isdigit((unsigned char)suffix[1]);
    if (n != SNAPSHOT_ID_MAX - 1 || (*suffix && !detached && !str_eq(suffix, ".new") && !str_eq(suffix, ".old")))
        return 0;
    text_copy(id, sizeof id, (struct span){name, n});
    struct lock_name lock = lock_name_of(LOCK_VIEW, id);
    int rc = locks_try(o->c->locks, lock, LOCK_ALONE, err);
    if (rc <= 0)
        return rc;
    rc = view_state(o->c, id, &known, &leases, err);
    if (rc == 0 && (detached ? !leases : (*suffix || !known))) {
        o->count++;
        if (o->remove)
            rc = view_discard(o->c, name, err);
    }
    locks_drop(o->c->locks, lock);
    return rc;
}

static int orphan_views(struct orphans *o, struct err *err)
{
    const struct dirent *e;
    AUTO_DIR views = list_folder(o->c->views_fd, ".", err);
    if (!views)
        return -1;
    while ((e = readdir(views)))
        if (orphan_view(o, e->d_name, err) < 0)
            return -1;
    return 0;
}

/* What was set aside is kept as long as entries live, for who wants to look at it. */
static int old_quarantine(struct orphans *o, struct err *err)
{
    const struct dirent *e;
    struct stat st;
    AUTO_DIR d = list_folder(o->c->quarantine_fd, ".", err);
    if (!d)
        return -1;
    while ((e = readdir(d))) {
        if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) ||
            (int64_t)st.st_ctim.tv_sec * 1000 > cache_now(o->c) - o->c->ttl_ms)
            continue;
        o->count++;
        o->bytes += (uint64_t)st.st_size;
        if (o->remove && unlinkat(dirfd(d), e->d_name, 0) < 0 && errno != ENOENT)
            return err_sys(err, "remove quarantine/%s", e->d_name);
    }
    return 0;
}

int orphans_sweep(struct cache *c, bool remove, uint64_t *count, uint64_t *bytes, struct err *err)
{
    struct orphans o = {.c = c, .remove = remove};
    writer_drain(c);
    int rc = orphan_blobs(&o, err) < 0 || orphan_views(&o, err) < 0 || old_quarantine(&o, err) < 0 ? -1 : 0;
    if (rc == 0 && remove)
        rc = lease_sweep_files(c, err);
    *count += o.count;
    *bytes += o.bytes;
    return rc;
}

/* A map before its data, see fill.c. */
static int remove_partial(int dir, const char *key, const char *name, struct err *err)
{
    char map[ORIGIN_KEY_MAX + 8];
    snprintf(map, sizeof map, "%s.map", key);
    if ((unlinkat(dir, map, 0) < 0 && errno != ENOENT) || (unlinkat(dir, name, 0) < 0 && errno != ENOENT))
        return err_sys(err, "remove partial/%s", name);
    return 0;
}

/* A map that has its data beside it goes with that. */
static bool is_second(int dir, const char *key, const char *name)
{
    char data[ORIGIN_KEY_MAX + 8];
    struct stat st;
    snprintf(data, sizeof data, "%s.data", key);
    return span_ends(span_of(name), SPAN_LIT(".map")) && fstatat(dir, data, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Where it is of nobody, its lock can be had. */
static int look_at_partial(struct cache *c, int dir, const char *name, int64_t before_ms, bool remove,
                           struct partials *out, struct err *err)
{
    char key[ORIGIN_KEY_MAX];
    struct stat st;
    text_copy(key, sizeof key, (struct span){name, strcspn(name, ".")});
    size_t digits = strspn(key + (key[0] == 'r'), "0123456789abcdef");
    if (digits != 32 || is_second(dir, key, name) || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        !S_ISREG(st.st_mode))
        return 0;
    uint64_t bytes = (uint64_t)st.st_blocks * 512;
    struct lock_name lock = lock_name_of(LOCK_ORIGIN, key);
    int rc = locks_try(c->locks, lock, LOCK_ALONE, err);
    if (rc == 0)
        out->live_bytes += bytes;
    if (rc <= 0)
        return rc;
    rc = 0;
    bool of_no_use = key[0] == 'r';
    if (of_no_use || (int64_t)st.st_mtim.tv_sec * 1000 < before_ms) {
        out->stale++;
        out->stale_bytes += bytes;
        if (remove)
            rc = remove_partial(dir, key, name, err);
    }
    locks_drop(c->locks, lock);
    return rc;
}

int partials_sweep(struct cache *c, int64_t before_ms, bool remove, struct partials *out, struct err *err)
{
    const struct dirent *e;
    *out = (struct partials){0};
    AUTO_DIR d = list_folder(c->partial_fd, ".", err);
    if (!d)
        return -1;
    while ((e = readdir(d)))
        if (e->d_name[0] != '.' && look_at_partial(c, dirfd(d), e->d_name, before_ms, remove, out, err) < 0)
            return -1;
    return 0;
}
