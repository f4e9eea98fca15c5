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
    assert_int_equal(hf_check_paths(t.files, t.n, &err), 0);
    for (size_t i = 0; i < t.n; i++)
        assert_string_equal(t.files[i].path, order[i]);
}

static void what_can_not_lie_in_one_folder_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *paths[6];
        const char *says;
    } rows[] = {
        {{"a", "a/b"}, "'a/b' below it"},
        {{"a/b/c/d", "a-x", "a.y", "a/b"}, "'a/b/c/d' below it"},
        {{"../a"}, "../a"},
        {{"/a"}, "/a"},
        {{"a//b"}, "a//b"},
        {{""}, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = ERR_INIT;
        struct tree t = tree_of(rows[i].paths);
        assert_int_equal(hf_put_in_order(t.files, t.n, &err), 0);
        assert_int_equal(hf_check_paths(t.files, t.n, &err), -1);
        assert_int_equal(err.kind, ERR_REFUSED);
        assert_non_null(strstr(err.text, rows[i].says));
    }
}

static void a_path_that_is_listed_twice_is_the_hubs_fault(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    const char *const paths[] = {"a", "b", "a", NULL};
    struct tree t = tree_of(paths);
    assert_int_equal(hf_put_in_order(t.files, t.n, &err), -1);
    assert_int_equal(err.kind, ERR_PROTOCOL);
    assert_non_null(strstr(err.text, "'a' twice"));
}

/* A name is data of the hub, and an error is one line of berth's. */
static void names_forge_no_lines(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    const char *const twice[] = {"a\nok: b", "a\nok: b", NULL}, *const below[] = {"a\nb", "a\nb/c", NULL};
    struct tree t = tree_of(twice);
    assert_int_equal(hf_put_in_order(t.files, t.n, &err), -1);
    assert_null(strchr(err.text, '\n'));
    err_clear(&err);
    t = tree_of(below);
    assert_int_equal(hf_check_paths(t.files, t.n, &err), -1);
    assert_null(strchr(err.text, '\n'));
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
    int rc = hf_select(t.files, t.n, &list, NULL, chosen, &err);
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

static int select_all(const struct hf_file *files, size_t n, const struct job_strs *wanted, const struct cancel *cancel,
                      struct err *err)
{
    bool *chosen = calloc(n, sizeof *chosen);
    assert_non_null(chosen);
    int rc = hf_select(files, n, wanted, cancel, chosen, err);
    free(chosen);
    return rc;
}

static void patterns_are_bounded_and_names_are_not(void **state)
{
    (void)state;
    static const char *words[2 * HF_PATTERNS_MAX];
    const struct hf_file file = {.path = "a"};
    struct err err = ERR_INIT;
    struct job_strs wanted = {words, HF_PATTERNS_MAX};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        words[i] = "?";
    assert_int_equal(select_all(&file, 1, &wanted, NULL, &err), 0);
    wanted.n++;
    assert_int_equal(select_all(&file, 1, &wanted, NULL, &err), -1);
    assert_int_equal(err.kind, ERR_LIMIT);
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        words[i] = "a";
    wanted.n = ARRAY_LEN(words);
    err_clear(&err);
    assert_int_equal(select_all(&file, 1, &wanted, NULL, &err), 0);
}

static void choosing_can_be_cancelled(void **state)
{
    (void)state;
    const struct hf_file file = {.path = "a"};
    const char *words[] = {"?"};
    const struct job_strs wanted = {words, 1};
    struct err err = ERR_INIT;
    struct cancel cancel;
    assert_int_equal(cancel_init(&cancel, &err), 0);
    cancel_raise(&cancel, CANCEL_STOP);
    assert_int_equal(select_all(&file, 1, &wanted, &cancel, &err), -1);
    assert_int_equal(err.kind, ERR_CANCELLED);
    cancel_release(&cancel);
}

static void a_pattern_that_means_nothing_is_an_error_even_where_all_is_chosen(void **state)
{
    (void)state;
    const char *const wanted[] = {"*", "*.gguf", NULL};
    expect_chosen(wanted, NULL, "");
}

/* Compared with what no file can be called, the stars would cost the square of its length. */
static void a_path_too_long_for_a_file_is_meant_by_every_pattern(void **state)
{
    (void)state;
    static char path[PATH_SAFE_MAX + 2];
    struct hf_file files[] = {{.path = path}, {.path = "b.json"}};
    const char *words[] = {"*.json"};
    const struct job_strs wanted = {words, 1};
    bool chosen[2] = {false};
    struct err err = ERR_INIT;
    memset(path, 'a', sizeof path - 1);
    assert_int_equal(hf_select(files, 2, &wanted, NULL, chosen, &err), 0);
    assert_true(chosen[0] && chosen[1]);
    assert_int_equal(hf_check_paths(files, 2, &err), -1);
    assert_int_equal(err.kind, ERR_REFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_put_in_the_order_of_their_paths),
        cmocka_unit_test(what_can_not_lie_in_one_folder_is_refused),
        cmocka_unit_test(a_path_that_is_listed_twice_is_the_hubs_fault),
        cmocka_unit_test(names_forge_no_lines),
        cmocka_unit_test(patterns_are_bounded_and_names_are_not),
        cmocka_unit_test(choosing_can_be_cancelled),
        cmocka_unit_test(a_pattern_that_means_nothing_is_an_error_even_where_all_is_chosen),
        cmocka_unit_test(a_path_too_long_for_a_file_is_meant_by_every_pattern),
        cmocka_unit_test(names_and_globs_choose_and_what_means_nothing_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
