/* Thousands of small objects, queued by several threads and from within `done`. */
#include "loopback.h"

#include "xfer/xfer.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define OBJECTS 3000u
#define EACH    1000u
#define GROUPS  3u

/* One file in memory holds all of them, one behind the other: object i is EACH bytes of (char)i. */
struct crowd {
    struct xfer *x;
    struct loopback *server;
    struct xfer_group groups[GROUPS];
    atomic_uint next, done, failed;
    atomic_uint requests;
    int fds[OBJECTS];
    pthread_mutex_t mu;
    pthread_cond_t cond;
};

struct one {
    struct crowd *crowd;
    unsigned number;
};

static enum loopback_then serve(void *ctx, const char *text, struct buf *out)
{
    struct crowd *c = ctx;
    unsigned number = 0;
    atomic_fetch_add(&c->requests, 1);
    assert_int_equal(sscanf(text, "GET /o%u ", &number), 1);
    buf_addf(out, "HTTP/1.1 200 OK\r\nContent-Length: %u\r\n\r\n", EACH);
    for (unsigned i = 0; i < EACH; i++)
        buf_addc(out, (char)(number + i));
    return number % 500 == 7 ? LOOPBACK_CLOSE : LOOPBACK_KEEP;
}

static int request(void *ctx, uint64_t offset, uint64_t length, struct xfer_request *out, struct err *err)
{
    const struct one *o = ctx;
    (void)offset;
    (void)length;
    (void)err;
    buf_addf(&out->url, "http://127.0.0.1:%u/o%u", loopback_port(o->crowd->server), o->number);
    return 0;
}

static int open_sink(void *ctx, uint64_t size, int *fd, struct partmap **map, struct err *err)
{
    struct one *o = ctx;
    (void)size;
    *map = NULL;
    *fd = o->crowd->fds[o->number] = memfd_create("o", MFD_CLOEXEC);
    return *fd < 0 ? err_sys(err, "memfd") : 0;
}

static void start_next(struct crowd *c);

static bool file_is_right(const struct one *o)
{
    char got[EACH + 1];
    ssize_t n = pread(o->crowd->fds[o->number], got, sizeof got, 0);
    for (unsigned i = 0; n == EACH && i < EACH; i++) {
        if (got[i] != (char)(o->number + i))
            return false;
    }
    return n == EACH;
}

static void on_done(void *ctx, const struct xfer_result *result, const struct err *err)
{
    struct one *o = ctx;
    struct crowd *c = o->crowd;
    if (err || result->size != EACH || !file_is_right(o))
        atomic_fetch_add(&c->failed, 1);
    close(c->fds[o->number]);
    free(o);
    start_next(c);
    pthread_mutex_lock(&c->mu);
    if (atomic_fetch_add(&c->done, 1) + 1 == OBJECTS)
        pthread_cond_signal(&c->cond);
    pthread_mutex_unlock(&c->mu);
}

static const struct xfer_source source = {.request = request};
static const struct xfer_sink sink = {.open = open_sink};

static void start_next(struct crowd *c)
{
    unsigned number = atomic_fetch_add(&c->next, 1);
    struct err err = ERR_INIT;
    if (number >= OBJECTS)
        return;
    struct one *o = malloc(sizeof *o);
    if (!o)
        abort();
    *o = (struct one){.crowd = c, .number = number};
    struct xfer_get get = {.group = &c->groups[number % GROUPS],
                           .name = "o",
                           .size = EACH,
                           .source = &source,
                           .source_ctx = o,
                           .sink = &sink,
                           .sink_ctx = o,
                           .done = on_done,
                           .done_ctx = o};
    if (xfer_get_start(c->x, &get, &err) < 0)
        atomic_fetch_add(&c->failed, 1);
}

static void *start_some(void *ctx)
{
    for (unsigned i = 0; i < 300; i++)
        start_next(ctx);
    return NULL;
}

static void crowd_run(bool no_raw)
{
    static struct crowd c;
    struct err err = ERR_INIT;
    pthread_t starters[2];
    memset(&c, 0, sizeof c);
    pthread_mutex_init(&c.mu, NULL);
    pthread_cond_init(&c.cond, NULL);
    for (unsigned i = 0; i < GROUPS; i++)
        c.groups[i].policy.no_proxy_env = true;
    c.server = loopback_start(serve, &c, NULL);
    assert_int_equal(xfer_open(&c.x, &(struct xfer_opts){.threads = 4, .no_raw = no_raw}, &err), 0);
    for (size_t i = 0; i < ARRAY_LEN(starters); i++)
        assert_int_equal(pthread_create(&starters[i], NULL, start_some, &c), 0);
    for (size_t i = 0; i < ARRAY_LEN(starters); i++)
        pthread_join(starters[i], NULL);
    pthread_mutex_lock(&c.mu);
    while (atomic_load(&c.done) < OBJECTS)
        pthread_cond_wait(&c.cond, &c.mu);
    pthread_mutex_unlock(&c.mu);
    xfer_free(c.x);
    loopback_stop(c.server);
    assert_int_equal(atomic_load(&c.failed), 0);
    assert_int_equal(atomic_load(&c.requests), OBJECTS);
    uint64_t files = 0;
    for (unsigned i = 0; i < GROUPS; i++)
        files += atomic_load(&c.groups[i].files_done);
    assert_int_equal(files, OBJECTS);
    assert_true(loopback_connections(c.server) < 64);
    loopback_free(c.server);
    pthread_cond_destroy(&c.cond);
    pthread_mutex_destroy(&c.mu);
}

static void thousands_of_objects_take_one_request_each_over_few_connections(void **state)
{
    (void)state;
    crowd_run(false);
}

static void so_they_do_through_libcurl(void **state)
{
    (void)state;
    crowd_run(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thousands_of_objects_take_one_request_each_over_few_connections),
        cmocka_unit_test(so_they_do_through_libcurl),
    };
    return cmocka_run_group_tests_name("xfer many", tests, NULL, NULL);
}
