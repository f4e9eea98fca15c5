/* Digests that match and that do not, and transfers that go on where an earlier one was killed. */
#include "xfer_rig.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static struct digest_value digest_of(enum digest_kind kind, const uint8_t *p, size_t n)
{
    struct digest_value v;
    struct err err = ERR_INIT;
    assert_int_equal(digest_bytes(kind, p, n, &v, &err), 0);
    return v;
}

static void expect_full(struct xrig *r, enum digest_kind kind)
{
    r->get.want.has_full = true;
    r->get.want.full = digest_of(kind, r->bytes, r->size);
}

static void each_kind_is_verified_in_parts_streams_and_small_files(void **state)
{
    for (unsigned kind = 0; kind < DIGEST_KIND_COUNT; kind++) {
        for (unsigned form = 0; form < 4; form++) {
            struct xrig r;
            xrig_init(&r, state, form == 0 ? 3000 : form == 3 ? 0 : OBJECT_SIZE);
            expect_full(&r, (enum digest_kind)kind);
            r.get.want.compute = BIT(DIGEST_XXH3) | BIT(DIGEST_CRC32C);
            if (form == 2)
                r.get.size = XFER_SIZE_UNKNOWN;
            xrig_open(&r, &(struct xfer_opts){.threads = 2});
            xrig_must_succeed(&r);
            assert_true(r.result.verified);
            assert_int_equal(r.result.verified_by.kind, kind);
            assert_int_equal(r.result.computed, BIT(kind) | BIT(DIGEST_XXH3) | BIT(DIGEST_CRC32C));
            struct digest_value xxh3 = digest_of(DIGEST_XXH3, r.bytes, r.size);
            assert_true(digest_equal(&r.result.values[DIGEST_XXH3], &xxh3));
            xrig_close(&r);
        }
    }
}

static int flip_once(struct xrig *r, const struct ask *ask, struct buf *out)
{
    if (ask->first != 0 || r->faults++ > 0)
        return GO_ON;
    answer_cut(r, ask, ask->last - ask->first + 1, out);
    out->p[out->n - 7] ^= 1;
    return LOOPBACK_KEEP;
}

static int flip_always(struct xrig *r, const struct ask *ask, struct buf *out)
{
    answer_cut(r, ask, ask->last - ask->first + 1, out);
    out->p[out->n - 7] ^= 1;
    return LOOPBACK_KEEP;
}

static void a_flipped_bit_makes_the_file_come_again(void **state)
{
    static const enum digest_kind kinds[] = {DIGEST_SHA256, DIGEST_CRC64NVME};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        for (unsigned small = 0; small < 2; small++) {
            struct xrig r;
            xrig_init(&r, state, small ? 3000 : OBJECT_SIZE);
            r.fault = flip_once;
            expect_full(&r, kinds[i]);
            xrig_must_succeed(&r);
            assert_true(r.result.verified);
            assert_int_equal(r.asks, small ? 2 : 18);
            xrig_close(&r);
        }
    }
}

static void a_bit_that_is_always_flipped_fails_naming_both_digests(void **state)
{
    struct xrig r;
    char hex[DIGEST_HEX_MAX];
    xrig_init(&r, state, OBJECT_SIZE);
    r.fault = flip_always;
    expect_full(&r, DIGEST_SHA256);
    digest_hex(hex, &r.get.want.full);
    xrig_must_fail(&r, ERR_CORRUPT, hex);
    assert_non_null(strstr(r.err.text, "sha256"));
    assert_non_null(strstr(r.err.text, "s3://bucket/key"));
    assert_int_equal(r.asks, 18);
    assert_false(r.result.verified);
    xrig_close(&r);
}

static void a_part_digest_says_which_part_is_to_come_again(void **state)
{
    static const enum digest_kind kinds[] = {DIGEST_SHA256, DIGEST_CRC32};
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        struct xrig r;
        struct digest_value parts[5];
        xrig_init(&r, state, OBJECT_SIZE);
        for (size_t i = 0; i < 5; i++) {
            size_t at = 2 * PART * i, n = r.size - at < 2 * PART ? r.size - at : 2 * PART;
            parts[i] = digest_of(kinds[k], r.bytes + at, n);
        }
        r.get.want = (struct xfer_want){.parts = parts, .part_count = 5, .parts_bytes = 2 * PART};
        r.fault = flip_once;
        xrig_must_succeed(&r);
        assert_true(r.result.verified);
        assert_int_equal(r.asks, 9 + 2);
        xrig_close(&r);
    }
}

static void a_git_blob_id_is_verified(void **state)
{
    struct xrig r;
    struct digest *d;
    struct err err = ERR_INIT;
    xrig_init(&r, state, OBJECT_SIZE);
    assert_int_equal(digest_open(&d, BIT(DIGEST_SHA1), &err), 0);
    assert_int_equal(digest_git_blob_start(d, r.size, &err), 0);
    assert_int_equal(digest_update(d, r.bytes, r.size, &err), 0);
    assert_int_equal(digest_final(d, DIGEST_SHA1, &r.get.want.full, &err), 0);
    digest_free(d);
    r.get.want.has_full = r.get.want.git_blob = true;
    xrig_must_succeed(&r);
    assert_true(r.result.verified);
    xrig_close(&r);
}

static enum xfer_verdict learn_digest(struct xrig *r, const struct xfer_head *head, struct xfer_want *want,
                                      struct err *err)
{
    (void)head;
    (void)err;
    want->has_full = true;
    want->full = digest_of(DIGEST_CRC32C, r->bytes, r->size);
    return XFER_ACCEPT;
}

static void a_digest_learned_from_headers_is_verified(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    r.judge = learn_digest;
    xrig_must_succeed(&r);
    assert_true(r.result.verified);
    assert_int_equal(r.result.want.full.kind, DIGEST_CRC32C);
    xrig_close(&r);
}

static int no_ranges(struct xrig *r, const struct ask *ask, struct buf *out)
{
    struct ask whole = *ask;
    if (ask->number < 3)
        return GO_ON;
    whole.ranged = false;
    whole.first = 0;
    whole.last = r->size - 1;
    answer_cut(r, &whole, r->size, out);
    return LOOPBACK_KEEP;
}

static void digests_outlive_the_fall_back_to_one_stream(void **state)
{
    static const enum digest_kind kinds[] = {DIGEST_SHA256, DIGEST_CRC32C};
    enum { TIMES = 10 }; /* a part of before may come to its end in the very moment of the cut */
    for (size_t k = 0; k < TIMES * ARRAY_LEN(kinds); k++) {
        struct xrig r;
        xrig_init(&r, state, OBJECT_SIZE);
        r.fault = no_ranges;
        expect_full(&r, kinds[k % ARRAY_LEN(kinds)]);
        xrig_open(&r, &(struct xfer_opts){.threads = 2, .max_connections_host = 2});
        xrig_must_succeed(&r);
        assert_true(r.result.verified);
        xrig_close(&r);
    }
}

/* ---- resuming ---- */

static void give_map(struct xrig *r, const char *identity)
{
    struct err err = ERR_INIT;
    if (r->map_fd < 0)
        r->map_fd = memfd_create("map", MFD_CLOEXEC);
    assert_true(r->map_fd >= 0);
    partmap_free(r->map);
    if (partmap_open(&r->map, r->map_fd, r->size, PART, span_of(identity), &err) < 0)
        fail_msg("%s", err.text);
}

static int stop_after_four(struct xrig *r, const struct ask *ask, struct buf *out)
{
    if (ask->number < 4)
        return GO_ON;
    answer_cut(r, ask, 100, out);
    cancel_raise(&r->cancel, CANCEL_STOP);
    return LOOPBACK_HOLD;
}

/* Run until it is cancelled, then run anew with the same file and map, as after a crash. */
static void run_in_two_goes(struct xrig *r, const char *second_identity)
{
    struct err err = ERR_INIT;
    give_map(r, "v1");
    r->fault = stop_after_four;
    xrig_open(r, &(struct xfer_opts){.threads = 1, .max_connections_host = 1});
    xrig_run(r);
    assert_int_equal(r->err.kind, ERR_CANCELLED);
    xfer_free(r->x);
    loopback_free(r->server);
    r->x = NULL;
    r->server = NULL;
    give_map(r, second_identity);
    cancel_release(&r->cancel);
    assert_int_equal(cancel_init(&r->cancel, &err), 0);
    r->fault = NULL;
    r->asks = 0;
    r->sent = 0;
    err_clear(&r->err);
    atomic_store(&r->group.bytes_done, 0);
    xrig_must_succeed(r);
}

static void a_restart_fetches_only_what_is_missing(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    expect_full(&r, DIGEST_SHA256);
    r.get.want.compute = BIT(DIGEST_CRC32C);
    run_in_two_goes(&r, "v1");
    assert_int_equal(r.asks, 5);
    assert_int_equal(r.sent, OBJECT_SIZE - 4 * PART);
    assert_true(r.result.verified);
    xrig_close(&r);
}

static void another_version_of_the_object_is_fetched_whole(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    run_in_two_goes(&r, "v2");
    assert_int_equal(r.sent, OBJECT_SIZE);
    xrig_close(&r);
}

static void a_complete_file_needs_no_request_but_is_verified(void **state)
{
    struct xrig r;
    struct err err = ERR_INIT;
    xrig_init(&r, state, OBJECT_SIZE);
    expect_full(&r, DIGEST_CRC64NVME);
    give_map(&r, "v1");
    assert_int_equal(pwrite(r.fd, r.bytes, r.size, 0), r.size);
    for (uint64_t i = 0; i < partmap_count(r.map); i++)
        assert_int_equal(partmap_mark(r.map, i, &err), 0);
    xrig_must_succeed(&r);
    assert_int_equal(r.asks, 0);
    assert_true(r.result.verified);
    xrig_close(&r);
}

static void a_damaged_left_over_is_fetched_again(void **state)
{
    struct xrig r;
    struct err err = ERR_INIT;
    xrig_init(&r, state, OBJECT_SIZE);
    expect_full(&r, DIGEST_SHA256);
    give_map(&r, "v1");
    assert_int_equal(pwrite(r.fd, "damage", 6, 0), 6);
    assert_int_equal(partmap_mark(r.map, 0, &err), 0);
    xrig_must_succeed(&r);
    assert_int_equal(r.asks, 8 + 9);
    assert_true(partmap_has(r.map, 0));
    xrig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH_LANES(each_kind_is_verified_in_parts_streams_and_small_files),
        BOTH_LANES(a_flipped_bit_makes_the_file_come_again),
        BOTH_LANES(a_bit_that_is_always_flipped_fails_naming_both_digests),
        BOTH_LANES(a_part_digest_says_which_part_is_to_come_again),
        BOTH_LANES(a_git_blob_id_is_verified),
        BOTH_LANES(a_digest_learned_from_headers_is_verified),
        BOTH_LANES(digests_outlive_the_fall_back_to_one_stream),
        BOTH_LANES(a_restart_fetches_only_what_is_missing),
        BOTH_LANES(another_version_of_the_object_is_fetched_whole),
        BOTH_LANES(a_complete_file_needs_no_request_but_is_verified),
        BOTH_LANES(a_damaged_left_over_is_fetched_again),
    };
    return cmocka_run_group_tests_name("xfer verify", tests, NULL, NULL);
}
