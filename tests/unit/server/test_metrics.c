#include "server/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

struct fixture {
    struct metrics m;
    struct buf text;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    metrics_init(&f->m);
    buf_init(&f->text, 1u << 20);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    metrics_release(&f->m);
    buf_release(&f->text);
    free(f);
    return 0;
}

static void assert_has(struct fixture *f, const char *line)
{
    if (!strstr(buf_str(&f->text), line))
        fail_msg("'%s' is not in:\n%s", line, buf_str(&f->text));
}

static void requests_are_counted_by_route_and_status(void **state)
{
    struct fixture *f = *state;
    metrics_request(&f->m, "GET", "/jobs/{id}", 200, 700);
    metrics_request(&f->m, "GET", "/jobs/{id}", 200, 700);
    metrics_request(&f->m, "GET", "/jobs/{id}", 404, 400);
    metrics_write(&f->m, NULL, &f->text);
    assert_has(f, "berth_requests_total{method=\"GET\",route=\"/jobs/{id}\",status=\"200\"} 2\n");
    assert_has(f, "berth_requests_total{method=\"GET\",route=\"/jobs/{id}\",status=\"404\"} 1\n");
    assert_has(f, "berth_request_seconds_bucket{method=\"GET\",route=\"/jobs/{id}\",le=\"0.0005\"} 1\n");
    assert_has(f, "berth_request_seconds_bucket{method=\"GET\",route=\"/jobs/{id}\",le=\"0.001\"} 3\n");
    assert_has(f, "berth_request_seconds_bucket{method=\"GET\",route=\"/jobs/{id}\",le=\"+Inf\"} 3\n");
    assert_has(f, "berth_request_seconds_count{method=\"GET\",route=\"/jobs/{id}\"} 3\n");
    assert_has(f, "berth_request_seconds_sum{method=\"GET\",route=\"/jobs/{id}\"} 0.001800\n");
}

static void what_a_client_makes_up_becomes_no_label(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 1000; i++) {
        char method[] = "M???";
        method[1] = (char)('A' + i % 26);
        method[2] = (char)('A' + i / 26 % 26);
        metrics_request(&f->m, method, "", 404, 1);
    }
    metrics_request(&f->m, "GET", "", 999, 1);
    metrics_write(&f->m, NULL, &f->text);
    assert_has(f, "berth_requests_total{method=\"other\",route=\"\",status=\"404\"} 1000\n");
    assert_has(f, "berth_requests_total{method=\"GET\",route=\"\",status=\"other\"} 1\n");
    assert_int_equal(f->m.n, 2);
}

static void numbers_of_the_database_carry_their_market(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    AUTO_JSON numbers = json_parse(
        span_of("{\"jobs\": {\"gpu\": {\"queued\": 3, \"failed\": 0}}, \"nodes\": {\"gpu\": {\"ready\": 2}},"
                " \"oldest_queued_ms\": {\"gpu\": 1500}, \"peer_bytes\": {\"gpu\": {\"sent\": 12, \"got\": 9}}}"),
        &err);
    assert_non_null(numbers);
    metrics_claims(&f->m, 5);
    metrics_lost(&f->m, 2);
    metrics_limited(&f->m);
    metrics_write(&f->m, numbers, &f->text);
    assert_has(f, "berth_jobs{market=\"gpu\",state=\"queued\"} 3\n");
    assert_has(f, "berth_jobs{market=\"gpu\",state=\"failed\"} 0\n");
    assert_has(f, "berth_nodes{market=\"gpu\",state=\"ready\"} 2\n");
    assert_has(f, "berth_peer_bytes_total{market=\"gpu\",direction=\"sent\"} 12\n");
    assert_has(f, "berth_peer_bytes_total{market=\"gpu\",direction=\"got\"} 9\n");
    assert_has(f, "berth_oldest_queued_seconds{market=\"gpu\"} 1.500\n");
    assert_has(f, "berth_claims_total 5\n");
    assert_has(f, "berth_claims_lost_total 2\n");
    assert_has(f, "berth_rate_limited_total 1\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(requests_are_counted_by_route_and_status, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_a_client_makes_up_becomes_no_label, set_up, tear_down),
        cmocka_unit_test_setup_teardown(numbers_of_the_database_carry_their_market, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
