#include "fixture.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct cache_verify_result verify(struct fixture *f, bool repair)
{
    struct err err = ERR_INIT;
    struct cache_verify_opts opts = {.repair = repair};
    struct cache_verify_result r;
    assert_ok(cache_verify(f->c, &opts, &r, &err), err);
    return r;
}

/* Same size, other bytes. */
static void damage(const char *path)
{
    assert_int_equal(chmod(path, 0600), 0);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    char c;
    assert_int_equal(pread(fd, &c, 1, 3), 1);
    c ^= 4;
    assert_int_equal(pwrite(fd, &c, 1, 3), 1);
    close(fd);
    assert_int_equal(chmod(path, 0444), 0);
}

static void end_lease(struct fixture *f)
{
    cache_lease_free(f->lease);
    f->lease = NULL;
}

static void a_sound_cache_has_nothing_to_repair(void **state)
{
    struct fixture *f = *state;
    char id[SNAPSHOT_ID_MAX];
    struct cache_blob b[] = {store(f->c, f->lease, "a", 1, 100, true), store(f->c, f->lease, "b", 2, 200, false)};
    snapshot_of(f->c, f->lease, b, 2, id);
    struct cache_verify_result r = verify(f, true);
    assert_int_equal(r.blobs, 2);
    assert_int_equal(r.bytes, 300);
    assert_int_equal(r.damaged + r.missing + r.orphans + r.repaired, 0);
    assert_agreement(f);
}

static void a_damaged_blob_is_found_set_aside_and_fetched_again(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    char path[256], id[SNAPSHOT_ID_MAX], again[SNAPSHOT_ID_MAX];
    struct cache_entry e = {.identity = "input"}, got;
    bool found;
    struct cache_blob b = store(f->c, f->lease, "a", 1, 100, true);
    snapshot_of(f->c, f->lease, &b, 1, id);
    strcpy(e.snapshot, id);
    assert_ok(cache_entry_put(f->c, &e, &err), err);
    end_lease(f);
    damage(blob_path(f, b.id, path));
    assert_int_equal(verify(f, false).damaged, 1);
    assert_true(is_stored(f->c, "a"));
    struct cache_verify_result r = verify(f, true);
    assert_true(r.damaged >= 1 && r.repaired >= 1);
    assert_false(is_stored(f->c, "a"));
    assert_int_equal(files_below(f, "quarantine"), 1);
    assert_ok(cache_entry_get(f->c, NULL, "input", e.scope, &got, &found, &err), err);
    assert_false(found);
    assert_agreement(f);
    b = store(f->c, f->lease, "a", 1, 100, true);
    snapshot_of(f->c, f->lease, &b, 1, again);
    assert_string_equal(id, again);
    r = verify(f, false);
    assert_int_equal(r.damaged + r.missing + r.orphans, 0);
}

static void content_verified_by_size_alone_is_watched_from_the_first_verify_on(void **state)
{
    struct fixture *f = *state;
    char path[256];
    struct err err = ERR_INIT;
    struct cache_blob b = store(f->c, f->lease, "a", 1, 100, false);
    assert_ok(cache_fill_flush(f->c, &err), err);
    assert_int_equal(verify(f, false).damaged, 0);
    damage(blob_path(f, b.id, path));
    assert_int_equal(verify(f, false).damaged, 1);
}

static void a_view_in_use_stays_with_its_job_while_the_next_use_gets_a_sound_one(void **state)
{
    struct fixture *f = *state;
    char path[256], id[SNAPSHOT_ID_MAX];
    struct stat before, after;
    struct cache_blob b = store(f->c, f->lease, "a", 1, 100, true);
    snapshot_of(f->c, f->lease, &b, 1, id);
    snprintf(path, sizeof path, "%s/views/%s", f->cache, id);
    int job = open(path, O_RDONLY | O_DIRECTORY);
    assert_true(job >= 0);
    assert_int_equal(fstatat(job, "d0/f0", &before, 0), 0);
    damage(blob_path(f, b.id, path));
    verify(f, true);
    assert_int_equal(fstatat(job, "d0/f0", &after, 0), 0); /* what the job has mounted is not pulled away */
    assert_int_equal(before.st_ino, after.st_ino);
    b = store(f->c, f->lease, "a", 1, 100, true);
    snapshot_of(f->c, f->lease, &b, 1, id);
    snprintf(path, sizeof path, "%s/views/%s/d0/f0", f->cache, id);
    assert_int_equal(stat(path, &after), 0);
    assert_int_not_equal(before.st_ino, after.st_ino);
    assert_agreement(f);
    close(job);
    end_lease(f);
    verify(f, true);
    assert_int_equal(files_below(f, "views"), 1);
}

static void a_missing_or_short_blob_is_found(void **state)
{
    struct fixture *f = *state;
    char path[256];
    struct err err = ERR_INIT;
    struct cache_blob a = store(f->c, f->lease, "a", 1, 100, true), b = store(f->c, f->lease, "b", 2, 100, false);
    assert_ok(cache_fill_flush(f->c, &err), err);
    end_lease(f);
    assert_int_equal(unlink(blob_path(f, a.id, path)), 0);
    assert_int_equal(truncate(blob_path(f, b.id, path), 50), 0);
    struct cache_verify_result r = verify(f, true);
    assert_int_equal(r.missing, 1);
    assert_int_equal(r.damaged, 1);
    assert_int_equal(r.repaired, 2);
    assert_int_equal(index_number(f, "SELECT count(*) FROM blobs"), 0);
    assert_agreement(f);
}

static void orphans_are_removed_and_strangers_left_alone(void **state)
{
    struct fixture *f = *state;
    char path[256], id[SNAPSHOT_ID_MAX], stranger[300];
    struct cache_blob b = store(f->c, f->lease, "a", 1, 100, false);
    snapshot_of(f->c, f->lease, &b, 1, id);
    blob_path(f, b.id, path);
    snprintf(stranger, sizeof stranger, "%.*s/README", (int)(strrchr(path, '/') - path), path);
    close(open(stranger, O_CREAT | O_WRONLY, 0600));
    end_lease(f);
    index_do(f, "DELETE FROM snapshots; DELETE FROM blobs");
    struct cache_verify_result r = verify(f, false);
    assert_int_equal(r.orphans, 2); /* the blob and the view */
    assert_int_equal(access(path, F_OK), 0);
    r = verify(f, true);
    assert_int_equal(r.repaired, 2);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(files_below(f, "views"), 0);
    assert_int_equal(access(stranger, F_OK), 0);
}

static void a_view_that_was_tampered_with_is_built_anew(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    char path[512], id[SNAPSHOT_ID_MAX];
    AUTO_BUF view;
    buf_init(&view, 4096);
    struct cache_blob b = store(f->c, f->lease, "a", 1, 100, true);
    snapshot_of(f->c, f->lease, &b, 1, id);
    snprintf(path, sizeof path, "%s/views/%s/d0", f->cache, id);
    assert_int_equal(chmod(path, 0700), 0);
    strcat(path, "/f0");
    assert_int_equal(unlink(path), 0);
    int fd = open(path, O_CREAT | O_WRONLY, 0444);
    char zeros[100] = {0};
    assert_int_equal(write(fd, zeros, sizeof zeros), sizeof zeros);
    close(fd);
    struct cache_verify_result r = verify(f, true);
    assert_int_equal(r.damaged, 1);
    assert_int_equal(r.repaired, 1);
    assert_ok(cache_snapshot_view(f->c, id, &view, &err), err);
    assert_int_equal(verify(f, false).damaged, 0);
    assert_agreement(f);
}

static void a_link_that_leads_elsewhere_is_found(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    char path[512], id[SNAPSHOT_ID_MAX];
    struct cache_blob b = store(f->c, f->lease, "a", 1, 100, true);
    const struct cache_file file = {"x", b.id, 100};
    const struct cache_link link = {"l", "x"};
    const struct cache_tree tree = {.files = &file, .file_count = 1, .links = &link, .link_count = 1};
    assert_ok(cache_snapshot_make(f->c, f->lease, &tree, id, &err), err);
    assert_int_equal(verify(f, false).damaged, 0);
    snprintf(path, sizeof path, "%s/views/%s", f->cache, id);
    assert_int_equal(chmod(path, 0700), 0);
    strcat(path, "/l");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(verify(f, false).damaged, 1);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    struct cache_verify_result r = verify(f, true);
    assert_int_equal(r.damaged, 1);
    assert_int_equal(r.repaired, 1);
    assert_ok(cache_snapshot_make(f->c, f->lease, &tree, id, &err), err);
    assert_int_equal(verify(f, false).damaged, 0);
    assert_agreement(f);
}

static void verification_can_be_cancelled_and_tells_how_far_it_is(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct cancel cancel;
    struct cache_verify_opts opts = {.cancel = &cancel};
    struct cache_verify_result r;
    assert_ok(cancel_init(&cancel, &err), err);
    store(f->c, f->lease, "a", 1, 100, true);
    cancel_raise(&cancel, CANCEL_STOP);
    assert_int_equal(cache_verify(f->c, &opts, &r, &err), -1);
    assert_int_equal(err.kind, ERR_CANCELLED);
    cancel_release(&cancel);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_sound_cache_has_nothing_to_repair),
        TEST(a_damaged_blob_is_found_set_aside_and_fetched_again),
        TEST(content_verified_by_size_alone_is_watched_from_the_first_verify_on),
        TEST(a_view_in_use_stays_with_its_job_while_the_next_use_gets_a_sound_one),
        TEST(a_missing_or_short_blob_is_found),
        TEST(orphans_are_removed_and_strangers_left_alone),
        TEST(a_view_that_was_tampered_with_is_built_anew),
        TEST(a_link_that_leads_elsewhere_is_found),
        TEST(verification_can_be_cancelled_and_tells_how_far_it_is),
    };
    return cmocka_run_group_tests_name("cache verify", tests, NULL, NULL);
}
