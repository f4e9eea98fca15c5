#include "test_base.h"

#include "base/rng.h"
#include "base/yaml.h"

/* The YAML text means this JSON text. */
static void assert_means(const char *yaml, const char *json)
{
    struct err err = ERR_INIT;
    AUTO_BUF out;
    buf_init(&out, 4000);
    AUTO_JSON value = yaml_parse(span_of(yaml), NULL, &err);
    if (!value)
        fail_msg("%s: %s", yaml, err.text);
    assert_works(json_write(value, false, &out, &err), &err);
    assert_string_equal(buf_str(&out), json);
}

/* The YAML text is refused with these words. */
static void assert_refused(const char *yaml, const char *words)
{
    struct err err = ERR_INIT;
    AUTO_JSON value = yaml_parse(span_of(yaml), NULL, &err);
    if (value)
        fail_msg("accepted: %s", yaml);
    assert_int_equal(err.kind, ERR_INVALID);
    assert_contains(err.text, words);
}

static void plain_scalars_follow_the_core_schema(void **state)
{
    (void)state;
    assert_means("[null, Null, NULL, ~, ]", "[null,null,null,null]");
    assert_means("a:\nb: ''", "{\"a\":null,\"b\":\"\"}");
    assert_means("[true, True, TRUE, false, False, FALSE]", "[true,true,true,false,false,false]");
    assert_means("[yes, no, on, off, y, n, Yes, tRUE]", "[\"yes\",\"no\",\"on\",\"off\",\"y\",\"n\",\"Yes\",\"tRUE\"]");
    assert_means("[0, -1, +12, 007, 0o17, 0xfF]", "[0,-1,12,7,15,255]");
    assert_means("[0.5, -.5, 1., 1e3, 1.5E-3, +2.5]", "[0.5,-0.5,1.0,1000.0,0.0015,2.5]");
    assert_means(
        "[0b1, 1_000, 0o8, 0xg, -0x1, 1:30, '-', 1e, .e1, 1.2.3, e5, 2026-01-31]",
        "[\"0b1\",\"1_000\",\"0o8\",\"0xg\",\"-0x1\",\"1:30\",\"-\",\"1e\",\".e1\",\"1.2.3\",\"e5\",\"2026-01-31\"]");
}

static void quoted_scalars_are_strings(void **state)
{
    (void)state;
    assert_means("['1', \"true\", '~', \"\\u00e9\\n\"]", "[\"1\",\"true\",\"~\",\"\xc3\xa9\\n\"]");
    assert_means("a: |\n  1\n  2\nb: >-\n  x\n  y\n", "{\"a\":\"1\\n2\\n\",\"b\":\"x y\"}");
}

static void tags_of_the_core_schema_are_honoured(void **state)
{
    (void)state;
    assert_means("[!!str 1, ! 1, !!int '7', !!float 1.5, !!bool 'true', !!null '']", "[\"1\",\"1\",7,1.5,true,null]");
    assert_means("!!map {a: !!seq [1]}", "{\"a\":[1]}");
    assert_refused("!!int x", "line 1: the tag");
    assert_refused("a: 1\nb: !!python/object x", "line 2: the tag");
    assert_refused("!Ref x", "line 1: the tag");
    assert_refused("!!set {a, b}", "line 1: the tag");
    assert_refused("a: 1\n!!int b: 2", "line 2: the tag");
    assert_refused("{!Ref a: 1}", "line 1: the tag");
    assert_means("{!!str a: 1, ! b: 2}", "{\"a\":1,\"b\":2}");
}

static void keys_are_taken_by_their_text(void **state)
{
    (void)state;
    assert_means("8080: web\ntrue: x\n~: y", "{\"8080\":\"web\",\"true\":\"x\",\"~\":\"y\"}");
    assert_refused("? [a]\n: 1", "a key must be plain text");
    assert_refused("a: &x b\n*x : 1", "a key must be plain text");
}

static void numbers_that_json_cannot_hold_are_refused(void **state)
{
    (void)state;
    assert_refused("a: 9223372036854775808", "line 1: a whole number outside 64 bits");
    assert_refused("a: -9223372036854775809", "outside 64 bits");
    assert_refused("a: 0xfffffffffffffffff", "outside 64 bits");
    assert_refused("a: 1e999", "outside double precision");
    assert_refused("a: .inf", "infinity");
    assert_refused("a: -.INF", "infinity");
    assert_refused("a: .nan", "not-a-number");
    assert_means("[9223372036854775807, -9223372036854775808]", "[9223372036854775807,-9223372036854775808]");
}

static void repeated_and_merged_keys_are_refused(void **state)
{
    (void)state;
    assert_refused("a: 1\nb: 2\na: 3", "line 3: the key \"a\" is there twice");
    assert_refused("x: {a: 1, \"\\u0061\": 2}", "there twice");
    assert_refused("a: &d {k: 1}\nb:\n  <<: *d", "line 3: merge keys");
    assert_means("'<<': 1", "{\"<<\":1}");
}

static void one_document_is_enough(void **state)
{
    (void)state;
    assert_means("", "null");
    assert_means("# only a comment\n", "null");
    assert_means("---\na: 1\n...\n", "{\"a\":1}");
    assert_refused("a: 1\n---\nb: 2\n", "line 3: a second document");
    assert_refused("a: 1\n---\n", "a second document");
}

static void broken_yaml_names_its_line(void **state)
{
    (void)state;
    assert_refused("a: 1\nb: [1, 2\nc: 3", "line ");
    assert_refused("a: 'x\n", "line ");
    assert_refused("a:\n\t- b", "line 2");
    assert_refused("{a: 1", "line ");
    assert_refused("@x", "line 1");
    assert_refused("a: \"\xff\"", "byte ");
    assert_refused("a: \"\xed\xa0\x80\"", "byte ");
    assert_refused("a: \"x\\0y\"", "line 1: a NUL");
    assert_refused("\"x\\0y\": 1", "line 1: a NUL");
}

static void aliases_repeat_their_anchor(void **state)
{
    (void)state;
    assert_means("a: &x [1, 2]\nb: *x\nc: &x 3\nd: *x", "{\"a\":[1,2],\"b\":[1,2],\"c\":3,\"d\":3}");
    assert_refused("a: *nobody", "line 1");
    assert_refused("a: &x [*x]", "line 1");
}

static void alias_bombs_are_stopped(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_BUF bomb;
    buf_init(&bomb, 10000);
    buf_adds(&bomb, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 40; i++) {
        buf_addf(&bomb, "a%d: &a%d [", i, i);
        for (int k = 0; k < 10; k++)
            buf_addf(&bomb, "%s*a%d", k ? "," : "", i - 1);
        buf_adds(&bomb, "]\n");
    }
    assert_works(buf_check(&bomb, "bomb", &err), &err);
    assert_refused(buf_str(&bomb), "more than 100000 values");
    buf_reset(&bomb);
    for (int i = 0; i <= YAML_ANCHORS_MAX; i++)
        buf_addf(&bomb, "- &%x\n", (unsigned)i);
    assert_refused(buf_str(&bomb), "more than 1000 anchors");
}

/* With fewer than would take minutes where they are not stopped. */
static void directive_bombs_are_stopped(void **state)
{
    (void)state;
    static const char *const breaks[] = {"\n", "\r", "\xc2\x85", "\xe2\x80\xa8", "\xe2\x80\xa9"};
    AUTO_BUF bomb;
    buf_init(&bomb, 1 << 20);
    for (size_t b = 0; b < ARRAY_LEN(breaks); b++) {
        buf_reset(&bomb);
        for (unsigned i = 0; i <= YAML_DIRECTIVES_MAX; i++)
            buf_addf(&bomb, "%%TAG !%x! a%s", i, breaks[b]);
        buf_adds(&bomb, "--- a\n");
        assert_refused(buf_str(&bomb), "more than 100 %TAG");
    }
    buf_reset(&bomb);
    for (unsigned i = 0; i < YAML_DIRECTIVES_MAX; i++)
        buf_addf(&bomb, "%%TAG !%x! a\n", i);
    buf_adds(&bomb, "--- a\n");
    assert_means(buf_str(&bomb), "\"a\"");
    buf_reset(&bomb);
    for (unsigned i = 0; i < 2 * YAML_DIRECTIVES_MAX; i++)
        buf_addf(&bomb, "- echo %%TAG\n");
    struct err err = ERR_INIT;
    json_t *value = yaml_parse(buf_span(&bomb), NULL, &err);
    assert_int_equal(json_array_size(value), 2 * YAML_DIRECTIVES_MAX);
    json_decref(value);
    assert_means("%YAML 1.1\n%TAG ! tag:yaml.org,2002:\n--- !str 1\n", "\"1\"");
}

static void nesting_through_brackets_and_aliases_is_bounded(void **state)
{
    (void)state;
    static char text[20001];
    memset(text, '[', 10000);
    memset(text + 10000, ']', 10000);
    assert_refused(text, "nested deeper than 64 levels");
    AUTO_BUF chain;
    buf_init(&chain, 10000);
    buf_adds(&chain, "- &a0 [x]\n");
    for (int i = 1; i < 70; i++)
        buf_addf(&chain, "- &a%d [*a%d]\n", i, i - 1);
    assert_refused(buf_str(&chain), "nested deeper than 64 levels");
}

static void the_number_of_values_is_bounded(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_BUF text;
    buf_init(&text, 1 << 20);
    for (int i = 0; i < YAML_NODES_MAX - 1; i++)
        buf_adds(&text, "- 1\n");
    AUTO_JSON value = yaml_parse(buf_span(&text), NULL, &err);
    assert_int_equal(json_array_size(value), YAML_NODES_MAX - 1);
    buf_adds(&text, "- 1\n");
    assert_refused(buf_str(&text), "line 100000: more than 100000 values");
}

static void every_value_knows_its_line(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct yaml_lines *lines = NULL;
    AUTO_JSON v = yaml_parse(SPAN_LIT("a: 1\n# c\nb:\n  - x\n  - k: y\nn: null\n"), &lines, &err);
    assert_non_null(v);
    const json_t *b = json_object_get(v, "b");
    assert_int_equal(yaml_line_of(lines, v), 1);
    assert_int_equal(yaml_line_of(lines, json_object_get(v, "a")), 1);
    assert_int_equal(yaml_line_of(lines, b), 4);
    assert_int_equal(yaml_line_of(lines, json_array_get(b, 1)), 5);
    assert_int_equal(yaml_line_of(lines, json_object_get(json_array_get(b, 1), "k")), 5);
    assert_int_equal(yaml_line_of(lines, json_object_get(v, "n")), 0);
    assert_int_equal(yaml_line_of(NULL, v), 0);
    yaml_lines_free(lines);
    yaml_lines_free(NULL);
    assert_null_with(yaml_parse(SPAN_LIT("a: ["), &lines, &err), &err, ERR_INVALID);
    assert_null(lines);
}

static void assert_round_trip(const json_t *value)
{
    struct err err = ERR_INIT;
    AUTO_BUF out;
    buf_init(&out, 1 << 20);
    assert_works(yaml_write(value, &out, &err), &err);
    AUTO_JSON again = yaml_parse(buf_span(&out), NULL, &err);
    if (!again || !json_equal(value, again))
        fail_msg("does not come back (%s):\n%s", err.text, buf_str(&out));
}

static void writing_is_block_style(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_BUF out;
    buf_init(&out, 1000);
    AUTO_JSON v =
        json_parse(SPAN_LIT("{\"a\":[1,\"1\",\"x\"],\"t\":\"l1\\nl2\\n\",\"e\":{},\"y\":\"no\",\"f\":0.1}"), &err);
    assert_works(yaml_write(v, &out, &err), &err);
    assert_string_equal(buf_str(&out), "a:\n- 1\n- \"1\"\n- x\nt: |\n  l1\n  l2\ne: {}\n\"y\": \"no\"\nf: 0.1\n");
}

static void awkward_strings_come_back(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        " ",
                                        "a ",
                                        " a",
                                        "#x",
                                        "a #b",
                                        "a: b",
                                        "- a",
                                        "-",
                                        "?",
                                        "null",
                                        "~",
                                        "true",
                                        "yes",
                                        "1",
                                        "1.5",
                                        ".5",
                                        "1e3",
                                        "0x1f",
                                        "0o7",
                                        "+1",
                                        ".inf",
                                        "<<",
                                        "=",
                                        "*a",
                                        "&a",
                                        "!a",
                                        "%a",
                                        "@a",
                                        "`a",
                                        "'a'",
                                        "\"a\"",
                                        "[a]",
                                        "{a}",
                                        "a\n",
                                        "\na",
                                        "\n",
                                        "a\n\nb",
                                        " a\nb",
                                        "a\n b",
                                        "a\n\n",
                                        "\ta",
                                        "a\tb",
                                        "a\r\nb",
                                        "\x01",
                                        "\x7f",
                                        "...",
                                        "---",
                                        "a\\nb",
                                        "\xc2\x85",
                                        "\xe2\x80\xa8",
                                        "\xf0\x9f\x9a\xa2",
                                        "\357\273\277a",
                                        "a\n\t\nb",
                                        "x\n   ",
                                        "12:30:00",
                                        "2026-01-31"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        AUTO_JSON v = json_pack("{s:s, s:[s], s:{s:i}}", "v", texts[i], "l", texts[i], "k", texts[i], 1);
        assert_non_null(v);
        assert_round_trip(v);
    }
}

/* A value with every kind of node, from a seed. */
static json_t *random_value(struct rng *rng, unsigned depth)
{
    static const char alphabet[] = "ab1:-#\n '\"[{&*!|>%@,.~\t";
    char text[9] = "";
    size_t n = rng_below(rng, 9);
    for (size_t i = 0; i < n; i++)
        text[i] = alphabet[rng_below(rng, sizeof alphabet - 1)];
    switch (rng_below(rng, depth < 4 ? 8 : 6)) {
    case 0:
        return json_null();
    case 1:
        return json_boolean((int)rng_below(rng, 2));
    case 2:
        return json_integer((json_int_t)rng_next(rng));
    case 3:
        return json_real((double)(int64_t)rng_next(rng) / 65536.0);
    case 6: {
        json_t *array = json_array();
        for (size_t i = rng_below(rng, 4); i > 0; i--)
            json_array_append_new(array, random_value(rng, depth + 1));
        return array;
    }
    case 7: {
        json_t *obj = json_object();
        json_object_set_new(obj, text, random_value(rng, depth + 1));
        json_object_set_new(obj, "k", random_value(rng, depth + 1));
        return obj;
    }
    default:
        return json_string(text);
    }
}

static void any_value_comes_back(void **state)
{
    (void)state;
    struct rng rng = {11};
    for (int i = 0; i < 3000; i++) {
        AUTO_JSON v = random_value(&rng, 0);
        assert_round_trip(v);
    }
}

static void writing_respects_the_bounds(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_BUF out;
    buf_init(&out, 10);
    AUTO_JSON v = json_pack("{s:s}", "key", "a long enough text");
    assert_fails(yaml_write(v, &out, &err), &err, ERR_LIMIT);
    json_t *deep = json_array();
    for (int i = 0; i < 100; i++) {
        json_t *outer = json_array();
        json_array_append_new(outer, deep);
        deep = outer;
    }
    AUTO_BUF large;
    buf_init(&large, 1 << 20);
    assert_fails(yaml_write(deep, &large, &err), &err, ERR_INVALID);
    json_decref(deep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_scalars_follow_the_core_schema),
        cmocka_unit_test(quoted_scalars_are_strings),
        cmocka_unit_test(tags_of_the_core_schema_are_honoured),
        cmocka_unit_test(keys_are_taken_by_their_text),
        cmocka_unit_test(numbers_that_json_cannot_hold_are_refused),
        cmocka_unit_test(repeated_and_merged_keys_are_refused),
        cmocka_unit_test(one_document_is_enough),
        cmocka_unit_test(broken_yaml_names_its_line),
        cmocka_unit_test(aliases_repeat_their_anchor),
        cmocka_unit_test(alias_bombs_are_stopped),
        cmocka_unit_test(directive_bombs_are_stopped),
        cmocka_unit_test(nesting_through_brackets_and_aliases_is_bounded),
        cmocka_unit_test(the_number_of_values_is_bounded),
        cmocka_unit_test(every_value_knows_its_line),
        cmocka_unit_test(writing_is_block_style),
        cmocka_unit_test(awkward_strings_come_back),
        cmocka_unit_test(any_value_comes_back),
        cmocka_unit_test(writing_respects_the_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
