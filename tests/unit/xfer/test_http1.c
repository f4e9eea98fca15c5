#include "xfer/http1.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static int parse(struct http1_head *h, const char *text, struct err *err)
{
    err_clear(err);
    size_t n = http1_head_length(span_of(text));
    assert_true(n > 0);
    return http1_parse_head(h, (struct span){text, n}, false, err);
}

static void a_head_gives_status_fields_and_framing(void **state)
{
    (void)state;
    struct http1_head h;
    struct err err = ERR_INIT;
    assert_int_equal(parse(&h, "HTTP/1.1 206 Partial Content\r\nETag: \"x\" \r\nCONTENT-LENGTH:  42\r\n\r\nbody", &err),
                     0);
    assert_int_equal(h.status, 206);
    assert_int_equal(h.framing, HTTP1_LENGTH);
    assert_int_equal(h.content_length, 42);
    assert_true(h.keep_alive);
    assert_true(span_eq(http1_get(&h, "etag"), SPAN_LIT("\"x\"")));
    assert_null(http1_get(&h, "absent").p);
}

static void framing_follows_the_rules(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum http1_framing framing;
        bool keep_alive;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", HTTP1_CHUNKED, true},
        {"HTTP/1.1 200 OK\r\n\r\n", HTTP1_TO_CLOSE, false},
        {"HTTP/1.1 204 None\r\nContent-Length: 5\r\n\r\n", HTTP1_NO_BODY, true},
        {"HTTP/1.1 304\r\n\r\n", HTTP1_NO_BODY, true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: foo, close\r\n\r\n", HTTP1_LENGTH, false},
        {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", HTTP1_LENGTH, false},
        {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: Keep-Alive\r\n\r\n", HTTP1_LENGTH, true},
        {"HTTP/1.1 200 OK\nContent-Length: 5\n\n", HTTP1_LENGTH, true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", HTTP1_LENGTH, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http1_head h;
        struct err err = ERR_INIT;
        if (parse(&h, cases[i].text, &err) < 0)
            fail_msg("%zu: %s", i, err.text);
        assert_int_equal(h.framing, cases[i].framing);
        assert_int_equal(h.keep_alive, cases[i].keep_alive);
    }
}

static void what_two_parties_could_read_differently_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "http/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: 1\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: nameless\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\001\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct http1_head h;
        struct err err = ERR_INIT;
        if (parse(&h, bad[i], &err) == 0)
            fail_msg("taken: %s", bad[i]);
        assert_int_equal(err.kind, ERR_PROTOCOL);
    }
}

static void a_head_is_complete_only_with_its_empty_line(void **state)
{
    (void)state;
    static const char text[] = "HTTP/1.1 200 OK\r\nA: b\r\n\r\nrest";
    size_t whole = sizeof text - 1 - 4;
    for (size_t n = 0; n < sizeof text; n++)
        assert_int_equal(http1_head_length((struct span){text, n}), n < whole ? 0 : whole);
}

static void too_many_fields_are_refused(void **state)
{
    (void)state;
    struct http1_head h;
    struct err err = ERR_INIT;
    AUTO_BUF text;
    buf_init(&text, HTTP1_HEAD_MAX);
    buf_adds(&text, "HTTP/1.1 200 OK\r\n");
    for (unsigned i = 0; i <= HTTP1_FIELDS_MAX; i++)
        buf_adds(&text, "A: b\r\n");
    buf_adds(&text, "\r\n");
    assert_int_equal(http1_parse_head(&h, buf_span(&text), false, &err), -1);
}

/* ---- bodies ---- */

/* Feed `in` in pieces of `step`; the payload in `out`. */
static int feed(struct http1_body *b, const char *in, size_t step, struct buf *out, size_t *used, struct err *err)
{
    size_t at = 0, n = strlen(in);
    while (at < n && !b->complete) {
        struct span piece = {in + at, n - at < step ? n - at : step};
        size_t before = piece.n;
        while (piece.n > 0 && !b->complete) {
            struct span data;
            if (http1_body_next(b, &piece, &data, err) < 0)
                return -1;
            buf_add_span(out, data);
        }
        at += before - piece.n;
    }
    *used = at;
    return 0;
}

static struct http1_body chunked(void)
{
    struct http1_body b;
    struct http1_head h = {.framing = HTTP1_CHUNKED};
    http1_body_start(&b, &h);
    return b;
}

static void chunks_are_joined_however_they_arrive(void **state)
{
    (void)state;
    static const char in[] = "5\r\nhello\r\n00B ; a=b\r\n, wide worl\r\n1\nd\n0\r\nX: y\r\n\r\nNEXT";
    for (size_t step = 1; step < sizeof in; step++) {
        struct http1_body b = chunked();
        struct err err = ERR_INIT;
        AUTO_BUF out;
        size_t used;
        buf_init(&out, 100);
        if (feed(&b, in, step, &out, &used, &err) < 0)
            fail_msg("step %zu: %s", step, err.text);
        assert_string_equal(buf_str(&out), "hello, wide world");
        assert_true(b.complete);
        assert_string_equal(in + used, "NEXT");
    }
}

static void broken_chunks_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\r\n",
        "x\r\n",
        "-1\r\n",
        "5\r\nhelloX\r\n",
        "5\r\nhello\r\r\n",
        "ffffffffffffffff\r\n",
        "10000000000000000\r\n",
        "5 5\r\nhello",
        ";a=b\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct http1_body b = chunked();
        struct err err = ERR_INIT;
        AUTO_BUF out;
        size_t used;
        buf_init(&out, 100);
        int rc = feed(&b, bad[i], 1, &out, &used, &err);
        if (rc == 0)
            fail_msg("taken: %s", bad[i]);
    }
}

static void endless_lines_and_trailers_are_bounded(void **state)
{
    (void)state;
    static const char *const begins[] = {"5;", "0\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(begins); i++) {
        struct http1_body b = chunked();
        struct err err = ERR_INIT;
        AUTO_BUF in, out;
        size_t used;
        buf_init(&in, 100000);
        buf_init(&out, 100);
        buf_adds(&in, begins[i]);
        while (in.n < HTTP1_TRAILER_MAX + 100)
            buf_adds(&in, "abcdefghijklmnop");
        assert_int_equal(feed(&b, buf_str(&in), 1000, &out, &used, &err), -1);
        assert_int_equal(err.kind, ERR_PROTOCOL);
    }
}

static void the_end_of_the_connection_completes_only_bodies_without_a_length(void **state)
{
    (void)state;
    static const struct {
        struct http1_head head;
        int rc;
    } cases[] = {
        {{.framing = HTTP1_TO_CLOSE}, 0},
        {{.framing = HTTP1_LENGTH, .content_length = 5}, -1},
        {{.framing = HTTP1_LENGTH, .content_length = 0}, 0},
        {{.framing = HTTP1_CHUNKED}, -1},
        {{.framing = HTTP1_NO_BODY}, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http1_body b;
        struct err err = ERR_INIT;
        http1_body_start(&b, &cases[i].head);
        assert_int_equal(http1_body_end(&b, &err), cases[i].rc);
        assert_int_equal(err.kind, cases[i].rc ? ERR_TRANSIENT : ERR_NONE);
    }
}

static void content_ranges_are_read_strictly(void **state)
{
    (void)state;
    struct http1_range r;
    struct err err = ERR_INIT;
    assert_int_equal(http1_parse_content_range(SPAN_LIT("bytes 0-99/1000"), &r, &err), 0);
    assert_true(r.first == 0 && r.last == 99 && r.total == 1000);
    assert_int_equal(http1_parse_content_range(SPAN_LIT("bytes 5-5/*"), &r, &err), 0);
    assert_true(r.total == UINT64_MAX);
    static const char *const bad[] = {
        "",          "bytes",        "bytes */1000", "bytes 9-5/10",  "bytes 0-10/10", "items 0-1/2",
        "bytes 0-1", "bytes -1-1/2", "bytes 0-1/x",  "bytes 0-1/2/3", "bytes 0 -1/2"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        err_clear(&err);
        if (http1_parse_content_range(span_of(bad[i]), &r, &err) == 0)
            fail_msg("taken: %s", bad[i]);
    }
}

static void a_request_is_written_whole(void **state)
{
    (void)state;
    AUTO_BUF out;
    buf_init(&out, 1000);
    http1_write_request(&out, "GET", SPAN_LIT("/a?b"), SPAN_LIT("h:1"), "ua", SPAN_LIT("Range: bytes=0-1\r\n"));
    assert_string_equal(buf_str(&out), "GET /a?b HTTP/1.1\r\nHost: h:1\r\nUser-Agent: ua\r\nAccept: */*\r\n"
                                       "Range: bytes=0-1\r\n\r\n");
}

static void header_lines_that_split_a_request_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"A: b", "A: b\n", "A: b\r\n\r\n", "A b\r\n", "A: b\rC: d\r\n", " A: b\r\n"};
    struct err err = ERR_INIT;
    assert_int_equal(http1_check_lines(SPAN_LIT(""), &err), 0);
    assert_int_equal(http1_check_lines(SPAN_LIT("A: b\r\nC:\r\n"), &err), 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        err_clear(&err);
        if (http1_check_lines(span_of(bad[i]), &err) == 0)
            fail_msg("taken: %s", bad[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_gives_status_fields_and_framing),
        cmocka_unit_test(framing_follows_the_rules),
        cmocka_unit_test(what_two_parties_could_read_differently_is_refused),
        cmocka_unit_test(a_head_is_complete_only_with_its_empty_line),
        cmocka_unit_test(too_many_fields_are_refused),
        cmocka_unit_test(chunks_are_joined_however_they_arrive),
        cmocka_unit_test(broken_chunks_are_refused),
        cmocka_unit_test(endless_lines_and_trailers_are_bounded),
        cmocka_unit_test(the_end_of_the_connection_completes_only_bodies_without_a_length),
        cmocka_unit_test(content_ranges_are_read_strictly),
        cmocka_unit_test(a_request_is_written_whole),
        cmocka_unit_test(header_lines_that_split_a_request_are_refused),
    };
    return cmocka_run_group_tests_name("http1", tests, NULL, NULL);
}
