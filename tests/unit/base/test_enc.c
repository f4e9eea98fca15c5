#include "test_base.h"

#include "base/enc.h"
#include "base/rng.h"

static void hex_goes_there_and_back(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    uint8_t bytes[4] = {0x00, 0x7f, 0xab, 0xff}, back[4];
    char text[9];
    hex_encode(text, bytes, sizeof bytes);
    assert_string_equal(text, "007fabff");
    assert_works(hex_decode(back, 4, SPAN_LIT("007FabFF"), &err), &err);
    assert_memory_equal(back, bytes, 4);
    assert_works(hex_decode(back, 0, SPAN_LIT(""), &err), &err);
}

static void hex_must_be_exactly_as_long_as_wanted(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    uint8_t out[4];
    static const char *const bad[] = {"",           "007fab",   "007fabf",  "007fabff0",
                                      "007fabff00", "007fabfg", "0x7fabff", " 07fabff"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_fails(hex_decode(out, 4, span_of(bad[i]), &err), &err, ERR_INVALID);
}

static const struct {
    const char *plain, *coded;
} base64_rows[] = {{"", ""},
                   {"f", "Zg=="},
                   {"fo", "Zm8="},
                   {"foo", "Zm9v"},
                   {"foob", "Zm9vYg=="},
                   {"fooba", "Zm9vYmE="},
                   {"foobar", "Zm9vYmFy"}}; /* RFC 4648, 10 */

static void base64_agrees_with_the_rfc(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(base64_rows); i++) {
        AUTO_BUF b;
        uint8_t out[16];
        size_t n = 99;
        buf_init(&b, 100);
        base64_encode(&b, (const uint8_t *)base64_rows[i].plain, strlen(base64_rows[i].plain));
        assert_string_equal(buf_str(&b), base64_rows[i].coded);
        assert_works(base64_decode(out, sizeof out, &n, span_of(base64_rows[i].coded), &err), &err);
        assert_int_equal(n, strlen(base64_rows[i].plain));
        assert_memory_equal(out, base64_rows[i].plain, n);
    }
}

static void base64_of_any_bytes_comes_back(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct rng rng = {42};
    for (size_t n = 0; n < 70; n++) {
        AUTO_BUF b;
        uint8_t in[70], out[70];
        size_t got = 0;
        for (size_t i = 0; i < n; i++)
            in[i] = (uint8_t)rng_next(&rng);
        buf_init(&b, 200);
        base64_encode(&b, in, n);
        assert_works(base64_decode(out, n, &got, buf_span(&b), &err), &err);
        assert_int_equal(got, n);
        assert_memory_equal(in, out, n);
    }
}

static void loose_base64_is_refused(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    uint8_t out[16];
    size_t n;
    static const char *const bad[] = {
        "Zg", "Zg=", "Zh==", "Zm9=", "Z===", "====", "Zg==Zg==", "Zm 9v", "Zm9v\n", "Zm-_", "=Zg=", "Z=g="};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_fails(base64_decode(out, sizeof out, &n, span_of(bad[i]), &err), &err, ERR_INVALID);
    assert_fails(base64_decode(out, sizeof out, &n, (struct span){"Zm\0v", 4}, &err), &err, ERR_INVALID);
    assert_fails(base64_decode(out, 2, &n, SPAN_LIT("Zm9v"), &err), &err, ERR_INVALID);
}

static void percent_encoding_keeps_the_unreserved(void **state)
{
    (void)state;
    AUTO_BUF b;
    buf_init(&b, 1000);
    percent_encode(&b, SPAN_LIT("aZ09-._~/+ %\xc3\xa9*'"), true);
    assert_string_equal(buf_str(&b), "aZ09-._~/%2B%20%25%C3%A9%2A%27");
    buf_reset(&b);
    percent_encode(&b, SPAN_LIT("a/b"), false);
    assert_string_equal(buf_str(&b), "a%2Fb");
}

static void percent_decoding_is_strict(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_BUF b;
    buf_init(&b, 1000);
    assert_works(percent_decode(&b, SPAN_LIT("a%2fb%2Bc+d%00"), &err), &err);
    assert_int_equal(b.n, 8);
    assert_memory_equal(b.p, "a/b+c+d\0", 8);
    static const char *const bad[] = {"%", "%2", "a%", "%g0", "%0g", "%%41"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_fails(percent_decode(&b, span_of(bad[i]), &err), &err, ERR_INVALID);
}

static void every_byte_survives_percent_encoding(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    char all[256];
    for (unsigned i = 0; i < 256; i++)
        all[i] = (char)i;
    AUTO_BUF coded;
    AUTO_BUF back;
    buf_init(&coded, 1000);
    buf_init(&back, 1000);
    percent_encode(&coded, (struct span){all, 256}, false);
    assert_works(percent_decode(&back, buf_span(&coded), &err), &err);
    assert_int_equal(back.n, 256);
    assert_memory_equal(back.p, all, 256);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hex_goes_there_and_back),    cmocka_unit_test(hex_must_be_exactly_as_long_as_wanted),
        cmocka_unit_test(base64_agrees_with_the_rfc), cmocka_unit_test(base64_of_any_bytes_comes_back),
        cmocka_unit_test(loose_base64_is_refused),    cmocka_unit_test(percent_encoding_keeps_the_unreserved),
        cmocka_unit_test(percent_decoding_is_strict), cmocka_unit_test(every_byte_survives_percent_encoding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
