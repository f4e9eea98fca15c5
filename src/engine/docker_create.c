#include "base/enc.h"
#include "base/log.h"
#include "engine/docker_body.h"
#include "engine/image_ref.h"

#include <sys/resource.h>

/* Ceilings for what is asked explicitly. Without CAP_SYS_RESOURCE an engine can't raise its own hard limits, and the
 * engines' defaults (1,048,576 of both) are above what such a machine has. Podman lowers its own nproc to 32,768. */
#define NOFILE_MAX 1048576
#define NPROC_MAX  32768

static uint64_t hard_limit(int resource, uint64_t ceiling)
{
    struct rlimit limit = {0};
    if (getrlimit((__rlimit_resource_t)resource, &limit) < 0 || limit.rlim_max == RLIM_INFINITY)
        return ceiling;
    return limit.rlim_max < ceiling ? limit.rlim_max : ceiling;
}

static int create_path(const struct docker *d, const char *name, struct buf *path, struct err *err)
{
    buf_adds(path, "/containers/create");
    if (d->flavour == FLAVOUR_DOCKER && !str_empty(name)) {
        buf_adds(path, "?name=");
        percent_encode(path, span_of(name), false);
    }
    return buf_check(path, "the container's name", err);
}

static bool says(const struct docker_reply *r, const char *words)
{
    return strcasestr(r->message, words) != NULL;
}

static int refused(const struct docker_reply *reply, const struct create_plan *p, struct err *err)
{
    if (says(reply, "no such image") || says(reply, "image not known")) {
        err_set(err, ERR_NOTFOUND, "image %s is not present on the container engine", p->image);
        return err_hint(err, "pull it first, or allow berth to: --pull missing");
    }
    if (says(reply, "already in use"))
        return err_set(err, ERR_EXISTS, "a container named %s exists already", p->c->name ? p->c->name : "so");
    return docker_refused(reply, err, "create a container of %s", p->image);
}

static void log_warnings(const json_t *answer)
{
    const json_t *warning;
    size_t i;
    json_array_foreach(json_object_get(answer, "Warnings"), i, warning)
    {
        if (json_is_string(warning))
            log_warn("engine", "%s", json_string_value(warning));
    }
}

static int take_id(const struct docker_reply *reply, const struct create_plan *p, char id[CONTAINER_ID_MAX],
                   struct err *err)
{
    const char *created = json_get_str(reply->json, "Id");
    if (reply->status != 201)
        return refused(reply, p, err);
    if (str_empty(created) || strlen(created) >= CONTAINER_ID_MAX)
        return err_set(err, ERR_PROTOCOL, "the engine created a container of %s without telling its id", p->image);
    memcpy(id, created, strlen(created) + 1);
    log_warnings(reply->json);
    return 0;
}

static int ask(struct docker *d, const struct create_plan *p, struct docker_reply *reply, struct err *err)
{
    bool podman = d->flavour == FLAVOUR_PODMAN;
    AUTO_BUF path;
    AUTO_JSON body = podman ? podman_create_body(p, err) : docker_create_body(p, err);
    buf_init(&path, DOCKER_PATH_MAX);
    if (!body)
        return err_wrap(err, "container of %s", p->image);
    if (create_path(d, p->c->name, &path, err) < 0)
        return -1;
    struct docker_request req = {.method = "POST", .path = path.p, .libpod = podman, .body = body};
    return docker_call(d, &req, reply, err);
}

/* Ask; once more without an init where the one that seemed to be there is not. */
static int create(struct docker *d, struct create_plan *p, char id[CONTAINER_ID_MAX], struct err *err)
{
    AUTO_REPLY reply = {0};
    if (ask(d, p, &reply, err) < 0)
        return -1;
    if (reply.status != 201 && p->features.init && says(&reply, "init binary")) {
        log_warn("engine", "the engine has no init for containers (reason=%s)", reply.message);
        docker_features_without_init(d);
        p->features.init = false;
        docker_reply_release(&reply);
        if (ask(d, p, &reply, err) < 0)
            return -1;
    }
    return take_id(&reply, p, id, err);
}

static int full_name(const char *image, struct buf *out, struct err *err)
{
    struct image_ref ref;
    if (str_empty(image))
        return err_set(err, ERR_INVALID, "a container without an image");
    if (image_ref_parse(&ref, span_of(image), err) < 0)
        return -1;
    image_ref_write(&ref, out);
    return buf_check(out, "the image's name", err);
}

int docker_create(void *self, const struct engine_container *c, char id[CONTAINER_ID_MAX], struct err *err)
{
    struct docker *d = self;
    struct mount_plans mounts = {0};
    AUTO_BUF image;
    buf_init(&image, DOCKER_PATH_MAX);
    struct create_plan p = {.c = c,
                            .mounts = &mounts,
                            .has_ipv6 = access("/proc/sys/net/ipv6", F_OK) == 0,
                            .nofile = c->nofile ? c->nofile : hard_limit(RLIMIT_NOFILE, NOFILE_MAX),
                            .nproc = hard_limit(RLIMIT_NPROC, NPROC_MAX)};
    if (full_name(c->image, &image, err) < 0 || docker_features_get(d, c->gpus > 0, &p.features, err) < 0 ||
        create_plan_check(&p, err) < 0 || mount_plans_make(&mounts, c, d->local, err) < 0)
        return -1;
    p.image = image.p;
    int rc = create(d, &p, id, err);
    mount_plans_release(&mounts);
    return rc;
}
