/* Nosana job definitions: the root and its ops. What an op's args hold is in nosana_args.c. */
#include "spec/nosana.h"
#include "spec/dialect.h"
#include "spec/spec.h"
#include "spec/value.h"

static void read_results(struct reader *r, const struct node *op_node, struct op *op)
{
    static const char *const known[] = {"regex", "logType", NULL};
    struct node results = read_object(r, op_node, "results");
    size_t n = json_object_size(results.v), i = 0;
    const char *name;
    json_t *value;
    if (n == 0)
        return;
    op->results = arena_array(r->a, n, sizeof *op->results);
    json_object_foreach(results.v, name, value)
    {
        struct node entry = {.v = value, .up = &results, .key = name};
        struct err err = ERR_INIT;
        struct op_result out = {.name = arena_dup(r->a, name), .from_stdout = true, .from_stderr = true};
        if (json_is_object(value)) {
            check_keys(r, &entry, known);
            out.regex = need_str(r, &entry, "regex");
            nosana_log_types(r, &entry, &out);
        } else {
            out.regex = node_str(r, &entry);
        }
        if (!op->results || !out.regex)
            continue;
        /* Such jobs run elsewhere too: that one result comes out empty. */
        if (value_regex(out.regex, &err) < 0 && err.kind == ERR_NOMEM)
            problem_err(r, &entry, &err);
        else if (err_is_set(&err))
            warning(r, &entry, "%s; this result stays empty", err.text);
        op->results[i++] = out;
    }
    op->result_count = i;
}

void nosana_log_types(struct reader *r, const struct node *result, struct op_result *out)
{
    static const char *const known[] = {"stdin", "stdout", "stderr", "nodeerr", NULL};
    struct node list = read_list(r, result, "logType");
    if (!list.v)
        return;
    struct job_strs types = node_strs(r, &list);
    out->from_stdout = out->from_stderr = false;
    for (size_t i = 0; i < types.n; i++) {
        struct node n = node_item(&list, i);
        if (str_eq(types.v[i], "stdout"))
            out->from_stdout = true;
        else if (str_eq(types.v[i], "stderr"))
            out->from_stderr = true;
        else if (str_eq(types.v[i], "stdin") || str_eq(types.v[i], "nodeerr"))
            warning(r, &n, "log type '%s' has no effect: only stdout and stderr are kept", types.v[i]);
        else
            problem_unknown(r, &n, "log type", types.v[i], known);
    }
}

static void read_execution(struct reader *r, const struct node *op_node, struct op *op)
{
    static const char *const known[] = {"group", "depends_on", "stop_if_dependent_stops", "timeout", NULL};
    struct node execution = read_object(r, op_node, "execution");
    if (!execution.v)
        return;
    check_keys(r, &execution, known);
    refuse_member(r, &execution, "timeout", "a timeout of one op");
    op->group = read_given(r, &execution, "group");
    struct node depends = read_list(r, &execution, "depends_on");
    if (json_array_size(depends.v) <= JOB_OPS_MAX)
        op->depends_on = node_strs(r, &depends);
    else
        problem(r, &depends, ERR_LIMIT, "more than %d ops", JOB_OPS_MAX);
    if (read_bool(r, &execution, "stop_if_dependent_stops", false))
        not_run(r, &execution, "stop_if_dependent_stops");
}

static void read_volume(struct reader *r, const struct node *args, struct op *op)
{
    static const char *const known[] = {"name", NULL};
    op->kind = OP_CREATE_VOLUME;
    op->image = "";
    check_keys(r, args, known);
    need_str(r, args, "name");
}

static void check_id(struct reader *r, const struct node *op_node, const char *id)
{
    struct node n = node_get(r, op_node, "id");
    for (const char *c = id; *c; c++) {
        if ((unsigned char)*c <= ' ' || *c == 0x7f) {
            problem(r, &n, ERR_INVALID, "an id must not have spaces");
            return;
        }
    }
}

static void read_op(struct reader *r, const struct node *n, const struct nosana_globals *globals, struct op *op)
{
    static const char *const known[] = {"id", "type", "args", "results", "execution", NULL};
    static const char *const types[] = {"container/run", "container/create-volume", NULL};
    op->at = node_at(r, n);
    op->network = NETWORK_FULL;
    op->id = op->image = "";
    if (!expect_object(r, n))
        return;
    check_keys(r, n, known);
    const char *id = need_str(r, n, "id"), *type = need_str(r, n, "type");
    if (id) {
        op->id = id;
        check_id(r, n, id);
    }
    read_execution(r, n, op);
    read_results(r, n, op);
    struct node args = read_object(r, n, "args"), type_node = node_get(r, n, "type");
    const struct node no_args = {.v = NULL, .up = n, .key = "args"};
    if (str_eq(type, types[0]))
        nosana_args_read(r, args.v ? &args : &no_args, globals, op);
    else if (str_eq(type, types[1]))
        read_volume(r, args.v ? &args : &no_args, op);
    else if (type)
        problem_unknown(r, &type_node, "op type", type, types);
}

static void read_globals(struct reader *r, const struct node *root, struct nosana_globals *g)
{
    static const char *const known[] = {"image", "gpu", "entrypoint", "env", "work_dir", "variables", NULL};
    struct node global = read_object(r, root, "global");
    *g = (struct nosana_globals){0};
    if (!global.v)
        return;
    check_keys(r, &global, known);
    g->image = read_image(r, &global, "image", false);
    g->gpu = read_bool(r, &global, "gpu", false);
    g->entrypoint = nosana_command(r, &global, "entrypoint", false);
    g->env = read_kvs(r, &global, "env");
    g->work_dir = read_given(r, &global, "work_dir");
    struct job_kvs variables = read_kvs(r, &global, "variables");
    struct node n = node_get(r, &global, "variables");
    if (variables.n)
        warning(r, &n, "variables have no effect by themselves; %%%%global.variables.…%%%% is not filled in");
}

static void read_meta(struct reader *r, const struct node *root, struct job *job)
{
    struct node meta = read_object(r, root, "meta");
    const char *name;
    json_t *value;
    json_object_foreach(meta.v, name, value)
    {
        AUTO_BUF text;
        struct err err = ERR_INIT;
        struct node n = {.v = value, .up = &meta, .key = name};
        buf_init(&text, SPEC_FILE_MAX);
        if (json_is_string(value))
            buf_add(&text, json_string_value(value), json_string_length(value));
        else if (json_write(value, false, &text, &err) < 0)
            problem_err(r, &n, &err);
        kvs_add(r->a, &job->meta, arena_dup(r->a, name), reader_keep(r, &text), false);
    }
}

static void read_ops(struct reader *r, const struct node *root, const struct nosana_globals *globals, struct job *job)
{
    struct node list = read_list(r, root, "ops");
    size_t n = json_array_size(list.v);
    if (n == 0 || n > JOB_OPS_MAX) {
        if (list.v)
            problem(r, &list, ERR_INVALID, "expected 1 to %d ops, found %zu", JOB_OPS_MAX, n);
        return;
    }
    struct op *ops = arena_array(r->a, n, sizeof *ops);
    for (size_t i = 0; ops && i < n; i++) {
        struct node op = node_item(&list, i);
        read_op(r, &op, globals, &ops[i]);
    }
    job->ops = ops;
    job->op_count = ops ? n : 0;
    if (ops)
        nosana_check_order(r, &list, ops, n);
}

void nosana_read(struct reader *r, const struct node *root, struct job *job)
{
    static const char *const known[] = {"version", "type", "ops", "meta", "global", "logistics", "deployment_id", NULL};
    struct nosana_globals globals;
    r->operators = true;
    check_keys(r, root, known);
    const char *version = need_str(r, root, "version"), *type = need_str(r, root, "type");
    struct node version_node = node_get(r, root, "version"), type_node = node_get(r, root, "type");
    if (version && !str_eq(version, "0.1"))
        problem(r, &version_node, ERR_INVALID, "expected '0.1', found '%.*s'", SHOWN(span_of(version)));
    if (type && !str_eq(type, "container"))
        problem(r, &type_node, ERR_INVALID, "expected 'container', found '%.*s'", SHOWN(span_of(type)));
    job->type = "container";
    job->count = 1;
    read_meta(r, root, job);
    read_globals(r, root, &globals);
    struct node logistics = read_object(r, root, "logistics"), deployment = node_get(r, root, "deployment_id");
    if (logistics.v)
        not_run(r, &logistics, "logistics");
    if (read_str(r, root, "deployment_id"))
        warning(r, &deployment, "has no effect");
    read_ops(r, root, &globals, job);
    operators_note(r, root);
}
