#include "hf/hf_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define FILES_MAX 8

struct tree {
    struct hf_file files[FILES_MAX];
    size_t n;
};

static struct tree tree_of(const char *const *paths)
{
    struct tree t = {.n = 0};
    for (; *paths; paths++)
        t.files[t.n++] = (struct hf_file){.path = *paths};
    return t;
}

static void files_are_put_in_the_order_of_their_paths(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    const char *const paths[] = {"b", "a/c", "a-b", "a/b", "a.b", NULL};
    static const char *const order[] = {"a-b", "a.b", "a/b", "a/c", "b"};
    struct tree t = tree_of(paths);
    assert_int_equal(hf_put_in_order(t.files, t.n, &err), 0);
    for (size_t i = 0; i < t.n; i++)
        assert_string_equal(t.files[i].path, order[i]);
}

static void what_can_not_lie_in_one_folder_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *paths[6];
        enum err_kind kind;
        const char *says;
    } rows[] = {
        {{"a", "a"}, ERR_PROTOCOL, "'a' twice"},
        {{"a", "a/b"}, ERR_REFUSED, "'a/b' below it"},
        {{"a/b/c/d", "a-x", "a.y", "a/b"}, ERR_REFUSED, "'a/b/c/d' below it"},
        {{"../a"}, ERR_REFUSED, "../a"},
        {{"/a"}, ERR_REFUSED, "/a"},
        {{"a//b"}, ERR_REFUSED, "a//b"},
        {{""}, ERR_REFUSED, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = ERR_INIT;
        struct tree t = tree_of(rows[i].paths);
        assert_int_equal(hf_put_in_order(t.files, t.n, &err), -1);
        assert_int_equal(err.kind, rows[i].kind);
        assert_non_null(strstr(err.text, rows[i].says));
    }
}

/* The chosen ones, each followed by a space; the hint on failure. */
static void expect_chosen(const char *const *wanted, const char *chosen_text, const char *hint)
{
    const char *const paths[] = {"a.json", "b.json", "sub/a.bin", "sub/d/b.bin", "x[1]", NULL};
    struct tree t = tree_of(paths);
    struct job_strs list = {.v = (const char **)wanted};
    bool chosen[FILES_MAX] = {false};
    char got[256] = "";
    struct err err = ERR_INIT;
    while (wanted[list.n])
        list.n++;
    int rc = hf_select(t.files, t.n, &list, chosen, &err);
    assert_int_equal(rc, chosen_text ? 0 : -1);
    for (size_t i = 0; i < t.n && rc == 0; i++)
        if (chosen[i])
            strcat(strcat(got, t.files[i].path), " ");
    if (chosen_text)
        assert_string_equal(got, chosen_text);
    else if (!strstr(err.hint, hint))
        fail_msg("'%s' is not '%s'", err.hint, hint);
}

static void names_and_globs_choose_and_what_means_nothing_is_an_error(void **state)
{
    (void)state;
    const char *const all[] = {NULL}, *const two[] = {"b.json", "sub/*", NULL}, *const set[] = {"x[1]", NULL};
    const char *const missing[] = {"a.json", "c.json", NULL}, *const folder[] = {"sub", NULL};
    const char *const elsewhere[] = {"b.bin", NULL}, *const none[] = {"*.gguf", NULL};
    expect_chosen(all, "a.json b.json sub/a.bin sub/d/b.bin x[1] ", NULL);
    expect_chosen(two, "b.json sub/a.bin sub/d/b.bin ", NULL);
    expect_chosen(set, "x[1] ", NULL);
    expect_chosen(missing, NULL, "'a.json', 'b.json'");
    expect_chosen(folder, NULL, "write 'sub/'");
    expect_chosen(elsewhere, NULL, "'sub/d/b.bin'");
    expect_chosen(none, NULL, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_put_in_the_order_of_their_paths),
        cmocka_unit_test(what_can_not_lie_in_one_folder_is_refused),
        cmocka_unit_test(names_and_globs_choose_and_what_means_nothing_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
