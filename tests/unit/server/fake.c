#include "fake.h"

#include <limits.h>

#define BODY_MAX     ((size_t)64 << 20)
#define QUERIES_MAX  16
#define TOKEN_MAX    256
#define STREAM_CALLS 100

/* What stands for a connection. */
struct connection {
    char authorization[TOKEN_MAX];
    struct {
        const char *name, *value;
    } queries[QUERIES_MAX];
    size_t query_count;
};

/* --- instead of microhttpd's -------------------------------------------------------------------------------------- */

const char *MHD_lookup_connection_value(struct MHD_Connection *c, enum MHD_ValueKind kind, const char *key)
{
    const struct connection *conn = (const void *)c;
    if (kind == MHD_HEADER_KIND)
        return str_eq(key, "Authorization") && *conn->authorization ? conn->authorization : NULL;
    for (size_t i = 0; i < conn->query_count; i++)
        if (str_eq(conn->queries[i].name, key))
            return conn->queries[i].value;
    return NULL;
}

int MHD_get_connection_values(struct MHD_Connection *c, enum MHD_ValueKind kind, MHD_KeyValueIterator visit, void *ctx)
{
    const struct connection *conn = (const void *)c;
    for (size_t i = 0; i < conn->query_count; i++)
        if (visit(ctx, kind, conn->queries[i].name, conn->queries[i].value) != MHD_YES)
            break;
    return (int)conn->query_count;
}

/* --- the server --------------------------------------------------------------------------------------------------- */

static void add_routes(struct fake_server *f)
{
    static const struct route_about *const all[] = {routes_jobs, routes_markets, routes_nodes, routes_agent,
                                                    routes_self};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        for (const struct route_about *r = all[i]; r->method && f->route_count < SERVER_ROUTES_MAX; r++)
            f->routes[f->route_count++] =
                (struct httpd_route){.method = r->method,
                                     .pattern = r->pattern,
                                     .handler = r->plain ? server_handle_plain : server_handle,
                                     .about = r};
}

int fake_open(struct fake_server *f, const char *dir, struct err *err)
{
    struct server *s = &f->server;
    snprintf(f->db_url, sizeof f->db_url, "sqlite:%s/db", dir);
    snprintf(f->keys_path, sizeof f->keys_path, "%s/keys", dir);
    if (seal_keys_open(&s->keys, f->keys_path, true, err) < 0)
        return -1;
    s->opts.db_url = f->db_url;
    s->loopback = true;
    pthread_mutex_init(&s->idle.mu, NULL);
    pthread_cond_init(&s->idle.given, NULL);
    pthread_mutex_init(&f->frame.waits.mu, NULL);
    rate_init(&s->rate, UINT_MAX);
    metrics_init(&s->metrics);
    add_routes(f);
    return 0;
}

void fake_close(struct fake_server *f)
{
    struct server *s = &f->server;
    for (size_t i = 0; i < s->idle.n; i++)
        market_free(s->idle.v[i]);
    seal_keys_free(s->keys);
    metrics_release(&s->metrics);
    rate_release(&s->rate);
    pthread_mutex_destroy(&f->frame.waits.mu);
    pthread_cond_destroy(&s->idle.given);
    pthread_mutex_destroy(&s->idle.mu);
    *f = (struct fake_server){0};
}

/* --- a call ------------------------------------------------------------------------------------------------------- */

/* "a=b&c" cut in place. */
static void read_queries(struct connection *c, char *text)
{
    for (char *rest = text, *one; c->query_count < QUERIES_MAX && (one = strsep(&rest, "&"));) {
        char *value = one, *name = strsep(&value, "=");
        route_unescape(name);
        if (value)
            route_unescape(value);
        c->queries[c->query_count].name = name;
        c->queries[c->query_count++].value = value;
    }
}

static void read_stream(struct httpd_request *r, const struct httpd_response *resp, struct buf *answer)
{
    uint32_t wait_ms = 0;
    int calls = 0;
    while (calls++ < STREAM_CALLS && wait_ms == 0)
        if (resp->stream->next(resp->stream_ctx, r, answer, &wait_ms) == 0)
            break;
    resp->stream->free(resp->stream_ctx);
}

static int answer_of(struct httpd_request *r, struct httpd_response *resp, struct buf *answer)
{
    if (r->match.route->handler(r->h->opts.ctx, r, resp) == HTTPD_WAIT)
        return FAKE_WAITS;
    if (resp->stream)
        read_stream(r, resp, answer);
    else if (resp->body.state == BUF_OK)
        buf_add_span(answer, buf_span(&resp->body));
    return resp->body.state == BUF_OK ? resp->status : 500; /* as the frame has it */
}

static void end_request(struct httpd_request *r)
{
    if (r->drop_state)
        r->drop_state(r->state);
    for (size_t i = 0; i < r->match.n; i++)
        free(r->params[i]);
    for (size_t i = 0; i < r->kept_n; i++)
        free(r->kept[i]);
    buf_release(&r->body);
}

static int on_path(struct fake_server *f, const struct fake_call *call, const char *path, struct connection *c,
                   struct buf *answer)
{
    struct err err = ERR_INIT;
    struct httpd_request r = {.h = &f->frame, .connection = (void *)c, .method = call->method, .client = "127.0.0.1"};
    struct httpd_response resp = {.status = 200};
    int status = FAKE_NOTHING;
    route_find(f->routes, f->route_count, call->method, path, &r.match);
    bool well = r.match.route != NULL;
    for (size_t i = 0; i < r.match.n; i++)
        well = (r.params[i] = str_dup_span(r.match.values[i], &err)) && well;
    buf_init(&r.body, BODY_MAX);
    buf_init(&resp.body, BODY_MAX);
    buf_add_span(&r.body, call->body);
    f->frame.opts.ctx = &f->server;
    if (well && r.body.state == BUF_OK)
        status = answer_of(&r, &resp, answer);
    else if (r.match.route)
        status = 500;
    buf_release(&resp.body);
    end_request(&r);
    return status;
}

int fake_call(struct fake_server *f, const struct fake_call *call, struct buf *answer)
{
    struct err err = ERR_INIT;
    struct connection c = {0};
    AUTO_STR target = str_dup(call->target, &err);
    if (!target)
        return 500;
    char *query = target, *path = strsep(&query, "?");
    route_unescape(path);
    if (query)
        read_queries(&c, query);
    if (call->token)
        snprintf(c.authorization, sizeof c.authorization, "Bearer %s", call->token);
    return on_path(f, call, path, &c, answer);
}
