/* SQLite: connections, transactions, errors. WAL, so that readers and the one writer do not wait for one another;
 * synchronous=NORMAL: a power cut may cost the last transactions, never the database. db_sync() writes through what
 * must outlive one, at its end rather than within the transaction, so that the next writer does not wait for the disk.
 */
#include "db/sqlite_priv.h"

#include "base/cancel.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/path.h"

#include <errno.h>
#include <sys/stat.h>

#define WAL_RETRY_MS 10

enum err_kind sqlite_kind(int rc, int system_errno)
{
    switch (rc) {
    case SQLITE_CONSTRAINT_PRIMARYKEY:
    case SQLITE_CONSTRAINT_UNIQUE:
    case SQLITE_CONSTRAINT_ROWID:
        return ERR_EXISTS;
    default:
        break;
    }
    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ERR_BUSY;
    case SQLITE_FULL:
        return ERR_NOSPACE;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ERR_CORRUPT;
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return ERR_TRANSIENT;
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
        return ERR_INVALID;
    case SQLITE_NOMEM:
        return ERR_NOMEM;
    case SQLITE_TOOBIG:
        return ERR_LIMIT;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        if (system_errno == ENOSPC || system_errno == EDQUOT)
            return ERR_NOSPACE;
        if (system_errno == EACCES || system_errno == EPERM || system_errno == EROFS)
            return ERR_TRANSIENT;
        return ERR_SYSTEM;
    default:
        return ERR_SYSTEM;
    }
}

static const char *hint_of(enum err_kind kind)
{
    switch (kind) {
    case ERR_NOSPACE:
        return "free some space on the disk that holds the database";
    case ERR_CORRUPT:
        return "the file is damaged or no database: put a copy in its place, or move it away together with its -wal "
               "and -shm files and start anew; `sqlite3 FILE .recover` saves what can still be read";
    case ERR_BUSY:
        return "another process is writing to it; `fuser -v FILE` shows which";
    case ERR_TRANSIENT:
        return "the file and its folder must be writable for the user that runs berth";
    default:
        return NULL;
    }
}

int sqlite_fail(struct sqlite_db *db, int rc, const char *sql, struct err *err)
{
    int system_errno = sqlite3_system_errno(db->handle);
    enum err_kind kind = sqlite_kind(rc, system_errno);
    const char *hint = hint_of(kind), *what = sqlite3_errmsg(db->handle);
    if (kind == ERR_NOMEM)
        return err_nomem(err);
    if (kind == ERR_SYSTEM || kind == ERR_INVALID || kind == ERR_EXISTS)
        err_set(err, kind, "database %s: %s, in \"%.*s\"", db->path, what, DB_SQL_SHOWN_MAX, sql);
    else if ((rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CANTOPEN)
        err_set(err, kind, "database %s: %s: %s", db->path, what, strerror(system_errno));
    else
        err_set(err, kind, "database %s: %s", db->path, what);
    return hint ? err_hint(err, "%s", hint) : -1;
}

static int sqlite_exec(struct db *base, const char *sql, struct err *err)
{
    struct sqlite_db *db = sqlite_of(base);
    int rc = sqlite3_exec(db->handle, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : sqlite_fail(db, rc, sql, err);
}

static void sqlite_close(struct db *base)
{
    struct sqlite_db *db = sqlite_of(base);
    sqlite3_close(db->handle);
    free(db->path);
    free(db);
}

/* SQLite does this for the files that it makes by itself. */
static int sync_folder_of(const char *path, struct err *err)
{
    const size_t n = strlen(path) - path_basename(span_of(path)).n;
    AUTO_STR folder = n > 0 ? str_dup_span((struct span){path, n}, err) : str_dup(".", err);
    if (!folder)
        return -1;
    AUTO_FD fd = fs_open_dir(folder, err);
    return fd < 0 ? -1 : fs_fsync(fd, folder, err);
}

/* Create the file for its owner alone, -wal and -shm then follow it. By mknod, since opening and closing it here would
 * drop the locks that another connection of this process holds on it (POSIX locks belong to the process). */
static int create_private(const char *path, struct err *err)
{
    if (mknod(path, S_IFREG | 0600, 0) == 0)
        return sync_folder_of(path, err);
    return errno == EEXIST ? 0 : err_sys(err, "create database %s", path);
}

static int note_mode(void *ctx, int columns, char **values, char **names)
{
    (void)names;
    *(bool *)ctx = columns == 1 && str_eq(values[0], "wal");
    return 0;
}

/* The switch to WAL of a new file does not wait for another process that is just doing the same; the wait is here. */
static int enter_wal(struct sqlite_db *db, struct err *err)
{
    const char *sql = "PRAGMA journal_mode = WAL";
    const uint64_t give_up_ms = clock_mono_ms() + db->busy_timeout_ms;
    bool wal = false;
    int rc;
    while ((rc = sqlite3_exec(db->handle, sql, note_mode, &wal, NULL)) != SQLITE_OK) {
        if ((rc & 0xff) != SQLITE_BUSY || clock_mono_ms() >= give_up_ms)
            return sqlite_fail(db, rc, sql, err);
        if (cancel_sleep_ms(NULL, WAL_RETRY_MS, err) < 0)
            return -1;
    }
    if (wal)
        return 0;
    err_set(err, ERR_UNSUPPORTED, "database %s: its file system has no write-ahead log", db->path);
    return err_hint(err, "keep it on a local disk");
}

static int set_up(struct sqlite_db *db, struct err *err)
{
    sqlite3_busy_timeout(db->handle, (int)db->busy_timeout_ms);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, (int *)NULL);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DQS_DML, 0, (int *)NULL); /* "x" is a name, never a text */
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DQS_DDL, 0, (int *)NULL);
    if (enter_wal(db, err) < 0)
        return -1;
    return sqlite_exec(&db->base,
                       "PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;"
                       "PRAGMA journal_size_limit = 67108864",
                       err);
}

static int sqlite_open(struct db **out, const char *where, uint32_t busy_timeout_ms, struct err *err)
{
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    if (create_private(where, err) < 0)
        return -1;
    struct sqlite_db *db = calloc(1, sizeof(*db));
    if (!db)
        return err_nomem(err);
    db->base.backend = &db_sqlite;
    db->busy_timeout_ms = busy_timeout_ms < INT32_MAX ? busy_timeout_ms : INT32_MAX;
    db->path = str_dup(where, err);
    if (!db->path)
        goto fail;
    int rc = sqlite3_open_v2(where, &db->handle, flags, NULL);
    if (rc != SQLITE_OK) {
        sqlite_fail(db, rc, "open", err);
        goto fail;
    }
    if (set_up(db, err) < 0)
        goto fail;
    *out = &db->base;
    return 0;
fail:
    sqlite_close(&db->base);
    return -1;
}

static int sqlite_begin(struct db *base, struct err *err)
{
    return sqlite_exec(base, "BEGIN IMMEDIATE", err);
}

/* A full disk and the like make SQLite roll back by itself: then there is nothing to commit, which must not pass for
 * success. */
static int sqlite_commit(struct db *base, struct err *err)
{
    struct sqlite_db *db = sqlite_of(base);
    if (sqlite3_get_autocommit(db->handle))
        return err_set(err, ERR_SYSTEM, "database %s: no transaction to commit: an earlier error ended it", db->path);
    return sqlite_exec(base, "COMMIT", err);
}

static void sqlite_rollback(struct db *base)
{
    sqlite3 *handle = sqlite_of(base)->handle;
    if (!sqlite3_get_autocommit(handle))
        sqlite3_exec(handle, "ROLLBACK", NULL, NULL, NULL); /* cannot fail in a way that leaves it open */
}

static int64_t sqlite_changes(struct db *base)
{
    return sqlite3_changes64(sqlite_of(base)->handle);
}

/* The log holds all that was committed since the last checkpoint, which has seen to what was before. */
static int sqlite_sync(struct db *base, struct err *err)
{
    struct sqlite_db *db = sqlite_of(base);
    sqlite3_file *log = NULL;
    int rc = sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_JOURNAL_POINTER, (void *)&log);
    if (rc != SQLITE_OK)
        return sqlite_fail(db, rc, "sync", err);
    if (!log || !log->pMethods) /* nothing was read or written through this connection */
        return 0;
    errno = 0;
    return log->pMethods->xSync(log, SQLITE_SYNC_NORMAL) == SQLITE_OK
               ? 0
               : err_sys(err, "database %s: what was committed cannot be written through to its disk", db->path);
}

const struct db_backend db_sqlite = {
    .engine = DB_SQLITE,
    .scheme = "sqlite",
    .usage = "sqlite:/path/to/file.db",
    .now_sql =
        "SELECT CAST(strftime('%s', 'now') AS INTEGER) * 1000 + CAST(substr(strftime('%f', 'now'), 4) AS INTEGER)",
    .open = sqlite_open,
    .close = sqlite_close,
    .exec = sqlite_exec,
    .begin = sqlite_begin,
    .commit = sqlite_commit,
    .rollback = sqlite_rollback,
    .changes = sqlite_changes,
    .sync = sqlite_sync,
    .stmt_open = sqlite_stmt_open,
    .stmt_close = sqlite_stmt_close,
    .bind = sqlite_bind,
    .next = sqlite_next,
    .reset = sqlite_reset,
    .col_null = sqlite_col_null,
    .col_i64 = sqlite_col_i64,
    .col_text = sqlite_col_text,
};
