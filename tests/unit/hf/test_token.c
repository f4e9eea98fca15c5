#include "hf/hf_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct hf_token *opened(const char *job, bool ambient, const char *const *env)
{
    const struct hf_token_opts opts = {.job = job, .ambient = ambient, .env = env};
    struct hf_token *t = NULL;
    struct err err = ERR_INIT;
    if (hf_token_open(&t, &opts, &err) < 0)
        fail_msg("%s", err.text);
    return t;
}

static void expect_sent(const struct hf_token *t, const char *header)
{
    AUTO_BUF out;
    buf_init(&out, HF_AUTH_MAX);
    hf_token_write(t, &out);
    assert_string_equal(buf_str(&out), header);
    assert_int_equal(hf_token_anonymous(t), header[0] == '\0');
}

static void the_jobs_own_token_comes_before_the_environments(void **state)
{
    (void)state;
    const char *const env[] = {"HF_TOKEN=mine", NULL};
    struct hf_token *t = opened("jobs", true, env);
    expect_sent(t, "Bearer jobs");
    assert_string_equal(hf_token_describe(t), "the job's accessToken");
    hf_token_free(t);
    t = opened("", true, env);
    expect_sent(t, "Bearer mine");
    hf_token_free(t);
}

static void somebody_elses_job_never_gets_the_machines_token(void **state)
{
    (void)state;
    const char *const env[] = {"HF_TOKEN=mine", "HUGGING_FACE_HUB_TOKEN=mine", NULL};
    struct hf_token *t = opened(NULL, false, env);
    expect_sent(t, "");
    assert_string_equal(hf_token_describe(t), "none (anonymous)");
    hf_token_free(t);
}

static void an_implicit_token_can_be_turned_off(void **state)
{
    (void)state;
    static const char *const yes[] = {"1", "ON", "yes", "True"};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        char off[64];
        snprintf(off, sizeof off, "HF_HUB_DISABLE_IMPLICIT_TOKEN=%s", yes[i]);
        const char *const env[] = {"HF_TOKEN=mine", off, NULL};
        struct hf_token *t = opened(NULL, true, env);
        expect_sent(t, "");
        hf_token_free(t);
    }
    const char *const env[] = {"HF_TOKEN=mine", "HF_HUB_DISABLE_IMPLICIT_TOKEN=0", NULL};
    struct hf_token *t = opened(NULL, true, env);
    expect_sent(t, "Bearer mine");
    hf_token_free(t);
}

static void a_token_that_would_break_a_header_is_refused_unshown(void **state)
{
    (void)state;
    static const char *const bad[] = {"a b", "a\r\nx: y", "a\x7f", "\xc3\xa9"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const struct hf_token_opts opts = {.job = bad[i]};
        struct hf_token *t = NULL;
        struct err err = ERR_INIT;
        assert_int_equal(hf_token_open(&t, &opts, &err), -1);
        assert_int_equal(err.kind, ERR_INVALID);
        assert_null(strstr(err.text, bad[i]));
    }
}

static void scopes_are_equal_for_equal_tokens_only(void **state)
{
    (void)state;
    uint8_t a[32], b[32], c[32];
    struct err err = ERR_INIT;
    const char *const env[] = {"HF_TOKEN=one", NULL};
    struct hf_token *x = opened("one", false, NULL), *y = opened(NULL, true, env), *z = opened("two", false, NULL);
    assert_int_equal(hf_token_scope(x, a, &err), 0);
    assert_int_equal(hf_token_scope(y, b, &err), 0);
    assert_int_equal(hf_token_scope(z, c, &err), 0);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_not_equal(a, c, sizeof a);
    hf_token_free(x);
    hf_token_free(y);
    hf_token_free(z);
    struct hf_token *nobody = opened(NULL, false, NULL);
    assert_int_equal(hf_token_scope(nobody, a, &err), -1);
    hf_token_free(nobody);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_jobs_own_token_comes_before_the_environments),
        cmocka_unit_test(somebody_elses_job_never_gets_the_machines_token),
        cmocka_unit_test(an_implicit_token_can_be_turned_off),
        cmocka_unit_test(a_token_that_would_break_a_header_is_refused_unshown),
        cmocka_unit_test(scopes_are_equal_for_equal_tokens_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
