#include "base/fs.h"
#include "job/job_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define LOCK_NAME "lock"

static int lock_whole(int fd)
{
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_SETLK, &all);
}

/* The folder gets its name only once its lock is held: a sweep by another process must never see it without. */
int workplace_open(struct workplace *w, const char *root, const char *id, struct err *err)
{
    snprintf(w->id, sizeof w->id, "%s", id);
    AUTO_STR unnamed = str_printf(err, ".new-%s", id);
    if (!unnamed || fs_mkdirs(root, 0700, err) < 0 || (w->root_fd = fs_open_dir(root, err)) < 0 ||
        fs_mkdirs_beneath(w->root_fd, unnamed, 0700, err) < 0)
        return -1;
    AUTO_FD dir = fs_open_beneath(w->root_fd, unnamed, O_RDONLY | O_DIRECTORY, 0, err);
    if (dir < 0)
        return -1;
    w->lock_fd = fs_open_beneath(dir, LOCK_NAME, O_RDWR | O_CREAT, 0600, err);
    if (w->lock_fd < 0)
        return -1;
    if (lock_whole(w->lock_fd) < 0)
        return err_sys(err, "lock the folder of run %s", id);
    if (renameat(w->root_fd, unnamed, w->root_fd, id) < 0)
        return err_sys(err, "name the folder of run %s", id);
    AUTO_STR absolute = realpath(root, NULL);
    if (!absolute)
        return err_sys(err, "find %s", root);
    w->path = str_printf(err, "%s/%s", absolute, id);
    return w->path ? 0 : -1;
}

void workplace_release(struct workplace *w, bool keep)
{
    struct err err = ERR_INIT;
    if (w->root_fd >= 0 && w->path && !keep)
        fs_remove_tree(w->root_fd, w->id, &err); /* what stays is swept by a later start */
    auto_close(&w->lock_fd);
    auto_close(&w->root_fd);
    free(str_take(&w->path));
}

int workplace_is_orphan(int root_fd, const char *id, int *lock_fd)
{
    struct err ignored = ERR_INIT;
    AUTO_STR name = str_printf(&ignored, "%s/" LOCK_NAME, id);
    if (!name)
        return 0;
    AUTO_FD fd = fs_open_beneath(root_fd, name, O_RDWR, 0, &ignored);
    if (fd < 0 || lock_whole(fd) < 0)
        return 0;
    *lock_fd = fd_take(&fd);
    return 1;
}
