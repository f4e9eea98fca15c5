/* Markets and tokens. */
#include "server/server_priv.h"

#define MARKETS "/api/markets"
#define TOKENS  "/api/v1/tokens"

static int list_markets(struct call *c, json_t **out, struct err *err)
{
    struct market_page page = {0};
    return query_page(c, &page, err) < 0 ? -1 : market_list(c->m, &page, out, err);
}

static int get_market(struct call *c, json_t **out, struct err *err)
{
    return market_get(c->m, httpd_param(c->req, "address"), out, err);
}

static int put_market(struct call *c, json_t **out, struct err *err)
{
    struct market_settings s = MARKET_SETTINGS_KEEP;
    bool created = false;
    if (body_str(c, "name", &s.name, err) < 0 || body_str(c, "description", &s.description, err) < 0 ||
        body_i64(c, "locality_window_ms", 0, 600000, &s.locality_window_ms, err) < 0 ||
        body_i64(c, "max_attempts", 1, 100, &s.max_attempts, err) < 0 ||
        body_i64(c, "max_queued", 1, 100000000, &s.max_queued, err) < 0 ||
        body_i64(c, "retention_ms", 60000, INT64_MAX / 2, &s.retention_ms, err) < 0 ||
        body_i64(c, "max_log_bytes", 0, INT64_C(1) << 40, &s.max_log_bytes, err) < 0 ||
        body_i64(c, "max_per_poster", 1, 10000000, &s.max_per_poster, err) < 0 ||
        market_put(c->m, &c->caller, httpd_param(c->req, "address"), &s, &created, out, err) < 0)
        return -1;
    c->status = created ? 201 : 200;
    return 0;
}

static int get_required(struct call *c, json_t **out, struct err *err)
{
    return market_required_get(c->m, httpd_param(c->req, "address"), out, err);
}

static int put_required(struct call *c, json_t **out, struct err *err)
{
    /* Its shape is the job files', "version" no part of it. */
    AUTO_JSON document = json_copy(c->body);
    struct buf text;
    json_object_del(document, "version");
    buf_init(&text, (size_t)4 << 20);
    int rc = !document ? err_nomem(err) : json_write(document, false, &text, err);
    if (rc == 0)
        rc = market_required_put(c->m, &c->caller, httpd_param(c->req, "address"), buf_span(&text), out, err);
    if (text.p)
        mem_wipe(text.p, text.n);
    buf_release(&text);
    return rc;
}

static int make_token(struct call *c, json_t **out, struct err *err)
{
    static const struct {
        const char *word;
        enum market_role role;
    } roles[] = {
#define X(name, word, letter) {word, MARKET_##name},
        MARKET_ROLES(X)
#undef X
    };
    const char *role = NULL;
    struct market_token_opts o = {0};
    if (body_need(c, "role", err) < 0 || body_str(c, "role", &role, err) < 0 || body_str(c, "name", &o.name, err) < 0 ||
        body_str(c, "market", &o.market, err) < 0 || body_i64(c, "ttl_ms", 0, INT64_MAX / 2, &o.ttl_ms, err) < 0)
        return -1;
    size_t i = 0;
    while (i < ARRAY_LEN(roles) && !str_eq(role, roles[i].word))
        i++;
    if (i == ARRAY_LEN(roles))
        return err_set(err, ERR_INVALID, "role: poster, node, join or operator");
    o.role = roles[i].role;
    c->status = 201;
    return market_token_new(c->m, &c->caller, &o, out, err);
}

static int list_tokens(struct call *c, json_t **out, struct err *err)
{
    struct market_page page = {0};
    return query_page(c, &page, err) < 0 ? -1 : market_token_list(c->m, &c->caller, &page, out, err);
}

static int revoke_token(struct call *c, json_t **out, struct err *err)
{
    *out = json_object();
    return market_token_revoke(c->m, &c->caller, httpd_param(c->req, "id"), err);
}

static const char *const page_queries[] = {"limit", "next_token", NULL};
static const char *const market_members[] = {"name",          "description",    "locality_window_ms",
                                             "max_attempts",  "max_queued",     "retention_ms",
                                             "max_log_bytes", "max_per_poster", NULL};
static const char *const required_members[] = {"required_images", "required_remote_resources", NULL};
static const char *const token_members[] = {"role", "name", "market", "ttl_ms", NULL};

const struct route_about routes_markets[] = {
    ROUTE("GET", MARKETS, 0, NULL, list_markets, .queries = page_queries),
    ROUTE("GET", MARKETS "/{address}", 0, NULL, get_market),
    ROUTE("PUT", MARKETS "/{address}", ROLE_BIT(OPERATOR), market_members, put_market),
    ROUTE("GET", MARKETS "/{address}/required-resources", 0, NULL, get_required),
    ROUTE("PUT", MARKETS "/{address}/required-resources", ROLE_BIT(OPERATOR), required_members, put_required,
          .body_max = POST_BODY_MAX),
    ROUTE("POST", TOKENS, ROLE_BIT(OPERATOR), token_members, make_token),
    ROUTE("GET", TOKENS, ROLE_BIT(OPERATOR), NULL, list_tokens, .queries = page_queries),
    ROUTE("DELETE", TOKENS "/{id}", ROLE_BIT(OPERATOR), NULL, revoke_token),
    {0},
};
