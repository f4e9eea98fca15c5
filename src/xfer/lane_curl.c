/* The curl lane: libcurl does all of HTTP. The general path, for proxies and for networks where the raw lane is not
 * wanted. One multi handle per policy, since libcurl shares connections within one. */
#include "xfer/http1.h"
#include "xfer/xfer_priv.h"

#include <stdlib.h>

#define BUFFER_MAX (512u * 1024)
#define BUFFER_MIN (16u * 1024)

struct transfer {
    struct lane *lane;
    struct circle *circle;
    struct exchange *ex;
    struct lane_request req; /* borrowed from the exchange */
    CURL *easy;
    struct curl_slist *lines;
    struct xfer_guard guard;
    char why[CURL_ERROR_SIZE];
    struct buf head;
    bool judged; /* the final head was handed on */
    bool paused;
};

/* The connections of one policy. */
struct circle {
    LIST_ENTRY(circle) all;
    const struct xfer_policy *policy;
    struct pump pump;
};

LIST_HEAD(circle_list, circle);

struct lane {
    struct loop *loop;
    struct circle_list circles;
};

static void on_done(void *ctx, CURL *easy, CURLcode rc);

static struct circle *circle_of(struct lane *l, const struct xfer_policy *policy, struct err *err)
{
    struct circle *c = NULL;
    LIST_FOREACH(c, &l->circles, all)
    {
        if (c->policy == policy)
            return c;
    }
    c = calloc(1, sizeof *c);
    if (!c) {
        err_nomem(err);
        return NULL;
    }
    c->policy = policy;
    if (pump_open(&c->pump, l->loop, on_done, c, err) < 0) {
        free(c);
        return NULL;
    }
    const struct xfer_opts *o = &loop_xfer(l->loop)->opts;
    curl_multi_setopt(c->pump.multi, CURLMOPT_MAXCONNECTS, (long)(o->max_connections / o->threads + 1));
    LIST_INSERT_HEAD(&l->circles, c, all);
    return c;
}

static size_t buffer_bytes(const struct xfer *x)
{
    uint64_t share = x->opts.buffer_bytes / 2 / x->opts.max_connections;
    return share > BUFFER_MAX ? BUFFER_MAX : share < BUFFER_MIN ? BUFFER_MIN : (size_t)share;
}

static void transfer_free(struct transfer *t)
{
    struct xfer *x = loop_xfer(t->lane->loop);
    if (t->easy) {
        curl_multi_remove_handle(t->circle->pump.multi, t->easy);
        curl_easy_cleanup(t->easy);
        xfer_count_buffer(x, -(int64_t)buffer_bytes(x));
    }
    curl_slist_free_all(t->lines);
    buf_release(&t->head);
    free(t);
}

/* ---- what libcurl calls ---- */

static int fill_response(struct http_response *r, struct span text, bool head_request, uint64_t *body, struct err *err)
{
    struct http1_head head;
    if (http1_parse_head(&head, text, head_request, err) < 0)
        return -1;
    r->status = head.status;
    for (size_t i = 0; i < head.field_count; i++) {
        if (http_response_add(r, head.fields[i].name, head.fields[i].value, err) < 0)
            return -1;
    }
    *body = head.framing == HTTP1_LENGTH ? head.content_length : head.framing == HTTP1_NO_BODY ? 0 : UINT64_MAX;
    return 0;
}

static bool is_interim(const struct buf *head)
{
    return head->n > 9 && head->p[9] == '1';
}

/* One header line at a time; the empty one ends the head. Trailers after a chunked body come here, too. */
static size_t on_header(char *p, size_t size, size_t count, void *ctx)
{
    struct transfer *t = ctx;
    size_t n = size * count;
    uint64_t body;
    struct err err = ERR_INIT;
    if (t->judged)
        return n;
    buf_add(&t->head, p, n);
    if (buf_check(&t->head, "the head of the answer", &err) < 0) {
        exchange_refuse(t->ex, &err);
        return 0;
    }
    if (n > 2 || (n > 0 && p[0] != '\r' && p[0] != '\n'))
        return n;
    if (is_interim(&t->head)) {
        buf_reset(&t->head);
        return n;
    }
    t->judged = true;
    if (fill_response(exchange_response(t->ex), buf_span(&t->head), str_eq(t->req.method, "HEAD"), &body, &err) < 0) {
        exchange_refuse(t->ex, &err);
        return 0;
    }
    return exchange_head(t->ex, body) < 0 ? 0 : n;
}

static size_t on_body(char *p, size_t size, size_t count, void *ctx)
{
    struct transfer *t = ctx;
    size_t n = size * count;
    if (t->paused)
        return CURL_WRITEFUNC_PAUSE;
    return exchange_body(t->ex, p, n) < 0 ? CURL_WRITEFUNC_ERROR : n;
}

static void on_done(void *ctx, CURL *easy, CURLcode rc)
{
    struct transfer *t = NULL;
    struct err err = ERR_INIT;
    enum xfer_failure how = XFER_FAILURE_FINAL;
    long connects = 0;
    (void)ctx;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&t);
    curl_easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &connects);
    atomic_fetch_add(&loop_xfer(t->lane->loop)->stats.connections, (uint64_t)connects);
    if (rc != CURLE_OK)
        how = xfer_curl_explain(easy, rc, t->why, t->req.url, &t->guard, &err);
    struct exchange *ex = t->ex;
    transfer_free(t);
    exchange_end(ex, &err, how == XFER_FAILURE_PASSING);
}

/* ---- the table ---- */

static int add_lines(struct transfer *t, struct err *err)
{
    struct span rest = t->req.headers, line;
    AUTO_BUF text;
    buf_init(&text, XFER_HEAD_BYTES_MAX);
    while (span_cut(rest, '\n', &line, &rest)) {
        buf_reset(&text);
        buf_add_span(&text, span_trim(line));
        if (text.n > 0 && text.p[text.n - 1] == ':')
            text.p[text.n - 1] = ';'; /* libcurl's way to write a header without a value */
        struct curl_slist *longer = curl_slist_append(t->lines, buf_str(&text));
        if (!longer || buf_check(&text, "request header", err) < 0)
            return err_nomem(err);
        t->lines = longer;
    }
    return 0;
}

static int set_options(struct transfer *t, struct err *err)
{
    const struct xfer *x = loop_xfer(t->lane->loop);
    CURL *e = t->easy;
    if (xfer_curl_setup(e, &t->guard, err) < 0 || add_lines(t, err) < 0)
        return -1;
    bool ok = curl_easy_setopt(e, CURLOPT_URL, t->req.url_text.p) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_HTTPHEADER, t->lines) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_USERAGENT, XFER_USER_AGENT) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->why) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_HEADERDATA, t) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_WRITEDATA, t) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_PRIVATE, t) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_BUFFERSIZE, (long)buffer_bytes(x)) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_NOBODY, str_eq(t->req.method, "HEAD") ? 1L : 0L) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)x->opts.connect_timeout_ms) == CURLE_OK;
    return ok ? 0 : err_set(err, ERR_SYSTEM, "libcurl refuses a setting");
}

static int curl_open(struct lane **out, struct loop *loop, struct err *err)
{
    struct lane *l = calloc(1, sizeof *l);
    if (!l)
        return err_nomem(err);
    l->loop = loop;
    LIST_INIT(&l->circles);
    *out = l;
    return 0;
}

/* No exchange is under way any more, so there is no transfer either. */
static void curl_free_lane(struct lane *l)
{
    struct circle *c, *next;
    for (c = LIST_FIRST(&l->circles); c; c = next) {
        next = LIST_NEXT(c, all);
        pump_release(&c->pump);
        free(c);
    }
    free(l);
}

static int curl_start(struct lane *l, struct exchange *ex, const struct lane_request *req, struct err *err)
{
    struct circle *circle = circle_of(l, req->host->policy, err);
    struct transfer *t = circle ? calloc(1, sizeof *t) : NULL;
    if (!t)
        return err_nomem(err);
    t->lane = l;
    t->circle = circle;
    t->ex = ex;
    t->req = *req;
    t->guard = (struct xfer_guard){.policy = req->host->policy, .host = req->host->url.host};
    buf_init(&t->head, HTTP1_HEAD_MAX);
    t->easy = curl_easy_init();
    if (t->easy)
        xfer_count_buffer(loop_xfer(l->loop), (int64_t)buffer_bytes(loop_xfer(l->loop)));
    if (!t->easy || set_options(t, err) < 0 || curl_multi_add_handle(circle->pump.multi, t->easy) != CURLM_OK) {
        transfer_free(t);
        return err_nomem(err);
    }
    *exchange_lane_slot(ex) = t;
    return 0;
}

static void curl_drop(struct lane *l, struct exchange *ex)
{
    (void)l;
    transfer_free(*exchange_lane_slot(ex));
    *exchange_lane_slot(ex) = NULL;
}

/* libcurl delivers what it has already read; from then on it is told to wait. */
static void curl_pause(struct lane *l, struct exchange *ex)
{
    (void)l;
    ((struct transfer *)*exchange_lane_slot(ex))->paused = true;
}

static void curl_resume(struct lane *l, struct exchange *ex)
{
    struct transfer *t = *exchange_lane_slot(ex);
    (void)l;
    t->paused = false;
    curl_easy_pause(t->easy, CURLPAUSE_CONT);
}

const struct lane_ops lane_curl = {
    .name = "curl",
    .open = curl_open,
    .free = curl_free_lane,
    .start = curl_start,
    .drop = curl_drop,
    .pause = curl_pause,
    .resume = curl_resume,
};
