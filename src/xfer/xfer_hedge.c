/* Second requests for parts that stall: the first to finish wins. */
#include "xfer/xfer_priv.h"

#include <stdlib.h>

static void twin_unref(struct twin *t)
{
    if (atomic_fetch_sub(&t->refs, 1) > 1)
        return;
    pthread_mutex_destroy(&t->mu);
    free(t);
}

bool twin_win(struct exchange *ex)
{
    struct twin *t = ex->twin;
    if (!t)
        return true;
    pthread_mutex_lock(&t->mu);
    bool won = !atomic_load(&t->decided);
    atomic_store(&t->decided, true);
    pthread_mutex_unlock(&t->mu);
    if (won)
        xfer_poke_all(ex->file->x);
    return won;
}

bool twin_has_other(struct exchange *ex)
{
    struct twin *t = ex->twin;
    if (!t)
        return false;
    pthread_mutex_lock(&t->mu);
    bool other = t->riders > 1;
    if (other)
        t->riders--;
    pthread_mutex_unlock(&t->mu);
    return other;
}

void twin_leave(struct exchange *ex)
{
    struct twin *t = ex->twin;
    ex->twin = NULL;
    ex->hedged = false;
    if (t)
        twin_unref(t);
}

void exchange_count_stalled(struct exchange *ex, bool stalled)
{
    if (ex->counted_stalled == stalled)
        return;
    ex->counted_stalled = stalled;
    if (stalled)
        atomic_fetch_add(&ex->file->rec->group->stalled, 1);
    else
        atomic_fetch_sub(&ex->file->rec->group->stalled, 1);
}

static struct twin *twin_new(struct err *err)
{
    struct twin *t = calloc(1, sizeof *t);
    if (!t) {
        err_nomem(err);
        return NULL;
    }
    pthread_mutex_init(&t->mu, NULL);
    atomic_init(&t->refs, 2);
    t->riders = 2;
    return t;
}

void exchange_hedge(struct exchange *ex)
{
    struct xfer_file *f = ex->file;
    struct xfer *x = f->x;
    struct err err = ERR_INIT;
    if (ex->hedged || ex->twin || f->get.head_only)
        return;
    struct exchange *second = loop_spare(ex->loop, &err);
    struct twin *t = second ? twin_new(&err) : NULL;
    if (!t) {
        if (second)
            loop_recycle(ex->loop, second);
        return; /* no memory for a second request: the first goes on alone */
    }
    second->file = f;
    second->unit = (struct sched_unit){
        .file = &f->sched, .part = ex->unit.part, .offset = ex->unit.offset, .length = ex->unit.length, .hedge = true};
    second->twin = ex->twin = t;
    second->hedged = ex->hedged = true;
    second->tries = ex->tries; /* the two are one try of their part */
    pthread_mutex_lock(&x->shared.mu);
    bool wanted = !f->ended && atomic_load(&f->epoch) == ex->epoch;
    if (wanted) {
        sched_unit_stalled(&x->shared.sched, &ex->unit, loop_index(ex->loop));
        sched_unit_again(&x->shared.sched, &second->unit, 0, loop_now_ms(ex->loop));
    }
    pthread_mutex_unlock(&x->shared.mu);
    if (!wanted) {
        exchange_discard(second);
        return;
    }
    atomic_fetch_add(&x->stats.hedges, 1);
    xfer_poke_all(x);
}
