/* Rules for a whole job, whatever it came from. */
#include "spec/dialect.h"

#include "spec/spec.h"

#define NAMESPACE_DEFAULT "default"
#define MANAGED           "publisher s3managed: its upload is signed by a server"

static void check_outputs(struct reader *r, const struct node *root, const struct op *op)
{
    for (size_t i = 0; i < op->output_count; i++) {
        const struct output *out = &op->outputs[i];
        for (size_t j = 0; j < i; j++) {
            if (str_eq(out->name, op->outputs[j].name))
                problem(r, root, ERR_INVALID, "%s and %s: two result paths with the folder name '%s'",
                        op->outputs[j].at, out->at, out->name);
            if (str_eq(out->path, op->outputs[j].path))
                problem(r, root, ERR_INVALID, "%s and %s: two result paths for '%s'", op->outputs[j].at, out->at,
                        out->path);
        }
        for (size_t j = 0; j < op->input_count; j++)
            if (str_eq(out->path, op->inputs[j].target))
                problem(r, root, ERR_INVALID, "%s and %s: '%s' is both an input's target and a result path",
                        op->inputs[j].at, out->at, out->path);
    }
}

static void run_by_market(struct reader *r, const char *at, const char *what)
{
    not_run_once(r, at, what);
    for (size_t i = 0; i < r->unsupported.n; i++)
        if (str_eq(r->unsupported.v[i].what, what))
            r->unsupported.v[i].by_market = true;
}

static void note_not_run(struct reader *r, const struct job *job)
{
    if (job->op_count > 1)
        not_run_once(r, "ops", "several ops");
    if (job->count > 1)
        run_by_market(r, "Count", "Count above 1: several executions need a server");
    if (str_eq(job->type, "ops"))
        not_run_once(r, "Type", "job type 'ops': every machine at once needs a server");
    for (size_t i = 0; i < job->op_count; i++) {
        const struct op *op = &job->ops[i];
        if (op->group && job->op_count > 1)
            not_run_once(r, op->at, arena_printf(r->a, "execution group '%.*s'", SHOWN(span_of(op->group))));
        if (op->network == NETWORK_HTTP)
            not_run_once(r, op->at, "network HTTP: some domains only");
        if (op->kind == OP_CREATE_VOLUME)
            not_run_once(r, op->at, arena_printf(r->a, "container/create-volume '%.*s'", SHOWN(span_of(op->id))));
    }
    if (job->publisher.kind == PUBLISH_S3MANAGED)
        run_by_market(r, job->publisher.at, MANAGED);
}

static void fill_defaults(struct job *job)
{
    if (str_empty(job->name))
        job->name = job->op_count && !str_empty(job->ops[0].id) ? job->ops[0].id : "job";
    if (str_empty(job->namespace_name))
        job->namespace_name = NAMESPACE_DEFAULT;
    if (str_empty(job->publisher.at))
        job->publisher.at = "";
}

void job_check(struct reader *r, const struct node *root, struct job *job)
{
    fill_defaults(job);
    for (size_t i = 0; i < job->op_count; i++)
        check_outputs(r, root, &job->ops[i]);
    note_not_run(r, job);
    job->unsupported = r->unsupported.v;
    job->unsupported_count = r->unsupported.n;
    job->warnings = r->warnings.v;
    job->warning_count = r->warnings.n;
}

/* Parts that came later are not named; they may be what this list is searched for. */
static bool list_is_full(const struct job *job)
{
    return job->unsupported_count >= SPEC_NOTES_MAX;
}

int spec_check_market(const struct job *job, struct err *err)
{
    for (size_t i = 0; i < job->unsupported_count; i++) {
        const struct unsupported *u = &job->unsupported[i];
        if (!u->by_market)
            return err_set(err, ERR_UNSUPPORTED, "%s: markets do not run this yet: %s%s%s", job->file, u->what,
                           *u->at ? ", at " : "", u->at);
    }
    if (list_is_full(job))
        return err_set(err, ERR_UNSUPPORTED, "%s: %d or more parts that markets may not run", job->file,
                       SPEC_NOTES_MAX);
    return 0;
}

int spec_check_runnable(const struct job *job, struct err *err)
{
    if (job->unsupported_count == 0)
        return 0;
    const struct unsupported *u = &job->unsupported[0];
    err_set(err, ERR_UNSUPPORTED, "%s: not supported by `berth run`: %s%s%s", job->file, u->what, *u->at ? ", at " : "",
            u->at);
    if (job->unsupported_count > 1)
        return err_hint(err, "%zu more parts of this job are not run either; `berth validate` accepts them all",
                        job->unsupported_count - 1);
    return err_hint(err, "`berth validate` accepts this job; `berth run` runs one op, once, on this machine");
}

int spec_override_publisher(struct job *job, struct span pub, struct err *err)
{
    size_t kept = 0;
    if (spec_parse_publisher(job->arena, pub, &job->publisher, err) < 0)
        return -1;
    if (job->publisher.kind == PUBLISH_S3MANAGED)
        return err_set(err, ERR_UNSUPPORTED, "not supported by `berth run`: %s", MANAGED);
    if (list_is_full(job))
        return 0; /* and remains refused */
    for (size_t i = 0; i < job->unsupported_count; i++)
        if (!str_eq(job->unsupported[i].what, MANAGED))
            job->unsupported[kept++] = job->unsupported[i];
    job->unsupported_count = kept;
    return 0;
}
