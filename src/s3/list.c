/* Listings: pages in their order, and read ahead.
 *
 * A page names the next one, often before its first key. Then a helper asks for that one at once, on a connection of
 * its own, and reads it while this one still comes; that one names a third, and so on. The caller's thread hands the
 * pages out in their order, and asks by itself for whatever nobody has begun. What a helper brings counts only if it
 * came whole and is the page that its predecessor, once whole, names: all else is asked for again in its turn, so that
 * errors, retries and cures are those of one page after the other. */
#include "s3/list_ask.h"

#include <pthread.h>

#define LIST_PAGES_MAX 1000000
#define LIST_HELPERS   3
#define LIST_SLOTS     (LIST_HELPERS + 2) /* pages of theirs: that they read, one that waits, one that is handed out */

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

/* Page n has slot n % LIST_SLOTS, which belongs to the thread that begun it, then to the caller's. */
struct slot {
    enum { SLOT_FREE, SLOT_BEGUN, SLOT_WHOLE, SLOT_FAILED } state; /* under mu */
    struct list_page *page;                                        /* a helper's; NULL: none yet */
    struct buf from;                                               /* the query's part that asks for it */
};

struct listing {
    struct s3 *s3;
    const char *prefix, *delimiter;
    int (*each)(void *ctx, const struct s3_object *object, struct err *err);
    void *ctx;
    struct { /* the caller's thread only */
        struct token_watch tokens;
        struct list_page *page;
    } own;
    atomic_bool unwanted; /* what helpers still read */
    struct {
        pthread_mutex_t mu;
        pthread_cond_t moved;
        struct slot slots[LIST_SLOTS];
        uint64_t turn; /* the page that the caller is at */
        uint64_t next; /* the page to begin next: all before it were begun */
        struct buf from;
        bool known; /* `from` is that of the page to begin next */
        bool held;  /* none may be begun ahead: its predecessor is not the right one */
        bool over;
        unsigned idle, helpers;
    } shared;
    pthread_t threads[LIST_HELPERS];
};

/* ---- pages, on any thread ---- */

static struct slot *slot_of(struct listing *l, uint64_t n)
{
    return &l->shared.slots[n % LIST_SLOTS];
}

/* Under mu; `from` is known. */
static uint64_t begin_next(struct listing *l)
{
    uint64_t n = l->shared.next++;
    struct slot *s = slot_of(l, n);
    struct buf from = l->shared.from;
    l->shared.from = s->from;
    buf_reset(&l->shared.from);
    l->shared.known = false;
    s->from = from;
    s->state = SLOT_BEGUN;
    return n;
}

static void *help(void *ctx);

/* Under mu. Without a thread to be had, the caller reads all by itself. */
static void call_helper(struct listing *l)
{
    if (l->shared.idle == 0 && l->shared.helpers < LIST_HELPERS &&
        pthread_create(&l->threads[l->shared.helpers], NULL, help, l) == 0)
        l->shared.helpers++;
    pthread_cond_broadcast(&l->shared.moved);
}

/* A page that is being read. */
struct reading {
    struct listing *l;
    uint64_t n;
};

static void on_token(void *ctx, const char *token)
{
    const struct reading *r = ctx;
    struct listing *l = r->l;
    pthread_mutex_lock(&l->shared.mu);
    if (l->shared.next == r->n + 1 && !l->shared.known && !l->shared.held && !l->shared.over) {
        list_write_from(&l->shared.from, token, NULL);
        l->shared.known = l->shared.from.state == BUF_OK;
        if (l->shared.known)
            call_helper(l);
        else
            buf_reset(&l->shared.from);
    }
    pthread_mutex_unlock(&l->shared.mu);
}

/* Into *page, which is made where there is none. */
static int read_page(struct listing *l, uint64_t n, struct list_page **page, struct fault *f, int *status,
                     struct err *err)
{
    struct reading reading = {l, n};
    const struct list_ask ask = {.s3 = l->s3,
                                 .prefix = l->prefix,
                                 .delimiter = l->delimiter,
                                 .from = buf_span(&slot_of(l, n)->from),
                                 .max_keys = LIST_PAGE_KEYS,
                                 .token = on_token,
                                 .ctx = &reading,
                                 .unwanted = page != &l->own.page ? &l->unwanted : NULL};
    if (!*page && !(*page = list_page_new(err)))
        return -1;
    return list_ask(&ask, *page, f, status, err);
}

static bool may_begin(const struct listing *l)
{
    return l->shared.known && !l->shared.held && l->shared.next < l->shared.turn + LIST_SLOTS;
}

static void *help(void *ctx)
{
    struct listing *l = ctx;
    pthread_mutex_lock(&l->shared.mu);
    while (!l->shared.over) {
        if (!may_begin(l)) {
            l->shared.idle++;
            pthread_cond_wait(&l->shared.moved, &l->shared.mu);
            l->shared.idle--;
            continue;
        }
        uint64_t n = begin_next(l);
        pthread_mutex_unlock(&l->shared.mu);
        struct fault ignored_fault = {0};
        struct err ignored = ERR_INIT;
        int status = 0;
        bool whole = read_page(l, n, &slot_of(l, n)->page, &ignored_fault, &status, &ignored) == 0 && s3_ok(status);
        pthread_mutex_lock(&l->shared.mu);
        slot_of(l, n)->state = whole ? SLOT_WHOLE : SLOT_FAILED;
        pthread_cond_broadcast(&l->shared.moved);
    }
    pthread_mutex_unlock(&l->shared.mu);
    return NULL;
}

/* ---- their turn, on the caller's thread ---- */

/* 1: a helper brought the page that is in turn; 0: it is the caller's to read. */
static int await_helper(struct listing *l)
{
    pthread_mutex_lock(&l->shared.mu);
    if (l->shared.next == l->shared.turn)
        begin_next(l);
    else
        while (slot_of(l, l->shared.turn)->state == SLOT_BEGUN)
            pthread_cond_wait(&l->shared.moved, &l->shared.mu);
    int whole = slot_of(l, l->shared.turn)->state == SLOT_WHOLE;
    pthread_mutex_unlock(&l->shared.mu);
    return whole;
}

static int refuse(struct listing *l, const struct fault *f, struct err *err)
{
    const struct s3_ask ask = {.action = S3_ACTION_LIST, .key = l->prefix};
    return s3_report(l->s3, &ask, f, false, err);
}

static int take_turn(struct listing *l, const struct list_page **page, struct err *err)
{
    struct fault f = {0};
    int status = 0;
    if (await_helper(l)) {
        *page = slot_of(l, l->shared.turn)->page;
        return 0;
    }
    if (read_page(l, l->shared.turn, &l->own.page, &f, &status, err) < 0)
        return -1;
    *page = l->own.page;
    return s3_ok(status) ? 0 : refuse(l, &f, err);
}

static int hand_out(const struct listing *l, const struct list_page *page, struct err *err)
{
    size_t n = list_page_count(page), prefix_n = strlen(l->prefix);
    for (size_t i = 0; i < n; i++) {
        struct s3_object o;
        list_page_get(page, i, &o);
        if (strncmp(o.key, l->prefix, prefix_n) != 0)
            return err_set(err, ERR_PROTOCOL, "listing of prefix '%.256s' holds '%.256s'", l->prefix, o.key);
        int rc = l->each(l->ctx, &o, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* Under mu: what was begun ahead follows from a page that came differently in its turn. */
static void forget_ahead(struct listing *l)
{
    l->shared.held = true;
    l->shared.known = false;
    buf_reset(&l->shared.from);
    for (uint64_t n = l->shared.turn; n < l->shared.next; n++) {
        while (slot_of(l, n)->state == SLOT_BEGUN)
            pthread_cond_wait(&l->shared.moved, &l->shared.mu);
        slot_of(l, n)->state = SLOT_FREE;
    }
    l->shared.next = l->shared.turn;
    l->shared.held = false;
}

/* Version 1 servers state no token; they go on after a key. */
static int go_on(struct listing *l, const struct list_page *page, struct err *err)
{
    const char *token = list_page_token(page), *marker = list_page_marker(page);
    AUTO_BUF from;
    buf_init(&from, S3_URL_MAX);
    if (!token && !marker)
        return err_set(err, ERR_PROTOCOL, "a listing says that it goes on, but not where");
    if (watch_token(&l->own.tokens, token ? token : marker, err) < 0)
        return -1;
    list_write_from(&from, token, marker);
    if (buf_check(&from, token ? "continuation token" : "marker", err) < 0)
        return -1;
    pthread_mutex_lock(&l->shared.mu);
    slot_of(l, l->shared.turn++)->state = SLOT_FREE;
    if (l->shared.next > l->shared.turn && !span_eq(buf_span(&slot_of(l, l->shared.turn)->from), buf_span(&from)))
        forget_ahead(l);
    if (l->shared.next == l->shared.turn) {
        buf_reset(&l->shared.from);
        buf_add_span(&l->shared.from, buf_span(&from));
        l->shared.known = true;
    }
    int rc = buf_check(&l->shared.from, "continuation token", err);
    pthread_cond_broadcast(&l->shared.moved); /* there is room for one more */
    pthread_mutex_unlock(&l->shared.mu);
    return rc;
}

static int list_pages(struct listing *l, struct err *err)
{
    for (unsigned pages = 0; pages < LIST_PAGES_MAX; pages++) {
        const struct list_page *page = NULL;
        if (cancel_check(l->s3->cancel, err) < 0 || take_turn(l, &page, err) < 0)
            return -1;
        int rc = hand_out(l, page, err);
        if (rc != 0)
            return rc;
        if (!list_page_truncated(page))
            return 0;
        if (go_on(l, page, err) < 0)
            return -1;
    }
    return err_set(err, ERR_LIMIT, "a listing of more than %d pages", LIST_PAGES_MAX);
}

static void open_listing(struct listing *l)
{
    pthread_mutex_init(&l->shared.mu, NULL);
    pthread_cond_init(&l->shared.moved, NULL);
    buf_init(&l->shared.from, S3_URL_MAX);
    for (size_t i = 0; i < LIST_SLOTS; i++)
        buf_init(&l->shared.slots[i].from, S3_URL_MAX);
    l->shared.known = true; /* the first page is asked for by nothing */
}

static void close_listing(struct listing *l)
{
    atomic_store(&l->unwanted, true);
    pthread_mutex_lock(&l->shared.mu);
    l->shared.over = true;
    pthread_cond_broadcast(&l->shared.moved);
    pthread_mutex_unlock(&l->shared.mu);
    for (unsigned i = 0; i < l->shared.helpers; i++)
        pthread_join(l->threads[i], NULL);
    for (size_t i = 0; i < LIST_SLOTS; i++) {
        list_page_free(l->shared.slots[i].page);
        buf_release(&l->shared.slots[i].from);
    }
    buf_release(&l->shared.from);
    list_page_free(l->own.page);
    free(l->own.tokens.kept);
    pthread_cond_destroy(&l->shared.moved);
    pthread_mutex_destroy(&l->shared.mu);
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
    open_listing(&l);
    int rc = list_pages(&l, err);
    close_listing(&l);
    if (rc < 0 && err_is_set(err) && err->kind == ERR_PROTOCOL)
        err_wrap(err, "%.700s", name);
    return rc;
}
