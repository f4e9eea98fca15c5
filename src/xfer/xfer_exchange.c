/* One request's life on a transfer thread: begin, head, body, stalls. How it ends is in xfer_outcome.c. */
#include "base/fs.h"
#include "xfer/http1.h"
#include "xfer/xfer_priv.h"

#include <stdlib.h>

#define HOST_CLOSED_WAIT_MS 20                /* before a unit is offered again whose host turned out to have no room */
#define FRONT_STEP          (4 * 1024 * 1024) /* how often a file in one part tells the hash pool that it grew */

void exchange_blank(struct exchange *ex)
{
    digest_free(ex->digest);
    http_response_reset(&ex->resp);
    struct exchange kept = {.req = ex->req,
                            .arena = ex->arena,
                            .url_text = ex->url_text,
                            .authority = ex->authority,
                            .lines = ex->lines,
                            .resp = ex->resp};
    *ex = kept;
}

void exchange_free(struct exchange *ex)
{
    if (!ex)
        return;
    digest_free(ex->digest);
    http_response_release(&ex->resp);
    buf_release(&ex->req.url);
    buf_release(&ex->req.headers);
    buf_release(&ex->url_text);
    buf_release(&ex->authority);
    buf_release(&ex->lines);
    arena_free(ex->arena);
    free(ex);
}

void **exchange_lane_slot(struct exchange *ex)
{
    return &ex->lane_state;
}

struct http_response *exchange_response(struct exchange *ex)
{
    return &ex->resp;
}

/* Note why the engine itself ends the exchange. */
static int give_up(struct exchange *ex, enum err_kind kind, bool passing, const char *why)
{
    err_set(&ex->err, kind, "%s", why);
    ex->passing = passing;
    return -1;
}

void exchange_refuse(struct exchange *ex, struct err *err)
{
    err_move(&ex->err, err);
    ex->passing = false;
}

/* ---- begin ---- */

static void reset_try(struct exchange *ex)
{
    http_response_reset(&ex->resp);
    err_clear(&ex->err);
    ex->lane_state = NULL;
    ex->try_got = 0;
    ex->expected = UINT64_MAX;
    ex->phase = EXCHANGE_HEAD;
    ex->resume_us = 0;
    ex->throttle_ms = 0;
    ex->passing = ex->pressed = ex->again_at_once = ex->refresh = ex->abandoned = false;
}

/* Account the unit to the host that its request goes to. False: no room there now, the unit waits again. */
static bool take_host(struct exchange *ex, bool redirected, struct err *err)
{
    struct xfer *x = ex->file->x;
    uint64_t now = loop_now_ms(ex->loop);
    pthread_mutex_lock(&x->shared.mu);
    ex->host = host_intern(x, ex->file->rec->policy, &ex->url, err);
    bool room = ex->host && sched_unit_to_host(&x->shared.sched, &ex->unit, loop_index(ex->loop), &ex->host->sched,
                                               redirected, now);
    ex->single = ex->file->sched.part_count == 1;
    pthread_mutex_unlock(&x->shared.mu);
    ex->wire.host = ex->host;
    return room;
}

static void wait_for_host(struct exchange *ex)
{
    struct xfer_file *f = ex->file;
    struct xfer *x = f->x;
    struct loop *l = ex->loop;
    uint64_t now = loop_now_ms(l), until = now + HOST_CLOSED_WAIT_MS;
    loop_release(l, ex);
    pthread_mutex_lock(&x->shared.mu);
    if (ex->host->sched.gate.blocked_until_ms > until)
        until = ex->host->sched.gate.blocked_until_ms;
    sched_unit_over(&x->shared.sched, &ex->unit, loop_index(l));
    bool keep = !f->ended && atomic_load(&f->epoch) == ex->epoch;
    if (keep)
        sched_unit_again(&x->shared.sched, &ex->unit, until, now);
    pthread_mutex_unlock(&x->shared.mu);
    if (!keep)
        exchange_discard(ex);
    file_unref(f);
}

static int start_on_lane(struct exchange *ex, struct err *err)
{
    struct xfer *x = ex->file->x;
    bool raw = !x->opts.no_raw && ex->host->raw_fit;
    ex->ops = raw ? &lane_raw : &lane_curl;
    ex->lane = loop_lane(ex->loop, ex->ops, err);
    if (!ex->lane)
        return -1;
    atomic_fetch_add_explicit(&x->stats.requests, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&ex->file->rec->group->requests, 1, memory_order_relaxed);
    return ex->ops->start(ex->lane, ex, &ex->wire, err);
}

/* The unit's file has not been cut yet. False: there is nothing to fetch, or it failed; the exchange is over. */
static bool prepare(struct exchange *ex)
{
    struct xfer_file *f = ex->file;
    struct xfer *x = f->x;
    struct err err = ERR_INIT;
    int rc = file_prepare(f, &err);
    pthread_mutex_lock(&x->shared.mu);
    bool more = rc == 0 && !f->ended && sched_prepared(&x->shared.sched, &ex->unit, loop_index(ex->loop));
    if (rc < 0 || f->ended)
        sched_unit_over(&x->shared.sched, &ex->unit, loop_index(ex->loop));
    pthread_mutex_unlock(&x->shared.mu);
    if (rc == 0 && more) {
        if (f->sched.part_count > 1)
            xfer_poke_all(x);
        return true;
    }
    struct loop *l = ex->loop;
    loop_release(l, ex);
    loop_recycle(l, ex);
    if (rc < 0)
        file_fail(f, &err);
    else
        file_complete(f);
    file_unref(f);
    return false;
}

/* The unit is of the file as it is cut now: who cuts it anew takes back what waits, and we no longer do. */
void exchange_take_locked(struct exchange *ex)
{
    ex->file = (struct xfer_file *)ex->unit.file;
    ex->epoch = atomic_load(&ex->file->epoch);
    file_ref_locked(ex->file);
}

void exchange_begin(struct exchange *ex)
{
    struct err err = ERR_INIT;
    if (ex->unit.unprepared && !prepare(ex))
        return;
    reset_try(ex);
    ex->started_ms = loop_now_ms(ex->loop);
    stall_start(&ex->stall, ex->started_ms);
    if (request_build(ex, &err) < 0)
        exchange_end(ex, &err, false);
    else if (!take_host(ex, false, &err) && !err_is_set(&err))
        wait_for_host(ex);
    else if (err_is_set(&err) || start_on_lane(ex, &err) < 0)
        exchange_end(ex, &err, err.kind == ERR_TRANSIENT);
}

void exchange_redirect(struct exchange *ex)
{
    struct err err = ERR_INIT;
    if (request_follow(ex, &err) < 0) {
        exchange_end(ex, &err, false);
        return;
    }
    reset_try(ex);
    if (!take_host(ex, true, &err) || start_on_lane(ex, &err) < 0)
        exchange_end(ex, &err, err.kind == ERR_TRANSIENT);
}

/* ---- head ---- */

/* Whether somebody else made this request pointless. */
static bool is_abandoned(const struct exchange *ex)
{
    const struct xfer_file *f = ex->file;
    return atomic_load_explicit(&f->dead, memory_order_relaxed) ||
           atomic_load_explicit(&f->epoch, memory_order_relaxed) != ex->epoch ||
           (ex->twin && atomic_load_explicit(&ex->twin->decided, memory_order_relaxed));
}

/* A 206 must bring just what was asked for. */
static int check_range(struct exchange *ex, uint64_t body_bytes)
{
    struct http1_range r;
    const struct xfer_file *f = ex->file;
    const char *text = http_response_get(&ex->resp, "content-range");
    uint64_t first = ex->unit.offset + ex->got, length = ex->unit.length - ex->got;
    if (!text)
        return give_up(ex, ERR_PROTOCOL, false, "HTTP 206 without Content-Range");
    if (http1_parse_content_range(span_of(text), &r, &ex->err) < 0)
        return -1;
    if (r.total != UINT64_MAX && f->get.size != XFER_SIZE_UNKNOWN && r.total != f->get.size) {
        err_set(&ex->err, ERR_CHANGED, "changed while downloading: %llu bytes now, %llu before",
                (unsigned long long)r.total, (unsigned long long)f->get.size);
        return -1;
    }
    if (r.first != first || r.last != first + length - 1) {
        err_set(&ex->err, ERR_PROTOCOL, "bytes %llu-%llu asked for, but %llu-%llu sent", (unsigned long long)first,
                (unsigned long long)(first + length - 1), (unsigned long long)r.first, (unsigned long long)r.last);
        return -1;
    }
    if (body_bytes != UINT64_MAX && body_bytes != length)
        return give_up(ex, ERR_CORRUPT, true, "the body's length is not that of its Content-Range");
    ex->expected = length;
    return 0;
}

/* The server ignores ranges: this answer becomes the one stream of the whole file, the others are dropped (F8). */
static int become_stream(struct exchange *ex)
{
    struct xfer_file *f = ex->file;
    struct xfer *x = f->x;
    struct sched_unit *waiting;
    uint64_t had = ex->got;
    pthread_mutex_lock(&x->shared.mu);
    bool mine = !f->ended && atomic_load(&f->epoch) == ex->epoch;
    if (mine) {
        ex->epoch = atomic_fetch_add(&f->epoch, 1) + 1;
        sched_file_remove(&f->sched);
        while ((waiting = sched_unit_withdraw(&x->shared.sched, &f->sched)))
            exchange_discard((struct exchange *)waiting);
        had += file_recut_locked(f);
        ex->single = true;
        ex->unit.part = 0;
        ex->unit.offset = 0;
        ex->unit.length = f->sched.size;
    }
    pthread_mutex_unlock(&x->shared.mu);
    if (!mine) {
        ex->abandoned = true;
        return -1;
    }
    ex->got = 0;
    twin_leave(ex);
    file_uncount(f, had);
    file_forget_bytes(f);
    xfer_poke_all(x);
    return 0;
}

/* A 200: the whole file, whether or not it was asked for. */
static int check_whole(struct exchange *ex, uint64_t body_bytes)
{
    const struct xfer_file *f = ex->file;
    if (!ex->whole && become_stream(ex) < 0)
        return -1;
    ex->got = 0;
    digest_free(ex->digest);
    ex->digest = NULL;
    ex->expected = body_bytes;
    if (f->get.size == XFER_SIZE_UNKNOWN)
        return 0;
    if (body_bytes != UINT64_MAX && body_bytes != f->get.size) {
        err_set(&ex->err, ERR_CORRUPT, "a body of %llu bytes, where %llu were stated", (unsigned long long)body_bytes,
                (unsigned long long)f->get.size);
        ex->passing = true;
        return -1;
    }
    ex->expected = f->get.size;
    return 0;
}

/* A try that continues a part continues its digest, too. */
static int start_digest(struct exchange *ex, unsigned kinds)
{
    if (ex->got > 0)
        return 0;
    digest_free(ex->digest);
    ex->digest = NULL;
    return kinds == 0 ? 0 : digest_open(&ex->digest, kinds, &ex->err);
}

/* With file->mu held: let the source judge, then open the sink and the digests. */
static int accept_locked(struct exchange *ex)
{
    struct xfer_file *f = ex->file;
    struct xfer_head head = {.status = ex->resp.status, .date_ms = ex->resp.date_ms, .http = &ex->resp};
    enum xfer_verdict verdict = XFER_ACCEPT;
    if (f->get.source->judge)
        verdict = f->get.source->judge(f->get.source_ctx, &head, &f->want, &ex->err);
    if (verdict != XFER_ACCEPT)
        return exchange_note_verdict(ex, verdict);
    if (f->get.head_only) {
        file_keep_head(f, ex);
        return 0;
    }
    uint64_t size = f->get.size != XFER_SIZE_UNKNOWN ? f->get.size : ex->whole ? ex->expected : XFER_SIZE_UNKNOWN;
    if (!f->opened && file_open_sink(f, size, &ex->err) < 0)
        return -1;
    if (!f->verify && file_open_verify(f, &ex->err) < 0)
        return -1;
    file_keep_head(f, ex);
    return start_digest(ex, f->verify_stale ? 0 : verify_passing_kinds(f->verify));
}

static bool is_error_head(const struct exchange *ex)
{
    return ex->resp.status != 200 && ex->resp.status != 206;
}

int exchange_head(struct exchange *ex, uint64_t body_bytes)
{
    struct xfer_file *f = ex->file;
    ex->stall.window_bytes += 1;
    if (is_abandoned(ex)) {
        ex->abandoned = true;
        return -1;
    }
    if (is_error_head(ex)) {
        ex->phase = EXCHANGE_ERROR_BODY;
        return 0;
    }
    ex->phase = EXCHANGE_BODY;
    if (f->get.head_only) {
        f->head_bytes = XFER_SIZE_UNKNOWN;
        const char *length = http_response_get(&ex->resp, "content-length");
        struct err ignored = ERR_INIT;
        if (length && span_to_u64(span_of(length), &f->head_bytes, &ignored) < 0)
            f->head_bytes = XFER_SIZE_UNKNOWN;
    } else if (ex->resp.status == 206 && ex->whole) {
        return give_up(ex, ERR_PROTOCOL, false, "HTTP 206 to a request without a range");
    } else if ((ex->resp.status == 206 ? check_range(ex, body_bytes) : check_whole(ex, body_bytes)) < 0) {
        return -1;
    }
    pthread_mutex_lock(&f->mu);
    int rc = accept_locked(ex);
    pthread_mutex_unlock(&f->mu);
    return rc;
}

/* ---- body ---- */

/* Under the twin's lock, where there is one: nothing is written once the other has won. */
static int write_bytes(struct exchange *ex, const void *p, size_t n)
{
    struct xfer_file *f = ex->file;
    uint64_t at = ex->unit.offset + ex->got;
    if (!ex->twin)
        return fs_pwrite_all(f->fd, p, n, at, &ex->err);
    pthread_mutex_lock(&ex->twin->mu);
    int rc = -1;
    if (atomic_load(&ex->twin->decided))
        ex->abandoned = true;
    else
        rc = fs_pwrite_all(f->fd, p, n, at, &ex->err);
    pthread_mutex_unlock(&ex->twin->mu);
    return rc;
}

static void count_bytes(struct exchange *ex, size_t n)
{
    struct xfer_file *f = ex->file;
    struct xfer_group *g = f->rec->group;
    atomic_fetch_add_explicit(&f->wire, n, memory_order_relaxed);
    atomic_fetch_add_explicit(&g->bytes_wire, n, memory_order_relaxed);
    atomic_fetch_add_explicit(&f->x->stats.wire, n, memory_order_relaxed);
}

static void count_written(struct exchange *ex, size_t n)
{
    struct xfer_file *f = ex->file;
    ex->got += n;
    ex->try_got += n;
    atomic_fetch_add_explicit(&f->rec->group->bytes_done, n, memory_order_relaxed);
    atomic_fetch_add_explicit(&f->x->stats.written, n, memory_order_relaxed);
    if (!ex->single)
        return;
    uint64_t before = atomic_load_explicit(&f->streamed, memory_order_relaxed);
    if (ex->got > before)
        atomic_store_explicit(&f->streamed, ex->got, memory_order_release);
    if (ex->got / FRONT_STEP != (ex->got - n) / FRONT_STEP)
        file_front_grew(f);
}

/* What was received beyond the bandwidth ceiling is paid by waiting. */
static void pay(struct exchange *ex, size_t n)
{
    struct xfer *x = ex->file->x;
    if (x->opts.bytes_per_second == 0)
        return;
    uint64_t now = clock_mono_us();
    pthread_mutex_lock(&x->band.mu);
    uint64_t wait = bucket_spend(&x->band.bucket, n, now);
    pthread_mutex_unlock(&x->band.mu);
    if (wait == 0)
        return;
    ex->resume_us = now + wait;
    ex->ops->pause(ex->lane, ex);
}

void exchange_forget(struct exchange *ex)
{
    struct xfer_file *f = ex->file;
    if (ex->got == 0)
        return;
    file_uncount(f, ex->got);
    ex->got = 0;
    digest_free(ex->digest);
    ex->digest = NULL;
    if (ex->single)
        file_forget_bytes(f);
}

/* The body of an answer that is an error; beyond the bound it says nothing more. */
static int keep_error_body(struct exchange *ex, const void *p, size_t n)
{
    size_t room = XFER_ERROR_BODY_MAX - ex->resp.body.n;
    buf_add(&ex->resp.body, p, n < room ? n : room);
    return n < room ? 0 : -1;
}

/* The origin did not say how much would come: the sink is asked as it comes. */
static int ask_for_room(struct exchange *ex, size_t n)
{
    struct xfer_file *f = ex->file;
    uint64_t after = ex->got + n;
    if (f->get.size != XFER_SIZE_UNKNOWN || !f->get.sink->grow || after / XFER_GROW_STEP == ex->got / XFER_GROW_STEP)
        return 0;
    pthread_mutex_lock(&f->mu);
    int rc = f->get.sink->grow(f->get.sink_ctx, after, &ex->err);
    pthread_mutex_unlock(&f->mu);
    return rc;
}

int exchange_body(struct exchange *ex, const void *p, size_t n)
{
    ex->stall.window_bytes += n;
    count_bytes(ex, n);
    if (ex->phase == EXCHANGE_ERROR_BODY)
        return keep_error_body(ex, p, n);
    if (is_abandoned(ex)) {
        ex->abandoned = true;
        return -1;
    }
    if (ex->expected != UINT64_MAX && n > ex->expected - ex->try_got) {
        exchange_forget(ex); /* who sends too much may have sent it in the wrong place */
        return give_up(ex, ERR_CORRUPT, true, "the body is longer than stated");
    }
    if (ask_for_room(ex, n) < 0 || write_bytes(ex, p, n) < 0)
        return -1;
    if (ex->digest && digest_update(ex->digest, p, n, &ex->err) < 0)
        return -1;
    count_written(ex, n);
    pay(ex, n);
    return 0;
}

void exchange_end(struct exchange *ex, struct err *err, bool passing)
{
    ex->lane_state = NULL;
    if (!err_is_set(&ex->err) && !ex->abandoned && err_is_set(err)) {
        ex->err = *err;
        ex->passing = passing;
    }
    err_clear(err);
    outcome_settle(ex);
}

/* ---- while it runs ---- */

void exchange_cut(struct exchange *ex, enum err_kind kind, const char *why, bool passing)
{
    if (ex->lane_state)
        ex->ops->drop(ex->lane, ex);
    give_up(ex, kind, passing, why);
    struct err none = ERR_INIT;
    exchange_end(ex, &none, false);
}

static void look_at_pace(struct exchange *ex, uint64_t now_ms)
{
    struct xfer *x = ex->file->x;
    if (ex->resume_us != 0) {
        stall_start(&ex->stall, now_ms); /* held back by the bandwidth ceiling, not by the server */
        return;
    }
    switch (stall_check(&ex->stall, x->opts.stall_bytes_per_second, x->opts.stall_ms, now_ms)) {
    case STALL_NONE:
        exchange_count_stalled(ex, false);
        break;
    case STALL_SLOW:
        exchange_count_stalled(ex, true);
        exchange_hedge(ex);
        break;
    case STALL_DEAD:
        exchange_cut(ex, ERR_TIMEOUT, "stalled: less than the stall limit came in two periods", true);
        break;
    }
}

void exchange_look(struct exchange *ex, uint64_t now_ms)
{
    if (is_abandoned(ex)) {
        ex->abandoned = true;
        exchange_cut(ex, ERR_CANCELLED, "no longer wanted", false);
        return;
    }
    look_at_pace(ex, now_ms);
}
