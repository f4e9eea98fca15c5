#include "base/enc.h"
#include "engine/docker.h"

#define LISTED_MAX 100000

/* Docker kills at once; Podman stops with grace, ten seconds for a PID 1 without a handler, unless its own API is told
 * otherwise. */
int docker_remove(void *self, const char *id, struct err *err)
{
    struct docker *d = self;
    char path[DOCKER_PATH_MAX];
    AUTO_REPLY reply = {0};
    bool podman = d->flavour == FLAVOUR_PODMAN;
    const char *how = podman ? "?force=true&v=true&timeout=0" : "?force=true&v=true";
    struct docker_request req = {.method = "DELETE", .path = path, .libpod = podman};
    if (docker_container_path(path, id, how, err) < 0 || docker_call(d, &req, &reply, err) < 0)
        return -1;
    if (reply.status / 100 == 2 || reply.status == 404)
        return 0;
    if (reply.status == 409 && strstr(reply.message, "already in progress"))
        return 0; /* somebody else is at it */
    return docker_refused(&reply, err, "remove container %s", id);
}

static int list_path(const char *label, struct buf *path, struct err *err)
{
    AUTO_BUF filters;
    AUTO_JSON wanted = json_object();
    buf_init(&filters, DOCKER_PATH_MAX);
    json_put(wanted, "label", json_pack("[s]", label), err);
    if (err_is_set(err) || json_write(wanted, false, &filters, err) < 0)
        return -1;
    buf_adds(path, "/containers/json?all=true&filters=");
    percent_encode(path, buf_span(&filters), false);
    return buf_check(path, "the label", err);
}

static int take_listed(struct engine_listed *out, const json_t *one, const char *label, struct err *err)
{
    const char *id = json_get_str(one, "Id"), *value = json_get_str(json_object_get(one, "Labels"), label);
    if (!id || strlen(id) >= sizeof out->id)
        return err_set(err, ERR_PROTOCOL, "the engine lists a container without an id");
    snprintf(out->id, sizeof out->id, "%s", id);
    snprintf(out->label, sizeof out->label, "%s", value ? value : "");
    out->running = str_eq(json_get_str(one, "State"), "running");
    return 0;
}

int docker_list(void *self, const char *label, struct engine_listed **out, size_t *n, struct err *err)
{
    AUTO_BUF path;
    AUTO_REPLY reply = {0};
    buf_init(&path, DOCKER_PATH_MAX);
    *out = NULL;
    *n = 0;
    if (list_path(label, &path, err) < 0 ||
        docker_call(self, &(struct docker_request){.path = path.p}, &reply, err) < 0)
        return -1;
    if (reply.status != 200 || !json_is_array(reply.json))
        return docker_refused(&reply, err, "list the containers");
    size_t count = json_array_size(reply.json);
    if (count > LISTED_MAX)
        return err_set(err, ERR_LIMIT, "the engine lists %zu containers; berth looks at up to %d", count, LISTED_MAX);
    struct engine_listed *list = calloc(count ? count : 1, sizeof *list);
    if (!list)
        return err_nomem(err);
    for (size_t i = 0; i < count; i++) {
        if (take_listed(&list[i], json_array_get(reply.json, i), label, err) < 0) {
            free(list);
            return -1;
        }
    }
    *out = list;
    *n = count;
    return 0;
}
