#include "cache/cache_priv.h"

int snapshot_not_found(const char *id, struct err *err)
{
    return err_set(err, ERR_NOTFOUND, "there is no snapshot %.80s", id);
}

int snapshot_row_get(struct db *db, const char *id, struct snapshot_row *out, bool *found, struct err *err)
{
    struct db_stmt *s = NULL;
    if (db_prepare(db,
                   "SELECT n, files, folders, bytes, created_ms, last_used_ms, hits, view_boot FROM snapshots "
                   "WHERE id = $1",
                   &s, err) < 0)
        return -1;
    db_bind_text(s, 1, id);
    int rc = db_next(s, err);
    *found = rc > 0;
    if (rc <= 0)
        return rc;
    *out = (struct snapshot_row){.n = db_col_i64(s, 0),
                                 .files = db_col_i64(s, 1),
                                 .folders = db_col_i64(s, 2),
                                 .bytes = db_col_i64(s, 3),
                                 .created_ms = db_col_i64(s, 4),
                                 .last_used_ms = db_col_i64(s, 5),
                                 .hits = db_col_i64(s, 6),
                                 .view_boot = db_col_i64(s, 7)};
    db_done(s);
    text_copy(out->id, sizeof out->id, span_of(id));
    return 0;
}

int snapshot_list_read(struct db *db, int64_t n, struct buf *out, struct err *err)
{
    struct db_stmt *s = NULL;
    if (db_prepare(db, "SELECT list FROM snapshots WHERE n = $1", &s, err) < 0)
        return -1;
    db_bind_i64(s, 1, n);
    int rc = db_next(s, err);
    if (rc < 0)
        return -1;
    if (rc == 0)
        return err_set(err, ERR_NOTFOUND, "the snapshot was removed");
    buf_add_span(out, db_col_text(s, 0));
    db_done(s);
    return buf_check(out, "the list of the snapshot", err);
}

/* Each blob of the list counts one more reference, or is not there as the list has it. */
static int reference_blobs(struct db *db, const struct tree *t, struct err *err)
{
    struct db_stmt *s = NULL;
    for (size_t i = 0; i < t->n; i++) {
        const struct tree_entry *e = &t->v[i];
        if (!e->blob)
            continue;
        if (db_prepare(db, "UPDATE blobs SET refs = refs + 1 WHERE id = $1 AND size = $2 AND lost = 0", &s, err) < 0)
            return -1;
        db_bind_text(s, 1, e->blob);
        db_bind_i64(s, 2, (int64_t)e->size);
        if (db_run(s, err) < 0)
            return -1;
        if (db_changes(db) != 1)
            return err_set(err, ERR_NOTFOUND, "%s: blob %s of %llu bytes is not in the cache", e->path, e->blob,
                           (unsigned long long)e->size);
    }
    return 0;
}

static int release_blobs(struct db *db, const struct tree *t, int64_t last_used_ms, struct err *err)
{
    struct db_stmt *s = NULL;
    for (size_t i = 0; i < t->n; i++) {
        if (!t->v[i].blob)
            continue;
        if (db_prepare(db, "UPDATE blobs SET refs = refs - 1, last_used_ms = max(last_used_ms, $2) WHERE id = $1", &s,
                       err) < 0)
            return -1;
        db_bind_text(s, 1, t->v[i].blob);
        db_bind_i64(s, 2, last_used_ms);
        if (db_run(s, err) < 0)
            return -1;
    }
    return 0;
}

int snapshot_row_drop(struct db *db, int64_t n, int64_t last_used_ms, struct err *err)
{
    AUTO_BUF list;
    AUTO(tree_release) struct tree t = {0};
    struct db_stmt *s = NULL;
    buf_init(&list, LIST_BYTES_MAX);
    if (snapshot_list_read(db, n, &list, err) < 0 || tree_decode(buf_span(&list), &t, err) < 0 ||
        release_blobs(db, &t, last_used_ms, err) < 0 ||
        db_prepare(db, "DELETE FROM snapshots WHERE n = $1", &s, err) < 0)
        return -1;
    db_bind_i64(s, 1, n);
    return db_run(s, err);
}

static int insert_row(struct cache *c, const char *id, const struct tree *t, const struct buf *list,
                      struct snapshot_row *row, struct err *err)
{
    struct db_stmt *s = NULL;
    bool found;
    if (reference_blobs(c->index.db, t, err) < 0 ||
        db_prepare(c->index.db,
                   "INSERT INTO snapshots(id, files, folders, bytes, created_ms, last_used_ms, view_boot, list) "
                   "VALUES ($1, $2, $3, $4, $5, $5, $6, $7)",
                   &s, err) < 0)
        return -1;
    db_bind_text(s, 1, id);
    db_bind_i64(s, 2, (int64_t)t->files);
    db_bind_i64(s, 3, (int64_t)(t->n - t->files - t->links));
    db_bind_i64(s, 4, (int64_t)t->bytes);
    db_bind_i64(s, 5, cache_now(c));
    db_bind_i64(s, 6, VIEW_NONE);
    db_bind_blob(s, 7, list->p, list->n);
    if (db_run(s, err) < 0)
        return -1;
    return snapshot_row_get(c->index.db, id, row, &found, err);
}

static int touch(struct cache *c, const struct snapshot_row *row, struct err *err)
{
    struct db_stmt *s = NULL;
    if (db_prepare(c->index.db, "UPDATE snapshots SET last_used_ms = $2 WHERE n = $1", &s, err) < 0)
        return -1;
    db_bind_i64(s, 1, row->n);
    db_bind_i64(s, 2, cache_now(c));
    return db_run(s, err);
}

/* In a transaction: the row, made or found, and its lease. The view comes after; a crash in between leaves a snapshot
 * whose view is yet to be built. */
static int put_row(struct cache *c, struct cache_lease *lease, const char *id, const struct tree *t,
                   const struct buf *list, struct err *err)
{
    struct snapshot_row row = {0};
    bool found = false;
    if (snapshot_row_get(c->index.db, id, &row, &found, err) < 0)
        return -1;
    if (found ? touch(c, &row, err) < 0 : insert_row(c, id, t, list, &row, err) < 0)
        return -1;
    return lease_add_snapshot(c->index.db, lease, row.n, err);
}

static int make(struct cache *c, struct cache_lease *lease, const struct tree *t, char id[SNAPSHOT_ID_MAX],
                struct err *err)
{
    AUTO_BUF list;
    buf_init(&list, LIST_BYTES_MAX);
    if (tree_encode(t, &list, err) < 0 || tree_id(buf_span(&list), id, err) < 0)
        return -1;
    writer_drain(c); /* its blobs may be of a moment ago */
    if (writer_failure_of(c, lease, err) < 0 || index_begin(c, err) < 0 ||
        index_end(c, put_row(c, lease, id, t, &list, err), err) < 0)
        return -1;
    return view_ensure(c, id, err);
}

int cache_snapshot_make(struct cache *c, struct cache_lease *lease, const struct cache_tree *tree,
                        char id[SNAPSHOT_ID_MAX], struct err *err)
{
    AUTO(tree_release) struct tree t = {0};
    if (tree_sort(tree, &t, err) < 0 || make(c, lease, &t, id, err) < 0)
        return err_wrap(err, "cache");
    return 0;
}

int cache_snapshot_view(struct cache *c, const char *id, struct buf *path, struct err *err)
{
    if (view_ensure(c, id, err) < 0)
        return err_wrap(err, "cache");
    buf_addf(path, "%s/views/%s", c->dir, id);
    return buf_check(path, "the path of a view", err);
}

static int to_cache_tree(const struct tree *t, struct arena *a, struct cache_tree *out, struct err *err)
{
    struct cache_file *files = arena_array(a, t->files + 1, sizeof *files);
    const char **folders = arena_array(a, t->n - t->files - t->links + 1, sizeof *folders);
    struct cache_link *links = arena_array(a, t->links + 1, sizeof *links);
    *out = (struct cache_tree){.files = files, .folders = folders, .links = links};
    for (size_t i = 0; files && folders && links && i < t->n; i++) {
        const struct tree_entry *e = &t->v[i];
        if (e->blob)
            files[out->file_count++] = (struct cache_file){e->path, e->blob, e->size};
        else if (e->to)
            links[out->link_count++] = (struct cache_link){e->path, e->to};
        else
            folders[out->folder_count++] = e->path;
    }
    return arena_check(a, err);
}

int cache_snapshot_list(struct cache *c, const char *id, struct arena *a, struct cache_tree *out, struct err *err)
{
    AUTO_BUF list;
    AUTO(tree_release) struct tree t = {0};
    struct snapshot_row row;
    bool found;
    buf_init(&list, LIST_BYTES_MAX);
    struct db *db = index_enter(c);
    int rc = snapshot_row_get(db, id, &row, &found, err);
    if (rc == 0)
        rc = found ? snapshot_list_read(db, row.n, &list, err) : snapshot_not_found(id, err);
    index_leave(c);
    if (rc < 0)
        return err_wrap(err, "cache");
    char *text = arena_dup_span(a, buf_span(&list)); /* the strings of the tree point into it */
    if (!text)
        return arena_check(a, err) < 0 ? -1 : err_nomem(err);
    if (tree_decode((struct span){text, list.n}, &t, err) < 0)
        return err_wrap(err, "cache: snapshot %s", id);
    return to_cache_tree(&t, a, out, err);
}
