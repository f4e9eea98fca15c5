/* PostgreSQL: connections, transactions, errors (libpq; SQLSTATE: PostgreSQL's manual, appendix A). Nothing depends on
 * the state of a session except LISTEN; where no pooler stands between, what a session keeps saves time. */
#include "db/postgres_priv.h"

#include "base/clock.h"

#include <stdio.h>

#define REFUSED_HINT                                                                                                   \
    "check the user, the password and its rights on the database, and that the server may be written to (no standby)"

static enum err_kind kind_of(const char *state)
{
    static const struct {
        const char *prefix;
        enum err_kind kind;
    } kinds[] = {
        {"40001", ERR_BUSY},      {"40P01", ERR_BUSY},      {"55P03", ERR_BUSY},    {"57014", ERR_BUSY},
        {"23505", ERR_EXISTS},    {"23", ERR_INVALID},      {"22", ERR_INVALID},    {"53100", ERR_NOSPACE},
        {"53200", ERR_NOMEM},     {"53300", ERR_TRANSIENT}, {"28", ERR_TRANSIENT},  {"42501", ERR_TRANSIENT},
        {"25006", ERR_TRANSIENT}, {"XX001", ERR_CORRUPT},   {"XX002", ERR_CORRUPT}, {"08", ERR_TRANSIENT},
        {"57P", ERR_TRANSIENT},
    };
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (span_starts(span_of(state), span_of(kinds[i].prefix)))
            return kinds[i].kind;
    return ERR_SYSTEM;
}

/* The server answers, but refuses this user or every write: for who runs the database, and over once they have seen to
 * it. It says nothing of the rights of whoever asked berth. */
static bool is_refusal(const char *state)
{
    return span_starts(span_of(state), SPAN_LIT("28")) || str_eq(state, "42501") || str_eq(state, "25006");
}

static const char *hint_of(enum err_kind kind)
{
    switch (kind) {
    case ERR_NOSPACE:
        return "free some space on the database server's disk";
    case ERR_CORRUPT:
        return "the server found its own files damaged: restore from a backup";
    case ERR_BUSY:
        return "another transaction holds the rows: try again";
    case ERR_TRANSIENT:
        return "is the database server up and reachable? the next call connects anew";
    default:
        return NULL;
    }
}

int pg_fail_lost(struct pg_db *db, struct err *err)
{
    err_set(err, ERR_TRANSIENT, "database %s: the connection was lost%s", db->name,
            db->in_transaction ? " inside a transaction" : "; whether the statement took effect is unknown");
    return err_hint(err, "%s", hint_of(ERR_TRANSIENT));
}

/* The server's DETAIL shows rows, and a data exception's (class 22) message the value: neither is repeated. */
int pg_fail(struct pg_db *db, const PGresult *result, const char *sql, struct err *err)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (PQstatus(db->conn) != CONNECTION_OK)
        return pg_fail_lost(db, err);
    if (PQresultStatus(result) == PGRES_EMPTY_QUERY || !state)
        return err_set(err, ERR_SYSTEM, "database %s: not exactly one statement that can run: \"%.*s\"", db->name,
                       DB_SQL_SHOWN_MAX, sql);
    enum err_kind kind = kind_of(state);
    const char *what = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    if (!what || span_starts(span_of(state), SPAN_LIT("22")))
        what = "a value has the wrong form or range";
    err_set(err, kind, "database %s: %s (SQLSTATE %s), in \"%.*s\"", db->name, what, state, DB_SQL_SHOWN_MAX, sql);
    const char *hint = is_refusal(state) ? REFUSED_HINT : hint_of(kind);
    return hint ? err_hint(err, "%s", hint) : -1;
}

void pg_note_changes(struct pg_db *db, PGresult *result)
{
    struct span tag = span_of(PQcmdStatus(result));
    struct err ignored = ERR_INIT;
    uint64_t n = 0;
    if ((span_starts(tag, SPAN_LIT("INSERT")) || span_starts(tag, SPAN_LIT("UPDATE")) ||
         span_starts(tag, SPAN_LIT("DELETE"))) &&
        span_to_u64(span_of(PQcmdTuples(result)), &n, &ignored) == 0)
        db->changes = (int64_t)n;
}

static void drop_notice(void *ctx, const char *text)
{
    (void)ctx;
    (void)text;
}

/* libpq's text names host, user and database; a password in it (however it came there) silences it. */
static int fail_connect(struct pg_db *db, PGconn *conn, struct err *err)
{
    const char *text = PQerrorMessage(conn), *password = PQpass(conn);
    struct span line = span_of(text), rest;
    span_cut(line, '\n', &line, &rest);
    bool shown = str_empty(password) || !strstr(text, password);
    bool denied = PQconnectionNeedsPassword(conn) || (PQconnectionUsedPassword(conn) && strstr(text, "authentication"));
    err_set(err, ERR_TRANSIENT, "database %s: %.*s", db->name, shown ? (int)line.n : 17,
            shown ? line.p : "connection failed");
    return err_hint(err, "%s", denied ? REFUSED_HINT : hint_of(ERR_TRANSIENT));
}

static PGresult *ask(PGconn *conn, const char *sql, ExecStatusType wanted)
{
    PGresult *result = PQexec(conn, sql);
    if (PQresultStatus(result) == wanted)
        return result;
    PQclear(result);
    return NULL;
}

/* A pooler answers to the connection with a number of its own, and lends the sessions of others. */
static bool is_direct(PGconn *conn)
{
    PGresult *result = ask(conn, "SELECT pg_backend_pid()", PGRES_TUPLES_OK);
    struct err ignored = ERR_INIT;
    uint64_t pid = 0;
    bool direct = result && span_to_u64(span_of(PQgetvalue(result, 0, 0)), &pid, &ignored) == 0 &&
                  pid == (uint64_t)PQbackendPID(conn);
    PQclear(result);
    return direct;
}

/* A session of our own has the time-out once and for all; elsewhere each transaction brings it. */
static void learn_session(struct pg_db *db)
{
    char sql[64];
    PGresult *result = NULL;
    snprintf(sql, sizeof(sql), "SET lock_timeout = %u", db->busy_timeout_ms);
    if (is_direct(db->conn))
        result = ask(db->conn, sql, PGRES_COMMAND_OK);
    db->direct = result != NULL;
    db->sessions++;
    db->planned_ms = clock_mono_ms();
    PQclear(result);
}

int pg_connect(struct pg_db *db, struct err *err)
{
    /* What stands before dbname are defaults that the URL may change. */
    const char *const names[] = {"connect_timeout",
                                 "tcp_user_timeout",
                                 "keepalives_idle",
                                 "fallback_application_name",
                                 "dbname",
                                 "client_encoding",
                                 NULL};
    const char *const values[] = {"10", "30000", "30", "berth", db->url, "UTF8", NULL};
    PGconn *conn = PQconnectdbParams(names, values, 1);
    if (!conn)
        return err_nomem(err);
    if (PQstatus(conn) != CONNECTION_OK) {
        fail_connect(db, conn, err);
        PQfinish(conn);
        return -1;
    }
    PQsetNoticeProcessor(conn, drop_notice, NULL);
    pg_give_up(db);
    PQfinish(db->conn);
    db->conn = conn;
    learn_session(db);
    for (size_t i = 0; i < db->channels.n; i++)
        if (pg_listen_on(db, db->channels.v[i], err) < 0) {
            PQfinish(conn); /* rather none than one that is deaf */
            db->conn = NULL;
            return -1;
        }
    return 0;
}

int pg_ensure(struct pg_db *db, struct err *err)
{
    if (PQstatus(db->conn) == CONNECTION_OK)
        return 0;
    return db->in_transaction && !db->begin_due ? pg_fail_lost(db, err) : pg_connect(db, err);
}

static const char *option(const PQconninfoOption *options, const char *name, const char *otherwise)
{
    for (; options->keyword; options++)
        if (str_eq(options->keyword, name))
            return str_empty(options->val) ? otherwise : options->val;
    return otherwise;
}

/* An '@' in the path: a '/' in the password, which would take the rest of it for a database's name. */
static bool is_ambiguous(const char *url)
{
    struct span head, path, before, query;
    const char *authority = strstr(url, "://");
    if (!authority || !span_cut(span_of(authority + 3), '/', &head, &path))
        return false;
    span_cut(path, '?', &before, &query);
    return memchr(before.p, '@', before.n) != NULL;
}

/* No word of libpq's about a URL it cannot read: it repeats the URL. */
static char *name_of(const char *url, struct err *err)
{
    PQconninfoOption *options = is_ambiguous(url) ? NULL : PQconninfoParse(url, NULL);
    char *name = NULL;
    const char *port = options ? option(options, "port", "5432") : "?";
    if (port[strspn(port, "0123456789,")]) {
        err_set(err, ERR_INVALID, "the database's URL cannot be read");
        err_hint(err, "write it as %s, with special characters of the password as %%XX", db_postgres.usage);
    } else {
        name = str_printf(err, "%s:%s/%s", option(options, "host", "(default host)"), port,
                          option(options, "dbname", "(default)"));
    }
    PQconninfoFree(options);
    return name;
}

static void pg_close(struct db *base)
{
    struct pg_db *db = pg_of(base);
    PQfinish(db->conn);
    strv_release(&db->channels);
    free(db->payload);
    free(db->name);
    str_free_secret(db->url);
    free(db);
}

static int pg_open(struct db **out, const char *url, uint32_t busy_timeout_ms, struct err *err)
{
    struct pg_db *db = calloc(1, sizeof(*db));
    if (!db)
        return err_nomem(err);
    db->base.backend = &db_postgres;
    db->busy_timeout_ms = busy_timeout_ms < INT32_MAX ? busy_timeout_ms : INT32_MAX;
    db->url = str_dup(url, err);
    if (db->url)
        db->name = name_of(url, err);
    if (!db->name || pg_connect(db, err) < 0) {
        pg_close(&db->base);
        return -1;
    }
    *out = &db->base;
    return 0;
}

/* Several statements at once are a message of their own kind, which no pipeline takes. */
int pg_exec(struct db *base, const char *sql, struct err *err)
{
    struct pg_db *db = pg_of(base);
    if ((db->begin_due && pg_send_begin(db, err) < 0) || pg_flush(db, err) < 0 || pg_ensure(db, err) < 0)
        return -1;
    PGresult *result = PQexec(db->conn, sql);
    ExecStatusType status = PQresultStatus(result);
    int rc = 0;
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK)
        pg_note_changes(db, result);
    else
        rc = pg_fail(db, result, sql, err);
    PQclear(result);
    return rc;
}

static int pg_begin(struct db *base, struct err *err)
{
    struct pg_db *db = pg_of(base);
    if (db->in_transaction)
        return err_set(err, ERR_SYSTEM, "database %s: a transaction within a transaction", db->name);
    if (pg_flush(db, err) < 0)
        return -1;
    db->in_transaction = db->begin_due = true;
    return 0;
}

/* Together with the last writes: the server leaves out a COMMIT that follows an error. */
static int pg_commit(struct db *base, struct err *err)
{
    struct pg_db *db = pg_of(base);
    if (!db->in_transaction)
        return err_set(err, ERR_SYSTEM, "database %s: no transaction to commit", db->name);
    if (db->begin_due) {
        db->in_transaction = db->begin_due = false;
        return 0;
    }
    if (pg_send_command(db, "COMMIT", err) < 0)
        return -1;
    struct err why = ERR_INIT;
    int rc = pg_flush(db, &why);
    if (rc < 0 && PQstatus(db->conn) != CONNECTION_OK)
        err_set(err, ERR_TRANSIENT, "database %s: the connection was lost at COMMIT; whether it took effect is unknown",
                db->name);
    else if (rc < 0)
        err_move(err, &why);
    db->in_transaction = rc < 0;
    return rc;
}

static void pg_rollback(struct db *base)
{
    struct pg_db *db = pg_of(base);
    if (!db->in_transaction)
        return;
    struct err ignored = ERR_INIT;
    pg_flush(db, &ignored); /* what was sent is undone as well */
    const bool unheard = db->begin_due;
    db->in_transaction = db->begin_due = false;
    if (!unheard && PQstatus(db->conn) == CONNECTION_OK)
        PQclear(PQexec(db->conn, "ROLLBACK")); /* fails with the connection only, and that ends the transaction too */
}

static int64_t pg_changes(struct db *base)
{
    return pg_of(base)->changes;
}

const struct db_backend db_postgres = {
    .engine = DB_POSTGRES,
    .scheme = "postgresql",
    .usage = "postgresql://user:password@host:5432/database",
    .now_sql = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
    /* Released with the transaction. BLOB is no type here: a domain of that name is. */
    .migration_sql = "SELECT pg_advisory_xact_lock(7093018452160743);"
                     "DO $$ BEGIN IF to_regtype('blob') IS NULL THEN CREATE DOMAIN blob AS bytea; END IF; END $$",
    .open = pg_open,
    .close = pg_close,
    .exec = pg_exec,
    .begin = pg_begin,
    .commit = pg_commit,
    .rollback = pg_rollback,
    .changes = pg_changes,
    .listen = pg_listen,
    .wait_notify = pg_wait_notify,
    .stmt_open = pg_stmt_open,
    .stmt_close = pg_stmt_close,
    .bind = pg_bind,
    .start = pg_start,
    .next = pg_next,
    .reset = pg_reset,
    .col_null = pg_col_null,
    .col_i64 = pg_col_i64,
    .col_text = pg_col_text,
};
