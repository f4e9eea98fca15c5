#include "s3/list_ask.h"

#include "base/enc.h"

#define PAGE_TRIES 4
#define RETRY_MS   200
#define AHEAD_MAX  ((size_t)2 << 20) /* bytes of a page that is read before its turn; a thousand keys take 0.3 MiB */

void list_write_from(struct buf *out, const char *token, const char *marker)
{
    if (token) {
        buf_adds(out, "&continuation-token=");
        percent_encode(out, span_of(token), false);
        return;
    }
    buf_adds(out, "&start-after="); /* version 2 goes on after a key by this, version 1 by the other */
    percent_encode(out, span_of(marker), false);
    buf_adds(out, "&marker=");
    percent_encode(out, span_of(marker), false);
}

static int write_query(const struct list_ask *ask, struct buf *out, struct err *err)
{
    buf_addf(out, "list-type=2&encoding-type=url&max-keys=%u&prefix=", ask->max_keys);
    percent_encode(out, span_of(ask->prefix), false);
    if (ask->delimiter) {
        buf_adds(out, "&delimiter=");
        percent_encode(out, span_of(ask->delimiter), false);
    }
    buf_add_span(out, ask->from);
    return buf_check(out, "query of a listing", err);
}

/* A page on its way. */
struct arrival {
    const struct list_ask *ask;
    struct list_page *page;
    size_t bytes;
    bool told;
};

static int take_piece(void *ctx, const void *p, size_t n, struct err *err)
{
    struct arrival *a = ctx;
    a->bytes += n;
    if (a->ask->unwanted && (a->bytes > AHEAD_MAX || atomic_load(a->ask->unwanted)))
        return err_set(err, ERR_CANCELLED, "the page is not wanted now");
    if (list_page_feed(a->page, p, n, err) < 0)
        return -1;
    const char *token = a->ask->token && !a->told ? list_page_token(a->page) : NULL;
    if (token) {
        a->told = true;
        a->ask->token(a->ask->ctx, token);
    }
    return 0;
}

static int start_again(void *ctx, struct err *err)
{
    struct arrival *a = ctx;
    a->bytes = 0;
    a->told = false;
    return list_page_reset(a->page, err);
}

static int ask_once(struct arrival *arrival, struct span query, struct fault *f, int *status, struct err *err)
{
    struct s3 *s3 = arrival->ask->s3;
    const struct s3_ask ask = {
        .action = S3_ACTION_LIST, .method = "GET", .query = query, .tries = arrival->ask->unwanted ? 1 : 0};
    const struct s3_taker taker = {.take = take_piece, .again = start_again, .ctx = arrival};
    struct http_response resp;
    if (start_again(arrival, err) < 0 || s3_exchange(s3, &ask, &taker, &resp, err) < 0)
        return -1;
    *status = resp.status;
    if (!s3_ok(resp.status))
        s3_read_fault(&resp, f);
    http_response_release(&resp);
    return s3_ok(*status) ? list_page_finish(arrival->page, err) : 0;
}

/* http.h repeats what brought no byte yet; a page that broke off half-way is asked for again here. */
int list_ask(const struct list_ask *ask, struct list_page *page, struct fault *f, int *status, struct err *err)
{
    AUTO_BUF query;
    buf_init(&query, S3_URL_MAX);
    if (write_query(ask, &query, err) < 0)
        return -1;
    for (unsigned tries = 1;; tries++) {
        struct arrival arrival = {.ask = ask, .page = page};
        struct err why = ERR_INIT;
        if (ask_once(&arrival, buf_span(&query), f, status, &why) == 0)
            return 0;
        bool passing = why.kind == ERR_TRANSIENT || why.kind == ERR_TIMEOUT;
        if (!passing || arrival.bytes == 0 || ask->unwanted || tries == PAGE_TRIES)
            return err_move(err, &why);
        if (cancel_sleep_ms(ask->s3->cancel, (uint64_t)RETRY_MS << tries, err) < 0)
            return -1;
    }
}

int s3_probe(struct s3 *s3, const char *prefix, int *status, struct fault *f, struct err *err)
{
    const struct list_ask ask = {.s3 = s3, .prefix = prefix, .max_keys = 1};
    struct list_page *page = list_page_new(err);
    struct err why = ERR_INIT;
    int rc = page ? 0 : -1;
    if (rc == 0 && (rc = list_ask(&ask, page, f, status, &why)) < 0) {
        if (why.kind == ERR_PROTOCOL) { /* an answer, but no listing */
            rc = 0;
            *status = 0;
        } else {
            err_move(err, &why);
        }
    }
    list_page_free(page);
    return rc;
}
