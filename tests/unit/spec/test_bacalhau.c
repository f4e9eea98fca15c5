#include "test_spec.h"

#define SOURCE(type, params)                                                                                           \
    BACALHAU("", "    InputSources:\n      - Target: /in\n        Alias: al\n        Source:\n          Type: " type   \
                 "\n          Params:\n" params)

static void a_full_specification_becomes_the_model(void **state)
{
    (void)state;
    AUTO_JOB job =
        must_parse("Name: n\nType: batch\nCount: 1\nNamespace: ns\nPriority: 7\nConstraints:\n  - Key: k\n"
                   "    Operator: in\n    Values: [a, b]\nLabels: {l: v}\nMeta: {m: w}\nTasks:\n  - Name: t\n"
                   "    Engine:\n      Type: docker\n      Params:\n        Image: img\n        Entrypoint: "
                   "[e]\n        Parameters: [p, q]\n        EnvironmentVariables: [\"A=1=2\"]\n        "
                   "WorkingDirectory: /w\n    Env: {B: x}\n    ResultPaths:\n      - Name: out\n        "
                   "Path: /out/\n    Resources: {CPU: 500m, Memory: 1Gb, Disk: 2GiB, GPU: \"1\"}\n    "
                   "Network: {Type: Full}\n    Timeouts: {ExecutionTimeout: 60, QueueTimeout: 5, "
                   "TotalTimeout: 100}\n");
    const struct op *op = &job->ops[0];
    assert_int_equal(job->dialect, JOB_BACALHAU);
    assert_string_equal(job->name, "n");
    assert_string_equal(job->namespace_name, "ns");
    assert_int_equal(job->priority, 7);
    assert_string_equal(job->constraints[0].op, "in");
    assert_int_equal(job->constraints[0].values.n, 2);
    assert_string_equal(job->labels.v[0].value, "v");
    assert_string_equal(job->meta.v[0].name, "m");
    assert_string_equal(op->id, "t");
    assert_string_equal(op->entrypoint.v[0], "e");
    assert_string_equal(op->command.v[1], "q");
    assert_string_equal(op->env.v[0].name, "B");
    assert_string_equal(op->env.v[1].value, "1=2");
    assert_string_equal(op->work_dir, "/w");
    assert_string_equal(op->outputs[0].name, "out");
    assert_string_equal(op->outputs[0].path, "/out");
    assert_true(op->limits.cpu == 0.5);
    assert_int_equal(op->limits.memory_bytes, 1000000000);
    assert_int_equal(op->limits.disk_bytes, 2147483648);
    assert_int_equal(op->limits.gpu_count, 1);
    assert_int_equal(op->network, NETWORK_FULL);
    assert_int_equal(job->execution_timeout_ms, 60000);
    assert_int_equal(job->queue_timeout_ms, 5000);
    assert_int_equal(job->total_timeout_ms, 100000);
    assert_int_equal(job->unsupported_count, 0);
    assert_int_equal(job->warning_count, 0);
}

static void keys_match_whatever_their_case(void **state)
{
    (void)state;
    AUTO_JOB job =
        must_parse("nAME: n\nTYPE: Batch\ntASKS:\n  - name: t\n    ENGINE:\n      type: DOCKER\n      params:\n"
                   "        image: img\n        PARAMETERS: [x]\n    env: {Key: a, KEY: b}\n");
    assert_string_equal(job->name, "n");
    assert_string_equal(job->type, "batch");
    assert_string_equal(job->ops[0].command.v[0], "x");
    assert_int_equal(job->ops[0].env.n, 2); /* names of variables keep their case */
}

static void json_reads_the_same(void **state)
{
    (void)state;
    AUTO_JOB job = must_parse("{'type': 'batch', 'tasks': [{'name': 'main', 'engine': {'type': 'docker', 'params': "
                              "{'image': 'img'}}, 'resources': {'cpu': 1, 'memory': 1048576, 'gpu': 2}}]}");
    assert_int_equal(job->dialect, JOB_BACALHAU);
    assert_true(job->ops[0].limits.cpu == 1);
    assert_int_equal(job->ops[0].limits.memory_bytes, 1048576);
    assert_int_equal(job->ops[0].limits.gpu_count, 2);
}

static void amounts_are_taken_to_the_last_digit(void **state)
{
    (void)state;
    AUTO_JOB job =
        must_parse(BACALHAU("", "    Resources: {CPU: 64.12345, Memory: 536870912.0, Disk: 1e9, GPU: 2.0}\n"));
    assert_true(job->ops[0].limits.cpu == 64.12345);
    assert_int_equal(job->ops[0].limits.memory_bytes, 536870912);
    assert_int_equal(job->ops[0].limits.disk_bytes, 1000000000);
    assert_int_equal(job->ops[0].limits.gpu_count, 2);
    must_be_invalid(BACALHAU("", "    Resources: {CPU: 1e-9}\n"), "'1e-09' is not a number of CPUs");
    must_be_invalid(BACALHAU("", "    Resources: {CPU: 1e300}\n"), "is not a number of CPUs");
    must_be_invalid(BACALHAU("", "    Resources: {Memory: 0.5}\n"), "Resources.Memory: ");
}

static void what_is_not_said_has_its_default(void **state)
{
    (void)state;
    AUTO_JOB job = must_parse(BACALHAU("", ""));
    assert_string_equal(job->name, "main");
    assert_string_equal(job->namespace_name, "default");
    assert_int_equal(job->count, 1);
    assert_int_equal(job->ops[0].network, NETWORK_NONE);
    assert_int_equal(job->publisher.kind, PUBLISH_NONE);
    assert_int_equal(job->execution_timeout_ms, 0);
    assert_null(job->ops[0].work_dir);
}

static void nulls_are_absent(void **state)
{
    (void)state;
    AUTO_JOB job =
        must_parse(BACALHAU("Labels:\nCount:\n", "    Env:\n    InputSources:\n    Publisher:\n    Network:\n"));
    assert_int_equal(job->count, 1);
    AUTO_JOB empty = must_parse(BACALHAU("", "        Parameters:\n          - a\n          -\n"));
    assert_string_equal(empty->ops[0].command.v[1], "");
}

static void the_root_is_strict_in_its_own_words(void **state)
{
    (void)state;
    static const struct fault faults[] = {
        {BACALHAU("Nmae: x\n", ""), "job:2: unknown field: 'Nmae' in 'Job'"},
        {BACALHAU("ID: x\n", ""), "field: 'ID' in 'Job' is not allowed"},
        {BACALHAU("State: {a: b}\n", ""), "field: 'State' in 'Job' is not allowed"},
        {BACALHAU("version: 1\n", ""), "field: 'version' in 'Job' is not allowed"},
        {BACALHAU("Revision: 1\n", ""), "field: 'Revision' in 'Job' is not allowed"},
        {BACALHAU("CreateTime: 1\n", ""), "field: 'CreateTime' in 'Job' is not allowed"},
        {BACALHAU("ModifyTime: 1\n", ""), "field: 'ModifyTime' in 'Job' is not allowed"},
        {BACALHAU("Name: a\nname: b\n", ""), "given twice"},
    };
    ALL_INVALID(faults);
}

static void unknown_fields_below_the_root_are_warnings(void **state)
{
    (void)state;
    must_warn(BACALHAU("", "    Netwrk: {}\n"),
              "Tasks[0].Netwrk: unknown field, it has no effect; did you mean 'Network'?");
    must_warn(BACALHAU("", "    Meta: {a: b}\n"), "Tasks[0].Meta: has no effect");
    must_warn(BACALHAU("", "        Imgae: x\n"), "Params.Imgae: unknown field");
    must_warn(BACALHAU_S3("            Kye: x\n"), "Params.Kye: unknown field, it has no effect; did you mean 'Key'?");
    struct err err = ERR_INIT;
    AUTO_JOB strict = try_parse(BACALHAU("", "    Netwrk: {}\n"), NULL, true, &err);
    assert_null(strict);
    assert_int_equal(err.kind, ERR_INVALID);
}

static void what_berth_has_not_is_refused_by_name(void **state)
{
    (void)state;
    static const struct fault faults[] = {
        {"Type: service\nTasks: [{Engine: {Type: docker, Params: {Image: i}}}]\n", "not supported: job type 'service'"},
        {"Type: daemon\nTasks: [{Engine: {Type: docker, Params: {Image: i}}}]\n", "not supported: job type 'daemon'"},
        {"Type: batch\nTasks: [{Engine: {Type: wasm}}]\n", "job:2: Tasks[0].Engine.Type: not supported: engine 'wasm'"},
        {"Type: batch\nTasks: [{Engine: {Type: Noop}}]\n", "not supported: engine 'noop'"},
        {SOURCE("Git", "            {}\n"), "not supported: source type 'git'"},
        {SOURCE("Azure", "            {}\n"), "not supported: source type 'azure'"},
        {SOURCE("ipfs", "            CID: x\n"), "not supported: source type 'ipfs'"},
        {BACALHAU("", "    Publisher: {Type: ipfs}\n"), "not supported: publisher 'ipfs'"},
        {BACALHAU("", "    Network: {Type: Host}\n"), "not supported: network 'Host'"},
    };
    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        must_fail(faults[i].text, ERR_UNSUPPORTED, faults[i].part);
}

static void what_needs_a_server_is_not_run_here(void **state)
{
    (void)state;
    must_not_run(BACALHAU("Count: 3\n", ""), "Count above 1");
    must_not_run("Type: ops\nTasks: [{Engine: {Type: docker, Params: {Image: i}}}]\n", "job type 'ops'");
    must_not_run(BACALHAU("", "    Publisher: {Type: s3managed}\n"), "s3managed");
    must_not_run(BACALHAU("", "    Network: {Type: HTTP, Domains: [a.example]}\n"), "network HTTP");
}

static void a_market_runs_what_one_machine_does_not(void **state)
{
    (void)state;
    static const char *const texts[] = {BACALHAU("Count: 3\n", ""), BACALHAU("", "    Publisher: {Type: s3managed}\n"),
                                        BACALHAU("", "    Network: {Type: HTTP, Domains: [a.example]}\n")};
    static const bool runs[] = {true, true, false};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct err err = ERR_INIT;
        AUTO_JOB job = try_parse(texts[i], NULL, false, &err);
        assert_non_null(job);
        assert_int_equal(spec_check_market(job, &err), runs[i] ? 0 : -1);
        assert_int_equal(err.kind, runs[i] ? ERR_NONE : ERR_UNSUPPORTED);
    }
}

static void mistakes_are_named_with_line_and_path(void **state)
{
    (void)state;
    static const struct fault faults[] = {
        {"Type: batch\nTasks: []\n", "expected one task per job, found 0"},
        {"Type: batch\nTasks: [{}, {}]\n", "expected one task per job, found 2"},
        {"Type: batch\nTasks:\n", "expected a list of one task, found null"},
        {"Type: batch\nTasks: {a: b}\n", "Tasks: expected a list, found an object"},
        {"Tasks: [{Engine: {Type: docker, Params: {Image: i}}}]\n", "Type: required, but missing"},
        {"Type: bach\nTasks: [{Engine: {Type: docker, Params: {Image: i}}}]\n", "job:1: Type: unknown job type 'bach'; "
                                                                                "did you mean 'batch'?"},
        {"Type: batch\nTasks: [{Name: x}]\n", "Tasks[0].Engine: required, but missing"},
        {"Type: batch\nTasks: [{Name: x, Engine: ~}]\n", "Tasks[0].Engine: required, but missing"},
        {BACALHAU("", "    InputSources: [{Target: /in, Source: null}]\n"),
         "InputSources[0].Source: required, but missing"},
        {"Type: batch\nTasks: [{Engine: docker}]\n", "Tasks[0].Engine: expected an object, found a string"},
        {"Type: batch\nTasks: [{Engine: {Type: dokcer}}]\n", "unknown engine 'dokcer'; did you mean 'docker'?"},
        {"Type: batch\nTasks: [{Engine: {Type: docker, Params: {}}}]\n", "Engine.Params.Image: required, but missing"},
        {BACALHAU("Count: 0\n", ""), "Count: expected 1 to"},
        {BACALHAU("Count: -1\n", ""), "Count: expected 1 to"},
        {BACALHAU("Count: many\n", ""), "Count: expected a whole number, found a string"},
        {BACALHAU("Count: 1.5\n", ""), "Count: expected a whole number, found a number"},
        {BACALHAU("Name: 5\n", ""), "Name: expected a string, found a number; put the value in quotes"},
        {BACALHAU("Labels: {a: true}\n", ""), "Labels.a: expected a string"},
        {BACALHAU("Constraints: [{Key: k, Operator: like, Values: [a]}]\n", ""), "unknown operator 'like'"},
        {BACALHAU("Constraints: [{Key: k, Operator: in}]\n", ""), "operator 'in' takes one or more values, found 0"},
        {BACALHAU("Constraints: [{Key: k, Operator: exists, Values: [a]}]\n", ""), "takes no value"},
        {BACALHAU("Constraints: [{Operator: exists}]\n", ""), "Constraints[0].Key: required"},
        {BACALHAU("Constraints: [{Key: k, Operator: gt, Values: [lots]}]\n", ""),
         "operator 'gt' takes a number, found "},
        {BACALHAU("Constraints: [{Key: k, Operator: lt, Values: ['=5']}]\n", ""), "operator 'lt' takes a number"},
        {BACALHAU("Constraints: [{Key: k, Operator: lt, Values: ['1.2.3']}]\n", ""), "operator 'lt' takes a number"},
        {BACALHAU("", "        EnvironmentVariables: [A]\n"), "EnvironmentVariables[0]: expected NAME=VALUE"},
        {BACALHAU("", "    Resources: {CPU: lots}\n"), "Resources.CPU: 'lots' is not a number of CPUs"},
        {BACALHAU("", "    Resources: {Memory: 1Xb}\n"), "Resources.Memory: "},
        {BACALHAU("", "    Resources: {GPU: \"-1\"}\n"), "Resources.GPU: '-1' is not a number of GPUs"},
        {BACALHAU("", "    Network: {Type: Fll}\n"), "unknown network 'Fll'"},
        {BACALHAU("", "    Timeouts: {ExecutionTimeout: 1h}\n"), "ExecutionTimeout: expected a whole number"},
        {BACALHAU("", "    Timeouts: {ExecutionTimeout: -5}\n"), "ExecutionTimeout: expected 0 to"},
        {BACALHAU("", "    ResultPaths: [{Name: a, Path: out}]\n"), "ResultPaths[0].Path: "},
        {BACALHAU("", "    ResultPaths: [{Path: /out}]\n"), "ResultPaths[0].Name: required"},
        {BACALHAU("", "    ResultPaths: [{Name: .., Path: /out}]\n"), "cannot name a results folder"},
        {BACALHAU("", "    ResultPaths: [{Name: a, Path: /x}, {Name: /a/, Path: /y}]\n"), "the folder name 'a'"},
        {BACALHAU("", "    ResultPaths: [{Name: a, Path: /x}, {Name: b, Path: /x/}]\n"), "two result paths for '/x'"},
        {SOURCE("s4", "            {}\n"),
         "job:12: Tasks[0].InputSources[0].Source.Type: unknown source type 's4'; did "
         "you mean 's3'?"},
        {BACALHAU("", "    InputSources: [{Target: /in}]\n"), "InputSources[0].Source: required, but missing"},
        {BACALHAU("", "    InputSources: [{Source: {Type: urlDownload, Params: {URL: https://h/x}}}]\n"),
         "InputSources[0].Target: required, but missing"},
        {SOURCE("urlDownload", "            URL: file:///etc/passwd\n"), "Params.URL: URL scheme 'file'"},
        {SOURCE("urlDownload", "            {}\n"), "Params.URL: required, but missing"},
        {SOURCE("s3PreSigned", "            {}\n"), "Params.PreSignedURL: required, but missing"},
        {SOURCE("localDirectory", "            SourcePath: data\n"), "SourcePath: expected an absolute path"},
        {SOURCE("huggingface", "            Repo: x\n"), "Params.Repo: 'x' is not a repository"},
    };
    ALL_INVALID(faults);
    must_be_invalid(BACALHAU("", "    ResultPaths: [{Name: a, Path: /in}]\n    InputSources: [{Target: /in, Source: "
                                 "{Type: urlDownload, Params: {URL: https://h/x}}}]\n"),
                    "'/in' is both an input's target and a result path");
}

static void each_source_type_becomes_its_kind(void **state)
{
    (void)state;
    AUTO_JOB url = must_parse(SOURCE("urlDownload", "            URL: https://h/x?y=1\n"));
    const struct input *in = &url->ops[0].inputs[0];
    assert_int_equal(in->kind, SOURCE_URL);
    assert_string_equal(in->url.url, "https://h/x?y=1");
    assert_false(in->url.presigned);
    assert_string_equal(in->alias, "al");
    assert_string_equal(in->target, "/in");
    AUTO_JOB signed_url = must_parse(SOURCE("urldownload", "            URL: https://h/x?X-Amz-Signature=1\n"));
    assert_true(signed_url->ops[0].inputs[0].url.presigned);
    AUTO_JOB keyed = must_parse(SOURCE("urldownload", "            URL: https://h/x?version=2&api_key=1\n"));
    assert_true(keyed->ops[0].inputs[0].url.presigned);
    AUTO_JOB presigned = must_parse(SOURCE("s3PreSigned", "            PreSignedURL: https://h/x?sig=1\n"));
    assert_int_equal(presigned->ops[0].inputs[0].kind, SOURCE_PRESIGNED);
    assert_true(presigned->ops[0].inputs[0].url.presigned);
    AUTO_JOB local =
        must_parse(SOURCE("localDirectory", "            SourcePath: /data\n            ReadWrite: true\n"));
    assert_int_equal(local->ops[0].inputs[0].kind, SOURCE_LOCAL);
    assert_true(local->ops[0].inputs[0].writable);
    AUTO_JOB hf =
        must_parse(SOURCE("huggingface", "            Repo: o/n\n            Revision: main\n            "
                                         "Files: [a]\n            AccessToken: t\n            Layout: hub\n"));
    assert_true(hf->ops[0].inputs[0].hf.hub_layout);
    assert_string_equal(hf->ops[0].inputs[0].hf.repo, "o/n");
    assert_string_equal(hf->ops[0].inputs[0].hf.access_token, "t");
    AUTO_JOB ollama = must_parse(SOURCE("ollama", "            Model: m\n"));
    assert_string_equal(ollama->ops[0].inputs[0].ollama.model, "m");
}

static void the_key_says_whether_it_is_one_object(void **state)
{
    (void)state;
    static const struct {
        const char *params, *key;
        bool exact;
    } keys[] = {{"            Key: a/b.txt\n", "a/b.txt", true}, {"            Key: a/b/\n", "a/b/", false},
                {"            Key: a/b*\n", "a/b*", false},      {"            Key: \"*\"\n", "*", false},
                {"            Key: \"\"\n", "", false},          {"            Region: r\n", "", false}};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        char text[512];
        snprintf(text, sizeof text, "%s%s", BACALHAU_S3(""), keys[i].params);
        AUTO_JOB job = must_parse(text);
        const struct source_s3 *s3 = &job->ops[0].inputs[0].s3;
        assert_string_equal(s3->bucket, "b");
        assert_string_equal(s3->key, keys[i].key);
        assert_int_equal(s3->exact_key, keys[i].exact);
    }
}

#define HEX  "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"
#define HEX0 "0x00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"

static void checksums_come_in_three_forms(void **state)
{
    (void)state;
    static const char *const forms[] = {HEX, HEX0, "ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8="};
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        char text[512];
        snprintf(text, sizeof text, "%s            Key: k\n            ChecksumSHA256: \"%s\"\n", BACALHAU_S3(""),
                 forms[i]);
        AUTO_JOB job = must_parse(text);
        assert_string_equal(job->ops[0].inputs[0].s3.checksum_sha256,
                            "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
    }
    must_be_invalid(BACALHAU_S3("            Key: k\n            ChecksumSHA256: abcd\n"), "not a SHA-256");
}

static void a_version_of_a_prefix_has_no_effect(void **state)
{
    (void)state;
    const char *text =
        BACALHAU_S3("            Key: a/\n            VersionID: v\n            ChecksumSHA256: " HEX "\n");
    must_warn(text, "VersionID: has no effect");
    must_warn(text, "ChecksumSHA256: has no effect");
    AUTO_JOB prefix = must_parse(text);
    assert_null(prefix->ops[0].inputs[0].s3.version_id);
    AUTO_JOB exact = must_parse(BACALHAU_S3("            Key: a\n            VersionID: v\n"));
    assert_string_equal(exact->ops[0].inputs[0].s3.version_id, "v");
}

static void s3_params_are_checked(void **state)
{
    (void)state;
    static const struct fault faults[] = {
        {SOURCE("s3", "            Key: k\n"), "Params.Bucket: required, but missing"},
        {BACALHAU_S3("            Filter: \"(\"\n"), "Params.Filter: '(' is not a regular expression"},
        {BACALHAU_S3("            Endpoint: h:9000\n"), "Params.Endpoint: not a URL"},
        {BACALHAU_S3("            Partition: {Type: objects}\n"), "unknown partition type 'objects'; did you mean "
                                                                  "'object'?"},
        {BACALHAU_S3("            Partition: {Type: regex}\n"), "Partition.Pattern: required"},
        {BACALHAU_S3("            Partition: {Type: regex, Pattern: \"[\"}\n"), "is not a regular expression"},
        {BACALHAU_S3("            Partition: {Type: substring, StartIndex: 3, EndIndex: 3}\n"), "must be greater"},
        {BACALHAU_S3("            Partition: {Type: substring, StartIndex: -1, EndIndex: 3}\n"), "expected 0 to"},
        {BACALHAU_S3("            Partition: {Type: date}\n"), "Partition.DateFormat: required"},
        {BACALHAU_S3("            Partition: {Type: date, DateFormat: yyyy-mm}\n"), "date format"},
    };
    ALL_INVALID(faults);
    AUTO_JOB job =
        must_parse(BACALHAU_S3("            Filter: \"[.]csv$\"\n            Endpoint: http://127.0.0.1:7480\n"
                               "            Partition: {Type: substring, StartIndex: 1, EndIndex: 3}\n"));
    const struct source_s3 *s3 = &job->ops[0].inputs[0].s3;
    assert_string_equal(s3->filter, "[.]csv$");
    assert_string_equal(s3->endpoint, "http://127.0.0.1:7480");
    assert_int_equal(s3->partition.kind, PARTITION_SUBSTRING);
    assert_int_equal(s3->partition.end, 3);
}

static void result_names_become_one_safe_folder(void **state)
{
    (void)state;
    static const char *const names[][2] = {
        {"outputs", "outputs"}, {"/outputs", "outputs"}, {"/a/b/", "a-b"}, {"a b", "a b"}};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char text[512];
        snprintf(text, sizeof text, "%s    ResultPaths: [{Name: \"%s\", Path: /x}]\n", BACALHAU("", ""), names[i][0]);
        AUTO_JOB job = must_parse(text);
        assert_string_equal(job->ops[0].outputs[0].name, names[i][1]);
    }
}

static void publishers_are_read_and_checked(void **state)
{
    (void)state;
    AUTO_JOB job =
        must_parse(BACALHAU_PUBLISHER("        Bucket: b\n        Key: r/{jobID}/{executionID}-{nodeID}-{date}"
                                      "{time}\n        Endpoint: https://h\n        Region: r\n        "
                                      "Encoding: Plain\n"));
    assert_int_equal(job->publisher.kind, PUBLISH_S3);
    assert_string_equal(job->publisher.bucket, "b");
    assert_string_equal(job->publisher.endpoint, "https://h");
    assert_int_equal(job->publisher.encoding, PUBLISH_PLAIN);
    AUTO_JOB gzip = must_parse(BACALHAU_PUBLISHER("        Bucket: b\n        Key: k\n"));
    assert_int_equal(gzip->publisher.encoding, PUBLISH_GZIP);
    AUTO_JOB local = must_parse(BACALHAU("", "    Publisher: {Type: local}\n"));
    assert_int_equal(local->publisher.kind, PUBLISH_LOCAL);
    static const struct fault faults[] = {
        {BACALHAU_PUBLISHER("        Bucket: b\n        Key: \"{jobId}\"\n"),
         "Publisher.Params.Key: unknown placeholder "
         "'{jobId}'"},
        {BACALHAU_PUBLISHER("        Bucket: b\n        Key: \"a{\"\n"), "unknown placeholder"},
        {BACALHAU_PUBLISHER("        Key: k\n"), "Publisher.Params.Bucket: required"},
        {BACALHAU_PUBLISHER("        Bucket: b\n"), "Publisher.Params.Key: required"},
        {BACALHAU_PUBLISHER("        Bucket: b\n        Key: k\n        Encoding: zip\n"), "unknown encoding 'zip'"},
        {BACALHAU("", "    Publisher: {Type: s4}\n"), "unknown publisher 's4'; did you mean 's3'?"},
    };
    ALL_INVALID(faults);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_specification_becomes_the_model),
        cmocka_unit_test(keys_match_whatever_their_case),
        cmocka_unit_test(json_reads_the_same),
        cmocka_unit_test(amounts_are_taken_to_the_last_digit),
        cmocka_unit_test(what_is_not_said_has_its_default),
        cmocka_unit_test(nulls_are_absent),
        cmocka_unit_test(the_root_is_strict_in_its_own_words),
        cmocka_unit_test(unknown_fields_below_the_root_are_warnings),
        cmocka_unit_test(what_berth_has_not_is_refused_by_name),
        cmocka_unit_test(what_needs_a_server_is_not_run_here),
        cmocka_unit_test(a_market_runs_what_one_machine_does_not),
        cmocka_unit_test(mistakes_are_named_with_line_and_path),
        cmocka_unit_test(each_source_type_becomes_its_kind),
        cmocka_unit_test(the_key_says_whether_it_is_one_object),
        cmocka_unit_test(checksums_come_in_three_forms),
        cmocka_unit_test(a_version_of_a_prefix_has_no_effect),
        cmocka_unit_test(s3_params_are_checked),
        cmocka_unit_test(result_names_become_one_safe_folder),
        cmocka_unit_test(publishers_are_read_and_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
