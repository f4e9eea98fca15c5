#include "engine/engine_priv.h"

#include "base/log.h"

#include <limits.h>

struct engine {
    const struct engine_backend *backend;
    void *self;
    struct engine_service service;
    char *address;
};

/* Where engines listen by default, in the order they are looked for. */
#define PLACES_MAX 4
struct places {
    char paths[PLACES_MAX][SOCKET_PATH_MAX];
    size_t n;
};

static void add_place(struct places *p, const char *folder, const char *path)
{
    char *out = p->paths[p->n];
    if (snprintf(out, SOCKET_PATH_MAX, "%s%s", folder, path) < SOCKET_PATH_MAX)
        p->n++;
}

static void add_docker_places(struct places *p)
{
    add_place(p, "", "/run/docker.sock");
}

static void add_podman_places(struct places *p)
{
    char fallback[40];
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    snprintf(fallback, sizeof fallback, "/run/user/%u", (unsigned)geteuid());
    add_place(p, "", "/run/podman/podman.sock");
    add_place(p, str_empty(runtime) ? fallback : runtime, "/podman/podman.sock");
}

/* Sockets have several paths (/var/run leads to /run), and tcp:// several spellings. */
static char *address_of(const struct endpoint *at, struct err *err)
{
    char real[PATH_MAX];
    if (at->socket[0])
        return str_printf(err, "unix://%s", realpath(at->socket, real) ? real : at->socket);
    return str_printf(err, "tcp://%s", at->authority);
}

static int open_at(struct engine *e, const struct endpoint *at, struct err *err)
{
    e->backend = &docker_backend;
    if (e->backend->open(&e->self, at, err) < 0)
        return -1;
    if (!e->address)
        e->address = address_of(at, err);
    return e->address ? 0 : -1;
}

static int open_text(struct engine *e, const char *where, struct err *err)
{
    struct endpoint at;
    return endpoint_parse(&at, where, err) < 0 ? -1 : open_at(e, &at, err);
}

static int open_socket(struct engine *e, const char *path, struct err *err)
{
    if (access(path, R_OK | W_OK) == 0)
        return open_text(e, path, err);
    err_sys(err, "container engine %s", path);
    return err_hint(err, "is this user in the group that owns the socket?");
}

/* The first socket of `p` that answers: 1. 0: none is there. What was there but did not answer is kept in `why`. */
static int open_places(struct engine *e, const struct places *p, struct err *why)
{
    for (size_t i = 0; i < p->n; i++) {
        struct err err = ERR_INIT;
        if (open_socket(e, p->paths[i], &err) == 0)
            return 1;
        if (err.kind != ERR_NOTFOUND)
            err_move(why, &err);
    }
    return 0;
}

static int open_private_podman(struct engine *e, const struct engine_opts *opts, struct err *err)
{
    struct endpoint at;
    if (engine_service_start(&e->service, opts->runtime_dir, &at, err) < 0)
        return -1;
    log_debug("engine", "started a podman service of its own (pid=%d socket=%s)", (int)e->service.pid, at.socket);
    /* Its socket is new each time; its containers are this user's. */
    e->address = str_printf(err, "podman of user %u", (unsigned)geteuid());
    return e->address ? open_at(e, &at, err) : -1;
}

/* Nothing was found: say what was looked at, and keep the reason of what was there but did not answer. */
static int none_found(const char *what, struct err *why, struct err *err)
{
    if (err_is_set(why))
        return err_move(err, why);
    err_set(err, ERR_NOTFOUND, "no %s found: no socket answers, and podman is not installed", what);
    return err_hint(err, "install Docker or Podman, or name an engine with --engine unix:///path or DOCKER_HOST");
}

static int open_podman_or(struct engine *e, const struct places *p, const struct engine_opts *opts, const char *what,
                          struct err *err)
{
    struct err why = ERR_INIT, service = ERR_INIT;
    if (open_places(e, p, &why) > 0 || open_private_podman(e, opts, &service) == 0)
        return 0;
    if (service.kind != ERR_NOTFOUND) /* podman is there, and could not be started */
        err_move(&why, &service);
    return none_found(what, &why, err);
}

static int open_docker(struct engine *e, struct err *err)
{
    struct places p = {0};
    struct err why = ERR_INIT;
    add_docker_places(&p);
    if (open_places(e, &p, &why) > 0)
        return 0;
    if (err_is_set(&why))
        return err_move(err, &why);
    err_set(err, ERR_NOTFOUND, "no Docker engine listens at %s", p.paths[0]);
    return err_hint(err, "start it, or name its socket with --engine unix:///path");
}

static int open_where(struct engine *e, const char *where, const struct engine_opts *opts, struct err *err)
{
    struct places p = {0};
    if (str_eq(where, "docker"))
        return open_docker(e, err);
    if (!str_eq(where, "podman"))
        return open_text(e, where, err);
    add_podman_places(&p);
    return open_podman_or(e, &p, opts, "Podman engine", err);
}

static int discover(struct engine *e, const struct engine_opts *opts, struct err *err)
{
    const char *from_env = getenv("BERTH_ENGINE"), *docker_host = getenv("DOCKER_HOST");
    struct places p = {0};
    if (!str_empty(opts->where))
        return open_where(e, opts->where, opts, err);
    if (!str_empty(from_env))
        return open_where(e, from_env, opts, err) < 0 ? err_wrap(err, "BERTH_ENGINE") : 0;
    if (!str_empty(docker_host))
        return open_text(e, docker_host, err) < 0 ? err_wrap(err, "DOCKER_HOST") : 0;
    add_docker_places(&p);
    add_podman_places(&p);
    return open_podman_or(e, &p, opts, "container engine", err);
}

int engine_open(struct engine **out, const struct engine_opts *opts, struct err *err)
{
    static const struct engine_opts defaults = {0};
    struct engine *e = calloc(1, sizeof *e);
    if (!e)
        return err_nomem(err);
    if (discover(e, opts ? opts : &defaults, err) < 0) {
        engine_free(e);
        return -1;
    }
    *out = e;
    return 0;
}

void engine_free(struct engine *e)
{
    if (!e)
        return;
    if (e->self)
        e->backend->free(e->self);
    engine_service_stop(&e->service);
    free(e->address);
    free(e);
}

int engine_info(struct engine *e, struct engine_info *out, struct err *err)
{
    return e->backend->info(e->self, out, err);
}

int engine_facts(struct engine *e, bool need_gpu, struct engine_info *out, struct err *err)
{
    return e->backend->facts(e->self, need_gpu, out, err);
}

int engine_image_ensure(struct engine *e, const char *image, const struct engine_pull_opts *opts, char id[IMAGE_ID_MAX],
                        bool *pulled, struct err *err)
{
    return e->backend->image_ensure(e->self, image, opts, id, pulled, err);
}

int engine_create(struct engine *e, const struct engine_container *c, char id[CONTAINER_ID_MAX], struct err *err)
{
    return e->backend->create(e->self, c, id, err);
}

int engine_run(struct engine *e, const char *id, const struct engine_run_opts *opts, struct engine_exit *out,
               struct err *err)
{
    return e->backend->run(e->self, id, opts, out, err);
}

int engine_copy_out(struct engine *e, const char *id, const char *path, int dir_fd, uint64_t max_bytes, bool *found,
                    struct err *err)
{
    return e->backend->copy_out(e->self, id, path, dir_fd, max_bytes, found, err);
}

int engine_remove(struct engine *e, const char *id, struct err *err)
{
    return e->backend->remove(e->self, id, err);
}

int engine_network_ensure(struct engine *e, struct engine_network *out, struct err *err)
{
    return e->backend->network_ensure(e->self, out, err);
}

int engine_network_check(struct engine *e, struct err *err)
{
    return e->backend->network_check(e->self, err);
}

int engine_list(struct engine *e, const char *label, struct engine_listed **out, size_t *n, struct err *err)
{
    return e->backend->list(e->self, label, out, n, err);
}

enum engine_running engine_is_running(struct engine *e, const char *id)
{
    struct err why = ERR_INIT;
    bool running = false;
    if (e->backend->is_running(e->self, id, &running, &why) == 0)
        return running ? ENGINE_RUNNING_YES : ENGINE_RUNNING_NO;
    log_debug("engine", "whether it runs is not known (container=%.12s reason=%s)", id, why.text);
    return ENGINE_RUNNING_UNKNOWN;
}

const char *engine_address(const struct engine *e)
{
    return e->address;
}
