/* Secrets at rest: sealed JSON, bound to what it belongs to; and the secrets of a job by the names its definition
 * gives them. */
#include "market/market_priv.h"
#include "spec/job.h"

#define SECRETS_MAX     (4u << 20)
#define BINDING_MAX     (MARKET_NODE_MAX + 64)
#define SECRET_NAME_MAX 512

static struct span binding(char out[BINDING_MAX], const char *of, const char *name)
{
    snprintf(out, BINDING_MAX, "%s\n%s", of, name);
    return span_of(out);
}

int seal_json(const struct market *m, const json_t *value, const char *of, const char *name, struct buf *out,
              struct err *err)
{
    char bound[BINDING_MAX];
    struct buf plain;
    buf_init(&plain, SECRETS_MAX);
    int rc = json_write(value, false, &plain, err);
    if (rc == 0)
        rc = seal_box(m->opts.keys, buf_span(&plain), binding(bound, of, name), out, err);
    seal_wipe(&plain);
    return rc;
}

json_t *unseal_json(const struct market *m, struct span sealed, const char *of, const char *name, struct err *err)
{
    char bound[BINDING_MAX];
    struct buf plain;
    json_t *value = NULL;
    buf_init(&plain, SECRETS_MAX);
    if (seal_open(m->opts.keys, sealed, binding(bound, of, name), &plain, err) == 0)
        value = json_parse(buf_span(&plain), err);
    seal_wipe(&plain);
    return value;
}

int seal_anew(const struct market *m, struct span sealed, const char *of, const char *name, struct buf *out,
              struct err *err)
{
    char bound[BINDING_MAX];
    struct span to = binding(bound, of, name);
    struct buf plain;
    buf_init(&plain, SECRETS_MAX);
    int rc = seal_open(m->opts.keys, sealed, to, &plain, err);
    if (rc == 0)
        rc = seal_box(m->opts.keys, buf_span(&plain), to, out, err);
    seal_wipe(&plain);
    return rc;
}

void market_secrets_free(json_t *secrets)
{
    if (!secrets)
        return;
    json_wipe(secrets);
    json_decref(secrets);
}

/* ---- The secrets of a job, named as spec_to_json() names them. */

struct naming {
    json_t *all; /* every text that may be a secret, by name */
    struct err *err;
};

static void name_secret(const struct naming *n, const char *prefix, const char *name, const char *value)
{
    AUTO_STR full = value ? str_printf(n->err, "%s%s", prefix, name) : NULL;
    if (full && !json_object_get(n->all, full))
        json_put_str(n->all, full, value, n->err);
}

static void name_input(const struct naming *n, const char *op_prefix, size_t index, const struct input *in)
{
    char prefix[64];
    snprintf(prefix, sizeof(prefix), "%.24sinput%zu.", op_prefix, index);
    switch (in->kind) {
    case SOURCE_S3:
        name_secret(n, prefix, "url", in->s3.url);
        name_secret(n, prefix, "access_key_id", in->s3.access_key_id);
        name_secret(n, prefix, "secret_access_key", in->s3.secret_access_key);
        name_secret(n, prefix, "session_token", in->s3.session_token);
        name_secret(n, prefix, "sse_customer_key", in->s3.sse_customer_key);
        break;
    case SOURCE_HF:
        name_secret(n, prefix, "access_token", in->hf.access_token);
        break;
    case SOURCE_URL:
    case SOURCE_PRESIGNED:
        name_secret(n, prefix, "url", in->url.url);
        break;
    case SOURCE_OLLAMA:
    case SOURCE_LOCAL:
        break;
    }
}

static void name_kvs(const struct naming *n, const char *prefix, const struct job_kvs *kvs)
{
    for (size_t i = 0; i < kvs->n; i++)
        if (kvs->v[i].secret)
            name_secret(n, prefix, kvs->v[i].name, kvs->v[i].value);
}

static void name_op(const struct naming *n, const struct op *op, size_t index)
{
    char prefix[64] = "", env[64];
    if (index > 0)
        snprintf(prefix, sizeof(prefix), "op%zu.", index);
    snprintf(env, sizeof(env), "%.24senv.", prefix);
    name_kvs(n, env, &op->env);
    name_secret(n, prefix, "registry.password", op->auth.password);
    for (size_t i = 0; i < op->input_count; i++)
        name_input(n, prefix, i, &op->inputs[i]);
}

/* Maps whose names the poster chose: a label called "secret" is none. */
static bool is_map(const char *member)
{
    return str_eq(member, "labels") || str_eq(member, "meta") || str_eq(member, "env");
}

/* Keep what the definition names as {"secret": NAME}; a name without a value would make it unreadable later. */
static int keep_named(const json_t *definition, bool map, const json_t *all, json_t *kept, struct err *err)
{
    const char *key, *name = map ? NULL : json_get_str(definition, "secret");
    size_t i;
    json_t *item;
    if (name) {
        json_t *value = json_object_get(all, name);
        if (!value)
            return err_set(err, ERR_SYSTEM, "the job's secret '%.60s' has no value", name);
        return json_object_set(kept, name, value) < 0 ? err_nomem(err) : 0;
    }
    json_object_foreach((json_t *)definition, key, item)
    {
        if (keep_named(item, !map && is_map(key), all, kept, err) < 0)
            return -1;
    }
    json_array_foreach(definition, i, item)
    {
        if (keep_named(item, false, all, kept, err) < 0)
            return -1;
    }
    return 0;
}

json_t *job_secrets(const struct job *job, const json_t *definition, struct err *err)
{
    struct naming n = {.all = json_object(), .err = err};
    json_t *kept = json_object();
    if (!n.all || !kept)
        err_nomem(err);
    name_kvs(&n, "", &job->labels);
    name_kvs(&n, "", &job->meta);
    name_secret(&n, "", "publisher.sse_customer_key", job->publisher.sse_customer_key);
    for (size_t i = 0; i < job->op_count; i++)
        name_op(&n, &job->ops[i], i);
    if (!err_is_set(err))
        keep_named(definition, false, n.all, kept, err);
    json_decref(n.all); /* holds borrowed copies of what is kept: those are wiped with it */
    if (!err_is_set(err))
        return kept;
    market_secrets_free(kept);
    return NULL;
}
