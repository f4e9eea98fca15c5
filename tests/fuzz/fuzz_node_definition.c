/* Claims as a node understands them. Whatever a server sends: a job, which can be written down again, publishes to no
 * path of the node's own disk and has keys for all of its S3 inputs or for none; or an error with words, nothing left
 * behind. No error shows a secret: each one that the claim names is known when it is seen. */
#include "node/node_priv.h"
#include "spec/spec.h"

#include <stdlib.h>

#define SECRET "Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTEyMzQ="

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* ---- secrets ---- */

/* A value for whatever the definition calls a secret. */
static void give_secrets(const json_t *definition, json_t *variables, const char *value)
{
    const char *key, *name = json_get_str(definition, "secret");
    json_t *member;
    size_t i;
    if (name)
        json_object_set_new(variables, name, json_string(value));
    json_object_foreach((json_t *)definition, key, member) give_secrets(member, variables, value);
    json_array_foreach((json_t *)definition, i, member) give_secrets(member, variables, value);
}

static bool plant(json_t *claim, const char *value)
{
    json_t *variables = json_object(), *credentials = json_object_get(claim, "credentials"), *item;
    const char *key;
    void *next;
    give_secrets(json_object_get(claim, "definition"), variables, value);
    json_object_foreach_safe(credentials, next, key, item)
    {
        if (json_is_string(item) && !str_eq(key, "region"))
            json_object_set_new(credentials, key, json_string(SECRET));
    }
    return json_object_set_new(claim, "variables", variables) == 0 &&
           json_object_set_new(claim, "confidential", json_false()) == 0;
}

static bool shows_secret(const char *text)
{
    return strstr(text, SECRET) != NULL;
}

/* ---- what is promised ---- */

static void check_keys(const struct execution_job *j)
{
    require(!j->keys.access_key_id == !j->keys.secret_access_key);
    for (size_t o = 0; o < j->job->op_count; o++) {
        for (size_t i = 0; i < j->job->ops[o].input_count; i++) {
            const struct input *in = &j->job->ops[o].inputs[i];
            if (in->kind == SOURCE_S3)
                require(in->s3.access_key_id || !j->keys.access_key_id);
        }
    }
}

static void check_read(const struct execution_job *j)
{
    struct err err = ERR_INIT;
    require(j->job && j->job->op_count > 0);
    require(j->job->publisher.kind != PUBLISH_LOCAL || !j->job->publisher.key);
    check_keys(j);
    AUTO_JSON model = spec_to_json(j->job, &err);
    AUTO_BUF text;
    buf_init(&text, SPEC_FILE_MAX * 4);
    require(model && json_write(model, false, &text, &err) == 0 && !shows_secret(buf_str(&text)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* The first byte says whether secrets are texts or URLs. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err err = ERR_INIT;
    struct execution e = {0};
    struct execution_job j;
    const struct span text = {(const char *)data + 1, n - 1};
    if (n < 2 || memmem(data, n, "{{", 2) ||        /* a template puts a value where it likes */
        memmem(data, n, SECRET, sizeof SECRET - 1)) /* no secret of this claim's, but of its text */
        return 0;
    e.claim = json_parse(text, &err);
    if (!json_is_object(e.claim) || !plant(e.claim, data[0] % 2 ? SECRET : "https://h/o?X-Amz-Signature=" SECRET)) {
        json_decref(e.claim);
        return 0;
    }
    err_clear(&err);
    if (definition_read(&e, &j, &err) == 0) {
        check_read(&j);
        job_free(j.job);
    } else {
        require(err_is_set(&err) && err.text[0] && !j.job && !j.keys.access_key_id);
        require(!shows_secret(err.text) && !shows_secret(err.hint));
    }
    require(!e.claim);
    return 0;
}
