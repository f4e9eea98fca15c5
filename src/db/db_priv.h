/* db, inside: what a database engine must do. db.c keeps the statements and their sticky errors, and runs migrations;
 * an engine is one const table of functions, whose connection and statement structs begin with those below. */
#ifndef BERTH_DB_DB_PRIV_H
#define BERTH_DB_DB_PRIV_H

#include "db/db.h"

/* Statements that one connection keeps; more means that SQL text is being built where a literal belongs. */
#define DB_STATEMENTS_MAX 1024
/* How much of a statement's text an error shows. */
#define DB_SQL_SHOWN_MAX 100

struct db_value {
    enum { DB_NULL, DB_I64, DB_TEXT, DB_BLOB } type;
    int64_t i64;
    struct span bytes; /* borrowed until the run ends */
};

struct db_backend {
    enum db_engine engine;
    const char *scheme;        /* what stands before the ':' of a URL */
    const char *usage;         /* a URL to show in hints */
    const char *now_sql;       /* gives the clock in milliseconds since 1970 */
    const char *migration_sql; /* what a migration's transaction begins with; NULL: nothing */

    /* `where` is the URL after "scheme:" for SQLite, the whole URL for PostgreSQL. */
    int (*open)(struct db **out, const char *where, uint32_t busy_timeout_ms, struct err *err);
    void (*close)(struct db *db); /* all its statements are closed already */
    int (*exec)(struct db *db, const char *sql, struct err *err);
    int (*begin)(struct db *db, struct err *err);
    int (*commit)(struct db *db, struct err *err); /* a failure leaves the transaction to rollback() */
    void (*rollback)(struct db *db);               /* none open: nothing */
    int64_t (*changes)(struct db *db);
    int (*sync)(struct db *db, struct err *err); /* NULL: a commit has done it */

    int (*listen)(struct db *db, const char *channel, struct err *err); /* NULL: there are no notifications */
    int (*wait_notify)(struct db *db, uint32_t timeout_ms, const char **payload, struct err *err);

    int (*stmt_open)(struct db *db, const char *sql, struct db_stmt **out, struct err *err);
    void (*stmt_close)(struct db_stmt *s);
    enum err_kind (*bind)(struct db_stmt *s, int pos, const struct db_value *value); /* ERR_NONE: done */
    /* Send what is bound, and let db_next() read the answer, or nobody. NULL: all runs at once. */
    int (*start)(struct db_stmt *s, bool rows_wanted, struct err *err);
    int (*next)(struct db_stmt *s, struct err *err); /* 1: a row, 0: the end, -1; reset() follows the latter two */
    void (*reset)(struct db_stmt *s);                /* end the run, forget what is bound */
    bool (*col_null)(struct db_stmt *s, int col);
    int64_t (*col_i64)(struct db_stmt *s, int col);
    struct span (*col_text)(struct db_stmt *s, int col); /* out of memory: sets s->failed */
};

extern const struct db_backend db_sqlite, db_postgres;

struct db {
    const struct db_backend *backend;
    struct {
        struct db_stmt **slots; /* open addressing by the address of the SQL text; NULL is free */
        size_t capacity;        /* a power of two, at most half full; 0 before the first */
        size_t n;
    } statements;
};

struct db_stmt {
    struct db *db;
    const char *sql; /* borrowed: a literal */
    struct {
        enum err_kind kind;
        int pos; /* of the parameter */
    } failed;    /* the first error of binding (or of reading a column), reported by db_next() */
};

#endif
