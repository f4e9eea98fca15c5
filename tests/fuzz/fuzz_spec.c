/* Job files: any bytes end in a job or in an error with words; a job survives its own run record. */
#include "spec/spec.h"

#include <stdlib.h>

#define RECORD_MAX (64u << 20)

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* A value for every secret that the record asks for, which also passes as a signed URL. */
static void give_secrets(const json_t *value, struct strv *vars)
{
    struct err err = ERR_INIT;
    const char *key;
    json_t *member;
    size_t i;
    const char *name = json_get_str(value, "secret");
    if (name)
        must(strv_addf(vars, &err, "%s=https://h/?sig=x", name) == 0);
    json_object_foreach((json_t *)value, key, member) give_secrets(member, vars);
    json_array_foreach(value, i, member) give_secrets(member, vars);
}

static void check_record(const struct job *job)
{
    struct err err = ERR_INIT;
    struct strv vars = {0};
    struct job *again = NULL;
    AUTO_BUF text;
    buf_init(&text, RECORD_MAX);
    AUTO_JSON model = spec_to_json(job, &err);
    AUTO_JSON record = json_object();
    must(model != NULL);
    give_secrets(model, &vars);
    must(json_put(record, "berth", json_integer(1), &err) == 0);
    must(json_put(record, "job", json_incref(model), &err) == 0);
    must(json_write(record, false, &text, &err) == 0);
    if (text.n <= SPEC_FILE_MAX) {
        const struct spec_opts opts = {.file = "record", .vars = (const char *const *)vars.v};
        must(spec_parse(buf_span(&text), &opts, &again, &err) == 0);
        AUTO_JSON model_again = spec_to_json(again, &err);
        must(json_equal(model, model_again));
    }
    job_free(again);
    strv_release(&vars);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const vars[] = {"name=value", "empty=", NULL};
    const struct spec_opts opts = {.file = "job", .vars = vars};
    struct span text = {(const char *)data, n};
    struct err err = ERR_INIT, dry_err = ERR_INIT, required_err = ERR_INIT;
    struct job *job = NULL;
    struct required_resources *required = NULL;
    must((spec_parse(text, &opts, &job, &err) == 0) == (job != NULL));
    must(job || (err_is_set(&err) && err.text[0]));
    if (job) {
        check_record(job);
        AUTO_JSON dry = spec_to_bacalhau(job, false, &dry_err);
        must(dry || dry_err.text[0]);
    }
    must(spec_parse_required(text, &opts, &required, &required_err) == 0 || required_err.text[0]);
    required_resources_free(required);
    job_free(job);
    return 0;
}
