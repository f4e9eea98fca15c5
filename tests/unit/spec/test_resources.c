#include "test_spec.h"

static const struct input *input_of(const struct job *job, size_t i)
{
    assert_true(i < job->ops[0].input_count);
    return &job->ops[0].inputs[i];
}

static void an_s3_url_is_kept_as_written(void **state)
{
    (void)state;
    AUTO_JOB job = must_parse(NOSANA_RESOURCE("{'type': 'S3', 'url': 'https://models.example/a/b', 'target': '/in/', "
                                              "'bucket': 'bk', 'files': ['x/y.bin'], 'allowWrite': true}"));
    const struct input *in = input_of(job, 0);
    assert_int_equal(in->kind, SOURCE_S3);
    assert_string_equal(in->s3.url, "https://models.example/a/b");
    assert_string_equal(in->s3.bucket, "bk");
    assert_null(in->s3.key);
    assert_false(in->s3.exact_key);
    assert_string_equal(in->s3.files.v[0], "x/y.bin");
    assert_string_equal(in->target, "/in");
    assert_true(in->writable);
    assert_string_equal(in->at, "ops[0].args.resources[0]");
}

static void an_s3_scheme_names_bucket_and_key(void **state)
{
    (void)state;
    AUTO_JOB job = must_parse(NOSANA_RESOURCE("{'type': 'S3', 'url': 's3://bk/a b/c+d', 'target': '/in'}"));
    assert_null(input_of(job, 0)->s3.url);
    assert_string_equal(input_of(job, 0)->s3.bucket, "bk");
    assert_string_equal(input_of(job, 0)->s3.key, "a b/c+d");
}

static void credentials_of_empty_strings_are_none(void **state)
{
    (void)state;
    AUTO_JOB job = must_parse(NOSANA_RESOURCE("{'type': 'S3', 'url': 'https://h/x', 'target': '/in', 'IAM': {'REGION': "
                                              "'', 'ACCESS_KEY_ID': '', 'SECRET_ACCESS_KEY': ''}}"));
    assert_null(input_of(job, 0)->s3.access_key_id);
    assert_null(input_of(job, 0)->s3.secret_access_key);
    assert_null(input_of(job, 0)->s3.region);
    AUTO_JOB given = must_parse(NOSANA_RESOURCE("{'type': 'S3', 'url': 'https://h/x', 'target': '/in', 'IAM': {"
                                                "'REGION': 'r', 'ACCESS_KEY_ID': 'k', 'SECRET_ACCESS_KEY': 's', "
                                                "'SESSION_TOKEN': 't'}}"));
    assert_string_equal(input_of(given, 0)->s3.access_key_id, "k");
    assert_string_equal(input_of(given, 0)->s3.secret_access_key, "s");
    assert_string_equal(input_of(given, 0)->s3.session_token, "t");
    assert_string_equal(input_of(given, 0)->s3.region, "r");
}

static void buckets_become_inputs_of_one_target(void **state)
{
    (void)state;
    AUTO_JOB job = must_parse(NOSANA_RESOURCE("{'type': 'S3', 'target': '/in', 'IAM': {'ACCESS_KEY_ID': 'k', "
                                              "'SECRET_ACCESS_KEY': 's'}, 'buckets': [{'url': 'https://a/x', 'files': "
                                              "['1', '2']}, {'url': 'https://b/y'}]}"));
    assert_int_equal(job->ops[0].input_count, 2);
    assert_string_equal(input_of(job, 0)->s3.url, "https://a/x");
    assert_int_equal(input_of(job, 0)->s3.files.n, 2);
    assert_string_equal(input_of(job, 1)->s3.url, "https://b/y");
    assert_string_equal(input_of(job, 1)->target, "/in");
    assert_string_equal(input_of(job, 1)->s3.access_key_id, "k");
    assert_string_equal(input_of(job, 1)->at, "ops[0].args.resources[0].buckets[1]");
}

static void a_hub_repository_has_revision_files_and_token(void **state)
{
    (void)state;
    AUTO_JOB job =
        must_parse(NOSANA_RESOURCE("{'type': 'HF', 'repo': 'o/n', 'target': '/m', 'revision': 'v1', 'files': "
                                   "['*.json'], 'accessToken': 'tok', 'allowWrite': true, 'layout': 'hub'}"));
    assert_int_equal(input_of(job, 0)->kind, SOURCE_HF);
    assert_string_equal(input_of(job, 0)->hf.repo, "o/n");
    assert_string_equal(input_of(job, 0)->hf.revision, "v1");
    assert_string_equal(input_of(job, 0)->hf.files.v[0], "*.json");
    assert_string_equal(input_of(job, 0)->hf.access_token, "tok");
    assert_true(input_of(job, 0)->hf.hub_layout);
    AUTO_JOB least = must_parse(NOSANA_RESOURCE("{'type': 'HF', 'repo': 'datasets/o/n', 'target': '/m'}"));
    assert_null(input_of(least, 0)->hf.revision);
    assert_false(input_of(least, 0)->hf.hub_layout);
    assert_null(input_of(least, 0)->hf.access_token);
}

static void an_ollama_model_has_a_default_target(void **state)
{
    (void)state;
    AUTO_JOB job = must_parse(NOSANA_RESOURCE("{'type': 'Ollama', 'model': 'llama3:8b'}, {'type': 'Ollama', 'model': "
                                              "'h.example/n/m:t', 'target': '/m'}"));
    assert_string_equal(input_of(job, 0)->ollama.model, "llama3:8b");
    assert_string_equal(input_of(job, 0)->target, "/root/.ollama/models");
    assert_string_equal(input_of(job, 1)->target, "/m");
}

static void targets_are_normalised_or_refused(void **state)
{
    (void)state;
    AUTO_JOB job = must_parse(NOSANA_RESOURCE("{'type': 'S3', 'url': 'https://h/x', 'target': '/root/../data//a/'}"));
    assert_string_equal(input_of(job, 0)->target, "/data/a");
    static const char *const bad[] = {"data", "", "/", "/..", "/proc", "/sys/x", "/dev/shm", "/a/../proc/1"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char text[512];
        snprintf(text, sizeof text, NOSANA_RESOURCE("{'type': 'S3', 'url': 'https://h/x', 'target': '%s'}"), bad[i]);
        must_be_invalid(text, "ops[0].args.resources[0].target: ");
    }
}

static void mistakes_in_resources_are_named(void **state)
{
    (void)state;
    static const struct fault faults[] = {
        {NOSANA_RESOURCE("{'type': 'huggingface', 'url': 'x'}"), "resources[0].type: unknown resource type "
                                                                 "'huggingface'; did you mean 'HF'?"},
        {NOSANA_RESOURCE("{'type': 's3'}"), "did you mean 'S3'?"},
        {NOSANA_RESOURCE("{'type': 'ollama'}"), "did you mean 'Ollama'?"},
        {NOSANA_RESOURCE("{'type': 'GCS'}"), "unknown resource type 'GCS'"},
        {NOSANA_RESOURCE("{'url': 'https://h/x'}"), "resources[0].type: required, but missing"},
        {NOSANA_RESOURCE("{'type': 'S3', 'target': '/in'}"), "resources[0].url: required, but missing"},
        {NOSANA_RESOURCE("{'type': 'S3', 'url': 'https://h/x'}"), "resources[0].target: required, but missing"},
        {NOSANA_RESOURCE("{'type': 'S3', 'url': 'ftp://h/x', 'target': '/in'}"), "expected http or https"},
        {NOSANA_RESOURCE("{'type': 'S3', 'url': 'h/x', 'target': '/in'}"), "not a URL"},
        {NOSANA_RESOURCE("{'type': 'S3', 'url': 'https:///x', 'target': '/in'}"), "without a host"},
        {NOSANA_RESOURCE("{'type': 'S3', 'uri': 'https://h/x', 'target': '/in'}"),
         "uri: unknown key; did you mean 'url'"},
        {NOSANA_RESOURCE("{'type': 'S3', 'url': 'https://h/x', 'target': '/in', 'revision': 'x'}"), "unknown key"},
        {NOSANA_RESOURCE("{'type': 'S3', 'url': 'https://h/x', 'target': '/in', 'files': ['../x']}"), "files[0]: "},
        {NOSANA_RESOURCE("{'type': 'S3', 'url': 'https://h/x', 'target': '/in', 'files': ['a', '/x']}"), "files[1]: "},
        {NOSANA_RESOURCE("{'type': 'S3', 'url': 'https://h/x', 'target': '/in', 'files': 'x'}"), "expected a list"},
        {NOSANA_RESOURCE("{'type': 'S3', 'url': 'https://h/x', 'target': '/in', 'bucket': 'a/b'}"),
         "not a bucket name"},
        {NOSANA_RESOURCE("{'type': 'S3', 'url': 's3://b/x', 'target': '/in', 'bucket': 'c'}"), "another bucket than"},
        {NOSANA_RESOURCE("{'type': 'S3', 'url': 'https://h/x', 'target': '/in', 'IAM': {'ACCESS_KEY_ID': 'k'}}"),
         "belong together"},
        {NOSANA_RESOURCE("{'type': 'S3', 'url': 'https://h/x', 'target': '/in', 'IAM': {'access_key_id': 'k'}}"),
         "IAM.access_key_id: unknown key; did you mean 'ACCESS_KEY_ID'?"},
        {NOSANA_RESOURCE("{'type': 'S3', 'url': 'https://h/x', 'target': '/in', 'buckets': [{'url': 'https://h/y'}]}"),
         "'buckets' has its own url and files"},
        {NOSANA_RESOURCE("{'type': 'S3', 'target': '/in', 'buckets': []}"), "buckets: an empty list"},
        {NOSANA_RESOURCE("{'type': 'S3', 'target': '/in', 'buckets': [{'files': ['x']}]}"), "buckets[0].url: required"},
        {NOSANA_RESOURCE("{'type': 'HF', 'repo': 'name', 'target': '/m'}"), "expected owner/name"},
        {NOSANA_RESOURCE("{'type': 'HF', 'repo': 'a/b/c', 'target': '/m'}"), "expected owner/name"},
        {NOSANA_RESOURCE("{'type': 'HF', 'repo': '../b', 'target': '/m'}"), "expected owner/name"},
        {NOSANA_RESOURCE("{'type': 'HF', 'repo': 'a/b', 'revision': '../x', 'target': '/m'}"), "is not a revision"},
        {NOSANA_RESOURCE("{'type': 'Ollama'}"), "model: required, but missing"},
        {NOSANA_RESOURCE("{'type': 'Ollama', 'model': 'a b'}"), "is not a model"},
        {NOSANA_RESOURCE("{'type': 'Ollama', 'model': 'a/b/c/d'}"), "is not a model"},
        {NOSANA_RESOURCE("{'type': 'Ollama', 'model': 'x:y:z'}"), "is not a model"},
        {NOSANA_RESOURCE("{'type': 'Ollama', 'model': 'a/b:1/c'}"), "is not a model"},
        {NOSANA_RESOURCE("{'type': 'Ollama', 'model': 'a//c'}"), "is not a model"},
        {NOSANA_RESOURCE("{'type': 'Ollama', 'model': 'a:'}"), "is not a model"},
        {NOSANA_RESOURCE("{'type': 'Ollama', 'model': '-a'}"), "is not a model"},
        {NOSANA_RESOURCE("7"), "resources[0]: expected an object"},
    };
    ALL_INVALID(faults);
    must_fail(NOSANA_RESOURCE("{'type': 'S3', 'url': 'https://u:CANARY@h/x', 'target': '/in'}"), ERR_UNSUPPORTED,
              "not supported: a user name or password inside a URL");
}

static void an_empty_list_of_files_is_a_warning(void **state)
{
    (void)state;
    must_warn(NOSANA_RESOURCE("{'type': 'S3', 'url': 'https://h/x', 'target': '/in', 'files': []}"), "every file");
}

static struct required_resources *parse_required(const char *text, struct err *err)
{
    AUTO_BUF json;
    buf_init(&json, TEXT_MAX);
    for (const char *c = text; *c; c++)
        buf_addc(&json, *c == '\'' ? '"' : *c);
    struct required_resources *out = NULL;
    const struct spec_opts opts = {.file = "market"};
    int rc = spec_parse_required(buf_span(&json), &opts, &out, err);
    assert_int_equal(rc, out ? 0 : -1);
    return out;
}

static void a_market_requires_images_and_resources(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct required_resources *r = parse_required(
        "{'required_images': ['a:1', 'b'], 'required_remote_resources': [{'type': 'S3', 'url': 'https://h/x', 'IAM': "
        "{'access_key_id': 'k', 'Secret_Access_Key': 's'}}, {'type': 'HF', 'repo': 'o/n'}, {'type': 'Ollama', 'model': "
        "'m'}]}",
        &err);
    assert_non_null(r);
    assert_int_equal(r->images.n, 2);
    assert_int_equal(r->input_count, 3);
    assert_null(r->inputs[0].target);
    assert_null(r->inputs[2].target);
    assert_string_equal(r->inputs[0].s3.access_key_id, "k");
    assert_string_equal(r->inputs[0].s3.secret_access_key, "s");
    required_resources_free(r);
}

static void a_market_document_is_no_job_and_a_job_no_market_document(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    must_be_invalid("{'required_images': []}", "not a job: this is a market's required-resources document");
    must_be_invalid("{'required_remote_resources': []}", "required-resources");
    assert_null(parse_required(NOSANA(""), &err));
    assert_non_null(strstr(err.text, "required_images"));
    err_clear(&err);
    assert_null(parse_required("{'required_images': ['a b'], 'required_remote_resources': [{'type': 'HF'}]}", &err));
    assert_non_null(strstr(err.text, "required_images[0]: 'a b' is not an image"));
    assert_non_null(strstr(err.text, "required_remote_resources[0].repo: required"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_s3_url_is_kept_as_written),
        cmocka_unit_test(an_s3_scheme_names_bucket_and_key),
        cmocka_unit_test(credentials_of_empty_strings_are_none),
        cmocka_unit_test(buckets_become_inputs_of_one_target),
        cmocka_unit_test(a_hub_repository_has_revision_files_and_token),
        cmocka_unit_test(an_ollama_model_has_a_default_target),
        cmocka_unit_test(targets_are_normalised_or_refused),
        cmocka_unit_test(mistakes_in_resources_are_named),
        cmocka_unit_test(an_empty_list_of_files_is_a_warning),
        cmocka_unit_test(a_market_requires_images_and_resources),
        cmocka_unit_test(a_market_document_is_no_job_and_a_job_no_market_document),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
