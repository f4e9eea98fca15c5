/* Every allocation fails once, and each time it is told. */
#include "fake.h"
#include "hf/hf_priv.h"
#include "refuse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define COMMIT      "0123456789abcdef0123456789abcdef01234567"
#define API         "GET https://huggingface.co/api/models/"
#define ENTRY(path) "{\"type\":\"file\",\"oid\":\"" COMMIT "\",\"size\":1,\"path\":\"" path "\"}"

static size_t paused;

static void pause_refusing(bool on)
{
    if (on)
        paused = countdown;
    countdown = on ? 0 : paused;
}

/* Run the operation with its first, second, … allocation refused, until it gets through. */
static void sweep(int (*operation)(struct err *err))
{
    for (size_t n = 1; n < 10000; n++) {
        struct err err = ERR_INIT;
        refused = false;
        countdown = n;
        int rc = operation(&err);
        countdown = 0;
        if (!refused) {
            assert_int_equal(rc, 0);
            assert_true(n > 1); /* or nothing was tried */
            return;
        }
        assert_int_equal(rc, -1);
        assert_string_equal(err_kind_name(err.kind), "no_memory");
    }
    fail_msg("the operation never gets through");
}

struct client {
    struct hf_token *token;
    struct hf *hf;
    struct hf_resolution *r;
};

static int client_open(struct client *c, const struct source_hf *src, struct err *err)
{
    static const char *const mirrors[] = {"https://other.example=http://other.example", NULL};
    static const char *const env[] = {"HF_TOKEN_PATH=/nowhere", NULL};
    const struct hf_token_opts who = {.job = "tok", .env = env};
    const struct hf_opts opts = {.mirrors = mirrors};
    return hf_token_open(&c->token, &who, err) < 0 ? -1 : hf_open(&c->hf, src, c->token, &opts, err);
}

static void client_close(struct client *c)
{
    hf_resolution_free(c->r);
    hf_free(c->hf);
    hf_token_free(c->token);
}

static int resolve(struct err *err)
{
    static const char *files[] = {"a", "d/*"};
    const struct source_hf src = {.repo = "o/n", .files = {files, 2}, .hub_layout = true};
    const struct fake_answer script[] = {
        {API "o/n/revision/main", 200, NULL, "{\"sha\":\"" COMMIT "\"}",
         "https://huggingface.co/api/models/p/q/revision/main"},
        {API "p/q/tree/" COMMIT "?recursive=true&expand=false", 200, "link: </x?cursor=1>; rel=next\n",
         "[" ENTRY("d/b") "]", NULL},
        {API "p/q/tree/" COMMIT "?cursor=1", 200, NULL, "[" ENTRY("a") "," ENTRY("c") "]", NULL},
        {.expect = NULL},
    };
    struct client c = {.hf = NULL};
    fake_play(script);
    int rc = client_open(&c, &src, err);
    if (rc == 0)
        rc = hf_resolve(c.hf, NULL, &c.r, err);
    client_close(&c);
    return rc;
}

static int fetch(struct err *err)
{
    const struct source_hf src = {.repo = "datasets/o/n"};
    struct hf_resolution r = {.commit = COMMIT, .repo = "datasets/o/n"};
    const struct hf_file file = {.path = "a b", .size = 1};
    struct hf_fetch *f = NULL;
    struct client c = {.hf = NULL};
    int rc = client_open(&c, &src, err);
    if (rc == 0)
        rc = hf_fetch_new(&f, c.hf, &r, &file, err);
    hf_fetch_free(f);
    client_close(&c);
    return rc;
}

static void no_refused_allocation_is_lost_while_resolving(void **state)
{
    (void)state;
    sweep(resolve);
}

static void no_refused_allocation_is_lost_while_a_transfer_begins(void **state)
{
    (void)state;
    sweep(fetch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_refused_allocation_is_lost_while_resolving),
        cmocka_unit_test(no_refused_allocation_is_lost_while_a_transfer_begins),
    };
    fake_pause = pause_refusing;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
