/* Numbered migrations. The version is a row of a table of its own, which every engine has. */
#include "db/db_priv.h"

/* 0 where nothing was migrated yet. */
static int read_version(struct db *db, int64_t *version, struct err *err)
{
    struct db_stmt *s = NULL;
    if (db_prepare(db, "SELECT version FROM schema_version", &s, err) < 0)
        return -1;
    int rc = db_next(s, err);
    if (rc < 0)
        return -1;
    *version = rc ? db_col_i64(s, 0) : 0;
    db_done(s);
    return 0;
}

static int write_version(struct db *db, int64_t version, struct err *err)
{
    struct db_stmt *s = NULL;
    if (db_exec(db, "DELETE FROM schema_version", err) < 0 ||
        db_prepare(db, "INSERT INTO schema_version (version) VALUES ($1)", &s, err) < 0)
        return -1;
    db_bind_i64(s, 1, version);
    return db_run(s, err);
}

static int check_version(int64_t version, size_t n, struct err *err)
{
    if (version >= 0 && (uint64_t)version <= n)
        return 0;
    err_set(err, ERR_UNSUPPORTED, "the database has schema version %lld, this berth knows versions up to %zu",
            (long long)version, n);
    return err_hint(err, "a newer berth wrote it: use that one, or another database");
}

/* One step, inside a transaction. Another process may have come first: the version is read again under the lock. */
static int step(struct db *db, const char *const *migrations, size_t n, int64_t *version, struct err *err)
{
    const char *lock = db->backend->migration_sql;
    if ((lock && db_exec(db, lock, err) < 0) || read_version(db, version, err) < 0 ||
        check_version(*version, n, err) < 0)
        return -1;
    if ((size_t)*version == n)
        return 0;
    if (db_exec(db, migrations[*version], err) < 0 || write_version(db, *version + 1, err) < 0)
        return err_wrap(err, "migration %lld", (long long)*version + 1);
    ++*version;
    return 0;
}

/* The table of the version, under the engine's own lock where it needs one. */
static int prepare_schema(struct db *db, int64_t *version, struct err *err)
{
    const char *lock = db->backend->migration_sql,
               *table = "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)";
    if (!lock)
        return db_exec(db, table, err) < 0 ? -1 : read_version(db, version, err);
    if (db_begin(db, err) < 0)
        return -1;
    if (db_exec(db, lock, err) < 0 || db_exec(db, table, err) < 0 || read_version(db, version, err) < 0) {
        db_rollback(db);
        return -1;
    }
    return db_commit(db, err);
}

int db_migrate(struct db *db, const char *const *migrations, size_t n, struct err *err)
{
    int64_t version = 0;
    if (prepare_schema(db, &version, err) < 0 || check_version(version, n, err) < 0)
        return -1;
    while ((size_t)version < n) {
        if (db_begin(db, err) < 0)
            return -1;
        if (step(db, migrations, n, &version, err) < 0) {
            db_rollback(db);
            return -1;
        }
        if (db_commit(db, err) < 0)
            return -1;
    }
    return 0;
}
