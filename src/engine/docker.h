/* docker: the client of the Docker Engine API, which Docker and Podman both serve.
 *
 * One call is one HTTP request, tried once, or twice where it changes nothing or deletes: an engine that does not
 * answer on its own machine's socket will not do so a minute later. Podman answers most failures with 500 and puts the
 * cause into words, so the words are looked at where it matters. A struct docker may be used by several threads. */
#ifndef BERTH_ENGINE_DOCKER_H
#define BERTH_ENGINE_DOCKER_H

#include "engine/engine_priv.h"

#include <pthread.h>

enum docker_flavour { FLAVOUR_DOCKER, FLAVOUR_PODMAN };

/* How the engine hands out GPUs. */
enum docker_gpu { GPU_NONE, GPU_RUNTIME /* NVIDIA's hook */, GPU_CDI /* Container Device Interface */ };

/* What create must know of the engine beyond its version. */
struct docker_features {
    bool init; /* it can run an init as PID 1 */
    enum docker_gpu gpu;
};

struct docker {
    struct http *http; /* never changes, like all up to `features` */
    enum docker_flavour flavour;
    bool local;       /* it sees our files */
    bool rootless;    /* of a local one: who listens is not root */
    pid_t served_by;  /* of a local one: the process that listens; 0: not one that this process can see */
    char base[320];   /* "http://engine/v1.41" */
    char libpod[320]; /* "http://engine/v4.0.0/libpod": Podman's own API */
    char version[64], api_version[16];
    char address[256];
    struct { /* asked for once, by whoever needs them first */
        pthread_mutex_t mu;
        bool known;
        struct docker_features value;
    } features;
};

#define DOCKER_WORDS_MAX  512
#define DOCKER_PATH_MAX   2048
#define DOCKER_IDLE_MS    120000 /* an engine under load takes its time to create or start */
#define DOCKER_NO_IDLE    UINT32_MAX
#define DOCKER_ANSWER_MAX ((size_t)32 << 20) /* a list of all containers is the longest */

struct docker_request {
    const char *method; /* NULL: GET */
    const char *path;   /* below the base, encoded; with query */
    bool libpod;        /* of Podman's own API */
    const json_t *body; /* NULL: none */
    const char *registry_auth;
    uint32_t idle_ms; /* 0: DOCKER_IDLE_MS */
    int (*on_body)(void *ctx, const struct http_response *head, const void *p, size_t n, struct err *err);
    void *ctx;
    const struct cancel *cancel;
};

/* What came back; `json` is NULL where the answer is not JSON. Release it in either case. */
struct docker_reply {
    int status;
    json_t *json;
    char message[DOCKER_WORDS_MAX]; /* of an error answer: the engine's words */
};
void docker_reply_release(struct docker_reply *r);
#define AUTO_REPLY AUTO(docker_reply_release) struct docker_reply

/* 0: an answer came, whatever its status. -1: the engine could not be asked (ERR_TRANSIENT, …), with its address. */
int docker_call(struct docker *d, const struct docker_request *req, struct docker_reply *reply, struct err *err);

/* The engine's words in an error answer: {"message": …} of both engines, else the start of the body itself. `answer` is
 * the body as JSON, or NULL. */
void docker_words(char out[DOCKER_WORDS_MAX], const json_t *answer, struct span body);

/* Turn an error answer into an error: "<what>: <the engine's words> (HTTP 409)"; returns -1. */
int docker_refused(const struct docker_reply *r, struct err *err, const char *fmt, ...) ATTR_PRINTF(3, 4);
enum err_kind docker_status_kind(int status);

/* An error of the transport, in terms of the engine. Returns -1. */
int docker_unreachable(const struct docker *d, struct err *err);

/* "/containers/<id><tail>" with the id percent-encoded. */
int docker_container_path(char out[DOCKER_PATH_MAX], const char *id, const char *tail, struct err *err);

/* The verbs. */
int docker_open(void **self, const struct endpoint *at, struct err *err);
void docker_free(void *self);
int docker_info(void *self, struct engine_info *out, struct err *err);
int docker_facts(void *self, bool need_gpu, struct engine_info *out, struct err *err);
int docker_image_ensure(void *self, const char *image, const struct engine_pull_opts *opts, char id[IMAGE_ID_MAX],
                        bool *pulled, struct err *err);
int docker_create(void *self, const struct engine_container *c, char id[CONTAINER_ID_MAX], struct err *err);
int docker_run(void *self, const char *id, const struct engine_run_opts *opts, struct engine_exit *out,
               struct err *err);
int docker_copy_out(void *self, const char *id, const char *path, int dir_fd, uint64_t max_bytes, bool *found,
                    struct err *err);
int docker_remove(void *self, const char *id, struct err *err);
int docker_network_ensure(void *self, struct engine_network *out, struct err *err);
int docker_network_check(void *self, struct err *err);
int docker_list(void *self, const char *label, struct engine_listed **out, size_t *n, struct err *err);
int docker_is_running(void *self, const char *id, bool *running, struct err *err);

int docker_features_get(struct docker *d, bool need_gpu, struct docker_features *out, struct err *err);
void docker_features_without_init(struct docker *d);

/* What is known about a container. */
struct docker_state {
    bool running, oom_killed;
    bool being_cleaned_up; /* Podman: it has ended, and its file system is about to be unmounted */
    int exit_code;
    int pid;                         /* 0: it does not run */
    int64_t started_ms, finished_ms; /* 0: not */
    uint64_t memory_bytes;           /* its limit; 0: none */
    char stop_signal[32];
    char error[512];
};
int docker_inspect(struct docker *d, const char *id, struct docker_state *out, struct err *err);

#endif
