/* Many processes and threads at one cache. */
#include "fixture.h"

#include "base/fs.h"
#include "base/rng.h"

#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROCESSES 4
#define THREADS   3
#define KEYS      200

struct shared {
    atomic_int fetched[KEYS];
    atomic_bool over; /* the eviction race */
    atomic_int evicted;
};

static struct shared *shared_new(void)
{
    void *p = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(p != MAP_FAILED);
    return p;
}

struct worker {
    struct fixture *f;
    struct shared *shared;
    unsigned seed;
    bool hashed;
    pthread_t thread;
};

static size_t size_of(unsigned key)
{
    return 50 + key * 7 % 400;
}

/* Have the blob, whoever fetches it. */
static struct cache_blob obtain(struct worker *w, struct cache_lease *l, unsigned key)
{
    char name[32], content[500];
    struct err err = ERR_INIT;
    snprintf(name, sizeof name, "key-%u", key);
    size_t n = size_of(key);
    struct cache_origin origin = origin_of(name, "v1", n);
    for (;;) {
        struct cache_fill *fill;
        struct cache_blob blob;
        enum cache_fill_state state;
        assert_ok(cache_fill_begin(w->f->c, l, &origin, &fill, &blob, &state, &err), err);
        if (state == CACHE_FILL_HIT)
            return blob;
        if (state == CACHE_FILL_BUSY) {
            assert_ok(cache_fill_wait(w->f->c, &origin, NULL, &err), err);
            continue;
        }
        struct cache_verified how = {.has_sha256 = w->hashed};
        struct partmap *map;
        int fd;
        atomic_fetch_add(&w->shared->fetched[key], 1);
        content_of(key + 1, content, n);
        assert_ok(digest_bytes(DIGEST_SHA256, content, n, &how.sha256, &err), err);
        assert_ok(cache_fill_open(fill, n, 0, &fd, &map, &err), err);
        assert_ok(fs_pwrite_all(fd, content, n, 0, &err), err);
        assert_ok(cache_fill_commit(fill, NULL, n, &how, &blob, &err), err);
        return blob;
    }
}

static void run_threads(struct fixture *f, struct shared *shared, unsigned seed, bool hashed, void *(*work)(void *))
{
    struct worker w[THREADS];
    fixture_open(f);
    for (unsigned i = 0; i < THREADS; i++) {
        w[i] = (struct worker){f, shared, seed * THREADS + i + 1, hashed, 0};
        assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(w[i].thread, NULL), 0);
    fixture_close(f);
}

struct process {
    struct fixture *f;
    struct shared *shared;
    unsigned seed;
    bool hashed;
    void *(*work)(void *);
};

static void process_main(void *ctx)
{
    struct process *p = ctx;
    run_threads(p->f, p->shared, p->seed, p->hashed, p->work);
}

static void *obtain_all(void *ctx)
{
    struct worker *w = ctx;
    struct rng rng = {.state = w->seed};
    unsigned start = (unsigned)rng_below(&rng, KEYS), step = 1 + 2 * (unsigned)rng_below(&rng, 30);
    if (step % 5 == 0)
        step += 2; /* KEYS is 2^3 * 5^2: every key is visited */
    for (unsigned i = 0; i < KEYS; i++)
        obtain(w, w->f->lease, (start + i * step) % KEYS);
    return NULL;
}

static void each_object_is_fetched_once_by_all_processes_together(void **state)
{
    struct fixture *f = *state;
    for (unsigned hashed = 0; hashed < 2; hashed++) {
        struct shared *shared = shared_new();
        struct process p[PROCESSES];
        pid_t pid[PROCESSES];
        fixture_close(f);
        snprintf(f->cache, sizeof f->cache, "%s/cache-%u", f->dir, hashed);
        for (unsigned i = 0; i < PROCESSES; i++) {
            p[i] = (struct process){f, shared, i, hashed, obtain_all};
            pid[i] = child_start(process_main, &p[i]);
        }
        for (unsigned i = 0; i < PROCESSES; i++)
            assert_int_equal(child_wait(pid[i]), 0);
        for (unsigned i = 0; i < KEYS; i++)
            assert_int_equal(atomic_load(&shared->fetched[i]), 1);
        fixture_open(f);
        assert_int_equal(index_number(f, "SELECT count(*) FROM origins"), KEYS);
        assert_agreement(f);
        munmap(shared, sizeof *shared);
    }
}

/* Jobs that want a few files each, under a quota that holds only a part of all, against each other and a collector. */

#define JOB_FILES  12
#define JOB_ROUNDS 15

static void check_view(struct worker *w, const char *id, const unsigned *keys)
{
    struct err err = ERR_INIT;
    AUTO_BUF view;
    buf_init(&view, 4096);
    assert_ok(cache_snapshot_view(w->f->c, id, &view, &err), err);
    for (unsigned i = 0; i < JOB_FILES; i++) {
        char path[512], want[500], got[500];
        snprintf(path, sizeof path, "%s/d%u/f%u", buf_str(&view), i % 10, i);
        size_t n = size_of(keys[i]);
        AUTO_FD fd = open(path, O_RDONLY);
        assert_true(fd >= 0);
        content_of(keys[i] + 1, want, n);
        assert_int_equal(read(fd, got, sizeof got), n);
        assert_memory_equal(got, want, n);
    }
}

static void one_job(struct worker *w, struct rng *rng)
{
    struct err err = ERR_INIT;
    struct cache_lease *l;
    struct cache_blob blobs[JOB_FILES];
    unsigned keys[JOB_FILES];
    char id[SNAPSHOT_ID_MAX];
    uint64_t bytes = 0;
    assert_ok(cache_lease_new(w->f->c, "racer", &l, &err), err);
    for (unsigned i = 0; i < JOB_FILES; i++) {
        keys[i] = (unsigned)rng_below(rng, KEYS);
        bytes += size_of(keys[i]);
    }
    if (cache_reserve(w->f->c, l, bytes, JOB_FILES, &err) < 0)
        assert_int_equal(err.kind, ERR_NOSPACE); /* the others hold it all; a real job would fail */
    for (unsigned i = 0; i < JOB_FILES; i++)
        blobs[i] = obtain(w, l, keys[i]);
    snapshot_of(w->f->c, l, blobs, JOB_FILES, id);
    check_view(w, id, keys);
    cache_lease_free(l);
}

static void *run_jobs(void *ctx)
{
    struct worker *w = ctx;
    struct rng rng = {.state = w->seed};
    for (unsigned i = 0; i < JOB_ROUNDS; i++)
        one_job(w, &rng);
    return NULL;
}

static void collect(void *ctx)
{
    struct process *p = ctx;
    struct err err = ERR_INIT;
    struct cache_gc_opts all = {.all = true};
    struct cache_gc_result result;
    fixture_open(p->f);
    while (!atomic_load(&p->shared->over)) {
        assert_ok(cache_gc(p->f->c, &all, &result, &err), err);
        atomic_fetch_add(&p->shared->evicted, (int)result.blobs);
    }
    fixture_close(p->f);
}

static void nothing_leased_is_ever_evicted(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    for (unsigned hashed = 0; hashed < 2; hashed++) {
        struct shared *shared = shared_new();
        struct process p[PROCESSES];
        pid_t pid[PROCESSES];
        fixture_close(f);
        f->opts.max_bytes = 20000;
        for (unsigned i = 0; i < PROCESSES; i++) {
            p[i] = (struct process){f, shared, i, hashed, run_jobs};
            pid[i] = child_start(i ? process_main : collect, &p[i]);
        }
        int failed = 0;
        for (unsigned i = 1; i < PROCESSES; i++)
            failed |= child_wait(pid[i]);
        atomic_store(&shared->over, true);
        assert_int_equal(child_wait(pid[0]) | failed, 0);
        assert_true(atomic_load(&shared->evicted) > 0);
        fixture_open(f);
        struct cache_verify_result v;
        assert_ok(cache_verify(f->c, &(struct cache_verify_opts){.repair = true}, &v, &err), err);
        assert_int_equal(v.damaged + v.missing, 0);
        assert_agreement(f);
        munmap(shared, sizeof *shared);
    }
}

static void *make_the_same(void *ctx)
{
    struct worker *w = ctx;
    struct cache_blob blobs[JOB_FILES];
    char id[SNAPSHOT_ID_MAX];
    unsigned keys[JOB_FILES];
    for (unsigned i = 0; i < JOB_FILES; i++) {
        keys[i] = i;
        blobs[i] = obtain(w, w->f->lease, i);
    }
    snapshot_of(w->f->c, w->f->lease, blobs, JOB_FILES, id);
    check_view(w, id, keys);
    return NULL;
}

static void makers_of_one_snapshot_share_one_view(void **state)
{
    struct fixture *f = *state;
    struct shared *shared = shared_new();
    struct process p[PROCESSES];
    pid_t pid[PROCESSES];
    fixture_close(f);
    for (unsigned i = 0; i < PROCESSES; i++) {
        p[i] = (struct process){f, shared, i, true, make_the_same};
        pid[i] = child_start(process_main, &p[i]);
    }
    for (unsigned i = 0; i < PROCESSES; i++)
        assert_int_equal(child_wait(pid[i]), 0);
    fixture_open(f);
    assert_int_equal(index_number(f, "SELECT count(*) FROM snapshots"), 1);
    assert_int_equal(files_below(f, "views"), JOB_FILES);
    assert_agreement(f);
    munmap(shared, sizeof *shared);
}

struct fetcher {
    struct fixture *f;
    int ready; /* written when two parts are there */
};

static void fetch_half(void *ctx)
{
    struct fetcher *t = ctx;
    struct err err = ERR_INIT;
    struct cache_origin origin = origin_of("big", "v1", 40000);
    struct cache_fill *fill;
    struct cache_blob hit;
    enum cache_fill_state state;
    struct partmap *map;
    int fd;
    fixture_open(t->f);
    assert_ok(cache_fill_begin(t->f->c, t->f->lease, &origin, &fill, &hit, &state, &err), err);
    assert_ok(cache_fill_open(fill, 40000, 10000, &fd, &map, &err), err);
    assert_ok(fs_pwrite_all(fd, "last", 4, 39996, &err), err);
    assert_ok(partmap_mark(map, 0, &err), err);
    assert_ok(partmap_mark(map, 3, &err), err);
    assert_int_equal(write(t->ready, "!", 1), 1);
    for (;;)
        pause();
}

static void when_the_fetcher_dies_the_next_goes_on_where_it_stopped(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct cache_origin origin = origin_of("big", "v1", 40000);
    struct cache_fill *fill;
    struct cache_blob hit;
    enum cache_fill_state st;
    struct partmap *map;
    int fd, ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    fixture_close(f);
    pid_t pid = child_start(fetch_half, &(struct fetcher){f, ready[1]});
    assert_int_equal(read(ready[0], &byte, 1), 1);
    fixture_open(f);
    assert_ok(cache_fill_begin(f->c, f->lease, &origin, &fill, &hit, &st, &err), err);
    assert_int_equal(st, CACHE_FILL_BUSY);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_ok(cache_fill_wait(f->c, &origin, NULL, &err), err);
    assert_int_equal(child_wait(pid), -SIGKILL);
    assert_ok(cache_fill_begin(f->c, f->lease, &origin, &fill, &hit, &st, &err), err);
    assert_int_equal(st, CACHE_FILL_MINE);
    assert_ok(cache_fill_open(fill, 40000, 10000, &fd, &map, &err), err);
    assert_true(partmap_has(map, 0) && partmap_has(map, 3) && !partmap_has(map, 1));
    cache_fill_abandon(fill, false);
    close(ready[0]);
    close(ready[1]);
}

/* --- one content, two origins, and a disk that is full for the second --------------------------------------------- */

struct pause {
    pthread_t test;
    sem_t inside, go;
    atomic_bool armed;
};

/* The clock, which the writer's thread looks at in the middle of its transaction. */
static int64_t paused_now(void *ctx)
{
    struct pause *p = ctx;
    if (!pthread_equal(pthread_self(), p->test) && atomic_exchange(&p->armed, false)) {
        sem_post(&p->inside);
        sem_wait(&p->go);
    }
    return 1700000000000;
}

static void what_cannot_be_indexed_leaves_the_file_to_who_was(void **state)
{
    struct fixture *f = *state;
    struct pause p = {.test = pthread_self(), .armed = true};
    struct err err = ERR_INIT;
    struct cache_blob one, two;
    char path[256];
    fixture_close(f);
    assert_int_equal(sem_init(&p.inside, 0, 0), 0);
    assert_int_equal(sem_init(&p.go, 0, 0), 0);
    f->opts.now_ms = paused_now;
    f->opts.now_ctx = &p;
    fixture_open(f);
    index_do(f, "CREATE TRIGGER full BEFORE INSERT ON origins WHEN EXISTS (SELECT 1 FROM origins) "
                "BEGIN SELECT RAISE(ABORT, 'as if the disk were full'); END");
    assert_ok(try_store(f->c, f->lease, "one", 7, 1000, true, &one, &err), err);
    sem_wait(&p.inside); /* its row is being written, and cannot be seen yet */
    assert_ok(try_store(f->c, f->lease, "two", 7, 1000, true, &two, &err), err);
    sem_post(&p.go);
    assert_string_equal(one.id, two.id);
    assert_int_equal(cache_fill_flush(f->c, &err), -1);
    assert_true(is_stored(f->c, "one"));
    assert_false(is_stored(f->c, "two"));
    assert_int_equal(access(blob_path(f, one.id, path), F_OK), 0);
    assert_agreement(f);
    fixture_close(f);
    sem_destroy(&p.inside);
    sem_destroy(&p.go);
    f->opts.now_ms = NULL;
    fixture_open(f);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(each_object_is_fetched_once_by_all_processes_together),
        TEST(nothing_leased_is_ever_evicted),
        TEST(makers_of_one_snapshot_share_one_view),
        TEST(when_the_fetcher_dies_the_next_goes_on_where_it_stopped),
        TEST(what_cannot_be_indexed_leaves_the_file_to_who_was),
    };
    return cmocka_run_group_tests_name("cache race", tests, NULL, NULL);
}
