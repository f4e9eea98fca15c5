/* Streams of several kinds, values as text, files. */
#include "digest/digest.h"

#include "base/attr.h"
#include "base/fs.h"
#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <cmocka.h>

#define ALL_KINDS (BIT(DIGEST_KIND_COUNT) - 1)

static const char fox[] = "The quick brown fox jumps over the lazy dog";

/* Published by the algorithms' authors and catalogues; the empty text's and the pangram's. */
static const struct {
    enum digest_kind kind;
    const char *empty, *fox;
} vectors[] = {
    {DIGEST_SHA256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
     "d7a8fbb307d7809469ca9abcb0082e4f8d5651e46d3cdb762d02d0bf37c9e592"},
    {DIGEST_SHA1, "da39a3ee5e6b4b0d3255bfef95601890afd80709", "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12"},
    {DIGEST_MD5, "d41d8cd98f00b204e9800998ecf8427e", "9e107d9d372bb6826bd81d3542a419d6"},
    {DIGEST_CRC32, "00000000", "414fa339"},
    {DIGEST_CRC32C, "00000000", "22620404"},
    {DIGEST_CRC64NVME, "0000000000000000", NULL},
    {DIGEST_XXH3, "99aa06d3014798d86001c324468d497f", "ddd650205ca3e7fa24a1cc2e3a8a7651"},
};

static void assert_hex(const struct digest_value *v, const char *hex)
{
    char text[DIGEST_HEX_MAX];
    assert_string_equal(digest_hex(text, v), hex);
}

static void published_vectors_come_out(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        struct err err = ERR_INIT;
        struct digest_value v;
        assert_int_equal(digest_bytes(vectors[i].kind, "", 0, &v, &err), 0);
        assert_hex(&v, vectors[i].empty);
        assert_int_equal(digest_bytes(vectors[i].kind, fox, strlen(fox), &v, &err), 0);
        if (vectors[i].fox)
            assert_hex(&v, vectors[i].fox);
    }
    struct err err = ERR_INIT;
    struct digest_value v;
    assert_int_equal(digest_bytes(DIGEST_CRC64NVME, "123456789", 9, &v, &err), 0);
    assert_hex(&v, "ae8b14860a799888");
}

/* RFC 4231, cases 1, 2 and 6. */
static void hmac_gives_the_vectors_of_rfc_4231(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    uint8_t key[131];
    struct digest_value v = {.kind = DIGEST_SHA256};
    memset(key, 0x0b, 20);
    assert_int_equal(digest_hmac_sha256(key, 20, "Hi There", 8, v.bytes, &err), 0);
    assert_hex(&v, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    assert_int_equal(digest_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, v.bytes, &err), 0);
    assert_hex(&v, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof(key));
    const char text[] = "Test Using Larger Than Block-Size Key - Hash Key First";
    assert_int_equal(digest_hmac_sha256(key, sizeof(key), text, strlen(text), v.bytes, &err), 0);
    assert_hex(&v, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

static void hmac_takes_an_empty_key_and_an_empty_text(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct digest_value v = {.kind = DIGEST_SHA256};
    assert_int_equal(digest_hmac_sha256(NULL, 0, NULL, 0, v.bytes, &err), 0);
    assert_hex(&v, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void all_kinds_at_once_in_pieces_equal_each_alone(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct rng r = {7};
    static uint8_t p[300000];
    for (size_t i = 0; i < sizeof(p); i++)
        p[i] = (uint8_t)rng_next(&r);
    for (int round = 0; round < 10; round++) {
        struct digest *d = NULL;
        assert_int_equal(digest_open(&d, ALL_KINDS, &err), 0);
        for (size_t at = 0, take; at < sizeof(p); at += take) {
            take = (size_t)rng_below(&r, sizeof(p) - at + 1);
            assert_int_equal(digest_update(d, p + at, take, &err), 0);
        }
        assert_int_equal(digest_length(d), sizeof(p));
        for (unsigned kind = 0; kind < DIGEST_KIND_COUNT; kind++) {
            struct digest_value streamed, alone;
            assert_int_equal(digest_final(d, kind, &streamed, &err), 0);
            assert_int_equal(digest_bytes(kind, p, sizeof(p), &alone, &err), 0);
            assert_true(digest_equal(&streamed, &alone));
        }
        digest_free(d);
    }
}

static void a_finished_stream_repeats_its_values_and_takes_no_more(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct digest *d = NULL;
    struct digest_value a, b;
    assert_int_equal(digest_open(&d, BIT(DIGEST_MD5), &err), 0);
    assert_int_equal(digest_update(d, fox, strlen(fox), &err), 0);
    assert_int_equal(digest_final(d, DIGEST_MD5, &a, &err), 0);
    assert_int_equal(digest_final(d, DIGEST_MD5, &b, &err), 0);
    assert_true(digest_equal(&a, &b));
    assert_int_equal(digest_update(d, "x", 1, &err), -1);
    err_clear(&err);
    assert_int_equal(digest_final(d, DIGEST_SHA1, &b, &err), -1);
    assert_non_null(strstr(err.text, "sha1"));
    digest_free(d);
}

static void values_differ_by_kind_and_by_any_bit(void **state)
{
    (void)state;
    struct digest_value a = {.kind = DIGEST_MD5}, b = a;
    assert_true(digest_equal(&a, &b));
    b.bytes[31] = 1; /* beyond an MD5 */
    assert_true(digest_equal(&a, &b));
    b.bytes[15] = 1;
    assert_false(digest_equal(&a, &b));
    b = a;
    b.kind = DIGEST_XXH3;
    assert_false(digest_equal(&a, &b));
}

static void combining_values_equals_hashing_the_whole(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct rng r = {8};
    for (unsigned kind = 0; kind < DIGEST_KIND_COUNT; kind++)
        for (int round = 0; digest_combines(kind) && round < 50; round++) {
            size_t cut = (size_t)rng_below(&r, sizeof(fox));
            struct digest_value a, b, whole;
            assert_int_equal(digest_bytes(kind, fox, cut, &a, &err), 0);
            assert_int_equal(digest_bytes(kind, fox + cut, sizeof(fox) - cut, &b, &err), 0);
            assert_int_equal(digest_bytes(kind, fox, sizeof(fox), &whole, &err), 0);
            digest_combine(&a, &b, sizeof(fox) - cut);
            assert_true(digest_equal(&a, &whole));
        }
    assert_true(digest_combines(DIGEST_CRC32) && digest_combines(DIGEST_CRC32C) && digest_combines(DIGEST_CRC64NVME));
    assert_false(digest_combines(DIGEST_SHA256) || digest_combines(DIGEST_MD5) || digest_combines(DIGEST_XXH3));
}

static void each_value_reads_back_from_hex_and_from_base64(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    for (unsigned kind = 0; kind < DIGEST_KIND_COUNT; kind++) {
        struct digest_value v, back;
        char hex[DIGEST_HEX_MAX], prefixed[DIGEST_HEX_MAX + 2];
        AUTO_BUF base64;
        buf_init(&base64, 100);
        assert_int_equal(digest_bytes(kind, fox, strlen(fox), &v, &err), 0);
        digest_base64(&base64, &v);
        snprintf(prefixed, sizeof(prefixed), "0x%s", digest_hex(hex, &v));
        const char *texts[] = {hex, prefixed, buf_str(&base64)};
        for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
            assert_int_equal(digest_parse(kind, span_of(texts[i]), &back, &err), 0);
            assert_true(digest_equal(&v, &back));
        }
    }
}

static void what_is_no_digest_is_refused_by_name(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "abc",
                                      "d41d8cd98f00b204e9800998ecf8427",
                                      "d41d8cd98f00b204e9800998ecf8427e0",
                                      "g41d8cd98f00b204e9800998ecf8427e",
                                      "0xd41d8cd98f00b204e9800998ecf842",
                                      "1B2M2Y8AsgTpgAmY7PhCfg",
                                      "1B2M2Y8AsgTpgAmY7PhCfg=",
                                      "1B2M2Y8AsgTpgAmY7PhCfgAA",
                                      "1B2M2Y8AsgTpgAmY7PhCfg==-2"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err err = ERR_INIT;
        struct digest_value v;
        assert_int_equal(digest_parse(DIGEST_MD5, span_of(bad[i]), &v, &err), -1);
        assert_int_equal(err.kind, ERR_INVALID);
        assert_non_null(strstr(err.text, "md5"));
        assert_non_null(strstr(err.hint, "32 hex digits or 24 characters"));
    }
}

static void kinds_are_known_by_name(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    enum digest_kind kind;
    for (unsigned i = 0; i < DIGEST_KIND_COUNT; i++) {
        assert_int_equal(digest_kind_parse(span_of(digest_name(i)), &kind, &err), 0);
        assert_int_equal(kind, i);
    }
    assert_int_equal(digest_kind_parse(span_of("CRC64NVME"), &kind, &err), 0);
    assert_int_equal(kind, DIGEST_CRC64NVME);
    assert_int_equal(digest_kind_parse(span_of("sha512"), &kind, &err), -1);
    assert_non_null(strstr(err.text, "sha512"));
    assert_non_null(strstr(err.hint, "sha256"));
}

static int file_of(const void *p, size_t n)
{
    struct err err = ERR_INIT;
    int fd = memfd_create("digest", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fs_write_all(fd, p, n, &err), 0);
    return fd;
}

static void a_range_of_a_file_is_hashed_after_earlier_bytes(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    static uint8_t p[700001];
    struct rng r = {9};
    for (size_t i = 0; i < sizeof(p); i++)
        p[i] = (uint8_t)rng_next(&r);
    AUTO_FD fd = file_of(p, sizeof(p));
    struct digest *d = NULL;
    struct digest_value from_file, from_memory;
    assert_int_equal(digest_open(&d, BIT(DIGEST_SHA256), &err), 0);
    assert_int_equal(digest_update(d, p, 1000, &err), 0);
    assert_int_equal(digest_fd(d, fd, 1000, sizeof(p) - 1000, NULL, &err), 0);
    assert_int_equal(digest_final(d, DIGEST_SHA256, &from_file, &err), 0);
    assert_int_equal(digest_bytes(DIGEST_SHA256, p, sizeof(p), &from_memory, &err), 0);
    assert_true(digest_equal(&from_file, &from_memory));
    digest_free(d);
}

static void a_file_shorter_than_its_range_is_corrupt(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_FD fd = file_of(fox, 10);
    struct digest *d = NULL;
    assert_int_equal(digest_open(&d, BIT(DIGEST_CRC32), &err), 0);
    assert_int_equal(digest_fd(d, fd, 5, 6, NULL, &err), -1);
    assert_int_equal(err.kind, ERR_CORRUPT);
    digest_free(d);
}

static void hashing_a_file_stops_when_cancelled(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct cancel cancel;
    assert_int_equal(cancel_init(&cancel, &err), 0);
    cancel_raise(&cancel, CANCEL_STOP);
    AUTO_FD fd = file_of(fox, sizeof(fox));
    struct digest *d = NULL;
    assert_int_equal(digest_open(&d, BIT(DIGEST_CRC32), &err), 0);
    assert_int_equal(digest_fd(d, fd, 0, sizeof(fox), &cancel, &err), -1);
    assert_int_equal(err.kind, ERR_CANCELLED);
    assert_int_equal(digest_length(d), 0);
    digest_free(d);
    cancel_release(&cancel);
}

/* `printf 'hello\n' | git hash-object --stdin` */
static void a_git_blob_has_gits_own_id(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct digest *d = NULL;
    struct digest_value v;
    assert_int_equal(digest_open(&d, BIT(DIGEST_SHA1) | BIT(DIGEST_MD5), &err), 0);
    assert_int_equal(digest_git_blob_start(d, 6, &err), 0);
    assert_int_equal(digest_length(d), 0);
    assert_int_equal(digest_update(d, "hello\n", 6, &err), 0);
    assert_int_equal(digest_git_blob_start(d, 6, &err), -1); /* too late */
    assert_int_equal(digest_final(d, DIGEST_SHA1, &v, &err), 0);
    assert_hex(&v, "ce013625030ba8dba906f756967f9e9ca394464a");
    assert_int_equal(digest_final(d, DIGEST_MD5, &v, &err), 0); /* of the content alone */
    assert_hex(&v, "b1946ac92492d2347c6235b4d2611184");
    digest_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_vectors_come_out),
        cmocka_unit_test(hmac_gives_the_vectors_of_rfc_4231),
        cmocka_unit_test(hmac_takes_an_empty_key_and_an_empty_text),
        cmocka_unit_test(all_kinds_at_once_in_pieces_equal_each_alone),
        cmocka_unit_test(a_finished_stream_repeats_its_values_and_takes_no_more),
        cmocka_unit_test(values_differ_by_kind_and_by_any_bit),
        cmocka_unit_test(combining_values_equals_hashing_the_whole),
        cmocka_unit_test(each_value_reads_back_from_hex_and_from_base64),
        cmocka_unit_test(what_is_no_digest_is_refused_by_name),
        cmocka_unit_test(kinds_are_known_by_name),
        cmocka_unit_test(a_range_of_a_file_is_hashed_after_earlier_bytes),
        cmocka_unit_test(a_file_shorter_than_its_range_is_corrupt),
        cmocka_unit_test(hashing_a_file_stops_when_cancelled),
        cmocka_unit_test(a_git_blob_has_gits_own_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
