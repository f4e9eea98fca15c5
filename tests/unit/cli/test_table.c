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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_align_by_characters_not_bytes),
        cmocka_unit_test(text_is_cut_with_an_ellipsis_at_a_character),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
