/* Blobs whose file is missing or damaged. Marked as lost, a blob is found by nobody any more; then whatever is made of
 * it goes: entries, so that the next use fetches it anew; free snapshots; of those in use the view is moved out of the
 * way of the next use, while who has it keeps it. The row stays as long as a snapshot in use or pinned counts on it:
 * the same content fetched again heals it. */
#include "cache/cache_priv.h"

#include "base/log.h"

static int run_bound(struct db *db, const char *sql, int64_t value, struct err *err)
{
    struct db_stmt *s = NULL;
    if (db_prepare(db, sql, &s, err) < 0)
        return -1;
    db_bind_i64(s, 1, value);
    return db_run(s, err);
}

static int mark(struct db *db, int64_t blob, struct err *err)
{
    if (run_bound(db, "DELETE FROM origins WHERE blob = $1", blob, err) < 0)
        return -1;
    return run_bound(db, "UPDATE blobs SET lost = 1, scrub = NULL WHERE n = $1", blob, err);
}

int lost_mark(struct cache *c, int64_t blob, struct err *err)
{
    if (index_begin(c, err) < 0)
        return -1;
    return index_end(c, mark(c->index.db, blob, err), err);
}

static int row_is_lost(struct cache *c, const char *id, bool *lost, struct err *err)
{
    struct db_stmt *s = NULL;
    int rc = db_prepare(index_enter(c), "SELECT lost FROM blobs WHERE id = $1", &s, err);
    if (rc == 0) {
        db_bind_text(s, 1, id);
        rc = db_next(s, err);
        *lost = rc > 0 && db_col_i64(s, 0) != 0;
        db_done(s);
    }
    index_leave(c);
    return rc < 0 ? -1 : 0;
}

static int contains_lost(struct cache *c, const struct tree *t, bool *yes, struct err *err)
{
    *yes = false;
    for (size_t i = 0; i < t->n && !*yes; i++)
        if (t->v[i].blob && row_is_lost(c, t->v[i].blob, yes, err) < 0)
            return -1;
    return 0;
}

static int read_tree(struct cache *c, int64_t n, struct buf *list, struct tree *t, struct err *err)
{
    int rc = snapshot_list_read(index_enter(c), n, list, err);
    index_leave(c);
    return rc < 0 ? -1 : tree_decode(buf_span(list), t, err);
}

static int disown(struct db *db, int64_t n, struct err *err)
{
    if (run_bound(db, "DELETE FROM entries WHERE snapshot = $1", n, err) < 0)
        return -1;
    return run_bound(db, "UPDATE snapshots SET view_boot = -1 WHERE n = $1", n, err);
}

/* In use or pinned: its view makes way. */
static int set_aside(struct cache *c, const struct snapshot_row *row, struct err *err)
{
    struct lock_name lock = lock_name_of(LOCK_VIEW, row->id);
    if (locks_wait(c->locks, lock, LOCK_ALONE, NULL, err) < 0)
        return -1;
    int rc = index_begin(c, err);
    if (rc == 0)
        rc = index_end(c, disown(c->index.db, row->n, err), err);
    if (rc == 0)
        rc = view_detach(c, row->id, err);
    locks_drop(c->locks, lock);
    return rc;
}

static int settle_snapshot(struct cache *c, const struct snapshot_row *row, struct err *err)
{
    AUTO_BUF list;
    AUTO(tree_release) struct tree t = {0};
    struct sweep sweep = {.c = c};
    bool hit = false;
    buf_init(&list, LIST_BYTES_MAX);
    if (read_tree(c, row->n, &list, &t, err) < 0 || contains_lost(c, &t, &hit, err) < 0)
        return -1;
    if (!hit)
        return 0;
    int gone = sweep_snapshot(&sweep, row, err);
    return gone < 0 ? -1 : gone ? 0 : set_aside(c, row, err);
}

/* Rows after `row`, by number. */
static int next_row(struct cache *c, const char *select, int64_t after, int64_t *n, char *id, size_t id_n, bool *found,
                    struct err *err)
{
    struct db_stmt *s = NULL;
    int rc = db_prepare(index_enter(c), select, &s, err);
    if (rc == 0) {
        db_bind_i64(s, 1, after);
        rc = db_next(s, err);
        *found = rc > 0;
        if (*found) {
            *n = db_col_i64(s, 0);
            text_copy(id, id_n, db_col_text(s, 1));
        }
        db_done(s);
    }
    index_leave(c);
    return rc < 0 ? -1 : 0;
}

static int settle_snapshots(struct cache *c, struct err *err)
{
    struct snapshot_row row = {0};
    bool found = true;
    while (found) {
        if (next_row(c, "SELECT n, id FROM snapshots WHERE n > $1 ORDER BY n LIMIT 1", row.n, &row.n, row.id,
                     sizeof row.id, &found, err) < 0)
            return -1;
        struct err why = ERR_INIT;
        if (found && settle_snapshot(c, &row, &why) < 0 && why.kind != ERR_NOTFOUND) /* removed meanwhile */
            return err_move(err, &why);
    }
    return 0;
}

/* Under the lock of the blob: somebody may have stored it anew. */
static int settle_file(struct cache *c, const char *id, struct err *err)
{
    bool lost = false;
    struct lock_name lock = lock_name_of(LOCK_BLOB, id);
    int rc = locks_try(c->locks, lock, LOCK_ALONE, err);
    if (rc <= 0)
        return rc;
    rc = row_is_lost(c, id, &lost, err);
    if (rc == 0 && lost)
        rc = blob_quarantine(c, id, err);
    locks_drop(c->locks, lock);
    return rc;
}

static int settle_files(struct cache *c, struct err *err)
{
    int64_t n = 0;
    char id[BLOB_ID_MAX];
    bool found = true;
    while (found) {
        if (next_row(c, "SELECT n, id FROM blobs WHERE lost <> 0 AND n > $1 ORDER BY n LIMIT 1", n, &n, id, sizeof id,
                     &found, err) < 0 ||
            (found && settle_file(c, id, err) < 0))
            return -1;
    }
    return 0;
}

static int drop_free_rows(struct cache *c, struct err *err)
{
    if (index_begin(c, err) < 0)
        return -1;
    return index_end(c,
                     db_exec(c->index.db,
                             "DELETE FROM blobs WHERE lost <> 0 AND refs = 0 "
                             "AND NOT EXISTS (SELECT 1 FROM lease_blobs l WHERE l.blob = blobs.n)",
                             err),
                     err);
}

int lost_settle(struct cache *c, struct err *err)
{
    int64_t any = 0;
    int rc = index_value(index_enter(c), "SELECT EXISTS (SELECT 1 FROM blobs WHERE lost <> 0)", &any, err);
    index_leave(c);
    if (rc < 0 || !any)
        return rc;
    if (settle_snapshots(c, err) < 0 || settle_files(c, err) < 0)
        return -1;
    return drop_free_rows(c, err);
}

static int mark_missing(struct cache *c, const struct tree *t, struct err *err)
{
    for (size_t i = 0; i < t->n; i++) {
        struct err why = ERR_INIT;
        struct blob_row row;
        uint64_t size;
        bool known = false;
        AUTO_FD fd = -1;
        if (!t->v[i].blob || blob_open(c, t->v[i].blob, &fd, &size, &why) == 0)
            continue;
        int rc = blob_row_by_id(index_enter(c), t->v[i].blob, &row, &known, err);
        index_leave(c);
        if (rc < 0 || (known && why.kind == ERR_NOTFOUND && lost_mark(c, row.n, err) < 0))
            return -1;
    }
    return 0;
}

/* A step towards health on the way out of an error: its own failure changes nothing. */
void lost_search(struct cache *c, const struct snapshot_row *row)
{
    AUTO_BUF list;
    AUTO(tree_release) struct tree t = {0};
    struct err err = ERR_INIT;
    buf_init(&list, LIST_BYTES_MAX);
    if (read_tree(c, row->n, &list, &t, &err) < 0 || mark_missing(c, &t, &err) < 0 || lost_settle(c, &err) < 0)
        log_warn("cache", "%s (snapshot=%s)", err.text, row->id);
}

/* What was written in an earlier boot and never synced may be torn: a power cut came in between, or at best a shutdown
 * right after a kill. */
static int forget_unsynced(struct cache *c, int64_t *blobs, struct err *err)
{
    struct db *db = c->index.db;
    struct db_stmt *s = NULL;
    if (run_bound(db, "UPDATE snapshots SET view_boot = -1 WHERE view_boot > 0 AND view_boot <> $1", c->boot_id, err) <
            0 ||
        run_bound(db,
                  "DELETE FROM origins WHERE blob IN (SELECT n FROM blobs WHERE boot <> 0 AND boot <> $1 AND lost = 0)",
                  c->boot_id, err) < 0 ||
        db_prepare(db, "UPDATE blobs SET lost = 1 WHERE boot <> 0 AND boot <> $1 AND lost = 0", &s, err) < 0)
        return -1;
    db_bind_i64(s, 1, c->boot_id);
    if (db_run(s, err) < 0)
        return -1;
    *blobs = db_changes(db);
    return 0;
}

static int count_unsynced(struct cache *c, int64_t *earlier, bool *now, struct err *err)
{
    struct db_stmt *s = NULL;
    struct db *db = index_enter(c);
    int rc = db_prepare(db,
                        "SELECT (SELECT count(*) FROM blobs WHERE boot <> 0 AND boot <> $1 AND lost = 0)"
                        " + (SELECT count(*) FROM snapshots WHERE view_boot > 0 AND view_boot <> $1),"
                        " EXISTS (SELECT 1 FROM blobs WHERE boot <> 0 AND boot = $1)",
                        &s, err);
    if (rc == 0) {
        db_bind_i64(s, 1, c->boot_id);
        rc = db_next(s, err);
        *earlier = rc > 0 ? db_col_i64(s, 0) : 0;
        *now = rc > 0 && db_col_i64(s, 1) != 0;
        db_done(s);
    }
    index_leave(c);
    return rc < 0 ? -1 : 0;
}

/* Bounded by what is in doubt, not by what is stored. */
int repair_cheap(struct cache *c, struct err *err)
{
    int64_t earlier = 0, forgotten = 0;
    bool now = false;
    if (lease_reap(c, NULL, err) < 0 || count_unsynced(c, &earlier, &now, err) < 0)
        return -1;
    atomic_store(&c->unsynced, now); /* left by a process that was killed: the next flush syncs it */
    if (!earlier)
        return 0;
    if (index_begin(c, err) < 0 || index_end(c, forget_unsynced(c, &forgotten, err), err) < 0)
        return -1;
    if (forgotten)
        log_warn("cache", "the machine went down before files were on disk, they are fetched again (blobs=%lld)",
                 (long long)forgotten);
    return lost_settle(c, err);
}
