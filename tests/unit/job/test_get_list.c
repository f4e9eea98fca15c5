#include "job/get.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define RESULT(key)     "{\"Type\":\"s3\",\"Params\":{\"Bucket\":\"b\",\"Key\":\"" key "\"}}"
#define INDEXED(i, key) "{\"index\":" i ",\"published\":" RESULT(key) "}"

struct list {
    json_t *document;
    struct arena *arena;
    struct job_executions x;
    struct err err;
};

static int read_list(struct list *l, const char *text)
{
    *l = (struct list){0};
    l->arena = arena_new(0, &l->err);
    l->document = json_parse(span_of(text), &l->err);
    assert_non_null(l->document);
    if (job_executions_read(&l->x, l->document, l->arena, &l->err) < 0)
        return -1;
    return job_executions_name(&l->x, l->arena, &l->err);
}

static void release(struct list *l)
{
    job_executions_release(&l->x);
    json_decref(l->document);
    arena_free(l->arena);
}

static void expect_names(const char *text, const char *first, const char *second)
{
    struct list l;
    assert_int_equal(read_list(&l, text), 0);
    assert_int_equal(l.x.n, 2);
    assert_string_equal(l.x.v[0].name, first);
    assert_string_equal(l.x.v[1].name, second);
    release(&l);
}

static void names_are_indexes_else_ids_else_places(void **state)
{
    (void)state;
    expect_names("{\"results\":[" INDEXED("4", "x/e-aaaabbbbcccc.tar.gz") "," INDEXED("2", "y") "]}", "4", "2");
    expect_names("[" INDEXED("4", "x/e-aaaabbbbcccc.tar.gz") "," INDEXED("4", "y.tar.gz") "]", "aaaabbbb", "y");
    expect_names("[" RESULT("x/e-aaaabbbbcccc.tar.gz") "," RESULT("y.tar.gz") "]", "aaaabbbb", "y");
    expect_names("[" RESULT("x/same.tar.gz") "," RESULT("y/same.tar.gz") "]", "0", "1");
    expect_names("[" INDEXED("-1", "x/a/") "," INDEXED("7", "y") "]", "0", "1");
}

static void short_names_are_safe_as_file_names(void **state)
{
    (void)state;
    static const struct {
        const char *of, *name;
    } rows[] = {
        {"j-1a2b3c4d5e6f", "1a2b3c4d"},
        {"r/e-1a2b3c4d5e6f.tar.gz", "1a2b3c4d"},
        {"https://h/x/res.tar.gz?X=/../y", "res"},
        {"https://h/res.tar.gz?X=1", "res"},
        {"a b\n.tar.gz", "a-b-"},
        {"..", ""},
        {"r/e-1a2b3c4d5e6f/manifest.json", "1a2b3c4d"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = ERR_INIT;
        AUTO_STR name = job_short_name(rows[i].of, &err);
        assert_string_equal(name, rows[i].name);
    }
}

static void a_signed_url_comes_with_the_checksum_of_its_result(void **state)
{
    (void)state;
    struct list l;
    assert_int_equal(
        read_list(
            &l, "{\"index\":0,\"url\":\"https://h/e-aaaabbbbcccc.tar.gz?S\",\"published\":{\"Type\":\"s3\",\"Params\":{"
                "\"Bucket\":\"b\",\"Key\":\"e-aaaabbbbcccc.tar.gz\",\"ChecksumSHA256\":"
                "\"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\"}}}"),
        0);
    assert_int_equal(l.x.v[0].input.kind, SOURCE_URL);
    assert_int_equal(l.x.v[0].input.pin_count, 1);
    assert_string_equal(l.x.v[0].id, "aaaabbbb");
    release(&l);
}

static void lists_that_hold_no_results_say_which(void **state)
{
    (void)state;
    struct list l;
    assert_int_equal(read_list(&l, "[" RESULT("x") ",{\"published\":null}]"), -1);
    assert_int_equal(l.err.kind, ERR_NOTFOUND);
    assert_non_null(strstr(l.err.text, "result 1"));
    release(&l);
    assert_int_equal(read_list(&l, "[]"), -1);
    assert_int_equal(l.err.kind, ERR_NOTFOUND);
    release(&l);
    assert_int_equal(read_list(&l, "[7]"), -1);
    assert_int_equal(l.err.kind, ERR_INVALID);
    release(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_indexes_else_ids_else_places),
        cmocka_unit_test(short_names_are_safe_as_file_names),
        cmocka_unit_test(a_signed_url_comes_with_the_checksum_of_its_result),
        cmocka_unit_test(lists_that_hold_no_results_say_which),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
