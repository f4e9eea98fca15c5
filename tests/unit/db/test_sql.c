/* Statements: binding, rows, the cache, transactions; the same over each engine. */
#include "pg_server.h"

static void values_of_each_type_come_back_as_they_went_in(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    must_exec(f->db, "CREATE TABLE v (i BIGINT, t TEXT, b BLOB, n TEXT, e BLOB)");
    struct db_stmt *s = must_prepare(f->db, "INSERT INTO v VALUES ($1, $2, $3, $4, $5)");
    static const char blob[] = {0, 1, (char)0xff, 0};
    db_bind_i64(s, 1, INT64_MIN);
    db_bind_text(s, 2, "naïve\n");
    db_bind_blob(s, 3, blob, sizeof(blob));
    db_bind_text(s, 4, NULL);
    db_bind_blob(s, 5, "", 0);
    assert_int_equal(db_run(s, &err), 0);
    assert_int_equal(db_changes(f->db), 1);

    s = must_prepare(f->db, "SELECT i, t, b, n, e FROM v");
    assert_int_equal(db_next(s, &err), 1);
    assert_true(db_col_i64(s, 0) == INT64_MIN);
    assert_string_equal(db_col_text(s, 1).p, "naïve\n");
    assert_true(span_eq(db_col_text(s, 2), (struct span){blob, sizeof(blob)}));
    assert_true(db_col_null(s, 3));
    assert_null(db_col_text(s, 3).p);
    assert_false(db_col_null(s, 4));
    assert_non_null(db_col_text(s, 4).p);
    assert_int_equal(db_col_text(s, 4).n, 0);
    assert_int_equal(db_next(s, &err), 0);
}

/* SQLite alone would number $2 first here. */
static void parameters_are_numbered_as_written_in_any_order(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct db_stmt *s = must_prepare(f->db, "SELECT $2 || '-' || $1 || '-' || $2 || '-' || $10");
    db_bind_text(s, 1, "one");
    db_bind_text(s, 2, "two");
    db_bind_span(s, 10, (struct span){"tens", 3});
    assert_int_equal(db_next(s, &err), 1);
    assert_string_equal(db_col_text(s, 0).p, "two-one-two-ten");
    db_done(s);
}

static void a_wrong_binding_is_reported_once_the_statement_runs(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    must_exec(f->db, "CREATE TABLE v (i INTEGER)");
    struct db_stmt *s = must_prepare(f->db, "INSERT INTO v VALUES ($1)");
    db_bind_i64(s, 3, 1);
    db_bind_i64(s, 1, 1); /* does not mend it */
    assert_int_equal(db_run(s, &err), -1);
    assert_non_null(strstr(err.text, "$3"));
    assert_non_null(strstr(err.text, "INSERT INTO v"));
    assert_int_equal(count_of(f->db, "SELECT COUNT(*) FROM v"), 0);
    err_clear(&err);
    db_bind_i64(s, 1, 7); /* a fresh run */
    assert_int_equal(db_run(s, &err), 0);
    assert_int_equal(count_of(f->db, "SELECT COUNT(*) FROM v"), 1);
    s = must_prepare(f->db, "SELECT i FROM v WHERE i = $1");
    db_bind_i64(s, 1, 7);
    assert_int_equal(db_next(s, &err), 1);
    db_bind_i64(s, 1, 8); /* in mid-run */
    assert_int_equal(db_next(s, &err), -1);
}

static void a_binding_does_not_outlive_its_run(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct db_stmt *s = must_prepare(f->db, "SELECT $1");
    db_bind_i64(s, 1, 5);
    assert_int_equal(db_next(s, &err), 1);
    assert_int_equal(db_col_i64(s, 0), 5);
    assert_int_equal(db_next(s, &err), 0);
    assert_int_equal(db_next(s, &err), 1);
    assert_true(db_col_null(s, 0));
    db_done(s);
}

static void one_literal_is_one_statement(void **state)
{
    struct fixture *f = *state;
    static const char sql[] = "SELECT 1 UNION SELECT 2";
    struct err err = ERR_INIT;
    struct db_stmt *first = must_prepare(f->db, sql);
    assert_int_equal(db_next(first, &err), 1);
    struct db_stmt *again = must_prepare(f->db, sql); /* starts anew */
    assert_ptr_equal(first, again);
    assert_int_equal(db_next(again, &err), 1);
    assert_int_equal(db_col_i64(again, 0), 1);
    db_done(again);
}

static void the_cache_keeps_many_statements_and_no_endless_number(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    enum { MANY = 1025, LENGTH = 24 };
    static char sql[MANY][LENGTH];
    static struct db_stmt *kept[MANY];
    for (int i = 0; i < MANY - 1; i++) {
        snprintf(sql[i], LENGTH, "SELECT %d", i);
        kept[i] = must_prepare(f->db, sql[i]);
    }
    for (int i = 0; i < MANY - 1; i++) {
        assert_ptr_equal(must_prepare(f->db, sql[i]), kept[i]);
        assert_int_equal(db_next(kept[i], &err), 1);
        assert_int_equal(db_col_i64(kept[i], 0), i);
        db_done(kept[i]);
    }
    struct db_stmt *s;
    snprintf(sql[MANY - 1], LENGTH, "SELECT 1");
    assert_int_equal(db_prepare(f->db, sql[MANY - 1], &s, &err), -1);
    assert_int_equal(err.kind, ERR_LIMIT);
}

static void wrong_sql_is_named_in_the_error(void **state)
{
    struct fixture *f = *state;
    struct db_stmt *s = NULL;
    static const char *const wrong[] = {"SELEKT 1", "SELECT 1; SELECT 2", "", "SELECT ?1", "SELECT $x", "SELECT $65"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct err err = ERR_INIT;
        assert_true(db_prepare(f->db, wrong[i], &s, &err) < 0 || db_next(s, &err) < 0);
        assert_int_equal(err.kind, ERR_SYSTEM);
        assert_non_null(strstr(err.text, wrong[i]));
    }
    struct err err = ERR_INIT;
    assert_int_equal(db_exec(f->db, "SELECT \"no such name\"", &err), -1);
}

static void a_row_nobody_asked_for_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    assert_int_equal(db_run(must_prepare(f->db, "SELECT 1"), &err), -1);
    assert_int_equal(err.kind, ERR_SYSTEM);
}

static void constraints_have_kinds_of_their_own_and_hide_values(void **state)
{
    struct fixture *f = *state;
    must_exec(f->db, "CREATE TABLE p (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"
                     "CREATE TABLE c (p INTEGER NOT NULL REFERENCES p (id));"
                     "INSERT INTO p VALUES (1, 'hush')");
    struct err err = ERR_INIT;
    struct db_stmt *s = must_prepare(f->db, "INSERT INTO p (id, name) VALUES (2, $1)");
    db_bind_text(s, 1, "hush");
    assert_int_equal(db_run(s, &err), -1);
    assert_int_equal(err.kind, ERR_EXISTS);
    assert_non_null(strstr(err.text, db_engine(f->db) == DB_SQLITE ? "p.name" : "p_name_key"));
    assert_null(strstr(err.text, "hush"));
    err_clear(&err);
    assert_int_equal(db_run(s, &err), -1); /* unbound: NULL */
    assert_int_equal(err.kind, ERR_INVALID);
    err_clear(&err);
    assert_int_equal(db_exec(f->db, "INSERT INTO c VALUES (99)", &err), -1); /* foreign keys are on */
    assert_int_equal(err.kind, ERR_INVALID);
}

static void what_is_rolled_back_never_was(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    must_exec(f->db, "CREATE TABLE v (i INTEGER)");
    assert_int_equal(db_begin(f->db, &err), 0);
    must_exec(f->db, "INSERT INTO v VALUES (1)");
    struct db_stmt *s = must_prepare(f->db, "SELECT i FROM v");
    assert_int_equal(db_next(s, &err), 1); /* a run still open */
    db_rollback(f->db);
    db_rollback(f->db); /* nothing left to do */
    assert_int_equal(count_of(f->db, "SELECT COUNT(*) FROM v"), 0);

    assert_int_equal(db_begin(f->db, &err), 0);
    must_exec(f->db, "INSERT INTO v VALUES (1), (2)");
    s = must_prepare(f->db, "SELECT i FROM v");
    assert_int_equal(db_next(s, &err), 1);
    assert_int_equal(db_commit(f->db, &err), 0);
    assert_int_equal(count_of(f->db, "SELECT COUNT(*) FROM v"), 2);
}

static void transactions_do_not_nest_and_do_not_end_twice(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    assert_int_equal(db_commit(f->db, &err), -1);
    err_clear(&err);
    assert_int_equal(db_begin(f->db, &err), 0);
    assert_int_equal(db_begin(f->db, &err), -1);
    err_clear(&err);
    assert_int_equal(db_commit(f->db, &err), 0);
}

static void a_commit_that_fails_leaves_nothing_open(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    must_exec(f->db, "CREATE TABLE p (id INTEGER PRIMARY KEY);"
                     "CREATE TABLE c (p INTEGER REFERENCES p (id) DEFERRABLE INITIALLY DEFERRED)");
    assert_int_equal(db_begin(f->db, &err), 0);
    must_exec(f->db, "INSERT INTO c VALUES (1)");
    assert_int_equal(db_commit(f->db, &err), -1);
    assert_int_equal(err.kind, ERR_INVALID);
    assert_int_equal(count_of(f->db, "SELECT COUNT(*) FROM c"), 0);
    err_clear(&err);
    assert_int_equal(db_begin(f->db, &err), 0);
    assert_int_equal(db_commit(f->db, &err), 0);
}

static struct db_stmt *start_with(struct db *db, const char *sql, int64_t value)
{
    struct err err = ERR_INIT;
    struct db_stmt *s = must_prepare(db, sql);
    db_bind_i64(s, 1, value);
    if (db_start(s, &err) < 0)
        fail_msg("%s", err.text);
    return s;
}

static void statements_started_together_answer_each_for_itself(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    must_exec(f->db, "CREATE TABLE v (i BIGINT); INSERT INTO v VALUES (1), (2), (3)");
    struct db_stmt *a = start_with(f->db, "SELECT i FROM v WHERE i > $1 ORDER BY i", 1);
    struct db_stmt *b = start_with(f->db, "SELECT i * 10 FROM v WHERE i = $1", 2);
    struct db_stmt *none = start_with(f->db, "SELECT i * 100 FROM v WHERE i = $1", 4);
    struct db_stmt *unread = start_with(f->db, "SELECT i * 1000 FROM v WHERE i = $1", 3);
    db_done(unread);
    assert_int_equal(db_next(b, &err), 1);
    assert_int_equal(db_next(a, &err), 1);
    assert_int_equal(db_col_i64(b, 0), 20);
    assert_int_equal(db_col_i64(a, 0), 2);
    assert_int_equal(db_next(none, &err), 0);
    assert_int_equal(db_next(a, &err), 1);
    assert_int_equal(db_col_i64(a, 0), 3);
    assert_int_equal(db_next(a, &err), 0);
    assert_int_equal(db_next(b, &err), 0);
    assert_int_equal(count_of(f->db, "SELECT COUNT(*) FROM v"), 3);
}

static int add_later(struct db *db, const char *text, int64_t i, struct err *err)
{
    char copy[32];
    struct db_stmt *s = must_prepare(db, "INSERT INTO v (i, t) VALUES ($1, $2)");
    snprintf(copy, sizeof(copy), "%s", text);
    db_bind_i64(s, 1, i);
    db_bind_text(s, 2, copy);
    int rc = db_later(s, err);
    memset(copy, '!', sizeof(copy)); /* borrowed no longer */
    return rc;
}

static void what_nobody_waits_for_is_there_in_its_order(void **state)
{
    enum { MANY = 50 };
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    must_exec(f->db, "CREATE TABLE v (i BIGINT PRIMARY KEY, t TEXT)");
    assert_int_equal(db_begin(f->db, &err), 0);
    for (int64_t i = 0; i < MANY; i++)
        assert_int_equal(add_later(f->db, "fish", i, &err), 0);
    assert_int_equal(count_of(f->db, "SELECT COUNT(*) FROM v"), MANY);
    must_exec(f->db, "DELETE FROM v WHERE i < 10");
    assert_int_equal(add_later(f->db, "fish", 0, &err), 0);
    assert_int_equal(db_commit(f->db, &err), 0);
    assert_int_equal(count_of(f->db, "SELECT COUNT(*) FROM v WHERE t = 'fish'"), MANY - 9);
    assert_int_equal(db_begin(f->db, &err), 0);
    assert_int_equal(add_later(f->db, "fish", 1, &err), 0);
    db_rollback(f->db);
    assert_int_equal(count_of(f->db, "SELECT COUNT(*) FROM v"), MANY - 9);
}

static void what_fails_unawaited_is_told_by_the_commit_at_the_latest(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    must_exec(f->db, "CREATE TABLE v (i BIGINT PRIMARY KEY, t TEXT)");
    assert_int_equal(db_begin(f->db, &err), 0);
    assert_int_equal(add_later(f->db, "a", 1, &err), 0);
    int rc = add_later(f->db, "hush", 1, &err);
    if (rc == 0)
        rc = add_later(f->db, "b", 2, &err);
    if (rc == 0)
        rc = db_commit(f->db, &err);
    assert_int_equal(rc, -1);
    assert_int_equal(err.kind, ERR_EXISTS);
    assert_non_null(strstr(err.text, "INSERT INTO v"));
    assert_null(strstr(err.text, "hush"));
    db_rollback(f->db);
    assert_int_equal(count_of(f->db, "SELECT COUNT(*) FROM v"), 0);
    err_clear(&err);
    assert_int_equal(db_begin(f->db, &err), 0);
    assert_int_equal(db_commit(f->db, &err), 0);
}

static void a_statement_that_runs_often_takes_null_and_not_null_alike(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    must_exec(f->db, "CREATE TABLE v (i BIGINT, t TEXT)");
    for (int i = 0; i < 24; i++) {
        struct db_stmt *s = must_prepare(f->db, "INSERT INTO v (i, t) VALUES ($1, $2)");
        if (i & 1)
            db_bind_i64(s, 1, i);
        if (i & 2)
            db_bind_text(s, 2, "x");
        assert_int_equal(db_run(s, &err), 0);
    }
    assert_int_equal(count_of(f->db, "SELECT COUNT(*) FROM v WHERE i IS NULL"), 12);
    assert_int_equal(count_of(f->db, "SELECT COUNT(*) FROM v WHERE t = 'x'"), 12);
    assert_int_equal(count_of(f->db, "SELECT SUM(i) FROM v WHERE t IS NULL"), 66);
}

static void the_database_has_a_clock(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    int64_t first = 0, second = 0;
    assert_int_equal(db_now_ms(f->db, &first, &err), 0);
    assert_int_equal(db_now_ms(f->db, &second, &err), 0);
    assert_true(first > 1700000000000 && second >= first);
}

static void where_there_are_no_notifications_waiting_says_so(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    const char *payload = NULL;
    assert_int_equal(db_notify(f->db, "jobs", "", &err), 0);
    int wanted = db_engine(f->db) == DB_SQLITE ? -1 : 0;
    assert_int_equal(db_listen(f->db, "jobs", &err), wanted);
    err_clear(&err);
    assert_int_equal(db_wait_notify(f->db, 0, &payload, &err), wanted);
    assert_int_equal(err.kind, wanted ? ERR_UNSUPPORTED : ERR_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DB_TEST(values_of_each_type_come_back_as_they_went_in),
        DB_TEST(parameters_are_numbered_as_written_in_any_order),
        DB_TEST(a_wrong_binding_is_reported_once_the_statement_runs),
        DB_TEST(a_binding_does_not_outlive_its_run),
        DB_TEST(one_literal_is_one_statement),
        DB_TEST(the_cache_keeps_many_statements_and_no_endless_number),
        DB_TEST(wrong_sql_is_named_in_the_error),
        DB_TEST(a_row_nobody_asked_for_is_an_error),
        DB_TEST(constraints_have_kinds_of_their_own_and_hide_values),
        DB_TEST(what_is_rolled_back_never_was),
        DB_TEST(transactions_do_not_nest_and_do_not_end_twice),
        DB_TEST(a_commit_that_fails_leaves_nothing_open),
        DB_TEST(statements_started_together_answer_each_for_itself),
        DB_TEST(what_nobody_waits_for_is_there_in_its_order),
        DB_TEST(what_fails_unawaited_is_told_by_the_commit_at_the_latest),
        DB_TEST(a_statement_that_runs_often_takes_null_and_not_null_alike),
        DB_TEST(the_database_has_a_clock),
        DB_TEST(where_there_are_no_notifications_waiting_says_so),
    };
    int failed = cmocka_run_group_tests_name("sqlite", tests, NULL, NULL);
    failed += cmocka_run_group_tests_name("postgres", tests, pg_start, pg_stop);
    if (pg_has_pooler())
        failed += cmocka_run_group_tests_name("postgres through a pooler", tests, pg_start_pooled, pg_stop);
    else
        fprintf(stderr, "not tested through a pooler: `tools/setup servers` installs PgBouncer\n");
    return failed;
}
