/* Decisions, one by one. */
#include "market/decide.h"

#include "base/attr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct label labels_v[] = {{"zone", "eu"}, {"vram", "24"}, {"name", "v100"}, {"temp", "-1.5"}};
static const struct label_set labels = {labels_v, ARRAY_LEN(labels_v)};

static bool matches(const char *name, const char *op, const char *a, const char *b)
{
    const char *const values[] = {a, b};
    const struct match c = {name, op, values, (size_t)(a != NULL) + (b != NULL)};
    return decide_match(&c, &labels);
}

static void constraints_match_as_selectors_do(void **state)
{
    (void)state;
    assert_true(matches("zone", "in", "us", "eu"));
    assert_false(matches("zone", "in", "us", "asia"));
    assert_false(matches("none", "in", "us", "eu"));
    assert_true(matches("zone", "notin", "us", "asia"));
    assert_false(matches("zone", "notin", "us", "eu"));
    assert_true(matches("none", "notin", "us", NULL));
    assert_true(matches("zone", "exists", NULL, NULL));
    assert_false(matches("none", "exists", NULL, NULL));
    assert_true(matches("none", "!", NULL, NULL));
    assert_false(matches("zone", "!", NULL, NULL));
    assert_true(matches("zone", "=", "eu", NULL) && matches("zone", "==", "eu", NULL));
    assert_false(matches("zone", "=", "EU", NULL));
    assert_true(matches("zone", "!=", "us", NULL) && matches("none", "!=", "us", NULL));
    assert_false(matches("zone", "!=", "eu", NULL));
    assert_true(matches("vram", "gt", "16", NULL));
    assert_false(matches("vram", "gt", "24", NULL));
    assert_true(matches("vram", "lt", "100", NULL)); /* as numbers, not as texts */
    assert_true(matches("temp", "lt", "-1.25", NULL));
    assert_false(matches("name", "gt", "1", NULL));
    assert_false(matches("none", "gt", "1", NULL) || matches("none", "lt", "1", NULL));
    assert_false(matches("zone", "like", "eu", NULL));
}

static struct machine machine_with(uint32_t gpus, uint32_t mib)
{
    struct machine m = {.cpus = 8, .memory_bytes = 1000, .disk_bytes = 1000, .gpus = gpus};
    for (uint32_t i = 0; i < gpus; i++)
        m.gpu_mib[i] = mib;
    return m;
}

static void machines_fit_what_they_have_left(void **state)
{
    (void)state;
    struct machine m = machine_with(2, 24576);
    const struct needs one = {.gpus = 1}, two = {.gpus = 2}, three = {.gpus = 3}, all = {.gpus = GPUS_ALL},
                       large = {.gpus = 1, .vram_mib = 40000}, memory = {.memory_bytes = 600}, cpus = {.cpus = 5},
                       disk = {.disk_bytes = 1001}, nothing = {0}, sealed = {.confidential = true};
    assert_true(decide_fits(&nothing, &m) && decide_fits(&one, &m) && decide_fits(&two, &m) && decide_fits(&all, &m));
    assert_false(decide_fits(&three, &m) || decide_fits(&large, &m) || decide_fits(&disk, &m));
    assert_false(decide_fits(&sealed, &m));
    decide_use(&m, &one);
    assert_true(decide_fits(&one, &m));
    assert_false(decide_fits(&two, &m) || decide_fits(&all, &m));
    decide_use(&m, &memory);
    assert_false(decide_fits(&memory, &m));
    decide_use(&m, &cpus);
    assert_false(decide_fits(&cpus, &m));
    struct machine whole = machine_with(4, 24576), none = machine_with(0, 0);
    assert_false(decide_fits(&all, &none));
    decide_use(&whole, &all);
    decide_use(&whole, &all); /* saturates */
    assert_false(decide_fits(&one, &whole));
    assert_true(decide_fits(&nothing, &whole));
}

static void the_window_is_what_a_download_would_cost_at_most_the_markets_own(void **state)
{
    (void)state;
    assert_int_equal(decide_window_ms(10000, 0), 0);
    assert_int_equal(decide_window_ms(10000, 125000000), 1000);
    assert_int_equal(decide_window_ms(10000, UINT64_MAX), 10000);
    assert_int_equal(decide_window_ms(0, UINT64_MAX), 0);
}

static void rank_never_changes_with_time(void **state)
{
    (void)state;
    /* Whoever is ahead stays ahead, so nobody is overtaken by an endless stream. */
    assert_true(decide_rank(0, 0) < decide_rank(1, 0));
    assert_true(decide_rank(PRIORITY_STEP_MS - 1, 1) < decide_rank(0, 0));
    assert_true(decide_rank(PRIORITY_STEP_MS + 1, 1) > decide_rank(0, 0));
}

static void states_move_by_the_table_alone(void **state)
{
    (void)state;
    unsigned allowed = 0;
    for (unsigned from = 0; from < EXEC_STATE_COUNT; from++) {
        for (unsigned to = 0; to < EXEC_STATE_COUNT; to++) {
            bool may = exec_may_move((enum exec_state)from, (enum exec_state)to);
            allowed += may;
            if (exec_is_ended((enum exec_state)from) || from == to)
                assert_false(may);
            if (exec_is_held((enum exec_state)from) && exec_is_held((enum exec_state)to))
                assert_int_equal(may, to > from);
        }
    }
    assert_int_equal(allowed, 4 + 8 + 7 + 6 + 5);
    assert_false(exec_may_move(EXEC_RUNNING, EXEC_EXPIRED));
    enum exec_state s;
    assert_true(exec_state_parse("timed_out", &s) && s == EXEC_TIMED_OUT);
    assert_false(exec_state_parse("dead", &s) || exec_state_parse(NULL, &s));
}

static void a_job_is_its_least_advanced_live_execution(void **state)
{
    (void)state;
    uint32_t counts[EXEC_STATE_COUNT] = {[EXEC_SUCCEEDED] = 3};
    assert_int_equal(decide_job_state(counts), EXEC_SUCCEEDED);
    counts[EXEC_FAILED] = 1;
    assert_int_equal(decide_job_state(counts), EXEC_FAILED);
    counts[EXEC_TIMED_OUT] = 1;
    assert_int_equal(decide_job_state(counts), EXEC_TIMED_OUT);
    counts[EXEC_EXPIRED] = 1;
    assert_int_equal(decide_job_state(counts), EXEC_EXPIRED);
    counts[EXEC_STOPPED] = 1;
    assert_int_equal(decide_job_state(counts), EXEC_STOPPED);
    counts[EXEC_PUBLISHING] = 1;
    assert_int_equal(decide_job_state(counts), EXEC_PUBLISHING);
    counts[EXEC_QUEUED] = 1;
    assert_int_equal(decide_job_state(counts), EXEC_QUEUED);
}

static struct exec_facts held(void)
{
    return (struct exec_facts){.state = EXEC_RUNNING,
                               .attempt = 1,
                               .max_attempts = 3,
                               .lease_until_ms = 100,
                               .definition_until_ms = TIME_NEVER,
                               .queue_deadline_ms = TIME_NEVER,
                               .total_deadline_ms = TIME_NEVER,
                               .stop_by_ms = TIME_NEVER};
}

static void nothing_happens_before_it_is_due(void **state)
{
    (void)state;
    struct exec_facts x = held();
    x.total_deadline_ms = 90;
    assert_int_equal(decide_due(&x), 90);
    assert_int_equal(decide_tick(&x, 89).kind, VERDICT_KEEP);
    struct verdict v = decide_tick(&x, 90);
    assert_int_equal(v.kind, VERDICT_ASK_STOP);
    x.stopping = true;
    x.stop_as = v.to;
    x.stop_by_ms = 95;
    assert_int_equal(decide_due(&x), 95);
    v = decide_tick(&x, 95);
    assert_true(v.kind == VERDICT_MOVE && v.to == EXEC_TIMED_OUT);
    x.state = EXEC_FAILED;
    assert_true(decide_due(&x) == TIME_NEVER);
    assert_int_equal(decide_tick(&x, INT64_MAX - 1).kind, VERDICT_KEEP);
}

static void a_stopped_one_is_not_tried_again(void **state)
{
    (void)state;
    struct exec_facts x = held();
    struct verdict v = decide_tick(&x, 100);
    assert_true(v.kind == VERDICT_MOVE && v.to == EXEC_QUEUED && v.avoid);
    x.stopping = true;
    x.stop_as = EXEC_STOPPED;
    v = decide_tick(&x, 100);
    assert_true(v.kind == VERDICT_MOVE && v.to == EXEC_STOPPED);
    v = decide_finish(&x, EXEC_FAILED, true);
    assert_int_equal(v.to, EXEC_STOPPED);
    v = decide_finish(&x, EXEC_SUCCEEDED, false); /* it was done before the stop came */
    assert_int_equal(v.to, EXEC_SUCCEEDED);
    assert_int_equal(decide_stop(&x).kind, VERDICT_KEEP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(constraints_match_as_selectors_do),
        cmocka_unit_test(machines_fit_what_they_have_left),
        cmocka_unit_test(the_window_is_what_a_download_would_cost_at_most_the_markets_own),
        cmocka_unit_test(rank_never_changes_with_time),
        cmocka_unit_test(states_move_by_the_table_alone),
        cmocka_unit_test(a_job_is_its_least_advanced_live_execution),
        cmocka_unit_test(nothing_happens_before_it_is_due),
        cmocka_unit_test(a_stopped_one_is_not_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
