#include "base/fs.h"

#include "base/path.h"
#include "base/rng.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

#define REMOVE_DEPTH_MAX 64 /* open folders at once; what lies deeper is moved up first */

static void auto_closedir(DIR **d)
{
    if (*d)
        closedir(*d);
}
#define AUTO_DIR AUTO(auto_closedir) DIR *

/* The next entry that is not "." or ".."; NULL at the end, or with `err` set. */
static const char *next_name(DIR *d, const char *where, struct err *err)
{
    for (;;) {
        errno = 0;
        const struct dirent *e = readdir(d);
        if (!e) {
            if (errno)
                err_sys(err, "list %s", where);
            return NULL;
        }
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            return e->d_name;
    }
}

/* A listing of the folder, with a descriptor and a position of its own. */
static DIR *list_dir(int dir_fd, const char *where, struct err *err)
{
    AUTO_FD fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        err_sys(err, "list %s", where);
        return NULL;
    }
    fd_take(&fd);
    return d;
}

struct walk {
    int (*visit)(void *ctx, const struct fs_entry *entry, struct err *err);
    void *ctx;
    struct buf path; /* of the entry at hand */
    unsigned depth;
};

static const char *walk_where(const struct walk *w)
{
    return w->path.n ? buf_str(&w->path) : "the folder";
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int read_names(const struct walk *w, int dir_fd, struct strv *names, struct err *err)
{
    AUTO_DIR d = list_dir(dir_fd, walk_where(w), err);
    const char *name;
    if (!d)
        return -1;
    while ((name = next_name(d, walk_where(w), err))) {
        if (names->n >= FS_WALK_FOLDER_MAX)
            return err_set(err, ERR_LIMIT, "%s has more than %d entries", walk_where(w), FS_WALK_FOLDER_MAX);
        if (strv_add(names, name, err) < 0)
            return -1;
    }
    if (err_is_set(err))
        return -1;
    if (names->n > 1)
        qsort(names->v, names->n, sizeof *names->v, by_name);
    return 0;
}

static int walk_dir(struct walk *w, int dir_fd, struct err *err);

static int walk_below(struct walk *w, int dir_fd, const char *name, struct err *err)
{
    struct err why = ERR_INIT;
    AUTO_FD fd = fs_open_beneath(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, &why);
    if (fd < 0 && why.kind == ERR_NOTFOUND)
        return 0;
    if (fd < 0) {
        err_move(err, &why);
        return err_wrap(err, "walk %s", buf_str(&w->path));
    }
    if (w->depth + 1 >= FS_WALK_DEPTH_MAX)
        return err_set(err, ERR_LIMIT, "%s is nested deeper than %d folders", buf_str(&w->path), FS_WALK_DEPTH_MAX - 1);
    w->depth++;
    int rc = walk_dir(w, fd, err);
    w->depth--;
    return rc;
}

static int walk_entry(struct walk *w, int dir_fd, const char *name, struct err *err)
{
    struct fs_entry entry = {.path = buf_str(&w->path), .parent_fd = dir_fd, .name = name};
    if (fstatat(dir_fd, name, &entry.st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(err, "stat %s", entry.path);
    int rc = w->visit(w->ctx, &entry, err);
    if (rc != 0 || !S_ISDIR(entry.st.st_mode))
        return rc;
    return walk_below(w, dir_fd, name, err);
}

static int walk_dir(struct walk *w, int dir_fd, struct err *err)
{
    AUTO(strv_release) struct strv names = {0};
    if (read_names(w, dir_fd, &names, err) < 0)
        return -1;
    size_t here = w->path.n;
    for (size_t i = 0; i < names.n; i++) {
        if (here)
            buf_addc(&w->path, '/');
        buf_adds(&w->path, names.v[i]);
        int rc = buf_check(&w->path, "a path", err) < 0 ? -1 : walk_entry(w, dir_fd, names.v[i], err);
        if (rc != 0)
            return rc;
        w->path.n = here;
        w->path.p[here] = '\0';
    }
    return 0;
}

int fs_walk(int dir_fd, int (*visit)(void *ctx, const struct fs_entry *entry, struct err *err), void *ctx,
            struct err *err)
{
    struct walk w = {.visit = visit, .ctx = ctx};
    buf_init(&w.path, (size_t)FS_WALK_DEPTH_MAX * (PATH_COMPONENT_MAX + 1));
    int rc = walk_dir(&w, dir_fd, err);
    buf_release(&w.path);
    return rc;
}

struct removal {
    int top_fd;       /* the root of the tree being removed */
    const char *name; /* its name, for messages */
    bool moved;       /* folders from deep below now lie in top_fd */
};

/* A folder that its owner may not enter would stop the removal: grant the owner everything, without following a link.
 */
static void open_up(int parent_fd, const char *name)
{
    AUTO_FD fd = openat(parent_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    char proc[32];
    if (fd < 0 || fstat(fd, &st) < 0 || (st.st_mode & 0700) == 0700)
        return;
    snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
    (void)!chmod(proc, (st.st_mode & 07777) | 0700); /* where it fails, opening the folder says why */
}

static int open_same_fs(int parent_fd, const char *name)
{
    struct open_how how = {
        .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
    };
    open_up(parent_fd, name);
    return (int)syscall(SYS_openat2, parent_fd, name, &how, sizeof how);
}

static int move_to_top(struct removal *r, int parent_fd, const char *name, struct err *err)
{
    char id[RNG_ID_MAX];
    if (rng_id(id, err) < 0)
        return -1;
    open_up(parent_fd, name); /* its ".." changes, which takes the right to write to it */
    if (renameat(parent_fd, name, r->top_fd, id) < 0)
        return err_sys(err, "remove %s: move %s", r->name, name);
    r->moved = true;
    return 0;
}

static int remove_content(struct removal *r, int dir_fd, unsigned depth, struct err *err);

static int remove_dir(struct removal *r, int parent_fd, const char *name, unsigned depth, struct err *err)
{
    if (depth >= REMOVE_DEPTH_MAX)
        return move_to_top(r, parent_fd, name, err);
    AUTO_FD fd = open_same_fs(parent_fd, name);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0 && errno == EXDEV)
        return err_set(err, ERR_REFUSED, "remove %s: another file system is mounted at %s", r->name, name);
    if (fd < 0)
        return err_sys(err, "remove %s: open %s", r->name, name);
    if (remove_content(r, fd, depth, err) < 0)
        return -1;
    if (unlinkat(parent_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return err_sys(err, "remove %s: %s", r->name, name);
    return 0;
}

static int remove_entry(struct removal *r, int dir_fd, const char *name, unsigned depth, struct err *err)
{
    if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
        return 0;
    int saved = errno;
    struct stat st;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
        return remove_dir(r, dir_fd, name, depth + 1, err);
    errno = saved;
    return err_sys(err, "remove %s: %s", r->name, name);
}

static int remove_content(struct removal *r, int dir_fd, unsigned depth, struct err *err)
{
    AUTO_DIR d = list_dir(dir_fd, r->name, err);
    const char *name;
    if (!d)
        return -1;
    while ((name = next_name(d, r->name, err)))
        if (remove_entry(r, dir_fd, name, depth, err) < 0)
            return -1;
    return err_is_set(err) ? -1 : 0;
}

int fs_remove_tree(int dir_fd, const char *name, struct err *err)
{
    struct removal r = {.name = name};
    struct span component = span_of(name);
    if (path_check_relative(component, err) < 0)
        return -1;
    if (memchr(component.p, '/', component.n))
        return err_set(err, ERR_REFUSED, "remove %s: not a plain name", name);
    if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return err_sys(err, "remove %s", name);
    AUTO_FD top = open_same_fs(dir_fd, name);
    if (top < 0 && errno == EXDEV)
        return err_set(err, ERR_REFUSED, "remove %s: another file system is mounted there", name);
    if (top < 0)
        return err_sys(err, "remove %s", name);
    r.top_fd = top;
    do { /* each round takes REMOVE_DEPTH_MAX levels off */
        r.moved = false;
        if (remove_content(&r, top, 0, err) < 0)
            return -1;
    } while (r.moved);
    if (unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return err_sys(err, "remove %s", name);
    return 0;
}
