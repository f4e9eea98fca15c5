#include "base/fs.h"
#include "server/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>

struct fixture {
    char dir[64], db[128], keys[128];
    struct server_opts opts;
    struct err err;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    snprintf(f->dir, sizeof f->dir, "/tmp/berth-server-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->db, sizeof f->db, "sqlite:%s/market.db", f->dir);
    snprintf(f->keys, sizeof f->keys, "%s/keys", f->dir);
    f->opts = (struct server_opts){.listen = "127.0.0.1:0", .db_url = f->db, .key_file = f->keys};
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    AUTO_FD tmp = fs_open_dir("/tmp", &err);
    assert_int_equal(fs_remove_tree(tmp, strrchr(f->dir, '/') + 1, &err), 0);
    free(f);
    return 0;
}

static void listens_beyond_this_machine_only_with_tls_or_when_told(void **state)
{
    struct fixture *f = *state;
    static const char *const elsewhere[] = {"0.0.0.0:0", "[::]:0", "192.0.2.1:0", "127.evil.example:0",
                                            "example.org:0"};
    for (size_t i = 0; i < ARRAY_LEN(elsewhere); i++) {
        struct server *s = NULL;
        struct err err = ERR_INIT;
        f->opts.listen = elsewhere[i];
        assert_int_equal(server_start(&s, &f->opts, &err), -1);
        assert_int_equal(err.kind, ERR_REFUSED);
        assert_null(s);
    }
    struct server *s = NULL;
    f->opts.listen = "0.0.0.0:0";
    f->opts.insecure = true;
    assert_int_equal(server_start(&s, &f->opts, &f->err), 0);
    server_stop(s);
}

static void starts_on_loopback_and_stops(void **state)
{
    struct fixture *f = *state;
    struct server *s = NULL;
    assert_int_equal(server_start(&s, &f->opts, &f->err), 0);
    assert_int_equal(strncmp(server_address(s), "http://127.0.0.1:", 17), 0);
    server_stop(s);
    server_stop(NULL);
}

static void makes_the_first_token_once_and_others_when_told(void **state)
{
    struct fixture *f = *state;
    struct server *s = NULL;
    char *first = NULL, *none = NULL, *other = NULL;
    assert_int_equal(server_start(&s, &f->opts, &f->err), 0);
    assert_int_equal(server_operator_token(s, false, &first, &f->err), 1);
    assert_int_equal(strncmp(first, "berth_", 6), 0);
    assert_int_equal(server_operator_token(s, false, &none, &f->err), 0);
    assert_null(none);
    assert_int_equal(server_operator_token(s, true, &other, &f->err), 1);
    assert_string_not_equal(first, other);
    assert_int_equal(server_knows_operator(s, first, &f->err), 1);
    assert_int_equal(server_knows_operator(s, other, &f->err), 1);
    other[strlen(other) - 1] ^= 1;
    assert_int_equal(server_knows_operator(s, other, &f->err), 0);
    assert_int_equal(server_knows_operator(s, "", &f->err), 0);
    str_free_secret(first);
    str_free_secret(other);
    server_stop(s);
}

static void a_start_that_fails_leaves_nothing_running(void **state)
{
    struct fixture *f = *state;
    struct server *s = NULL;
    f->opts.presign_s = SERVER_PRESIGN_MAX_S + 1;
    assert_int_equal(server_start(&s, &f->opts, &f->err), -1);
    assert_int_equal(f->err.kind, ERR_INVALID);
    err_clear(&f->err);
    f->opts.presign_s = 0;
    f->opts.db_url = "sqlite:/nowhere/at/all/market.db";
    assert_int_equal(server_start(&s, &f->opts, &f->err), -1);
    assert_null(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(listens_beyond_this_machine_only_with_tls_or_when_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(starts_on_loopback_and_stops, set_up, tear_down),
        cmocka_unit_test_setup_teardown(makes_the_first_token_once_and_others_when_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_start_that_fails_leaves_nothing_running, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
