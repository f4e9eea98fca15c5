/* What must happen when servers and networks misbehave. */
#include "xfer_rig.h"

#include "xfer/sched.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- lengths (a body shorter or longer than stated) ---- */

static int cut_second(struct xrig *r, const struct ask *ask, struct buf *out)
{
    if (ask->first != PART)
        return GO_ON;
    answer_cut(r, ask, PART / 2, out);
    return LOOPBACK_CLOSE;
}

static void a_body_that_ends_early_is_continued_where_it_stopped(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    r.fault = cut_second;
    xrig_must_succeed(&r);
    assert_int_equal(r.asks, 10);
    assert_int_equal(r.sent, OBJECT_SIZE);
    assert_int_equal(atomic_load(&r.group.retries), 1);
    xrig_close(&r);
}

static int reset_each_part_once(struct xrig *r, const struct ask *ask, struct buf *out)
{
    uint64_t n = ask->last - ask->first + 1;
    if (n < PART)
        return GO_ON;
    answer_cut(r, ask, n / 2, out);
    return LOOPBACK_RESET;
}

static void a_reset_in_the_middle_of_every_part_keeps_the_progress(void **state)
{
    struct xrig r;
    xrig_init(&r, state, 4 * PART);
    r.fault = reset_each_part_once;
    xrig_must_succeed(&r);
    assert_true(r.sent >= 4 * PART);
    assert_true(atomic_load(&r.group.retries) == 4);
    xrig_close(&r);
}

static int short_chunked(struct xrig *r, const struct ask *ask, struct buf *out)
{
    if (ask->number != 0)
        return GO_ON;
    buf_adds(out, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n");
    buf_add(out, r->bytes, 5);
    buf_adds(out, "\r\n0\r\n\r\n");
    return LOOPBACK_KEEP;
}

static void a_whole_body_that_is_shorter_than_the_object_is_fetched_again(void **state)
{
    struct xrig r;
    xrig_init(&r, state, 1000);
    r.fault = short_chunked;
    xrig_must_succeed(&r);
    assert_int_equal(r.asks, 2);
    assert_true(xrig_asked(&r, 1, "Range: bytes=5-999"));
    xrig_close(&r);
}

static int always_long(struct xrig *r, const struct ask *ask, struct buf *out)
{
    (void)ask;
    buf_addf(out, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", r->size + 1);
    buf_add(out, r->bytes, r->size);
    buf_addc(out, 'x');
    return LOOPBACK_KEEP;
}

static void a_body_that_is_always_too_long_is_never_taken(void **state)
{
    struct xrig r;
    xrig_init(&r, state, 1000);
    r.fault = always_long;
    xrig_open(&r, &(struct xfer_opts){.threads = 1, .tries = 2});
    xrig_must_fail(&r, ERR_CORRUPT, "1001 bytes");
    assert_int_equal(r.asks, 2);
    xrig_close(&r);
}

static int long_chunked(struct xrig *r, const struct ask *ask, struct buf *out)
{
    (void)ask;
    buf_addf(out, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%zx\r\n", r->size + 1);
    buf_add(out, r->bytes, r->size);
    buf_adds(out, "x\r\n0\r\n\r\n");
    return LOOPBACK_KEEP;
}

static void a_chunked_body_that_is_too_long_is_never_taken(void **state)
{
    struct xrig r;
    xrig_init(&r, state, 1000);
    r.fault = long_chunked;
    xrig_open(&r, &(struct xfer_opts){.threads = 1, .tries = 2});
    xrig_must_fail(&r, ERR_CORRUPT, "longer than stated");
    xrig_close(&r);
}

static int cut_stream_once(struct xrig *r, const struct ask *ask, struct buf *out)
{
    if (ask->number != 0)
        return GO_ON;
    answer_cut(r, ask, r->size / 2, out);
    return LOOPBACK_CLOSE;
}

static void a_stream_of_unknown_size_that_breaks_starts_anew(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    r.get.size = XFER_SIZE_UNKNOWN;
    r.fault = cut_stream_once;
    xrig_must_succeed(&r);
    assert_int_equal(r.asks, 2);
    assert_false(xrig_asked(&r, 1, "\r\nRange:"));
    xrig_close(&r);
}

/* ---- ranges (200 to a range, wrong Content-Range) ---- */

static int no_ranges(struct xrig *r, const struct ask *ask, struct buf *out)
{
    struct ask whole = *ask;
    whole.ranged = false;
    whole.first = 0;
    whole.last = r->size - 1;
    answer_cut(r, &whole, r->size, out);
    return LOOPBACK_KEEP;
}

static void a_server_without_ranges_gives_one_stream(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    r.fault = no_ranges;
    xrig_open(&r, &(struct xfer_opts){.threads = 3});
    xrig_must_succeed(&r);
    assert_true(r.asks <= GATE_START);
    xrig_close(&r);
}

static int no_ranges_later(struct xrig *r, const struct ask *ask, struct buf *out)
{
    return ask->number < 3 ? GO_ON : no_ranges(r, ask, out);
}

static void a_server_that_stops_doing_ranges_gives_one_stream(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    r.fault = no_ranges_later;
    xrig_open(&r, &(struct xfer_opts){.threads = 2, .max_connections_host = 2});
    xrig_must_succeed(&r);
    xrig_close(&r);
}

static int no_content_range(struct xrig *r, const struct ask *ask, struct buf *out)
{
    (void)r;
    buf_addf(out, "HTTP/1.1 206 Partial Content\r\nContent-Length: %llu\r\n\r\n",
             (unsigned long long)(ask->last - ask->first + 1));
    return LOOPBACK_HOLD;
}

static void a_206_without_content_range_is_a_protocol_error(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    r.fault = no_content_range;
    xrig_must_fail(&r, ERR_PROTOCOL, "Content-Range");
    xrig_close(&r);
}

static int other_range(struct xrig *r, const struct ask *ask, struct buf *out)
{
    struct ask shifted = *ask;
    shifted.first++;
    shifted.last++;
    answer_head(r, &shifted, out);
    return LOOPBACK_HOLD;
}

static void a_206_with_another_range_is_a_protocol_error(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    r.fault = other_range;
    xrig_open(&r, &(struct xfer_opts){.threads = 1, .max_connections_host = 1});
    xrig_must_fail(&r, ERR_PROTOCOL, "asked for");
    xrig_close(&r);
}

static int grown(struct xrig *r, const struct ask *ask, struct buf *out)
{
    (void)r;
    buf_addf(out,
             "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %llu-%llu/999999999\r\nContent-Length: %llu\r\n\r\n",
             (unsigned long long)ask->first, (unsigned long long)ask->last,
             (unsigned long long)(ask->last - ask->first + 1));
    return LOOPBACK_HOLD;
}

static void an_object_of_another_size_has_changed(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    r.fault = grown;
    xrig_must_fail(&r, ERR_CHANGED, "changed while downloading");
    xrig_close(&r);
}

static int precondition(struct xrig *r, const struct ask *ask, struct buf *out)
{
    (void)r;
    if (ask->number < 2)
        return GO_ON;
    buf_adds(out, "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n");
    return LOOPBACK_KEEP;
}

static void a_412_is_judged_by_the_source(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    r.fault = precondition;
    xrig_must_fail(&r, ERR_CHANGED, "changed while downloading");
    xrig_close(&r);
}

/* ---- broken HTTP ---- */

static int garbage(struct xrig *r, const struct ask *ask, struct buf *out)
{
    (void)r;
    (void)ask;
    buf_adds(out, "SSH-2.0-OpenSSH_9.2\r\n\r\n");
    return LOOPBACK_CLOSE;
}

static void what_is_no_http_fails_without_retries(void **state)
{
    struct xrig r;
    xrig_init(&r, state, 1000);
    r.fault = garbage;
    xrig_must_fail(&r, ERR_PROTOCOL, "s3://bucket/key");
    assert_int_equal(r.asks, 1);
    xrig_close(&r);
}

static int endless_head(struct xrig *r, const struct ask *ask, struct buf *out)
{
    (void)r;
    (void)ask;
    buf_adds(out, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 3000; i++)
        buf_adds(out, "X-Filler: 0123456789012345678901234567890123456789\r\n");
    return LOOPBACK_HOLD;
}

static void a_head_without_end_is_cut_off(void **state)
{
    struct xrig r;
    xrig_init(&r, state, 1000);
    r.fault = endless_head;
    xrig_open(&r, &(struct xfer_opts){.threads = 1, .tries = 1});
    xrig_run(&r);
    assert_true(r.err.kind == ERR_PROTOCOL || r.err.kind == ERR_LIMIT);
    xrig_close(&r);
}

/* ---- connections ---- */

static int close_before_answer(struct xrig *r, const struct ask *ask, struct buf *out)
{
    (void)r;
    (void)out;
    return ask->number % 2 == 1 ? LOOPBACK_CLOSE : GO_ON;
}

static void a_kept_connection_that_was_closed_costs_no_try(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    r.fault = close_before_answer;
    xrig_open(&r, &(struct xfer_opts){.threads = 1, .max_connections_host = 1, .tries = 1});
    xrig_must_succeed(&r);
    assert_int_equal(atomic_load(&r.group.retries), 0);
    xrig_close(&r);
}

static int close_always(struct xrig *r, const struct ask *ask, struct buf *out)
{
    (void)r;
    (void)ask;
    (void)out;
    return LOOPBACK_CLOSE;
}

static void a_server_that_never_answers_is_given_up_after_the_tries(void **state)
{
    struct xrig r;
    xrig_init(&r, state, 1000);
    r.fault = close_always;
    xrig_open(&r, &(struct xfer_opts){.threads = 1, .tries = 3});
    xrig_must_fail(&r, ERR_TRANSIENT, "after 3 tries");
    assert_int_equal(r.asks, 3);
    assert_int_equal(atomic_load(&r.group.retries), 2);
    xrig_close(&r);
}

static void a_refused_connection_names_the_host(void **state)
{
    struct xrig r;
    xrig_init(&r, state, 1000);
    xrig_open(&r, &(struct xfer_opts){.threads = 1, .tries = 2});
    loopback_stop(r.server);
    xrig_must_fail(&r, ERR_TRANSIENT, "127.0.0.1");
    xrig_close(&r);
}

static void a_name_that_does_not_resolve_is_an_error_with_that_name(void **state)
{
    struct xrig r;
    xrig_init(&r, state, 1000);
    xrig_open(&r, &(struct xfer_opts){.threads = 1, .tries = 1});
    snprintf(r.url, sizeof r.url, "http://no-such-host.invalid/x");
    xrig_must_fail(&r, ERR_TRANSIENT, "no-such-host.invalid");
    xrig_close(&r);
}

static void tls_to_a_server_without_tls_fails(void **state)
{
    struct xrig r;
    xrig_init(&r, state, 1000);
    xrig_open(&r, &(struct xfer_opts){.threads = 1, .tries = 1});
    snprintf(r.url, sizeof r.url, "https://127.0.0.1:%u/x", loopback_port(r.server));
    r.fault = close_always;
    xrig_run(&r);
    assert_true(r.err.kind == ERR_PROTOCOL || r.err.kind == ERR_TRANSIENT);
    assert_non_null(strstr(r.err.text, "127.0.0.1"));
    xrig_close(&r);
}

/* ---- pressure ---- */

static int slow_down(struct xrig *r, const struct ask *ask, struct buf *out)
{
    (void)ask;
    if (r->faults++ >= 7)
        return GO_ON;
    buf_adds(out, r->faults % 2 ? "HTTP/1.1 503 Slow Down\r\nContent-Length: 8\r\n\r\nSlowDown"
                                : "HTTP/1.1 429 Too Many\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n");
    return LOOPBACK_KEEP;
}

static void refusals_under_pressure_are_outlasted_without_a_storm(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    r.fault = slow_down;
    xrig_open(&r, &(struct xfer_opts){.threads = 2, .max_connections_host = 4, .tries = 2});
    xrig_must_succeed(&r);
    assert_true(r.asks <= 9 + 7 + 1);
    xrig_close(&r);
}

static int always_503(struct xrig *r, const struct ask *ask, struct buf *out)
{
    (void)r;
    (void)ask;
    buf_adds(out, "HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n");
    return LOOPBACK_KEEP;
}

static void pressure_without_end_ends_with_the_patience(void **state)
{
    struct xrig r;
    xrig_init(&r, state, 1000);
    r.fault = always_503;
    xrig_open(&r, &(struct xfer_opts){.threads = 1, .patience_ms = 200});
    xrig_must_fail(&r, ERR_TRANSIENT, "HTTP 503");
    assert_true(r.asks < 12);
    xrig_close(&r);
}

static int one_500(struct xrig *r, const struct ask *ask, struct buf *out)
{
    (void)r;
    if (ask->number != 2)
        return GO_ON;
    buf_adds(out, "HTTP/1.1 500 Oops\r\nContent-Length: 5\r\n\r\nsorry");
    return LOOPBACK_KEEP;
}

static void a_server_error_is_tried_again(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    r.fault = one_500;
    xrig_must_succeed(&r);
    assert_int_equal(r.asks, 10);
    assert_int_equal(r.judged, 9);
    xrig_close(&r);
}

/* ---- stalls ---- */

static int hold_first_of_second_part(struct xrig *r, const struct ask *ask, struct buf *out)
{
    if (ask->first != PART || r->faults++ > 0)
        return GO_ON;
    answer_cut(r, ask, 1, out);
    return LOOPBACK_HOLD;
}

static void a_part_that_stalls_gets_a_second_request_and_completes(void **state)
{
    struct xrig r;
    struct xfer_stats stats;
    xrig_init(&r, state, OBJECT_SIZE);
    r.fault = hold_first_of_second_part;
    xrig_open(&r, &(struct xfer_opts){.threads = 2, .stall_ms = 100});
    xrig_must_succeed(&r);
    xfer_stats(r.x, &stats);
    assert_int_equal(stats.hedges, 1);
    assert_int_equal(r.asks, 10);
    xrig_close(&r);
}

static void a_stall_is_hedged_even_where_one_connection_is_allowed(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    r.fault = hold_first_of_second_part;
    xrig_open(&r, &(struct xfer_opts){.threads = 1, .max_connections = 1, .stall_ms = 100});
    xrig_must_succeed(&r);
    xrig_close(&r);
}

static int hold_always(struct xrig *r, const struct ask *ask, struct buf *out)
{
    answer_cut(r, ask, 1, out);
    return LOOPBACK_HOLD;
}

static void what_stalls_for_ever_is_given_up(void **state)
{
    struct xrig r;
    xrig_init(&r, state, 1000);
    r.fault = hold_always;
    xrig_open(&r, &(struct xfer_opts){.threads = 1, .tries = 2, .stall_ms = 60});
    xrig_must_fail(&r, ERR_TIMEOUT, "stalled");
    assert_true(r.asks <= 4);
    xrig_close(&r);
}

/* ---- verdicts of the source ---- */

static int ask_for_other_signature(struct xrig *r, const struct ask *ask, struct buf *out)
{
    (void)r;
    if (ask->number > 0)
        return GO_ON;
    buf_adds(out, "HTTP/1.1 403 Forbidden\r\nContent-Length: 20\r\n\r\nRequestTimeTooSkewed");
    return LOOPBACK_KEEP;
}

static enum xfer_verdict judge_skew(struct xrig *r, const struct xfer_head *head, struct xfer_want *want,
                                    struct err *err)
{
    (void)want;
    (void)err;
    if (head->status == 200)
        return XFER_ACCEPT;
    assert_string_equal(buf_str(&head->http->body), "RequestTimeTooSkewed");
    r->headers = "X-Signature: new\r\n";
    return XFER_RESIGN;
}

static void a_resign_verdict_asks_for_the_request_anew_at_once(void **state)
{
    struct xrig r;
    xrig_init(&r, state, 1000);
    r.fault = ask_for_other_signature;
    r.judge = judge_skew;
    xrig_must_succeed(&r);
    assert_int_equal(r.signed_requests, 2);
    assert_true(xrig_asked(&r, 1, "X-Signature: new"));
    xrig_close(&r);
}

static int expired_until_refreshed(struct xrig *r, const struct ask *ask, struct buf *out)
{
    (void)r;
    if (strstr(ask->text, "X-Token: new") || ask->number < 2)
        return GO_ON;
    buf_adds(out, "HTTP/1.1 400 Bad Request\r\nContent-Length: 12\r\n\r\nExpiredToken");
    return LOOPBACK_KEEP;
}

static enum xfer_verdict judge_expired(struct xrig *r, const struct xfer_head *head, struct xfer_want *want,
                                       struct err *err)
{
    (void)r;
    (void)want;
    (void)err;
    return head->status == 400 ? XFER_REFRESH : XFER_ACCEPT;
}

static int renew(void *ctx, struct err *err)
{
    struct xrig *r = ctx;
    (void)err;
    r->headers = "X-Token: new\r\n";
    return 0;
}

static void expired_credentials_are_refreshed_once_for_all_parts(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    r.fault = expired_until_refreshed;
    r.judge = judge_expired;
    r.refresh = renew;
    r.headers = "X-Token: old\r\n";
    xrig_open(&r, &(struct xfer_opts){.threads = 1, .max_connections_host = 4});
    xrig_must_succeed(&r);
    assert_int_equal(r.refreshed, 1);
    xrig_close(&r);
}

static int refuse_refresh(void *ctx, struct err *err)
{
    (void)ctx;
    return err_set(err, ERR_DENIED, "the role may not be assumed");
}

static void a_refresh_that_fails_is_the_files_error(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    r.fault = expired_until_refreshed;
    r.judge = judge_expired;
    r.refresh = refuse_refresh;
    xrig_must_fail(&r, ERR_DENIED, "may not be assumed");
    assert_int_equal(r.dones, 1);
    xrig_close(&r);
}

static int not_found(struct xrig *r, const struct ask *ask, struct buf *out)
{
    (void)r;
    (void)ask;
    buf_adds(out, "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nNoSuchKey");
    return LOOPBACK_KEEP;
}

static void an_error_is_judged_with_its_body(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    r.fault = not_found;
    xrig_must_fail(&r, ERR_NOTFOUND, "HTTP 404: NoSuchKey");
    xrig_close(&r);
}

static int long_error(struct xrig *r, const struct ask *ask, struct buf *out)
{
    (void)r;
    (void)ask;
    buf_addf(out, "HTTP/1.1 404 Not Found\r\nContent-Length: 1000000\r\n\r\n");
    for (int i = 0; i < 100000; i++)
        buf_adds(out, "0123456789");
    return LOOPBACK_KEEP;
}

static void an_endless_error_body_is_bounded(void **state)
{
    struct xrig r;
    xrig_init(&r, state, 1000);
    r.fault = long_error;
    xrig_must_fail(&r, ERR_NOTFOUND, "HTTP 404: 0123");
    assert_true(atomic_load(&r.group.bytes_wire) < 1000000);
    xrig_close(&r);
}

/* ---- the disk ---- */

static void a_full_disk_fails_the_file_with_its_name(void **state)
{
    struct xrig r;
    xrig_init(&r, state, OBJECT_SIZE);
    int full = open("/dev/full", O_RDWR | O_CLOEXEC);
    assert_true(full >= 0);
    int memory = r.fd;
    r.fd = full;
    xrig_must_fail(&r, ERR_NOSPACE, "s3://bucket/key");
    assert_int_equal(r.dones, 1);
    r.fd = memory;
    close(full);
    xrig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH_LANES(a_body_that_ends_early_is_continued_where_it_stopped),
        BOTH_LANES(a_reset_in_the_middle_of_every_part_keeps_the_progress),
        BOTH_LANES(a_whole_body_that_is_shorter_than_the_object_is_fetched_again),
        BOTH_LANES(a_body_that_is_always_too_long_is_never_taken),
        BOTH_LANES(a_chunked_body_that_is_too_long_is_never_taken),
        BOTH_LANES(a_stream_of_unknown_size_that_breaks_starts_anew),
        BOTH_LANES(a_server_without_ranges_gives_one_stream),
        BOTH_LANES(a_server_that_stops_doing_ranges_gives_one_stream),
        BOTH_LANES(a_206_without_content_range_is_a_protocol_error),
        BOTH_LANES(a_206_with_another_range_is_a_protocol_error),
        BOTH_LANES(an_object_of_another_size_has_changed),
        BOTH_LANES(a_412_is_judged_by_the_source),
        BOTH_LANES(what_is_no_http_fails_without_retries),
        BOTH_LANES(a_head_without_end_is_cut_off),
        BOTH_LANES(a_kept_connection_that_was_closed_costs_no_try),
        BOTH_LANES(a_server_that_never_answers_is_given_up_after_the_tries),
        BOTH_LANES(a_refused_connection_names_the_host),
        BOTH_LANES(a_name_that_does_not_resolve_is_an_error_with_that_name),
        BOTH_LANES(tls_to_a_server_without_tls_fails),
        BOTH_LANES(refusals_under_pressure_are_outlasted_without_a_storm),
        BOTH_LANES(pressure_without_end_ends_with_the_patience),
        BOTH_LANES(a_server_error_is_tried_again),
        BOTH_LANES(a_part_that_stalls_gets_a_second_request_and_completes),
        BOTH_LANES(a_stall_is_hedged_even_where_one_connection_is_allowed),
        BOTH_LANES(what_stalls_for_ever_is_given_up),
        BOTH_LANES(a_resign_verdict_asks_for_the_request_anew_at_once),
        BOTH_LANES(expired_credentials_are_refreshed_once_for_all_parts),
        BOTH_LANES(a_refresh_that_fails_is_the_files_error),
        BOTH_LANES(an_error_is_judged_with_its_body),
        BOTH_LANES(an_endless_error_body_is_bounded),
        BOTH_LANES(a_full_disk_fails_the_file_with_its_name),
    };
    return cmocka_run_group_tests_name("xfer faults", tests, NULL, NULL);
}
