#include "test_spec.h"

#define CANARY "CaNaRyX7"

/* {"berth": 1, "job": the job's JSON, `more`} */
static void write_record(const struct job *job, const char *more, struct buf *out)
{
    struct err err = ERR_INIT;
    AUTO_JSON record = json_object();
    json_put(record, "berth", json_integer(1), &err);
    json_put(record, "job", spec_to_json(job, &err), &err);
    if (err_is_set(&err))
        fail_msg("%s", err.text);
    if (more)
        json_put(record, "inputs", json_loads(more, 0, NULL), &err);
    assert_works(json_write(record, false, out, &err), &err);
}

static struct job *parse_record(struct span text, const char *const *vars, struct err *err)
{
    const struct spec_opts opts = {.file = "berth.json", .vars = vars};
    struct job *job = NULL;
    int rc = spec_parse(text, &opts, &job, err);
    assert_int_equal(rc, job ? 0 : -1);
    return job;
}

static void must_survive(const char *text, const char *const *vars)
{
    struct err err = ERR_INIT;
    AUTO_BUF record;
    buf_init(&record, TEXT_MAX);
    AUTO_JOB job = must_parse(text);
    write_record(job, NULL, &record);
    AUTO_JOB again = parse_record(buf_span(&record), vars, &err);
    if (!again)
        fail_msg("%s\nin: %s", err.text, buf_str(&record));
    assert_int_equal(again->dialect, JOB_RECORD);
    AUTO_JSON a = spec_to_json(job, &err);
    AUTO_JSON b = spec_to_json(again, &err);
    if (!json_equal(a, b))
        fail_msg("differs: %s", buf_str(&record));
    assert_int_equal(job->unsupported_count, again->unsupported_count);
}

static const char *const full_vars[] = {"env.HF_TOKEN=1",
                                        "registry.password=p",
                                        "input0.access_key_id=k",
                                        "input0.secret_access_key=s",
                                        "input0.session_token=t",
                                        "input1.access_token=a",
                                        NULL};
static const char full_nosana[] = NOSANA(
    ", 'cmd': 'echo {{`{{`}}', 'env': {'A': 'b', 'HF_TOKEN': '" CANARY
    "'}, 'work_dir': '/w', 'gpu': true, 'expose': 80, "
    "'required_vram': 8, 'authentication': {'docker': {'username': 'u', 'password': '" CANARY "'}}, 'resources': ["
    "{'type': 'S3', 'url': 'https://h/x', 'bucket': 'b', 'target': '/in', 'files': ['a'], 'allowWrite': true, 'IAM': {"
    "'ACCESS_KEY_ID': '" CANARY "', 'SECRET_ACCESS_KEY': '" CANARY "', 'SESSION_TOKEN': '" CANARY "', 'REGION': 'r'}}, "
    "{'type': 'HF', 'repo': 'o/n', 'target': '/m', 'revision': 'v', 'accessToken': '" CANARY "'}, {'type': 'Ollama', "
    "'model': 'm'}]");

static void a_job_survives_its_record(void **state)
{
    (void)state;
    must_survive(full_nosana, full_vars);
    must_survive(NOSANA(""), NULL);
    must_survive(
        BACALHAU("Name: n\nPriority: -3\nCount: 4\nLabels: {a: b}\nMeta: {c: d}\nConstraints: [{Key: k, Operator: "
                 "in, Values: [x]}]\n",
                 "    Resources: {CPU: 100m, Memory: 3GB, Disk: 1, GPU: 2}\n    Network: {Type: HTTP, Domains: "
                 "[d]}\n    ResultPaths: [{Name: o, Path: /o}]\n    Timeouts: {ExecutionTimeout: 1}\n    "
                 "Publisher: {Type: s3, Params: {Bucket: b, Key: \"k/{jobID}\", Encoding: plain}}\n"),
        NULL);
    must_survive(BACALHAU_S3("            Key: k*\n            Filter: x\n            Endpoint: http://h\n            "
                             "Partition: {Type: regex, Pattern: a}\n"),
                 NULL);
    must_survive(BACALHAU_S3("            Partition: {Type: substring, StartIndex: 0, EndIndex: 4}\n"), NULL);
    must_survive(BACALHAU_S3("            Partition: {Type: date, DateFormat: 2006-01}\n"), NULL);
    must_survive(BACALHAU("",
                          "    InputSources: [{Target: /in, Source: {Type: localDirectory, Params: {SourcePath: /d, "
                          "ReadWrite: true}}}]\n"),
                 NULL);
    must_survive(
        "{'version': '0.1', 'type': 'container', 'ops': [{'id': 'a', 'type': 'container/run', 'args': {'image': "
        "'i'}, 'results': {'r': {'regex': '(', 'logType': ['stdout']}}, 'execution': {'group': 'g'}}, {'id': "
        "'v', 'type': 'container/create-volume', 'args': {'name': 'v'}, 'execution': {'group': 'g', "
        "'depends_on': ['a']}}]}",
        NULL);
}

static void no_secret_is_in_a_record(void **state)
{
    (void)state;
    AUTO_BUF record;
    buf_init(&record, TEXT_MAX);
    AUTO_JOB job = must_parse(full_nosana);
    write_record(job, NULL, &record);
    assert_null(strstr(buf_str(&record), CANARY));
    assert_non_null(strstr(buf_str(&record), "{\"secret\":\"input0.secret_access_key\"}"));
    AUTO_BUF signed_record;
    buf_init(&signed_record, TEXT_MAX);
    AUTO_JOB signed_job = must_parse(BACALHAU(
        "",
        "    InputSources:\n      - {Target: /a, Source: {Type: s3PreSigned, Params: {PreSignedURL: \"https://h/x?"
        "X-Amz-Signature=" CANARY "\"}}}\n      - {Target: /b, Source: {Type: urlDownload, Params: {URL: \"https://h/"
        "x?Signature=" CANARY "\"}}}\n"));
    write_record(signed_job, NULL, &signed_record);
    assert_null(strstr(buf_str(&signed_record), CANARY));
}

static void a_record_without_its_secrets_says_which_to_give(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_BUF record;
    buf_init(&record, TEXT_MAX);
    AUTO_JOB job = must_parse(full_nosana);
    write_record(job, NULL, &record);
    AUTO_JOB without = parse_record(buf_span(&record), NULL, &err);
    assert_null(without);
    assert_non_null(strstr(err.text, "-V input0.secret_access_key=VALUE"));
    assert_non_null(strstr(err.text, "-V env.HF_TOKEN=VALUE"));
    assert_null(strstr(err.text, CANARY));
    err_clear(&err);
    AUTO_JOB with = parse_record(buf_span(&record), full_vars, &err);
    assert_non_null(with);
    assert_string_equal(with->ops[0].inputs[0].s3.secret_access_key, "s");
    assert_true(with->ops[0].env.v[1].secret);
    assert_string_equal(with->ops[0].env.v[1].value, "1");
    assert_int_equal(with->warning_count, 0);
}

#define SUM "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static void a_record_pins_what_the_inputs_were(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_BUF record;
    buf_init(&record, TEXT_MAX);
    AUTO_JOB job =
        must_parse(NOSANA_RESOURCE("{'type': 'S3', 'url': 'https://h/x', 'target': '/a'}, {'type': 'HF', 'repo': "
                                   "'o/n', 'target': '/b'}"));
    write_record(job,
                 "[{\"at\": \"x\", \"files\": 2, \"objects\": [{\"path\": \"p\", \"location\": \"l\", \"version\": "
                 "\"version v1\", \"size\": 5, \"sha256\": \"" SUM "\"}, {\"path\": \"q/r\", \"version\": "
                 "\"\\\"etag\\\"\"}]}, {\"resolved\": \"c0ffee\"}]",
                 &record);
    AUTO_JOB again = parse_record(buf_span(&record), NULL, &err);
    if (!again)
        fail_msg("%s", err.text);
    const struct input *in = again->ops[0].inputs;
    assert_int_equal(in[0].pin_count, 2);
    assert_string_equal(in[0].pins[0].path, "p");
    assert_string_equal(in[0].pins[0].version_id, "v1");
    assert_null(in[0].pins[0].etag);
    assert_string_equal(in[0].pins[0].sha256, SUM);
    assert_int_equal(in[0].pins[0].size, 5);
    assert_string_equal(in[0].pins[1].etag, "\"etag\"");
    assert_true(in[0].pins[1].size == UINT64_MAX);
    assert_string_equal(in[1].resolved, "c0ffee");
    assert_int_equal(in[1].pin_count, 0);
}

static void a_list_of_only_some_objects_pins_nothing(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_BUF record;
    buf_init(&record, TEXT_MAX);
    AUTO_JOB job = must_parse(NOSANA_RESOURCE("{'type': 'S3', 'url': 'https://h/x', 'target': '/a'}"));
    write_record(job, "[{\"files\": 3, \"objects\": [{\"path\": \"p\"}]}]", &record);
    AUTO_JOB again = parse_record(buf_span(&record), NULL, &err);
    assert_non_null(again);
    assert_int_equal(again->ops[0].inputs[0].pin_count, 0);
    assert_true(has_warning(again, "resolved anew"));
}

#define RECORD(job) "{'berth': 1, 'job': {" job "}}"
#define RECORD_OP(more)                                                                                                \
    RECORD("'type': 'batch', 'ops': [{'kind': 'run', 'id': 'a', 'image': 'i', 'network': 'none'" more "}]")

static void a_record_is_checked_like_any_file(void **state)
{
    (void)state;
    AUTO_JOB job = must_parse(RECORD_OP(""));
    assert_string_equal(job->name, "a");
    static const struct fault faults[] = {
        {"{'berth': 2, 'job': {}}", "berth: expected 1 to 1, found 2"},
        {"{'berth': 1}", "job: required, but missing: not a run record"},
        {"{'berth': 1, 'job': 7}", "job: expected an object"},
        {RECORD(""), "job.ops: expected 1 to 256 ops"},
        {RECORD("'jobs': 1"), "job.jobs: unknown key"},
        {RECORD_OP(", 'inputs': [{'kind': 'localDirectory', 'target': '/x', 'path': 'rel'}]"),
         "expected an absolute path"},
        {RECORD_OP(", 'inputs': [{'kind': 's3', 'target': '/proc', 'bucket': 'b'}]"), "inputs[0].target: "},
        {RECORD_OP(", 'inputs': [{'kind': 's3', 'target': '/x'}]"), "inputs[0].bucket: required"},
        {RECORD_OP(", 'inputs': [{'kind': 'ftp', 'target': '/x'}]"), "unknown kind 'ftp'"},
        {RECORD_OP(", 'outputs': [{'name': '..', 'path': '/x'}]"), "cannot name a results folder"},
        {RECORD_OP(", 'limits': {'cpu': 'x'}"), "limits.cpu: expected a number of CPUs"},
        {RECORD_OP(", 'env': {'A': {'secret': 5}}"), "env.A.secret: expected a string"},
        {"{'berth': 1, 'job': {'type': 'batch', 'ops': [{'kind': 'run', 'id': 'a', 'image': 'i', 'network': 'none', "
         "'inputs': [{'kind': 's3', 'target': '/x', 'bucket': 'b'}]}]}, 'inputs': [{'objects': [{'path': '../x'}]}]}",
         "inputs[0].objects[0].path: "},
    };
    ALL_INVALID(faults);
}

static void what_is_not_run_cannot_be_smuggled_in(void **state)
{
    (void)state;
    must_not_run(
        "{'berth': 1, 'job': {'type': 'batch', 'ops': [{'kind': 'run', 'id': 'a', 'image': 'i', 'network': 'none'}, "
        "{'kind': 'run', 'id': 'b', 'image': 'i', 'network': 'none'}]}}",
        "several ops");
}

/* What the record names, and what its ops add to that, in one list. */
static void what_a_record_names_as_not_run_stays_in_order(void **state)
{
    (void)state;
    enum { OPS = 40, MOST = 200 };
    for (size_t n = 0; n < MOST + 20; n++) {
        struct err err = ERR_INIT;
        AUTO_BUF b;
        buf_init(&b, TEXT_MAX);
        buf_adds(&b, "{\"berth\": 1, \"job\": {\"type\": \"batch\", \"meta\": {\"m\": \"");
        for (size_t i = 0; i < 20000; i++) /* fills the arena's first block: the list has one of its own */
            buf_addc(&b, 'x');
        buf_adds(&b, "\"}, \"unsupported\": [");
        for (size_t i = 0; i < n; i++)
            buf_addf(&b, "%s{\"what\": \"what %zu\", \"at\": \"at %zu\"}", i ? ", " : "", i, i);
        buf_adds(&b, "], \"ops\": [");
        for (size_t i = 0; i < OPS; i++)
            buf_addf(&b,
                     "%s{\"kind\": \"run\", \"id\": \"o%zu\", \"image\": \"i\", \"network\": \"none\", "
                     "\"group\": \"g%zu\"}",
                     i ? ", " : "", i, i);
        buf_adds(&b, "]}}");
        AUTO_JOB job = parse_record(buf_span(&b), NULL, &err);
        if (!job)
            fail_msg("%s", err.text);
        assert_int_equal(job->unsupported_count, n + 1 + OPS < MOST ? n + 1 + OPS : MOST);
        for (size_t i = 0; i < job->unsupported_count; i++) {
            char what[64], at[64];
            if (i < n) {
                snprintf(what, sizeof what, "what %zu", i);
                snprintf(at, sizeof at, "at %zu", i);
            } else if (i == n) {
                snprintf(what, sizeof what, "several ops");
                snprintf(at, sizeof at, "ops");
            } else {
                snprintf(what, sizeof what, "execution group 'g%zu'", i - n - 1);
                snprintf(at, sizeof at, "job.ops[%zu]", i - n - 1);
            }
            assert_string_equal(job->unsupported[i].what, what);
            assert_string_equal(job->unsupported[i].at, at);
        }
    }
}

static void add_full_record(struct buf *b, const char *what, const char *more)
{
    buf_addf(b, "{\"berth\": 1, \"job\": {\"type\": \"batch\", %s, \"unsupported\": [", more);
    for (size_t i = 0; i < 200; i++)
        buf_addf(b, "%s{\"what\": \"%s\"}", i ? ", " : "", what);
    buf_adds(b, "]}}");
}

/* What markets do run, named so often that there is no room left for what they do not. */
static void a_full_list_hides_nothing_from_a_market(void **state)
{
    (void)state;
    struct err err = ERR_INIT, market_err = ERR_INIT;
    AUTO_BUF b;
    buf_init(&b, TEXT_MAX);
    add_full_record(&b, "Count above 1: several executions need a server",
                    "\"count\": 2, \"ops\": [{\"kind\": \"run\", \"id\": \"a\", \"image\": \"i\", \"network\": "
                    "\"http\", \"network_domains\": [\"h\"]}]");
    AUTO_JOB job = parse_record(buf_span(&b), NULL, &err);
    assert_non_null(job);
    assert_int_equal(spec_check_market(job, &market_err), -1);
    assert_int_equal(market_err.kind, ERR_UNSUPPORTED);
}

static void a_full_list_hides_nothing_from_another_publisher(void **state)
{
    (void)state;
    struct err err = ERR_INIT, run_err = ERR_INIT;
    AUTO_BUF b;
    buf_init(&b, TEXT_MAX);
    add_full_record(&b, "publisher s3managed: its upload is signed by a server",
                    "\"count\": 2, \"publisher\": {\"kind\": \"s3managed\"}, \"ops\": [{\"kind\": \"run\", \"id\": "
                    "\"a\", \"image\": \"i\", \"network\": \"none\"}]");
    AUTO_JOB job = parse_record(buf_span(&b), NULL, &err);
    if (!job)
        fail_msg("%s", err.text);
    assert_works(spec_override_publisher(job, SPAN_LIT("local"), &err), &err);
    assert_int_equal(spec_check_runnable(job, &run_err), -1);
    assert_int_equal(run_err.kind, ERR_UNSUPPORTED);
}

static void a_dry_run_reads_back(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    static const char *const texts[] = {
        BACALHAU("Name: n\nPriority: 2\nLabels: {a: b}\nConstraints: [{Key: k, Operator: exists}]\n",
                 "    Env: {A: b}\n    Resources: {CPU: 500m, Memory: 1GB, GPU: 1}\n    Network: {Type: Full}\n    "
                 "ResultPaths: [{Name: o, Path: /o}]\n    Timeouts: {TotalTimeout: 9}\n    Publisher: {Type: local}\n"),
        BACALHAU("", "    Resources: {CPU: 64.1234567, Memory: 9007199254740993, Disk: 9223372036854775807}\n"),
        BACALHAU_S3("            Key: k\n            VersionID: v\n            Region: r\n"),
        BACALHAU_S3("            Partition: {Type: substring, StartIndex: 0, EndIndex: 4}\n"),
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        AUTO_JOB job = must_parse(texts[i]);
        AUTO_JSON spec = spec_to_bacalhau(job, false, &err);
        AUTO_BUF yaml;
        buf_init(&yaml, TEXT_MAX);
        assert_non_null(spec);
        assert_works(yaml_write(spec, &yaml, &err), &err);
        AUTO_JOB again = must_parse(buf_str(&yaml));
        AUTO_JSON a = spec_to_json(job, &err);
        AUTO_JSON b = spec_to_json(again, &err);
        if (!json_equal(a, b))
            fail_msg("differs: %s", buf_str(&yaml));
    }
}

#define WITH_SECRETS                                                                                                   \
    BACALHAU("", "    Env: {API_KEY: " CANARY                                                                          \
                 "}\n    InputSources:\n      - {Target: /a, Source: {Type: huggingface, Params: "                     \
                 "{Repo: o/n, AccessToken: " CANARY "}}}\n      - {Target: /b, Source: {Type: s3PreSigned, Params: "   \
                 "{PreSignedURL: \"https://h/?x=" CANARY "\"}}}\n      - {Target: /c, Source: {Type: urlDownload, "    \
                 "Params: {URL: \"https://h/c?X-Amz-Signature=" CANARY "\"}}}\n")

static void a_dry_run_shows_no_secret(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_JOB job = must_parse(WITH_SECRETS);
    AUTO_JSON spec = spec_to_bacalhau(job, false, &err);
    AUTO_BUF text;
    buf_init(&text, TEXT_MAX);
    assert_works(json_write(spec, false, &text, &err), &err);
    assert_null(strstr(buf_str(&text), CANARY));
    assert_non_null(strstr(buf_str(&text), "***"));
}

static void what_is_posted_has_its_secrets(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_JOB job = must_parse(WITH_SECRETS);
    AUTO_JSON spec = spec_to_bacalhau(job, true, &err);
    AUTO_BUF text;
    buf_init(&text, TEXT_MAX);
    assert_works(json_write(spec, false, &text, &err), &err);
    AUTO_JOB again = must_parse(buf_str(&text));
    assert_string_equal(again->ops[0].env.v[0].value, CANARY);
    assert_string_equal(again->ops[0].inputs[0].hf.access_token, CANARY);
    assert_string_equal(again->ops[0].inputs[1].url.url, "https://h/?x=" CANARY);
    assert_string_equal(again->ops[0].inputs[2].url.url, "https://h/c?X-Amz-Signature=" CANARY);
}

static void what_bacalhau_has_no_words_for_is_an_error(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_JOB job = must_parse(NOSANA_RESOURCE("{'type': 'S3', 'url': 'https://h/x', 'target': '/a'}"));
    assert_null(spec_to_bacalhau(job, false, &err));
    assert_int_equal(err.kind, ERR_UNSUPPORTED);
    static const struct fault silent[] = {
        {NOSANA(", 'private': true"), "private logs"},
        {NOSANA(", 'gpu': true"), "all GPUs"},
        {NOSANA(", 'required_vram': 8"), "required VRAM"},
        {NOSANA(", 'authentication': {'docker': {'username': 'u', 'password': 'p'}}"), "login of a registry"},
        {NOSANA_RESOURCE("{'type': 'HF', 'repo': 'o/n', 'target': '/b', 'allowWrite': true}"), "a writable input"},
        {RECORD_OP(", 'results': [{'name': 'n', 'regex': 'x'}]"), "results found in logs"},
        {RECORD_OP(", 'inputs': [{'kind': 's3', 'target': '/x', 'bucket': 'b', 'requester_pays': true}]"),
         "of a source"},
        {RECORD_OP(", 'inputs': [{'kind': 's3', 'target': '/x', 'bucket': 'b', 'key': 'd', 'exact_key': false}]"),
         "against its looks"},
        {"{'berth': 1, 'job': {'type': 'batch', 'ops': [{'kind': 'create-volume', 'id': 'a', 'network': 'none'}]}}",
         "a volume"},
    };
    for (size_t i = 0; i < ARRAY_LEN(silent); i++) {
        struct err why = ERR_INIT;
        AUTO_JOB one = must_parse(silent[i].text);
        AUTO_JSON spec = spec_to_bacalhau(one, false, &why);
        if (spec || !strstr(why.text, silent[i].part))
            fail_msg("%s: %s", silent[i].text, why.text);
        assert_int_equal(why.kind, ERR_UNSUPPORTED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_survives_its_record),
        cmocka_unit_test(no_secret_is_in_a_record),
        cmocka_unit_test(a_record_without_its_secrets_says_which_to_give),
        cmocka_unit_test(a_record_pins_what_the_inputs_were),
        cmocka_unit_test(a_list_of_only_some_objects_pins_nothing),
        cmocka_unit_test(a_record_is_checked_like_any_file),
        cmocka_unit_test(what_is_not_run_cannot_be_smuggled_in),
        cmocka_unit_test(what_a_record_names_as_not_run_stays_in_order),
        cmocka_unit_test(a_full_list_hides_nothing_from_a_market),
        cmocka_unit_test(a_full_list_hides_nothing_from_another_publisher),
        cmocka_unit_test(a_dry_run_reads_back),
        cmocka_unit_test(a_dry_run_shows_no_secret),
        cmocka_unit_test(what_is_posted_has_its_secrets),
        cmocka_unit_test(what_bacalhau_has_no_words_for_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
