/* db, inside: PostgreSQL's connection and errors, for postgres*.c. */
#ifndef BERTH_DB_POSTGRES_PRIV_H
#define BERTH_DB_POSTGRES_PRIV_H

#include "db/db_priv.h"

#include <libpq-fe.h>

#define PG_PARAMETERS_MAX 64
#define PG_SENT_MAX       16
#define PG_NAME_MAX       32

/* What was handed to libpq's pipeline and not answered yet. */
struct pg_sent {
    enum { PG_COMMAND, PG_PREPARE, PG_RUN } what;
    bool named;        /* relies on statements that the server's session knows by name */
    struct pg_stmt *s; /* of the latter two; NULL of a run: nobody wants its answer (any more) */
    const char *sql;   /* a literal */
};

struct pg_db {
    struct db base;
    PGconn *conn;
    char *url;  /* secret */
    char *name; /* host:port/database, for errors */
    uint32_t busy_timeout_ms;
    bool in_transaction; /* by our own count: it outlives a lost connection until rollback */
    bool begin_due;      /* the server has not heard of it yet */
    bool direct;         /* no pooler stands between: names and settings stay with the session */
    uint64_t sessions;   /* so far: what was prepared in an earlier one is gone */
    uint64_t planned_ms; /* when the session's plans were last thrown away */
    struct pg_sent sent[PG_SENT_MAX];
    size_t sent_count;
    int64_t changes;
    struct strv channels; /* listened to, again after each reconnection */
    char *payload;        /* of the last notification */
};

struct pg_stmt {
    struct db_stmt base;
    int parameters;                        /* the highest position */
    bool known[PG_PARAMETERS_MAX + 1];     /* by position: the text names it */
    Oid types[PG_PARAMETERS_MAX];          /* from here on by position - 1 */
    const char *values[PG_PARAMETERS_MAX]; /* borrowed, or into integers */
    int lengths[PG_PARAMETERS_MAX];
    uint64_t integers[PG_PARAMETERS_MAX]; /* big-endian */
    PGresult **rows;                      /* one row each */
    size_t row_count, row_capacity, row_at, bytes;
    enum {
        PG_IDLE,
        PG_SENT,     /* not answered yet */
        PG_ANSWERED, /* no row was asked for yet */
        PG_AT_ROW,
        PG_SKIPPED /* something sent before it failed */
    } state;
    unsigned runs; /* counted as far as matters */
    struct {
        char name[PG_NAME_MAX];
        Oid types[PG_PARAMETERS_MAX];
        uint64_t session; /* where the server knows it by that name; 0: nowhere */
        unsigned times;   /* given a name */
    } named;
};

static inline struct pg_db *pg_of(struct db *db)
{
    return (struct pg_db *)db;
}

static inline struct pg_stmt *pg_stmt_of(struct db_stmt *s)
{
    return (struct pg_stmt *)s;
}

/* Connects and listens again to db->channels. */
int pg_connect(struct pg_db *db, struct err *err);
/* A usable connection: made anew where it was lost outside a transaction, an error inside one. */
int pg_ensure(struct pg_db *db, struct err *err);
/* Listen on one channel of a connection that is up. */
int pg_listen_on(struct pg_db *db, const char *channel, struct err *err);

/* Turn a failed result (NULL: none came) into `err`; `sql` is what failed. Returns -1. */
int pg_fail(struct pg_db *db, const PGresult *result, const char *sql, struct err *err);
int pg_fail_lost(struct pg_db *db, struct err *err);
/* Keep the count of rows that a finished statement changed. */
void pg_note_changes(struct pg_db *db, PGresult *result);

/* Add a statement to what is sent next, after the BEGIN that is due. */
int pg_send(struct pg_db *db, struct pg_stmt *s, bool rows_wanted, struct err *err);
/* The same of one without parameters or rows. */
int pg_send_command(struct pg_db *db, const char *sql, struct err *err);
int pg_send_begin(struct pg_db *db, struct err *err); /* where it is due */
/* Send what waits to be sent, and read all answers: the first error among them. */
int pg_flush(struct pg_db *db, struct err *err);
/* What waits to be sent or answered never will be. */
void pg_give_up(struct pg_db *db);
/* Nobody wants this statement's answer any more. */
void pg_unwanted(struct pg_db *db, const struct pg_stmt *s);

int pg_exec(struct db *base, const char *sql, struct err *err);

int pg_listen(struct db *base, const char *channel, struct err *err);
int pg_wait_notify(struct db *base, uint32_t timeout_ms, const char **payload, struct err *err);

int pg_stmt_open(struct db *db, const char *sql, struct db_stmt **out, struct err *err);
void pg_stmt_close(struct db_stmt *base);
enum err_kind pg_bind(struct db_stmt *base, int pos, const struct db_value *value);
int pg_start(struct db_stmt *base, bool rows_wanted, struct err *err);
int pg_next(struct db_stmt *base, struct err *err);
void pg_reset(struct db_stmt *base);
/* Takes over `row`. */
int pg_keep_row(struct pg_stmt *s, PGresult *row, struct err *err);
bool pg_col_null(struct db_stmt *base, int col);
int64_t pg_col_i64(struct db_stmt *base, int col);
struct span pg_col_text(struct db_stmt *base, int col);

#endif
