#include "cli/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void columns_align_by_characters_not_bytes(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    static const char *const heads[] = {"NAME", ">SIZE", "X", NULL};
    struct table *t = table_new(heads, &err);
    const char *const one[] = {"größe", "5", "a"}, *const two[] = {"b", "1234", NULL};
    assert_int_equal(table_row(t, one, &err), 0);
    assert_int_equal(table_row(t, two, &err), 0);
    AUTO_BUF out;
    buf_init(&out, 4096);
    assert_int_equal(table_write(t, false, &out, &err), 0);
    assert_string_equal(buf_str(&out), "NAME   SIZE  X\n"
                                       "größe     5  a\n"
                                       "b      1234  -\n");
    table_free(t);
}

static void text_is_cut_with_an_ellipsis_at_a_character(void **state)
{
    (void)state;
    AUTO_BUF out;
    buf_init(&out, 100);
    text_fit(SPAN_LIT("äöüß"), 4, &out);
    assert_string_equal(buf_str(&out), "äöüß");
    buf_reset(&out);
    text_fit(SPAN_LIT("äöüßx"), 4, &out);
    assert_string_equal(buf_str(&out), "äöü…");
    assert_int_equal(text_width(buf_span(&out)), 4);
}

static struct table *two_columns(const char *first, const char *second, const char *third)
{
    struct err err = ERR_INIT;
    static const char *const heads[] = {"ID", "NAME", ">N", "REASON", NULL};
    struct table *t = table_new(heads, &err);
    const char *const cells[] = {first, second, "1", third};
    assert_int_equal(table_row(t, cells, &err), 0);
    return t;
}

static void what_drives_a_terminal_is_shown_and_does_nothing(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct table *t = two_columns("a\033[31mb", "x\ny\tz",
                                  "\xc2\x9b"
                                  "1m\x7f\xff");
    AUTO_BUF out;
    buf_init(&out, 4096);
    assert_int_equal(table_write(t, false, &out, &err), 0);
    assert_string_equal(buf_str(&out), "ID       NAME   N  REASON\n"
                                       "a?[31mb  x y z  1  ?1m??\n");
    table_free(t);
}

static void line_breaks_stay_where_they_are_asked_for(void **state)
{
    (void)state;
    AUTO_BUF out;
    buf_init(&out, 4096);
    text_printable_lines(SPAN_LIT("a\n\tb\033[1m\n"), &out);
    assert_string_equal(buf_str(&out), "a\n b?[1m\n");
    buf_reset(&out);
    text_printable(SPAN_LIT("a\nb"), &out);
    assert_string_equal(buf_str(&out), "a b");
}

static void lines_that_are_too_long_are_cut_where_they_are_widest(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct table *t = two_columns("a-long-identifier", "a name of twenty-two c", "a reason that goes on and on and on");
    AUTO_BUF out;
    buf_init(&out, 4096);
    table_fit(t, 60);
    assert_int_equal(table_write(t, false, &out, &err), 0);
    assert_string_equal(buf_str(&out), "ID                 NAME                N  REASON\n"
                                       "a-long-identifier  a name of twenty-…  1  a reason that goe…\n");
    buf_reset(&out);
    table_fit(t, 48);
    assert_int_equal(table_write(t, false, &out, &err), 0);
    assert_string_equal(buf_str(&out), "ID                 NAME          N  REASON\n"
                                       "a-long-identifier  a name of t…  1  a reason th…\n");
    buf_reset(&out);
    table_fit(t, 40);
    assert_int_equal(table_write(t, false, &out, &err), 0);
    assert_string_equal(buf_str(&out), "ID                 NAME          N\n"
                                       "a-long-identifier  a name of t…  1\n");
    table_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_align_by_characters_not_bytes),
        cmocka_unit_test(text_is_cut_with_an_ellipsis_at_a_character),
        cmocka_unit_test(what_drives_a_terminal_is_shown_and_does_nothing),
        cmocka_unit_test(line_breaks_stay_where_they_are_asked_for),
        cmocka_unit_test(lines_that_are_too_long_are_cut_where_they_are_widest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
