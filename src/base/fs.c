#include "base/fs.h"

#include "base/path.h"
#include "base/rng.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

#define OPEN_TRIES      16 /* openat2 asks to be called again while somebody renames folders on the way */
#define COPY_CHUNK      ((size_t)64 << 10)
#define COPY_RANGE_STEP ((size_t)1 << 30)
#define BOOT_ID_FILE    "/proc/sys/kernel/random/boot_id" /* random(4) */
#define BOOT_ID_MAX     64

int fs_open_beneath(int dir_fd, const char *path, int flags, mode_t mode, struct err *err)
{
    bool creates = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
    struct open_how how = {
        .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
        .mode = creates ? mode : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    long fd = -1;
    for (int i = 0; i < OPEN_TRIES; i++) {
        fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof how);
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
            break;
    }
    if (fd >= 0)
        return (int)fd;
    if (errno == EXDEV)
        return err_set(err, ERR_REFUSED, "open %s: the path leads out of its folder", path);
    if (errno == ELOOP)
        return err_set(err, ERR_REFUSED, "open %s: the path leads through a symbolic link", path);
    if (errno == ENOSYS) {
        err_set(err, ERR_UNSUPPORTED, "open %s: this kernel has no openat2", path);
        return err_hint(err, "Linux 5.6 or later is needed");
    }
    return err_sys(err, "open %s", path);
}

/* The rule of fs.h: AT_FDCWD marks a trusted path. */
static int open_at(int dir_fd, const char *path, int flags, struct err *err)
{
    if (dir_fd != AT_FDCWD)
        return fs_open_beneath(dir_fd, path, flags, 0, err);
    int fd = open(path, flags | O_CLOEXEC);
    return fd < 0 ? err_sys(err, "open %s", path) : fd;
}

/* Make the folder `name` where it is missing; its fd replaces *at. */
static int enter_made_dir(int *at, const char *name, mode_t mode, const char *whole, struct err *err)
{
    if (mkdirat(*at, name, mode) < 0 && errno != EEXIST)
        return err_sys(err, "make folder %s", whole);
    int next = fs_open_beneath(*at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0, err);
    if (next < 0)
        return err_wrap(err, "make folder %s", whole);
    auto_close(at);
    *at = next;
    return 0;
}

int fs_mkdirs_beneath(int dir_fd, const char *path, mode_t mode, struct err *err)
{
    if (path_check_relative(span_of(path), err) < 0)
        return -1;
    AUTO_FD at = fs_open_beneath(dir_fd, ".", O_PATH | O_DIRECTORY, 0, err);
    if (at < 0)
        return -1;
    struct span rest = span_of(path), component;
    bool more;
    do {
        char name[PATH_COMPONENT_MAX + 1];
        more = span_cut(rest, '/', &component, &rest);
        snprintf(name, sizeof name, "%.*s", SPAN_FMT(component));
        if (enter_made_dir(&at, name, mode, path, err) < 0)
            return -1;
    } while (more);
    return 0;
}

int fs_mkdirs(const char *path, mode_t mode, struct err *err)
{
    AUTO_STR copy = str_dup(path, err);
    if (!copy)
        return -1;
    for (char *p = copy; *p; p++) {
        if (*p != '/' || p == copy)
            continue;
        *p = '\0';
        if (mkdir(copy, mode) < 0 && errno != EEXIST)
            return err_sys(err, "make folder %s", copy);
        *p = '/';
    }
    if (mkdir(copy, mode) < 0 && errno != EEXIST)
        return err_sys(err, "make folder %s", copy);
    AUTO_FD fd = fs_open_dir(path, err); /* what was there already may be something else */
    return fd < 0 ? -1 : 0;
}

int fs_open_dir(const char *path, struct err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? err_sys(err, "open folder %s", path) : fd;
}

static int read_rest(int fd, const char *path, size_t max, struct buf *out, struct err *err)
{
    size_t total = 0;
    for (;;) {
        size_t want = max - total < COPY_CHUNK ? max - total + 1 : COPY_CHUNK; /* one more shows what is too long */
        char *room = buf_reserve(out, want);
        if (!room)
            return err_nomem(err);
        ssize_t got = read(fd, room, want);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_sys(err, "read %s", path);
        if (got == 0)
            return 0;
        buf_grew(out, (size_t)got);
        total += (size_t)got;
        if (total > max)
            return err_set(err, ERR_LIMIT, "%s is longer than %zu bytes", path, max);
    }
}

int fs_read_file(int dir_fd, const char *path, size_t max, struct buf *out, struct err *err)
{
    bool trusted = dir_fd == AT_FDCWD;
    /* O_NONBLOCK: a pipe in the way must not hold us up. */
    AUTO_FD fd = open_at(dir_fd, path, O_RDONLY | O_NOCTTY | (trusted ? 0 : O_NONBLOCK), err);
    struct stat st;
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) < 0)
        return err_sys(err, "stat %s", path);
    if (S_ISDIR(st.st_mode))
        return err_set(err, ERR_INVALID, "%s is a folder", path);
    if (!trusted && !S_ISREG(st.st_mode))
        return err_set(err, ERR_REFUSED, "%s is not a regular file", path);

    AUTO_BUF content;
    buf_init(&content, max < SIZE_MAX - 1 ? max + 1 : max);
    if (read_rest(fd, path, max, &content, err) < 0)
        return -1;
    buf_add_span(out, buf_span(&content));
    return buf_check(out, path, err);
}

int fs_write_all(int fd, const void *p, size_t n, struct err *err)
{
    const char *at = p;
    while (n > 0) {
        ssize_t done = write(fd, at, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return err_sys(err, "write");
        at += done;
        n -= (size_t)done;
    }
    return 0;
}

int fs_pwrite_all(int fd, const void *p, size_t n, uint64_t offset, struct err *err)
{
    const char *at = p;
    if (offset > INT64_MAX || n > INT64_MAX - offset)
        return err_set(err, ERR_LIMIT, "write at offset %llu: beyond what a file can hold", (unsigned long long)offset);
    while (n > 0) {
        ssize_t done = pwrite(fd, at, n, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return err_sys(err, "write");
        at += done;
        n -= (size_t)done;
        offset += (uint64_t)done;
    }
    return 0;
}

int fs_pread_all(int fd, void *p, size_t n, uint64_t offset, struct err *err)
{
    char *at = p;
    if (offset > INT64_MAX || n > INT64_MAX - offset)
        return err_set(err, ERR_LIMIT, "read at offset %llu: beyond what a file can hold", (unsigned long long)offset);
    while (n > 0) {
        ssize_t got = pread(fd, at, n, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_sys(err, "read");
        if (got == 0)
            return err_set(err, ERR_CORRUPT, "the file ends at byte %llu, %zu more were expected",
                           (unsigned long long)offset, n);
        at += got;
        n -= (size_t)got;
        offset += (uint64_t)got;
    }
    return 0;
}

int fs_fsync(int fd, const char *what, struct err *err)
{
    return fsync(fd) < 0 ? err_sys(err, "fsync %s", what) : 0;
}

struct content {
    const void *p;
    size_t n;
    mode_t mode;
    bool synced; /* durable before any name points to it, and the name as well */
};

static int fill_temporary(int fd, const char *name, const struct content *c, struct err *err)
{
    if (fchmod(fd, c->mode) < 0)
        return err_sys(err, "chmod");
    if (fs_write_all(fd, c->p, c->n, err) < 0)
        return -1;
    return c->synced ? fs_fsync(fd, name, err) : 0;
}

static int replace_in(int dir_fd, const char *name, const struct content *c, struct err *err)
{
    char id[RNG_ID_MAX], temporary[RNG_ID_MAX + 8];
    if (rng_id(id, err) < 0)
        return -1;
    snprintf(temporary, sizeof temporary, ".tmp-%s", id);
    AUTO_FD fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, c->mode & 0700);
    if (fd < 0)
        return err_sys(err, "create a temporary file");
    if (fill_temporary(fd, name, c, err) < 0)
        goto undo;
    if (renameat(dir_fd, temporary, dir_fd, name) < 0) {
        err_sys(err, "rename");
        goto undo;
    }
    return c->synced ? fs_fsync(dir_fd, "the folder", err) : 0;
undo:
    unlinkat(dir_fd, temporary, 0);
    return -1;
}

static int replace_file(int dir_fd, const char *name, const struct content *c, struct err *err)
{
    struct span base = path_basename(span_of(name));
    size_t folder_bytes = strlen(name) - base.n;
    AUTO_STR folder = folder_bytes ? str_dup_span((struct span){name, folder_bytes}, err) : str_dup(".", err);
    if (!folder)
        return -1;
    if (base.n == 0)
        return err_set(err, ERR_INVALID, "write %s: a file name is missing", name);
    AUTO_FD dir = open_at(dir_fd, folder, O_RDONLY | O_DIRECTORY, err);
    if (dir < 0 || replace_in(dir, base.p, c, err) < 0)
        return err_wrap(err, "write %s", name);
    return 0;
}

int fs_replace_file(int dir_fd, const char *name, const void *p, size_t n, mode_t mode, struct err *err)
{
    return replace_file(dir_fd, name, &(struct content){.p = p, .n = n, .mode = mode, .synced = true}, err);
}

int fs_replace_file_unsynced(int dir_fd, const char *name, const void *p, size_t n, mode_t mode, struct err *err)
{
    return replace_file(dir_fd, name, &(struct content){.p = p, .n = n, .mode = mode}, err);
}

int fs_space(int dir_fd, struct fs_space *out, struct err *err)
{
    struct statvfs v;
    if (fstatvfs(dir_fd, &v) < 0)
        return err_sys(err, "statvfs");
    uint64_t unit = v.f_frsize ? v.f_frsize : v.f_bsize;
    *out = (struct fs_space){
        .total_bytes = v.f_blocks * unit,
        .free_bytes = v.f_bavail * unit,
        .free_inodes = v.f_files ? v.f_favail : UINT64_MAX,
    };
    return 0;
}

static bool means_not_offered(int e)
{
    return e == EOPNOTSUPP || e == ENOSYS || e == EXDEV || e == EINVAL || e == ENOTTY || e == EPERM || e == EBADF;
}

/* In the kernel as far as it goes; what is left is for read and write. */
static int copy_in_kernel(int from_fd, int to_fd, uint64_t size, uint64_t *done, struct err *err)
{
    while (*done < size) {
        off_t from = (off_t)*done, to = (off_t)*done;
        uint64_t left = size - *done;
        ssize_t n =
            copy_file_range(from_fd, &from, to_fd, &to, left < COPY_RANGE_STEP ? (size_t)left : COPY_RANGE_STEP, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && !means_not_offered(errno))
            return err_sys(err, "copy");
        if (n <= 0)
            return 0;
        *done += (uint64_t)n;
    }
    return 0;
}

static int copy_by_hand(int from_fd, int to_fd, uint64_t size, uint64_t done, struct err *err)
{
    char chunk[COPY_CHUNK];
    while (done < size) {
        size_t n = size - done < COPY_CHUNK ? (size_t)(size - done) : COPY_CHUNK;
        if (fs_pread_all(from_fd, chunk, n, done, err) < 0 || fs_pwrite_all(to_fd, chunk, n, done, err) < 0)
            return err_wrap(err, "copy");
        done += n;
    }
    return 0;
}

int fs_copy_content(int from_fd, int to_fd, uint64_t size, enum fs_copy_how *how, struct err *err)
{
    uint64_t done = 0;
    struct stat st;
    if (fstat(from_fd, &st) < 0)
        return err_sys(err, "copy: stat");
    if (size > INT64_MAX)
        return err_set(err, ERR_LIMIT, "copy: beyond what a file can hold");
    bool whole = (uint64_t)st.st_size == size; /* a reflink takes the whole file */
    if (whole && ioctl(to_fd, FICLONE, from_fd) == 0) {
        if (how)
            *how = FS_COPY_REFLINK;
        return 0;
    }
    if (how)
        *how = FS_COPY_BYTES;
    if (copy_in_kernel(from_fd, to_fd, size, &done, err) < 0)
        return -1;
    return copy_by_hand(from_fd, to_fd, size, done, err);
}

int fs_preallocate(int fd, uint64_t size, struct err *err)
{
    if (size == 0)
        return 0;
    if (size > INT64_MAX)
        return err_set(err, ERR_LIMIT, "set aside %llu bytes: beyond what a file can hold", (unsigned long long)size);
    int rc;
    do {
        rc = fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)size);
    } while (rc < 0 && errno == EINTR);
    if (rc == 0 || means_not_offered(errno))
        return 0;
    return err_sys(err, "set aside %llu bytes", (unsigned long long)size);
}

int fs_boot_id(int64_t *out, struct err *err)
{
    AUTO_BUF text;
    buf_init(&text, BOOT_ID_MAX);
    if (fs_read_file(AT_FDCWD, BOOT_ID_FILE, BOOT_ID_MAX, &text, err) < 0)
        return -1;
    *out = (int64_t)(str_hash(0, buf_str(&text)) >> 2 | 1);
    return 0;
}
