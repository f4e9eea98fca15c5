/* Streaming gzip. */
#include "tar_maker.h"

/* All that comes out of `gz`, fed in pieces, read in pieces; -1 with `err`. */
static int gunzip_all(struct buf *gz, size_t step, size_t max, struct buf *out, struct err *err)
{
    struct feed feed = {.left = buf_span(gz), .step = step};
    struct gunzip *g = NULL;
    int64_t n;
    if (gunzip_open(&g, feed_read, &feed, err) < 0)
        return -1;
    do {
        char *room = buf_reserve(out, max);
        assert_non_null(room);
        n = gunzip_read(g, room, max, err);
        assert_true(n <= (int64_t)max);
        if (n > 0)
            buf_grew(out, (size_t)n);
    } while (n > 0);
    if (n == 0)
        assert_int_equal(gunzip_read(g, &(char){0}, 1, err), 0); /* the end stays the end */
    gunzip_free(g);
    return (int)n;
}

struct bufs {
    struct buf gz, plain, out;
    struct err err;
};

static int bufs_make(void **state)
{
    struct bufs *b = calloc(1, sizeof(*b));
    if (!b)
        return -1;
    buf_init(&b->gz, TAR_MAX);
    buf_init(&b->plain, TAR_MAX);
    buf_init(&b->out, TAR_MAX);
    *state = b;
    return 0;
}

static int bufs_free(void **state)
{
    struct bufs *b = *state;
    buf_release(&b->gz);
    buf_release(&b->plain);
    buf_release(&b->out);
    free(b);
    return 0;
}

#define GUNZIP_TEST(name) cmocka_unit_test_setup_teardown(name, bufs_make, bufs_free)

static void assert_same(const struct bufs *b)
{
    assert_int_equal(b->out.n, b->plain.n);
    assert_memory_equal(buf_str(&b->out), buf_str(&b->plain), b->plain.n);
}

static void members_follow_one_another_in_any_pieces(void **state)
{
    struct bufs *b = *state;
    struct rng rng = {21};
    for (int member = 0; member < 5; member++) {
        size_t from = b->plain.n;
        for (int i = 0; i < member * 3000; i++)
            buf_addf(&b->plain, "%llu\n", (unsigned long long)rng_below(&rng, 100000));
        gzip_add(&b->gz, buf_str(&b->plain) + from, b->plain.n - from); /* the first is empty */
    }
    static const size_t steps[] = {0, 1, 2, 7, 100, 65537}, maxima[] = {1, 13, 4096, 1 << 20};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++)
        for (size_t j = 0; j < ARRAY_LEN(maxima); j++) {
            buf_reset(&b->out);
            if (gunzip_all(&b->gz, steps[i], maxima[j], &b->out, &b->err) < 0)
                fail_msg("%s", b->err.text);
            assert_same(b);
        }
}

/* RFC 1952, 2.3: with FEXTRA, FNAME, FCOMMENT and FHCRC, around `hi\n` in a stored block. */
static void a_header_with_every_field_may_come_byte_by_byte(void **state)
{
    struct bufs *b = *state;
    static const char member[] = "\x1f\x8b\x08\x1e\x00\x00\x00\x00\x00\xff"
                                 "\x04\x00"
                                 "abcd"
                                 "name\0"
                                 "a comment\0"
                                 "\xd5\x1c" /* the low half of the CRC-32 of the header so far */
                                 "\x01\x03\x00\xfc\xff"
                                 "hi\n"
                                 "\x7a\x7a\x6f\xed"
                                 "\x03\x00\x00\x00";
    for (size_t step = 0; step < 40; step++) {
        buf_reset(&b->gz);
        buf_reset(&b->out);
        buf_add(&b->gz, member, sizeof(member) - 1);
        buf_add(&b->gz, member, sizeof(member) - 1);
        if (gunzip_all(&b->gz, step, 100, &b->out, &b->err) < 0)
            fail_msg("step %zu: %s", step, b->err.text);
        assert_string_equal(buf_str(&b->out), "hi\nhi\n");
    }
}

static void zeros_may_follow_and_nothing_else(void **state)
{
    struct bufs *b = *state;
    static const char zeros[1000];
    buf_adds(&b->plain, "content");
    gzip_add(&b->gz, b->plain.p, b->plain.n);
    buf_add(&b->gz, zeros, sizeof(zeros));
    assert_int_equal(gunzip_all(&b->gz, 0, 4096, &b->out, &b->err), 0);
    assert_same(b);
    buf_adds(&b->gz, "x");
    assert_int_equal(gunzip_all(&b->gz, 0, 4096, &b->out, &b->err), -1);
    assert_int_equal(b->err.kind, ERR_CORRUPT);
}

static void a_stream_cut_anywhere_is_corrupt(void **state)
{
    struct bufs *b = *state;
    for (int i = 0; i < 500; i++)
        buf_addf(&b->plain, "%d ", i * i);
    gzip_add(&b->gz, b->plain.p, b->plain.n);
    const size_t whole = b->gz.n;
    for (b->gz.n = 0; b->gz.n < whole; b->gz.n++) {
        err_clear(&b->err);
        assert_int_equal(gunzip_all(&b->gz, 0, 4096, &b->out, &b->err), -1);
        assert_int_equal(b->err.kind, ERR_CORRUPT);
    }
}

/* Some bits carry nothing, such as those that fill the last byte before the checksum. */
static void a_flipped_bit_is_found_or_without_effect(void **state)
{
    struct bufs *b = *state;
    const size_t header = 10; /* its time and system are covered by no checksum */
    unsigned found = 0, flips = 0;
    for (int i = 0; i < 100; i++)
        buf_addf(&b->plain, "%d ", i * i * i);
    gzip_add(&b->gz, b->plain.p, b->plain.n);
    for (size_t i = header; i < b->gz.n; i++)
        for (int bit = 0; bit < 8; bit++, flips++) {
            buf_reset(&b->out);
            err_clear(&b->err);
            b->gz.p[i] = (char)(b->gz.p[i] ^ 1 << bit);
            if (gunzip_all(&b->gz, 0, 4096, &b->out, &b->err) < 0)
                found++;
            else
                assert_same(b);
            b->gz.p[i] = (char)(b->gz.p[i] ^ 1 << bit);
        }
    assert_in_range(found, flips - 8, flips);
}

static void noise_is_never_taken_for_gzip_and_never_hangs(void **state)
{
    struct bufs *b = *state;
    struct rng rng = {22};
    for (int round = 0; round < 3000; round++) {
        buf_reset(&b->gz);
        buf_reset(&b->out);
        buf_add(&b->gz, "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x00", round % 2 ? 10 : 0);
        for (uint64_t n = rng_below(&rng, 300); n; n--)
            buf_addc(&b->gz, (char)rng_next(&rng));
        err_clear(&b->err);
        assert_int_equal(gunzip_all(&b->gz, 0, 4096, &b->out, &b->err), -1);
        assert_int_equal(b->err.kind, ERR_CORRUPT);
    }
}

/* RFC 1952, 2.3.1.2: "must give an error indication if any reserved bit is non-zero". */
static void reserved_flags_are_refused(void **state)
{
    struct bufs *b = *state;
    buf_adds(&b->plain, "content");
    gzip_add(&b->gz, b->plain.p, b->plain.n);
    for (int bit = 5; bit < 8; bit++) {
        err_clear(&b->err);
        b->gz.p[3] = (char)(1 << bit);
        assert_int_equal(gunzip_all(&b->gz, 1, 4096, &b->out, &b->err), -1);
        assert_int_equal(b->err.kind, ERR_CORRUPT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUNZIP_TEST(members_follow_one_another_in_any_pieces),
        GUNZIP_TEST(a_header_with_every_field_may_come_byte_by_byte),
        GUNZIP_TEST(zeros_may_follow_and_nothing_else),
        GUNZIP_TEST(reserved_flags_are_refused),
        GUNZIP_TEST(a_stream_cut_anywhere_is_corrupt),
        GUNZIP_TEST(a_flipped_bit_is_found_or_without_effect),
        GUNZIP_TEST(noise_is_never_taken_for_gzip_and_never_hangs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
