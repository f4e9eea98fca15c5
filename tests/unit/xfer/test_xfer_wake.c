/* Which sleeping threads new work wakes: enough of them, and no more. */
#include "loopback.h"

#include "xfer/xfer.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define THREADS  4u
#define STARTERS 2u
#define ROUNDS   1500u

/* So many files as there are threads meet at a place that each of them passes on its thread, and none goes on until all
 * are there: a thread that was left asleep would leave the others waiting for ever. */
enum meeting_place { MEET_NOWHERE, MEET_OPENING, MEET_ASKING_AGAIN };

struct meeting {
    struct xfer *x;
    struct loopback *server;
    struct xfer_group group;
    pthread_barrier_t all_here, round;
    enum meeting_place place;
    unsigned refusals;   /* 503s that the server still gives */
    atomic_uint refused; /* those that it gave */
    pthread_mutex_t mu;
    pthread_cond_t cond;
    unsigned done, failed; /* guarded by mu */
};

static enum loopback_then serve(void *ctx, const char *text, struct buf *out)
{
    struct meeting *m = ctx;
    (void)text;
    if (m->refusals > 0) {
        m->refusals--;
        atomic_fetch_add(&m->refused, 1);
        buf_adds(out, "HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n");
        return LOOPBACK_KEEP;
    }
    buf_adds(out, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    return LOOPBACK_KEEP;
}

static int request(void *ctx, uint64_t offset, uint64_t length, struct xfer_request *out, struct err *err)
{
    struct meeting *m = ctx;
    (void)offset;
    (void)length;
    (void)err;
    buf_addf(&out->url, "http://127.0.0.1:%u/o", loopback_port(m->server));
    if (m->place == MEET_ASKING_AGAIN && atomic_load(&m->refused) > 0)
        pthread_barrier_wait(&m->all_here);
    return 0;
}

/* All files of a test are written to one place. */
static int open_sink(void *ctx, uint64_t size, int *fd, struct partmap **map, struct err *err)
{
    static int common = -1;
    static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
    struct meeting *m = ctx;
    (void)size;
    *map = NULL;
    pthread_mutex_lock(&mu);
    if (common < 0)
        common = memfd_create("common", MFD_CLOEXEC);
    *fd = common;
    pthread_mutex_unlock(&mu);
    if (m->place == MEET_OPENING)
        pthread_barrier_wait(&m->all_here);
    return *fd < 0 ? err_sys(err, "memfd") : 0;
}

static void on_done(void *ctx, const struct xfer_result *result, const struct err *err)
{
    struct meeting *m = ctx;
    pthread_mutex_lock(&m->mu);
    m->failed += err != NULL || result->size != 2;
    m->done++;
    pthread_cond_broadcast(&m->cond);
    pthread_mutex_unlock(&m->mu);
}

static const struct xfer_source source = {.request = request};
static const struct xfer_sink sink = {.open = open_sink};

static void start_one(struct meeting *m)
{
    struct err err = ERR_INIT;
    struct xfer_get get = {.group = &m->group,
                           .name = "o",
                           .size = 2,
                           .source = &source,
                           .source_ctx = m,
                           .sink = &sink,
                           .sink_ctx = m,
                           .done = on_done,
                           .done_ctx = m};
    if (xfer_get_start(m->x, &get, &err) == 0)
        return;
    pthread_mutex_lock(&m->mu);
    m->failed++;
    pthread_mutex_unlock(&m->mu);
}

static void wait_done(struct meeting *m, unsigned count)
{
    pthread_mutex_lock(&m->mu);
    while (m->done < count)
        pthread_cond_wait(&m->cond, &m->mu);
    pthread_mutex_unlock(&m->mu);
}

static void meeting_open(struct meeting *m, enum meeting_place place)
{
    struct err err = ERR_INIT;
    memset(m, 0, sizeof *m);
    m->place = place;
    m->refusals = place == MEET_ASKING_AGAIN;
    m->group.policy.no_proxy_env = true;
    pthread_mutex_init(&m->mu, NULL);
    pthread_cond_init(&m->cond, NULL);
    pthread_barrier_init(&m->all_here, NULL, THREADS);
    pthread_barrier_init(&m->round, NULL, STARTERS);
    m->server = loopback_start(serve, m, NULL);
    assert_int_equal(xfer_open(&m->x, &(struct xfer_opts){.threads = THREADS}, &err), 0);
}

static void meeting_close(struct meeting *m)
{
    xfer_free(m->x);
    loopback_stop(m->server);
    loopback_free(m->server);
    assert_int_equal(m->failed, 0);
    pthread_barrier_destroy(&m->round);
    pthread_barrier_destroy(&m->all_here);
    pthread_cond_destroy(&m->cond);
    pthread_mutex_destroy(&m->mu);
}

static void *start_rounds(void *ctx)
{
    struct meeting *m = ctx;
    for (unsigned r = 0; r < ROUNDS; r++) {
        pthread_barrier_wait(&m->round);
        for (unsigned i = 0; i < THREADS / STARTERS; i++)
            start_one(m);
        wait_done(m, (r + 1) * THREADS); /* while the threads are just going to sleep, the next ones come */
    }
    return NULL;
}

static void as_many_files_as_threads_wake_them_all(void **state)
{
    static struct meeting m;
    pthread_t starters[STARTERS];
    (void)state;
    meeting_open(&m, MEET_OPENING);
    for (size_t i = 0; i < STARTERS; i++)
        assert_int_equal(pthread_create(&starters[i], NULL, start_rounds, &m), 0);
    for (size_t i = 0; i < STARTERS; i++)
        pthread_join(starters[i], NULL);
    meeting_close(&m);
}

static void one_file_wakes_one_thread(void **state)
{
    static struct meeting m;
    struct xfer_stats stats;
    (void)state;
    meeting_open(&m, MEET_NOWHERE);
    for (unsigned i = 0; i < ROUNDS; i++) {
        start_one(&m);
        wait_done(&m, i + 1);
    }
    xfer_stats(m.x, &stats);
    meeting_close(&m);
    assert_int_equal(stats.requests, ROUNDS);
    assert_in_range(stats.wake_ups, 1, ROUNDS);
}

static void the_end_of_a_hosts_rest_wakes_all_that_have_a_share_in_it(void **state)
{
    static struct meeting m;
    (void)state;
    meeting_open(&m, MEET_ASKING_AGAIN);
    start_one(&m);
    while (atomic_load(&m.group.retries) == 0)
        sched_yield();
    for (unsigned i = 1; i < THREADS; i++)
        start_one(&m);
    wait_done(&m, THREADS);
    meeting_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_many_files_as_threads_wake_them_all),
        cmocka_unit_test(one_file_wakes_one_thread),
        cmocka_unit_test(the_end_of_a_hosts_rest_wakes_all_that_have_a_share_in_it),
    };
    return cmocka_run_group_tests_name("xfer wake", tests, NULL, NULL);
}
