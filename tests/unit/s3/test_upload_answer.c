/* What servers answer to uploads, and the list of parts that they are sent. */
#include "s3/upload_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define CREATED(id) "<InitiateMultipartUploadResult><UploadId>" id "</UploadId></InitiateMultipartUploadResult>"

static void an_upload_id_is_taken_as_it_stands(void **state)
{
    (void)state;
    char id[S3_UPLOAD_ID_MAX];
    struct err err = ERR_INIT;
    assert_int_equal(upload_answer_created(SPAN_LIT(CREATED(" 2~a.b-c/d+e= ")), id, &err), 0);
    assert_string_equal(id, "2~a.b-c/d+e=");
}

static void an_answer_without_a_usable_upload_id_is_an_error(void **state)
{
    (void)state;
    char id[S3_UPLOAD_ID_MAX], longest[S3_UPLOAD_ID_MAX + 200];
    snprintf(longest, sizeof longest, CREATED("%0*d"), S3_UPLOAD_ID_MAX, 0);
    const char *const bad[] = {"",          "<html></html>",
                               CREATED(""), "<InitiateMultipartUploadResult/>",
                               longest,     "<Error><Code>InternalError</Code></Error>"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err err = ERR_INIT;
        assert_int_equal(upload_answer_created(span_of(bad[i]), id, &err), -1);
        assert_int_equal(err.kind, ERR_PROTOCOL);
    }
}

static void the_etag_of_a_whole_is_the_MD5_of_its_parts_MD5s(void **state)
{
    (void)state;
    /* printf a | md5sum, printf b | md5sum, and md5sum of both digests' bytes. */
    const struct upload_part parts[] = {{.etag = "\"0cc175b9c0f1b6a831c399e269772661\""},
                                        {.etag = "92eb5ffee6ae2fec3ad71c777531578f"}};
    const struct upload_part encrypted[] = {parts[0], {.etag = "\"an-etag-that-is-no-md5\""}};
    char etag[ETAG_MAX];
    struct err err = ERR_INIT;
    assert_int_equal(upload_expected_etag(parts, ARRAY_LEN(parts), etag, &err), 0);
    assert_string_equal(etag, "96e024ba2074fe77e8e965ba43a704be-2");
    assert_int_equal(upload_expected_etag(encrypted, ARRAY_LEN(encrypted), etag, &err), 0);
    assert_string_equal(etag, "");
}

static void parts_are_listed_by_number_with_what_the_server_said_of_them(void **state)
{
    (void)state;
    const struct upload_part parts[] = {{.etag = "\"a&b\"", .crc32c = "AAAAAA=="}, {.etag = "<c>"}};
    AUTO_BUF text;
    buf_init(&text, 4096);
    upload_write_parts(parts, ARRAY_LEN(parts), &text);
    assert_string_equal(buf_str(&text),
                        "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
                        "<Part><PartNumber>1</PartNumber><ETag>&quot;a&amp;b&quot;</ETag>"
                        "<ChecksumCRC32C>AAAAAA==</ChecksumCRC32C></Part>"
                        "<Part><PartNumber>2</PartNumber><ETag>&lt;c&gt;</ETag></Part></CompleteMultipartUpload>");
}

static void the_longest_list_of_parts_fits_its_room(void **state)
{
    (void)state;
    AUTO_BUF text;
    struct err err = ERR_INIT;
    struct upload_part *parts = calloc(S3_PARTS_MAX, sizeof *parts);
    assert_non_null(parts);
    for (size_t i = 0; i < S3_PARTS_MAX; i++)
        parts[i] = (struct upload_part){.etag = "\"0123456789abcdef0123456789abcdef\"", .crc32c = "AAAAAA=="};
    buf_init(&text, UPLOAD_ANSWER_MAX);
    upload_write_parts(parts, S3_PARTS_MAX, &text);
    assert_int_equal(buf_check(&text, "list", &err), 0);
    free(parts);
}

struct seen {
    unsigned n;
    char last[256];
    int stop;
};

static int see(void *ctx, const struct s3_unfinished *u, struct err *err)
{
    struct seen *s = ctx;
    (void)err;
    s->n++;
    snprintf(s->last, sizeof s->last, "%s %s %lld", u->key, u->upload_id, (long long)u->begun_ms);
    return s->stop;
}

static int read_page(const char *text, struct upload_page *page, struct seen *seen, struct err *err)
{
    buf_init(&page->next_key, 4096);
    buf_init(&page->next_id, 4096);
    return upload_answer_page(span_of(text), page, see, seen, err);
}

static void unfinished_uploads_are_told_with_key_id_and_time(void **state)
{
    (void)state;
    struct upload_page page;
    struct seen seen = {0};
    struct err err = ERR_INIT;
    assert_int_equal(
        read_page("<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k &amp;2</NextKeyMarker>"
                  "<NextUploadIdMarker>i2</NextUploadIdMarker><Upload><Key>a</Key><UploadId>i0</UploadId></Upload>"
                  "<Upload><Key>k &amp;2</Key><UploadId>i2</UploadId><Initiated>2023-09-26T14:05:30.000Z</Initiated>"
                  "</Upload></ListMultipartUploadsResult>",
                  &page, &seen, &err),
        0);
    assert_int_equal(seen.n, 2);
    assert_string_equal(seen.last, "k &2 i2 1695737130000");
    assert_true(page.more);
    assert_string_equal(buf_str(&page.next_key), "k &2");
    assert_string_equal(buf_str(&page.next_id), "i2");
    buf_release(&page.next_key);
    buf_release(&page.next_id);
}

static void whoever_listens_may_end_a_listing(void **state)
{
    (void)state;
    struct upload_page page;
    struct seen seen = {.stop = 7};
    struct err err = ERR_INIT;
    assert_int_equal(read_page("<ListMultipartUploadsResult><Upload><Key>a</Key><UploadId>i</UploadId></Upload>"
                               "<Upload><Key>b</Key><UploadId>i</UploadId></Upload></ListMultipartUploadsResult>",
                               &page, &seen, &err),
                     7);
    assert_int_equal(seen.n, 1);
    buf_release(&page.next_key);
    buf_release(&page.next_id);
}

static void uploads_without_key_or_id_are_an_error(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "<ListMultipartUploadsResult><Upload><Key>a</Key></Upload></ListMultipartUploadsResult>",
        "<ListMultipartUploadsResult><Upload><UploadId>i</UploadId></Upload></ListMultipartUploadsResult>",
        "<ListMultipartUploadsResult><Upload>",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct upload_page page;
        struct seen seen = {0};
        struct err err = ERR_INIT;
        assert_int_equal(read_page(bad[i], &page, &seen, &err), -1);
        assert_int_equal(seen.n, 0);
        buf_release(&page.next_key);
        buf_release(&page.next_id);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_upload_id_is_taken_as_it_stands),
        cmocka_unit_test(an_answer_without_a_usable_upload_id_is_an_error),
        cmocka_unit_test(the_etag_of_a_whole_is_the_MD5_of_its_parts_MD5s),
        cmocka_unit_test(parts_are_listed_by_number_with_what_the_server_said_of_them),
        cmocka_unit_test(the_longest_list_of_parts_fits_its_room),
        cmocka_unit_test(unfinished_uploads_are_told_with_key_id_and_time),
        cmocka_unit_test(whoever_listens_may_end_a_listing),
        cmocka_unit_test(uploads_without_key_or_id_are_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
