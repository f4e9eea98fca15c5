/* Nodes: who they are, and whether they may work. */
#include "base/enc.h"
#include "market/market_priv.h"

#define PEER_PURPOSE "peer"

static const char *const action_state[] = {[MARKET_APPROVE] = "approved",
                                           [MARKET_REJECT] = "rejected",
                                           [MARKET_DRAIN] = "draining",
                                           [MARKET_UNDRAIN] = "approved"};

/* ---- What placement knows of a node */

static uint64_t member_u64(const json_t *o, const char *key)
{
    int64_t v;
    return json_get_i64(o, key, &v) && v > 0 ? (uint64_t)v : 0;
}

static int read_machine(struct span info, struct span labels, bool has_key, struct arena *a, struct machine *out,
                        struct err *err)
{
    AUTO_JSON i = json_parse(info, err);
    AUTO_JSON l = json_parse(labels, err);
    if (!i || !l)
        return err_wrap(err, "stored node");
    const json_t *gpus = json_object_get(i, "gpus");
    *out = (struct machine){.cpus = json_number_value(json_object_get(i, "cpus")),
                            .memory_bytes = member_u64(i, "memory_bytes"),
                            .disk_bytes = member_u64(i, "disk_bytes"),
                            .has_key = has_key};
    for (size_t k = 0; k < json_array_size(gpus) && k < GPUS_MAX; k++) {
        uint64_t mib = member_u64(json_array_get(gpus, k), "memory_mib");
        out->gpu_mib[out->gpus++] = mib < UINT32_MAX ? (uint32_t)mib : UINT32_MAX;
    }
    struct label *v = arena_array(a, json_object_size(l) + 1, sizeof(*v));
    const char *name;
    json_t *value;
    size_t n = 0;
    json_object_foreach(l, name, value)
    {
        if (v)
            v[n++] = (struct label){arena_dup(a, name), arena_dup(a, json_string_value(value))};
    }
    out->labels = (struct label_set){v, n};
    return arena_check(a, err);
}

int node_facts_read(const struct market *m, const struct query *q, int64_t now_ms, struct arena *a,
                    struct node_row *out, struct err *err)
{
    query_str(q, 0, out->id);
    query_str(q, 1, out->market);
    query_str(q, 2, out->state);
    out->ready = query_get(q, 3) != 0;
    out->live = query_get(q, 4) + m->opts.lease_ms > now_ms;
    out->slots = (uint32_t)query_get(q, 5);
    out->scan_rank = query_get(q, 9);
    query_str(q, 10, out->scan_id);
    out->claims = query_get(q, 11);
    out->max_window_ms = query_get(q, 12);
    return read_machine(db_col_text(q->s, 6), db_col_text(q->s, 7), !db_col_null(q->s, 8), a, &out->machine, err);
}

struct query node_facts_start(struct market *m, const char *id, struct err *err)
{
    struct query q = query_on(m,
                              "SELECT " NODE_FACTS ", (SELECT COUNT(*) FROM executions WHERE node = $1"
                              " AND state BETWEEN 1 AND 4) FROM nodes n WHERE n.id = $1",
                              err);
    query_text(&q, id);
    query_start(&q);
    return q;
}

int node_facts_end(struct market *m, struct query *q, int64_t now_ms, struct arena *a, struct node_row *out)
{
    int rc = query_next(q);
    if (rc == 0) {
        err_set(q->err, ERR_NOTFOUND, "no such node");
        return err_hint(q->err, "a node says hello first");
    }
    if (rc < 0)
        return -1;
    rc = node_facts_read(m, q, now_ms, a, out, q->err);
    out->running = (uint32_t)query_get(q, NODE_FACTS_COUNT);
    query_done(q);
    return rc;
}

bool node_may_claim(const struct node_row *n)
{
    return n->ready && n->live && str_eq(n->state, "approved");
}

/* ---- Showing them */

#define NODE_COLUMNS                                                                                                   \
    "SELECT n.id, n.name, n.market, n.state, n.ready, n.readiness, n.last_seen_ms, n.slots, n.info, n.labels,"         \
    " n.cache, (SELECT COUNT(*) FROM executions e WHERE e.node = n.id AND e.state BETWEEN 1 AND 4),"                   \
    " n.peer_sent_bytes, n.peer_got_bytes FROM nodes n "

/* A row of NODE_COLUMNS, as seen at a time. */
struct looking {
    const struct market *m;
    int64_t now_ms;
};

static json_t *row_json(void *ctx, const struct query *q, struct err *err)
{
    const struct looking *l = ctx;
    static const char *const texts[] = {"id", "name", "market", "state"};
    json_t *o = json_object();
    for (int i = 0; i < (int)ARRAY_LEN(texts); i++) {
        struct span s = db_col_text(q->s, i);
        json_put(o, texts[i], json_stringn(s.p, s.n), err);
    }
    int64_t seen_ms = query_get(q, 6);
    struct span readiness = db_col_text(q->s, 5);
    put_bool(o, "ready", query_get(q, 4), err);
    json_put(o, "readiness", json_stringn(readiness.p ? readiness.p : "", readiness.n), err);
    put_ms(o, "last_seen_ms", seen_ms, err);
    put_bool(o, "live", seen_ms + l->m->opts.lease_ms > l->now_ms, err);
    put_i64(o, "slots", query_get(q, 7), err);
    put_i64(o, "running", query_get(q, 11), err);
    put_stored(o, "info", q, 8, json_object(), err);
    put_stored(o, "labels", q, 9, json_object(), err);
    put_stored(o, "cache", q, 10, json_null(), err);
    json_t *peers = json_object();
    put_i64(peers, "sent_bytes", query_get(q, 12), err);
    put_i64(peers, "got_bytes", query_get(q, 13), err);
    json_put(o, "peers", peers, err);
    return o;
}

static json_t *holds_json(struct market *m, const char *node, struct err *err)
{
    json_t *list = json_array();
    struct query q = query_on(m, "SELECT hold, bytes FROM node_holds WHERE node = $1 ORDER BY hold LIMIT $2", err);
    query_text(&q, node);
    query_i64(&q, MARKET_HOLDS_MAX);
    while (query_next(&q) == 1) {
        struct span key = db_col_text(q.s, 0);
        json_t *o = json_object();
        json_put(o, "key", json_stringn(key.p, key.n), err);
        put_i64(o, "bytes", query_get(&q, 1), err);
        append(list, o, err);
    }
    return list;
}

json_t *node_json(struct market *m, const char *id, struct err *err)
{
    int64_t now_ms;
    if (market_now(m, &now_ms, err) < 0)
        return NULL;
    struct query q = query_on(m, NODE_COLUMNS "WHERE n.id = $1", err);
    query_text(&q, id);
    int rc = query_next(&q);
    if (rc <= 0) {
        if (rc == 0)
            err_set(err, ERR_NOTFOUND, "no node '%.64s'", id);
        return NULL;
    }
    json_t *o = row_json(&(struct looking){m, now_ms}, &q, err);
    query_done(&q);
    json_put(o, "holds", holds_json(m, id, err), err);
    return o;
}

/* A poster or join token for one market sees that one's nodes; a node sees itself. */
static int check_seen(const struct market_caller *c, const json_t *node, struct err *err)
{
    const char *market = json_get_str(node, "market"), *id = json_get_str(node, "id");
    bool seen = c->role == MARKET_NODE ? str_eq(c->node, id) : !c->market[0] || str_eq(c->market, market);
    return seen ? 0 : err_set(err, ERR_NOTFOUND, "no node '%.64s'", id);
}

int market_node_get(struct market *m, const struct market_caller *c, const char *id, json_t **out, struct err *err)
{
    json_t *node = node_json(m, id ? id : "", err);
    AUTO_JSON o = json_object();
    json_put(o, "node", node, err);
    if (node && !err_is_set(err))
        check_seen(c, node, err);
    return give(out, &o, err);
}

int market_node_list(struct market *m, const struct market_caller *c, const char *market,
                     const struct market_page *page, json_t **out, struct err *err)
{
    struct page_at at;
    int64_t now_ms;
    if (page_open(page, &at, err) < 0 || market_now(m, &now_ms, err) < 0)
        return -1;
    struct query q = query_on(m,
                              NODE_COLUMNS "WHERE n.id > $1 AND ($2 = '' OR n.market = $2) AND ($3 = '' OR n.market ="
                                           " $3) AND ($4 = '' OR n.id = $4) ORDER BY n.id LIMIT $5",
                              err);
    query_text(&q, at.first ? "" : at.id);
    query_text(&q, market ? market : "");
    query_text(&q, c->market);
    query_text(&q, c->role == MARKET_NODE ? c->node : "");
    query_i64(&q, at.limit + 1);
    struct looking now = {m, now_ms};
    const struct page_rows rows = {
        .things = "nodes", .row = row_json, .ctx = &now, .id_column = 0, .number_column = -1};
    AUTO_JSON o = page_rows(&q, &at, &rows, err);
    return give(out, &o, err);
}

/* ---- Approve, reject, drain */

/* What a rejected node held goes back to the queue. */
static int take_back(struct market *m, const char *node, struct err *err)
{
    struct {
        char job[MARKET_ID_MAX];
        uint32_t index;
    } held[MARKET_SLOTS_MAX];
    size_t n = 0;
    struct query q = query_on(
        m, "SELECT job, idx FROM executions WHERE node = $1 AND state BETWEEN 1 AND 4 ORDER BY job, idx LIMIT $2", err);
    query_text(&q, node);
    query_i64(&q, MARKET_SLOTS_MAX);
    while (query_next(&q) == 1) {
        query_str(&q, 0, held[n].job);
        held[n++].index = (uint32_t)query_get(&q, 1);
    }
    for (size_t i = 0; i < n && !err_is_set(err); i++) {
        struct job_row j = {0};
        struct exec_row x = {0};
        if (exec_lock(m, held[i].job, held[i].index, &j, &x, err) != 1 || !str_eq(x.node, node))
            continue;
        const struct verdict v = decide_lost(&x.facts, "its node was rejected");
        exec_apply(m, &j, &x, &v, NULL, err);
    }
    return err_is_set(err) ? -1 : 0;
}

static int set_state(struct market *m, const char *id, enum market_node_action action, struct err *err)
{
    struct query q =
        query_on(m, "UPDATE nodes SET state = $2, drain_told = 0 WHERE id = $1 AND ($3 = '' OR state = $3)", err);
    query_text(&q, id);
    query_text(&q, action_state[action]);
    query_text(&q, action == MARKET_DRAIN ? "approved" : action == MARKET_UNDRAIN ? "draining" : "");
    int rc = query_run(&q);
    if (rc == 0 && db_changes(m->db) == 0 && action != MARKET_DRAIN && action != MARKET_UNDRAIN)
        return err_set(err, ERR_NOTFOUND, "no node '%.64s'", id);
    if (rc == 0 && action == MARKET_REJECT)
        rc = take_back(m, id, err);
    market_changed(m, id, true);
    return rc;
}

int market_node_set(struct market *m, const struct market_caller *c, const char *id, enum market_node_action action,
                    json_t **out, struct err *err)
{
    if (need_operator(c, err) < 0 || market_begin(m, err) < 0)
        return -1;
    if (market_end(m, set_state(m, id, action, err), err) < 0)
        return -1;
    return market_node_get(m, c, id, out, err); /* of an unknown node: not found */
}

/* ---- Hello */

struct greeting {
    const struct market_hello *h;
    char market[MARKET_ADDRESS_MAX];
    char *info, *labels; /* owned */
    char token[SEAL_TOKEN_MAX], token_id[MARKET_ID_MAX];
};

static int check_hello(const struct market_caller *c, struct greeting *g, struct err *err)
{
    const struct market_hello *h = g->h;
    uint8_t key[SEAL_PUBLIC_BYTES];
    size_t n = 0;
    if (c->role != MARKET_NODE && c->role != MARKET_JOIN)
        return err_set(err, ERR_DENIED, "only a node or join token says hello");
    if (check_address("node", h->node, err) < 0)
        return -1;
    if (c->role == MARKET_NODE && c->node[0] && !str_eq(c->node, h->node))
        return err_set(err, ERR_NOTFOUND, "this token belongs to another node");
    if (h->market && (check_address("market", h->market, err) < 0 || check_token_market(c, h->market, err) < 0))
        return -1;
    if (h->slots > MARKET_SLOTS_MAX)
        return err_set(err, ERR_INVALID, "slots: more than %d", MARKET_SLOTS_MAX);
    if ((h->name && strlen(h->name) >= MARKET_NAME_MAX) || !h->peer_address != !h->peer_fingerprint ||
        (h->peer_address && strlen(h->peer_address) > 300) || (h->peer_fingerprint && !is_sha256(h->peer_fingerprint)))
        return err_set(err, ERR_INVALID, "name is too long, or peer is not {\"address\", \"fingerprint\" (SHA-256)}");
    if (h->public_key && (base64_decode(key, sizeof(key), &n, span_of(h->public_key), err) < 0 || n != sizeof(key)))
        return err_set(err, ERR_INVALID, "public_key: expected base64 of %d bytes", SEAL_PUBLIC_BYTES);
    memcpy(g->market, c->market, sizeof(g->market));
    if (check_labels(h->labels, err) < 0 || json_text(h->info, JSON_TEXT_MAX, "info", &g->info, err) < 0 ||
        json_text(h->labels, JSON_TEXT_MAX, "labels", &g->labels, err) < 0)
        return -1;
    return h->info && !json_is_object(h->info) ? err_set(err, ERR_INVALID, "info: expected an object") : 0;
}

static int write_node(struct market *m, const struct greeting *g, const char *state, const char *joined_by,
                      struct err *err)
{
    const struct market_hello *h = g->h;
    struct query q = query_on(
        m,
        "INSERT INTO nodes (id, name, market, state, created_ms, last_seen_ms, slots, info, labels, public_key,"
        " peer_address, peer_fingerprint, token, joined_by) VALUES ($1, $2, $3, $4, $5, $5, $6, $7, $8, $9, $10, $11,"
        " $12, $13) ON CONFLICT (id) DO UPDATE SET name = $2, last_seen_ms = $5, slots = $6, info = $7, labels = $8,"
        " public_key = $9, peer_address = $10, peer_fingerprint = $11, token = $12,"
        " peer_sent_seen = 0, peer_got_seen = 0",
        err);
    query_text(&q, h->node);
    query_text(&q, h->name ? h->name : h->node);
    query_text(&q, g->market);
    query_text(&q, state);
    query_i64(&q, m->tx.now_ms);
    query_i64(&q, h->slots ? h->slots : 1);
    query_text(&q, g->info ? g->info : "{}");
    query_text(&q, g->labels ? g->labels : "{}");
    query_text(&q, h->public_key);
    query_text(&q, h->peer_address);
    query_text(&q, h->peer_fingerprint);
    query_text(&q, g->token_id);
    query_text(&q, joined_by);
    return query_run(&q);
}

/* What is known of the node already: 1 and whose it is, 0: nothing. */
struct known_node {
    char market[MARKET_ADDRESS_MAX], token[MARKET_ID_MAX], joined_by[MARKET_ID_MAX];
    bool token_used;
};
static int known(struct market *m, const char *id, struct known_node *out, struct err *err)
{
    struct query q = query_on(m,
                              "UPDATE nodes SET claims = claims + 1 WHERE id = $1"
                              " RETURNING market, token, COALESCE(joined_by, ''), token_used",
                              err);
    query_text(&q, id);
    int rc = query_next(&q);
    if (rc != 1)
        return rc;
    query_str(&q, 0, out->market);
    query_str(&q, 1, out->token);
    query_str(&q, 2, out->joined_by);
    out->token_used = query_get(&q, 3) != 0;
    query_done(&q);
    return 1;
}

static int bind_token(struct market *m, const char *token, const char *node, struct err *err)
{
    struct query q = query_on(m, "UPDATE tokens SET node = $2 WHERE id = $1 AND node = ''", err);
    query_text(&q, token);
    query_text(&q, node);
    if (query_run(&q) < 0)
        return -1;
    if (db_changes(m->db) == 0)
        return err_set(err, ERR_EXISTS, "this token belongs to another node since");
    return 0;
}

/* By a token of its own; the first time, the token becomes this node's, and the node awaits approval. */
static int hello_own(struct market *m, const struct market_caller *c, struct greeting *g, struct err *err)
{
    struct known_node k;
    int rc = known(m, g->h->node, &k, err);
    if (rc < 0)
        return -1;
    if (rc == 1 && !str_eq(k.market, g->market))
        return err_set(err, ERR_EXISTS, "node '%s' belongs to another market", g->h->node);
    if (rc == 1 && !c->node[0]) {
        err_set(err, ERR_EXISTS, "there is a node '%s' already, with a token of its own", g->h->node);
        return err_hint(err, "use that token, or give this node another id");
    }
    if (!c->node[0] && bind_token(m, c->token, g->h->node, err) < 0)
        return -1;
    memcpy(g->token_id, c->token, sizeof(g->token_id));
    if (write_node(m, g, "pending", NULL, err) < 0)
        return -1;
    struct query q = query_on(m, "UPDATE nodes SET token_used = 1 WHERE id = $1", err);
    query_text(&q, g->h->node);
    return query_run(&q);
}

/* By a join token: a node of that name must be new, or have been made by this same token and never been heard of. */
static int hello_join(struct market *m, const struct market_caller *c, struct greeting *g, struct err *err)
{
    struct known_node k;
    int rc = known(m, g->h->node, &k, err);
    if (rc < 0)
        return -1;
    if (rc == 1 && (k.token_used || !str_eq(k.joined_by, c->token))) {
        err_set(err, ERR_EXISTS, "there is a node '%s' already, with a token of its own", g->h->node);
        return err_hint(err, "use that token, or give this node another id");
    }
    if (rc == 1) {
        struct query q = query_on(m, "UPDATE tokens SET revoked = 1 WHERE id = $1", err);
        query_text(&q, k.token);
        if (query_run(&q) < 0)
            return -1;
    }
    const struct market_token_opts o = {.role = MARKET_NODE, .name = g->h->node, .market = g->market};
    if (token_make(m, &o, g->h->node, g->token, g->token_id, err) < 0)
        return -1;
    return write_node(m, g, "approved", c->token, err);
}

static int put_peer_key(const struct market *m, const struct market_hello *h, json_t *o, struct err *err)
{
    uint8_t key[SEAL_SUBKEY_BYTES];
    struct buf text;
    if (!h->peer_address)
        return 0;
    buf_init(&text, 2 * sizeof(key));
    if (seal_subkey(m->opts.keys, PEER_PURPOSE, h->node, key, err) == 0) {
        base64_encode(&text, key, sizeof(key));
        json_put_str(o, "peer_key", buf_str(&text), err);
    }
    mem_wipe(key, sizeof(key));
    seal_wipe(&text);
    return err_is_set(err) ? -1 : 0;
}

static int answer_hello(struct market *m, const struct greeting *g, json_t **out, struct err *err)
{
    int64_t required = 0;
    AUTO_JSON o = json_object();
    json_put(o, "node", node_json(m, g->h->node, err), err);
    if (g->token[0])
        json_put_str(o, "token", g->token, err);
    put_i64(o, "lease_ms", m->opts.lease_ms, err);
    put_i64(o, "heartbeat_ms", m->opts.lease_ms / (MARKET_LEASE_MS / MARKET_HEARTBEAT_MS), err);
    market_required_version(m, g->market, &required, err);
    put_i64(o, "required_version", required, err);
    put_peer_key(m, g->h, o, err);
    return give(out, &o, err);
}

static int check_market(struct market *m, const char *address, struct err *err)
{
    int64_t there;
    struct query q = query_on(m, "SELECT COUNT(*) FROM markets WHERE address = $1", err);
    query_text(&q, address);
    if (query_one(&q, &there) < 0)
        return -1;
    if (there)
        return 0;
    err_set(err, ERR_NOTFOUND, "no market '%.64s', which this token is for", address);
    return err_hint(err, "an operator makes it with `berth market create %.64s`", address);
}

static int greet(struct market *m, const struct market_caller *c, struct greeting *g, json_t **out, struct err *err)
{
    if (check_hello(c, g, err) < 0 || check_market(m, g->market, err) < 0 || market_begin(m, err) < 0)
        return -1;
    int rc = c->role == MARKET_JOIN ? hello_join(m, c, g, err) : hello_own(m, c, g, err);
    if (market_end(m, rc, err) < 0)
        return -1;
    return answer_hello(m, g, out, err);
}

int market_node_hello(struct market *m, const struct market_caller *c, const struct market_hello *h, json_t **out,
                      struct err *err)
{
    struct greeting g = {.h = h};
    int rc = greet(m, c, &g, out, err);
    free(g.info);
    free(g.labels);
    mem_wipe(g.token, sizeof(g.token));
    return rc;
}
