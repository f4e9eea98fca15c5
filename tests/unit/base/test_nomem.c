/* Every allocation fails once, and each time it is told. */
#include "test_base.h"

#include "base/arena.h"
#include "base/json.h"
#include "base/opt.h"
#include "base/pool.h"
#include "base/proc.h"
#include "base/yaml.h"
#include "refuse.h"

/* Run the operation with its first, second, … allocation refused, until it gets through. */
static void sweep(int (*operation)(int dir_fd, struct err *err), int dir_fd)
{
    for (size_t n = 1; n < 10000; n++) {
        struct err err = ERR_INIT;
        refused = false;
        countdown = n;
        int rc = operation(dir_fd, &err);
        countdown = 0;
        if (!refused) {
            assert_works(rc, &err);
            assert_true(n > 1); /* or nothing was tried */
            return;
        }
        assert_int_equal(rc, -1);
        assert_string_equal(err_kind_name(err.kind), "no_memory");
    }
    fail_msg("the operation never gets through");
}

static int parse_json(int dir_fd, struct err *err)
{
    (void)dir_fd;
    AUTO_JSON v = json_parse(SPAN_LIT("{\"a\":[1,2.5,\"x\",{\"k\":null}],\"b\":\"\\u00e9\"}"), err);
    return v ? 0 : -1;
}

static int build_json(int dir_fd, struct err *err)
{
    (void)dir_fd;
    AUTO_BUF out;
    buf_init(&out, 1000);
    AUTO_JSON v = json_object();
    json_put_str(v, "s", "x", err);
    json_put_u64(v, "n", 7, err);
    json_put(v, "a", json_array(), err);
    if (err_is_set(err))
        return -1;
    return json_write(v, true, &out, err);
}

static int parse_yaml(int dir_fd, struct err *err)
{
    (void)dir_fd;
    struct yaml_lines *lines = NULL;
    AUTO_JSON v = yaml_parse(SPAN_LIT("a: &x [1, 2.5, 'y']\nb: *x\nc: {k: v}\n"), &lines, err);
    yaml_lines_free(lines);
    return v ? 0 : -1;
}

static int fill_arena(int dir_fd, struct err *err)
{
    (void)dir_fd;
    struct arena *a = arena_new(0, err);
    if (!a)
        return -1;
    arena_alloc(a, 100000);
    arena_dup(a, "x");
    arena_printf(a, "%d", 1);
    int rc = arena_check(a, err);
    arena_free(a);
    return rc;
}

static int list_words(int dir_fd, struct err *err)
{
    (void)dir_fd;
    AUTO(strv_release) struct strv v = {0};
    for (int i = 0; i < 20; i++)
        if (strv_add(&v, "x", err) < 0 || strv_addf(&v, err, "%d", i) < 0)
            return -1;
    return 0;
}

static int parse_options(int dir_fd, struct err *err)
{
    (void)dir_fd;
    AUTO(strv_release) struct strv list = {0};
    AUTO(strv_release) struct strv rest = {0};
    const struct opt table[] = {{.name = "env", .type = OPT_LIST, .into = &list}, {0}};
    char *argv[] = {(char[]){"c"}, (char[]){"--env=x"}, (char[]){"word"}};
    return opt_parse(table, 3, argv, false, &rest, err);
}

static void nothing(void *ctx)
{
    (void)ctx;
}

static int use_pool(int dir_fd, struct err *err)
{
    (void)dir_fd;
    struct pool *p = pool_new("test", 1, 0, err);
    int rc = p ? pool_submit(p, nothing, NULL, err) : -1;
    pool_free(p);
    return rc;
}

static int use_files(int dir_fd, struct err *err)
{
    AUTO_BUF b;
    buf_init(&b, 1000);
    if (fs_replace_file(dir_fd, "f", "abc", 3, 0644, err) < 0 || fs_read_file(dir_fd, "f", 100, &b, err) < 0)
        return -1;
    return fs_mkdirs_beneath(dir_fd, "d/e", 0755, err);
}

static int visit(void *ctx, const struct fs_entry *entry, struct err *err)
{
    (void)ctx;
    (void)entry;
    (void)err;
    return 0;
}

static int walk(int dir_fd, struct err *err)
{
    return fs_walk(dir_fd, visit, NULL, err);
}

static int run_program(int dir_fd, struct err *err)
{
    (void)dir_fd;
    struct proc_result r;
    struct proc_opts opts = {.argv = (const char *const[]){"echo", "x", NULL}};
    int rc = proc_run(&opts, &r, err);
    proc_result_release(&r);
    return rc;
}

static void every_operation_survives_running_out_of_memory(void **state)
{
    const struct scratch *s = *state;
    static int (*const operations[])(int, struct err *) = {parse_json, build_json,    parse_yaml, fill_arena,
                                                           list_words, parse_options, use_pool,   use_files,
                                                           walk,       run_program};
    for (size_t i = 0; i < ARRAY_LEN(operations); i++)
        sweep(operations[i], s->fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {scratch_test(every_operation_survives_running_out_of_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
