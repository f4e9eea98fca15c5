#include "xfer/retry.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void only_pressure_and_passing_faults_are_retried(void **state)
{
    (void)state;
    for (int status = 100; status < 600; status++) {
        bool want = status == 408 || status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
        assert_int_equal(retry_status(status), want);
    }
}

static void delays_stay_below_a_ceiling_that_doubles_up_to_the_cap(void **state)
{
    (void)state;
    struct rng rng = {.state = 7};
    uint64_t ceiling = RETRY_BASE_MS;
    for (unsigned attempt = 0; attempt < 40; attempt++) {
        uint64_t largest = 0;
        for (int i = 0; i < 200; i++) {
            uint64_t d = retry_delay_ms(attempt, 0, &rng);
            assert_true(d <= ceiling);
            largest = d > largest ? d : largest;
        }
        assert_true(largest > ceiling / 2); /* the whole span is used */
        ceiling = ceiling * 2 < RETRY_CAP_MS ? ceiling * 2 : RETRY_CAP_MS;
    }
    assert_true(retry_delay_ms(UINT32_MAX, 0, &rng) <= RETRY_CAP_MS);
}

static void a_delay_is_never_shorter_than_the_server_asked_nor_above_the_bound(void **state)
{
    (void)state;
    struct rng rng = {.state = 3};
    for (int i = 0; i < 100; i++) {
        assert_true(retry_delay_ms(0, 5000, &rng) == 5000);
        assert_true(retry_delay_ms(9, 3000, &rng) >= 3000);
        assert_true(retry_delay_ms(0, UINT64_MAX, &rng) == RETRY_AFTER_MAX_MS);
    }
}

static void retry_after_takes_seconds(void **state)
{
    (void)state;
    assert_int_equal(retry_after_ms(SPAN_LIT("7"), 0), 7000);
    assert_int_equal(retry_after_ms(SPAN_LIT(" 0 "), 0), 0);
    assert_int_equal(retry_after_ms(SPAN_LIT("120"), 0), RETRY_AFTER_MAX_MS);
    assert_int_equal(retry_after_ms(SPAN_LIT("121"), 0), RETRY_AFTER_MAX_MS);
    assert_int_equal(retry_after_ms(SPAN_LIT("99999999999999999999999999"), 0), RETRY_AFTER_MAX_MS);
}

static void a_rate_limit_asks_to_wait_where_nothing_remains(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        uint64_t ms;
    } rows[] = {
        {"\"api\";r=0;t=55", 55000},
        {"\"api\"; r=0 ; t=7", 7000},
        {"\"api\";r=3;t=55", 0},
        {"\"api\";r=0;t=5, \"resolvers\";r=0;t=9, \"pages\";r=1;t=80", 9000},
        {"\"api\";t=5;r=0;pk=:abc=:", 5000},
        {"\"api\";r=0;t=99999", RETRY_AFTER_MAX_MS},
        {"\"api\";r=0;t=-1", 0},
        {"\"api\";r=0", 0},
        {"limit=10, remaining=0, reset=50", 0},
        {"", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(retry_rate_limit_ms(span_of(rows[i].header)), rows[i].ms);
}

static void retry_after_takes_a_date_relative_to_now(void **state)
{
    (void)state;
    struct span date = SPAN_LIT("Fri, 31 Dec 1999 23:59:59 GMT");
    int64_t then;
    struct err err = ERR_INIT;
    assert_int_equal(time_parse_http(date, &then, &err), 0);
    assert_int_equal(retry_after_ms(date, then - 4000), 4000);
    assert_int_equal(retry_after_ms(date, then), 0);
    assert_int_equal(retry_after_ms(date, then + 1), 0);
    assert_int_equal(retry_after_ms(date, INT64_MIN), RETRY_AFTER_MAX_MS);
    assert_int_equal(retry_after_ms(date, INT64_MAX), 0);
}

static void an_unusable_retry_after_counts_as_none(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "-1", "1.5", "soon", "0x10", "1e9", "Fri, 99 Foo 1999"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(retry_after_ms(span_of(bad[i]), 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_pressure_and_passing_faults_are_retried),
        cmocka_unit_test(delays_stay_below_a_ceiling_that_doubles_up_to_the_cap),
        cmocka_unit_test(a_delay_is_never_shorter_than_the_server_asked_nor_above_the_bound),
        cmocka_unit_test(retry_after_takes_seconds),
        cmocka_unit_test(a_rate_limit_asks_to_wait_where_nothing_remains),
        cmocka_unit_test(retry_after_takes_a_date_relative_to_now),
        cmocka_unit_test(an_unusable_retry_after_counts_as_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
