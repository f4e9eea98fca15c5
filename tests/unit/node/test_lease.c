#include "node/lease.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void counts_from_before_the_request(void **state)
{
    (void)state;
    assert_int_equal(lease_extend(0, 1000, 45000), 46000);
}

static void an_answer_that_was_long_under_way_shortens_nothing(void **state)
{
    (void)state;
    assert_int_equal(lease_extend(90000, 1000, 45000), 90000);
}

static void no_lease_at_all_changes_nothing(void **state)
{
    (void)state;
    assert_int_equal(lease_extend(7, 1000, 0), 7);
    assert_int_equal(lease_extend(7, 1000, -5), 7);
}

static void a_lease_beyond_the_clock_does_not_wrap(void **state)
{
    (void)state;
    assert_true(lease_extend(0, UINT64_MAX - 5, INT64_MAX) == UINT64_MAX);
}

static void the_clock_goes_on(void **state)
{
    (void)state;
    uint64_t before = boot_ms();
    assert_true(before > 0 && boot_ms() >= before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_from_before_the_request),
        cmocka_unit_test(an_answer_that_was_long_under_way_shortens_nothing),
        cmocka_unit_test(no_lease_at_all_changes_nothing),
        cmocka_unit_test(a_lease_beyond_the_clock_does_not_wrap),
        cmocka_unit_test(the_clock_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
