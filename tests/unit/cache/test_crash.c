/* Kill -9 at any instant: a child works on the cache and is killed after a seeded number of steps, wherever it is by
 * then; what it leaves must hold without repair what is promised without repair, and all of it after. */
#include "fixture.h"

#include "base/fs.h"
#include "base/rng.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS     50
#define STEPS_MAX  60
#define KEYS       80
#define FILES      15
#define PARTS      UINT64_C(12)
#define PART_BYTES 1000
#define NO_TRACE   77

struct work {
    struct fixture *f;
    unsigned seed;
    int steps; /* a byte is written for each */
};

static void step_snapshot(struct work *w, struct rng *rng)
{
    struct err err = ERR_INIT;
    struct cache_lease *l;
    struct cache_blob blobs[FILES];
    char id[SNAPSHOT_ID_MAX];
    assert_ok(cache_lease_new(w->f->c, "job", &l, &err), err);
    for (unsigned i = 0; i < FILES; i++) {
        char key[32];
        unsigned k = (unsigned)rng_below(rng, KEYS);
        snprintf(key, sizeof key, "key-%u", k);
        blobs[i] = store(w->f->c, l, key, k + 1, 100 + k, k % 3 != 0);
        /* The same key again in this round must be seen, or it would be busy by our own queue. */
        assert_ok(cache_fill_flush(w->f->c, &err), err);
    }
    snapshot_of(w->f->c, l, blobs, FILES, id);
    struct cache_entry e = {.identity = id};
    memcpy(e.snapshot, id, sizeof id);
    assert_ok(cache_entry_put(w->f->c, &e, &err), err);
    if (rng_below(rng, 4) == 0)
        assert_ok(cache_pin(w->f->c, id, "user", &err), err);
    cache_lease_free(l);
}

static struct cache_fill *begin_big(struct fixture *f, const char *key, int *fd, struct partmap **map)
{
    struct err err = ERR_INIT;
    struct cache_origin origin = origin_of(key, "v1", PARTS * PART_BYTES);
    struct cache_fill *fill;
    struct cache_blob hit;
    enum cache_fill_state state;
    assert_ok(cache_fill_begin(f->c, f->lease, &origin, &fill, &hit, &state, &err), err);
    assert_int_not_equal(state, CACHE_FILL_BUSY);
    if (fill)
        assert_ok(cache_fill_open(fill, PARTS * PART_BYTES, PART_BYTES, fd, map, &err), err);
    return fill;
}

static void write_part(int fd, struct partmap *map, uint64_t part)
{
    struct err err = ERR_INIT;
    uint64_t content[PART_BYTES / sizeof(uint64_t)];
    for (unsigned k = 0; k < ARRAY_LEN(content); k++)
        content[k] = part;
    assert_ok(fs_pwrite_all(fd, content, sizeof content, part * PART_BYTES, &err), err);
    assert_ok(partmap_mark(map, part, &err), err);
}

static void step_partial(struct work *w, struct rng *rng)
{
    struct partmap *map;
    int fd;
    struct cache_fill *fill = begin_big(w->f, "big", &fd, &map);
    for (int i = 0; i < 5; i++)
        write_part(fd, map, rng_below(rng, PARTS));
    cache_fill_abandon(fill, true);
}

static void step_collect(struct work *w, struct rng *rng)
{
    struct err err = ERR_INIT;
    struct cache_gc_opts opts = {.all = rng_below(rng, 3) == 0, .need_bytes = 500};
    struct cache_gc_result result;
    assert_ok(cache_gc(w->f->c, &opts, &result, &err), err);
}

static void work_until_killed(void *ctx)
{
    struct work *w = ctx;
    struct rng rng = {.state = w->seed};
    fixture_open(w->f);
    for (;;) {
        switch (rng_below(&rng, 4)) {
        case 0:
            step_collect(w, &rng);
            break;
        case 1:
            step_partial(w, &rng);
            break;
        default:
            step_snapshot(w, &rng);
            break;
        }
        assert_int_equal(write(w->steps, ".", 1), 1);
    }
}

static void kill_after(pid_t pid, int steps_fd, struct rng *rng)
{
    char byte;
    for (uint64_t n = 1 + rng_below(rng, STEPS_MAX); n; n--)
        assert_int_equal(read(steps_fd, &byte, 1), 1);
    for (volatile uint64_t spin = rng_below(rng, 3000000); spin; spin--) /* into the middle of a step */
        continue;
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(child_wait(pid), -SIGKILL);
}

/* What a partial's map claims is in the partial. */
static void assert_parts(struct fixture *f, const char *key)
{
    struct err err = ERR_INIT;
    struct partmap *map;
    int fd;
    struct cache_fill *fill = begin_big(f, key, &fd, &map);
    for (uint64_t part = 0, got; fill && part < PARTS; part++) {
        if (!partmap_has(map, part))
            continue;
        assert_ok(fs_pread_all(fd, &got, sizeof got, part * PART_BYTES, &err), err);
        assert_int_equal(got, part);
    }
    cache_fill_abandon(fill, true);
}

static void assert_rows_have_files(const struct fixture *f)
{
    /* Every row counts a file; files without rows are what a kill may leave. */
    assert_true(files_below(f, "blobs") >= index_number(f, "SELECT count(*) FROM blobs WHERE lost = 0"));
    assert_int_equal(index_number(f, "SELECT count(*) FROM blobs WHERE lost <> 0"), 0);
}

static void after_a_kill_at_any_instant_index_and_files_agree(void **state)
{
    struct fixture *f = *state;
    struct rng rng = {.state = 20261120};
    unsigned orphans = 0;
    fixture_close(f);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct err err = ERR_INIT;
        int steps[2];
        assert_int_equal(pipe(steps), 0);
        struct work w = {f, 1 + round, steps[1]};
        kill_after(child_start(work_until_killed, &w), steps[0], &rng);
        close(steps[0]);
        close(steps[1]);
        fixture_open(f);
        assert_rows_have_files(f);
        struct cache_verify_result v;
        assert_ok(cache_verify(f->c, &(struct cache_verify_opts){.repair = true}, &v, &err), err);
        assert_int_equal(v.damaged + v.missing, 0);
        orphans += (unsigned)v.orphans;
        assert_agreement(f);
        assert_int_equal(index_number(f, "SELECT count(*) FROM leases"), 1);
        assert_int_equal(index_number(f, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
        assert_parts(f, "big");
        fixture_close(f);
    }
    print_message("orphans left and removed: %u\n", orphans);
}

/* The same between any two system calls: a short life of a cache is run under ptrace and killed at its n-th call, for
 * many n. */

#define CALLS_STRIDE 4
#define CALLS_MAX    20000

static void one_big_file(struct fixture *f, const char *key, bool commit)
{
    struct err err = ERR_INIT;
    struct cache_verified how = {0};
    struct cache_blob blob;
    struct partmap *map;
    int fd;
    struct cache_fill *fill = begin_big(f, key, &fd, &map);
    for (uint64_t part = 0; part < PARTS; part += commit ? 1 : 5)
        write_part(fd, map, part);
    if (commit)
        assert_ok(cache_fill_commit(fill, NULL, PARTS * PART_BYTES, &how, &blob, &err), err);
    else
        cache_fill_abandon(fill, true);
}

static void one_life(void *ctx)
{
    struct work *w = ctx;
    struct err err = ERR_INIT;
    struct cache_gc_opts all = {.all = true};
    struct cache_gc_result result;
    struct cache_blob blobs[2];
    char id[SNAPSHOT_ID_MAX];
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
        _exit(NO_TRACE);
    raise(SIGSTOP);
    fixture_open(w->f);
    blobs[0] = store(w->f->c, w->f->lease, "a", 1, 100, true);
    blobs[1] = store(w->f->c, w->f->lease, "b", 2, 100, false);
    one_big_file(w->f, "whole", true);
    one_big_file(w->f, "half", false);
    snapshot_of(w->f->c, w->f->lease, blobs, 2, id);
    struct cache_entry e = {.identity = "input"};
    memcpy(e.snapshot, id, sizeof id);
    assert_ok(cache_entry_put(w->f->c, &e, &err), err);
    cache_lease_free(w->f->lease);
    w->f->lease = NULL;
    assert_ok(cache_gc(w->f->c, &all, &result, &err), err);
    assert_true(result.snapshots >= 1);
    fixture_close(w->f);
}

/* Let all threads run from call to call, until `n` have been made. True: it was killed; false: it had ended before. */
static bool kill_at_call(pid_t pid, unsigned n)
{
    const long options = PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL;
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == NO_TRACE)
        skip();
    assert_true(WIFSTOPPED(status));
    assert_int_equal(ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)options), 0);
    ptrace(PTRACE_SYSCALL, pid, NULL, NULL);
    for (unsigned i = 0; i < n;) {
        pid_t who = waitpid(-1, &status, __WALL);
        assert_true(who > 0);
        if (WIFSTOPPED(status)) {
            i += WSTOPSIG(status) == SIGTRAP;
            ptrace(PTRACE_SYSCALL, who, NULL, NULL);
        } else if (who == pid) {
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
            return false;
        }
    }
    assert_int_equal(kill(pid, SIGKILL), 0);
    while (waitpid(-1, &status, __WALL) > 0 || errno != ECHILD)
        continue;
    return true;
}

static void assert_whole_again(struct fixture *f)
{
    struct err err = ERR_INIT;
    struct cache_verify_result v;
    fixture_open(f);
    assert_rows_have_files(f);
    assert_ok(cache_verify(f->c, &(struct cache_verify_opts){.repair = true}, &v, &err), err);
    assert_int_equal(v.damaged + v.missing, 0);
    assert_agreement(f);
    assert_parts(f, "whole");
    assert_parts(f, "half");
    store(f->c, f->lease, "c", 3, 100, true);
    assert_true(is_stored(f->c, "c"));
    fixture_close(f);
}

static void after_a_kill_between_any_two_system_calls_index_and_files_agree(void **state)
{
    struct fixture *f = *state;
    unsigned lives = 0;
    bool killed = true;
    for (unsigned n = 1; killed && n < CALLS_MAX; n += CALLS_STRIDE) {
        fixture_close(f);
        snprintf(f->cache, sizeof f->cache, "%s/life-%u", f->dir, n);
        struct work w = {.f = f};
        killed = kill_at_call(child_start(one_life, &w), n);
        assert_whole_again(f);
        lives++;
    }
    assert_false(killed); /* the last one got to its end */
    print_message("killed at %u instants\n", lives - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(after_a_kill_at_any_instant_index_and_files_agree, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(after_a_kill_between_any_two_system_calls_index_and_files_agree, fixture_setup,
                                        fixture_teardown),
    };
    return cmocka_run_group_tests_name("cache crash", tests, NULL, NULL);
}
