/* db, inside: SQLite's connection and errors, for sqlite.c and sqlite_stmt.c. */
#ifndef BERTH_DB_SQLITE_PRIV_H
#define BERTH_DB_SQLITE_PRIV_H

#include "db/db_priv.h"

#include <sqlite3.h>

struct sqlite_db {
    struct db base;
    sqlite3 *handle;
    char *path;
    uint32_t busy_timeout_ms;
};

static inline struct sqlite_db *sqlite_of(struct db *db)
{
    return (struct sqlite_db *)db;
}

enum err_kind sqlite_kind(int rc, int system_errno);

/* Turn the connection's last error into `err`; `sql` is what failed. Returns -1. */
int sqlite_fail(struct sqlite_db *db, int rc, const char *sql, struct err *err);

int sqlite_stmt_open(struct db *db, const char *sql, struct db_stmt **out, struct err *err);
void sqlite_stmt_close(struct db_stmt *base);
enum err_kind sqlite_bind(struct db_stmt *base, int pos, const struct db_value *value);
int sqlite_next(struct db_stmt *base, struct err *err);
void sqlite_reset(struct db_stmt *base);
bool sqlite_col_null(struct db_stmt *base, int col);
int64_t sqlite_col_i64(struct db_stmt *base, int col);
struct span sqlite_col_text(struct db_stmt *base, int col);

#endif
