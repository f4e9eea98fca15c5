#include "httpd/pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#define RATE    (10u << 20)
#define PIECE   65536
#define TICK_US 200000 /* those who wait are woken so often */
#define SECONDS 20

static struct pace p;

struct reader {
    const char *who;
    unsigned connections;
    size_t most_per_tick; /* what its line carries */
    uint64_t got;
};

/* Everybody reads until there is nothing more, in turns, and then sleeps until the next tick. */
static void read_all(struct reader *readers, size_t n, uint64_t from_us, unsigned ticks)
{
    for (unsigned t = 0; t < ticks; t++) {
        size_t left[8];
        bool any = true;
        for (size_t i = 0; i < n; i++)
            left[i] = readers[i].most_per_tick;
        while (any) {
            any = false;
            for (size_t i = 0; i < n; i++)
                for (unsigned c = 0; c < readers[i].connections && left[i] > 0; c++) {
                    uint32_t wait_ms = 0;
                    size_t got = pace_take(&p, readers[i].who, left[i] < PIECE ? left[i] : PIECE,
                                           from_us + (uint64_t)t * TICK_US, &wait_ms);
                    assert_true(got > 0 || wait_ms > 0);
                    readers[i].got += got;
                    left[i] -= got;
                    any |= got > 0;
                }
        }
    }
}

static void without_a_rate_everything_goes_at_once(void **state)
{
    uint32_t wait_ms = 7;
    (void)state;
    pace_init(&p, 0, 0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(pace_take(&p, "a", PIECE, 0, &wait_ms), PIECE);
    assert_int_equal(wait_ms, 7);
}

static void one_reader_gets_the_rate_and_not_more(void **state)
{
    struct reader r = {"a", 4, SIZE_MAX, 0};
    (void)state;
    pace_init(&p, RATE, 0);
    read_all(&r, 1, 0, SECONDS * 5);
    assert_in_range(r.got, (uint64_t)RATE * (SECONDS - 1), (uint64_t)RATE * (SECONDS + 1));
}

static void two_readers_get_alike_however_many_connections_they_have(void **state)
{
    struct reader r[] = {{"greedy", 64, SIZE_MAX, 0}, {"modest", 1, SIZE_MAX, 0}};
    (void)state;
    pace_init(&p, RATE, 0);
    read_all(r, 2, 0, SECONDS * 5);
    assert_true(r[0].got + r[1].got <= (uint64_t)RATE * (SECONDS + 1));
    assert_in_range(r[1].got, (uint64_t)RATE * (SECONDS - 2) / 2, (uint64_t)RATE * (SECONDS + 1) / 2);
    assert_in_range(r[0].got, (uint64_t)RATE * (SECONDS - 2) / 2, (uint64_t)RATE * (SECONDS + 1) / 2 + RATE);
}

static void what_a_slow_reader_leaves_goes_to_the_others(void **state)
{
    struct reader r[] = {{"slow", 1, RATE / 50, 0}, {"fast", 4, SIZE_MAX, 0}}; /* a tenth of the rate */
    (void)state;
    pace_init(&p, RATE, 0);
    read_all(r, 2, 0, SECONDS * 5);
    assert_int_equal(r[0].got, (uint64_t)RATE / 50 * 5 * SECONDS);
    assert_true(r[0].got + r[1].got >= (uint64_t)RATE * (SECONDS - 2));
}

static void who_went_away_leaves_its_part(void **state)
{
    struct reader both[] = {{"a", 1, SIZE_MAX, 0}, {"b", 1, SIZE_MAX, 0}}, one = {"b", 1, SIZE_MAX, 0};
    (void)state;
    pace_init(&p, RATE, 0);
    read_all(both, 2, 0, 5);
    read_all(&one, 1, 1000000, SECONDS * 5);
    assert_true(one.got >= (uint64_t)RATE * (SECONDS - 3));
}

/* Many more than the table holds: the rate holds all the same, and those beyond it live on what is left. */
static void more_readers_than_are_known_stay_within_the_rate(void **state)
{
    char who[16];
    uint32_t wait_ms;
    uint64_t all = 0;
    (void)state;
    pace_init(&p, RATE, 0);
    for (unsigned t = 0; t < SECONDS * 5; t++)
        for (unsigned i = 0; i < 3 * PACE_READERS; i++) {
            snprintf(who, sizeof who, "%u", i);
            all += pace_take(&p, who, PIECE, (uint64_t)t * TICK_US, &wait_ms);
        }
    assert_in_range(all, (uint64_t)RATE * (SECONDS - 2), (uint64_t)RATE * (SECONDS + 1));
}

static void a_rate_below_a_piece_gives_small_ones(void **state)
{
    struct reader r = {"a", 1, SIZE_MAX, 0};
    (void)state;
    pace_init(&p, 100, 0);
    read_all(&r, 1, 0, 5 * 600); /* ten minutes */
    assert_in_range(r.got, 100 * 500, 100 * 600 + 2 * PACE_GRAIN);
}

static void a_clock_that_was_read_earlier_gives_nothing(void **state)
{
    uint32_t wait_ms = 0;
    (void)state;
    pace_init(&p, RATE, 1000000);
    while (pace_take(&p, "a", PIECE, 1000000, &wait_ms) > 0)
        ;
    assert_int_equal(pace_take(&p, "a", PIECE, 0, &wait_ms), 0);
    assert_int_equal(pace_take(&p, "a", PIECE, 1000000, &wait_ms), 0);
    assert_true(pace_take(&p, "a", PIECE, 1200000, &wait_ms) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_rate_everything_goes_at_once),
        cmocka_unit_test(one_reader_gets_the_rate_and_not_more),
        cmocka_unit_test(two_readers_get_alike_however_many_connections_they_have),
        cmocka_unit_test(what_a_slow_reader_leaves_goes_to_the_others),
        cmocka_unit_test(who_went_away_leaves_its_part),
        cmocka_unit_test(more_readers_than_are_known_stay_within_the_rate),
        cmocka_unit_test(a_rate_below_a_piece_gives_small_ones),
        cmocka_unit_test(a_clock_that_was_read_earlier_gives_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
