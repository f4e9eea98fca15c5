#include "fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define LIST(query)      "list-type=2&encoding-type=url&max-keys=1000&prefix=" query
#define PROBE(query)     "list-type=2&encoding-type=url&max-keys=1&prefix=" query
#define PAGE(content)    "<ListBucketResult>" content "</ListBucketResult>"
#define OBJECT(key, n)   "<Contents><Key>" key "</Key><Size>" n "</Size><ETag>&quot;e-" key "&quot;</ETag></Contents>"
#define FOLDER(key)      "<CommonPrefixes><Prefix>" key "</Prefix></CommonPrefixes>"
#define MORE(token)      "<IsTruncated>true</IsTruncated><NextContinuationToken>" token "</NextContinuationToken>"
#define ERROR_BODY(code) "<Error><Code>" code "</Code></Error>"
#define GATE             "https://gate.example/bkt"
#define HEADERS          "content-length: 7\netag: \"e\"\n"
#define END                                                                                                            \
    {                                                                                                                  \
        NULL, 0, NULL, NULL                                                                                            \
    }

struct run {
    struct creds *creds;
    struct s3 *s3;
    struct s3_resolution *r;
    struct err err;
};

static int run_with(struct run *x, const struct source_s3 *src, const struct s3_opts *opts,
                    const struct fake_answer *script)
{
    const struct s3_resolve_opts how = {0};
    *x = (struct run){.creds = fake_creds("AKID", "secret")};
    fake_play(script);
    if (s3_open(&x->s3, src, x->creds, opts, &x->err) < 0)
        return -1;
    return s3_resolve(x->s3, src, &how, &x->r, &x->err);
}

static int run(struct run *x, const struct source_s3 *src, const struct fake_answer *script)
{
    const struct s3_opts opts = {0};
    return run_with(x, src, &opts, script);
}

static void finish(struct run *x)
{
    assert_true(fake_played_out());
    s3_resolution_free(x->r);
    s3_free(x->s3);
    creds_free(x->creds);
}

/* "path=size path=size" */
static void expect_objects(struct run *x, const char *expected)
{
    char text[1024] = "";
    size_t used = 0;
    for (size_t i = 0; i < x->r->object_count; i++) {
        struct s3_object o;
        s3_resolution_get(x->r, i, &o);
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s=%llu", i ? " " : "", o.path,
                                 (unsigned long long)o.size);
    }
    assert_string_equal(text, expected);
}

static void expect_failure(struct run *x, int rc, enum err_kind kind, const char *text, const char *hint)
{
    assert_int_equal(rc, -1);
    if (x->err.kind != kind || !strstr(x->err.text, text) || !strstr(x->err.hint, hint))
        fail_msg("[%s] %s | %s", err_kind_name(x->err.kind), x->err.text, x->err.hint);
    finish(x);
}

static struct source_s3 at(const char *key)
{
    return (struct source_s3){.bucket = "bkt", .key = key, .endpoint = "https://gate.example"};
}

/* ---- what keys mean ---- */

static void test_a_prefix_is_listed_page_by_page(void **state)
{
    (void)state;
    const struct source_s3 src = at("a/");
    const struct fake_answer script[] = {
        {"GET " GATE "?" LIST("a%2F"), 200, NULL, PAGE(MORE("t+1") OBJECT("a/", "0") OBJECT("a/b", "1"))},
        {"GET " GATE "?" LIST("a%2F") "&continuation-token=t%2B1", 200, NULL,
         PAGE(OBJECT("a/c/", "0") OBJECT("a/c/d", "2"))},
        END};
    struct run x;
    assert_int_equal(run(&x, &src, script), 0);
    expect_objects(&x, "b=1 c/d=2");
    assert_int_equal(x.r->folder_count, 1);
    assert_string_equal(x.r->folders[0], "c");
    assert_int_equal(x.r->total_bytes, 3);
    assert_false(x.r->single);
    assert_string_equal(x.r->endpoint, "https://gate.example");
    assert_string_equal(x.r->bucket, "bkt");
    assert_string_equal(x.r->region, "us-east-1");
    assert_non_null(strstr(fake_headers(), "Authorization: AWS4-HMAC-SHA256 Credential=AKID/"));
    finish(&x);
}

static void test_an_exact_key_is_that_object_or_nothing(void **state)
{
    (void)state;
    struct source_s3 src = at("a/test");
    src.exact_key = true;
    const struct fake_answer there[] = {{"HEAD " GATE "/a/test", 200, HEADERS, NULL}, END};
    struct run x;
    assert_int_equal(run(&x, &src, there), 0);
    expect_objects(&x, "test=7");
    assert_true(x.r->single);
    finish(&x);

    const struct fake_answer missing[] = {
        {"HEAD " GATE "/a/test", 404, NULL, NULL},
        {"GET " GATE "/a/test", 404, NULL, ERROR_BODY("NoSuchKey")},
        {"GET " GATE "?" LIST("a%2F") "&delimiter=%2F", 200, NULL, PAGE(OBJECT("a/tests", "1") OBJECT("a/zzz", "1"))},
        END};
    expect_failure(&x, run(&x, &src, missing), ERR_NOTFOUND, "s3://bkt/a/test: no such object", "'a/tests'");
}

static void test_a_folder_of_the_name_is_hinted_at(void **state)
{
    (void)state;
    struct source_s3 src = at("data");
    src.exact_key = true;
    const struct fake_answer script[] = {{"HEAD " GATE "/data", 404, NULL, NULL},
                                         {"GET " GATE "/data", 404, NULL, ERROR_BODY("NoSuchKey")},
                                         {"GET " GATE "?" LIST("") "&delimiter=%2F", 200, NULL, PAGE(FOLDER("data/"))},
                                         END};
    struct run x;
    expect_failure(&x, run(&x, &src, script), ERR_NOTFOUND, "data", "'data/' is a folder");
}

static void test_a_name_without_slash_is_a_folder_else_an_object(void **state)
{
    (void)state;
    const struct source_s3 src = at("test");
    const struct fake_answer folder[] = {{"GET " GATE "?" LIST("test%2F"), 200, NULL, PAGE(OBJECT("test/a", "1"))},
                                         END};
    struct run x;
    assert_int_equal(run(&x, &src, folder), 0);
    expect_objects(&x, "a=1");
    finish(&x);

    const struct fake_answer object[] = {
        {"GET " GATE "?" LIST("test%2F"), 200, NULL, PAGE("")}, {"HEAD " GATE "/test", 200, HEADERS, NULL}, END};
    assert_int_equal(run(&x, &src, object), 0);
    expect_objects(&x, "test=7");
    assert_true(x.r->single);
    finish(&x);

    const struct fake_answer neither[] = {
        {"GET " GATE "?" LIST("test%2F"), 200, NULL, PAGE("")},
        {"HEAD " GATE "/test", 404, NULL, NULL},
        {"GET " GATE "/test", 404, NULL, ERROR_BODY("NoSuchKey")},
        {"GET " GATE "?" LIST("") "&delimiter=%2F", 200, NULL, PAGE(FOLDER("tests/"))},
        END};
    expect_failure(&x, run(&x, &src, neither), ERR_NOTFOUND, "no such object, and no key starts with 'test/'",
                   "'tests/'");
}

static void test_an_object_may_be_read_where_listing_is_denied(void **state)
{
    (void)state;
    const struct source_s3 src = at("test");
    const struct fake_answer script[] = {{"GET " GATE "?" LIST("test%2F"), 403, NULL, ERROR_BODY("AccessDenied")},
                                         {"HEAD " GATE "/test", 200, HEADERS, NULL},
                                         END};
    struct run x;
    assert_int_equal(run(&x, &src, script), 0);
    expect_objects(&x, "test=7");
    assert_int_equal(x.r->warning_count, 1);
    finish(&x);

    const struct fake_answer denied[] = {{"GET " GATE "?" LIST("test%2F"), 403, NULL, ERROR_BODY("AccessDenied")},
                                         {"HEAD " GATE "/test", 403, NULL, NULL},
                                         {"GET " GATE "/test", 403, NULL, ERROR_BODY("AccessDenied")},
                                         END};
    expect_failure(&x, run(&x, &src, denied), ERR_DENIED,
                   "s3:ListBucket is not allowed with credentials: the job's own", "files");
}

static void test_named_files_are_looked_at_and_never_listed(void **state)
{
    (void)state;
    const char *names[] = {"z", NULL};
    struct source_s3 src = at("a");
    src.files = (struct job_strs){names, 1};
    const struct fake_answer script[] = {{"HEAD " GATE "/a/z", 200, HEADERS, NULL}, END};
    struct run x;
    assert_int_equal(run(&x, &src, script), 0);
    expect_objects(&x, "z=7");
    struct s3_object o;
    s3_resolution_get(x.r, 0, &o);
    assert_true(o.looked);
    assert_string_equal(o.key, "a/z");
    finish(&x);
}

static void test_nothing_there_names_near_misses(void **state)
{
    (void)state;
    const struct source_s3 src = at("datset/train/");
    const struct fake_answer script[] = {
        {"GET " GATE "?" LIST("datset%2Ftrain%2F"), 200, NULL, PAGE("")},
        {"GET " GATE "?" LIST("datset%2F") "&delimiter=%2F", 200, NULL, PAGE("")},
        {"GET " GATE "?" LIST("") "&delimiter=%2F", 200, NULL, PAGE(FOLDER("dataset/") FOLDER("other/"))},
        END};
    struct run x;
    expect_failure(&x, run(&x, &src, script), ERR_NOTFOUND, "no key starts with 'datset/train/'", "'dataset/'");
}

static void test_filter_and_stated_checksum(void **state)
{
    (void)state;
    struct source_s3 src = at("a/");
    src.filter = "^x.*[0-9]$";
    const struct fake_answer script[] = {
        {"GET ", 200, NULL, PAGE(OBJECT("a/../x", "1") OBJECT("a/x1", "1") OBJECT("a/x1y", "1") OBJECT("a/yx1", "1"))},
        END};
    struct run x;
    assert_int_equal(run(&x, &src, script), 0); /* what may not become a path is filtered out */
    expect_objects(&x, "x1=1");
    finish(&x);

    src.filter = "nothing";
    const struct fake_answer all[] = {{"GET ", 200, NULL, PAGE(OBJECT("a/x", "1"))}, END};
    assert_int_equal(run(&x, &src, all), 0);
    expect_objects(&x, "");
    assert_int_equal(x.r->warning_count, 1);
    finish(&x);

    src = at("a/x");
    src.exact_key = true;
    src.checksum_sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    src.version_id = "v+1";
    const struct fake_answer one[] = {{"HEAD " GATE "/a/x?versionId=v%2B1", 200, HEADERS, NULL}, END};
    assert_int_equal(run(&x, &src, one), 0);
    struct s3_object o;
    s3_resolution_get(x.r, 0, &o);
    assert_true(o.want.has_full);
    assert_int_equal(o.want.full.kind, DIGEST_SHA256);
    assert_string_equal(o.version_id, "v+1");
    finish(&x);
}

static void test_keys_that_may_not_become_paths_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *page, *text;
    } rows[] = {
        {PAGE(OBJECT("a/../x", "1")), "s3://bkt/a/../x"},
        {PAGE(OBJECT("a//b", "1")), "a//b"},
        {PAGE(OBJECT("a/x&#10;y/../z", "1")), "a/x?y/../z"},
        {PAGE(OBJECT("a/b/./c", "1")), "a/b/./c"},
        {PAGE(OBJECT("a/x", "1") OBJECT("a/x/y", "1")), "'x' is an object"},
        {PAGE(OBJECT("a/x", "1") OBJECT("a/x/", "0")), "'x' is an object"},
        {PAGE(OBJECT("a/x", "1") OBJECT("a/x", "1")), "twice"},
        {PAGE(OBJECT("a/d/", "3")), "can't have content"},
        {PAGE(OBJECT("a/", "3")), "can't have content"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct source_s3 src = at("a/");
        const struct fake_answer script[] = {{"GET ", 200, NULL, rows[i].page}, END};
        struct run x;
        expect_failure(&x, run(&x, &src, script), ERR_REFUSED, rows[i].text, "");
    }
}

static void test_archived_objects_are_refused_unless_restored(void **state)
{
    (void)state;
    const struct source_s3 src = at("a/");
    static const char page[] =
        PAGE("<Contents><Key>a/x</Key><Size>1</Size><StorageClass>GLACIER</StorageClass></Contents>");
    const struct fake_answer cold[] = {
        {"GET ", 200, NULL, page}, {"HEAD " GATE "/a/x", 200, HEADERS "x-amz-storage-class: GLACIER\n", NULL}, END};
    struct run x;
    expect_failure(&x, run(&x, &src, cold), ERR_UNSUPPORTED, "s3://bkt/a/x: the object is archived in Glacier",
                   "restore");
    const struct fake_answer restored[] = {
        {"GET ", 200, NULL, page},
        {"HEAD " GATE "/a/x", 200,
         HEADERS "x-amz-storage-class: GLACIER\nx-amz-restore: ongoing-request=\"false\", expiry-date=\"x\"\n", NULL},
        END};
    assert_int_equal(run(&x, &src, restored), 0);
    expect_objects(&x, "x=1");
    finish(&x);
}

/* ---- listings ---- */

static void test_repeated_tokens_end_a_listing_with_an_error(void **state)
{
    (void)state;
    const struct source_s3 src = at("a/");
    struct fake_answer script[16] = {{0}};
    for (size_t i = 0; i + 1 < ARRAY_LEN(script); i++)
        script[i] = (struct fake_answer){"GET ", 200, NULL, i % 3 ? PAGE(MORE("x")) : PAGE(MORE("y"))};
    struct run x;
    assert_int_equal(run(&x, &src, script), -1);
    assert_int_equal(x.err.kind, ERR_PROTOCOL);
    assert_non_null(strstr(x.err.text, "repeats a continuation token"));
    assert_false(fake_played_out());
    s3_free(x.s3);
    creds_free(x.creds);
}

static void test_servers_without_tokens_go_on_after_the_last_key(void **state)
{
    (void)state;
    const struct source_s3 src = at("a/");
    const struct fake_answer script[] = {
        {"GET " GATE "?" LIST("a%2F"), 200, NULL, PAGE("<IsTruncated>true</IsTruncated>" OBJECT("a/b", "1"))},
        {"GET " GATE "?" LIST("a%2F") "&start-after=a%2Fb&marker=a%2Fb", 200, NULL, PAGE(OBJECT("a/c", "1"))},
        END};
    struct run x;
    assert_int_equal(run(&x, &src, script), 0);
    expect_objects(&x, "b=1 c=1");
    finish(&x);
}

static void test_a_page_that_breaks_off_is_asked_for_again(void **state)
{
    (void)state;
    const struct source_s3 src = at("a/");
    const struct fake_answer script[] = {{"GET ", 0, NULL, "<ListBucketResult><Contents><Key>a/b</Key>"},
                                         {"GET ", 200, NULL, PAGE(OBJECT("a/c", "1"))},
                                         END};
    struct run x;
    assert_int_equal(run(&x, &src, script), 0);
    expect_objects(&x, "c=1");
    finish(&x);
}

static void test_keys_outside_the_prefix_are_a_broken_answer(void **state)
{
    (void)state;
    const struct source_s3 src = at("a/");
    const struct fake_answer script[] = {{"GET ", 200, NULL, PAGE(OBJECT("b", "1"))}, END};
    struct run x;
    expect_failure(&x, run(&x, &src, script), ERR_PROTOCOL, "listing of prefix 'a/' holds 'b'", "");
}

/* ---- places and cures ---- */

static void test_a_guessed_place_is_found_in_order(void **state)
{
    (void)state;
    const struct source_s3 src = {.url = "https://models.example/m/x"};
    const struct fake_answer script[] = {
        {"GET https://models.example/?" PROBE("m%2Fx"), 200, NULL, "<ListAllMyBucketsResult/>"},
        {"GET https://models.example/m?" PROBE("x"), 200, NULL, PAGE("")},
        {"GET https://models.example/m?" LIST("x%2F"), 200, NULL, PAGE(OBJECT("x/y", "1"))},
        {"GET https://models.example/m?" LIST("x%2F"), 200, NULL, PAGE(OBJECT("x/y", "1"))},
        END};
    struct err err = ERR_INIT;
    struct s3_memory *memory = s3_memory_new(&err);
    const struct s3_opts opts = {.memory = memory};
    struct run x, again;
    assert_int_equal(run_with(&x, &src, &opts, script), 0);
    expect_objects(&x, "y=1");
    assert_string_equal(x.r->bucket, "m");
    assert_int_equal(run_with(&again, &src, &opts, &script[3]), 0); /* remembered: no probes */
    expect_objects(&again, "y=1");
    finish(&again);
    finish(&x);
    s3_memory_free(memory);
}

static void test_a_url_that_is_no_bucket_is_one_object(void **state)
{
    (void)state;
    const struct source_s3 src = {.url = "https://web.example/m/x"};
    const struct fake_answer script[] = {{"GET https://web.example/?", 200, NULL, "<!DOCTYPE html><html>"},
                                         {"GET https://web.example/m?", 404, NULL, "no"},
                                         {"HEAD https://web.example/m/x", 200, HEADERS, NULL},
                                         {"HEAD https://web.example/m/x", 200, HEADERS, NULL},
                                         END};
    struct run x;
    assert_int_equal(run(&x, &src, script), 0);
    expect_objects(&x, "x=7");
    assert_string_equal(fake_headers(), "");
    finish(&x);
}

static void test_all_guesses_are_told_with_their_answers(void **state)
{
    (void)state;
    const struct source_s3 src = {.url = "https://web.example:8443/m/x"};
    const struct fake_answer script[] = {{"GET https://web.example:8443/?", 200, NULL, "hello"},
                                         {"GET https://web.example:8443/m?", 404, NULL, ERROR_BODY("NoSuchBucket")},
                                         {"HEAD https://web.example:8443/m/x", 404, NULL, NULL},
                                         {"GET https://web.example:8443/m/x", 404, NULL, NULL},
                                         END};
    struct run x;
    expect_failure(&x, run(&x, &src, script), ERR_NOTFOUND,
                   "https://web.example:8443/m/x: no S3 bucket and no object found here; tried the host as the bucket: "
                   "an answer that is no listing; 'm' as the bucket: HTTP 404 NoSuchBucket; the URL as one object: "
                   "HTTP 404",
                   "bucket");
}

static void test_region_is_learned_and_remembered(void **state)
{
    (void)state;
    const struct source_s3 src = {.bucket = "bkt", .key = "a/"};
    const struct fake_answer script[] = {
        {"GET https://bkt.s3.us-east-1.amazonaws.com/?", 301, "x-amz-bucket-region: eu-west-1\n", NULL},
        {"GET https://bkt.s3.eu-west-1.amazonaws.com/?", 200, NULL, PAGE(OBJECT("a/b", "1"))},
        {"GET https://bkt.s3.eu-west-1.amazonaws.com/?", 200, NULL, PAGE(OBJECT("a/b", "1"))},
        END};
    struct err err = ERR_INIT;
    struct s3_memory *memory = s3_memory_new(&err);
    const struct s3_opts opts = {.memory = memory};
    struct run x, again;
    assert_int_equal(run_with(&x, &src, &opts, script), 0);
    assert_string_equal(x.r->region, "eu-west-1");
    assert_non_null(strstr(fake_headers(), "/eu-west-1/s3/aws4_request"));
    assert_int_equal(run_with(&again, &src, &opts, &script[2]), 0);
    finish(&again);
    finish(&x);
    s3_memory_free(memory);
}

static void test_a_region_is_corrected_once_only(void **state)
{
    (void)state;
    const struct source_s3 src = {.bucket = "bkt", .key = "a/"};
    const struct fake_answer script[] = {
        {"GET https://bkt.s3.us-east-1.", 301, "x-amz-bucket-region: eu-west-1\n", NULL},
        {"GET https://bkt.s3.eu-west-1.", 301, "x-amz-bucket-region: us-west-2\n", NULL},
        END};
    struct run x;
    expect_failure(&x, run(&x, &src, script), ERR_INVALID, "another endpoint", "us-west-2");
}

static void test_clock_and_keys_are_cured(void **state)
{
    (void)state;
    const struct source_s3 src = at("a/");
    const struct fake_answer skewed[] = {
        {"GET ", 403, "date: Fri, 01 Jan 2100 12:00:00 GMT\n", ERROR_BODY("RequestTimeTooSkewed")},
        {"GET ", 200, NULL, PAGE(OBJECT("a/b", "1"))},
        END};
    struct run x;
    assert_int_equal(run(&x, &src, skewed), 0);
    assert_non_null(strstr(fake_headers(), "x-amz-date: 21000101T12"));
    finish(&x);

    const struct fake_answer expired[] = {
        {"GET ", 400, NULL, ERROR_BODY("ExpiredToken")}, {"GET ", 400, NULL, ERROR_BODY("ExpiredToken")}, END};
    expect_failure(&x, run(&x, &src, expired), ERR_DENIED, "expired", "new ones");
}

static void test_mirrored_requests_go_to_the_mirror(void **state)
{
    (void)state;
    const struct source_s3 src = {.url = "https://models.example/test"};
    const struct s3_opts opts = {.mirrors =
                                     (const char *const[]){"https://models.example=http://127.0.0.1:9000/pub", NULL}};
    const struct fake_answer script[] = {
        {"GET http://127.0.0.1:9000/pub?" PROBE("test"), 200, NULL, PAGE("")},
        {"GET http://127.0.0.1:9000/pub?" LIST("test%2F"), 200, NULL, PAGE(OBJECT("test/a", "1"))},
        END};
    struct run x;
    AUTO_BUF location;
    buf_init(&location, 4096);
    assert_int_equal(run_with(&x, &src, &opts, script), 0);
    s3_location(x.s3, "test/a", &location);
    assert_string_equal(buf_str(&location), "http://127.0.0.1:9000/pub/test/a");
    assert_string_equal(x.r->endpoint, "https://models.example");
    assert_int_equal(x.r->warning_count, 0);
    finish(&x);
}

static void test_plain_http_is_warned_of(void **state)
{
    (void)state;
    struct source_s3 src = at("a/");
    src.endpoint = "http://gate.example";
    const struct fake_answer script[] = {{"GET http://gate.example/bkt?", 200, NULL, PAGE(OBJECT("a/b", "1"))}, END};
    struct run x;
    assert_int_equal(run(&x, &src, script), 0);
    assert_int_equal(x.r->warning_count, 1);
    assert_non_null(strstr(x.r->warnings[0], "plain http"));
    finish(&x);
}

static void test_a_gateway_without_head_is_asked_for_a_byte(void **state)
{
    (void)state;
    struct source_s3 src = at("a/x");
    src.exact_key = true;
    const struct fake_answer script[] = {
        {"HEAD " GATE "/a/x", 405, NULL, NULL},
        {"GET " GATE "/a/x", 206, "content-range: bytes 0-0/123\ncontent-length: 1\netag: \"e\"\n", "b"},
        END};
    struct run x;
    assert_int_equal(run(&x, &src, script), 0);
    expect_objects(&x, "x=123");
    assert_non_null(strstr(fake_headers(), "Range: bytes=0-0"));
    finish(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_prefix_is_listed_page_by_page),
        cmocka_unit_test(test_an_exact_key_is_that_object_or_nothing),
        cmocka_unit_test(test_a_folder_of_the_name_is_hinted_at),
        cmocka_unit_test(test_a_name_without_slash_is_a_folder_else_an_object),
        cmocka_unit_test(test_an_object_may_be_read_where_listing_is_denied),
        cmocka_unit_test(test_named_files_are_looked_at_and_never_listed),
        cmocka_unit_test(test_nothing_there_names_near_misses),
        cmocka_unit_test(test_filter_and_stated_checksum),
        cmocka_unit_test(test_keys_that_may_not_become_paths_are_refused),
        cmocka_unit_test(test_archived_objects_are_refused_unless_restored),
        cmocka_unit_test(test_repeated_tokens_end_a_listing_with_an_error),
        cmocka_unit_test(test_servers_without_tokens_go_on_after_the_last_key),
        cmocka_unit_test(test_a_page_that_breaks_off_is_asked_for_again),
        cmocka_unit_test(test_keys_outside_the_prefix_are_a_broken_answer),
        cmocka_unit_test(test_a_guessed_place_is_found_in_order),
        cmocka_unit_test(test_a_url_that_is_no_bucket_is_one_object),
        cmocka_unit_test(test_all_guesses_are_told_with_their_answers),
        cmocka_unit_test(test_region_is_learned_and_remembered),
        cmocka_unit_test(test_a_region_is_corrected_once_only),
        cmocka_unit_test(test_clock_and_keys_are_cured),
        cmocka_unit_test(test_mirrored_requests_go_to_the_mirror),
        cmocka_unit_test(test_plain_http_is_warned_of),
        cmocka_unit_test(test_a_gateway_without_head_is_asked_for_a_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
