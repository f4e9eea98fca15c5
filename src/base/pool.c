#include "base/pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

#define POOL_THREADS_MAX 256

struct task {
    struct task *next;
    void (*run)(void *ctx);
    void *ctx;
};

struct pool {
    size_t queue_max; /* never changes */
    char name[16];    /* never changes; what the kernel shows for a thread */
    unsigned threads; /* set before anybody else sees the pool */
    pthread_t *ids;
    pthread_mutex_t mu;
    struct { /* under mu */
        struct task *first, **end;
        size_t queued, running;
        bool closing;
    } shared;
    pthread_cond_t work; /* a task came, or the pool is closing */
    pthread_cond_t room; /* a task left the queue */
    pthread_cond_t idle; /* nothing is queued or running */
};

/* With mu held: the next task, or NULL when the pool closes and nothing is left. */
static struct task *take_task(struct pool *p)
{
    while (!p->shared.first && !p->shared.closing)
        pthread_cond_wait(&p->work, &p->mu);
    struct task *t = p->shared.first;
    if (!t)
        return NULL;
    p->shared.first = t->next;
    if (!p->shared.first)
        p->shared.end = &p->shared.first;
    p->shared.queued--;
    p->shared.running++;
    pthread_cond_signal(&p->room);
    return t;
}

static void *work(void *arg)
{
    struct pool *p = arg;
    struct task *t;
    pthread_mutex_lock(&p->mu);
    while ((t = take_task(p))) {
        pthread_mutex_unlock(&p->mu);
        t->run(t->ctx);
        free(t);
        pthread_mutex_lock(&p->mu);
        p->shared.running--;
        if (p->shared.queued == 0 && p->shared.running == 0)
            pthread_cond_broadcast(&p->idle);
    }
    pthread_mutex_unlock(&p->mu);
    return NULL;
}

/* Workers take no signals: those are for the thread that waits for them. */
static int start_threads(struct pool *p, unsigned threads, struct err *err)
{
    sigset_t all, before;
    int rc = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (p->threads < threads && rc == 0) {
        rc = pthread_create(&p->ids[p->threads], NULL, work, p);
        if (rc == 0) {
            pthread_setname_np(p->ids[p->threads], p->name);
            p->threads++;
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = rc;
    return rc ? err_sys(err, "start worker thread %u of %u", p->threads + 1, threads) : 0;
}

struct pool *pool_new(const char *name, unsigned threads, size_t queue_max, struct err *err)
{
    if (threads == 0 || threads > POOL_THREADS_MAX) {
        err_set(err, ERR_INVALID, "%u worker threads; from 1 to %d are possible", threads, POOL_THREADS_MAX);
        return NULL;
    }
    struct pool *p = calloc(1, sizeof *p);
    pthread_t *ids = calloc(threads, sizeof *ids);
    if (!p || !ids) {
        free(p);
        free(ids);
        err_nomem(err);
        return NULL;
    }
    p->ids = ids;
    p->queue_max = queue_max;
    snprintf(p->name, sizeof p->name, "%.15s", name);
    p->shared.end = &p->shared.first;
    pthread_mutex_init(&p->mu, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->room, NULL);
    pthread_cond_init(&p->idle, NULL);
    if (start_threads(p, threads, err) < 0) {
        pool_free(p);
        return NULL;
    }
    return p;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->mu);
    p->shared.closing = true;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->mu);
    for (unsigned i = 0; i < p->threads; i++)
        pthread_join(p->ids[i], NULL);
    pthread_cond_destroy(&p->idle);
    pthread_cond_destroy(&p->room);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->mu);
    free(p->ids);
    free(p);
}

int pool_submit(struct pool *p, void (*run)(void *ctx), void *ctx, struct err *err)
{
    struct task *t = calloc(1, sizeof *t);
    if (!t)
        return err_nomem(err);
    t->run = run;
    t->ctx = ctx;
    pthread_mutex_lock(&p->mu);
    while (p->queue_max && p->shared.queued >= p->queue_max)
        pthread_cond_wait(&p->room, &p->mu);
    *p->shared.end = t;
    p->shared.end = &t->next;
    p->shared.queued++;
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->mu);
    return 0;
}

void pool_wait_idle(struct pool *p)
{
    pthread_mutex_lock(&p->mu);
    while (p->shared.queued > 0 || p->shared.running > 0)
        pthread_cond_wait(&p->idle, &p->mu);
    pthread_mutex_unlock(&p->mu);
}
