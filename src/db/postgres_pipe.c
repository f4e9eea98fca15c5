/* PostgreSQL: sending and answers (libpq's pipeline mode). What nobody waits for yet gathers here, and goes out in one
 * piece with the next statement whose answer is wanted; the server leaves out all that follows an error.
 *
 * A statement that runs again and again is parsed once, under a name (only where no pooler stands between, which would
 * hand the next run to another session). Names are made of the text and the types, so that one name never means two
 * statements, and plans are thrown away from time to time, or one made for a small table would outlive its size. */
#include "db/postgres_priv.h"

#include "base/clock.h"

#include <stdio.h>

#define NAMED_FROM      3  /* runs; fewer are not worth a name */
#define NAMED_TIMES_MAX 16 /* of one statement, for different types: then it goes without */
#define REPLAN_MS       10000
#define SENT_AT_ONCE    5 /* at most, for one statement: BEGIN, its time-out, new plans, a name, the run */

static const int binary[PG_PARAMETERS_MAX] = {[0 ... PG_PARAMETERS_MAX - 1] = 1};

/* ---- Sending */

void pg_give_up(struct pg_db *db)
{
    for (size_t i = 0; i < db->sent_count; i++)
        if (db->sent[i].what == PG_RUN && db->sent[i].s)
            db->sent[i].s->state = PG_SKIPPED;
    db->sent_count = 0;
}

static struct pg_sent *note_sent(struct pg_db *db, const char *sql)
{
    struct pg_sent *sent = &db->sent[db->sent_count++];
    *sent = (struct pg_sent){.what = PG_COMMAND, .sql = sql};
    return sent;
}

/* `shown` is what an error shows of it. */
static int add_command(struct pg_db *db, const char *sql, const char *shown, struct err *err)
{
    if (!PQsendQueryParams(db->conn, sql, 0, NULL, NULL, NULL, NULL, 1))
        return pg_fail(db, NULL, shown, err);
    note_sent(db, shown);
    return 0;
}

static int add_begin(struct pg_db *db, struct err *err)
{
    char sql[64];
    if (add_command(db, "BEGIN", "BEGIN", err) < 0)
        return -1;
    db->begin_due = false;
    if (db->direct)
        return 0; /* the session has the time-out */
    snprintf(sql, sizeof(sql), "SET LOCAL lock_timeout = %u", db->busy_timeout_ms);
    return add_command(db, sql, "SET LOCAL lock_timeout", err);
}

static int add_new_plans(struct pg_db *db, struct err *err)
{
    uint64_t now_ms = clock_mono_ms();
    if (!db->direct || now_ms - db->planned_ms < REPLAN_MS)
        return 0;
    db->planned_ms = now_ms;
    return add_command(db, "DISCARD PLANS", "DISCARD PLANS", err);
}

static int make_ready(struct pg_db *db, struct err *err)
{
    if (db->sent_count + SENT_AT_ONCE > PG_SENT_MAX && pg_flush(db, err) < 0)
        return -1;
    if (pg_ensure(db, err) < 0)
        return -1;
    if (!PQenterPipelineMode(db->conn)) /* does nothing within */
        return pg_fail(db, NULL, "pipeline", err);
    return db->begin_due ? add_begin(db, err) : 0;
}

/* ---- Names */

/* FNV-1a. */
static uint64_t mixed(uint64_t hash, const void *p, size_t n)
{
    for (const unsigned char *at = p, *end = at + n; at < end; at++)
        hash = (hash ^ *at) * 0x100000001b3;
    return hash;
}

/* A NULL is of any type. */
static bool name_fits(const struct pg_db *db, const struct pg_stmt *s)
{
    if (s->named.session != db->sessions)
        return false;
    for (int i = 0; i < s->parameters; i++)
        if (s->values[i] && s->types[i] != s->named.types[i])
            return false;
    return true;
}

static int add_name(struct pg_db *db, struct pg_stmt *s, struct err *err)
{
    for (int i = 0; i < s->parameters; i++)
        if (s->values[i] || s->named.times == 0)
            s->named.types[i] = s->types[i];
    uint64_t hash = mixed(0xcbf29ce484222325, s->base.sql, strlen(s->base.sql));
    hash = mixed(hash, s->named.types, (size_t)s->parameters * sizeof(s->named.types[0]));
    snprintf(s->named.name, sizeof(s->named.name), "berth_%016llx", (unsigned long long)hash);
    s->named.session = 0;
    s->named.times++;
    if (!PQsendPrepare(db->conn, s->named.name, s->base.sql, s->parameters, s->named.types))
        return pg_fail(db, NULL, s->base.sql, err);
    s->named.session = db->sessions; /* for what follows it at once; taken back should it fail */
    struct pg_sent *sent = note_sent(db, s->base.sql);
    sent->what = PG_PREPARE;
    sent->named = true;
    sent->s = s;
    return 0;
}

static bool wants_name(const struct pg_db *db, const struct pg_stmt *s)
{
    return db->direct && s->runs == NAMED_FROM && (name_fits(db, s) || s->named.times < NAMED_TIMES_MAX);
}

int pg_send(struct pg_db *db, struct pg_stmt *s, bool rows_wanted, struct err *err)
{
    if (make_ready(db, err) < 0)
        return -1;
    s->runs += s->runs < NAMED_FROM;
    const bool by_name = wants_name(db, s);
    int sent;
    if (by_name) {
        if (add_new_plans(db, err) < 0 || (!name_fits(db, s) && add_name(db, s, err) < 0))
            return -1;
        sent = PQsendQueryPrepared(db->conn, s->named.name, s->parameters, s->values, s->lengths, binary, 1);
    } else {
        sent = PQsendQueryParams(db->conn, s->base.sql, s->parameters, s->types, s->values, s->lengths, binary, 1);
    }
    if (!sent)
        return pg_fail(db, NULL, s->base.sql, err);
    struct pg_sent *note = note_sent(db, s->base.sql);
    note->what = PG_RUN;
    note->named = by_name;
    note->s = rows_wanted ? s : NULL;
    s->state = PG_SENT;
    return 0;
}

int pg_send_begin(struct pg_db *db, struct err *err)
{
    return make_ready(db, err);
}

int pg_send_command(struct pg_db *db, const char *sql, struct err *err)
{
    return make_ready(db, err) < 0 ? -1 : add_command(db, sql, sql, err);
}

void pg_unwanted(struct pg_db *db, const struct pg_stmt *s)
{
    for (size_t i = 0; i < db->sent_count; i++)
        if (db->sent[i].what == PG_RUN && db->sent[i].s == s)
            db->sent[i].s = NULL;
}

/* ---- Answers */

/* Somebody dropped a name, made it, or changed what the statement gives: this connection goes on without names. */
static bool is_about_names(const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    return str_eq(state, "26000") || str_eq(state, "42P05") || str_eq(state, "0A000");
}

static int fail_sent(struct pg_db *db, const struct pg_sent *sent, const PGresult *result, struct err *err)
{
    if (!sent->named || !is_about_names(result))
        return pg_fail(db, result, sent->sql, err);
    db->direct = false;
    err_set(err, ERR_TRANSIENT, "database %s: a prepared statement is not as it was, \"%.*s\"", db->name,
            DB_SQL_SHOWN_MAX, sent->sql);
    return err_hint(err, "the next call goes without");
}

/* The server answers ROLLBACK to the COMMIT of a transaction in which something failed. */
static int note_done(struct pg_db *db, struct pg_sent *sent, PGresult *result, struct err *err)
{
    if (sent->what == PG_RUN && sent->s)
        pg_note_changes(db, result);
    if (sent->what == PG_COMMAND && str_eq(sent->sql, "COMMIT") && !str_eq(PQcmdStatus(result), "COMMIT"))
        return err_set(err, ERR_SYSTEM, "database %s: nothing committed: an earlier error ended the transaction",
                       db->name);
    return 0;
}

static void hang_up(struct pg_db *db)
{
    PQfinish(db->conn);
    db->conn = NULL;
}

/* Takes over `result`. */
static int take(struct pg_db *db, struct pg_sent *sent, PGresult *result, bool failed, struct err *err)
{
    int rc = 0;
    switch (PQresultStatus(result)) {
    case PGRES_SINGLE_TUPLE:
        if (sent->s && !failed)
            return pg_keep_row(sent->s, result, err);
        break;
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
        rc = note_done(db, sent, result, err);
        break;
    case PGRES_PIPELINE_ABORTED:
        rc = -1; /* what failed was said before */
        break;
    case PGRES_COPY_IN:
    case PGRES_COPY_OUT:
    case PGRES_COPY_BOTH: /* is not spoken here, and would repeat itself for ever */
        rc = pg_fail(db, result, sent->sql, err);
        hang_up(db);
        break;
    default:
        rc = fail_sent(db, sent, result, err);
    }
    PQclear(result);
    return rc;
}

/* Reads to the end whatever happens, so that the connection is free again; rows after an error are dropped. */
static int read_answer(struct pg_db *db, struct pg_sent *sent, struct err *err)
{
    bool any = false, failed = false;
    PGresult *result;
    PQsetSingleRowMode(db->conn);
    while ((result = PQgetResult(db->conn))) {
        any = true;
        failed = take(db, sent, result, failed, err) < 0 || failed;
        if (PQstatus(db->conn) != CONNECTION_OK)
            break;
    }
    if (!any)
        failed = pg_fail(db, NULL, sent->sql, err) < 0;
    if (sent->what == PG_RUN && sent->s)
        sent->s->state = failed ? PG_SKIPPED : PG_ANSWERED;
    if (sent->what == PG_PREPARE && failed)
        sent->s->named.session = 0;
    return failed ? -1 : 0;
}

/* The end of the pipeline, after which the server obeys again. */
static int read_end(struct pg_db *db, struct err *err)
{
    PGresult *result = PQgetResult(db->conn);
    bool ended = PQresultStatus(result) == PGRES_PIPELINE_SYNC;
    PQclear(result);
    if (ended && PQexitPipelineMode(db->conn))
        return 0;
    hang_up(db);
    return pg_fail_lost(db, err);
}

int pg_flush(struct pg_db *db, struct err *err)
{
    int rc = 0;
    if (PQpipelineStatus(db->conn) == PQ_PIPELINE_OFF)
        return 0;
    if (!PQpipelineSync(db->conn))
        rc = pg_fail(db, NULL, "pipeline", err);
    for (size_t i = 0; i < db->sent_count && PQstatus(db->conn) == CONNECTION_OK; i++)
        if (read_answer(db, &db->sent[i], err) < 0)
            rc = -1;
    if (PQstatus(db->conn) != CONNECTION_OK)
        rc = rc < 0 ? rc : pg_fail_lost(db, err);
    else if (read_end(db, err) < 0)
        rc = -1;
    if (rc < 0)
        pg_give_up(db);
    db->sent_count = 0;
    return rc;
}
