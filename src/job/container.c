/* From the op, its mounts and limits to a container. */
#include "base/fs.h"
#include "job/job_priv.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

static const char **env_of(const struct run *r, struct arena *a)
{
    const struct op *op = r->op;
    uint32_t count = r->opts->stage.partition_count;
    const char **env = arena_array(a, op->env.n + 3, sizeof *env);
    if (!env)
        return NULL;
    size_t n = 0;
    for (size_t i = 0; i < op->env.n; i++)
        env[n++] = arena_printf(a, "%s=%s", op->env.v[i].name, op->env.v[i].value);
    if (count > 0) {
        env[n++] = arena_printf(a, "BACALHAU_PARTITION_INDEX=%u", r->opts->stage.partition_index);
        env[n++] = arena_printf(a, "BACALHAU_PARTITION_COUNT=%u", count);
    }
    return env;
}

static int add_inputs(const struct run *r, struct engine_mount *mounts, size_t *n)
{
    size_t count = 0;
    const struct stage_mount *staged = r->stage ? stage_mounts(r->stage, &count) : NULL;
    for (size_t i = 0; i < count; i++)
        mounts[(*n)++] = (struct engine_mount){staged[i].source, staged[i].target, staged[i].writable};
    return 0;
}

static int add_outputs(struct run *r, struct arena *a, struct engine_mount *mounts, size_t *n, struct err *err)
{
    for (size_t i = 0; i < r->op->output_count; i++) {
        AUTO_BUF path;
        buf_init(&path, PATH_MAX);
        if (results_output_dir(&r->results, r->opts->results_dir, r->op->outputs[i].name, &path, err) < 0)
            return -1;
        if (r->bind_outputs)
            mounts[(*n)++] = (struct engine_mount){arena_dup(a, buf_str(&path)), r->op->outputs[i].path, true};
    }
    return 0;
}

static int describe(struct run *r, struct arena *a, struct engine_container *c, struct err *err)
{
    const struct op *op = r->op;
    size_t inputs = 0;
    if (r->stage)
        stage_mounts(r->stage, &inputs);
    struct engine_mount *mounts = arena_array(a, inputs + op->output_count + 1, sizeof *mounts);
    const char **labels = arena_array(a, 2, sizeof *labels);
    if (!mounts || !labels)
        return err_nomem(err);
    size_t n = 0;
    add_inputs(r, mounts, &n);
    if (add_outputs(r, a, mounts, &n, err) < 0)
        return -1;
    labels[0] = arena_printf(a, "%s=%s", JOB_LABEL, r->result->job_id);
    *c = (struct engine_container){
        .name = arena_printf(a, "berth-%s", r->result->job_id),
        .image = op->image,
        .command = op->command.n ? op->command.v : NULL,
        .entrypoint = op->entrypoint.n ? op->entrypoint.v : NULL,
        .env = env_of(r, a),
        .labels = labels,
        .work_dir = op->work_dir,
        .mounts = mounts,
        .mount_count = n,
        .network_none = r->net.none,
        .network = *r->net.own.name ? r->net.own.name : NULL,
        .cpus = op->limits.cpu,
        .memory_bytes = op->limits.memory_bytes,
        .gpus = r->opts->no_gpu ? 0 : op->limits.gpu_count,
    };
    return arena_check(a, err);
}

int run_create(struct run *r, struct err *err)
{
    struct arena *a = arena_new(0, err);
    if (!a)
        return -1;
    struct engine_container c;
    run_settle_network(r);
    int rc = describe(r, a, &c, err);
    if (rc == 0)
        rc = engine_create(r->opts->engine, &c, r->container, err);
    if (rc == 0 && r->stage)
        rc = cache_lease_set_container(stage_lease(r->stage), engine_address(r->opts->engine), r->container, err);
    arena_free(a);
    return rc;
}
