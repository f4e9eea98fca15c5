/* fs: files and folders. Every path that came from outside goes through a confined open: relative to a folder's fd,
 * with openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS), Linux 5.6 or later.
 *
 * Where a function takes `dir_fd` and a path, AT_FDCWD says that the path is trusted (a configuration file, say) and
 * opens it as it stands; with any other folder the path is confined to it.
 *
 * Nothing visible is half-written: fs_replace_file writes under a temporary name in the same folder, fsyncs, renames,
 * fsyncs the folder. */
#ifndef BERTH_BASE_FS_H
#define BERTH_BASE_FS_H

#include "base/attr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#include <stdint.h>
#include <sys/stat.h>

/* Open beneath `dir_fd`; flags and mode as open(2), O_CLOEXEC is added. */
int fs_open_beneath(int dir_fd, const char *path, int flags, mode_t mode, struct err *err);

/* mkdir -p beneath `dir_fd`, confined; existing folders are fine, anything else in the way is an error. */
int fs_mkdirs_beneath(int dir_fd, const char *path, mode_t mode, struct err *err);

/* mkdir -p of a trusted absolute or cwd-relative path; returns nothing but success. */
int fs_mkdirs(const char *path, mode_t mode, struct err *err);
int fs_open_dir(const char *path, struct err *err); /* O_DIRECTORY | O_CLOEXEC; the fd, or -1 */

/* Append a file's content to `out`; ERR_LIMIT above `max` bytes. A confined path must be a regular file. */
int fs_read_file(int dir_fd, const char *path, size_t max, struct buf *out, struct err *err);
int fs_write_all(int fd, const void *p, size_t n, struct err *err);
int fs_pwrite_all(int fd, const void *p, size_t n, uint64_t offset, struct err *err);
int fs_pread_all(int fd, void *p, size_t n, uint64_t offset, struct err *err); /* ERR_CORRUPT at a short file */

/* Write a whole small file atomically (temporary name, fsync, rename, fsync of the folder). `mode` holds whatever the
 * umask says. `name` may be a path; its folder must exist. */
int fs_replace_file(int dir_fd, const char *name, const void *p, size_t n, mode_t mode, struct err *err);
/* The same without an fsync: whole to whoever reads it, also after this process was killed; a power cut may leave it
 * empty, or bring back what it replaced. */
int fs_replace_file_unsynced(int dir_fd, const char *name, const void *p, size_t n, mode_t mode, struct err *err);

/* Remove a tree beneath dir_fd without following links or leaving its file system, however deep it is; absent is fine.
 * `name` is one component. */
int fs_remove_tree(int dir_fd, const char *name, struct err *err);

/* Visit every entry of the tree at `dir_fd`, parents before children, sorted by name; `path` is relative.
 * A non-zero return of `visit` ends the walk with that value. A folder whose path has FS_WALK_DEPTH_MAX components
 * (what else has as many is visited), or more than FS_WALK_FOLDER_MAX entries in one folder, is ERR_LIMIT. What
 * vanishes during the walk is passed over. */
#define FS_WALK_DEPTH_MAX  128
#define FS_WALK_FOLDER_MAX 1000000
struct fs_entry {
    const char *path; /* borrowed during the call */
    int parent_fd;    /* borrowed; its name there is `name` */
    const char *name;
    struct stat st; /* of the entry itself, links not followed */
};
int fs_walk(int dir_fd, int (*visit)(void *ctx, const struct fs_entry *entry, struct err *err), void *ctx,
            struct err *err);

struct fs_space {
    uint64_t total_bytes, free_bytes; /* free: to this user */
    uint64_t free_inodes;             /* UINT64_MAX where the file system does not count them */
};
int fs_space(int dir_fd, struct fs_space *out, struct err *err);

/* Copy file content by reflink where the file system can, else copy_file_range, else read and write. */
enum fs_copy_how { FS_COPY_REFLINK, FS_COPY_BYTES };
int fs_copy_content(int from_fd, int to_fd, uint64_t size, enum fs_copy_how *how, struct err *err);

/* Set aside `size` bytes without changing what is read; silently nothing where the file system cannot. ERR_NOSPACE. */
int fs_preallocate(int fd, uint64_t size, struct err *err);

int fs_fsync(int fd, const char *what, struct err *err);

/* Which boot of the machine this is, positive. What was written in another one and never synced may be torn: a power
 * cut can have come in between. */
int fs_boot_id(int64_t *out, struct err *err);

#endif
