/* Views: folders of hard links, and of symbolic links to these, 0555, built as <id>.new and renamed. All under the lock
 * of the view, which a second maker waits for and then finds the work done. Removal renames to <id>.old first, so that
 * nothing half removed stands under the name. */
#include "cache/cache_priv.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

#define VIEW_NAME_MAX (SNAPSHOT_ID_MAX + 24)

bool view_is_built(const struct cache *c, const struct snapshot_row *row)
{
    return row->view_boot == SYNCED || row->view_boot == c->boot_id;
}

/* The folders from the view's root down to where the entry at hand goes. */
struct stack {
    int fd[CACHE_DEPTH_MAX + 2];
    size_t end[CACHE_DEPTH_MAX + 2]; /* of the folder's path within `path` */
    unsigned n;
    const char *path; /* of the last entry */
};

static int pop(struct stack *s, struct err *err)
{
    int fd = s->fd[--s->n];
    int rc = fchmod(fd, 0555) < 0 ? err_sys(err, "chmod a folder of the view") : 0;
    close(fd);
    return rc;
}

static int push(struct stack *s, const char *path, size_t end, struct err *err)
{
    char name[256];
    size_t start = s->n > 1 ? s->end[s->n - 1] + 1 : 0;
    text_copy(name, sizeof name, (struct span){path + start, end - start});
    int parent = s->fd[s->n - 1];
    if (mkdirat(parent, name, 0700) < 0)
        return err_sys(err, "make folder %s in the view", path);
    int fd = fs_open_beneath(parent, name, O_RDONLY | O_DIRECTORY, 0, err);
    if (fd < 0)
        return -1;
    s->fd[s->n] = fd;
    s->end[s->n++] = end;
    return 0;
}

/* Leave folders that `path` does not lie in, enter those up to its last '/', or all of it where it is a folder. */
static int go_to(struct stack *s, const char *path, bool folder, struct err *err)
{
    while (s->n > 1) {
        size_t end = s->end[s->n - 1];
        if (strncmp(path, s->path, end) == 0 && path[end] == '/')
            break;
        if (pop(s, err) < 0)
            return -1;
    }
    s->path = path;
    for (size_t at = s->n > 1 ? s->end[s->n - 1] + 1 : 0;; at++) {
        bool over = path[at] == '\0';
        if ((path[at] == '/' || (over && folder)) && push(s, path, at, err) < 0)
            return -1;
        if (over)
            return 0;
    }
}

int view_link_text(const struct tree_entry *link, struct buf *out, struct err *err)
{
    buf_init(out, PATH_MAX);
    path_link_text(link->path, link->to, out);
    return buf_check(out, link->path, err);
}

static int make_link(const struct tree_entry *link, int dir_fd, const char *name, struct err *err)
{
    AUTO_BUF text;
    if (view_link_text(link, &text, err) < 0)
        return -1;
    return symlinkat(buf_str(&text), dir_fd, name) < 0 ? err_sys(err, "make a link in the view") : 0;
}

static int link_tree(struct cache *c, const struct tree *t, struct stack *s, struct err *err)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct tree_entry *e = &t->v[i];
        if (go_to(s, e->path, tree_is_folder(e), err) < 0)
            return -1;
        if (tree_is_folder(e))
            continue;
        const char *slash = strrchr(e->path, '/'), *name = slash ? slash + 1 : e->path;
        int dir_fd = s->fd[s->n - 1];
        if ((e->to ? make_link(e, dir_fd, name, err) : blob_link(c, e->blob, dir_fd, name, err)) < 0)
            return err_wrap(err, "%s", e->path);
    }
    return 0;
}

static int fill_view(struct cache *c, const char *name, const struct tree *t, struct err *err)
{
    struct stack s = {.n = 1, .path = ""};
    if (mkdirat(c->views_fd, name, 0700) < 0)
        return err_sys(err, "make folder views/%s", name);
    s.fd[0] = fs_open_beneath(c->views_fd, name, O_RDONLY | O_DIRECTORY, 0, err);
    if (s.fd[0] < 0)
        return -1;
    int rc = link_tree(c, t, &s, err);
    while (s.n)
        if (pop(&s, err) < 0)
            rc = -1;
    return rc;
}

static int make_writable(void *ctx, const struct fs_entry *e, struct err *err)
{
    (void)ctx;
    if (!S_ISDIR(e->st.st_mode))
        return 0;
    AUTO_FD fd = fs_open_beneath(e->parent_fd, e->name, O_RDONLY | O_DIRECTORY, 0, err);
    if (fd < 0)
        return -1;
    return fchmod(fd, 0700) < 0 ? err_sys(err, "chmod %s", e->path) : 0;
}

/* Its folders are 0555: who is not root must make them writable before they can be emptied. */
int view_discard(struct cache *c, const char *name, struct err *err)
{
    struct err why = ERR_INIT;
    AUTO_FD fd = fs_open_beneath(c->views_fd, name, O_RDONLY | O_DIRECTORY, 0, &why);
    if (fd < 0)
        return why.kind == ERR_NOTFOUND ? 0 : err_move(err, &why);
    if (fchmod(fd, 0700) < 0)
        return err_sys(err, "chmod views/%s", name);
    if (geteuid() != 0 && fs_walk(fd, make_writable, NULL, err) < 0)
        return -1;
    return fs_remove_tree(c->views_fd, name, err);
}

static void view_name(char out[VIEW_NAME_MAX], const char *id, const char *suffix)
{
    snprintf(out, VIEW_NAME_MAX, "%.*s%s", SNAPSHOT_ID_MAX - 1, id, suffix);
}

int view_remove(struct cache *c, const char *id, struct err *err)
{
    char fresh[VIEW_NAME_MAX], old[VIEW_NAME_MAX];
    view_name(fresh, id, ".new");
    view_name(old, id, ".old");
    if (view_discard(c, fresh, err) < 0 || view_discard(c, old, err) < 0)
        return -1;
    if (renameat(c->views_fd, id, c->views_fd, old) < 0)
        return errno == ENOENT ? 0 : err_sys(err, "rename views/%s", id);
    return view_discard(c, old, err);
}

int view_detach(struct cache *c, const char *id, struct err *err)
{
    char suffix[24], kept[VIEW_NAME_MAX];
    snprintf(suffix, sizeof suffix, ".%llu", (unsigned long long)clock_mono_us());
    view_name(kept, id, suffix);
    if (renameat(c->views_fd, id, c->views_fd, kept) < 0 && errno != ENOENT)
        return err_sys(err, "rename views/%s", id);
    return 0;
}

static int set_built(struct cache *c, int64_t n, struct err *err)
{
    struct db_stmt *s = NULL;
    if (db_prepare(c->index.db, "UPDATE snapshots SET view_boot = $2, view_made_ms = $3 WHERE n = $1", &s, err) < 0)
        return -1;
    db_bind_i64(s, 1, n);
    db_bind_i64(s, 2, c->boot);
    db_bind_i64(s, 3, cache_now(c));
    return db_run(s, err);
}

static int read_list(struct cache *c, int64_t n, struct buf *list, struct err *err)
{
    int rc = snapshot_list_read(index_enter(c), n, list, err);
    index_leave(c);
    return rc;
}

static int build(struct cache *c, const struct snapshot_row *row, struct err *err)
{
    AUTO_BUF list;
    AUTO(tree_release) struct tree t = {0};
    char fresh[VIEW_NAME_MAX];
    struct err ignored = ERR_INIT;
    buf_init(&list, LIST_BYTES_MAX);
    view_name(fresh, row->id, ".new");
    if (read_list(c, row->n, &list, err) < 0 || tree_decode(buf_span(&list), &t, err) < 0 ||
        view_remove(c, row->id, err) < 0)
        return -1;
    if (fill_view(c, fresh, &t, err) < 0) {
        view_discard(c, fresh, &ignored);
        return -1;
    }
    if (renameat(c->views_fd, fresh, c->views_fd, row->id) < 0)
        return err_sys(err, "rename views/%s", fresh);
    if (index_begin(c, err) < 0 || index_end(c, set_built(c, row->n, err), err) < 0)
        return -1;
    if (c->durable)
        atomic_store(&c->unsynced, true);
    return 0;
}

/* The row, and whether its view stands: one look at the folder, none at its files. */
static int look(struct cache *c, const char *id, struct snapshot_row *row, bool *stands, struct err *err)
{
    struct stat st;
    bool found = false;
    int rc = snapshot_row_get(index_enter(c), id, row, &found, err);
    index_leave(c);
    if (rc < 0)
        return -1;
    if (!found)
        return snapshot_not_found(id, err);
    *stands = view_is_built(c, row) && fstatat(c->views_fd, id, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
    return 0;
}

int view_ensure(struct cache *c, const char *id, struct err *err)
{
    struct snapshot_row row;
    bool stands = false;
    if (look(c, id, &row, &stands, err) < 0)
        return -1;
    if (stands)
        return 0;
    struct lock_name lock = lock_name_of(LOCK_VIEW, id);
    if (locks_wait(c->locks, lock, LOCK_ALONE, NULL, err) < 0)
        return -1;
    int rc = look(c, id, &row, &stands, err);
    if (rc == 0 && !stands)
        rc = build(c, &row, err);
    locks_drop(c->locks, lock);
    if (rc < 0 && err->kind == ERR_NOTFOUND)
        lost_search(c, &row); /* so that the next use fetches what is gone */
    return rc;
}
