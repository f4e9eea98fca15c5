/* The server itself: alive, version, metrics. */
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

/* Whatever keeps the database from answering, it is the load balancer's business to ask another server. */
static int healthz(struct call *c, json_t **out, struct err *err)
{
    struct err down = ERR_INIT;
    *out = json_object();
    if (market_alive(c->m, &down) == 0)
        return json_put_str(*out, "status", "ok", err);
    c->broken = true;
    return err_set(err, ERR_TRANSIENT, "%s", down.text);
}

/* For whoever is on this machine, and asks it by a name of its own: a proxy on it lets others ask, too, and a page in a
 * browser on it may have got its name to lead here. */
static bool is_from_here(const struct call *c)
{
    return c->s->loopback && server_is_loopback(httpd_header(c->req, "Host"));
}

static int metrics(struct call *c, json_t **out, struct err *err)
{
    (void)out;
    AUTO_JSON numbers = NULL;
    if (!is_from_here(c) && !(c->known && c->caller.role == MARKET_OPERATOR)) {
        err_set(err, ERR_DENIED, "metrics are for operators");
        return err_hint(err, "send an operator's token as Authorization: Bearer TOKEN");
    }
    if (market_numbers(c->m, &numbers, err) < 0)
        return -1;
    c->resp->content_type = "text/plain; version=0.0.4; charset=utf-8";
    metrics_write(&c->s->metrics, numbers, &c->resp->body);
    c->answered = true;
    return 0;
}

const struct route_about routes_self[] = {
    ROUTE("GET", "/api/v1/agent/alive", 0, NULL, alive, .plain = true),
    ROUTE("GET", "/api/v1/agent/version", 0, NULL, version, .plain = true),
    ROUTE("GET", "/api/v1/agent/node", 0, NULL, self),
    ROUTE("GET", "/healthz", 0, NULL, healthz),
    ROUTE("GET", "/metrics", 0, NULL, metrics),
    {0},
};
