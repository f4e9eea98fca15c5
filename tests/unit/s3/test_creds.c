/* Which keys are used, how long they are kept, and what is said about them. */
#include "creds_rig.h"

#include <pthread.h>

#define STATIC_KEYS(r)                                                                                                 \
    do {                                                                                                               \
        rig_set(r, "AWS_ACCESS_KEY_ID", KEY_OF_TEST);                                                                  \
        rig_set(r, "AWS_SECRET_ACCESS_KEY", "canary-secret");                                                          \
    } while (0)

/* ---- which ---- */

static void test_the_jobs_own_keys_come_first(void **state)
{
    (void)state;
    struct creds_rig r;
    rig_open(&r);
    STATIC_KEYS(&r);
    const struct creds_opts opts = {.job = {"AKIAJOBJOBJOBJOB9876", "job-canary", "job-token"}, .ambient = true};
    assert_int_equal(rig_find(&r, &opts), 0);
    must_get(&r, "AKIAJOBJOBJOBJOB9876", "job-canary", "job-token");
    assert_string_equal(creds_describe(r.creds), "the job's own IAM keys (AKIA…9876)");
    assert_false(creds_anonymous(r.creds));
    rig_close(&r);
}

static void test_a_strangers_job_never_gets_the_machines_keys(void **state)
{
    (void)state;
    struct creds_rig r;
    rig_open(&r);
    STATIC_KEYS(&r);
    rig_set(&r, "AWS_REGION", "eu-west-1");
    rig_set(&r, "AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/never");
    rig_write(&r, ".aws/credentials", "[default]\naws_access_key_id = x\naws_secret_access_key = y\n");
    const struct creds_opts opts = {.ambient = false};
    assert_int_equal(rig_find(&r, &opts), 0);
    assert_int_equal(rig_get(&r), 0);
    assert_null(r.keys.keys.access_key_id);
    assert_true(creds_anonymous(r.creds));
    assert_null(creds_region(r.creds));
    rig_close(&r);
}

static void test_without_any_source_requests_are_anonymous(void **state)
{
    (void)state;
    struct creds_rig r;
    uint8_t scope[32];
    rig_open(&r);
    must_find(&r);
    assert_int_equal(rig_get(&r), 0);
    assert_null(r.keys.keys.access_key_id);
    assert_true(creds_anonymous(r.creds));
    assert_string_equal(creds_describe(r.creds), "none (anonymous)");
    assert_true(creds_peek(r.creds, &r.keys));
    assert_int_equal(creds_scope(r.creds, scope, &r.err), -1);
    rig_close(&r);
}

static void test_the_environments_keys_are_used_and_described_without_secret(void **state)
{
    (void)state;
    struct creds_rig r;
    rig_open(&r);
    STATIC_KEYS(&r);
    rig_set(&r, "AWS_SESSION_TOKEN", "canary-token");
    rig_set(&r, "AWS_DEFAULT_REGION", "eu-central-1");
    must_find(&r);
    assert_true(creds_peek(r.creds, &r.keys));
    must_get(&r, KEY_OF_TEST, "canary-secret", "canary-token");
    assert_string_equal(creds_describe(r.creds), "environment (AKIA…0001)");
    assert_string_equal(creds_region(r.creds), "eu-central-1");
    rig_close(&r);
}

static void test_half_a_pair_in_the_environment_is_an_error_that_names_the_other_half(void **state)
{
    (void)state;
    static const char *const pairs[][3] = {
        {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY is not", "AKIA"},
        {"AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID is not", "canary"},
    };
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        struct creds_rig r;
        rig_open(&r);
        rig_set(&r, pairs[i][0], "%s", pairs[i][2]);
        must_fail(&r, ERR_INVALID, pairs[i][1]);
        rig_close(&r);
    }
}

static void test_empty_variables_count_as_unset(void **state)
{
    (void)state;
    struct creds_rig r;
    rig_open(&r);
    rig_set(&r, "AWS_ACCESS_KEY_ID", "%s", "");
    rig_set(&r, "AWS_PROFILE", "%s", "");
    must_find(&r);
    assert_true(creds_anonymous(r.creds));
    rig_close(&r);
}

static void test_keys_that_would_split_a_header_are_refused(void **state)
{
    (void)state;
    struct creds_rig r;
    rig_open(&r);
    const struct creds_opts opts = {.job = {"AKIA", "canary\r\nX-Evil: 1", NULL}};
    assert_int_equal(rig_find(&r, &opts), -1);
    assert_int_equal(r.err.kind, ERR_INVALID);
    assert_null(strstr(r.err.text, "canary"));
    rig_close(&r);
}

static void test_half_a_pair_in_the_job_does_not_fall_back_to_the_machines_keys(void **state)
{
    (void)state;
    static const struct s3_keys halves[] = {{"AKIA", NULL, NULL}, {NULL, "canary", NULL}};
    for (size_t i = 0; i < ARRAY_LEN(halves); i++) {
        struct creds_rig r;
        rig_open(&r);
        STATIC_KEYS(&r);
        const struct creds_opts opts = {.job = halves[i], .ambient = true};
        assert_int_equal(rig_find(&r, &opts), -1);
        assert_int_equal(r.err.kind, ERR_INVALID);
        assert_non_null(strstr(r.err.text, "the job's own IAM keys"));
        assert_null(strstr(r.err.text, "canary"));
        rig_close(&r);
    }
}

static void test_a_profile_by_option_beats_the_environments_keys_and_aws_profile_does_not(void **state)
{
    (void)state;
    for (int by_option = 0; by_option < 2; by_option++) {
        struct creds_rig r;
        rig_open(&r);
        STATIC_KEYS(&r);
        rig_set(&r, "AWS_PROFILE", "dev");
        rig_write(&r, ".aws/credentials", "[dev]\naws_access_key_id = AKIADEV\naws_secret_access_key = s\n");
        const struct creds_opts opts = {.ambient = true, .profile = by_option ? "dev" : NULL};
        assert_int_equal(rig_find(&r, &opts), 0);
        must_get(&r, by_option ? "AKIADEV" : KEY_OF_TEST, by_option ? "s" : "canary-secret", NULL);
        rig_close(&r);
    }
}

static void test_a_broken_profile_file_does_not_get_in_the_way_of_the_environments_keys(void **state)
{
    (void)state;
    struct creds_rig r;
    rig_open(&r);
    STATIC_KEYS(&r);
    rig_write(&r, ".aws/config", "what is this\n");
    must_find(&r);
    must_get(&r, KEY_OF_TEST, "canary-secret", NULL);
    rig_close(&r);
}

/* ---- scope ---- */

static void scope_of(const char *id, const char *secret, const char *token, uint8_t out[32])
{
    struct creds_rig r;
    rig_open(&r);
    const struct creds_opts opts = {.job = {id, secret, token}};
    assert_int_equal(rig_find(&r, &opts), 0);
    assert_int_equal(creds_scope(r.creds, out, &r.err), 0);
    rig_close(&r);
}

static void test_a_scope_is_equal_for_equal_keys_and_needs_the_secret(void **state)
{
    (void)state;
    uint8_t a[32], b[32];
    scope_of("AKIA1", "secret", NULL, a);
    scope_of("AKIA1", "secret", "token", b);
    assert_memory_equal(a, b, 32);
    scope_of("AKIA1", "guess", NULL, b);
    assert_memory_not_equal(a, b, 32);
    scope_of("AKIA2", "secret", NULL, b);
    assert_memory_not_equal(a, b, 32);
}

/* ---- keeping and refreshing, against a container endpoint ---- */

#define KEYS(id, end)                                                                                                  \
    "{\"AccessKeyId\":\"" id "\",\"SecretAccessKey\":\"s-" id "\",\"Token\":\"t-" id "\",\"Expiration\":\"" end "\","  \
    "\"RoleArn\":\"arn:aws:iam::1:role/task\"}"

static void open_container(struct creds_rig *r)
{
    rig_serve(r);
    rig_set(r, "AWS_CONTAINER_CREDENTIALS_FULL_URI", "%s/keys", r->url);
    must_find(r);
}

static void test_keys_are_kept_until_five_minutes_before_their_end(void **state)
{
    (void)state;
    struct creds_rig r;
    rig_open(&r);
    rig_answer(&r, 200, KEYS("ASIA1", "2030-06-01T13:00:00Z"));
    rig_answer(&r, 200, KEYS("ASIA2", "2030-06-01T14:00:00Z"));
    open_container(&r);
    assert_false(creds_peek(r.creds, &r.keys));
    must_get(&r, "ASIA1", "s-ASIA1", "t-ASIA1");
    r.now_ms += 55 * MINUTE_MS - 1;
    must_get(&r, "ASIA1", "s-ASIA1", "t-ASIA1");
    creds_keys_release(&r.keys);
    assert_true(creds_peek(r.creds, &r.keys));
    creds_keys_release(&r.keys);
    r.now_ms += 1;
    assert_false(creds_peek(r.creds, &r.keys));
    must_get(&r, "ASIA2", "s-ASIA2", "t-ASIA2");
    loopback_stop(r.server);
    assert_int_equal(r.script.request_count, 2);
    rig_close(&r);
}

static void test_a_failed_refresh_is_no_failure_while_the_old_keys_hold(void **state)
{
    (void)state;
    struct creds_rig r;
    rig_open(&r);
    rig_answer(&r, 200, KEYS("ASIA1", "2030-06-01T13:00:00Z"));
    rig_answer(&r, 403, "canary");
    rig_answer(&r, 200, KEYS("ASIA2", "2030-06-01T14:00:00Z"));
    open_container(&r);
    must_get(&r, "ASIA1", "s-ASIA1", "t-ASIA1");
    r.now_ms += 56 * MINUTE_MS;
    must_get(&r, "ASIA1", "s-ASIA1", "t-ASIA1");
    must_get(&r, "ASIA1", "s-ASIA1", "t-ASIA1"); /* not asked again at once */
    r.now_ms += MINUTE_MS;
    must_get(&r, "ASIA2", "s-ASIA2", "t-ASIA2");
    loopback_stop(r.server);
    assert_int_equal(r.script.request_count, 3);
    rig_close(&r);
}

static void test_a_failed_refresh_after_the_end_is_an_error_that_names_the_source(void **state)
{
    (void)state;
    struct creds_rig r;
    rig_open(&r);
    rig_answer(&r, 200, KEYS("ASIA1", "2030-06-01T13:00:00Z"));
    rig_answer(&r, 403, "canary");
    open_container(&r);
    must_get(&r, "ASIA1", "s-ASIA1", "t-ASIA1");
    r.now_ms += 61 * MINUTE_MS;
    assert_int_equal(rig_get(&r), -1);
    assert_int_equal(r.err.kind, ERR_DENIED);
    assert_non_null(strstr(r.err.text, "container credentials"));
    assert_non_null(strstr(r.err.text, "HTTP 403"));
    assert_null(strstr(r.err.text, "canary"));
    rig_close(&r);
}

static void test_keys_that_have_ended_when_they_come_are_refused(void **state)
{
    (void)state;
    struct creds_rig r;
    rig_open(&r);
    rig_answer(&r, 200, KEYS("ASIA1", "2030-06-01T11:00:00Z"));
    open_container(&r);
    assert_int_equal(rig_get(&r), -1);
    assert_non_null(strstr(r.err.text, "ended already"));
    rig_close(&r);
}

static void test_keys_that_come_late_are_not_asked_for_at_every_request(void **state)
{
    (void)state;
    struct creds_rig r;
    rig_open(&r);
    rig_answer(&r, 200, KEYS("ASIA1", "2030-06-01T12:04:00Z"));
    open_container(&r);
    for (int i = 0; i < 5; i++)
        must_get(&r, "ASIA1", "s-ASIA1", "t-ASIA1");
    loopback_stop(r.server);
    assert_int_equal(r.script.request_count, 1);
    rig_close(&r);
}

static void test_expired_keys_are_forgotten_only_if_they_are_still_the_present_ones(void **state)
{
    (void)state;
    struct creds_rig r;
    rig_open(&r);
    rig_answer(&r, 200, KEYS("ASIA1", "2030-06-01T13:00:00Z"));
    rig_answer(&r, 200, KEYS("ASIA2", "2030-06-01T14:00:00Z"));
    open_container(&r);
    must_get(&r, "ASIA1", "s-ASIA1", "t-ASIA1");
    creds_expired(r.creds, "ASIA1");
    must_get(&r, "ASIA2", "s-ASIA2", "t-ASIA2");
    creds_expired(r.creds, "ASIA1"); /* another request that was late */
    must_get(&r, "ASIA2", "s-ASIA2", "t-ASIA2");
    loopback_stop(r.server);
    assert_int_equal(r.script.request_count, 2);
    rig_close(&r);
}

static void test_fixed_keys_stay_after_they_were_called_expired(void **state)
{
    (void)state;
    struct creds_rig r;
    rig_open(&r);
    STATIC_KEYS(&r);
    must_find(&r);
    creds_expired(r.creds, KEY_OF_TEST);
    must_get(&r, KEY_OF_TEST, "canary-secret", NULL);
    rig_close(&r);
}

static void test_a_cancelled_caller_gets_that_and_the_next_one_keys(void **state)
{
    (void)state;
    struct creds_rig r;
    struct cancel cancel;
    rig_open(&r);
    rig_answer(&r, 200, KEYS("ASIA1", "2030-06-01T13:00:00Z"));
    open_container(&r);
    assert_int_equal(cancel_init(&cancel, &r.err), 0);
    cancel_raise(&cancel, CANCEL_STOP);
    assert_int_equal(creds_get(r.creds, &cancel, &r.keys, &r.err), -1);
    assert_int_equal(r.err.kind, ERR_CANCELLED);
    err_clear(&r.err);
    must_get(&r, "ASIA1", "s-ASIA1", "t-ASIA1");
    cancel_release(&cancel);
    rig_close(&r);
}

/* ---- many threads ---- */

#define THREADS 8

struct asker {
    struct creds_rig *rig;
    pthread_barrier_t *together;
    bool want_failure;
};

static void *ask(void *ctx)
{
    const struct asker *a = ctx;
    struct creds_keys keys;
    struct err err = ERR_INIT;
    pthread_barrier_wait(a->together);
    int rc = creds_get(a->rig->creds, NULL, &keys, &err);
    bool good = a->want_failure ? rc < 0 && err.kind == ERR_DENIED
                                : rc == 0 && strncmp(keys.keys.secret_access_key, "s-ASIA", 6) == 0 &&
                                      str_eq(keys.keys.access_key_id, keys.keys.secret_access_key + 2);
    creds_expired(a->rig->creds, "somebody else's");
    creds_describe(a->rig->creds);
    creds_keys_release(&keys);
    return good ? ctx : NULL;
}

static void ask_together(struct creds_rig *r, bool want_failure)
{
    pthread_barrier_t together;
    pthread_t threads[THREADS];
    struct asker a = {r, &together, want_failure};
    pthread_barrier_init(&together, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask, &a), 0);
    for (int i = 0; i < THREADS; i++) {
        void *good = NULL;
        pthread_join(threads[i], &good);
        assert_non_null(good);
    }
    pthread_barrier_destroy(&together);
}

static void test_threads_that_ask_together_cause_one_question(void **state)
{
    (void)state;
    struct creds_rig r;
    rig_open(&r);
    rig_answer(&r, 200, KEYS("ASIA1", "2030-06-01T13:00:00Z"));
    rig_answer(&r, 200, KEYS("ASIA2", "2030-06-01T14:00:00Z"));
    open_container(&r);
    ask_together(&r, false);
    r.now_ms += 56 * MINUTE_MS;
    ask_together(&r, false);
    loopback_stop(r.server);
    assert_int_equal(r.script.request_count, 2);
    rig_close(&r);
}

static void test_threads_that_wait_share_the_failure(void **state)
{
    (void)state;
    struct creds_rig r;
    rig_open(&r);
    rig_answer(&r, 403, "no");
    open_container(&r);
    ask_together(&r, true);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_jobs_own_keys_come_first),
        cmocka_unit_test(test_a_strangers_job_never_gets_the_machines_keys),
        cmocka_unit_test(test_without_any_source_requests_are_anonymous),
        cmocka_unit_test(test_the_environments_keys_are_used_and_described_without_secret),
        cmocka_unit_test(test_half_a_pair_in_the_environment_is_an_error_that_names_the_other_half),
        cmocka_unit_test(test_empty_variables_count_as_unset),
        cmocka_unit_test(test_keys_that_would_split_a_header_are_refused),
        cmocka_unit_test(test_half_a_pair_in_the_job_does_not_fall_back_to_the_machines_keys),
        cmocka_unit_test(test_a_profile_by_option_beats_the_environments_keys_and_aws_profile_does_not),
        cmocka_unit_test(test_a_broken_profile_file_does_not_get_in_the_way_of_the_environments_keys),
        cmocka_unit_test(test_a_scope_is_equal_for_equal_keys_and_needs_the_secret),
        cmocka_unit_test(test_keys_are_kept_until_five_minutes_before_their_end),
        cmocka_unit_test(test_a_failed_refresh_is_no_failure_while_the_old_keys_hold),
        cmocka_unit_test(test_a_failed_refresh_after_the_end_is_an_error_that_names_the_source),
        cmocka_unit_test(test_keys_that_have_ended_when_they_come_are_refused),
        cmocka_unit_test(test_keys_that_come_late_are_not_asked_for_at_every_request),
        cmocka_unit_test(test_expired_keys_are_forgotten_only_if_they_are_still_the_present_ones),
        cmocka_unit_test(test_fixed_keys_stay_after_they_were_called_expired),
        cmocka_unit_test(test_a_cancelled_caller_gets_that_and_the_next_one_keys),
        cmocka_unit_test(test_threads_that_ask_together_cause_one_question),
        cmocka_unit_test(test_threads_that_wait_share_the_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
