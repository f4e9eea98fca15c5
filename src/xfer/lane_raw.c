/* The raw lane: libcurl resolves, checks the policy, connects and does TLS (CURLOPT_CONNECT_ONLY); berth speaks
 * HTTP/1.1 on the connection. Bodies go from the socket into the thread's one large buffer and from there into the
 * file, so a byte is copied twice, whatever the number of connections. Connections are kept for later exchanges with
 * the same host. */
#include "xfer/http1.h"
#include "xfer/xfer_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define READS_PER_EVENT 4  /* then the other connections get their turn */
#define IDLE_MAX        32 /* connections kept per thread */

enum conn_state { CONN_CONNECTING, CONN_IDLE, CONN_SENDING, CONN_HEAD, CONN_BODY };

struct conn {
    union {
        struct watch watch;
        struct grave grave;
    };
    TAILQ_ENTRY(conn) rest; /* of lane->idle, while CONN_IDLE */
    struct lane *lane;
    struct xfer_host *host;
    struct exchange *ex;
    struct lane_request req; /* of the exchange; borrowed from it */
    CURL *easy;
    struct xfer_guard guard;
    char why[CURL_ERROR_SIZE];
    enum conn_state state;
    bool reused;   /* it served another exchange before */
    bool answered; /* a byte of this answer came */
    bool paused;
    bool keep_alive;
    struct buf out; /* the request */
    size_t sent;
    struct buf head; /* as far as it came, when it did not come at once */
    struct http1_body body;
};

TAILQ_HEAD(conn_list, conn);

struct lane {
    struct loop *loop;
    struct pump pump;
    struct conn_list idle; /* those used last come first */
    unsigned idle_count;
};

static void conn_ready(struct watch *w, uint32_t events);

/* ---- connections ---- */

static void leave_idle(struct conn *c)
{
    TAILQ_REMOVE(&c->lane->idle, c, rest);
    c->lane->idle_count--;
}

static void conn_close(struct conn *c)
{
    struct lane *l = c->lane;
    if (c->state == CONN_IDLE)
        leave_idle(c);
    loop_unwatch(l->loop, &c->watch);
    if (c->easy) {
        curl_multi_remove_handle(l->pump.multi, c->easy);
        curl_easy_cleanup(c->easy);
    }
    buf_release(&c->out);
    buf_release(&c->head);
    loop_bury(l->loop, &c->grave);
}

static struct conn *take_idle(struct lane *l, const struct xfer_host *host)
{
    struct conn *c;
    TAILQ_FOREACH(c, &l->idle, rest)
    {
        if (c->host == host) {
            leave_idle(c);
            c->state = CONN_SENDING;
            return c;
        }
    }
    return NULL;
}

static void keep_idle(struct conn *c)
{
    struct lane *l = c->lane;
    struct err ignored = ERR_INIT;
    struct conn *oldest = TAILQ_LAST(&l->idle, conn_list);
    if (oldest && l->idle_count >= IDLE_MAX)
        conn_close(oldest);
    c->state = CONN_IDLE;
    c->reused = true;
    TAILQ_INSERT_HEAD(&l->idle, c, rest);
    l->idle_count++;
    loop_watch(l->loop, &c->watch, EPOLLIN, &ignored); /* else the next exchange finds it closed, if it is */
}

/* The exchange is over; its connection rests or is closed. `err` is consumed. */
static void conn_finish(struct conn *c, bool keep, struct err *err, bool passing)
{
    struct exchange *ex = c->ex;
    c->ex = NULL;
    if (keep)
        keep_idle(c);
    else
        conn_close(c);
    exchange_end(ex, err, passing);
}

static void conn_broken(struct conn *c, struct err *err)
{
    conn_finish(c, false, err, err->kind == ERR_TRANSIENT || err->kind == ERR_TIMEOUT);
}

/* ---- connecting ---- */

static int set_options(struct conn *c, struct err *err)
{
    if (xfer_curl_setup(c->easy, &c->guard, err) < 0)
        return -1;
    curl_easy_setopt(c->easy, CURLOPT_URL, c->req.url_text.p);
    curl_easy_setopt(c->easy, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(c->easy, CURLOPT_PROXY, "");
    curl_easy_setopt(c->easy, CURLOPT_ERRORBUFFER, c->why);
    curl_easy_setopt(c->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)loop_xfer(c->lane->loop)->opts.connect_timeout_ms);
    curl_easy_setopt(c->easy, CURLOPT_PRIVATE, c);
    if (c->host->tls)
        xfer_tls_read_ahead(c->easy); /* receive() and read_some() leave nothing behind */
    return 0;
}

static struct conn *conn_new(struct lane *l, struct exchange *ex, const struct lane_request *req, struct err *err)
{
    struct conn *c = calloc(1, sizeof *c);
    if (!c) {
        err_nomem(err);
        return NULL;
    }
    c->watch.fd = -1;
    c->lane = l;
    c->host = req->host;
    c->ex = ex;
    c->req = *req;
    c->guard = (struct xfer_guard){.policy = req->host->policy, .host = req->host->url.host};
    buf_init(&c->out, HTTP1_HEAD_MAX + 2 * URL_LENGTH_MAX);
    buf_init(&c->head, HTTP1_HEAD_MAX);
    c->easy = curl_easy_init();
    if (!c->easy || set_options(c, err) < 0) {
        if (!c->easy)
            err_nomem(err);
        conn_close(c);
        return NULL;
    }
    return c;
}

static int connect_for(struct lane *l, struct exchange *ex, const struct lane_request *req, struct err *err)
{
    struct conn *c = conn_new(l, ex, req, err);
    if (!c)
        return -1;
    c->state = CONN_CONNECTING;
    *exchange_lane_slot(ex) = c;
    atomic_fetch_add_explicit(&loop_xfer(l->loop)->stats.connections, 1, memory_order_relaxed);
    if (curl_multi_add_handle(l->pump.multi, c->easy) == CURLM_OK)
        return 0;
    conn_close(c);
    return err_nomem(err);
}

/* A connection that rested was closed by the other side before it answered anything: nothing is lost, begin on a fresh
 * one, and do not call it a try (RFC 9112, 9.3.1). */
static void conn_restart(struct conn *c)
{
    struct lane *l = c->lane;
    struct exchange *ex = c->ex;
    struct lane_request req = c->req;
    struct err err = ERR_INIT;
    conn_close(c);
    if (connect_for(l, ex, &req, &err) < 0)
        exchange_end(ex, &err, false);
}

/* ---- sending ---- */

static void conn_lost(struct conn *c, const char *what)
{
    struct err err = ERR_INIT;
    if (c->reused && !c->answered) {
        conn_restart(c);
        return;
    }
    err_set(&err, ERR_TRANSIENT, "%s: %s", c->host->url.host, what);
    conn_broken(c, &err);
}

static int want(struct conn *c, uint32_t events)
{
    struct err err = ERR_INIT;
    if (loop_watch(c->lane->loop, &c->watch, events, &err) == 0)
        return 0;
    conn_broken(c, &err);
    return -1;
}

/* -1: the connection is gone or the request is not out yet. */
static int send_rest(struct conn *c)
{
    while (c->sent < c->out.n) {
        size_t n = 0;
        if (c->host->tls) {
            CURLcode rc = curl_easy_send(c->easy, c->out.p + c->sent, c->out.n - c->sent, &n);
            if (rc == CURLE_AGAIN)
                return want(c, EPOLLIN | EPOLLOUT), -1;
            if (rc != CURLE_OK)
                return conn_lost(c, "the connection broke while the request was sent"), -1;
        } else {
            ssize_t got = send(c->watch.fd, c->out.p + c->sent, c->out.n - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (got < 0 && (errno == EAGAIN || errno == EINTR))
                return want(c, EPOLLIN | EPOLLOUT), -1;
            if (got < 0)
                return conn_lost(c, "the connection broke while the request was sent"), -1;
            n = (size_t)got;
        }
        c->sent += n;
    }
    c->state = CONN_HEAD;
    return want(c, EPOLLIN);
}

static void send_request(struct conn *c)
{
    struct err err = ERR_INIT;
    buf_reset(&c->out);
    buf_reset(&c->head);
    c->sent = 0;
    c->answered = c->paused = false;
    http1_write_request(&c->out, c->req.method, c->req.target, c->req.authority, XFER_USER_AGENT, c->req.headers);
    if (buf_check(&c->out, "request", &err) < 0) {
        conn_broken(c, &err);
        return;
    }
    c->state = CONN_SENDING;
    send_rest(c);
}

static void on_connected(void *ctx, CURL *easy, CURLcode rc)
{
    struct conn *c = NULL;
    struct err err = ERR_INIT;
    curl_socket_t fd = CURL_SOCKET_BAD;
    (void)ctx;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&c);
    if (rc == CURLE_OK)
        curl_easy_getinfo(easy, CURLINFO_ACTIVESOCKET, &fd);
    if (rc != CURLE_OK || fd == CURL_SOCKET_BAD) {
        enum xfer_failure how =
            xfer_curl_explain(easy, rc == CURLE_OK ? CURLE_COULDNT_CONNECT : rc, c->why, c->req.url, &c->guard, &err);
        conn_finish(c, false, &err, how == XFER_FAILURE_PASSING);
        return;
    }
    c->watch = (struct watch){.fd = fd, .ready = conn_ready};
    send_request(c);
}

/* ---- receiving ---- */

/* Bytes received: > 0; 0: the other side closed; -1: nothing now; -2: broken. TLS records are small, so several fill
 * the buffer before it is handed on. */
static ssize_t receive(struct conn *c, char *p, size_t max)
{
    if (!c->host->tls) {
        ssize_t n = recv(c->watch.fd, p, max, MSG_DONTWAIT);
        if (n >= 0)
            return n;
        return errno == EAGAIN || errno == EINTR ? -1 : -2;
    }
    size_t got = 0, n = 0;
    CURLcode rc = CURLE_OK;
    while (got < max && (rc = curl_easy_recv(c->easy, p + got, max - got, &n)) == CURLE_OK && n > 0)
        got += n;
    if (got > 0)
        return (ssize_t)got;
    if (rc == CURLE_OK)
        return 0;
    return rc == CURLE_AGAIN ? -1 : -2;
}

/* The body is complete. What came beyond it was not asked for: such a connection is not used again. */
static void body_complete(struct conn *c, bool surplus)
{
    struct err none = ERR_INIT;
    conn_finish(c, c->keep_alive && !surplus, &none, false);
}

/* Hand on what was received of the body. False: the connection is gone or rests. */
static bool take_body(struct conn *c, struct span in)
{
    struct err err = ERR_INIT;
    while (in.n > 0 && !c->body.complete) {
        struct span data;
        if (http1_body_next(&c->body, &in, &data, &err) < 0) {
            conn_broken(c, &err);
            return false;
        }
        if (data.n > 0 && exchange_body(c->ex, data.p, data.n) < 0) {
            conn_finish(c, false, &err, false);
            return false;
        }
    }
    if (!c->body.complete)
        return true;
    body_complete(c, in.n > 0);
    return false;
}

static int fill_response(struct http_response *r, const struct http1_head *head, struct err *err)
{
    r->status = head->status;
    for (size_t i = 0; i < head->field_count; i++) {
        if (http_response_add(r, head->fields[i].name, head->fields[i].value, err) < 0)
            return -1;
    }
    return 0;
}

static uint64_t framed_bytes(const struct http1_head *h)
{
    return h->framing == HTTP1_LENGTH ? h->content_length : h->framing == HTTP1_NO_BODY ? 0 : UINT64_MAX;
}

/* A whole head is at the front of `text`. False: the connection is gone or rests. */
static bool take_head(struct conn *c, struct span text, size_t head_n, bool *interim)
{
    struct http1_head head;
    struct err err = ERR_INIT;
    bool to_head = str_eq(c->req.method, "HEAD");
    if (http1_parse_head(&head, (struct span){text.p, head_n}, to_head, &err) < 0) {
        err_wrap(&err, "%s", c->host->url.host);
        conn_broken(c, &err);
        return false;
    }
    *interim = head.status < 200;
    if (*interim)
        return true;
    c->keep_alive = head.keep_alive;
    http1_body_start(&c->body, &head);
    if (fill_response(exchange_response(c->ex), &head, &err) < 0) {
        conn_broken(c, &err);
        return false;
    }
    c->state = CONN_BODY;
    if (exchange_head(c->ex, framed_bytes(&head)) < 0) {
        conn_finish(c, false, &err, false);
        return false;
    }
    if (!c->body.complete)
        return true;
    body_complete(c, text.n > head_n);
    return false;
}

/* Bytes came where a head is expected. False: the connection is gone or rests. */
static bool take_answer(struct conn *c, struct span in)
{
    struct err err = ERR_INIT;
    bool gathered = c->head.n > 0;
    c->answered = true;
    if (gathered) {
        buf_add_span(&c->head, in);
        in = buf_span(&c->head);
    }
    size_t n;
    while (c->state == CONN_HEAD && (n = http1_head_length(in)) > 0) {
        bool interim;
        if (!take_head(c, in, n, &interim))
            return false;
        in.p += n;
        in.n -= n;
    }
    if (c->state == CONN_BODY)
        return take_body(c, in);
    if (in.n >= HTTP1_HEAD_MAX || c->head.state != BUF_OK) {
        err_set(&err, ERR_PROTOCOL, "%s: the head of the answer is longer than %d bytes", c->host->url.host,
                HTTP1_HEAD_MAX);
        conn_broken(c, &err);
        return false;
    }
    if (gathered)
        buf_drop_front(&c->head, c->head.n - in.n);
    else
        buf_add_span(&c->head, in);
    return true;
}

static void take_end(struct conn *c)
{
    struct err err = ERR_INIT;
    if (c->state != CONN_BODY) {
        conn_lost(c, c->answered ? "the connection ended inside the head of the answer"
                                 : "the connection ended before an answer");
    } else if (http1_body_end(&c->body, &err) < 0) {
        err_wrap(&err, "%s", c->host->url.host);
        conn_broken(c, &err);
    } else {
        conn_finish(c, false, &err, false);
    }
}

static size_t wanted_bytes(const struct conn *c, size_t room)
{
    if (c->state == CONN_BODY && c->body.framing == HTTP1_LENGTH && c->body.left < room)
        return (size_t)c->body.left;
    return c->state == CONN_HEAD && room > HTTP1_HEAD_MAX - c->head.n && c->head.n > 0 ? HTTP1_HEAD_MAX - c->head.n
                                                                                       : room;
}

static void read_some(struct conn *c)
{
    size_t room;
    char *buffer = loop_buffer(c->lane->loop, &room);
    for (unsigned i = 0; i < READS_PER_EVENT && !c->paused; i++) {
        size_t max = wanted_bytes(c, room);
        ssize_t n = receive(c, buffer, max);
        if (n == -1) {
            want(c, EPOLLIN);
            return;
        }
        if (n == -2) {
            conn_lost(c, "the connection was reset");
            return;
        }
        if (n == 0) {
            take_end(c);
            return;
        }
        struct span in = {buffer, (size_t)n};
        if (!(c->state == CONN_HEAD ? take_answer(c, in) : take_body(c, in)))
            return;
        if (!c->host->tls && (size_t)n < max / 2)
            return; /* the socket was drained; epoll tells when there is more */
    }
    if (c->host->tls && !c->paused)
        want(c, EPOLLIN | EPOLLOUT); /* bytes may wait inside TLS, which epoll cannot see: come back at once */
}

static void conn_ready(struct watch *w, uint32_t events)
{
    struct conn *c = (struct conn *)w;
    (void)events;
    if (c->state == CONN_IDLE) { /* closed while it rested, or unasked-for bytes: either way it is of no use */
        conn_close(c);
        return;
    }
    if (c->state == CONN_SENDING && send_rest(c) < 0)
        return;
    if (c->state == CONN_HEAD || c->state == CONN_BODY)
        read_some(c);
}

/* ---- the table ---- */

static int raw_open(struct lane **out, struct loop *loop, struct err *err)
{
    struct lane *l = calloc(1, sizeof *l);
    if (!l)
        return err_nomem(err);
    l->loop = loop;
    TAILQ_INIT(&l->idle);
    if (pump_open(&l->pump, loop, on_connected, l, err) < 0) {
        free(l);
        return -1;
    }
    *out = l;
    return 0;
}

/* No exchange is under way any more: what is left rests. */
static void raw_free(struct lane *l)
{
    struct conn *c;
    while ((c = TAILQ_FIRST(&l->idle)))
        conn_close(c);
    pump_release(&l->pump);
    free(l);
}

static int raw_start(struct lane *l, struct exchange *ex, const struct lane_request *req, struct err *err)
{
    struct conn *c = take_idle(l, req->host);
    if (!c)
        return connect_for(l, ex, req, err);
    c->ex = ex;
    c->req = *req;
    *exchange_lane_slot(ex) = c;
    send_request(c);
    return 0;
}

static void raw_drop(struct lane *l, struct exchange *ex)
{
    struct conn *c = *exchange_lane_slot(ex);
    (void)l;
    *exchange_lane_slot(ex) = NULL;
    c->ex = NULL;
    conn_close(c);
}

static void raw_pause(struct lane *l, struct exchange *ex)
{
    struct conn *c = *exchange_lane_slot(ex);
    struct err ignored = ERR_INIT;
    c->paused = true;
    loop_watch(l->loop, &c->watch, 0, &ignored);
}

static void raw_resume(struct lane *l, struct exchange *ex)
{
    struct conn *c = *exchange_lane_slot(ex);
    (void)l;
    c->paused = false;
    if (want(c, EPOLLIN) == 0 && c->state == CONN_BODY)
        read_some(c);
}

const struct lane_ops lane_raw = {
    .name = "raw",
    .open = raw_open,
    .free = raw_free,
    .start = raw_start,
    .drop = raw_drop,
    .pause = raw_pause,
    .resume = raw_resume,
};
