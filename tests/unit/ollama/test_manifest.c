#include "ollama/ollama.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define A                        "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B                        "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define MODEL                    "\"mediaType\":\"application/vnd.ollama.image.model\""
#define BLOB(digest, size)       "\"digest\":\"" digest "\",\"size\":" size
#define MANIFEST(config, layers) "{\"schemaVersion\":2,\"config\":{" config "},\"layers\":[" layers "]}"

static int parse(struct arena *a, const char *text, struct ollama_manifest *out, struct err *err)
{
    return ollama_manifest_parse(a, span_of(text), out, err);
}

static struct arena *arena_of(void)
{
    struct err err = ERR_INIT;
    struct arena *a = arena_new(0, &err);
    assert_non_null(a);
    return a;
}

static void configuration_and_layers_are_blobs_sorted_and_each_once(void **state)
{
    (void)state;
    struct arena *a = arena_of();
    struct ollama_manifest m;
    struct err err = ERR_INIT;
    const char *text = MANIFEST(BLOB(B, "2"), "{" MODEL "," BLOB(B, "2") "},{" BLOB(A, "0") "}");
    assert_int_equal(parse(a, text, &m, &err), 0);
    assert_int_equal(m.blob_count, 2);
    assert_int_equal(m.total_bytes, 2);
    assert_int_equal(m.blobs[0].digest.bytes[0], 0xaa);
    assert_int_equal(m.blobs[0].size, 0);
    assert_int_equal(m.blobs[1].size, 2);
    arena_free(a);
}

static void what_is_no_model_is_refused_and_says_why(void **state)
{
    (void)state;
    static const struct {
        const char *text, *word;
        enum err_kind kind;
    } cases[] = {
        {"", "JSON", ERR_PROTOCOL},
        {"[]", "schema version", ERR_PROTOCOL},
        {"{\"schemaVersion\":1}", "schema version", ERR_PROTOCOL},
        {"{\"schemaVersion\":2,\"manifests\":[]}", "index", ERR_INVALID},
        {"{\"schemaVersion\":2,\"config\":[],\"layers\":{}}", "config", ERR_PROTOCOL},
        {MANIFEST(BLOB(A, "1"), ""), "not an Ollama model", ERR_INVALID},
        {MANIFEST(BLOB(A, "1"), "{" BLOB(B, "1") "}"), "not an Ollama model", ERR_INVALID},
        {MANIFEST(BLOB(A, "-1"), "{" MODEL "," BLOB(B, "1") "}"), "size", ERR_PROTOCOL},
        {MANIFEST(BLOB(A, "1"), "{" MODEL ",\"digest\":\"" A "\"}"), "size", ERR_PROTOCOL},
        {MANIFEST(BLOB(A, "1"), "{" MODEL "," BLOB(A, "2") "}"), "two sizes", ERR_PROTOCOL},
        {MANIFEST(BLOB("sha256:../../etc/passwd", "1"), "{" MODEL "," BLOB(A, "2") "}"), "digest", ERR_PROTOCOL},
        {MANIFEST(BLOB("md5:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "1"), "{" MODEL "," BLOB(A, "2") "}"), "digest",
         ERR_PROTOCOL},
        {MANIFEST(BLOB(A, "9223372036854775807"),
                  "{" MODEL "," BLOB(B, "9223372036854775807") "},{" BLOB(
                      "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc", "9") "}"),
         "overflow", ERR_PROTOCOL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena *a = arena_of();
        struct ollama_manifest m;
        struct err err = ERR_INIT;
        if (parse(a, cases[i].text, &m, &err) == 0 || !strstr(err.text, cases[i].word) || err.kind != cases[i].kind)
            fail_msg("%s: '%s'", cases[i].text, err.text);
        arena_free(a);
    }
}

static void more_layers_than_the_limit_are_refused(void **state)
{
    (void)state;
    struct arena *a = arena_of();
    struct ollama_manifest m;
    struct err err = ERR_INIT;
    AUTO_BUF text;
    buf_init(&text, OLLAMA_MANIFEST_MAX);
    buf_adds(&text, "{\"schemaVersion\":2,\"config\":{" BLOB(A, "1") "},\"layers\":[{}");
    for (int i = 1; i < OLLAMA_BLOBS_MAX; i++)
        buf_adds(&text, ",{}");
    buf_adds(&text, "]}");
    assert_int_equal(parse(a, buf_str(&text), &m, &err), -1);
    assert_int_equal(err.kind, ERR_LIMIT);
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configuration_and_layers_are_blobs_sorted_and_each_once),
        cmocka_unit_test(what_is_no_model_is_refused_and_says_why),
        cmocka_unit_test(more_layers_than_the_limit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
