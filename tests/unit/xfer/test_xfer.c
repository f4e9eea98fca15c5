/* The engine against a server that behaves: sizes, framings, ranges, redirects, groups, cancellation. */
#include "xfer_rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void a_large_object_comes_in_parts_and_is_whole(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    xrig_must_succeed(&r);
    assert_int_equal(r.asks, 9);
    assert_int_equal(r.sent, OBJECT_SIZE);
    assert_int_equal(r.result.bytes_wire, OBJECT_SIZE);
    assert_int_equal(atomic_load(&r.group.bytes_wire), OBJECT_SIZE);
    assert_int_equal(r.opened, 1);
    assert_int_equal(r.judged, 9);
    assert_string_equal(r.head_etag, "\"v1\"");
    xrig_close(&r);
}

static void several_threads_share_one_object(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    xrig_open(&r, &(struct xfer_opts){.threads = 4, .part_bytes = 64 * 1024});
    xrig_must_succeed(&r);
    assert_int_equal(r.asks, 33);
    xrig_close(&r);
}

static void a_small_object_takes_one_request_without_a_range(void **state)
{
    struct xrig r;
    xrig_init(&r, state, 5000);
    xrig_must_succeed(&r);
    assert_int_equal(r.asks, 1);
    assert_false(xrig_asked(&r, 0, "\r\nRange:"));
    xrig_close(&r);
}

static void an_empty_object_gives_an_empty_file_without_a_range(void **state)
{
    struct xrig r;
    xrig_init(&r, state, 0);
    xrig_must_succeed(&r);
    assert_int_equal(r.asks, 1);
    assert_false(xrig_asked(&r, 0, "\r\nRange:"));
    assert_int_equal(r.opened, 1);
    xrig_close(&r);
}

static void connections_are_used_again(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    xrig_open(&r, &(struct xfer_opts){.threads = 1, .max_connections_host = 1});
    xrig_must_succeed(&r);
    assert_int_equal(loopback_connections(r.server), 1);
    struct xfer_stats stats;
    xfer_stats(r.x, &stats);
    assert_int_equal(stats.connections_opened, 1);
    assert_int_equal(stats.requests, 9);
    assert_int_equal(stats.bytes_written, OBJECT_SIZE);
    assert_true(stats.buffer_bytes_peak <= 32u * 1024 * 1024);
    xrig_close(&r);
}

/* ---- unknown sizes ---- */

static void an_object_of_unknown_size_comes_as_one_stream(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    r.get.size = XFER_SIZE_UNKNOWN;
    xrig_must_succeed(&r);
    assert_int_equal(r.asks, 1);
    assert_int_equal(r.given_size, OBJECT_SIZE);
    xrig_close(&r);
}

static int in_chunks(struct xrig *r, const struct ask *ask, struct buf *out)
{
    (void)ask;
    buf_adds(out, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (size_t at = 0, n; at < r->size; at += n) {
        n = r->size - at < 70001 ? r->size - at : 70001;
        buf_addf(out, "%zx;ext=1\r\n", n);
        buf_add(out, r->bytes + at, n);
        buf_adds(out, "\r\n");
    }
    buf_adds(out, "0\r\nX-Trailer: 1\r\n\r\n");
    return LOOPBACK_KEEP;
}

static void chunked_bodies_are_put_together(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    r.get.size = XFER_SIZE_UNKNOWN;
    r.fault = in_chunks;
    xrig_must_succeed(&r);
    assert_true(r.given_size == XFER_SIZE_UNKNOWN);
    xrig_close(&r);
}

static int until_close(struct xrig *r, const struct ask *ask, struct buf *out)
{
    (void)ask;
    buf_adds(out, "HTTP/1.0 200 OK\r\n\r\n");
    buf_add(out, r->bytes, r->size);
    return LOOPBACK_CLOSE;
}

static void a_body_may_end_with_the_connection_where_no_length_is_stated(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    r.get.size = XFER_SIZE_UNKNOWN;
    r.fault = until_close;
    xrig_must_succeed(&r);
    xrig_close(&r);
}

static int with_interim(struct xrig *r, const struct ask *ask, struct buf *out)
{
    (void)r;
    (void)ask;
    buf_adds(out, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
    return GO_ON;
}

static void interim_answers_are_passed_over(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    r.fault = with_interim;
    xrig_must_succeed(&r);
    xrig_close(&r);
}

/* ---- HEAD ---- */

static void a_head_request_gives_size_and_headers_and_touches_no_sink(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    r.get.size = XFER_SIZE_UNKNOWN;
    r.get.head_only = true;
    xrig_run(&r);
    assert_int_equal(r.err.kind, ERR_NONE);
    assert_int_equal(r.result.size, OBJECT_SIZE);
    assert_string_equal(r.head_etag, "\"v1\"");
    assert_int_equal(r.opened, 0);
    assert_true(xrig_asked(&r, 0, "HEAD /bucket/key?sig=canary HTTP/1.1\r\n"));
    xrig_close(&r);
}

/* ---- headers ---- */

static void the_sources_headers_are_sent_and_the_engines_own_are_not_overridden(void **state)
{
    struct xrig r;
    xrig_init(&r, state, 100);
    r.headers = "If-Match: \"v1\"\r\nX-Empty:\r\nRange: bytes=5-6\r\nHost: elsewhere\r\n";
    xrig_must_succeed(&r);
    assert_true(xrig_asked(&r, 0, "\r\nIf-Match: \"v1\"\r\n"));
    assert_true(xrig_asked(&r, 0, "\r\nX-Empty:"));
    assert_true(xrig_asked(&r, 0, "\r\nUser-Agent: berth/"));
    assert_true(xrig_asked(&r, 0, "\r\nHost: 127.0.0.1:"));
    assert_false(xrig_asked(&r, 0, "elsewhere"));
    assert_false(xrig_asked(&r, 0, "\r\nRange:"));
    assert_false(xrig_asked(&r, 0, "Accept-Encoding"));
    xrig_close(&r);
}

static void a_header_that_would_split_the_request_is_refused(void **state)
{
    struct xrig r;
    xrig_init(&r, state, 100);
    r.headers = "X-A: 1\nX-B: 2\r\n";
    xrig_must_fail(&r, ERR_INVALID, "s3://bucket/key");
    assert_int_equal(r.asks, 0);
    xrig_close(&r);
}

static int gzip_label(struct xrig *r, const struct ask *ask, struct buf *out)
{
    (void)ask;
    (void)out;
    r->extra = "Content-Encoding: gzip\r\n";
    return GO_ON;
}

static void content_encoding_is_never_decoded(void **state)
{
    struct xrig r;
    xrig_init(&r, state, 3000);
    r.fault = gzip_label;
    xrig_must_succeed(&r);
    xrig_close(&r);
}

/* ---- redirects ---- */

static int move_to_itself(struct xrig *r, const struct ask *ask, struct buf *out)
{
    if (strstr(ask->text, " /moved"))
        return GO_ON;
    (void)r;
    buf_adds(out, "HTTP/1.1 302 Found\r\nLocation: /moved\r\nContent-Length: 4\r\n\r\ngone");
    return LOOPBACK_KEEP;
}

static void a_redirect_within_the_origin_keeps_the_headers(void **state)
{
    struct xrig r;
    xrig_init(&r, state, 1000);
    r.headers = "Authorization: secret\r\n";
    r.fault = move_to_itself;
    xrig_must_succeed(&r);
    assert_true(xrig_asked(&r, 1, "GET /moved HTTP/1.1"));
    assert_true(xrig_asked(&r, 1, "Authorization: secret"));
    xrig_close(&r);
}

static int move_to_other_name(struct xrig *r, const struct ask *ask, struct buf *out)
{
    if (strstr(ask->text, " /moved"))
        return GO_ON;
    buf_addf(out, "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://localhost:%u/moved\r\nContent-Length: 0\r\n\r\n",
             loopback_port(r->server));
    return LOOPBACK_KEEP;
}

static void a_redirect_to_another_origin_drops_credentials_and_is_remembered(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    r.headers = "Authorization: secret\r\nX-Amz-Security-Token: t\r\nCookie: c\r\nIf-Match: \"v1\"\r\n";
    r.fault = move_to_other_name;
    xrig_open(&r, &(struct xfer_opts){.threads = 1, .max_connections_host = 1});
    xrig_must_succeed(&r);
    unsigned detours = 0;
    for (size_t i = 0; i < r.texts.n; i++) {
        if (!xrig_asked(&r, i, " /moved")) {
            detours++;
            continue;
        }
        assert_false(xrig_asked(&r, i, "secret"));
        assert_false(xrig_asked(&r, i, "Security-Token"));
        assert_false(xrig_asked(&r, i, "Cookie"));
        assert_true(xrig_asked(&r, i, "If-Match"));
    }
    assert_int_equal(detours, 1);
    xrig_close(&r);
}

static int round_and_round(struct xrig *r, const struct ask *ask, struct buf *out)
{
    (void)r;
    buf_addf(out, "HTTP/1.1 302 Found\r\nLocation: /again/%u\r\nContent-Length: 0\r\n\r\n", ask->number);
    return LOOPBACK_KEEP;
}

static void the_sixth_redirect_is_not_followed(void **state)
{
    struct xrig r;
    xrig_init(&r, state, 1000);
    r.fault = round_and_round;
    xrig_must_fail(&r, ERR_LIMIT, "redirect");
    assert_int_equal(r.asks, 6);
    xrig_close(&r);
}

static int to_metadata(struct xrig *r, const struct ask *ask, struct buf *out)
{
    (void)r;
    (void)ask;
    buf_adds(out, "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest\r\nContent-Length: 0\r\n\r\n");
    return LOOPBACK_KEEP;
}

static void a_redirect_to_where_the_policy_forbids_is_refused(void **state)
{
    static const char *const allow[] = {"127.0.0.1", NULL};
    struct xrig r;
    xrig_init(&r, state, 1000);
    r.group.policy.public_only = true;
    r.group.policy.allow = allow;
    r.fault = to_metadata;
    xrig_must_fail(&r, ERR_REFUSED, "169.254.169.254");
    assert_int_equal(r.asks, 1);
    xrig_close(&r);
}

static void the_policy_is_asked_for_the_address_behind_a_name(void **state)
{
    struct xrig r;
    xrig_init(&r, state, 1000);
    r.group.policy.public_only = true;
    xrig_open(&r, NULL);
    snprintf(r.url, sizeof r.url, "http://localhost:%u/x", loopback_port(r.server));
    xrig_must_fail(&r, ERR_REFUSED, "localhost");
    assert_int_equal(r.asks, 0);
    xrig_close(&r);
}

/* ---- several files ---- */

static void a_group_that_comes_later_need_not_wait_for_an_earlier_one(void **state)
{
    struct xrig big, small;
    xrig_init(&big, state, OBJECT_SIZE);
    xrig_init(&small, state, 1000);
    xrig_open(&big, &(struct xfer_opts){.threads = 1, .max_connections = 1, .part_bytes = 16 * 1024});
    xrig_open(&small, NULL);
    xfer_free(small.x);
    small.x = big.x;
    xrig_start(&big);
    xrig_start(&small);
    xrig_wait(&small);
    assert_int_equal(small.err.kind, ERR_NONE);
    xrig_wait(&big);
    assert_int_equal(big.err.kind, ERR_NONE);
    small.x = NULL;
    xrig_close(&small);
    xrig_close(&big);
}

/* ---- ends ---- */

static int hold(struct xrig *r, const struct ask *ask, struct buf *out)
{
    answer_cut(r, ask, 1000, out);
    cancel_raise(&r->cancel, CANCEL_STOP);
    return LOOPBACK_HOLD;
}

static void cancellation_ends_a_transfer_that_would_never_end(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    r.fault = hold;
    xrig_open(&r, &(struct xfer_opts){.threads = 2});
    xrig_must_fail(&r, ERR_CANCELLED, "s3://bucket/key");
    assert_int_equal(r.dones, 1);
    xrig_close(&r);
}

static int hold_only(struct xrig *r, const struct ask *ask, struct buf *out)
{
    (void)r;
    (void)ask;
    (void)out;
    return LOOPBACK_HOLD;
}

static void freeing_the_engine_ends_everything_and_done_runs_once(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    r.fault = hold_only;
    xrig_open(&r, &(struct xfer_opts){.threads = 2});
    for (int i = 0; i < 5; i++)
        xrig_start(&r);
    xfer_free(r.x);
    r.x = NULL;
    assert_int_equal(r.dones, 5);
    assert_int_equal(r.pending, 0);
    assert_int_equal(r.err.kind, ERR_CANCELLED);
    xrig_close(&r);
}

static void a_sink_that_cannot_open_fails_its_file_alone(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    r.open_error = ENOSPC;
    xrig_must_fail(&r, ERR_NOSPACE, "s3://bucket/key");
    assert_int_equal(r.asks, 0);
    xrig_close(&r);
}

static void a_bandwidth_ceiling_changes_no_byte(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    xrig_open(&r, &(struct xfer_opts){.threads = 2, .bytes_per_second = 20u * 1024 * 1024});
    xrig_must_succeed(&r);
    xrig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH_LANES(a_large_object_comes_in_parts_and_is_whole),
        BOTH_LANES(several_threads_share_one_object),
        BOTH_LANES(a_small_object_takes_one_request_without_a_range),
        BOTH_LANES(an_empty_object_gives_an_empty_file_without_a_range),
        BOTH_LANES(connections_are_used_again),
        BOTH_LANES(an_object_of_unknown_size_comes_as_one_stream),
        BOTH_LANES(chunked_bodies_are_put_together),
        BOTH_LANES(a_body_may_end_with_the_connection_where_no_length_is_stated),
        BOTH_LANES(interim_answers_are_passed_over),
        BOTH_LANES(a_head_request_gives_size_and_headers_and_touches_no_sink),
        BOTH_LANES(the_sources_headers_are_sent_and_the_engines_own_are_not_overridden),
        BOTH_LANES(a_header_that_would_split_the_request_is_refused),
        BOTH_LANES(content_encoding_is_never_decoded),
        BOTH_LANES(a_redirect_within_the_origin_keeps_the_headers),
        BOTH_LANES(a_redirect_to_another_origin_drops_credentials_and_is_remembered),
        BOTH_LANES(the_sixth_redirect_is_not_followed),
        BOTH_LANES(a_redirect_to_where_the_policy_forbids_is_refused),
        BOTH_LANES(the_policy_is_asked_for_the_address_behind_a_name),
        BOTH_LANES(a_group_that_comes_later_need_not_wait_for_an_earlier_one),
        BOTH_LANES(cancellation_ends_a_transfer_that_would_never_end),
        BOTH_LANES(freeing_the_engine_ends_everything_and_done_runs_once),
        BOTH_LANES(a_sink_that_cannot_open_fails_its_file_alone),
        BOTH_LANES(a_bandwidth_ceiling_changes_no_byte),
    };
    return cmocka_run_group_tests_name("xfer", tests, NULL, NULL);
}
