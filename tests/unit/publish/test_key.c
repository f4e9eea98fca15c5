/* How keys are filled in and completed, and what a PublishedResult looks like. */
#include "base/str.h"
#include "publish/publish.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* 2023-09-26 14:05:30 UTC */
static const struct publish_names names = {"e-1", "abc123", "node-7", 1695737130000};

static void keys_are_filled_in_first_and_completed_then(void **state)
{
    (void)state;
    static const struct {
        const char *pattern;
        enum publish_encoding encoding;
        const char *key;
    } table[] = {
        {"results/{jobID}/{date}/{time}/", PUBLISH_PLAIN, "results/abc123/20230926/140530/"},
        {"results/{jobID}/{date}/{time}", PUBLISH_PLAIN, "results/abc123/20230926/140530/"},
        {"results/{jobID}.tar.gz", PUBLISH_PLAIN, "results/abc123.tar.gz/"},
        {"", PUBLISH_PLAIN, ""},
        {"results/{jobID}", PUBLISH_GZIP, "results/abc123.tar.gz"},
        {"results/{jobID}.tar.gz", PUBLISH_GZIP, "results/abc123.tar.gz"},
        {"results/{jobID}/", PUBLISH_GZIP, "results/abc123/e-1.tar.gz"},
        {"results/{executionID}", PUBLISH_GZIP, "results/e-1.tar.gz"},
        {"{nodeID}/{nodeID}", PUBLISH_GZIP, "node-7/node-7.tar.gz"},
        {"{date}-{time}.tar", PUBLISH_GZIP, "20230926-140530.tar.tar.gz"},
        {"a b=?#%+", PUBLISH_GZIP, "a b=?#%+.tar.gz"},
        {"", PUBLISH_GZIP, "e-1.tar.gz"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct err err = ERR_INIT;
        AUTO_BUF key;
        buf_init(&key, 4096);
        if (publish_key(table[i].pattern, table[i].encoding, &names, &key, &err) < 0)
            fail_msg("%s: %s", table[i].pattern, err.text);
        assert_string_equal(buf_str(&key), table[i].key);
    }
}

static void unknown_and_open_placeholders_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"{job}", "a/{jobID", "{}", "{JobID}", "{{jobID}}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err err = ERR_INIT;
        AUTO_BUF key;
        buf_init(&key, 4096);
        assert_int_equal(publish_key(bad[i], PUBLISH_GZIP, &names, &key, &err), -1);
        assert_int_equal(err.kind, ERR_INVALID);
    }
}

static void a_key_longer_than_s3_allows_is_refused(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    char pattern[PUBLISH_KEY_MAX + 1];
    AUTO_BUF key;
    buf_init(&key, 4096);
    memset(pattern, 'k', sizeof pattern);
    pattern[PUBLISH_KEY_MAX - 6] = '\0';
    assert_int_equal(publish_key(pattern, PUBLISH_GZIP, &names, &key, &err), -1);
    assert_int_equal(err.kind, ERR_LIMIT);
    err_clear(&err);
    buf_reset(&key);
    pattern[PUBLISH_KEY_MAX - 7] = '\0';
    assert_int_equal(publish_key(pattern, PUBLISH_GZIP, &names, &key, &err), 0);
    assert_int_equal(key.n, PUBLISH_KEY_MAX);
}

static void a_result_has_what_an_input_source_needs_and_nothing_empty(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct publish_result r = {.kind = PUBLISH_S3,
                               .bucket = (char[]){"b"},
                               .key = (char[]){"k.tar.gz"},
                               .endpoint = (char[]){"https://h"},
                               .region = (char[]){"r"},
                               .sha256 = "c3Vt"};
    AUTO_JSON j = publish_result_json(&r, &err);
    AUTO_BUF text;
    buf_init(&text, 4096);
    assert_int_equal(json_write(j, false, &text, &err), 0);
    assert_string_equal(buf_str(&text), "{\"Type\":\"s3\",\"Params\":{\"Bucket\":\"b\",\"Key\":\"k.tar.gz\","
                                        "\"Endpoint\":\"https://h\",\"Region\":\"r\","
                                        "\"ChecksumSHA256\":\"c3Vt\"}}");
    r.version_id = (char[]){"v1"};
    AUTO_JSON versioned = publish_result_json(&r, &err);
    assert_string_equal(json_get_str(json_object_get(versioned, "Params"), "VersionID"), "v1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_filled_in_first_and_completed_then),
        cmocka_unit_test(unknown_and_open_placeholders_are_refused),
        cmocka_unit_test(a_key_longer_than_s3_allows_is_refused),
        cmocka_unit_test(a_result_has_what_an_input_source_needs_and_nothing_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
