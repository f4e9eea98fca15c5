#include "test_base.h"

#include "base/clock.h"

#include <time.h>

static const struct {
    int64_t ms;
    const char *iso, *compact;
} rows[] = {
    {0, "1970-01-01T00:00:00Z", "19700101T000000Z"},
    {784111777000, "1994-11-06T08:49:37Z", "19941106T084937Z"},
    {1769860800123, "2026-01-31T12:00:00.123Z", "20260131T120000Z"},
    {951782400000, "2000-02-29T00:00:00Z", "20000229T000000Z"},
    {-1, "1969-12-31T23:59:59.999Z", "19691231T235959Z"},
};

static void times_are_written_in_utc(void **state)
{
    (void)state;
    char out[TIME_MAX];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_string_equal(time_iso(out, rows[i].ms), rows[i].iso);
        assert_string_equal(time_compact(out, rows[i].ms), rows[i].compact);
    }
    assert_string_equal(time_iso(out, INT64_MAX), "9999-12-31T23:59:59.999Z");
    assert_int_equal(strlen(time_iso(out, INT64_MIN)), 20);
}

static void iso_times_come_back(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    int64_t ms;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_works(time_parse_iso(span_of(rows[i].iso), &ms, &err), &err);
        assert_true(ms == rows[i].ms);
    }
}

/* Days of every month from the year 0 to 9999, against the C library. */
static void the_calendar_is_the_librarys(void **state)
{
    (void)state;
    for (int day = -719528; day <= 2932896; day += 11) {
        char text[40];
        struct tm tm;
        struct err err = ERR_INIT;
        time_t at = (time_t)day * 86400 + 3723;
        int64_t ms = 0;
        assert_non_null(gmtime_r(&at, &tm));
        snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
                 tm.tm_hour, tm.tm_min, tm.tm_sec);
        assert_works(time_parse_iso(span_of(text), &ms, &err), &err);
        assert_int_equal(ms, (int64_t)at * 1000);
    }
}

static void offsets_and_fractions_are_understood(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } forms[] = {
        {"1994-11-06T10:49:37+02:00", 784111777000},      {"1994-11-06T03:19:37-05:30", 784111777000},
        {"1994-11-06t08:49:37z", 784111777000},           {"1994-11-06T08:49:37.5Z", 784111777500},
        {"1994-11-06T08:49:37.123456789Z", 784111777123}, {"2016-12-31T23:59:60Z", 1483228800000},
        {"1970-01-01T00:30:00+01:00", -1800000},
    };
    struct err err = ERR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        int64_t ms = 0;
        assert_works(time_parse_iso(span_of(forms[i].text), &ms, &err), &err);
        assert_true(ms == forms[i].ms);
    }
}

static void what_is_no_iso_time_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "2026-01-31",
                                      "2026-01-31T12:00:00",
                                      "2026-01-31T12:00Z",
                                      "2026-01-31 12:00:00Z",
                                      "2026-13-01T12:00:00Z",
                                      "2026-00-01T12:00:00Z",
                                      "2026-02-29T12:00:00Z",
                                      "1900-02-29T12:00:00Z",
                                      "2026-04-31T12:00:00Z",
                                      "2026-01-00T12:00:00Z",
                                      "2026-01-31T24:00:00Z",
                                      "2026-01-31T12:60:00Z",
                                      "2026-01-31T12:00:61Z",
                                      "2026-01-31T12:00:00.Z",
                                      "2026-01-31T12:00:00Zx",
                                      "2026-01-31T12:00:00+2:00",
                                      "2026-01-31T12:00:00+24:00",
                                      "+026-01-31T12:00:00Z",
                                      "2026-1-31T12:00:00Z"};
    struct err err = ERR_INIT;
    int64_t ms;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_fails(time_parse_iso(span_of(bad[i]), &ms, &err), &err, ERR_INVALID);
}

static void all_three_http_dates_mean_the_same(void **state)
{
    (void)state;
    static const char *const forms[] = {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
                                        "Sun Nov  6 08:49:37 1994", " Sun, 06 Nov 1994 08:49:37 GMT\r\n"};
    struct err err = ERR_INIT;
    int64_t ms;
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        assert_works(time_parse_http(span_of(forms[i]), &ms, &err), &err);
        assert_true(ms == 784111777000);
    }
    assert_works(time_parse_http(SPAN_LIT("Wednesday, 31-Dec-25 23:59:59 GMT"), &ms, &err), &err);
    assert_true(ms == 1767225599000);
    assert_works(time_parse_http(SPAN_LIT("Wed Nov 16 08:49:37 1994"), &ms, &err), &err);
    assert_true(ms == 784975777000);
}

static void what_is_no_http_date_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "0",
                                      "Sun, 06 Nov 1994 08:49:37",
                                      "Sun, 06 Nov 1994 08:49:37 CET",
                                      "Son, 06 Nov 1994 08:49:37 GMT",
                                      "Sun, 6 Nov 1994 08:49:37 GMT",
                                      "Sun, 31 Feb 1994 08:49:37 GMT",
                                      "Sun, 06 Okt 1994 08:49:37 GMT",
                                      "Sun, 06-Nov 1994 08:49:37 GMT",
                                      "Sun Nov 6 08:49:37 1994",
                                      "Sun, 06 Nov 1994 25:49:37 GMT",
                                      "Sun, 06 Nov 1994 08:49:37 GMT tail",
                                      "1994-11-06T08:49:37Z"};
    struct err err = ERR_INIT;
    int64_t ms;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_fails(time_parse_http(span_of(bad[i]), &ms, &err), &err, ERR_PROTOCOL);
}

static void the_monotonic_clock_does_not_go_back(void **state)
{
    (void)state;
    uint64_t before_ms = clock_mono_ms(), before_us = clock_mono_us();
    assert_true(clock_mono_ms() >= before_ms);
    assert_true(clock_mono_us() >= before_us);
    assert_true(clock_wall_ms() > INT64_C(1700000000000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_written_in_utc),        cmocka_unit_test(iso_times_come_back),
        cmocka_unit_test(the_calendar_is_the_librarys),    cmocka_unit_test(offsets_and_fractions_are_understood),
        cmocka_unit_test(what_is_no_iso_time_is_refused),  cmocka_unit_test(all_three_http_dates_mean_the_same),
        cmocka_unit_test(what_is_no_http_date_is_refused), cmocka_unit_test(the_monotonic_clock_does_not_go_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
