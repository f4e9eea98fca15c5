#include "test_base.h"

#include "base/rng.h"

#include <string.h>

static void ids_are_hex_and_differ(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    char a[RNG_ID_MAX], b[RNG_ID_MAX];
    assert_works(rng_id(a, &err), &err);
    assert_works(rng_id(b, &err), &err);
    assert_int_equal(strlen(a), 32);
    assert_int_equal(strspn(a, "0123456789abcdef"), 32);
    assert_string_not_equal(a, b);
}

static void large_requests_are_filled(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    static uint8_t bytes[100000];
    size_t zeroes = 0;
    assert_works(rng_bytes(bytes, sizeof bytes, &err), &err);
    for (size_t i = 0; i < sizeof bytes; i++)
        zeroes += bytes[i] == 0;
    assert_true(zeroes < 1000); /* about 390 are expected */
    assert_works(rng_bytes(NULL, 0, &err), &err);
}

static void the_same_seed_gives_the_same_sequence(void **state)
{
    (void)state;
    struct rng a = {1}, b = {1}, zero = {0};
    for (int i = 0; i < 100; i++)
        assert_true(rng_next(&a) == rng_next(&b));
    assert_true(rng_next(&zero) == UINT64_C(0xe220a8397b1dcdaf)); /* SplitMix64's published first output for seed 0 */
}

static void bounded_numbers_stay_below_and_reach_all(void **state)
{
    (void)state;
    struct rng r = {7};
    unsigned seen[6] = {0};
    for (int i = 0; i < 6000; i++) {
        uint64_t n = rng_below(&r, 6);
        assert_true(n < 6);
        seen[n]++;
    }
    for (size_t i = 0; i < 6; i++)
        assert_in_range(seen[i], 800, 1200);
    assert_int_equal(rng_below(&r, 0), 0);
    assert_int_equal(rng_below(&r, 1), 0);
    assert_true(rng_below(&r, UINT64_MAX) < UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_hex_and_differ),
        cmocka_unit_test(large_requests_are_filled),
        cmocka_unit_test(the_same_seed_gives_the_same_sequence),
        cmocka_unit_test(bounded_numbers_stay_below_and_reach_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
