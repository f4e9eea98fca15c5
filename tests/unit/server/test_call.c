#include "../db/disk.h"
#include "fake.h"

#include "base/clock.h"
#include "base/fs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#define JOBS        "/api/v1/orchestrator/jobs"
#define MARKETS     "/api/markets"
#define WRONG_TOKEN "berth_pxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define CLIENT      "127.0.0.1" /* of all calls of the fake */

struct fixture {
    char dir[64], token[SEAL_TOKEN_MAX];
    struct fake_server fake;
};

static int set_up(void **state)
{
    struct err err = ERR_INIT;
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    snprintf(f->dir, sizeof f->dir, "/tmp/berth-call-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(fake_open(&f->fake, f->dir, &err), 0);
    struct market *m = server_take(&f->fake.server, &err);
    assert_non_null(m);
    assert_int_equal(market_token_first(m, f->token, &err), 1);
    server_give(&f->fake.server, m, false);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    AUTO_FD tmp = fs_open_dir("/tmp", &err);
    fake_close(&f->fake);
    assert_int_equal(fs_remove_tree(tmp, strrchr(f->dir, '/') + 1, &err), 0);
    free(f);
    return 0;
}

static int ask(struct fixture *f, const char *target, const char *token)
{
    AUTO_BUF answer;
    buf_init(&answer, 65536);
    return fake_call(&f->fake, &(struct fake_call){.method = "GET", .target = target, .token = token}, &answer);
}

/* From here on the address has nothing left, and gets next to nothing while a test lasts. */
static void use_up_the_address(struct fixture *f)
{
    rate_release(&f->fake.server.rate);
    f->fake.server.rate = (struct rate){0};
    rate_init(&f->fake.server.rate, 1);
    f->fake.server.rate.per_ms = 1e-9;
    while (rate_take(&f->fake.server.rate, CLIENT, clock_mono_ms()))
        ;
}

/* Every call that came as far as to the database would be answered 503. */
static void take_the_database_away(struct fixture *f)
{
    struct server *s = &f->fake.server;
    for (; s->idle.n > 0; s->idle.n--)
        market_free(s->idle.v[s->idle.n - 1]);
    atomic_store(&s->down, true);
}

static void wrong_tokens_are_limited_before_the_database_is_asked(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(ask(f, JOBS, WRONG_TOKEN), 401);
    use_up_the_address(f);
    take_the_database_away(f);
    assert_int_equal(ask(f, JOBS, WRONG_TOKEN), 429);
    assert_int_equal(ask(f, MARKETS, WRONG_TOKEN), 429);
    assert_int_equal(ask(f, JOBS, f->token), 429); /* nobody knows yet that it is a good one */
}

static void no_token_needs_no_database_to_be_refused(void **state)
{
    struct fixture *f = *state;
    take_the_database_away(f);
    assert_int_equal(ask(f, JOBS, NULL), 401);
    assert_int_equal(ask(f, MARKETS, NULL), 503); /* public */
    use_up_the_address(f);
    assert_int_equal(ask(f, JOBS, NULL), 429);
    assert_int_equal(ask(f, MARKETS, NULL), 429);
}

static void a_token_that_was_good_lately_does_not_count_for_its_address(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(ask(f, JOBS, f->token), 200);
    use_up_the_address(f);
    assert_int_equal(ask(f, JOBS, f->token), 200);
    assert_int_equal(ask(f, JOBS, WRONG_TOKEN), 429);
    assert_int_equal(ask(f, JOBS, f->token), 200);
}

static void a_token_that_is_revoked_is_forgotten(void **state)
{
    struct fixture *f = *state;
    const struct market_caller self = {.role = MARKET_OPERATOR};
    struct err err = ERR_INIT;
    assert_int_equal(ask(f, JOBS, f->token), 200);
    struct market *m = server_take(&f->fake.server, &err);
    assert_int_equal(market_token_revoke(m, &self, "t-first", &err), 0);
    server_give(&f->fake.server, m, false);
    assert_true(known_has(&f->fake.server.known, span_of(f->token)));
    assert_int_equal(ask(f, JOBS, f->token), 401);
    assert_false(known_has(&f->fake.server.known, span_of(f->token)));
}

static int tell(struct fixture *f, const char *method, const char *target, const char *body)
{
    AUTO_BUF answer;
    buf_init(&answer, 65536);
    const struct fake_call call = {.method = method, .target = target, .token = f->token, .body = span_of(body)};
    return fake_call(&f->fake, &call, &answer);
}

static void what_is_acknowledged_is_on_the_disk(void **state)
{
    static const struct {
        const char *method, *target, *body;
        int status;
    } calls[] = {{"PUT", "/api/markets/gpu", "{}", 201},
                 {"POST", JOBS,
                  "{\"market\":\"gpu\",\"definition\":{\"Name\":\"n\",\"Type\":\"batch\",\"Tasks\":[{\"Name\":\"main\","
                  "\"Engine\":{\"Type\":\"docker\",\"Params\":{\"Image\":\"busybox\"}}}]}}",
                  201},
                 {"POST", "/api/v1/tokens", "{\"role\":\"poster\"}", 201}};
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        const int before = atomic_load(&log_syncs);
        assert_int_equal(tell(f, calls[i].method, calls[i].target, calls[i].body), calls[i].status);
        assert_true(atomic_load(&log_syncs) > before);
    }
    const int before = atomic_load(&log_syncs);
    assert_int_equal(ask(f, JOBS, f->token), 200);
    assert_int_equal(atomic_load(&log_syncs), before);
}

static void what_is_known_of_one_token_is_not_of_another(void **state)
{
    struct known *k = calloc(1, sizeof *k);
    (void)state;
    assert_non_null(k);
    assert_false(known_has(k, SPAN_LIT("one")));
    known_add(k, SPAN_LIT("one"));
    assert_true(known_has(k, SPAN_LIT("one")));
    assert_false(known_has(k, SPAN_LIT("another")));
    known_drop(k, SPAN_LIT("another"));
    assert_true(known_has(k, SPAN_LIT("one")));
    known_drop(k, SPAN_LIT("one"));
    assert_false(known_has(k, SPAN_LIT("one")));
    free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(wrong_tokens_are_limited_before_the_database_is_asked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_token_needs_no_database_to_be_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_token_that_was_good_lately_does_not_count_for_its_address, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_token_that_is_revoked_is_forgotten, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_acknowledged_is_on_the_disk, set_up, tear_down),
        cmocka_unit_test(what_is_known_of_one_token_is_not_of_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
