#include "stage/file_name_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define URL "https://h.example/a/file.bin?x=/y.txt#z"

static void proposes(const char *field, const char *name)
{
    AUTO_BUF out;
    buf_init(&out, FILE_NAME_TEXT_MAX);
    if (file_name_of_disposition(span_of(field), &out) != (name != NULL) || !str_eq(buf_str(&out), name ? name : ""))
        fail_msg("%s: proposed '%s', not '%s'", field, buf_str(&out), name ? name : "(nothing)");
}

static void chooses(const char *disposition, const char *final_url, const char *asked_url, const char *name)
{
    AUTO_BUF out;
    buf_init(&out, FILE_NAME_TEXT_MAX);
    file_name_choose(disposition, final_url, asked_url, &out);
    if (!str_eq(buf_str(&out), name))
        fail_msg("%s, %s: chose '%s', not '%s'", disposition ? disposition : "-", final_url, buf_str(&out), name);
}

static void a_filename_is_a_token_or_quoted(void **state)
{
    (void)state;
    proposes("attachment; filename=a.txt", "a.txt");
    proposes("attachment;FileName = \"a b.txt\" ; size=3", "a b.txt");
    proposes("attachment; filename=\"a \\\"b\\\".txt\"", "a \"b\".txt");
    proposes("attachment; filename=\"a;b.txt\"", "a;b.txt");
    proposes("filename=bare.txt", "bare.txt");
    proposes("attachment; filename=\"cut", "cut");
    proposes("attachment; filename=first; filename=second", "first");
}

static void the_extended_form_goes_first_where_it_can_be_read(void **state)
{
    (void)state;
    proposes("attachment; filename=a; filename*=UTF-8''%e2%82%ac.txt", "€.txt");
    proposes("attachment; filename*=utf-8'en'x%20y; filename=a", "x y");
    proposes("attachment; filename*=iso-8859-1''%A3.txt", "£.txt");
    proposes("attachment; filename=a; filename*=UTF-8''%ff", "a");
    proposes("attachment; filename=a; filename*=koi8-r''b", "a");
    proposes("attachment; filename=a; filename*=UTF-8''%zz", "a");
    proposes("attachment; filename=a; filename*=nonsense", "a");
}

static void a_field_may_propose_nothing(void **state)
{
    (void)state;
    static const char *const fields[] = {
        "", "inline", "attachment; name=a", "attachment; filename=", ";;;=", "filename*="};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        proposes(fields[i], NULL);
}

static void a_proposal_becomes_one_safe_component(void **state)
{
    (void)state;
    chooses("a; filename=\"../../etc/passwd\"", URL, URL, "passwd");
    chooses("a; filename=\"C:\\\\dir\\\\f.txt\"", URL, URL, "f.txt");
    chooses("a; filename=\".profile\"", URL, URL, "_profile");
    chooses("a; filename*=UTF-8''a%00b%0Ac", URL, URL, "a_b_c");
    chooses("a; filename*=UTF-8''a%0Ab%7F", URL, URL, "a_b_");
    chooses("a; filename*=UTF-8''x%2F..", URL, URL, "file.bin");
    chooses("a; filename=\"..\"", URL, URL, "file.bin");
    chooses("a; filename=\"caf\xe9\"", URL, URL, "café");
}

static void the_url_names_the_file_where_the_server_does_not(void **state)
{
    (void)state;
    chooses(NULL, URL, URL, "file.bin");
    chooses(NULL, "https://cdn.example/x/real%20name.bin", URL, "real name.bin");
    chooses(NULL, "https://h.example/a/%2e%2e", URL, "download");
    chooses(NULL, "https://h.example/a/b%2Fc.txt", URL, "c.txt");
    chooses(NULL, "https://h.example/a/100%", URL, "100%");
    chooses(NULL, "https://h.example/", "https://h.example/", "download");
    chooses(NULL, "https://h.example", "https://h.example", "download");
}

static void a_leading_dot_stays_where_it_was_asked_for(void **state)
{
    (void)state;
    chooses(NULL, "https://h.example/.env", "https://h.example/.env", ".env");
    chooses(NULL, "https://evil.example/.env", "https://h.example/latest", "_env");
}

static void a_name_above_the_limit_is_passed_over(void **state)
{
    (void)state;
    char field[400] = "a; filename=";
    memset(field + strlen(field), 'x', 300);
    chooses(field, URL, URL, "file.bin");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_filename_is_a_token_or_quoted),
        cmocka_unit_test(the_extended_form_goes_first_where_it_can_be_read),
        cmocka_unit_test(a_field_may_propose_nothing),
        cmocka_unit_test(a_proposal_becomes_one_safe_component),
        cmocka_unit_test(the_url_names_the_file_where_the_server_does_not),
        cmocka_unit_test(a_leading_dot_stays_where_it_was_asked_for),
        cmocka_unit_test(a_name_above_the_limit_is_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
