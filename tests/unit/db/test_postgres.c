/* PostgreSQL alone: refusals, lost connections, locks between connections, notifications, migrations. */
#include "pg_server.h"

#include <sys/wait.h>

static void a_url_that_fails_never_shows_its_password(void **state)
{
    (void)state;
    const char *port = strrchr(db_test_url, ':') + 1;
    char wrong[256];
    snprintf(wrong, sizeof(wrong), "postgres://berth:hush@127.0.0.1:%s", port);
    const char *const urls[] = {wrong,
                                "postgresql://u:hush@127.0.0.1:1/d",
                                "postgresql://u:hu/sh@h/d",
                                "postgres://u:hush@[bad/d",
                                "postgres://u:hush",
                                "postgres://u:hush@h/d?no=such"};
    const enum err_kind kinds[] = {ERR_TRANSIENT, ERR_TRANSIENT, ERR_INVALID, ERR_INVALID, ERR_INVALID, ERR_INVALID};
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        struct err err = ERR_INIT;
        struct db *db = NULL;
        assert_int_equal(db_open(&db, &(struct db_opts){.url = urls[i]}, &err), -1);
        assert_int_equal(err.kind, kinds[i]);
        assert_null(strstr(err.text, "hush"));
        assert_null(strstr(err.text, "sh@"));
        assert_true(err.hint[0]);
    }
}

/* A standby after a failover, a user whose rights were taken: nothing that the caller of berth could have done. */
static void a_server_that_refuses_is_in_trouble_and_denies_nobody(void **state)
{
    struct fixture *f = *state;
    static const char *const harms[] = {
        "SET default_transaction_read_only = on", "SET default_transaction_read_only = off",
        "CREATE ROLE outsider; GRANT USAGE ON SCHEMA public TO outsider; SET ROLE outsider"};
    must_exec(f->db, "CREATE TABLE v (i BIGINT)");
    for (size_t i = 0; i < ARRAY_LEN(harms); i++) {
        struct err err = ERR_INIT;
        must_exec(f->db, harms[i]);
        int rc = db_run(must_prepare(f->db, "INSERT INTO v VALUES (1)"), &err);
        assert_int_equal(rc, i == 1 ? 0 : -1);
        assert_int_equal(err.kind, i == 1 ? ERR_NONE : ERR_TRANSIENT);
        assert_true(i == 1 || strstr(err.hint, "rights"));
    }
}

static void terminate_others(struct db *db)
{
    must_exec(db, "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
                  "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'");
}

static void a_lost_connection_fails_one_call_and_is_made_anew(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct db *killer = must_open(f->url, 0);
    terminate_others(killer);
    struct db_stmt *s = must_prepare(f->db, "SELECT 1");
    assert_int_equal(db_next(s, &err), -1);
    assert_int_equal(err.kind, ERR_TRANSIENT);
    assert_int_equal(count_of(f->db, "SELECT 7"), 7);
    db_free(killer);
}

static void a_transaction_lost_with_its_connection_stays_lost_until_rollback(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct db *killer = must_open(f->url, 0);
    must_exec(f->db, "CREATE TABLE v (i BIGINT)");
    assert_int_equal(db_begin(f->db, &err), 0);
    must_exec(f->db, "INSERT INTO v VALUES (1)");
    terminate_others(killer);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(db_exec(f->db, "INSERT INTO v VALUES (2)", &err), -1);
        assert_int_equal(err.kind, ERR_TRANSIENT);
        err_clear(&err);
    }
    db_rollback(f->db);
    assert_int_equal(count_of(f->db, "SELECT COUNT(*) FROM v"), 0);
    db_free(killer);
}

static void an_error_inside_a_transaction_keeps_it_from_committing(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    assert_int_equal(db_begin(f->db, &err), 0);
    assert_int_equal(db_exec(f->db, "SELEKT", &err), -1);
    err_clear(&err);
    assert_int_equal(db_commit(f->db, &err), -1);
    err_clear(&err);
    assert_int_equal(db_begin(f->db, &err), 0);
    assert_int_equal(db_commit(f->db, &err), 0);
}

static void a_locked_row_is_busy_after_the_timeout(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct db *other = must_open(f->url, 1);
    must_exec(f->db, "CREATE TABLE v (i BIGINT); INSERT INTO v VALUES (1)");
    assert_int_equal(db_begin(f->db, &err), 0);
    must_exec(f->db, "UPDATE v SET i = i + 1");
    assert_int_equal(db_begin(other, &err), 0);
    assert_int_equal(db_exec(other, "UPDATE v SET i = i + 1", &err), -1);
    assert_int_equal(err.kind, ERR_BUSY);
    err_clear(&err);
    db_rollback(other);
    assert_int_equal(db_commit(f->db, &err), 0);
    assert_int_equal(db_begin(other, &err), 0);
    must_exec(other, "UPDATE v SET i = i + 1");
    assert_int_equal(db_commit(other, &err), 0);
    assert_int_equal(count_of(f->db, "SELECT SUM(i) FROM v"), 3);
    db_free(other);
}

static void an_error_skips_what_was_sent_with_it_and_names_its_own_statement(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    must_exec(f->db, "CREATE TABLE v (i BIGINT)");
    struct db_stmt *good = must_prepare(f->db, "INSERT INTO v VALUES (1)");
    struct db_stmt *bad = must_prepare(f->db, "SELEKT 1"), *after = must_prepare(f->db, "SELECT COUNT(*) FROM v");
    assert_int_equal(db_start(good, &err), 0);
    assert_int_equal(db_start(bad, &err), 0);
    assert_int_equal(db_start(after, &err), 0);
    assert_int_equal(db_next(after, &err), -1);
    assert_non_null(strstr(err.text, "SELEKT"));
    err_clear(&err);
    assert_int_equal(db_next(bad, &err), -1);
    err_clear(&err);
    assert_int_equal(db_next(good, &err), -1);
    assert_int_equal(count_of(f->db, "SELECT COUNT(*) FROM v"), 0); /* nothing of it was done */
}

static void what_waits_to_be_sent_is_lost_with_the_connection(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct db *killer = must_open(f->url, 0);
    struct db_stmt *s = must_prepare(f->db, "SELECT 1");
    assert_int_equal(db_begin(f->db, &err), 0);
    assert_int_equal(db_start(s, &err), 0);
    terminate_others(killer);
    assert_int_equal(db_commit(f->db, &err), -1);
    assert_int_equal(err.kind, ERR_TRANSIENT);
    assert_int_equal(count_of(f->db, "SELECT 7"), 7);
    db_free(killer);
}

static const char repeated[] = "SELECT 40 + 2";

static int64_t names_of_repeated(struct db *db)
{
    return count_of(db, "SELECT COUNT(*) FROM pg_prepared_statements WHERE statement = 'SELECT 40 + 2'");
}

static void only_what_runs_again_and_again_gets_a_name(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(count_of(f->db, repeated), 42);
    assert_int_equal(names_of_repeated(f->db), 0);
    for (int i = 0; i < 10; i++)
        assert_int_equal(count_of(f->db, repeated), 42);
    assert_int_equal(names_of_repeated(f->db), 1);
}

static void through_a_pooler_nothing_gets_a_name(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    for (int i = 0; i < 10; i++)
        assert_int_equal(count_of(f->db, repeated), 42);
    assert_int_equal(db_begin(f->db, &err), 0);
    assert_int_equal(names_of_repeated(f->db), 0);
    assert_int_equal(count_of(f->db, "SELECT CAST(setting AS BIGINT) FROM pg_settings WHERE name = 'lock_timeout'"),
                     10000);
    assert_int_equal(db_commit(f->db, &err), 0);
}

static void names_that_somebody_dropped_cost_one_call(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    for (int i = 0; i < 5; i++)
        assert_int_equal(count_of(f->db, repeated), 42);
    must_exec(f->db, "DEALLOCATE ALL");
    assert_int_equal(db_next(must_prepare(f->db, repeated), &err), -1);
    assert_int_equal(err.kind, ERR_TRANSIENT);
    for (int i = 0; i < 5; i++)
        assert_int_equal(count_of(f->db, repeated), 42);
}

static void a_statement_with_a_name_outlives_a_change_of_its_table(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    const char *sql = "SELECT i FROM v";
    must_exec(f->db, "CREATE TABLE v (i INTEGER); INSERT INTO v VALUES (7)");
    for (int i = 0; i < 5; i++)
        assert_int_equal(count_of(f->db, sql), 7);
    must_exec(f->db, "ALTER TABLE v ALTER i TYPE BIGINT");
    assert_int_equal(db_next(must_prepare(f->db, sql), &err), -1);
    assert_int_equal(err.kind, ERR_TRANSIENT);
    assert_int_equal(count_of(f->db, sql), 7);
}

static void several_runs_of_one_statement_go_out_together(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    must_exec(f->db, "CREATE TABLE v (i BIGINT)");
    assert_int_equal(db_begin(f->db, &err), 0);
    for (int i = 0; i < 12; i++) {
        struct db_stmt *s = must_prepare(f->db, "INSERT INTO v VALUES ($1)");
        db_bind_i64(s, 1, i);
        assert_int_equal(db_later(s, &err), 0);
    }
    assert_int_equal(db_commit(f->db, &err), 0);
    assert_int_equal(count_of(f->db, "SELECT SUM(i) FROM v"), 66);
}

static void copying_is_refused_and_the_connection_made_anew(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    must_exec(f->db, "CREATE TABLE v (i BIGINT)");
    assert_int_equal(db_next(must_prepare(f->db, "COPY v TO STDOUT"), &err), -1);
    err_clear(&err);
    assert_int_equal(db_next(must_prepare(f->db, "COPY v FROM STDIN"), &err), -1);
    assert_int_equal(count_of(f->db, "SELECT COUNT(*) FROM v"), 0);
}

static void values_stay_out_of_errors(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct db_stmt *s = must_prepare(f->db, "SELECT CAST($1 AS BIGINT)");
    db_bind_text(s, 1, "hush");
    assert_int_equal(db_next(s, &err), -1);
    assert_int_equal(err.kind, ERR_INVALID);
    assert_null(strstr(err.text, "hush"));
}

static void integers_of_every_width_are_read(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct db_stmt *s = must_prepare(f->db, "SELECT CAST(-2 AS SMALLINT), CAST(-70000 AS INTEGER), true, "
                                            "CAST(-9223372036854775808 AS NUMERIC), CAST(120000000 AS NUMERIC), 'x'");
    static const int64_t wanted[] = {-2, -70000, 1, INT64_MIN, 120000000};
    assert_int_equal(db_next(s, &err), 1);
    for (int i = 0; i < (int)ARRAY_LEN(wanted); i++)
        assert_true(db_col_i64(s, i) == wanted[i]);
    db_col_i64(s, 5);
    assert_int_equal(db_next(s, &err), -1);
    assert_int_equal(err.kind, ERR_SYSTEM);
}

static void a_notification_wakes_the_listener_also_after_a_reconnection(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    const char *payload = NULL;
    struct db *ear = must_open(f->url, 0);
    assert_int_equal(db_listen(ear, "jobs\"x", &err), 0);
    assert_int_equal(db_wait_notify(ear, 0, &payload, &err), 0);
    assert_int_equal(db_notify(f->db, "jobs\"x", "m1", &err), 0);
    assert_int_equal(db_wait_notify(ear, 60000, &payload, &err), 1);
    assert_string_equal(payload, "m1");
    terminate_others(f->db);
    assert_int_equal(db_wait_notify(ear, 60000, &payload, &err), -1);
    assert_int_equal(err.kind, ERR_TRANSIENT);
    err_clear(&err);
    assert_int_equal(db_wait_notify(ear, 60000, &payload, &err), 1);
    assert_int_equal(db_notify(f->db, "jobs\"x", "m2", &err), 0);
    assert_int_equal(db_wait_notify(ear, 60000, &payload, &err), 1);
    assert_string_equal(payload, "m2");
    db_free(ear);
}

enum { WRITERS = 4, ROUNDS = 50 };

static int migrate_and_add(const char *url)
{
    static const char *const steps[] = {"CREATE TABLE n (v BIGINT NOT NULL, b BLOB); INSERT INTO n VALUES (0, NULL)",
                                        "CREATE TABLE seen (writer BIGINT)"};
    struct err err = ERR_INIT;
    struct db *db = NULL;
    if (db_open(&db, &(struct db_opts){.url = url}, &err) == 0 && db_migrate(db, steps, ARRAY_LEN(steps), &err) == 0)
        for (int i = 0; i < ROUNDS && db_exec(db, "UPDATE n SET v = v + 1", &err) == 0; i++)
            ;
    if (err_is_set(&err))
        fprintf(stderr, "writer: %s\n", err.text);
    db_free(db);
    return err_is_set(&err);
}

static void processes_that_migrate_and_write_at_once_lose_nothing(void **state)
{
    struct fixture *f = *state;
    must_exec(f->db, "DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    db_free(f->db);
    f->db = NULL;
    pid_t pids[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0)
            _exit(migrate_and_add(f->url));
    }
    for (int i = 0; i < WRITERS; i++) {
        int status = 0;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    f->db = must_open(f->url, 0);
    assert_int_equal(count_of(f->db, "SELECT v FROM n"), WRITERS * ROUNDS);
    assert_int_equal(count_of(f->db, "SELECT version FROM schema_version"), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_url_that_fails_never_shows_its_password),
        DB_TEST(a_server_that_refuses_is_in_trouble_and_denies_nobody),
        DB_TEST(a_lost_connection_fails_one_call_and_is_made_anew),
        DB_TEST(a_transaction_lost_with_its_connection_stays_lost_until_rollback),
        DB_TEST(an_error_inside_a_transaction_keeps_it_from_committing),
        DB_TEST(a_locked_row_is_busy_after_the_timeout),
        DB_TEST(an_error_skips_what_was_sent_with_it_and_names_its_own_statement),
        DB_TEST(what_waits_to_be_sent_is_lost_with_the_connection),
        DB_TEST(only_what_runs_again_and_again_gets_a_name),
        DB_TEST(names_that_somebody_dropped_cost_one_call),
        DB_TEST(a_statement_with_a_name_outlives_a_change_of_its_table),
        DB_TEST(several_runs_of_one_statement_go_out_together),
        DB_TEST(copying_is_refused_and_the_connection_made_anew),
        DB_TEST(values_stay_out_of_errors),
        DB_TEST(integers_of_every_width_are_read),
        DB_TEST(a_notification_wakes_the_listener_also_after_a_reconnection),
        DB_TEST(processes_that_migrate_and_write_at_once_lose_nothing),
    };
    const struct CMUnitTest pooled[] = {DB_TEST(through_a_pooler_nothing_gets_a_name)};
    int failed = cmocka_run_group_tests(tests, pg_start, pg_stop);
    return failed + (pg_has_pooler() ? cmocka_run_group_tests(pooled, pg_start_pooled, pg_stop) : 0);
}
