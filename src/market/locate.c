/* Which nodes of a market hold a blob: named to one who holds an execution there, or prepares itself for the market,
 * with a grant for each. */
#include "market/market_priv.h"

#define PEER_PURPOSE "peer"

static int add_peer(const struct market *m, const struct query *q, const char *sha256, int64_t expires_ms, json_t *list,
                    struct err *err)
{
    char node[MARKET_NODE_MAX], grant[SEAL_GRANT_MAX];
    uint8_t key[SEAL_SUBKEY_BYTES];
    struct span address = db_col_text(q->s, 1), fingerprint = db_col_text(q->s, 2);
    query_str(q, 0, node);
    int rc = seal_subkey(m->opts.keys, PEER_PURPOSE, node, key, err);
    if (rc == 0)
        rc = seal_grant_make(key, span_of(sha256), expires_ms, grant, err);
    mem_wipe(key, sizeof(key));
    if (rc < 0)
        return -1;
    json_t *o = json_object();
    json_put_str(o, "node", node, err);
    json_put(o, "address", json_stringn(address.p, address.n), err);
    json_put(o, "fingerprint", json_stringn(fingerprint.p, fingerprint.n), err);
    json_put_str(o, "token", grant, err);
    return append(list, o, err);
}

/* For whom peers are looked up. */
struct asker {
    const char *node;
    char market[MARKET_ADDRESS_MAX];
};

static json_t *peers_of(struct market *m, const struct asker *a, const char *sha256, int64_t now_ms, struct err *err)
{
    json_t *list = json_array();
    struct query q = query_on(m,
                              "SELECT n.id, n.peer_address, n.peer_fingerprint FROM node_blobs b"
                              " JOIN nodes n ON n.id = b.node WHERE b.sha256 = $1 AND n.market = $2 AND n.id <> $3"
                              " AND n.state IN ('approved', 'draining') AND n.last_seen_ms > $4"
                              " AND n.peer_address IS NOT NULL ORDER BY n.last_seen_ms DESC, n.id LIMIT $5",
                              err);
    query_text(&q, sha256);
    query_text(&q, a->market);
    query_text(&q, a->node);
    query_i64(&q, now_ms - m->opts.lease_ms);
    query_i64(&q, MARKET_PEERS_MAX);
    while (query_next(&q) == 1)
        add_peer(m, &q, sha256, now_ms + MARKET_GRANT_MS, list, err);
    return list;
}

/* Whether there is anybody at all: who asks is spared finding out what to ask for. */
static int put_others(struct market *m, const struct asker *a, int64_t now_ms, json_t *out, struct err *err)
{
    int64_t n = 0;
    struct query q = query_on(m,
                              "SELECT COUNT(*) FROM nodes WHERE market = $1 AND id <> $2"
                              " AND state IN ('approved', 'draining') AND last_seen_ms > $3"
                              " AND peer_address IS NOT NULL",
                              err);
    query_text(&q, a->market);
    query_text(&q, a->node);
    query_i64(&q, now_ms - m->opts.lease_ms);
    return query_one(&q, &n) < 0 ? -1 : json_put(out, "others", json_boolean(n > 0), err);
}

/* What is required has no execution: who prepares for a market is as much one of its nodes as who runs a job of it. */
static int find_asker(struct market *m, const struct market_caller *c, const struct market_ref *x, struct asker *out,
                      struct err *err)
{
    struct exec_row row;
    out->node = c->node;
    if (!x)
        return node_approved_market(m, c, out->market, err);
    if (exec_peek_held(m, c, x, &row, err) < 0)
        return -1;
    memcpy(out->market, row.market, sizeof(out->market));
    return 0;
}

int market_node_locate(struct market *m, const struct market_caller *c, const struct market_ref *x,
                       const json_t *digests, json_t **out, struct err *err)
{
    struct asker asker;
    int64_t now_ms;
    size_t i;
    json_t *item;
    if (!json_is_array(digests) || json_array_size(digests) > MARKET_BLOBS_MAX)
        return err_set(err, ERR_INVALID, "sha256: expected a list of at most %d", MARKET_BLOBS_MAX);
    if (find_asker(m, c, x, &asker, err) < 0 || market_now(m, &now_ms, err) < 0)
        return -1;
    AUTO_JSON o = json_object();
    json_t *peers = json_object();
    json_put(o, "peers", peers, err);
    if (put_others(m, &asker, now_ms, o, err) < 0)
        return -1;
    json_array_foreach(digests, i, item)
    {
        const char *sha256 = json_string_value(item);
        if (!is_sha256(sha256))
            return err_set(err, ERR_INVALID, "sha256: expected digests in lower-case hex");
        json_t *list = err_is_set(err) ? NULL : peers_of(m, &asker, sha256, now_ms, err);
        if (json_array_size(list) > 0)
            json_put(peers, sha256, list, err);
        else
            json_decref(list);
    }
    return give(out, &o, err);
}
