/* Tokens: only their hashes are kept. */
#include "market/market_priv.h"

static const struct {
    const char *word;
    char letter;
} roles[] = {
#define X(name, word, letter) {word, letter},
    MARKET_ROLES(X)
#undef X
};

static int role_of(struct span word, enum market_role *out, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
        if (span_eq(word, span_of(roles[i].word))) {
            *out = (enum market_role)i;
            return 0;
        }
    }
    return err_set(err, ERR_CORRUPT, "a stored token has an unknown role");
}

int token_make(struct market *m, const struct market_token_opts *o, const char *node, char token[SEAL_TOKEN_MAX],
               char id[MARKET_ID_MAX], struct err *err)
{
    uint8_t hash[SEAL_HASH_BYTES];
    if ((!id[0] && new_id("t", id, err) < 0) || seal_token_new(token, roles[o->role].letter, err) < 0)
        return -1;
    seal_token_hash(hash, span_of(token));
    struct query q = query_on(m,
                              "INSERT INTO tokens (id, hash, role, name, market, node, created_ms, expires_ms)"
                              " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                              err);
    query_text(&q, id);
    query_blob(&q, (struct span){(const char *)hash, sizeof(hash)});
    query_text(&q, roles[o->role].word);
    query_text(&q, o->name ? o->name : "");
    query_text(&q, o->market ? o->market : "");
    query_text(&q, node);
    query_i64(&q, m->tx.now_ms);
    query_value(&q, o->ttl_ms > 0 ? m->tx.now_ms + o->ttl_ms : VALUE_NONE);
    return query_run(&q);
}

static int refuse(struct err *err)
{
    return err_set(err, ERR_DENIED, "the token is unknown, revoked or past its time");
}

static bool is_over(const struct query *q, int col, int64_t now_ms)
{
    int64_t expires_ms = query_get(q, col);
    return expires_ms != VALUE_NONE && expires_ms <= now_ms;
}

static int read_caller(const struct query *q, int64_t now_ms, struct market_caller *out)
{
    if (is_over(q, 4, now_ms))
        return refuse(q->err);
    query_str(q, 0, out->token);
    query_str(q, 2, out->market);
    query_str(q, 3, out->node);
    return role_of(db_col_text(q->s, 1), &out->role, q->err);
}

int market_token_auth(struct market *m, struct span token, struct market_caller *out, struct err *err)
{
    uint8_t hash[SEAL_HASH_BYTES];
    int64_t now_ms;
    seal_token_hash(hash, token);
    struct query q =
        query_on(m, "SELECT id, role, market, node, expires_ms FROM tokens WHERE hash = $1 AND revoked = 0", err);
    query_blob(&q, (struct span){(const char *)hash, sizeof(hash)});
    query_start(&q); /* the time comes with it */
    if (market_now(m, &now_ms, err) < 0)
        return -1;
    int rc = query_next(&q);
    if (rc == 0)
        return refuse(err);
    if (rc > 0)
        rc = read_caller(&q, now_ms, out);
    query_done(&q);
    return rc;
}

struct query token_start(struct market *m, const struct market_caller *c, struct err *err)
{
    struct query q = query_on(m, "SELECT expires_ms FROM tokens WHERE id = $1 AND revoked = 0", err);
    query_text(&q, c->token);
    query_start(&q);
    return q;
}

int token_end(struct query *q, int64_t now_ms)
{
    int rc = query_next(q);
    if (rc == 0 || (rc == 1 && is_over(q, 0, now_ms)))
        rc = refuse(q->err);
    query_done(q);
    return rc < 0 ? -1 : 0;
}

int market_token_check(struct market *m, const struct market_caller *c, struct err *err)
{
    int64_t now_ms;
    struct query q = token_start(m, c, err);
    return market_now(m, &now_ms, err) < 0 ? -1 : token_end(&q, now_ms);
}

/* It has a fixed id, so that of two servers that start at once only one makes it. */
static int make_first(struct market *m, char token[SEAL_TOKEN_MAX], struct err *err)
{
    char id[MARKET_ID_MAX] = "t-first";
    int64_t there;
    const struct market_token_opts o = {.role = MARKET_OPERATOR, .name = "first"};
    struct query q = query_on(m, "SELECT COUNT(*) FROM tokens WHERE role = 'operator'", err);
    if (query_one(&q, &there) < 0 || there > 0)
        return err_is_set(err) ? -1 : 0;
    return token_make(m, &o, "", token, id, err) < 0 ? -1 : 1;
}

int market_token_first(struct market *m, char token[SEAL_TOKEN_MAX], struct err *err)
{
    if (market_begin(m, err) < 0)
        return -1;
    int made = make_first(m, token, err);
    if (market_end(m, made < 0 ? -1 : 0, err) == 0)
        return made;
    if (err->kind != ERR_EXISTS)
        return -1;
    err_clear(err);
    return 0;
}

static int check_new(const struct market_token_opts *o, struct err *err)
{
    bool of_node = o->role == MARKET_NODE || o->role == MARKET_JOIN;
    if (of_node && str_empty(o->market))
        return err_set(err, ERR_INVALID, "market: a %s token is for one market", roles[o->role].word);
    if (o->role == MARKET_OPERATOR && !str_empty(o->market)) /* nothing that operators do ends at a market */
        return err_set(err, ERR_INVALID, "market: an operator token is for all markets");
    if (o->market && o->market[0] && check_address("market", o->market, err) < 0)
        return -1;
    if (o->name && strlen(o->name) >= MARKET_NAME_MAX)
        return err_set(err, ERR_INVALID, "name: longer than %d bytes", MARKET_NAME_MAX - 1);
    return o->ttl_ms < 0 ? err_set(err, ERR_INVALID, "ttl_ms: below zero") : 0;
}

int market_token_new(struct market *m, const struct market_caller *c, const struct market_token_opts *o, json_t **out,
                     struct err *err)
{
    char token[SEAL_TOKEN_MAX], id[MARKET_ID_MAX] = "";
    if (need_operator(c, err) < 0 || check_new(o, err) < 0 || market_begin(m, err) < 0)
        return -1;
    if (market_end(m, token_make(m, o, "", token, id, err), err) < 0)
        return -1;
    AUTO_JSON j = json_object();
    json_put_str(j, "token", token, err);
    json_put_str(j, "id", id, err);
    json_put_str(j, "role", roles[o->role].word, err);
    json_put_str(j, "name", o->name ? o->name : "", err);
    json_put_str(j, "market", o->market ? o->market : "", err);
    put_ms(j, "created_ms", m->tx.now_ms, err);
    put_ms(j, "expires_ms", o->ttl_ms ? m->tx.now_ms + o->ttl_ms : VALUE_NONE, err);
    mem_wipe(token, sizeof(token));
    return give(out, &j, err);
}

static json_t *row_json(void *ctx, const struct query *q, struct err *err)
{
    (void)ctx;
    static const char *const texts[] = {"id", "role", "name", "market", "node"};
    json_t *o = json_object();
    for (int i = 0; i < (int)ARRAY_LEN(texts); i++) {
        struct span s = db_col_text(q->s, i);
        json_put(o, texts[i], json_stringn(s.p, s.n), err);
    }
    put_ms(o, "created_ms", query_get(q, 5), err);
    put_ms(o, "expires_ms", query_get(q, 6), err);
    put_bool(o, "revoked", query_get(q, 7), err);
    return o;
}

int market_token_list(struct market *m, const struct market_caller *c, const struct market_page *page, json_t **out,
                      struct err *err)
{
    struct page_at at;
    if (need_operator(c, err) < 0 || page_open(page, &at, err) < 0)
        return -1;
    struct query q = query_on(m,
                              "SELECT id, role, name, market, node, created_ms, expires_ms, revoked FROM tokens"
                              " WHERE (created_ms, id) > ($1, $2) ORDER BY created_ms, id LIMIT $3",
                              err);
    query_i64(&q, at.first ? -1 : at.number);
    query_text(&q, at.first ? "" : at.id);
    query_i64(&q, at.limit + 1);
    const struct page_rows rows = {.things = "tokens", .row = row_json, .id_column = 0, .number_column = 5};
    AUTO_JSON o = page_rows(&q, &at, &rows, err);
    return give(out, &o, err);
}

int market_token_revoke(struct market *m, const struct market_caller *c, const char *id, struct err *err)
{
    if (need_operator(c, err) < 0 || market_begin(m, err) < 0)
        return -1;
    struct query q = query_on(m, "UPDATE tokens SET revoked = 1 WHERE id = $1", err);
    query_text(&q, id);
    int rc = query_run(&q);
    if (rc == 0 && db_changes(m->db) == 0)
        rc = err_set(err, ERR_NOTFOUND, "no token '%.40s'", id);
    return market_end(m, rc, err);
}
