#include "ollama/ollama.h"
#include "ollama/ollama_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct fixture {
    struct http *http;
    struct ollama *o;
    struct ollama_fetch *f;
};

static int set_up(void **state)
{
    struct fixture *x = calloc(1, sizeof *x);
    struct err err = ERR_INIT;
    const struct ollama_blob blob = {.digest = {.kind = DIGEST_SHA256}, .size = 100};
    *state = x;
    return !x || http_open(&x->http, &(struct http_opts){0}, &err) < 0 ||
                   ollama_open(&x->o, "r.example/library/tiny", &(struct ollama_opts){.http = x->http}, &err) < 0 ||
                   ollama_fetch_new(&x->f, x->o, &blob, &err) < 0
               ? -1
               : 0;
}

static int tear_down(void **state)
{
    struct fixture *x = *state;
    ollama_fetch_free(x->f);
    ollama_free(x->o);
    http_free(x->http);
    free(x);
    return 0;
}

static void ask(const struct fixture *x)
{
    struct err err = ERR_INIT;
    struct xfer_request req;
    buf_init(&req.url, 4096);
    buf_init(&req.headers, 4096);
    assert_int_equal(ollama_xfer_source.request(x->f, 0, 1, &req, &err), 0);
    buf_release(&req.url);
    buf_release(&req.headers);
}

static enum xfer_verdict answered(const struct fixture *x, int status)
{
    struct err err = ERR_INIT;
    struct http_header h = {"www-authenticate", "Bearer realm=\"https://r.example/token\""};
    const struct http_response resp = {.status = status, .headers = &h, .header_count = 1};
    const struct xfer_head head = {.status = status, .http = &resp};
    struct xfer_want want = {0};
    return ollama_xfer_source.judge(x->f, &head, &want, &err);
}

static void renew(const struct fixture *x)
{
    pthread_mutex_lock(&x->o->token.mu);
    x->o->token.number++;
    pthread_mutex_unlock(&x->o->token.mu);
}

static void parts_that_meet_one_expired_token_do_not_fail_the_blob(void **state)
{
    for (int part = 0; part < 8; part++)
        ask(*state);
    for (int part = 0; part < 8; part++)
        assert_int_equal(answered(*state, 401), XFER_REFRESH);
    renew(*state);
    ask(*state);
    assert_int_equal(answered(*state, 206), XFER_ACCEPT);
}

static void a_long_blob_outlives_any_number_of_tokens(void **state)
{
    for (int token = 0; token < 20; token++) {
        ask(*state);
        assert_int_equal(answered(*state, 401), XFER_REFRESH);
        renew(*state);
        ask(*state);
        assert_int_equal(answered(*state, 206), XFER_ACCEPT);
    }
}

static void a_registry_that_denies_every_fresh_token_is_left(void **state)
{
    int tokens = 0;
    for (ask(*state); tokens < 20 && answered(*state, 401) == XFER_REFRESH; ask(*state)) {
        renew(*state);
        tokens++;
    }
    assert_int_equal(tokens, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(parts_that_meet_one_expired_token_do_not_fail_the_blob, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_long_blob_outlives_any_number_of_tokens, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_registry_that_denies_every_fresh_token_is_left, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
