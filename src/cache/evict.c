/* Eviction. What may go is chosen and its rows are removed in one immediate transaction, so that nobody can lease it in
 * between; its files go after the commit, under the lock of its name, so that nobody stores the same anew meanwhile. */
#include "cache/cache_priv.h"

#include "base/log.h"

#define SWEEP_BATCH 256
#define EVERYTHING  ((struct lack){.bytes = UINT64_MAX, .files = UINT64_MAX})

/* "May go", as SQL. */
#define BLOB_IS_FREE "refs = 0 AND NOT EXISTS (SELECT 1 FROM lease_blobs l WHERE l.blob = blobs.n)"
#define SNAPSHOT_IS_FREE                                                                                               \
    "NOT EXISTS (SELECT 1 FROM lease_snapshots l WHERE l.snapshot = snapshots.n) "                                     \
    "AND NOT EXISTS (SELECT 1 FROM pins p WHERE p.snapshot = snapshots.n)"

int sweep_begin(struct sweep *s, struct err *err)
{
    return s->dry ? index_begin(s->c, err) : 0;
}

int sweep_end(struct sweep *s, int rc, struct err *err)
{
    (void)err;
    if (!s->dry)
        return rc;
    db_rollback(s->c->index.db);
    index_leave(s->c);
    return rc;
}

static int step_begin(const struct sweep *s, struct err *err)
{
    return s->dry ? 0 : index_begin(s->c, err);
}

static int step_end(const struct sweep *s, int rc, struct err *err)
{
    return s->dry ? rc : index_end(s->c, rc, err);
}

struct batch {
    struct blob_row v[SWEEP_BATCH];
    bool locked[SWEEP_BATCH];
    size_t n;
};

static int run_bound(struct db *db, const char *sql, int64_t value, struct err *err)
{
    struct db_stmt *s = NULL;
    if (db_prepare(db, sql, &s, err) < 0)
        return -1;
    db_bind_i64(s, 1, value);
    return db_run(s, err);
}

static int read_batch(struct db_stmt *s, struct batch *b, struct lack enough, struct err *err)
{
    uint64_t bytes = 0;
    int rc = 1;
    b->n = 0;
    while (b->n < SWEEP_BATCH && (bytes < enough.bytes || b->n < enough.files) && (rc = db_next(s, err)) > 0) {
        struct blob_row *row = &b->v[b->n++];
        *row = (struct blob_row){.n = db_col_i64(s, 0), .size = db_col_i64(s, 2)};
        text_copy(row->id, sizeof row->id, db_col_text(s, 1));
        bytes += (uint64_t)row->size;
    }
    db_done(s);
    return rc < 0 ? -1 : 0;
}

/* Whose lock is held is just being stored or linked: passed over. */
static int drop_rows(struct sweep *s, struct batch *b, struct err *err)
{
    for (size_t i = 0; i < b->n; i++) {
        int taken = s->dry ? 1 : locks_try(s->c->locks, lock_name_of(LOCK_BLOB, b->v[i].id), LOCK_ALONE, err);
        b->locked[i] = taken > 0;
        if (taken < 0 || (taken && run_bound(s->c->index.db, "DELETE FROM blobs WHERE n = $1", b->v[i].n, err) < 0))
            return -1;
    }
    return 0;
}

static void drop_files(struct sweep *s, const struct batch *b, bool removed, size_t *count)
{
    *count = 0;
    for (size_t i = 0; i < b->n; i++) {
        struct err err = ERR_INIT;
        if (!b->locked[i])
            continue;
        if (removed && !s->dry && blob_unlink(s->c, b->v[i].id, &err) < 0)
            log_warn("cache", "%s", err.text);
        if (!s->dry)
            locks_drop(s->c->locks, lock_name_of(LOCK_BLOB, b->v[i].id));
        if (!removed)
            continue;
        s->done.blobs++;
        s->done.bytes += (uint64_t)b->v[i].size;
        ++*count;
    }
}

/* Free blobs chosen by `select` ($1 and $2 bound to `a` and `b`), until `enough` of both. */
static int sweep_batch(struct sweep *s, const char *select, int64_t a, int64_t b, struct lack enough,
                       struct batch *batch, size_t *count, struct err *err)
{
    struct db_stmt *stmt = NULL;
    *count = 0;
    *batch = (struct batch){0};
    if (step_begin(s, err) < 0)
        return -1;
    int rc = db_prepare(s->c->index.db, select, &stmt, err);
    if (rc == 0) {
        db_bind_i64(stmt, 1, a);
        db_bind_i64(stmt, 2, b);
        rc = read_batch(stmt, batch, enough, err);
    }
    if (rc == 0)
        rc = drop_rows(s, batch, err);
    rc = step_end(s, rc, err);
    drop_files(s, batch, rc == 0, count);
    return rc;
}

int sweep_blobs(struct sweep *s, int64_t created_before_ms, struct err *err)
{
    int64_t after = 0;
    size_t count;
    int rc = 0;
    struct batch *b = malloc(sizeof *b);
    if (!b)
        return err_nomem(err);
    while (rc == 0) {
        rc = sweep_batch(s,
                         "SELECT n, id, size FROM blobs WHERE " BLOB_IS_FREE
                         " AND created_ms < $1 AND n > $2 ORDER BY n LIMIT 256",
                         created_before_ms, after, EVERYTHING, b, &count, err);
        if (b->n == 0)
            break;
        after = b->v[b->n - 1].n;
    }
    free(b);
    return rc;
}

/* One, if it may go. */
int sweep_blob(struct sweep *s, const char *id, struct err *err)
{
    struct blob_row row;
    bool found;
    size_t count;
    int rc = blob_row_by_id(index_enter(s->c), id, &row, &found, err);
    index_leave(s->c);
    if (rc < 0 || !found)
        return rc;
    struct batch *b = malloc(sizeof *b);
    if (!b)
        return err_nomem(err);
    rc = sweep_batch(s, "SELECT n, id, size FROM blobs WHERE " BLOB_IS_FREE " AND n >= $1 AND n <= $2", row.n, row.n,
                     EVERYTHING, b, &count, err);
    free(b);
    return rc;
}

/* In a transaction. */
static int drop_snapshot(struct sweep *s, const struct snapshot_row *row, bool *gone, struct err *err)
{
    struct db_stmt *stmt = NULL;
    struct db *db = s->c->index.db;
    *gone = false;
    if (db_prepare(db, "SELECT 1 FROM snapshots WHERE n = $1 AND " SNAPSHOT_IS_FREE, &stmt, err) < 0)
        return -1;
    db_bind_i64(stmt, 1, row->n);
    int rc = db_next(stmt, err);
    db_done(stmt);
    if (rc <= 0)
        return rc;
    *gone = true;
    return snapshot_row_drop(db, row->n, row->last_used_ms, err);
}

static int drop_snapshot_locked(struct sweep *s, const struct snapshot_row *row, struct err *err)
{
    bool gone;
    if (step_begin(s, err) < 0)
        return -1;
    if (step_end(s, drop_snapshot(s, row, &gone, err), err) < 0)
        return -1;
    if (!gone)
        return 0;
    s->done.snapshots++;
    return s->dry || view_remove(s->c, row->id, err) == 0 ? 1 : -1;
}

/* 1: gone; 0: in use after all; -1. Its blobs are free from now on, unless others hold them. */
int sweep_snapshot(struct sweep *s, const struct snapshot_row *row, struct err *err)
{
    struct lock_name lock = lock_name_of(LOCK_VIEW, row->id);
    if (s->dry)
        return drop_snapshot_locked(s, row, err);
    int rc = locks_try(s->c->locks, lock, LOCK_ALONE, err);
    if (rc <= 0)
        return rc;
    rc = drop_snapshot_locked(s, row, err);
    locks_drop(s->c->locks, lock);
    return rc;
}

static int next_snapshot(struct sweep *s, const char *select, int64_t a, int64_t b, struct snapshot_row *out,
                         bool *found, struct err *err)
{
    struct db_stmt *stmt = NULL;
    struct db *db = s->dry ? s->c->index.db : index_enter(s->c);
    int rc = db_prepare(db, select, &stmt, err);
    if (rc == 0) {
        db_bind_i64(stmt, 1, a);
        db_bind_i64(stmt, 2, b);
        rc = db_next(stmt, err);
    }
    *found = rc > 0;
    if (*found) {
        *out = (struct snapshot_row){.n = db_col_i64(stmt, 0), .last_used_ms = db_col_i64(stmt, 2)};
        text_copy(out->id, sizeof out->id, db_col_text(stmt, 1));
        db_done(stmt);
    }
    if (!s->dry)
        index_leave(s->c);
    return rc < 0 ? -1 : 0;
}

int sweep_snapshots(struct sweep *s, int64_t before_ms, struct err *err)
{
    struct snapshot_row row = {0};
    for (;;) {
        bool found;
        if (next_snapshot(s,
                          "SELECT n, id, last_used_ms FROM snapshots WHERE " SNAPSHOT_IS_FREE
                          " AND coalesce((SELECT max(downloaded_ms) FROM entries e WHERE e.snapshot = snapshots.n),"
                          " created_ms) < $1 AND n > $2 ORDER BY n LIMIT 1",
                          before_ms, row.n, &row, &found, err) < 0)
            return -1;
        if (!found)
            return 0;
        if (sweep_snapshot(s, &row, err) < 0)
            return -1;
    }
}

/* Entries of snapshots that others keep alive; the rest go with their snapshot. */
int sweep_entries(struct sweep *s, int64_t before_ms, struct err *err)
{
    if (step_begin(s, err) < 0)
        return -1;
    int rc = run_bound(s->c->index.db,
                       "DELETE FROM entries WHERE downloaded_ms < $1 "
                       "AND NOT EXISTS (SELECT 1 FROM pins p WHERE p.snapshot = entries.snapshot)",
                       before_ms, err);
    if (rc == 0)
        rc = run_bound(s->c->index.db, "DELETE FROM proofs WHERE proved_ms < $1", before_ms, err);
    return step_end(s, rc, err);
}

/* One step of sweep_oldest(): the free blobs that are no younger than the oldest free snapshot, or, where there are
 * none, that snapshot, which frees its blobs for the next step. */
static int oldest_step(struct sweep *s, struct lack enough, struct batch *b, bool *snapshots, size_t *count,
                       struct err *err)
{
    struct snapshot_row row = {0};
    bool found = false;
    if (*snapshots && next_snapshot(s,
                                    "SELECT n, id, last_used_ms FROM snapshots WHERE " SNAPSHOT_IS_FREE
                                    " AND last_used_ms >= $1 AND n > $2 ORDER BY last_used_ms LIMIT 1",
                                    INT64_MIN, 0, &row, &found, err) < 0)
        return -1;
    int64_t upto = found ? row.last_used_ms : INT64_MAX;
    if (sweep_batch(s,
                    "SELECT n, id, size FROM blobs WHERE " BLOB_IS_FREE
                    " AND last_used_ms <= $1 AND last_used_ms >= $2 ORDER BY last_used_ms LIMIT 256",
                    upto, INT64_MIN, enough, b, count, err) < 0)
        return -1;
    if (*count || !found)
        return 0;
    int gone = sweep_snapshot(s, &row, err);
    *count = gone > 0;
    *snapshots = gone > 0; /* in the middle of its making: then blobs alone */
    return gone < 0 ? -1 : 0;
}

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

int sweep_oldest(struct sweep *s, struct lack need, struct err *err)
{
    const struct cache_gc_result before = s->done;
    struct lack left = need;
    bool snapshots = true;
    int rc = 0;
    struct batch *b = malloc(sizeof *b);
    if (!b)
        return err_nomem(err);
    while (rc == 0 && (left.bytes || left.files)) {
        size_t count;
        bool had_snapshots = snapshots;
        rc = oldest_step(s, left, b, &snapshots, &count, err);
        if (rc == 0 && !count && snapshots == had_snapshots)
            break;
        left.bytes = less(need.bytes, s->done.bytes - before.bytes);
        left.files = less(need.files, s->done.blobs - before.blobs);
    }
    free(b);
    return rc;
}
