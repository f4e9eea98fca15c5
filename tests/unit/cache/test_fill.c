#include "fixture.h"

#include "base/fs.h"
#include "xfer/xfer.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void a_stored_blob_is_found_by_its_origin_and_holds_its_bytes(void **state)
{
    struct fixture *f = *state;
    char path[256], want[1000], got[1000];
    struct err err = ERR_INIT;
    struct cache_blob blob = store(f->c, f->lease, "host/bucket/a", 7, sizeof want, false), found;
    struct cache_origin origin = origin_of("host/bucket/a", "v1", sizeof want);
    assert_ok(cache_fill_flush(f->c, &err), err);
    assert_ok(cache_lookup(f->c, f->lease, &origin, 1, &found, &err), err);
    assert_true(found.found);
    assert_string_equal(found.id, blob.id);
    assert_int_equal(found.size, sizeof want);
    content_of(7, want, sizeof want);
    int fd = open(blob_path(f, blob.id, path), O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, got, sizeof got), sizeof got);
    close(fd);
    assert_memory_equal(got, want, sizeof got);
    assert_int_equal(files_below(f, "partial"), 0);
    assert_agreement(f);
}

static void another_version_size_or_source_is_not_found(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    store(f->c, f->lease, "host/bucket/a", 7, 100, false);
    assert_ok(cache_fill_flush(f->c, &err), err);
    struct cache_origin origins[] = {
        origin_of("host/bucket/a", "v2", 100), origin_of("host/bucket/a", "v1", 101),
        origin_of("host/bucket/b", "v1", 100), origin_of("host/bucket/a", NULL, 100),
        {"hf", "host/bucket/a", "v1", 100},    origin_of("host/bucket/a", "v1", XFER_SIZE_UNKNOWN),
    };
    struct cache_blob found[6];
    assert_ok(cache_lookup(f->c, f->lease, origins, 6, found, &err), err);
    for (size_t i = 0; i < 5; i++)
        assert_false(found[i].found);
    assert_true(found[5].found);
}

static void two_origins_share_a_blob_only_by_a_verified_sha256(void **state)
{
    struct fixture *f = *state;
    struct cache_blob a = store(f->c, f->lease, "a", 1, 5000, true), b = store(f->c, f->lease, "b", 1, 5000, true);
    struct cache_blob c = store(f->c, f->lease, "c", 1, 5000, false), d = store(f->c, f->lease, "d", 1, 5000, false);
    assert_string_equal(a.id, b.id);
    assert_int_equal(strlen(a.id), 64);
    assert_int_equal(c.id[0], 'r');
    assert_string_not_equal(c.id, d.id);
    assert_true(is_stored(f->c, "a"));
    assert_true(is_stored(f->c, "b"));
    assert_int_equal(index_number(f, "SELECT count(*) FROM blobs"), 3);
    assert_agreement(f);
}

static void many_equal_files_in_a_row_become_one_blob(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 2000; i++) {
        char key[32];
        snprintf(key, sizeof key, "empty/%d", i);
        store(f->c, f->lease, key, 0, 0, true);
    }
    assert_true(is_stored(f->c, "empty/1999"));
    assert_int_equal(index_number(f, "SELECT count(*) FROM origins"), 2000);
    assert_int_equal(index_number(f, "SELECT count(*) FROM blobs"), 1);
    assert_agreement(f);
}

static void the_origin_being_fetched_is_busy_for_others_and_then_a_hit(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct cache_origin origin = origin_of("a", "v1", 3), other = origin_of("b", "v1", 3);
    struct cache_fill *mine, *second;
    struct cache_blob hit;
    struct cache_verified how = {0};
    enum cache_fill_state st;
    struct partmap *map;
    int fd;
    assert_ok(cache_fill_begin(f->c, f->lease, &origin, &mine, &hit, &st, &err), err);
    assert_int_equal(st, CACHE_FILL_MINE);
    assert_ok(cache_fill_begin(f->c, f->lease, &origin, &second, &hit, &st, &err), err);
    assert_int_equal(st, CACHE_FILL_BUSY);
    assert_null(second);
    assert_ok(cache_fill_begin(f->c, f->lease, &other, &second, &hit, &st, &err), err);
    assert_int_equal(st, CACHE_FILL_MINE);
    cache_fill_abandon(second, false);
    assert_ok(cache_fill_open(mine, 3, 0, &fd, &map, &err), err);
    assert_null(map);
    assert_ok(fs_pwrite_all(fd, "abc", 3, 0, &err), err);
    assert_ok(cache_fill_commit(mine, NULL, 3, &how, &hit, &err), err);
    assert_ok(cache_fill_wait(f->c, &origin, NULL, &err), err);
    assert_ok(cache_fill_begin(f->c, f->lease, &origin, &second, &hit, &st, &err), err);
    assert_int_equal(st, CACHE_FILL_HIT);
    assert_int_equal(hit.size, 3);
}

static void waiting_for_a_fetch_can_be_cancelled(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct cancel cancel;
    struct cache_origin origin = origin_of("a", "v1", 3);
    struct cache_fill *mine;
    struct cache_blob hit;
    enum cache_fill_state st;
    assert_ok(cancel_init(&cancel, &err), err);
    assert_ok(cache_fill_begin(f->c, f->lease, &origin, &mine, &hit, &st, &err), err);
    cancel_raise(&cancel, CANCEL_STOP);
    assert_int_equal(cache_fill_wait(f->c, &origin, &cancel, &err), -1);
    assert_int_equal(err.kind, ERR_CANCELLED);
    cache_fill_abandon(mine, false);
    cancel_release(&cancel);
}

static void a_file_of_another_size_than_stated_is_refused_and_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct cache_origin origin = origin_of("a", "v1", 10);
    struct cache_fill *fill;
    struct cache_blob hit;
    struct cache_verified how = {0};
    enum cache_fill_state st;
    struct partmap *map;
    int fd;
    assert_ok(cache_fill_begin(f->c, f->lease, &origin, &fill, &hit, &st, &err), err);
    assert_ok(cache_fill_open(fill, 10, 0, &fd, &map, &err), err);
    assert_ok(fs_pwrite_all(fd, "short", 5, 0, &err), err);
    assert_int_equal(cache_fill_commit(fill, NULL, 10, &how, &hit, &err), -1);
    assert_int_equal(err.kind, ERR_CORRUPT);
    assert_int_equal(files_below(f, "partial"), 0);
    assert_int_equal(files_below(f, "blobs"), 0);
    assert_false(is_stored(f->c, "a"));
}

static struct cache_fill *begin_parts(struct fixture *f, const char *version, int *fd, struct partmap **map)
{
    struct err err = ERR_INIT;
    struct cache_origin origin = origin_of("big", version, 100000);
    struct cache_fill *fill;
    struct cache_blob hit;
    enum cache_fill_state st;
    assert_ok(cache_fill_begin(f->c, f->lease, &origin, &fill, &hit, &st, &err), err);
    assert_int_equal(st, CACHE_FILL_MINE);
    assert_ok(cache_fill_open(fill, 100000, 10000, fd, map, &err), err);
    return fill;
}

static void an_interrupted_fetch_goes_on_with_the_parts_it_had(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct partmap *map;
    char got[4];
    int fd;
    struct cache_fill *fill = begin_parts(f, "v1", &fd, &map);
    assert_non_null(map);
    assert_ok(fs_pwrite_all(fd, "part", 4, 29996, &err), err);
    assert_ok(partmap_mark(map, 2, &err), err);
    cache_fill_abandon(fill, true);
    fixture_close(f);
    fixture_open(f);
    fill = begin_parts(f, "v1", &fd, &map);
    assert_true(partmap_has(map, 2));
    assert_false(partmap_has(map, 1));
    assert_ok(fs_pread_all(fd, got, 4, 29996, &err), err);
    assert_memory_equal(got, "part", 4);
    cache_fill_abandon(fill, false);
    assert_int_equal(files_below(f, "partial"), 0);
}

static void a_map_whose_data_was_cut_or_removed_vouches_for_nothing(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct partmap *map;
    int fd;
    for (int removed = 0; removed < 2; removed++) {
        struct cache_fill *fill = begin_parts(f, "v1", &fd, &map);
        assert_ok(fs_pwrite_all(fd, "part", 4, 89996, &err), err);
        assert_ok(partmap_mark(map, 0, &err), err);
        assert_ok(partmap_mark(map, 8, &err), err);
        assert_int_equal(ftruncate(fd, removed ? 0 : 85000), 0);
        cache_fill_abandon(fill, true);
        fill = begin_parts(f, "v1", &fd, &map);
        assert_int_equal(partmap_done_bytes(map), 0);
        assert_int_equal(lseek(fd, 0, SEEK_END), 0);
        cache_fill_abandon(fill, false);
    }
}

static void another_version_does_not_go_on_with_the_parts_of_the_old(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct partmap *map;
    int fd;
    struct cache_fill *fill = begin_parts(f, "v1", &fd, &map);
    assert_ok(partmap_mark(map, 2, &err), err);
    cache_fill_abandon(fill, true);
    fill = begin_parts(f, "v2", &fd, &map);
    assert_int_equal(partmap_done_bytes(map), 0);
    cache_fill_abandon(fill, true);
}

static void a_fetch_without_version_is_kept_under_the_version_it_learned(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct cache_origin origin = origin_of("u", NULL, XFER_SIZE_UNKNOWN), learned = origin_of("u", "v1", 2);
    struct cache_fill *fill;
    struct cache_blob hit;
    struct cache_verified how = {0};
    enum cache_fill_state st;
    struct partmap *map;
    int fd;
    for (int i = 0; i < 2; i++) {
        assert_ok(cache_fill_begin(f->c, f->lease, &origin, &fill, &hit, &st, &err), err);
        assert_int_equal(st, CACHE_FILL_MINE);
        assert_ok(cache_fill_open(fill, XFER_SIZE_UNKNOWN, 0, &fd, &map, &err), err);
        assert_ok(fs_pwrite_all(fd, "ok", 2, 0, &err), err);
        assert_ok(cache_fill_commit(fill, i ? &learned : NULL, 2, &how, &hit, &err), err);
        assert_int_equal(is_stored(f->c, "u"), i);
    }
}

static void links_inside_the_cache_are_not_followed(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct cache_blob blob = store(f->c, f->lease, "a", 1, 100, true), out;
    char shard[256], outside[256];
    assert_ok(cache_fill_flush(f->c, &err), err);
    blob_path(f, blob.id, shard);
    assert_int_equal(unlink(shard), 0);
    *strrchr(shard, '/') = '\0';
    snprintf(outside, sizeof outside, "%s/outside", f->dir);
    assert_int_equal(mkdir(outside, 0700), 0);
    assert_int_equal(rmdir(shard), 0);
    assert_int_equal(symlink(outside, shard), 0);
    index_do(f, "DELETE FROM origins; DELETE FROM lease_blobs; DELETE FROM blobs");
    assert_int_equal(try_store(f->c, f->lease, "b", 1, 100, true, &out, &err), -1);
    assert_int_equal(err.kind, ERR_REFUSED);
    assert_int_equal(rmdir(outside), 0); /* still empty */
    assert_int_equal(unlink(shard), 0);
}

static void a_file_left_by_a_crash_is_not_trusted(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    char path[256], want[100], got[100];
    struct cache_blob blob = store(f->c, f->lease, "a", 1, 100, true);
    assert_ok(cache_fill_flush(f->c, &err), err);
    index_do(f, "DELETE FROM lease_blobs; DELETE FROM blobs");
    assert_int_equal(unlink(blob_path(f, blob.id, path)), 0);
    int fd = open(path, O_CREAT | O_WRONLY, 0444);
    assert_int_equal(write(fd, "torn", 4), 4);
    close(fd);
    blob = store(f->c, f->lease, "b", 1, 100, true);
    assert_ok(cache_fill_flush(f->c, &err), err);
    fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, got, sizeof got), sizeof got);
    close(fd);
    content_of(1, want, sizeof want);
    assert_memory_equal(got, want, sizeof got);
    assert_agreement(f);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_stored_blob_is_found_by_its_origin_and_holds_its_bytes),
        TEST(another_version_size_or_source_is_not_found),
        TEST(two_origins_share_a_blob_only_by_a_verified_sha256),
        TEST(many_equal_files_in_a_row_become_one_blob),
        TEST(the_origin_being_fetched_is_busy_for_others_and_then_a_hit),
        TEST(waiting_for_a_fetch_can_be_cancelled),
        TEST(a_file_of_another_size_than_stated_is_refused_and_leaves_nothing),
        TEST(an_interrupted_fetch_goes_on_with_the_parts_it_had),
        TEST(a_map_whose_data_was_cut_or_removed_vouches_for_nothing),
        TEST(another_version_does_not_go_on_with_the_parts_of_the_old),
        TEST(a_fetch_without_version_is_kept_under_the_version_it_learned),
        TEST(links_inside_the_cache_are_not_followed),
        TEST(a_file_left_by_a_crash_is_not_trusted),
    };
    return cmocka_run_group_tests_name("cache fill", tests, NULL, NULL);
}
