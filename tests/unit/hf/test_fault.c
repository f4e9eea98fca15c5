#include "fake.h"
#include "hf/fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void report(int status, const char *headers, const char *body, const char *path, bool anonymous, struct err *err)
{
    struct http_response resp;
    struct hf_fault f;
    const struct hf_fault_context c = {.endpoint = "https://h",
                                       .repo = "datasets/o/n",
                                       .revision = "v1",
                                       .path = path,
                                       .token = anonymous ? "none (anonymous)" : "the token of HF_TOKEN",
                                       .anonymous = anonymous};
    fake_response(&resp, status, headers, body);
    hf_fault_read(&resp, &f);
    *err = (struct err)ERR_INIT;
    assert_int_equal(hf_fault_report(&f, &c, err), -1);
    http_response_release(&resp);
}

static void every_refusal_has_its_own_words(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *headers, *body, *path;
        bool anonymous;
        enum err_kind kind;
        const char *says;
    } rows[] = {
        {401, NULL, NULL, NULL, false, ERR_DENIED, "does not accept the token of HF_TOKEN"},
        {401, "x-error-code: RepoNotFound\n", NULL, NULL, true, ERR_DENIED, "the hub wants a token here"},
        {401, "x-error-code: GatedRepo\n", NULL, "f", true, ERR_DENIED, "accept the terms at https://h/datasets/o/n"},
        {403, "x-error-code: GatedRepo\n", NULL, "f", false, ERR_DENIED, "accept the terms at https://h/datasets/o/n"},
        {403, NULL, "{\"error\":\"read only\"}", NULL, false, ERR_DENIED, "refused (HTTP 403): read only"},
        {403, "x-error-code: DisabledRepo\n", NULL, NULL, false, ERR_DENIED, "disabled access"},
        {404, "x-error-code: RepoNotFound\n", NULL, "f", false, ERR_NOTFOUND,
         "no such repository: https://h/datasets/o/n"},
        {404, NULL, NULL, NULL, false, ERR_NOTFOUND, "no such repository"},
        {404, "x-error-code: RevisionNotFound\n", NULL, NULL, false, ERR_NOTFOUND, "has no revision 'v1'"},
        {404, "x-error-code: EntryNotFound\n", NULL, "f", false, ERR_NOTFOUND, "no file 'f' in datasets/o/n at v1"},
        {404, NULL, NULL, "f", false, ERR_NOTFOUND, "no file 'f'"},
        {429, NULL, NULL, NULL, true, ERR_TRANSIENT, "limits the rate"},
        {503, NULL, NULL, NULL, true, ERR_TRANSIENT, "HTTP 503"},
        {418, "x-error-message: tea\n", NULL, NULL, true, ERR_PROTOCOL, "HTTP 418: tea"},
        {400, NULL, "<html>", NULL, true, ERR_PROTOCOL, "HTTP 400"},
    };
    struct err errs[ARRAY_LEN(rows)];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        report(rows[i].status, rows[i].headers, rows[i].body, rows[i].path, rows[i].anonymous, &errs[i]);
        assert_int_equal(errs[i].kind, rows[i].kind);
        if (!strstr(errs[i].text, rows[i].says))
            fail_msg("%s\nis not: %s", errs[i].text, rows[i].says);
    }
}

static void the_hubs_own_words_stay_on_one_line(void **state)
{
    (void)state;
    struct err err;
    report(403, NULL, "{\"error\":\"one\\ntwo\"}", NULL, false, &err);
    assert_non_null(strstr(err.text, "one?two"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_refusal_has_its_own_words),
        cmocka_unit_test(the_hubs_own_words_stay_on_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
