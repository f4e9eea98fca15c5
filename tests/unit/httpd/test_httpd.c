/* The frame over real sockets on loopback. */
#include "base/clock.h"
#include "httpd/route.h"
#include "httpd_rig.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

#define WAITERS 200
#define LARGE   400000

static atomic_int runs, freed, counter, seen_done;

static enum httpd_verdict echo(void *ctx, struct httpd_request *req, struct httpd_response *resp)
{
    (void)ctx;
    const char *q = httpd_query(req, "q");
    buf_addf(&resp->body, "%s|%s|%s|%.*s", httpd_method(req), httpd_param(req, "id"), q ? q : "-",
             SPAN_FMT(httpd_body(req)));
    httpd_add_header(resp, "X-Fine", "yes");
    httpd_add_header(resp, "X-Bad", "a\r\nSet-Cookie: b");
    return HTTPD_DONE;
}

static enum httpd_verdict wait_for_it(void *ctx, struct httpd_request *req, struct httpd_response *resp)
{
    (void)ctx;
    httpd_watch(req, "it");
    atomic_fetch_add(&runs, 1);
    if (atomic_load(&counter) == 0 && httpd_waited_ms(req) < 20000) {
        resp->wait_ms = 20000;
        return HTTPD_WAIT;
    }
    buf_addf(&resp->body, "%d", atomic_load(&counter));
    return HTTPD_DONE;
}

static enum httpd_verdict short_wait(void *ctx, struct httpd_request *req, struct httpd_response *resp)
{
    (void)ctx;
    resp->wait_ms = 300;
    if (httpd_waited_ms(req) < 300)
        return HTTPD_WAIT;
    buf_adds(&resp->body, "over");
    return HTTPD_DONE;
}

static int next_event(void *ctx, struct httpd_request *req, struct buf *out, uint32_t *wait_ms)
{
    int *sent = ctx;
    httpd_watch(req, "event");
    *wait_ms = 20000;
    if (atomic_load(&counter) > *sent)
        buf_addf(out, "data: %d\n\n", ++*sent);
    return *sent < 3;
}

static void free_events(void *ctx)
{
    free(ctx);
    atomic_fetch_add(&freed, 1);
}

static const struct httpd_stream events = {next_event, free_events};

static enum httpd_verdict stream(void *ctx, struct httpd_request *req, struct httpd_response *resp)
{
    (void)ctx, (void)req;
    resp->content_type = "text/event-stream";
    resp->stream = &events;
    resp->stream_ctx = calloc(1, sizeof(int));
    return HTTPD_DONE;
}

static enum httpd_verdict page(void *ctx, struct httpd_request *req, struct httpd_response *resp)
{
    (void)ctx, (void)req;
    resp->content_type = "text/plain";
    resp->fixed = SPAN_LIT("a page");
    return HTTPD_DONE;
}

/* "0123456789" from the third on, five of them. */
static enum httpd_verdict part_of_a_file(void *ctx, struct httpd_request *req, struct httpd_response *resp)
{
    (void)ctx, (void)req;
    int fd = memfd_create("digits", MFD_CLOEXEC);
    if (write(fd, "0123456789", 10) == 10)
        resp->file.given = true;
    resp->status = 206;
    resp->content_type = "application/octet-stream";
    resp->file.fd = fd;
    resp->file.offset = 3;
    resp->file.bytes = 5;
    return HTTPD_DONE;
}

static char large_byte(size_t i)
{
    return (char)('a' + i % 23);
}

static enum httpd_verdict large_file(void *ctx, struct httpd_request *req, struct httpd_response *resp)
{
    char *bytes = malloc(LARGE);
    (void)ctx, (void)req;
    for (size_t i = 0; bytes && i < LARGE; i++)
        bytes[i] = large_byte(i);
    int fd = memfd_create("large", MFD_CLOEXEC);
    resp->file.given = bytes && write(fd, bytes, LARGE) == LARGE;
    resp->file.fd = fd;
    resp->file.bytes = LARGE;
    free(bytes);
    return HTTPD_DONE;
}

static void on_done(void *ctx, const char *method, const char *pattern, int status, uint64_t us)
{
    (void)ctx, (void)method, (void)pattern, (void)us;
    atomic_store(&seen_done, status);
}

#define ROUTE(m, p, f)                                                                                                 \
    {                                                                                                                  \
        .method = m, .pattern = p, .handler = f                                                                        \
    }

static const struct httpd_route routes[] = {
    ROUTE("GET", "/things/{id}", echo),
    ROUTE("PUT", "/things/{id}", echo),
    ROUTE("GET", "/wait", wait_for_it),
    ROUTE("GET", "/short", short_wait),
    ROUTE("GET", "/events", stream),
    ROUTE("GET", "/", page),
    ROUTE("GET", "/file", part_of_a_file),
    ROUTE("GET", "/large", large_file),
    {.method = "POST", .pattern = "/things", .handler = echo, .body_max = 100},
};

static int set_up(void **state)
{
    struct err err = ERR_INIT;
    struct httpd *h = NULL;
    const struct httpd_opts opts = {.listen = "127.0.0.1:0",
                                    .routes = routes,
                                    .route_count = ARRAY_LEN(routes),
                                    .threads = 2,
                                    .request_ms = 600,
                                    .done = on_done};
    atomic_store(&runs, 0);
    atomic_store(&counter, 0);
    atomic_store(&freed, 0);
    assert_int_equal(httpd_start(&h, &opts, &err), 0);
    *state = h;
    return 0;
}

static int tear_down(void **state)
{
    httpd_stop(*state);
    return 0;
}

static void a_route_gets_its_parameters_query_and_body(void **state)
{
    AUTO_BUF a = ask(*state, "PUT /things/a%20b?q=1%262" END "Content-Length: 4\r\n\r\nbody");
    assert_non_null(strstr(buf_str(&a), "200 OK"));
    assert_non_null(strstr(buf_str(&a), "PUT|a b|1&2|body"));
    assert_non_null(strstr(buf_str(&a), "X-Fine: yes"));
    assert_null(strstr(buf_str(&a), "Set-Cookie"));
    assert_non_null(strstr(buf_str(&a), "nosniff"));
}

static void what_is_not_there_is_said_in_json(void **state)
{
    AUTO_BUF none = ask(*state, "GET /nothing" END "\r\n"), wrong = ask(*state, "DELETE /things/1" END "\r\n"),
             above = ask(*state, "GET /things/../things/1" END "\r\n"), empty = ask(*state, "GET /things/" END "\r\n");
    assert_non_null(strstr(buf_str(&none), " 404 "));
    assert_non_null(strstr(buf_str(&none), "\"code\":\"not_found\""));
    assert_non_null(strstr(buf_str(&wrong), " 405 "));
    assert_non_null(strstr(buf_str(&wrong), "Allow: GET, HEAD, PUT"));
    assert_non_null(strstr(buf_str(&above), " 404 "));
    assert_non_null(strstr(buf_str(&empty), " 404 "));
}

static void a_body_above_the_bound_is_refused_before_it_is_sent(void **state)
{
    AUTO_BUF told = ask(*state, "POST /things" END "Content-Length: 1073741824\r\n\r\n"),
             fits = ask(*state, "POST /things" END "Content-Length: 3\r\n\r\nabc");
    assert_non_null(strstr(buf_str(&told), " 413 "));
    assert_non_null(strstr(buf_str(&fits), "POST||-|abc"));
}

static void a_body_without_a_length_is_cut_off_at_the_bound(void **state)
{
    int fd = dial(*state);
    struct buf out;
    say(fd, "POST /things" END "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 64; i++) {
        static const char chunk[] = "10\r\n0123456789abcdef\r\n";
        if (send(fd, chunk, sizeof chunk - 1, MSG_NOSIGNAL) < 0)
            break;
    }
    hear(fd, &out);
    assert_null(strstr(buf_str(&out), "200 OK"));
    buf_release(&out);
}

static void a_head_that_is_too_large_is_refused(void **state)
{
    struct buf request;
    buf_init(&request, 1 << 20);
    buf_adds(&request, "GET /things/1" END "X-Long: ");
    for (int i = 0; i < 40000; i++)
        buf_addc(&request, 'x');
    buf_adds(&request, "\r\n\r\n");
    AUTO_BUF a = ask(*state, buf_str(&request));
    assert_null(strstr(buf_str(&a), "200 OK"));
    buf_release(&request);
}

static void a_request_that_trickles_in_is_cut_off(void **state)
{
    int fd = dial(*state);
    char byte;
    uint64_t start = clock_mono_ms();
    say(fd, "GET /things/1 HTTP/1.1\r\nHost: x\r\n");
    struct timeval wait = {.tv_usec = 50000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    ssize_t n = -1;
    while (n != 0 && clock_mono_ms() - start < 20000) {
        if (send(fd, "X: y\r\n", 6, MSG_NOSIGNAL) < 0)
            n = 0;
        else
            n = recv(fd, &byte, 1, 0);
        if (n < 0 && errno != EAGAIN)
            n = 0;
    }
    assert_int_equal(n, 0);
    close(fd);
}

static void many_wait_on_few_threads_and_wake_together(void **state)
{
    struct httpd *h = *state;
    int fd[WAITERS];
    for (int i = 0; i < WAITERS; i++) {
        fd[i] = dial(h);
        say(fd[i], "GET /wait" END "\r\n");
    }
    while (atomic_load(&runs) < WAITERS)
        sched_yield();
    AUTO_BUF meanwhile = ask(h, "GET /things/1" END "\r\n");
    assert_non_null(strstr(buf_str(&meanwhile), "200 OK"));
    atomic_store(&counter, 7);
    httpd_wake(h, "it", 0);
    for (int i = 0; i < WAITERS; i++) {
        struct buf out;
        hear(fd[i], &out);
        assert_non_null(strstr(buf_str(&out), "\r\n\r\n7"));
        buf_release(&out);
    }
}

static void who_waits_long_enough_is_asked_again(void **state)
{
    AUTO_BUF a = ask(*state, "GET /short" END "\r\n");
    assert_non_null(strstr(buf_str(&a), "over"));
}

static void a_stream_gives_events_as_they_come_and_ends(void **state)
{
    struct httpd *h = *state;
    int fd = dial(h);
    struct buf out;
    say(fd, "GET /events" END "\r\n");
    for (int i = 1; i <= 3; i++) {
        atomic_store(&counter, i);
        httpd_wake(h, "event", 0);
    }
    hear(fd, &out);
    assert_non_null(strstr(buf_str(&out), "data: 1"));
    assert_non_null(strstr(buf_str(&out), "data: 3"));
    buf_release(&out);
}

static void a_page_that_the_client_has_is_not_sent_again(void **state)
{
    AUTO_BUF first = ask(*state, "GET /" END "\r\n");
    const char *etag = strstr(buf_str(&first), "ETag: ");
    assert_non_null(etag);
    struct buf request;
    buf_init(&request, 1024);
    buf_addf(&request, "GET /" END "If-None-Match: %.18s\r\n\r\n", etag + 6);
    AUTO_BUF again = ask(*state, buf_str(&request)), head = ask(*state, "HEAD /" END "\r\n");
    assert_non_null(strstr(buf_str(&again), " 304 "));
    assert_null(strstr(buf_str(&again), "a page"));
    assert_non_null(strstr(buf_str(&head), " 200 "));
    assert_null(strstr(buf_str(&head), "a page"));
    buf_release(&request);
}

static void a_file_is_sent_from_where_and_as_far_as_was_said(void **state)
{
    AUTO_BUF a = ask(*state, "GET /file" END "\r\n"), head = ask(*state, "HEAD /file" END "\r\n");
    assert_non_null(strstr(buf_str(&a), " 206 "));
    assert_non_null(strstr(buf_str(&a), "Content-Length: 5\r\n"));
    assert_non_null(strstr(buf_str(&a), "\r\n\r\n34567"));
    assert_null(strstr(buf_str(&a), "345678"));
    assert_non_null(strstr(buf_str(&head), "Content-Length: 5\r\n"));
    assert_null(strstr(buf_str(&head), "34567"));
}

static struct httpd *start_with_a_rate(uint64_t bytes_per_second)
{
    struct err err = ERR_INIT;
    struct httpd *h = NULL;
    const struct httpd_opts opts = {.listen = "127.0.0.1:0",
                                    .routes = routes,
                                    .route_count = ARRAY_LEN(routes),
                                    .threads = 2,
                                    .file_bytes_per_second = bytes_per_second};
    assert_int_equal(httpd_start(&h, &opts, &err), 0);
    return h;
}

static void hear_the_large_file(int fd)
{
    struct buf out;
    hear(fd, &out);
    const char *body = strstr(buf_str(&out), "\r\n\r\n");
    assert_non_null(body);
    body += 4;
    assert_int_equal(buf_str(&out) + out.n - body, LARGE);
    for (size_t i = 0; i < LARGE; i++)
        assert_int_equal(body[i], large_byte(i));
    buf_release(&out);
}

static void files_below_a_rate_arrive_whole(void **state)
{
    (void)state;
    struct httpd *h = start_with_a_rate(1 << 20);
    int fd[3];
    for (size_t i = 0; i < ARRAY_LEN(fd); i++) {
        fd[i] = dial(h);
        say(fd[i], "GET /large" END "\r\n");
    }
    for (size_t i = 0; i < ARRAY_LEN(fd); i++)
        hear_the_large_file(fd[i]);
    assert_int_equal(httpd_file_bytes(h), ARRAY_LEN(fd) * LARGE);
    httpd_stop(h);
}

static void a_file_that_waits_for_its_rate_goes_when_the_server_stops(void **state)
{
    (void)state;
    struct httpd *h = start_with_a_rate(1);
    char first;
    int fd = dial(h);
    say(fd, "GET /large" END "\r\n");
    assert_int_equal(recv(fd, &first, 1, MSG_PEEK), 1);
    httpd_stop(h);
    hear_the_large_file(fd);
}

/* A client that does not read holds up neither the others nor the end. */
static void who_goes_away_while_its_file_waits_is_forgotten(void **state)
{
    (void)state;
    struct httpd *h = start_with_a_rate(1 << 20);
    int gone = dial(h), stays = dial(h);
    char first;
    say(gone, "GET /large" END "\r\n");
    assert_int_equal(recv(gone, &first, 1, MSG_PEEK), 1);
    close(gone);
    say(stays, "GET /large" END "\r\n");
    hear_the_large_file(stays);
    httpd_stop(h);
}

static void stopping_answers_those_who_wait(void **state)
{
    (void)state;
    void *own = NULL;
    set_up(&own);
    int fd = dial(own), ev = dial(own);
    struct buf out;
    say(fd, "GET /wait" END "\r\n");
    say(ev, "GET /events" END "\r\n");
    while (atomic_load(&runs) < 1)
        sched_yield();
    httpd_stop(own);
    hear(fd, &out);
    assert_non_null(strstr(buf_str(&out), " 503 "));
    assert_non_null(strstr(buf_str(&out), "Retry-After"));
    buf_release(&out);
    close(ev);
}

static void routes_are_found_by_segments(void **state)
{
    (void)state;
    struct route_match m;
    route_find(routes, ARRAY_LEN(routes), "GET", "/things/x", &m);
    assert_ptr_equal(m.route, &routes[0]);
    assert_int_equal(m.n, 1);
    route_find(routes, ARRAY_LEN(routes), "GET", "/things/x/", &m);
    assert_null(m.route);
    route_find(routes, ARRAY_LEN(routes), "HEAD", "/things/x", &m);
    assert_ptr_equal(m.route, &routes[0]);
    route_find(routes, ARRAY_LEN(routes), "PATCH", "/things", &m);
    assert_null(m.route);
    assert_true(m.path_known);
}

static void addresses_that_are_none_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "x", "127.0.0.1", "127.0.0.1:", "127.0.0.1:99999", "[::1]", "[::1:80", ":80"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err err = ERR_INIT;
        struct httpd *h = NULL;
        assert_int_equal(httpd_start(&h, &(struct httpd_opts){.listen = bad[i]}, &err), -1);
        assert_null(h);
        assert_true(err_is_set(&err));
    }
}

#define WITH(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(a_route_gets_its_parameters_query_and_body),
        WITH(what_is_not_there_is_said_in_json),
        WITH(a_body_above_the_bound_is_refused_before_it_is_sent),
        WITH(a_body_without_a_length_is_cut_off_at_the_bound),
        WITH(a_head_that_is_too_large_is_refused),
        WITH(a_request_that_trickles_in_is_cut_off),
        WITH(many_wait_on_few_threads_and_wake_together),
        WITH(who_waits_long_enough_is_asked_again),
        WITH(a_stream_gives_events_as_they_come_and_ends),
        WITH(a_page_that_the_client_has_is_not_sent_again),
        WITH(a_file_is_sent_from_where_and_as_far_as_was_said),
        cmocka_unit_test(files_below_a_rate_arrive_whole),
        cmocka_unit_test(a_file_that_waits_for_its_rate_goes_when_the_server_stops),
        cmocka_unit_test(who_goes_away_while_its_file_waits_is_forgotten),
        cmocka_unit_test(stopping_answers_those_who_wait),
        cmocka_unit_test(routes_are_found_by_segments),
        cmocka_unit_test(addresses_that_are_none_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
