/* The job in the words of a Bacalhau specification: for people to read and to keep (`--dry-run`), and for posting. */
#include "spec/spec.h"
#include "spec/template.h"
#include "spec/value.h"

#include <inttypes.h>

#define SECRET_SHOWN "***"

struct render {
    json_t *into;
    bool secrets; /* as they are, else hidden */
    struct err *err;
};

static struct render below(const struct render *r)
{
    return (struct render){json_object(), r->secrets, r->err};
}

static void put(const struct render *r, const char *key, json_t *value)
{
    json_put(r->into, key, value, r->err);
}

static void put_str(const struct render *r, const char *key, const char *value)
{
    if (value)
        json_put_str(r->into, key, value, r->err);
}

static void put_secret(const struct render *r, const char *key, const char *value)
{
    put_str(r, key, value && !r->secrets ? SECRET_SHOWN : value);
}

static void put_filled(const struct render *r, const char *key, json_t *value)
{
    if (value && json_array_size(value) == 0 && json_object_size(value) == 0)
        json_decref(value);
    else
        put(r, key, value);
}

static void append(const struct render *r, json_t *list, json_t *value)
{
    if (json_array_append_new(list, value) < 0)
        err_nomem(r->err);
}

static void put_strs(const struct render *r, const char *key, const struct job_strs *strs)
{
    json_t *list = json_array();
    for (size_t i = 0; i < strs->n; i++) {
        if (!span_is_utf8(span_of(strs->v[i])))
            err_set(r->err, ERR_INVALID, "%s[%zu] is not UTF-8", key, i);
        else
            append(r, list, json_string(strs->v[i]));
    }
    put_filled(r, key, list);
}

static void put_kvs(const struct render *r, const char *key, const struct job_kvs *kvs)
{
    struct render map = below(r);
    for (size_t i = 0; i < kvs->n; i++)
        (kvs->v[i].secret ? put_secret : put_str)(&map, kvs->v[i].name, kvs->v[i].value);
    put_filled(r, key, map.into);
}

static void put_partition(const struct render *r, const struct partition *p)
{
    static const char *const words[] = {"none", "object", "regex", "substring", "date"};
    if (p->kind == PARTITION_NONE)
        return;
    struct render map = below(r);
    put_str(&map, "Type", words[p->kind]);
    put_str(&map, "Pattern", p->pattern);
    if (p->kind == PARTITION_SUBSTRING) {
        json_put_u64(map.into, "StartIndex", p->start, r->err);
        json_put_u64(map.into, "EndIndex", p->end, r->err);
    }
    put_str(&map, "DateFormat", p->date_format);
    put(r, "Partition", map.into);
}

static const char *render_s3(const struct render *params, const struct input *in)
{
    const struct source_s3 *s = &in->s3;
    if (s->url || s->files.n || s->access_key_id)
        err_set(params->err, ERR_UNSUPPORTED, "%s: a Bacalhau specification has no words for a source by url", in->at);
    put_str(params, "Bucket", s->bucket);
    put_str(params, "Key", s->key);
    put_str(params, "Filter", s->filter);
    put_str(params, "Region", s->region);
    put_str(params, "Endpoint", s->endpoint);
    put_str(params, "VersionID", s->version_id);
    put_str(params, "ChecksumSHA256", s->checksum_sha256);
    put_partition(params, &s->partition);
    return "s3";
}

static const char *render_source(const struct render *params, const struct input *in)
{
    switch (in->kind) {
    case SOURCE_S3:
        return render_s3(params, in);
    case SOURCE_HF:
        put_str(params, "Repo", in->hf.repo);
        put_str(params, "Revision", in->hf.revision);
        put_strs(params, "Files", &in->hf.files);
        put_secret(params, "AccessToken", in->hf.access_token);
        put_str(params, "Layout", in->hf.hub_layout ? "hub" : NULL);
        return "huggingface";
    case SOURCE_OLLAMA:
        put_str(params, "Model", in->ollama.model);
        return "ollama";
    case SOURCE_URL:
        (in->url.presigned ? put_secret : put_str)(params, "URL", in->url.url);
        return "urlDownload";
    case SOURCE_PRESIGNED:
        put_secret(params, "PreSignedURL", in->url.url);
        return "s3PreSigned";
    case SOURCE_LOCAL:
        break;
    }
    put_str(params, "SourcePath", in->local.path);
    if (in->writable)
        put(params, "ReadWrite", json_true());
    return "localDirectory";
}

static json_t *input_json(const struct render *r, const struct input *in)
{
    struct render input = below(r), source = below(r), params = below(r);
    const char *type = render_source(&params, in);
    put_str(&source, "Type", type);
    put(&source, "Params", params.into);
    put(&input, "Source", source.into);
    put_str(&input, "Alias", in->alias);
    put_str(&input, "Target", in->target);
    return input.into;
}

static void put_engine(const struct render *task, const struct op *op)
{
    struct render engine = below(task), params = below(task);
    put_str(&params, "Image", op->image);
    put_strs(&params, "Entrypoint", &op->entrypoint);
    put_strs(&params, "Parameters", &op->command);
    put_str(&params, "WorkingDirectory", op->work_dir);
    put_str(&engine, "Type", "docker");
    put(&engine, "Params", params.into);
    put(task, "Engine", engine.into);
}

static void put_publisher(const struct render *task, const struct publisher *p)
{
    static const char *const words[] = {NULL, "s3", "s3managed", "local"};
    if (p->kind == PUBLISH_NONE)
        return;
    if (p->storage_class || p->sse || p->sse_customer_key || p->tags || p->acl || p->only_new ||
        (p->kind == PUBLISH_LOCAL && p->key))
        err_set(task->err, ERR_UNSUPPORTED, "a Bacalhau specification has no words for these options of the publisher");
    struct render publisher = below(task), params = below(task);
    put_str(&publisher, "Type", words[p->kind]);
    put_str(&params, "Bucket", p->bucket);
    put_str(&params, "Key", p->key);
    put_str(&params, "Endpoint", p->endpoint);
    put_str(&params, "Region", p->region);
    if (p->kind == PUBLISH_S3)
        put_str(&params, "Encoding", p->encoding == PUBLISH_PLAIN ? "plain" : "gzip");
    put_filled(&publisher, "Params", params.into);
    put(task, "Publisher", publisher.into);
}

static void put_amount(const struct render *r, const char *key, uint64_t amount)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, amount);
    put_str(r, key, amount ? text : NULL);
}

static void put_cpu(const struct render *r, double cpu)
{
    char text[48];
    snprintf(text, sizeof text, "%.15g", cpu);
    put_str(r, "CPU", cpu > 0 ? text : NULL);
}

static void put_limits(const struct render *task, const struct limits *l)
{
    struct render resources = below(task);
    put_cpu(&resources, l->cpu);
    put_amount(&resources, "Memory", l->memory_bytes);
    put_amount(&resources, "Disk", l->disk_bytes);
    put_amount(&resources, "GPU", l->gpu_count);
    put_filled(task, "Resources", resources.into);
}

static void put_network(const struct render *task, const struct op *op)
{
    static const char *const words[] = {"None", "Full", "HTTP"};
    struct render network = below(task);
    if (op->network == NETWORK_NONE) {
        json_decref(network.into);
        return;
    }
    put_str(&network, "Type", words[op->network]);
    put_strs(&network, "Domains", &op->network_domains);
    put(task, "Network", network.into);
}

static void put_timeouts(const struct render *task, const struct job *job)
{
    struct render timeouts = below(task);
    if (job->execution_timeout_ms)
        json_put_u64(timeouts.into, "ExecutionTimeout", (job->execution_timeout_ms + 999) / 1000, task->err);
    if (job->queue_timeout_ms)
        json_put_u64(timeouts.into, "QueueTimeout", (job->queue_timeout_ms + 999) / 1000, task->err);
    if (job->total_timeout_ms)
        json_put_u64(timeouts.into, "TotalTimeout", (job->total_timeout_ms + 999) / 1000, task->err);
    put_filled(task, "Timeouts", timeouts.into);
}

static json_t *task_json(const struct render *r, const struct job *job, const struct op *op)
{
    struct render task = below(r);
    json_t *inputs = json_array(), *outputs = json_array();
    put_str(&task, "Name", op->id);
    put_engine(&task, op);
    put_kvs(&task, "Env", &op->env);
    for (size_t i = 0; i < op->input_count; i++)
        append(&task, inputs, input_json(&task, &op->inputs[i]));
    put_filled(&task, "InputSources", inputs);
    put_publisher(&task, &job->publisher);
    for (size_t i = 0; i < op->output_count; i++) {
        struct render path = below(&task);
        put_str(&path, "Name", op->outputs[i].name);
        put_str(&path, "Path", op->outputs[i].path);
        append(&task, outputs, path.into);
    }
    put_filled(&task, "ResultPaths", outputs);
    put_limits(&task, &op->limits);
    put_network(&task, op);
    put_timeouts(&task, job);
    return task.into;
}

static void put_constraints(const struct render *r, const struct job *job)
{
    json_t *list = json_array();
    for (size_t i = 0; i < job->constraint_count; i++) {
        struct render c = below(r);
        put_str(&c, "Key", job->constraints[i].key);
        put_str(&c, "Operator", job->constraints[i].op);
        put_strs(&c, "Values", &job->constraints[i].values);
        append(r, list, c.into);
    }
    put_filled(r, "Constraints", list);
}

static const char *wordless_input(const struct input *in)
{
    const struct source_s3 *s = &in->s3;
    if (in->kind == SOURCE_S3 && (s->session_token || s->secret_access_key || s->requester_pays || s->sse_customer_key))
        return "credentials and options of a source";
    if (in->kind == SOURCE_S3 && s->key && s->exact_key != value_key_is_exact(s->key))
        return "a key that is one object, or not, against its looks";
    return in->writable && in->kind != SOURCE_LOCAL ? "a writable input" : NULL;
}

/* The first thing that the specification would be silent about. */
static const char *wordless(const struct op *op)
{
    const struct registry_auth *login = &op->auth;
    const char *what = NULL;
    if (op->kind != OP_RUN)
        what = "a volume";
    else if (login->server || login->username || login->password || login->email)
        what = "the login of a registry";
    else if (op->private_logs)
        what = "private logs";
    else if (op->limits.required_vram_mib)
        what = "required VRAM";
    else if (op->limits.gpu_count == GPU_ALL)
        what = "all GPUs";
    else if (op->result_count)
        what = "results found in logs";
    for (size_t i = 0; i < op->input_count && !what; i++)
        what = wordless_input(&op->inputs[i]);
    return what;
}

json_t *spec_to_bacalhau(const struct job *job, bool secrets, struct err *err)
{
    if (job->op_count != 1) {
        err_set(err, ERR_UNSUPPORTED, "a Bacalhau specification has one task, this job has %zu ops", job->op_count);
        return NULL;
    }
    const char *what = wordless(&job->ops[0]);
    if (what) {
        err_set(err, ERR_UNSUPPORTED, "a Bacalhau specification has no words for %s", what);
        return NULL;
    }
    AUTO_JSON root = json_object();
    const struct render r = {root, secrets, err};
    put_str(&r, "Name", job->name);
    put_str(&r, "Type", str_eq(job->type, "ops") ? "ops" : "batch");
    json_put_u64(root, "Count", job->count, err);
    put_str(&r, "Namespace", job->namespace_name);
    if (job->priority)
        put(&r, "Priority", json_integer(job->priority));
    put_constraints(&r, job);
    put_kvs(&r, "Labels", &job->labels);
    put_kvs(&r, "Meta", &job->meta);
    json_t *tasks = json_array();
    append(&r, tasks, task_json(&r, job, &job->ops[0]));
    put(&r, "Tasks", tasks);
    return err_is_set(err) ? NULL : template_quoted(root, err);
}
