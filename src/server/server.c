#include "server/server_priv.h"

#include "base/clock.h"
#include "base/log.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>

#define THREADS_DEFAULT  8
#define RATE_DEFAULT     200
#define TICK_MS          1000
#define LISTEN_MS        500 /* a stop waits so long for the listener */
#define TROUBLE_PAUSE_MS 1000
/* SQLite has one writer at a time, and those who wait for it sleep: better they queue here, where they are woken. */
#define SQLITE_CONNECTIONS 2

/* --- connections to the database ---------------------------------------------------------------------------------- */

/* A market's address wakes some of its nodes; a job's id or a node's id wakes all that watch it. */
static void wake(void *ctx, const char *what)
{
    struct server *s = ctx;
    struct httpd *httpd = atomic_load(&s->httpd);
    bool job = span_starts(span_of(what), SPAN_LIT("j-"));
    if (httpd)
        httpd_wake(httpd, what, job ? 0 : CLAIM_WAKES);
}

static int open_market(struct server *s, struct market **out, struct err *err)
{
    const struct market_opts mo = {
        .db_url = s->opts.db_url, .keys = s->keys, .lease_ms = s->opts.lease_ms, .changed = wake, .changed_ctx = s};
    return market_open(out, &mo, err);
}

static void one_fewer_out(struct server *s)
{
    pthread_mutex_lock(&s->idle.mu);
    s->idle.out--;
    pthread_cond_signal(&s->idle.given);
    pthread_mutex_unlock(&s->idle.mu);
}

struct market *server_take(struct server *s, struct err *err)
{
    struct market *m = NULL;
    pthread_mutex_lock(&s->idle.mu);
    while (s->idle.most && s->idle.out >= s->idle.most)
        pthread_cond_wait(&s->idle.given, &s->idle.mu);
    if (s->idle.n > 0)
        m = s->idle.v[--s->idle.n];
    s->idle.out++; /* from here on, since opening one may take its time */
    pthread_mutex_unlock(&s->idle.mu);
    if (!m && atomic_load(&s->down))
        err_set(err, ERR_TRANSIENT, "the database could not be reached a moment ago");
    else if (!m && open_market(s, &m, err) < 0)
        atomic_store(&s->down, true);
    if (!m)
        one_fewer_out(s);
    return m;
}

void server_give(struct server *s, struct market *m, bool broken)
{
    if (!m)
        return;
    struct market *gone[IDLE_MARKETS_MAX + 1] = {m};
    size_t n = 1;
    pthread_mutex_lock(&s->idle.mu);
    if (broken)
        while (s->idle.n > 0)
            gone[n++] = s->idle.v[--s->idle.n];
    else if (s->idle.n < ARRAY_LEN(s->idle.v))
        s->idle.v[s->idle.n++] = gone[--n];
    s->idle.out--;
    pthread_cond_signal(&s->idle.given);
    pthread_mutex_unlock(&s->idle.mu);
    while (n > 0)
        market_free(gone[--n]);
}

/* --- what goes on by itself --------------------------------------------------------------------------------------- */

/* One pass after each start: keys come with one. Of several servers only the first has something to do, but each says
 * that it is through, as long as the file holds older keys. */
static int reseal(const struct server *s, struct market *m, struct market_reseal *pass, bool *due, struct err *err)
{
    if (!*due)
        return 0;
    if (market_reseal(m, pass, due, err) < 0)
        return -1;
    if (!*due && pass->closed > 0)
        log_warn("server", "secrets that no key of the key file opens: %" PRIu64, pass->closed);
    if (!*due && seal_keys_count(s->keys) > 1)
        log_warn("server",
                 "secrets sealed anew under the newest key: %" PRIu64
                 " (once all servers have said this, older keys can go from the key file)",
                 pass->renewed);
    return 0;
}

/* Housekeeping, on a connection of its own; what is wrong with the database is said once, not once a second. */
static void *ticker(void *arg)
{
    struct server *s = arg;
    struct market *m = NULL;
    struct market_reseal pass = {0};
    bool trouble = false, stale = true;
    for (;;) {
        struct err err = ERR_INIT, over = ERR_INIT;
        bool more = false;
        int rc = m || open_market(s, &m, &err) == 0 ? market_tick(m, &more, &err) : -1;
        if (rc == 0)
            rc = reseal(s, m, &pass, &stale, &err);
        more |= rc == 0 && stale;
        if (rc < 0) {
            market_free(m);
            m = NULL;
        }
        if (rc < 0 && !trouble)
            log_error("server", "%s", err.text);
        if (rc == 0 && trouble)
            log_info("server", "housekeeping goes on");
        trouble = rc < 0;
        if (!trouble)
            atomic_store(&s->down, false);
        if (cancel_sleep_ms(&s->stop, more ? 1 : trouble ? TROUBLE_PAUSE_MS : TICK_MS, &over) < 0)
            break;
    }
    market_free(m);
    return NULL;
}

/* Wake-ups from other servers. */
static void *listener(void *arg)
{
    struct server *s = arg;
    struct market_listener *l = NULL;
    char what[MARKET_NODE_MAX];
    for (;;) {
        struct err err = ERR_INIT, over = ERR_INIT;
        int rc = l || market_listen(&l, s->opts.db_url, &err) == 0 ? market_listen_wait(l, LISTEN_MS, what, &err) : -1;
        if (rc == 1)
            wake(s, what);
        if (rc < 0) {
            log_debug("server", "wake-ups: %s", err.text);
            market_listen_free(l);
            l = NULL;
        }
        if (rc < 0 ? cancel_sleep_ms(&s->stop, TROUBLE_PAUSE_MS, &over) < 0 : cancel_level_of(&s->stop) != CANCEL_NONE)
            break;
    }
    market_listen_free(l);
    return NULL;
}

/* --- start and stop ----------------------------------------------------------------------------------------------- */

static void on_done(void *ctx, const char *method, const char *pattern, int status, uint64_t us)
{
    struct server *s = ctx;
    metrics_request(&s->metrics, method, pattern, status, us);
    log_debug("server", "request (method=%s route=%s status=%d us=%llu)", method, pattern, status,
              (unsigned long long)us);
}

static void add_routes(struct server *s, const struct route_about *about)
{
    for (; about->method && s->route_count < SERVER_ROUTES_MAX; about++)
        s->routes[s->route_count++] =
            (struct httpd_route){.method = about->method,
                                 .pattern = about->pattern,
                                 .handler = about->plain ? server_handle_plain : server_handle,
                                 .body_max = about->body_max ? about->body_max : SMALL_BODY_MAX,
                                 .admit = about->plain ? NULL : server_admit,
                                 .about = about};
}

bool server_is_loopback(const char *listen)
{
    struct in_addr v4;
    struct in6_addr v6;
    struct err none = ERR_INIT;
    const char *colon = listen ? strrchr(listen, ':') : NULL;
    struct span host = colon ? (struct span){listen, (size_t)(colon - listen)} : span_of(listen);
    if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
        host = (struct span){host.p + 1, host.n - 2};
    AUTO_STR text = str_dup_span(host, &none);
    if (!text)
        return false;
    if (inet_pton(AF_INET, text, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
    return str_eq(text, "localhost") || (inet_pton(AF_INET6, text, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6));
}

static int start_httpd(struct server *s, struct err *err)
{
    static const struct route_about *const all[] = {routes_jobs, routes_markets, routes_nodes, routes_agent,
                                                    routes_self};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        add_routes(s, all[i]);
    for (const struct server_page *p = server_pages; p->path && s->route_count < SERVER_ROUTES_MAX; p++)
        s->routes[s->route_count++] = (struct httpd_route){
            .method = "GET", .pattern = p->path, .handler = server_page, .body_max = SMALL_BODY_MAX, .about = p};
    if (s->route_count == SERVER_ROUTES_MAX)
        return err_set(err, ERR_LIMIT, "more than %d routes and pages", SERVER_ROUTES_MAX - 1);
    const struct httpd_opts ho = {
        .listen = s->opts.listen,
        .tls_cert = s->opts.tls_cert,
        .tls_key = s->opts.tls_key,
        .routes = s->routes,
        .route_count = s->route_count,
        .ctx = s,
        .threads = s->opts.threads ? s->opts.threads : THREADS_DEFAULT,
        .request_ms = s->opts.request_ms,
        .done = on_done,
    };
    struct httpd *httpd = NULL;
    int rc = httpd_start(&httpd, &ho, err);
    atomic_store(&s->httpd, httpd);
    return rc;
}

static int start_threads(struct server *s, struct err *err)
{
    s->ticker_runs = pthread_create(&s->ticker, NULL, ticker, s) == 0;
    s->listener_runs = s->ticker_runs && pthread_create(&s->listener, NULL, listener, s) == 0;
    return s->listener_runs ? 0 : err_set(err, ERR_SYSTEM, "cannot start a thread");
}

/* The schema is made, and a wrong address of the database told, before anybody can connect. */
static int open_first_market(struct server *s, struct err *err)
{
    struct market *m = server_take(s, err);
    server_give(s, m, false);
    return m ? 0 : -1;
}

static int open_managed(struct server *s, struct err *err)
{
    return str_empty(s->opts.managed) ? 0
                                      : managed_open(&s->managed, s->opts.managed, &s->opts.results, s->opts.http, err);
}

int server_start(struct server **out, const struct server_opts *opts, struct err *err)
{
    *out = NULL;
    bool loopback = server_is_loopback(opts->listen);
    if (!opts->tls_cert && !opts->insecure && !loopback) {
        err_set(err, ERR_REFUSED, "will not listen on %s without TLS: tokens and secrets would travel unencrypted",
                opts->listen);
        return err_hint(err,
                        "give --tls-cert and --tls-key, or --insecure where something in front does the encrypting");
    }
    if (opts->presign_s > SERVER_PRESIGN_MAX_S)
        return err_set(err, ERR_INVALID, "URLs of results can be good for 7 days at most");
    struct server *s = calloc(1, sizeof *s);
    if (!s)
        return err_nomem(err);
    s->opts = *opts;
    s->loopback = loopback;
    pthread_mutex_init(&s->idle.mu, NULL);
    pthread_cond_init(&s->idle.given, NULL);
    s->idle.most = strncmp(opts->db_url, "sqlite:", strlen("sqlite:")) == 0 ? SQLITE_CONNECTIONS : 0;
    metrics_init(&s->metrics);
    rate_init(&s->rate, opts->requests_per_second ? opts->requests_per_second : RATE_DEFAULT);
    if (cancel_init(&s->stop, err) < 0 || open_managed(s, err) < 0 ||
        seal_keys_open(&s->keys, opts->key_file, true, err) < 0 || open_first_market(s, err) < 0 ||
        start_httpd(s, err) < 0 || start_threads(s, err) < 0) {
        server_stop(s);
        return -1;
    }
    *out = s;
    return 0;
}

const char *server_address(const struct server *s)
{
    return httpd_address(s->httpd);
}

static int another_token(struct market *m, char **token, struct err *err)
{
    const struct market_caller self = {.role = MARKET_OPERATOR};
    const struct market_token_opts o = {.role = MARKET_OPERATOR, .name = "made at the server"};
    json_t *made = NULL;
    if (market_token_new(m, &self, &o, &made, err) < 0)
        return -1;
    *token = str_dup(json_get_str(made, "token"), err);
    market_secrets_free(made);
    return *token ? 1 : -1;
}

int server_operator_token(struct server *s, bool another, char **token, struct err *err)
{
    char text[SEAL_TOKEN_MAX];
    *token = NULL;
    struct market *m = server_take(s, err);
    int rc = m ? market_token_first(m, text, err) : -1;
    if (rc == 1) {
        *token = str_dup(text, err);
        mem_wipe(text, sizeof text);
        rc = *token ? 1 : -1;
    } else if (rc == 0 && another) {
        rc = another_token(m, token, err);
    }
    server_give(s, m, rc < 0);
    return rc;
}

int server_knows_operator(struct server *s, const char *token, struct err *err)
{
    struct market_caller who;
    struct err why = ERR_INIT;
    struct market *m = server_take(s, err);
    if (!m)
        return -1;
    int rc = market_token_auth(m, span_of(token), &who, &why);
    bool unknown = rc < 0 && why.kind == ERR_DENIED;
    server_give(s, m, rc < 0 && !unknown);
    if (rc < 0 && !unknown)
        return err_move(err, &why);
    return rc == 0 && who.role == MARKET_OPERATOR;
}

void server_stop(struct server *s)
{
    if (!s)
        return;
    cancel_raise(&s->stop, CANCEL_STOP);
    if (s->ticker_runs)
        pthread_join(s->ticker, NULL);
    if (s->listener_runs)
        pthread_join(s->listener, NULL);
    httpd_stop(s->httpd); /* after the threads, which wake those who wait there */
    for (size_t i = 0; i < s->idle.n; i++)
        market_free(s->idle.v[i]);
    managed_free(s->managed);
    seal_keys_free(s->keys);
    rate_release(&s->rate);
    metrics_release(&s->metrics);
    cancel_release(&s->stop);
    pthread_cond_destroy(&s->idle.given);
    pthread_mutex_destroy(&s->idle.mu);
    free(s);
}
