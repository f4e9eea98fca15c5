/* Leases, pins, age, quota: what stays and what goes. */
#include "fixture.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DAY_MS INT64_C(86400000)

static struct cache_gc_result gc(struct fixture *f, struct cache_gc_opts opts)
{
    struct err err = ERR_INIT;
    struct cache_gc_result result;
    assert_ok(cache_gc(f->c, &opts, &result, &err), err);
    return result;
}

/* One blob in one snapshot, held by a lease of its own that is given back. */
static struct cache_lease *hold(struct fixture *f, const char *key, size_t n, char id[SNAPSHOT_ID_MAX])
{
    struct err err = ERR_INIT;
    struct cache_lease *l;
    assert_ok(cache_lease_new(f->c, key, &l, &err), err);
    struct cache_blob b = store(f->c, l, key, 1 + (unsigned)key[0], n, true);
    snapshot_of(f->c, l, &b, 1, id);
    return l;
}

static void what_is_leased_or_pinned_stays_the_rest_goes(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    char a[SNAPSHOT_ID_MAX], b[SNAPSHOT_ID_MAX], c[SNAPSHOT_ID_MAX];
    struct cache_lease *la = hold(f, "a", 100, a);
    cache_lease_free(hold(f, "b", 200, b));
    cache_lease_free(hold(f, "c", 300, c));
    assert_ok(cache_pin(f->c, b, "user", &err), err);
    struct cache_gc_result r = gc(f, (struct cache_gc_opts){.all = true});
    assert_int_equal(r.snapshots, 1);
    assert_int_equal(r.blobs, 1);
    assert_int_equal(r.bytes, 300);
    assert_true(is_stored(f->c, "a") && is_stored(f->c, "b") && !is_stored(f->c, "c"));
    assert_agreement(f);
    assert_ok(cache_unpin(f->c, b, "user", &err), err);
    cache_lease_free(la);
    r = gc(f, (struct cache_gc_opts){.all = true});
    assert_int_equal(r.blobs, 2);
    assert_int_equal(files_below(f, "blobs") + files_below(f, "views"), 0);
}

static void a_dry_run_tells_the_same_and_changes_nothing(void **state)
{
    struct fixture *f = *state;
    char a[SNAPSHOT_ID_MAX], b[SNAPSHOT_ID_MAX];
    cache_lease_free(hold(f, "a", 100, a));
    cache_lease_free(hold(f, "b", 200, b));
    struct cache_gc_result dry = gc(f, (struct cache_gc_opts){.all = true, .dry_run = true});
    assert_true(is_stored(f->c, "a") && is_stored(f->c, "b"));
    assert_agreement(f);
    struct cache_gc_result wet = gc(f, (struct cache_gc_opts){.all = true});
    assert_memory_equal(&dry, &wet, sizeof dry);
    assert_int_equal(wet.bytes, 300);
}

static void what_was_downloaded_a_day_ago_may_go_even_if_used_since(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct cache_entry e = {.identity = "input"}, got;
    bool found;
    cache_lease_free(hold(f, "a", 100, e.snapshot));
    assert_ok(cache_entry_put(f->c, &e, &err), err);
    f->now_ms += DAY_MS;
    assert_ok(cache_entry_get(f->c, NULL, "input", e.scope, &got, &found, &err), err);
    assert_true(found && !got.expired);
    assert_int_equal(gc(f, (struct cache_gc_opts){0}).snapshots, 0);
    f->now_ms += 1;
    assert_ok(cache_entry_get(f->c, f->lease, "input", e.scope, &got, &found, &err), err);
    assert_true(found && got.expired);
    assert_int_equal(gc(f, (struct cache_gc_opts){0}).snapshots, 0); /* leased by the look just now */
    cache_lease_free(f->lease);
    f->lease = NULL;
    assert_int_equal(gc(f, (struct cache_gc_opts){0}).snapshots, 1);
    assert_false(is_stored(f->c, "a"));
}

static void the_least_recently_used_goes_first(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    char id[3][SNAPSHOT_ID_MAX];
    struct cache_entry e = {.identity = "a"}, got;
    bool found;
    cache_lease_free(hold(f, "a", 1000, id[0]));
    strcpy(e.snapshot, id[0]);
    assert_ok(cache_entry_put(f->c, &e, &err), err);
    f->now_ms += 10;
    cache_lease_free(hold(f, "b", 1000, id[1]));
    f->now_ms += 10;
    cache_lease_free(hold(f, "c", 1000, id[2]));
    f->now_ms += 10;
    assert_ok(cache_entry_get(f->c, NULL, "a", e.scope, &got, &found, &err), err);
    struct cache_gc_result r = gc(f, (struct cache_gc_opts){.need_bytes = 1});
    assert_int_equal(r.bytes, 1000);
    assert_true(is_stored(f->c, "a") && !is_stored(f->c, "b") && is_stored(f->c, "c"));
    gc(f, (struct cache_gc_opts){.need_bytes = 1});
    assert_true(is_stored(f->c, "a") && !is_stored(f->c, "c"));
}

static void a_blob_that_another_snapshot_shares_stays(void **state)
{
    struct fixture *f = *state;
    char one[SNAPSHOT_ID_MAX], two[SNAPSHOT_ID_MAX];
    struct err err = ERR_INIT;
    uint64_t freed;
    struct cache_blob blobs[] = {store(f->c, f->lease, "a", 1, 10, true), store(f->c, f->lease, "b", 2, 10, true)};
    snapshot_of(f->c, NULL, blobs, 2, one);
    snapshot_of(f->c, NULL, blobs, 1, two);
    cache_lease_free(f->lease);
    f->lease = NULL;
    assert_ok(cache_remove(f->c, one, false, &freed, &err), err);
    assert_int_equal(freed, 10);
    assert_true(is_stored(f->c, "a") && !is_stored(f->c, "b"));
    assert_agreement(f);
}

static void room_is_made_before_a_download_and_reserved(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    char id[SNAPSHOT_ID_MAX];
    fixture_close(f);
    f->opts.max_bytes = 1000;
    fixture_open(f);
    cache_lease_free(hold(f, "a", 600, id));
    assert_ok(cache_reserve(f->c, f->lease, 700, 1, &err), err);
    assert_false(is_stored(f->c, "a"));
    assert_int_equal(cache_reserve(f->c, f->lease, 301, 1, &err), -1);
    assert_int_equal(err.kind, ERR_NOSPACE);
    assert_non_null(strstr(err.text, "301 B needed"));
    assert_non_null(strstr(err.text, "300 B to be had"));
    err_clear(&err);
    store(f->c, f->lease, "b", 1, 700, true); /* uses the reservation up */
    assert_ok(cache_fill_flush(f->c, &err), err);
    assert_ok(cache_reserve(f->c, f->lease, 300, 1, &err), err);
    cache_lease_free(f->lease);
    assert_ok(cache_lease_new(f->c, "next", &f->lease, &err), err);
    assert_ok(cache_reserve(f->c, f->lease, 1000, 1, &err), err);
}

static void what_holds_the_room_is_said(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    char id[SNAPSHOT_ID_MAX], pinned[SNAPSHOT_ID_MAX];
    fixture_close(f);
    f->opts.max_bytes = 4096;
    fixture_open(f);
    struct cache_lease *l = hold(f, "a", 2048, id);
    cache_lease_free(hold(f, "b", 1024, pinned));
    assert_ok(cache_pin(f->c, pinned, "user", &err), err);
    assert_int_equal(cache_reserve(f->c, f->lease, 2048, 1, &err), -1);
    assert_non_null(strstr(err.text, "running jobs hold 2.0 KiB"));
    assert_non_null(strstr(err.text, "pins 1.0 KiB"));
    assert_non_null(strstr(err.hint, "unpin"));
    cache_lease_free(l);
}

static void a_floor_of_free_space_is_kept(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    fixture_close(f);
    f->opts.min_free_bytes = UINT64_MAX - 1;
    fixture_open(f);
    assert_int_equal(cache_reserve(f->c, f->lease, 1, 1, &err), -1);
    assert_int_equal(err.kind, ERR_NOSPACE);
}

struct dying {
    struct fixture *f;
    const char *container;
};

static void hold_and_die(void *ctx)
{
    struct dying *d = ctx;
    struct err err = ERR_INIT;
    struct cache_blob b;
    char id[SNAPSHOT_ID_MAX];
    fixture_open(d->f);
    b = store(d->f->c, d->f->lease, "a", 1, 10, true);
    snapshot_of(d->f->c, d->f->lease, &b, 1, id);
    if (d->container)
        assert_ok(cache_lease_set_container(d->f->lease, "unix:///run/an.engine", d->container, &err), err);
    raise(SIGKILL);
}

static enum cache_container told(void *ctx, const char *engine, const char *container)
{
    assert_string_equal(engine, "unix:///run/an.engine");
    assert_string_equal(container, "box");
    return *(enum cache_container *)ctx;
}

static void the_lease_of_a_dead_process_holds_nothing(void **state)
{
    struct fixture *f = *state;
    fixture_close(f);
    assert_int_equal(child_wait(child_start(hold_and_die, &(struct dying){f, NULL})), -SIGKILL);
    fixture_open(f);
    assert_int_equal(index_number(f, "SELECT count(*) FROM leases"), 1); /* ours */
    assert_int_equal(gc(f, (struct cache_gc_opts){.all = true}).snapshots, 1);
    assert_int_equal(files_below(f, "leases"), 1);
}

static void a_dead_process_keeps_its_lease_until_its_container_is_known_to_be_gone(void **state)
{
    struct fixture *f = *state;
    enum cache_container is = CACHE_CONTAINER_LIVES;
    fixture_close(f);
    assert_int_equal(child_wait(child_start(hold_and_die, &(struct dying){f, "box"})), -SIGKILL);
    fixture_open(f);
    struct cache_gc_opts ask = {.all = true, .container = told, .ctx = &is};
    assert_int_equal(gc(f, ask).snapshots, 0);
    is = CACHE_CONTAINER_UNKNOWN;
    assert_int_equal(gc(f, ask).snapshots, 0);
    assert_int_equal(gc(f, (struct cache_gc_opts){.all = true}).snapshots, 0);
    assert_int_equal(index_number(f, "SELECT count(*) FROM leases"), 2);
    is = CACHE_CONTAINER_GONE;
    assert_int_equal(gc(f, ask).snapshots, 1);
    assert_int_equal(index_number(f, "SELECT count(*) FROM leases"), 1);
    assert_agreement(f);
}

static void no_container_of_an_earlier_boot_keeps_a_lease(void **state)
{
    struct fixture *f = *state;
    fixture_close(f);
    assert_int_equal(child_wait(child_start(hold_and_die, &(struct dying){f, "box"})), -SIGKILL);
    fixture_open(f);
    assert_int_equal(gc(f, (struct cache_gc_opts){.all = true}).snapshots, 0);
    index_do(f, "UPDATE leases SET boot = boot + 2");
    assert_int_equal(gc(f, (struct cache_gc_opts){.all = true}).snapshots, 1);
    assert_agreement(f);
}

static void a_lease_on_blobs_looked_up_holds_them_too(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct cache_origin origin = origin_of("a", "v1", 10);
    struct cache_blob found;
    store(f->c, NULL, "a", 1, 10, true);
    assert_ok(cache_fill_flush(f->c, &err), err);
    assert_ok(cache_lookup(f->c, f->lease, &origin, 1, &found, &err), err);
    assert_true(found.found);
    assert_int_equal(gc(f, (struct cache_gc_opts){.all = true}).blobs, 0);
    cache_lease_free(f->lease);
    f->lease = NULL;
    assert_int_equal(gc(f, (struct cache_gc_opts){.all = true}).blobs, 1);
}

static void partials_are_swept_unless_somebody_fetches(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct cache_fill *left, *going;
    struct cache_blob hit;
    enum cache_fill_state st;
    struct partmap *map;
    int fd;
    struct cache_origin a = origin_of("a", "v1", 100000), b = origin_of("b", "v1", 100000);
    assert_ok(cache_fill_begin(f->c, f->lease, &a, &left, &hit, &st, &err), err);
    assert_ok(cache_fill_open(left, 100000, 10000, &fd, &map, &err), err);
    cache_fill_abandon(left, true);
    assert_ok(cache_fill_begin(f->c, f->lease, &b, &going, &hit, &st, &err), err);
    assert_ok(cache_fill_open(going, 100000, 10000, &fd, &map, &err), err);
    assert_int_equal(files_below(f, "partial"), 4);
    f->now_ms = 0; /* long before the partials were made */
    assert_int_equal(gc(f, (struct cache_gc_opts){0}).partials, 0);
    assert_int_equal(gc(f, (struct cache_gc_opts){.all = true}).partials, 1);
    assert_int_equal(files_below(f, "partial"), 2);
    cache_fill_abandon(going, false);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_is_leased_or_pinned_stays_the_rest_goes),
        TEST(a_dry_run_tells_the_same_and_changes_nothing),
        TEST(what_was_downloaded_a_day_ago_may_go_even_if_used_since),
        TEST(the_least_recently_used_goes_first),
        TEST(a_blob_that_another_snapshot_shares_stays),
        TEST(room_is_made_before_a_download_and_reserved),
        TEST(what_holds_the_room_is_said),
        TEST(a_floor_of_free_space_is_kept),
        TEST(the_lease_of_a_dead_process_holds_nothing),
        TEST(a_dead_process_keeps_its_lease_until_its_container_is_known_to_be_gone),
        TEST(no_container_of_an_earlier_boot_keeps_a_lease),
        TEST(a_lease_on_blobs_looked_up_holds_them_too),
        TEST(partials_are_swept_unless_somebody_fetches),
    };
    return cmocka_run_group_tests_name("cache evict", tests, NULL, NULL);
}
