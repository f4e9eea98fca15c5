#include "test_spec.h"

/* The first parameter of a job whose template is `text`. */
static void must_expand(const char *text, const char *const *vars, const char *wanted)
{
    char yaml[1024];
    struct err err = ERR_INIT;
    snprintf(yaml, sizeof yaml, "%s        Parameters: ['%s']\n", BACALHAU("", ""), text);
    AUTO_JOB job = try_parse(yaml, vars, false, &err);
    if (!job)
        fail_msg("%s: %s", text, err.text);
    assert_string_equal(job->ops[0].command.v[0], wanted);
}

static void must_not_expand(const char *text, const char *const *vars, const char *part)
{
    char yaml[1024];
    struct err err = ERR_INIT;
    snprintf(yaml, sizeof yaml, "%s        Parameters: ['%s']\n", BACALHAU("", ""), text);
    AUTO_JOB job = try_parse(yaml, vars, false, &err);
    if (job || !strstr(err.text, part))
        fail_msg("%s: wanted: %s, found: %s", text, part, err.text);
    assert_int_equal(err.kind, ERR_INVALID);
}

static const char *const some_vars[] = {"name=value", "start-time=now", "empty=", "eq=a=b", NULL};

static void values_and_defaults_are_filled_in(void **state)
{
    (void)state;
    must_expand("{{.name}}", some_vars, "value");
    must_expand("<{{ .name }}>", some_vars, "<value>");
    must_expand("{{.name}}{{.name}}", some_vars, "valuevalue");
    must_expand("{{.eq}}", some_vars, "a=b");
    must_expand("{{.empty}}", some_vars, "");
    must_expand("{{index . \"start-time\"}}", some_vars, "now");
    must_expand("{{or (index . \"start-time\") \"x\"}}", some_vars, "now");
    must_expand("{{or (index . \"end-time\") \"x\"}}", some_vars, "x");
    must_expand("{{or (index . \"end-time\") \"\"}}", some_vars, "");
    must_expand("{{or (index . \"end\") \"}}\"}}", some_vars, "}}");
    must_expand("{{or .empty \"filled\"}}", some_vars, "filled");
    must_expand("{{or .none .name}}", some_vars, "value");
    must_expand("{{`{{`}}x}}", some_vars, "{{x}}");
    must_expand("{ {x} }", NULL, "{ {x} }");
}

static void a_missing_value_is_named_with_its_line(void **state)
{
    (void)state;
    must_not_expand("{{.query}}", some_vars,
                    "job:8: the template value 'query' is missing; give it with -V query=VALUE");
    must_not_expand("{{.a}} {{.b}}", NULL, "'b' is missing");
    must_not_expand("{{.a}} {{.b}}", NULL, "'a' is missing");
    must_not_expand("{{or .a .b}}", NULL, "'b' is missing");
}

static void any_other_expression_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{{",          "{{.name",          "{{.}}",        "{{.a.b}}",  "{{name}}",         "{{if .a}}",
        "{{- .name}}", "{{.name | html}}", "{{order .a}}", "{{or .a}}", "{{index . \"\"}}", "{{\"a\\tb\"}}",
        "{{`a}}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        must_not_expand(bad[i], some_vars, "a template expression other than");
}

static void templates_work_in_json_with_escaped_quotes(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_JOB job =
        try_parse(NOSANA(", 'cmd': ['{{.name}}', '{{or (index . \\'none\\') \\'d\\'}}', '{{or .none `e`}}']"),
                  some_vars, false, &err);
    if (!job)
        fail_msg("%s", err.text);
    assert_string_equal(job->ops[0].command.v[0], "value");
    assert_string_equal(job->ops[0].command.v[1], "d");
    assert_string_equal(job->ops[0].command.v[2], "e");
}

static void a_value_nothing_asks_for_is_a_warning(void **state)
{
    (void)state;
    static const char *const vars[] = {"typo=1", NULL};
    struct err err = ERR_INIT;
    AUTO_JOB job = try_parse(BACALHAU("", ""), vars, false, &err);
    assert_non_null(job);
    assert_true(has_warning(job, "-V typo has no effect"));
}

static void a_value_is_name_and_value(void **state)
{
    (void)state;
    static const char *const bad[][2] = {{"name", NULL}, {"=value", NULL}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err err = ERR_INIT;
        AUTO_JOB job = try_parse(BACALHAU("", ""), bad[i], false, &err);
        assert_null(job);
        assert_int_equal(err.kind, ERR_USAGE);
    }
}

/* The file's first parameter as who gets the document finds it: parsed here, handed on as JSON, and parsed there. */
static void must_arrive(const char *text, const char *const *vars, const char *wanted)
{
    struct err err = ERR_INIT;
    AUTO_BUF json;
    buf_init(&json, TEXT_MAX);
    const struct spec_opts opts = {.file = "job", .vars = vars};
    AUTO_JSON document = spec_read(span_of(text), &opts, &err);
    if (!document)
        fail_msg("%s: %s", text, err.text);
    assert_works(json_write(document, false, &json, &err), &err);
    const struct spec_opts there = {.file = "there"};
    struct job *parsed = NULL;
    assert_works(spec_parse(buf_span(&json), &there, &parsed, &err), &err);
    AUTO_JOB job = parsed;
    assert_string_equal(job->ops[0].command.v[0], wanted);
}

#define PARAMETER(text) BACALHAU("", "        Parameters: ['" text "']\n")

static void what_is_handed_on_is_expanded_only_once(void **state)
{
    (void)state;
    static const char *const vars[] = {"v={{.x}}{{`y`}}", NULL};
    must_arrive(PARAMETER("{{`{{`}}.Id}}"), NULL, "{{.Id}}");
    must_arrive(PARAMETER("<{{.v}}>"), vars, "<{{.x}}{{`y`}}>");
    must_arrive(PARAMETER("{{`{{{{{`}}"), NULL, "{{{{{");
    must_arrive(PARAMETER("{ } }}"), NULL, "{ } }}");
    must_arrive("{\"berth\": 1, \"job\": {\"type\": \"batch\", \"ops\": [{\"kind\": \"run\", \"id\": \"a\", \"image\": "
                "\"i\", \"network\": \"none\", \"command\": [\"{{.x}}\"]}]}}",
                NULL, "{{.x}}");
}

static void keys_are_handed_on_with_their_braces(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    const struct spec_opts opts = {.file = "job"};
    AUTO_JSON document = spec_read(SPAN_LIT("{\"a{{`{{`}}\": [1, null, {\"b\": true}]}"), &opts, &err);
    AUTO_JSON wanted = json_loads("{\"a{{`{{`}}\": [1, null, {\"b\": true}]}", 0, NULL);
    assert_true(json_equal(document, wanted));
}

static void a_dry_run_with_braces_reads_back(void **state)
{
    (void)state;
    static const char *const command[] = {"echo", "{{.x}}", "{{`", NULL};
    char env[] = "A={{.Id}}", *envs[] = {env, NULL};
    const struct strv env_list = {envs, 1};
    const struct spec_docker_run run = {.image = "ubuntu", .command = command, .env = &env_list};
    struct err err = ERR_INIT;
    struct job *built = NULL;
    assert_works(spec_from_docker_run(&run, &built, &err), &err);
    AUTO_JOB job = built;
    AUTO_JSON spec = spec_to_bacalhau(job, false, &err);
    AUTO_BUF yaml, json;
    buf_init(&yaml, TEXT_MAX);
    buf_init(&json, TEXT_MAX);
    assert_non_null(spec);
    assert_works(yaml_write(spec, &yaml, &err), &err);
    assert_works(json_write(spec, false, &json, &err), &err);
    const struct spec_opts opts = {.file = "again"};
    const struct span texts[] = {buf_span(&yaml), buf_span(&json)};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct job *parsed = NULL;
        assert_works(spec_parse(texts[i], &opts, &parsed, &err), &err);
        AUTO_JOB again = parsed;
        assert_string_equal(again->ops[0].command.v[1], "{{.x}}");
        assert_string_equal(again->ops[0].command.v[2], "{{`");
        assert_string_equal(again->ops[0].env.v[0].value, "{{.Id}}");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_and_defaults_are_filled_in),
        cmocka_unit_test(a_missing_value_is_named_with_its_line),
        cmocka_unit_test(any_other_expression_is_refused),
        cmocka_unit_test(templates_work_in_json_with_escaped_quotes),
        cmocka_unit_test(a_value_nothing_asks_for_is_a_warning),
        cmocka_unit_test(a_value_is_name_and_value),
        cmocka_unit_test(what_is_handed_on_is_expanded_only_once),
        cmocka_unit_test(keys_are_handed_on_with_their_braces),
        cmocka_unit_test(a_dry_run_with_braces_reads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
