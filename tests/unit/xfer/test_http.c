#include "http_rig.h"
#include "xfer/retry.h"

#include <pthread.h>
#include <unistd.h>

/* ---- requests and answers ---- */

static void a_get_gives_status_headers_body_and_date(void **state)
{
    (void)state;
    RIG(r, {"HTTP/1.1 200 OK\r\nDate: Fri, 31 Dec 1999 23:59:59 GMT\r\nX-One: 1\r\nx-one:  2 \r\nContent-Length: "
            "5\r\n\r\nhello",
            LOOPBACK_KEEP});
    must_answer(&r, (struct http_request){0}, 200);
    assert_string_equal(buf_str(&r.resp.body), "hello");
    assert_string_equal(http_response_get(&r.resp, "X-ONE"), "1");
    assert_string_equal(r.resp.headers[2].name, "x-one");
    assert_string_equal(r.resp.headers[2].value, "2");
    assert_null(http_response_get(&r.resp, "absent"));
    assert_true(r.resp.date_ms == 946684799000);
    assert_non_null(strstr(r.resp.effective_url, "/path"));
    assert_null(strstr(r.resp.effective_url, "canary"));
    assert_true(sent(&r, 0, "GET /path?sig=canary HTTP/1.1\r\n"));
    assert_true(sent(&r, 0, "User-Agent: berth/"));
    assert_false(sent(&r, 0, "Accept-Encoding"));
    assert_false(sent(&r, 0, "Content-Type"));
    rig_close(&r);
}

static void encoded_content_is_given_as_it_came(void **state)
{
    (void)state;
    RIG(r, {"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08x", LOOPBACK_KEEP});
    must_answer(&r, (struct http_request){0}, 200);
    assert_int_equal(r.resp.body.n, 4);
    assert_memory_equal(r.resp.body.p, "\x1f\x8b\x08x", 4);
    rig_close(&r);
}

static void interim_answers_and_trailers_are_no_headers(void **state)
{
    (void)state;
    RIG(r, {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            "2\r\nab\r\n0\r\nHTTP/1.1: 500\r\nX-Late: 1\r\n\r\n",
            LOOPBACK_KEEP});
    must_answer(&r, (struct http_request){0}, 200);
    assert_string_equal(buf_str(&r.resp.body), "ab");
    assert_null(http_response_get(&r.resp, "link"));
    assert_null(http_response_get(&r.resp, "x-late"));
    rig_close(&r);
}

static void a_head_has_no_body(void **state)
{
    (void)state;
    RIG(r, {"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", LOOPBACK_KEEP});
    must_answer(&r, (struct http_request){.method = "HEAD"}, 200);
    assert_int_equal(r.resp.body.n, 0);
    assert_string_equal(http_response_get(&r.resp, "content-length"), "5000");
    assert_true(sent(&r, 0, "HEAD /path"));
    rig_close(&r);
}

static void a_post_sends_its_body_with_its_length_and_no_made_up_type(void **state)
{
    (void)state;
    RIG(r, {OK_HELLO, LOOPBACK_KEEP});
    must_answer(&r, (struct http_request){.method = "POST", .body = SPAN_LIT("a=1")}, 200);
    assert_true(sent(&r, 0, "POST /path"));
    assert_true(sent(&r, 0, "Content-Length: 3\r\n"));
    assert_true(sent(&r, 0, "\r\n\r\na=1"));
    assert_false(sent(&r, 0, "Content-Type"));
    assert_false(sent(&r, 0, "Expect"));
    rig_close(&r);
}

static void an_empty_post_and_a_delete_are_well_formed(void **state)
{
    (void)state;
    RIG(r, {OK_HELLO, LOOPBACK_KEEP});
    struct http_request del = {.method = "DELETE", .url = r.url};
    assert_int_equal(http_call(r.http, &del, &r.resp, &r.err), 0);
    http_response_release(&r.resp);
    must_answer(&r, (struct http_request){.method = "POST"}, 200);
    assert_true(sent(&r, 0, "DELETE /path"));
    assert_true(sent(&r, 1, "POST /path"));
    assert_true(sent(&r, 1, "Content-Length: 0\r\n"));
    rig_close(&r);
}

static void headers_are_sent_as_given_also_empty_ones(void **state)
{
    (void)state;
    RIG(r, {OK_HELLO, LOOPBACK_KEEP});
    const struct http_header headers[] = {{"X-A", "b; c"}, {"X-Empty", ""}, {"Content-Type", "text/x"}};
    must_answer(
        &r, (struct http_request){.method = "PUT", .headers = headers, .header_count = 3, .body = SPAN_LIT("z")}, 200);
    assert_true(sent(&r, 0, "X-A: b; c\r\n"));
    assert_true(sent(&r, 0, "X-Empty:\r\n"));
    assert_true(sent(&r, 0, "Content-Type: text/x\r\n"));
    rig_close(&r);
}

static void a_header_that_would_split_the_request_is_refused(void **state)
{
    (void)state;
    static const struct http_header bad[] = {{"X-A", "1\r\nX-B: 2"}, {"X A", "1"}, {"X:", "1"}, {"", "1"}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        RIG(r, {OK_HELLO, LOOPBACK_KEEP});
        must_fail(&r, (struct http_request){.headers = &bad[i], .header_count = 1}, ERR_INVALID);
        assert_int_equal(r.script.request_count, 0);
        rig_close(&r);
    }
}

static void a_streamed_body_goes_out_chunked_or_with_its_length_and_once(void **state)
{
    (void)state;
    struct feed known = {"0123456789", 0, 10}, unknown = known;
    RIG(a, {"HTTP/1.1 503 Slow Down\r\n" EMPTY, LOOPBACK_KEEP});
    must_answer(&a, (struct http_request){.method = "PUT", .read_body = read_feed, .ctx = &known, .body_length = 10},
                503);
    assert_int_equal(a.script.request_count, 1);
    assert_true(sent(&a, 0, "Content-Length: 10\r\n"));
    assert_true(sent(&a, 0, "\r\n\r\n0123456789"));
    rig_close(&a);
    RIG(b, {OK_HELLO, LOOPBACK_KEEP});
    must_answer(
        &b, (struct http_request){.method = "PUT", .read_body = read_feed, .ctx = &unknown, .body_length = UINT64_MAX},
        200);
    assert_true(sent(&b, 0, "Transfer-Encoding: chunked\r\n"));
    rig_close(&b);
}

static int open_scratch(const char *content)
{
    char path[] = "/tmp/berth-region.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    assert_int_equal(write(fd, content, strlen(content)), strlen(content));
    return fd;
}

static void a_region_of_a_file_is_sent_again_at_each_try(void **state)
{
    (void)state;
    RIG(r, {"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", LOOPBACK_KEEP}, {OK_HELLO, LOOPBACK_KEEP});
    const struct http_region region = {.fd = open_scratch("0123456789"), .offset = 3, .length = 4};
    must_answer(&r, (struct http_request){.method = "PUT", .body_file = &region}, 200);
    assert_int_equal(r.script.request_count, 2);
    assert_true(sent(&r, 1, "Content-Length: 4\r\n"));
    assert_true(sent(&r, 0, "\r\n\r\n3456") && sent(&r, 1, "\r\n\r\n3456"));
    rig_close(&r);
    close(region.fd);
}

static void a_file_that_became_too_short_ends_the_call(void **state)
{
    (void)state;
    RIG(r, {OK_HELLO, LOOPBACK_KEEP});
    const struct http_region region = {.fd = open_scratch("0123"), .offset = 2, .length = 3};
    must_fail(&r, (struct http_request){.method = "PUT", .body_file = &region}, ERR_CHANGED);
    rig_close(&r);
    close(region.fd);
}

static void a_streamed_body_that_ends_early_is_an_error(void **state)
{
    (void)state;
    struct feed feed = {"012", 0, 3};
    RIG(r, {OK_HELLO, LOOPBACK_KEEP});
    must_fail(&r, (struct http_request){.method = "PUT", .read_body = read_feed, .ctx = &feed, .body_length = 10},
              ERR_INVALID);
    assert_non_null(strstr(r.err.text, "3 of 10"));
    rig_close(&r);
}

struct sink {
    char text[64];
    size_t n;
    int status;
    bool fail;
};

static int take_body(void *ctx, const struct http_response *head, const void *p, size_t n, struct err *err)
{
    struct sink *s = ctx;
    s->status = head->status;
    if (s->fail)
        return err_set(err, ERR_NOSPACE, "disk full");
    assert_true(s->n + n < sizeof s->text);
    memcpy(s->text + s->n, p, n);
    s->n += n;
    return 0;
}

static void a_streamed_answer_goes_to_the_callback_but_error_bodies_do_not(void **state)
{
    (void)state;
    RIG(r, {"HTTP/1.1 500 Oops\r\nContent-Length: 3\r\n\r\nbad", LOOPBACK_KEEP}, {OK_HELLO, LOOPBACK_KEEP},
        {"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone", LOOPBACK_KEEP});
    struct sink sink = {0};
    struct http_request req = {.url = r.url, .on_body = take_body, .ctx = &sink};
    assert_int_equal(http_call(r.http, &req, &r.resp, &r.err), 0);
    assert_string_equal(sink.text, "hello");
    assert_int_equal(sink.status, 200);
    assert_int_equal(r.resp.body.n, 0);
    http_response_release(&r.resp);
    must_answer(&r, req, 404);
    assert_string_equal(buf_str(&r.resp.body), "gone");
    assert_int_equal(sink.n, 5);
    rig_close(&r);
}

static void an_error_of_the_callback_ends_the_call_with_that_error(void **state)
{
    (void)state;
    RIG(r, {OK_HELLO, LOOPBACK_KEEP});
    struct sink sink = {.fail = true};
    must_fail(&r, (struct http_request){.on_body = take_body, .ctx = &sink}, ERR_NOSPACE);
    assert_int_equal(r.script.request_count, 1);
    rig_close(&r);
}

static void bytes_handed_over_are_never_handed_over_again(void **state)
{
    (void)state;
    RIG(r, {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", LOOPBACK_CLOSE}, {OK_HELLO, LOOPBACK_KEEP});
    struct sink sink = {0};
    must_fail(&r, (struct http_request){.on_body = take_body, .ctx = &sink}, ERR_TRANSIENT);
    assert_int_equal(r.script.request_count, 1);
    assert_string_equal(sink.text, "hello");
    rig_close(&r);
}

/* ---- bounds ---- */

static void a_body_above_its_limit_is_an_error(void **state)
{
    (void)state;
    RIG(r, {OK_HELLO, LOOPBACK_KEEP});
    must_fail(&r, (struct http_request){.body_max = 4}, ERR_LIMIT);
    assert_int_equal(r.resp.body.n, 0);
    rig_close(&r);
    RIG(fits, {OK_HELLO, LOOPBACK_KEEP});
    must_answer(&fits, (struct http_request){.body_max = 5}, 200);
    rig_close(&fits);
}

static enum loopback_then answer_many_headers(void *ctx, const char *request, struct buf *out)
{
    (void)request;
    buf_adds(out, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < *(int *)ctx; i++)
        buf_addf(out, "X-%d: y\r\n", i);
    buf_adds(out, EMPTY);
    return LOOPBACK_KEEP;
}

static enum loopback_then answer_long_headers(void *ctx, const char *request, struct buf *out)
{
    (void)request;
    buf_adds(out, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < *(int *)ctx; i++)
        buf_addf(out, "X-%d: %01000d\r\n", i, 0);
    buf_adds(out, EMPTY);
    return LOOPBACK_KEEP;
}

static enum loopback_then answer_interim_for_ever(void *ctx, const char *request, struct buf *out)
{
    (void)request;
    for (int i = 0; i < *(int *)ctx; i++)
        buf_adds(out, "HTTP/1.1 102 Processing\r\n\r\n");
    buf_adds(out, "HTTP/1.1 200 OK\r\n" EMPTY);
    return LOOPBACK_KEEP;
}

static enum err_kind ask(loopback_answer_fn *answer, int n)
{
    struct loopback *server = loopback_start(answer, &n, NULL);
    struct http_opts opts = {.policy = {.no_proxy_env = true}};
    struct http *http;
    struct err err = ERR_INIT;
    assert_int_equal(http_open(&http, &opts, &err), 0);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/", loopback_port(server));
    struct http_response resp;
    struct http_request req = {.url = url};
    int rc = http_call(http, &req, &resp, &err);
    http_response_release(&resp);
    http_free(http);
    loopback_free(server);
    return rc < 0 ? err.kind : ERR_NONE;
}

static void heads_are_bounded_in_number_size_and_repetition(void **state)
{
    (void)state;
    assert_int_equal(ask(answer_many_headers, XFER_HEADERS_MAX - 1), ERR_NONE);
    assert_int_equal(ask(answer_many_headers, XFER_HEADERS_MAX), ERR_LIMIT);
    assert_int_equal(ask(answer_long_headers, 60), ERR_NONE);
    assert_int_equal(ask(answer_long_headers, 70), ERR_LIMIT);
    assert_int_equal(ask(answer_interim_for_ever, HTTP_HEADS_MAX - 1), ERR_NONE);
    assert_int_equal(ask(answer_interim_for_ever, HTTP_HEADS_MAX), ERR_PROTOCOL);
}

static void an_answer_that_is_not_http_is_a_protocol_error(void **state)
{
    (void)state;
    static const char *const bad[] = {"SSH-2.0-OpenSSH_9\r\n\r\n", "HTTP/1.1 200 OK\r\nbroken line\r\n\r\n",
                                      "HTTP/1.1 200 OK\r\nA: 1\r\n folded\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const struct script_step steps[] = {{bad[i], LOOPBACK_CLOSE}};
        struct rig r;
        rig_open(&r, steps, 1, NULL);
        must_fail(&r, (struct http_request){0}, ERR_PROTOCOL);
        assert_int_equal(r.script.request_count, 1);
        rig_close(&r);
    }
}

/* ---- tries ---- */

static void pressure_is_retried_until_the_answer_comes(void **state)
{
    (void)state;
    RIG(r, {"HTTP/1.1 503 Slow Down\r\n" EMPTY, LOOPBACK_KEEP}, {"HTTP/1.1 429 Wait\r\n" EMPTY, LOOPBACK_KEEP},
        {OK_HELLO, LOOPBACK_KEEP});
    must_answer(&r, (struct http_request){0}, 200);
    assert_int_equal(r.script.request_count, 3);
    assert_int_equal(r.waits.n, 2);
    rig_close(&r);
}

static void the_last_answer_is_given_back_when_the_tries_are_spent(void **state)
{
    (void)state;
    RIG(r, {"HTTP/1.1 503 Slow Down\r\nContent-Length: 4\r\n\r\nbusy", LOOPBACK_KEEP});
    must_answer(&r, (struct http_request){0}, 503);
    assert_string_equal(buf_str(&r.resp.body), "busy");
    assert_int_equal(r.script.request_count, RETRY_TRIES_DEFAULT);
    assert_int_equal(r.waits.n, RETRY_TRIES_DEFAULT - 1);
    rig_close(&r);
}

static void tries_end_with_the_patience_but_for_waits_that_were_asked_for(void **state)
{
    (void)state;
    RIG(busy, {"HTTP/1.1 503 Slow Down\r\n" EMPTY, LOOPBACK_KEEP});
    busy.http->patience_ms = 1000;
    must_answer(&busy, (struct http_request){.tries = 100}, 503);
    uint64_t waited = 0;
    for (size_t i = 0; i < busy.waits.n && i < ARRAY_LEN(busy.waits.ms); i++)
        waited += busy.waits.ms[i];
    assert_true(waited <= 1000 && busy.script.request_count < 100);
    rig_close(&busy);
    RIG(asks, {"HTTP/1.1 503 Slow Down\r\nRetry-After: 100\r\n" EMPTY, LOOPBACK_KEEP});
    asks.http->patience_ms = 1000;
    must_answer(&asks, (struct http_request){0}, 503);
    assert_int_equal(asks.script.request_count, RETRY_TRIES_DEFAULT);
    rig_close(&asks);
}

static void other_statuses_are_not_retried(void **state)
{
    (void)state;
    RIG(r, {"HTTP/1.1 403 Forbidden\r\n" EMPTY, LOOPBACK_KEEP});
    must_answer(&r, (struct http_request){0}, 403);
    assert_int_equal(r.script.request_count, 1);
    rig_close(&r);
}

static void one_try_means_one_request(void **state)
{
    (void)state;
    RIG(r, {"HTTP/1.1 500 Oops\r\n" EMPTY, LOOPBACK_KEEP});
    must_answer(&r, (struct http_request){.method = "POST", .tries = 1}, 500);
    assert_int_equal(r.script.request_count, 1);
    assert_int_equal(r.waits.n, 0);
    rig_close(&r);
}

static void retry_after_is_honoured_by_the_servers_own_clock(void **state)
{
    (void)state;
    RIG(r, {"HTTP/1.1 429 Wait\r\nRetry-After: 60\r\n" EMPTY, LOOPBACK_KEEP},
        {"HTTP/1.1 503 Wait\r\nDate: Fri, 31 Dec 1999 23:58:59 GMT\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 "
         "GMT\r\n" EMPTY,
         LOOPBACK_KEEP},
        {"HTTP/1.1 503 Wait\r\nRetry-After: 999999\r\n" EMPTY, LOOPBACK_KEEP}, {OK_HELLO, LOOPBACK_KEEP});
    must_answer(&r, (struct http_request){0}, 200);
    assert_int_equal(r.waits.n, 3);
    assert_int_equal(r.waits.ms[0], 60000);
    assert_int_equal(r.waits.ms[1], 60000);
    assert_int_equal(r.waits.ms[2], RETRY_AFTER_MAX_MS);
    rig_close(&r);
}

static void a_wait_that_would_pass_the_total_limit_is_not_begun(void **state)
{
    (void)state;
    RIG(r, {"HTTP/1.1 429 Wait\r\nRetry-After: 100\r\n" EMPTY, LOOPBACK_KEEP});
    must_answer(&r, (struct http_request){.total_timeout_ms = 50000}, 429);
    assert_int_equal(r.waits.n, 0);
    rig_close(&r);
}

static void resets_and_truncated_bodies_are_retried(void **state)
{
    (void)state;
    RIG(r, {"", LOOPBACK_RESET}, {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhel", LOOPBACK_CLOSE},
        {"HTTP/1.1 200 OK\r\nContent-Len", LOOPBACK_CLOSE}, {OK_HELLO, LOOPBACK_KEEP});
    must_answer(&r, (struct http_request){0}, 200);
    assert_string_equal(buf_str(&r.resp.body), "hello");
    rig_close(&r);
}

static void resets_without_end_are_an_error_that_names_the_host(void **state)
{
    (void)state;
    RIG(r, {"", LOOPBACK_RESET});
    must_fail(&r, (struct http_request){.tries = 3}, ERR_TRANSIENT);
    assert_int_equal(r.script.request_count, 3);
    assert_non_null(strstr(r.err.text, "127.0.0.1:"));
    assert_non_null(strstr(r.err.text, "(3 tries)"));
    rig_close(&r);
}

static void a_refused_connection_names_host_and_port_and_gives_a_hint(void **state)
{
    (void)state;
    RIG(r, {OK_HELLO, LOOPBACK_KEEP});
    loopback_stop(r.server); /* the port is closed now */
    must_fail(&r, (struct http_request){.tries = 2}, ERR_TRANSIENT);
    char where[32];
    snprintf(where, sizeof where, "127.0.0.1:%u", loopback_port(r.server));
    assert_non_null(strstr(r.err.text, where));
    assert_non_null(strstr(r.err.text, "Connection refused"));
    assert_true(r.err.hint[0] != '\0');
    assert_int_equal(r.waits.n, 1);
    rig_close(&r);
}

static void a_name_that_does_not_resolve_is_said_so(void **state)
{
    (void)state;
    RIG(r, {OK_HELLO, LOOPBACK_KEEP});
    must_fail(&r, (struct http_request){.url = "http://no-such-host.invalid/", .tries = 1}, ERR_TRANSIENT);
    assert_non_null(strstr(r.err.text, "no-such-host.invalid:80"));
    assert_non_null(strstr(r.err.text, "resolved"));
    rig_close(&r);
}

static void a_server_that_says_nothing_times_out(void **state)
{
    (void)state;
    RIG(r, {"", LOOPBACK_HOLD});
    must_fail(&r, (struct http_request){.tries = 2, .idle_timeout_ms = 20}, ERR_TIMEOUT);
    assert_int_equal(r.script.request_count, 2);
    rig_close(&r);
    RIG(total, {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhel", LOOPBACK_HOLD});
    must_fail(&total, (struct http_request){.total_timeout_ms = 30, .idle_timeout_ms = UINT32_MAX}, ERR_TIMEOUT);
    rig_close(&total);
}

static void tls_to_a_port_that_speaks_none_is_a_protocol_error_with_a_hint(void **state)
{
    (void)state;
    RIG(r, {"HTTP/1.1 400 Bad Request\r\n" EMPTY, LOOPBACK_CLOSE});
    char url[64];
    snprintf(url, sizeof url, "https://127.0.0.1:%u/", loopback_port(r.server));
    must_fail(&r, (struct http_request){.url = url, .tries = 2}, ERR_PROTOCOL);
    assert_int_equal(r.script.request_count, 2); /* it could have been a passing fault */
    assert_non_null(strstr(r.err.text, "TLS"));
    assert_non_null(strstr(r.err.hint, "TLS"));
    rig_close(&r);
}

/* ---- signing ---- */

static void each_try_is_signed_anew_and_replaces_what_was_given(void **state)
{
    (void)state;
    RIG(r, {"HTTP/1.1 500 Oops\r\n" EMPTY, LOOPBACK_KEEP}, {OK_HELLO, LOOPBACK_KEEP});
    struct signer signer = {0};
    const struct http_header stale[] = {{"authorization", "stale"}};
    must_answer(&r, (struct http_request){.sign = sign, .sign_ctx = &signer, .headers = stale, .header_count = 1}, 200);
    assert_true(sent(&r, 0, "Authorization: try-1"));
    assert_true(sent(&r, 1, "Authorization: try-2"));
    assert_false(sent(&r, 0, "stale"));
    assert_string_equal(signer.urls[0], r.url);
    rig_close(&r);
}

/* ---- connections, threads, cancelling ---- */

static void connections_are_kept_for_the_next_call(void **state)
{
    (void)state;
    RIG(r, {OK_HELLO, LOOPBACK_KEEP});
    struct http_request req = {.url = r.url};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(http_call(r.http, &req, &r.resp, &r.err), 0);
        http_response_release(&r.resp);
    }
    must_answer(&r, req, 200);
    assert_int_equal(loopback_connections(r.server), 1);
    rig_close(&r);
}

static void a_kept_connection_that_died_is_replaced(void **state)
{
    (void)state;
    RIG(r, {OK_HELLO, LOOPBACK_CLOSE}, {OK_HELLO, LOOPBACK_CLOSE});
    struct http_request req = {.method = "POST", .url = r.url, .body = SPAN_LIT("x"), .tries = 1};
    assert_int_equal(http_call(r.http, &req, &r.resp, &r.err), 0);
    http_response_release(&r.resp);
    must_answer(&r, req, 200);
    rig_close(&r);
}

static void what_may_be_sent_once_is_not_sent_again_for_a_connection_that_died(void **state)
{
    (void)state;
    RIG(r, {OK_HELLO, LOOPBACK_KEEP}, {"", LOOPBACK_CLOSE}, {OK_HELLO, LOOPBACK_KEEP});
    struct http_request req = {.method = "POST", .url = r.url};
    assert_int_equal(http_call(r.http, &req, &r.resp, &r.err), 0);
    http_response_release(&r.resp);
    req.tries = 1;
    must_fail(&r, req, ERR_TRANSIENT);
    assert_int_equal(r.script.request_count, 2);
    rig_close(&r);
}

static enum loopback_then answer_hello(void *ctx, const char *request, struct buf *out)
{
    (void)ctx, (void)request;
    buf_adds(out, OK_HELLO);
    return LOOPBACK_KEEP;
}

struct caller {
    pthread_t thread;
    struct http *http;
    char url[64];
    unsigned good;
};

static void *call_many(void *ctx)
{
    struct caller *c = ctx;
    for (int i = 0; i < 50; i++) {
        struct http_response resp;
        struct err err = ERR_INIT;
        struct http_request req = {.url = c->url};
        if (http_call(c->http, &req, &resp, &err) == 0 && str_eq(buf_str(&resp.body), "hello"))
            c->good++;
        http_response_release(&resp);
    }
    return NULL;
}

static void many_threads_may_call_at_once(void **state)
{
    (void)state;
    struct loopback *server = loopback_start(answer_hello, NULL, NULL);
    struct http_opts opts = {.policy = {.no_proxy_env = true}, .max_connections = 3};
    struct http *http;
    struct err err = ERR_INIT;
    assert_int_equal(http_open(&http, &opts, &err), 0);
    struct caller callers[8] = {0};
    for (size_t i = 0; i < ARRAY_LEN(callers); i++) {
        callers[i].http = http;
        snprintf(callers[i].url, sizeof callers[i].url, "http://127.0.0.1:%u/", loopback_port(server));
        assert_int_equal(pthread_create(&callers[i].thread, NULL, call_many, &callers[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(callers); i++) {
        pthread_join(callers[i].thread, NULL);
        assert_int_equal(callers[i].good, 50);
    }
    assert_true(http->shared.idle_count <= 3);
    http_free(http);
    loopback_free(server);
}

/* So that no timer wakes what only cancelling should. */
#define AN_HOUR_MS 3600000

static enum loopback_then raise_and_hold(void *ctx, const char *request, struct buf *out)
{
    (void)request, (void)out;
    cancel_raise(ctx, CANCEL_STOP); /* nothing else will ever wake the client */
    return LOOPBACK_HOLD;
}

static enum loopback_then kill_and_hold(void *ctx, const char *request, struct buf *out)
{
    (void)request, (void)out;
    cancel_raise(ctx, CANCEL_KILL);
    return LOOPBACK_HOLD;
}

static enum loopback_then raise_and_answer(void *ctx, const char *request, struct buf *out)
{
    (void)request;
    cancel_raise(ctx, CANCEL_STOP);
    buf_adds(out, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nid");
    return LOOPBACK_CLOSE;
}

/* One call that is cancelled while the server has it. */
static int call_cancelled(loopback_answer_fn *answer, uint32_t grace_ms, struct http_response *resp, struct err *err)
{
    struct cancel cancel;
    assert_int_equal(cancel_init(&cancel, err), 0);
    struct loopback *server = loopback_start(answer, &cancel, NULL);
    struct http_opts opts = {.policy = {.no_proxy_env = true}};
    struct http *http;
    assert_int_equal(http_open(&http, &opts, err), 0);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/", loopback_port(server));
    struct http_request req = {.url = url,
                               .cancel = &cancel,
                               .idle_timeout_ms = UINT32_MAX,
                               .connect_timeout_ms = AN_HOUR_MS,
                               .cancel_grace_ms = grace_ms};
    int rc = http_call(http, &req, resp, err);
    http_free(http);
    loopback_free(server);
    cancel_release(&cancel);
    return rc;
}

static void cancelling_ends_a_call_that_waits(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct http_response resp;
    assert_int_equal(call_cancelled(raise_and_hold, 0, &resp, &err), -1);
    assert_int_equal(err.kind, ERR_CANCELLED);
}

static void an_answer_that_must_be_known_is_awaited_after_cancelling(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct http_response resp;
    assert_int_equal(call_cancelled(raise_and_answer, AN_HOUR_MS, &resp, &err), 0);
    assert_string_equal(buf_str(&resp.body), "id");
    http_response_release(&resp);
}

static void but_not_for_ever_and_not_when_killed(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct http_response resp;
    assert_int_equal(call_cancelled(raise_and_hold, 1, &resp, &err), -1);
    assert_int_equal(err.kind, ERR_CANCELLED);
    err = (struct err)ERR_INIT;
    assert_int_equal(call_cancelled(kill_and_hold, AN_HOUR_MS, &resp, &err), -1);
    assert_int_equal(err.kind, ERR_CANCELLED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_get_gives_status_headers_body_and_date),
        cmocka_unit_test(encoded_content_is_given_as_it_came),
        cmocka_unit_test(interim_answers_and_trailers_are_no_headers),
        cmocka_unit_test(a_head_has_no_body),
        cmocka_unit_test(a_post_sends_its_body_with_its_length_and_no_made_up_type),
        cmocka_unit_test(an_empty_post_and_a_delete_are_well_formed),
        cmocka_unit_test(headers_are_sent_as_given_also_empty_ones),
        cmocka_unit_test(a_header_that_would_split_the_request_is_refused),
        cmocka_unit_test(a_streamed_body_goes_out_chunked_or_with_its_length_and_once),
        cmocka_unit_test(a_region_of_a_file_is_sent_again_at_each_try),
        cmocka_unit_test(a_file_that_became_too_short_ends_the_call),
        cmocka_unit_test(a_streamed_body_that_ends_early_is_an_error),
        cmocka_unit_test(a_streamed_answer_goes_to_the_callback_but_error_bodies_do_not),
        cmocka_unit_test(an_error_of_the_callback_ends_the_call_with_that_error),
        cmocka_unit_test(bytes_handed_over_are_never_handed_over_again),
        cmocka_unit_test(a_body_above_its_limit_is_an_error),
        cmocka_unit_test(heads_are_bounded_in_number_size_and_repetition),
        cmocka_unit_test(an_answer_that_is_not_http_is_a_protocol_error),
        cmocka_unit_test(pressure_is_retried_until_the_answer_comes),
        cmocka_unit_test(the_last_answer_is_given_back_when_the_tries_are_spent),
        cmocka_unit_test(tries_end_with_the_patience_but_for_waits_that_were_asked_for),
        cmocka_unit_test(other_statuses_are_not_retried),
        cmocka_unit_test(one_try_means_one_request),
        cmocka_unit_test(retry_after_is_honoured_by_the_servers_own_clock),
        cmocka_unit_test(a_wait_that_would_pass_the_total_limit_is_not_begun),
        cmocka_unit_test(resets_and_truncated_bodies_are_retried),
        cmocka_unit_test(resets_without_end_are_an_error_that_names_the_host),
        cmocka_unit_test(a_refused_connection_names_host_and_port_and_gives_a_hint),
        cmocka_unit_test(a_name_that_does_not_resolve_is_said_so),
        cmocka_unit_test(a_server_that_says_nothing_times_out),
        cmocka_unit_test(tls_to_a_port_that_speaks_none_is_a_protocol_error_with_a_hint),
        cmocka_unit_test(each_try_is_signed_anew_and_replaces_what_was_given),
        cmocka_unit_test(connections_are_kept_for_the_next_call),
        cmocka_unit_test(a_kept_connection_that_died_is_replaced),
        cmocka_unit_test(what_may_be_sent_once_is_not_sent_again_for_a_connection_that_died),
        cmocka_unit_test(many_threads_may_call_at_once),
        cmocka_unit_test(cancelling_ends_a_call_that_waits),
        cmocka_unit_test(an_answer_that_must_be_known_is_awaited_after_cancelling),
        cmocka_unit_test(but_not_for_ever_and_not_when_killed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
