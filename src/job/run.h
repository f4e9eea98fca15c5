/* job: one job's life on this machine: resolving → downloading and pulling → starting → running → publishing → done.
 *
 * Leaves a results folder (stdout, stderr, exitCode, outputs/<name>/…, berth.json) for a failed, killed, timed-out or
 * OOM-killed container too, and publishes it. The record in what is published says nothing of the publishing (it could
 * not hold its own checksum); the one that stays here does: `published`, or `publish_error`. The container is always
 * removed; if this process dies, the next start removes it by label.
 */
#ifndef BERTH_JOB_RUN_H
#define BERTH_JOB_RUN_H

#include "base/cancel.h"
#include "base/err.h"
#include "base/json.h"
#include "engine/engine.h"
#include "publish/managed.h"
#include "publish/publish.h"
#include "spec/job.h"
#include "stage/stage.h"

#include <stdint.h>

#define JOB_LABEL "berth.job" /* on every container; its value is the job id */

/* X(name, word) */
#define RUN_PHASES(X)                                                                                                  \
    X(RESOLVING, "resolving")                                                                                          \
    X(DOWNLOADING, "downloading")                                                                                      \
    X(PULLING, "pulling image")                                                                                        \
    X(STARTING, "starting")                                                                                            \
    X(RUNNING, "running")                                                                                              \
    X(PUBLISHING, "publishing")                                                                                        \
    X(DONE, "done")

enum run_phase {
#define X(name, word) RUN_##name,
    RUN_PHASES(X)
#undef X
        RUN_PHASE_COUNT
};
const char *run_phase_name(enum run_phase phase);

/* Called on several threads, one at a time. Everything is borrowed during the call. */
struct run_events {
    void (*phase)(void *ctx, enum run_phase phase);
    void (*stage)(void *ctx, const struct stage *stage, size_t inputs); /* being staged; NULL: over */
    void (*pull)(void *ctx, const char *status, uint64_t done_bytes, uint64_t total_bytes);
    void (*publish)(void *ctx, uint64_t done_bytes, uint64_t total_bytes);
    void (*output)(void *ctx, int stream, const void *p, size_t n);
    void (*warn)(void *ctx, const char *text);
    void *ctx;
};

/* The network of a container whose job asks for one. */
enum run_network {
    RUN_NETWORK_FULL,     /* the engine's default: all that this machine reaches */
    RUN_NETWORK_FILTERED, /* the public internet (engine/filter.h); where that can't be ensured, none */
    RUN_NETWORK_NONE,
};

struct run_opts {
    const struct job *job;
    struct engine *engine;
    struct stage_opts stage; /* cache, xfer, http, access; job_id, work_dir, cancel and warn are filled in here */
    const char *results_dir; /* created; must be absent or empty */
    const char *work_root;   /* parent of per-run folders; on the cache's file system */
    bool no_gpu;             /* run without the GPU that the job asks for */
    enum run_network network;
    const char *const *network_allow; /* FILTERED: exceptions, as xfer_policy's; NULL: none */
    enum engine_pull pull;
    const struct engine_image_guard *image_guard; /* NULL: what the engine has may be used */
    uint64_t timeout_ms;                          /* 0: the job's own */
    uint64_t stage_timeout_ms;                    /* 0: none */
    uint64_t stop_grace_ms;                       /* 0: 10,000 */
    uint64_t log_max_bytes;                       /* kept per stream; 0: 1 GiB */
    uint64_t output_max_bytes;                    /* 0: 1 TiB */
    struct publish_access publish;                /* how the job's publisher may be reached */
    bool publish_partial;                         /* publish what there is after an interruption, too */
    /* A market's job: one of its executions, under the market's names. */
    struct run_market {
        const char *job_id, *execution_id, *node_id; /* job_id NULL: nobody's but this machine's */
        uint32_t attempt;
        /* As in publish_opts; on the calling thread. */
        int (*begun)(void *ctx, const struct publish_upload *upload, struct err *err);
        int (*commit)(void *ctx, struct err *err);
        /* Of publisher s3managed: a grant for about so many bytes (s3/grant.h; owned), and further URLs of it. NULL:
         * that publisher is refused. */
        json_t *(*grant)(void *ctx, uint64_t bytes, struct err *err);
        int (*more)(void *ctx, enum s3_grant_for what, unsigned part, struct buf *url, struct err *err);
        void *ctx;
    } market;
    const struct cancel *cancel;
    int (*stopped_exit_code)(void); /* what to end with after `cancel`; NULL: 130 */
    struct run_events events;
};

struct run_result {
    char job_id[40]; /* of this run, on this machine */
    enum engine_end end;
    int exit_code; /* what the command line should end with: the container's, or 124, 125, 126, 127, 130, 143 */
    uint64_t phase_ms[RUN_PHASE_COUNT];
    uint64_t first_output_ms; /* from the start of the container; UINT64_MAX: none */
    uint64_t bytes_fetched, bytes_cached;
    json_t *record; /* the content of berth.json; owned */
};

/* 0: the container ran to some end (look at result->end); -1: berth itself failed, result->exit_code says how to exit.
 */
int job_run(const struct run_opts *opts, struct run_result *result, struct err *err);
void run_result_release(struct run_result *r);

/* Remove containers (and their work folders) whose berth is dead. */
int job_sweep(struct engine *engine, const char *work_root, unsigned *removed, struct err *err);

#endif
