#include "test_base.h"

#include "base/path.h"

static void ordinary_relative_paths_are_safe(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    static const char *const good[] = {"a", "a/b/c.txt", ".hidden", "..a/b..", "a b", "...", "\xc3\xa9", "-rf", "a\nb"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_works(path_check_relative(span_of(good[i]), &err), &err);
}

static void paths_that_could_escape_are_refused(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    static const char *const bad[] = {"",       "/",    "/a", "..",  ".",     "a/..", "../a",
                                      "a/../b", "a//b", "a/", "./a", "a/./b", "a/.",  "//"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_fails(path_check_relative(span_of(bad[i]), &err), &err, ERR_REFUSED);
    assert_fails(path_check_relative((struct span){"a\0b", 3}, &err), &err, ERR_REFUSED);
    assert_int_equal(path_check_relative(span_of("../a\nberth: done"), &err), -1);
    assert_null(strchr(err.text, '\n'));
}

static void lengths_are_bounded_to_the_byte(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    char text[PATH_SAFE_MAX + 1];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = i % 100 == 99 ? '/' : 'x';
    text[PATH_SAFE_MAX - 1] = 'x';
    text[PATH_SAFE_MAX] = 'x';
    assert_works(path_check_relative((struct span){text, PATH_SAFE_MAX}, &err), &err);
    assert_fails(path_check_relative((struct span){text, PATH_SAFE_MAX + 1}, &err), &err, ERR_REFUSED);
    memset(text, 'x', sizeof text);
    assert_works(path_check_relative((struct span){text, PATH_COMPONENT_MAX}, &err), &err);
    assert_fails(path_check_relative((struct span){text, PATH_COMPONENT_MAX + 1}, &err), &err, ERR_REFUSED);
}

static void targets_are_normalised(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } rows[] = {{"/data", "/data"},   {"/root/../data/", "/data"}, {"//a///b//", "/a/b"},
                {"/a/./b/.", "/a/b"}, {"/../../a", "/a"},          {"/a/b/../../c", "/c"},
                {"/proc2", "/proc2"}, {"/a/proc", "/a/proc"},      {"/devices/x", "/devices/x"},
                {"/a/...", "/a/..."}};
    struct err err = ERR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_BUF out;
        buf_init(&out, PATH_SAFE_MAX);
        buf_adds(&out, "left over");
        assert_works(path_normalise_target(span_of(rows[i].in), &out, &err), &err);
        assert_string_equal(buf_str(&out), rows[i].out);
    }
}

static void impossible_targets_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",         "data",       "./data",    "/",          "//",
                                      "/..",      "/a/..",      "/proc",     "/proc/self", "/sys/",
                                      "/dev/shm", "/a/../proc", "/proc/./x", "/../dev"};
    struct err err = ERR_INIT;
    AUTO_BUF out;
    buf_init(&out, PATH_SAFE_MAX);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_fails(path_normalise_target(span_of(bad[i]), &out, &err), &err, ERR_INVALID);
    assert_fails(path_normalise_target((struct span){"/a\0b", 4}, &out, &err), &err, ERR_INVALID);
}

static void a_basename_is_what_follows_the_last_slash(void **state)
{
    (void)state;
    assert_true(span_eq(path_basename(SPAN_LIT("/a/b.c")), SPAN_LIT("b.c")));
    assert_true(span_eq(path_basename(SPAN_LIT("b")), SPAN_LIT("b")));
    assert_int_equal(path_basename(SPAN_LIT("a/")).n, 0);
    assert_int_equal(path_basename(SPAN_LIT("")).n, 0);
}

static void below_respects_component_borders(void **state)
{
    (void)state;
    assert_true(path_is_below(SPAN_LIT("/a/b"), SPAN_LIT("/a")));
    assert_true(path_is_below(SPAN_LIT("/a/b"), SPAN_LIT("/a/")));
    assert_true(path_is_below(SPAN_LIT("/a"), SPAN_LIT("/")));
    assert_false(path_is_below(SPAN_LIT("/ab"), SPAN_LIT("/a")));
    assert_false(path_is_below(SPAN_LIT("/a"), SPAN_LIT("/a")));
    assert_false(path_is_below(SPAN_LIT("/a/"), SPAN_LIT("/a")));
    assert_false(path_is_below(SPAN_LIT("/"), SPAN_LIT("/")));
    assert_false(path_is_below(SPAN_LIT("/a"), SPAN_LIT("/a/b")));
}

static void a_link_goes_up_to_the_folder_they_share_and_down(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"m/snapshots/c/config.json", "m/blobs/x", "../../blobs/x"},
        {"m/snapshots/c/d/e/f", "m/blobs/x", "../../../../blobs/x"},
        {"a", "b", "b"},
        {"d/a", "d/b", "b"},
        {"d/a", "b", "../b"},
        {"a", "d/b", "d/b"},
        {"dir/a", "dirt/a", "../dirt/a"},
        {"d/same", "d/sam", "sam"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_BUF text;
        buf_init(&text, PATH_SAFE_MAX);
        path_link_text(cases[i][0], cases[i][1], &text);
        assert_string_equal(buf_str(&text), cases[i][2]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordinary_relative_paths_are_safe),
        cmocka_unit_test(paths_that_could_escape_are_refused),
        cmocka_unit_test(lengths_are_bounded_to_the_byte),
        cmocka_unit_test(targets_are_normalised),
        cmocka_unit_test(impossible_targets_are_refused),
        cmocka_unit_test(a_basename_is_what_follows_the_last_slash),
        cmocka_unit_test(below_respects_component_borders),
        cmocka_unit_test(a_link_goes_up_to_the_folder_they_share_and_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
