/* Which snapshot somebody means; and taking it away. */
#include "cache/cache_priv.h"

#define PREFIX_MIN 6

static int first_two(struct db *db, const char *sql, struct span what, char id[SNAPSHOT_ID_MAX], int *n,
                     struct err *err)
{
    struct db_stmt *s = NULL;
    int rc;
    *n = 0;
    if (db_prepare(db, sql, &s, err) < 0)
        return -1;
    db_bind_span(s, 1, what);
    while (*n < 2 && (rc = db_next(s, err)) != 0) {
        if (rc < 0)
            return -1;
        if (++*n == 1)
            text_copy(id, SNAPSHOT_ID_MAX, db_col_text(s, 0));
    }
    db_done(s);
    return 0;
}

/* By the identity itself; what is shown of it may stand for several. */
static int by_identity(struct cache *c, const char *what, char id[SNAPSHOT_ID_MAX], int *n, struct err *err)
{
    uint8_t key[32];
    struct db_stmt *s = NULL;
    if (key_of_identity(c, what, key, err) < 0 ||
        db_prepare(c->index.db,
                   "SELECT s.id FROM entries e JOIN snapshots s ON s.n = e.snapshot WHERE e.key = $1 "
                   "ORDER BY e.downloaded_ms DESC LIMIT 1",
                   &s, err) < 0)
        return -1;
    db_bind_blob(s, 1, key, sizeof key);
    int rc = db_next(s, err);
    *n = rc > 0;
    if (rc > 0)
        text_copy(id, SNAPSHOT_ID_MAX, db_col_text(s, 0));
    db_done(s);
    return rc < 0 ? -1 : 0;
}

/* As a listing shows it: the first line of the identity. */
static int by_first_line(struct cache *c, const char *what, char id[SNAPSHOT_ID_MAX], int *n, struct err *err)
{
    AUTO_STR line = str_printf(err, "%s\n", what);
    return line ? first_two(c->index.db,
                            "SELECT DISTINCT s.id FROM entries e JOIN snapshots s ON s.n = e.snapshot "
                            "WHERE substr(e.identity, 1, length($1)) = $1 LIMIT 2",
                            span_of(line), id, n, err)
                : -1;
}

static int find(struct cache *c, const char *what, char id[SNAPSHOT_ID_MAX], struct err *err)
{
    int n = 0;
    size_t digits = strspn(what, "0123456789abcdef");
    bool prefix = digits >= PREFIX_MIN && digits < SNAPSHOT_ID_MAX && what[digits] == '\0';
    struct span text = span_of(what);
    if (prefix && first_two(c->index.db, "SELECT id FROM snapshots WHERE id >= $1 AND id < $1 || 'g' LIMIT 2", text, id,
                            &n, err) < 0)
        return -1;
    if (n == 0 && by_identity(c, what, id, &n, err) < 0)
        return -1;
    if (n == 0 && first_two(c->index.db,
                            "SELECT DISTINCT s.id FROM entries e JOIN snapshots s ON s.n = e.snapshot "
                            "WHERE e.identity = $1 LIMIT 2",
                            text, id, &n, err) < 0)
        return -1;
    if (n == 0 && by_first_line(c, what, id, &n, err) < 0)
        return -1;
    if (n == 1)
        return 0;
    if (n > 1) {
        err_set(err, ERR_INVALID, "cache: \"%.200s\" stands for more than one snapshot", what);
        return err_hint(err, "give more digits of the id");
    }
    err_set(err, ERR_NOTFOUND, "cache: nothing is known as \"%.200s\"", what);
    return err_hint(err, "`berth cache ls` shows what is there; ids may be cut to %d digits or more", PREFIX_MIN);
}

int cache_find(struct cache *c, const char *what, char id[SNAPSHOT_ID_MAX], struct err *err)
{
    if (str_empty(what))
        return err_set(err, ERR_INVALID, "cache: a snapshot's id or an input's identity is missing");
    index_enter(c);
    int rc = find(c, what, id, err);
    index_leave(c);
    return rc;
}

static int count_holders(struct db *db, const char *sql, int64_t snapshot, int64_t *n, struct err *err)
{
    struct db_stmt *s = NULL;
    if (db_prepare(db, sql, &s, err) < 0)
        return -1;
    db_bind_i64(s, 1, snapshot);
    int rc = db_next(s, err);
    *n = rc > 0 ? db_col_i64(s, 0) : 0;
    db_done(s);
    return rc < 0 ? -1 : 0;
}

/* In a transaction: in the way are leases always, pins unless told otherwise. */
static int clear_way(struct cache *c, const struct snapshot_row *row, bool even_if_pinned, struct err *err)
{
    struct db *db = c->index.db;
    struct db_stmt *s = NULL;
    int64_t leases, pins;
    if (count_holders(db, "SELECT count(*) FROM lease_snapshots WHERE snapshot = $1", row->n, &leases, err) < 0 ||
        count_holders(db, "SELECT count(*) FROM pins WHERE snapshot = $1", row->n, &pins, err) < 0)
        return -1;
    if (leases) {
        err_set(err, ERR_BUSY, "snapshot %.12s is in use by a job", row->id);
        return err_hint(err, "wait for the job; after a crash `berth cache gc` finds out what still runs");
    }
    if (pins && !even_if_pinned) {
        err_set(err, ERR_REFUSED, "snapshot %.12s is pinned", row->id);
        return err_hint(err, "unpin it first, or use --force");
    }
    if (!pins)
        return 0;
    if (db_prepare(db, "DELETE FROM pins WHERE snapshot = $1", &s, err) < 0)
        return -1;
    db_bind_i64(s, 1, row->n);
    return db_run(s, err);
}

/* Its blobs, those that nothing else holds. */
static int remove_blobs(struct sweep *sweep, const struct tree *t, struct err *err)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->v[i].blob && sweep_blob(sweep, t->v[i].blob, err) < 0)
            return -1;
    return 0;
}

static int remove_snapshot(struct cache *c, const char *id, bool even_if_pinned, uint64_t *freed, struct err *err)
{
    AUTO_BUF list;
    AUTO(tree_release) struct tree t = {0};
    struct sweep sweep = {.c = c};
    struct snapshot_row row;
    bool found;
    buf_init(&list, LIST_BYTES_MAX);
    if (index_begin(c, err) < 0)
        return -1;
    int rc = snapshot_row_get(c->index.db, id, &row, &found, err);
    if (rc == 0 && !found)
        rc = snapshot_not_found(id, err);
    if (rc == 0)
        rc = clear_way(c, &row, even_if_pinned, err);
    if (rc == 0)
        rc = snapshot_list_read(c->index.db, row.n, &list, err);
    if (index_end(c, rc, err) < 0 || tree_decode(buf_span(&list), &t, err) < 0)
        return -1;
    rc = sweep_snapshot(&sweep, &row, err);
    if (rc <= 0)
        return rc < 0 ? -1 : err_set(err, ERR_BUSY, "snapshot %.12s is in use by a job", id);
    rc = remove_blobs(&sweep, &t, err);
    *freed = sweep.done.bytes;
    return rc;
}

int cache_remove(struct cache *c, const char *snapshot, bool even_if_pinned, uint64_t *freed, struct err *err)
{
    char id[SNAPSHOT_ID_MAX];
    *freed = 0;
    if (cache_find(c, snapshot, id, err) < 0)
        return -1;
    if (lease_reap(c, NULL, err) < 0 || remove_snapshot(c, id, even_if_pinned, freed, err) < 0)
        return err_wrap(err, "cache");
    return 0;
}
