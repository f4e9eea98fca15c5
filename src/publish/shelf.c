#include "publish/shelf_priv.h"

#include "base/fs.h"
#include "base/rng.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

/* "a/b" → "a" and "b"; "/b" → "/" and "b"; "b" → "." and "b". */
static int open_parent(struct shelf *s, struct err *err)
{
    for (size_t n = strlen(s->path); n > 1 && s->path[n - 1] == '/'; n--)
        s->path[n - 1] = '\0';
    char *slash = strrchr(s->path, '/');
    s->name = slash ? slash + 1 : s->path;
    if (!*s->name)
        return err_set(err, ERR_INVALID, "'%.512s' names no folder", s->path);
    AUTO_STR parent = !slash             ? str_dup(".", err)
                      : slash == s->path ? str_dup("/", err)
                                         : str_printf(err, "%.*s", (int)(slash - s->path), s->path);
    if (!parent || fs_mkdirs(parent, 0755, err) < 0)
        return -1;
    s->parent_fd = fs_open_dir(parent, err);
    return s->parent_fd < 0 ? -1 : 0;
}

int shelf_open(struct shelf *s, const char *path, struct err *err)
{
    char id[RNG_ID_MAX];
    *s = (struct shelf){.parent_fd = -1, .dir_fd = -1};
    s->path = str_dup(path, err);
    if (!s->path || open_parent(s, err) < 0 || rng_id(id, err) < 0)
        return -1;
    if (faccessat(s->parent_fd, s->name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return err_set(err, ERR_EXISTS, "%.700s is there already", path);
    snprintf(s->temporary, sizeof s->temporary, ".berth-%.16s.part", id);
    if (mkdirat(s->parent_fd, s->temporary, 0755) < 0) {
        s->temporary[0] = '\0';
        return err_sys(err, "make a folder beside %.700s", path);
    }
    s->dir_fd = fs_open_beneath(s->parent_fd, s->temporary, O_RDONLY | O_DIRECTORY, 0, err);
    return s->dir_fd < 0 ? -1 : 0;
}

bool shelf_is(const struct shelf *s, const struct stat *st)
{
    struct stat own;
    return fstat(s->dir_fd, &own) == 0 && own.st_dev == st->st_dev && own.st_ino == st->st_ino;
}

int shelf_folder(const struct shelf *s, const char *path, struct err *err)
{
    return fs_mkdirs_beneath(s->dir_fd, path, 0755, err);
}

int shelf_link(const struct shelf *s, const char *path, const char *target, struct err *err)
{
    const char *slash = strrchr(path, '/');
    AUTO_STR parent = slash ? str_printf(err, "%.*s", (int)(slash - path), path) : str_dup(".", err);
    if (!parent)
        return -1;
    AUTO_FD fd = fs_open_beneath(s->dir_fd, parent, O_RDONLY | O_DIRECTORY, 0, err);
    if (fd < 0)
        return -1;
    return symlinkat(target, fd, slash ? slash + 1 : path) == 0 ? 0 : err_sys(err, "make the link %.700s", path);
}

int shelf_file(const struct shelf *s, const char *path, int fd, const struct stat *st, struct err *err)
{
    enum fs_copy_how how;
    const struct timespec times[2] = {st->st_mtim, st->st_mtim};
    mode_t mode = st->st_mode & 0111 ? 0755 : 0644;
    AUTO_FD to = fs_open_beneath(s->dir_fd, path, O_WRONLY | O_CREAT | O_EXCL, mode, err);
    if (to < 0 || fs_copy_content(fd, to, (uint64_t)st->st_size, &how, err) < 0)
        return -1;
    return futimens(to, times) == 0 ? fs_fsync(to, path, err) : err_sys(err, "set the time of %.700s", path);
}

int shelf_text(const struct shelf *s, const char *path, struct span text, struct err *err)
{
    AUTO_FD to = fs_open_beneath(s->dir_fd, path, O_WRONLY | O_CREAT | O_EXCL, 0644, err);
    return to < 0 || fs_write_all(to, text.p, text.n, err) < 0 ? -1 : fs_fsync(to, path, err);
}

int shelf_commit(struct shelf *s, char **absolute, struct err *err)
{
    if (fs_fsync(s->dir_fd, s->path, err) < 0)
        return -1;
    if (renameat2(s->parent_fd, s->temporary, s->parent_fd, s->name, RENAME_NOREPLACE) < 0)
        return errno == EEXIST ? err_set(err, ERR_EXISTS, "%.700s is there already", s->path)
                               : err_sys(err, "make %.700s appear", s->path);
    s->temporary[0] = '\0';
    if (fs_fsync(s->parent_fd, "the folder of the results", err) < 0)
        return -1;
    *absolute = realpath(s->path, NULL);
    return *absolute ? 0 : err_sys(err, "find %.700s", s->path);
}

void shelf_release(struct shelf *s)
{
    struct err ignored = ERR_INIT;
    if (s->temporary[0])
        (void)fs_remove_tree(s->parent_fd, s->temporary, &ignored);
    auto_close(&s->dir_fd);
    auto_close(&s->parent_fd);
    free(s->path);
    *s = (struct shelf){.parent_fd = -1, .dir_fd = -1};
}
