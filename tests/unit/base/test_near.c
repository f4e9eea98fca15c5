#include "test_base.h"

#include "base/near.h"
#include "base/rng.h"

static void known_distances_are_found(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        unsigned distance;
    } rows[] = {{"", "", 0},           {"a", "", 1},        {"kitten", "sitting", 3},
                {"image", "imgae", 1}, {"abcd", "acbd", 1}, {"Image", "iMAGE", 0},
                {"ab", "ba", 1},       {"abc", "xyz", 3},   {"ca", "abc", 3}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(near_distance(span_of(rows[i].a), span_of(rows[i].b), 10), rows[i].distance);
        assert_int_equal(near_distance(span_of(rows[i].b), span_of(rows[i].a), 10), rows[i].distance);
    }
}

/* The full table, with nothing clever about it. */
static unsigned plain_distance(const char *a, const char *b)
{
    unsigned t[12][12];
    size_t n = strlen(a), m = strlen(b);
    for (size_t i = 0; i <= n; i++) {
        for (size_t j = 0; j <= m; j++) {
            if (i == 0 || j == 0) {
                t[i][j] = (unsigned)(i + j);
                continue;
            }
            unsigned best = t[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            best = t[i - 1][j] + 1 < best ? t[i - 1][j] + 1 : best;
            best = t[i][j - 1] + 1 < best ? t[i][j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && t[i - 2][j - 2] + 1 < best)
                best = t[i - 2][j - 2] + 1;
            t[i][j] = best;
        }
    }
    return t[n][m];
}

static void the_capped_distance_agrees_with_the_plain_one(void **state)
{
    (void)state;
    struct rng rng = {3};
    for (int round = 0; round < 20000; round++) {
        char a[12] = "", b[12] = "";
        size_t n = rng_below(&rng, 10), m = rng_below(&rng, 10);
        for (size_t i = 0; i < n; i++)
            a[i] = (char)('a' + rng_below(&rng, 3));
        for (size_t i = 0; i < m; i++)
            b[i] = (char)('a' + rng_below(&rng, 3));
        unsigned plain = plain_distance(a, b);
        for (unsigned max = 0; max < 6; max++)
            assert_int_equal(near_distance(span_of(a), span_of(b), max), plain > max ? max + 1 : plain);
    }
}

static void overlong_inputs_never_match(void **state)
{
    (void)state;
    char text[300];
    memset(text, 'x', sizeof text);
    assert_int_equal(near_distance((struct span){text, 256}, (struct span){text, 256}, 4), 5);
    assert_int_equal(near_distance((struct span){text, 255}, (struct span){text, 255}, 4), 0);
}

static void the_nearest_candidate_is_offered_if_near_enough(void **state)
{
    (void)state;
    static const char *const words[] = {"image", "inputs", "outputs", "input", "env"};
    assert_string_equal(near_best(SPAN_LIT("imgae"), words, ARRAY_LEN(words)), "image");
    assert_string_equal(near_best(SPAN_LIT("INPUT"), words, ARRAY_LEN(words)), "input");
    assert_string_equal(near_best(SPAN_LIT("ev"), words, ARRAY_LEN(words)), "env");
    assert_null(near_best(SPAN_LIT("volumes"), words, ARRAY_LEN(words)));
    assert_null(near_best(SPAN_LIT("xyz"), words, ARRAY_LEN(words)));
    assert_null(near_best(SPAN_LIT("image"), words, 0));
}

static void the_closest_few_are_kept_in_order(void **state)
{
    (void)state;
    struct near_top t;
    near_top_init(&t, SPAN_LIT("data/model.bin"));
    near_top_add(&t, SPAN_LIT("data/mod.bin"));    /* 2 */
    near_top_add(&t, SPAN_LIT("nothing like it")); /* too far */
    near_top_add(&t, SPAN_LIT("data/modelx.bin")); /* 1 */
    near_top_add(&t, SPAN_LIT("data/mdl.bin"));    /* 2 */
    near_top_add(&t, SPAN_LIT("data/modelx.bin")); /* again */
    near_top_add(&t, SPAN_LIT("data/MODEL.bin"));  /* 0 */
    assert_int_equal(t.n, NEAR_TOP);
    assert_string_equal(t.best[0], "data/MODEL.bin");
    assert_string_equal(t.best[1], "data/modelx.bin");
    assert_string_equal(t.best[2], "data/mod.bin");
    assert_int_equal(t.distance[2], 2);
}

static void the_slash_of_a_folder_is_kept_and_does_not_count(void **state)
{
    (void)state;
    struct near_top t;
    char longest[NEAR_WORD_MAX];
    memset(longest, 'a', 255);
    memcpy(longest + 255, "/", 2);
    near_top_init(&t, SPAN_LIT("modls"));
    near_top_add(&t, SPAN_LIT("models/"));
    near_top_add(&t, SPAN_LIT("modls/"));
    near_top_add(&t, SPAN_LIT("/"));
    assert_int_equal(t.n, 2);
    assert_string_equal(t.best[0], "modls/");
    assert_int_equal(t.distance[0], 0);
    assert_string_equal(t.best[1], "models/");
    near_top_init(&t, (struct span){longest, 255});
    near_top_add(&t, span_of(longest));
    assert_string_equal(t.best[0], longest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_distances_are_found),
        cmocka_unit_test(the_capped_distance_agrees_with_the_plain_one),
        cmocka_unit_test(overlong_inputs_never_match),
        cmocka_unit_test(the_nearest_candidate_is_offered_if_near_enough),
        cmocka_unit_test(the_closest_few_are_kept_in_order),
        cmocka_unit_test(the_slash_of_a_folder_is_kept_and_does_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
