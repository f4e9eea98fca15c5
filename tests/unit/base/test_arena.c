#include "test_base.h"

#include "base/arena.h"

#include <stdalign.h>

static void memory_comes_zeroed_and_aligned(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct arena *a = arena_new(0, &err);
    for (size_t n = 0; n < 3000; n += 7) {
        unsigned char *p = arena_alloc(a, n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % alignof(max_align_t), 0);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(p[i], 0);
        if (n)
            memset(p, 0xaa, n); /* a neighbour would see this */
    }
    assert_works(arena_check(a, &err), &err);
    arena_free(a);
    arena_free(NULL);
}

static void pieces_of_any_size_keep_their_content(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct arena *a = arena_new(0, &err);
    const char *small = arena_printf(a, "%s=%d", "k", 1);
    char *large = arena_alloc(a, 100000);
    memset(large, 'L', 100000);
    const char *copy = arena_dup(a, "small again");
    const char *part = arena_dup_span(a, (struct span){"abcdef", 3});
    assert_string_equal(small, "k=1");
    assert_string_equal(copy, "small again");
    assert_string_equal(part, "abc");
    assert_int_equal(large[99999], 'L');
    assert_null(arena_dup(a, NULL));
    assert_string_equal(arena_dup_span(a, (struct span){NULL, 0}), "");
    assert_works(arena_check(a, &err), &err);
    assert_true(arena_used(a) >= 100000);
    arena_free(a);
}

static void the_bound_holds_and_sticks(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct arena *a = arena_new(1024, &err);
    assert_non_null(arena_alloc(a, 1000));
    assert_null(arena_alloc(a, 100));
    assert_null(arena_alloc(a, 1)); /* would fit, but the refusal stays */
    assert_true(arena_used(a) <= 1024);
    assert_fails(arena_check(a, &err), &err, ERR_LIMIT);
    arena_free(a);
}

static void an_array_that_would_wrap_around_is_refused(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct arena *a = arena_new(SIZE_MAX, &err);
    assert_null(arena_array(a, SIZE_MAX / 4, 8));
    assert_fails(arena_check(a, &err), &err, ERR_LIMIT);
    arena_free(a);
    a = arena_new(SIZE_MAX, &err);
    assert_null(arena_alloc(a, SIZE_MAX));
    assert_fails(arena_check(a, &err), &err, ERR_LIMIT);
    arena_free(a);
    a = arena_new(0, &err);
    assert_non_null(arena_array(a, 10, 8));
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_comes_zeroed_and_aligned),
        cmocka_unit_test(pieces_of_any_size_keep_their_content),
        cmocka_unit_test(the_bound_holds_and_sticks),
        cmocka_unit_test(an_array_that_would_wrap_around_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
