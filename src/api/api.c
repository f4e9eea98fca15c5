#include "api/api.h"

#include "api/sse.h"
#include "base/arena.h"
#include "base/enc.h"
#include "base/fs.h"
#include "xfer/http.h"
#include "xfer/url.h"

#include <fcntl.h>
#include <sys/stat.h>

#define TOTAL_MS_DEFAULT    60000
#define EVENTS_TRIES        10
#define EVENTS_BACK_OFF_MS  500
#define EVENTS_BACK_OFF_MAX 10000
#define EVENTS_IDLE_MS      60000 /* the server sends a comment every 15 s */
#define REFUSAL_MAX         65536 /* of the body that comes with an error */
#define PIECE_BYTES         16384 /* of an event stream, at a time */
#define HEADERS_MAX         6

struct api {
    char *server;        /* without a slash at the end */
    bool in_the_clear;   /* what is sent: plain http:// to another machine */
    char *authorization; /* "Bearer …", secret; NULL: none */
    struct http *http;
};

int api_set_token(struct api *a, const char *token, struct err *err)
{
    if (a->in_the_clear) {
        err_set(err, ERR_REFUSED, "%s: a token would travel unencrypted", a->server);
        return err_hint(err, "use https://, or http:// on this machine only");
    }
    char *text = str_printf(err, "Bearer %s", token);
    if (!text)
        return -1;
    str_free_secret(a->authorization);
    a->authorization = text;
    return 0;
}

static int look_at_server(const char *server, bool *in_the_clear, struct err *err)
{
    struct arena *arena = arena_new(0, err);
    struct url u;
    if (!arena)
        return -1;
    int rc = url_parse(arena, span_of(server), &u, err);
    if (rc == 0)
        *in_the_clear = str_eq(u.scheme, "http") && !url_is_loopback(&u);
    arena_free(arena);
    return rc < 0 ? err_wrap(err, "server address") : 0;
}

int api_open(struct api **out, const struct api_opts *opts, struct err *err)
{
    *out = NULL;
    if (str_empty(opts->server)) {
        err_set(err, ERR_USAGE, "which server?");
        return err_hint(err, "set BERTH_SERVER_URL, or server.url in the configuration");
    }
    bool in_the_clear = false;
    if (look_at_server(opts->server, &in_the_clear, err) < 0)
        return -1;
    struct api *a = calloc(1, sizeof *a);
    if (!a)
        return err_nomem(err);
    struct span server = span_of(opts->server);
    while (server.n && server.p[server.n - 1] == '/')
        server.n--;
    const struct http_opts ho = {.policy = {.ca_file = opts->ca_file},
                                 .max_connections = opts->connections ? opts->connections : 8};
    a->server = str_dup_span(server, err);
    a->in_the_clear = in_the_clear;
    if (!a->server || (opts->token && api_set_token(a, opts->token, err) < 0) || http_open(&a->http, &ho, err) < 0) {
        api_free(a);
        return -1;
    }
    *out = a;
    return 0;
}

void api_free(struct api *a)
{
    if (!a)
        return;
    http_free(a->http);
    str_free_secret(a->authorization);
    free(a->server);
    free(a);
}

const char *api_server(const struct api *a)
{
    return a->server;
}

char *api_read_token(const char *path, struct err *err)
{
    struct stat st;
    if (stat(path, &st) == 0 && (st.st_mode & 077) != 0) {
        err_set(err, ERR_REFUSED, "%s: others may read this token", path);
        err_hint(err, "chmod 600 %s", path);
        return NULL;
    }
    struct buf text;
    buf_init(&text, API_TOKEN_FILE_MAX);
    char *token = NULL;
    if (fs_read_file(AT_FDCWD, path, API_TOKEN_FILE_MAX, &text, err) == 0) {
        struct span line, rest;
        span_cut(buf_span(&text), '\n', &line, &rest);
        line = span_trim(line);
        if (line.n == 0)
            err_set(err, ERR_INVALID, "%s: no token in it", path);
        else
            token = str_dup_span(line, err);
    }
    if (text.p)
        mem_wipe(text.p, text.n);
    buf_release(&text);
    return token;
}

/* --- errors ------------------------------------------------------------------------------------------------------- */

static enum err_kind kind_of(int status, const char *code)
{
    static const struct {
        const char *code;
        enum err_kind kind;
    } codes[] = {
        {"invalid", ERR_INVALID},    {"unauthenticated", ERR_DENIED},
        {"denied", ERR_DENIED},      {"not_found", ERR_NOTFOUND},
        {"exists", ERR_EXISTS},      {"conflict", ERR_REFUSED},
        {"lost", ERR_CHANGED},       {"too_large", ERR_LIMIT},
        {"limit", ERR_LIMIT},        {"unsupported", ERR_UNSUPPORTED},
        {"busy", ERR_BUSY},          {"internal", ERR_SYSTEM},
        {"method", ERR_UNSUPPORTED},
    };
    for (size_t i = 0; code && i < ARRAY_LEN(codes); i++)
        if (str_eq(code, codes[i].code))
            return codes[i].kind;
    switch (status) {
    case 400:
        return ERR_INVALID;
    case 401:
    case 403:
        return ERR_DENIED;
    case 404:
        return ERR_NOTFOUND;
    case 409:
        return ERR_REFUSED;
    case 413:
    case 429:
        return ERR_LIMIT;
    case 503:
        return ERR_BUSY;
    default:
        return status >= 500 ? ERR_TRANSIENT : ERR_PROTOCOL;
    }
}

static int refused(struct api *a, const struct http_response *resp, json_t **refusal, struct err *err)
{
    struct err parsing = ERR_INIT;
    AUTO_JSON answer = json_parse(buf_span(&resp->body), &parsing);
    const json_t *error = json_object_get(answer, "error");
    const char *code = json_get_str(error, "code"), *message = json_get_str(error, "message"),
               *hint = json_get_str(error, "hint");
    if (message)
        err_set(err, kind_of(resp->status, code), "%s", message);
    else
        err_set(err, kind_of(resp->status, NULL), "HTTP %d from %s", resp->status, a->server);
    if (resp->status == 401) /* the server's own hint is for those who write HTTP */
        err_hint(err,
                 "set BERTH_TOKEN, or BERTH_SERVER_TOKEN_FILE (server.token_file) to the file that holds your token");
    else if (hint)
        err_hint(err, "%s", hint);
    if (refusal)
        *refusal = json_incref(answer);
    return -1;
}

/* --- calls -------------------------------------------------------------------------------------------------------- */

static size_t common_headers(const struct api *a, struct http_header *h, const char *accept)
{
    size_t n = 0;
    h[n++] = (struct http_header){"Accept", accept};
    if (a->authorization)
        h[n++] = (struct http_header){"Authorization", a->authorization};
    return n;
}

int api_call(struct api *a, const struct api_call *call, json_t **out, struct err *err)
{
    AUTO_STR url = str_printf(err, "%s%s", a->server, call->path);
    struct buf body;
    struct http_header headers[HEADERS_MAX];
    buf_init(&body, API_ANSWER_MAX);
    if (out)
        *out = NULL;
    if (!url || (call->body && json_write(call->body, false, &body, err) < 0)) {
        buf_release(&body);
        return -1;
    }
    size_t n = common_headers(a, headers, "application/json");
    if (call->body)
        headers[n++] = (struct http_header){"Content-Type", "application/json"};
    if (call->idempotency_key)
        headers[n++] = (struct http_header){"Idempotency-Key", call->idempotency_key};
    const char *method = call->method ? call->method : call->body ? "POST" : "GET";
    bool once = str_eq(method, "POST") && !call->idempotency_key && !call->repeat;
    const struct http_request req = {
        .method = method,
        .url = url,
        .headers = headers,
        .header_count = n,
        .body = call->body ? buf_span(&body) : (struct span){0},
        .body_max = API_ANSWER_MAX,
        .idle_timeout_ms = call->total_ms ? call->total_ms : TOTAL_MS_DEFAULT,
        .total_timeout_ms = call->total_ms ? call->total_ms : TOTAL_MS_DEFAULT,
        .tries = once ? 1 : 0,
        .keep_redirects = true, /* a token goes to this server only */
        .cancel = call->cancel,
    };
    struct http_response resp;
    int rc = http_call(a->http, &req, &resp, err);
    if (body.p)
        mem_wipe(body.p, body.n);
    buf_release(&body);
    if (rc < 0)
        return err_wrap(err, "berth server");
    if (resp.status / 100 != 2)
        rc = refused(a, &resp, call->refusal, err);
    else if (out) {
        *out = resp.body.n ? json_parse(buf_span(&resp.body), err) : json_object();
        if (!*out)
            rc = err_wrap(err, "answer of %s", a->server);
    }
    if (resp.body.p)
        mem_wipe(resp.body.p, resp.body.n); /* claims carry secrets */
    http_response_release(&resp);
    return rc;
}

int api_pages(struct api *a, const char *path, const struct cancel *cancel,
              int (*each)(void *ctx, const json_t *page, struct err *err), void *ctx, struct err *err)
{
    AUTO_STR next = str_dup(path, err);
    for (unsigned i = 0; next && i < API_PAGES_MAX; i++) {
        AUTO_JSON page = NULL;
        if (api_call(a, &(struct api_call){.path = next, .cancel = cancel}, &page, err) < 0)
            return -1;
        int rc = each(ctx, page, err);
        const char *token = json_get_str(page, "next_token");
        if (rc != 0 || str_empty(token))
            return rc < 0 ? -1 : 0;
        AUTO_BUF url;
        buf_init(&url, URL_LENGTH_MAX);
        buf_addf(&url, "%s%cnext_token=", path, strchr(path, '?') ? '&' : '?');
        percent_encode(&url, span_of(token), false);
        free(next);
        next = buf_take(&url, "address", err);
    }
    return next ? err_set(err, ERR_LIMIT, "%s: the listing does not end", path) : -1;
}

char *api_path(struct err *err, const char *before, const char *id, const char *after)
{
    struct buf path;
    buf_init(&path, URL_LENGTH_MAX);
    buf_adds(&path, before);
    percent_encode(&path, span_of(id), false);
    buf_adds(&path, after ? after : "");
    return buf_take(&path, "address", err);
}

/* --- events ------------------------------------------------------------------------------------------------------- */

struct following {
    const struct api_events *what;
    struct sse sse;
    unsigned seen; /* events of this connection */
    bool over;     /* each() said so, or the server */
};

static int on_event(void *ctx, const struct api_event *event, struct err *err)
{
    struct following *f = ctx;
    f->seen++;
    int rc = f->what->each(f->what->ctx, event, err);
    f->over |= rc == 1 || str_eq(event->event, "end");
    return rc == 0 && f->over ? 1 : rc;
}

/* 1: over, 0: the connection ended, -1: an error that another connection may not have. */
static int follow_once(struct api *a, struct following *f, const char *url, bool *answered, struct err *err)
{
    struct http_header headers[HEADERS_MAX];
    size_t n = common_headers(a, headers, "text/event-stream");
    if (f->sse.id.n)
        headers[n++] = (struct http_header){"Last-Event-ID", buf_str(&f->sse.id)};
    const struct http_request req = {.method = "GET",
                                     .url = url,
                                     .headers = headers,
                                     .header_count = n,
                                     .idle_timeout_ms = EVENTS_IDLE_MS,
                                     .cancel = f->what->cancel};
    struct http_stream *stream = NULL;
    struct http_response refusal = {0};
    buf_init(&refusal.body, REFUSAL_MAX);
    int rc = http_stream_open(a->http, &req, &stream, &refusal.status, &refusal.body, err);
    if (rc == 0 && !stream) {
        *answered = refusal.status < 500 && refusal.status != 429;
        rc = refused(a, &refusal, NULL, err);
    }
    char piece[PIECE_BYTES];
    while (rc == 0 && stream) {
        int64_t got = http_stream_read(stream, piece, sizeof piece, err);
        if (got <= 0) {
            rc = got < 0 ? -1 : 0;
            break;
        }
        rc = sse_feed(&f->sse, (struct span){piece, (size_t)got}, on_event, f, err);
        *answered = rc < 0; /* the caller's own error, or a stream that is none: no use in trying again */
    }
    http_stream_free(stream);
    buf_release(&refusal.body);
    return rc;
}

int api_events(struct api *a, const struct api_events *what, struct err *err)
{
    AUTO_STR url = str_printf(err, "%s%s", a->server, what->path);
    struct following f = {.what = what};
    unsigned failed = 0, tries = what->tries ? what->tries : EVENTS_TRIES;
    if (!url)
        return -1;
    sse_init(&f.sse);
    int rc = -1;
    for (;;) {
        bool final = false;
        err_clear(err);
        f.seen = 0;
        rc = follow_once(a, &f, url, &final, err);
        if (f.over || rc == 1 || final || (rc < 0 && err->kind == ERR_CANCELLED))
            break;
        failed = f.seen ? 1 : failed + 1;
        if (failed >= tries) {
            if (rc == 0)
                rc = err_set(err, ERR_TRANSIENT, "%s: the event stream ends again and again", a->server);
            break;
        }
        sse_restart(&f.sse);
        uint64_t ms = f.sse.retry_ms ? f.sse.retry_ms : (uint64_t)EVENTS_BACK_OFF_MS << (failed < 5 ? failed - 1 : 4);
        struct err sleeping = ERR_INIT;
        if (cancel_sleep_ms(what->cancel, ms < EVENTS_BACK_OFF_MAX ? ms : EVENTS_BACK_OFF_MAX, &sleeping) < 0) {
            err_clear(err);
            rc = err_move(err, &sleeping);
            break;
        }
    }
    sse_release(&f.sse);
    return rc < 0 ? -1 : 0;
}
