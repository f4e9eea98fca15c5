/* What other machines may be given, and partials whose bytes came from several places. */
#include "fixture.h"

#include "base/fs.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define SIZE 5000

struct seen {
    char ids[8][BLOB_ID_MAX];
    size_t n;
};

static int note(void *ctx, const char *sha256, struct err *err)
{
    struct seen *s = ctx;
    (void)err;
    assert_true(s->n < 8);
    snprintf(s->ids[s->n++], BLOB_ID_MAX, "%s", sha256);
    return 0;
}

static int stop(void *ctx, const char *sha256, struct err *err)
{
    note(ctx, sha256, err);
    return err_set(err, ERR_LIMIT, "enough");
}

static void only_blobs_known_by_their_sha256_are_listed_the_newest_first(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct seen all = {.n = 0}, few = {.n = 0}, one = {.n = 0};
    struct cache_blob a = store(f->c, f->lease, "a", 1, SIZE, true);
    store(f->c, f->lease, "b", 2, SIZE, false);
    assert_ok(cache_fill_flush(f->c, &err), err);
    struct cache_blob c = store(f->c, f->lease, "c", 3, SIZE, true);
    assert_ok(cache_fill_flush(f->c, &err), err);
    assert_ok(cache_blobs(f->c, SIZE_MAX, note, &all, &err), err);
    assert_int_equal(all.n, 2);
    assert_string_equal(all.ids[0], c.id);
    assert_string_equal(all.ids[1], a.id);
    assert_ok(cache_blobs(f->c, 1, note, &few, &err), err);
    assert_int_equal(few.n, 1);
    assert_int_equal(cache_blobs(f->c, SIZE_MAX, stop, &one, &err), -1);
    assert_int_equal(err.kind, ERR_LIMIT);
    assert_int_equal(one.n, 1);
}

static int open_as(struct fixture *f, const char *key, const char *version, const char *sha256, int *fd)
{
    struct err err = ERR_INIT;
    uint64_t size = 0;
    const struct cache_origin origin = origin_of(key, version, SIZE);
    int rc = cache_blob_open(f->c, &origin, sha256, fd, &size, &err);
    assert_true(rc == 0 || err.kind == ERR_NOTFOUND);
    assert_true(rc < 0 || size == SIZE);
    return rc;
}

static void a_blob_opens_for_who_names_its_digest_and_where_it_came_from(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    char want[SIZE], got[SIZE], path[256];
    int fd = -1;
    struct cache_blob a = store(f->c, f->lease, "a", 1, SIZE, true), b = store(f->c, f->lease, "b", 2, SIZE, true);
    struct cache_blob plain = store(f->c, f->lease, "plain", 3, SIZE, false);
    assert_ok(cache_fill_flush(f->c, &err), err);
    assert_int_equal(open_as(f, "b", "v1", a.id, &fd), -1);
    assert_int_equal(open_as(f, "a", "v2", a.id, &fd), -1);
    assert_int_equal(open_as(f, "a", NULL, a.id, &fd), -1);
    assert_int_equal(open_as(f, "a", "v1", b.id, &fd), -1);
    assert_int_equal(open_as(f, "nowhere", "v1", a.id, &fd), -1);
    assert_int_equal(open_as(f, "plain", "v1", plain.id, &fd), -1);
    assert_int_equal(open_as(f, "a", "v1", a.id, &fd), 0);
    unlink(blob_path(f, a.id, path));
    content_of(1, want, sizeof want);
    assert_ok(fs_pread_all(fd, got, sizeof got, 0, &err), err);
    assert_memory_equal(got, want, SIZE);
    close(fd);
}

static struct cache_fill *begin(struct fixture *f, const struct digest_value *bound, struct partmap **map)
{
    struct err err = ERR_INIT;
    struct cache_fill *fill = NULL;
    struct cache_blob hit;
    enum cache_fill_state state;
    int fd;
    const struct cache_origin origin = origin_of("big", "v1", 100000);
    assert_ok(cache_fill_begin(f->c, f->lease, &origin, &fill, &hit, &state, &err), err);
    assert_int_equal(state, CACHE_FILL_MINE);
    if (bound)
        cache_fill_bind(fill, bound);
    assert_ok(cache_fill_open(fill, 100000, 10000, &fd, map, &err), err);
    assert_ok(fs_pwrite_all(fd, "x", 1, 9999, &err), err);
    return fill;
}

static void parts_are_resumed_only_under_the_digest_they_will_be_checked_against(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct partmap *map;
    const struct digest_value one = {.kind = DIGEST_SHA256, .bytes = {1}}, two = {.kind = DIGEST_SHA256, .bytes = {2}};
    struct cache_fill *fill = begin(f, &one, &map);
    assert_ok(partmap_mark(map, 0, &err), err);
    cache_fill_abandon(fill, true);
    fill = begin(f, &one, &map);
    assert_true(partmap_has(map, 0));
    cache_fill_abandon(fill, true);
    fill = begin(f, &two, &map);
    assert_false(partmap_has(map, 0));
    assert_ok(partmap_mark(map, 0, &err), err);
    cache_fill_abandon(fill, true);
    fill = begin(f, NULL, &map);
    assert_false(partmap_has(map, 0));
    cache_fill_abandon(fill, false);
}

static void a_wiped_fill_starts_anew(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct partmap *map;
    int fd;
    struct cache_fill *fill = begin(f, NULL, &map);
    assert_ok(partmap_mark(map, 0, &err), err);
    cache_fill_wipe(fill);
    assert_int_equal(files_below(f, "partial"), 0);
    assert_ok(cache_fill_open(fill, 100000, 10000, &fd, &map, &err), err);
    assert_false(partmap_has(map, 0));
    cache_fill_wipe(fill);
    cache_fill_abandon(fill, true);
    assert_int_equal(files_below(f, "partial"), 0);
    assert_agreement(f);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(only_blobs_known_by_their_sha256_are_listed_the_newest_first),
        TEST(a_blob_opens_for_who_names_its_digest_and_where_it_came_from),
        TEST(parts_are_resumed_only_under_the_digest_they_will_be_checked_against),
        TEST(a_wiped_fill_starts_anew),
    };
    return cmocka_run_group_tests_name("cache share", tests, NULL, NULL);
}
