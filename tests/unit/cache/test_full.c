/* A full disk: a small tmpfs of our own, in a mount namespace of a child. Needs root, or else is skipped. */
#include "fixture.h"

#include "base/fs.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define NO_MOUNT 77

static void enter_disk(struct fixture *f, const char *options)
{
    struct err err = ERR_INIT;
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mkdir(f->cache, 0700) < 0 || mount("none", f->cache, "tmpfs", 0, options) < 0)
        _exit(NO_MOUNT);
    assert_ok(cache_open(&f->c, &f->opts, &err), err);
    assert_ok(cache_lease_new(f->c, "job-1", &f->lease, &err), err);
}

static void enter_small_disk(struct fixture *f)
{
    enter_disk(f, "size=4m");
}

static void in_small_disk(struct fixture *f, void (*work)(void *))
{
    fixture_close(f);
    snprintf(f->cache, sizeof f->cache, "%s/small", f->dir);
    int status = child_wait(child_start(work, f));
    if (status == NO_MOUNT)
        skip();
    assert_int_equal(status, 0);
}

/* Take what is free, but for `spare` bytes. */
static void fill_disk(const struct fixture *f, uint64_t spare)
{
    struct err err = ERR_INIT;
    struct fs_space space;
    char path[256];
    AUTO_FD dir = fs_open_dir(f->cache, &err);
    assert_ok(fs_space(dir, &space, &err), err);
    snprintf(path, sizeof path, "%s/ballast", f->cache);
    AUTO_FD fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    assert_int_equal(posix_fallocate(fd, 0, (off_t)(space.free_bytes - spare)), 0);
}

static void drop_ballast(const struct fixture *f)
{
    char path[256];
    snprintf(path, sizeof path, "%s/ballast", f->cache);
    assert_int_equal(unlink(path), 0);
}

static void full_while_writing(void *ctx)
{
    struct fixture *f = ctx;
    struct err err = ERR_INIT;
    struct cache_blob blob;
    enter_small_disk(f);
    assert_int_equal(try_store(f->c, f->lease, "big", 1, 8 << 20, false, &blob, &err), -1);
    assert_int_equal(err.kind, ERR_NOSPACE);
    assert_int_equal(files_below(f, "partial"), 0);
    store(f->c, f->lease, "small", 2, 1000, true);
    assert_true(is_stored(f->c, "small"));
    assert_agreement(f);
    fixture_close(f);
}

static void a_fetch_that_fills_the_disk_fails_alone_and_frees_its_space(void **state)
{
    in_small_disk(*state, full_while_writing);
}

/* So many rows that the index must grow. */
#define ROWS 200

static void full_while_indexing(void *ctx)
{
    struct fixture *f = ctx;
    struct err err = ERR_INIT;
    struct cache_fill *fill[ROWS];
    struct cache_blob blob;
    struct cache_verified how = {0};
    char key[32], id[SNAPSHOT_ID_MAX];
    enter_small_disk(f);
    struct cache_blob before = store(f->c, f->lease, "before", 2, 10, true);
    assert_true(is_stored(f->c, "before"));
    for (int i = 0; i < ROWS; i++) {
        enum cache_fill_state state;
        struct partmap *map;
        int fd;
        snprintf(key, sizeof key, "%d", i);
        struct cache_origin origin = origin_of(key, "v1", 0);
        assert_ok(cache_fill_begin(f->c, f->lease, &origin, &fill[i], &blob, &state, &err), err);
        assert_ok(cache_fill_open(fill[i], 0, 0, &fd, &map, &err), err);
    }
    fill_disk(f, 0);
    for (int i = 0; i < ROWS; i++)
        assert_ok(cache_fill_commit(fill[i], NULL, 0, &how, &blob, &err), err);
    assert_int_equal(cache_fill_flush(f->c, &err), -1);
    assert_int_equal(err.kind, ERR_NOSPACE);
    struct cache_file file = {"f", blob.id, 0};
    struct cache_tree tree = {.files = &file, .file_count = 1};
    err_clear(&err);
    assert_int_equal(cache_snapshot_make(f->c, f->lease, &tree, id, &err), -1);
    assert_int_equal(err.kind, ERR_NOSPACE); /* the cause, not what came of it */
    drop_ballast(f);
    assert_agreement(f);
    err_clear(&err);
    cache_lease_free(f->lease);
    assert_ok(cache_lease_new(f->c, "job-2", &f->lease, &err), err);
    snapshot_of(f->c, f->lease, &before, 1, id);
    store(f->c, f->lease, "1", 3, 10, true);
    assert_true(is_stored(f->c, "1"));
    assert_agreement(f);
    fixture_close(f);
}

static void a_disk_full_while_indexing_fails_those_fills_and_no_others(void **state)
{
    in_small_disk(*state, full_while_indexing);
}

static void ask_for_too_much(void *ctx)
{
    struct fixture *f = ctx;
    struct err err = ERR_INIT;
    enter_small_disk(f);
    assert_int_equal(cache_reserve(f->c, f->lease, 8 << 20, 1, &err), -1);
    assert_int_equal(err.kind, ERR_NOSPACE);
    assert_non_null(strstr(err.text, "8.0 MiB needed"));
    assert_non_null(strstr(err.text, "to be had in"));
    fixture_close(f);
}

static void a_download_that_cannot_fit_is_refused_before_it_starts(void **state)
{
    in_small_disk(*state, ask_for_too_much);
}

static uint64_t free_inodes(const struct fixture *f)
{
    struct err err = ERR_INIT;
    struct fs_space space;
    AUTO_FD dir = fs_open_dir(f->cache, &err);
    assert_ok(fs_space(dir, &space, &err), err);
    return space.free_inodes;
}

static void ask_for_too_many_files(void *ctx)
{
    struct fixture *f = ctx;
    struct err err = ERR_INIT;
    char have[64];
    enter_disk(f, "size=4m,nr_inodes=600");
    uint64_t left = free_inodes(f);
    assert_in_range(left, 1, 600);
    assert_int_equal(cache_reserve(f->c, f->lease, 0, left + 1, &err), -1);
    assert_int_equal(err.kind, ERR_NOSPACE);
    snprintf(have, sizeof have, "takes %u more", (unsigned)left);
    assert_non_null(strstr(err.text, have));
    assert_non_null(strstr(err.hint, "df -i"));
    err_clear(&err);
    assert_ok(cache_reserve(f->c, f->lease, 0, left, &err), err);
    fixture_close(f);
}

static void more_files_than_there_are_inodes_are_refused_before_they_come(void **state)
{
    in_small_disk(*state, ask_for_too_many_files);
}

static void files_make_room_for_files(void *ctx)
{
    struct fixture *f = ctx;
    struct err err = ERR_INIT;
    struct cache_lease *old;
    char key[32];
    enter_disk(f, "size=4m,nr_inodes=900");
    assert_ok(cache_lease_new(f->c, "old", &old, &err), err);
    for (unsigned i = 0; i < 20; i++) {
        snprintf(key, sizeof key, "old-%u", i);
        store(f->c, old, key, i, 10, true);
    }
    cache_lease_free(old);
    uint64_t left = free_inodes(f);
    assert_ok(cache_reserve(f->c, f->lease, 0, left + 5, &err), err);
    assert_int_equal(free_inodes(f), left + 5); /* the oldest five, and no more */
    assert_false(is_stored(f->c, "old-0"));
    assert_true(is_stored(f->c, "old-19"));
    assert_agreement(f);
    fixture_close(f);
}

static void the_oldest_files_make_room_where_inodes_are_short(void **state)
{
    in_small_disk(*state, files_make_room_for_files);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_fetch_that_fills_the_disk_fails_alone_and_frees_its_space),
        TEST(a_disk_full_while_indexing_fails_those_fills_and_no_others),
        TEST(a_download_that_cannot_fit_is_refused_before_it_starts),
        TEST(more_files_than_there_are_inodes_are_refused_before_they_come),
        TEST(the_oldest_files_make_room_where_inodes_are_short),
    };
    return cmocka_run_group_tests_name("cache full", tests, NULL, NULL);
}
