/* Every allocation fails once, and each time it is told. */
#include "refuse.h"
#include "test_spec.h"

/* Run the operation with its first, second, … allocation refused, until it gets through to what it ends with. */
static void sweep(int (*operation)(struct err *err), enum err_kind end)
{
    for (size_t n = 1; n < 10000; n++) {
        struct err err = ERR_INIT;
        refused = false;
        countdown = n;
        int rc = operation(&err);
        countdown = 0;
        if (!refused) {
            assert_string_equal(err_kind_name(err.kind), err_kind_name(end));
            assert_true(n > 1); /* or nothing was tried */
            return;
        }
        assert_int_equal(rc, -1);
        assert_string_equal(err_kind_name(err.kind), "no_memory");
    }
    fail_msg("the operation never gets through");
}

static const struct spec_opts opts = {.file = "job"};

static int parse(const char *text, struct err *err)
{
    struct job *job = NULL;
    int rc = spec_parse(span_of(text), &opts, &job, err);
    job_free(job);
    return rc;
}

static int parse_bacalhau(struct err *err)
{
    return parse(
        BACALHAU("Labels: {a: b}\nConstraints: [{Key: k, Operator: in, Values: [x]}]\nCount: 2\n",
                 "    Env: {A: b}\n    Netwrk: 1\n    InputSources: [{Target: /in, Source: {Type: s3, Params: "
                 "{Bucket: b, Filter: x, Partition: {Type: regex, Pattern: y}}}}]\n    ResultPaths: [{Name: /o, "
                 "Path: /o}]\n    Publisher: {Type: s3, Params: {Bucket: b, Key: k}}\n"),
        err);
}

/* In YAML: jansson's own scanner ends the process where a string gets no memory. */
static int parse_nosana(struct err *err)
{
    return parse(
        "version: '0.1'\ntype: container\nmeta: {a: {b: 1}}\nops:\n  - id: a\n    type: container/run\n    args:\n"
        "      image: i\n      cmd: x\n      env: {A: b}\n      expose: 80\n      resources:\n        - {type: S3, "
        "url: https://h/x, target: /in}\n        - {type: Ollama, model: m}\n    results: {r: '('}\n  - id: b\n"
        "    type: container/run\n    args: {image: '%%ops.a.host%%'}\n    execution: {depends_on: [a]}\n",
        err);
}

static int parse_mistakes(struct err *err)
{
    return parse("version: '0.1'\ntype: container\nx: 1\nops:\n  - {id: a b, type: container/rnu}\n", err);
}

static int parse_no_job(struct err *err)
{
    return parse("a: b\n", err);
}

static int parse_required(struct err *err)
{
    struct required_resources *r = NULL;
    int rc = spec_parse_required(span_of("required_images: [a]\nrequired_remote_resources: [{type: HF, repo: o/n}]\n"),
                                 &opts, &r, err);
    required_resources_free(r);
    return rc;
}

static int hand_on(struct err *err)
{
    AUTO_JSON document = spec_read(SPAN_LIT("a: [b, {c: '{{`{{`}}'}]\n"), &opts, err);
    return document ? 0 : -1;
}

static int build(struct err *err)
{
    char in[] = "hf://o/n@r/f", out[] = "o:/o", env[] = "A=b", label[] = "l", constraint[] = "k=v";
    struct strv inputs = {(char *[]){in, NULL}, 1}, outputs = {(char *[]){out, NULL}, 1},
                envs = {(char *[]){env, NULL}, 1}, labels = {(char *[]){label, NULL}, 1},
                constraints = {(char *[]){constraint, NULL}, 1};
    const struct spec_docker_run run = {.image = "i",
                                        .inputs = &inputs,
                                        .outputs = &outputs,
                                        .env = &envs,
                                        .labels = &labels,
                                        .constraints = &constraints,
                                        .publisher = "s3://b/k",
                                        .name = "n"};
    struct job *job = NULL;
    int rc = spec_from_docker_run(&run, &job, err);
    job_free(job);
    return rc;
}

static int divide(struct err *err)
{
    const struct partition p = {.kind = PARTITION_REGEX, .pattern = "a"};
    struct partition_plan *plan = NULL;
    int rc = partition_open(&plan, &p, "k", 3, err);
    partition_free(plan);
    return rc;
}

static struct job *written;

static int write_record(struct err *err)
{
    AUTO_JSON model = spec_to_json(written, err);
    return model ? 0 : -1;
}

static int write_dry_run(struct err *err)
{
    AUTO_JSON spec = spec_to_bacalhau(written, false, err);
    return spec ? 0 : -1;
}

static void running_out_of_memory_is_an_error_everywhere(void **state)
{
    (void)state;
    sweep(parse_bacalhau, ERR_NONE);
    sweep(parse_nosana, ERR_NONE);
    sweep(parse_mistakes, ERR_INVALID);
    sweep(parse_no_job, ERR_INVALID);
    sweep(parse_required, ERR_NONE);
    sweep(hand_on, ERR_NONE);
    sweep(build, ERR_NONE);
    sweep(divide, ERR_NONE);
    written =
        must_parse(BACALHAU("Labels: {a: b}\nConstraints: [{Key: k, Operator: in, Values: [x]}]\n",
                            "    Env: {A: b, TOKEN: c}\n    InputSources: [{Target: /in, Source: {Type: s3, Params: "
                            "{Bucket: b, Partition: {Type: object}}}}]\n    ResultPaths: [{Name: o, Path: /o}]\n    "
                            "Resources: {CPU: 1}\n    Publisher: {Type: local}\n    Network: {Type: Full}\n"));
    sweep(write_record, ERR_NONE);
    sweep(write_dry_run, ERR_NONE);
    job_free(written);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(running_out_of_memory_is_an_error_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
