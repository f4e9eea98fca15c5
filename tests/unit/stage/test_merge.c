#include "stage/stage_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct fixture {
    struct arena *arena;
    struct err err;
};

static int set_up(void **state)
{
    static struct fixture f;
    f = (struct fixture){0};
    f.arena = arena_new(0, &f.err);
    *state = &f;
    return f.arena ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    arena_free(f->arena);
    return 0;
}

static const char *label(void *ctx, size_t input)
{
    const char *const *labels = ctx;
    return labels[input];
}

static const char *const labels[] = {"first", "second", "third"};

static void separate_targets_stay_separate(void **state)
{
    struct fixture *f = *state;
    const struct input inputs[] = {{.target = "/data"}, {.target = "/data-x"}, {.target = "/models"}};
    struct merge_plan plan;
    assert_int_equal(merge_plan(f->arena, inputs, 3, &plan, &f->err), 0);
    assert_int_equal(plan.count, 3);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(plan.groups[i].count, 1);
}

static void equal_and_nested_targets_become_one_group_at_the_outermost(void **state)
{
    struct fixture *f = *state;
    const struct input inputs[] = {
        {.target = "/data/b/c"}, {.target = "/data", .writable = true}, {.target = "/data"}, {.target = "/other"}};
    struct merge_plan plan;
    assert_int_equal(merge_plan(f->arena, inputs, 4, &plan, &f->err), 0);
    assert_int_equal(plan.count, 2);
    const struct merge_group *g = &plan.groups[0];
    assert_string_equal(g->target, "/data");
    assert_int_equal(g->count, 3);
    assert_true(g->writable);
    assert_string_equal(g->members[0].prefix, "b/c");
    assert_string_equal(g->members[1].prefix, "");
    assert_string_equal(g->members[2].prefix, "");
    assert_false(plan.groups[1].writable);
}

static int merge_two(struct fixture *f, const char *prefix, bool as_file, const struct cache_tree trees[2],
                     struct cache_tree *out)
{
    struct merge_member members[2] = {{0, ""}, {1, prefix}};
    const struct merge_group g = {.target = "/data", .members = members, .count = 2};
    const bool files[2] = {false, as_file};
    return merge_trees(f->arena, &g, trees, files, label, (void *)(uintptr_t)labels, out, &f->err);
}

static void trees_are_joined_with_prefixes_and_sorted(void **state)
{
    struct fixture *f = *state;
    const struct cache_file a[] = {{"z", "B1", 1}, {"m", "B2", 2}}, b[] = {{"a", "B3", 3}};
    const struct cache_tree trees[2] = {{.files = a, .file_count = 2}, {.files = b, .file_count = 1}};
    struct cache_tree out;
    assert_int_equal(merge_two(f, "n/o", false, trees, &out), 0);
    assert_int_equal(out.file_count, 3);
    assert_string_equal(out.files[0].path, "m");
    assert_string_equal(out.files[1].path, "n/o/a");
    assert_string_equal(out.files[2].path, "z");
    assert_string_equal(out.folders[0], "n/o");
}

static void the_same_path_with_the_same_content_is_one_file(void **state)
{
    struct fixture *f = *state;
    const struct cache_file a[] = {{"x", "SAME", 1}}, b[] = {{"x", "SAME", 1}};
    const struct cache_tree trees[2] = {{.files = a, .file_count = 1}, {.files = b, .file_count = 1}};
    struct cache_tree out;
    assert_int_equal(merge_two(f, "", false, trees, &out), 0);
    assert_int_equal(out.file_count, 1);
}

static void the_same_path_with_other_content_names_both_inputs(void **state)
{
    struct fixture *f = *state;
    const struct cache_file a[] = {{"x", "ONE", 1}}, b[] = {{"x", "TWO", 1}};
    const struct cache_tree trees[2] = {{.files = a, .file_count = 1}, {.files = b, .file_count = 1}};
    struct cache_tree out;
    assert_int_equal(merge_two(f, "", false, trees, &out), -1);
    assert_int_equal(f->err.kind, ERR_INVALID);
    assert_non_null(strstr(f->err.text, "first"));
    assert_non_null(strstr(f->err.text, "second"));
    assert_non_null(strstr(f->err.text, "/data/x"));
}

static void a_single_file_takes_the_name_of_its_target(void **state)
{
    struct fixture *f = *state;
    const struct cache_file a[] = {{"x", "ONE", 1}}, b[] = {{"sample.csv", "TWO", 1}};
    const struct cache_tree trees[2] = {{.files = a, .file_count = 1}, {.files = b, .file_count = 1}};
    struct cache_tree out;
    assert_int_equal(merge_two(f, "in/sample.csv", true, trees, &out), 0);
    assert_int_equal(out.file_count, 2);
    assert_string_equal(out.files[0].path, "in/sample.csv");
    assert_int_equal(out.folder_count, 0);
}

static void links_are_prefixed_with_what_they_lead_to(void **state)
{
    struct fixture *f = *state;
    const struct cache_file a[] = {{"m", "B1", 1}}, b[] = {{"blobs/x", "B2", 2}};
    const struct cache_link links[] = {{"s/x", "blobs/x"}};
    const struct cache_tree trees[2] = {{.files = a, .file_count = 1},
                                        {.files = b, .file_count = 1, .links = links, .link_count = 1}};
    struct cache_tree out;
    assert_int_equal(merge_two(f, "n", false, trees, &out), 0);
    assert_int_equal(out.file_count, 2);
    assert_int_equal(out.link_count, 1);
    assert_string_equal(out.links[0].path, "n/s/x");
    assert_string_equal(out.links[0].to, "n/blobs/x");
}

static void a_path_is_one_link_or_one_file(void **state)
{
    struct fixture *f = *state;
    const struct cache_file file = {"x", "ONE", 1}, other = {"s", "ONE", 1};
    const struct cache_link one = {"s", "x"}, two = {"s", "y"};
    const struct cache_tree first = {.files = &file, .file_count = 1, .links = &one, .link_count = 1};
    const struct cache_tree second[] = {first, {.links = &two, .link_count = 1}, {.files = &other, .file_count = 1}};
    for (size_t i = 0; i < ARRAY_LEN(second); i++) {
        const struct cache_tree trees[2] = {first, second[i]};
        struct cache_tree out;
        err_clear(&f->err);
        assert_int_equal(merge_two(f, "", false, trees, &out), i == 0 ? 0 : -1);
        if (i == 0)
            assert_int_equal(out.file_count + out.link_count, 2);
        else
            assert_non_null(strstr(f->err.text, "/data/s, with different content"));
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(separate_targets_stay_separate),
        T(equal_and_nested_targets_become_one_group_at_the_outermost),
        T(trees_are_joined_with_prefixes_and_sorted),
        T(the_same_path_with_the_same_content_is_one_file),
        T(the_same_path_with_other_content_names_both_inputs),
        T(a_single_file_takes_the_name_of_its_target),
        T(links_are_prefixed_with_what_they_lead_to),
        T(a_path_is_one_link_or_one_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
