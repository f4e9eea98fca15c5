#include "fake.h"

#include "s3/s3_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define ETAG   "\"89e581d3665298ece3c8b8808fb9440b\""
#define OTHER  "\"00000000000000000000000000000000\""
#define SOURCE s3_xfer_source

struct bench {
    struct creds *creds;
    struct s3 *s3;
    struct s3_fetch *fetch;
    struct xfer_request request;
    struct xfer_want want;
    struct err err;
};

static void set_up(struct bench *b, const struct source_s3 *src, const char *id, const struct s3_object *object)
{
    *b = (struct bench){.creds = fake_creds(id, "secret")};
    const struct s3_opts opts = {0};
    buf_init(&b->request.url, S3_URL_MAX);
    buf_init(&b->request.headers, S3_HEADERS_MAX);
    assert_int_equal(s3_open(&b->s3, src, b->creds, &opts, &b->err), 0);
    assert_int_equal(s3_fetch_new(&b->fetch, b->s3, object, &b->err), 0);
}

static void tear_down(struct bench *b)
{
    s3_fetch_free(b->fetch);
    s3_free(b->s3);
    creds_free(b->creds);
    buf_release(&b->request.url);
    buf_release(&b->request.headers);
}

static const char *request(struct bench *b)
{
    buf_reset(&b->request.url);
    buf_reset(&b->request.headers);
    if (SOURCE.request(b->fetch, 0, 1024, &b->request, &b->err) < 0)
        fail_msg("%s", b->err.text);
    return buf_str(&b->request.headers);
}

static enum xfer_verdict judge(struct bench *b, int status, const char *headers, const char *body)
{
    struct http_response resp;
    fake_response(&resp, status, headers, body);
    const struct xfer_head head = {.status = status, .date_ms = resp.date_ms, .http = &resp};
    err_clear(&b->err);
    enum xfer_verdict v = SOURCE.judge(b->fetch, &head, &b->want, &b->err);
    http_response_release(&resp);
    return v;
}

static const struct source_s3 bucket = {.bucket = "bkt", .key = "a/", .endpoint = "https://gateway.example:9000"};
static const struct source_s3 amazon = {.bucket = "bkt", .key = "a/", .region = "us-east-1"};
static const struct s3_object listed = {.key = "a/k e+y", .size = 10, .etag = ETAG};

static void test_requests_are_signed_and_conditional(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b, &bucket, "AKID", &listed);
    const char *headers = request(&b);
    assert_string_equal(buf_str(&b.request.url), "https://gateway.example:9000/bkt/a/k%20e%2By");
    assert_non_null(strstr(headers, "Authorization: AWS4-HMAC-SHA256 Credential=AKID/"));
    assert_non_null(strstr(headers, "/us-east-1/s3/aws4_request"));
    assert_non_null(strstr(headers, "x-amz-checksum-mode: ENABLED\r\n"));
    assert_non_null(strstr(headers, "If-Match: " ETAG "\r\n"));
    assert_null(strstr(headers, "Range"));
    tear_down(&b);
}

static void test_ranges_of_one_object_share_a_signature(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b, &bucket, "AKID", &listed);
    AUTO_STR first = str_dup(request(&b), &b.err);
    for (int i = 0; i < 3; i++)
        assert_string_equal(request(&b), first);
    s3_fetch_head_only(b.fetch);
    assert_string_not_equal(request(&b), first);
    tear_down(&b);
}

static void test_anonymous_requests_are_unsigned(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b, &bucket, NULL, &listed);
    const char *headers = request(&b);
    assert_null(strstr(headers, "Authorization"));
    assert_null(strstr(headers, "x-amz-date"));
    assert_non_null(strstr(headers, "If-Match: " ETAG));
    tear_down(&b);
}

static void test_a_plain_url_is_never_signed(void **state)
{
    (void)state;
    struct bench b;
    const struct source_s3 src = {.url = "https://any.example/a/f?X-Amz-Signature=abc%2F"};
    const struct s3_object o = {.key = "a/f", .size = 10};
    set_up(&b, &src, "AKID", &o);
    assert_string_equal(request(&b), "");
    assert_string_equal(buf_str(&b.request.url), "https://any.example/a/f?X-Amz-Signature=abc%2F");
    tear_down(&b);
}

static void test_encryption_keys_and_payer_travel_along(void **state)
{
    (void)state;
    struct bench b;
    struct source_s3 src = bucket;
    src.requester_pays = true;
    src.sse_customer_key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    set_up(&b, &src, "AKID", &listed);
    const char *headers = request(&b);
    assert_non_null(strstr(headers, "x-amz-request-payer: requester\r\n"));
    assert_non_null(strstr(headers, "x-amz-server-side-encryption-customer-algorithm: AES256\r\n"));
    assert_non_null(strstr(headers, "-customer-key: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\r\n"));
    assert_non_null(strstr(headers, "-customer-key-md5: hRasmdxgYDKV3nvbahU1MA==\r\n"));
    assert_non_null(strstr(headers, "x-amz-request-payer;x-amz-server-side-encryption-customer-algorithm"));
    tear_down(&b);
}

static void test_an_encryption_key_never_travels_in_the_clear(void **state)
{
    (void)state;
    struct source_s3 src = {.bucket = "b", .key = "k", .endpoint = "http://gateway.example"};
    struct creds *creds = fake_creds("AKID", "secret");
    const struct s3_opts opts = {0};
    struct s3 *s3;
    struct err err = ERR_INIT;
    src.sse_customer_key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    assert_int_equal(s3_open(&s3, &src, creds, &opts, &err), -1);
    assert_int_equal(err.kind, ERR_REFUSED);
    assert_null(strstr(err.text, "MDEy"));
    err_clear(&err);
    src.endpoint = "https://gateway.example";
    src.sse_customer_key = "c2hvcnQ=";
    assert_int_equal(s3_open(&s3, &src, creds, &opts, &err), -1);
    assert_int_equal(err.kind, ERR_INVALID);
    creds_free(creds);
}

static void test_plain_http_is_refused_where_the_operator_says_so(void **state)
{
    (void)state;
    struct source_s3 src = {.bucket = "b", .key = "k", .endpoint = "http://gateway.example"};
    struct creds *creds = fake_creds(NULL, NULL);
    struct s3_opts opts = {.plain_http_refused = true};
    struct s3 *s3;
    struct err err = ERR_INIT;
    assert_int_equal(s3_open(&s3, &src, creds, &opts, &err), -1);
    assert_int_equal(err.kind, ERR_REFUSED);
    err_clear(&err);
    src.endpoint = "https://gateway.example";
    opts.mirrors = (const char *const[]){"https://gateway.example=http://mirror.example", NULL};
    assert_int_equal(s3_open(&s3, &src, creds, &opts, &err), 0); /* the operator's own word */
    s3_free(s3);
    creds_free(creds);
}

static void test_another_etag_is_a_change(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b, &bucket, "AKID", &listed);
    assert_int_equal(judge(&b, 206, "etag: " ETAG "\ncontent-range: bytes 0-3/10\n", NULL), XFER_ACCEPT);
    assert_int_equal(judge(&b, 206, "etag: " OTHER "\ncontent-range: bytes 4-7/10\n", NULL), XFER_FAIL);
    assert_int_equal(b.err.kind, ERR_CHANGED);
    assert_non_null(strstr(b.err.text, "s3://bkt/a/k e+y"));
    assert_int_equal(judge(&b, 412, NULL, "<Error><Code>PreconditionFailed</Code></Error>"), XFER_FAIL);
    assert_int_equal(b.err.kind, ERR_CHANGED);
    assert_int_equal(judge(&b, 404, NULL, "<Error><Code>NoSuchKey</Code></Error>"), XFER_FAIL);
    assert_int_equal(b.err.kind, ERR_CHANGED);
    assert_int_equal(judge(&b, 416, NULL, NULL), XFER_FAIL);
    assert_int_equal(b.err.kind, ERR_CHANGED);
    tear_down(&b);
}

static void test_an_etag_learned_from_the_first_answer_binds_the_rest(void **state)
{
    (void)state;
    struct bench b;
    const struct s3_object unknown = {.key = "k", .size = XFER_SIZE_UNKNOWN};
    set_up(&b, &bucket, "AKID", &unknown);
    assert_null(strstr(request(&b), "If-Match"));
    assert_int_equal(judge(&b, 200, "etag: " ETAG "\ncontent-length: 7\n", NULL), XFER_ACCEPT);
    assert_non_null(strstr(request(&b), "If-Match: " ETAG));
    assert_int_equal(s3_fetch_learned(b.fetch)->size, 7);
    assert_string_equal(s3_fetch_learned(b.fetch)->etag, ETAG);
    assert_int_equal(judge(&b, 200, "etag: " OTHER "\n", NULL), XFER_FAIL);
    tear_down(&b);
}

static void test_weak_etags_are_compared_instead_of_sent(void **state)
{
    (void)state;
    struct bench b;
    const struct s3_object weak = {.key = "k", .size = 10, .etag = "W/\"1\""};
    set_up(&b, &bucket, "AKID", &weak);
    assert_null(strstr(request(&b), "If-Match"));
    assert_int_equal(judge(&b, 206, "etag: W/\"1\"\n", NULL), XFER_ACCEPT);
    assert_int_equal(judge(&b, 206, "etag: \"1\"\n", NULL), XFER_ACCEPT);
    assert_int_equal(judge(&b, 206, "etag: W/\"2\"\n", NULL), XFER_FAIL);
    tear_down(&b);
}

static void test_without_etags_dates_are_compared(void **state)
{
    (void)state;
    struct bench b;
    const struct s3_object bare = {.key = "k", .size = 10};
    set_up(&b, &bucket, "AKID", &bare);
    assert_int_equal(judge(&b, 206, "last-modified: Mon, 01 Jan 2024 00:00:00 GMT\n", NULL), XFER_ACCEPT);
    assert_int_equal(judge(&b, 206, "last-modified: Mon, 01 Jan 2024 00:00:00 GMT\n", NULL), XFER_ACCEPT);
    assert_int_equal(judge(&b, 206, "last-modified: Mon, 01 Jan 2024 00:00:01 GMT\n", NULL), XFER_FAIL);
    assert_int_equal(b.err.kind, ERR_CHANGED);
    tear_down(&b);
}

static void test_a_listed_etag_without_quotes_gets_them(void **state)
{
    (void)state;
    struct bench b;
    const struct s3_object o = {.key = "k", .size = 10, .etag = "89e581d3665298ece3c8b8808fb9440b"};
    set_up(&b, &bucket, "AKID", &o);
    assert_non_null(strstr(request(&b), "If-Match: " ETAG));
    assert_int_equal(judge(&b, 206, "etag: " ETAG "\n", NULL), XFER_ACCEPT);
    tear_down(&b);
}

static void test_expired_keys_are_renewed_once_for_all_objects(void **state)
{
    (void)state;
    struct bench b;
    struct s3_fetch *second;
    struct xfer_request other = {0};
    buf_init(&other.url, S3_URL_MAX);
    buf_init(&other.headers, S3_HEADERS_MAX);
    set_up(&b, &bucket, "OLD", &listed);
    fake_creds_renew_as(b.creds, "NEW");
    assert_int_equal(s3_fetch_new(&second, b.s3, &listed, &b.err), 0);
    assert_int_equal(SOURCE.request(second, 0, 1, &other, &b.err), 0);
    assert_non_null(strstr(request(&b), "Credential=OLD/"));

    assert_int_equal(judge(&b, 400, NULL, "<Error><Code>ExpiredToken</Code></Error>"), XFER_REFRESH);
    assert_int_equal(SOURCE.refresh(b.fetch, &b.err), 0);
    assert_non_null(strstr(request(&b), "Credential=NEW/"));
    assert_int_equal(SOURCE.refresh(second, &b.err), 0);
    assert_int_equal(fake_creds_expired(b.creds), 1);
    buf_reset(&other.headers);
    assert_int_equal(SOURCE.request(second, 0, 1, &other, &b.err), 0);
    assert_non_null(strstr(buf_str(&other.headers), "Credential=NEW/"));
    s3_fetch_free(second);
    buf_release(&other.url);
    buf_release(&other.headers);
    tear_down(&b);
}

static void test_a_wrong_region_is_signed_anew_at_amazons_host_only(void **state)
{
    (void)state;
    static const char malformed[] =
        "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>";
    struct bench b;
    set_up(&b, &amazon, "AKID", &listed);
    request(&b);
    assert_string_equal(buf_str(&b.request.url), "https://bkt.s3.us-east-1.amazonaws.com/a/k%20e%2By");
    assert_int_equal(judge(&b, 400, NULL, malformed), XFER_RESIGN);
    assert_non_null(strstr(request(&b), "/eu-west-1/s3/aws4_request"));
    assert_string_equal(buf_str(&b.request.url), "https://bkt.s3.eu-west-1.amazonaws.com/a/k%20e%2By");
    assert_int_equal(judge(&b, 400, NULL, malformed), XFER_RESIGN); /* a part that was under way */
    tear_down(&b);

    set_up(&b, &bucket, "AKID", &listed);
    assert_int_equal(judge(&b, 301, "x-amz-bucket-region: eu-west-1\n",
                           "<Error><Code>PermanentRedirect</Code><Endpoint>evil.example</Endpoint></Error>"),
                     XFER_RESIGN);
    assert_non_null(strstr(request(&b), "/eu-west-1/s3/aws4_request"));
    assert_string_equal(buf_str(&b.request.url), "https://gateway.example:9000/bkt/a/k%20e%2By");
    tear_down(&b);
}

static void test_a_wrong_clock_is_corrected_by_the_servers_date(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b, &bucket, "AKID", &listed);
    request(&b);
    assert_int_equal(
        judge(&b, 403, "date: Fri, 01 Jan 2100 12:00:00 GMT\n", "<Error><Code>RequestTimeTooSkewed</Code></Error>"),
        XFER_RESIGN);
    assert_non_null(strstr(request(&b), "x-amz-date: 21000101T12"));
    tear_down(&b);
}

static void test_refusals_say_who_and_what(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b, &bucket, "AKID", &listed);
    assert_int_equal(judge(&b, 403, NULL, "<Error><Code>AccessDenied</Code></Error>"), XFER_FAIL);
    assert_int_equal(b.err.kind, ERR_DENIED);
    assert_non_null(strstr(b.err.text, "s3:GetObject is not allowed with credentials: the job's own IAM keys"));
    assert_int_equal(judge(&b, 403, NULL, "<Error><Code>InvalidObjectState</Code></Error>"), XFER_FAIL);
    assert_non_null(strstr(b.err.text, "Glacier"));
    assert_int_equal(judge(&b, 400, NULL, "<Error><Code>RequestTimeout</Code></Error>"), XFER_RETRY);
    tear_down(&b);
}

static void test_answers_that_quote_a_secret_are_cut_before_it(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b, &bucket, "AKID", &listed);
    assert_int_equal(judge(&b, 418, NULL, "<Error><Code>Odd</Code><Message>What is Bird to me</Message></Error>"),
                     XFER_FAIL);
    assert_non_null(strstr(b.err.text, "What is Bird to me"));
    assert_int_equal(judge(&b, 418, NULL, "<Error><Code>Odd</Code><Message>What is secret to me</Message></Error>"),
                     XFER_FAIL);
    assert_non_null(strstr(b.err.text, "What is"));
    assert_null(strstr(b.err.text, "secret"));
    tear_down(&b);
}

/* ---- digests ---- */

#define S3_ID      "x-amz-request-id: 1\n"
#define SHA_BASE64 "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" /* of nothing */

static void test_what_the_answer_states_is_verified_by_strength(void **state)
{
    (void)state;
    static const struct {
        int status, kind; /* -1: none */
        const char *headers;
    } rows[] = {
        {200, DIGEST_SHA256,
         S3_ID "etag: " ETAG "\nx-amz-checksum-crc32: AAAAAA==\nx-amz-checksum-sha256: " SHA_BASE64 "\n"},
        {200, DIGEST_CRC64NVME,
         S3_ID "x-amz-checksum-crc64nvme: AAAAAAAAAAA=\nx-amz-checksum-type: FULL_OBJECT\netag: \"a-3\"\n"},
        {206, DIGEST_CRC64NVME,
         S3_ID "x-amz-checksum-crc64nvme: AAAAAAAAAAA=\nx-amz-checksum-type: FULL_OBJECT\netag: \"a-3\"\n"},
        {206, -1, S3_ID "x-amz-checksum-crc32c: AAAAAA==\netag: \"a-3\"\n"},
        {200, -1, S3_ID "x-amz-checksum-crc32c: AAAAAA==-3\netag: \"a-3\"\n"},
        {200, -1, S3_ID "x-amz-checksum-crc32c: AAAAAA==\nx-amz-checksum-type: COMPOSITE\netag: \"a-3\"\n"},
        {206, DIGEST_MD5, S3_ID "etag: " ETAG "\n"},
        {200, -1, "etag: " ETAG "\n"}, /* any web server */
        {200, -1, S3_ID "etag: " ETAG "\nx-amz-server-side-encryption: aws:kms\n"},
        {200, -1, S3_ID "etag: " ETAG "\nx-amz-server-side-encryption: aws:kms:dsse\n"},
        {200, DIGEST_MD5, S3_ID "etag: " ETAG "\nx-amz-server-side-encryption: AES256\n"},
        {200, -1, S3_ID "etag: " ETAG "\nx-amz-server-side-encryption-customer-algorithm: AES256\n"},
        {200, -1, S3_ID "etag: W/" ETAG "\n"},
        {200, -1, S3_ID "etag: \"89e581d3665298ece3c8b8808fb9440b-2\"\n"},
        {200, -1, S3_ID "etag: \"zzz581d3665298ece3c8b8808fb9440b\"\n"},
        {200, DIGEST_CRC32C, "x-goog-hash: crc32c=AAAAAA==,md5=1B2M2Y8AsgTpgAmY7PhCfg==\n"},
        {200, DIGEST_MD5, S3_ID "x-amz-checksum-sha256: not base64\netag: " ETAG "\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct bench b;
        const struct s3_object bare = {.key = "k", .size = 10};
        set_up(&b, &bucket, "AKID", &bare);
        assert_int_equal(judge(&b, rows[i].status, rows[i].headers, NULL), XFER_ACCEPT);
        int kind = b.want.has_full ? (int)b.want.full.kind : -1;
        if (kind != rows[i].kind)
            fail_msg("row %zu: kind %d", i, kind);
        tear_down(&b);
    }
}

static void test_a_stated_digest_is_not_replaced(void **state)
{
    (void)state;
    struct bench b;
    struct s3_object o = listed;
    o.want.has_full = true;
    o.want.full.kind = DIGEST_SHA256;
    set_up(&b, &bucket, "AKID", &o);
    b.want = o.want;
    assert_int_equal(judge(&b, 200, S3_ID "etag: " ETAG "\nx-amz-checksum-sha1: 2jmj7l5rSw0yVb/vlWAYkK/YBwk=\n", NULL),
                     XFER_ACCEPT);
    assert_int_equal(b.want.full.kind, DIGEST_SHA256);
    tear_down(&b);
}

/* ---- looking first ---- */

#define MIB        1048576
#define ATTRIBUTES "GET https://gate.example/bkt/big?attributes"
#define PART(number, size, crc)                                                                                        \
    "<Part><PartNumber>" number "</PartNumber><Size>" size "</Size><ChecksumCRC32C>" crc "</ChecksumCRC32C></Part>"
#define PARTS(content)                                                                                                 \
    "<GetObjectAttributesResponse><ObjectParts>" content "</ObjectParts></GetObjectAttributesResponse>"
#define COMPOSITE "content-length: 83886080\netag: \"e-3\"\nx-amz-checksum-crc32c: AAAAAA==-3\n"

static void look(struct bench *b, const struct fake_answer *script)
{
    const struct source_s3 src = {.bucket = "bkt", .key = "big", .endpoint = "https://gate.example"};
    const struct s3_object big = {.key = "big", .size = (uint64_t)80 * MIB, .etag = "\"e-3\""};
    fake_play(script);
    set_up(b, &src, "AKID", &big);
    if (s3_fetch_look(b->fetch, &b->err) < 0)
        fail_msg("%s", b->err.text);
    assert_true(fake_played_out());
}

static void test_composite_checksums_give_those_of_the_parts(void **state)
{
    (void)state;
    const struct fake_answer script[] = {
        {"HEAD https://gate.example/bkt/big", 200, COMPOSITE, NULL},
        {ATTRIBUTES, 200, NULL,
         PARTS("<IsTruncated>true</IsTruncated><NextPartNumberMarker>2</NextPartNumberMarker>" PART(
             "1", "33554432", "AAAAAQ==") PART("2", "33554432", "AAAAAg=="))},
        {ATTRIBUTES, 200, NULL, PARTS("<IsTruncated>false</IsTruncated>" PART("3", "16777216", "AAAAAw=="))},
        {NULL, 0, NULL, NULL}};
    struct bench b;
    look(&b, script);
    assert_non_null(strstr(fake_headers(), "x-amz-object-attributes: ObjectParts\n"));
    assert_non_null(strstr(fake_headers(), "x-amz-part-number-marker: 2\n"));
    const struct xfer_want *want = &s3_fetch_learned(b.fetch)->want;
    assert_false(want->has_full);
    assert_int_equal(want->part_count, 3);
    assert_int_equal(want->parts_bytes, 32 * MIB);
    assert_int_equal(want->parts[2].kind, DIGEST_CRC32C);
    assert_int_equal(want->parts[2].bytes[3], 3);
    assert_int_equal(judge(&b, 206, "etag: \"e-3\"\n", NULL), XFER_ACCEPT);
    assert_int_equal(b.want.part_count, 3);
    tear_down(&b);
}

static void test_parts_that_do_not_fit_are_no_expectation(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *body;
    } rows[] = {
        {403, "<Error><Code>AccessDenied</Code></Error>"},
        {501, NULL},
        {200, "no xml"},
        {200, PARTS("")},
        {200, PARTS(PART("1", "33554432", "AAAAAQ=="))}, /* not all of it */
        {200, PARTS(PART("1", "1048576", "AAAAAQ==") PART("2", "82837504", "AAAAAQ=="))},
        {200, PARTS(PART("1", "33554432", "AAAAAQ==") PART("3", "50331648", "AAAAAQ=="))},
        {200, PARTS(PART("1", "83886080", "AAAA"))},
        {200, PARTS("<Part><PartNumber>1</PartNumber><Size>83886080</Size></Part>")},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct fake_answer script[] = {{"HEAD https://gate.example/bkt/big", 200, COMPOSITE, NULL},
                                             {ATTRIBUTES, rows[i].status, NULL, rows[i].body},
                                             {NULL, 0, NULL, NULL}};
        struct bench b;
        look(&b, script);
        const struct xfer_want *want = &s3_fetch_learned(b.fetch)->want;
        assert_false(want->has_full);
        assert_null(want->parts);
        tear_down(&b);
    }
}

static void test_a_checksum_of_the_whole_is_found_by_looking(void **state)
{
    (void)state;
    const struct fake_answer script[] = {{"HEAD https://gate.example/bkt/big", 200,
                                          "content-length: 83886080\netag: \"e-3\"\n"
                                          "x-amz-checksum-crc64nvme: AAAAAAAAAAA=\nx-amz-checksum-type: FULL_OBJECT\n",
                                          NULL},
                                         {NULL, 0, NULL, NULL}};
    struct bench b;
    look(&b, script);
    assert_true(s3_fetch_learned(b.fetch)->want.has_full);
    assert_int_equal(s3_fetch_learned(b.fetch)->want.full.kind, DIGEST_CRC64NVME);
    tear_down(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_are_signed_and_conditional),
        cmocka_unit_test(test_ranges_of_one_object_share_a_signature),
        cmocka_unit_test(test_anonymous_requests_are_unsigned),
        cmocka_unit_test(test_a_plain_url_is_never_signed),
        cmocka_unit_test(test_encryption_keys_and_payer_travel_along),
        cmocka_unit_test(test_an_encryption_key_never_travels_in_the_clear),
        cmocka_unit_test(test_plain_http_is_refused_where_the_operator_says_so),
        cmocka_unit_test(test_another_etag_is_a_change),
        cmocka_unit_test(test_an_etag_learned_from_the_first_answer_binds_the_rest),
        cmocka_unit_test(test_weak_etags_are_compared_instead_of_sent),
        cmocka_unit_test(test_without_etags_dates_are_compared),
        cmocka_unit_test(test_a_listed_etag_without_quotes_gets_them),
        cmocka_unit_test(test_expired_keys_are_renewed_once_for_all_objects),
        cmocka_unit_test(test_a_wrong_region_is_signed_anew_at_amazons_host_only),
        cmocka_unit_test(test_a_wrong_clock_is_corrected_by_the_servers_date),
        cmocka_unit_test(test_refusals_say_who_and_what),
        cmocka_unit_test(test_answers_that_quote_a_secret_are_cut_before_it),
        cmocka_unit_test(test_what_the_answer_states_is_verified_by_strength),
        cmocka_unit_test(test_a_stated_digest_is_not_replaced),
        cmocka_unit_test(test_composite_checksums_give_those_of_the_parts),
        cmocka_unit_test(test_parts_that_do_not_fit_are_no_expectation),
        cmocka_unit_test(test_a_checksum_of_the_whole_is_found_by_looking),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
