/* db, inside: PostgreSQL's connection and errors, for postgres*.c. */
#ifndef BERTH_DB_POSTGRES_PRIV_H
#define BERTH_DB_POSTGRES_PRIV_H

#include "db/db_priv.h"

#include <libpq-fe.h>

struct pg_db {
    struct db base;
    PGconn *conn;
    char *url;  /* secret */
    char *name; /* host:port/database, for errors */
    uint32_t busy_timeout_ms;
    bool in_transaction; /* by our own count: it outlives a lost connection until rollback */
    int64_t changes;
    struct strv channels; /* listened to, again after each reconnection */
    char *payload;        /* of the last notification */
};

static inline struct pg_db *pg_of(struct db *db)
{
    return (struct pg_db *)db;
}

/* Connects and listens again to db->channels. */
int pg_connect(struct pg_db *db, struct err *err);
/* A usable connection: made anew where it was lost outside a transaction, an error inside one. */
int pg_ensure(struct pg_db *db, struct err *err);
/* Listen on one channel of a connection that is up. */
int pg_listen_on(struct pg_db *db, const char *channel, struct err *err);

/* Turn a failed result (NULL: none came) into `err`; `sql` is what failed. Returns -1. */
int pg_fail(struct pg_db *db, const PGresult *result, const char *sql, struct err *err);
/* Keep the count of rows that a finished statement changed. */
void pg_note_changes(struct pg_db *db, PGresult *result);

int pg_exec(struct db *base, const char *sql, struct err *err);

int pg_listen(struct db *base, const char *channel, struct err *err);
int pg_wait_notify(struct db *base, uint32_t timeout_ms, const char **payload, struct err *err);

int pg_stmt_open(struct db *db, const char *sql, struct db_stmt **out, struct err *err);
void pg_stmt_close(struct db_stmt *base);
enum err_kind pg_bind(struct db_stmt *base, int pos, const struct db_value *value);
int pg_next(struct db_stmt *base, struct err *err);
void pg_reset(struct db_stmt *base);
bool pg_col_null(struct db_stmt *base, int col);
int64_t pg_col_i64(struct db_stmt *base, int col);
struct span pg_col_text(struct db_stmt *base, int col);

#endif
