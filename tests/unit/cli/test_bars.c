#include "cli/bars.h"

#include "cli/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void a_steady_rate_is_found_and_gives_the_time_left(void **state)
{
    (void)state;
    struct rate r = {0};
    for (uint64_t ms = 0; ms <= 10000; ms += 100)
        rate_add(&r, ms * 1000, ms); /* 1,000,000 bytes a second */
    assert_true(r.per_second > 999000 && r.per_second < 1001000);
    uint64_t eta = rate_eta_ms(&r, 5000000);
    assert_in_range(eta, 4990, 5010);
}

static void nothing_moving_has_no_time_left(void **state)
{
    (void)state;
    struct rate r = {0};
    rate_add(&r, 0, 0);
    rate_add(&r, 0, 1000);
    assert_true(rate_eta_ms(&r, 100) == UINT64_MAX);
}

static void bytes_taken_back_do_not_make_a_negative_rate(void **state)
{
    (void)state;
    struct rate r = {0};
    rate_add(&r, 1000, 0);
    rate_add(&r, 500, 100);
    assert_true(r.per_second >= 0);
}

static void a_bar_fits_its_width_and_says_what_matters(void **state)
{
    (void)state;
    const struct stage_progress p = {.phase = STAGE_DOWNLOADING,
                                     .files_total = 5,
                                     .files_done = 2,
                                     .bytes_total = 2048,
                                     .bytes_done = 1024,
                                     .stalled = 1};
    const struct rate r = {.per_second = 512, .started = true};
    AUTO_BUF out;
    buf_init(&out, 4096);
    bar_line("s3://bucket/a-very-long-prefix/that/goes/on/and/on → /target", &p, &r, 160, false, &out);
    assert_true(text_width(buf_span(&out)) < 160);
    assert_non_null(strstr(buf_str(&out), "50 %"));
    assert_non_null(strstr(buf_str(&out), "2/5 files"));
    assert_non_null(strstr(buf_str(&out), "512 B/s"));
    assert_non_null(strstr(buf_str(&out), "2.0s left"));
    assert_non_null(strstr(buf_str(&out), "1 stalled"));
    buf_reset(&out);
    bar_line("s3://bucket/a-very-long-prefix/that/goes/on/and/on → /target", &p, &r, 80, false, &out);
    assert_true(text_width(buf_span(&out)) < 80);
}

static void before_anything_is_known_only_the_phase_is_said(void **state)
{
    (void)state;
    const struct stage_progress p = {.phase = STAGE_RESOLVING};
    const struct rate r = {0};
    AUTO_BUF out;
    buf_init(&out, 4096);
    progress_line("s3://b/", &p, &r, &out);
    assert_string_equal(buf_str(&out), "s3://b/: resolving");
}

static void what_drives_a_terminal_is_not_in_a_label(void **state)
{
    (void)state;
    const struct stage_progress p = {.phase = STAGE_RESOLVING};
    const struct rate r = {0};
    AUTO_BUF out;
    buf_init(&out, 4096);
    progress_line("s3://b/\033[2J", &p, &r, &out);
    bar_line("s3://b/\033[2J", &p, &r, 160, false, &out);
    assert_null(strchr(buf_str(&out), '\033'));
}

static void a_sum_is_ready_only_when_all_are(void **state)
{
    (void)state;
    struct stage_progress sum = {.phase = STAGE_READY};
    const struct stage_progress a = {.phase = STAGE_READY, .bytes_total = 5, .bytes_done = 5};
    const struct stage_progress b = {.phase = STAGE_DOWNLOADING, .bytes_total = 7, .bytes_done = 1};
    progress_sum(&sum, &a);
    assert_int_equal(sum.phase, STAGE_READY);
    progress_sum(&sum, &b);
    assert_int_equal(sum.phase, STAGE_DOWNLOADING);
    assert_int_equal(sum.bytes_total, 12);
    assert_int_equal(sum.bytes_done, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_steady_rate_is_found_and_gives_the_time_left),
        cmocka_unit_test(nothing_moving_has_no_time_left),
        cmocka_unit_test(bytes_taken_back_do_not_make_a_negative_rate),
        cmocka_unit_test(a_bar_fits_its_width_and_says_what_matters),
        cmocka_unit_test(before_anything_is_known_only_the_phase_is_said),
        cmocka_unit_test(what_drives_a_terminal_is_not_in_a_label),
        cmocka_unit_test(a_sum_is_ready_only_when_all_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
