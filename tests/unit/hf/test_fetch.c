#include "fake.h"
#include "hf/hf_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define COMMIT "0123456789abcdef0123456789abcdef01234567"
#define SHA256 "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define PLACE  "https://huggingface.co/datasets/o/n/resolve/" COMMIT "/a%20b/%3F.bin"
#define END                                                                                                            \
    {                                                                                                                  \
        .expect = NULL                                                                                                 \
    }

static const struct source_hf src = {.repo = "datasets/o/n"};

struct rig {
    struct hf_token *token;
    struct hf *hf;
    struct hf_resolution r;
    struct hf_file file;
    struct err err;
};

static void rig_open(struct rig *x, const char *token)
{
    const struct hf_token_opts who = {.job = token};
    const struct hf_opts opts = {0};
    *x = (struct rig){.r = {.commit = COMMIT, .repo = "datasets/o/n"}};
    x->file = (struct hf_file){.path = "a b/?.bin", .size = 7, .lfs = true};
    for (size_t i = 0; i < HF_OID_MAX; i++)
        x->file.oid[i] = (uint8_t)(i % 16 * 0x11);
    assert_int_equal(hf_token_open(&x->token, &who, &x->err), 0);
    assert_int_equal(hf_open(&x->hf, &src, x->token, &opts, &x->err), 0);
}

static void rig_close(struct rig *x)
{
    hf_free(x->hf);
    hf_token_free(x->token);
}

static void a_request_names_commit_and_path_and_carries_the_token(void **state)
{
    (void)state;
    struct rig x;
    struct hf_fetch *f;
    struct xfer_request req = {.keep_redirects = false};
    rig_open(&x, "tok");
    buf_init(&req.url, HF_URL_MAX);
    buf_init(&req.headers, HF_AUTH_MAX);
    assert_int_equal(hf_fetch_new(&f, x.hf, &x.r, &x.file, &x.err), 0);
    assert_int_equal(hf_xfer_source.request(f, 0, XFER_WHOLE, &req, &x.err), 0);
    assert_string_equal(buf_str(&req.url), PLACE);
    assert_string_equal(buf_str(&req.headers), "Authorization: Bearer tok\r\n");
    assert_false(req.keep_redirects);
    hf_fetch_free(f);
    buf_release(&req.url);
    buf_release(&req.headers);
    rig_close(&x);
}

static void answers_are_held_against_the_tree(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *headers;
        enum xfer_verdict verdict;
        const char *says;
    } rows[] = {
        {200, NULL, XFER_ACCEPT, NULL},
        {206, "x-repo-commit: " COMMIT "\nx-linked-size: 7\nx-linked-etag: \"" SHA256 "\"\nx-xet-hash: abc\n",
         XFER_ACCEPT, NULL},
        {200, "x-linked-etag: " SHA256 "\n", XFER_ACCEPT, NULL},
        {200, "x-linked-size: 8\n", XFER_FAIL, "X-Linked-Size"},
        {200, "x-linked-size: many\n", XFER_FAIL, "X-Linked-Size"},
        {200, "x-linked-etag: \"abc\"\n", XFER_FAIL, "X-Linked-ETag"},
        {200, "x-repo-commit: other\n", XFER_FAIL, "X-Repo-Commit"},
        {403, "x-error-code: GatedRepo\n", XFER_FAIL, "is gated"},
        {404, "x-error-code: EntryNotFound\n", XFER_FAIL, "no file 'a b/?.bin'"},
    };
    struct rig x;
    struct hf_fetch *f;
    struct xfer_want want;
    rig_open(&x, NULL);
    hf_want(&x.file, &want);
    assert_int_equal(hf_fetch_new(&f, x.hf, &x.r, &x.file, &x.err), 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_response resp;
        struct err err = ERR_INIT;
        fake_response(&resp, rows[i].status, rows[i].headers, NULL);
        const struct xfer_head head = {.status = resp.status, .http = &resp};
        assert_int_equal(hf_xfer_source.judge(f, &head, &want, &err), rows[i].verdict);
        assert_int_equal(err_is_set(&err), rows[i].says != NULL);
        assert_true(!rows[i].says || strstr(err.text, rows[i].says));
        http_response_release(&resp);
    }
    hf_fetch_free(f);
    rig_close(&x);
}

static void a_proof_asks_the_hub_and_not_the_storage(void **state)
{
    (void)state;
    const struct fake_answer script[] = {
        {"HEAD " PLACE, 307, "location: /elsewhere?x=y\n", NULL, NULL},
        {"HEAD https://huggingface.co/elsewhere?x=y", 302,
         "location: https://cdn.example/signed\nx-repo-commit: " COMMIT "\nx-linked-size: 7\nx-linked-etag: " SHA256
         "\n",
         NULL, NULL},
        END,
    };
    struct rig x;
    rig_open(&x, "tok");
    fake_play(script);
    assert_int_equal(hf_prove(x.hf, &x.r, &x.file, &x.err), 0);
    assert_true(fake_played_out());
    rig_close(&x);
}

static void what_proves_nothing_is_an_error(void **state)
{
    (void)state;
    static const struct fake_answer answers[] = {
        {"HEAD " PLACE, 200, NULL, NULL, NULL},
        {"HEAD " PLACE, 302, "location: https://cdn.example/\n", NULL, NULL},
        {"HEAD " PLACE, 200, "x-repo-commit: other\n", NULL, NULL},
        {"HEAD " PLACE, 302, "x-repo-commit: " COMMIT "\nx-linked-size: 8\nlocation: https://cdn.example/\n", NULL,
         NULL},
        {"HEAD " PLACE, 401, "x-error-code: GatedRepo\n", NULL, NULL},
        {"HEAD " PLACE, 500, NULL, NULL, NULL},
        {"HEAD " PLACE, 0, NULL, NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        const struct fake_answer script[] = {answers[i], END};
        struct rig x;
        rig_open(&x, NULL);
        fake_play(script);
        assert_int_equal(hf_prove(x.hf, &x.r, &x.file, &x.err), -1);
        assert_true(err_is_set(&x.err) && fake_played_out());
        rig_close(&x);
    }
}

static void a_proof_does_not_go_round_in_circles(void **state)
{
    (void)state;
    struct fake_answer script[HF_REDIRECTS_MAX + 2] = {END};
    for (size_t i = 0; i <= HF_REDIRECTS_MAX; i++)
        script[i] = (struct fake_answer){"HEAD " PLACE, 302, "location: " PLACE "\n", NULL, NULL};
    struct rig x;
    rig_open(&x, NULL);
    fake_play(script);
    assert_int_equal(hf_prove(x.hf, &x.r, &x.file, &x.err), -1);
    assert_int_equal(x.err.kind, ERR_LIMIT);
    assert_true(fake_played_out());
    rig_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_names_commit_and_path_and_carries_the_token),
        cmocka_unit_test(answers_are_held_against_the_tree),
        cmocka_unit_test(a_proof_asks_the_hub_and_not_the_storage),
        cmocka_unit_test(what_proves_nothing_is_an_error),
        cmocka_unit_test(a_proof_does_not_go_round_in_circles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
