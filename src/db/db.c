#include "db/db_priv.h"

#define BUSY_TIMEOUT_MS 10000
#define FIRST_CAPACITY  64

static const struct db_backend *const backends[] = {&db_sqlite, &db_postgres};

static const struct db_backend *backend_of(struct span scheme)
{
    for (size_t i = 0; i < ARRAY_LEN(backends); i++)
        if (span_eq(scheme, span_of(backends[i]->scheme)))
            return backends[i];
    return span_eq(scheme, SPAN_LIT("postgres")) ? &db_postgres : NULL;
}

int db_open(struct db **out, const struct db_opts *opts, struct err *err)
{
    struct span scheme, where;
    bool has_scheme = span_cut(span_of(opts->url), ':', &scheme, &where);
    const struct db_backend *backend = has_scheme ? backend_of(scheme) : NULL;
    if (!backend || where.n == 0) {
        /* The URL itself stays out of the text: another engine's may hold a password. */
        err_set(err, ERR_INVALID, "the database's URL does not name a kind of database and a place");
        return err_hint(err, "write it as %s or %s", db_sqlite.usage, db_postgres.usage);
    }
    const char *place = backend->engine == DB_POSTGRES ? opts->url : where.p;
    return backend->open(out, place, opts->busy_timeout_ms ? opts->busy_timeout_ms : BUSY_TIMEOUT_MS, err);
}

void db_free(struct db *db)
{
    if (!db)
        return;
    for (size_t i = 0; i < db->statements.capacity; i++)
        if (db->statements.slots[i])
            db->backend->stmt_close(db->statements.slots[i]);
    free(db->statements.slots);
    db->backend->close(db);
}

int db_exec(struct db *db, const char *sql, struct err *err)
{
    return db->backend->exec(db, sql, err);
}

/* Statements by the address of their text. */

static struct db_stmt **slot_of(struct db_stmt **slots, size_t capacity, const char *sql)
{
    const uint64_t golden = 0x9e3779b97f4a7c15; /* spreads neighbouring addresses */
    size_t i = (size_t)(((uintptr_t)sql * golden) >> 32);
    for (;; i++) {
        struct db_stmt **slot = &slots[i & (capacity - 1)];
        if (!*slot || (*slot)->sql == sql)
            return slot;
    }
}

static int make_room(struct db *db, struct err *err)
{
    if (db->statements.n >= DB_STATEMENTS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d different SQL statements on one connection", DB_STATEMENTS_MAX);
    if (db->statements.n * 2 < db->statements.capacity)
        return 0;
    size_t capacity = db->statements.capacity ? db->statements.capacity * 2 : FIRST_CAPACITY;
    struct db_stmt **slots = calloc(capacity, sizeof(struct db_stmt *));
    if (!slots)
        return err_nomem(err);
    for (size_t i = 0; i < db->statements.capacity; i++) {
        struct db_stmt *s = db->statements.slots[i];
        if (s)
            *slot_of(slots, capacity, s->sql) = s;
    }
    free(db->statements.slots);
    db->statements.slots = slots;
    db->statements.capacity = capacity;
    return 0;
}

static struct db_stmt *find(const struct db *db, const char *sql)
{
    return db->statements.n ? *slot_of(db->statements.slots, db->statements.capacity, sql) : NULL;
}

static struct db_stmt *add(struct db *db, const char *sql, struct err *err)
{
    struct db_stmt *s = NULL;
    if (make_room(db, err) < 0 || db->backend->stmt_open(db, sql, &s, err) < 0)
        return NULL;
    *slot_of(db->statements.slots, db->statements.capacity, sql) = s;
    db->statements.n++;
    return s;
}

int db_prepare(struct db *db, const char *sql, struct db_stmt **out, struct err *err)
{
    struct db_stmt *known = find(db, sql), *s = known ? known : add(db, sql, err);
    if (!s)
        return -1;
    db_done(s);
    *out = s;
    return 0;
}

static void bind(struct db_stmt *s, int pos, const struct db_value *value)
{
    if (s->failed.kind != ERR_NONE)
        return;
    s->failed.kind = s->db->backend->bind(s, pos, value);
    s->failed.pos = pos;
}

void db_bind_i64(struct db_stmt *s, int pos, int64_t v)
{
    bind(s, pos, &(struct db_value){.type = DB_I64, .i64 = v});
}

void db_bind_text(struct db_stmt *s, int pos, const char *v)
{
    db_bind_span(s, pos, span_of(v));
}

void db_bind_span(struct db_stmt *s, int pos, struct span v)
{
    bind(s, pos, &(struct db_value){.type = v.p ? DB_TEXT : DB_NULL, .bytes = v});
}

void db_bind_blob(struct db_stmt *s, int pos, const void *p, size_t n)
{
    bind(s, pos, &(struct db_value){.type = p ? DB_BLOB : DB_NULL, .bytes = {p, n}});
}

static int report_failed(const struct db_stmt *s, struct err *err)
{
    if (s->failed.kind == ERR_NOMEM)
        return err_nomem(err);
    if (s->failed.pos == 0)
        return err_set(err, s->failed.kind, "a column that is no integer was read as one, in \"%.*s\"",
                       DB_SQL_SHOWN_MAX, s->sql);
    return err_set(err, s->failed.kind, "cannot bind parameter $%d of \"%.*s\"", s->failed.pos, DB_SQL_SHOWN_MAX,
                   s->sql);
}

int db_next(struct db_stmt *s, struct err *err)
{
    int rc = s->failed.kind == ERR_NONE ? s->db->backend->next(s, err) : report_failed(s, err);
    if (rc != 1)
        db_done(s);
    return rc;
}

int db_run(struct db_stmt *s, struct err *err)
{
    int rc = db_next(s, err);
    if (rc != 1)
        return rc;
    db_done(s);
    return err_set(err, ERR_SYSTEM, "a row where none was asked for: \"%.*s\"", DB_SQL_SHOWN_MAX, s->sql);
}

int db_start(struct db_stmt *s, struct err *err)
{
    int rc = 0;
    if (s->failed.kind != ERR_NONE)
        rc = report_failed(s, err);
    else if (s->db->backend->start)
        rc = s->db->backend->start(s, true, err);
    if (rc < 0)
        db_done(s);
    return rc;
}

int db_later(struct db_stmt *s, struct err *err)
{
    if (!s->db->backend->start || s->failed.kind != ERR_NONE)
        return db_run(s, err);
    int rc = s->db->backend->start(s, false, err);
    db_done(s);
    return rc;
}

void db_done(struct db_stmt *s)
{
    s->db->backend->reset(s);
    s->failed.kind = ERR_NONE;
}

int64_t db_col_i64(struct db_stmt *s, int col)
{
    return s->db->backend->col_i64(s, col);
}

struct span db_col_text(struct db_stmt *s, int col)
{
    return s->db->backend->col_text(s, col);
}

bool db_col_null(struct db_stmt *s, int col)
{
    return s->db->backend->col_null(s, col);
}

int64_t db_changes(struct db *db)
{
    return db->backend->changes(db);
}

/* A run that is still open would keep the transaction from ending, and its rows would not outlive it anyway. */
static void end_runs(struct db *db)
{
    for (size_t i = 0; i < db->statements.capacity; i++)
        if (db->statements.slots[i])
            db_done(db->statements.slots[i]);
}

int db_begin(struct db *db, struct err *err)
{
    return db->backend->begin(db, err);
}

int db_commit(struct db *db, struct err *err)
{
    end_runs(db);
    if (db->backend->commit(db, err) == 0)
        return 0;
    db->backend->rollback(db);
    return -1;
}

void db_rollback(struct db *db)
{
    end_runs(db);
    db->backend->rollback(db);
}

int db_sync(struct db *db, struct err *err)
{
    return db->backend->sync ? db->backend->sync(db, err) : 0;
}

enum db_engine db_engine(const struct db *db)
{
    return db->backend->engine;
}

int db_now_ms(struct db *db, int64_t *unix_ms, struct err *err)
{
    struct db_stmt *s = NULL;
    if (db_prepare(db, db->backend->now_sql, &s, err) < 0)
        return -1;
    int rc = db_next(s, err);
    if (rc < 0)
        return -1;
    *unix_ms = db_col_i64(s, 0);
    db_done(s);
    return 0;
}

int db_listen(struct db *db, const char *channel, struct err *err)
{
    if (!db->backend->listen)
        return err_set(err, ERR_UNSUPPORTED, "this kind of database has no notifications");
    return db->backend->listen(db, channel, err);
}

int db_notify(struct db *db, const char *channel, const char *payload, struct err *err)
{
    struct db_stmt *s = NULL;
    if (!db->backend->listen)
        return 0;
    if (db_prepare(db, "SELECT pg_notify($1, $2)", &s, err) < 0)
        return -1;
    db_bind_text(s, 1, channel);
    db_bind_text(s, 2, payload);
    int rc = db_next(s, err);
    if (rc == 1)
        db_done(s);
    return rc < 0 ? -1 : 0;
}

int db_wait_notify(struct db *db, uint32_t timeout_ms, const char **payload, struct err *err)
{
    if (!db->backend->wait_notify)
        return err_set(err, ERR_UNSUPPORTED, "this kind of database has no notifications");
    return db->backend->wait_notify(db, timeout_ms, payload, err);
}
