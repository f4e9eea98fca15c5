/* One request from its head to its answer: who asks, how often, with what body; errors to statuses. */
#include "server/server_priv.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/near.h"

#include <stdio.h>

#define BEARER "Bearer "

/* What a request that waits keeps between its runs. */
struct waiting {
    struct market_caller caller;
    json_t *body;
};

static void drop_waiting(void *p)
{
    struct waiting *w = p;
    market_secrets_free(w->body);
    free(w);
}

/* --- errors ------------------------------------------------------------------------------------------------------- */

struct refusal {
    int status;
    const char *code;
};

static struct refusal refusal_of(enum err_kind kind)
{
    switch (kind) {
    case ERR_USAGE:
    case ERR_INVALID:
        return (struct refusal){400, "invalid"};
    case ERR_DENIED:
        return (struct refusal){403, "denied"};
    case ERR_NOTFOUND:
        return (struct refusal){404, "not_found"};
    case ERR_EXISTS:
        return (struct refusal){409, "exists"};
    case ERR_REFUSED:
        return (struct refusal){409, "conflict"};
    case ERR_CHANGED:
        return (struct refusal){409, "lost"};
    case ERR_LIMIT:
        return (struct refusal){429, "limit"};
    case ERR_UNSUPPORTED:
        return (struct refusal){422, "unsupported"};
    case ERR_BUSY:
    case ERR_TRANSIENT:
    case ERR_TIMEOUT:
    case ERR_NOSPACE:
        return (struct refusal){503, "busy"};
    default:
        return (struct refusal){500, "internal"};
    }
}

/* What the database says of its own troubles is for the log: it may name hosts and paths. */
static const char *words_for(const struct call *c, const struct refusal *r, const struct err *e)
{
    if (r->status < 500 || c->worded)
        return e->text;
    if (r->status == 500)
        return "the server failed";
    return e->kind == ERR_NOSPACE ? "the server's database has no room left"
                                  : "the server's database is busy, does not answer, or refuses";
}

static void put_error(struct call *c, const struct refusal *r, const struct err *e, json_t *more)
{
    struct err err = ERR_INIT;
    AUTO_JSON out = json_object();
    json_t *error = json_object();
    const char *hint = r->status == 500 ? "its log says why" : r->status == 503 ? "try again a little later" : e->hint;
    json_put_str(error, "code", r->code, &err);
    json_put_str(error, "message", words_for(c, r, e), &err);
    if (*hint)
        json_put_str(error, "hint", hint, &err);
    json_put(out, "error", error, &err);
    if (more)
        json_object_update_missing(out, more);
    c->resp->status = r->status;
    buf_reset(&c->resp->body);
    if (err_is_set(&err) || json_write(out, false, &c->resp->body, &err) < 0)
        buf_adds(&c->resp->body, "{\"error\":{\"code\":\"internal\",\"message\":\"out of memory\"}}");
    if (r->status == 503 || r->status == 429)
        httpd_add_header(c->resp, "Retry-After", "1");
    if (r->status == 401)
        httpd_add_header(c->resp, "WWW-Authenticate", "Bearer");
    /* A database that is away says so once, where the ticker asks it; not a line for each request. */
    if (r->status >= 500)
        log_line(r->status == 500 ? LOG_ERROR : LOG_DEBUG, "server", "%s %s: %s", httpd_method(c->req),
                 ((const struct route_about *)httpd_about(c->req))->pattern, e->text);
}

static void refuse(struct call *c, int status, const char *code, const char *text, const char *hint)
{
    struct err e = ERR_INIT;
    err_set(&e, ERR_INVALID, "%s", text);
    if (hint)
        err_hint(&e, "%s", hint);
    put_error(c, &(struct refusal){status, code}, &e, NULL);
}

/* --- who asks ----------------------------------------------------------------------------------------------------- */

static bool limited(struct call *c, const char *who, const char *text)
{
    if (rate_take(&c->s->rate, who, clock_mono_ms()))
        return false;
    metrics_limited(&c->s->metrics);
    refuse(c, 429, "limit", text, "slow down");
    return true;
}

/* For requests by which nobody is known. */
static bool address_limited(struct call *c)
{
    char who[RATE_WHO_MAX];
    rate_who(httpd_client(c->req), who);
    return limited(c, who, "too many requests from this address");
}

/* The token of "Authorization: Bearer TOKEN" (RFC 6750; the scheme in either case, RFC 9110, 11.1); empty: none. */
static struct span bearer(const struct httpd_request *req)
{
    struct span header = span_of(httpd_header(req, "Authorization"));
    size_t n = sizeof BEARER - 1;
    if (header.n <= n || !span_eq_nocase(span_head(header, n), SPAN_LIT(BEARER)))
        return (struct span){0};
    return span_trim((struct span){header.p + n, header.n - n});
}

/* Before the database is asked anything: requests without a token count for their address, and so do those with one
 * that was not good here lately. Whoever guesses costs no more look-ups than that, and a caller who is known is never
 * kept out by its neighbours behind the same proxy. False: answered already. */
static bool admit(struct call *c, const struct route_about *about)
{
    struct span token = bearer(c->req);
    if (token.n > 0 && known_has(&c->s->known, token))
        return true;
    if (address_limited(c))
        return false;
    if (token.n > 0 || about->roles == 0)
        return true;
    refuse(c, 401, "unauthenticated", "this needs a token", "send it as Authorization: Bearer TOKEN");
    return false;
}

static bool is_database_trouble(enum err_kind kind)
{
    return kind == ERR_TRANSIENT || kind == ERR_TIMEOUT || kind == ERR_SYSTEM || kind == ERR_CORRUPT;
}

/* False: answered already. */
static bool authenticate(struct call *c, const struct route_about *about)
{
    struct span token = bearer(c->req);
    struct err err = ERR_INIT;
    if (token.n == 0)
        return true;
    if (market_token_auth(c->m, token, &c->caller, &err) < 0) {
        struct refusal r = refusal_of(err.kind);
        c->broken |= is_database_trouble(err.kind);
        if (err.kind == ERR_DENIED) {
            known_drop(&c->s->known, token);
            r = (struct refusal){401, "unauthenticated"};
        }
        put_error(c, &r, &err, NULL);
        return false;
    }
    known_add(&c->s->known, token);
    c->known = true;
    if (limited(c, c->caller.token, "too many requests with this token"))
        return false;
    if (about->roles && !(about->roles & (1u << c->caller.role))) {
        refuse(c, 403, "denied", "a token of this role may not do that", NULL);
        return false;
    }
    return true;
}

/* --- what is asked ------------------------------------------------------------------------------------------------ */

static bool is_one_of(const char *name, const char *const *names)
{
    for (size_t i = 0; names && names[i]; i++)
        if (str_eq(name, names[i]))
            return true;
    return false;
}

static size_t count(const char *const *names)
{
    size_t n = 0;
    while (names[n])
        n++;
    return n;
}

static int unknown(const char *what, const char *name, const char *const *names, struct err *err)
{
    err_set(err, ERR_INVALID, "%s '%.100s' is unknown here", what, name);
    const char *near = names ? near_best(span_of(name), names, count(names)) : NULL;
    return near ? err_hint(err, "did you mean '%s'?", near) : -1;
}

static int check_members(const struct route_about *about, const json_t *body, struct err *err)
{
    const char *name;
    json_t *value;
    int64_t version = 1;
    json_object_foreach((json_t *)body, name, value)
    {
        bool known = str_eq(name, "version") || (about->node_message && str_eq(name, "node"));
        if (!known && !is_one_of(name, about->members))
            return unknown("member", name, about->members, err);
    }
    const json_t *v = json_object_get(body, "version");
    if (v && (!json_get_i64(body, "version", &version) || version != 1))
        return err_set(err, ERR_INVALID, "version: this server speaks version 1");
    return !v && about->node_message ? err_set(err, ERR_INVALID, "version: missing") : 0;
}

struct queries {
    const struct route_about *about;
    struct err *err;
};

static int check_query(void *ctx, const char *name)
{
    struct queries *q = ctx;
    return is_one_of(name, q->about->queries) ? 0 : unknown("query", name, q->about->queries, q->err);
}

static int read_body(struct call *c, const struct route_about *about, struct err *err)
{
    struct span text = httpd_body(c->req);
    struct queries q = {about, err};
    if (httpd_each_query(c->req, check_query, &q) != 0)
        return -1;
    if (!about->members)
        return text.n == 0 ? 0 : err_set(err, ERR_INVALID, "this takes no body");
    c->body = json_parse(text, err);
    if (!c->body)
        return err_wrap(err, "body");
    if (!json_is_object(c->body))
        return err_set(err, ERR_INVALID, "body: must be an object");
    if (check_members(about, c->body, err) < 0)
        return -1;
    if (!about->node_message || c->caller.role == MARKET_JOIN)
        return 0;
    const char *node = NULL;
    if (body_need(c, "node", err) < 0 || body_str(c, "node", &node, err) < 0)
        return -1;
    /* A token that has not said hello is for any node that does. */
    return !*c->caller.node && str_eq(about->pattern, "/api/v1/node/hello") ? 0
                                                                            : market_check_node(&c->caller, node, err);
}

/* --- the answer --------------------------------------------------------------------------------------------------- */

static enum httpd_verdict wait_on(struct call *c)
{
    if (httpd_state(c->req)) {
        c->body = NULL; /* the request's already */
    } else {
        struct waiting *w = calloc(1, sizeof *w);
        if (!w) {
            struct err err = ERR_INIT;
            err_nomem(&err);
            put_error(c, &(struct refusal){500, "internal"}, &err, NULL);
            return HTTPD_DONE;
        }
        w->caller = c->caller;
        w->body = c->body;
        c->body = NULL;
        httpd_set_state(c->req, w, drop_waiting);
    }
    c->resp->wait_ms = c->wait_ms;
    return HTTPD_WAIT;
}

static void answer_call(struct call *c, int rc, json_t *out, const struct err *err)
{
    struct err writing = ERR_INIT;
    if (rc < 0) {
        struct refusal r = refusal_of(err->kind);
        if (r.status == 403 && !c->known) /* or not any more: who had waited was let in before */
            r = (struct refusal){401, "unauthenticated"};
        put_error(c, &r, err, err->kind == ERR_REFUSED ? out : NULL); /* next_offset of a log with a gap */
    } else if (!c->answered) {
        c->resp->status = c->status;
        if (json_write(out, false, &c->resp->body, &writing) < 0)
            put_error(c, &(struct refusal){500, "internal"}, &writing, NULL);
    }
}

/* Of a request that waited: whose token was revoked, or ran out meanwhile, waits no longer, and gets nothing. */
static int take_up(struct call *c, const struct route_about *about, const struct waiting *w, struct err *err)
{
    c->caller = w->caller;
    c->body = w->body;
    return about->looks_at_token ? 0 : market_token_check(c->m, &c->caller, err);
}

/* What people ask for is rare, and theirs to rely on. What nodes say comes often: what a power cut takes of it makes an
 * execution run once more. */
static bool must_last(const struct route_about *about)
{
    return about->node_message ? about->lasting : !str_eq(about->method, "GET");
}

/* The database's part of a request. */
static enum httpd_verdict run(struct call *c, const struct route_about *about, struct waiting *w)
{
    struct err err = ERR_INIT;
    json_t *out = NULL;
    enum httpd_verdict verdict = HTTPD_DONE;
    int rc = w ? take_up(c, about, w, &err) : authenticate(c, about) ? read_body(c, about, &err) : 1;
    if (rc == 0)
        rc = about->run(c, &out, &err);
    if (rc == 0 && must_last(about))
        rc = market_sync(c->m, &err);
    if (rc == 0 && c->wait)
        verdict = wait_on(c);
    else if (rc <= 0)
        answer_call(c, rc, out, &err);
    c->broken |= !c->worded && is_database_trouble(err.kind);
    if (err.kind == ERR_CHANGED)
        metrics_lost(&c->s->metrics, 1);
    market_secrets_free(out);
    if (!w)
        market_secrets_free(c->body);
    return verdict;
}

/* A connection to the database for this call; false: answered already. */
static bool take_market(struct call *c)
{
    struct err err = ERR_INIT;
    c->m = server_take(c->s, &err);
    if (!c->m)
        put_error(c, &(struct refusal){503, "busy"}, &err, NULL);
    return c->m != NULL;
}

bool server_admit(void *ctx, struct httpd_request *req, struct httpd_response *resp)
{
    const struct route_about *about = httpd_about(req);
    struct call c = {.s = ctx, .req = req, .resp = resp};
    if (!admit(&c, about) || !take_market(&c))
        return false;
    bool admitted = authenticate(&c, about);
    server_give(c.s, c.m, c.broken);
    return admitted;
}

enum httpd_verdict server_handle(void *ctx, struct httpd_request *req, struct httpd_response *resp)
{
    const struct route_about *about = httpd_about(req);
    struct call c = {.s = ctx, .req = req, .resp = resp, .status = 200};
    if (!httpd_state(req) && !admit(&c, about))
        return HTTPD_DONE;
    if (!take_market(&c))
        return HTTPD_DONE;
    enum httpd_verdict verdict = run(&c, about, httpd_state(req));
    server_give(c.s, c.m, c.broken);
    return verdict;
}

/* What needs no database, and nobody's leave. */
enum httpd_verdict server_handle_plain(void *ctx, struct httpd_request *req, struct httpd_response *resp)
{
    const struct route_about *about = httpd_about(req);
    struct call c = {.s = ctx, .req = req, .resp = resp, .status = 200};
    struct err err = ERR_INIT;
    AUTO_JSON out = NULL;
    if (address_limited(&c))
        return HTTPD_DONE;
    int rc = about->run(&c, &out, &err);
    answer_call(&c, rc, out, &err);
    return HTTPD_DONE;
}

enum httpd_verdict server_page(void *ctx, struct httpd_request *req, struct httpd_response *resp)
{
    const struct server_page *page = httpd_about(req);
    (void)ctx;
    resp->content_type = page->type;
    resp->fixed = page->bytes;
    return HTTPD_DONE;
}
