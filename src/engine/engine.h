/* engine: container engines behind one interface. Back end now: the Docker Engine API 1.41 (Docker and Podman).
 *
 * The order that loses nothing: create (never AutoRemove) → attach → wait → start → inspect → delete. A struct engine
 * may be used by several threads. API: Docker Engine API v1.41 reference. */
#ifndef BERTH_ENGINE_ENGINE_H
#define BERTH_ENGINE_ENGINE_H

#include "base/buf.h"
#include "base/cancel.h"
#include "base/err.h"

#include <stdint.h>

struct engine;

struct engine_opts {
    /* "docker", "podman", "unix:///path", "tcp://host:port"; NULL: BERTH_ENGINE, DOCKER_HOST, the usual sockets in
     * order, else where podman is installed a private `podman system service` for the life of this struct. */
    const char *where;
    const char *runtime_dir; /* for that private socket; NULL: XDG_RUNTIME_DIR or /tmp */
};

int engine_open(struct engine **out, const struct engine_opts *opts, struct err *err);
void engine_free(struct engine *e);

struct engine_info {
    char name[32]; /* "docker", "podman" */
    char version[64], api_version[16];
    char address[256];
    char cgroup_version[8], runtime[32];
    bool rootless, has_init, gpu_nvidia;
    unsigned cpus;
    uint64_t memory_bytes;
};
int engine_info(struct engine *e, struct engine_info *out, struct err *err);

struct engine_registry_auth {
    const char *server, *username, *password, *email; /* NULL: none */
};
enum engine_pull { ENGINE_PULL_MISSING, ENGINE_PULL_ALWAYS, ENGINE_PULL_NEVER };

struct engine_pull_opts {
    enum engine_pull when;
    const struct engine_registry_auth *auth; /* NULL: ~/.docker/config.json */
    void (*progress)(void *ctx, const char *status, uint64_t done_bytes, uint64_t total_bytes);
    void *ctx;
    const struct cancel *cancel;
};
/* Make the image present; `digest` gets its id ("sha256:…"). ERR_NOTFOUND, ERR_DENIED (registry 401/403),
 * ERR_TRANSIENT. */
#define IMAGE_ID_MAX 128
int engine_image_ensure(struct engine *e, const char *image, const struct engine_pull_opts *opts, char id[IMAGE_ID_MAX],
                        bool *pulled, struct err *err);

struct engine_mount {
    const char *source; /* absolute; checked to exist first */
    const char *target;
    bool writable;
};

struct engine_container {
    const char *name; /* NULL: the engine's choice */
    const char *image;
    const char *const *command, *const *entrypoint; /* NULL: the image's */
    const char *const *env;                         /* "K=V", NULL-terminated */
    const char *const *labels;                      /* "k=v"; "berth.job" is added by the caller */
    const char *work_dir;
    const struct engine_mount *mounts;
    size_t mount_count;
    bool network_none;
    double cpus;
    uint64_t memory_bytes;
    uint32_t pids;    /* 0: 4,096 */
    uint32_t gpus;    /* UINT32_MAX: all */
    const char *user; /* NULL: the image's */
    uint64_t nofile;  /* 0: this process's hard limit, at most 1,048,576 */
};

#define CONTAINER_ID_MAX 80
int engine_create(struct engine *e, const struct engine_container *c, char id[CONTAINER_ID_MAX], struct err *err);

/* Everything the container writes, as it comes. Called on the thread of engine_run(). -1 ends the run. */
struct engine_output {
    int (*write)(void *ctx, int stream /* 1: stdout, 2: stderr */, const void *p, size_t n, struct err *err);
    void *ctx;
    void (*started)(void *ctx); /* the command runs; may be NULL */
};

struct engine_run_opts {
    struct engine_output output;
    uint64_t timeout_ms;         /* from the start of the container; 0: none */
    uint64_t stop_grace_ms;      /* between TERM and KILL; 0: 10,000 */
    const struct cancel *cancel; /* CANCEL_STOP: stop with grace; CANCEL_KILL: kill */
};

enum engine_end { ENGINE_EXITED, ENGINE_OOM, ENGINE_TIMED_OUT, ENGINE_STOPPED, ENGINE_NOT_STARTED };
struct engine_exit {
    enum engine_end end;
    int exit_code;                   /* 126, 127 where the command could not be executed or found */
    char reason[512];                /* the engine's words where it did not start */
    int64_t started_ms, finished_ms; /* wall */
    uint64_t first_output_ms;        /* after the start; UINT64_MAX: none */
};
/* Attach, start, stream, wait. ERR_TRANSIENT where the engine vanished mid-run (F41). The container still exists
 * afterwards. */
int engine_run(struct engine *e, const char *id, const struct engine_run_opts *opts, struct engine_exit *out,
               struct err *err);

/* Copy a path of a stopped container to a folder, confined; false in *found where it does not exist there. */
int engine_copy_out(struct engine *e, const char *id, const char *path, int dir_fd, uint64_t max_bytes, bool *found,
                    struct err *err);
int engine_remove(struct engine *e, const char *id, struct err *err); /* with force; absent is fine */

/* Containers with the label, living or dead. */
struct engine_listed {
    char id[CONTAINER_ID_MAX];
    char label[128]; /* the label's value */
    bool running;
};
int engine_list(struct engine *e, const char *label, struct engine_listed **out, size_t *n, struct err *err);
bool engine_is_running(struct engine *e, const char *id);

#endif
