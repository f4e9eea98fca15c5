#include "archive/place_priv.h"

#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>

#define FOLDER_MODE 0755

void place_init(struct place *p, int dir_fd, uint64_t folders_max)
{
    *p = (struct place){.dir_fd = dir_fd, .folders_left = folders_max, .parent_fd = -1};
}

void place_release(struct place *p)
{
    auto_close(&p->parent_fd);
    p->parent_fd = -1;
}

/* Make the folder `name` in `*at` where it is missing; its fd replaces *at. */
static int enter(struct place *p, int *at, const char *name, const char *path, struct err *err)
{
    struct stat st;
    if (mkdirat(*at, name, FOLDER_MODE) == 0) {
        if (p->folders_left-- == 0)
            return err_set(err, ERR_LIMIT, "\"%s\" needs more folders than an archive may have entries", path);
    } else if (errno != EEXIST) {
        return err_sys(err, "make folder %s of \"%s\"", name, path);
    } else if (fstatat(*at, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode)) {
        return err_set(err, ERR_REFUSED, "\"%s\" needs a folder where \"%s\" is a %s", path, name,
                       S_ISLNK(st.st_mode) ? "symbolic link" : "file");
    }
    int next = fs_open_beneath(*at, name, O_PATH | O_DIRECTORY, 0, err);
    if (next < 0)
        return err_wrap(err, "\"%s\"", path);
    auto_close(at);
    *at = next;
    return 0;
}

/* Every folder of `folder`, on behalf of the entry `path`. */
static int make_folders(struct place *p, const char *folder, const char *path, int *out, struct err *err)
{
    AUTO_FD at = fs_open_beneath(p->dir_fd, ".", O_PATH | O_DIRECTORY, 0, err);
    if (at < 0)
        return -1;
    struct span rest = span_of(folder), component;
    for (bool more = rest.n > 0; more;) {
        char name[PATH_COMPONENT_MAX + 1];
        more = span_cut(rest, '/', &component, &rest);
        snprintf(name, sizeof(name), "%.*s", SPAN_FMT(component));
        if (enter(p, &at, name, path, err) < 0)
            return -1;
    }
    *out = fd_take(&at);
    return 0;
}

/* The folder that `path` goes into (owned by `p`) and its name there. Neighbours in an archive share it mostly. */
static int open_parent(struct place *p, const char *path, const char **name, struct err *err)
{
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    *name = slash ? slash + 1 : path;
    if (p->parent_fd >= 0 && strlen(p->parent) == n && memcmp(p->parent, path, n) == 0)
        return p->parent_fd;
    place_release(p);
    memcpy(p->parent, path, n);
    p->parent[n] = '\0';
    return make_folders(p, p->parent, path, &p->parent_fd, err) < 0 ? -1 : p->parent_fd;
}

static int clear_way(int parent, const char *name, const char *path, struct err *err)
{
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno == EISDIR)
        return err_set(err, ERR_REFUSED, "\"%s\" is there as a folder already", path);
    return err_sys(err, "replace \"%s\"", path);
}

int place_folder(struct place *p, const char *path, mode_t mode, struct err *err)
{
    AUTO_FD made = -1;
    if (make_folders(p, path, path, &made, err) < 0)
        return -1;
    AUTO_FD fd = fs_open_beneath(made, ".", O_RDONLY | O_DIRECTORY, 0, err);
    if (fd < 0)
        return err_wrap(err, "\"%s\"", path);
    if (fchmod(fd, (mode & FOLDER_MODE) | S_IRWXU) < 0)
        return err_sys(err, "set the mode of \"%s\"", path);
    return 0;
}

int place_file(struct place *p, const char *path, int *fd, struct err *err)
{
    const char *name;
    int parent = open_parent(p, path, &name, err);
    if (parent < 0 || clear_way(parent, name, path, err) < 0)
        return -1;
    *fd = fs_open_beneath(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, err);
    return *fd < 0 ? err_wrap(err, "\"%s\"", path) : 0;
}

int place_symlink(struct place *p, const char *path, const char *target, struct err *err)
{
    const char *name;
    int parent = open_parent(p, path, &name, err);
    if (parent < 0 || clear_way(parent, name, path, err) < 0)
        return -1;
    return symlinkat(target, parent, name) < 0 ? err_sys(err, "make link \"%s\"", path) : 0;
}

int place_check_file(const struct place *p, const char *path, struct err *err)
{
    struct stat st;
    AUTO_FD fd = fs_open_beneath(p->dir_fd, path, O_PATH | O_NOFOLLOW, 0, err);
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) < 0)
        return err_sys(err, "stat \"%s\"", path);
    return S_ISREG(st.st_mode) ? 0 : err_set(err, ERR_REFUSED, "\"%s\" is no regular file", path);
}

int place_hard_link(struct place *p, const char *path, const char *target, struct err *err)
{
    const char *name, *target_name;
    if (str_eq(path, target))
        return 0;
    if (open_parent(p, target, &target_name, err) < 0)
        return -1;
    AUTO_FD from = fd_take(&p->parent_fd); /* the next line would close it */
    int parent = open_parent(p, path, &name, err);
    if (parent < 0 || clear_way(parent, name, path, err) < 0)
        return -1;
    return linkat(from, target_name, parent, name, 0) < 0 ? err_sys(err, "link \"%s\"", path) : 0;
}
