/* A run record as a job: `job` is the model, `inputs` says which versions it ran with.
 *
 * A record is a file from outside like any other: values go by the rules of value.h again. Ids, groups, dependencies
 * and the patterns of results are taken as they stand. */
#include "spec/dialect.h"
#include "spec/record.h"
#include "spec/value.h"

#define RECORD_FORMAT 1
#define PRIORITY_MAX  INT32_MAX

unsigned record_word(struct reader *r, const struct node *object, const char *key, const char *const *words)
{
    struct node n = node_get(r, object, key);
    const char *word = need_str(r, object, key);
    for (unsigned i = 0; word && words[i]; i++)
        if (str_eq(word, words[i]))
            return i;
    if (word)
        problem_unknown(r, &n, key, word, words);
    return 0;
}

const char *record_node_secret(struct reader *r, const struct node *n)
{
    static const char *const known[] = {"secret", NULL};
    if (!json_is_object(n->v))
        return node_str(r, n);
    check_keys(r, n, known);
    const char *name = need_str(r, n, "secret");
    const char *value = name ? reader_var(r, span_of(name)) : NULL;
    if (name && !value)
        problem(r, n, ERR_INVALID, "a run record holds no secrets; give this one anew with -V %.*s=VALUE",
                SHOWN(span_of(name)));
    return arena_dup(r->a, value);
}

const char *record_secret(struct reader *r, const struct node *object, const char *key)
{
    struct node n = node_get(r, object, key);
    return record_node_secret(r, &n);
}

static void read_env(struct reader *r, const struct node *op_node, struct op *op)
{
    struct node map = read_object(r, op_node, "env");
    const char *name;
    json_t *value;
    if (json_object_size(map.v) > JOB_ENV_MAX) {
        problem(r, &map, ERR_LIMIT, "more than %d environment variables", JOB_ENV_MAX);
        return;
    }
    json_object_foreach(map.v, name, value)
    {
        struct node n = {.v = value, .up = &map, .key = name};
        const char *text = record_node_secret(r, &n);
        if (text)
            env_set(r, &n, &op->env, arena_dup(r->a, name), text, json_is_object(value));
    }
}

static void read_limits(struct reader *r, const struct node *op_node, struct limits *l)
{
    static const char *const known[] = {"cpu",       "memory_bytes",      "disk_bytes", "gpu_all",
                                        "gpu_count", "required_vram_mib", NULL};
    struct node n = read_object(r, op_node, "limits");
    if (!n.v)
        return;
    check_keys(r, &n, known);
    struct node cpu = node_get(r, &n, "cpu");
    double cores = json_number_value(cpu.v);
    if (cpu.v && (!json_is_number(cpu.v) || !(cores >= 0 && cores <= JOB_CPU_MAX)))
        problem(r, &cpu, ERR_INVALID, "expected a number of CPUs");
    else
        l->cpu = cores;
    l->memory_bytes = read_u64(r, &n, "memory_bytes", 0, INT64_MAX, 0);
    l->disk_bytes = read_u64(r, &n, "disk_bytes", 0, INT64_MAX, 0);
    l->gpu_count = (uint32_t)read_u64(r, &n, "gpu_count", 0, JOB_GPU_MAX, 0);
    l->required_vram_mib = (uint32_t)read_u64(r, &n, "required_vram_mib", 0, UINT32_MAX, 0);
    if (read_bool(r, &n, "gpu_all", false))
        l->gpu_count = GPU_ALL;
}

static void read_registry(struct reader *r, const struct node *op_node, struct registry_auth *auth)
{
    static const char *const known[] = {"server", "username", "password", "email", NULL};
    struct node n = read_object(r, op_node, "registry");
    if (!n.v)
        return;
    check_keys(r, &n, known);
    auth->server = read_given(r, &n, "server");
    auth->username = read_given(r, &n, "username");
    auth->password = record_secret(r, &n, "password");
    auth->email = read_given(r, &n, "email");
}

static void read_outputs(struct reader *r, const struct node *op_node, struct op *op)
{
    static const char *const known[] = {"name", "path", NULL};
    struct node list = read_list(r, op_node, "outputs");
    size_t n = json_array_size(list.v);
    if (n > JOB_OUTPUTS_MAX)
        problem(r, &list, ERR_LIMIT, "%zu outputs; at most %d are allowed", n, JOB_OUTPUTS_MAX);
    if (n == 0 || n > JOB_OUTPUTS_MAX)
        return;
    op->outputs = arena_array(r->a, n, sizeof *op->outputs);
    for (size_t i = 0; op->outputs && i < n; i++) {
        struct node item = node_item(&list, i), name_node = node_get(r, &item, "name");
        struct output out = {.at = node_at(r, &item)};
        struct err err = ERR_INIT;
        if (!expect_object(r, &item))
            continue;
        check_keys(r, &item, known);
        const char *name = need_str(r, &item, "name");
        out.path = read_target(r, &item, "path");
        if (name && value_output_name(r->a, span_of(name), &out.name, &err) < 0)
            problem_err(r, &name_node, &err);
        if (out.name && out.path)
            op->outputs[op->output_count++] = out;
    }
}

static void read_results(struct reader *r, const struct node *op_node, struct op *op)
{
    static const char *const known[] = {"name", "regex", "stdout", "stderr", NULL};
    struct node list = read_list(r, op_node, "results");
    size_t n = json_array_size(list.v);
    op->results = n ? arena_array(r->a, n, sizeof *op->results) : NULL;
    for (size_t i = 0; op->results && i < n; i++) {
        struct node item = node_item(&list, i);
        if (!expect_object(r, &item))
            continue;
        check_keys(r, &item, known);
        struct op_result result = {.name = read_str(r, &item, "name"), .regex = read_str(r, &item, "regex")};
        result.from_stdout = read_bool(r, &item, "stdout", false);
        result.from_stderr = read_bool(r, &item, "stderr", false);
        if (result.name && result.regex)
            op->results[op->result_count++] = result;
    }
}

static void read_inputs(struct reader *r, const struct node *op_node, struct op *op)
{
    struct node list = read_list(r, op_node, "inputs");
    struct inputs inputs = {0};
    for (size_t i = 0; i < json_array_size(list.v); i++) {
        struct node item = node_item(&list, i);
        struct input *in = expect_object(r, &item) ? inputs_add(r, &item, &inputs) : NULL;
        if (in)
            record_input_read(r, &item, in);
    }
    op->inputs = inputs.v;
    op->input_count = inputs.n;
}

static void read_op(struct reader *r, const struct node *n, struct op *op)
{
    static const char *const known[] = {
        "kind",       "id",     "image",        "command", "entrypoint",      "env",
        "work_dir",   "limits", "private_logs", "network", "network_domains", "registry",
        "depends_on", "group",  "inputs",       "outputs", "results",         NULL};
    op->at = node_at(r, n);
    op->id = op->image = "";
    if (!expect_object(r, n))
        return;
    check_keys(r, n, known);
    op->kind = (enum op_kind)record_word(r, n, "kind", record_op_words);
    const char *id = need_str(r, n, "id"), *image = read_image(r, n, "image", op->kind == OP_RUN);
    op->id = id ? id : "";
    op->image = image ? image : "";
    op->command = read_strs(r, n, "command");
    op->entrypoint = read_strs(r, n, "entrypoint");
    op->work_dir = read_given(r, n, "work_dir");
    op->private_logs = read_bool(r, n, "private_logs", false);
    op->network = (enum network_mode)record_word(r, n, "network", record_network_words);
    op->network_domains = read_strs(r, n, "network_domains");
    op->depends_on = read_strs(r, n, "depends_on");
    op->group = read_given(r, n, "group");
    read_env(r, n, op);
    read_limits(r, n, &op->limits);
    read_registry(r, n, &op->auth);
    read_inputs(r, n, op);
    read_outputs(r, n, op);
    read_results(r, n, op);
}

static void read_publisher(struct reader *r, const struct node *job_node, struct publisher *p)
{
    static const char *const known[] = {
        "kind",           "bucket",           "key",  "endpoint", "region",   "plain", "storage_class", "sse",
        "sse_kms_key_id", "sse_customer_key", "tags", "acl",      "only_new", NULL};
    struct node n = read_object(r, job_node, "publisher"), key_node = node_get(r, &n, "key");
    struct err err = ERR_INIT;
    if (!n.v)
        return;
    check_keys(r, &n, known);
    p->at = node_at(r, &n);
    p->kind = (enum publisher_kind)record_word(r, &n, "kind", record_publisher_words);
    p->bucket = read_bucket(r, &n, "bucket", p->kind == PUBLISH_S3);
    p->key = p->kind == PUBLISH_S3 ? need_str(r, &n, "key") : read_given(r, &n, "key");
    p->endpoint = read_url(r, &n, "endpoint", false);
    p->region = read_given(r, &n, "region");
    p->encoding = read_bool(r, &n, "plain", false) ? PUBLISH_PLAIN : PUBLISH_GZIP;
    p->storage_class = read_given(r, &n, "storage_class");
    p->sse = read_given(r, &n, "sse");
    p->sse_kms_key_id = read_given(r, &n, "sse_kms_key_id");
    p->sse_customer_key = record_secret(r, &n, "sse_customer_key");
    p->tags = read_given(r, &n, "tags");
    p->acl = read_given(r, &n, "acl");
    p->only_new = read_bool(r, &n, "only_new", false);
    if (p->key && value_publish_key(span_of(p->key), &err) < 0)
        problem_err(r, &key_node, &err);
}

static void read_ops(struct reader *r, const struct node *job_node, struct job *job)
{
    struct node list = read_list(r, job_node, "ops");
    size_t n = json_array_size(list.v);
    if (n == 0 || n > JOB_OPS_MAX) {
        problem(r, &list, ERR_INVALID, "expected 1 to %d ops, found %zu", JOB_OPS_MAX, n);
        return;
    }
    job->ops = arena_array(r->a, n, sizeof *job->ops);
    for (size_t i = 0; job->ops && i < n; i++) {
        struct node item = node_item(&list, i);
        read_op(r, &item, &job->ops[i]);
    }
    job->op_count = job->ops ? n : 0;
}

static void read_constraints(struct reader *r, const struct node *job_node, struct job *job)
{
    static const char *const known[] = {"key", "op", "values", NULL};
    struct node list = read_list(r, job_node, "constraints");
    size_t n = json_array_size(list.v);
    job->constraints = n ? arena_array(r->a, n, sizeof *job->constraints) : NULL;
    for (size_t i = 0; job->constraints && i < n; i++) {
        struct node item = node_item(&list, i);
        struct err err = ERR_INIT;
        if (!expect_object(r, &item))
            continue;
        check_keys(r, &item, known);
        struct constraint c = {.key = need_str(r, &item, "key"), .op = need_str(r, &item, "op")};
        c.values = read_strs(r, &item, "values");
        if (!c.key || !c.op)
            continue;
        if (value_constraint(&c, &err) < 0)
            problem_err(r, &item, &err);
        job->constraints[job->constraint_count++] = c;
    }
}

/* What the first run's file asked for and berth does not do; kept with the places of that file. */
static void read_unsupported(struct reader *r, const struct node *job_node)
{
    static const char *const known[] = {"what", "at", NULL};
    struct node list = read_list(r, job_node, "unsupported");
    for (size_t i = 0; i < json_array_size(list.v); i++) {
        struct node item = node_item(&list, i);
        if (!expect_object(r, &item))
            continue;
        check_keys(r, &item, known);
        const char *what = need_str(r, &item, "what"), *at = read_str(r, &item, "at");
        add_not_run(r, at ? at : "", what);
    }
}

/* The record's `inputs` are those of all ops, in order. */
static void read_pins(struct reader *r, const struct node *root, struct job *job)
{
    struct node list = read_list(r, root, "inputs");
    size_t i = 0;
    for (size_t o = 0; o < job->op_count; o++) {
        for (size_t k = 0; k < job->ops[o].input_count; k++, i++) {
            struct node item = node_item(&list, i);
            if (expect_object(r, &item))
                record_pins_read(r, &item, &job->ops[o].inputs[k]);
        }
    }
}

static void read_model(struct reader *r, const struct node *n, struct job *job)
{
    static const char *const known[] = {"name",
                                        "type",
                                        "namespace",
                                        "count",
                                        "priority",
                                        "labels",
                                        "meta",
                                        "publisher",
                                        "execution_timeout_ms",
                                        "queue_timeout_ms",
                                        "total_timeout_ms",
                                        "constraints",
                                        "ops",
                                        "unsupported",
                                        NULL};
    static const char *const types[] = {"container", "batch", "ops", NULL};
    check_keys(r, n, known);
    const uint64_t timeout_max = 1000 * JOB_TIMEOUT_S_MAX;
    job->name = read_given(r, n, "name");
    job->type = types[record_word(r, n, "type", types)];
    job->namespace_name = read_given(r, n, "namespace");
    job->count = (uint32_t)read_u64(r, n, "count", 1, JOB_COUNT_MAX, 1);
    job->priority = (int32_t)read_i64(r, n, "priority", -PRIORITY_MAX, PRIORITY_MAX, 0);
    job->labels = read_kvs(r, n, "labels");
    job->meta = read_kvs(r, n, "meta");
    job->execution_timeout_ms = read_u64(r, n, "execution_timeout_ms", 0, timeout_max, 0);
    job->queue_timeout_ms = read_u64(r, n, "queue_timeout_ms", 0, timeout_max, 0);
    job->total_timeout_ms = read_u64(r, n, "total_timeout_ms", 0, timeout_max, 0);
    read_publisher(r, n, &job->publisher);
    read_constraints(r, n, job);
    read_unsupported(r, n); /* before what may name the same again */
    read_ops(r, n, job);
}

void record_read(struct reader *r, const struct node *root, struct job *job)
{
    read_u64(r, root, "berth", RECORD_FORMAT, RECORD_FORMAT, RECORD_FORMAT);
    struct node n = node_get(r, root, "job");
    r->operators = true;
    if (!n.v)
        problem(r, &n, ERR_INVALID, "required, but missing: not a run record");
    if (!expect_object(r, &n))
        return;
    read_model(r, &n, job);
    read_pins(r, root, job);
}
