#include "ollama/ollama.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void means(const char *text, const char *whole)
{
    struct ollama_ref ref;
    struct err err = ERR_INIT;
    AUTO_BUF out;
    buf_init(&out, 1024);
    if (ollama_ref_parse(&ref, span_of(text), &err) < 0)
        fail_msg("%s: %s", text, err.text);
    ollama_ref_write(&ref, &out);
    assert_string_equal(buf_str(&out), whole);
}

static void is_refused(const char *text)
{
    struct ollama_ref ref;
    struct err err = ERR_INIT;
    if (ollama_ref_parse(&ref, span_of(text), &err) == 0)
        fail_msg("'%s' was taken", text);
    assert_int_equal(err.kind, ERR_INVALID);
}

static void what_is_not_said_has_its_default(void **state)
{
    (void)state;
    means("llama3", "registry.ollama.ai/library/llama3:latest");
    means("llama3.2:8b-q4_K_M", "registry.ollama.ai/library/llama3.2:8b-q4_K_M");
    means("acme/tiny", "registry.ollama.ai/acme/tiny:latest");
    means("hf.co/Owner/Repo-GGUF:Q4_0", "hf.co/Owner/Repo-GGUF:Q4_0");
}

static void of_two_parts_the_first_is_a_host_where_it_can_be_no_namespace(void **state)
{
    (void)state;
    means("127.0.0.1:5000/tiny:1b", "127.0.0.1:5000/library/tiny:1b");
    means("models.example/tiny", "models.example/library/tiny:latest");
    means("localhost/tiny", "localhost/library/tiny:latest");
    means("[::1]:5000/a/b", "[::1]:5000/a/b:latest");
}

static void what_could_leave_a_folder_or_a_url_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",     "/",       "a/",  "/a",  "a//b", "a:",    ":a", "..", "a/..",    "a:..",
        "x..y", "a/b/c/d", "a b", "a?b", "a#b",  "a%2fb", ".a", "-a", "a:b/c d", "h.example/a.b/c",
        "[x]",  "a@b"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        is_refused(bad[i]);
    char longer[OLLAMA_PART_MAX + 2] = {0};
    memset(longer, 'a', OLLAMA_PART_MAX + 1);
    is_refused(longer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_said_has_its_default),
        cmocka_unit_test(of_two_parts_the_first_is_a_host_where_it_can_be_no_namespace),
        cmocka_unit_test(what_could_leave_a_folder_or_a_url_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
