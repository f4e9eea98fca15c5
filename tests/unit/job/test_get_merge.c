#include "base/fs.h"
#include "job/get_priv.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static const char *const names[] = {"k0", "k1", "k2"};

struct place {
    char path[64];
    int from, out;
    struct job_execution v[3];
    struct job_executions x;
    struct err err;
};

static int open_folder(int at, const char *name)
{
    struct err err = ERR_INIT;
    assert_int_equal(fs_mkdirs_beneath(at, name, 0755, &err), 0);
    int fd = fs_open_beneath(at, name, O_RDONLY | O_DIRECTORY, 0, &err);
    assert_true(fd >= 0);
    return fd;
}

static void set_up(struct place *p)
{
    *p = (struct place){.v = {{.name = "0"}, {.name = "1"}, {.name = "2"}}};
    p->x = (struct job_executions){p->v, ARRAY_LEN(p->v)};
    snprintf(p->path, sizeof p->path, "/tmp/berth-merge-XXXXXX");
    assert_non_null(mkdtemp(p->path));
    p->from = fs_open_dir(p->path, &p->err);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        close(open_folder(p->from, names[i]));
    p->out = open_folder(p->from, "out");
}

static void tear_down(struct place *p)
{
    const char *const below[] = {"k0", "k1", "k2", "out", GET_MERGING};
    struct err err = ERR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(below); i++)
        assert_int_equal(fs_remove_tree(p->from, below[i], &err), 0);
    close(p->from);
    close(p->out);
    assert_int_equal(rmdir(p->path), 0);
}

/* A file of one execution; a path that ends in '/' is a folder. */
static void put(struct place *p, size_t execution, const char *path, const char *content)
{
    struct err err = ERR_INIT;
    int fd = open_folder(p->from, names[execution]);
    const char *slash = strrchr(path, '/');
    if (slash) {
        AUTO_STR parent = str_dup_span((struct span){path, (size_t)(slash - path)}, &err);
        assert_int_equal(fs_mkdirs_beneath(fd, parent, 0755, &err), 0);
    }
    if (!slash || slash[1]) {
        AUTO_FD file = fs_open_beneath(fd, path, O_WRONLY | O_CREAT, 0644, &err);
        assert_int_equal(fs_write_all(file, content, strlen(content), &err), 0);
    }
    close(fd);
}

static bool has(int fd, const char *path, const char *content)
{
    struct err err = ERR_INIT;
    AUTO_BUF text;
    buf_init(&text, 4096);
    return fs_read_file(fd, path, 4096, &text, &err) == 0 && strcmp(buf_str(&text), content) == 0;
}

static int merge(struct place *p)
{
    return get_merge(p->from, names, &p->x, p->out, NULL, &p->err);
}

static void equal_files_become_one_and_streams_stay_apart(void **state)
{
    (void)state;
    struct place p;
    set_up(&p);
    for (size_t i = 0; i < 3; i++) {
        put(&p, i, "outputs/same", "same");
        put(&p, i, "stdout", names[i]);
    }
    put(&p, 1, "outputs/own", "1");
    put(&p, 2, "outputs/empty/", "");
    assert_int_equal(merge(&p), 0);
    assert_true(has(p.out, "outputs/same", "same"));
    assert_true(has(p.out, "outputs/own", "1"));
    assert_true(has(p.out, "0/stdout", "k0") && has(p.out, "2/stdout", "k2"));
    assert_false(has(p.out, "stdout", "k0"));
    close(open_folder(p.out, "outputs/empty"));
    tear_down(&p);
}

static void expect_conflict(struct place *p, const char *words)
{
    assert_int_equal(merge(p), -1);
    assert_int_equal(p->err.kind, ERR_EXISTS);
    assert_non_null(strstr(p->err.text, words));
    assert_false(has(p->out, "a", "a"));
    assert_true(has(p->from, "k0/a", "a"));
    tear_down(p);
}

static void files_that_differ_are_named_and_nothing_moves(void **state)
{
    (void)state;
    struct place p;
    set_up(&p);
    put(&p, 0, "a", "a");
    put(&p, 0, "f", "same");
    put(&p, 1, "f", "same");
    put(&p, 2, "f", "diff");
    expect_conflict(&p, "f: executions 1 and 2");
}

static void a_file_and_a_folder_of_one_name_conflict(void **state)
{
    (void)state;
    struct place p;
    set_up(&p);
    put(&p, 0, "a", "a");
    put(&p, 0, "d", "file");
    put(&p, 2, "d/f", "in a folder");
    expect_conflict(&p, "d: executions 0 and 2 have different things");
}

static void links_are_equal_by_their_targets(void **state)
{
    (void)state;
    struct place p;
    set_up(&p);
    put(&p, 0, "a", "a");
    assert_int_equal(symlinkat("a", p.from, "k0/l"), 0);
    assert_int_equal(symlinkat("b", p.from, "k1/l"), 0);
    expect_conflict(&p, "l: executions 0 and 1 have different links");
}

static void a_result_may_not_be_called_as_an_execution_is(void **state)
{
    (void)state;
    struct place p;
    set_up(&p);
    put(&p, 0, "a", "a");
    put(&p, 1, "2", "mine");
    expect_conflict(&p, "called 2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_files_become_one_and_streams_stay_apart),
        cmocka_unit_test(files_that_differ_are_named_and_nothing_moves),
        cmocka_unit_test(a_file_and_a_folder_of_one_name_conflict),
        cmocka_unit_test(links_are_equal_by_their_targets),
        cmocka_unit_test(a_result_may_not_be_called_as_an_execution_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
