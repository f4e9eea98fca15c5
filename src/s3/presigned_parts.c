/* Parts by signed URLs: a few are held in memory, sent side by side, each tried again by itself. */
#include "s3/presigned_priv.h"
#include "s3/upload_priv.h"

#include "base/log.h"
#include "base/pool.h"
#include "base/rng.h"
#include "xfer/retry.h"
#include "xfer/url.h"

#define SLOTS_MIN      2
#define SLOTS_MAX      32
#define COMPLETE_TRIES 3

struct part_slot {
    struct s3_granted *upload;
    bool busy; /* under upload->mu; a busy slot is its worker's */
    unsigned number;
    char *buffer; /* of part_bytes; NULL: never filled */
    size_t n;
};

struct s3_granted {
    /* Never changes after opening. */
    const struct s3_grant *grant;
    struct s3_granted_opts opts;
    struct pool *pool;
    struct part_slot *slots;
    size_t slot_count;
    /* The writing thread's. */
    struct part_slot *filling;
    uint64_t bytes;
    bool finished;

    pthread_mutex_t mu;
    pthread_cond_t freed; /* a slot is no longer busy */
    struct {              /* under mu */
        struct upload_parts parts;
        struct err err; /* of the first part that failed */
    } shared;
    pthread_mutex_t more_mu; /* one call of opts.more at a time */
};

/* ---- one request, by the URL at hand or another ---- */

static int ask_for_url(struct s3_granted *g, enum s3_grant_for what, unsigned part, struct buf *url, struct err *err)
{
    pthread_mutex_lock(&g->more_mu);
    int rc = g->opts.more(g->opts.ctx, what, part, url, err);
    pthread_mutex_unlock(&g->more_mu);
    return rc < 0 ? -1 : buf_check(url, "URL", err);
}

/* `ask->url` NULL: there is none yet. What was refused may have expired, and is asked for once more. */
static int call(struct s3_granted *g, enum s3_grant_for what, unsigned part, struct presigned_ask *ask,
                struct http_response *resp, struct err *err)
{
    struct err first = ERR_INIT;
    *resp = (struct http_response){0};
    if (ask->url) {
        if (presigned_call(&g->opts, g->grant, ask, resp, &first) == 0)
            return 0;
        if (!g->opts.more || first.kind != ERR_DENIED)
            return err_move(err, &first);
    } else if (!g->opts.more) {
        return err_set(err, ERR_LIMIT, "the grant has URLs for %zu parts, and the results need more",
                       g->grant->part_count);
    }
    AUTO_BUF url;
    buf_init(&url, URL_LENGTH_MAX);
    if (ask_for_url(g, what, part, &url, err) < 0)
        return -1;
    ask->url = buf_str(&url);
    return presigned_call(&g->opts, g->grant, ask, resp, err);
}

/* ---- workers ---- */

static int take_etag(const struct http_response *resp, struct upload_part *part, struct err *err)
{
    const char *etag = http_response_get(resp, "etag");
    if (!etag || strlen(etag) >= ETAG_MAX)
        return err_set(err, ERR_PROTOCOL, "the server took it and gave no ETag for it");
    snprintf(part->etag, ETAG_MAX, "%s", etag);
    return 0;
}

static int put_part(struct s3_granted *g, const struct part_slot *s, struct upload_part *part, struct err *err)
{
    struct digest_value md5;
    struct http_response resp;
    struct presigned_ask ask = {.method = "PUT",
                                .url = s->number <= g->grant->part_count ? g->grant->parts[s->number - 1] : NULL,
                                .headers = g->grant->headers,
                                .header_count = g->grant->header_count,
                                .md5 = &md5,
                                .body = {s->buffer, s->n}};
    part->size = s->n;
    if (digest_bytes(DIGEST_MD5, s->buffer, s->n, &md5, err) < 0 ||
        call(g, S3_GRANT_FOR_PART, s->number, &ask, &resp, err) < 0)
        return err_wrap(err, "part %u", s->number);
    int rc = take_etag(&resp, part, err);
    http_response_release(&resp);
    return rc < 0 ? err_wrap(err, "part %u", s->number) : 0;
}

static bool has_failed(struct s3_granted *g)
{
    pthread_mutex_lock(&g->mu);
    bool failed = err_is_set(&g->shared.err);
    pthread_mutex_unlock(&g->mu);
    return failed;
}

static void send_part(void *ctx)
{
    struct part_slot *s = ctx;
    struct s3_granted *g = s->upload;
    struct upload_part part = {0};
    struct err err = ERR_INIT;
    if (!has_failed(g))
        put_part(g, s, &part, &err);
    pthread_mutex_lock(&g->mu);
    if (err_is_set(&err))
        err_move(&g->shared.err, &err);
    g->shared.parts.v[s->number - 1] = part;
    s->busy = false;
    pthread_cond_signal(&g->freed);
    pthread_mutex_unlock(&g->mu);
}

/* ---- the writing thread ---- */

static int check_failed(struct s3_granted *g, struct err *err)
{
    pthread_mutex_lock(&g->mu);
    struct err first = g->shared.err;
    pthread_mutex_unlock(&g->mu);
    return err_is_set(&first) ? err_move(err, &first) : cancel_check(g->opts.cancel, err);
}

static struct part_slot *free_slot(struct s3_granted *g)
{
    pthread_mutex_lock(&g->mu);
    for (;;) {
        for (size_t i = 0; i < g->slot_count; i++)
            if (!g->slots[i].busy) {
                pthread_mutex_unlock(&g->mu);
                return &g->slots[i];
            }
        pthread_cond_wait(&g->freed, &g->mu);
    }
}

static int start_filling(struct s3_granted *g, struct err *err)
{
    struct part_slot *s = free_slot(g);
    if (!s->buffer)
        s->buffer = malloc(g->grant->part_bytes);
    if (!s->buffer)
        return err_nomem(err);
    s->n = 0;
    g->filling = s;
    return 0;
}

static int add_part(struct s3_granted *g, unsigned *number, struct err *err)
{
    pthread_mutex_lock(&g->mu);
    int rc = upload_parts_add(&g->shared.parts, number, err);
    pthread_mutex_unlock(&g->mu);
    return rc;
}

static int send_filled(struct s3_granted *g, struct err *err)
{
    struct part_slot *s = g->filling;
    g->filling = NULL;
    if (check_failed(g, err) < 0 || add_part(g, &s->number, err) < 0)
        return -1;
    if (s->number > S3_PARTS_MAX) {
        err_set(err, ERR_LIMIT, "more than %d parts of %llu bytes", S3_PARTS_MAX,
                (unsigned long long)g->grant->part_bytes);
        return err_hint(err, "ask for a grant of larger parts");
    }
    s->busy = true; /* no worker knows it yet */
    if (pool_submit(g->pool, send_part, s, err) == 0)
        return 0;
    s->busy = false;
    return -1;
}

int s3_granted_write(struct s3_granted *g, const void *p, size_t n, struct err *err)
{
    const char *from = p;
    g->bytes += n;
    if (g->grant->max_bytes && g->bytes > g->grant->max_bytes)
        return err_set(err, ERR_LIMIT, "the archive becomes larger than the %llu bytes that the grant is for",
                       (unsigned long long)g->grant->max_bytes);
    while (n > 0) {
        /* A full part waits for the byte behind it, since the whole may end here. */
        if (g->filling && g->filling->n == g->grant->part_bytes && send_filled(g, err) < 0)
            return -1;
        if (!g->filling && start_filling(g, err) < 0)
            return -1;
        struct part_slot *s = g->filling;
        size_t room = (size_t)g->grant->part_bytes - s->n, piece = n < room ? n : room;
        memcpy(s->buffer + s->n, from, piece);
        s->n += piece;
        from += piece;
        n -= piece;
    }
    return 0;
}

/* ---- the end ---- */

static int take_completed(const struct s3_granted *g, const struct http_response *resp, struct s3_stored *out,
                          struct err *err)
{
    char etag[ETAG_MAX];
    struct err ignored = ERR_INIT;
    if (presigned_stored(resp, g->bytes, out, err) < 0)
        return -1;
    bool told = !out->etag && upload_answer_etag(buf_span(&resp->body), etag, &ignored) == 0 && etag[0];
    if (!told || (out->etag = str_dup(etag, err)))
        return 0;
    s3_stored_release(out);
    return -1;
}

/* A server that took an earlier try, whose answer was lost, says that there is no such upload. */
static int complete_once(struct s3_granted *g, struct span parts, struct s3_stored *out, struct err *err)
{
    struct http_response resp;
    struct presigned_ask ask = {
        .method = "POST", .url = g->grant->complete, .body = parts, .idle_timeout_ms = COMPLETE_IDLE_MS};
    if (call(g, S3_GRANT_FOR_COMPLETE, 0, &ask, &resp, err) < 0) {
        if (err->kind == ERR_NOTFOUND)
            err_hint(err, "it was aborted; or it is complete, and the answer that said so was lost");
        return err_wrap(err, "complete");
    }
    int rc = take_completed(g, &resp, out, err);
    http_response_release(&resp);
    return rc;
}

/* An error can come after the head said 200; asking again does no harm. */
static int complete(struct s3_granted *g, struct s3_stored *out, struct err *err)
{
    struct rng rng;
    AUTO_BUF parts;
    buf_init(&parts, UPLOAD_ANSWER_MAX);
    upload_write_parts(g->shared.parts.v, g->shared.parts.n, &parts);
    if (buf_check(&parts, "list of parts", err) < 0 || rng_bytes(&rng, sizeof rng, err) < 0)
        return -1;
    for (unsigned attempt = 0;; attempt++) {
        struct err why = ERR_INIT;
        if (complete_once(g, buf_span(&parts), out, &why) == 0)
            return 0;
        if (why.kind != ERR_TRANSIENT || attempt + 1 == COMPLETE_TRIES)
            return err_move(err, &why);
        log_info("s3", "completing again by the grant (try=%u reason=\"%.512s\")", attempt + 2, why.text);
        if (cancel_sleep_ms(g->opts.cancel, retry_delay_ms(attempt, 0, &rng), err) < 0)
            return -1;
    }
}

int s3_granted_finish(struct s3_granted *g, struct s3_stored *out, struct err *err)
{
    /* Even nothing at all is one part. */
    if (!g->filling && g->shared.parts.n == 0 && start_filling(g, err) < 0)
        return -1;
    if (g->filling && send_filled(g, err) < 0)
        return -1;
    pool_wait_idle(g->pool);
    if (check_failed(g, err) < 0 || (g->opts.commit && g->opts.commit(g->opts.ctx, err) < 0))
        return -1;
    g->finished = complete(g, out, err) == 0;
    return g->finished ? 0 : -1;
}

static void abort_upload(struct s3_granted *g)
{
    struct http_response resp;
    struct err err = ERR_INIT;
    struct presigned_ask ask = {.method = "DELETE", .url = g->grant->abort, .cleaning_up = true};
    if (call(g, S3_GRANT_FOR_ABORT, 0, &ask, &resp, &err) == 0)
        http_response_release(&resp);
    else if (err.kind != ERR_NOTFOUND)
        log_warn("s3", "an unfinished upload could not be removed (reason=\"%.512s\")", err.text);
}

void s3_granted_free(struct s3_granted *g)
{
    if (!g)
        return;
    pool_free(g->pool);
    if (!g->finished)
        abort_upload(g);
    for (size_t i = 0; g->slots && i < g->slot_count; i++)
        free(g->slots[i].buffer);
    free(g->slots);
    free(g->shared.parts.v);
    pthread_cond_destroy(&g->freed);
    pthread_mutex_destroy(&g->mu);
    pthread_mutex_destroy(&g->more_mu);
    free(g);
}

/* ---- opening ---- */

static size_t slots_of(const struct s3_granted *g)
{
    uint64_t room = g->opts.buffer_bytes ? g->opts.buffer_bytes : S3_UPLOAD_BUFFERS;
    uint64_t n = room / g->grant->part_bytes;
    return n < SLOTS_MIN ? SLOTS_MIN : n > SLOTS_MAX ? SLOTS_MAX : (size_t)n;
}

int s3_granted_open(struct s3_granted **out, const struct s3_grant *grant, const struct s3_granted_opts *opts,
                    struct err *err)
{
    struct s3_granted *g = calloc(1, sizeof *g);
    *out = NULL;
    if (!g)
        return err_nomem(err);
    pthread_mutex_init(&g->mu, NULL);
    pthread_cond_init(&g->freed, NULL);
    pthread_mutex_init(&g->more_mu, NULL);
    g->grant = grant;
    g->opts = *opts;
    g->slot_count = slots_of(g);
    g->slots = calloc(g->slot_count, sizeof *g->slots);
    g->pool = g->slots ? pool_new("s3-granted", (unsigned)g->slot_count, 0, err) : NULL;
    if (!g->pool) {
        s3_granted_free(g);
        return err_nomem(err);
    }
    for (size_t i = 0; i < g->slot_count; i++)
        g->slots[i].upload = g;
    *out = g;
    return 0;
}
