/* Sealing anew what older keys of the key file sealed, a value at a time, in the order of the rows' names. A value is
 * replaced only where it is still the one that was read: whoever wrote it meanwhile sealed it under the current key. */
#include "market/market_priv.h"

#define RESEAL_BATCH 100
#define RESEAL_MAX   ((size_t)16 << 20)

/* After the first column, the name of the row, comes what is sealed. */
static const struct sealed_column {
    const char *name; /* what its values are bound to, beside the row */
    const char *next, *replace;
} columns[] = {
    {"variables", "SELECT id, secrets FROM jobs WHERE id > $1 AND secrets IS NOT NULL ORDER BY id LIMIT 1",
     "UPDATE jobs SET secrets = $3 WHERE id = $1 AND secrets = $2"},
    {"credentials", "SELECT id, credentials FROM jobs WHERE id > $1 AND credentials IS NOT NULL ORDER BY id LIMIT 1",
     "UPDATE jobs SET credentials = $3 WHERE id = $1 AND credentials = $2"},
    {"required",
     "SELECT address, required_sealed FROM markets WHERE address > $1 AND required_sealed IS NOT NULL"
     " ORDER BY address LIMIT 1",
     "UPDATE markets SET required_sealed = $3 WHERE address = $1 AND required_sealed = $2"},
};

static int replace(struct market *m, const struct sealed_column *column, const char *row, struct span old,
                   struct market_reseal *pass, struct err *err)
{
    struct err why = ERR_INIT;
    AUTO_BUF fresh;
    buf_init(&fresh, RESEAL_MAX);
    if (seal_anew(m, old, row, column->name, &fresh, &why) < 0) {
        pass->closed++;
        return why.kind == ERR_NOMEM ? err_nomem(err) : 0; /* whoever needs it will say why it can't be opened */
    }
    struct query q = query_on(m, column->replace, err);
    query_text(&q, row);
    query_blob(&q, old);
    query_blob(&q, buf_span(&fresh));
    if (query_run(&q) < 0)
        return -1;
    pass->renewed++;
    return 0;
}

/* 1: there was a row, 0: no further one of this column. */
static int step(struct market *m, struct market_reseal *pass, struct err *err)
{
    const struct sealed_column *column = &columns[pass->column];
    AUTO_BUF old;
    buf_init(&old, RESEAL_MAX);
    struct query q = query_on(m, column->next, err);
    query_text(&q, pass->row);
    int rc = query_next(&q);
    if (rc <= 0)
        return rc;
    query_str(&q, 0, pass->row);
    buf_add_span(&old, db_col_text(q.s, 1));
    query_done(&q);
    if (buf_check(&old, "sealed value", err) < 0)
        return -1;
    if (!seal_is_stale(m->opts.keys, buf_span(&old)))
        return 1;
    return replace(m, column, pass->row, buf_span(&old), pass, err) < 0 ? -1 : 1;
}

int market_reseal(struct market *m, struct market_reseal *pass, bool *more, struct err *err)
{
    *more = true;
    for (unsigned n = 0; n < RESEAL_BATCH && pass->column < ARRAY_LEN(columns); n++) {
        int rc = step(m, pass, err);
        if (rc < 0)
            return -1;
        if (rc == 0) {
            pass->column++;
            pass->row[0] = '\0';
        }
    }
    *more = pass->column < ARRAY_LEN(columns);
    return 0;
}
