#include "ollama/challenge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct arena *arena;

static int set_up(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    arena = arena_new(0, &err);
    return arena ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    arena_free(arena);
    return 0;
}

static struct challenge parse(const char *field)
{
    struct challenge c;
    struct err err = ERR_INIT;
    if (challenge_parse(arena, span_of(field), &c, &err) < 0)
        fail_msg("%s: %s", field, err.text);
    return c;
}

static void a_challenge_has_a_scheme_and_parameters_in_any_order(void **state)
{
    (void)state;
    struct challenge c =
        parse("Bearer service=\"reg\" , Realm = \"https://a/t\\\"x\",error=\"e\",scope=\"repository:a/b:pull,push\"");
    assert_string_equal(c.scheme, "Bearer");
    assert_string_equal(c.realm, "https://a/t\"x");
    assert_string_equal(c.service, "reg");
    assert_string_equal(c.scope, "repository:a/b:pull,push");
}

static void only_the_first_of_several_challenges_counts(void **state)
{
    (void)state;
    struct challenge c = parse("Bearer realm=\"one\", Basic realm=\"two\"");
    assert_string_equal(c.realm, "one");
    c = parse("Negotiate, Bearer realm=\"x\"");
    assert_string_equal(c.scheme, "Negotiate");
    assert_null(c.realm);
}

static void what_cannot_be_read_is_an_error(void **state)
{
    (void)state;
    static const char *const bad[] = {"", " , ", "\"x\"", "Bearer realm=\"open"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct challenge c;
        struct err err = ERR_INIT;
        assert_int_equal(challenge_parse(arena, span_of(bad[i]), &c, &err), -1);
    }
}

static void the_tokens_url_carries_service_and_scope(void **state)
{
    (void)state;
    struct challenge c = {.scheme = "Bearer", .realm = "https://a/t", .service = "r e&g"};
    struct err err = ERR_INIT;
    AUTO_BUF url;
    buf_init(&url, 1024);
    assert_int_equal(challenge_token_url(&c, "repository:x/y:pull", &url, &err), 0);
    assert_string_equal(buf_str(&url), "https://a/t?service=r%20e%26g&scope=repository%3Ax%2Fy%3Apull");
    c = (struct challenge){.scheme = "Bearer", .realm = "https://a/t?x=1", .scope = "own"};
    buf_reset(&url);
    assert_int_equal(challenge_token_url(&c, "other", &url, &err), 0);
    assert_string_equal(buf_str(&url), "https://a/t?x=1&scope=own");
    c.realm = NULL;
    assert_int_equal(challenge_token_url(&c, "other", &url, &err), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_challenge_has_a_scheme_and_parameters_in_any_order),
        cmocka_unit_test(only_the_first_of_several_challenges_counts),
        cmocka_unit_test(what_cannot_be_read_is_an_error),
        cmocka_unit_test(the_tokens_url_carries_service_and_scope),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
