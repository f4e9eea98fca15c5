#include "fixture.h"

#include "base/fs.h"
#include "cache/cache_priv.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int make(struct fixture *f, const struct cache_file *files, size_t n, const char *const *folders,
                size_t folder_count, char id[SNAPSHOT_ID_MAX], struct err *err)
{
    struct cache_tree tree = {.files = files, .file_count = n, .folders = folders, .folder_count = folder_count};
    return cache_snapshot_make(f->c, f->lease, &tree, id, err);
}

static int make_linked(struct fixture *f, const struct cache_file *files, size_t n, const struct cache_link *links,
                       size_t link_count, char id[SNAPSHOT_ID_MAX], struct err *err)
{
    struct cache_tree tree = {.files = files, .file_count = n, .links = links, .link_count = link_count};
    return cache_snapshot_make(f->c, f->lease, &tree, id, err);
}

static void mode_is(const struct fixture *f, const char *id, const char *path, mode_t mode)
{
    char whole[512];
    struct stat st;
    snprintf(whole, sizeof whole, "%s/views/%s/%s", f->cache, id, path);
    assert_int_equal(lstat(whole, &st), 0);
    assert_int_equal(st.st_mode, mode);
}

static void a_view_holds_the_files_read_only_and_the_folders(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct cache_blob a = store(f->c, f->lease, "a", 1, 100, true), b = store(f->c, f->lease, "b", 2, 0, false);
    struct cache_file files[] = {{"x/y/deep", a.id, 100}, {"top", b.id, 0}, {"x/beside", a.id, 100}};
    const char *folders[] = {"empty", "x", "x/y/none", "x"};
    char id[SNAPSHOT_ID_MAX], content[100], want[100];
    AUTO_BUF path;
    buf_init(&path, 4096);
    assert_ok(make(f, files, 3, folders, 4, id, &err), err);
    assert_ok(cache_snapshot_view(f->c, id, &path, &err), err);
    mode_is(f, id, "", S_IFDIR | 0555);
    mode_is(f, id, "x/y", S_IFDIR | 0555);
    mode_is(f, id, "x/y/none", S_IFDIR | 0555);
    mode_is(f, id, "empty", S_IFDIR | 0555);
    mode_is(f, id, "x/y/deep", S_IFREG | 0444);
    mode_is(f, id, "x/beside", S_IFREG | 0444);
    mode_is(f, id, "top", S_IFREG | 0444);
    buf_adds(&path, "/x/y/deep");
    int fd = open(buf_str(&path), O_RDONLY);
    assert_int_equal(read(fd, content, sizeof content), sizeof content);
    close(fd);
    content_of(1, want, sizeof want);
    assert_memory_equal(content, want, sizeof want);
    assert_agreement(f);
}

static void the_same_list_in_any_order_is_the_same_snapshot(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct cache_blob a = store(f->c, f->lease, "a", 1, 10, true), b = store(f->c, f->lease, "b", 2, 10, true);
    struct cache_file one[] = {{"p", a.id, 10}, {"q/r", b.id, 10}}, two[] = {{"q/r", b.id, 10}, {"p", a.id, 10}};
    struct cache_file other[] = {{"p", b.id, 10}, {"q/r", b.id, 10}};
    const char *implied[] = {"q"};
    char first[SNAPSHOT_ID_MAX], second[SNAPSHOT_ID_MAX], third[SNAPSHOT_ID_MAX];
    assert_ok(make(f, one, 2, NULL, 0, first, &err), err);
    assert_ok(make(f, two, 2, implied, 1, second, &err), err);
    assert_ok(make(f, other, 2, NULL, 0, third, &err), err);
    assert_string_equal(first, second);
    assert_string_not_equal(first, third);
    assert_int_equal(index_number(f, "SELECT count(*) FROM snapshots"), 2);
}

static void the_list_comes_back_sorted(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct cache_blob a = store(f->c, f->lease, "a", 1, 10, true);
    struct cache_file files[] = {{"a-b", a.id, 10}, {"a/z", a.id, 10}, {"a/b", a.id, 10}};
    const char *folders[] = {"zz"};
    char id[SNAPSHOT_ID_MAX];
    struct cache_tree tree;
    struct arena *arena = arena_new(0, &err);
    assert_ok(make(f, files, 3, folders, 1, id, &err), err);
    assert_ok(cache_snapshot_list(f->c, id, arena, &tree, &err), err);
    assert_int_equal(tree.file_count, 3);
    assert_string_equal(tree.files[0].path, "a/b");
    assert_string_equal(tree.files[1].path, "a/z");
    assert_string_equal(tree.files[2].path, "a-b");
    assert_string_equal(tree.files[2].blob, a.id);
    assert_int_equal(tree.files[2].size, 10);
    assert_int_equal(tree.folder_count, 1);
    assert_string_equal(tree.folders[0], "zz");
    arena_free(arena);
}

static void link_is(const struct fixture *f, const char *id, const char *path, const char *text)
{
    char whole[512], held[128] = "";
    snprintf(whole, sizeof whole, "%s/views/%s/%s", f->cache, id, path);
    assert_true(readlink(whole, held, sizeof held - 1) > 0);
    assert_string_equal(held, text);
    assert_int_equal(access(whole, R_OK), 0);
}

static void links_lead_to_files_of_the_view_and_count_nothing(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct cache_blob a = store(f->c, f->lease, "a", 1, 10, true);
    const struct cache_file files[] = {{"m/blobs/x", a.id, 10}};
    const struct cache_link links[] = {{"m/snapshots/c/deep/two", "m/blobs/x"}, {"m/snapshots/c/one", "m/blobs/x"}};
    char id[SNAPSHOT_ID_MAX], plain[SNAPSHOT_ID_MAX];
    struct cache_tree back;
    struct arena *arena = arena_new(0, &err);
    assert_ok(make_linked(f, files, 1, links, 2, id, &err), err);
    assert_ok(make(f, files, 1, NULL, 0, plain, &err), err);
    assert_string_not_equal(id, plain);
    link_is(f, id, "m/snapshots/c/one", "../../blobs/x");
    link_is(f, id, "m/snapshots/c/deep/two", "../../../blobs/x");
    assert_int_equal(index_number(f, "SELECT sum(files * 100 + bytes + folders * 1000) FROM snapshots"), 220);
    assert_int_equal(index_number(f, "SELECT refs FROM blobs"), 2);
    assert_ok(cache_snapshot_list(f->c, id, arena, &back, &err), err);
    assert_int_equal(back.file_count + back.folder_count, 1);
    assert_int_equal(back.link_count, 2);
    assert_string_equal(back.links[0].path, links[0].path);
    assert_string_equal(back.links[1].to, "m/blobs/x");
    assert_agreement(f);
    arena_free(arena);
}

static void links_to_anything_but_a_file_are_refused(void **state)
{
    struct fixture *f = *state;
    struct cache_blob a = store(f->c, f->lease, "a", 1, 10, true);
    const struct cache_file files[] = {{"b/x", a.id, 10}, {"c", a.id, 10}};
    const struct {
        struct cache_link link;
        enum err_kind kind;
        const char *says;
    } cases[] = {
        {{"l", "b"}, ERR_INVALID, "l is to be a link to b"},
        {{"l", "b/y"}, ERR_INVALID, "no file is to be"},
        {{"l", "l"}, ERR_INVALID, "no file is to be"},
        {{"l", "k"}, ERR_INVALID, "no file is to be"},
        {{"l", "../x"}, ERR_REFUSED, "../x"},
        {{"l", "/etc/passwd"}, ERR_REFUSED, "/etc/passwd"},
        {{"../l", "b/x"}, ERR_REFUSED, "../l"},
        {{"c", "b/x"}, ERR_INVALID, "two files are to be at c"},
        {{"c/l", "b/x"}, ERR_INVALID, "c is to be a file"},
        {{"b", "c"}, ERR_INVALID, "b/x to lie below it"},
        {{"k", "b/x"}, ERR_INVALID, "two files are to be at k"},
        {{"k/l", "b/x"}, ERR_INVALID, "to lie below it"},
    };
    char id[SNAPSHOT_ID_MAX];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = ERR_INIT;
        const struct cache_link links[] = {{"k", "c"}, cases[i].link};
        assert_int_equal(make_linked(f, files, 2, links, 2, id, &err), -1);
        assert_int_equal(err.kind, cases[i].kind);
        if (!strstr(err.text, cases[i].says))
            fail_msg("%s", err.text);
    }
    assert_int_equal(index_number(f, "SELECT count(*) FROM snapshots"), 0);
}

static void paths_that_would_leave_the_view_are_refused_before_anything_is_written(void **state)
{
    struct fixture *f = *state;
    struct cache_blob a = store(f->c, f->lease, "a", 1, 10, true);
    char name[300], id[SNAPSHOT_ID_MAX];
    memset(name, 'n', sizeof name);
    name[256] = '\0';
    const char *bad[] = {"a/../../x", "/x", "..", ".", "", "a//b", "a/./b", "a/", name};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err err = ERR_INIT;
        struct cache_file files[] = {{"fine", a.id, 10}, {bad[i], a.id, 10}};
        assert_int_equal(make(f, files, 2, NULL, 0, id, &err), -1);
        assert_int_equal(err.kind, ERR_REFUSED);
        err_clear(&err);
        assert_int_equal(make(f, files, 1, &bad[i], 1, id, &err), -1);
        assert_int_equal(err.kind, ERR_REFUSED);
    }
    assert_int_equal(files_below(f, "views"), 0);
    struct err err = ERR_INIT;
    struct cache_file dots = {"a..b/..c/d..", a.id, 10};
    assert_ok(make(f, &dots, 1, NULL, 0, id, &err), err);
}

static void paths_that_exclude_one_another_are_both_named(void **state)
{
    struct fixture *f = *state;
    struct cache_blob a = store(f->c, f->lease, "a", 1, 10, true);
    char id[SNAPSHOT_ID_MAX];
    const struct cache_file below[] = {{"a-1", a.id, 10}, {"a", a.id, 10}, {"a/b/c", a.id, 10}, {"a.", a.id, 10}};
    const struct cache_file twice[] = {{"dir/same", a.id, 10}, {"dir/same", a.id, 10}};
    const char *folder[] = {"dir/same"}, *under[] = {"a-1/below"};
    struct err err = ERR_INIT;
    assert_int_equal(make(f, below, 4, NULL, 0, id, &err), -1);
    assert_int_equal(err.kind, ERR_INVALID);
    assert_non_null(strstr(err.text, "a is to be a file and a/b/c"));
    err_clear(&err);
    assert_int_equal(make(f, twice, 2, NULL, 0, id, &err), -1);
    assert_non_null(strstr(err.text, "dir/same"));
    err_clear(&err);
    assert_int_equal(make(f, twice, 1, folder, 1, id, &err), -1);
    assert_non_null(strstr(err.text, "dir/same"));
    err_clear(&err);
    assert_int_equal(make(f, below, 1, under, 1, id, &err), -1);
    assert_non_null(strstr(err.text, "a-1/below"));
}

static void a_blob_that_is_not_there_or_of_another_size_makes_no_snapshot(void **state)
{
    struct fixture *f = *state;
    struct cache_blob a = store(f->c, f->lease, "a", 1, 10, true);
    char id[SNAPSHOT_ID_MAX], absent[BLOB_ID_MAX];
    memset(absent, 'a', 64);
    absent[64] = '\0';
    const struct cache_file files[] = {{"x", absent, 10}, {"x", a.id, 11}, {"x", "../../etc", 10}};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        struct err err = ERR_INIT;
        assert_int_equal(make(f, &files[i], 1, NULL, 0, id, &err), -1);
        assert_int_equal(err.kind, i < 2 ? ERR_NOTFOUND : ERR_INVALID);
    }
    assert_int_equal(index_number(f, "SELECT count(*) FROM snapshots"), 0);
    assert_int_equal(index_number(f, "SELECT sum(refs) FROM blobs"), 0);
}

static void a_view_that_is_gone_is_built_again(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct cache_blob a = store(f->c, f->lease, "a", 1, 10, true);
    char id[SNAPSHOT_ID_MAX], from[512], to[512];
    AUTO_BUF path;
    buf_init(&path, 4096);
    snapshot_of(f->c, f->lease, &a, 1, id);
    snprintf(from, sizeof from, "%s/views/%s", f->cache, id);
    snprintf(to, sizeof to, "%s/away", f->dir);
    assert_int_equal(rename(from, to), 0);
    assert_ok(cache_snapshot_view(f->c, id, &path, &err), err);
    assert_agreement(f);
}

static void a_file_that_vanished_is_told_once_and_fetched_on_the_next_use(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct cache_blob a = store(f->c, f->lease, "a", 1, 10, true);
    struct cache_file file = {"x", a.id, 10};
    char id[SNAPSHOT_ID_MAX], path[256];
    assert_ok(cache_fill_flush(f->c, &err), err);
    assert_int_equal(unlink(blob_path(f, a.id, path)), 0);
    assert_int_equal(make(f, &file, 1, NULL, 0, id, &err), -1);
    assert_int_equal(err.kind, ERR_NOTFOUND);
    err_clear(&err);
    assert_false(is_stored(f->c, "a"));
    a = store(f->c, f->lease, "a", 1, 10, true);
    assert_ok(make(f, &file, 1, NULL, 0, id, &err), err);
    assert_agreement(f);
}

static void remove_as_nobody(void *ctx)
{
    struct fixture *f = ctx;
    struct err err = ERR_INIT;
    struct cache_gc_opts all = {.all = true};
    struct cache_gc_result result;
    assert_int_equal(setgid(65534), 0);
    assert_int_equal(setuid(65534), 0);
    fixture_open(f);
    struct cache_blob a = store(f->c, f->lease, "a", 1, 10, true);
    struct cache_file file = {"one/two/three", a.id, 10};
    struct cache_link link = {"one/four", "one/two/three"};
    char id[SNAPSHOT_ID_MAX];
    assert_ok(make_linked(f, &file, 1, &link, 1, id, &err), err);
    cache_lease_free(f->lease);
    f->lease = NULL;
    assert_ok(cache_gc(f->c, &all, &result, &err), err);
    assert_int_equal(result.snapshots, 1);
    assert_false(path_exists(f, "views/x") || files_below(f, "views") || files_below(f, "blobs"));
    fixture_close(f);
}

static void a_user_who_is_not_root_can_remove_what_was_made(void **state)
{
    struct fixture *f = *state;
    struct fixture other;
    if (geteuid() != 0)
        skip();
    fixture_init(&other, "/tmp");
    assert_int_equal(chown(other.dir, 65534, 65534), 0);
    assert_int_equal(child_wait(child_start(remove_as_nobody, &other)), 0);
    fixture_release(&other);
    (void)f;
}

static void lists_are_decoded_only_as_they_were_encoded(void **state)
{
    (void)state;
    static const char id[] = "r0123456789abcdef0123456789abcdef";
    struct cache_file files[] = {{"b", id, 5}, {"a/c", id, 7}};
    const char *folders[] = {"d"};
    const struct cache_link links[] = {{"a/l", "b"}};
    struct cache_tree in = {files, 2, folders, 1, links, 1};
    struct err err = ERR_INIT;
    struct tree t, back;
    AUTO_BUF text, again;
    buf_init(&text, 4096);
    buf_init(&again, 4096);
    assert_ok(tree_sort(&in, &t, &err), err);
    assert_ok(tree_encode(&t, &text, &err), err);
    assert_ok(tree_decode(buf_span(&text), &back, &err), err);
    assert_ok(tree_encode(&back, &again, &err), err);
    assert_int_equal(back.files, 2);
    assert_int_equal(back.links, 1);
    assert_int_equal(back.bytes, 12);
    assert_true(span_eq(buf_span(&text), buf_span(&again)));
    tree_release(&back);
    for (size_t cut = 0; cut < text.n; cut++) {
        err_clear(&err);
        if (tree_decode((struct span){text.p, cut}, &back, &err) == 0)
            tree_release(&back);
        else
            assert_int_equal(err.kind, ERR_CORRUPT);
    }
    static const char wrong[] = "berth snapshot 1\ndb\0da", dangling[] = "berth snapshot 1\nla\0b",
                      outside[] = "berth snapshot 1\nla\0../b";
    const struct span spoiled[] = {{wrong, sizeof wrong}, {dangling, sizeof dangling}, {outside, sizeof outside}};
    for (size_t i = 0; i < ARRAY_LEN(spoiled); i++) {
        err_clear(&err);
        assert_int_equal(tree_decode(spoiled[i], &back, &err), -1);
        assert_int_equal(err.kind, ERR_CORRUPT);
    }
    tree_release(&t);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_view_holds_the_files_read_only_and_the_folders),
        TEST(the_same_list_in_any_order_is_the_same_snapshot),
        TEST(the_list_comes_back_sorted),
        TEST(links_lead_to_files_of_the_view_and_count_nothing),
        TEST(links_to_anything_but_a_file_are_refused),
        TEST(paths_that_would_leave_the_view_are_refused_before_anything_is_written),
        TEST(paths_that_exclude_one_another_are_both_named),
        TEST(a_blob_that_is_not_there_or_of_another_size_makes_no_snapshot),
        TEST(a_view_that_is_gone_is_built_again),
        TEST(a_file_that_vanished_is_told_once_and_fetched_on_the_next_use),
        TEST(a_user_who_is_not_root_can_remove_what_was_made),
        cmocka_unit_test(lists_are_decoded_only_as_they_were_encoded),
    };
    return cmocka_run_group_tests_name("cache snapshot", tests, NULL, NULL);
}
