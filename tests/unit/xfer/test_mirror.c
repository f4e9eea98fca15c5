#include "xfer/mirror.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const char *const entries[] = {"https://models.example=http://127.0.0.1:9000/models",
                                      "HTTPS://Models.Example:443/deep/ = https://other.example/", NULL};

static struct arena *arena;
static struct mirrors mirrors;

static int set_up(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    arena = arena_new(0, &err);
    return arena ? mirrors_read(arena, entries, &mirrors, &err) : -1;
}

static int tear_down(void **state)
{
    (void)state;
    arena_free(arena);
    return 0;
}

static void expect(const char *url, const char *mirrored)
{
    AUTO_BUF out;
    buf_init(&out, 4096);
    assert_int_equal(mirrors_apply(&mirrors, span_of(url), &out), mirrored != NULL);
    assert_string_equal(buf_str(&out), mirrored ? mirrored : "");
}

static void test_a_left_side_is_replaced_at_a_segment_or_the_query(void **state)
{
    (void)state;
    expect("https://models.example/a?b", "http://127.0.0.1:9000/models/a?b");
    expect("https://models.example", "http://127.0.0.1:9000/models");
    expect("https://models.example/deep?x=1", "https://other.example?x=1");
}

static void test_the_longest_left_side_wins(void **state)
{
    (void)state;
    expect("https://models.example/deep/a", "https://other.example/a");
    expect("https://models.example/deeper/a", "http://127.0.0.1:9000/models/deeper/a");
}

static void test_what_only_looks_alike_is_left_alone(void **state)
{
    (void)state;
    expect("https://models.example.evil/a", NULL);
    expect("http://models.example/a", NULL);
}

static void test_a_broken_entry_is_named(void **state)
{
    (void)state;
    const char *const bad[][2] = {
        {"https://only.one", NULL}, {"ftp://a=http://b", NULL}, {"http://a?q=http://b", NULL}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct mirrors m;
        struct err err = ERR_INIT;
        assert_int_equal(mirrors_read(arena, bad[i], &m, &err), -1);
        assert_non_null(strstr(err.text, "mirror"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_left_side_is_replaced_at_a_segment_or_the_query),
        cmocka_unit_test(test_the_longest_left_side_wins),
        cmocka_unit_test(test_what_only_looks_alike_is_left_alone),
        cmocka_unit_test(test_a_broken_entry_is_named),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
