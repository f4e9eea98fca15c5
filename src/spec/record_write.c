/* The model as JSON, for a run record. What is absent is left out; secrets are named, never written. */
#include "spec/record.h"
#include "spec/spec.h"
#include "spec/value.h"

const char *const record_source_words[] = {
#define X(name, word) word,
    SOURCE_KINDS(X)
#undef X
        NULL};
const char *const record_partition_words[] = {"none", "object", "regex", "substring", "date", NULL};
const char *const record_publisher_words[] = {"none", "s3", "s3managed", "local", NULL};
const char *const record_network_words[] = {"none", "full", "http", NULL};
const char *const record_op_words[] = {"run", "create-volume", NULL};

/* One object being filled; once something failed nothing more is written. */
struct writer {
    json_t *into;
    struct err *err;
    char prefix[SECRET_PREFIX_MAX]; /* of secret names */
};

static void put(const struct writer *w, const char *key, json_t *value)
{
    json_put(w->into, key, value, w->err);
}

static void put_str(const struct writer *w, const char *key, const char *value)
{
    if (value)
        json_put_str(w->into, key, value, w->err);
}

static void put_u64(const struct writer *w, const char *key, uint64_t value)
{
    if (value)
        json_put_u64(w->into, key, value, w->err);
}

static void put_true(const struct writer *w, const char *key, bool value)
{
    if (value)
        put(w, key, json_true());
}

/* An empty member is left out. */
static void put_filled(const struct writer *w, const char *key, json_t *value)
{
    if (value && json_array_size(value) == 0 && json_object_size(value) == 0)
        json_decref(value);
    else
        put(w, key, value);
}

static json_t *new_string(const char *s, struct err *err)
{
    if (!span_is_utf8(span_of(s))) {
        err_set(err, ERR_INVALID, "a text of the job is not UTF-8");
        return NULL;
    }
    return json_string(s);
}

static void put_strs(const struct writer *w, const char *key, const struct job_strs *strs)
{
    json_t *list = json_array();
    for (size_t i = 0; i < strs->n; i++)
        if (json_array_append_new(list, new_string(strs->v[i], w->err)) < 0)
            err_nomem(w->err);
    put_filled(w, key, list);
}

static struct writer writer_below(const struct writer *w, json_t *into)
{
    struct writer below = *w;
    below.into = into;
    return below;
}

static void put_secret(const struct writer *w, const char *key, const char *value, const char *name)
{
    if (!value)
        return;
    json_t *object = json_object();
    AUTO_STR full = str_printf(w->err, "%s%s", w->prefix, name);
    if (full)
        json_put_str(object, "secret", full, w->err);
    put(w, key, object);
}

static void put_kvs(const struct writer *w, const char *key, const struct job_kvs *kvs)
{
    struct writer below = writer_below(w, json_object());
    for (size_t i = 0; i < kvs->n; i++) {
        if (kvs->v[i].secret)
            put_secret(&below, kvs->v[i].name, kvs->v[i].value, kvs->v[i].name);
        else
            put_str(&below, kvs->v[i].name, kvs->v[i].value);
    }
    put_filled(w, key, below.into);
}

static void put_partition(const struct writer *w, const struct partition *p)
{
    struct writer below = writer_below(w, json_object());
    if (p->kind != PARTITION_NONE)
        put_str(&below, "kind", record_partition_words[p->kind]);
    put_str(&below, "pattern", p->pattern);
    put_u64(&below, "start", p->start);
    put_u64(&below, "end", p->end);
    put_str(&below, "date_format", p->date_format);
    put_filled(w, "partition", below.into);
}

/* A URL whose query lets its holder in is a secret as a whole. */
static void put_url(const struct writer *w, const char *url, bool secret)
{
    if (secret)
        put_secret(w, "url", url, "url");
    else
        put_str(w, "url", url);
}

static void put_s3(const struct writer *w, const struct source_s3 *s)
{
    put_url(w, s->url, value_url_is_signed(s->url));
    put_str(w, "bucket", s->bucket);
    put_str(w, "key", s->key);
    put_true(w, "exact_key", s->exact_key);
    put_strs(w, "files", &s->files);
    put_str(w, "endpoint", s->endpoint);
    put_str(w, "region", s->region);
    put_str(w, "filter", s->filter);
    put_str(w, "version_id", s->version_id);
    put_str(w, "checksum_sha256", s->checksum_sha256);
    put_partition(w, &s->partition);
    put_secret(w, "access_key_id", s->access_key_id, "access_key_id");
    put_secret(w, "secret_access_key", s->secret_access_key, "secret_access_key");
    put_secret(w, "session_token", s->session_token, "session_token");
    put_true(w, "requester_pays", s->requester_pays);
    put_secret(w, "sse_customer_key", s->sse_customer_key, "sse_customer_key");
}

static void put_hf(const struct writer *w, const struct source_hf *s)
{
    put_str(w, "repo", s->repo);
    put_str(w, "revision", s->revision);
    put_strs(w, "files", &s->files);
    put_secret(w, "access_token", s->access_token, "access_token");
    put_true(w, "hub_layout", s->hub_layout);
}

static void put_source(const struct writer *w, const struct input *in)
{
    switch (in->kind) {
    case SOURCE_S3:
        put_s3(w, &in->s3);
        break;
    case SOURCE_HF:
        put_hf(w, &in->hf);
        break;
    case SOURCE_OLLAMA:
        put_str(w, "model", in->ollama.model);
        break;
    case SOURCE_URL:
    case SOURCE_PRESIGNED:
        put_url(w, in->url.url, in->url.presigned);
        put_true(w, "presigned", in->url.presigned);
        break;
    case SOURCE_LOCAL:
        put_str(w, "path", in->local.path);
        break;
    }
}

static json_t *input_json(const struct writer *w, const struct input *in, size_t index)
{
    struct writer below = writer_below(w, json_object());
    snprintf(below.prefix, sizeof below.prefix, "%.24sinput%zu.", w->prefix, index);
    put_str(&below, "kind", record_source_words[in->kind]);
    put_str(&below, "alias", in->alias);
    put_str(&below, "target", in->target);
    put_true(&below, "writable", in->writable);
    put_source(&below, in);
    return below.into;
}

static json_t *output_json(const struct writer *w, const struct output *out)
{
    struct writer below = writer_below(w, json_object());
    put_str(&below, "name", out->name);
    put_str(&below, "path", out->path);
    return below.into;
}

static json_t *result_json(const struct writer *w, const struct op_result *result)
{
    struct writer below = writer_below(w, json_object());
    put_str(&below, "name", result->name);
    put_str(&below, "regex", result->regex);
    put_true(&below, "stdout", result->from_stdout);
    put_true(&below, "stderr", result->from_stderr);
    return below.into;
}

static void append(const struct writer *w, json_t *list, json_t *value)
{
    if (json_array_append_new(list, value) < 0)
        err_nomem(w->err);
}

static void put_limits(const struct writer *w, const struct limits *l)
{
    struct writer below = writer_below(w, json_object());
    if (l->cpu > 0)
        put(&below, "cpu", json_real(l->cpu));
    put_u64(&below, "memory_bytes", l->memory_bytes);
    put_u64(&below, "disk_bytes", l->disk_bytes);
    put_true(&below, "gpu_all", l->gpu_count == GPU_ALL);
    put_u64(&below, "gpu_count", l->gpu_count == GPU_ALL ? 0 : l->gpu_count);
    put_u64(&below, "required_vram_mib", l->required_vram_mib);
    put_filled(w, "limits", below.into);
}

static void put_registry(const struct writer *w, const struct registry_auth *auth)
{
    struct writer below = writer_below(w, json_object());
    put_str(&below, "server", auth->server);
    put_str(&below, "username", auth->username);
    put_secret(&below, "password", auth->password, "registry.password");
    put_str(&below, "email", auth->email);
    put_filled(w, "registry", below.into);
}

static void put_op_lists(const struct writer *w, const struct op *op)
{
    json_t *inputs = json_array(), *outputs = json_array(), *results = json_array();
    for (size_t i = 0; i < op->input_count; i++)
        append(w, inputs, input_json(w, &op->inputs[i], i));
    for (size_t i = 0; i < op->output_count; i++)
        append(w, outputs, output_json(w, &op->outputs[i]));
    for (size_t i = 0; i < op->result_count; i++)
        append(w, results, result_json(w, &op->results[i]));
    put_filled(w, "inputs", inputs);
    put_filled(w, "outputs", outputs);
    put_filled(w, "results", results);
}

/* Variables are called env.NAME; their prefix is not that of the op's other secrets. */
static void put_env(const struct writer *w, const struct job_kvs *env)
{
    struct writer below = *w;
    snprintf(below.prefix, sizeof below.prefix, "%.24senv.", w->prefix);
    put_kvs(&below, "env", env);
}

static json_t *op_json(const struct writer *w, const struct op *op, size_t index)
{
    struct writer below = writer_below(w, json_object());
    if (index > 0)
        snprintf(below.prefix, sizeof below.prefix, "op%zu.", index);
    put_str(&below, "kind", record_op_words[op->kind]);
    put_str(&below, "id", op->id);
    put_str(&below, "image", op->image);
    put_strs(&below, "command", &op->command);
    put_strs(&below, "entrypoint", &op->entrypoint);
    put_env(&below, &op->env);
    put_str(&below, "work_dir", op->work_dir);
    put_limits(&below, &op->limits);
    put_true(&below, "private_logs", op->private_logs);
    put_str(&below, "network", record_network_words[op->network]);
    put_strs(&below, "network_domains", &op->network_domains);
    put_registry(&below, &op->auth);
    put_strs(&below, "depends_on", &op->depends_on);
    put_str(&below, "group", op->group);
    put_op_lists(&below, op);
    return below.into;
}

static void put_publisher(const struct writer *w, const struct publisher *p)
{
    if (p->kind == PUBLISH_NONE)
        return;
    struct writer below = writer_below(w, json_object());
    put_str(&below, "kind", record_publisher_words[p->kind]);
    put_str(&below, "bucket", p->bucket);
    put_str(&below, "key", p->key);
    put_str(&below, "endpoint", p->endpoint);
    put_str(&below, "region", p->region);
    put_true(&below, "plain", p->encoding == PUBLISH_PLAIN);
    put_str(&below, "storage_class", p->storage_class);
    put_str(&below, "sse", p->sse);
    put_str(&below, "sse_kms_key_id", p->sse_kms_key_id);
    put_secret(&below, "sse_customer_key", p->sse_customer_key, "publisher.sse_customer_key");
    put_str(&below, "tags", p->tags);
    put_str(&below, "acl", p->acl);
    put_true(&below, "only_new", p->only_new);
    put_filled(w, "publisher", below.into);
}

static void put_job_lists(const struct writer *w, const struct job *job)
{
    json_t *ops = json_array(), *constraints = json_array(), *unsupported = json_array();
    for (size_t i = 0; i < job->op_count; i++)
        append(w, ops, op_json(w, &job->ops[i], i));
    for (size_t i = 0; i < job->constraint_count; i++) {
        struct writer below = writer_below(w, json_object());
        put_str(&below, "key", job->constraints[i].key);
        put_str(&below, "op", job->constraints[i].op);
        put_strs(&below, "values", &job->constraints[i].values);
        append(w, constraints, below.into);
    }
    for (size_t i = 0; i < job->unsupported_count; i++) {
        struct writer below = writer_below(w, json_object());
        put_str(&below, "what", job->unsupported[i].what);
        put_str(&below, "at", job->unsupported[i].at);
        append(w, unsupported, below.into);
    }
    put_filled(w, "constraints", constraints);
    put_filled(w, "ops", ops);
    put_filled(w, "unsupported", unsupported);
}

json_t *spec_to_json(const struct job *job, struct err *err)
{
    AUTO_JSON root = json_object();
    const struct writer w = {.into = root, .err = err};
    if (!root) {
        err_nomem(err);
        return NULL;
    }
    put_str(&w, "name", job->name);
    put_str(&w, "type", job->type);
    put_str(&w, "namespace", job->namespace_name);
    put_u64(&w, "count", job->count);
    if (job->priority)
        put(&w, "priority", json_integer(job->priority));
    put_kvs(&w, "labels", &job->labels);
    put_kvs(&w, "meta", &job->meta);
    put_publisher(&w, &job->publisher);
    put_u64(&w, "execution_timeout_ms", job->execution_timeout_ms);
    put_u64(&w, "queue_timeout_ms", job->queue_timeout_ms);
    put_u64(&w, "total_timeout_ms", job->total_timeout_ms);
    put_job_lists(&w, job);
    return err_is_set(err) ? NULL : json_incref(root);
}
