/* `berth docker run`: options to the same job that a Bacalhau specification would make. */
#include "spec/dialect.h"
#include "spec/spec.h"
#include "spec/value.h"

struct build {
    const struct spec_docker_run *run;
    struct arena *a;
    struct job *job;
    struct op *op;
    struct reader *reader;
};

static size_t count_of(const struct strv *v)
{
    return v ? v->n : 0;
}

static int build_inputs(const struct build *b, struct err *err)
{
    size_t n = count_of(b->run->inputs);
    if (n > JOB_INPUTS_MAX)
        return err_set(err, ERR_USAGE, "more than %d inputs", JOB_INPUTS_MAX);
    b->op->inputs = n ? arena_array(b->a, n, sizeof *b->op->inputs) : NULL;
    for (size_t i = 0; b->op->inputs && i < n; i++) {
        if (spec_parse_input(b->a, span_of(b->run->inputs->v[i]), &b->op->inputs[i], err) < 0)
            return -1;
        b->op->inputs[i].at = arena_printf(b->a, "input %zu", i + 1);
        b->op->input_count++;
    }
    return 0;
}

static int build_outputs(const struct build *b, struct err *err)
{
    size_t n = count_of(b->run->outputs);
    if (n > JOB_OUTPUTS_MAX)
        return err_set(err, ERR_USAGE, "more than %d outputs", JOB_OUTPUTS_MAX);
    b->op->outputs = n ? arena_array(b->a, n, sizeof *b->op->outputs) : NULL;
    for (size_t i = 0; b->op->outputs && i < n; i++) {
        if (spec_parse_output(b->a, span_of(b->run->outputs->v[i]), &b->op->outputs[i], err) < 0)
            return -1;
        b->op->outputs[i].at = arena_printf(b->a, "output %zu", i + 1);
        b->op->output_count++;
    }
    return 0;
}

static int build_env(const struct build *b, struct err *err)
{
    const struct node nowhere = {0};
    for (size_t i = 0; i < count_of(b->run->env); i++) {
        struct span name, value;
        if (!span_cut(span_of(b->run->env->v[i]), '=', &name, &value))
            return err_set(err, ERR_USAGE, "-e takes NAME=VALUE");
        env_set(b->reader, &nowhere, &b->op->env, arena_dup_span(b->a, name), arena_dup_span(b->a, value), false);
    }
    return 0;
}

static int build_labels(const struct build *b, struct err *err)
{
    for (size_t i = 0; i < count_of(b->run->labels); i++) {
        struct span name, value;
        span_cut(span_of(b->run->labels->v[i]), '=', &name, &value);
        if (name.n == 0)
            return err_set(err, ERR_USAGE, "a label is NAME or NAME=VALUE");
        kvs_add(b->a, &b->job->labels, arena_dup_span(b->a, name), arena_dup_span(b->a, value), false);
    }
    return 0;
}

static int not_a_constraint(struct span s, struct err *err)
{
    err_set(err, ERR_USAGE, "'%.*s' is no constraint: KEY=VALUE, KEY!=VALUE, KEY>N, KEY<N, KEY or !KEY", SHOWN(s));
    return err_hint(err, "a job file has more: lists of values with the operators in and notin");
}

/* Other ways to say it would be taken for a key, or for part of a value. */
static bool is_odd_constraint(const struct constraint *c, struct span key)
{
    for (size_t i = 0; i < key.n; i++)
        if (strchr(" \t()<>=", key.p[i]))
            return true;
    return key.n == 0 || (c->values.n && strchr("gl", c->op[0]) && c->values.v[0][0] == '=');
}

/* "key=value", "key!=value", "key=a,b" is not one of them: lists are for files. "key" and "!key" ask for presence. */
static int parse_constraint(struct arena *a, struct span s, struct constraint *c, struct err *err)
{
    static const char *const ops[] = {"!=", "==", "=", ">", "<"};
    static const char *const names[] = {"!=", "==", "=", "gt", "lt"};
    *c = (struct constraint){.op = "exists"};
    struct span key = s;
    size_t best = s.n;
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        const char *at = s.n ? memmem(s.p, s.n, ops[i], strlen(ops[i])) : NULL;
        if (!at || (size_t)(at - s.p) >= best)
            continue;
        best = (size_t)(at - s.p);
        key.n = best;
        size_t value_at = best + strlen(ops[i]);
        c->op = names[i];
        c->values = (struct job_strs){0};
        strs_add(a, &c->values, arena_dup_span(a, (struct span){s.p + value_at, s.n - value_at}));
    }
    if (best == s.n && key.n && key.p[0] == '!') {
        c->op = "!";
        key = (struct span){key.p + 1, key.n - 1};
    }
    if (is_odd_constraint(c, key))
        return not_a_constraint(s, err);
    c->key = arena_dup_span(a, key);
    return value_constraint(c, err);
}

static int build_constraints(const struct build *b, struct err *err)
{
    size_t n = count_of(b->run->constraints);
    b->job->constraints = n ? arena_array(b->a, n, sizeof *b->job->constraints) : NULL;
    for (size_t i = 0; b->job->constraints && i < n; i++) {
        struct constraint *c = &b->job->constraints[i];
        if (parse_constraint(b->a, span_of(b->run->constraints->v[i]), c, err) < 0)
            return -1;
        b->job->constraint_count++;
    }
    return 0;
}

static int build_container(const struct build *b, struct err *err)
{
    const struct spec_docker_run *run = b->run;
    struct op *op = b->op;
    if (value_image(span_of(run->image), err) < 0)
        return -1;
    op->kind = OP_RUN;
    op->id = "main";
    op->at = "";
    op->image = arena_dup(b->a, run->image);
    for (size_t i = 0; run->command && run->command[i]; i++)
        strs_add(b->a, &op->command, arena_dup(b->a, run->command[i]));
    if (!str_empty(run->entrypoint))
        strs_add(b->a, &op->entrypoint, arena_dup(b->a, run->entrypoint));
    op->work_dir = str_empty(run->work_dir) ? NULL : arena_dup(b->a, run->work_dir);
    if (run->network && value_network(span_of(run->network), &op->network, err) < 0)
        return -1;
    for (size_t i = 0; i < count_of(run->domains); i++)
        strs_add(b->a, &op->network_domains, arena_dup(b->a, run->domains->v[i]));
    if (op->network_domains.n && op->network != NETWORK_HTTP)
        return err_set(err, ERR_USAGE, "domains need the network to be HTTP");
    if (!(run->cpu >= 0 && run->cpu <= JOB_CPU_MAX))
        return err_set(err, ERR_USAGE, "not a number of CPUs");
    if (run->memory_bytes > INT64_MAX || run->disk_bytes > INT64_MAX || run->gpu > JOB_GPU_MAX)
        return err_set(err, ERR_USAGE, "more memory, disk or GPUs than any machine has");
    op->limits = (struct limits){
        .cpu = run->cpu, .memory_bytes = run->memory_bytes, .disk_bytes = run->disk_bytes, .gpu_count = run->gpu};
    return 0;
}

static int build_job(const struct build *b, struct err *err)
{
    const struct spec_docker_run *run = b->run;
    struct job *job = b->job;
    if (run->count > JOB_COUNT_MAX)
        return err_set(err, ERR_USAGE, "a count above %u", JOB_COUNT_MAX);
    if (run->timeout_ms > 1000 * JOB_TIMEOUT_S_MAX)
        return err_set(err, ERR_USAGE, "a time-out above ten years");
    job->dialect = JOB_BACALHAU;
    job->file = "docker run";
    job->type = "batch";
    job->arena = b->a;
    job->name = arena_dup(b->a, run->name);
    job->count = run->count ? run->count : 1;
    job->priority = run->priority;
    job->execution_timeout_ms = run->timeout_ms;
    job->ops = b->op;
    job->op_count = 1;
    if (build_container(b, err) < 0 || build_inputs(b, err) < 0 || build_outputs(b, err) < 0 || build_env(b, err) < 0 ||
        build_labels(b, err) < 0 || build_constraints(b, err) < 0)
        return -1;
    if (!str_empty(run->publisher) && spec_parse_publisher(b->a, span_of(run->publisher), &job->publisher, err) < 0)
        return -1;
    const struct node root = {0};
    job_check(b->reader, &root, job);
    return reader_finish(b->reader, false, err);
}

int spec_from_docker_run(const struct spec_docker_run *r, struct job **out, struct err *err)
{
    struct reader reader = {0};
    struct arena *a = arena_new(0, err);
    if (!a)
        return -1;
    struct job *job = arena_alloc(a, sizeof *job);
    struct op *op = arena_alloc(a, sizeof *op);
    int rc = -1;
    if (!job || !op) {
        err_nomem(err);
    } else if (reader_init(&reader, a, "docker run", NULL, err) == 0) {
        const struct build b = {.run = r, .a = a, .job = job, .op = op, .reader = &reader};
        rc = build_job(&b, err);
    }
    reader_release(&reader);
    if (rc < 0)
        arena_free(a);
    else
        *out = job;
    return rc;
}
