/* engine_priv: what the files of this module share: the table of a back end's functions, and the Docker API's client.
 */
#ifndef BERTH_ENGINE_ENGINE_PRIV_H
#define BERTH_ENGINE_ENGINE_PRIV_H

#include "base/json.h"
#include "engine/engine.h"
#include "xfer/http.h"

#include <sys/types.h>

/* Where an engine listens. */
#define SOCKET_PATH_MAX 108 /* sun_path, its NUL included */
struct endpoint {
    char address[256];            /* as people write it: "unix:///run/docker.sock", "tcp://host:2376" */
    char socket[SOCKET_PATH_MAX]; /* empty: TCP */
    char authority[256];          /* host:port for TCP */
    bool tls;
};

/* One kind of engine. Each function has the contract that engine.h states for its namesake; `self` is the back end's
 * own state. */
struct engine_backend {
    const char *name;
    int (*open)(void **self, const struct endpoint *at, struct err *err); /* says hello: an answering engine, or -1 */
    void (*free)(void *self);
    int (*info)(void *self, struct engine_info *out, struct err *err);
    int (*facts)(void *self, bool need_gpu, struct engine_info *out, struct err *err);
    int (*image_ensure)(void *self, const char *image, const struct engine_pull_opts *opts, char id[IMAGE_ID_MAX],
                        bool *pulled, struct err *err);
    int (*create)(void *self, const struct engine_container *c, char id[CONTAINER_ID_MAX], struct err *err);
    int (*run)(void *self, const char *id, const struct engine_run_opts *opts, struct engine_exit *out,
               struct err *err);
    int (*copy_out)(void *self, const char *id, const char *path, int dir_fd, uint64_t max_bytes, bool *found,
                    struct err *err);
    int (*remove)(void *self, const char *id, struct err *err);
    int (*network_ensure)(void *self, struct engine_network *out, struct err *err);
    int (*network_check)(void *self, struct err *err);
    int (*list)(void *self, const char *label, struct engine_listed **out, size_t *n, struct err *err);
    int (*is_running)(void *self, const char *id, bool *running, struct err *err); /* -1: it can't be asked */
};
extern const struct engine_backend docker_backend;

/* A private `podman system service`, for as long as the struct lives. */
struct engine_service {
    pid_t pid; /* 0: none */
    char folder[SOCKET_PATH_MAX];
};
int engine_service_start(struct engine_service *s, const char *runtime_dir, struct endpoint *at, struct err *err);
void engine_service_stop(struct engine_service *s);

/* "unix:///path", "/path", "tcp://host:port", "https://host:port" → where. ERR_INVALID, ERR_UNSUPPORTED (ssh, npipe).
 */
int endpoint_parse(struct endpoint *out, const char *text, struct err *err);

#endif
