/* db: one small SQL interface. SQLite now, PostgreSQL behind the same table of functions.
 *
 * SQL text is the same for both: parameters are $1, $2 …; types are 64-bit integers, text, blobs, NULL. A struct db is
 * used by one thread at a time; open one per thread. */
#ifndef BERTH_DB_DB_H
#define BERTH_DB_DB_H

#include "base/err.h"
#include "base/str.h"

#include <stdint.h>

struct db;
struct db_stmt;

struct db_opts {
    const char *url;          /* "sqlite:/path/to/file.db" */
    uint32_t busy_timeout_ms; /* wait for a writer in another process; 0: 10,000 */
};

int db_open(struct db **out, const struct db_opts *opts, struct err *err);
void db_free(struct db *db);

/* Several statements without parameters or rows. */
int db_exec(struct db *db, const char *sql, struct err *err);

/* Prepared statements are cached by the address of their SQL text (use string literals). Start a run with db_run(),
 * read rows with db_next() until it returns 0, or end early with db_done(). Binding positions count from 1, columns
 * from 0. */
int db_prepare(struct db *db, const char *sql, struct db_stmt **out, struct err *err);
void db_bind_i64(struct db_stmt *s, int pos, int64_t v);      /* errors are sticky until db_next() */
void db_bind_text(struct db_stmt *s, int pos, const char *v); /* NULL: NULL. Borrowed until the run ends. */
void db_bind_span(struct db_stmt *s, int pos, struct span v);
void db_bind_blob(struct db_stmt *s, int pos, const void *p, size_t n);
int db_next(struct db_stmt *s, struct err *err); /* 1: a row, 0: the end (reset and unbound), -1: error (reset too) */
int64_t db_col_i64(struct db_stmt *s, int col);
struct span db_col_text(struct db_stmt *s,
                        int col); /* borrowed until the next db_next() or db_done(); p NULL for NULL */
bool db_col_null(struct db_stmt *s, int col);
void db_done(struct db_stmt *s);
int64_t db_changes(struct db *db); /* rows touched by the last finished statement */

/* Run a statement that gives no rows. */
int db_run(struct db_stmt *s, struct err *err);

/* Transactions: db_begin takes the write lock at once (BEGIN IMMEDIATE). A function that returns non-zero or sets err
 * is rolled back. Retries on a busy database up to the busy timeout, then ERR_BUSY. ERR_NOSPACE at a full disk. */
int db_begin(struct db *db, struct err *err);
int db_commit(struct db *db, struct err *err);
void db_rollback(struct db *db);

/* Numbered migrations: migrations[i] brings version i to i + 1, each in a transaction of its own. A database newer than
 * `n` is refused (ERR_UNSUPPORTED, naming both versions). */
int db_migrate(struct db *db, const char *const *migrations, size_t n, struct err *err);

#endif
