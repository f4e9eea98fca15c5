/* The index: SQLite, one connection under a mutex (the writer has another). */
#include "cache/cache_priv.h"

#define BUSY_TIMEOUT_MS 30000

/* Foreign keys say who holds whom: a lease, a snapshot's reference (refs, by the CHECK) or a pin outlives any attempt
 * to remove what it holds. Numbers are never used twice (AUTOINCREMENT), so that a late reader cannot take one row for
 * another. The list of a snapshot is its canonical text (tree.c), one value, so that a warm start reads no row a file.
 */
static const char *const migrations[] = {
    "CREATE TABLE blobs("
    " n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, size INTEGER NOT NULL,"
    " created_ms INTEGER NOT NULL, last_used_ms INTEGER NOT NULL,"
    " refs INTEGER NOT NULL DEFAULT 0 CHECK (refs >= 0),"
    " boot INTEGER NOT NULL, lost INTEGER NOT NULL DEFAULT 0, public INTEGER NOT NULL, verified_by TEXT, digest BLOB,"
    " scrub BLOB);"
    "CREATE INDEX blobs_loose ON blobs(last_used_ms) WHERE refs = 0;"
    "CREATE INDEX blobs_unsynced ON blobs(boot) WHERE boot <> 0;"
    "CREATE INDEX blobs_lost ON blobs(n) WHERE lost <> 0;"
    "CREATE TABLE origins(key TEXT PRIMARY KEY, blob INTEGER NOT NULL REFERENCES blobs(n) ON DELETE CASCADE)"
    " WITHOUT ROWID;"
    "CREATE INDEX origins_blob ON origins(blob);"
    "CREATE TABLE snapshots("
    " n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, files INTEGER NOT NULL, folders INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL, created_ms INTEGER NOT NULL, last_used_ms INTEGER NOT NULL,"
    " hits INTEGER NOT NULL DEFAULT 0, view_boot INTEGER NOT NULL, view_made_ms INTEGER NOT NULL DEFAULT 0,"
    " list BLOB NOT NULL);"
    "CREATE INDEX snapshots_used ON snapshots(last_used_ms);"
    "CREATE TABLE entries("
    " key BLOB NOT NULL, scope BLOB NOT NULL, identity TEXT NOT NULL, fingerprint BLOB NOT NULL,"
    " snapshot INTEGER NOT NULL REFERENCES snapshots(n) ON DELETE CASCADE,"
    " downloaded_ms INTEGER NOT NULL, last_used_ms INTEGER NOT NULL, hits INTEGER NOT NULL DEFAULT 0,"
    " PRIMARY KEY (key, scope)) WITHOUT ROWID;"
    "CREATE INDEX entries_snapshot ON entries(snapshot);"
    "CREATE TABLE pins("
    " snapshot INTEGER NOT NULL REFERENCES snapshots(n), by TEXT NOT NULL, created_ms INTEGER NOT NULL,"
    " PRIMARY KEY (snapshot, by)) WITHOUT ROWID;"
    "CREATE TABLE proofs("
    " scope BLOB NOT NULL, fingerprint BLOB NOT NULL, proved_ms INTEGER NOT NULL,"
    " PRIMARY KEY (scope, fingerprint)) WITHOUT ROWID;"
    "CREATE TABLE leases("
    " n INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, job TEXT NOT NULL, pid INTEGER NOT NULL,"
    " container TEXT, created_ms INTEGER NOT NULL, reserved INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE lease_blobs("
    " lease INTEGER NOT NULL REFERENCES leases(n) ON DELETE CASCADE, blob INTEGER NOT NULL REFERENCES blobs(n),"
    " PRIMARY KEY (lease, blob)) WITHOUT ROWID;"
    "CREATE INDEX lease_blobs_blob ON lease_blobs(blob);"
    "CREATE TABLE lease_snapshots("
    " lease INTEGER NOT NULL REFERENCES leases(n) ON DELETE CASCADE,"
    " snapshot INTEGER NOT NULL REFERENCES snapshots(n),"
    " PRIMARY KEY (lease, snapshot)) WITHOUT ROWID;"
    "CREATE INDEX lease_snapshots_snapshot ON lease_snapshots(snapshot);",
    /* Proofs of before were of a list without its origin, and proved too much. */
    "DELETE FROM proofs;",
    "ALTER TABLE leases ADD COLUMN engine TEXT;", /* NULL: of a container that was noted without it */
    "ALTER TABLE leases ADD COLUMN boot INTEGER NOT NULL DEFAULT 0;", /* of the machine, when it was made; 0: not noted
                                                                       */
    /* Counted with n: what n would be, had the row come with its present file. 0: it did. */
    "ALTER TABLE blobs ADD COLUMN healed INTEGER NOT NULL DEFAULT 0;",
};

int index_connect(const struct cache *c, struct db **out, struct err *err)
{
    AUTO_STR url = str_printf(err, "sqlite:%s/index.db", c->dir);
    if (!url)
        return -1;
    struct db_opts opts = {.url = url, .busy_timeout_ms = BUSY_TIMEOUT_MS};
    return db_open(out, &opts, err);
}

int index_open(struct cache *c, struct err *err)
{
    if (index_connect(c, &c->index.db, err) < 0)
        return -1;
    return db_migrate(c->index.db, migrations, ARRAY_LEN(migrations), err);
}

void index_close(struct cache *c)
{
    db_free(c->index.db);
    c->index.db = NULL;
}

struct db *index_enter(struct cache *c)
{
    pthread_mutex_lock(&c->index.mu);
    return c->index.db;
}

void index_leave(struct cache *c)
{
    pthread_mutex_unlock(&c->index.mu);
}

int index_begin(struct cache *c, struct err *err)
{
    if (db_begin(index_enter(c), err) == 0)
        return 0;
    index_leave(c);
    return -1;
}

int index_end(struct cache *c, int rc, struct err *err)
{
    if (rc == 0)
        rc = db_commit(c->index.db, err);
    else
        db_rollback(c->index.db);
    index_leave(c);
    return rc;
}

int index_value(struct db *db, const char *sql, int64_t *out, struct err *err)
{
    struct db_stmt *s = NULL;
    if (db_prepare(db, sql, &s, err) < 0)
        return -1;
    int rc = db_next(s, err);
    if (rc < 0)
        return -1;
    *out = rc ? db_col_i64(s, 0) : 0;
    db_done(s);
    return 0;
}

void text_copy(char *out, size_t n, struct span s)
{
    size_t take = s.n < n - 1 ? s.n : n - 1;
    if (take)
        memcpy(out, s.p, take);
    out[take] = '\0';
}
