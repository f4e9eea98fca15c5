#include "engine/cdi.h"
#include "engine/docker.h"
#include "engine/mounts.h"

#define NVIDIA_HOOK "/usr/bin/nvidia-container-runtime-hook" /* what Docker's "nvidia" device driver looks for */

static bool has_rootless_option(const json_t *info)
{
    const json_t *options = json_object_get(info, "SecurityOptions"), *option;
    size_t i;
    json_array_foreach(options, i, option)
    {
        const char *text = json_string_value(option);
        if (text && strstr(text, "name=rootless"))
            return true;
    }
    return json_get_bool(info, "Rootless", false);
}

/* Docker names an init binary whether or not it is there; its commit is "N/A" where asking it failed. */
static bool docker_has_init(const json_t *info)
{
    const char *binary = json_get_str(info, "InitBinary");
    const char *commit = json_get_str(json_object_get(info, "InitCommit"), "ID");
    return !str_empty(binary) && !str_eq(commit, "N/A");
}

/* Where packages put the two. */
static bool init_is_installed(enum docker_flavour flavour)
{
    static const char *const places[][4] = {
        [FLAVOUR_DOCKER] = {"/usr/bin/docker-init", "/usr/libexec/docker/docker-init", "/usr/local/bin/docker-init"},
        [FLAVOUR_PODMAN] = {"/usr/libexec/podman/catatonit", "/usr/local/libexec/podman/catatonit",
                            "/usr/lib/podman/catatonit", "/usr/local/lib/podman/catatonit"}};
    for (size_t i = 0; i < ARRAY_LEN(places[flavour]) && places[flavour][i]; i++)
        if (access(places[flavour][i], X_OK) == 0)
            return true;
    return false;
}

static enum docker_gpu docker_gpus(const struct docker *d, const json_t *info)
{
    if (json_object_get(json_object_get(info, "Runtimes"), "nvidia") || (d->local && access(NVIDIA_HOOK, X_OK) == 0))
        return GPU_RUNTIME;
    bool serves_cdi = json_array_size(json_object_get(info, "CDISpecDirs")) > 0;
    return serves_cdi && d->local && cdi_has_nvidia() ? GPU_CDI : GPU_NONE;
}

static struct docker_features read_features(const struct docker *d, const json_t *info)
{
    if (d->flavour == FLAVOUR_DOCKER)
        return (struct docker_features){.init = docker_has_init(info), .gpu = docker_gpus(d, info)};
    return (struct docker_features){.init = d->local && init_is_installed(FLAVOUR_PODMAN),
                                    .gpu = d->local && cdi_has_nvidia() ? GPU_CDI : GPU_NONE};
}

static int get_info(struct docker *d, struct docker_reply *reply, struct err *err)
{
    if (docker_call(d, &(struct docker_request){.path = "/info"}, reply, err) < 0)
        return -1;
    if (reply->status != 200 || !json_is_object(reply->json))
        return docker_refused(reply, err, "container engine %s: /info", d->address);
    return 0;
}

/* /info takes Docker 7 ms and Podman 200: a container that needs no GPU is not kept waiting for it where the engine's
 * init is seen without it. */
static bool seen_without_asking(const struct docker *d, bool need_gpu)
{
    return d->flavour == FLAVOUR_DOCKER && !need_gpu && d->local && init_is_installed(FLAVOUR_DOCKER);
}

int docker_features_get(struct docker *d, bool need_gpu, struct docker_features *out, struct err *err)
{
    AUTO_REPLY reply = {0};
    int rc = 0;
    pthread_mutex_lock(&d->features.mu);
    if (d->features.known) {
        *out = d->features.value;
    } else if (seen_without_asking(d, need_gpu)) {
        *out = (struct docker_features){.init = true};
    } else if (d->flavour == FLAVOUR_PODMAN || (rc = get_info(d, &reply, err)) == 0) {
        *out = d->features.value = read_features(d, reply.json);
        d->features.known = true;
    }
    pthread_mutex_unlock(&d->features.mu);
    return rc;
}

void docker_features_without_init(struct docker *d)
{
    pthread_mutex_lock(&d->features.mu);
    d->features.value.init = false;
    pthread_mutex_unlock(&d->features.mu);
}

static struct docker_features learn_features(struct docker *d, const json_t *info)
{
    struct docker_features features = read_features(d, info);
    pthread_mutex_lock(&d->features.mu);
    d->features.value = features;
    d->features.known = true;
    pthread_mutex_unlock(&d->features.mu);
    return features;
}

static void copy_text(char *out, size_t max, const char *text)
{
    snprintf(out, max, "%s", text ? text : "");
}

int docker_info(void *self, struct engine_info *out, struct err *err)
{
    struct docker *d = self;
    AUTO_REPLY reply = {0};
    int64_t cpus = 0, memory = 0;
    if (get_info(d, &reply, err) < 0)
        return -1;
    const json_t *info = reply.json;
    struct docker_features features = learn_features(d, info);
    *out = (struct engine_info){.rootless = has_rootless_option(info),
                                .has_init = features.init,
                                .gpu_nvidia = features.gpu != GPU_NONE,
                                .same_mounts = d->local && mounts_are_shared(d->address)};
    copy_text(out->name, sizeof out->name, d->flavour == FLAVOUR_PODMAN ? "podman" : "docker");
    copy_text(out->version, sizeof out->version, json_get_str(info, "ServerVersion"));
    copy_text(out->api_version, sizeof out->api_version, d->api_version);
    copy_text(out->address, sizeof out->address, d->address);
    copy_text(out->cgroup_version, sizeof out->cgroup_version, json_get_str(info, "CgroupVersion"));
    copy_text(out->runtime, sizeof out->runtime, json_get_str(info, "DefaultRuntime"));
    if (json_get_i64(info, "NCPU", &cpus) && cpus > 0 && cpus <= UINT16_MAX)
        out->cpus = (unsigned)cpus;
    if (json_get_i64(info, "MemTotal", &memory) && memory > 0)
        out->memory_bytes = (uint64_t)memory;
    return 0;
}

int docker_facts(void *self, bool need_gpu, struct engine_info *out, struct err *err)
{
    struct docker *d = self;
    struct docker_features features = {0};
    if (!d->local)
        return docker_info(self, out, err);
    if (docker_features_get(d, need_gpu, &features, err) < 0)
        return -1;
    *out = (struct engine_info){.rootless = d->rootless,
                                .has_init = features.init,
                                .gpu_nvidia = features.gpu != GPU_NONE,
                                .same_mounts = mounts_are_shared(d->address)};
    copy_text(out->name, sizeof out->name, d->flavour == FLAVOUR_PODMAN ? "podman" : "docker");
    copy_text(out->version, sizeof out->version, d->version);
    copy_text(out->api_version, sizeof out->api_version, d->api_version);
    copy_text(out->address, sizeof out->address, d->address);
    return 0;
}
