/* The grammar of the shared files, and the words of a command. */
#include "s3/creds_ini.h"
#include "s3/creds_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define ABSENT "(absent)"

static void check_get(const char *text, const char *kind, const char *section, const char *name, const char *want)
{
    struct span got = ini_get(span_of(text), kind, section, name);
    AUTO_STR shown = NULL;
    struct err err = ERR_INIT;
    shown = str_dup_span(got.p ? got : SPAN_LIT(ABSENT), &err);
    if (!str_eq(shown, want))
        fail_msg("%s: got '%s', not '%s'", text, shown, want);
}

static void test_settings_are_read_as_documented(void **state)
{
    (void)state;
    static const struct {
        const char *text, *kind, *section, *name, *want;
    } cases[] = {
        {"[dev]\nregion = x", "", "dev", "region", "x"},
        {"[dev]\r\nregion=x\r\n", "", "dev", "region", "x"},
        {"\xef\xbb\xbf[dev]\nregion=x", "", "dev", "region", "x"},
        {"[dev]\nRegion = x\n", "", "dev", "region", "x"},
        {"[Dev]\nregion = x\n", "", "dev", "region", ABSENT},
        {"[ dev ]\nregion = x\n", "", "dev", "region", "x"},
        {"[dev] # mine\nregion = x\n", "", "dev", "region", "x"},
        {"[profile dev]\nregion = x\n", "profile", "dev", "region", "x"},
        {"[profile\tdev]\nregion = x\n", "profile", "dev", "region", "x"},
        {"[profile \"my dev\"]\nregion = x\n", "profile", "my dev", "region", "x"},
        {"[profile dev]\nregion = x\n", "", "dev", "region", ABSENT},
        {"[sso-session corp]\nsso_region = x\n", "sso-session", "corp", "sso_region", "x"},
        {"# one\n; two\n\n[dev]\n# three\nregion = x\n", "", "dev", "region", "x"},
        {"[dev]\nregion = x # home\n", "", "dev", "region", "x"},
        {"[dev]\nregion = x\t;home\n", "", "dev", "region", "x"},
        {"[dev]\nregion = x#home\n", "", "dev", "region", "x#home"},
        {"[dev]\nregion = # nothing\n", "", "dev", "region", ""},
        {"[dev]\nsecret = a/b+c=d==\n", "", "dev", "secret", "a/b+c=d=="},
        {"[dev]\nregion = x\nregion = y\n", "", "dev", "region", "y"},
        {"[dev]\nregion = x\n[other]\nregion = z\n[dev]\noutput = y\n", "", "dev", "region", "x"},
        {"[dev]\ns3 =\n  region = nested\nregion = x\n", "", "dev", "region", "x"},
        {"[dev]\ns3 =\n  region = nested\n", "", "dev", "region", ABSENT},
        {"[dev]\n  region = x\n  output = y\n", "", "dev", "output", "y"},
        {"[dev]\nnote = a\n  b\n\n\tc\nregion = x\n", "", "dev", "note", "a\n  b\n\n\tc"},
        {"[dev]\nnote = a\n\n\nregion = x\n", "", "dev", "note", "a"},
        {"[dev]\nregion = x", "", "dev", "output", ABSENT},
        {"", "", "dev", "region", ABSENT},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_get(cases[i].text, cases[i].kind, cases[i].section, cases[i].name, cases[i].want);
}

static int accept(void *ctx, const struct ini_item *item, struct err *err)
{
    (void)ctx;
    (void)item;
    (void)err;
    return 0;
}

static void test_broken_files_are_errors_with_a_line_and_without_their_text(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"canary = 1\n[dev]\n", "line 1: "}, {"[dev]\n\ncanary\n", "line 3: "},
        {"[dev]\n= canary\n", "line 2: "},   {"[canary\nregion = x\n", "line 1: "},
        {"[dev] canary\n", "line 1: "},      {"[dev]\ns3 =\n  a = b\n  c = d\ncanary\n", "line 5: "},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = ERR_INIT;
        assert_int_equal(ini_walk(span_of(cases[i][0]), accept, NULL, &err), -1);
        assert_int_equal(err.kind, ERR_INVALID);
        if (!strstr(err.text, cases[i][1]))
            fail_msg("%s: %s", cases[i][0], err.text);
        assert_null(strstr(err.text, "canary"));
    }
}

static void test_a_command_is_split_into_words_without_a_shell(void **state)
{
    (void)state;
    static const struct {
        const char *command;
        const char *words[5];
    } cases[] = {
        {"prog a  b", {"prog", "a", "b"}},
        {" \tprog\ta ", {"prog", "a"}},
        {"\"/opt/my tools/prog\" --x='a b'", {"/opt/my tools/prog", "--x=a b"}},
        {"prog \"a\\\"b\" 'c\\d' e\\ f", {"prog", "a\"b", "c\\d", "e f"}},
        {"prog \"C:\\x\" ''", {"prog", "C:\\x", ""}},
        {"prog $HOME; rm *|x", {"prog", "$HOME;", "rm", "*|x"}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = ERR_INIT;
        struct strv words = {0};
        assert_int_equal(command_split(span_of(cases[i].command), &words, &err), 0);
        size_t n = 0;
        for (; cases[i].words[n]; n++)
            assert_string_equal(words.v[n], cases[i].words[n]);
        assert_int_equal(words.n, n);
        strv_release(&words);
    }
    static const char *const broken[] = {"", "  ", "prog \"a", "prog 'a", "a\nb"};
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        struct err err = ERR_INIT;
        struct strv words = {0};
        assert_int_equal(command_split(span_of(broken[i]), &words, &err), -1);
        strv_release(&words);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settings_are_read_as_documented),
        cmocka_unit_test(test_broken_files_are_errors_with_a_line_and_without_their_text),
        cmocka_unit_test(test_a_command_is_split_into_words_without_a_shell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
