/* What the frame does at its bounds, and with clients that come and go as they like. */
#include "httpd_rig.h"

#include <sched.h>
#include <stdatomic.h>

#define BODY_MAX     1000
#define BODIES_MAX   1500
#define BODY_SMALL   10
#define HEAD_MAX     4096
#define ASKED_MAX    50
#define MEETINGS_MAX 20
#define STOPS        500

static atomic_int watching, freed, dropped, done_count, done_status;

static enum httpd_verdict rest(void *ctx, struct httpd_request *req, struct httpd_response *resp)
{
    (void)ctx;
    const char *q = httpd_query(req, "q");
    buf_addf(&resp->body, "[%s][%s]", httpd_param(req, "*"), q ? q : "-");
    return HTTPD_DONE;
}

static enum httpd_verdict take(void *ctx, struct httpd_request *req, struct httpd_response *resp)
{
    (void)ctx;
    buf_addf(&resp->body, "took %zu of %s", httpd_body(req).n, (const char *)httpd_about(req));
    return HTTPD_DONE;
}

static enum httpd_verdict page(void *ctx, struct httpd_request *req, struct httpd_response *resp)
{
    (void)ctx, (void)req;
    resp->fixed = SPAN_LIT("a page");
    httpd_add_header(resp, "X-Page", "yes");
    return HTTPD_DONE;
}

static void drop_state(void *state)
{
    (void)state;
    atomic_fetch_add(&dropped, 1);
}

static enum httpd_verdict wait_long(void *ctx, struct httpd_request *req, struct httpd_response *resp)
{
    (void)ctx;
    httpd_watch(req, "poll");
    httpd_set_state(req, &dropped, drop_state);
    atomic_fetch_add(&watching, 1);
    resp->wait_ms = HTTPD_WAIT_MAX_MS;
    return HTTPD_WAIT;
}

/* Something with each wake-up, without end. */
static int next_event(void *ctx, struct httpd_request *req, struct buf *out, uint32_t *wait_ms)
{
    bool *begun = ctx;
    httpd_watch(req, "event");
    *wait_ms = HTTPD_WAIT_MAX_MS;
    buf_adds(out, *begun ? ":\n\n" : "data: hello\n\n");
    *begun = true;
    return 1;
}

static int next_quiet(void *ctx, struct httpd_request *req, struct buf *out, uint32_t *wait_ms)
{
    bool *begun = ctx;
    httpd_watch(req, "event");
    *wait_ms = HTTPD_WAIT_MAX_MS;
    if (!*begun)
        buf_adds(out, "data: hello\n\n");
    *begun = true;
    return 1;
}

static void free_events(void *ctx)
{
    free(ctx);
    atomic_fetch_add(&freed, 1);
}

static const struct httpd_stream endless = {next_event, free_events}, quiet = {next_quiet, free_events};

static enum httpd_verdict stream(void *ctx, struct httpd_request *req, struct httpd_response *resp)
{
    (void)ctx;
    resp->content_type = "text/event-stream";
    resp->stream = httpd_about(req);
    resp->stream_ctx = calloc(1, sizeof(bool));
    httpd_add_header(resp, "X-Stream", "yes");
    return HTTPD_DONE;
}

static void on_done(void *ctx, const char *method, const char *pattern, int status, uint64_t us)
{
    (void)ctx, (void)method, (void)pattern, (void)us;
    atomic_store(&done_status, status);
    atomic_fetch_add(&done_count, 1);
}

static bool friends_only(void *ctx, struct httpd_request *req, struct httpd_response *resp)
{
    (void)ctx;
    assert_int_equal(httpd_body(req).n, 0); /* asked before anything of it was read */
    if (httpd_header(req, "X-Friend"))
        return true;
    resp->status = 401;
    buf_adds(&resp->body, "who are you");
    return false;
}

static const struct httpd_route routes[] = {
    {.method = "GET", .pattern = "/files/*", .handler = rest},
    {.method = "POST", .pattern = "/take", .handler = take, .about = "mine"},
    {.method = "POST", .pattern = "/friends", .handler = take, .admit = friends_only, .about = "friends"},
    {.method = "GET", .pattern = "/page", .handler = page},
    {.method = "GET", .pattern = "/wait", .handler = wait_long},
    {.method = "GET", .pattern = "/endless", .handler = stream, .about = &endless},
    {.method = "GET", .pattern = "/quiet", .handler = stream, .about = &quiet},
};

static int start(void **state, const char *listen)
{
    struct err err = ERR_INIT;
    struct httpd *h = NULL;
    const struct httpd_opts opts = {.listen = listen,
                                    .routes = routes,
                                    .route_count = ARRAY_LEN(routes),
                                    .threads = 2,
                                    .body_max = BODY_MAX,
                                    .bodies_max = BODIES_MAX,
                                    .body_small = BODY_SMALL,
                                    .head_max = HEAD_MAX,
                                    .done = on_done};
    atomic_store(&watching, 0);
    atomic_store(&freed, 0);
    atomic_store(&dropped, 0);
    atomic_store(&done_count, 0);
    assert_int_equal(httpd_start(&h, &opts, &err), 0);
    *state = h;
    return 0;
}

static int set_up(void **state)
{
    return start(state, "127.0.0.1:0");
}

static int tear_down(void **state)
{
    httpd_stop(*state);
    return 0;
}

/* Read until `text` was seen. */
static void hear_until(int fd, const char *text)
{
    struct buf seen;
    char piece[512];
    buf_init(&seen, 1 << 20);
    while (!strstr(buf_str(&seen), text)) {
        ssize_t n = recv(fd, piece, sizeof piece, 0);
        assert_true(n > 0);
        buf_add(&seen, piece, (size_t)n);
    }
    buf_release(&seen);
}

static void a_star_takes_the_rest_of_the_path(void **state)
{
    AUTO_BUF deep = ask(*state, "GET /files/a/b%20c/d?q=x+y" END "\r\n"), none = ask(*state, "GET /files/" END "\r\n"),
             short_of_it = ask(*state, "GET /files" END "\r\n");
    assert_non_null(strstr(buf_str(&deep), "[a/b c/d][x y]"));
    assert_non_null(strstr(buf_str(&none), "[][-]"));
    assert_non_null(strstr(buf_str(&short_of_it), " 404 "));
}

static void an_encoded_nul_does_not_cut_a_value_short(void **state)
{
    AUTO_BUF a = ask(*state, "GET /files/a%00b?q=c%00d" END "\r\n");
    assert_non_null(strstr(buf_str(&a), "[a%00b][c%00d]"));
}

static void a_head_above_its_limit_is_refused_in_json(void **state)
{
    AUTO_BUF request;
    buf_init(&request, 1 << 16);
    buf_adds(&request, "GET /page" END "X-Long: ");
    for (int i = 0; i < HEAD_MAX; i++)
        buf_addc(&request, 'x');
    buf_adds(&request, "\r\n\r\n");
    AUTO_BUF a = ask(*state, buf_str(&request));
    assert_non_null(strstr(buf_str(&a), " 431 "));
    assert_non_null(strstr(buf_str(&a), "{\"error\":{\"code\":\"too_large\""));
}

static void a_large_body_is_asked_for_before_it_is_taken(void **state)
{
    static const char *const strangers[] = {"POST /friends" END "Content-Length: 1000\r\n\r\n",
                                            "POST /friends" END "Transfer-Encoding: chunked\r\n\r\n"};
    AUTO_BUF small = ask(*state, "POST /friends" END "Content-Length: 2\r\n\r\nab");
    assert_non_null(strstr(buf_str(&small), "took 2 of friends"));
    for (size_t i = 0; i < ARRAY_LEN(strangers); i++) {
        AUTO_BUF a = ask(*state, strangers[i]); /* of whose body not a byte was sent */
        assert_non_null(strstr(buf_str(&a), " 401 "));
        assert_non_null(strstr(buf_str(&a), "who are you"));
    }
    AUTO_BUF request;
    buf_init(&request, 1 << 16);
    buf_adds(&request, "POST /friends" END "X-Friend: yes\r\nContent-Length: 1000\r\n\r\n");
    for (int i = 0; i < 1000; i++)
        buf_addc(&request, 'x');
    AUTO_BUF large = ask(*state, buf_str(&request));
    assert_non_null(strstr(buf_str(&large), "took 1000 of friends"));
}

/* A request one byte short, which the server holds while the same one is asked whole until it is refused. False: both
 * met while the first was still being read, and that one was refused, or both were. */
static bool hold_while_others_ask(struct httpd *h, const struct buf *whole)
{
    int held = dial(h);
    assert_int_equal(send(held, whole->p, whole->n - 1, MSG_NOSIGNAL), (ssize_t)whole->n - 1);
    bool busy = false;
    for (int i = 0; i < ASKED_MAX && !busy; i++) {
        AUTO_BUF a = ask(h, buf_str(whole));
        busy = strstr(buf_str(&a), " 503 ") != NULL;
        assert_true(busy || strstr(buf_str(&a), "took 1000 of mine"));
    }
    AUTO_BUF small = ask(h, "POST /take" END "Content-Length: 2\r\n\r\nab"); /* whatever others send */
    assert_non_null(strstr(buf_str(&small), "took 2 of mine"));
    (void)send(held, "b", 1, MSG_NOSIGNAL); /* to one that was refused, it may not go */
    struct buf late;
    hear(held, &late);
    bool both = busy && strstr(buf_str(&late), "took 1000 of mine");
    buf_release(&late);
    return both;
}

static void bodies_under_way_are_bounded_together(void **state)
{
    struct httpd *h = *state;
    char body[BODY_MAX + 1];
    memset(body, 'b', BODY_MAX);
    body[BODY_MAX] = 0;
    AUTO_BUF whole;
    buf_init(&whole, 1 << 16);
    buf_addf(&whole, "POST /take" END "Content-Length: %d\r\n\r\n%s", BODY_MAX, body);
    bool held = false;
    for (int i = 0; i < MEETINGS_MAX && !held; i++)
        held = hold_while_others_ask(h, &whole);
    assert_true(held);
    AUTO_BUF again = ask(h, buf_str(&whole));
    assert_non_null(strstr(buf_str(&again), "took 1000 of mine"));
}

static void requests_on_one_connection_are_answered_in_turn(void **state)
{
    int fd = dial(*state);
    struct buf out;
    say(fd, "GET /files/1 HTTP/1.1\r\nHost: x\r\n\r\nGET /files/2 HTTP/1.1\r\nHost: x\r\n\r\n");
    say(fd, "POST /take HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab");
    say(fd, "GET /files/3" END "\r\n");
    hear(fd, &out);
    const char *p = buf_str(&out);
    static const char *const in_turn[] = {"[1][-]", "[2][-]", "took 2", "[3][-]"};
    for (size_t i = 0; i < ARRAY_LEN(in_turn); i++) {
        p = strstr(p, in_turn[i]);
        assert_non_null(p);
    }
    buf_release(&out);
}

static void what_is_no_http_is_refused(void **state)
{
    AUTO_BUF a = ask(*state, "hello\r\n\r\n"), b = ask(*state, "POST /take" END "Content-Length: -1\r\n\r\n");
    assert_null(strstr(buf_str(&a), " 200 "));
    assert_null(strstr(buf_str(&b), " 200 "));
}

static void any_tag_of_a_list_spares_the_page(void **state)
{
    AUTO_BUF first = ask(*state, "GET /page" END "\r\n");
    const char *etag = strstr(buf_str(&first), "ETag: ");
    assert_non_null(etag);
    assert_non_null(strstr(buf_str(&first), "X-Page: yes"));
    AUTO_BUF request;
    buf_init(&request, 1024);
    buf_addf(&request, "GET /page" END "If-None-Match: \"other\", W/%.18s\r\n\r\n", etag + 6);
    AUTO_BUF listed = ask(*state, buf_str(&request)), all = ask(*state, "GET /page" END "If-None-Match: *\r\n\r\n"),
             other = ask(*state, "GET /page" END "If-None-Match: \"other\"\r\n\r\n");
    assert_non_null(strstr(buf_str(&listed), " 304 "));
    assert_non_null(strstr(buf_str(&all), " 304 "));
    assert_non_null(strstr(buf_str(&other), "a page"));
}

static void a_stream_whose_client_left_is_freed(void **state)
{
    struct httpd *h = *state;
    int fd = dial(h);
    say(fd, "GET /endless" END "\r\n");
    hear_until(fd, "data: hello");
    close(fd);
    while (atomic_load(&freed) == 0) {
        httpd_wake(h, "event", 0);
        sched_yield();
    }
}

static void a_poll_whose_client_left_is_dropped_when_it_is_over(void **state)
{
    struct httpd *h = *state;
    int fd = dial(h);
    say(fd, "GET /wait" END "\r\n");
    while (atomic_load(&watching) == 0)
        sched_yield();
    close(fd);
    assert_int_equal(atomic_load(&dropped), 0);
    httpd_stop(h);
    assert_int_equal(atomic_load(&dropped), 1);
    set_up(state);
}

/* Threads that look at the listening socket and the one that stops them must not get in each other's way. */
static void stopping_is_safe_whatever_its_threads_are_at(void **state)
{
    (void)state;
    for (int i = 0; i < STOPS; i++) {
        struct httpd *h;
        struct err err = ERR_INIT;
        const struct httpd_opts opts = {.listen = "127.0.0.1:0"};
        assert_int_equal(httpd_start(&h, &opts, &err), 0);
        int fd = dial(h);
        httpd_stop(h);
        close(fd);
    }
}

static void stopping_ends_streams_and_frees_them(void **state)
{
    struct httpd *h = *state;
    int fd = dial(h);
    struct buf out;
    say(fd, "GET /quiet" END "\r\n");
    hear_until(fd, "data: hello");
    httpd_stop(h);
    assert_int_equal(atomic_load(&freed), 1);
    hear(fd, &out);
    assert_non_null(strstr(buf_str(&out), "0\r\n\r\n")); /* a whole chunked answer, not a torn one */
    buf_release(&out);
    set_up(state);
}

static void each_answer_is_reported_with_its_status(void **state)
{
    struct httpd *h = *state;
    AUTO_BUF a = ask(h, "GET /nothing" END "\r\n");
    while (atomic_load(&done_count) < 1)
        sched_yield();
    assert_int_equal(atomic_load(&done_status), 404);
    assert_non_null(strstr(buf_str(&a), " 404 "));
}

static void version_six_addresses_stand_in_brackets(void **state)
{
    (void)state;
    void *own = NULL;
    int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool has_v6 = probe >= 0 && bind(probe, (struct sockaddr *)&any, sizeof any) == 0;
    if (probe >= 0)
        close(probe);
    if (!has_v6)
        skip();
    start(&own, "[::1]:0");
    assert_int_equal(strncmp(httpd_address(own), "http://[::1]:", 13), 0);
    assert_true(httpd_port(own) != 0);
    httpd_stop(own);
}

#define WITH(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(a_star_takes_the_rest_of_the_path),
        WITH(an_encoded_nul_does_not_cut_a_value_short),
        WITH(a_head_above_its_limit_is_refused_in_json),
        WITH(a_large_body_is_asked_for_before_it_is_taken),
        WITH(bodies_under_way_are_bounded_together),
        WITH(requests_on_one_connection_are_answered_in_turn),
        WITH(what_is_no_http_is_refused),
        WITH(any_tag_of_a_list_spares_the_page),
        WITH(a_stream_whose_client_left_is_freed),
        WITH(a_poll_whose_client_left_is_dropped_when_it_is_over),
        WITH(stopping_ends_streams_and_frees_them),
        cmocka_unit_test(stopping_is_safe_whatever_its_threads_are_at),
        WITH(each_answer_is_reported_with_its_status),
        cmocka_unit_test(version_six_addresses_stand_in_brackets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
