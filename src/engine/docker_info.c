#include "engine/cdi.h"
#include "engine/docker.h"

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

/* Podman says nothing of its init in /info; these are where its builds put it. */
static bool podman_has_init(void)
{
    static const char *const places[] = {"/usr/libexec/podman/catatonit", "/usr/local/libexec/podman/catatonit",
                                         "/usr/lib/podman/catatonit", "/usr/local/lib/podman/catatonit"};
    for (size_t i = 0; i < ARRAY_LEN(places); i++)
        if (access(places[i], X_OK) == 0)
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
    return (struct docker_features){.init = d->local && podman_has_init(),
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

/* Docker's /info takes milliseconds, Podman's 200 of them; what is needed of Podman is seen without it. */
int docker_features_get(struct docker *d, struct docker_features *out, struct err *err)
{
    AUTO_REPLY reply = {0};
    int rc = 0;
    pthread_mutex_lock(&d->features.mu);
    if (!d->features.known && d->flavour == FLAVOUR_DOCKER)
        rc = get_info(d, &reply, err);
    if (rc == 0 && !d->features.known) {
        d->features.value = read_features(d, reply.json);
        d->features.known = true;
    }
    *out = d->features.value;
    pthread_mutex_unlock(&d->features.mu);
    return rc;
}

void docker_features_without_init(struct docker *d)
{
    pthread_mutex_lock(&d->features.mu);
    d->features.value.init = false;
    pthread_mutex_unlock(&d->features.mu);
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
    struct docker_features features = read_features(d, info);
    *out = (struct engine_info){
        .rootless = has_rootless_option(info), .has_init = features.init, .gpu_nvidia = features.gpu != GPU_NONE};
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
