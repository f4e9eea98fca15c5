/* The CRCs against published check values, against a bit-by-bit reference, and against one another. */
#include "digest/digest_priv.h"

#include "base/attr.h"
#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SIZES_MAX  2000
#define LARGE      (((size_t)3 << 20) + 77)
#define MISALIGNED 64

static void fill(struct rng *r, uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)rng_next(r);
}

/* The definition itself, a bit at a time. */
static uint64_t crc_by_bits(const struct gf2_field *f, const uint8_t *p, size_t n)
{
    const uint64_t ones = f->width == 64 ? UINT64_MAX : ((uint64_t)1 << f->width) - 1;
    uint64_t state = ones;
    for (size_t i = 0; i < n; i++) {
        state ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            state = (state >> 1) ^ (state & 1 ? f->poly : 0);
    }
    return state ^ ones;
}

static uint64_t crc32_any(const void *p, size_t n)
{
    return crc32_extend(0, p, n);
}
static uint64_t crc32c_any(const void *p, size_t n)
{
    return crc32c_extend(0, p, n);
}
static uint64_t crc64nvme_any(const void *p, size_t n)
{
    return crc64nvme_extend(0, p, n);
}

static const struct {
    const struct gf2_field *field;
    uint64_t (*crc)(const void *p, size_t n);
    uint64_t check;    /* of "123456789", from the catalogue of parametrised CRC algorithms */
    uint64_t zeros_4k; /* of 4,096 zero bytes; NVMe base specification 2.0 for the 64-bit one. 0: not published */
} crcs[] = {
    {&gf2_crc32, crc32_any, 0xcbf43926, 0},
    {&gf2_crc32c, crc32c_any, 0xe3069283, 0},
    {&gf2_crc64nvme, crc64nvme_any, 0xae8b14860a799888, 0x6482d367eb22b64e},
};

static void published_check_values_come_out(void **state)
{
    (void)state;
    static const uint8_t zeros[4096];
    for (size_t i = 0; i < ARRAY_LEN(crcs); i++) {
        assert_int_equal(crcs[i].crc("123456789", 9), crcs[i].check);
        assert_int_equal(crcs[i].crc("", 0), 0);
        if (crcs[i].zeros_4k)
            assert_int_equal(crcs[i].crc(zeros, sizeof(zeros)), crcs[i].zeros_4k);
    }
}

static void castagnoli_gives_the_vectors_of_rfc_3720(void **state)
{
    (void)state;
    uint8_t p[32] = {0};
    assert_int_equal(crc32c_extend(0, p, sizeof(p)), 0x8a9136aa);
    memset(p, 0xff, sizeof(p));
    assert_int_equal(crc32c_extend(0, p, sizeof(p)), 0x62a8ab43);
    for (size_t i = 0; i < sizeof(p); i++)
        p[i] = (uint8_t)i;
    assert_int_equal(crc32c_extend(0, p, sizeof(p)), 0x46dd794e);
}

static void every_size_agrees_with_the_definition_wherever_it_starts(void **state)
{
    (void)state;
    struct rng r = {1};
    static uint8_t p[SIZES_MAX + MISALIGNED];
    fill(&r, p, sizeof(p));
    for (size_t i = 0; i < ARRAY_LEN(crcs); i++)
        for (size_t n = 0; n <= SIZES_MAX; n++) {
            const uint8_t *from = p + n % MISALIGNED;
            assert_int_equal(crcs[i].crc(from, n), crc_by_bits(crcs[i].field, from, n));
        }
}

static void all_ways_to_the_64_bit_crc_agree(void **state)
{
    (void)state;
    struct rng r = {2};
    uint8_t *p = malloc(LARGE);
    assert_non_null(p);
    fill(&r, p, LARGE);
    unsigned ways = 0;
    for (const struct crc64_way *way = crc64_ways(); way->name; way++, ways++) {
        for (size_t n = 0; n <= SIZES_MAX; n++)
            for (size_t from = 0; from < MISALIGNED; from += 7)
                assert_int_equal(way->update(n, p + from, n), crc64_update_table(n, p + from, n));
        assert_int_equal(way->update(0, p + 3, LARGE - 3), crc64_update_table(0, p + 3, LARGE - 3));
        assert_int_equal(way->update(~0ull, p, LARGE), crc64_update_table(~0ull, p, LARGE));
    }
    assert_in_range(ways, 1, 3);
    free(p);
}

static void a_text_taken_in_pieces_gives_the_same_as_the_whole(void **state)
{
    (void)state;
    struct rng r = {3};
    static uint8_t p[20000];
    fill(&r, p, sizeof(p));
    for (int round = 0; round < 200; round++) {
        uint32_t crc32 = 0, crc32c = 0;
        uint64_t crc64 = 0;
        for (size_t at = 0, take; at < sizeof(p); at += take) {
            take = (size_t)rng_below(&r, sizeof(p) - at + 1);
            crc32 = crc32_extend(crc32, p + at, take);
            crc32c = crc32c_extend(crc32c, p + at, take);
            crc64 = crc64nvme_extend(crc64, p + at, take);
        }
        assert_int_equal(crc32, crc32_any(p, sizeof(p)));
        assert_int_equal(crc32c, crc32c_any(p, sizeof(p)));
        assert_int_equal(crc64, crc64nvme_any(p, sizeof(p)));
    }
}

static void crcs_of_neighbours_combine_to_that_of_the_whole(void **state)
{
    (void)state;
    struct rng r = {4};
    static uint8_t p[5000];
    fill(&r, p, sizeof(p));
    for (size_t i = 0; i < ARRAY_LEN(crcs); i++)
        for (int round = 0; round < 300; round++) {
            size_t n = (size_t)rng_below(&r, sizeof(p) + 1), cut = (size_t)rng_below(&r, n + 1);
            uint64_t a = crcs[i].crc(p, cut), b = crcs[i].crc(p + cut, n - cut);
            assert_int_equal(crc_combine(crcs[i].field, a, b, n - cut), crcs[i].crc(p, n));
        }
}

/* No text of 2^63 bytes can be hashed here, but appending it in two steps must equal appending it in one. */
static void combining_works_for_lengths_beyond_any_file(void **state)
{
    (void)state;
    struct rng r = {5};
    for (size_t i = 0; i < ARRAY_LEN(crcs); i++) {
        const struct gf2_field *f = crcs[i].field;
        const uint64_t mask = f->width == 64 ? UINT64_MAX : UINT32_MAX;
        for (int round = 0; round < 50; round++) {
            uint64_t a = rng_next(&r) & mask, b = rng_next(&r) & mask, c = rng_next(&r) & mask;
            uint64_t b_n = rng_next(&r) >> 1, c_n = rng_next(&r) >> 1;
            uint64_t left = crc_combine(f, crc_combine(f, a, b, b_n), c, c_n);
            uint64_t right = crc_combine(f, a, crc_combine(f, b, c, c_n), b_n + c_n);
            assert_int_equal(left, right);
        }
    }
}

static void polynomials_multiply_as_a_field_does(void **state)
{
    (void)state;
    struct rng r = {6};
    const struct gf2_field *f = &gf2_crc64nvme;
    for (int round = 0; round < 100; round++) {
        uint64_t a = rng_next(&r), b = rng_next(&r), c = rng_next(&r);
        assert_int_equal(gf2_multiply(f, a, b), gf2_multiply(f, b, a));
        assert_int_equal(gf2_multiply(f, a, b ^ c), gf2_multiply(f, a, b) ^ gf2_multiply(f, a, c));
        assert_int_equal(gf2_multiply(f, a, gf2_x(f, 0)), a);
    }
    assert_int_equal(gf2_power(f, gf2_x(f, 1), 63), gf2_x(f, 63));
    assert_int_equal(gf2_power(f, gf2_x(f, 1), 64), f->poly);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_check_values_come_out),
        cmocka_unit_test(castagnoli_gives_the_vectors_of_rfc_3720),
        cmocka_unit_test(every_size_agrees_with_the_definition_wherever_it_starts),
        cmocka_unit_test(all_ways_to_the_64_bit_crc_agree),
        cmocka_unit_test(a_text_taken_in_pieces_gives_the_same_as_the_whole),
        cmocka_unit_test(crcs_of_neighbours_combine_to_that_of_the_whole),
        cmocka_unit_test(combining_works_for_lengths_beyond_any_file),
        cmocka_unit_test(polynomials_multiply_as_a_field_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
