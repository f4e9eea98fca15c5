#include "base/enc.h"
#include "stage/peer.h"
#include "xfer/xfer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define HEX "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static void only_numeric_addresses_with_a_port_are_peers(void **state)
{
    (void)state;
    static const char *const good[] = {"127.0.0.1:1", "10.1.2.3:65535", "[::1]:7480", "[fd00::2]:80"};
    static const char *const bad[] = {"",
                                      "localhost:80",
                                      "peer.example:80",
                                      "127.0.0.1",
                                      "127.0.0.1:",
                                      "127.0.0.1:0",
                                      "127.0.0.1:65536",
                                      "127.0.0.1:8o",
                                      "127.0.0.1:80/x",
                                      "user@127.0.0.1:80",
                                      "127.1:80",
                                      "::1:80",
                                      "[::1]",
                                      "[::1]80",
                                      "[::1:80",
                                      "[127.0.0.1]:80",
                                      "127.0.0.1:80 ",
                                      "[fe80:0000:0000:0000:0000:0000:0000:0001%eth0000000000000000000000]:7480"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        if (!peer_address_ok(span_of(good[i])))
            fail_msg("%s", good[i]);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (peer_address_ok(span_of(bad[i])))
            fail_msg("%s", bad[i]);
}

static bool reads(const char *text, struct peer *out)
{
    struct err err = ERR_INIT;
    AUTO_JSON item = json_parse(span_of(text), &err);
    assert_non_null(item);
    return peer_read(item, out);
}

static void what_a_server_says_of_a_peer_is_taken_whole_or_not_at_all(void **state)
{
    (void)state;
    struct peer p = {.address = ""};
#define PEER(address, fingerprint, token)                                                                              \
    "{\"node\":\"n-1\",\"address\":\"" address "\",\"fingerprint\":\"" fingerprint "\",\"token\":\"" token "\"}"
    assert_true(reads(PEER("10.0.0.1:5", HEX, "1.99.ab=="), &p));
    assert_string_equal(p.node, "n-1");
    assert_string_equal(p.address, "10.0.0.1:5");
    assert_string_equal(p.fingerprint, HEX);
    assert_string_equal(p.token, "1.99.ab==");
    assert_false(reads(PEER("a.example:5", HEX, "t"), &p));
    assert_false(reads(PEER("10.0.0.1:5", "abc", "t"), &p));
    assert_false(reads(PEER("10.0.0.1:5", "", "t"), &p));
    assert_false(reads(PEER("10.0.0.1:5", HEX, ""), &p));
    assert_false(reads(PEER("10.0.0.1:5", HEX, "a b"), &p));
    assert_false(reads(PEER("10.0.0.1:5", HEX, "a\\r\\nX: y"), &p));
    assert_false(reads("{\"node\":\"n-1\",\"address\":\"10.0.0.1:5\",\"fingerprint\":\"" HEX "\"}", &p));
    assert_false(reads("{\"node\":1,\"address\":\"10.0.0.1:5\",\"fingerprint\":\"" HEX "\",\"token\":\"t\"}", &p));
    assert_false(reads("[]", &p));
}

static int back(const char *header, struct arena *a, struct cache_origin *out)
{
    struct err err = ERR_INIT;
    int rc = peer_origin_read(span_of(header), a, out, &err);
    assert_true(rc == 0 || err.kind == ERR_INVALID);
    return rc;
}

static void an_origin_arrives_as_it_was(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct arena *a = arena_new(0, &err);
    struct cache_origin got;
    AUTO_BUF text;
    const struct cache_origin sent = {"s3", "https://s3.example/b/key with \r\n and \xff", "\"etag\"", 7};
    buf_init(&text, PEER_ORIGIN_MAX);
    assert_int_equal(peer_origin_write(&sent, &text, &err), 0);
    assert_null(strpbrk(buf_str(&text), "\r\n "));
    assert_int_equal(back(buf_str(&text), a, &got), 0);
    assert_string_equal(got.source, sent.source);
    assert_string_equal(got.location, sent.location);
    assert_string_equal(got.version, sent.version);
    assert_true(got.size == XFER_SIZE_UNKNOWN);
    arena_free(a);
}

static int back_raw(const char *raw, size_t n, struct arena *a)
{
    struct cache_origin got;
    AUTO_BUF text;
    buf_init(&text, PEER_ORIGIN_MAX * 2);
    base64_encode(&text, (const uint8_t *)raw, n);
    return back(buf_str(&text), a, &got);
}

static void what_is_no_origin_is_refused(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct arena *a = arena_new(0, &err);
    struct cache_origin got;
    assert_int_equal(back_raw("s\0l\0v", 6, a), 0);
    assert_int_equal(back_raw("s\0l\0v", 5, a), -1); /* its last NUL is missing */
    assert_int_equal(back_raw("s\0l", 4, a), -1);
    assert_int_equal(back_raw("s\0l\0", 5, a), -1); /* no version */
    assert_int_equal(back_raw("s\0l\0v\0x", 8, a), -1);
    assert_int_equal(back_raw("", 0, a), -1);
    assert_int_equal(back("not base64", a, &got), -1);
    arena_free(a);
}

static void an_origin_that_does_not_fit_is_an_error(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    char long_key[PEER_ORIGIN_MAX];
    AUTO_BUF text;
    memset(long_key, 'k', sizeof long_key - 1);
    long_key[sizeof long_key - 1] = '\0';
    buf_init(&text, PEER_ORIGIN_MAX);
    assert_int_equal(peer_origin_write(&(struct cache_origin){"s3", long_key, "v", 1}, &text, &err), -1);
    assert_int_equal(err.kind, ERR_LIMIT);
}

static void ranges_are_read_as_rfc_9110_says(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        int rc;
        uint64_t first, n;
    } rows[] = {
        {NULL, 0, 0, 100},
        {"bytes=0-0", 1, 0, 1},
        {"bytes=10-19", 1, 10, 10},
        {"bytes=90-", 1, 90, 10},
        {"bytes=90-500", 1, 90, 10},
        {"bytes=99-99", 1, 99, 1},
        {"bytes=-10", 1, 90, 10},
        {"bytes=-500", 1, 0, 100},
        {"bytes=100-", -1, 0, 0},
        {"bytes=-0", -1, 0, 0},
        {"bytes=5-4", 0, 0, 100},
        {"bytes=0-1,5-6", 0, 0, 100},
        {"bytes=-", 0, 0, 100},
        {"bytes=a-b", 0, 0, 100},
        {"items=0-1", 0, 0, 100},
        {"bytes=+1-2", 0, 0, 100},
        {"bytes=0-18446744073709551615", 1, 0, 100},
        {"bytes=18446744073709551616-", 0, 0, 100},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t first = 7, n = 7;
        int rc = peer_range(rows[i].header, 100, &first, &n);
        if (rc != rows[i].rc || (rc >= 0 && (first != rows[i].first || n != rows[i].n)))
            fail_msg("%s: %d, %llu, %llu", rows[i].header, rc, (unsigned long long)first, (unsigned long long)n);
    }
}

static void nothing_of_an_empty_blob_is_a_range(void **state)
{
    (void)state;
    uint64_t first, n;
    assert_int_equal(peer_range("bytes=0-0", 0, &first, &n), -1);
    assert_int_equal(peer_range("bytes=-5", 0, &first, &n), -1);
    assert_int_equal(peer_range(NULL, 0, &first, &n), 0);
    assert_int_equal(n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_numeric_addresses_with_a_port_are_peers),
        cmocka_unit_test(what_a_server_says_of_a_peer_is_taken_whole_or_not_at_all),
        cmocka_unit_test(an_origin_arrives_as_it_was),
        cmocka_unit_test(what_is_no_origin_is_refused),
        cmocka_unit_test(an_origin_that_does_not_fit_is_an_error),
        cmocka_unit_test(ranges_are_read_as_rfc_9110_says),
        cmocka_unit_test(nothing_of_an_empty_blob_is_a_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
