/* Requests as microhttpd hands them in: found, bounded, handled, cleaned up. */
#include "httpd/httpd_priv.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>

/* --- what handlers ask -------------------------------------------------------------------------------------------- */

const char *httpd_method(const struct httpd_request *r)
{
    return r->method;
}

const void *httpd_about(const struct httpd_request *r)
{
    return r->match.route->about;
}

const char *httpd_param(const struct httpd_request *r, const char *name)
{
    for (size_t i = 0; i < r->match.n; i++)
        if (span_eq(r->match.names[i], span_of(name)))
            return r->params[i];
    return "";
}

const char *httpd_query(const struct httpd_request *r, const char *name)
{
    return MHD_lookup_connection_value(r->connection, MHD_GET_ARGUMENT_KIND, name);
}

struct each {
    int (*visit)(void *ctx, const char *name);
    void *ctx;
    int rc;
};

static enum MHD_Result each_query(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct each *e = cls;
    (void)kind, (void)value;
    e->rc = e->visit(e->ctx, name);
    return e->rc == 0 ? MHD_YES : MHD_NO;
}

int httpd_each_query(const struct httpd_request *r, int (*visit)(void *ctx, const char *name), void *ctx)
{
    struct each e = {visit, ctx, 0};
    MHD_get_connection_values(r->connection, MHD_GET_ARGUMENT_KIND, each_query, &e);
    return e.rc;
}

const char *httpd_header(const struct httpd_request *r, const char *name)
{
    return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

struct span httpd_body(const struct httpd_request *r)
{
    return buf_span(&r->body);
}

const char *httpd_client(const struct httpd_request *r)
{
    return r->client;
}

uint64_t httpd_waited_ms(const struct httpd_request *r)
{
    return clock_mono_ms() - r->handled_ms;
}

bool httpd_client_gone(const struct httpd_request *r)
{
    char byte;
    ssize_t n = r->conn ? recv(r->conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) : 1;
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

void httpd_set_state(struct httpd_request *r, void *state, void (*drop)(void *state))
{
    r->state = state;
    r->drop_state = drop;
}

void *httpd_state(const struct httpd_request *r)
{
    return r->state;
}

const char *httpd_keep(struct httpd_request *r, const char *text)
{
    struct err err = ERR_INIT;
    if (r->kept_n == KEPT_MAX)
        return NULL;
    char *copy = str_dup(text, &err);
    if (copy)
        r->kept[r->kept_n++] = copy;
    return copy;
}

/* --- the life of a request ---------------------------------------------------------------------------------------- */

static void name_client(struct httpd_request *r)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *sa = info ? info->client_addr : NULL;
    const void *ip =
        !sa                         ? NULL
        : sa->sa_family == AF_INET  ? (const void *)&((const struct sockaddr_in *)(const void *)sa)->sin_addr
        : sa->sa_family == AF_INET6 ? (const void *)&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr
                                    : NULL;
    if (!ip || !inet_ntop(sa->sa_family, ip, r->client, sizeof r->client))
        snprintf(r->client, sizeof r->client, "?");
}

static void request_free(struct httpd_request *r)
{
    if (r->stream && r->stream->free)
        r->stream->free(r->stream_ctx);
    if (r->drop_state)
        r->drop_state(r->state);
    for (size_t i = 0; i < r->match.n; i++)
        free(r->params[i]);
    for (size_t i = 0; i < r->kept_n; i++)
        free(r->kept[i]);
    atomic_fetch_sub(&r->h->bodies, r->body_counted);
    if (r->body.p)
        mem_wipe(r->body.p, r->body.n); /* job files carry secrets */
    buf_release(&r->body);
    buf_release(&r->piece);
    free(r->path);
    free(r);
}

static struct httpd_request *request_new(struct httpd *h, struct MHD_Connection *c, const char *url, const char *method)
{
    struct err err = ERR_INIT;
    struct httpd_request *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->h = h;
    r->connection = c;
    r->begun_us = clock_mono_us();
    r->path = str_dup(url, &err);
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    r->conn = info ? info->socket_context : NULL;
    name_client(r);
    if (!r->path) {
        request_free(r);
        return NULL;
    }
    route_find(h->opts.routes, h->opts.route_count, method, r->path, &r->match);
    r->method = str_eq(method, "HEAD") ? "GET" : r->match.route ? r->match.route->method : "OTHER";
    for (size_t i = 0; i < r->match.n; i++)
        if (!(r->params[i] = str_dup_span(r->match.values[i], &err)))
            r->refused = 503;
    r->body_max = r->match.route && r->match.route->body_max ? r->match.route->body_max : h->opts.body_max;
    buf_init(&r->body, r->body_max);
    if (!r->match.route)
        r->refused = r->match.path_known ? 405 : 404;
    return r;
}

/* What the head says of the body's length; one that comes in chunks may be as long as it is allowed to be. */
static uint64_t announced(const struct httpd_request *r, uint64_t length)
{
    return httpd_header(r, "Transfer-Encoding") ? r->body_max : length;
}

/* Before a byte of the body is read. */
static void check_head(struct httpd_request *r)
{
    const union MHD_ConnectionInfo *head =
        MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (head && head->header_size > r->h->opts.head_max)
        r->refused = 431;
    const char *length = httpd_header(r, "Content-Length");
    struct err err = ERR_INIT;
    uint64_t n = 0;
    if (!r->refused && length && span_to_u64(span_of(length), &n, &err) < 0)
        r->refused = 400;
    if (!r->refused && n > r->body_max)
        r->refused = 413;
    r->large = announced(r, n) > r->h->opts.body_small;
}

/* Whether there is room for a body of `size` bytes beside all others. */
static bool count_body(struct httpd_request *r, uint64_t size)
{
    uint64_t small = r->h->opts.body_small, counts = size > small ? size - small : 0, more = counts - r->body_counted;
    r->body_counted = counts;
    return more == 0 || atomic_fetch_add(&r->h->bodies, more) + more <= r->h->opts.bodies_max;
}

static void take_body(struct httpd_request *r, const char *data, size_t n)
{
    if (r->refused)
        return;
    if (r->body.n + n > r->body_max)
        r->refused = 413;
    else if (!count_body(r, r->body.n + n))
        r->refused = 503;
    if (!r->refused)
        buf_add(&r->body, data, n);
    if (!r->refused && r->body.state != BUF_OK)
        r->refused = 503;
}

static void conn_clock(struct httpd_request *r, uint64_t since_ms)
{
    if (!r->conn)
        return;
    pthread_mutex_lock(&r->h->conns.mu);
    r->conn->since_ms = since_ms;
    pthread_mutex_unlock(&r->h->conns.mu);
}

static enum MHD_Result handle(struct httpd_request *r)
{
    if (!r->handled_ms) {
        r->handled_ms = clock_mono_ms();
        waits_handled(r->h, 1);
    }
    for (;;) {
        if (atomic_load(&r->h->stopping))
            return answer_error(r, 503);
        struct httpd_response resp = {.status = 200, .content_type = "application/json"};
        buf_init(&resp.body, RESPONSE_MAX);
        waits_begin_run(r);
        enum httpd_verdict v = r->match.route->handler(r->h->opts.ctx, r, &resp);
        if (v == HTTPD_DONE) {
            enum MHD_Result rc = answer(r, &resp);
            buf_release(&resp.body);
            return rc;
        }
        buf_release(&resp.body);
        if (waits_suspend(r, resp.wait_ms))
            return MHD_YES;
    }
}

/* Answered before the body: microhttpd closes afterwards. */
static enum MHD_Result turn_away(struct httpd_request *r, struct httpd_response *resp)
{
    conn_clock(r, 0);
    return resp ? answer(r, resp) : answer_error(r, r->refused);
}

static enum MHD_Result begin(struct httpd_request *r)
{
    check_head(r);
    if (r->refused)
        return turn_away(r, NULL);
    if (!r->large || !r->match.route->admit)
        return MHD_YES;
    struct httpd_response resp = {.status = 200, .content_type = "application/json"};
    buf_init(&resp.body, RESPONSE_MAX);
    enum MHD_Result rc = r->match.route->admit(r->h->opts.ctx, r, &resp) ? MHD_YES : turn_away(r, &resp);
    buf_release(&resp.body);
    return rc;
}

enum MHD_Result serve_access(void *cls, struct MHD_Connection *c, const char *url, const char *method,
                             const char *version, const char *data, size_t *data_n, void **request)
{
    struct httpd *h = cls;
    struct httpd_request *r = *request;
    (void)version;
    if (!r) {
        r = request_new(h, c, url, method);
        if (!r)
            return MHD_NO;
        *request = r;
        return begin(r);
    }
    if (*data_n > 0) {
        take_body(r, data, *data_n);
        *data_n = 0;
        /* A body without a length that goes on beyond every bound: no answer would ever be read. */
        return r->refused == 413 ? MHD_NO : MHD_YES;
    }
    conn_clock(r, 0);
    return r->refused ? answer_error(r, r->refused) : handle(r);
}

void serve_completed(void *cls, struct MHD_Connection *c, void **request, enum MHD_RequestTerminationCode why)
{
    struct httpd *h = cls;
    struct httpd_request *r = *request;
    (void)c, (void)why;
    if (!r)
        return;
    *request = NULL;
    conn_clock(r, clock_mono_ms());
    if (r->handled_ms)
        waits_handled(h, -1);
    if (h->opts.done && r->status)
        h->opts.done(h->opts.ctx, r->method, r->match.route ? r->match.route->pattern : "", r->status,
                     clock_mono_us() - r->begun_us);
    request_free(r);
}

void serve_connection(void *cls, struct MHD_Connection *c, void **socket_ctx, enum MHD_ConnectionNotificationCode what)
{
    struct httpd *h = cls;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
        struct conn *n = info ? calloc(1, sizeof *n) : NULL;
        *socket_ctx = n;
        if (!n)
            return;
        n->fd = info->connect_fd;
        n->since_ms = clock_mono_ms();
        pthread_mutex_lock(&h->conns.mu);
        n->next = h->conns.first;
        if (n->next)
            n->next->prev = n;
        h->conns.first = n;
        pthread_mutex_unlock(&h->conns.mu);
    } else if (*socket_ctx) {
        struct conn *n = *socket_ctx;
        *socket_ctx = NULL;
        pthread_mutex_lock(&h->conns.mu);
        if (n->prev)
            n->prev->next = n->next;
        else
            h->conns.first = n->next;
        if (n->next)
            n->next->prev = n->prev;
        pthread_mutex_unlock(&h->conns.mu);
        free(n);
    }
}
