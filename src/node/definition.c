/* A claim to a job that can be run: its definition is a run record whose secrets are named, the secrets come beside; of
 * a confidential job, a sealed text holds both. */
#include "node/node_priv.h"

#include "base/enc.h"
#include "spec/spec.h"

#define SEALED_TEXT_MAX ((size_t)16 << 20)

/* {"NAME": "value"} to "NAME=value" words. */
static int to_vars(const json_t *variables, struct strv *out, struct err *err)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)variables, name, value)
    {
        if (json_is_string(value) && strv_addf(out, err, "%s=%s", name, json_string_value(value)) < 0)
            return -1;
    }
    return 0;
}

static void wipe_vars(struct strv *vars)
{
    for (size_t i = 0; i < vars->n; i++)
        mem_wipe(vars->v[i], strlen(vars->v[i]));
    strv_release(vars);
}

int definition_parse(const json_t *definition, const json_t *variables, struct job **out, struct err *err)
{
    struct strv vars = {0};
    struct buf text;
    buf_init(&text, SPEC_FILE_MAX);
    int rc = to_vars(variables, &vars, err);
    if (rc == 0)
        rc = json_write(definition, false, &text, err);
    if (rc == 0) {
        const struct spec_opts so = {.file = "job", .vars = (const char *const *)vars.v};
        rc = spec_parse(buf_span(&text), &so, out, err);
    }
    seal_wipe(&text); /* of a confidential job it may hold secrets itself */
    wipe_vars(&vars);
    return rc;
}

/* Credentials of the post, for every source and publisher that has none of its own. */
static void lend(struct execution_job *j, const json_t *credentials)
{
    struct job *job = j->job;
    const char *key = json_get_str(credentials, "access_key_id"),
               *secret = json_get_str(credentials, "secret_access_key"),
               *session = json_get_str(credentials, "session_token"), *region = json_get_str(credentials, "region");
    if (!key || !secret)
        return;
    j->keys =
        (struct s3_keys){arena_dup(job->arena, key), arena_dup(job->arena, secret), arena_dup(job->arena, session)};
    j->region = arena_dup(job->arena, region);
    for (size_t o = 0; o < job->op_count; o++) {
        for (size_t i = 0; i < job->ops[o].input_count; i++) {
            struct input *in = &job->ops[o].inputs[i];
            if (in->kind != SOURCE_S3 || in->s3.access_key_id)
                continue;
            in->s3.access_key_id = j->keys.access_key_id;
            in->s3.secret_access_key = j->keys.secret_access_key;
            in->s3.session_token = j->keys.session_token;
            if (!in->s3.region)
                in->s3.region = j->region;
        }
    }
}

/* `from` holds "definition", "variables", "credentials" and, of a confidential job, "publish". */
static int take(const json_t *from, struct execution_job *out, struct err *err)
{
    const char *publish = json_get_str(from, "publish");
    const json_t *definition = json_object_get(from, "definition");
    if (!json_is_object(definition))
        return err_set(err, ERR_PROTOCOL, "the claim has no definition");
    if (definition_parse(definition, json_object_get(from, "variables"), &out->job, err) < 0)
        return -1;
    if (publish && spec_parse_publisher(out->job->arena, span_of(publish), &out->job->publisher, err) < 0)
        return -1;
    lend(out, json_object_get(from, "credentials"));
    return arena_check(out->job->arena, err);
}

/* --- confidential jobs -------------------------------------------------------------------------------------------- */

/* The client seals it to this node once it sees the claim; the server ends the wait by taking the claim away. */
static json_t *wait_for_sealed(struct execution *e, struct err *err)
{
    for (;;) {
        struct err failure = ERR_INIT;
        json_t *ask = exec_ref(e, err), *answer = NULL;
        if (json_put_u64(ask, "wait_ms", LONG_POLL_MS, err) < 0) {
            json_decref(ask);
            return NULL;
        }
        const struct node_call call = {
            .what = "definition", .body = ask, .total_ms = LONG_CALL_MS, .cancel = &e->cancel};
        if (node_call(e->node, &call, &answer, &failure) == 0)
            return answer;
        bool later = failure.kind == ERR_NOTFOUND || worth_repeating(failure.kind);
        if (!later || cancel_sleep_ms(&e->cancel, BACK_OFF_MS, &failure) < 0) {
            err_move(err, &failure);
            return NULL;
        }
    }
}

static json_t *unseal(const struct node *n, const char *base64, struct err *err)
{
    size_t room = base64 ? strlen(base64) : 0, got = 0;
    uint8_t *sealed = malloc(room + 1);
    struct buf plain;
    json_t *whole = NULL;
    buf_init(&plain, SEALED_TEXT_MAX);
    if (!sealed)
        err_nomem(err);
    else if (base64_decode(sealed, room, &got, span_of(base64 ? base64 : ""), err) == 0 &&
             seal_from(n->pair, (struct span){(const char *)sealed, got}, &plain, err) == 0)
        whole = json_parse(buf_span(&plain), err);
    seal_wipe(&plain);
    free(sealed);
    if (!whole)
        err_wrap(err, "the sealed definition");
    return whole;
}

static int take_confidential(struct execution *e, struct execution_job *out, struct err *err)
{
    AUTO_JSON answer = wait_for_sealed(e, err);
    json_t *whole = answer ? unseal(e->node, json_get_str(answer, "sealed"), err) : NULL;
    int rc = whole ? take(whole, out, err) : -1;
    secrets_free(whole);
    return rc;
}

/* --- what strangers may not ask of this machine ------------------------------------------------------------------- */

static int check(const struct job *job, struct err *err)
{
    if (job->publisher.kind == PUBLISH_LOCAL && job->publisher.key) {
        err_set(err, ERR_REFUSED, "the publisher names a path on the node's own disk");
        return err_hint(err, "publish to S3");
    }
    return 0;
}

int definition_read(struct execution *e, struct execution_job *out, struct err *err)
{
    int64_t timeout = 0;
    *out = (struct execution_job){0};
    if (json_get_i64(e->claim, "timeout_ms", &timeout) && timeout > 0)
        out->timeout_ms = (uint64_t)timeout;
    int rc = json_get_bool(e->claim, "confidential", false) ? take_confidential(e, out, err) : take(e->claim, out, err);
    secrets_free(e->claim);
    e->claim = NULL;
    if (rc == 0)
        rc = check(out->job, err);
    if (rc < 0) {
        job_free(out->job);
        *out = (struct execution_job){0};
    }
    return rc;
}
