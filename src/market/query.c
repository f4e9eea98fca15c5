/* Queries: parameters bound in order; text is checked here, since what comes from outside ends here. */
#include "market/market_priv.h"

struct query query_on(struct market *m, const char *sql, struct err *err)
{
    struct query q = {.err = err};
    if (err_is_set(err) || db_prepare(m->db, sql, &q.s, err) < 0)
        q.s = NULL;
    return q;
}

void query_i64(struct query *q, int64_t v)
{
    q->bound++;
    if (q->s)
        db_bind_i64(q->s, q->bound, v);
}

void query_value(struct query *q, int64_t v)
{
    if (v != VALUE_NONE)
        query_i64(q, v);
    else
        q->bound++; /* not bound is NULL */
}

/* PostgreSQL takes neither NUL nor broken UTF-8, and no reader of what is kept should have to. */
void query_span(struct query *q, struct span v)
{
    q->bound++;
    if (!q->s)
        return;
    if (v.p && (memchr(v.p, '\0', v.n) || !span_is_utf8(v))) {
        err_set(q->err, ERR_INVALID, "a text is not UTF-8");
        db_done(q->s);
        q->s = NULL;
        return;
    }
    db_bind_span(q->s, q->bound, v);
}

void query_text(struct query *q, const char *v)
{
    query_span(q, span_of(v));
}

void query_blob(struct query *q, struct span v)
{
    q->bound++;
    if (q->s)
        db_bind_blob(q->s, q->bound, v.p, v.n);
}

int query_next(struct query *q)
{
    return q->s ? db_next(q->s, q->err) : -1;
}

int query_run(struct query *q)
{
    return q->s ? db_run(q->s, q->err) : -1;
}

int query_start(struct query *q)
{
    return q->s ? db_start(q->s, q->err) : -1;
}

int query_later(struct query *q)
{
    return q->s ? db_later(q->s, q->err) : -1;
}

int query_one(struct query *q, int64_t *out)
{
    int rc = query_next(q);
    if (rc < 0)
        return -1;
    *out = rc ? db_col_i64(q->s, 0) : 0;
    query_done(q);
    return 0;
}

int64_t query_get(const struct query *q, int col)
{
    return db_col_null(q->s, col) ? VALUE_NONE : db_col_i64(q->s, col);
}

void query_copy(const struct query *q, int col, char *out, size_t size)
{
    struct span s = span_head(db_col_text(q->s, col), size - 1);
    if (s.n)
        memcpy(out, s.p, s.n);
    out[s.n] = '\0';
}

char *query_dup(const struct query *q, int col, struct arena *a)
{
    struct span s = db_col_text(q->s, col);
    return s.p ? arena_dup_span(a, s) : NULL;
}
