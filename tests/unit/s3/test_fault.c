#include "s3/fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define NOW 1000000000000

static struct fault fault_of(int status, const char *code, const char *extra)
{
    char body[1024];
    struct fault f;
    snprintf(body, sizeof body, "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>m</Message>%s</Error>", code,
             extra);
    fault_read(&f, status, NULL, NOW, span_of(body));
    return f;
}

static const struct fault_context asker = {.action = S3_ACTION_GET,
                                           .name = "s3://b/k",
                                           .credentials = "environment",
                                           .region = "us-east-1",
                                           .host = "s3.example"};

static void test_bodies_are_read_and_foreign_ones_are_not(void **state)
{
    (void)state;
    struct fault f = fault_of(403, "AccessDenied", "");
    assert_string_equal(f.code, "AccessDenied");
    assert_string_equal(f.message, "m");
    static const char *const foreign[] = {"", "<html><Code>x</Code></html>", "no xml", "<Error><Code>", NULL};
    for (size_t i = 0; foreign[i]; i++) {
        fault_read(&f, 502, NULL, 0, span_of(foreign[i]));
        assert_int_equal(f.status, 502);
        assert_string_equal(f.code, "");
    }
}

static void test_regions_come_from_header_body_or_endpoint(void **state)
{
    (void)state;
    struct fault f;
    fault_read(&f, 301, " eu-west-1 ", 0, SPAN_LIT("<Error><Region>us-west-2</Region></Error>"));
    assert_string_equal(f.region, "eu-west-1");
    f = fault_of(400, "AuthorizationHeaderMalformed", "<Region>ap-south-1</Region>");
    assert_string_equal(f.region, "ap-south-1");
    f = fault_of(301, "PermanentRedirect", "<Endpoint>b.s3-us-west-2.amazonaws.com</Endpoint>");
    assert_string_equal(f.region, "us-west-2");
    f = fault_of(307, "TemporaryRedirect", "<Endpoint>b.s3.eu-central-1.amazonaws.com</Endpoint>");
    assert_string_equal(f.region, "eu-central-1");
}

static void test_a_region_that_is_none_is_not_believed(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "evil.example/x", "a b", "EU-West-1", "x@y", "-a", "a-region-name-that-is-far-too-long-to-be-one", NULL};
    for (size_t i = 0; bad[i]; i++) {
        struct fault f;
        fault_read(&f, 301, bad[i], 0, SPAN_LIT(""));
        assert_string_equal(f.region, "");
    }
    struct fault f = fault_of(301, "PermanentRedirect", "<Endpoint>evil.example</Endpoint>");
    assert_string_equal(f.region, "");
}

static void test_cures(void **state)
{
    (void)state;
    const int64_t hour = 3600000;
    static const struct {
        int status;
        bool anonymous;
        const char *code, *extra;
        int64_t off;
        enum fault_cure cure;
    } rows[] = {
        {400, false, "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>", 0, FAULT_REGION},
        {400, false, "AuthorizationHeaderMalformed", "<Region>us-east-1</Region>", 0, FAULT_FINAL},
        {301, true, "PermanentRedirect", "<Region>eu-west-1</Region>", 0, FAULT_REGION},
        {404, false, "NoSuchKey", "<Region>eu-west-1</Region>", 0, FAULT_FINAL},
        {403, false, "RequestTimeTooSkewed", "", 1, FAULT_CLOCK},
        {403, true, "RequestTimeTooSkewed", "", 1, FAULT_FINAL},
        {403, false, "", "", 1, FAULT_CLOCK}, /* a HEAD by a wrong clock */
        {403, false, "", "", 0, FAULT_FINAL},
        {404, false, "", "", 1, FAULT_FINAL},
        {400, false, "ExpiredToken", "", 0, FAULT_EXPIRED},
        {400, true, "ExpiredToken", "", 0, FAULT_FINAL},
        {403, false, "TokenRefreshRequired", "", 0, FAULT_EXPIRED},
        {400, false, "RequestTimeout", "", 0, FAULT_RETRY},
        {503, true, "SlowDown", "", 0, FAULT_RETRY},
        {403, false, "AccessDenied", "", 0, FAULT_FINAL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fault f = fault_of(rows[i].status, rows[i].code, rows[i].extra);
        for (int sign = -1; sign <= 1; sign += 2) {
            enum fault_cure cure = fault_cure(&f, rows[i].anonymous, "us-east-1", NOW + sign * rows[i].off * hour);
            if (cure != rows[i].cure)
                fail_msg("row %zu: %d", i, (int)cure);
        }
    }
}

static void test_what_is_told(void **state)
{
    (void)state;
    static const struct {
        int status;
        enum err_kind kind;
        const char *code, *text, *hint;
    } rows[] = {
        {404, ERR_NOTFOUND, "NoSuchKey", "s3://b/k: no such object (HTTP 404 NoSuchKey)", ""},
        {404, ERR_NOTFOUND, "", "s3://b/k: not found (HTTP 404)", ""},
        {404, ERR_NOTFOUND, "NoSuchBucket", "no such bucket", "endpoint"},
        {404, ERR_NOTFOUND, "NoSuchVersion", "no such version", "VersionID"},
        {405, ERR_NOTFOUND, "MethodNotAllowed", "delete marker", "VersionID"},
        {412, ERR_CHANGED, "PreconditionFailed", "changed while downloading", ""},
        {412, ERR_CHANGED, "", "changed while downloading", ""},
        {416, ERR_CHANGED, "InvalidRange", "changed", ""},
        {403, ERR_DENIED, "AccessDenied", "s3:GetObject is not allowed with credentials: environment", "s3:ListBucket"},
        {403, ERR_DENIED, "", "s3:GetObject", "allow s3:GetObject"},
        {403, ERR_DENIED, "SomethingNew", "HTTP 403 SomethingNew", ""},
        {401, ERR_DENIED, "", "access denied (HTTP 401)", ""},
        {403, ERR_DENIED, "InvalidAccessKeyId", "does not know the access key id", "environment"},
        {403, ERR_DENIED, "SignatureDoesNotMatch", "secret access key", "SECRET_ACCESS_KEY"},
        {400, ERR_DENIED, "ExpiredToken", "expired", "new ones"},
        {403, ERR_DENIED, "RequestTimeTooSkewed", "clock", "set the clock"},
        {403, ERR_UNSUPPORTED, "InvalidObjectState", "Glacier", "restore"},
        {301, ERR_INVALID, "PermanentRedirect", "another endpoint", "region"},
        {503, ERR_TRANSIENT, "SlowDown", "slow down", ""},
        {503, ERR_TRANSIENT, "", "overloaded", ""},
        {500, ERR_TRANSIENT, "InternalError", "internal error", ""},
        {502, ERR_TRANSIENT, "", "HTTP 502 from s3.example", ""},
        {501, ERR_UNSUPPORTED, "NotImplemented", "does not implement", ""},
        {418, ERR_PROTOCOL, "", "HTTP 418 from s3.example", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fault f = fault_of(rows[i].status, rows[i].code, "");
        struct err err = ERR_INIT;
        assert_int_equal(fault_report(&f, &asker, &err), -1);
        if (err.kind != rows[i].kind || !strstr(err.text, rows[i].text) || !strstr(err.hint, rows[i].hint))
            fail_msg("row %zu: [%s] %s | %s", i, err_kind_name(err.kind), err.text, err.hint);
    }
}

static void test_denied_names_action_and_asker(void **state)
{
    (void)state;
    struct fault f = fault_of(403, "AccessDenied", "");
    struct fault_context c = asker;
    struct err err = ERR_INIT;
    c.action = S3_ACTION_LIST;
    c.anonymous = true;
    c.credentials = "none (anonymous)";
    fault_report(&f, &c, &err);
    assert_non_null(strstr(err.text, "s3:ListBucket is not allowed with credentials: none (anonymous)"));
    assert_non_null(strstr(err.hint, "not public"));
    err_clear(&err);
    c = asker;
    c.versioned = true;
    fault_report(&f, &c, &err);
    assert_non_null(strstr(err.text, "s3:GetObjectVersion"));
}

static void test_a_foreign_region_is_named(void **state)
{
    (void)state;
    struct fault f = fault_of(301, "PermanentRedirect", "<Region>eu-west-1</Region>");
    struct err err = ERR_INIT;
    fault_report(&f, &asker, &err);
    assert_non_null(strstr(err.hint, "eu-west-1"));
}

static void test_encrypted_objects_ask_for_their_key(void **state)
{
    (void)state;
    struct fault f;
    struct err err = ERR_INIT;
    fault_read(&f, 400, NULL, 0,
               SPAN_LIT("<Error><Code>InvalidRequest</Code><Message>The object was stored using a form of Server Side "
                        "Encryption. The correct parameters must be provided.</Message></Error>"));
    fault_report(&f, &asker, &err);
    assert_int_equal(err.kind, ERR_DENIED);
    assert_non_null(strstr(err.text, "SSE-C"));
    err_clear(&err);
    struct fault_context c = asker;
    c.keyed_by_customer = true;
    fault_report(&f, &c, &err);
    assert_non_null(strstr(err.hint, "this very key"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies_are_read_and_foreign_ones_are_not),
        cmocka_unit_test(test_regions_come_from_header_body_or_endpoint),
        cmocka_unit_test(test_a_region_that_is_none_is_not_believed),
        cmocka_unit_test(test_cures),
        cmocka_unit_test(test_what_is_told),
        cmocka_unit_test(test_denied_names_action_and_asker),
        cmocka_unit_test(test_a_foreign_region_is_named),
        cmocka_unit_test(test_encrypted_objects_ask_for_their_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
