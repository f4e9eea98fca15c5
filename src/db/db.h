/* db: one small SQL interface, behind which each database engine is a table of functions: SQLite and PostgreSQL.
 *
 * SQL text is meant for any engine: parameters are $1, $2 … (in any order, each as often as needed); types are 64-bit
 * integers, text, blobs, NULL. A struct db is used by one thread at a time; open one per thread, and none across
 * fork().
 *
 * SQL for both: BIGINT (INTEGER has 32 bits in PostgreSQL), TEXT, BLOB (db_migrate() makes PostgreSQL a domain of that
 * name over bytea), truth as 0 and 1 in a BIGINT; INSERT … ON CONFLICT and RETURNING; ids made by the program, since
 * automatic ones differ. A NULL parameter whose type nothing tells needs a CAST. What must differ asks db_engine().
 *
 * PostgreSQL works through a transaction pooler: nothing but db_listen() needs a session. Where none stands between,
 * statements that run often are prepared under a name; should that get lost, one call fails (ERR_TRANSIENT).
 * Results are read whole (at most 256 MiB, else ERR_LIMIT), so other statements may run between rows, as with SQLite.
 * Wrong SQL shows at the first db_next() instead of db_prepare(). A lost connection fails the running call
 * (ERR_TRANSIENT); outside a transaction the next call connects anew, inside one all fail until db_rollback().
 *
 * Errors name the database and say what to try: ERR_BUSY (another writer, beyond the busy timeout), ERR_NOSPACE,
 * ERR_CORRUPT, ERR_TRANSIENT (it cannot be reached, or refuses: read-only, a standby, another password, rights that
 * were taken), ERR_EXISTS (a key or UNIQUE constraint), ERR_INVALID (another constraint), ERR_SYSTEM (wrong SQL and the
 * rest). An open database never says ERR_DENIED: what it refuses is berth's trouble, and nothing about whoever asked
 * berth. Values of parameters never appear in errors. */
#ifndef BERTH_DB_DB_H
#define BERTH_DB_DB_H

#include "base/err.h"
#include "base/str.h"

#include <stdint.h>

struct db;
struct db_stmt;

struct db_opts {
    const char *url; /* "sqlite:/path/to/file.db", created (mode 0600) where it is not there; or "postgresql://…" or
                        "postgres://…", libpq's URL, whose password no error shows */
    uint32_t busy_timeout_ms; /* wait for a writer in another process, or in a transaction of PostgreSQL for a lock;
                                 0: 10,000 */
};

int db_open(struct db **out, const struct db_opts *opts, struct err *err);
void db_free(struct db *db); /* an open transaction is rolled back */

/* Several statements without parameters or rows. */
int db_exec(struct db *db, const char *sql, struct err *err);

/* Prepared statements are cached by the address of their SQL text (use string literals) and owned by the connection.
 * Preparing one again ends a run of it that is still open. Bind, then either db_run() it, or read rows with db_next()
 * until it returns 0, or end early with db_done(). Binding positions count from 1, columns from 0; a parameter that is
 * not bound is NULL. */
int db_prepare(struct db *db, const char *sql, struct db_stmt **out, struct err *err);
void db_bind_i64(struct db_stmt *s, int pos, int64_t v);      /* errors are sticky until db_next() */
void db_bind_text(struct db_stmt *s, int pos, const char *v); /* NULL: NULL. Borrowed until the run ends. */
void db_bind_span(struct db_stmt *s, int pos, struct span v); /* text; p NULL: NULL. Borrowed likewise. */
void db_bind_blob(struct db_stmt *s, int pos, const void *p, size_t n);
int db_next(struct db_stmt *s, struct err *err); /* 1: a row, 0: the end (reset and unbound), -1: error (reset too) */
int64_t db_col_i64(struct db_stmt *s, int col);
/* Text or blob, borrowed until the next db_next() or db_done(); p NULL for NULL. Text has a NUL after it. */
struct span db_col_text(struct db_stmt *s, int col);
bool db_col_null(struct db_stmt *s, int col);
void db_done(struct db_stmt *s);
int64_t db_changes(struct db *db); /* rows inserted, updated or deleted by the last statement that did so */

/* Run a statement that gives no rows. */
int db_run(struct db_stmt *s, struct err *err);

/* What a server far away need not be waited for: PostgreSQL gets these together with the next statement whose answer is
 * wanted, in their order; SQLite runs them when they are written or read. db_start(): rows come from db_next() as ever.
 * db_later(): no rows, only inside a transaction; s is free again at once. An error of either comes from whatever call
 * waits next (of a db_later() that is db_commit() at the latest), and names the statement it came from. db_changes()
 * does not count a db_later(). */
int db_start(struct db_stmt *s, struct err *err);
int db_later(struct db_stmt *s, struct err *err);

/* Transactions: with SQLite db_begin() takes the write lock at once, waiting up to the busy timeout, then ERR_BUSY.
 * PostgreSQL (READ COMMITTED) hears of the transaction with its first statement, and locks rows as they are written:
 * read FOR UPDATE what is to be written back. After an error inside one, db_rollback() it; a db_commit() that fails has
 * rolled back already. Both end the runs still open. With none open, db_rollback() does nothing. */
int db_begin(struct db *db, struct err *err);
int db_commit(struct db *db, struct err *err);
void db_rollback(struct db *db);

/* From here on, what was committed outlives a power cut. PostgreSQL's commits do by themselves, as far as its
 * `synchronous_commit` says; SQLite's outlive the end of processes only, until this, a checkpoint or a sync by another
 * connection. Others may write meanwhile. Not inside a transaction. */
int db_sync(struct db *db, struct err *err);

/* Numbered migrations: migrations[i] brings version i to i + 1, each in a transaction of its own; any number of
 * processes may do so at once. A database newer than `n` is refused untouched (ERR_UNSUPPORTED, naming both versions).
 * The version is kept in a table of its own, schema_version. */
int db_migrate(struct db *db, const char *const *migrations, size_t n, struct err *err);

enum db_engine { DB_SQLITE, DB_POSTGRES };
enum db_engine db_engine(const struct db *db);

/* The database's own clock, which every process that uses it shares. */
int db_now_ms(struct db *db, int64_t *unix_ms, struct err *err);

/* Notifications only save time; nothing may depend on them. db_listen() wants a struct db of its own whose URL leads
 * to the server directly, not through a pooler; it listens again after a reconnection. db_wait_notify(): 1 with the
 * payload (borrowed until the next wait; "" after a reconnection, when some may have been missed), 0 after the timeout.
 * SQLite has none: db_notify() does nothing there, the other two fail with ERR_UNSUPPORTED at once. A notification of
 * a transaction is sent when it commits. */
int db_listen(struct db *db, const char *channel, struct err *err);
int db_notify(struct db *db, const char *channel, const char *payload, struct err *err);
int db_wait_notify(struct db *db, uint32_t timeout_ms, const char **payload, struct err *err);

#endif
