/* Content files: blobs/<first two characters>/<id>, 0444. */
#include "cache/cache_priv.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>

#define SHARD_CHARS 2

bool blob_id_ok(const char *id)
{
    if (!id)
        return false;
    size_t n = id[0] == 'r' ? 32 : 64;
    const char *p = id[0] == 'r' ? id + 1 : id;
    return strspn(p, "0123456789abcdef") == n && p[n] == '\0';
}

int blob_shard(const struct cache *c, const char *id, bool make, struct err *err)
{
    const int flags = O_RDONLY | O_DIRECTORY;
    char name[SHARD_CHARS + 1];
    struct err why = ERR_INIT;
    if (!blob_id_ok(id))
        return err_set(err, ERR_INVALID, "\"%.80s\" is not a blob's id", id ? id : "");
    text_copy(name, sizeof name, (struct span){id, SHARD_CHARS});
    int fd = fs_open_beneath(c->blobs_fd, name, flags, 0, &why);
    if (fd >= 0)
        return fd;
    if (why.kind != ERR_NOTFOUND || !make)
        return err_move(err, &why);
    if (mkdirat(c->blobs_fd, name, 0700) < 0 && errno != EEXIST)
        return err_sys(err, "make folder blobs/%s", name);
    return fs_open_beneath(c->blobs_fd, name, flags, 0, err);
}

/* With `replace` false, a file that is there already stays and is reported. */
int blob_place(const struct cache *c, const char *id, int from_dir, const char *from, bool replace, bool *exists,
               struct err *err)
{
    AUTO_FD shard = blob_shard(c, id, true, err);
    if (shard < 0)
        return -1;
    *exists = false;
    if (renameat2(from_dir, from, shard, id, replace ? 0 : RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EEXIST)
        return err_sys(err, "store blob %s", id);
    *exists = true;
    return 0;
}

int blob_unlink(const struct cache *c, const char *id, struct err *err)
{
    struct err why = ERR_INIT;
    AUTO_FD shard = blob_shard(c, id, false, &why);
    if (shard < 0)
        return why.kind == ERR_NOTFOUND ? 0 : err_move(err, &why);
    if (unlinkat(shard, id, 0) < 0 && errno != ENOENT)
        return err_sys(err, "remove blob %s", id);
    return 0;
}

int blob_open(const struct cache *c, const char *id, int *fd, uint64_t *size, struct err *err)
{
    struct stat st;
    AUTO_FD shard = blob_shard(c, id, false, err);
    if (shard < 0)
        return -1;
    AUTO_FD file = fs_open_beneath(shard, id, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, err);
    if (file < 0)
        return -1;
    if (fstat(file, &st) < 0)
        return err_sys(err, "stat blob %s", id);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_CORRUPT, "blob %s is not a file", id);
    *size = (uint64_t)st.st_size;
    *fd = fd_take(&file);
    return 0;
}

static int copy_blob(struct cache *c, const char *id, int from, uint64_t size, const char *name, struct err *err)
{
    bool exists;
    AUTO_FD to = fs_open_beneath(c->partial_fd, name, O_RDWR | O_CREAT | O_EXCL, 0600, err);
    if (to < 0)
        return -1;
    if (fs_copy_content(from, to, size, NULL, err) == 0 && (!c->durable || fs_fsync(to, id, err) == 0)) {
        if (fchmod(to, 0444) < 0)
            err_sys(err, "chmod");
        else if (blob_place(c, id, c->partial_fd, name, true, &exists, err) == 0)
            return 0;
    }
    unlinkat(c->partial_fd, name, 0);
    return -1;
}

/* Its inode has as many names as the file system allows: the blob goes on in a copy, the names there are keep theirs.
 * On disk at once, since the blob's row may say that it is. */
static int second_inode(struct cache *c, const char *id, struct err *err)
{
    char name[ORIGIN_KEY_MAX];
    uint64_t size = 0;
    AUTO_FD from = -1;
    if (blob_open(c, id, &from, &size, err) < 0 || key_random(name, err) < 0)
        return -1;
    struct lock_name lock = lock_name_of(LOCK_ORIGIN, name); /* as any partial has it, against sweeps */
    int rc = locks_wait(c->locks, lock, LOCK_ALONE, NULL, err);
    if (rc == 0) {
        rc = copy_blob(c, id, from, size, name, err);
        locks_drop(c->locks, lock);
    }
    return rc;
}

static int link_once(const struct cache *c, const char *id, int dir_fd, const char *name, struct err *err)
{
    AUTO_FD shard = blob_shard(c, id, false, err);
    if (shard < 0)
        return -1;
    if (linkat(shard, id, dir_fd, name, 0) == 0)
        return 0;
    return errno == EMLINK ? EMLINK : err_sys(err, "link blob %s", id);
}

int blob_link(struct cache *c, const char *id, int dir_fd, const char *name, struct err *err)
{
    int rc = link_once(c, id, dir_fd, name, err);
    if (rc != EMLINK)
        return rc;
    struct lock_name lock = lock_name_of(LOCK_BLOB, id);
    if (locks_wait(c->locks, lock, LOCK_ALONE, NULL, err) < 0)
        return -1;
    rc = link_once(c, id, dir_fd, name, err); /* somebody may have been quicker */
    if (rc == EMLINK) {
        log_info("cache", "a blob has all the links its file system allows, copying it (blob=%s)", id);
        rc = second_inode(c, id, err) < 0 ? -1 : link_once(c, id, dir_fd, name, err);
    }
    locks_drop(c->locks, lock);
    return rc == EMLINK ? err_set(err, ERR_SYSTEM, "link blob %s: too many links", id) : rc;
}

int blob_quarantine(const struct cache *c, const char *id, struct err *err)
{
    char name[BLOB_ID_MAX + 24];
    struct err why = ERR_INIT;
    AUTO_FD shard = blob_shard(c, id, false, &why);
    if (shard < 0)
        return why.kind == ERR_NOTFOUND ? 0 : err_move(err, &why);
    snprintf(name, sizeof name, "%s.%llu", id, (unsigned long long)clock_mono_us());
    if (renameat(shard, id, c->quarantine_fd, name) < 0 && errno != ENOENT)
        return err_sys(err, "quarantine blob %s", id);
    return 0;
}
