/* Scheduling decisions under a clock of the test's own. */
#include "xfer/sched.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MANY 1000000u

/* ---- gate ---- */

static void a_host_starts_modestly_and_grows_while_it_helps(void **state)
{
    (void)state;
    struct gate g;
    uint64_t now = 1000;
    gate_init(&g, 32, now);
    assert_int_equal(g.limit, GATE_START);
    for (unsigned window = 0; window < 20; window++) {
        gate_took(&g, g.limit);
        now += GATE_WINDOW_MS;
        gate_succeeded(&g, (uint64_t)g.limit * MANY, now); /* twice the connections, twice the goodput */
    }
    assert_int_equal(g.limit, 32);
}

static void growing_stops_where_it_does_not_help(void **state)
{
    (void)state;
    struct gate g;
    uint64_t now = 1000;
    gate_init(&g, 64, now);
    for (unsigned window = 0; window < 10; window++) {
        gate_took(&g, g.limit);
        now += GATE_WINDOW_MS;
        gate_succeeded(&g, 10 * MANY, now);
    }
    assert_int_equal(g.limit, GATE_START);
}

static void a_host_that_is_not_full_does_not_grow(void **state)
{
    (void)state;
    struct gate g;
    gate_init(&g, 64, 1000);
    gate_took(&g, 1);
    gate_succeeded(&g, 10 * MANY, 1000 + GATE_WINDOW_MS);
    assert_int_equal(g.limit, GATE_START);
}

static void a_volley_of_refusals_halves_once_and_blocks_the_host(void **state)
{
    (void)state;
    struct gate g;
    struct rng rng = {.state = 1};
    gate_init(&g, 32, 1000);
    for (unsigned i = 0; i < 8; i++)
        gate_pressed(&g, 1500, 3000, 2000 + i, &rng);
    assert_int_equal(g.limit, GATE_START / 2);
    assert_int_equal(g.presses, 1);
    assert_false(gate_open(&g, 0, 4999));
    assert_true(gate_open(&g, 0, 2007 + 3000));
    assert_false(gate_open(&g, GATE_START / 2, 2007 + 3000));
}

static void refusals_in_a_row_go_down_to_one_and_back_off_longer(void **state)
{
    (void)state;
    struct gate g;
    struct rng rng = {.state = 1};
    uint64_t now = 1000, asked = 0;
    gate_init(&g, 32, now);
    while (now < 31000) { /* 503 for thirty seconds */
        if (now < g.blocked_until_ms)
            now = g.blocked_until_ms;
        gate_pressed(&g, now + 1, 0, now + 2, &rng);
        now += 2;
        asked++;
    }
    assert_int_equal(g.limit, 1);
    assert_true(asked < 60);
    assert_false(gate_lost_patience(&g, 60000, now));
    assert_false(gate_lost_patience(&g, 60000, 1)); /* by a thread whose clock was read a little earlier */
    assert_true(gate_lost_patience(&g, 60000, 1002 + 60000));
    gate_succeeded(&g, 1, now + 10);
    assert_false(gate_lost_patience(&g, 1, now + 100000));
    assert_int_equal(g.presses, 0);
}

/* ---- rate ---- */

static void the_bucket_lets_through_its_rate_and_no_more(void **state)
{
    (void)state;
    struct bucket b;
    uint64_t now = 0, bytes = 0;
    bucket_init(&b, MANY, now);
    while (now < 10u * 1000000) {
        bytes += 64 * 1024;
        now += bucket_spend(&b, 64 * 1024, now) + 10;
    }
    assert_in_range(bytes, 95 * (MANY / 10), 103 * (MANY / 10));
    bucket_init(&b, 0, 0);
    assert_int_equal(bucket_spend(&b, UINT64_MAX, 0), 0);
}

static void rest_does_not_save_up_more_than_a_burst(void **state)
{
    (void)state;
    struct bucket b;
    bucket_init(&b, MANY, 0);
    assert_true(bucket_spend(&b, MANY, 3600u * 1000000u) > 800000);
    /* Two threads: who read the clock first comes second, which refills nothing. */
    uint64_t before = bucket_spend(&b, MANY, 3600u * 1000000u);
    assert_true(bucket_spend(&b, MANY, 3600u * 1000000u - 5) > before);
}

static void a_trickle_is_slow_then_dead_and_a_flow_is_neither(void **state)
{
    (void)state;
    struct stall_meter m;
    stall_start(&m, 0);
    m.window_bytes = 10;
    assert_int_equal(stall_check(&m, 1024, 30000, 29999), STALL_NONE);
    assert_int_equal(stall_check(&m, 1024, 30000, 30000), STALL_SLOW);
    assert_int_equal(stall_check(&m, 1024, 30000, 45000), STALL_SLOW);
    m.window_bytes = 10;
    assert_int_equal(stall_check(&m, 1024, 30000, 60000), STALL_DEAD);
    m.window_bytes = MANY;
    assert_int_equal(stall_check(&m, 1024, 30000, 90000), STALL_NONE);
}

/* ---- queue ---- */

struct world {
    struct sched s;
    struct sched_group groups[3];
    struct sched_host host;
    struct sched_file files[6];
    struct sched_unit spare;
    uint64_t wake;
};

static void world_init(struct world *w, unsigned threads, uint32_t total, uint32_t per_host)
{
    *w = (struct world){0};
    sched_init(&w->s, threads, total, per_host);
    sched_host_add(&w->s, &w->host, 0);
    for (size_t i = 0; i < ARRAY_LEN(w->groups); i++) {
        sched_group_add(&w->s, &w->groups[i]);
        w->groups[i].usual_host = &w->host;
    }
}

static struct sched_file *add_file(struct world *w, size_t file, size_t group, uint64_t size, uint64_t part)
{
    struct sched_file *f = &w->files[file];
    *f = (struct sched_file){.group = &w->groups[group]};
    sched_file_cut(f, size, part, NULL);
    sched_file_add(f);
    return f;
}

static void groups_take_turns(void **state)
{
    (void)state;
    struct world w;
    struct sched_unit units[6];
    world_init(&w, 1, 64, 32);
    w.host.gate.limit = 32;
    struct sched_file *big = add_file(&w, 0, 0, 60, 1);
    struct sched_file *small = add_file(&w, 1, 1, 3, 1);
    for (unsigned i = 0; i < 6; i++) {
        assert_ptr_equal(sched_pick(&w.s, 0, &units[i], 0, &w.wake), &units[i]);
        assert_ptr_equal(units[i].file, i % 2 ? small : big);
        assert_int_equal(units[i].part, i / 2);
    }
}

static void groups_share_by_bytes_not_by_requests(void **state)
{
    (void)state;
    struct world w;
    struct sched_unit units[64];
    world_init(&w, 1, 64, 64);
    w.host.gate.limit = 64;
    struct sched_file *big = add_file(&w, 0, 0, 80u << 20, 8u << 20);
    add_file(&w, 1, 1, 4u << 20, 4096);
    unsigned large = 0;
    for (unsigned i = 0; i < 64; i++) {
        assert_non_null(sched_pick(&w.s, 0, &units[i], 0, &w.wake));
        large += units[i].file == big;
    }
    /* 8 MiB pay for about 32 small requests. */
    assert_in_range(large, 2, 3);
}

static void a_group_that_was_idle_has_no_claim_to_the_past(void **state)
{
    (void)state;
    struct world w;
    struct sched_unit units[20];
    world_init(&w, 1, 64, 64);
    w.host.gate.limit = 64;
    add_file(&w, 0, 0, 200u << 20, 8u << 20);
    for (unsigned i = 0; i < 10; i++)
        assert_non_null(sched_pick(&w.s, 0, &units[i], 0, &w.wake));
    struct sched_file *late = add_file(&w, 1, 1, 80u << 20, 8u << 20);
    unsigned taken = 0;
    for (unsigned i = 10; i < 20; i++) {
        assert_non_null(sched_pick(&w.s, 0, &units[i], 0, &w.wake));
        taken += units[i].file == late;
    }
    assert_in_range(taken, 5, 6);
}

static void parts_cover_the_file_once(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1, 64, 64);
    w.host.gate.limit = 64;
    struct sched_file *f = add_file(&w, 0, 0, 1001, 100);
    uint64_t bytes = 0, next = 0;
    for (struct sched_unit u; sched_pick(&w.s, 0, &u, 0, &w.wake);) {
        assert_int_equal(u.offset, next);
        next = u.offset + u.length;
        bytes += u.length;
        sched_unit_over(&w.s, &u, 0);
        assert_int_equal(sched_part_done(f, u.part), next == 1001);
    }
    assert_int_equal(bytes, 1001);
    assert_int_equal(sched_prefix_bytes(f), 1001);
    assert_int_equal(w.s.active, 0);
}

static void ceilings_hold_for_host_thread_and_process(void **state)
{
    (void)state;
    struct world w;
    struct sched_unit units[64];
    unsigned taken = 0;
    world_init(&w, 4, 64, 32);
    add_file(&w, 0, 0, 64, 1);
    while (sched_pick(&w.s, 0, &units[taken], 0, &w.wake))
        taken++;
    assert_int_equal(taken, GATE_START / 4); /* one thread's share */
    for (unsigned t = 1; t < 4; t++) {
        while (sched_pick(&w.s, t, &units[taken], 0, &w.wake))
            taken++;
    }
    assert_int_equal(taken, GATE_START);
    world_init(&w, 1, 3, 32);
    add_file(&w, 0, 0, 64, 1);
    for (taken = 0; sched_pick(&w.s, 0, &units[taken], 0, &w.wake);)
        taken++;
    assert_int_equal(taken, 3);
}

static void a_thread_has_a_place_until_its_share_or_the_whole_is_taken(void **state)
{
    (void)state;
    struct world w;
    struct sched_unit units[GATE_START];
    unsigned taken = 0;
    world_init(&w, 4, 64, 32);
    struct sched_file *f = add_file(&w, 0, 0, 64, 1);
    assert_true(sched_has_place(&w.s, f, 0));
    while (sched_pick(&w.s, 0, &units[taken], 0, &w.wake))
        taken++;
    assert_false(sched_has_place(&w.s, f, 0)); /* its share */
    assert_true(sched_has_place(&w.s, f, 1));
    w.host.gate.limit = taken;
    assert_false(sched_has_place(&w.s, f, 1)); /* the host's all */
    sched_unit_over(&w.s, &units[0], 0);
    assert_true(sched_has_place(&w.s, f, 1));
    world_init(&w, 2, 1, 32);
    f = add_file(&w, 0, 0, 64, 1);
    assert_non_null(sched_pick(&w.s, 0, &units[0], 0, &w.wake));
    assert_false(sched_has_place(&w.s, f, 1)); /* the process's all */
}

static void a_host_that_rests_has_a_place_so_that_somebody_learns_when_to_ask(void **state)
{
    (void)state;
    struct world w;
    struct rng rng = {.state = 7};
    world_init(&w, 1, 64, 32);
    struct sched_file *f = add_file(&w, 0, 0, 64, 1);
    gate_pressed(&w.host.gate, 5, 3000, 10, &rng);
    assert_null(sched_pick(&w.s, 0, &w.spare, 20, &w.wake));
    assert_true(sched_has_place(&w.s, f, 0));
}

static void a_blocked_host_says_when_to_ask_again(void **state)
{
    (void)state;
    struct world w;
    struct rng rng = {.state = 7};
    world_init(&w, 1, 64, 32);
    add_file(&w, 0, 0, 64, 1);
    gate_pressed(&w.host.gate, 5, 3000, 10, &rng);
    assert_null(sched_pick(&w.s, 0, &w.spare, 20, &w.wake));
    assert_int_equal(w.wake, 3010);
    assert_non_null(sched_pick(&w.s, 0, &w.spare, 3010, &w.wake));
}

static void retries_come_when_they_are_due_and_before_fresh_parts(void **state)
{
    (void)state;
    struct world w;
    struct sched_unit a, b, c;
    world_init(&w, 1, 64, 32);
    add_file(&w, 0, 0, 10, 1);
    assert_non_null(sched_pick(&w.s, 0, &a, 0, &w.wake));
    assert_non_null(sched_pick(&w.s, 0, &b, 0, &w.wake));
    sched_unit_over(&w.s, &a, 0);
    sched_unit_over(&w.s, &b, 0);
    sched_unit_again(&w.s, &a, 900, 0);
    sched_unit_again(&w.s, &b, 300, 0);
    assert_ptr_equal(sched_pick(&w.s, 0, &c, 299, &w.wake), &c);
    assert_ptr_equal(sched_pick(&w.s, 0, &w.spare, 300, &w.wake), &b);
    assert_int_equal(w.wake, 900);
    assert_ptr_equal(sched_pick(&w.s, 0, &w.spare, 1000, &w.wake), &a);
}

static void a_held_file_lets_others_pass(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1, 64, 32);
    struct sched_file *held = add_file(&w, 0, 0, 10, 1);
    struct sched_file *other = add_file(&w, 1, 0, 10, 1);
    held->held = true;
    assert_non_null(sched_pick(&w.s, 0, &w.spare, 0, &w.wake));
    assert_ptr_equal(w.spare.file, other);
}

static void a_stalled_unit_gives_its_place_to_its_hedge(void **state)
{
    (void)state;
    struct world w;
    struct sched_unit slow, hedge;
    world_init(&w, 1, 1, 1);
    struct sched_file *f = add_file(&w, 0, 0, 10, 10);
    assert_non_null(sched_pick(&w.s, 0, &slow, 0, &w.wake));
    hedge = (struct sched_unit){.file = f, .length = 10, .hedge = true};
    sched_unit_again(&w.s, &hedge, 0, 0);
    assert_null(sched_pick(&w.s, 0, &w.spare, 0, &w.wake));
    sched_unit_stalled(&w.s, &slow, 0);
    assert_ptr_equal(sched_pick(&w.s, 0, &w.spare, 0, &w.wake), &hedge);
    sched_unit_over(&w.s, &slow, 0);
    sched_unit_over(&w.s, &hedge, 0);
    assert_int_equal(w.s.active, 0);
    assert_int_equal(w.host.active, 0);
}

static void parts_that_are_there_are_not_handed_out(void **state)
{
    (void)state;
    struct world w;
    uint64_t done = 0x0b; /* 0, 1 and 3 of 6 */
    world_init(&w, 1, 64, 32);
    struct sched_file *f = &w.files[0];
    f->group = &w.groups[0];
    sched_file_cut(f, 600, 100, &done);
    sched_file_add(f);
    assert_int_equal(sched_prefix_bytes(f), 200);
    static const uint64_t wanted[] = {2, 4, 5};
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        assert_non_null(sched_pick(&w.s, 0, &w.spare, 0, &w.wake));
        assert_int_equal(w.spare.part, wanted[i]);
        sched_part_done(f, w.spare.part);
    }
    assert_null(sched_pick(&w.s, 0, &w.spare, 0, &w.wake));
    sched_parts_undo(f, 1, 2);
    assert_int_equal(sched_prefix_bytes(f), 100);
    assert_non_null(sched_pick(&w.s, 0, &w.spare, 0, &w.wake));
    assert_int_equal(w.spare.part, 1);
}

static void withdrawn_units_are_gone(void **state)
{
    (void)state;
    struct world w;
    struct sched_unit a, b;
    world_init(&w, 1, 64, 32);
    struct sched_file *f = add_file(&w, 0, 0, 2, 1);
    assert_non_null(sched_pick(&w.s, 0, &a, 0, &w.wake));
    assert_non_null(sched_pick(&w.s, 0, &b, 0, &w.wake));
    sched_unit_over(&w.s, &a, 0);
    sched_unit_over(&w.s, &b, 0);
    sched_unit_again(&w.s, &a, 0, 0);
    sched_unit_again(&w.s, &b, 500, 0);
    assert_non_null(sched_unit_withdraw(&w.s, f));
    assert_non_null(sched_unit_withdraw(&w.s, f));
    assert_null(sched_unit_withdraw(&w.s, f));
    assert_null(sched_pick(&w.s, 0, &w.spare, 1000, &w.wake));
    assert_true(w.wake == SCHED_NEVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_host_starts_modestly_and_grows_while_it_helps),
        cmocka_unit_test(growing_stops_where_it_does_not_help),
        cmocka_unit_test(a_host_that_is_not_full_does_not_grow),
        cmocka_unit_test(a_volley_of_refusals_halves_once_and_blocks_the_host),
        cmocka_unit_test(refusals_in_a_row_go_down_to_one_and_back_off_longer),
        cmocka_unit_test(the_bucket_lets_through_its_rate_and_no_more),
        cmocka_unit_test(rest_does_not_save_up_more_than_a_burst),
        cmocka_unit_test(a_trickle_is_slow_then_dead_and_a_flow_is_neither),
        cmocka_unit_test(groups_take_turns),
        cmocka_unit_test(groups_share_by_bytes_not_by_requests),
        cmocka_unit_test(a_group_that_was_idle_has_no_claim_to_the_past),
        cmocka_unit_test(parts_cover_the_file_once),
        cmocka_unit_test(ceilings_hold_for_host_thread_and_process),
        cmocka_unit_test(a_thread_has_a_place_until_its_share_or_the_whole_is_taken),
        cmocka_unit_test(a_host_that_rests_has_a_place_so_that_somebody_learns_when_to_ask),
        cmocka_unit_test(a_blocked_host_says_when_to_ask_again),
        cmocka_unit_test(retries_come_when_they_are_due_and_before_fresh_parts),
        cmocka_unit_test(a_held_file_lets_others_pass),
        cmocka_unit_test(a_stalled_unit_gives_its_place_to_its_hedge),
        cmocka_unit_test(parts_that_are_there_are_not_handed_out),
        cmocka_unit_test(withdrawn_units_are_gone),
    };
    return cmocka_run_group_tests_name("sched", tests, NULL, NULL);
}
