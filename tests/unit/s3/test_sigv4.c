/* The published vectors: AWS's SigV4 test suite (service "service") and the examples of the Amazon S3 API reference. */
#include "s3/sigv4.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define SUITE_NOW 1440938160000                                                      /* 20150830T123600Z */
#define S3_NOW    1369353600000                                                      /* 20130524T000000Z */
#define FORM_HASH "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e" /* "Param1=value1" */

static const struct s3_keys suite_keys = {.access_key_id = "AKIDEXAMPLE",
                                          .secret_access_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"};
static const struct s3_keys s3_keys = {.access_key_id = "AKIAIOSFODNN7EXAMPLE",
                                       .secret_access_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"};

struct vector {
    const char *name, *method, *path, *query;
    const char *headers[3][2];
    const char *payload; /* NULL: empty */
    const char *signature;
};

#define VANILLA "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
#define ALNUM   "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

static const struct vector suite[] = {
    {"get-vanilla", "GET", "/", "", {{0}}, NULL, VANILLA},
    {"get-vanilla-empty-query-key",
     "GET",
     "/",
     "Param1=value1",
     {{0}},
     NULL,
     "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
    {"get-vanilla-query-order-key-case",
     "GET",
     "/",
     "Param2=value2&Param1=value1",
     {{0}},
     NULL,
     "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
    {"get-vanilla-query-unreserved",
     "GET",
     "/",
     "-._~" ALNUM "=-._~" ALNUM,
     {{0}},
     NULL,
     "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"},
    {"get-vanilla-utf8-query",
     "GET",
     "/",
     "%E1%88%B4=bar",
     {{0}},
     NULL,
     "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"},
    {"get-unreserved",
     "GET",
     "/-._~" ALNUM,
     "",
     {{0}},
     NULL,
     "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
    {"get-utf8",
     "GET",
     "/\xe1\x88\xb4",
     "",
     {{0}},
     NULL,
     "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
    {"get-relative", "GET", "/example/..", "", {{0}}, NULL, VANILLA},
    {"get-relative-relative", "GET", "/example1/example2/../..", "", {{0}}, NULL, VANILLA},
    {"get-slash", "GET", "//", "", {{0}}, NULL, VANILLA},
    {"get-slash-dot-slash", "GET", "/./", "", {{0}}, NULL, VANILLA},
    {"get-slash-pointless-dot",
     "GET",
     "/./example",
     "",
     {{0}},
     NULL,
     "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"},
    {"get-slashes",
     "GET",
     "//example//",
     "",
     {{0}},
     NULL,
     "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"},
    {"get-space",
     "GET",
     "/example space/",
     "",
     {{0}},
     NULL,
     "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"},
    {"get-header-key-duplicate",
     "GET",
     "/",
     "",
     {{"My-Header1", "value2"}, {"My-Header1", "value2"}, {"My-Header1", "value1"}},
     NULL,
     "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"},
    {"get-header-value-order",
     "GET",
     "/",
     "",
     {{"My-Header1", "value4,value1,value3,value2"}},
     NULL,
     "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01"},
    {"get-header-value-trim",
     "GET",
     "/",
     "",
     {{"My-Header1", " value1"}, {"My-Header2", " \"a   b   c\""}},
     NULL,
     "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
    {"post-vanilla", "POST", "/", "", {{0}}, NULL, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
    {"post-header-key-sort",
     "POST",
     "/",
     "",
     {{"My-Header1", "value1"}},
     NULL,
     "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"},
    {"post-header-value-case",
     "POST",
     "/",
     "",
     {{"My-Header1", "VALUE1"}},
     NULL,
     "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d"},
    {"post-vanilla-query",
     "POST",
     "/",
     "Param1=value1",
     {{0}},
     NULL,
     "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"},
    {"post-x-www-form-urlencoded",
     "POST",
     "/",
     "",
     {{"Content-Type", "application/x-www-form-urlencoded"}},
     FORM_HASH,
     "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
    {"post-x-www-form-urlencoded-parameters",
     "POST",
     "/",
     "",
     {{"Content-Type", "application/x-www-form-urlencoded; charset=utf8"}},
     FORM_HASH,
     "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe"},
};

#define EXAMPLE_PUT_HASH "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"

static const struct vector s3_examples[] = {
    {"GET object with Range",
     "GET",
     "/test.txt",
     "",
     {{"Range", "bytes=0-9"}},
     NULL,
     "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
    {"PUT object",
     "PUT",
     "/test%24file.text",
     "",
     {{"Date", "Fri, 24 May 2013 00:00:00 GMT"}, {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
     EXAMPLE_PUT_HASH,
     "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
    {"GET bucket lifecycle",
     "GET",
     "/",
     "lifecycle",
     {{0}},
     NULL,
     "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
    {"List objects",
     "GET",
     "/",
     "max-keys=2&prefix=J",
     {{0}},
     NULL,
     "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
};

static size_t fill_headers(const struct vector *v, struct sigv4_header out[3])
{
    size_t n = 0;
    for (; n < 3 && v->headers[n][0]; n++)
        out[n] = (struct sigv4_header){span_of(v->headers[n][0]), span_of(v->headers[n][1])};
    return n;
}

static struct sigv4_request request_of(const struct vector *v, const struct sigv4_header *headers, size_t n)
{
    return (struct sigv4_request){.method = v->method,
                                  .host = SPAN_LIT("example.amazonaws.com"),
                                  .path = span_of(v->path),
                                  .query = span_of(v->query),
                                  .headers = headers,
                                  .header_count = n,
                                  .payload_hash = v->payload ? v->payload : SIGV4_EMPTY_PAYLOAD,
                                  .region = "us-east-1",
                                  .service = "service",
                                  .now_ms = SUITE_NOW,
                                  .normalise_path = true};
}

static void expect_signature(const char *name, const char *headers, const char *signature)
{
    char wanted[128];
    snprintf(wanted, sizeof wanted, "Signature=%s\r\n", signature);
    if (!strstr(headers, wanted))
        fail_msg("%s: wanted %s in\n%s", name, wanted, headers);
}

static void test_suite_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(suite); i++) {
        struct sigv4_header headers[3];
        struct sigv4_request req = request_of(&suite[i], headers, fill_headers(&suite[i], headers));
        struct err err = ERR_INIT;
        AUTO_BUF out;
        buf_init(&out, 65536);
        assert_int_equal(sigv4_sign(&req, &suite_keys, &out, &err), 0);
        expect_signature(suite[i].name, buf_str(&out), suite[i].signature);
        assert_null(strstr(buf_str(&out), "x-amz-content-sha256"));
    }
}

static void test_s3_examples(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(s3_examples); i++) {
        struct sigv4_header headers[3];
        struct sigv4_request req = request_of(&s3_examples[i], headers, fill_headers(&s3_examples[i], headers));
        req.host = SPAN_LIT("examplebucket.s3.amazonaws.com");
        req.service = "s3";
        req.now_ms = S3_NOW;
        req.normalise_path = false;
        struct err err = ERR_INIT;
        AUTO_BUF out;
        buf_init(&out, 65536);
        assert_int_equal(sigv4_sign(&req, &s3_keys, &out, &err), 0);
        expect_signature(s3_examples[i].name, buf_str(&out), s3_examples[i].signature);
    }
}

static void test_session_token_is_signed_and_sent(void **state)
{
    (void)state;
    struct s3_keys keys = suite_keys;
    keys.session_token = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPf"
                         "IeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7W"
                         "Z0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8F"
                         "DrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";
    struct vector v = {"post-sts-header-before", "POST", "/", "", {{0}}, NULL, NULL};
    struct sigv4_request req = request_of(&v, NULL, 0);
    struct err err = ERR_INIT;
    AUTO_BUF out;
    buf_init(&out, 65536);
    assert_int_equal(sigv4_sign(&req, &keys, &out, &err), 0);
    expect_signature(v.name, buf_str(&out), "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead");
    assert_non_null(strstr(buf_str(&out), "\r\nx-amz-security-token: AQoDYXdzEPT"));
}

static void test_canonical_request_of_a_range_get(void **state)
{
    (void)state;
    struct sigv4_header range = {SPAN_LIT("Range"), SPAN_LIT("bytes=0-9")};
    struct sigv4_request req = request_of(&s3_examples[0], &range, 1);
    req.host = SPAN_LIT("examplebucket.s3.amazonaws.com");
    req.service = "s3";
    req.now_ms = S3_NOW;
    req.normalise_path = false;
    struct err err = ERR_INIT;
    AUTO_BUF out;
    buf_init(&out, 65536);
    assert_int_equal(sigv4_canonical_request(&req, &s3_keys, &out, &err), 0);
    assert_string_equal(buf_str(&out), "GET\n/test.txt\n\nhost:examplebucket.s3.amazonaws.com\nrange:bytes=0-9\n"
                                       "x-amz-content-sha256:" SIGV4_EMPTY_PAYLOAD "\nx-amz-date:20130524T000000Z\n\n"
                                       "host;range;x-amz-content-sha256;x-amz-date\n" SIGV4_EMPTY_PAYLOAD);
}

static void test_query_names_sort_before_their_values(void **state)
{
    (void)state;
    struct vector v = {"", "GET", "/", "a-b=2&a=2&b&a=1", {{0}}, NULL, NULL};
    struct sigv4_request req = request_of(&v, NULL, 0);
    struct err err = ERR_INIT;
    AUTO_BUF out;
    buf_init(&out, 65536);
    assert_int_equal(sigv4_canonical_request(&req, &suite_keys, &out, &err), 0);
    assert_non_null(strstr(buf_str(&out), "GET\n/\na=1&a=2&a-b=2&b=\nhost:"));
}

static struct sigv4_request presign_example(void)
{
    return (struct sigv4_request){.method = "GET",
                                  .host = SPAN_LIT("examplebucket.s3.amazonaws.com"),
                                  .path = SPAN_LIT("/test.txt"),
                                  .query = SPAN_LIT(""),
                                  .payload_hash = SIGV4_EMPTY_PAYLOAD,
                                  .region = "us-east-1",
                                  .service = "s3",
                                  .now_ms = S3_NOW};
}

static void test_presigned_url_example(void **state)
{
    (void)state;
    struct sigv4_request req = presign_example();
    struct err err = ERR_INIT;
    AUTO_BUF out;
    buf_init(&out, 65536);
    assert_int_equal(sigv4_presign(&req, &s3_keys, 86400, &out, &err), 0);
    assert_string_equal(buf_str(&out),
                        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%"
                        "2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&"
                        "X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
}

static void test_presigned_lifetime_is_bounded(void **state)
{
    (void)state;
    struct sigv4_request req = presign_example();
    AUTO_BUF out;
    buf_init(&out, 65536);
    struct err err = ERR_INIT;
    assert_int_equal(sigv4_presign(&req, &s3_keys, 0, &out, &err), -1);
    err_clear(&err);
    assert_int_equal(sigv4_presign(&req, &s3_keys, SIGV4_EXPIRES_MAX_S + 1, &out, &err), -1);
    assert_int_equal(err.kind, ERR_INVALID);
    err_clear(&err);
    struct s3_keys nobody = {0};
    assert_int_equal(sigv4_presign(&req, &nobody, 60, &out, &err), -1);
    assert_int_equal(err.kind, ERR_DENIED);
}

static void test_anonymous_adds_nothing(void **state)
{
    (void)state;
    struct sigv4_request req = presign_example();
    struct s3_keys nobody = {0};
    struct err err = ERR_INIT;
    AUTO_BUF out;
    buf_init(&out, 65536);
    assert_int_equal(sigv4_sign(&req, &nobody, &out, &err), 0);
    assert_int_equal(out.n, 0);
}

static void test_cached_key_follows_secret_region_and_day(void **state)
{
    (void)state;
    struct sigv4_cache cache;
    sigv4_cache_init(&cache);
    struct s3_keys other = s3_keys;
    other.secret_access_key = "another secret";
    const struct s3_keys *keys[] = {&s3_keys, &other};
    const char *regions[] = {"us-east-1", "eu-west-1"};
    for (unsigned i = 0; i < 16; i++) {
        struct sigv4_request req = presign_example();
        req.region = regions[i / 2 % 2];
        req.now_ms += (int64_t)(i / 4 % 2) * 86400000;
        struct err err = ERR_INIT;
        AUTO_BUF plain, cached;
        buf_init(&plain, 65536);
        buf_init(&cached, 65536);
        assert_int_equal(sigv4_sign(&req, keys[i % 2], &plain, &err), 0);
        req.cache = &cache;
        for (int again = 0; again < 2; again++) {
            buf_reset(&cached);
            assert_int_equal(sigv4_sign(&req, keys[i % 2], &cached, &err), 0);
            assert_string_equal(buf_str(&cached), buf_str(&plain));
        }
    }
    sigv4_cache_release(&cache);
}

static void test_line_breaks_in_headers_are_refused(void **state)
{
    (void)state;
    struct sigv4_header bad = {SPAN_LIT("x-amz-meta"), SPAN_LIT("a\r\nHost: b")};
    struct sigv4_request req = presign_example();
    req.headers = &bad;
    req.header_count = 1;
    struct err err = ERR_INIT;
    AUTO_BUF out;
    buf_init(&out, 65536);
    assert_int_equal(sigv4_sign(&req, &s3_keys, &out, &err), -1);
    assert_int_equal(err.kind, ERR_INVALID);
    assert_int_equal(out.n, 0);
}

static void test_too_many_parameters_are_an_error(void **state)
{
    (void)state;
    AUTO_BUF query, out;
    buf_init(&query, 65536);
    buf_init(&out, 65536);
    for (int i = 0; i <= SIGV4_PARAMS_MAX; i++)
        buf_addf(&query, "&p%d", i);
    struct sigv4_request req = presign_example();
    req.query = buf_span(&query);
    struct err err = ERR_INIT;
    assert_int_equal(sigv4_sign(&req, &s3_keys, &out, &err), -1);
    assert_int_equal(err.kind, ERR_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_suite_vectors),
        cmocka_unit_test(test_s3_examples),
        cmocka_unit_test(test_session_token_is_signed_and_sent),
        cmocka_unit_test(test_canonical_request_of_a_range_get),
        cmocka_unit_test(test_query_names_sort_before_their_values),
        cmocka_unit_test(test_presigned_url_example),
        cmocka_unit_test(test_presigned_lifetime_is_bounded),
        cmocka_unit_test(test_anonymous_adds_nothing),
        cmocka_unit_test(test_cached_key_follows_secret_region_and_day),
        cmocka_unit_test(test_line_breaks_in_headers_are_refused),
        cmocka_unit_test(test_too_many_parameters_are_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
