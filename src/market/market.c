/* A market's connection: opening, transactions, and telling of what changed. */
#include "market/market_priv.h"

int market_open(struct market **out, const struct market_opts *opts, struct err *err)
{
    struct market *m = calloc(1, sizeof(*m));
    if (!m)
        return err_nomem(err);
    m->opts = *opts;
    m->opts.db_url = NULL;
    if (!m->opts.lease_ms)
        m->opts.lease_ms = MARKET_LEASE_MS;
    const struct db_opts db = {.url = opts->db_url, .busy_timeout_ms = opts->busy_timeout_ms};
    if (db_open(&m->db, &db, err) < 0 || schema_migrate(m->db, err) < 0) {
        market_free(m);
        return err_wrap(err, "market");
    }
    *out = m;
    return 0;
}

void market_free(struct market *m)
{
    if (!m)
        return;
    db_free(m->db);
    free(m);
}

int64_t market_lease_ms(const struct market *m)
{
    return m->opts.lease_ms;
}

int market_now(struct market *m, int64_t *now_ms, struct err *err)
{
    if (!m->opts.now_ms)
        return db_now_ms(m->db, now_ms, err);
    *now_ms = m->opts.now_ms(m->opts.now_ctx);
    return 0;
}

int market_alive(struct market *m, struct err *err)
{
    int64_t version;
    struct query q = query_on(m, "SELECT version FROM schema_version", err);
    return query_one(&q, &version);
}

int market_sync(struct market *m, struct err *err)
{
    return db_sync(m->db, err);
}

int market_begin_at(struct market *m, int64_t now_ms, struct err *err)
{
    m->tx.changed_count = 0;
    m->tx.now_ms = now_ms;
    return db_begin(m->db, err);
}

int market_clock(struct market *m, struct err *err)
{
    return market_now(m, &m->tx.now_ms, err);
}

int market_begin(struct market *m, struct err *err)
{
    if (market_begin_at(m, 0, err) < 0)
        return -1;
    if (market_clock(m, err) == 0)
        return 0;
    db_rollback(m->db);
    return -1;
}

void market_changed(struct market *m, const char *what, bool others)
{
    size_t i = 0;
    while (i < m->tx.changed_count && !str_eq(m->tx.changed[i], what))
        i++;
    if (i == CHANGED_MAX)
        return;
    if (i == m->tx.changed_count) {
        snprintf(m->tx.changed[i], MARKET_NODE_MAX, "%s", what);
        m->tx.others[m->tx.changed_count++] = false;
    }
    m->tx.others[i] = m->tx.others[i] || others;
}

/* Other servers hear of it together with the commit. */
static int tell_others(struct market *m, struct err *err)
{
    for (size_t i = 0; i < m->tx.changed_count; i++)
        if (m->tx.others[i] && db_notify(m->db, LISTEN_CHANNEL, m->tx.changed[i], err) < 0)
            return -1;
    return 0;
}

int market_end(struct market *m, int rc, struct err *err)
{
    if (rc == 0)
        rc = tell_others(m, err);
    if (rc != 0) {
        db_rollback(m->db);
        return rc;
    }
    if (db_commit(m->db, err) < 0)
        return -1;
    for (size_t i = 0; m->opts.changed && i < m->tx.changed_count; i++)
        m->opts.changed(m->opts.changed_ctx, m->tx.changed[i]);
    return 0;
}
