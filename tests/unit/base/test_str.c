#include "test_base.h"

#include "base/str.h"

static void spans_compare_by_content(void **state)
{
    (void)state;
    assert_true(span_eq(SPAN_LIT("abc"), span_of("abc")));
    assert_false(span_eq(SPAN_LIT("abc"), SPAN_LIT("abd")));
    assert_false(span_eq(SPAN_LIT("abc"), SPAN_LIT("ab")));
    assert_true(span_eq((struct span){NULL, 0}, SPAN_LIT("")));
    assert_true(span_eq_nocase(SPAN_LIT("Content-LENGTH"), SPAN_LIT("content-length")));
    assert_false(span_eq_nocase(SPAN_LIT("[a"), SPAN_LIT("{a"))); /* 0x20 apart, but not letters */
    assert_true(span_starts(SPAN_LIT("s3://b"), SPAN_LIT("s3://")));
    assert_false(span_starts(SPAN_LIT("s3"), SPAN_LIT("s3://")));
    assert_true(span_ends(SPAN_LIT("a.tar.gz"), SPAN_LIT(".gz")));
    assert_false(span_ends(SPAN_LIT("gz"), SPAN_LIT(".gz")));
}

static void trimming_takes_blanks_from_both_ends(void **state)
{
    (void)state;
    assert_true(span_eq(span_trim(SPAN_LIT(" \t a b\r\n")), SPAN_LIT("a b")));
    assert_int_equal(span_trim(SPAN_LIT(" \n ")).n, 0);
    assert_int_equal(span_trim((struct span){NULL, 0}).n, 0);
}

static void cutting_splits_at_the_first_separator(void **state)
{
    (void)state;
    struct span head, tail;
    assert_true(span_cut(SPAN_LIT("a:b:c"), ':', &head, &tail));
    assert_true(span_eq(head, SPAN_LIT("a")));
    assert_true(span_eq(tail, SPAN_LIT("b:c")));
    assert_true(span_cut(SPAN_LIT("a:"), ':', &head, &tail));
    assert_int_equal(tail.n, 0);
    assert_false(span_cut(SPAN_LIT("abc"), ':', &head, &tail));
    assert_true(span_eq(head, SPAN_LIT("abc")));
    assert_int_equal(tail.n, 0);
    assert_false(span_cut((struct span){NULL, 0}, ':', &head, &tail));
}

static void cutting_may_overwrite_its_own_input(void **state)
{
    (void)state;
    struct span rest = SPAN_LIT("x/y/z"), part;
    char seen[8] = "";
    bool more;
    do {
        more = span_cut(rest, '/', &part, &rest);
        strncat(seen, part.p, part.n);
    } while (more);
    assert_string_equal(seen, "xyz");
}

static void only_well_formed_utf8_counts(void **state)
{
    (void)state;
    static const char *const good[] = {
        "", "a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x9a\xa2", "\xf4\x8f\xbf\xbf", "\xed\x9f\xbf", "\xee\x80\x80"};
    static const char *const bad[] = {"\x80",
                                      "\xc0\xaf",
                                      "\xc1\xbf",
                                      "\xe0\x80\xaf",
                                      "\xed\xa0\x80",
                                      "\xed\xbf\xbf",
                                      "\xf0\x80\x80\x80",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xff",
                                      "\xe2\x82",
                                      "\xc3",
                                      "a\xc3("};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(span_is_utf8(span_of(good[i])));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(span_is_utf8(span_of(bad[i])));
}

static void a_text_that_does_not_fit_ends_with_a_character(void **state)
{
    static const struct {
        const char *text;
        size_t size;
        const char *fits;
    } cases[] = {{"ab", 3, "ab"},
                 {"abc", 3, "ab"},
                 {"a\xc3\xa4", 4, "a\xc3\xa4"},
                 {"a\xc3\xa4", 3, "a"},
                 {"\xe2\x82\xac\xe2\x82\xac", 6, "\xe2\x82\xac"},
                 {"a\xc3", 8, "a"}, /* cut before */
                 {"", 1, ""},
                 {"x", 1, ""}};
    char out[8];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        str_fit(out, cases[i].size, cases[i].text);
        assert_string_equal(out, cases[i].fits);
    }
    strcpy(out, "ab\xc3");
    str_fit(out, sizeof out, out);
    assert_string_equal(out, "ab");
}

static void numbers_are_plain_decimals(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    uint64_t n = 7;
    assert_works(span_to_u64(SPAN_LIT("0"), &n, &err), &err);
    assert_int_equal(n, 0);
    assert_works(span_to_u64(SPAN_LIT("18446744073709551615"), &n, &err), &err);
    assert_true(n == UINT64_MAX);
    static const char *const bad[] = {
        "", " 1", "1 ", "+1", "-1", "0x10", "1e3", "18446744073709551616", "99999999999999999999999"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_fails(span_to_u64(span_of(bad[i]), &n, &err), &err, ERR_INVALID);
    assert_true(n == UINT64_MAX); /* a failure stores nothing */
}

static void null_strings_are_empty_but_equal_only_null(void **state)
{
    (void)state;
    assert_true(str_eq(NULL, NULL));
    assert_false(str_eq(NULL, ""));
    assert_true(str_eq("a", "a"));
    assert_true(str_empty(NULL));
    assert_true(str_empty(""));
    assert_false(str_empty("a"));
}

static void hashes_are_those_of_fnv_1a_and_go_on(void **state)
{
    (void)state;
    assert_int_equal(str_hash(STR_HASH_START, ""), STR_HASH_START);
    /* From the algorithm's own list of test vectors. */
    assert_int_equal(str_hash(STR_HASH_START, "a"), UINT64_C(0xaf63dc4c8601ec8c));
    assert_int_equal(str_hash(STR_HASH_START, "foobar"), UINT64_C(0x85944171f73967e8));
    assert_int_equal(str_hash(str_hash(STR_HASH_START, "foo"), "bar"), str_hash(STR_HASH_START, "foobar"));
}

static void copies_are_owned(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_STR a = str_dup("abc", &err);
    AUTO_STR b = str_dup_span((struct span){"abcdef", 4}, &err);
    AUTO_STR c = str_printf(&err, "%s-%d", "x", 5);
    AUTO_STR d = str_dup(NULL, &err);
    assert_string_equal(a, "abc");
    assert_string_equal(b, "abcd");
    assert_string_equal(c, "x-5");
    assert_string_equal(d, "");
    str_free_secret(str_dup("hush", &err));
    str_free_secret(NULL);
}

static void wiping_leaves_zeroes(void **state)
{
    (void)state;
    char secret[] = "hush";
    mem_wipe(secret, sizeof secret);
    assert_memory_equal(secret, "\0\0\0\0\0", 5);
    mem_wipe(NULL, 0);
}

static void a_list_grows_and_ends_with_null(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct strv v = {0};
    for (unsigned i = 0; i < 1000; i++) {
        assert_works(strv_addf(&v, &err, "%u", i), &err);
        assert_null(v.v[v.n]);
    }
    assert_works(strv_add(&v, "end", &err), &err);
    assert_int_equal(v.n, 1001);
    assert_string_equal(v.v[0], "0");
    assert_string_equal(v.v[999], "999");
    assert_string_equal(v.v[1000], "end");
    strv_release(&v);
    assert_null(v.v);
    strv_release(&v);
}

static void sizes_read_well(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } rows[] = {
        {0, "0 B"},
        {512, "512 B"},
        {1023, "1023 B"},
        {1024, "1.0 KiB"},
        {1536, "1.5 KiB"},
        {1048575, "1.0 MiB"}, /* not 1024.0 KiB */
        {12897485, "12.3 MiB"},
        {UINT64_C(2) << 30, "2.0 GiB"},
        {UINT64_C(5) << 40, "5.0 TiB"},
        {UINT64_MAX, "16.0 EiB"},
    };
    char out[HUMAN_MAX];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_string_equal(human_bytes(out, rows[i].bytes), rows[i].text);
}

static void durations_read_well(void **state)
{
    (void)state;
    static const struct {
        uint64_t ms;
        const char *text;
    } rows[] = {{0, "0ms"},          {850, "850ms"},     {999, "999ms"},     {1000, "1.0s"},
                {3250, "3.2s"},      {59999, "59.9s"},   {60000, "1m00s"},   {65000, "1m05s"},
                {3599999, "59m59s"}, {3600000, "1h00m"}, {7380000, "2h03m"}, {UINT64_MAX, "5124095576030h25m"}};
    char out[HUMAN_MAX];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_string_equal(human_duration(out, rows[i].ms), rows[i].text);
}

static void byte_sizes_take_decimal_and_binary_units(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } rows[] = {
        {"0", 0},
        {"123", 123},
        {"7B", 7},
        {"1K", 1000},
        {"1kb", 1000},
        {"1KiB", 1024},
        {"1ki", 1024},
        {"512m", 512000000},
        {"1.5Gi", 1610612736},
        {"1Gb", 1000000000},
        {"10GB", UINT64_C(10000000000)},
        {"10 GiB", UINT64_C(10) << 30},
        {" 2T ", UINT64_C(2000000000000)},
        {"3TiB", UINT64_C(3) << 40},
        {"0.5MB", 500000},
        {"0.1234567891KB", 123},
        {"16777215TiB", UINT64_C(16777215) << 40},
        {"18446744073709551615", UINT64_MAX},
    };
    struct err err = ERR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t n = 1;
        assert_works(parse_bytes(span_of(rows[i].text), &n, &err), &err);
        assert_true(n == rows[i].bytes);
    }
}

static void what_is_no_byte_size_is_refused_with_a_hint(void **state)
{
    (void)state;
    static const char *const bad[] = {"",    " ",    "B",    "-1",    "+1",    "1.5",         "1.5B",
                                      "1.",  ".5G",  "1X",   "1GiBs", "1 G B", "16777216TiB", "18446744073709551616",
                                      "1e3", "0x10", "1,5G", "1..5G"};
    struct err err = ERR_INIT;
    uint64_t n;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_fails(parse_bytes(span_of(bad[i]), &n, &err), &err, ERR_INVALID);
    assert_int_equal(parse_bytes(SPAN_LIT("lots"), &n, &err), -1);
    assert_contains(err.text, "lots");
    assert_contains(err.hint, "GiB");
}

static void durations_add_up_their_units(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ms;
    } rows[] = {{"90s", 90000},     {"10m", 600000},   {"2h", 7200000},   {"1d", 86400000},
                {"1h30m", 5400000}, {"250ms", 250},    {"1.5h", 5400000}, {"5", 5000},
                {"0", 0},           {"1m0.5s", 60500}, {"1.25", 1250},    {"2H", 7200000}};
    struct err err = ERR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t ms = 1;
        assert_works(parse_duration_ms(span_of(rows[i].text), 1000, &ms, &err), &err);
        assert_true(ms == rows[i].ms);
    }
}

static void what_is_no_duration_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "s", "1w", "-5s", "1h 30m", "1h30", "5us", "99999999999999999999s", "18446744073709551615h"};
    struct err err = ERR_INIT;
    uint64_t ms;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_fails(parse_duration_ms(span_of(bad[i]), 1000, &ms, &err), &err, ERR_INVALID);
    assert_fails(parse_duration_ms(SPAN_LIT("5"), 0, &ms, &err), &err, ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spans_compare_by_content),
        cmocka_unit_test(trimming_takes_blanks_from_both_ends),
        cmocka_unit_test(cutting_splits_at_the_first_separator),
        cmocka_unit_test(cutting_may_overwrite_its_own_input),
        cmocka_unit_test(only_well_formed_utf8_counts),
        cmocka_unit_test(a_text_that_does_not_fit_ends_with_a_character),
        cmocka_unit_test(numbers_are_plain_decimals),
        cmocka_unit_test(null_strings_are_empty_but_equal_only_null),
        cmocka_unit_test(hashes_are_those_of_fnv_1a_and_go_on),
        cmocka_unit_test(copies_are_owned),
        cmocka_unit_test(wiping_leaves_zeroes),
        cmocka_unit_test(a_list_grows_and_ends_with_null),
        cmocka_unit_test(sizes_read_well),
        cmocka_unit_test(durations_read_well),
        cmocka_unit_test(byte_sizes_take_decimal_and_binary_units),
        cmocka_unit_test(what_is_no_byte_size_is_refused_with_a_hint),
        cmocka_unit_test(durations_add_up_their_units),
        cmocka_unit_test(what_is_no_duration_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
