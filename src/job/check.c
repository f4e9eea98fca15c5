/* What is refused before a byte moves. */
#include "base/path.h"
#include "job/job_priv.h"
#include "spec/spec.h"

static bool within(const char *path, const char *dir)
{
    return str_eq(path, dir) || path_is_below(span_of(path), span_of(dir));
}

static int check_gpu(const struct run *r, struct err *err)
{
    if (r->op->limits.gpu_count == 0 || r->opts->no_gpu || r->info.gpu_nvidia)
        return 0;
    err_set(err, ERR_UNSUPPORTED, "the job asks for a GPU, and %s at %s offers none", r->info.name, r->info.address);
    return err_hint(err, "run it without with --no-gpu, or install the NVIDIA container toolkit (see: berth doctor)");
}

/* A mount point cannot be made inside a read-only view, and an input mounted inside an output folder would be
 * published. */
static int check_outputs(const struct run *r, struct err *err)
{
    for (size_t o = 0; o < r->op->output_count; o++) {
        const struct output *out = &r->op->outputs[o];
        for (size_t i = 0; i < r->op->input_count; i++) {
            const struct input *in = &r->op->inputs[i];
            if (within(out->path, in->target) || within(in->target, out->path)) {
                err_set(err, ERR_INVALID, "output '%s' (%s, %s) overlaps the input mounted at %s (%s)", out->name,
                        out->path, out->at, in->target, in->at);
                return err_hint(err, "give the output or the input another path");
            }
        }
    }
    return 0;
}

int run_check(struct run *r, struct err *err)
{
    if ((r->opts->market.job_id ? spec_check_market : spec_check_runnable)(r->opts->job, err) < 0)
        return -1;
    if (check_outputs(r, err) < 0)
        return -1;
    if (engine_facts(r->opts->engine, r->op->limits.gpu_count > 0 && !r->opts->no_gpu, &r->info, err) < 0)
        return -1;
    return check_gpu(r, err);
}
