/* One PUT of a stream that a thread makes while another sends it.
 *
 * http_call() asks for bytes; what makes an archive gives them. Between the two lies a window of fixed size. */
#include "s3/presigned_priv.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "xfer/retry.h"

#include <pthread.h>

#define WINDOW_BYTES ((size_t)1 << 20)

struct bridge {
    const struct s3_stream *stream;
    char *window;
    pthread_mutex_t mu;
    pthread_cond_t moved; /* anything below changed */
    struct {              /* under mu */
        size_t at, n;     /* what waits: n bytes from `at`, around the end */
        uint64_t given;
        bool closed; /* nobody reads any more */
        bool ended;  /* nobody writes any more */
        struct err err;
    } shared;
};

/* ---- the thread that makes it ---- */

/* As much as there is room for now; 0: nobody reads any more. */
static size_t put_some(struct bridge *b, const char *p, size_t n)
{
    pthread_mutex_lock(&b->mu);
    while (b->shared.n == WINDOW_BYTES && !b->shared.closed)
        pthread_cond_wait(&b->moved, &b->mu);
    size_t to = (b->shared.at + b->shared.n) % WINDOW_BYTES, room = WINDOW_BYTES - b->shared.n;
    size_t straight = WINDOW_BYTES - to, piece = n < room ? n : room;
    piece = b->shared.closed ? 0 : piece < straight ? piece : straight;
    memcpy(b->window + to, p, piece);
    b->shared.n += piece;
    pthread_cond_broadcast(&b->moved);
    pthread_mutex_unlock(&b->mu);
    return piece;
}

static int give(void *to, const void *p, size_t n, struct err *err)
{
    struct bridge *b = to;
    const char *from = p;
    while (n > 0) {
        size_t piece = put_some(b, from, n);
        if (piece == 0)
            return err_set(err, ERR_CANCELLED, "the upload ended before all was sent");
        from += piece;
        n -= piece;
    }
    return 0;
}

static void *make(void *ctx)
{
    struct bridge *b = ctx;
    struct err err = ERR_INIT;
    b->stream->make(b->stream->ctx, give, b, &err);
    pthread_mutex_lock(&b->mu);
    b->shared.err = err;
    b->shared.ended = true;
    pthread_cond_broadcast(&b->moved);
    pthread_mutex_unlock(&b->mu);
    return NULL;
}

/* ---- the thread that sends it ---- */

static int64_t take(void *ctx, void *p, size_t max, struct err *err)
{
    struct bridge *b = ctx;
    pthread_mutex_lock(&b->mu);
    while (b->shared.n == 0 && !b->shared.ended)
        pthread_cond_wait(&b->moved, &b->mu);
    struct err failed = b->shared.err;
    size_t straight = WINDOW_BYTES - b->shared.at, n = b->shared.n < straight ? b->shared.n : straight;
    n = n < max ? n : max;
    memcpy(p, b->window + b->shared.at, n);
    b->shared.at = (b->shared.at + n) % WINDOW_BYTES;
    b->shared.n -= n;
    b->shared.given += n;
    uint64_t given = b->shared.given;
    pthread_cond_broadcast(&b->moved);
    pthread_mutex_unlock(&b->mu);
    if (err_is_set(&failed))
        return err_move(err, &failed);
    if (n == 0 && given < b->stream->size)
        return err_set(err, ERR_CHANGED, "the results became smaller while they were sent");
    return (int64_t)n;
}

/* A stream that is longer than was announced leaves bytes behind. */
static int check_whole(struct bridge *b, struct err *err)
{
    pthread_mutex_lock(&b->mu);
    while (b->shared.n == 0 && !b->shared.ended)
        pthread_cond_wait(&b->moved, &b->mu);
    bool more = b->shared.n > 0;
    struct err failed = b->shared.err;
    pthread_mutex_unlock(&b->mu);
    if (err_is_set(&failed))
        return err_move(err, &failed);
    return more ? err_set(err, ERR_CHANGED, "the results became larger while they were sent") : 0;
}

static int send_once(struct bridge *b, const struct s3_grant *grant, const char *url,
                     const struct s3_granted_opts *opts, struct s3_stored *out, struct err *err)
{
    struct http_response resp;
    const struct presigned_ask ask = {.method = "PUT",
                                      .url = url,
                                      .headers = grant->headers,
                                      .header_count = grant->header_count,
                                      .md5 = &b->stream->md5,
                                      .read_body = take,
                                      .ctx = b,
                                      .body_length = b->stream->size};
    if (presigned_call(opts, grant, &ask, &resp, err) < 0)
        return -1;
    int rc = check_whole(b, err);
    if (rc == 0)
        rc = presigned_stored(&resp, b->stream->size, out, err);
    http_response_release(&resp);
    return rc;
}

static int put_once(const struct s3_grant *grant, const char *url, const struct s3_stream *stream,
                    const struct s3_granted_opts *opts, struct s3_stored *out, struct err *err)
{
    struct bridge b = {.stream = stream, .window = malloc(WINDOW_BYTES)};
    pthread_t maker;
    if (!b.window)
        return err_nomem(err);
    pthread_mutex_init(&b.mu, NULL);
    pthread_cond_init(&b.moved, NULL);
    int rc = pthread_create(&maker, NULL, make, &b) == 0 ? 0 : err_set(err, ERR_SYSTEM, "can't start a thread");
    if (rc == 0) {
        rc = send_once(&b, grant, url, opts, out, err);
        pthread_mutex_lock(&b.mu);
        b.shared.closed = true;
        pthread_cond_broadcast(&b.moved);
        pthread_mutex_unlock(&b.mu);
        pthread_join(maker, NULL);
    }
    pthread_cond_destroy(&b.moved);
    pthread_mutex_destroy(&b.mu);
    free(b.window);
    return rc;
}

/* ---- tries ---- */

static bool is_worth_another(const struct err *why)
{
    return why->kind == ERR_TRANSIENT || why->kind == ERR_TIMEOUT;
}

static int check_size(const struct s3_grant *grant, uint64_t size, struct err *err)
{
    if (grant->max_bytes && size > grant->max_bytes)
        return err_set(err, ERR_LIMIT, "the archive has %llu bytes, the grant is for %llu at most",
                       (unsigned long long)size, (unsigned long long)grant->max_bytes);
    if (size <= S3_GRANT_PUT_MAX)
        return 0;
    err_set(err, ERR_LIMIT, "the archive has %llu bytes; S3 takes 5 GiB in one request", (unsigned long long)size);
    return err_hint(err, "ask for a grant of parts (method 'multipart')");
}

int s3_granted_put(const struct s3_grant *grant, const struct s3_stream *stream, const struct s3_granted_opts *opts,
                   struct s3_stored *out, struct err *err)
{
    struct rng rng;
    if (check_size(grant, stream->size, err) < 0 || rng_bytes(&rng, sizeof rng, err) < 0 ||
        (opts->commit && opts->commit(opts->ctx, err) < 0))
        return -1;
    for (unsigned attempt = 0;; attempt++) {
        struct err why = ERR_INIT;
        if (put_once(grant, grant->url, stream, opts, out, &why) == 0)
            return 0;
        if (!is_worth_another(&why) || attempt + 1 == PRESIGNED_TRIES)
            return err_move(err, &why);
        log_info("s3", "sending again by the grant (try=%u reason=\"%.512s\")", attempt + 2, why.text);
        if (cancel_sleep_ms(opts->cancel, retry_delay_ms(attempt, 0, &rng), err) < 0)
            return -1;
    }
}
