/* PostgreSQL: statements. Parameters go out beside the text (extended query protocol, values in binary). A result is
 * read row by row into a bounded whole before the first row is handed out: the connection is free for other statements
 * while rows are looked at, as with SQLite. */
#include "db/postgres_priv.h"

#include <endian.h>

#define RESULT_BYTES_MAX ((size_t)256 << 20)

/* Types by their fixed numbers (catalog pg_type). */
enum { OID_BOOL = 16, OID_BYTEA = 17, OID_INT8 = 20, OID_INT2 = 21, OID_INT4 = 23, OID_TEXT = 25, OID_NUMERIC = 1700 };

/* The end of a quoted text, name or comment that starts at p; p itself where none does. */
static const char *skip_quoted(const char *p)
{
    const char *end = NULL;
    if (*p == '\'' || *p == '"')
        end = strchr(p + 1, *p);
    else if (p[0] == '-' && p[1] == '-')
        end = strchr(p, '\n');
    else if (p[0] == '/' && p[1] == '*')
        end = (end = strstr(p + 2, "*/")) ? end + 1 : NULL;
    else
        return p;
    return end ? end + 1 : p + strlen(p);
}

/* The server wants exactly as many parameters as the text names. */
static int find_parameters(struct pg_stmt *s, struct err *err)
{
    const char *p = s->base.sql;
    while (*p) {
        const char *after = skip_quoted(p);
        if (after != p || *p != '$' || !ascii_is_digit(p[1])) {
            p = after != p ? after : p + 1;
            continue;
        }
        int pos = 0;
        for (p++; ascii_is_digit(*p) && pos <= PG_PARAMETERS_MAX; p++)
            pos = pos * 10 + (*p - '0');
        if (pos < 1 || pos > PG_PARAMETERS_MAX)
            return err_set(err, ERR_SYSTEM, "a parameter is not one of $1 to $%d in \"%.*s\"", PG_PARAMETERS_MAX,
                           DB_SQL_SHOWN_MAX, s->base.sql);
        s->known[pos] = true;
        s->parameters = pos > s->parameters ? pos : s->parameters;
    }
    return 0;
}

int pg_stmt_open(struct db *db, const char *sql, struct db_stmt **out, struct err *err)
{
    struct pg_stmt *s = calloc(1, sizeof(*s));
    if (!s)
        return err_nomem(err);
    s->base.db = db;
    s->base.sql = sql;
    if (find_parameters(s, err) < 0) {
        pg_stmt_close(&s->base);
        return -1;
    }
    pg_reset(&s->base);
    *out = &s->base;
    return 0;
}

void pg_stmt_close(struct db_stmt *base)
{
    struct pg_stmt *s = pg_stmt_of(base);
    pg_reset(base);
    free(s->rows);
    free(s);
}

enum err_kind pg_bind(struct db_stmt *base, int pos, const struct db_value *value)
{
    struct pg_stmt *s = pg_stmt_of(base);
    if (pos < 1 || pos > PG_PARAMETERS_MAX || !s->known[pos] || s->state != PG_IDLE)
        return ERR_SYSTEM;
    int i = pos - 1;
    switch (value->type) {
    case DB_NULL:
        s->types[i] = 0; /* the server's guess */
        s->values[i] = NULL;
        break;
    case DB_I64:
        s->types[i] = OID_INT8;
        s->integers[i] = htobe64((uint64_t)value->i64);
        s->values[i] = (const char *)&s->integers[i];
        s->lengths[i] = (int)sizeof(s->integers[i]);
        break;
    case DB_TEXT:
    case DB_BLOB:
        if (value->bytes.n > INT32_MAX / 2)
            return ERR_LIMIT;
        s->types[i] = value->type == DB_TEXT ? OID_TEXT : OID_BYTEA;
        s->values[i] = value->bytes.p;
        s->lengths[i] = (int)value->bytes.n;
        break;
    }
    return ERR_NONE;
}

int pg_keep_row(struct pg_stmt *s, PGresult *row, struct err *err)
{
    size_t bytes = PQresultMemorySize(row);
    if (s->bytes + bytes > RESULT_BYTES_MAX) {
        PQclear(row);
        return err_set(err, ERR_LIMIT, "more than %zu MiB of rows from \"%.*s\"", RESULT_BYTES_MAX >> 20,
                       DB_SQL_SHOWN_MAX, s->base.sql);
    }
    if (s->row_count == s->row_capacity) {
        size_t capacity = s->row_capacity ? s->row_capacity * 2 : 16;
        PGresult **rows = reallocarray(s->rows, capacity, sizeof(PGresult *));
        if (!rows) {
            PQclear(row);
            return err_nomem(err);
        }
        s->rows = rows;
        s->row_capacity = capacity;
    }
    s->rows[s->row_count++] = row;
    s->bytes += bytes;
    return 0;
}

int pg_start(struct db_stmt *base, bool rows_wanted, struct err *err)
{
    return pg_send(pg_of(base->db), pg_stmt_of(base), rows_wanted, err);
}

int pg_next(struct db_stmt *base, struct err *err)
{
    struct pg_stmt *s = pg_stmt_of(base);
    if (s->state == PG_AT_ROW)
        s->row_at++;
    if ((s->state == PG_IDLE && pg_start(base, true, err) < 0) ||
        (s->state == PG_SENT && pg_flush(pg_of(base->db), err) < 0))
        return -1;
    if (s->state == PG_SKIPPED)
        return err_set(err, ERR_SYSTEM, "a statement before it failed: \"%.*s\"", DB_SQL_SHOWN_MAX, base->sql);
    s->state = PG_AT_ROW;
    return s->row_at < s->row_count ? 1 : 0;
}

void pg_reset(struct db_stmt *base)
{
    struct pg_stmt *s = pg_stmt_of(base);
    if (s->state == PG_SENT)
        pg_unwanted(pg_of(base->db), s);
    for (size_t i = 0; i < s->row_count; i++)
        PQclear(s->rows[i]);
    s->row_count = s->row_at = s->bytes = 0;
    s->state = PG_IDLE;
    for (int i = 0; i < s->parameters; i++) {
        s->values[i] = NULL;
        s->types[i] = s->known[i + 1] ? 0 : OID_TEXT; /* nothing else could tell the type of one never named */
    }
}

static const PGresult *row_of(const struct pg_stmt *s, int col)
{
    if (s->row_at >= s->row_count || col < 0 || col >= PQnfields(s->rows[s->row_at]))
        return NULL;
    return s->rows[s->row_at];
}

bool pg_col_null(struct db_stmt *base, int col)
{
    const PGresult *row = row_of(pg_stmt_of(base), col);
    return !row || PQgetisnull(row, 0, col);
}

struct span pg_col_text(struct db_stmt *base, int col)
{
    if (pg_col_null(base, col))
        return (struct span){NULL, 0};
    const PGresult *row = row_of(pg_stmt_of(base), col);
    return (struct span){PQgetvalue(row, 0, col), (size_t)PQgetlength(row, 0, col)};
}

static uint64_t big_endian(const char *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | (unsigned char)p[i];
    return v;
}

/* What SUM() of integers gives: count of digits (base 10,000), weight of the first, sign, scale, digits. */
static bool numeric_i64(struct span v, int64_t *out)
{
    if (v.n < 8)
        return false;
    int digits = (int)big_endian(v.p, 2), weight = (int16_t)big_endian(v.p + 2, 2);
    uint64_t sign = big_endian(v.p + 4, 2);
    if ((sign != 0 && sign != 0x4000) || v.n < 8 + (size_t)digits * 2)
        return false;
    int64_t sum = 0;
    for (int i = 0; i <= weight; i++) { /* ends by overflow where the weight is large */
        int64_t digit = i < digits ? (int64_t)big_endian(v.p + 8 + i * 2, 2) : 0;
        if (__builtin_mul_overflow(sum, 10000, &sum) || __builtin_add_overflow(sum, sign ? -digit : digit, &sum))
            return false;
        if (i >= digits && sum == 0)
            break;
    }
    *out = sum;
    return true;
}

int64_t pg_col_i64(struct db_stmt *base, int col)
{
    struct span v = pg_col_text(base, col);
    int64_t number = 0;
    if (!v.p)
        return 0;
    switch (PQftype(row_of(pg_stmt_of(base), col), col)) {
    case OID_BOOL:
        return v.n == 1 && v.p[0];
    case OID_INT2:
        return (int16_t)big_endian(v.p, 2);
    case OID_INT4:
        return (int32_t)big_endian(v.p, 4);
    case OID_INT8:
        return (int64_t)big_endian(v.p, 8);
    case OID_NUMERIC:
        if (numeric_i64(v, &number))
            return number;
        break;
    default:
        break;
    }
    base->failed.kind = ERR_SYSTEM;
    base->failed.pos = 0;
    return 0;
}
