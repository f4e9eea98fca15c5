#include "engine/docker_body.h"

#include "engine/cdi.h"

#include <math.h>

#define CPUS_MAX 4096.0
#define IPV6_OFF "net.ipv6.conf.all.disable_ipv6"

int create_plan_check(const struct create_plan *p, struct err *err)
{
    const struct engine_container *c = p->c;
    if (!isfinite(c->cpus) || c->cpus < 0 || c->cpus > CPUS_MAX)
        return err_set(err, ERR_INVALID, "%g CPUs can't be asked for", c->cpus);
    if (c->memory_bytes > INT64_MAX)
        return err_set(err, ERR_INVALID, "a memory limit above %lld bytes can't be asked for", (long long)INT64_MAX);
    if (c->gpus != GPUS_ALL && c->gpus > GPUS_MAX)
        return err_set(err, ERR_INVALID, "%u GPUs can't be asked for; berth knows up to %d", c->gpus, GPUS_MAX);
    if (c->gpus > 0 && p->features.gpu == GPU_NONE) {
        err_set(err, ERR_UNSUPPORTED, "the container engine offers no NVIDIA GPU");
        return err_hint(err, "install the NVIDIA container toolkit (for Podman: a CDI specification in /etc/cdi), or "
                             "run without a GPU: --no-gpu");
    }
    for (const char *const *e = c->env; e && *e; e++)
        if ((*e)[0] == '=' || !strchr(*e, '='))
            return err_set(err, ERR_INVALID, "an environment variable is not written NAME=value");
    for (const char *const *l = c->labels; l && *l; l++)
        if ((*l)[0] == '=')
            return err_set(err, ERR_INVALID, "a label has no name");
    return 0;
}

/* A list of strings; left out where `v` is NULL, so that the image's own counts. */
static void put_list(json_t *obj, const char *key, const char *const *v, struct err *err)
{
    if (!v)
        return;
    json_t *list = json_array();
    bool ok = list != NULL;
    for (; ok && *v; v++) {
        if (!span_is_utf8(span_of(*v)))
            err_set(err, ERR_INVALID, "%s: \"%s\" is not UTF-8", key, *v);
        ok = json_array_append_new(list, json_string(*v)) == 0;
    }
    if (!ok) {
        json_decref(list);
        list = NULL;
    }
    json_put(obj, key, list, err);
}

/* "k=v" strings as an object; of equal names the last counts. */
static void put_map(json_t *obj, const char *key, const char *const *v, struct err *err)
{
    json_t *map = json_object();
    struct span name, value;
    for (; v && *v; v++) {
        span_cut(span_of(*v), '=', &name, &value);
        AUTO_STR k = str_dup_span(name, err);
        AUTO_STR text = k ? str_dup_span(value, err) : NULL;
        if (text)
            json_put_str(map, k, text, err);
    }
    json_put(obj, key, map, err);
}

static void put_text(json_t *obj, const char *key, const char *text, struct err *err)
{
    if (!str_empty(text))
        json_put_str(obj, key, text, err);
}

static uint32_t pids_of(const struct engine_container *c)
{
    return c->pids ? c->pids : PIDS_DEFAULT;
}

static json_t *finished(json_t *body, struct err *err)
{
    if (!err_is_set(err))
        return body;
    json_decref(body);
    return NULL;
}

static void append(json_t *list, json_t *item, struct err *err)
{
    if (json_array_append_new(list, item) < 0)
        err_nomem(err);
}

/* CDI's names of the first `n` GPUs, or of all. */
static void add_cdi_names(json_t *list, uint32_t gpus, bool as_path, struct err *err)
{
    bool all = gpus == GPUS_ALL;
    for (uint32_t i = 0; i < (all ? 1 : gpus); i++) {
        char name[40];
        if (all)
            snprintf(name, sizeof name, CDI_NVIDIA_KIND "=all");
        else
            snprintf(name, sizeof name, CDI_NVIDIA_KIND "=%u", i);
        append(list, as_path ? json_pack("{s:s}", "path", name) : json_string(name), err);
    }
}

static void put_docker_gpus(json_t *host, const struct create_plan *p, struct err *err)
{
    json_t *request = json_object(), *list = json_array();
    if (p->features.gpu == GPU_CDI) {
        json_t *ids = json_array();
        add_cdi_names(ids, p->c->gpus, false, err);
        json_put_str(request, "Driver", "cdi", err);
        json_put(request, "DeviceIDs", ids, err);
    } else {
        json_put_str(request, "Driver", "nvidia", err);
        json_put(request, "Count", json_integer(p->c->gpus == GPUS_ALL ? -1 : (json_int_t)p->c->gpus), err);
        json_put(request, "Capabilities", json_pack("[[s]]", "gpu"), err);
    }
    append(list, request, err);
    json_put(host, "DeviceRequests", list, err);
}

static json_t *docker_mount(const struct mount_plan *m, struct err *err)
{
    json_t *mount = json_object();
    json_put_str(mount, "Type", "bind", err);
    json_put_str(mount, "Source", m->source, err);
    json_put_str(mount, "Target", m->target, err);
    json_put(mount, "ReadOnly", json_boolean(!m->writable), err);
    json_put(mount, "BindOptions", json_pack("{s:s,s:b}", "Propagation", "rprivate", "NonRecursive", !m->writable),
             err);
    return mount;
}

static json_t *docker_ulimit(const char *name, uint64_t value, struct err *err)
{
    json_t *limit = json_object();
    json_put_str(limit, "Name", name, err);
    json_put_u64(limit, "Soft", value, err);
    json_put_u64(limit, "Hard", value, err);
    return limit;
}

/* On a network of berth's own, where neighbours are strangers: no addresses of its own making, none that the network
 * does not have. */
static bool is_apart(const struct engine_container *c)
{
    return c->network && !c->network_none;
}

static json_t *docker_host_config(const struct create_plan *p, struct err *err)
{
    const struct engine_container *c = p->c;
    json_t *host = json_object(), *mounts = json_array(), *ulimits = json_array();
    for (size_t i = 0; i < p->mounts->n; i++)
        append(mounts, docker_mount(&p->mounts->v[i], err), err);
    append(ulimits, docker_ulimit("nofile", p->nofile, err), err);
    append(ulimits, docker_ulimit("nproc", p->nproc, err), err);
    json_put(host, "Mounts", mounts, err);
    json_put(host, "Ulimits", ulimits, err);
    json_put_str(host, "NetworkMode", c->network_none ? "none" : c->network ? c->network : "default", err);
    json_put(host, "LogConfig", json_pack("{s:s}", "Type", "none"), err);
    json_put(host, "SecurityOpt", json_pack("[s]", "no-new-privileges"), err);
    json_put_u64(host, "PidsLimit", pids_of(c), err);
    if (c->cpus > 0)
        json_put_u64(host, "NanoCpus", (uint64_t)(c->cpus * 1e9), err);
    if (c->memory_bytes) {
        json_put_u64(host, "Memory", c->memory_bytes, err);
        json_put_u64(host, "MemorySwap", c->memory_bytes, err); /* of both together */
    }
    if (is_apart(c))
        json_put(host, "CapDrop", json_pack("[s]", "NET_RAW"), err);
    if (is_apart(c) && p->has_ipv6)
        json_put(host, "Sysctls", json_pack("{s:s}", IPV6_OFF, "1"), err);
    if (p->features.init)
        json_put(host, "Init", json_true(), err);
    if (c->gpus)
        put_docker_gpus(host, p, err);
    return host;
}

json_t *docker_create_body(const struct create_plan *p, struct err *err)
{
    const struct engine_container *c = p->c;
    json_t *body = json_object();
    json_put_str(body, "Image", p->image, err);
    put_list(body, "Cmd", c->command, err);
    put_list(body, "Entrypoint", c->entrypoint, err);
    put_list(body, "Env", c->env, err);
    put_map(body, "Labels", c->labels, err);
    put_text(body, "WorkingDir", c->work_dir, err);
    put_text(body, "User", c->user, err);
    json_put(body, "HostConfig", docker_host_config(p, err), err);
    return finished(body, err);
}

static json_t *podman_mount(const struct mount_plan *m, struct err *err)
{
    json_t *mount = json_object();
    json_put_str(mount, "type", "bind", err);
    json_put_str(mount, "source", m->source, err);
    json_put_str(mount, "destination", m->target, err);
    json_put(mount, "options",
             m->writable ? json_pack("[sss]", "rbind", "rw", "rprivate") : json_pack("[sss]", "bind", "ro", "rprivate"),
             err);
    return mount;
}

static json_t *podman_rlimit(const char *name, uint64_t value, struct err *err)
{
    json_t *limit = json_object();
    json_put_str(limit, "type", name, err);
    json_put_u64(limit, "soft", value, err);
    json_put_u64(limit, "hard", value, err);
    return limit;
}

static json_t *podman_resources(const struct engine_container *c, struct err *err)
{
    json_t *resources = json_object(), *pids = json_object();
    json_put_u64(pids, "limit", pids_of(c), err);
    json_put(resources, "pids", pids, err);
    if (c->cpus > 0) {
        json_t *cpu = json_object();
        json_put_u64(cpu, "period", CPU_PERIOD_US, err);
        json_put_u64(cpu, "quota", (uint64_t)(c->cpus * CPU_PERIOD_US), err);
        json_put(resources, "cpu", cpu, err);
    }
    if (c->memory_bytes) {
        json_t *memory = json_object();
        json_put_u64(memory, "limit", c->memory_bytes, err);
        json_put_u64(memory, "swap", c->memory_bytes, err); /* of both together */
        json_put(resources, "memory", memory, err);
    }
    return resources;
}

static void put_podman_network(json_t *body, const struct create_plan *p, struct err *err)
{
    if (p->c->network_none)
        json_put(body, "netns", json_pack("{s:s}", "nsmode", "none"), err);
    if (!is_apart(p->c))
        return;
    json_put(body, "netns", json_pack("{s:s}", "nsmode", "bridge"), err);
    json_put(body, "Networks", json_pack("{s:{}}", p->c->network), err);
    json_put(body, "cap_drop", json_pack("[s]", "NET_RAW"), err);
    if (p->has_ipv6)
        json_put(body, "sysctl", json_pack("{s:s}", IPV6_OFF, "1"), err);
}

static void put_podman_host(json_t *body, const struct create_plan *p, struct err *err)
{
    json_t *mounts = json_array(), *rlimits = json_array();
    for (size_t i = 0; i < p->mounts->n; i++)
        append(mounts, podman_mount(&p->mounts->v[i], err), err);
    append(rlimits, podman_rlimit("nofile", p->nofile, err), err);
    append(rlimits, podman_rlimit("nproc", p->nproc, err), err);
    json_put(body, "mounts", mounts, err);
    json_put(body, "r_limits", rlimits, err);
    json_put(body, "resource_limits", podman_resources(p->c, err), err);
    json_put(body, "log_configuration", json_pack("{s:s}", "driver", "none"), err);
    json_put(body, "no_new_privileges", json_true(), err);
    put_podman_network(body, p, err);
    if (p->features.init)
        json_put(body, "init", json_true(), err);
    if (p->c->gpus) {
        json_t *devices = json_array();
        add_cdi_names(devices, p->c->gpus, true, err);
        json_put(body, "devices", devices, err);
    }
}

json_t *podman_create_body(const struct create_plan *p, struct err *err)
{
    const struct engine_container *c = p->c;
    json_t *body = json_object();
    json_put_str(body, "image", p->image, err);
    put_text(body, "name", c->name, err);
    put_list(body, "command", c->command, err);
    put_list(body, "entrypoint", c->entrypoint, err);
    put_map(body, "env", c->env, err);
    put_map(body, "labels", c->labels, err);
    put_text(body, "work_dir", c->work_dir, err);
    put_text(body, "user", c->user, err);
    json_put(body, "create_working_dir", json_true(), err); /* as Docker does */
    json_put(body, "httpproxy", json_false(), err);         /* the host's proxies are not the job's business */
    json_put_str(body, "systemd", "false", err);            /* no guessing from the command's name */
    put_podman_host(body, p, err);
    return finished(body, err);
}
