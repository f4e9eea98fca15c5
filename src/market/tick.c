/* Housekeeping. Each execution in a transaction of its own, looked at again under its lock: of several servers that
 * find the same one due, the first moves it and the others find nothing to do. */
#include "market/market_priv.h"

#define DUE_BATCH           100
#define RETENTION_BATCH     50
#define MARKETS_MAX         1000
#define IDEMPOTENCY_KEPT_MS 86400000
#define GONE_BATCH          10000 /* of what one node that is gone had */

struct due {
    char job[MARKET_ID_MAX];
    uint32_t index;
};

static int find_due(struct market *m, struct due out[DUE_BATCH], size_t *n, struct err *err)
{
    int64_t now_ms;
    *n = 0;
    if (market_now(m, &now_ms, err) < 0)
        return -1;
    struct query q = query_on(
        m, "SELECT job, idx FROM executions WHERE due_ms IS NOT NULL AND due_ms <= $1 ORDER BY due_ms LIMIT $2", err);
    query_i64(&q, now_ms);
    query_i64(&q, DUE_BATCH);
    while (query_next(&q) == 1) {
        query_str(&q, 0, out[*n].job);
        out[(*n)++].index = (uint32_t)query_get(&q, 1);
    }
    return err_is_set(err) ? -1 : 0;
}

static int tick_locked(struct market *m, const struct due *d, struct err *err)
{
    struct job_row j = {0};
    struct exec_row x = {0};
    int rc = exec_lock(m, d->job, d->index, &j, &x, err);
    if (rc <= 0)
        return rc; /* deleted since */
    const struct verdict v = decide_tick(&x.facts, m->tx.now_ms);
    return exec_apply(m, &j, &x, &v, NULL, err);
}

static int tick_executions(struct market *m, bool *more, struct err *err)
{
    struct due due[DUE_BATCH];
    size_t n;
    if (find_due(m, due, &n, err) < 0)
        return -1;
    *more = n == DUE_BATCH;
    for (size_t i = 0; i < n; i++) {
        if (market_begin(m, err) < 0)
            return -1;
        if (market_end(m, tick_locked(m, &due[i], err), err) < 0)
            return -1;
    }
    return 0;
}

/* ---- Retention */

struct kept {
    char market[MARKET_ADDRESS_MAX];
    int64_t retention_ms;
};

static size_t read_markets(struct market *m, struct kept *out, struct err *err)
{
    size_t n = 0;
    struct query q = query_on(m, "SELECT address, retention_ms FROM markets ORDER BY address LIMIT $1", err);
    query_i64(&q, MARKETS_MAX);
    while (query_next(&q) == 1) {
        query_str(&q, 0, out[n].market);
        out[n++].retention_ms = query_get(&q, 1);
    }
    return n;
}

static int forget_jobs(struct market *m, const struct kept *k, int64_t now_ms, bool *more, struct err *err)
{
    struct query q = query_on(m,
                              "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE market = $1"
                              " AND finished_ms IS NOT NULL AND finished_ms <= $2 ORDER BY finished_ms LIMIT $3)",
                              err);
    query_text(&q, k->market);
    query_i64(&q, now_ms - k->retention_ms);
    query_i64(&q, RETENTION_BATCH);
    if (query_run(&q) < 0)
        return -1;
    *more = *more || db_changes(m->db) == RETENTION_BATCH;
    return 0;
}

static int forget(struct market *m, bool *more, struct err *err)
{
    int64_t now_ms;
    struct kept *markets = calloc(MARKETS_MAX, sizeof(*markets));
    if (!markets)
        return err_nomem(err);
    int rc = market_now(m, &now_ms, err);
    size_t n = rc == 0 ? read_markets(m, markets, err) : 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = forget_jobs(m, &markets[i], now_ms, more, err);
    free(markets);
    if (rc < 0 || err_is_set(err))
        return -1;
    struct query q = query_on(m, "DELETE FROM idempotency WHERE created_ms <= $1", err);
    query_i64(&q, now_ms - IDEMPOTENCY_KEPT_MS);
    return query_run(&q);
}

/* ---- Nodes that are gone: they are kept, with their names, but not what they had. One that comes back tells anew. */

/* 1: one that has something to forget; 0: none. */
static int find_gone(struct market *m, int64_t seen_ms, char id[MARKET_NODE_MAX], struct err *err)
{
    struct query q = query_on(m,
                              "SELECT n.id FROM nodes n WHERE n.last_seen_ms <= $1 AND (EXISTS"
                              " (SELECT 1 FROM node_blobs b WHERE b.node = n.id) OR EXISTS"
                              " (SELECT 1 FROM node_holds h WHERE h.node = n.id)) LIMIT 1",
                              err);
    query_i64(&q, seen_ms);
    int rc = query_next(&q);
    if (rc == 1) {
        query_copy(&q, 0, id, MARKET_NODE_MAX);
        query_done(&q);
    }
    return rc;
}

/* Under its row, so that nothing is taken which it is just telling again. */
static int forget_had(struct market *m, const char *id, int64_t seen_ms, struct err *err)
{
    struct query q =
        query_on(m, "UPDATE nodes SET last_seen_ms = last_seen_ms WHERE id = $1 AND last_seen_ms <= $2", err);
    query_text(&q, id);
    query_i64(&q, seen_ms);
    if (query_run(&q) < 0)
        return -1;
    if (db_changes(m->db) == 0)
        return 0; /* back again */
    q = query_on(m,
                 "DELETE FROM node_blobs WHERE node = $1 AND sha256 IN"
                 " (SELECT sha256 FROM node_blobs WHERE node = $1 LIMIT $2)",
                 err);
    query_text(&q, id);
    query_i64(&q, GONE_BATCH);
    if (query_run(&q) < 0)
        return -1;
    q = query_on(m, "DELETE FROM node_holds WHERE node = $1", err);
    query_text(&q, id);
    return query_run(&q);
}

static int forget_gone(struct market *m, bool *more, struct err *err)
{
    char id[MARKET_NODE_MAX];
    int64_t now_ms;
    if (market_now(m, &now_ms, err) < 0)
        return -1;
    int64_t seen_ms = now_ms - MARKET_NODE_GONE_MS;
    int rc = find_gone(m, seen_ms, id, err);
    if (rc <= 0)
        return rc;
    *more = true;
    if (market_begin(m, err) < 0)
        return -1;
    return market_end(m, forget_had(m, id, seen_ms, err), err);
}

int market_tick(struct market *m, bool *more, struct err *err)
{
    *more = false;
    if (tick_executions(m, more, err) < 0 || forget(m, more, err) < 0 || forget_gone(m, more, err) < 0)
        return err_wrap(err, "housekeeping");
    return 0;
}
