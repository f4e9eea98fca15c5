#include "test_spec.h"

#include "spec/date_layout.h"
#include "spec/regex.h"

static uint32_t index_of(const struct partition *p, const char *source_key, const char *key, uint32_t count)
{
    struct err err = ERR_INIT;
    struct partition_plan *plan = NULL;
    uint32_t index = UINT32_MAX;
    assert_works(partition_open(&plan, p, source_key, count, &err), &err);
    assert_works(partition_index(plan, span_of(key), &index, &err), &err);
    partition_free(plan);
    return index;
}

/* FNV-1a 32 by its definition (draft-eastlake-fnv), with its published vectors below. */
static uint32_t fnv(const char *s)
{
    uint32_t hash = 2166136261u;
    for (; *s; s++)
        hash = (hash ^ (unsigned char)*s) * 16777619u;
    return hash;
}

static void the_object_partition_hashes_the_whole_key(void **state)
{
    (void)state;
    const struct partition p = {.kind = PARTITION_OBJECT};
    assert_int_equal(fnv("foobar"), 0xbf9cf968u);
    assert_int_equal(fnv("a"), 0xe40c292cu);
    assert_int_equal(index_of(&p, "", "foobar", UINT32_MAX), 0xbf9cf968u);
    assert_int_equal(index_of(&p, "foo", "foobar", 1000), 0xbf9cf968u % 1000);
    assert_int_equal(index_of(&p, "foo", "foobar", 1), 0);
    assert_int_equal(index_of(&p, "foo", "foobar", 0), 0);
}

static void the_regex_partition_hashes_groups_or_the_match(void **state)
{
    (void)state;
    const struct partition whole = {.kind = PARTITION_REGEX, .pattern = "00\\d"};
    const struct partition groups = {.kind = PARTITION_REGEX, .pattern = "(\\d{4})/(x)?(\\d{2})/"};
    assert_int_equal(index_of(&whole, "p/", "p/a-001.txt", 977), fnv("001") % 977);
    assert_int_equal(index_of(&groups, "data/*", "data/2024/07/f", 977), fnv("2024\x1f"
                                                                             "07") %
                                                                             977);
    assert_int_equal(index_of(&groups, "data/", "data/none", 977), 0);
    /* what the source's own key says is not looked at */
    assert_int_equal(index_of(&whole, "001/", "001/b", 977), 0);
}

static void the_substring_partition_counts_characters(void **state)
{
    (void)state;
    const struct partition p = {.kind = PARTITION_SUBSTRING, .start = 1, .end = 3};
    assert_int_equal(index_of(&p, "logs/", "logs/abcdef", 977), fnv("bc") % 977);
    assert_int_equal(index_of(&p, "logs", "logs/abcdef", 977), fnv("bc") % 977);
    assert_int_equal(index_of(&p, "", "äöüß", 977), fnv("öü") % 977);
    assert_int_equal(index_of(&p, "", "abc", 977), fnv("bc") % 977);
    assert_int_equal(index_of(&p, "", "ab", 977), 0);
    assert_int_equal(index_of(&p, "", "", 977), 0);
}

static void the_date_partition_reads_the_front_of_the_key(void **state)
{
    (void)state;
    const struct partition go = {.kind = PARTITION_DATE, .date_format = "2006-01-02"};
    const struct partition strf = {.kind = PARTITION_DATE, .date_format = "%Y-%m-%d"};
    assert_int_equal(index_of(&go, "l/", "l/2024-02-29_x.log", 977), fnv("2024-02-29") % 977);
    assert_int_equal(index_of(&strf, "l/", "l/2024-02-29_x.log", 977), fnv("2024-02-29") % 977);
    static const char *const none[] = {"2023-02-29", "2024-13-01",  "2024-00-10",
                                       "2024-04-31", "x2024-01-01", "2024-01-0"};
    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        assert_int_equal(index_of(&go, "", none[i], 977), 0);
}

static void no_partition_divides_nothing(void **state)
{
    (void)state;
    const struct partition p = {.kind = PARTITION_NONE};
    assert_int_equal(index_of(&p, "", "foobar", 977), 0);
}

static void every_key_belongs_to_one_execution(void **state)
{
    (void)state;
    const struct partition p = {.kind = PARTITION_OBJECT};
    struct err err = ERR_INIT;
    struct partition_plan *plan = NULL;
    unsigned seen[5] = {0};
    assert_works(partition_open(&plan, &p, "", 5, &err), &err);
    for (int i = 0; i < 1000; i++) {
        char key[32];
        uint32_t index = 99;
        snprintf(key, sizeof key, "k/%d.bin", i);
        assert_works(partition_index(plan, span_of(key), &index, &err), &err);
        assert_true(index < 5);
        seen[index]++;
    }
    for (size_t i = 0; i < 5; i++)
        assert_true(seen[i] > 100); /* spread, not piled up */
    partition_free(plan);
}

static void bad_plans_are_refused(void **state)
{
    (void)state;
    static const struct partition bad[] = {{.kind = PARTITION_REGEX, .pattern = "("},
                                           {.kind = PARTITION_DATE, .date_format = ""},
                                           {.kind = PARTITION_DATE, .date_format = "%q"},
                                           {.kind = PARTITION_DATE, .date_format = "2006-1-2"},
                                           {.kind = PARTITION_DATE, .date_format = "----"}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err err = ERR_INIT;
        struct partition_plan *plan = NULL;
        assert_int_equal(partition_open(&plan, &bad[i], "", 3, &err), -1);
        assert_int_equal(err.kind, ERR_INVALID);
        assert_null(plan);
    }
}

static void layouts_know_their_fields(void **state)
{
    (void)state;
    static const struct {
        const char *layout, *key, *date; /* date NULL: no match */
    } rows[] = {{"20060102T150405", "20240131T235959.log", "20240131T235959"},
                {"20060102T150405", "20240131T245959", NULL},
                {"02Jan06", "31jan24-x", "31Jan24"},
                {"02Jan06", "31jam24", NULL},
                {"2006.002", "2024.366", "2024.366"},
                {"2006.002", "2024.367", NULL},
                {"%d/%b/%Y:%H:%M:%S", "01/Feb/2024:10:11:12", "01/Feb/2024:10:11:12"},
                {"%Y%%%j", "2024%001", "2024%001"},
                {"%y-%m", "24-12", "24-12"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = ERR_INIT;
        struct date_layout layout;
        char date[DATE_LAYOUT_MAX];
        assert_works(date_layout_parse(&layout, span_of(rows[i].layout), &err), &err);
        assert_int_equal(date_layout_match(&layout, span_of(rows[i].key), date), rows[i].date != NULL);
        if (rows[i].date)
            assert_string_equal(date, rows[i].date);
    }
}

static void patterns_match_anywhere_and_give_their_groups(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct regex *re = NULL;
    struct span groups[4];
    size_t n;
    bool matched;
    assert_works(regex_compile(&re, "(a)(x)?(b+)", &err), &err);
    assert_works(regex_match(re, span_of("..abbb.."), &matched, groups, 4, &n, &err), &err);
    assert_true(matched);
    assert_int_equal(n, 4);
    assert_int_equal(groups[0].n, 4);
    assert_int_equal(groups[2].n, 0);
    assert_int_equal(groups[3].n, 3);
    assert_works(regex_match(re,
                             (struct span){"\xff\xfe"
                                           "ab",
                                           4},
                             &matched, NULL, 0, NULL, &err),
                 &err);
    assert_true(matched);
    assert_works(regex_match(re, (struct span){NULL, 0}, &matched, NULL, 0, NULL, &err), &err);
    assert_false(matched);
    regex_free(re);
}

static void a_pattern_that_explodes_is_stopped(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct regex *re = NULL;
    bool matched;
    assert_works(regex_compile(&re, "^(a+)+$", &err), &err);
    assert_int_equal(
        regex_match(re, span_of("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"), &matched, NULL, 0, NULL, &err), -1);
    assert_int_equal(err.kind, ERR_LIMIT);
    regex_free(re);
    char long_pattern[REGEX_PATTERN_MAX + 2];
    memset(long_pattern, 'a', sizeof long_pattern - 1);
    long_pattern[sizeof long_pattern - 1] = '\0';
    err_clear(&err);
    assert_int_equal(regex_compile(&re, long_pattern, &err), -1);
    assert_int_equal(err.kind, ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_object_partition_hashes_the_whole_key),
        cmocka_unit_test(the_regex_partition_hashes_groups_or_the_match),
        cmocka_unit_test(the_substring_partition_counts_characters),
        cmocka_unit_test(the_date_partition_reads_the_front_of_the_key),
        cmocka_unit_test(no_partition_divides_nothing),
        cmocka_unit_test(every_key_belongs_to_one_execution),
        cmocka_unit_test(bad_plans_are_refused),
        cmocka_unit_test(layouts_know_their_fields),
        cmocka_unit_test(patterns_match_anywhere_and_give_their_groups),
        cmocka_unit_test(a_pattern_that_explodes_is_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
