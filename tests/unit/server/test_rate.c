#include "server/rate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

static int set_up(void **state)
{
    struct rate *r = calloc(1, sizeof *r);
    assert_non_null(r);
    rate_init(r, 10);
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    rate_release(*state);
    free(*state);
    return 0;
}

static unsigned taken(struct rate *r, const char *who, uint64_t now_ms)
{
    unsigned n = 0;
    while (n < 1000 && rate_take(r, who, now_ms))
        n++;
    return n;
}

static void a_caller_gets_a_burst_and_then_its_rate(void **state)
{
    struct rate *r = *state;
    assert_int_equal(taken(r, "a", 1000000), 10 * RATE_BURST_TIMES);
    assert_int_equal(taken(r, "a", 1000099), 0);
    assert_int_equal(taken(r, "a", 1000100), 1);
    assert_int_equal(taken(r, "a", 1001100), 10);
}

static void a_bucket_fills_up_to_its_burst_only(void **state)
{
    struct rate *r = *state;
    assert_int_equal(taken(r, "a", 1000000), 10 * RATE_BURST_TIMES);
    assert_int_equal(taken(r, "a", 100000000), 10 * RATE_BURST_TIMES);
}

static void addresses_count_for_their_network(void **state)
{
    static const struct {
        const char *address, *who;
    } cases[] = {{"192.0.2.1", "192.0.2.1"},
                 {"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"},
                 {"2001:db8:1:2:ffff::1", "2001:db8:1:2::"},
                 {"2001:db8:1:3::1", "2001:db8:1:3::"},
                 {"::1", "::"},
                 {"::ffff:192.0.2.1", "::ffff:192.0.2.1"}, /* IPv4, seen through a socket of both */
                 {"?", "?"}};
    char who[RATE_WHO_MAX];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rate_who(cases[i].address, who);
        assert_string_equal(who, cases[i].who);
    }
}

static void a_clock_read_earlier_gives_nothing(void **state)
{
    struct rate *r = *state;
    assert_int_equal(taken(r, "a", 1000000), 10 * RATE_BURST_TIMES);
    assert_int_equal(taken(r, "a", 999000), 0);
    assert_int_equal(taken(r, "a", 1000000), 0);
    assert_int_equal(taken(r, "a", 1000100), 1);
}

static void one_caller_does_not_use_up_anothers(void **state)
{
    struct rate *r = *state;
    char who[32];
    unsigned with_all = 0;
    assert_int_equal(taken(r, "a", 1000000), 10 * RATE_BURST_TIMES);
    for (unsigned i = 0; i < 100; i++) {
        snprintf(who, sizeof who, "caller %u", i);
        with_all += rate_take(r, who, 1000000);
    }
    assert_true(with_all >= 98); /* of 4,096 slots, one may be shared */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_caller_gets_a_burst_and_then_its_rate, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_bucket_fills_up_to_its_burst_only, set_up, tear_down),
        cmocka_unit_test(addresses_count_for_their_network),
        cmocka_unit_test_setup_teardown(a_clock_read_earlier_gives_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_caller_does_not_use_up_anothers, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
