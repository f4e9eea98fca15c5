/* The file itself: opening, several processes, migrations, full disks, damage. */
#include "db_fixture.h"
#include "disk.h"

#include <sys/wait.h>

static void what_is_no_database_url_is_refused_without_showing_it(void **state)
{
    (void)state;
    static const char *const urls[] = {"", "sqlite:", "sqlite", "/tmp/x.db", "mysql://u:hush@h/d", "SQLITE:/x"};
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        struct err err = ERR_INIT;
        struct db *db = NULL;
        assert_int_equal(db_open(&db, &(struct db_opts){.url = urls[i]}, &err), -1);
        assert_int_equal(err.kind, ERR_INVALID);
        assert_null(strstr(err.text, "hush"));
        assert_non_null(strstr(err.hint, "sqlite:/path"));
    }
    struct err err = ERR_INIT;
    struct db *db = NULL;
    assert_int_equal(db_open(&db, &(struct db_opts){.url = NULL}, &err), -1);
}

static void a_missing_folder_is_named(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct db *db = NULL;
    assert_int_equal(db_open(&db, &(struct db_opts){.url = "sqlite:/proc/nonexistent/x.db"}, &err), -1);
    assert_int_equal(err.kind, ERR_NOTFOUND);
    assert_non_null(strstr(err.text, "/proc/nonexistent/x.db"));
}

static void a_new_database_is_its_owners_alone(void **state)
{
    struct fixture *f = *state;
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    must_exec(f->db, "CREATE TABLE v (i INTEGER)");
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        char path[128];
        struct stat st;
        snprintf(path, sizeof(path), "%s%s", f->path, suffixes[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
}

static void a_file_that_is_no_database_is_corrupt(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct db *db = NULL;
    char path[128], url[144];
    snprintf(path, sizeof(path), "%s/other.db", f->dir);
    snprintf(url, sizeof(url), "sqlite:%s", path);
    char noise[8192];
    memset(noise, 'x', sizeof(noise));
    AUTO_FD dir = fs_open_dir(f->dir, &err);
    assert_int_equal(fs_replace_file(dir, "other.db", noise, sizeof(noise), 0600, &err), 0);
    assert_int_equal(db_open(&db, &(struct db_opts){.url = url}, &err), -1);
    assert_int_equal(err.kind, ERR_CORRUPT);
    assert_non_null(strstr(err.text, path));
    assert_non_null(strstr(err.hint, "-wal"));
}

static void a_damaged_page_is_corrupt_when_it_is_read(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    must_exec(f->db, "CREATE TABLE v (t TEXT);"
                     "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)"
                     "INSERT INTO v SELECT hex(zeroblob(100)) FROM n");
    db_free(f->db);
    f->db = NULL;

    AUTO_FD fd = open(f->path, O_RDWR | O_CLOEXEC);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    char noise[4096];
    memset(noise, 0xa5, sizeof(noise));
    for (uint64_t at = 4096; at + sizeof(noise) <= (uint64_t)st.st_size; at += sizeof(noise))
        assert_int_equal(fs_pwrite_all(fd, noise, sizeof(noise), at, &err), 0);

    f->db = must_open(f->url, 0);
    struct db_stmt *s = must_prepare(f->db, "SELECT COUNT(t) FROM v");
    assert_int_equal(db_next(s, &err), -1);
    assert_int_equal(err.kind, ERR_CORRUPT);
    assert_non_null(strstr(err.hint, "recover"));
}

static void a_full_disk_fails_the_transaction_and_no_more(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    must_exec(f->db, "CREATE TABLE v (t TEXT); PRAGMA max_page_count = 20");
    assert_int_equal(db_begin(f->db, &err), 0);
    struct db_stmt *s = must_prepare(f->db, "INSERT INTO v VALUES ($1)");
    char text[1024];
    memset(text, 't', sizeof(text));
    int rc = 0, rows = 0;
    for (; rc == 0 && rows < 1000; rows++) {
        db_bind_span(s, 1, (struct span){text, sizeof(text)});
        rc = db_run(s, &err);
    }
    assert_int_equal(rc, -1);
    assert_int_equal(err.kind, ERR_NOSPACE);
    assert_non_null(strstr(err.hint, "space"));
    err_clear(&err);
    db_rollback(f->db);
    assert_int_equal(count_of(f->db, "SELECT COUNT(*) FROM v"), 0);

    must_exec(f->db, "PRAGMA max_page_count = 100000");
    db_bind_text(s, 1, "fits");
    assert_int_equal(db_run(s, &err), 0);
    assert_int_equal(count_of(f->db, "SELECT COUNT(*) FROM v"), 1);
}

static void a_file_that_takes_no_writes_is_in_trouble_and_denies_nobody(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    must_exec(f->db, "CREATE TABLE v (i INTEGER); PRAGMA query_only = ON");
    assert_int_equal(db_exec(f->db, "INSERT INTO v VALUES (1)", &err), -1);
    assert_int_equal(err.kind, ERR_TRANSIENT);
    assert_non_null(strstr(err.hint, "writable"));
}

static void what_was_committed_is_on_the_disk_once_it_was_synced(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    assert_true(atomic_load(&folder_syncs) > 0); /* or the file itself might be gone */
    assert_int_equal(db_sync(f->db, &err), 0);
    must_exec(f->db, "CREATE TABLE v (i INTEGER)");
    const int before = atomic_load(&log_syncs);
    assert_int_equal(db_begin(f->db, &err), 0);
    must_exec(f->db, "INSERT INTO v VALUES (1)");
    assert_int_equal(db_commit(f->db, &err), 0);
    assert_int_equal(atomic_load(&log_syncs), before); /* claims are not to wait for it */
    assert_int_equal(db_sync(f->db, &err), 0);
    assert_int_equal(atomic_load(&log_syncs), before + 1);
}

static void a_second_writer_waits_and_then_says_busy(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    must_exec(f->db, "CREATE TABLE v (i INTEGER)");
    struct db *other = must_open(f->url, 1);
    assert_int_equal(db_begin(f->db, &err), 0);
    must_exec(f->db, "INSERT INTO v VALUES (1)");
    assert_int_equal(count_of(other, "SELECT COUNT(*) FROM v"), 0); /* readers neither wait nor see it */
    assert_int_equal(db_begin(other, &err), -1);
    assert_int_equal(err.kind, ERR_BUSY);
    assert_non_null(strstr(err.text, f->path));
    err_clear(&err);
    assert_int_equal(db_commit(f->db, &err), 0);
    assert_int_equal(db_begin(other, &err), 0);
    assert_int_equal(count_of(other, "SELECT COUNT(*) FROM v"), 1);
    db_free(other); /* with its transaction open */
    assert_int_equal(db_begin(f->db, &err), 0);
    assert_int_equal(db_commit(f->db, &err), 0);
}

enum { WRITERS = 4, ROUNDS = 100 };

/* In a child: opens for itself, migrates, and adds one many times by reading and writing back. */
static int add_many_times(const char *url)
{
    static const char *const migrations[] = {"CREATE TABLE n (v INTEGER NOT NULL); INSERT INTO n VALUES (0)",
                                             "CREATE TABLE seen (writer INTEGER)"};
    struct err err = ERR_INIT;
    struct db *db = NULL;
    struct db_stmt *get, *set;
    if (db_open(&db, &(struct db_opts){.url = url, .busy_timeout_ms = 60000}, &err) < 0 ||
        db_migrate(db, migrations, ARRAY_LEN(migrations), &err) < 0 ||
        db_prepare(db, "SELECT v FROM n", &get, &err) < 0 || db_prepare(db, "UPDATE n SET v = $1", &set, &err) < 0)
        goto out;
    for (int i = 0; i < ROUNDS; i++) {
        if (db_begin(db, &err) < 0 || db_next(get, &err) != 1)
            goto out;
        db_bind_i64(set, 1, db_col_i64(get, 0) + 1);
        db_done(get);
        if (db_run(set, &err) < 0 || db_commit(db, &err) < 0)
            goto out;
    }
out:
    if (err_is_set(&err))
        fprintf(stderr, "writer: %s\n", err.text);
    db_free(db);
    return err_is_set(&err);
}

static void processes_that_write_at_once_lose_nothing(void **state)
{
    struct fixture *f = *state;
    db_free(f->db); /* a connection does not cross a fork; the file is made anew by whoever comes first */
    f->db = NULL;
    assert_int_equal(unlink(f->path), 0);
    pid_t pids[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0)
            _exit(add_many_times(f->url));
    }
    for (int i = 0; i < WRITERS; i++) {
        int status = 0;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    f->db = must_open(f->url, 0);
    assert_int_equal(count_of(f->db, "SELECT v FROM n"), WRITERS * ROUNDS);
}

static const char *const three_steps[] = {
    "CREATE TABLE a (i INTEGER)",
    "INSERT INTO a VALUES (1); INSERT INTO a VALUES (2)",
    "ALTER TABLE a ADD COLUMN t TEXT",
};

static void migrations_run_once_each_and_from_where_they_stopped(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    assert_int_equal(db_migrate(f->db, three_steps, 0, &err), 0);
    assert_int_equal(db_migrate(f->db, three_steps, 2, &err), 0);
    assert_int_equal(db_migrate(f->db, three_steps, 2, &err), 0);
    assert_int_equal(count_of(f->db, "SELECT COUNT(*) FROM a"), 2);
    assert_int_equal(db_migrate(f->db, three_steps, 3, &err), 0);
    assert_int_equal(count_of(f->db, "SELECT COUNT(*) FROM a WHERE t IS NULL"), 2);
}

static void a_newer_schema_is_refused_and_left_alone(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    assert_int_equal(db_migrate(f->db, three_steps, 3, &err), 0);
    assert_int_equal(db_migrate(f->db, three_steps, 2, &err), -1);
    assert_int_equal(err.kind, ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "version 3"));
    assert_non_null(strstr(err.text, "up to 2"));
    err_clear(&err);
    assert_int_equal(db_migrate(f->db, three_steps, 3, &err), 0);
}

static void a_migration_that_fails_half_way_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    static const char *const steps[] = {"CREATE TABLE a (i INTEGER)",
                                        "INSERT INTO a VALUES (1); INSERT INTO nowhere VALUES (1)"};
    assert_int_equal(db_migrate(f->db, steps, 2, &err), -1);
    assert_non_null(strstr(err.text, "migration 2"));
    assert_non_null(strstr(err.text, "nowhere"));
    assert_int_equal(count_of(f->db, "SELECT COUNT(*) FROM a"), 0);
    assert_int_equal(count_of(f->db, "SELECT version FROM schema_version"), 1);
    err_clear(&err);
    assert_int_equal(db_begin(f->db, &err), 0); /* no transaction was left open */
    assert_int_equal(db_commit(f->db, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_database_url_is_refused_without_showing_it),
        cmocka_unit_test(a_missing_folder_is_named),
        DB_TEST(a_new_database_is_its_owners_alone),
        DB_TEST(a_file_that_is_no_database_is_corrupt),
        DB_TEST(a_damaged_page_is_corrupt_when_it_is_read),
        DB_TEST(a_full_disk_fails_the_transaction_and_no_more),
        DB_TEST(a_file_that_takes_no_writes_is_in_trouble_and_denies_nobody),
        DB_TEST(what_was_committed_is_on_the_disk_once_it_was_synced),
        DB_TEST(a_second_writer_waits_and_then_says_busy),
        DB_TEST(processes_that_write_at_once_lose_nothing),
        DB_TEST(migrations_run_once_each_and_from_where_they_stopped),
        DB_TEST(a_newer_schema_is_refused_and_left_alone),
        DB_TEST(a_migration_that_fails_half_way_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
