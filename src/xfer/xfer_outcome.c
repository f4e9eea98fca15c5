/* How an exchange ended, and what follows: the part is done, tried again, judged by the source, or the file fails. */
#include "xfer/retry.h"
#include "xfer/xfer_priv.h"

#include <stdlib.h>

/* The exchange is over for good: it leaves its thread and gives its reference on the file back, last of all. */
static void retire(struct exchange *ex)
{
    struct xfer_file *f = ex->file;
    struct xfer *x = f->x;
    struct loop *l = ex->loop;
    exchange_count_stalled(ex, false);
    twin_leave(ex);
    loop_release(l, ex);
    pthread_mutex_lock(&x->shared.mu);
    sched_unit_over(&x->shared.sched, &ex->unit, loop_index(l));
    pthread_mutex_unlock(&x->shared.mu);
    loop_recycle(l, ex);
    file_unref(f);
}

/* The other request for its part won, or will: what this one wrote was not needed. */
static void retire_unused(struct exchange *ex)
{
    file_uncount(ex->file, ex->got);
    retire(ex);
}

/* A waiting exchange that nobody will take up; it holds no reference. */
void exchange_discard(struct exchange *ex)
{
    file_uncount(ex->file, ex->got);
    if (ex->twin) {
        twin_has_other(ex);
        twin_leave(ex);
    }
    exchange_free(ex);
}

static void tell_gate(struct exchange *ex)
{
    struct xfer *x = ex->file->x;
    uint64_t now = loop_now_ms(ex->loop);
    struct gate *g = &ex->host->sched.gate;
    pthread_mutex_lock(&x->shared.mu);
    uint32_t before = g->limit;
    if (ex->pressed)
        gate_pressed(g, ex->started_ms, ex->throttle_ms, now, &x->shared.rng);
    else
        gate_succeeded(g, ex->try_got, now);
    bool more = g->limit > before;
    pthread_mutex_unlock(&x->shared.mu);
    if (more)
        xfer_poke_hungry(x); /* this thread takes its share by itself, the others theirs */
}

/* ---- failure ---- */

/* Name the file and, for what looked passing, the tries. */
static void word_failure(struct exchange *ex)
{
    const struct xfer_file *f = ex->file;
    if (ex->tries > 1)
        err_wrap(&ex->err, "%s: after %u tries", f->name, ex->tries);
    else
        err_wrap(&ex->err, "%s", f->name);
}

static void fail(struct exchange *ex)
{
    struct xfer_file *f = ex->file;
    word_failure(ex);
    file_fail(f, &ex->err);
    retire(ex);
}

/* Whether this failure uses up the part's last try. Refusals under pressure do not, as long as there is patience. What
 * has to start anew each time makes no progress by coming just as far again. */
static bool tries_spent(struct exchange *ex, bool lost_patience)
{
    if (ex->got >= ex->furthest + XFER_PROGRESS_MIN) {
        ex->furthest = ex->got;
        ex->tries = 0;
    }
    ex->tries++;
    if (ex->pressed)
        return lost_patience;
    return ex->tries >= ex->file->x->opts.tries;
}

/* Neither a stream can be continued, nor a part that is all there although its answer broke off. */
static bool can_continue(const struct exchange *ex)
{
    return ex->unit.length != SCHED_WHOLE && ex->got < ex->unit.length;
}

/* Offer the unit again; its reference on the file goes until it is picked. */
static void try_again(struct exchange *ex, uint64_t delay_ms)
{
    struct xfer_file *f = ex->file;
    struct xfer *x = f->x;
    struct loop *l = ex->loop;
    uint64_t now = loop_now_ms(l);
    atomic_fetch_add_explicit(&x->stats.retries, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&f->rec->group->retries, 1, memory_order_relaxed);
    exchange_count_stalled(ex, false);
    twin_leave(ex);
    if (!can_continue(ex))
        exchange_forget(ex);
    loop_release(l, ex);
    pthread_mutex_lock(&x->shared.mu);
    sched_unit_over(&x->shared.sched, &ex->unit, loop_index(l));
    bool keep = !f->ended && atomic_load(&f->epoch) == ex->epoch;
    ex->unit.stalled = false;
    if (keep)
        sched_unit_again(&x->shared.sched, &ex->unit, now + delay_ms, now);
    pthread_mutex_unlock(&x->shared.mu);
    if (!keep) {
        file_uncount(f, ex->got);
        loop_recycle(l, ex);
    }
    file_unref(f);
}

static void fail_or_retry(struct exchange *ex)
{
    struct xfer *x = ex->file->x;
    uint64_t now = loop_now_ms(ex->loop), delay;
    bool lost_patience = false;
    if (!ex->passing) {
        fail(ex);
        return;
    }
    if (twin_has_other(ex)) {
        retire_unused(ex);
        return;
    }
    pthread_mutex_lock(&x->shared.mu);
    if (ex->pressed)
        lost_patience = gate_lost_patience(&ex->host->sched.gate, x->opts.patience_ms, now);
    bool spent = tries_spent(ex, lost_patience);
    delay = ex->again_at_once || ex->pressed ? 0 : retry_delay_ms(ex->tries - 1, ex->throttle_ms, &x->shared.rng);
    pthread_mutex_unlock(&x->shared.mu);
    if (spent)
        fail(ex);
    else
        try_again(ex, delay);
}

/* ---- answers that are errors ---- */

int exchange_note_verdict(struct exchange *ex, enum xfer_verdict verdict)
{
    ex->passing = true;
    switch (verdict) {
    case XFER_ACCEPT:
        return 0;
    case XFER_RETRY:
        err_set(&ex->err, ERR_TRANSIENT, "HTTP %d", ex->resp.status);
        break;
    case XFER_RESIGN:
        ex->again_at_once = true;
        err_set(&ex->err, ERR_DENIED, "HTTP %d", ex->resp.status);
        break;
    case XFER_REFRESH:
        ex->refresh = true;
        err_set(&ex->err, ERR_DENIED, "HTTP %d", ex->resp.status);
        break;
    case XFER_FAIL:
        ex->passing = false;
        err_set(&ex->err, ERR_PROTOCOL, "HTTP %d was not expected", ex->resp.status);
        break;
    }
    return -1;
}

static void note_retry_status(struct exchange *ex)
{
    ex->throttle_ms = http_response_wait_ms(&ex->resp);
    ex->pressed = ex->resp.status == 429 || ex->resp.status == 503;
    ex->passing = true;
    err_set(&ex->err, ERR_TRANSIENT, "HTTP %d from %s", ex->resp.status, ex->url.host);
}

/* The place that a redirect led to no longer serves: ask the source's own URL again. True where there was such a one.
 */
static bool leave_moved(struct exchange *ex)
{
    struct xfer_file *f = ex->file;
    if (!ex->used_moved)
        return false;
    pthread_mutex_lock(&f->mu);
    free(f->moved_to);
    f->moved_to = NULL;
    pthread_mutex_unlock(&f->mu);
    ex->passing = ex->again_at_once = true;
    err_set(&ex->err, ERR_DENIED, "HTTP %d from %s", ex->resp.status, ex->url.host);
    return true;
}

static void ask_judge(struct exchange *ex)
{
    struct xfer_file *f = ex->file;
    struct xfer_head head = {.status = ex->resp.status, .date_ms = ex->resp.date_ms, .http = &ex->resp};
    enum xfer_verdict verdict = XFER_FAIL;
    if (f->get.source->judge) {
        pthread_mutex_lock(&f->mu);
        verdict = f->get.source->judge(f->get.source_ctx, &head, &f->want, &ex->err);
        pthread_mutex_unlock(&f->mu);
    }
    if (exchange_note_verdict(ex, verdict) == 0) {
        ex->passing = false;
        err_set(&ex->err, ERR_PROTOCOL, "HTTP %d has no content to take", ex->resp.status);
    }
}

/* REFRESH: the unit waits until new credentials are there; whoever comes later with old ones only tries again. */
static void refresh_and_retry(struct exchange *ex)
{
    struct xfer_file *f = ex->file;
    if (!f->get.source->refresh) {
        fail(ex);
        return;
    }
    pthread_mutex_lock(&f->mu);
    bool stale = ex->auth_epoch != f->auth_epoch;
    pthread_mutex_unlock(&f->mu);
    ex->again_at_once = true;
    if (!stale)
        file_refresh(f);
    fail_or_retry(ex);
}

static void settle_error_answer(struct exchange *ex)
{
    int status = ex->resp.status;
    bool redirect = (status >= 301 && status <= 303) || status == 307 || status == 308;
    if (redirect && !ex->req.keep_redirects && http_response_get(&ex->resp, "location")) {
        exchange_redirect(ex);
        return;
    }
    if (retry_status(status))
        note_retry_status(ex);
    else if (!leave_moved(ex))
        ask_judge(ex);
    if (ex->pressed)
        tell_gate(ex);
    if (ex->refresh)
        refresh_and_retry(ex);
    else
        fail_or_retry(ex);
}

/* ---- success ---- */

/* Remember where redirects ended, so that the other parts need not take the detour. */
static void learn_moved(struct exchange *ex)
{
    struct xfer_file *f = ex->file;
    struct err err = ERR_INIT;
    if (ex->hops == 0 || ex->single)
        return;
    pthread_mutex_lock(&f->mu);
    if (!f->moved_to) {
        f->moved_to = str_dup_span(buf_span(&ex->url_text), &err); /* without memory, the detour stays */
        f->moved_away = ex->bound_dropped;
    }
    pthread_mutex_unlock(&f->mu);
}

/* Of a file that was cut anew they are of no use, and what would take them may be on its way out. */
static int keep_digests(struct exchange *ex)
{
    struct xfer_file *f = ex->file;
    if (!ex->digest)
        return 0;
    pthread_mutex_lock(&f->mu);
    bool wanted = f->verify && atomic_load(&f->epoch) == ex->epoch;
    int rc = wanted ? verify_part(f->verify, ex->unit.part, ex->digest, &ex->err) : 0;
    pthread_mutex_unlock(&f->mu);
    return rc;
}

static void part_done(struct exchange *ex)
{
    struct xfer_file *f = ex->file;
    uint64_t part = ex->unit.part, bytes = ex->got;
    bool stream = ex->unit.length == SCHED_WHOLE;
    if (!twin_win(ex)) {
        retire_unused(ex);
        return;
    }
    if (keep_digests(ex) < 0) {
        fail(ex);
        return;
    }
    tell_gate(ex);
    learn_moved(ex);
    if (stream)
        file_learn_size(f, bytes);
    if (file_part_arrived(f, part, ex->epoch))
        retire(ex);
    else
        retire_unused(ex);
}

static bool body_is_short(struct exchange *ex)
{
    uint64_t wanted = ex->unit.length;
    if (wanted == SCHED_WHOLE || ex->got >= wanted)
        return false;
    err_set(&ex->err, ERR_CORRUPT, "the body ended after %llu of %llu bytes", (unsigned long long)ex->got,
            (unsigned long long)wanted);
    ex->passing = true;
    return true;
}

/* An error's body is cut off on purpose where it is long: its head and so much of it say enough. */
static bool is_error_answer(struct exchange *ex)
{
    if (ex->phase != EXCHANGE_ERROR_BODY)
        return false;
    if (ex->resp.body.n >= XFER_ERROR_BODY_MAX)
        err_clear(&ex->err);
    return !err_is_set(&ex->err);
}

void outcome_settle(struct exchange *ex)
{
    if (ex->abandoned)
        retire_unused(ex);
    else if (is_error_answer(ex))
        settle_error_answer(ex);
    else if (err_is_set(&ex->err) && ex->refresh)
        refresh_and_retry(ex);
    else if (err_is_set(&ex->err) || (!ex->file->get.head_only && body_is_short(ex)))
        fail_or_retry(ex);
    else
        part_done(ex);
}
