/* Heartbeats and control: leases are renewed, reports taken in, and what a node is to do is said. */
#include "market/market_priv.h"

struct report {
    struct market_ref ref;
    enum exec_state state;
    bool has_state;
    const json_t *progress;
};

static int read_report(const json_t *o, struct report *r, struct err *err)
{
    int64_t index, epoch;
    const char *job = json_get_str(o, "job"), *state = json_get_str(o, "state");
    if (!job || strlen(job) >= MARKET_ID_MAX || !json_get_i64(o, "index", &index) || index < 0 || index > UINT32_MAX ||
        !json_get_i64(o, "epoch", &epoch))
        return err_set(err, ERR_INVALID, "running: expected {\"job\", \"index\", \"epoch\"} in each");
    *r = (struct report){.ref = {job, (uint32_t)index, epoch}, .progress = json_object_get(o, "progress")};
    r->has_state = state != NULL;
    if (state && (!exec_state_parse(state, &r->state) || !exec_is_held(r->state)))
        return err_set(err, ERR_INVALID, "running: '%.40s' is no state of a claimed execution", state);
    return 0;
}

static int compare(const void *a, const void *b)
{
    const struct report *x = a, *y = b;
    int order = strcmp(x->ref.job, y->ref.job);
    return order ? order : (x->ref.index > y->ref.index) - (x->ref.index < y->ref.index);
}

/* Sorted, so that of two transactions over the same jobs one waits for the other. */
static int read_reports(const json_t *running, struct report out[MARKET_SLOTS_MAX], size_t *n, struct err *err)
{
    *n = json_array_size(running);
    if (running && (!json_is_array(running) || *n > MARKET_SLOTS_MAX))
        return err_set(err, ERR_INVALID, "running: expected a list of at most %d", MARKET_SLOTS_MAX);
    for (size_t i = 0; i < *n; i++)
        if (read_report(json_array_get(running, i), &out[i], err) < 0)
            return -1;
    if (*n)
        qsort(out, *n, sizeof(*out), compare);
    return 0;
}

static json_t *ref_json(const struct market_ref *ref, struct err *err)
{
    json_t *o = json_object();
    json_put_str(o, "job", ref->job, err);
    put_i64(o, "index", ref->index, err);
    put_i64(o, "epoch", ref->epoch, err);
    return o;
}

/* One that is too long is not kept, and costs nobody a lease. */
static int store_progress(struct market *m, const struct exec_row *x, const json_t *progress, struct err *err)
{
    AUTO_STR text = NULL;
    if (!progress)
        return 0;
    bool kept = json_dumpb(progress, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY) <= MARKET_PROGRESS_MAX;
    if (kept && json_text(progress, JSON_TEXT_MAX, "progress", &text, err) < 0)
        return -1;
    struct query q = query_on(m, "UPDATE executions SET progress = $2 WHERE id = $1", err);
    query_text(&q, x->id);
    query_text(&q, text);
    return query_run(&q);
}

/* One execution: renewed, or lost. */
static int renew(struct market *m, const struct market_caller *c, const struct report *r, json_t *renewed, json_t *lost,
                 struct err *err)
{
    struct job_row j;
    struct exec_row x;
    struct err why = ERR_INIT;
    if (exec_held(m, c, &r->ref, &j, &x, &why) < 0)
        return why.kind == ERR_CHANGED ? append(lost, ref_json(&r->ref, err), err) : err_move(err, &why);
    x.facts.lease_until_ms = m->tx.now_ms + m->opts.lease_ms;
    struct verdict v = {.kind = VERDICT_KEEP};
    if (r->has_state)
        v = decide_report(&x.facts, r->state);
    int rc = v.kind == VERDICT_MOVE ? exec_apply(m, &j, &x, &v, "", err) : exec_store(m, &x, err);
    if (rc < 0 || store_progress(m, &x, r->progress, err) < 0)
        return -1;
    json_t *o = ref_json(&r->ref, err);
    put_i64(o, "lease_ms", m->opts.lease_ms, err);
    return append(renewed, o, err);
}

/* ---- What a node holds */

static int drop_hold(struct market *m, const char *node, const char *key, struct err *err)
{
    struct query q = query_on(m, "DELETE FROM node_holds WHERE node = $1 AND hold = $2", err);
    query_text(&q, node);
    query_text(&q, key);
    return query_run(&q);
}

static int put_hold(struct market *m, const char *node, const char *key, int64_t bytes, struct err *err)
{
    struct query q = query_on(m,
                              "INSERT INTO node_holds (node, hold, bytes) VALUES ($1, $2, $3)"
                              " ON CONFLICT (node, hold) DO UPDATE SET bytes = $3",
                              err);
    query_text(&q, node);
    query_text(&q, key);
    query_i64(&q, bytes);
    return query_run(&q);
}

/* {KEY: bytes} */
static json_t *known_holds(struct market *m, const char *node, struct err *err)
{
    json_t *o = json_object();
    struct query q = query_on(m, "SELECT hold, bytes FROM node_holds WHERE node = $1", err);
    query_text(&q, node);
    while (query_next(&q) == 1) {
        char key[80];
        query_str(&q, 0, key);
        put_i64(o, key, query_get(&q, 1), err);
    }
    return o;
}

/* The difference only: most heartbeats change nothing. */
int node_holds_set(struct market *m, const char *node, const json_t *holds, struct err *err)
{
    size_t i;
    json_t *item;
    const char *key;
    if (!json_is_array(holds) || json_array_size(holds) > MARKET_HOLDS_MAX)
        return err_set(err, ERR_INVALID, "holds: expected a list of at most %d", MARKET_HOLDS_MAX);
    AUTO_JSON before = known_holds(m, node, err);
    json_array_foreach(holds, i, item)
    {
        int64_t bytes = 0;
        const char *name = json_get_str(item, "key");
        if (!is_sha256(name) || !json_get_i64(item, "bytes", &bytes) || bytes < 0)
            return err_set(err, ERR_INVALID, "holds: expected {\"key\": SHA-256, \"bytes\"} in each");
        if (bytes > MARKET_HOLD_BYTES_MAX)
            bytes = MARKET_HOLD_BYTES_MAX;
        json_t *old = json_object_get(before, name);
        if ((!old || json_integer_value(old) != bytes) && put_hold(m, node, name, bytes, err) < 0)
            return -1;
        if (old)
            json_object_del(before, name);
    }
    json_object_foreach(before, key, item)
    {
        if (drop_hold(m, node, key, err) < 0)
            return -1;
    }
    return err_is_set(err) ? -1 : 0;
}

static int each_blob(struct market *m, const char *node, const json_t *list, const char *sql, bool add, struct err *err)
{
    size_t i;
    json_t *item;
    if (!list)
        return 0;
    if (!json_is_array(list) || json_array_size(list) > MARKET_BLOBS_MAX)
        return err_set(err, ERR_INVALID, "blobs: expected lists of at most %d", MARKET_BLOBS_MAX);
    json_array_foreach(list, i, item)
    {
        if (!is_sha256(json_string_value(item)))
            return err_set(err, ERR_INVALID, "blobs: expected SHA-256 digests in lower-case hex");
        struct query q = query_on(m, sql, err);
        query_text(&q, node);
        query_text(&q, json_string_value(item));
        if (add)
            query_i64(&q, m->tx.now_ms);
        if (query_run(&q) < 0)
            return -1;
    }
    return 0;
}

/* Above the ceiling the oldest make room. */
static int bound_blobs(struct market *m, const char *node, struct err *err)
{
    int64_t n;
    struct query q = query_on(m, "SELECT COUNT(*) FROM node_blobs WHERE node = $1", err);
    query_text(&q, node);
    if (query_one(&q, &n) < 0)
        return -1;
    if (n <= MARKET_NODE_BLOBS_MAX)
        return 0;
    q = query_on(m,
                 "DELETE FROM node_blobs WHERE node = $1 AND sha256 IN (SELECT sha256 FROM node_blobs"
                 " WHERE node = $1 ORDER BY added_ms, sha256 LIMIT $2)",
                 err);
    query_text(&q, node);
    query_i64(&q, n - MARKET_NODE_BLOBS_MAX);
    return query_run(&q);
}

static int change_blobs(struct market *m, const char *node, const struct market_heartbeat *h, struct err *err)
{
    if (h->blobs_reset) {
        struct query q = query_on(m, "DELETE FROM node_blobs WHERE node = $1", err);
        query_text(&q, node);
        if (query_run(&q) < 0)
            return -1;
    }
    if (each_blob(m, node, h->blobs_remove, "DELETE FROM node_blobs WHERE node = $1 AND sha256 = $2", false, err) < 0 ||
        each_blob(m, node, h->blobs_add,
                  "INSERT INTO node_blobs (node, sha256, added_ms) VALUES ($1, $2, $3)"
                  " ON CONFLICT (node, sha256) DO UPDATE SET added_ms = $3",
                  true, err) < 0)
        return -1;
    return h->blobs_add ? bound_blobs(m, node, err) : 0;
}

/* ---- Heartbeat */

struct node_state {
    char state[16], market[MARKET_ADDRESS_MAX];
    bool drain_told;
};

static bool is_leaving(const struct node_state *n)
{
    return str_eq(n->state, "draining") || str_eq(n->state, "rejected");
}

static int no_node(struct err *err)
{
    err_set(err, ERR_NOTFOUND, "no such node");
    return err_hint(err, "a node says hello first");
}

/* What a node has counted since its start is added to what it had before: a number below the last one is a fresh count,
 * and 0 says nothing. */
static const char touch_sql[] =
    "UPDATE nodes SET last_seen_ms = $2, readiness = $4,"
    " ready = CASE WHEN CAST($6 AS BIGINT) = (SELECT k.required_version FROM markets k"
    " WHERE k.address = nodes.market) OR $6 = $7 THEN CAST($3 AS BIGINT) ELSE 0 END,"
    " cache = COALESCE(CAST($5 AS TEXT), cache), token_used = 1,"
    " peer_sent_bytes = peer_sent_bytes + CASE WHEN peer_sent_bytes >= CAST($10 AS BIGINT) THEN 0"
    " WHEN CAST($8 AS BIGINT) >= peer_sent_seen THEN CAST($8 AS BIGINT) - peer_sent_seen ELSE CAST($8 AS BIGINT) END,"
    " peer_sent_seen = CASE WHEN CAST($8 AS BIGINT) > 0 THEN CAST($8 AS BIGINT) ELSE peer_sent_seen END,"
    " peer_got_bytes = peer_got_bytes + CASE WHEN peer_got_bytes >= CAST($10 AS BIGINT) THEN 0"
    " WHEN CAST($9 AS BIGINT) >= peer_got_seen THEN CAST($9 AS BIGINT) - peer_got_seen ELSE CAST($9 AS BIGINT) END,"
    " peer_got_seen = CASE WHEN CAST($9 AS BIGINT) > 0 THEN CAST($9 AS BIGINT) ELSE peer_got_seen END"
    " WHERE id = $1 RETURNING state, market";

static int touch(struct market *m, const struct market_caller *c, const struct market_heartbeat *h,
                 struct node_state *out, struct err *err)
{
    AUTO_STR cache = NULL;
    if (json_text(h->cache, JSON_TEXT_MAX, "cache", &cache, err) < 0)
        return -1;
    struct query q = query_on(m, touch_sql, err);
    query_text(&q, c->node);
    query_i64(&q, m->tx.now_ms);
    query_i64(&q, h->ready);
    query_text(&q, h->readiness ? h->readiness : "");
    query_text(&q, cache);
    query_i64(&q, h->required_version); /* ready for what was required before is not ready */
    query_i64(&q, MARKET_KEEP);
    query_i64(&q, h->peer_sent_bytes);
    query_i64(&q, h->peer_got_bytes);
    query_i64(&q, MARKET_PEER_BYTES_MAX);
    int rc = query_next(&q);
    if (rc <= 0)
        return rc < 0 ? -1 : no_node(err);
    query_str(&q, 0, out->state);
    query_str(&q, 1, out->market);
    query_done(&q);
    return 0;
}

static int beat(struct market *m, const struct market_caller *c, const struct market_heartbeat *h, json_t *o,
                struct err *err)
{
    struct report reports[MARKET_SLOTS_MAX] = {0};
    struct node_state node = {0};
    int64_t required = 0;
    size_t n;
    json_t *renewed = json_array(), *lost = json_array();
    json_put(o, "renewed", renewed, err);
    json_put(o, "lost", lost, err);
    if (err_is_set(err) || read_reports(h->running, reports, &n, err) < 0 || touch(m, c, h, &node, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (renew(m, c, &reports[i], renewed, lost, err) < 0)
            return -1;
    if ((h->holds && node_holds_set(m, c->node, h->holds, err) < 0) || change_blobs(m, c->node, h, err) < 0 ||
        market_required_version(m, node.market, &required, err) < 0)
        return -1;
    put_bool(o, "drain", is_leaving(&node), err);
    return put_i64(o, "required_version", required, err);
}

int market_node_heartbeat(struct market *m, const struct market_caller *c, const struct market_heartbeat *h,
                          json_t **out, struct err *err)
{
    if (need_node(c, err) < 0 || market_begin(m, err) < 0)
        return -1;
    AUTO_JSON o = json_object();
    if (market_end(m, beat(m, c, h, o, err), err) < 0)
        return -1;
    return give(out, &o, err);
}

/* ---- Control */

/* A stop that was told is told again after this, in case the answer was lost; not at once, or the poll would spin. */
#define TELL_AGAIN_MS 5000

static int look_at_node(struct market *m, const char *id, struct node_state *out, int64_t *required, struct err *err)
{
    struct query q = query_on(m, "SELECT state, market, drain_told FROM nodes WHERE id = $1", err);
    query_text(&q, id);
    int rc = query_next(&q);
    if (rc <= 0)
        return rc < 0 ? -1 : no_node(err);
    query_str(&q, 0, out->state);
    query_str(&q, 1, out->market);
    out->drain_told = query_get(&q, 2) != 0;
    query_done(&q);
    return market_required_version(m, out->market, required, err);
}

static int add_stop(json_t *list, const struct market_ref *ref, const char *reason, struct err *err)
{
    json_t *o = ref_json(ref, err);
    json_put_str(o, "reason", reason, err);
    return append(list, o, err);
}

/* Executions of this node that are being stopped and that it was not told of lately. */
static int add_asked(struct market *m, const char *node, int64_t now_ms, json_t *stop, struct err *err)
{
    struct query q = query_on(m,
                              "SELECT " EXEC_COLUMNS " FROM executions e WHERE e.node = $1 AND e.state BETWEEN 1 AND 4"
                              " AND e.stop_as IS NOT NULL AND (e.stop_told_ms IS NULL OR e.stop_told_ms <= $2)"
                              " ORDER BY e.id",
                              err);
    query_text(&q, node);
    query_i64(&q, now_ms - TELL_AGAIN_MS);
    while (query_next(&q) == 1) {
        struct exec_row x;
        exec_read(&q, &x);
        const struct market_ref ref = {x.job, x.index, x.epoch};
        add_stop(stop, &ref, x.reason, err);
    }
    return err_is_set(err) ? -1 : 0;
}

/* What the node believes it holds, and does not. */
static int add_lost(struct market *m, const struct market_caller *c, const json_t *running, json_t *stop,
                    struct err *err)
{
    struct report reports[MARKET_SLOTS_MAX] = {0};
    size_t n;
    if (read_reports(running, reports, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        struct exec_row x;
        struct err why = ERR_INIT;
        if (exec_peek_held(m, c, &reports[i].ref, &x, &why) == 0)
            continue;
        if (why.kind != ERR_CHANGED)
            return err_move(err, &why);
        add_stop(stop, &reports[i].ref, "the claim moved on", err);
    }
    return err_is_set(err) ? -1 : 0;
}

static int note_told(struct market *m, const char *node, int64_t now_ms, struct err *err)
{
    struct query q = query_on(m,
                              "UPDATE executions SET stop_told_ms = $2 WHERE node = $1 AND state BETWEEN 1 AND 4"
                              " AND stop_as IS NOT NULL AND (stop_told_ms IS NULL OR stop_told_ms <= $3)",
                              err);
    query_text(&q, node);
    query_i64(&q, now_ms);
    query_i64(&q, now_ms - TELL_AGAIN_MS);
    if (query_run(&q) < 0)
        return -1;
    q = query_on(
        m, "UPDATE nodes SET drain_told = 1 WHERE id = $1 AND drain_told = 0 AND state IN ('draining', 'rejected')",
        err);
    query_text(&q, node);
    return query_run(&q);
}

int market_node_control(struct market *m, const struct market_caller *c, const json_t *running,
                        int64_t required_version, bool *news, json_t **out, struct err *err)
{
    struct node_state node = {0};
    int64_t now_ms, required = 0;
    if (need_node(c, err) < 0 || market_now(m, &now_ms, err) < 0 || look_at_node(m, c->node, &node, &required, err) < 0)
        return -1;
    AUTO_JSON o = json_object();
    json_t *stop = json_array();
    json_put(o, "stop", stop, err);
    if (err_is_set(err) || add_asked(m, c->node, now_ms, stop, err) < 0 || add_lost(m, c, running, stop, err) < 0)
        return -1;
    bool drain = is_leaving(&node);
    *news = json_array_size(stop) > 0 || (drain && !node.drain_told) || required != required_version;
    put_bool(o, "drain", drain, err);
    put_i64(o, "required_version", required, err);
    if (*news && note_told(m, c->node, now_ms, err) < 0)
        return -1;
    return give(out, &o, err);
}
