#include "node/progress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define MAX 4096

static json_t *inputs_of(size_t n, size_t ready)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        char label[32];
        snprintf(label, sizeof label, "input number %zu", i);
        json_array_append_new(list,
                              json_pack("{s:s,s:s,s:I,s:I,s:I}", "input", label, "phase",
                                        i < ready ? "ready" : "downloading", "bytes_total", (json_int_t)(1000 + i),
                                        "bytes_done", (json_int_t)i, "files_total", (json_int_t)1));
    }
    return list;
}

static json_int_t sum_of(const json_t *list, const char *count)
{
    json_int_t sum = 0;
    size_t i;
    json_t *one;
    json_array_foreach(list, i, one) sum += json_integer_value(json_object_get(one, count));
    return sum;
}

static void what_fits_stays_as_it_is(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_JSON list = inputs_of(12, 3);
    AUTO_JSON before = json_deep_copy(list);
    assert_int_equal(progress_fit(list, MAX, &err), 0);
    assert_true(json_equal(list, before));
    AUTO_JSON none = json_array();
    assert_int_equal(progress_fit(none, MAX, &err), 0);
    assert_int_equal(json_array_size(none), 0);
}

static void of_too_many_the_last_become_one_and_the_sums_stay(void **state)
{
    (void)state;
    static const char *const counts[] = {"bytes_total", "bytes_done", "files_total"};
    for (size_t n = 1; n <= 4096; n = n * 2 + 5) {
        struct err err = ERR_INIT;
        AUTO_JSON list = inputs_of(n, 3);
        json_int_t before[3];
        for (size_t k = 0; k < 3; k++)
            before[k] = sum_of(list, counts[k]);
        assert_int_equal(progress_fit(list, MAX, &err), 0);
        assert_true(json_dumpb(list, NULL, 0, JSON_COMPACT) <= MAX);
        for (size_t k = 0; k < 3; k++)
            assert_int_equal(sum_of(list, counts[k]), before[k]);
        const json_t *last = json_array_get(list, json_array_size(list) - 1);
        char label[32];
        snprintf(label, sizeof label, "%zu more", n - (json_array_size(list) - 1));
        if (json_array_size(list) < n) {
            assert_string_equal(json_get_str(last, "input"), label);
            assert_string_equal(json_get_str(last, "phase"), "downloading");
            assert_true(json_array_size(list) > 20);
        }
    }
}

static void the_rest_is_ready_once_all_of_it_is(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_JSON list = inputs_of(100, 100);
    assert_int_equal(progress_fit(list, MAX, &err), 0);
    assert_string_equal(json_get_str(json_array_get(list, json_array_size(list) - 1), "phase"), "ready");
}

static void the_longest_counts_fit_as_well(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_JSON list = json_array();
    for (int i = 0; i < 500; i++)
        json_array_append_new(list,
                              json_pack("{s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I}", "input", "a", "phase", "downloading",
                                        "bytes_total", (json_int_t)1 << 53, "bytes_done", (json_int_t)1 << 53,
                                        "bytes_cached", (json_int_t)1 << 53, "bytes_from_peers", (json_int_t)1 << 53,
                                        "files_total", (json_int_t)1 << 53, "files_done", (json_int_t)1 << 53));
    assert_int_equal(progress_fit(list, MAX, &err), 0);
    assert_true(json_dumpb(list, NULL, 0, JSON_COMPACT) <= MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_fits_stays_as_it_is),
        cmocka_unit_test(of_too_many_the_last_become_one_and_the_sums_stay),
        cmocka_unit_test(the_rest_is_ready_once_all_of_it_is),
        cmocka_unit_test(the_longest_counts_fit_as_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
