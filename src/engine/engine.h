/* engine: container engines behind one interface. Back end now: the Docker Engine API 1.41 (Docker 20.10 or later,
 * Podman 4 or later; Podman's containers are made by its own Libpod API 4.0, everything else is the same).
 *
 * The order that loses nothing: create (never removed automatically) → attach → start → wait → inspect → remove. The
 * engine keeps no log of its own: what the attached stream carries is all there is, byte for byte. Containers get no
 * new privileges, explicit ulimits, no swap above their memory limit, and an init as PID 1 where the engine has one.
 *
 * A struct engine may be used by several threads at once; each call blocks the thread that makes it. Times are
 * milliseconds, sizes bytes. Errors name the engine's address or the container, image or path, and never hold a secret.
 * API: Docker Engine API v1.41 reference; Podman Libpod API v4.0.0 reference. */
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
    const char *runtime_dir; /* for that private socket; NULL: XDG_RUNTIME_DIR, TMPDIR or /tmp */
};

/* ERR_NOTFOUND: there is no engine. ERR_DENIED: its socket is not for this user. ERR_TRANSIENT: it does not answer.
 * ERR_UNSUPPORTED: it is too old, or of a kind that berth can't reach. A private service ends with engine_free(), or
 * with the thread that opened it: open it on one that lives as long. tcp:// takes TLS from DOCKER_TLS_VERIFY and
 * DOCKER_CERT_PATH, and always verifies. */
int engine_open(struct engine **out, const struct engine_opts *opts, struct err *err);
void engine_free(struct engine *e);

struct engine_info {
    char name[32]; /* "docker", "podman" */
    char version[64], api_version[16];
    char address[256];
    char cgroup_version[8], runtime[32];
    bool rootless, has_init, gpu_nvidia;
    bool same_mounts; /* it sees what this process mounts */
    unsigned cpus;
    uint64_t memory_bytes;
};
int engine_info(struct engine *e, struct engine_info *out, struct err *err);
/* What a run has to know, seen from here where that is possible, since Podman takes 0.2 s to answer: all but cpus,
 * memory_bytes, cgroup_version and runtime, which may be empty; gpu_nvidia is right only with `need_gpu`. */
int engine_facts(struct engine *e, bool need_gpu, struct engine_info *out, struct err *err);

struct engine_registry_auth {
    const char *server, *username, *password, *email; /* NULL: none */
};
/* Who may use what is there, where people who do not trust each other share an engine. `repository` is
 * "docker.io/library/busybox", in lower case; `name` the full one with tag or digest. */
struct engine_image_guard {
    /* May it be used without its registry being asked, once it is seen to be there? Else it is pulled as if it were
     * not. `repository` NULL: it is named by its id, which no registry knows; false is a refusal. */
    bool (*may_use)(void *ctx, const char *name, const char *repository);
    /* Around each pull, before anything of it is there and after it came or failed; both may be NULL. An error of
     * begin() is that of the pull, and end() does not follow. */
    int (*begin)(void *ctx, const char *repository, bool with_credentials, struct err *err);
    void (*end)(void *ctx, const char *repository, bool with_credentials, bool pulled);
    void *ctx;
};

enum engine_pull { ENGINE_PULL_MISSING, ENGINE_PULL_ALWAYS, ENGINE_PULL_NEVER };

struct engine_pull_opts {
    enum engine_pull when;
    /* NULL, or for another registry than the image's: DOCKER_CONFIG or ~/.docker/config.json */
    const struct engine_registry_auth *auth;
    bool given_only; /* no credentials but these: the image is named by somebody else than this machine's user */
    const struct engine_image_guard *guard; /* NULL: whatever is there may be used */
    void (*progress)(void *ctx, const char *status, uint64_t done_bytes, uint64_t total_bytes);
    void *ctx;
    const struct cancel *cancel;
};
/* Make the image present; `id` gets its id ("sha256:…"). Names are Docker's: "busybox" is
 * "docker.io/library/busybox:latest". `progress` runs on the calling thread; its sums are of what is being downloaded.
 * ERR_NOTFOUND, ERR_DENIED (registry 401/403), ERR_REFUSED (an id, by the guard), ERR_NOSPACE, ERR_UNSUPPORTED (not for
 * this machine), ERR_TRANSIENT. */
#define IMAGE_ID_MAX 128
int engine_image_ensure(struct engine *e, const char *image, const struct engine_pull_opts *opts, char id[IMAGE_ID_MAX],
                        bool *pulled, struct err *err);

struct engine_mount {
    const char *source; /* absolute; checked to exist first (ERR_NOTFOUND), where the engine is on this machine */
    const char *target; /* absolute */
    bool writable;      /* else read-only, and so is everything mounted within it */
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
    const char *network; /* of engine_network_ensure(); then without IPv6 and raw sockets. NULL: the engine's default */
    double cpus;
    uint64_t memory_bytes;
    uint32_t pids;    /* 0: 4,096 */
    uint32_t gpus;    /* UINT32_MAX: all */
    const char *user; /* NULL: the image's */
    uint64_t nofile;  /* 0: this process's hard limit, at most 1,048,576 */
};

#define CONTAINER_ID_MAX 80
/* ERR_NOTFOUND: the image or a mount's source is missing; ERR_EXISTS: the name is taken; ERR_UNSUPPORTED: GPUs are
 * asked for and there are none. */
int engine_create(struct engine *e, const struct engine_container *c, char id[CONTAINER_ID_MAX], struct err *err);

/* Everything the container writes, as it comes. Called on the thread of engine_run(). -1 from write() kills the
 * container and ends the run with that error. A slow writer slows the container down; nothing is buffered for it. */
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
    int exit_code; /* the container's; where it did not start, as `docker run` has them: 127 command not found, 126 it
                      can't be executed, 125 any other reason. With an init the first two are EXITED. */
    char reason[512];                /* the engine's words where it did not start */
    int64_t started_ms, finished_ms; /* wall */
    uint64_t first_output_ms;        /* after the start; UINT64_MAX: none */
};
/* Attach, start, stream, wait; once for each container. Stopping is the image's stop signal, the grace period, KILL.
 * ENGINE_OOM: the kernel killed something in it for want of memory, and it did not end with 0. ERR_TRANSIENT where the
 * engine vanished mid-run (F41). The container still exists afterwards. */
int engine_run(struct engine *e, const char *id, const struct engine_run_opts *opts, struct engine_exit *out,
               struct err *err);

/* Copy a path of a stopped container into a folder, confined: the content of a folder, or one file under its own name.
 * A path that is a link is followed within the container. Devices, sockets and FIFOs are left out. *found is false
 * where the path does not exist there. `max_bytes` 0: archive.h's default. ERR_LIMIT, ERR_REFUSED. */
int engine_copy_out(struct engine *e, const char *id, const char *path, int dir_fd, uint64_t max_bytes, bool *found,
                    struct err *err);
int engine_remove(struct engine *e, const char *id, struct err *err); /* with force; absent is fine */

/* A network of berth's own, for containers that are not to be trusted with this machine's: a bridge of a name known
 * beforehand, without IPv6. It keeps nobody from anything by itself: filter.h does. */
#define ENGINE_BRIDGE_MAX 16 /* IFNAMSIZ */
struct engine_network {
    char name[32];
    char bridge[ENGINE_BRIDGE_MAX];
    char subnet[20]; /* "10.89.0.0/24" */
};
/* Made where it is missing, and left for the next time. ERR_UNSUPPORTED: as below; ERR_EXISTS: a network of that name
 * is not berth's. */
int engine_network_ensure(struct engine *e, struct engine_network *out, struct err *err);
/* Whether the bridge would be one of this machine's network as this process sees it. ERR_UNSUPPORTED: the engine is
 * remote, rootless, or in another network namespace. */
int engine_network_check(struct engine *e, struct err *err);

/* Containers with the label, living or dead. The caller frees *out. */
struct engine_listed {
    char id[CONTAINER_ID_MAX];
    char label[128]; /* the label's value */
    bool running;
};
int engine_list(struct engine *e, const char *label, struct engine_listed **out, size_t *n, struct err *err);
/* NO: it has ended, or this engine does not know it: then it may still be another's. */
enum engine_running { ENGINE_RUNNING_UNKNOWN, ENGINE_RUNNING_NO, ENGINE_RUNNING_YES };
enum engine_running engine_is_running(struct engine *e, const char *id); /* UNKNOWN: it can't be asked */
/* Which engine this is, alike in every process of this machine: where it listens, links resolved, or for a private
 * service whose containers it has. Borrowed. */
const char *engine_address(const struct engine *e);

#endif
