#include "test_base.h"

#include "base/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

static void count(void *ctx)
{
    atomic_fetch_add((atomic_uint *)ctx, 1);
}

static void every_task_runs_once(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    atomic_uint ran = 0;
    struct pool *p = pool_new("test", 4, 3, &err);
    assert_non_null(p);
    for (int i = 0; i < 5000; i++)
        assert_works(pool_submit(p, count, &ran, &err), &err);
    pool_wait_idle(p);
    assert_int_equal(atomic_load(&ran), 5000);
    pool_wait_idle(p);
    pool_free(p);
    assert_int_equal(atomic_load(&ran), 5000);
}

static void freeing_runs_what_is_queued(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    atomic_uint ran = 0;
    struct pool *p = pool_new("test", 2, 0, &err);
    for (int i = 0; i < 1000; i++)
        assert_works(pool_submit(p, count, &ran, &err), &err);
    pool_free(p);
    assert_int_equal(atomic_load(&ran), 1000);
    pool_free(NULL);
}

struct order {
    unsigned seen[500];
    unsigned n;
};

struct numbered {
    struct order *order;
    unsigned number;
};

static void note(void *ctx)
{
    const struct numbered *t = ctx;
    t->order->seen[t->order->n++] = t->number; /* one worker: nobody else is here */
}

static void one_worker_keeps_the_order_of_submission(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    static struct order order;
    static struct numbered tasks[500];
    struct pool *p = pool_new("test", 1, 0, &err);
    for (unsigned i = 0; i < 500; i++) {
        tasks[i] = (struct numbered){&order, i};
        assert_works(pool_submit(p, note, &tasks[i], &err), &err);
    }
    pool_wait_idle(p);
    for (unsigned i = 0; i < 500; i++)
        assert_int_equal(order.seen[i], i);
    pool_free(p);
}

/* A gate that holds tasks until it is opened. */
struct gate {
    pthread_mutex_t mu;
    pthread_cond_t changed;
    bool open;
    unsigned waiting;
};

static void wait_at_gate(void *ctx)
{
    struct gate *g = ctx;
    pthread_mutex_lock(&g->mu);
    g->waiting++;
    pthread_cond_broadcast(&g->changed);
    while (!g->open)
        pthread_cond_wait(&g->changed, &g->mu);
    pthread_mutex_unlock(&g->mu);
}

static void tasks_run_side_by_side(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct gate g = {.mu = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct pool *p = pool_new("test", 3, 0, &err);
    for (int i = 0; i < 3; i++)
        assert_works(pool_submit(p, wait_at_gate, &g, &err), &err);
    pthread_mutex_lock(&g.mu);
    while (g.waiting < 3) /* hangs, and so fails, if fewer than three run at once */
        pthread_cond_wait(&g.changed, &g.mu);
    g.open = true;
    pthread_cond_broadcast(&g.changed);
    pthread_mutex_unlock(&g.mu);
    pool_free(p);
}

struct submitter {
    struct pool *pool;
    atomic_uint submitted, ran;
};

static void count_run(void *ctx)
{
    atomic_fetch_add(&((struct submitter *)ctx)->ran, 1);
}

static void *submit_many(void *arg)
{
    struct submitter *s = arg;
    struct err err = ERR_INIT;
    for (int i = 0; i < 500; i++)
        if (pool_submit(s->pool, count_run, s, &err) == 0)
            atomic_fetch_add(&s->submitted, 1);
    return NULL;
}

static void many_threads_may_submit_to_a_full_queue(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct submitter s = {.pool = pool_new("test", 2, 1, &err)};
    pthread_t ids[4];
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        assert_int_equal(pthread_create(&ids[i], NULL, submit_many, &s), 0);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        pthread_join(ids[i], NULL);
    pool_free(s.pool);
    assert_int_equal(atomic_load(&s.submitted), 2000);
    assert_int_equal(atomic_load(&s.ran), 2000);
}

static void look_at_signals(void *ctx)
{
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    *(bool *)ctx = sigismember(&mask, SIGINT) && sigismember(&mask, SIGTERM);
}

static void workers_leave_signals_to_others(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    bool blocked = false;
    sigset_t mask;
    struct pool *p = pool_new("a name that is far too long for the kernel", 1, 0, &err);
    assert_works(pool_submit(p, look_at_signals, &blocked, &err), &err);
    pool_free(p);
    assert_true(blocked);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    assert_false(sigismember(&mask, SIGINT));
}

static void impossible_numbers_of_threads_are_refused(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    assert_null_with(pool_new("test", 0, 0, &err), &err, ERR_INVALID);
    assert_null_with(pool_new("test", 100000, 0, &err), &err, ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_runs_once),
        cmocka_unit_test(freeing_runs_what_is_queued),
        cmocka_unit_test(one_worker_keeps_the_order_of_submission),
        cmocka_unit_test(tasks_run_side_by_side),
        cmocka_unit_test(many_threads_may_submit_to_a_full_queue),
        cmocka_unit_test(workers_leave_signals_to_others),
        cmocka_unit_test(impossible_numbers_of_threads_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
