/* Writable copies of views: reflinks where the file system has them, else an overlay with a private upper folder where
 * berth may mount and the engine sees it, else plain copies.
 *
 * The view itself is never writable, not even by root in the container: hard links share inodes with the cache. An
 * overlay leaves them alone: it copies a file up when it is first written, and its mode alone (metacopy) when that is
 * changed.
 *
 * Copy k lies in <work_dir>/rw<k>/tree; an overlay's own folders lie beside it. Whoever the container runs as may
 * write: what is above is of mode 0700. */
#include "base/fs.h"
#include "base/log.h"
#include "stage/stage_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_BYTES 24
#define PROC_BYTES 40
#define TREE       "tree"
#define UPPER      "upper"
#define WORK       "work"
#define PROBE      "probe"

const char *writable_word(enum writable_how how)
{
    static const char *const words[] = {[WRITABLE_NOT] = "no",
                                        [WRITABLE_REFLINK] = "reflink",
                                        [WRITABLE_OVERLAY] = "overlay",
                                        [WRITABLE_COPY] = "copy"};
    return words[how];
}

/* --- copying ------------------------------------------------------------------------------------------------------ */

struct copying {
    int from_fd, to_fd;
};

static int copy_link(const struct copying *c, const struct fs_entry *e, struct err *err)
{
    char text[PATH_MAX];
    ssize_t n = readlinkat(e->parent_fd, e->name, text, sizeof text - 1);
    if (n < 0)
        return err_sys(err, "read the link %s", e->path);
    text[n] = '\0';
    size_t folder_bytes = strlen(e->path) - strlen(e->name);
    AUTO_STR folder = folder_bytes ? str_dup_span((struct span){e->path, folder_bytes - 1}, err) : str_dup(".", err);
    AUTO_FD to = folder ? fs_open_beneath(c->to_fd, folder, O_PATH | O_DIRECTORY, 0, err) : -1;
    if (to < 0)
        return -1;
    return symlinkat(text, to, e->name) < 0 ? err_sys(err, "make the link %s", e->path) : 0;
}

static int copy_entry(void *ctx, const struct fs_entry *e, struct err *err)
{
    const struct copying *c = ctx;
    if (S_ISDIR(e->st.st_mode))
        return fs_mkdirs_beneath(c->to_fd, e->path, 0777, err);
    if (S_ISLNK(e->st.st_mode))
        return copy_link(c, e, err);
    AUTO_FD from = fs_open_beneath(c->from_fd, e->path, O_RDONLY | O_NOFOLLOW, 0, err);
    if (from < 0)
        return -1;
    AUTO_FD to = fs_open_beneath(c->to_fd, e->path, O_WRONLY | O_CREAT | O_EXCL, 0666, err);
    if (to < 0)
        return -1;
    enum fs_copy_how how;
    if (fs_copy_content(from, to, (uint64_t)e->st.st_size, &how, err) < 0)
        return err_wrap(err, "copy %s", e->path);
    return 0;
}

/* 1, and the first file with content is open in *ctx. */
static int find_content(void *ctx, const struct fs_entry *e, struct err *err)
{
    int *fd = ctx;
    (void)err;
    if (!S_ISREG(e->st.st_mode) || e->st.st_size == 0)
        return 0;
    *fd = openat(e->parent_fd, e->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    return *fd >= 0;
}

/* Tried, since nothing else tells: both folders on one file system, and that one able to share blocks. */
static bool can_reflink(int view_fd, int home_fd)
{
    struct err why = ERR_INIT;
    AUTO_FD from = -1;
    if (fs_walk(view_fd, find_content, &from, &why) != 1)
        return !err_is_set(&why); /* no content: there is nothing to copy */
    AUTO_FD to = fs_open_beneath(home_fd, PROBE, O_WRONLY | O_CREAT | O_EXCL, 0600, &why);
    if (to < 0)
        return false;
    bool can = ioctl(to, FICLONE, from) == 0;
    unlinkat(home_fd, PROBE, 0);
    return can;
}

/* --- overlays ----------------------------------------------------------------------------------------------------- */

static int open_up_entry(void *ctx, const struct fs_entry *e, struct err *err)
{
    (void)ctx;
    if (S_ISLNK(e->st.st_mode))
        return 0; /* what it leads to has its own turn */
    mode_t mode = S_ISDIR(e->st.st_mode) ? 0777 : 0666;
    return fchmodat(e->parent_fd, e->name, mode, 0) < 0 ? err_sys(err, "chmod %s", e->path) : 0;
}

static char *proc_path(char out[PROC_BYTES], int fd, const char *below)
{
    snprintf(out, PROC_BYTES, "/proc/self/fd/%d%s", fd, below);
    return out;
}

/* Folders go by descriptor: no character of a path has to be escaped, and nothing changes between look and use. */
static int mount_overlay(int view_fd, int home_fd, struct err *err)
{
    char options[256], target[PROC_BYTES];
    AUTO_FD upper = -1;
    AUTO_FD work = -1;
    if (fs_mkdirs_beneath(home_fd, UPPER, 0777, err) < 0 || fs_mkdirs_beneath(home_fd, WORK, 0700, err) < 0 ||
        (upper = fs_open_beneath(home_fd, UPPER, O_RDONLY | O_DIRECTORY, 0, err)) < 0 ||
        (work = fs_open_beneath(home_fd, WORK, O_RDONLY | O_DIRECTORY, 0, err)) < 0)
        return -1;
    if (fchmod(upper, 0777) < 0)
        return err_sys(err, "chmod");
    snprintf(options, sizeof options,
             "lowerdir=/proc/self/fd/%d,upperdir=/proc/self/fd/%d,workdir=/proc/self/fd/%d,metacopy=on,redirect_dir=on",
             view_fd, upper, work);
    if (mount("overlay", proc_path(target, home_fd, "/" TREE), "overlay", MS_NODEV | MS_NOSUID, options) < 0)
        return err_sys(err, "mount an overlay");
    return 0;
}

static void unmount(int home_fd)
{
    char target[PROC_BYTES];
    if (umount2(proc_path(target, home_fd, "/" TREE), MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL &&
        errno != ENOENT)
        log_warn("stage", "an overlay could not be unmounted (error=%s)", strerrordesc_np(errno));
}

static bool has_upper(int home_fd)
{
    return faccessat(home_fd, UPPER, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int overlay(int view_fd, int home_fd, struct err *err)
{
    if (mount_overlay(view_fd, home_fd, err) < 0)
        return -1;
    AUTO_FD tree = openat(home_fd, TREE, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = tree < 0 ? err_sys(err, "open an overlay") : fs_walk(tree, open_up_entry, NULL, err);
    if (rc < 0)
        unmount(home_fd);
    return rc;
}

/* False: it cannot be had here, which is no error. */
static bool try_overlay(const struct stage *s, int view_fd, int home_fd)
{
    struct err why = ERR_INIT;
    if (geteuid() != 0 || !s->opts.mounts_seen)
        return false;
    if (overlay(view_fd, home_fd, &why) == 0)
        return true;
    log_debug("stage", "no overlay, a copy is made (reason=\"%s\")", why.text);
    return false;
}

/* --- making and removing ------------------------------------------------------------------------------------------ */

static int make_home(struct stage *s, int work_fd, struct err *err)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "rw%u", s->copies);
    if (fs_mkdirs_beneath(work_fd, name, 0700, err) < 0)
        return -1;
    s->copies++;
    int fd = fs_open_beneath(work_fd, name, O_RDONLY | O_DIRECTORY, 0, err);
    if (fd >= 0 && fs_mkdirs_beneath(fd, TREE, 0777, err) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static int fill_tree(struct stage *s, int view_fd, int home_fd, enum writable_how *how, struct err *err)
{
    *how = can_reflink(view_fd, home_fd) ? WRITABLE_REFLINK : WRITABLE_COPY;
    if (*how == WRITABLE_COPY && try_overlay(s, view_fd, home_fd)) {
        *how = WRITABLE_OVERLAY;
        return 0;
    }
    AUTO_FD tree = fs_open_beneath(home_fd, TREE, O_RDONLY | O_DIRECTORY, 0, err);
    if (tree < 0)
        return -1;
    struct copying c = {view_fd, tree};
    if (fs_walk(view_fd, copy_entry, &c, err) < 0 || fs_walk(tree, open_up_entry, NULL, err) < 0)
        return -1;
    return fchmod(tree, 0777) < 0 ? err_sys(err, "chmod") : 0;
}

int writable_make(struct stage *s, const char *view, struct buf *path, enum writable_how *how, struct err *err)
{
    AUTO_FD work = fs_open_dir(s->opts.work_dir, err);
    if (work < 0)
        return -1;
    AUTO_FD home = make_home(s, work, err);
    if (home < 0)
        return -1;
    buf_addf(path, "%s/rw%u/" TREE, s->opts.work_dir, s->copies - 1);
    if (buf_check(path, "path of a writable copy", err) < 0)
        return -1;
    AUTO_FD from = fs_open_dir(view, err);
    return from < 0 ? -1 : fill_tree(s, from, home, how, err);
}

/* -1: there is no such copy. */
static int unmount_copy(int work_fd, unsigned k)
{
    char name[NAME_BYTES];
    struct err gone = ERR_INIT;
    snprintf(name, sizeof name, "rw%u", k);
    AUTO_FD home = fs_open_beneath(work_fd, name, O_RDONLY | O_DIRECTORY, 0, &gone);
    if (home < 0)
        return -1;
    if (has_upper(home))
        unmount(home);
    return 0;
}

void writable_release(struct stage *s)
{
    struct err err = ERR_INIT;
    if (s->copies == 0)
        return;
    AUTO_FD work = fs_open_dir(s->opts.work_dir, &err);
    for (unsigned k = 0; work >= 0 && k < s->copies; k++) {
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "rw%u", k);
        unmount_copy(work, k);
        if (fs_remove_tree(work, name, &err) < 0)
            break;
    }
    if (err_is_set(&err))
        stage_warn(s, 0, "a writable copy could not be removed: %s", err.text);
    s->copies = 0;
}

int stage_sweep(const char *work_dir, struct err *err)
{
    AUTO_FD work = fs_open_dir(work_dir, err);
    if (work < 0)
        return -1;
    for (unsigned k = 0; unmount_copy(work, k) == 0; k++)
        continue;
    return 0;
}
