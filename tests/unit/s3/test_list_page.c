#include "s3/list_page.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static struct list_page *page_of(const char *xml, struct err *err)
{
    struct list_page *p = list_page_new(err);
    assert_non_null(p);
    if (list_page_feed(p, xml, strlen(xml), err) == 0 && list_page_finish(p, err) == 0)
        return p;
    list_page_free(p);
    return NULL;
}

static const char aws_page[] =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
    "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name><Prefix>a%2F</Prefix>"
    "<NextContinuationToken>1/x+y==</NextContinuationToken><KeyCount>3</KeyCount><MaxKeys>1000</MaxKeys>"
    "<IsTruncated>true</IsTruncated>"
    "<Contents><Key>a/sp+ace%2Bplus%25%3F</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>"
    "<ETag>&quot;89e581d3665298ece3c8b8808fb9440b&quot;</ETag><Size>12</Size><StorageClass>STANDARD</StorageClass>"
    "<Owner><ID>x</ID><DisplayName>Key</DisplayName></Owner></Contents>"
    "<Contents><Key>a/old</Key><Size>1</Size><StorageClass>DEEP_ARCHIVE</StorageClass></Contents>"
    "<Contents><Key>a/back</Key><Size>1</Size><StorageClass>GLACIER</StorageClass><RestoreStatus>"
    "<IsRestoreInProgress>false</IsRestoreInProgress><RestoreExpiryDate>2026-09-01T00:00:00Z</RestoreExpiryDate>"
    "</RestoreStatus></Contents>"
    "<CommonPrefixes><Prefix>a/%E6%97%A5/</Prefix></CommonPrefixes>"
    "<EncodingType>url</EncodingType></ListBucketResult>";

static void test_a_page_gives_objects_and_where_it_goes_on(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct list_page *p = page_of(aws_page, &err);
    assert_non_null(p);
    assert_int_equal(list_page_count(p), 4);
    assert_true(list_page_truncated(p));
    assert_string_equal(list_page_token(p), "1/x+y==");
    struct s3_object o;
    list_page_get(p, 0, &o);
    assert_string_equal(o.key, "a/sp ace+plus%?");
    assert_string_equal(o.etag, "\"89e581d3665298ece3c8b8808fb9440b\"");
    assert_int_equal(o.size, 12);
    assert_int_equal(o.modified_ms, 1767323045000);
    assert_false(o.archived);
    list_page_get(p, 1, &o);
    assert_true(o.archived);
    assert_null(o.etag);
    list_page_get(p, 2, &o);
    assert_false(o.archived); /* restored */
    list_page_get(p, 3, &o);
    assert_true(o.folder);
    assert_string_equal(o.key, "a/\xe6\x97\xa5/");
    list_page_free(p);
}

static void test_any_split_of_the_bytes_gives_the_same_page(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct list_page *p = list_page_new(&err);
    for (size_t step = 1; step < 64; step += 7) {
        assert_int_equal(list_page_reset(p, &err), 0);
        for (size_t at = 0; at < sizeof aws_page - 1; at += step) {
            size_t left = sizeof aws_page - 1 - at;
            assert_int_equal(list_page_feed(p, aws_page + at, left < step ? left : step, &err), 0);
        }
        assert_int_equal(list_page_finish(p, &err), 0);
        assert_int_equal(list_page_count(p), 4);
        struct s3_object o;
        list_page_get(p, 0, &o);
        assert_string_equal(o.key, "a/sp ace+plus%?");
    }
    list_page_free(p);
}

static void test_keys_that_are_not_encoded_stay_as_they_are(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct list_page *p = page_of("<s3:ListBucketResult xmlns:s3=\"u\"><s3:Contents><s3:Key>a+b%20&amp;c</s3:Key>"
                                  "<s3:Size>0</s3:Size></s3:Contents><s3:NextMarker>a+b</s3:NextMarker>"
                                  "</s3:ListBucketResult>",
                                  &err);
    assert_non_null(p);
    struct s3_object o;
    list_page_get(p, 0, &o);
    assert_string_equal(o.key, "a+b%20&c");
    assert_false(list_page_truncated(p));
    assert_null(list_page_token(p));
    assert_string_equal(list_page_marker(p), "a+b");
    list_page_free(p);
}

static void test_the_last_key_is_the_marker_where_none_is_stated(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct list_page *p =
        page_of("<ListBucketResult><IsTruncated>true</IsTruncated><Contents><Key>a</Key><Size>0</Size></Contents>"
                "<Contents><Key>c</Key><Size>0</Size></Contents><CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes>"
                "</ListBucketResult>",
                &err);
    assert_non_null(p);
    assert_string_equal(list_page_marker(p), "c");
    list_page_free(p);
}

static void test_hostile_and_foreign_answers_are_refused(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"<!DOCTYPE x [<!ENTITY a \"b\">]><ListBucketResult/>", "document type"},
        {"<!DOCTYPE html><html></html>", "document type"},
        {"<html><body/></html>", "html, not a ListBucketResult"},
        {"<ListAllMyBucketsResult/>", "not a ListBucketResult"},
        {"<Error><Code>x</Code></Error>", "not a ListBucketResult"},
        {"<ListBucketResult>", "malformed"},
        {"", "malformed"},
        {"{\"not\": \"xml\"}", "malformed"},
        {"<ListBucketResult>&undefined;</ListBucketResult>", "malformed"},
        {"<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>", "without a key"},
        {"<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>", "no size for 'a'"},
        {"<ListBucketResult><Contents><Key>a</Key><Key>b</Key></Contents></ListBucketResult>", "two keys"},
        {"<ListBucketResult><Contents><Key>a</Key><Size>-1</Size></Contents></ListBucketResult>", "size of '-1'"},
        {"<ListBucketResult><Contents><Key>a</Key><Size>99999999999999999999</Size></Contents></ListBucketResult>",
         "size of"},
        {"<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>a%00b</Key><Size>1</Size></Contents>"
         "</ListBucketResult>",
         "badly encoded"},
        {"<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>a%4</Key><Size>1</Size></Contents>"
         "</ListBucketResult>",
         "badly encoded"},
        {"<ListBucketResult><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a>", "deeper"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = ERR_INIT;
        assert_null(page_of(rows[i][0], &err));
        if (err.kind != ERR_PROTOCOL || !strstr(err.text, rows[i][1]))
            fail_msg("row %zu: [%s] %s", i, err_kind_name(err.kind), err.text);
    }
}

static void test_a_page_without_end_is_cut_off(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct list_page *p = list_page_new(&err);
    char filler[65536]; /* of comments: neither text nor objects, which have bounds of their own */
    memset(filler, ' ', sizeof filler);
    memcpy(filler, "<!--", 4);
    memcpy(filler + sizeof filler - 3, "-->", 3);
    assert_int_equal(list_page_feed(p, "<ListBucketResult>", 18, &err), 0);
    size_t fed = 0;
    while (list_page_feed(p, filler, sizeof filler, &err) == 0)
        assert_true((fed += sizeof filler) <= LIST_PAGE_BYTES_MAX);
    assert_int_equal(err.kind, ERR_PROTOCOL);
    list_page_free(p);
}

static void test_a_page_of_too_many_objects_is_refused(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct list_page *p = list_page_new(&err);
    static const char one[] = "<Contents><Key>k</Key><Size>0</Size></Contents>";
    assert_int_equal(list_page_feed(p, "<ListBucketResult>", 18, &err), 0);
    size_t n = 0;
    while (list_page_feed(p, one, sizeof one - 1, &err) == 0)
        n++;
    assert_int_equal(n, LIST_PAGE_OBJECTS_MAX);
    assert_int_equal(err.kind, ERR_PROTOCOL);
    list_page_free(p);
}

static void test_an_unfinished_page_hands_out_nothing(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct list_page *p = list_page_new(&err);
    assert_int_equal(list_page_feed(p, aws_page, 700, &err), 0);
    assert_int_equal(list_page_count(p), 0);
    assert_int_equal(list_page_finish(p, &err), -1);
    assert_int_equal(list_page_count(p), 0);
    list_page_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_page_gives_objects_and_where_it_goes_on),
        cmocka_unit_test(test_any_split_of_the_bytes_gives_the_same_page),
        cmocka_unit_test(test_keys_that_are_not_encoded_stay_as_they_are),
        cmocka_unit_test(test_the_last_key_is_the_marker_where_none_is_stated),
        cmocka_unit_test(test_hostile_and_foreign_answers_are_refused),
        cmocka_unit_test(test_a_page_without_end_is_cut_off),
        cmocka_unit_test(test_a_page_of_too_many_objects_is_refused),
        cmocka_unit_test(test_an_unfinished_page_hands_out_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
