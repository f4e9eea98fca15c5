/* SQLite: statements. Parameters are written $1, $2 …; SQLite takes these for names and numbers them in the order of
 * their first appearance, so each statement keeps a map from position to SQLite's index. */
#include "db/sqlite_priv.h"

#include <limits.h>

#define PARAMETERS_MAX 64

struct sqlite_stmt {
    struct db_stmt base;
    sqlite3_stmt *handle;
    bool running;
    uint8_t index[PARAMETERS_MAX + 1]; /* by position; 0: no such parameter */
};

static struct sqlite_stmt *stmt_of(struct db_stmt *s)
{
    return (struct sqlite_stmt *)s;
}

static int map_parameters(struct sqlite_stmt *s, struct err *err)
{
    int n = sqlite3_bind_parameter_count(s->handle);
    if (n > PARAMETERS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d parameters in \"%.*s\"", PARAMETERS_MAX, DB_SQL_SHOWN_MAX,
                       s->base.sql);
    for (int i = 1; i <= n; i++) {
        const char *name = sqlite3_bind_parameter_name(s->handle, i);
        struct err ignored = ERR_INIT;
        uint64_t pos = 0;
        if (!name || name[0] != '$' || span_to_u64(span_of(name + 1), &pos, &ignored) < 0 || pos < 1 ||
            pos > PARAMETERS_MAX)
            return err_set(err, ERR_SYSTEM, "parameter %s is not one of $1 to $%d in \"%.*s\"", name ? name : "?",
                           PARAMETERS_MAX, DB_SQL_SHOWN_MAX, s->base.sql);
        s->index[pos] = (uint8_t)i;
    }
    return 0;
}

/* One statement and nothing after it, or the rest would silently not run. */
static int compile(struct sqlite_db *db, const char *sql, sqlite3_stmt **handle, struct err *err)
{
    const char *rest = NULL;
    int rc = sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, handle, &rest);
    if (rc != SQLITE_OK)
        return sqlite_fail(db, rc, sql, err);
    if (!*handle || span_trim(span_of(rest)).n)
        return err_set(err, ERR_SYSTEM, "not exactly one statement: \"%.*s\"", DB_SQL_SHOWN_MAX, sql);
    return 0;
}

int sqlite_stmt_open(struct db *db, const char *sql, struct db_stmt **out, struct err *err)
{
    struct sqlite_stmt *s = calloc(1, sizeof(*s));
    if (!s)
        return err_nomem(err);
    s->base.db = db;
    s->base.sql = sql;
    if (compile(sqlite_of(db), sql, &s->handle, err) < 0 || map_parameters(s, err) < 0) {
        sqlite_stmt_close(&s->base);
        return -1;
    }
    *out = &s->base;
    return 0;
}

void sqlite_stmt_close(struct db_stmt *base)
{
    sqlite3_finalize(stmt_of(base)->handle);
    free(base);
}

enum err_kind sqlite_bind(struct db_stmt *base, int pos, const struct db_value *value)
{
    struct sqlite_stmt *s = stmt_of(base);
    if (pos < 1 || pos > PARAMETERS_MAX || s->index[pos] == 0 || s->running)
        return ERR_SYSTEM;
    int index = s->index[pos], rc = SQLITE_OK;
    switch (value->type) {
    case DB_NULL:
        rc = sqlite3_bind_null(s->handle, index);
        break;
    case DB_I64:
        rc = sqlite3_bind_int64(s->handle, index, value->i64);
        break;
    case DB_TEXT:
        rc = sqlite3_bind_text64(s->handle, index, value->bytes.p, value->bytes.n, SQLITE_STATIC, SQLITE_UTF8);
        break;
    case DB_BLOB:
        rc = sqlite3_bind_blob64(s->handle, index, value->bytes.p, value->bytes.n, SQLITE_STATIC);
        break;
    }
    return rc == SQLITE_OK ? ERR_NONE : sqlite_kind(rc, 0);
}

int sqlite_next(struct db_stmt *base, struct err *err)
{
    struct sqlite_stmt *s = stmt_of(base);
    s->running = true;
    int rc = sqlite3_step(s->handle);
    if (rc == SQLITE_ROW)
        return 1;
    return rc == SQLITE_DONE ? 0 : sqlite_fail(sqlite_of(base->db), rc, base->sql, err);
}

void sqlite_reset(struct db_stmt *base)
{
    struct sqlite_stmt *s = stmt_of(base);
    sqlite3_reset(s->handle); /* repeats the run's error, which was reported when it happened */
    sqlite3_clear_bindings(s->handle);
    s->running = false;
}

bool sqlite_col_null(struct db_stmt *base, int col)
{
    return sqlite3_column_type(stmt_of(base)->handle, col) == SQLITE_NULL;
}

int64_t sqlite_col_i64(struct db_stmt *base, int col)
{
    return sqlite3_column_int64(stmt_of(base)->handle, col);
}

struct span sqlite_col_text(struct db_stmt *base, int col)
{
    sqlite3_stmt *handle = stmt_of(base)->handle;
    int type = sqlite3_column_type(handle, col);
    if (type == SQLITE_NULL)
        return (struct span){NULL, 0};
    const char *p =
        type == SQLITE_BLOB ? sqlite3_column_blob(handle, col) : (const char *)sqlite3_column_text(handle, col);
    if (p)
        return (struct span){p, (size_t)sqlite3_column_bytes(handle, col)};
    if (type != SQLITE_BLOB || sqlite3_errcode(sqlite3_db_handle(handle)) == SQLITE_NOMEM)
        base->failed.kind = ERR_NOMEM;
    return (struct span){"", 0}; /* SQLite has no address for an empty blob */
}
