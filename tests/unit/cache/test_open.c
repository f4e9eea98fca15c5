#include "fixture.h"

#include "base/fs.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void write_file(const struct fixture *f, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", f->cache, name);
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static mode_t mode_of(const struct fixture *f, const char *name)
{
    char path[512];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", f->cache, name);
    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode & 07777;
}

static int reopen(struct fixture *f, struct err *err)
{
    fixture_close(f);
    return cache_open(&f->c, &f->opts, err);
}

static void only_the_owner_may_look_inside(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(mode_of(f, ""), 0700);
    assert_int_equal(mode_of(f, "key"), 0600);
    assert_int_equal(mode_of(f, "index.db"), 0600);
}

static void a_cache_that_was_opened_up_is_closed_again(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    assert_int_equal(chmod(f->cache, 0755), 0);
    assert_ok(reopen(f, &err), err);
    assert_int_equal(mode_of(f, ""), 0700);
}

static void a_newer_layout_is_refused_with_both_versions(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    write_file(f, "VERSION", "7\n");
    assert_int_equal(reopen(f, &err), -1);
    assert_int_equal(err.kind, ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "version 7"));
    assert_non_null(strstr(err.text, "up to 2"));
}

static void an_older_layout_is_brought_forward_with_all_it_holds(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    store(f->c, f->lease, "kept", 1, 100, true);
    write_file(f, "VERSION", "1\n");
    assert_ok(reopen(f, &err), err);
    assert_true(is_stored(f->c, "kept"));
    AUTO_BUF version;
    buf_init(&version, 16);
    AUTO_FD dir = fs_open_dir(f->cache, &err);
    assert_ok(fs_read_file(dir, "VERSION", 16, &version, &err), err);
    assert_string_equal(buf_str(&version), "2\n");
}

static void a_newer_index_is_refused(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    index_do(f, "UPDATE schema_version SET version = 99");
    assert_int_equal(reopen(f, &err), -1);
    assert_int_equal(err.kind, ERR_UNSUPPORTED);
}

/* Earlier fingerprints did not name the origin. */
static void proofs_of_an_older_index_prove_nothing_and_cost_no_content(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    const uint8_t scope[32] = {1}, fingerprint[32] = {2};
    bool has = true;
    store(f->c, f->lease, "kept", 1, 100, true);
    assert_ok(cache_proof_put(f->c, scope, fingerprint, &err), err);
    assert_ok(reopen(f, &err), err);
    assert_ok(cache_proof_has(f->c, scope, fingerprint, &has, &err), err);
    assert_true(has);
    index_do(f, "ALTER TABLE leases DROP COLUMN engine; ALTER TABLE leases DROP COLUMN boot;"
                "ALTER TABLE blobs DROP COLUMN healed");
    index_do(f, "UPDATE schema_version SET version = 1");
    assert_ok(reopen(f, &err), err);
    assert_ok(cache_proof_has(f->c, scope, fingerprint, &has, &err), err);
    assert_false(has);
    assert_true(is_stored(f->c, "kept"));
}

static void an_interrupted_start_is_completed(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    write_file(f, "VERSION", "");
    assert_ok(reopen(f, &err), err);
    fixture_close(f);
    assert_int_equal(mkdir(f->opts.dir, 0700), -1);
    write_file(f, "VERSION", "0\n");
    assert_ok(reopen(f, &err), err);
}

static void a_disk_of_its_own_may_have_its_lost_and_found(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    char path[300];
    fixture_close(f);
    snprintf(f->cache, sizeof f->cache, "%.150s/disk", f->dir);
    snprintf(path, sizeof path, "%s/lost+found", f->cache);
    assert_int_equal(mkdir(f->cache, 0755), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_ok(cache_open(&f->c, &f->opts, &err), err);
}

static void a_folder_that_holds_something_else_is_refused_and_untouched(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    char strange[300];
    fixture_close(f);
    snprintf(strange, sizeof strange, "%s/home", f->dir);
    assert_int_equal(mkdir(strange, 0755), 0);
    snprintf(f->cache, sizeof f->cache, "%.150s", strange);
    write_file(f, "thesis.tex", "\\begin");
    assert_int_equal(cache_open(&f->c, &f->opts, &err), -1);
    assert_int_equal(err.kind, ERR_REFUSED);
    assert_int_equal(mode_of(f, ""), 0755);
    assert_false(path_exists(f, "VERSION"));
}

static void nonsense_for_a_version_is_told(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    write_file(f, "VERSION", "one");
    assert_int_equal(reopen(f, &err), -1);
    assert_int_equal(err.kind, ERR_CORRUPT);
}

static void a_lost_key_costs_content_but_not_the_cache(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    store(f->c, f->lease, "a", 1, 10, true);
    write_file(f, "key", "short");
    assert_ok(reopen(f, &err), err);
    assert_false(is_stored(f->c, "a"));
    store(f->c, NULL, "a", 1, 10, true);
    assert_true(is_stored(f->c, "a"));
    assert_agreement(f);
}

static void open_and_store(void *ctx)
{
    struct fixture *f = ctx;
    char key[32];
    fixture_open(f);
    snprintf(key, sizeof key, "%d", getpid());
    store(f->c, f->lease, key, 1, 10, false);
    fixture_close(f);
}

static void processes_that_start_at_once_share_one_new_cache(void **state)
{
    struct fixture *f = *state;
    pid_t pid[8];
    fixture_close(f);
    snprintf(f->cache, sizeof f->cache, "%s/new/folder", f->dir);
    for (size_t i = 0; i < 8; i++)
        pid[i] = child_start(open_and_store, f);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(child_wait(pid[i]), 0);
    fixture_open(f);
    assert_int_equal(index_number(f, "SELECT count(*) FROM origins"), 8);
    assert_agreement(f);
}

static void what_was_not_yet_on_disk_at_a_power_cut_is_forgotten(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    char safe[SNAPSHOT_ID_MAX], torn[SNAPSHOT_ID_MAX];
    fixture_close(f);
    f->opts.durable = true;
    fixture_open(f);
    struct cache_blob b[] = {store(f->c, f->lease, "a", 1, 10, true), {0}};
    snapshot_of(f->c, f->lease, b, 1, safe);
    assert_ok(cache_fill_flush(f->c, &err), err);
    b[1] = store(f->c, f->lease, "b", 2, 10, true);
    snapshot_of(f->c, f->lease, b, 2, torn);
    bool on_tmpfs = index_number(f, "SELECT count(*) FROM blobs WHERE boot <> 0") == 0;
    fixture_close(f); /* syncs */
    assert_int_equal(index_number(f, "SELECT count(*) FROM blobs WHERE boot <> 0"), 0);
    if (on_tmpfs)
        skip();
    /* As if the machine had gone down before that. */
    index_do(f, "UPDATE blobs SET boot = 5 WHERE n = 2; UPDATE snapshots SET view_boot = 5 WHERE n = 2");
    fixture_open(f);
    assert_true(is_stored(f->c, "a"));
    assert_false(is_stored(f->c, "b"));
    assert_int_equal(index_number(f, "SELECT count(*) FROM snapshots"), 1);
    assert_agreement(f);
}

/* Stands before the C library's, so that something can come to pass while the disk is written. */
static void (*during_sync)(struct fixture *f);
static struct fixture *synced;

int syncfs(int fd)
{
    void (*now)(struct fixture * f) = during_sync;
    during_sync = NULL;
    if (now)
        now(synced);
    return (int)syscall(SYS_syncfs, fd);
}

static void lose_and_heal(struct fixture *f)
{
    char id[SNAPSHOT_ID_MAX];
    struct cache_blob b = store(f->c, f->lease, "twin", 1, 10, true); /* another name for the same file */
    snapshot_of(f->c, f->lease, &b, 1, id);
    assert_int_equal(index_number(f, "SELECT healed FROM blobs WHERE n = 1"), 0);
    index_do(f, "DELETE FROM origins; UPDATE blobs SET lost = 1 WHERE n = 1");
    b = store(f->c, f->lease, "first", 1, 10, true);
    snapshot_of(f->c, f->lease, &b, 1, id);
    assert_int_equal(index_number(f, "SELECT count(*) FROM blobs WHERE lost = 0"), 1);
}

static void what_is_healed_while_the_disk_is_synced_is_not_taken_for_synced(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    char id[SNAPSHOT_ID_MAX];
    fixture_close(f);
    f->opts.durable = true;
    fixture_open(f);
    struct cache_blob b[] = {store(f->c, f->lease, "first", 1, 10, true), {0}};
    snapshot_of(f->c, f->lease, b, 1, id);
    if (index_number(f, "SELECT count(*) FROM blobs WHERE boot <> 0") == 0)
        skip(); /* on tmpfs */
    during_sync = lose_and_heal;
    synced = f;
    assert_ok(cache_fill_flush(f->c, &err), err);
    assert_null(during_sync);
    assert_int_equal(index_number(f, "SELECT boot <> 0 FROM blobs WHERE n = 1"), 1);
    assert_ok(cache_fill_flush(f->c, &err), err);
    assert_int_equal(index_number(f, "SELECT count(*) FROM blobs WHERE boot <> 0"), 0);
    b[1] = store(f->c, f->lease, "next", 3, 10, true);
    snapshot_of(f->c, f->lease, b, 2, id);
    assert_ok(cache_fill_flush(f->c, &err), err);
    assert_int_equal(index_number(f, "SELECT count(*) FROM blobs WHERE boot <> 0"), 0);
    assert_agreement(f);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(only_the_owner_may_look_inside),
        TEST(a_cache_that_was_opened_up_is_closed_again),
        TEST(a_newer_layout_is_refused_with_both_versions),
        TEST(an_older_layout_is_brought_forward_with_all_it_holds),
        TEST(proofs_of_an_older_index_prove_nothing_and_cost_no_content),
        TEST(a_newer_index_is_refused),
        TEST(an_interrupted_start_is_completed),
        TEST(a_disk_of_its_own_may_have_its_lost_and_found),
        TEST(a_folder_that_holds_something_else_is_refused_and_untouched),
        TEST(nonsense_for_a_version_is_told),
        TEST(a_lost_key_costs_content_but_not_the_cache),
        TEST(processes_that_start_at_once_share_one_new_cache),
        TEST(what_was_not_yet_on_disk_at_a_power_cut_is_forgotten),
        TEST(what_is_healed_while_the_disk_is_synced_is_not_taken_for_synced),
    };
    return cmocka_run_group_tests_name("cache open", tests, NULL, NULL);
}
