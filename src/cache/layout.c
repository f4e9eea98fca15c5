/* Folders, version and key of a cache. VERSION is the first file to appear: a folder that holds anything else and no
 * VERSION is a stranger's. */
#include "cache/cache_priv.h"

#include "base/fs.h"
#include "base/log.h"
#include "base/path.h"
#include "base/rng.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/vfs.h>

#define VERSION_FILE  "VERSION"
#define VERSION_BYTES 16
#define KEY_FILE      "key"
#define DISKS_OWN     "lost+found" /* in the root of an ext4 file system, which a cache may have for itself */

static const char *const folders[] = {"blobs", "partial", "views", "locks", "leases", "quarantine"};

/* Version 0 is the empty folder. */
static int make_folders(const struct cache *c, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(folders); i++)
        if (fs_mkdirs_beneath(c->dir_fd, folders[i], 0700, err) < 0)
            return -1;
    return 0;
}

/* What lies there stays as it is: from here on a snapshot may hold links, which a berth that knows none calls damage.
 */
static int allow_links(const struct cache *c, struct err *err)
{
    (void)c, (void)err;
    return 0;
}

/* layout_steps[i] brings version i to i + 1; run under the lock of the folder. The index has versions of its own. */
static int (*const layout_steps[])(const struct cache *c, struct err *err) = {make_folders, allow_links};

static int is_stranger(const struct cache *c, struct err *err)
{
    AUTO_FD fd = fs_open_beneath(c->dir_fd, ".", O_RDONLY | O_DIRECTORY, 0, err);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d)
        return fd < 0 ? -1 : err_sys(err, "list %s", c->dir);
    fd_take(&fd);
    const struct dirent *e;
    int strange = 0;
    while (!strange && (e = readdir(d)))
        strange = !str_eq(e->d_name, ".") && !str_eq(e->d_name, "..") && !str_eq(e->d_name, VERSION_FILE) &&
                  !str_eq(e->d_name, DISKS_OWN);
    closedir(d);
    return strange;
}

/* An empty VERSION is one whose making was interrupted: version 0. */
static int read_version(const struct cache *c, uint64_t *version, struct err *err)
{
    AUTO_BUF text;
    struct err why = ERR_INIT;
    *version = 0;
    buf_init(&text, VERSION_BYTES);
    if (fs_read_file(c->dir_fd, VERSION_FILE, VERSION_BYTES, &text, &why) < 0) {
        if (why.kind != ERR_NOTFOUND)
            return err_move(err, &why);
        int strange = is_stranger(c, err);
        if (strange <= 0)
            return strange;
        err_set(err, ERR_REFUSED, "folder %s holds something that is not a cache", c->dir);
        return err_hint(err, "name an empty or a new folder");
    }
    struct span number = span_trim(buf_span(&text));
    if (number.n && span_to_u64(number, version, &why) < 0)
        return err_set(err, ERR_CORRUPT, "%s/%s does not hold a version", c->dir, VERSION_FILE);
    return 0;
}

static int write_version(const struct cache *c, uint64_t version, struct err *err)
{
    char text[VERSION_BYTES];
    int n = snprintf(text, sizeof text, "%llu\n", (unsigned long long)version);
    AUTO_FD fd = fs_open_beneath(c->dir_fd, VERSION_FILE, O_WRONLY | O_CREAT | O_NOFOLLOW, 0600, err);
    if (fd < 0 || fs_pwrite_all(fd, text, (size_t)n, 0, err) < 0)
        return -1;
    return fs_fsync(fd, VERSION_FILE, err);
}

static int migrate(const struct cache *c, struct err *err)
{
    uint64_t version, newest = ARRAY_LEN(layout_steps);
    if (read_version(c, &version, err) < 0)
        return -1;
    if (version > newest) {
        err_set(err, ERR_UNSUPPORTED, "%s has layout version %llu, this berth knows versions up to %llu", c->dir,
                (unsigned long long)version, (unsigned long long)newest);
        return err_hint(err, "a newer berth wrote it: use that one, or another folder");
    }
    for (; version < newest; version++) {
        if (version == 0 && write_version(c, 0, err) < 0) /* claims the folder */
            return -1;
        if (layout_steps[version](c, err) < 0 || write_version(c, version + 1, err) < 0)
            return err_wrap(err, "migrate %s from layout version %llu", c->dir, (unsigned long long)version);
    }
    return 0;
}

/* Without its key, what the index knows by keyed hashes is lost, not the cache: a new one is made. */
static int read_key(struct cache *c, struct err *err)
{
    AUTO_BUF text;
    struct err why = ERR_INIT;
    buf_init(&text, CACHE_KEY_N + 1);
    int rc = fs_read_file(c->dir_fd, KEY_FILE, CACHE_KEY_N, &text, &why);
    if (rc == 0 && text.n == CACHE_KEY_N) {
        memcpy(c->key, text.p, CACHE_KEY_N);
        mem_wipe(text.p, text.n);
        return 0;
    }
    if (rc < 0 && why.kind != ERR_NOTFOUND && why.kind != ERR_LIMIT)
        return err_move(err, &why);
    if (rc == 0 || why.kind == ERR_LIMIT)
        log_warn("cache", "the key was damaged, a new one is made (dir=%s)", c->dir);
    if (rng_bytes(c->key, CACHE_KEY_N, err) < 0)
        return -1;
    return fs_replace_file(c->dir_fd, KEY_FILE, c->key, CACHE_KEY_N, 0600, err);
}

static int open_folders(struct cache *c, struct err *err)
{
    int *const fds[] = {&c->blobs_fd, &c->partial_fd, &c->views_fd, &c->locks_fd, &c->leases_fd, &c->quarantine_fd};
    _Static_assert(ARRAY_LEN(fds) == ARRAY_LEN(folders), "one descriptor a folder");
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        *fds[i] = fs_open_beneath(c->dir_fd, folders[i], O_RDONLY | O_DIRECTORY, 0, err);
        if (*fds[i] < 0)
            return -1;
    }
    return 0;
}

static int find_folder(struct cache *c, struct err *err)
{
    struct stat st;
    bool made = stat(c->dir, &st) < 0 && errno == ENOENT;
    if (fs_mkdirs(c->dir, 0700, err) < 0)
        return -1;
    char *absolute = realpath(c->dir, NULL);
    if (!absolute)
        return err_sys(err, "folder %s", c->dir);
    free(c->dir);
    c->dir = absolute;
    c->dir_fd = fs_open_dir(c->dir, err);
    if (c->dir_fd < 0)
        return -1;
    return made && fchmod(c->dir_fd, 0700) < 0 ? err_sys(err, "chmod %s", c->dir) : 0;
}

/* Processes that open a new folder at once take turns. */
static int set_up(struct cache *c, struct err *err)
{
    AUTO_FD turn = fs_open_beneath(c->dir_fd, ".", O_RDONLY | O_DIRECTORY, 0, err);
    if (turn < 0)
        return -1;
    int rc;
    while ((rc = flock(turn, LOCK_EX)) < 0 && errno == EINTR)
        continue;
    if (rc < 0)
        return err_sys(err, "lock %s", c->dir);
    if (migrate(c, err) < 0 || read_key(c, err) < 0)
        return -1;
    return fchmod(c->dir_fd, 0700) < 0 ? err_sys(err, "chmod %s", c->dir) : 0;
}

static int read_boot(struct cache *c, struct err *err)
{
    struct statfs fs;
    if (fs_boot_id(&c->boot_id, err) < 0)
        return -1;
    if (fstatfs(c->dir_fd, &fs) < 0)
        return err_sys(err, "statfs %s", c->dir);
    if (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC)
        c->durable = false;
    c->boot = c->durable ? c->boot_id : SYNCED;
    return 0;
}

int layout_open(struct cache *c, struct err *err)
{
    if (find_folder(c, err) < 0 || set_up(c, err) < 0 || open_folders(c, err) < 0)
        return -1;
    return read_boot(c, err);
}

void layout_close(struct cache *c)
{
    int *const fds[] = {&c->blobs_fd,  &c->partial_fd,    &c->views_fd, &c->locks_fd,
                        &c->leases_fd, &c->quarantine_fd, &c->dir_fd};
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        auto_close(fds[i]);
    mem_wipe(c->key, sizeof c->key);
}
