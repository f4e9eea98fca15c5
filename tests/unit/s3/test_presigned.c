#include "fake.h"
#include "s3/presigned_put.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define PARTS(more)                                                                                                    \
    "{\"version\":1,\"method\":\"multipart\",\"part_size\":5242880,\"complete\":\"https://h/o?c=SECRET\","             \
    "\"abort\":\"https://h/o?a=SECRET\"" more "}"
#define ERROR_BODY(code) "<Error><Code>" code "</Code></Error>"
#define DONE             "<CompleteMultipartUploadResult><ETag>\"e-1\"</ETag></CompleteMultipartUploadResult>"
#define END                                                                                                            \
    {                                                                                                                  \
        NULL, 0, NULL, NULL                                                                                            \
    }

struct reading {
    json_t *document;
    struct arena *arena;
    struct s3_grant grant;
    struct err err;
};

static int read_grant(struct reading *r, const char *text)
{
    *r = (struct reading){0};
    r->arena = arena_new(0, &r->err);
    r->document = json_parse(span_of(text), &r->err);
    assert_non_null(r->document);
    return s3_grant_read(r->document, r->arena, &r->grant, &r->err);
}

static void release(struct reading *r)
{
    json_decref(r->document);
    arena_free(r->arena);
}

/* ---- documents ---- */

static void a_grant_of_parts_is_read_whole(void **state)
{
    (void)state;
    struct reading r;
    assert_int_equal(read_grant(&r, PARTS(",\"parts\":[\"https://h/o?1\",\"https://h/o?2\"],\"headers\":{\"A\":\"b\"},"
                                          "\"max_bytes\":7,\"expires_unix\":3,\"later\":{},"
                                          "\"result\":{\"Type\":\"s3\",\"Params\":{\"Key\":\"o\"}}")),
                     0);
    assert_int_equal(r.grant.method, S3_GRANT_MULTIPART);
    assert_int_equal(r.grant.part_count, 2);
    assert_string_equal(r.grant.parts[1], "https://h/o?2");
    assert_int_equal(r.grant.header_count, 1);
    assert_string_equal(r.grant.headers[0].value, "b");
    assert_int_equal(r.grant.max_bytes, 7);
    assert_int_equal(r.grant.expires_ms, 3000);
    assert_non_null(r.grant.result);
    release(&r);
}

static void what_is_no_grant_is_refused_without_its_urls(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{}",
        "{\"version\":2,\"method\":\"put\",\"url\":\"https://h/o?SECRET\"}",
        "{\"version\":1,\"method\":\"get\",\"url\":\"https://h/o?SECRET\"}",
        "{\"version\":1,\"method\":\"put\",\"url\":\"file:///o?SECRET\"}",
        "{\"version\":1,\"method\":\"put\",\"url\":\"https://h/o?SECRET\",\"headers\":{\"a\":1}}",
        "{\"version\":1,\"method\":\"put\",\"url\":\"https://h/o?SECRET\",\"max_bytes\":-1}",
        "{\"version\":1,\"method\":\"put\",\"url\":\"https://h/o?SECRET\",\"expires_unix\":\"soon\"}",
        "{\"version\":1,\"method\":\"put\",\"url\":\"https://h/o?SECRET\",\"expires_unix\":9223372036854775807}",
        "{\"version\":1,\"method\":\"put\",\"url\":\"https://h/o?SECRET\",\"result\":\"s3\"}",
        PARTS(",\"parts\":{}"),
        PARTS(",\"parts\":[7]"),
        "{\"version\":1,\"method\":\"multipart\",\"part_size\":5242880,\"parts\":[\"https://h/o?SECRET\"]}",
        "{\"version\":1,\"method\":\"multipart\",\"part_size\":5242879,\"parts\":[]}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct reading r;
        assert_int_equal(read_grant(&r, bad[i]), -1);
        assert_null(strstr(r.err.text, "SECRET"));
        release(&r);
    }
}

/* ---- parts, and URLs that are asked for ---- */

struct asked {
    unsigned n;
    enum s3_grant_for what[8];
    unsigned part[8];
};

static int give_url(void *ctx, enum s3_grant_for what, unsigned part, struct buf *url, struct err *err)
{
    struct asked *a = ctx;
    (void)err;
    a->what[a->n] = what;
    a->part[a->n++] = part;
    buf_addf(url, "https://h/o?fresh=%u", a->n);
    return 0;
}

static int store(struct reading *r, struct asked *asked, struct s3_stored *stored, struct err *err)
{
    const struct s3_granted_opts opts = {.more = asked ? give_url : NULL, .ctx = asked};
    struct s3_granted *g = NULL;
    assert_int_equal(s3_granted_open(&g, &r->grant, &opts, err), 0);
    int rc = s3_granted_write(g, "hello", 5, err);
    if (rc == 0)
        rc = s3_granted_finish(g, stored, err);
    s3_granted_free(g);
    return rc;
}

static void parts_that_the_grant_does_not_hold_are_asked_for(void **state)
{
    (void)state;
    const struct fake_answer script[] = {
        {"PUT https://h/o?fresh=1", 200, "etag: \"p\"\n", NULL}, {"POST https://h/o?c=SECRET", 200, NULL, DONE}, END};
    struct reading r;
    struct asked asked = {0};
    struct s3_stored stored;
    struct err err = ERR_INIT;
    assert_int_equal(read_grant(&r, PARTS("")), 0);
    fake_play(script);
    assert_int_equal(store(&r, &asked, &stored, &err), 0);
    assert_true(fake_played_out());
    assert_int_equal(asked.n, 1);
    assert_int_equal(asked.part[0], 1);
    assert_string_equal(stored.etag, "\"e-1\"");
    assert_int_equal(stored.size, 5);
    s3_stored_release(&stored);
    release(&r);
}

static void a_refused_url_is_replaced_once(void **state)
{
    (void)state;
    const struct fake_answer script[] = {{"PUT https://h/o?1", 403, NULL, ERROR_BODY("AccessDenied")},
                                         {"PUT https://h/o?fresh=1", 200, "etag: \"p\"\n", NULL},
                                         {"POST https://h/o?c=", 403, NULL, ERROR_BODY("AccessDenied")},
                                         {"POST https://h/o?fresh=2", 403, NULL, ERROR_BODY("AccessDenied")},
                                         {"DELETE https://h/o?a=", 204, NULL, NULL},
                                         END};
    struct reading r;
    struct asked asked = {0};
    struct s3_stored stored;
    struct err err = ERR_INIT;
    assert_int_equal(read_grant(&r, PARTS(",\"parts\":[\"https://h/o?1\"]")), 0);
    fake_play(script);
    assert_int_equal(store(&r, &asked, &stored, &err), -1);
    assert_true(fake_played_out());
    assert_int_equal(err.kind, ERR_DENIED);
    assert_int_equal(asked.n, 2);
    assert_int_equal(asked.what[1], S3_GRANT_FOR_COMPLETE);
    release(&r);
}

static void an_error_after_200_is_a_failure_and_asked_about_again(void **state)
{
    (void)state;
    const struct fake_answer script[] = {{"PUT https://h/o?1", 200, "etag: \"p\"\n", NULL},
                                         {"POST https://h/o?c=", 200, NULL, ERROR_BODY("InternalError")},
                                         {"POST https://h/o?c=", 200, NULL, ERROR_BODY("NoSuchUpload")},
                                         {"DELETE https://h/o?a=", 404, NULL, ERROR_BODY("NoSuchUpload")},
                                         END};
    struct reading r;
    struct s3_stored stored;
    struct err err = ERR_INIT;
    assert_int_equal(read_grant(&r, PARTS(",\"parts\":[\"https://h/o?1\"]")), 0);
    fake_play(script);
    assert_int_equal(store(&r, NULL, &stored, &err), -1);
    assert_true(fake_played_out());
    assert_int_equal(err.kind, ERR_NOTFOUND);
    assert_null(strstr(err.text, "SECRET"));
    release(&r);
}

static void a_part_without_etag_is_a_broken_answer(void **state)
{
    (void)state;
    const struct fake_answer script[] = {
        {"PUT https://h/o?1", 200, NULL, NULL}, {"DELETE https://h/o?a=", 204, NULL, NULL}, END};
    struct reading r;
    struct s3_stored stored;
    struct err err = ERR_INIT;
    assert_int_equal(read_grant(&r, PARTS(",\"parts\":[\"https://h/o?1\"]")), 0);
    fake_play(script);
    assert_int_equal(store(&r, NULL, &stored, &err), -1);
    assert_true(fake_played_out());
    assert_int_equal(err.kind, ERR_PROTOCOL);
    release(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_grant_of_parts_is_read_whole),
        cmocka_unit_test(what_is_no_grant_is_refused_without_its_urls),
        cmocka_unit_test(parts_that_the_grant_does_not_hold_are_asked_for),
        cmocka_unit_test(a_refused_url_is_replaced_once),
        cmocka_unit_test(an_error_after_200_is_a_failure_and_asked_about_again),
        cmocka_unit_test(a_part_without_etag_is_a_broken_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
