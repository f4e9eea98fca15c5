/* Views against their snapshots: each link leads where it should, each file is there, and is the blob, by inode or,
 * where the blob went on in a second one, by size and content. A view that is not sound is removed, or set aside where
 * a job has it, and built anew on its next use. */
#include "cache/cache_priv.h"

#include "base/fs.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

static bool same_content(int a, int b, uint64_t size, const struct cancel *cancel)
{
    struct err err = ERR_INIT;
    struct digest_value hash[2];
    const int fd[2] = {a, b};
    for (int i = 0; i < 2; i++) {
        struct digest *d = NULL;
        if (digest_open(&d, BIT(DIGEST_XXH3), &err) < 0)
            return false;
        int rc = digest_fd(d, fd[i], 0, size, cancel, &err);
        if (rc == 0)
            rc = digest_final(d, DIGEST_XXH3, &hash[i], &err);
        digest_free(d);
        if (rc < 0)
            return false;
    }
    return digest_equal(&hash[0], &hash[1]);
}

static bool file_is_sound(struct cache *c, int view, const struct tree_entry *e, const struct cancel *cancel)
{
    struct err why = ERR_INIT;
    struct stat here, there;
    uint64_t size;
    AUTO_FD blob = -1;
    AUTO_FD file = fs_open_beneath(view, e->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, &why);
    if (file < 0 || fstat(file, &here) < 0 || !S_ISREG(here.st_mode) || (uint64_t)here.st_size != e->size)
        return false;
    if (blob_open(c, e->blob, &blob, &size, &why) < 0 || fstat(blob, &there) < 0)
        return true; /* the blob's own trouble, and told there */
    return here.st_ino == there.st_ino || same_content(file, blob, e->size, cancel);
}

static bool link_is_sound(int view, const struct tree_entry *e)
{
    struct err why = ERR_INIT;
    char held[PATH_MAX];
    AUTO_BUF text;
    AUTO_FD link = fs_open_beneath(view, e->path, O_PATH | O_NOFOLLOW, 0, &why);
    if (view_link_text(e, &text, &why) < 0 || link < 0)
        return false;
    ssize_t n = readlinkat(link, "", held, sizeof held); /* fails where it is no link */
    return n >= 0 && span_eq((struct span){held, (size_t)n}, buf_span(&text));
}

static bool folder_is_sound(int view, const struct tree_entry *e)
{
    struct stat st;
    return fstatat(view, e->path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static bool view_is_sound(struct cache *c, const struct snapshot_row *row, const struct tree *t,
                          const struct cancel *cancel)
{
    struct err why = ERR_INIT;
    AUTO_FD view = fs_open_beneath(c->views_fd, row->id, O_RDONLY | O_DIRECTORY, 0, &why);
    if (view < 0)
        return false;
    for (size_t i = 0; i < t->n && cancel_level_of(cancel) == CANCEL_NONE; i++) {
        const struct tree_entry *e = &t->v[i];
        if (e->blob ? !file_is_sound(c, view, e, cancel) : e->to ? !link_is_sound(view, e) : !folder_is_sound(view, e))
            return false;
    }
    return true;
}

static int forget_view(struct cache *c, const struct snapshot_row *row, struct err *err)
{
    struct db_stmt *s = NULL;
    if (index_begin(c, err) < 0)
        return -1;
    int rc = db_prepare(c->index.db, "UPDATE snapshots SET view_boot = -1 WHERE n = $1", &s, err);
    if (rc == 0) {
        db_bind_i64(s, 1, row->n);
        rc = db_run(s, err);
    }
    if (index_end(c, rc, err) < 0)
        return -1;
    return view_detach(c, row->id, err); /* swept where no job runs */
}

/* Under the view's lock: it may just have been removed, with its row, or be replaced. */
static int confirm(struct cache *c, const struct snapshot_row *row, const struct tree *t,
                   const struct cache_verify_opts *opts, struct cache_verify_result *out, struct err *err)
{
    struct snapshot_row now;
    bool found = false;
    int rc = snapshot_row_get(index_enter(c), row->id, &now, &found, err);
    index_leave(c);
    if (rc < 0 || !found || !view_is_built(c, &now) || view_is_sound(c, row, t, opts->cancel))
        return rc;
    out->damaged++;
    if (!opts->repair)
        return 0;
    out->repaired++;
    return forget_view(c, row, err);
}

static int verify_view(struct cache *c, const struct snapshot_row *row, const struct cache_verify_opts *opts,
                       struct cache_verify_result *out, struct err *err)
{
    AUTO_BUF list;
    AUTO(tree_release) struct tree t = {0};
    struct err why = ERR_INIT;
    buf_init(&list, LIST_BYTES_MAX);
    int rc = snapshot_list_read(index_enter(c), row->n, &list, &why);
    index_leave(c);
    if (rc < 0)
        return why.kind == ERR_NOTFOUND ? 0 : err_move(err, &why);
    if (tree_decode(buf_span(&list), &t, err) < 0)
        return -1;
    if (!view_is_built(c, row) || view_is_sound(c, row, &t, opts->cancel))
        return 0;
    struct lock_name lock = lock_name_of(LOCK_VIEW, row->id);
    if (locks_wait(c->locks, lock, LOCK_ALONE, opts->cancel, err) < 0)
        return -1;
    rc = confirm(c, row, &t, opts, out, err);
    locks_drop(c->locks, lock);
    return rc;
}

int views_verify(struct cache *c, const struct cache_verify_opts *opts, struct cache_verify_result *out,
                 struct err *err)
{
    struct snapshot_row row = {0};
    for (;;) {
        struct db_stmt *s = NULL;
        int rc = db_prepare(index_enter(c), "SELECT n, id, view_boot FROM snapshots WHERE n > $1 ORDER BY n LIMIT 1",
                            &s, err);
        if (rc == 0) {
            db_bind_i64(s, 1, row.n);
            rc = db_next(s, err);
        }
        if (rc > 0) {
            row.n = db_col_i64(s, 0);
            row.view_boot = db_col_i64(s, 2);
            text_copy(row.id, sizeof row.id, db_col_text(s, 1));
            db_done(s);
        }
        index_leave(c);
        if (rc <= 0)
            return rc;
        if (cancel_check(opts->cancel, err) < 0 || verify_view(c, &row, opts, out, err) < 0)
            return -1;
    }
}
