/* A database file of its own for each test, and what most tests do to it. */
#ifndef BERTH_TESTS_DB_FIXTURE_H
#define BERTH_TESTS_DB_FIXTURE_H

#include "db/db.h"

#include "base/attr.h"
#include "base/fs.h"
#include "base/path.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* Where the tests run: a server's URL, whose schema each test finds empty; NULL: a SQLite file each. */
static const char *db_test_url;

struct fixture {
    char dir[64];
    char path[96];
    char url[256];
    struct db *db;
};

#define DB_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_make, fixture_remove)

static inline struct db *must_open(const char *url, uint32_t busy_timeout_ms)
{
    struct err err = ERR_INIT;
    struct db *db = NULL;
    if (db_open(&db, &(struct db_opts){.url = url, .busy_timeout_ms = busy_timeout_ms}, &err) < 0)
        fail_msg("%s", err.text);
    return db;
}

static inline void must_exec(struct db *db, const char *sql)
{
    struct err err = ERR_INIT;
    if (db_exec(db, sql, &err) < 0)
        fail_msg("%s", err.text);
}

static inline struct db_stmt *must_prepare(struct db *db, const char *sql)
{
    struct err err = ERR_INIT;
    struct db_stmt *s = NULL;
    if (db_prepare(db, sql, &s, &err) < 0)
        fail_msg("%s", err.text);
    return s;
}

static inline int64_t count_of(struct db *db, const char *sql)
{
    struct err err = ERR_INIT;
    struct db_stmt *s = must_prepare(db, sql);
    if (db_next(s, &err) != 1)
        fail_msg("%s", err.text);
    int64_t n = db_col_i64(s, 0);
    db_done(s);
    return n;
}

static inline int fixture_make(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    if (!f)
        return -1;
    snprintf(f->dir, sizeof(f->dir), "/tmp/berth-db-XXXXXX");
    if (!mkdtemp(f->dir))
        return -1;
    snprintf(f->path, sizeof(f->path), "%s/test.db", f->dir);
    snprintf(f->url, sizeof(f->url), "%s%s", db_test_url ? db_test_url : "sqlite:", db_test_url ? "" : f->path);
    f->db = must_open(f->url, 0);
    if (db_test_url) /* with what db_migrate() would prepare */
        must_exec(f->db, "DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE DOMAIN blob AS bytea");
    *state = f;
    return 0;
}

static inline int fixture_remove(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    AUTO_FD tmp = fs_open_dir("/tmp", &err);
    db_free(f->db);
    int rc = fs_remove_tree(tmp, path_basename(span_of(f->dir)).p, &err);
    free(f);
    return rc;
}

#endif
