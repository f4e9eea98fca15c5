/* The server itself: alive, version, metrics, its description. */
#include "server/server_priv.h"

static int alive(struct call *c, json_t **out, struct err *err)
{
    (void)c;
    *out = json_object();
    return json_put_str(*out, "status", "ok", err);
}

static int version(struct call *c, json_t **out, struct err *err)
{
    (void)c;
    *out = json_object();
    return json_put_str(*out, "version", BERTH_VERSION, err) < 0 ? -1 : json_put_u64(*out, "api", 1, err);
}

static int self(struct call *c, json_t **out, struct err *err)
{
    *out = json_object();
    return json_put_str(*out, "version", BERTH_VERSION, err) < 0 || json_put_str(*out, "role", "server", err) < 0 ||
                   json_put_str(*out, "database",
                                strncmp(c->s->opts.db_url, "sqlite:", 7) == 0 ? "sqlite" : "postgresql", err) < 0
               ? -1
               : json_put_u64(*out, "lease_ms", (uint64_t)market_lease_ms(c->m), err);
}

static int healthz(struct call *c, json_t **out, struct err *err)
{
    *out = json_object();
    return market_alive(c->m, err) < 0 ? -1 : json_put_str(*out, "status", "ok", err);
}

static int metrics(struct call *c, json_t **out, struct err *err)
{
    (void)out;
    AUTO_JSON numbers = NULL;
    bool local = strncmp(httpd_address(c->s->httpd), "http://127.", 11) == 0 ||
                 strncmp(httpd_address(c->s->httpd), "http://[::1]", 12) == 0;
    if (!local && !(httpd_header(c->req, "Authorization") && c->caller.role == MARKET_OPERATOR))
        return err_set(err, ERR_DENIED, "metrics are for operators");
    if (market_numbers(c->m, &numbers, err) < 0)
        return -1;
    c->resp->content_type = "text/plain; version=0.0.4; charset=utf-8";
    metrics_write(&c->s->metrics, numbers, &c->resp->body);
    c->answered = true;
    return 0;
}

const struct route_about routes_self[] = {
    ROUTE("GET", "/api/v1/agent/alive", 0, NULL, alive), ROUTE("GET", "/api/v1/agent/version", 0, NULL, version),
    ROUTE("GET", "/api/v1/agent/node", 0, NULL, self),   ROUTE("GET", "/healthz", 0, NULL, healthz),
    ROUTE("GET", "/metrics", 0, NULL, metrics),          {0},
};
