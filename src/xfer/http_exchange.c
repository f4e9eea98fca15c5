#include "xfer/http_priv.h"

#include "base/clock.h"
#include "base/fs.h"

#include <limits.h>
#include <string.h>

#define LOOK_MS UINT64_C(100) /* a second signal only raises the level of what is readable already */

/* ---- the request ---- */

static bool has_body(const struct http_request *req)
{
    return req->read_body || req->body_file || req->body.n > 0;
}

/* UINT64_MAX: not known before it ends. */
static uint64_t body_length(const struct http_request *req)
{
    return req->read_body ? req->body_length : req->body_file ? req->body_file->length : req->body.n;
}

/* POST, PUT and PATCH say "Content-Length: 0" when they have nothing to send; some servers insist. */
static bool sends_length(const struct http_exchange *x)
{
    if (x->without_body)
        return false;
    return has_body(x->req) || str_eq(x->method, "POST") || str_eq(x->method, "PUT") || str_eq(x->method, "PATCH");
}

int http_check_request(const struct http_request *req, struct err *err)
{
    if (str_empty(req->url))
        return err_set(err, ERR_INVALID, "a request without a URL");
    if (req->header_count > HTTP_REQUEST_HEADERS_MAX)
        return err_set(err, ERR_LIMIT, "a request with more than %d headers", HTTP_REQUEST_HEADERS_MAX);
    if (req->method && xfer_check_header(span_of(req->method), SPAN_LIT(""), err) < 0)
        return err_wrap(err, "method");
    return 0;
}

static int append(struct http_exchange *x, const char *line, struct err *err)
{
    struct curl_slist *grown = curl_slist_append(x->fields, line);
    if (!grown)
        return err_nomem(err);
    x->fields = grown;
    return 0;
}

static int add_field(struct http_exchange *x, const char *name, const char *value, struct err *err)
{
    if (xfer_check_header(span_of(name), span_of(value), err) < 0)
        return -1;
    /* "Name;" is how libcurl is told to send a header without a value; "Name:" would leave it out. */
    AUTO_STR line = value[0] ? str_printf(err, "%s: %s", name, value) : str_printf(err, "%s;", name);
    return line ? append(x, line, err) : -1;
}

static bool is_named(const struct http_header *headers, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (span_eq_nocase(span_of(headers[i].name), span_of(name)))
            return true;
    return false;
}

static bool is_about_body(const char *name)
{
    struct span s = span_of(name), prefix = SPAN_LIT("content-");
    return (s.n > prefix.n && span_eq_nocase((struct span){s.p, prefix.n}, prefix)) ||
           span_eq_nocase(s, SPAN_LIT("transfer-encoding"));
}

static bool is_left_out(const struct http_exchange *x, const char *name)
{
    return (x->other_origin && xfer_header_is_bound(span_of(name))) || (x->without_body && is_about_body(name));
}

/* The headers that are made for this try; none for another origin. */
static int ask_signer(struct http_exchange *x, const struct http_header **fresh, size_t *n, struct err *err)
{
    const struct http_request *req = x->req;
    *fresh = NULL;
    *n = 0;
    if (!req->sign || x->other_origin)
        return 0;
    AUTO_BUF url;
    buf_init(&url, URL_LENGTH_MAX);
    url_write(x->url, &url);
    if (buf_check(&url, "URL", err) < 0)
        return -1;
    return req->sign(req->sign_ctx, x->method, buf_str(&url), fresh, n, err);
}

static int build_fields(struct http_exchange *x, struct err *err)
{
    const struct http_request *req = x->req;
    const struct http_header *fresh;
    size_t fresh_n;
    if (ask_signer(x, &fresh, &fresh_n, err) < 0)
        return -1;
    bool typed = !x->without_body && (is_named(fresh, fresh_n, "content-type") ||
                                      is_named(req->headers, req->header_count, "content-type"));
    /* libcurl would wait for "100 Continue" before larger bodies, and make up a type for bodies that have none. */
    if (append(x, "Expect:", err) < 0 || (!typed && append(x, "Content-Type:", err) < 0))
        return -1;
    for (size_t i = 0; i < req->header_count; i++) {
        const struct http_header *h = &req->headers[i];
        if (!is_named(fresh, fresh_n, h->name) && !is_left_out(x, h->name) && add_field(x, h->name, h->value, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < fresh_n; i++)
        if (!is_left_out(x, fresh[i].name) && add_field(x, fresh[i].name, fresh[i].value, err) < 0)
            return -1;
    return 0;
}

/* ---- what libcurl calls back ---- */

static void note_byte(struct http_exchange *x)
{
    x->last_byte_ms = clock_mono_ms();
}

static int on_connected(void *ctx, char *remote, char *local, int remote_port, int local_port)
{
    (void)remote, (void)local, (void)remote_port, (void)local_port;
    struct http_exchange *x = ctx;
    x->connected = true;
    x->resp->sent++; /* also where libcurl sends again by itself, since a kept connection was dead */
    note_byte(x);
    return CURL_PREREQFUNC_OK;
}

/* One line of a head, its empty line included. What comes after the final head is trailers, which nobody asked for. */
static int take_line(struct http_exchange *x, struct span line)
{
    if (x->head_done) {
        x->trailer_bytes += line.n;
        return x->trailer_bytes <= XFER_HEAD_BYTES_MAX
                   ? 0
                   : err_set(x->err, ERR_LIMIT, "%s: trailers are longer than %d bytes", x->url->host,
                             XFER_HEAD_BYTES_MAX);
    }
    if (x->resp->status == 0 || span_starts(line, SPAN_LIT("HTTP/"))) {
        if (++x->heads > HTTP_HEADS_MAX)
            return err_set(x->err, ERR_PROTOCOL, "%s: more than %d interim answers", x->url->host, HTTP_HEADS_MAX - 1);
        http_response_reset(x->resp); /* what an interim answer said */
        return http_response_status_line(x->resp, line, x->err);
    }
    if (span_trim(line).n > 0)
        return http_response_field_line(x->resp, line, x->err);
    x->head_done = x->resp->status >= 200;
    return 0;
}

static size_t on_header(char *p, size_t size, size_t n, void *ctx)
{
    struct http_exchange *x = ctx;
    note_byte(x);
    return take_line(x, (struct span){p, size * n}) < 0 ? 0 : size * n;
}

static size_t on_body(char *p, size_t size, size_t n, void *ctx)
{
    struct http_exchange *x = ctx;
    int taken = x->take(x, p, size * n, x->err);
    note_byte(x); /* what the taker needed is not the server's idleness */
    if (taken == HTTP_TAKE_PAUSE)
        return CURL_WRITEFUNC_PAUSE;
    return taken < 0 ? 0 : size * n;
}

static size_t read_span(struct http_exchange *x, char *p, size_t max)
{
    size_t left = x->req->body.n - (size_t)x->sent;
    size_t n = left < max ? left : max;
    if (n)
        memcpy(p, x->req->body.p + x->sent, n);
    x->sent += n;
    return n;
}

static size_t read_region(struct http_exchange *x, char *p, size_t max)
{
    const struct http_region *r = x->req->body_file;
    struct err why = ERR_INIT;
    size_t n = r->length - x->sent < max ? (size_t)(r->length - x->sent) : max;
    if (n > 0 && fs_pread_all(r->fd, p, n, r->offset + x->sent, &why) < 0) {
        if (why.kind == ERR_CORRUPT)
            err_set(x->err, ERR_CHANGED, "the file became shorter while it was sent");
        else
            err_move(x->err, &why);
        return CURL_READFUNC_ABORT;
    }
    x->sent += n;
    return n;
}

static size_t read_streamed(struct http_exchange *x, char *p, size_t max)
{
    const struct http_request *req = x->req;
    bool known = req->body_length != UINT64_MAX;
    uint64_t left = known ? req->body_length - x->sent : UINT64_MAX;
    if (left == 0)
        return 0;
    int64_t n = req->read_body(req->ctx, p, max < left ? max : (size_t)left, x->err);
    if (n < 0 || (uint64_t)n > max)
        return CURL_READFUNC_ABORT;
    if (n == 0 && known) {
        err_set(x->err, ERR_INVALID, "the body to send ended after %llu of %llu bytes", (unsigned long long)x->sent,
                (unsigned long long)req->body_length);
        return CURL_READFUNC_ABORT;
    }
    x->sent += (uint64_t)n;
    return (size_t)n;
}

static size_t on_read(char *p, size_t size, size_t n, void *ctx)
{
    struct http_exchange *x = ctx;
    const struct http_request *req = x->req;
    size_t max = size * n;
    size_t got = req->read_body   ? read_streamed(x, p, max)
                 : req->body_file ? read_region(x, p, max)
                                  : read_span(x, p, max);
    note_byte(x);
    return got;
}

/* libcurl rewinds a body when a kept connection turned out to be dead. */
static int on_seek(void *ctx, curl_off_t offset, int origin)
{
    struct http_exchange *x = ctx;
    if (x->req->read_body || origin != SEEK_SET || offset < 0 || (uint64_t)offset > body_length(x->req))
        return CURL_SEEKFUNC_CANTSEEK;
    x->sent = (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
}

/* ---- setting up ---- */

#define SET(option, value) (curl_easy_setopt(easy, (option), (value)) == CURLE_OK)

static bool set_callbacks(struct http_exchange *x, CURL *easy)
{
    return SET(CURLOPT_PREREQFUNCTION, on_connected) && SET(CURLOPT_PREREQDATA, x) &&
           SET(CURLOPT_HEADERFUNCTION, on_header) && SET(CURLOPT_HEADERDATA, x) &&
           SET(CURLOPT_WRITEFUNCTION, on_body) && SET(CURLOPT_WRITEDATA, x) && SET(CURLOPT_READFUNCTION, on_read) &&
           SET(CURLOPT_READDATA, x) && SET(CURLOPT_SEEKFUNCTION, on_seek) && SET(CURLOPT_SEEKDATA, x) &&
           SET(CURLOPT_ERRORBUFFER, x->slot->detail);
}

static bool set_method(struct http_exchange *x, CURL *easy)
{
    if (str_eq(x->method, "HEAD"))
        return SET(CURLOPT_NOBODY, 1L);
    if (!sends_length(x))
        return SET(CURLOPT_CUSTOMREQUEST, x->method);
    uint64_t n = body_length(x->req);
    curl_off_t length = n > INT64_MAX ? -1 : (curl_off_t)n;
    if (n >= HTTP_LARGE_BODY && !SET(CURLOPT_UPLOAD_BUFFERSIZE, (long)HTTP_UPLOAD_BUFFER))
        return false;
    return SET(CURLOPT_UPLOAD, 1L) && SET(CURLOPT_CUSTOMREQUEST, x->method) && SET(CURLOPT_INFILESIZE_LARGE, length);
}

static bool set_peer(struct http_exchange *x, CURL *easy)
{
    const struct http *h = x->http;
    uint32_t connect_ms = x->req->connect_timeout_ms;
    /* On a kept connection that dies, libcurl sends again by itself; not where once is all there may be. */
    bool once = x->req->read_body || x->req->tries == 1;
    return SET(CURLOPT_CONNECTTIMEOUT_MS, (long)(connect_ms ? connect_ms : XFER_CONNECT_TIMEOUT_MS)) &&
           SET(CURLOPT_USERAGENT, h->user_agent) && SET(CURLOPT_FRESH_CONNECT, once ? 1L : 0L) &&
           (!h->unix_socket || SET(CURLOPT_UNIX_SOCKET_PATH, h->unix_socket)) &&
           (!h->client_cert || SET(CURLOPT_SSLCERT, h->client_cert)) &&
           (!h->client_key || SET(CURLOPT_SSLKEY, h->client_key));
}

static int set_up(struct http_exchange *x, CURL *easy, struct err *err)
{
    AUTO_BUF url;
    buf_init(&url, URL_LENGTH_MAX);
    url_write(x->url, &url);
    if (buf_check(&url, "URL", err) < 0 || xfer_curl_setup(easy, &x->slot->guard, err) < 0 || build_fields(x, err) < 0)
        return -1;
    if (SET(CURLOPT_URL, buf_str(&url)) && SET(CURLOPT_HTTPHEADER, x->fields) && set_callbacks(x, easy) &&
        set_method(x, easy) && set_peer(x, easy))
        return 0;
    return err_set(err, ERR_SYSTEM, "libcurl refuses a setting of the request");
}

int http_exchange_start(struct http_exchange *x, struct err *err)
{
    x->err = err;
    x->failure = XFER_FAILURE_FINAL;
    http_response_reset(x->resp);
    x->slot = http_slot_take(x->http, x->url, err);
    if (!x->slot)
        return -1;
    struct http_slot *slot = x->slot;
    slot->detail[0] = '\0';
    slot->guard =
        (struct xfer_guard){.policy = &x->http->policy, .host = x->url->host, .unix_socket = x->http->unix_socket};
    curl_easy_reset(slot->easy);
    if (set_up(x, slot->easy, err) < 0)
        return -1;
    if (curl_multi_add_handle(slot->multi, slot->easy) != CURLM_OK)
        return err_set(err, ERR_SYSTEM, "libcurl cannot start a request");
    return 0;
}

void http_exchange_end(struct http_exchange *x)
{
    if (x->slot) {
        curl_multi_remove_handle(x->slot->multi, x->slot->easy); /* does nothing for a handle that was never added */
        http_slot_give(x->http, x->slot);
        x->slot = NULL;
    }
    curl_slist_free_all(x->fields);
    x->fields = NULL;
}

/* ---- running ---- */

static int finish(struct http_exchange *x, CURLcode rc, struct err *err)
{
    x->ended = true;
    if (err_is_set(err)) /* a callback said why */
        return -1;
    if (rc == CURLE_OK && x->head_done)
        return 0;
    if (rc == CURLE_OK)
        rc = CURLE_GOT_NOTHING;
    x->failure = xfer_curl_explain(x->slot->easy, rc, x->slot->detail, x->url, &x->slot->guard, err);
    return -1;
}

int http_exchange_step(struct http_exchange *x, struct err *err)
{
    int running = 0, left = 0;
    x->err = err;
    CURLMcode mc = curl_multi_perform(x->slot->multi, &running);
    if (mc != CURLM_OK)
        return mc == CURLM_OUT_OF_MEMORY ? err_nomem(err)
                                         : err_set(err, ERR_SYSTEM, "libcurl: %s", curl_multi_strerror(mc));
    for (CURLMsg *m; (m = curl_multi_info_read(x->slot->multi, &left));)
        if (m->msg == CURLMSG_DONE)
            return finish(x, m->data.result, err);
    return 0;
}

static int time_left(struct http_exchange *x, uint64_t *ms, struct err *err)
{
    uint64_t now = clock_mono_ms();
    *ms = INT_MAX;
    if (x->connected && x->idle_ms != UINT64_MAX) {
        uint64_t idle = now - x->last_byte_ms;
        if (idle >= x->idle_ms) {
            x->failure = XFER_FAILURE_PASSING;
            return err_set(err, ERR_TIMEOUT, "%s: no byte for %llu ms", x->url->host, (unsigned long long)x->idle_ms);
        }
        *ms = x->idle_ms - idle;
    }
    if (x->deadline_ms) {
        if (now >= x->deadline_ms)
            return err_set(err, ERR_TIMEOUT, "%s: no complete answer within the time set", x->url->host);
        if (x->deadline_ms - now < *ms)
            *ms = x->deadline_ms - now;
    }
    if (*ms > INT_MAX)
        *ms = INT_MAX;
    return 0;
}

/* Whether a cancelled exchange may still wait for its answer, and until when. */
static bool has_grace(struct http_exchange *x, enum cancel_level level, uint64_t *ms)
{
    uint64_t now = clock_mono_ms();
    if (!x->req->cancel_grace_ms || level >= CANCEL_KILL)
        return false;
    if (!x->grace_end_ms)
        x->grace_end_ms = now + x->req->cancel_grace_ms;
    if (now >= x->grace_end_ms)
        return false;
    if (*ms > LOOK_MS)
        *ms = LOOK_MS;
    return true;
}

int http_exchange_wait(struct http_exchange *x, struct err *err)
{
    const struct cancel *cancel = x->req->cancel;
    enum cancel_level level = cancel_level_of(cancel);
    uint64_t ms;
    if (time_left(x, &ms, err) < 0)
        return -1;
    if (level != CANCEL_NONE && !has_grace(x, level, &ms))
        return cancel_check(cancel, err);
    struct curl_waitfd cancelled = {.fd = cancel ? cancel->event_fd : -1, .events = CURL_WAIT_POLLIN};
    bool watched = cancel && level == CANCEL_NONE; /* once raised it stays readable */
    CURLMcode mc = curl_multi_poll(x->slot->multi, watched ? &cancelled : NULL, watched ? 1 : 0, (int)ms, NULL);
    if (mc != CURLM_OK)
        return err_set(err, ERR_SYSTEM, "libcurl: %s", curl_multi_strerror(mc));
    return 0;
}

int http_exchange_run(struct http_exchange *x, struct err *err)
{
    int rc = http_exchange_start(x, err);
    while (rc == 0 && (rc = http_exchange_step(x, err)) == 0 && !x->ended)
        rc = http_exchange_wait(x, err);
    http_exchange_end(x);
    return rc;
}
