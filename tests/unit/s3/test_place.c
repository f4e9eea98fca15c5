#include "s3/mirror.h"
#include "s3/place.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define MAX_TEXT 4096

/* ---- hosts ---- */

struct host_row {
    const char *host;
    enum s3_service service;
    const char *endpoint, *bucket, *region;
};

static const struct host_row hosts[] = {
    {"s3.amazonaws.com", S3_SERVICE_AWS, "s3.amazonaws.com", "", ""},
    {"b.s3.amazonaws.com", S3_SERVICE_AWS, "s3.amazonaws.com", "b", ""},
    {"my.dotted.bucket.s3.amazonaws.com", S3_SERVICE_AWS, "s3.amazonaws.com", "my.dotted.bucket", ""},
    {"s3.eu-west-1.amazonaws.com", S3_SERVICE_AWS, "s3.eu-west-1.amazonaws.com", "", "eu-west-1"},
    {"b.s3.eu-west-1.amazonaws.com", S3_SERVICE_AWS, "s3.eu-west-1.amazonaws.com", "b", "eu-west-1"},
    {"s3-us-west-2.amazonaws.com", S3_SERVICE_AWS, "s3-us-west-2.amazonaws.com", "", "us-west-2"},
    {"b.s3-us-west-2.amazonaws.com", S3_SERVICE_AWS, "s3-us-west-2.amazonaws.com", "b", "us-west-2"},
    {"s3.dualstack.us-east-2.amazonaws.com", S3_SERVICE_AWS, "s3.dualstack.us-east-2.amazonaws.com", "", "us-east-2"},
    {"b.s3.dualstack.us-east-2.amazonaws.com", S3_SERVICE_AWS, "s3.dualstack.us-east-2.amazonaws.com", "b",
     "us-east-2"},
    {"b.s3-fips.us-gov-west-1.amazonaws.com", S3_SERVICE_AWS, "s3-fips.us-gov-west-1.amazonaws.com", "b",
     "us-gov-west-1"},
    {"s3-fips-us-gov-west-1.amazonaws.com", S3_SERVICE_AWS, "s3-fips-us-gov-west-1.amazonaws.com", "", "us-gov-west-1"},
    {"b.s3.cn-north-1.amazonaws.com.cn", S3_SERVICE_AWS, "s3.cn-north-1.amazonaws.com.cn", "b", "cn-north-1"},
    {"s3-external-1.amazonaws.com", S3_SERVICE_AWS, "s3-external-1.amazonaws.com", "", "us-east-1"},
    {"b.s3-accelerate.amazonaws.com", S3_SERVICE_AWS, "s3-accelerate.amazonaws.com", "b", ""},
    {"bucket.vpce-1a2b-5e6f.s3.us-east-1.vpce.amazonaws.com", S3_SERVICE_AWS,
     "bucket.vpce-1a2b-5e6f.s3.us-east-1.vpce.amazonaws.com", "", "us-east-1"},
    {"storage.googleapis.com", S3_SERVICE_GOOGLE, "storage.googleapis.com", "", "auto"},
    {"b.storage.googleapis.com", S3_SERVICE_GOOGLE, "storage.googleapis.com", "b", "auto"},
    {"acct.r2.cloudflarestorage.com", S3_SERVICE_R2, "acct.r2.cloudflarestorage.com", "", "auto"},
    {"b.acct.r2.cloudflarestorage.com", S3_SERVICE_R2, "acct.r2.cloudflarestorage.com", "b", "auto"},
    {"acct.eu.r2.cloudflarestorage.com", S3_SERVICE_R2, "acct.eu.r2.cloudflarestorage.com", "", "auto"},
    {"b.acct.eu.r2.cloudflarestorage.com", S3_SERVICE_R2, "acct.eu.r2.cloudflarestorage.com", "b", "auto"},
    {"nyc3.digitaloceanspaces.com", S3_SERVICE_SPACES, "nyc3.digitaloceanspaces.com", "", "nyc3"},
    {"b.nyc3.digitaloceanspaces.com", S3_SERVICE_SPACES, "nyc3.digitaloceanspaces.com", "b", "nyc3"},
    {"b.nyc3.cdn.digitaloceanspaces.com", S3_SERVICE_OTHER, "b.nyc3.cdn.digitaloceanspaces.com", "", ""},
    {"s3.us-west-004.backblazeb2.com", S3_SERVICE_B2, "s3.us-west-004.backblazeb2.com", "", "us-west-004"},
    {"b.s3.us-west-004.backblazeb2.com", S3_SERVICE_B2, "s3.us-west-004.backblazeb2.com", "b", "us-west-004"},
    {"f000.backblazeb2.com", S3_SERVICE_OTHER, "f000.backblazeb2.com", "", ""},
    {"s3.wasabisys.com", S3_SERVICE_WASABI, "s3.wasabisys.com", "", "us-east-1"},
    {"b.s3.eu-central-1.wasabisys.com", S3_SERVICE_WASABI, "s3.eu-central-1.wasabisys.com", "b", "eu-central-1"},
    {"pub-5bc58981af9f42659ff8ada57bfea92c.r2.dev", S3_SERVICE_OTHER, "pub-5bc58981af9f42659ff8ada57bfea92c.r2.dev", "",
     ""},
    {"amazonaws.com", S3_SERVICE_OTHER, "amazonaws.com", "", ""},
    {"ec2.us-east-1.amazonaws.com", S3_SERVICE_OTHER, "ec2.us-east-1.amazonaws.com", "", ""},
    {"s3.eu-west-1.amazonaws.com.evil.example", S3_SERVICE_OTHER, "s3.eu-west-1.amazonaws.com.evil.example", "", ""},
    {"evils3.amazonaws.com", S3_SERVICE_OTHER, "evils3.amazonaws.com", "", ""},
    {"127.0.0.1", S3_SERVICE_OTHER, "127.0.0.1", "", ""},
};

static void test_known_hosts_tell_service_bucket_and_region(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        const struct host_row *row = &hosts[i];
        struct s3_host h;
        struct err err = ERR_INIT;
        print_message("%s\n", row->host);
        assert_int_equal(s3_host_read(row->host, &h, &err), 0);
        assert_int_equal(h.service, row->service);
        assert_true(span_eq(h.endpoint, span_of(row->endpoint)));
        assert_true(span_eq(h.bucket, span_of(row->bucket)));
        assert_string_equal(h.region, row->region);
    }
}

static void test_access_points_and_their_like_are_refused_by_name(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"ap-123456789012.s3-accesspoint.us-west-2.amazonaws.com", "access points"},
        {"ap-123456789012.s3-accesspoint.dualstack.us-west-2.amazonaws.com", "access points"},
        {"ap-123456789012.s3-accesspoint-fips.us-gov-east-1.amazonaws.com", "access points"},
        {"ap-123456789012.s3-accesspoint.cn-north-1.amazonaws.com.cn", "access points"},
        {"mfzwi23gnjvgw.mrap.accesspoint.s3-global.amazonaws.com", "multi-region access points"},
        {"lambda-123456789012.s3-object-lambda.us-west-2.amazonaws.com", "Object Lambda"},
        {"b--use1-az5--x-s3.s3express-use1-az5.us-east-1.amazonaws.com", "directory buckets"},
        {"ap-123.op-01ac5d28a6a232904.s3-outposts.us-west-2.amazonaws.com", "Outposts"},
        {"b.s3-website-us-east-1.amazonaws.com", "website"},
        {"b.s3-website.eu-central-1.amazonaws.com", "website"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct s3_host h;
        struct err err = ERR_INIT;
        assert_int_equal(s3_host_read(rows[i][0], &h, &err), -1);
        assert_int_equal(err.kind, ERR_UNSUPPORTED);
        assert_non_null(strstr(err.text, rows[i][1]));
        assert_non_null(strstr(err.text, rows[i][0]));
    }
}

/* ---- places ---- */

/* "PATH front bucket key | HOST front - key" */
static void describe(const struct s3_places *places, const char *region, char *out, size_t room)
{
    static const char *const styles[] = {"PATH", "VIRTUAL", "HOST", "PLAIN"};
    AUTO_BUF text;
    buf_init(&text, MAX_TEXT);
    for (size_t i = 0; i < places->n; i++) {
        const struct s3_place *p = &places->v[i];
        AUTO_BUF front;
        buf_init(&front, MAX_TEXT);
        place_front(p, region, &front);
        buf_addf(&text, "%s%s %s %s", i ? " | " : "", styles[p->style], buf_str(&front), p->key);
        if (p->version_id)
            buf_addf(&text, " v=%s", p->version_id);
    }
    snprintf(out, room, "%s", buf_str(&text));
}

struct place_row {
    struct source_s3 src;
    enum s3_addressing addressing;
    const char *endpoint; /* configured */
    const char *region;
    const char *expected;
};

static const char *one_file[] = {"f", NULL};

static const struct place_row place_rows[] = {
    /* rule 1 */
    {.src = {.url = "https://b.s3.eu-west-1.amazonaws.com/a/b.txt"},
     .region = "eu-west-1",
     .expected = "VIRTUAL https://b.s3.eu-west-1.amazonaws.com a/b.txt"},
    {.src = {.url = "https://s3.eu-west-1.amazonaws.com/bkt/a/b.txt"},
     .region = "eu-west-1",
     .expected = "PATH https://s3.eu-west-1.amazonaws.com/bkt a/b.txt"},
    {.src = {.url = "https://storage.googleapis.com/bkt/a/"},
     .region = "auto",
     .expected = "PATH https://storage.googleapis.com/bkt a/"},
    {.src = {.url = "https://acct.r2.cloudflarestorage.com/bkt"},
     .region = "auto",
     .expected = "PATH https://acct.r2.cloudflarestorage.com/bkt "},
    {.src = {.url = "https://b.nyc3.digitaloceanspaces.com/k%20ey+1%2B%3F"},
     .region = "nyc3",
     .expected = "VIRTUAL https://b.nyc3.digitaloceanspaces.com k ey+1+?"},
    {.src = {.url = "https://b.s3.eu-west-1.amazonaws.com/a?versionId=v%2F1"},
     .region = "eu-west-1",
     .expected = "VIRTUAL https://b.s3.eu-west-1.amazonaws.com a v=v/1"},
    /* a region other than the host's: Amazon's hosts follow it, others never */
    {.src = {.url = "https://b.s3.eu-west-1.amazonaws.com/a"},
     .region = "us-west-2",
     .expected = "VIRTUAL https://b.s3.us-west-2.amazonaws.com a"},
    {.src = {.url = "https://s3.amazonaws.com/bkt/a"},
     .region = "us-east-1",
     .expected = "PATH https://s3.amazonaws.com/bkt a"},
    {.src = {.url = "https://s3.amazonaws.com/bkt/a"},
     .region = "eu-west-3",
     .expected = "PATH https://s3.eu-west-3.amazonaws.com/bkt a"},
    {.src = {.url = "https://b.s3.dualstack.us-east-2.amazonaws.com/a"},
     .region = "eu-west-3",
     .expected = "VIRTUAL https://b.s3.dualstack.eu-west-3.amazonaws.com a"},
    {.src = {.url = "https://b.s3-accelerate.amazonaws.com/a"},
     .region = "eu-west-3",
     .expected = "VIRTUAL https://b.s3-accelerate.amazonaws.com a"},
    {.src = {.url = "https://b.nyc3.digitaloceanspaces.com/a"},
     .region = "ams3",
     .expected = "VIRTUAL https://b.nyc3.digitaloceanspaces.com a"},
    /* rule 2 */
    {.src = {.url = "https://ai.r2.cloudflarestorage.com/ai-model/entrypoint", .bucket = "ai-model"},
     .region = "auto",
     .expected = "PATH https://ai.r2.cloudflarestorage.com/ai-model entrypoint"},
    {.src = {.url = "https://minio.example:9000/models/x/", .bucket = "models"},
     .region = "us-east-1",
     .expected = "PATH https://minio.example:9000/models x/"},
    {.src = {.url = "https://minio.example:9000/modelsx/y", .bucket = "models"},
     .region = "us-east-1",
     .expected = "PATH https://minio.example:9000/models modelsx/y"},
    {.src = {.url = "https://models.minio.example/x/y", .bucket = "models"},
     .region = "us-east-1",
     .expected = "VIRTUAL https://models.minio.example x/y"},
    {.src = {.url = "https://minio.example/", .bucket = "models"},
     .region = "us-east-1",
     .expected = "PATH https://minio.example/models "},
    {.src = {.url = "https://b.s3.us-west-2.amazonaws.com/x", .bucket = "b"},
     .region = "us-west-2",
     .expected = "VIRTUAL https://b.s3.us-west-2.amazonaws.com x"},
    /* rule 3 */
    {.src = {.url = "https://models.example/test"},
     .region = "us-east-1",
     .expected = "HOST https://models.example test | PATH https://models.example/test  | PLAIN https://models.example "
                 "test"},
    {.src = {.url = "https://models.example/a/b/"},
     .region = "us-east-1",
     .expected = "HOST https://models.example a/b/ | PATH https://models.example/a b/"},
    {.src = {.url = "https://models.example/"}, .region = "us-east-1", .expected = "HOST https://models.example "},
    {.src = {.url = "https://pub-5.r2.dev/controlnets", .files = {one_file, 1}},
     .region = "us-east-1",
     .expected = "HOST https://pub-5.r2.dev controlnets | PATH https://pub-5.r2.dev/controlnets "},
    {.src = {.url = "http://127.0.0.1:9000/b/k"},
     .addressing = S3_ADDRESS_PATH,
     .region = "us-east-1",
     .expected = "PATH http://127.0.0.1:9000/b k | PLAIN http://127.0.0.1:9000 b/k"},
    {.src = {.url = "https://any.example/file?X-Amz-Signature=1"},
     .region = "us-east-1",
     .expected = "PLAIN https://any.example file"},
    /* rule 4 */
    {.src = {.bucket = "bkt", .key = "a/b"},
     .region = "eu-west-1",
     .expected = "VIRTUAL https://bkt.s3.eu-west-1.amazonaws.com a/b"},
    {.src = {.bucket = "dotted.bkt", .key = "a"},
     .region = "eu-west-1",
     .expected = "PATH https://s3.eu-west-1.amazonaws.com/dotted.bkt a"},
    {.src = {.bucket = "bkt", .key = "a"},
     .region = "cn-north-1",
     .expected = "VIRTUAL https://bkt.s3.cn-north-1.amazonaws.com.cn a"},
    {.src = {.bucket = "bkt", .key = "a?=%+", .endpoint = "http://127.0.0.1:9000/s3/"},
     .region = "us-east-1",
     .expected = "PATH http://127.0.0.1:9000/s3/bkt a?=%+"},
    {.src = {.bucket = "bkt", .key = "a"},
     .endpoint = "https://gateway.example",
     .region = "us-east-1",
     .expected = "PATH https://gateway.example/bkt a"},
    {.src = {.bucket = "bkt", .key = "a", .endpoint = "https://gateway.example"},
     .addressing = S3_ADDRESS_VIRTUAL,
     .region = "us-east-1",
     .expected = "VIRTUAL https://bkt.gateway.example a"},
    {.src = {.bucket = "bkt", .key = ""},
     .addressing = S3_ADDRESS_PATH,
     .region = "us-east-1",
     .expected = "PATH https://s3.us-east-1.amazonaws.com/bkt "},
    {.src = {.bucket = "tenant:bkt", .key = "a", .endpoint = "https://rgw.example"},
     .region = "us-east-1",
     .expected = "PATH https://rgw.example/tenant%3Abkt a"},
};

static int find(struct arena *a, const struct place_row *row, struct s3_places *out, struct err *err)
{
    const struct place_opts opts = {row->addressing, row->endpoint, row->region};
    return place_find(a, &row->src, &opts, out, err);
}

static void test_places_follow_the_four_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(place_rows); i++) {
        const struct place_row *row = &place_rows[i];
        struct err err = ERR_INIT;
        struct arena *a = arena_new(0, &err);
        struct s3_places places;
        char text[MAX_TEXT];
        if (find(a, row, &places, &err) < 0)
            fail_msg("row %zu: %s", i, err.text);
        describe(&places, row->region, text, sizeof text);
        assert_string_equal(text, row->expected);
        arena_free(a);
    }
}

static void test_what_names_no_bucket_is_an_error(void **state)
{
    (void)state;
    static const struct {
        struct source_s3 src;
        enum err_kind kind;
        const char *text;
    } rows[] = {
        {{.url = "https://s3.eu-west-1.amazonaws.com/"}, ERR_INVALID, "names no bucket"},
        {{.url = "https://b.s3.eu-west-1.amazonaws.com/x", .bucket = "other"}, ERR_INVALID, "'other'"},
        {{.bucket = "b", .key = "k", .endpoint = "https://c.s3.eu-west-1.amazonaws.com"}, ERR_INVALID, "'c'"},
        {{.bucket = "arn:aws:s3:us-west-2:123456789012:accesspoint/x", .key = "k"}, ERR_UNSUPPORTED, "access points"},
        {{.bucket = "b--use1-az5--x-s3", .key = "k"}, ERR_UNSUPPORTED, "directory buckets"},
        {{.bucket = "a/b", .key = "k"}, ERR_INVALID, "no bucket name"},
        {{.bucket = "..", .key = "k"}, ERR_INVALID, "no bucket name"},
        {{.key = "k"}, ERR_INVALID, "needs a url or a bucket"},
        {{.url = "ftp://host/x"}, ERR_UNSUPPORTED, "http"},
        {{.url = "https://u:p@host/x"}, ERR_REFUSED, "user name"},
        {{.url = "https://b.s3.eu-west-1.amazonaws.com/a%00b"}, ERR_REFUSED, "NUL"},
        {{.url = "https://h.example/a/?x=1", .files = {one_file, 1}}, ERR_INVALID, "query"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = ERR_INIT;
        struct arena *a = arena_new(0, &err);
        const struct place_opts opts = {.region = "us-east-1"};
        struct s3_places places;
        assert_int_equal(place_find(a, &rows[i].src, &opts, &places, &err), -1);
        if (err.kind != rows[i].kind || !strstr(err.text, rows[i].text))
            fail_msg("row %zu: [%s] %s", i, err_kind_name(err.kind), err.text);
        arena_free(a);
    }
}

/* ---- mirrors ---- */

static void check_mirror(const struct source_s3 *src, const char *const *entries, const char *expected, bool applies)
{
    struct err err = ERR_INIT;
    struct arena *a = arena_new(0, &err);
    const struct place_opts opts = {.region = "us-east-1"};
    struct s3_places places;
    struct mirrors mirrors;
    AUTO_BUF front;
    buf_init(&front, MAX_TEXT);
    bool mirrored;
    assert_int_equal(place_find(a, src, &opts, &places, &err), 0);
    assert_int_equal(mirrors_read(a, entries, &mirrors, &err), 0);
    assert_int_equal(mirrors_front(&mirrors, &places.v[0], "us-east-1", &front, &mirrored, &err), 0);
    assert_string_equal(buf_str(&front), expected);
    assert_int_equal(mirrored, applies);
    arena_free(a);
}

static void test_mirrors_replace_fronts_and_leave_keys(void **state)
{
    (void)state;
    const struct source_s3 host = {.url = "https://models.example/test"},
                           bucket = {.url = "https://ai.r2.cloudflarestorage.com/ai-model/entrypoint",
                                     .bucket = "ai-model"},
                           aws = {.bucket = "bkt", .key = "k"};
    check_mirror(&host, (const char *const[]){"https://models.example=http://127.0.0.1:9000/pub", NULL},
                 "http://127.0.0.1:9000/pub", true);
    check_mirror(&host, (const char *const[]){"HTTPS://Models.example:443/=http://127.0.0.1:9000/pub/", NULL},
                 "http://127.0.0.1:9000/pub", true);
    check_mirror(&bucket, (const char *const[]){"https://ai.r2.cloudflarestorage.com=http://127.0.0.1:9000", NULL},
                 "http://127.0.0.1:9000/ai-model", true);
    check_mirror(&bucket,
                 (const char *const[]){"https://ai.r2.cloudflarestorage.com=http://127.0.0.1:9000",
                                       "https://ai.r2.cloudflarestorage.com/ai-model=http://127.0.0.1:9001/x", NULL},
                 "http://127.0.0.1:9001/x", true);
    check_mirror(&aws, (const char *const[]){"https://s3.us-east-1.amazonaws.com=http://127.0.0.1:9000", NULL},
                 "http://127.0.0.1:9000/bkt", true);
    check_mirror(&aws, (const char *const[]){"https://bkt.s3.us-east-1.amazonaws.com=http://127.0.0.1:9000/m", NULL},
                 "http://127.0.0.1:9000/m", true);
}

static void test_mirrors_match_whole_segments_only(void **state)
{
    (void)state;
    const struct source_s3 src = {.url = "https://h.example/models-2/x", .bucket = "models-2"};
    check_mirror(&src, (const char *const[]){"https://h.example/models=http://127.0.0.1:9000", NULL},
                 "https://h.example/models-2", false);
    check_mirror(&src, (const char *const[]){"https://h.example.org=http://127.0.0.1:9000", NULL},
                 "https://h.example/models-2", false);
    check_mirror(&src, (const char *const[]){"http://h.example=http://127.0.0.1:9000", NULL},
                 "https://h.example/models-2", false);
    check_mirror(&src, NULL, "https://h.example/models-2", false);
}

static void test_malformed_mirrors_are_errors(void **state)
{
    (void)state;
    static const char *const bad[] = {"https://a.example", "=http://b", "https://a.example=", "a=b",
                                      "https://a.example=file:///etc"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err err = ERR_INIT;
        struct arena *a = arena_new(0, &err);
        struct mirrors m;
        assert_int_equal(mirrors_read(a, (const char *const[]){bad[i], NULL}, &m, &err), -1);
        arena_free(a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_hosts_tell_service_bucket_and_region),
        cmocka_unit_test(test_access_points_and_their_like_are_refused_by_name),
        cmocka_unit_test(test_places_follow_the_four_rules),
        cmocka_unit_test(test_what_names_no_bucket_is_an_error),
        cmocka_unit_test(test_mirrors_replace_fronts_and_leave_keys),
        cmocka_unit_test(test_mirrors_match_whole_segments_only),
        cmocka_unit_test(test_malformed_mirrors_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
