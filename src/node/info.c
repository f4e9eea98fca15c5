/* What a node says of its machine. */
#include "node/node_priv.h"

#include "base/fs.h"
#include "base/log.h"
#include "base/proc.h"

#include <sys/utsname.h>

#define GPUS_MAX      64
#define NVIDIA_SMI_MS 20000

json_t *info_gpus(struct span lines, struct err *err)
{
    json_t *list = json_array();
    struct span line, rest = lines;
    while (list && rest.n && json_array_size(list) < GPUS_MAX) {
        struct err no_number = ERR_INIT;
        uint64_t mib = 0;
        span_cut(rest, '\n', &line, &rest);
        size_t comma = line.n;
        while (comma && line.p[comma - 1] != ',')
            comma--;
        struct span name = span_trim((struct span){line.p, comma ? comma - 1 : 0});
        struct span memory = span_trim((struct span){line.p + comma, line.n - comma});
        if (name.n == 0 || !span_is_utf8(name) || span_to_u64(memory, &mib, &no_number) < 0)
            continue;
        json_t *gpu = json_object();
        json_put(gpu, "name", json_stringn(name.p, name.n), err);
        json_put_u64(gpu, "memory_mib", mib, err);
        json_array_append_new(list, gpu);
    }
    if (!list)
        err_nomem(err);
    return list;
}

static json_t *gpus_of(const struct node *n, struct err *err)
{
    const char *const argv[] = {"nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits", NULL};
    const struct proc_opts opts = {.argv = argv, .timeout_ms = NVIDIA_SMI_MS};
    struct proc_result result = {0};
    struct err absent = ERR_INIT;
    struct span lines = {0};
    bool asked = n->engine.gpu_nvidia && !n->opts->no_gpu;
    if (asked && proc_run(&opts, &result, &absent) == 0 && result.exit_code == 0)
        lines = buf_span(&result.out);
    if (err_is_set(&absent))
        log_warn("node", "the GPUs cannot be asked for (reason=\"%s\")", absent.text);
    json_t *list = info_gpus(lines, err);
    if (asked)
        proc_result_release(&result);
    return list;
}

static uint64_t disk_bytes(const struct node *n)
{
    struct fs_space space = {0};
    struct err err = ERR_INIT;
    return fs_space(n->results_fd, &space, &err) == 0 ? space.total_bytes : 0;
}

json_t *info_json(const struct node *n, struct err *err)
{
    struct utsname os = {0};
    char engine[sizeof n->engine.name + sizeof n->engine.version + 1];
    uname(&os);
    snprintf(engine, sizeof engine, "%s %s", n->engine.name, n->engine.version);
    json_t *info = json_object();
    if (json_put_str(info, "version", BERTH_VERSION, err) == 0 && json_put_str(info, "engine", engine, err) == 0 &&
        json_put_str(info, "os", "linux", err) == 0 && json_put_str(info, "arch", os.machine, err) == 0 &&
        json_put_u64(info, "cpus", n->engine.cpus, err) == 0 &&
        json_put_u64(info, "memory_bytes", n->engine.memory_bytes, err) == 0 &&
        json_put_u64(info, "disk_bytes", disk_bytes(n), err) == 0 && json_put(info, "gpus", gpus_of(n, err), err) == 0)
        return info;
    json_decref(info);
    return NULL;
}

static uint64_t figure(const json_t *from, const char *name)
{
    int64_t value = 0;
    return json_get_i64(from, name, &value) && value > 0 ? (uint64_t)value : 0;
}

json_t *info_cache(struct node *n, struct err *err)
{
    AUTO_JSON all = cache_stat(n->opts->cache, NULL, err);
    json_t *out = all ? json_object() : NULL;
    if (out && json_put_u64(out, "bytes", figure(all, "blobs_bytes"), err) == 0 &&
        json_put_u64(out, "max_bytes", figure(all, "max_bytes"), err) == 0 &&
        json_put_u64(out, "free_bytes", figure(all, "free_bytes"), err) == 0)
        return out;
    json_decref(out);
    return NULL;
}
