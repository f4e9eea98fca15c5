#include "s3/list_page.h"

#include "base/enc.h"
#include "s3/s3_priv.h"

#define LIST_PAGES_MAX  1000000
#define LIST_PAGE_KEYS  1000 /* the most that S3 sends */
#define LIST_PAGE_TRIES 4
#define LIST_RETRY_MS   200

/* Any cycle of tokens is met: one earlier token is kept, and replaced at doubling distances (Brent). */
struct token_watch {
    char *kept;
    uint64_t steps, until;
};

static int watch_token(struct token_watch *w, const char *token, struct err *err)
{
    if (w->kept && strcmp(w->kept, token) == 0)
        return err_set(err, ERR_PROTOCOL, "the server repeats a continuation token: the listing would never end");
    if (w->steps++ < w->until)
        return 0;
    w->until = w->steps * 2;
    free(w->kept);
    w->kept = str_dup(token, err);
    return w->kept ? 0 : -1;
}

struct listing {
    struct s3 *s3;
    const char *prefix, *delimiter;
    int (*each)(void *ctx, const struct s3_object *object, struct err *err);
    void *ctx;
    struct list_page *page;
    struct buf next; /* query part that asks for the next page; empty: the first */
    struct token_watch tokens;
};

static int write_query(const struct listing *l, unsigned max_keys, struct buf *out, struct err *err)
{
    buf_addf(out, "list-type=2&encoding-type=url&max-keys=%u&prefix=", max_keys);
    percent_encode(out, span_of(l->prefix), false);
    if (l->delimiter) {
        buf_adds(out, "&delimiter=");
        percent_encode(out, span_of(l->delimiter), false);
    }
    buf_add_span(out, buf_span(&l->next));
    return buf_check(out, "query of a listing", err);
}

/* A page on its way into l->page. */
struct arrival {
    struct list_page *page;
    bool begun;
};

static int take_piece(void *ctx, const void *p, size_t n, struct err *err)
{
    struct arrival *a = ctx;
    a->begun = true;
    return list_page_feed(a->page, p, n, err);
}

static int start_again(void *ctx, struct err *err)
{
    struct arrival *a = ctx;
    a->begun = false;
    return list_page_reset(a->page, err);
}

/* One try of one page; *status is that of the answer, the fault's where it is no 2xx. */
static int fetch_once(struct listing *l, struct arrival *arrival, struct span query, struct fault *f, int *status,
                      struct err *err)
{
    const struct s3_ask ask = {.action = S3_ACTION_LIST, .method = "GET", .query = query};
    const struct s3_taker taker = {.take = take_piece, .again = start_again, .ctx = arrival};
    struct http_response resp;
    if (start_again(arrival, err) < 0 || s3_exchange(l->s3, &ask, &taker, &resp, err) < 0)
        return -1;
    *status = resp.status;
    if (!s3_ok(resp.status))
        s3_read_fault(&resp, f);
    http_response_release(&resp);
    return s3_ok(*status) ? list_page_finish(l->page, err) : 0;
}

/* http.h repeats what brought no byte yet; a page that broke off half-way is asked for again here. */
static int fetch_page(struct listing *l, unsigned max_keys, struct fault *f, int *status, struct err *err)
{
    AUTO_BUF query;
    buf_init(&query, S3_URL_MAX);
    if (write_query(l, max_keys, &query, err) < 0)
        return -1;
    for (unsigned tries = 1;; tries++) {
        struct arrival arrival = {.page = l->page};
        struct err why = ERR_INIT;
        if (fetch_once(l, &arrival, buf_span(&query), f, status, &why) == 0)
            return 0;
        bool passing = why.kind == ERR_TRANSIENT || why.kind == ERR_TIMEOUT;
        if (!passing || !arrival.begun || tries == LIST_PAGE_TRIES)
            return err_move(err, &why);
        if (cancel_sleep_ms(l->s3->cancel, (uint64_t)LIST_RETRY_MS << tries, err) < 0)
            return -1;
    }
}

static int hand_out(const struct listing *l, struct err *err)
{
    size_t n = list_page_count(l->page), prefix_n = strlen(l->prefix);
    for (size_t i = 0; i < n; i++) {
        struct s3_object o;
        list_page_get(l->page, i, &o);
        if (strncmp(o.key, l->prefix, prefix_n) != 0)
            return err_set(err, ERR_PROTOCOL, "listing of prefix '%.256s' holds '%.256s'", l->prefix, o.key);
        int rc = l->each(l->ctx, &o, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* Version 1 servers state no token; they go on after a key, as version 2's start-after does. */
static int prepare_next(struct listing *l, struct err *err)
{
    const char *token = list_page_token(l->page), *marker = list_page_marker(l->page);
    if (!token && !marker)
        return err_set(err, ERR_PROTOCOL, "a listing says that it goes on, but not where");
    if (watch_token(&l->tokens, token ? token : marker, err) < 0)
        return -1;
    buf_reset(&l->next);
    if (token) {
        buf_adds(&l->next, "&continuation-token=");
        percent_encode(&l->next, span_of(token), false);
        return buf_check(&l->next, "continuation token", err);
    }
    buf_adds(&l->next, "&start-after=");
    percent_encode(&l->next, span_of(marker), false);
    buf_adds(&l->next, "&marker=");
    percent_encode(&l->next, span_of(marker), false);
    return buf_check(&l->next, "marker", err);
}

static int refuse(struct listing *l, const struct fault *f, struct err *err)
{
    const struct s3_ask ask = {.action = S3_ACTION_LIST, .key = l->prefix};
    return s3_report(l->s3, &ask, f, false, err);
}

static int list_pages(struct listing *l, struct err *err)
{
    for (unsigned pages = 0; pages < LIST_PAGES_MAX; pages++) {
        struct fault f = {0};
        int status = 0;
        if (cancel_check(l->s3->cancel, err) < 0 || fetch_page(l, LIST_PAGE_KEYS, &f, &status, err) < 0)
            return -1;
        if (!s3_ok(status))
            return refuse(l, &f, err);
        int rc = hand_out(l, err);
        if (rc != 0)
            return rc;
        if (!list_page_truncated(l->page))
            return 0;
        if (prepare_next(l, err) < 0)
            return -1;
    }
    return err_set(err, ERR_LIMIT, "a listing of more than %d pages", LIST_PAGES_MAX);
}

static int open_listing(struct listing *l, struct err *err)
{
    buf_init(&l->next, S3_URL_MAX);
    l->page = list_page_new(err);
    return l->page ? 0 : -1;
}

static void close_listing(struct listing *l)
{
    list_page_free(l->page);
    buf_release(&l->next);
    free(l->tokens.kept);
}

int s3_list(struct s3 *s3, const char *prefix, const char *delimiter,
            int (*each)(void *ctx, const struct s3_object *object, struct err *err), void *ctx, struct err *err)
{
    if (s3_settle(s3, err) < 0)
        return -1;
    char name[S3_NAME_MAX];
    s3_name(s3, prefix, name);
    if (s3_place_now(s3)->style == S3_STYLE_PLAIN)
        return err_set(err, ERR_UNSUPPORTED, "%.700s is a plain URL, which can't be listed", name);
    struct listing l = {.s3 = s3, .prefix = prefix, .delimiter = delimiter, .each = each, .ctx = ctx};
    int rc = open_listing(&l, err);
    if (rc == 0)
        rc = list_pages(&l, err);
    close_listing(&l);
    if (rc < 0 && err_is_set(err) && err->kind == ERR_PROTOCOL)
        err_wrap(err, "%.700s", name);
    return rc;
}

int s3_probe(struct s3 *s3, const char *prefix, int *status, struct fault *f, struct err *err)
{
    struct listing l = {.s3 = s3, .prefix = prefix};
    struct err why = ERR_INIT;
    int rc = open_listing(&l, err);
    if (rc == 0 && (rc = fetch_page(&l, 1, f, status, &why)) < 0) {
        if (why.kind == ERR_PROTOCOL) { /* an answer, but no listing */
            rc = 0;
            *status = 0;
        } else {
            err_move(err, &why);
        }
    }
    close_listing(&l);
    return rc;
}
