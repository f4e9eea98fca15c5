/* Bacalhau job specifications: the root and its one task. Sources and publishers are in bacalhau_params.c. */
#include "spec/dialect.h"
#include "spec/value.h"

#include <inttypes.h>
#include <math.h>

#define PRIORITY_MAX 1000000

/* The root is strict, unlike what is below it; the texts are those of Bacalhau's own check. */
static void check_root_keys(struct reader *r, const struct node *root)
{
    static const char *const known[] = {"Name",        "Type",   "Count", "Namespace", "Priority",
                                        "Constraints", "Labels", "Meta",  "Tasks",     NULL};
    static const char *const server_set[] = {"ID", "State", "Version", "Revision", "CreateTime", "ModifyTime", NULL};
    const char *key;
    json_t *value;
    json_object_foreach(root->v, key, value)
    {
        struct node n = {.v = value, .up = root, .key = key};
        if (check_key(r, &n, known))
            continue;
        if (check_key(r, &n, server_set))
            problem_here(r, &n, "field: '%.*s' in 'Job' is not allowed", SHOWN(span_of(key)));
        else
            problem_here(r, &n, "unknown field: '%.*s' in 'Job'", SHOWN(span_of(key)));
    }
}

static void read_type(struct reader *r, const struct node *root, struct job *job)
{
    static const char *const known[] = {"batch", "ops", "service", "daemon", NULL};
    struct node n = node_get(r, root, "Type");
    const char *type = need_str(r, root, "Type");
    job->type = known[0];
    for (size_t i = 0; type && known[i]; i++) {
        if (!span_eq_nocase(span_of(type), span_of(known[i])))
            continue;
        job->type = known[i];
        if (i >= 2)
            problem(r, &n, ERR_UNSUPPORTED, "not supported: job type '%s'; jobs that end ('batch') are", known[i]);
        return;
    }
    if (type)
        problem_unknown(r, &n, "job type", type, known);
}

static void read_constraints(struct reader *r, const struct node *root, struct job *job)
{
    static const char *const known[] = {"Key", "Operator", "Values", NULL};
    struct node list = read_list(r, root, "Constraints");
    size_t n = json_array_size(list.v), kept = 0;
    struct constraint *v = n ? arena_array(r->a, n, sizeof *v) : NULL;
    for (size_t i = 0; v && i < n; i++) {
        struct node item = node_item(&list, i);
        struct err err = ERR_INIT;
        if (!expect_object(r, &item))
            continue;
        check_keys(r, &item, known);
        struct constraint c = {.key = need_str(r, &item, "Key"), .op = need_str(r, &item, "Operator")};
        c.values = read_strs(r, &item, "Values");
        if (!c.key || !c.op)
            continue;
        if (value_constraint(&c, &err) < 0)
            problem_err(r, &item, &err);
        v[kept++] = c;
    }
    job->constraints = v;
    job->constraint_count = kept;
}

/* "K=V" as `docker run -e` has it. */
static void read_env_list(struct reader *r, const struct node *params, struct op *op)
{
    struct node list = read_list(r, params, "EnvironmentVariables");
    struct job_strs items = node_strs(r, &list);
    for (size_t i = 0; i < items.n && i <= JOB_ENV_MAX; i++) {
        struct node n = node_item(&list, i);
        struct span name, value;
        if (span_cut(span_of(items.v[i]), '=', &name, &value))
            env_set(r, &n, &op->env, arena_dup_span(r->a, name), arena_dup_span(r->a, value), false);
        else
            problem(r, &n, ERR_INVALID, "expected NAME=VALUE");
    }
}

static void read_docker(struct reader *r, const struct node *params, struct op *op)
{
    static const char *const known[] = {"Image", "Entrypoint", "Parameters", "EnvironmentVariables", "WorkingDirectory",
                                        NULL};
    check_keys(r, params, known);
    const char *image = read_image(r, params, "Image", true);
    op->image = image ? image : "";
    op->entrypoint = read_strs(r, params, "Entrypoint");
    op->command = read_strs(r, params, "Parameters");
    op->work_dir = read_given(r, params, "WorkingDirectory");
    read_env_list(r, params, op);
}

static void read_engine(struct reader *r, const struct node *task, struct op *op)
{
    static const char *const known[] = {"Type", "Params", NULL};
    static const char *const elsewhere[] = {"wasm", "noop", NULL};
    static const char *const engines[] = {"docker", NULL};
    struct node engine = need_object(r, task, "Engine");
    if (!engine.v)
        return;
    check_keys(r, &engine, known);
    struct node type_node = node_get(r, &engine, "Type"), params = read_object(r, &engine, "Params");
    const char *type = need_str(r, &engine, "Type");
    if (!type)
        return;
    for (size_t i = 0; elsewhere[i]; i++) {
        if (span_eq_nocase(span_of(type), span_of(elsewhere[i]))) {
            problem(r, &type_node, ERR_UNSUPPORTED, "not supported: engine '%s'", elsewhere[i]);
            return;
        }
    }
    if (span_eq_nocase(span_of(type), span_of(engines[0])))
        read_docker(r, &params, op);
    else
        problem_unknown(r, &type_node, "engine", type, engines);
}

/* A number or a string, as text: resources are written both ways. */
static const char *read_amount(struct reader *r, const struct node *object, const char *key)
{
    struct node n = node_get(r, object, key);
    if (json_is_integer(n.v))
        return arena_printf(r->a, "%" JSON_INTEGER_FORMAT, json_integer_value(n.v));
    double real = json_real_value(n.v);
    bool whole = fabs(real) < 0x1p63 && real == (double)(int64_t)real;
    if (json_is_real(n.v)) /* 1e-9 is refused as such rather than cut to none */
        return arena_printf(r->a, whole ? "%.0f" : fabs(real) < 1e-6 ? "%g" : "%.9f", real);
    return read_given(r, object, key);
}

static void read_limits(struct reader *r, const struct node *task, struct limits *limits)
{
    static const char *const known[] = {"CPU", "Memory", "Disk", "GPU", NULL};
    struct node resources = read_object(r, task, "Resources");
    if (!resources.v)
        return;
    check_keys(r, &resources, known);
    for (size_t i = 0; known[i]; i++) {
        struct node n = node_get(r, &resources, known[i]);
        const char *text = read_amount(r, &resources, known[i]);
        struct err err = ERR_INIT;
        int rc = !text    ? 0
                 : i == 0 ? value_cpu(span_of(text), &limits->cpu, &err)
                 : i == 1 ? value_bytes(span_of(text), &limits->memory_bytes, &err)
                 : i == 2 ? value_bytes(span_of(text), &limits->disk_bytes, &err)
                          : value_gpu(span_of(text), &limits->gpu_count, &err);
        if (rc < 0)
            problem_err(r, &n, &err);
    }
}

static void read_network(struct reader *r, const struct node *task, struct op *op)
{
    static const char *const known[] = {"Type", "Domains", NULL};
    struct node network = read_object(r, task, "Network");
    op->network = NETWORK_NONE;
    if (!network.v)
        return;
    check_keys(r, &network, known);
    struct node type_node = node_get(r, &network, "Type"), domains = node_get(r, &network, "Domains");
    const char *type = read_given(r, &network, "Type");
    struct err err = ERR_INIT;
    if (type && value_network(span_of(type), &op->network, &err) < 0)
        problem_err(r, &type_node, &err);
    op->network_domains = read_strs(r, &network, "Domains");
    if (op->network_domains.n && op->network != NETWORK_HTTP)
        warning(r, &domains, "domains have no effect unless the network is HTTP");
}

static void read_timeouts(struct reader *r, const struct node *task, struct job *job)
{
    static const char *const known[] = {"ExecutionTimeout", "QueueTimeout", "TotalTimeout", NULL};
    struct node timeouts = read_object(r, task, "Timeouts");
    if (!timeouts.v)
        return;
    check_keys(r, &timeouts, known);
    job->execution_timeout_ms = 1000 * read_u64(r, &timeouts, known[0], 0, JOB_TIMEOUT_S_MAX, 0);
    job->queue_timeout_ms = 1000 * read_u64(r, &timeouts, known[1], 0, JOB_TIMEOUT_S_MAX, 0);
    job->total_timeout_ms = 1000 * read_u64(r, &timeouts, known[2], 0, JOB_TIMEOUT_S_MAX, 0);
}

static void read_outputs(struct reader *r, const struct node *task, struct op *op)
{
    static const char *const known[] = {"Name", "Path", NULL};
    struct node list = read_list(r, task, "ResultPaths");
    size_t n = json_array_size(list.v);
    if (n > JOB_OUTPUTS_MAX)
        problem(r, &list, ERR_LIMIT, "%zu result paths; at most %d are allowed", n, JOB_OUTPUTS_MAX);
    if (n == 0 || n > JOB_OUTPUTS_MAX)
        return;
    op->outputs = arena_array(r->a, n, sizeof *op->outputs);
    for (size_t i = 0; op->outputs && i < n; i++) {
        struct node item = node_item(&list, i), name_node = node_get(r, &item, "Name");
        struct err err = ERR_INIT;
        if (!expect_object(r, &item))
            continue;
        check_keys(r, &item, known);
        const char *name = need_str(r, &item, "Name"), *folder = NULL, *path = read_target(r, &item, "Path");
        if (name && value_output_name(r->a, span_of(name), &folder, &err) < 0)
            problem_err(r, &name_node, &err);
        if (folder && path)
            op->outputs[op->output_count++] = (struct output){.name = folder, .path = path, .at = node_at(r, &item)};
    }
}

static void read_inputs(struct reader *r, const struct node *task, struct op *op)
{
    struct node list = read_list(r, task, "InputSources");
    struct inputs inputs = {0};
    for (size_t i = 0; i < json_array_size(list.v); i++) {
        struct node item = node_item(&list, i);
        struct input *in = expect_object(r, &item) ? inputs_add(r, &item, &inputs) : NULL;
        if (in)
            bacalhau_input_read(r, &item, in);
    }
    op->inputs = inputs.v;
    op->input_count = inputs.n;
}

static void read_task(struct reader *r, const struct node *task, struct job *job, struct op *op)
{
    static const char *const known[] = {"Name",      "Engine",  "Env",      "InputSources", "Publisher", "ResultPaths",
                                        "Resources", "Network", "Timeouts", "Meta",         NULL};
    op->at = node_at(r, task);
    op->id = "main";
    op->image = "";
    if (!expect_object(r, task))
        return;
    check_keys(r, task, known);
    const char *name = read_given(r, task, "Name");
    op->id = name ? name : op->id;
    struct node env_node = node_get(r, task, "Env"), meta = node_get(r, task, "Meta");
    if (json_object_size(meta.v))
        warning(r, &meta, "has no effect: only the job's own Meta is kept");
    struct job_kvs env = read_kvs(r, task, "Env");
    env_merge(r, &env_node, &op->env, &env, false);
    read_engine(r, task, op);
    read_limits(r, task, &op->limits);
    read_network(r, task, op);
    read_timeouts(r, task, job);
    read_inputs(r, task, op);
    read_outputs(r, task, op);
    bacalhau_publisher_read(r, task, &job->publisher);
}

static void read_tasks(struct reader *r, const struct node *root, struct job *job)
{
    struct node list = read_list(r, root, "Tasks");
    size_t n = json_array_size(list.v);
    if (!list.v && json_is_null(node_get(r, root, "Tasks").v))
        problem(r, &list, ERR_INVALID, "expected a list of one task, found null");
    else if (list.v && n != 1)
        problem(r, &list, ERR_INVALID, "expected one task per job, found %zu", n);
    if (n != 1)
        return;
    struct node task = node_item(&list, 0);
    job->ops = arena_array(r->a, 1, sizeof *job->ops);
    if (!job->ops)
        return;
    job->op_count = 1;
    read_task(r, &task, job, &job->ops[0]);
}

void bacalhau_read(struct reader *r, const struct node *root, struct job *job)
{
    r->any_case = true;
    r->lenient = true;
    check_root_keys(r, root);
    read_type(r, root, job);
    job->name = read_given(r, root, "Name");
    const char *ns = read_given(r, root, "Namespace");
    job->namespace_name = ns ? ns : job->namespace_name;
    job->count = (uint32_t)read_u64(r, root, "Count", 1, JOB_COUNT_MAX, 1);
    job->priority = (int32_t)read_i64(r, root, "Priority", -PRIORITY_MAX, PRIORITY_MAX, 0);
    job->labels = read_kvs(r, root, "Labels");
    job->meta = read_kvs(r, root, "Meta");
    read_constraints(r, root, job);
    read_tasks(r, root, job);
}
