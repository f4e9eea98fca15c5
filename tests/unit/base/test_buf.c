#include "test_base.h"

#include "base/buf.h"

static void content_is_followed_by_a_nul(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_BUF b;
    buf_init(&b, 1000);
    assert_string_equal(buf_str(&b), "");
    buf_adds(&b, "ab");
    buf_addc(&b, 'c');
    buf_add(&b, "\0d", 2);
    buf_add_span(&b, SPAN_LIT("e"));
    buf_addf(&b, "%d%s", 42, "x");
    assert_int_equal(b.n, 9);
    assert_memory_equal(b.p, "abc\0de42x", 10);
    assert_works(buf_check(&b, "text", &err), &err);
}

static void exactly_the_maximum_fits(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_BUF b;
    buf_init(&b, 100);
    for (int i = 0; i < 100; i++)
        buf_addc(&b, 'x');
    assert_works(buf_check(&b, "text", &err), &err);
    assert_int_equal(b.n, 100);
    assert_int_equal(b.p[100], '\0');
    buf_addc(&b, 'y');
    assert_int_equal(b.n, 100);
    assert_fails(buf_check(&b, "text", &err), &err, ERR_LIMIT);
}

static void formatting_up_to_the_maximum_fits_and_one_more_does_not(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_BUF b;
    buf_init(&b, 8);
    buf_addf(&b, "%s", "12345678");
    assert_works(buf_check(&b, "text", &err), &err);
    assert_string_equal(buf_str(&b), "12345678");
    buf_reset(&b);
    buf_addf(&b, "%s", "1234");
    buf_addf(&b, "%s", "56789");
    assert_int_equal(b.state, BUF_TOO_LONG);
    assert_string_equal(buf_str(&b), "1234");
}

static void an_error_sticks_until_reset(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_BUF b;
    buf_init(&b, 4);
    buf_adds(&b, "12345");
    buf_adds(&b, "1"); /* would fit, but something before it is missing */
    assert_int_equal(b.n, 0);
    assert_int_equal(buf_check(&b, "the reply", &err), -1);
    assert_string_equal(err.text, "the reply is longer than 4 bytes");
    err_clear(&err);
    assert_null_with(buf_take(&b, "the reply", &err), &err, ERR_LIMIT);
    buf_reset(&b);
    buf_adds(&b, "1");
    assert_works(buf_check(&b, "the reply", &err), &err);
}

static void reserved_room_is_committed_by_the_caller(void **state)
{
    (void)state;
    AUTO_BUF b;
    buf_init(&b, 50);
    char *room = buf_reserve(&b, 10);
    assert_non_null(room);
    room[0] = 'a';
    room[1] = 'b';
    room[2] = 'c';
    buf_grew(&b, 3);
    assert_string_equal(buf_str(&b), "abc");
    assert_null(buf_reserve(&b, 48));
    assert_int_equal(b.state, BUF_TOO_LONG);
    assert_string_equal(buf_str(&b), "abc");
}

static void absurd_sizes_do_not_wrap_around(void **state)
{
    (void)state;
    AUTO_BUF b;
    buf_init(&b, SIZE_MAX);
    buf_adds(&b, "abc");
    assert_null(buf_reserve(&b, SIZE_MAX - 1));
    assert_int_equal(b.state, BUF_TOO_LONG);
}

static void the_front_can_be_dropped(void **state)
{
    (void)state;
    AUTO_BUF b;
    buf_init(&b, 50);
    buf_drop_front(&b, 3);
    buf_adds(&b, "hello world");
    buf_drop_front(&b, 6);
    assert_string_equal(buf_str(&b), "world");
    buf_drop_front(&b, 100);
    assert_string_equal(buf_str(&b), "");
}

static void taking_hands_over_the_content(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_BUF b;
    buf_init(&b, 50);
    AUTO_STR nothing = buf_take(&b, "text", &err);
    assert_string_equal(nothing, "");
    buf_adds(&b, "abc");
    AUTO_STR taken = buf_take(&b, "text", &err);
    assert_string_equal(taken, "abc");
    assert_int_equal(b.n, 0);
    buf_adds(&b, "again");
    assert_string_equal(buf_str(&b), "again");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(content_is_followed_by_a_nul),
        cmocka_unit_test(exactly_the_maximum_fits),
        cmocka_unit_test(formatting_up_to_the_maximum_fits_and_one_more_does_not),
        cmocka_unit_test(an_error_sticks_until_reset),
        cmocka_unit_test(reserved_room_is_committed_by_the_caller),
        cmocka_unit_test(absurd_sizes_do_not_wrap_around),
        cmocka_unit_test(the_front_can_be_dropped),
        cmocka_unit_test(taking_hands_over_the_content),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
