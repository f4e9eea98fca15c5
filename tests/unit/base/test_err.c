#include "test_base.h"

#include "base/str.h"

#include <errno.h>

static void the_first_error_wins(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    assert_int_equal(err_set(&err, ERR_NOTFOUND, "no %s", "key"), -1);
    assert_int_equal(err_set(&err, ERR_DENIED, "later"), -1);
    errno = EIO;
    assert_int_equal(err_sys(&err, "later"), -1);
    assert_int_equal(err.kind, ERR_NOTFOUND);
    assert_string_equal(err.text, "no key");
}

static void errno_decides_the_kind(void **state)
{
    (void)state;
    static const struct {
        int e;
        enum err_kind kind;
    } rows[] = {{ENOENT, ERR_NOTFOUND}, {ENOSPC, ERR_NOSPACE}, {EDQUOT, ERR_NOSPACE}, {EACCES, ERR_DENIED},
                {EEXIST, ERR_EXISTS},   {ENOMEM, ERR_NOMEM},   {EBUSY, ERR_BUSY},     {EIO, ERR_SYSTEM}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = ERR_INIT;
        errno = rows[i].e;
        err_sys(&err, "open %s", "/x");
        assert_int_equal(err.kind, rows[i].kind);
        assert_contains(err.text, "open /x: ");
    }
}

static void a_wrap_names_the_place_in_front(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    err_set(&err, ERR_BUSY, "held by process %d", 7);
    assert_int_equal(err_wrap(&err, "cache %s", "/c"), -1);
    assert_string_equal(err.text, "cache /c: held by process 7");
    assert_int_equal(err.kind, ERR_BUSY);
}

/* Lists of problems have lines; a name does not. */
static void a_name_forges_no_line(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    err_set(&err, ERR_INVALID, "one\ntwo");
    assert_int_equal(err_wrap(&err, "a\nb"), -1);
    assert_string_equal(err.text, "a?b: one\ntwo");
    assert_int_equal(err_one_line(&err), -1);
    assert_string_equal(err.text, "a?b: one?two");
}

static void wrapping_without_end_keeps_a_whole_text(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    char long_name[4000];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    err_set(&err, ERR_BUSY, "%s", long_name);
    for (int i = 0; i < 300; i++)
        err_wrap(&err, "level %d of \xe2\x82\xac", i);
    err_wrap(&err, "%s", long_name);
    assert_true(strlen(err.text) < sizeof err.text);
    assert_true(span_is_utf8(span_of(err.text)));
    assert_contains(err.text, "x: level 299 of \xe2\x82\xac: level 298");
}

static void texts_cannot_steer_a_terminal(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    err_set(&err, ERR_INVALID, "%s", "a\x1b[2Jb\x07\x7f\xff\nc\xc3\xa9");
    assert_string_equal(err.text, "a?[2Jb???\nc\xc3\xa9");
    err_clear(&err);
    err_set(&err, ERR_INVALID, "%s",
            "a\xc2\x80\xc2\x9b\xc2\x9f"
            "2J\xc2\xa0");
    assert_string_equal(err.text, "a??????2J\xc2\xa0");
    err_hint(&err, "%s", "try\x1b");
    assert_string_equal(err.hint, "try?");
    err_clear(&err);
    err_set(&err, ERR_INVALID, "%s",
            "\xc2\x9b"
            "2J\xc2\xa0");
    assert_string_equal(err.text, "??2J\xc2\xa0");
}

static void a_text_cut_inside_a_character_stays_utf8(void **state)
{
    (void)state;
    for (size_t pad = 0; pad < 4; pad++) {
        struct err err = ERR_INIT;
        char text[ERR_TEXT_MAX + 8];
        memset(text, 'x', sizeof text);
        for (size_t i = pad; i + 3 <= sizeof text - 1; i += 3)
            memcpy(text + i, "\xe2\x82\xac", 3);
        text[sizeof text - 1] = '\0';
        err_set(&err, ERR_INVALID, "%s", text);
        assert_true(span_is_utf8(span_of(err.text)));
    }
}

static void the_first_hint_wins_and_moving_carries_it(void **state)
{
    (void)state;
    struct err src = ERR_INIT, dst = ERR_INIT;
    err_set(&src, ERR_DENIED, "no");
    err_hint(&src, "ask");
    err_hint(&src, "shout");
    assert_int_equal(err_move(&dst, &src), -1);
    assert_false(err_is_set(&src));
    assert_string_equal(dst.hint, "ask");
    err_set(&src, ERR_BUSY, "other");
    err_move(&dst, &src);
    assert_int_equal(dst.kind, ERR_DENIED);
    assert_false(err_is_set(&src));
}

static void every_kind_has_a_word(void **state)
{
    (void)state;
    assert_string_equal(err_kind_name(ERR_NOSPACE), "no_space");
    assert_string_equal(err_kind_name(ERR_SYSTEM), "system");
    assert_string_equal(err_kind_name((enum err_kind)999), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_error_wins),
        cmocka_unit_test(errno_decides_the_kind),
        cmocka_unit_test(a_wrap_names_the_place_in_front),
        cmocka_unit_test(a_name_forges_no_line),
        cmocka_unit_test(wrapping_without_end_keeps_a_whole_text),
        cmocka_unit_test(texts_cannot_steer_a_terminal),
        cmocka_unit_test(a_text_cut_inside_a_character_stays_utf8),
        cmocka_unit_test(the_first_hint_wins_and_moving_carries_it),
        cmocka_unit_test(every_kind_has_a_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
