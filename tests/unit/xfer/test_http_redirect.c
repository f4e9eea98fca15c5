#include "http_rig.h"

/* ---- redirects ---- */

static void a_redirect_within_the_origin_keeps_the_credentials(void **state)
{
    (void)state;
    RIG(r, {"HTTP/1.1 302 Found\r\nLocation: ../moved?a=b\r\n" EMPTY, LOOPBACK_KEEP}, {OK_HELLO, LOOPBACK_KEEP});
    const struct http_header headers[] = {{"Authorization", "secret"}};
    struct signer signer = {0};
    must_answer(&r, (struct http_request){.headers = headers, .header_count = 1, .sign = sign, .sign_ctx = &signer},
                200);
    assert_true(sent(&r, 1, "GET /moved?a=b HTTP/1.1"));
    assert_true(sent(&r, 1, "Authorization: try-2"));
    assert_non_null(strstr(r.resp.effective_url, "/moved"));
    assert_null(strchr(r.resp.effective_url, '?'));
    rig_close(&r);
}

struct two_servers {
    char location[128];
};

static enum loopback_then redirect_away(void *ctx, const char *request, struct buf *out)
{
    (void)request;
    const struct two_servers *t = ctx;
    buf_addf(out, "HTTP/1.1 307 Elsewhere\r\nLocation: %s\r\n" EMPTY, t->location);
    return LOOPBACK_KEEP;
}

static void a_redirect_to_another_origin_carries_no_credentials_and_is_not_signed(void **state)
{
    (void)state;
    RIG(r, {"HTTP/1.1 302 Found\r\nLocation: /again\r\n" EMPTY, LOOPBACK_KEEP}, {OK_HELLO, LOOPBACK_KEEP});
    struct two_servers two;
    snprintf(two.location, sizeof two.location, "http://127.0.0.1:%u/other", loopback_port(r.server));
    struct loopback *first = loopback_start(redirect_away, &two, NULL);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/", loopback_port(first));
    const struct http_header headers[] = {
        {"Authorization", "canary1"}, {"Cookie", "canary2"},   {"X-Amz-Security-Token", "canary3"},
        {"X-Api-Key", "canary4"},     {"Host", "canary5"},     {"x-amz-date", "canary6"},
        {"Private-Token", "canary7"}, {"Range", "bytes=0-99"},
    };
    struct signer signer = {0};
    must_answer(
        &r,
        (struct http_request){
            .url = url, .headers = headers, .header_count = ARRAY_LEN(headers), .sign = sign, .sign_ctx = &signer},
        200);
    loopback_free(first);
    assert_int_equal(signer.calls, 1);
    assert_int_equal(r.script.request_count, 2);
    for (size_t i = 0; i < 2; i++) { /* not on the way on either, although that stays within the second origin */
        assert_false(sent(&r, i, "canary"));
        assert_false(sent(&r, i, "Authorization"));
        assert_true(sent(&r, i, "Range: bytes=0-99"));
    }
    rig_close(&r);
}

static void redirects_end_after_five(void **state)
{
    (void)state;
    RIG(r, {"HTTP/1.1 302 Found\r\nLocation: /loop\r\n" EMPTY, LOOPBACK_KEEP});
    must_fail(&r, (struct http_request){0}, ERR_LIMIT);
    assert_int_equal(r.script.request_count, 1 + XFER_REDIRECTS_MAX);
    rig_close(&r);
}

static void a_redirect_can_be_kept(void **state)
{
    (void)state;
    RIG(r, {"HTTP/1.1 301 Moved\r\nLocation: http://other.invalid/\r\n" EMPTY, LOOPBACK_KEEP});
    must_answer(&r, (struct http_request){.keep_redirects = true}, 301);
    assert_string_equal(http_response_get(&r.resp, "location"), "http://other.invalid/");
    rig_close(&r);
}

static void not_modified_and_redirects_without_location_are_answers(void **state)
{
    (void)state;
    RIG(r, {"HTTP/1.1 304 Not Modified\r\n\r\n", LOOPBACK_KEEP});
    must_answer(&r, (struct http_request){0}, 304);
    rig_close(&r);
    RIG(bare, {"HTTP/1.1 302 Found\r\n" EMPTY, LOOPBACK_KEEP});
    must_answer(&bare, (struct http_request){0}, 302);
    rig_close(&bare);
}

static void methods_change_as_the_status_says(void **state)
{
    (void)state;
    static const struct {
        const char *method, *status, *then;
        bool body;
    } cases[] = {
        {"POST", "301 M", "GET", false}, {"POST", "302 F", "GET", false},  {"POST", "303 S", "GET", false},
        {"POST", "307 T", "POST", true}, {"POST", "308 P", "POST", true},  {"PUT", "302 F", "PUT", true},
        {"PUT", "303 S", "GET", false},  {"HEAD", "303 S", "HEAD", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char answer[128], want[32];
        snprintf(answer, sizeof answer, "HTTP/1.1 %s\r\nLocation: /there\r\n" EMPTY, cases[i].status);
        snprintf(want, sizeof want, "%s /there", cases[i].then);
        const struct script_step steps[] = {{answer, LOOPBACK_KEEP}, {"HTTP/1.1 204 No\r\n\r\n", LOOPBACK_KEEP}};
        struct rig r;
        rig_open(&r, steps, 2, NULL);
        const struct http_header headers[] = {{"Content-Type", "text/x"}};
        bool head = str_eq(cases[i].method, "HEAD");
        must_answer(&r,
                    (struct http_request){.method = cases[i].method,
                                          .headers = headers,
                                          .header_count = 1,
                                          .body = head ? (struct span){0} : SPAN_LIT("data")},
                    204);
        assert_true(sent(&r, 1, want));
        assert_int_equal(sent(&r, 1, "\r\n\r\ndata"), cases[i].body);
        if (!cases[i].body && !head)
            assert_false(sent(&r, 1, "Content-Type"));
        rig_close(&r);
    }
}

static void a_streamed_body_is_not_redirected(void **state)
{
    (void)state;
    struct feed feed = {"abc", 0, 3};
    RIG(r, {"HTTP/1.1 307 T\r\nLocation: /there\r\n" EMPTY, LOOPBACK_KEEP});
    must_fail(&r, (struct http_request){.method = "PUT", .read_body = read_feed, .ctx = &feed, .body_length = 3},
              ERR_PROTOCOL);
    assert_int_equal(r.script.request_count, 1);
    rig_close(&r);
}

static void an_unusable_location_is_the_servers_fault(void **state)
{
    (void)state;
    static const char *const bad[] = {"file:///etc/passwd", "http://", "gopher://h/"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char answer[128];
        snprintf(answer, sizeof answer, "HTTP/1.1 302 Found\r\nLocation: %s\r\n" EMPTY, bad[i]);
        const struct script_step steps[] = {{answer, LOOPBACK_KEEP}};
        struct rig r;
        rig_open(&r, steps, 1, NULL);
        must_fail(&r, (struct http_request){0}, ERR_PROTOCOL);
        rig_close(&r);
    }
}

/* ---- policy ---- */

static void a_private_address_is_refused_before_anything_is_sent(void **state)
{
    (void)state;
    static const struct script_step steps[] = {{OK_HELLO, LOOPBACK_KEEP}};
    static const struct http_opts opts = {.policy = {.public_only = true, .no_proxy_env = true}};
    struct rig r;
    rig_open(&r, steps, 1, &opts);
    must_fail(&r, (struct http_request){0}, ERR_REFUSED);
    assert_non_null(strstr(r.err.text, "127.0.0.1"));
    assert_int_equal(r.waits.n, 0);
    rig_close(&r);
}

static void a_name_that_leads_to_a_private_address_is_refused_at_the_socket(void **state)
{
    (void)state;
    static const struct script_step steps[] = {{OK_HELLO, LOOPBACK_KEEP}};
    static const struct http_opts opts = {.policy = {.public_only = true, .no_proxy_env = true}};
    struct rig r;
    rig_open(&r, steps, 1, &opts);
    char url[64];
    snprintf(url, sizeof url, "http://localhost:%u/", loopback_port(r.server));
    must_fail(&r, (struct http_request){.url = url}, ERR_REFUSED);
    assert_non_null(strstr(r.err.text, "localhost"));
    assert_non_null(strstr(r.err.text, "loopback"));
    assert_non_null(strstr(r.err.hint, "allow"));
    assert_int_equal(loopback_connections(r.server), 0);
    assert_int_equal(r.waits.n, 0);
    rig_close(&r);
}

static void an_allowed_address_is_reached_and_its_redirect_elsewhere_is_refused(void **state)
{
    (void)state;
    static const struct script_step steps[] = {
        {OK_HELLO, LOOPBACK_KEEP},
        {"HTTP/1.1 302 F\r\nLocation: http://169.254.169.254/latest\r\n" EMPTY, LOOPBACK_KEEP}};
    static const char *const allow[] = {"127.0.0.1", NULL};
    static const struct http_opts opts = {.policy = {.public_only = true, .no_proxy_env = true, .allow = allow}};
    struct rig r;
    rig_open(&r, steps, 2, &opts);
    struct http_request req = {.url = r.url};
    assert_int_equal(http_call(r.http, &req, &r.resp, &r.err), 0);
    http_response_release(&r.resp);
    must_fail(&r, req, ERR_REFUSED);
    assert_non_null(strstr(r.err.text, "169.254.169.254"));
    rig_close(&r);
}

static void https_only_refuses_plain_http(void **state)
{
    (void)state;
    static const struct script_step steps[] = {{OK_HELLO, LOOPBACK_KEEP}};
    static const struct http_opts opts = {.policy = {.https_only = true, .no_proxy_env = true}};
    struct rig r;
    rig_open(&r, steps, 1, &opts);
    must_fail(&r, (struct http_request){0}, ERR_REFUSED);
    assert_int_equal(r.script.request_count, 0);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_redirect_within_the_origin_keeps_the_credentials),
        cmocka_unit_test(a_redirect_to_another_origin_carries_no_credentials_and_is_not_signed),
        cmocka_unit_test(redirects_end_after_five),
        cmocka_unit_test(a_redirect_can_be_kept),
        cmocka_unit_test(not_modified_and_redirects_without_location_are_answers),
        cmocka_unit_test(methods_change_as_the_status_says),
        cmocka_unit_test(a_streamed_body_is_not_redirected),
        cmocka_unit_test(an_unusable_location_is_the_servers_fault),
        cmocka_unit_test(a_private_address_is_refused_before_anything_is_sent),
        cmocka_unit_test(a_name_that_leads_to_a_private_address_is_refused_at_the_socket),
        cmocka_unit_test(an_allowed_address_is_reached_and_its_redirect_elsewhere_is_refused),
        cmocka_unit_test(https_only_refuses_plain_http),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
