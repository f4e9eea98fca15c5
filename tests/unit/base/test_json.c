#include "test_base.h"

#include "base/json.h"

static json_t *parse(const char *text, struct err *err)
{
    return json_parse(span_of(text), err);
}

static void values_of_every_kind_come_back_as_written(void **state)
{
    (void)state;
    static const char *const texts[] = {"{\"b\":1,\"a\":[true,false,null,\"x\",-5,0.1,1.5e300]}",
                                        "[]",
                                        "{}",
                                        "\"s\"",
                                        "12",
                                        "null",
                                        "9223372036854775807",
                                        "-9223372036854775808",
                                        "\"\\u0001\\\"\\\\\"",
                                        "0.30000000000000004"};
    struct err err = ERR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        AUTO_BUF out;
        buf_init(&out, 1000);
        AUTO_JSON value = parse(texts[i], &err);
        assert_non_null(value);
        assert_works(json_write(value, false, &out, &err), &err);
        AUTO_JSON again = json_parse(buf_span(&out), &err);
        assert_true(json_equal(value, again));
    }
}

static void short_decimals_stay_short(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_BUF out;
    buf_init(&out, 100);
    AUTO_JSON value = parse("{\"price\":0.048,\"b\":[0.1]}", &err);
    assert_works(json_write(value, false, &out, &err), &err);
    assert_string_equal(buf_str(&out), "{\"price\":0.048,\"b\":[0.1]}");
}

static void pretty_indents_by_two(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_BUF out;
    buf_init(&out, 100);
    AUTO_JSON value = parse("{\"a\":[1]}", &err);
    assert_works(json_write(value, true, &out, &err), &err);
    assert_string_equal(buf_str(&out), "{\n  \"a\": [\n    1\n  ]\n}");
}

static void loose_json_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        " ",
        "{",
        "{\"a\":1,}",
        "{a:1}",
        "[1,]",
        "[1 2]",
        "{\"a\":1}x",
        "nul",
        "01",
        "+1",
        "1.",
        ".5",
        "0x1",
        "NaN",
        "'a'",
        "\"a\nb\"",
        "\"\\x\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "\"\\u0000\"",
        "\"\xff\"",
        "\"\xed\xa0\x80\"",
        "\"\xc0\xaf\"",
        "// c\n1",
        "[1]]",
        "1e999",
        "9223372036854775808",
        "{\"a\\u0000b\":1}",
        "\xef\xbb\xbf{}",
    };
    struct err err = ERR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        AUTO_JSON value = parse(bad[i], &err);
        if (value)
            fail_msg("accepted: %s", bad[i]);
        assert_int_equal(err.kind, ERR_INVALID);
        assert_contains(err.text, "line ");
        err_clear(&err);
    }
    assert_null_with(json_parse((struct span){"1\0", 2}, &err), &err, ERR_INVALID);
    assert_null_with(json_parse((struct span){NULL, 0}, &err), &err, ERR_INVALID);
}

static void surrogate_pairs_become_one_character(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_JSON value = parse("\"\\ud83d\\udea2\"", &err);
    assert_string_equal(json_string_value(value), "\xf0\x9f\x9a\xa2");
}

static void a_repeated_key_is_named_with_its_place(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    assert_null(parse("{\n \"image\": 1,\n \"image\": 2}", &err));
    assert_int_equal(err.kind, ERR_INVALID);
    assert_contains(err.text, "line 3, column ");
    assert_contains(err.text, "image");
    err_clear(&err);
    assert_null_with(parse("{\"a\":1,\"\\u0061\":2}", &err), &err, ERR_INVALID);
}

static void errors_do_not_quote_the_text(void **state)
{
    (void)state;
    static const char *const texts[] = {"{\"key\": \"s3cr3t\" oops}", "{\"key\": \"s3cr3t",
                                        "{\"key\": s3cr3t}",          "[\"s3cr3t\"",
                                        "{\"k\": \"a\"} s3cr3t",      "{\"a\": \"s3cr3t\n\"}"};
    struct err err = ERR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        assert_null(parse(texts[i], &err));
        assert_null(strstr(err.text, "s3cr3t"));
        err_clear(&err);
    }
}

static void nesting_is_bounded(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    static char text[20001];
    memset(text, '[', 10000);
    memset(text + 10000, ']', 10000);
    assert_null_with(parse(text, &err), &err, ERR_INVALID);
    assert_null(json_parse((struct span){text + 10000 - JSON_DEPTH_MAX - 1, 2 * (JSON_DEPTH_MAX + 1)}, &err));
    assert_contains(err.text, "line 1, column 65: nested deeper than 64 levels");
    err_clear(&err);
    AUTO_JSON deep = json_parse((struct span){text + 10000 - JSON_DEPTH_MAX, 2 * JSON_DEPTH_MAX}, &err);
    assert_non_null(deep);
    AUTO_JSON quoted = parse("\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[\"", &err);
    assert_non_null(quoted); /* brackets in a string nest nothing */
}

static void getters_check_the_type(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    int64_t n = 5;
    AUTO_JSON obj = parse("{\"s\":\"x\",\"n\":-7,\"r\":1.5,\"t\":true,\"z\":null}", &err);
    assert_string_equal(json_get_str(obj, "s"), "x");
    assert_null(json_get_str(obj, "n"));
    assert_null(json_get_str(obj, "absent"));
    assert_null(json_get_str(NULL, "s"));
    assert_true(json_get_i64(obj, "n", &n));
    assert_int_equal(n, -7);
    assert_false(json_get_i64(obj, "r", &n));
    assert_false(json_get_i64(obj, "s", &n));
    assert_int_equal(n, -7);
    assert_true(json_get_bool(obj, "t", false));
    assert_true(json_get_bool(obj, "z", true));
    assert_false(json_get_bool(obj, "absent", false));
}

static void members_can_be_added_until_one_fails(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_JSON obj = json_object();
    AUTO_BUF out;
    buf_init(&out, 200);
    assert_works(json_put_str(obj, "s", "x", &err), &err);
    assert_works(json_put_str(obj, "nothing", NULL, &err), &err);
    assert_works(json_put_u64(obj, "n", INT64_MAX, &err), &err);
    assert_works(json_put(obj, "a", json_array(), &err), &err);
    assert_works(json_write(obj, false, &out, &err), &err);
    assert_string_equal(buf_str(&out), "{\"s\":\"x\",\"nothing\":null,\"n\":9223372036854775807,\"a\":[]}");
    assert_int_equal(json_put_str(obj, "bad", "\xff", &err), -1);
    assert_int_equal(json_put_str(obj, "good", "x", &err), -1); /* sticky */
    assert_int_equal(json_put(obj, "good", json_string("x"), &err), -1);
    assert_int_equal(err.kind, ERR_INVALID);
    assert_contains(err.text, "bad");
    assert_null(json_object_get(obj, "good"));
    err_clear(&err);
    assert_fails(json_put_u64(obj, "big", UINT64_MAX, &err), &err, ERR_LIMIT);
    assert_fails(json_put(obj, "none", NULL, &err), &err, ERR_NOMEM);
    assert_fails(json_put_str(obj, "\xff", "x", &err), &err, ERR_INVALID);
}

static void writing_stops_at_the_buffers_bound(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_BUF out;
    buf_init(&out, 4);
    AUTO_JSON value = parse("[1,2,3,4,5]", &err);
    assert_fails(json_write(value, false, &out, &err), &err, ERR_LIMIT);
}

static void wiping_overwrites_strings_at_any_depth(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_JSON value = parse("{\"key\":\"abc\",\"n\":7,\"list\":[{\"deep\":\"de\"},\"\"]}", &err);
    assert_non_null(value);
    json_wipe(value);
    json_t *deep = json_object_get(json_array_get(json_object_get(value, "list"), 0), "deep");
    assert_memory_equal(json_string_value(json_object_get(value, "key")), "\0\0\0", 3);
    assert_memory_equal(json_string_value(deep), "\0\0", 2);
    assert_int_equal(json_integer_value(json_object_get(value, "n")), 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_every_kind_come_back_as_written),
        cmocka_unit_test(short_decimals_stay_short),
        cmocka_unit_test(pretty_indents_by_two),
        cmocka_unit_test(loose_json_is_refused),
        cmocka_unit_test(surrogate_pairs_become_one_character),
        cmocka_unit_test(a_repeated_key_is_named_with_its_place),
        cmocka_unit_test(errors_do_not_quote_the_text),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(getters_check_the_type),
        cmocka_unit_test(members_can_be_added_until_one_fails),
        cmocka_unit_test(wiping_overwrites_strings_at_any_depth),
        cmocka_unit_test(writing_stops_at_the_buffers_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
