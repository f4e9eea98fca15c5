#include "stage/url_answer_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SHA256_BASE64 "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="
#define SHA256_HEX    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define MD5_HEX       "900150983cd24fb0d6963f7d28e17f72"
#define MD5_BASE64    "kAFQmDzST7DWlj99KOF/cg=="

/* Headers: name, value, …, NULL. */
static struct url_answer read_answer(int status, ...)
{
    struct http_header headers[8];
    struct http_response resp = {.status = status, .headers = headers};
    va_list ap;
    va_start(ap, status);
    for (const char *name; (name = va_arg(ap, const char *));)
        headers[resp.header_count++] = (struct http_header){name, va_arg(ap, const char *)};
    va_end(ap);
    struct url_answer a;
    url_answer_read(&resp, &a);
    return a;
}

static void has_digest(const struct url_answer *a, enum digest_kind kind, const char *hex)
{
    char text[DIGEST_HEX_MAX];
    assert_true(a->has_digest);
    assert_int_equal(a->digest.kind, kind);
    assert_string_equal(digest_hex(text, &a->digest), hex);
}

static void the_size_is_that_of_the_whole_file(void **state)
{
    (void)state;
    assert_int_equal(read_answer(200, "content-length", "12", NULL).size, 12);
    assert_int_equal(read_answer(206, "content-length", "1", "content-range", "bytes 0-0/34", NULL).size, 34);
    assert_int_equal(read_answer(416, "content-length", "90", "content-range", "bytes */0", NULL).size, 0);
    assert_true(read_answer(206, "content-length", "1", "content-range", "bytes 0-0/*", NULL).size ==
                XFER_SIZE_UNKNOWN);
    assert_true(read_answer(206, "content-length", "1", NULL).size == XFER_SIZE_UNKNOWN);
    assert_true(read_answer(200, NULL).size == XFER_SIZE_UNKNOWN);
    assert_true(read_answer(200, "content-length", "-1", NULL).size == XFER_SIZE_UNKNOWN);
}

static void digests_come_in_the_forms_of_several_protocols(void **state)
{
    (void)state;
    struct url_answer a = read_answer(206, "repr-digest", "sha-512=:AAAA:, sha-256=:" SHA256_BASE64 ":;x=1", NULL);
    has_digest(&a, DIGEST_SHA256, SHA256_HEX);
    a = read_answer(206, "digest", "md5=" MD5_BASE64 ",SHA-256=" SHA256_BASE64, NULL);
    has_digest(&a, DIGEST_SHA256, SHA256_HEX);
    a = read_answer(200, "x-goog-hash", "crc32c=n03x6A==", "x-goog-hash", "md5=" MD5_BASE64, NULL);
    has_digest(&a, DIGEST_MD5, MD5_HEX);
    a = read_answer(200, "content-md5", MD5_BASE64, NULL);
    has_digest(&a, DIGEST_MD5, MD5_HEX);
    a = read_answer(200, "x-amz-request-id", "1", "etag", "\"" MD5_HEX "\"", NULL);
    has_digest(&a, DIGEST_MD5, MD5_HEX);
}

static void what_may_not_be_of_the_whole_file_is_no_digest(void **state)
{
    (void)state;
    assert_false(read_answer(206, "content-md5", MD5_BASE64, NULL).has_digest);
    assert_false(read_answer(200, "etag", "\"" MD5_HEX "\"", NULL).has_digest);
    assert_false(read_answer(200, "x-amz-request-id", "1", "etag", "\"" MD5_HEX "-2\"", NULL).has_digest);
    assert_false(read_answer(200, "x-amz-request-id", "1", "etag", "\"" MD5_HEX "\"", "x-amz-server-side-encryption",
                             "aws:kms", NULL)
                     .has_digest);
    assert_false(read_answer(200, "repr-digest", "sha-256=:AAAA:", NULL).has_digest);
    assert_false(read_answer(200, "repr-digest", "=,;=:", NULL).has_digest);
}

static void only_a_strong_etag_names_bytes(void **state)
{
    (void)state;
    assert_true(url_etag_is_strong("\"a\""));
    assert_false(url_etag_is_strong("W/\"a\""));
    assert_false(url_etag_is_strong(""));
}

static void answers_about_other_bytes_are_told_apart(void **state)
{
    (void)state;
    struct url_answer one = read_answer(200, "etag", "\"1\"", "content-length", "5", NULL),
                      weak = read_answer(206, "etag", "W/\"1\"", NULL), two = read_answer(206, "etag", "\"2\"", NULL),
                      monday = read_answer(200, "last-modified", "Mon, 02 Jan 2006 15:04:05 GMT", NULL),
                      tuesday = read_answer(200, "last-modified", "Tue, 03 Jan 2006 15:04:05 GMT", NULL),
                      longer = read_answer(200, "content-length", "6", NULL), silent = read_answer(206, NULL);
    assert_null(url_answer_differs(&one, &one));
    assert_null(url_answer_differs(&one, &weak));
    assert_null(url_answer_differs(&one, &silent));
    assert_string_equal(url_answer_differs(&one, &two), "ETag");
    assert_string_equal(url_answer_differs(&monday, &tuesday), "Last-Modified");
    assert_string_equal(url_answer_differs(&one, &longer), "size");
    assert_int_equal(monday.modified_ms, INT64_C(1136214245000));
}

static void a_web_page_is_known_by_its_type(void **state)
{
    (void)state;
    assert_true(read_answer(200, "content-type", "Text/HTML; charset=utf-8", NULL).html);
    assert_false(read_answer(200, "content-type", "text/plain", NULL).html);
    assert_false(read_answer(200, NULL).html);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_size_is_that_of_the_whole_file),
        cmocka_unit_test(digests_come_in_the_forms_of_several_protocols),
        cmocka_unit_test(what_may_not_be_of_the_whole_file_is_no_digest),
        cmocka_unit_test(only_a_strong_etag_names_bytes),
        cmocka_unit_test(answers_about_other_bytes_are_told_apart),
        cmocka_unit_test(a_web_page_is_known_by_its_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
