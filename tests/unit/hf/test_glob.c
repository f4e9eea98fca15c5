#include "hf/glob.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void patterns_mean_what_the_hubs_own_tools_mean(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool match;
    } rows[] = {
        {"*", "a/b/c", true},
        {"*", "", true},
        {"*.json", "config.json", true},
        {"*.json", "sub/config.json", true},
        {"*.json", "config.json5", false},
        {"sub/*", "sub/a/b", true},
        {"sub/*", "subs/a", false},
        {"sub/", "sub/a/b", true},
        {"su?/", "sub/a", true},
        {"sub/", "sub", false},
        {"a*b*c", "axxbyyc", true},
        {"a*b*c", "axxbyy", false},
        {"*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
        {"?", "a", true},
        {"?", "/", true},
        {"?", "", false},
        {"?", "é", true},
        {"??", "é", false},
        {"a?c",
         "a\xff"
         "c",
         true},
        {"[ab]", "b", true},
        {"[ab]", "c", false},
        {"[!ab]", "c", true},
        {"[!ab]", "a", false},
        {"[a-c]x", "bx", true},
        {"[a-c]x", "dx", false},
        {"[c-a]", "b", false},
        {"[a-]", "-", true},
        {"[-a]", "-", true},
        {"[]]", "]", true},
        {"[!]]", "x", true},
        {"[!]]", "]", false},
        {"[à-ü]", "é", true},
        {"[*]", "*", true},
        {"[*]", "a", false},
        {"[^a]", "^", true},
        {"[ab", "[ab", true},
        {"[ab", "a", false},
        {"\\*", "\\x", true},
        {"[", "[", true},
        {"x[", "x[", true},
        {"A", "a", false},
        {"", "", true},
        {"", "a", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (hf_glob_match(span_of(rows[i].pattern), span_of(rows[i].text)) != rows[i].match)
            fail_msg("'%s' and '%s'", rows[i].pattern, rows[i].text);
}

static void names_are_told_from_patterns(void **state)
{
    (void)state;
    static const char *const patterns[] = {"*", "a?", "[a]", "x[", "sub/"}, *const names[] = {"", "a", "a/b", "a]b",
                                                                                              "!a"};
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++)
        assert_true(hf_glob_is_pattern(span_of(patterns[i])));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_false(hf_glob_is_pattern(span_of(names[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_mean_what_the_hubs_own_tools_mean),
        cmocka_unit_test(names_are_told_from_patterns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
