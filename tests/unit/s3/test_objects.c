#include "s3/objects.h"

#include "base/rng.h"
#include "s3/keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void add(struct s3_objects *o, const char *key, uint64_t size, const char *etag)
{
    struct err err = ERR_INIT;
    struct s3_object object = {.key = key, .size = size, .etag = etag, .modified_ms = 1700000000000};
    assert_int_equal(s3_objects_add(o, &object, &err), 0);
}

static void test_objects_come_back_as_they_were(void **state)
{
    (void)state;
    static const char *const etags[] = {"\"89e581d3665298ece3c8b8808fb9440b\"",
                                        "\"89e581d3665298ece3c8b8808fb9440b-12\"",
                                        "\"89e581d3665298ece3c8b8808fb9440b-10000\"",
                                        NULL,
                                        "\"89E581D3665298ECE3C8B8808FB9440B\"",
                                        "\"89e581d3665298ece3c8b8808fb9440b-01\"",
                                        "\"89e581d3665298ece3c8b8808fb9440b-\"",
                                        "89e581d3665298ece3c8b8808fb9440b",
                                        "W/\"weak\"",
                                        ""};
    static const uint64_t sizes[] = {0, 1, 127, 128, 16384, UINT64_C(5) << 40, INT64_MAX, XFER_SIZE_UNKNOWN};
    struct err err = ERR_INIT;
    struct s3_objects *o = s3_objects_new(&err);
    enum { N = 400 };
    for (unsigned i = 0; i < N; i++) {
        char key[64];
        snprintf(key, sizeof key, "folder/%03u/\xc3\xbc", i);
        add(o, key, sizes[i % ARRAY_LEN(sizes)], etags[i % ARRAY_LEN(etags)]);
    }
    assert_int_equal(s3_objects_sort(o, &err), 0);
    struct rng rng = {.state = 7};
    for (unsigned turn = 0; turn < 3 * N; turn++) { /* in order first, then anywhere */
        unsigned i = turn < N ? turn : (unsigned)rng_below(&rng, N);
        char key[64];
        struct s3_object out;
        snprintf(key, sizeof key, "folder/%03u/\xc3\xbc", i);
        s3_objects_get(o, i, &out);
        assert_string_equal(out.key, key);
        assert_true(out.size == sizes[i % ARRAY_LEN(sizes)]);
        assert_true(str_eq(out.etag, etags[i % ARRAY_LEN(etags)]));
        assert_int_equal(out.modified_ms, 1700000000000);
    }
    s3_objects_free(o);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void test_any_order_of_adding_gives_the_order_of_keys(void **state)
{
    (void)state;
    enum { N = 2000, ROOM = 16 };
    static char keys[N][ROOM];
    struct rng rng = {.state = 42};
    struct err err = ERR_INIT;
    struct s3_objects *o = s3_objects_new(&err);
    for (size_t i = 0; i < N; i++) {
        snprintf(keys[i], ROOM, "%llx", (unsigned long long)rng_below(&rng, 1u << 20));
        add(o, keys[i], i, NULL);
    }
    assert_int_equal(s3_objects_sort(o, &err), 0);
    qsort(keys, N, ROOM, by_text);
    assert_int_equal(s3_objects_count(o), N);
    for (size_t i = 0; i < N; i++) {
        struct s3_object out;
        s3_objects_get(o, i, &out);
        assert_string_equal(out.key, keys[i]);
    }
    s3_objects_free(o);
}

static void test_a_million_keys_stay_small(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct s3_objects *o = s3_objects_new(&err);
    for (unsigned i = 0; i < 1000000; i++) {
        char key[80], etag[40];
        snprintf(key, sizeof key, "datasets/images/train/n%08u/n%08u_%08u.jpeg", i / 1300, i / 1300, i);
        snprintf(etag, sizeof etag, "\"%08x%08x%08x%08x\"", i * 2654435761u, i, ~i, i ^ 0x5bd1e995u);
        add(o, key, 100000 + i, etag);
    }
    assert_int_equal(s3_objects_sort(o, &err), 0);
    assert_true(s3_objects_bytes(o) < (size_t)40 << 20);
    struct s3_object out;
    s3_objects_get(o, 999999, &out);
    assert_string_equal(out.key, "datasets/images/train/n00000769/n00000769_00999999.jpeg");
    s3_objects_free(o);
}

static void test_longest_keys_fit_and_longer_ones_are_refused(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct s3_objects *o = s3_objects_new(&err);
    char key[S3_KEY_LENGTH_MAX + 2];
    for (unsigned i = 0; i < 3000; i++) { /* over many chunks */
        snprintf(key, sizeof key, "%04u", i);
        memset(key + 4, 'k', S3_KEY_LENGTH_MAX - 4);
        key[S3_KEY_LENGTH_MAX] = '\0';
        add(o, key, i, NULL);
    }
    struct s3_object out;
    for (unsigned i = 0; i < 3000; i += 17) {
        s3_objects_get(o, i, &out);
        assert_int_equal(strlen(out.key), S3_KEY_LENGTH_MAX);
        assert_int_equal(out.size, i);
    }
    memset(key, 'k', S3_KEY_LENGTH_MAX + 1);
    key[S3_KEY_LENGTH_MAX + 1] = '\0';
    struct s3_object longer = {.key = key};
    assert_int_equal(s3_objects_add(o, &longer, &err), -1);
    assert_int_equal(err.kind, ERR_PROTOCOL);
    s3_objects_free(o);
}

/* ---- what keys mean ---- */

static void test_the_key_table(void **state)
{
    (void)state;
    static const char *files[] = {"x/y.bin", NULL};
    static const struct {
        const char *key, *version;
        enum keys_mode mode;
        bool exact, files;
        const char *prefix; /* NULL: not listed */
        size_t base;
    } rows[] = {
        {"a/b/f.txt", NULL, KEYS_OBJECT, true, false, NULL, 4},
        {"f.txt", NULL, KEYS_OBJECT, true, false, NULL, 0},
        {"a/b/", NULL, KEYS_PREFIX, true, false, "a/b/", 4},
        {"a/b/", NULL, KEYS_PREFIX, false, false, "a/b/", 4},
        {"a/b/00*", NULL, KEYS_PREFIX, true, false, "a/b/00", 4},
        {"root/set*", NULL, KEYS_PREFIX, false, false, "root/set", 5},
        {"a*b/c*", NULL, KEYS_PREFIX, true, false, "a*b/c", 4},
        {"a*b/c", NULL, KEYS_OBJECT, true, false, NULL, 4},
        {"*", NULL, KEYS_PREFIX, true, false, "", 0},
        {"a/*", NULL, KEYS_PREFIX, true, false, "a/", 2},
        {"", NULL, KEYS_PREFIX, true, false, "", 0},
        {"", NULL, KEYS_PREFIX, false, false, "", 0},
        {"test", NULL, KEYS_FOLDER_OR_OBJECT, false, false, "test/", 5},
        {"a/test", NULL, KEYS_FOLDER_OR_OBJECT, false, false, "a/test/", 7},
        {"a/test", "v1", KEYS_OBJECT, false, false, NULL, 2},
        {"a/star*", "v1", KEYS_OBJECT, true, false, NULL, 2},
        {"controlnets", NULL, KEYS_FILES, false, true, "controlnets/", 12},
        {"controlnets/", NULL, KEYS_FILES, false, true, "controlnets/", 12},
        {"", NULL, KEYS_FILES, false, true, "", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = ERR_INIT;
        struct arena *a = arena_new(0, &err);
        struct source_s3 src = {.exact_key = rows[i].exact};
        struct keys_plan plan;
        if (rows[i].files)
            src.files = (struct job_strs){files, 1};
        assert_int_equal(keys_plan(a, &src, rows[i].key, rows[i].version, &plan, &err), 0);
        if (plan.mode != rows[i].mode || plan.base_n != rows[i].base ||
            (rows[i].prefix && strcmp(plan.prefix, rows[i].prefix) != 0))
            fail_msg("row %zu: mode %d prefix '%s' base %zu", i, (int)plan.mode, plan.prefix, plan.base_n);
        arena_free(a);
    }
}

static int check(const char *const *paths, struct err *err)
{
    struct tree_check *t = calloc(1, sizeof *t);
    assert_non_null(t);
    int rc = 0;
    for (; rc == 0 && *paths; paths++)
        rc = tree_check_add(t, *paths, err);
    free(t);
    return rc;
}

static void test_files_that_are_also_folders_are_refused(void **state)
{
    (void)state;
    static const char *const bad[][6] = {
        {"a", "a/b"},        {"a", "a!", "a-b", "a.txt", "a/b"},
        {"a", "a/"},         {"x/a", "x/a-1/y", "x/a/b"},
        {"a", "a"},          {"a/b", "a/b/c/d"},
        {"a", "a-", "a-/x"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err err = ERR_INIT;
        assert_int_equal(check(bad[i], &err), -1);
        assert_int_equal(err.kind, ERR_REFUSED);
    }
    struct err err = ERR_INIT;
    check(bad[1], &err);
    assert_non_null(strstr(err.text, "'a' is an object"));
    assert_non_null(strstr(err.text, "'a/b'"));
}

static void test_names_that_only_look_alike_are_fine(void **state)
{
    (void)state;
    static const char *const good[][7] = {
        {"a", "a-b/c", "a.b", "a0/b", "ab/c"}, {"a/", "a/b", "a/c/"},
        {"a/b", "a/c", "b/a", "b/b"},          {"a..b", "a/..b"},
        {"a/b/c", "a/b-c", "a/bc", "b"},       {NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct err err = ERR_INIT;
        if (check(good[i], &err) < 0)
            fail_msg("row %zu: %s", i, err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_objects_come_back_as_they_were),
        cmocka_unit_test(test_any_order_of_adding_gives_the_order_of_keys),
        cmocka_unit_test(test_a_million_keys_stay_small),
        cmocka_unit_test(test_longest_keys_fit_and_longer_ones_are_refused),
        cmocka_unit_test(test_the_key_table),
        cmocka_unit_test(test_files_that_are_also_folders_are_refused),
        cmocka_unit_test(test_names_that_only_look_alike_are_fine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
