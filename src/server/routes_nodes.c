/* Nodes as people see them. */
#include "server/server_priv.h"

#define NODES "/api/v1/orchestrator/nodes"

static int list_nodes(struct call *c, json_t **out, struct err *err)
{
    struct market_page page = {0};
    if (query_page(c, &page, err) < 0)
        return -1;
    return market_node_list(c->m, &c->caller, httpd_query(c->req, "market"), &page, out, err);
}

static int get_node(struct call *c, json_t **out, struct err *err)
{
    return market_node_get(c->m, &c->caller, httpd_param(c->req, "id"), out, err);
}

static int set_node(struct call *c, json_t **out, struct err *err)
{
    static const struct {
        const char *word;
        enum market_node_action action;
    } actions[] = {
        {"approve", MARKET_APPROVE}, {"reject", MARKET_REJECT}, {"drain", MARKET_DRAIN}, {"undrain", MARKET_UNDRAIN}};
    const char *word = NULL;
    if (body_need(c, "action", err) < 0 || body_str(c, "action", &word, err) < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_LEN(actions); i++)
        if (str_eq(word, actions[i].word))
            return market_node_set(c->m, &c->caller, httpd_param(c->req, "id"), actions[i].action, out, err);
    return err_set(err, ERR_INVALID, "action: approve, reject, drain or undrain");
}

static const char *const list_queries[] = {"market", "limit", "next_token", NULL};
static const char *const set_members[] = {"action", NULL};

const struct route_about routes_nodes[] = {
    ROUTE("GET", NODES, ROLE_BIT(POSTER) | ROLE_BIT(OPERATOR), NULL, list_nodes, .queries = list_queries),
    ROUTE("GET", NODES "/{id}", ROLE_BIT(POSTER) | ROLE_BIT(OPERATOR), NULL, get_node),
    ROUTE("PUT", NODES "/{id}", ROLE_BIT(OPERATOR), set_members, set_node),
    {0},
};
