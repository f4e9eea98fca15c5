#include "node/node_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static json_t *gpus(const char *lines)
{
    struct err err = ERR_INIT;
    json_t *list = info_gpus(span_of(lines), &err);
    assert_non_null(list);
    assert_int_equal(err.kind, ERR_NONE);
    return list;
}

static void reads_one_gpu_a_line(void **state)
{
    (void)state;
    AUTO_JSON list = gpus("NVIDIA GeForce RTX 3090, 24576\nNVIDIA A100-SXM4-80GB, 81920\n");
    int64_t mib = 0;
    assert_int_equal(json_array_size(list), 2);
    assert_string_equal(json_get_str(json_array_get(list, 0), "name"), "NVIDIA GeForce RTX 3090");
    assert_true(json_get_i64(json_array_get(list, 1), "memory_mib", &mib));
    assert_int_equal(mib, 81920);
}

static void a_comma_in_a_name_stays_in_it(void **state)
{
    (void)state;
    AUTO_JSON list = gpus("Card, special, 100");
    assert_string_equal(json_get_str(json_array_get(list, 0), "name"), "Card, special");
}

static void lines_that_say_something_else_are_passed_over(void **state)
{
    (void)state;
    AUTO_JSON list =
        gpus("Failed to initialize NVML: Driver/library version mismatch\n\n, 5\nX, many\n\xff, 1\nGood, 1\n");
    assert_int_equal(json_array_size(list), 1);
    assert_string_equal(json_get_str(json_array_get(list, 0), "name"), "Good");
}

static void nothing_said_is_no_gpu(void **state)
{
    (void)state;
    AUTO_JSON list = gpus("");
    assert_int_equal(json_array_size(list), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_one_gpu_a_line),
        cmocka_unit_test(a_comma_in_a_name_stays_in_it),
        cmocka_unit_test(lines_that_say_something_else_are_passed_over),
        cmocka_unit_test(nothing_said_is_no_gpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
