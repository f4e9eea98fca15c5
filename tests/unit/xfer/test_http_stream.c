#include "http_rig.h"

#include <pthread.h>

#define RAW_OK "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"

/* A server on a unix socket, as an engine is. */
struct engine {
    char dir[64], path[96];
    struct loopback *server;
    struct http *http;
    struct http_stream *stream;
    int status;
    struct buf error_body;
    struct err err;
};

static void engine_start(struct engine *e, loopback_answer_fn *answer, void *ctx)
{
    *e = (struct engine){.dir = "/tmp/berth-stream-XXXXXX"};
    assert_non_null(mkdtemp(e->dir));
    snprintf(e->path, sizeof e->path, "%s/engine.sock", e->dir);
    e->server = loopback_start(answer, ctx, e->path);
    struct http_opts opts = {.unix_socket = e->path, .policy = {.public_only = true, .https_only = true}};
    assert_int_equal(http_open(&e->http, &opts, &e->err), 0);
    buf_init(&e->error_body, 1024);
}

static int engine_attach(struct engine *e, struct http_request req)
{
    req.url = "http://localhost/containers/x/attach?stream=1&stdout=1&stderr=1";
    req.method = "POST";
    return http_stream_open(e->http, &req, &e->stream, &e->status, &e->error_body, &e->err);
}

static void engine_stop(struct engine *e)
{
    http_stream_free(e->stream);
    http_free(e->http);
    loopback_free(e->server);
    buf_release(&e->error_body);
    unlink(e->path);
    rmdir(e->dir);
}

/* All that comes, in reads of at most `piece` bytes. */
static void read_all(struct engine *e, size_t piece, struct buf *out)
{
    char room[4096];
    assert_true(piece <= sizeof room);
    for (;;) {
        int64_t n = http_stream_read(e->stream, room, piece, &e->err);
        if (n < 0)
            fail_msg("%s", e->err.text);
        if (n == 0)
            return;
        assert_true((size_t)n <= piece);
        buf_add(out, room, (size_t)n);
    }
}

static void check_stream(const char *answer, size_t piece, const char *want)
{
    const struct script_step steps[] = {{answer, LOOPBACK_CLOSE}};
    struct script script = {.steps = steps, .step_count = 1};
    struct engine e;
    engine_start(&e, script_answer, &script);
    assert_int_equal(engine_attach(&e, (struct http_request){0}), 0);
    assert_int_equal(e.status, 200);
    assert_non_null(e.stream);
    AUTO_BUF got;
    buf_init(&got, 65536);
    read_all(&e, piece, &got);
    assert_string_equal(buf_str(&got), want);
    assert_int_equal(http_stream_read(e.stream, &piece, 1, &e.err), 0); /* the end stays the end */
    engine_stop(&e);
    assert_non_null(strstr(script.requests[0], "POST /containers/x/attach?stream=1&stdout=1&stderr=1 HTTP/1.1\r\n"));
    assert_non_null(strstr(script.requests[0], "Host: localhost\r\n"));
    script_release(&script);
}

static void raw_bytes_are_read_until_the_engine_closes(void **state)
{
    (void)state;
    check_stream(RAW_OK "one\ntwo\n", 4096, "one\ntwo\n");
    check_stream(RAW_OK "one\ntwo\n", 1, "one\ntwo\n");
    check_stream(RAW_OK, 16, "");
}

static void a_chunked_stream_is_read_without_its_framing(void **state)
{
    (void)state;
    check_stream("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n4\r\n,two\r\n0\r\n\r\n", 2,
                 "one,two");
}

static void any_other_answer_gives_status_and_body_instead_of_a_stream(void **state)
{
    (void)state;
    static const struct script_step steps[] = {
        {"HTTP/1.1 404 Not Found\r\nContent-Length: 15\r\n\r\n{\"message\":\"no\"}", LOOPBACK_KEEP}};
    struct script script = {.steps = steps, .step_count = 1};
    struct engine e;
    engine_start(&e, script_answer, &script);
    assert_int_equal(engine_attach(&e, (struct http_request){0}), 0);
    assert_null(e.stream);
    assert_int_equal(e.status, 404);
    assert_string_equal(buf_str(&e.error_body), "{\"message\":\"no\"");
    engine_stop(&e);
    script_release(&script);
}

static void a_stream_is_opened_once_and_a_missing_engine_is_named(void **state)
{
    (void)state;
    static const struct script_step steps[] = {{"", LOOPBACK_RESET}};
    struct script script = {.steps = steps, .step_count = 1};
    struct engine e;
    engine_start(&e, script_answer, &script);
    assert_int_equal(engine_attach(&e, (struct http_request){0}), -1);
    assert_int_equal(e.err.kind, ERR_TRANSIENT);
    loopback_stop(e.server);
    assert_int_equal(script.request_count, 1);
    unlink(e.path);
    err_clear(&e.err);
    assert_int_equal(engine_attach(&e, (struct http_request){0}), -1);
    assert_int_equal(e.err.kind, ERR_TRANSIENT);
    assert_non_null(strstr(e.err.text, e.path));
    engine_stop(&e);
    script_release(&script);
}

static void what_came_before_a_broken_end_is_read_first(void **state)
{
    (void)state;
    static const struct script_step steps[] = {
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n4\r\n,t", LOOPBACK_CLOSE}};
    struct script script = {.steps = steps, .step_count = 1};
    struct engine e;
    engine_start(&e, script_answer, &script);
    assert_int_equal(engine_attach(&e, (struct http_request){0}), 0);
    char got[16] = "";
    size_t at = 0;
    int64_t n;
    while ((n = http_stream_read(e.stream, got + at, sizeof got - 1 - at, &e.err)) > 0)
        at += (size_t)n;
    assert_int_equal(n, -1);
    assert_int_equal(e.err.kind, ERR_TRANSIENT);
    assert_string_equal(got, "one,t");
    engine_stop(&e);
    script_release(&script);
}

static enum loopback_then answer_much(void *ctx, const char *request, struct buf *out)
{
    (void)request;
    buf_adds(out, RAW_OK);
    for (int i = 0; i < *(int *)ctx; i++)
        buf_addf(out, "%07d\n", i);
    return LOOPBACK_CLOSE;
}

static void a_reader_that_lags_gets_everything_in_order_from_a_bounded_buffer(void **state)
{
    (void)state;
    int lines = 200000; /* 1.6 MB: many times what is buffered */
    struct engine e;
    engine_start(&e, answer_much, &lines);
    assert_int_equal(engine_attach(&e, (struct http_request){0}), 0);
    AUTO_BUF got;
    buf_init(&got, 4u << 20);
    read_all(&e, 1000, &got);
    assert_int_equal(got.n, (size_t)lines * 8);
    for (int i = 0; i < lines; i += 997)
        assert_int_equal(atoi(got.p + (size_t)i * 8), i);
    engine_stop(&e);
}

static void *raise_cancel(void *ctx)
{
    cancel_raise(ctx, CANCEL_STOP);
    return NULL;
}

static void cancelling_ends_a_read_that_waits(void **state)
{
    (void)state;
    static const struct script_step steps[] = {{RAW_OK "x", LOOPBACK_HOLD}};
    struct script script = {.steps = steps, .step_count = 1};
    struct cancel cancel;
    struct err err = ERR_INIT;
    assert_int_equal(cancel_init(&cancel, &err), 0);
    struct engine e;
    engine_start(&e, script_answer, &script);
    char got[16];
    assert_int_equal(engine_attach(&e, (struct http_request){.cancel = &cancel, .connect_timeout_ms = 3600000}), 0);
    assert_int_equal(http_stream_read(e.stream, got, sizeof got, &e.err), 1);
    pthread_t other;
    assert_int_equal(pthread_create(&other, NULL, raise_cancel, &cancel), 0);
    assert_int_equal(http_stream_read(e.stream, got, sizeof got, &e.err), -1);
    assert_int_equal(e.err.kind, ERR_CANCELLED);
    pthread_join(other, NULL);
    engine_stop(&e);
    cancel_release(&cancel);
    script_release(&script);
}

static void a_head_that_does_not_come_times_out_but_silence_after_it_only_if_asked(void **state)
{
    (void)state;
    static const struct script_step steps[] = {{"", LOOPBACK_HOLD}, {RAW_OK "x", LOOPBACK_HOLD}};
    struct script script = {.steps = steps, .step_count = 2};
    struct engine e;
    engine_start(&e, script_answer, &script);
    assert_int_equal(engine_attach(&e, (struct http_request){.idle_timeout_ms = 20}), -1);
    assert_int_equal(e.err.kind, ERR_TIMEOUT);
    err_clear(&e.err);
    assert_int_equal(engine_attach(&e, (struct http_request){.idle_timeout_ms = 20}), 0);
    char got[4];
    assert_int_equal(http_stream_read(e.stream, got, sizeof got, &e.err), 1);
    assert_int_equal(http_stream_read(e.stream, got, sizeof got, &e.err), -1);
    assert_int_equal(e.err.kind, ERR_TIMEOUT);
    engine_stop(&e);
    script_release(&script);
}

static void a_plain_call_goes_over_the_unix_socket_too(void **state)
{
    (void)state;
    static const struct script_step steps[] = {{OK_HELLO, LOOPBACK_KEEP}};
    struct script script = {.steps = steps, .step_count = 1};
    struct engine e;
    engine_start(&e, script_answer, &script);
    struct http_request req = {.url = "http://127.0.0.1/version"};
    struct http_response resp;
    assert_int_equal(http_call(e.http, &req, &resp, &e.err), 0);
    assert_string_equal(buf_str(&resp.body), "hello");
    http_response_release(&resp);
    engine_stop(&e);
    script_release(&script);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(raw_bytes_are_read_until_the_engine_closes),
        cmocka_unit_test(a_chunked_stream_is_read_without_its_framing),
        cmocka_unit_test(any_other_answer_gives_status_and_body_instead_of_a_stream),
        cmocka_unit_test(a_stream_is_opened_once_and_a_missing_engine_is_named),
        cmocka_unit_test(what_came_before_a_broken_end_is_read_first),
        cmocka_unit_test(a_reader_that_lags_gets_everything_in_order_from_a_bounded_buffer),
        cmocka_unit_test(cancelling_ends_a_read_that_waits),
        cmocka_unit_test(a_head_that_does_not_come_times_out_but_silence_after_it_only_if_asked),
        cmocka_unit_test(a_plain_call_goes_over_the_unix_socket_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
