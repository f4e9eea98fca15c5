/* job, inside: one run's state and its parts. */
#ifndef BERTH_JOB_JOB_PRIV_H
#define BERTH_JOB_JOB_PRIV_H

#include "job/run.h"

#include <pthread.h>

#define LOG_MAX_DEFAULT    (UINT64_C(1) << 30)
#define OUTPUT_MAX_DEFAULT (UINT64_C(1) << 40)
#define GRACE_MS_DEFAULT   10000

/* Passes on the caller's cancellation, and ends staging that takes longer than it may. */
struct watch {
    const struct cancel *from;
    struct cancel *to;
    uint64_t timeout_ms;
    enum cancel_level ignored; /* set before the start: up to here nothing is passed on */
    int end_fd;
    pthread_t thread;
    bool running;
    atomic_bool timed_out;
};
int watch_start(struct watch *w, const struct cancel *from, struct cancel *to, uint64_t timeout_ms, struct err *err);
void watch_end(struct watch *w); /* joins; again is fine */

/* The results folder. */
struct results {
    int dir_fd;
    int stream_fd[2]; /* stdout, stderr */
    uint64_t kept[2], dropped[2];
    uint64_t max_bytes;
};
int results_open(struct results *r, const char *dir, uint64_t max_bytes, struct err *err);
int results_add(struct results *r, int stream, const void *p, size_t n, struct err *err);
/* Its "outputs/<name>", created; the path is absolute. */
int results_output_dir(struct results *r, const char *dir, const char *name, struct buf *path, struct err *err);
int results_finish(struct results *r, int exit_code, struct err *err); /* exitCode, marks of what was dropped */
int results_write_record(struct results *r, const json_t *record, struct err *err);
void results_release(struct results *r);

/* The per-run folder below work_root, with a lock that proves life. */
struct workplace {
    char *path;
    int root_fd, lock_fd;
    char id[40];
};
int workplace_open(struct workplace *w, const char *root, const char *id, struct err *err);
/* Removes the folder, unless its container could not be removed: then a later sweep needs it. */
void workplace_release(struct workplace *w, bool keep);
/* 1: its berth is dead (and the lock is now held by *lock_fd), 0: it lives or is not below this root. */
int workplace_is_orphan(int root_fd, const char *id, int *lock_fd);

struct run {
    const struct run_opts *opts;
    const struct op *op;
    struct run_result *result;
    struct engine_info info;
    struct cancel stop;
    struct watch watch;
    struct workplace work;
    struct results results;
    struct stage *stage;
    pthread_mutex_t events_mu;
    bool downloading_said;
    char image_id[IMAGE_ID_MAX];
    bool image_pulled, bind_outputs;
    struct run_net {
        bool none;
        struct engine_network own; /* its name is empty: the engine's default */
        char note[ERR_TEXT_MAX];   /* for the record: "full", "filtered", "none" or "none: why" */
    } net;
    char container[CONTAINER_ID_MAX];
    struct engine_exit exit;
    struct { /* the record's part about the inputs, made beside the container; the thread's while it runs */
        pthread_t thread;
        bool running;
        json_t *inputs;
        struct err err;
    } describing;
    int64_t begun_ms, finished_ms;
    uint64_t running_since; /* monotonic */
};

void run_say_phase(struct run *r, enum run_phase phase);
void run_warn(struct run *r, const char *fmt, ...) ATTR_PRINTF(2, 3);

/* What can be refused before a byte moves: GPU, outputs inside read-only inputs. */
int run_check(struct run *r, struct err *err);
/* Which network the container gets, right before it is made. Never an error: what can't be had is none. */
void run_settle_network(struct run *r);
/* Container description from op, mounts and outputs; create it. */
int run_create(struct run *r, struct err *err);
/* Outputs that are not bind mounts are copied out; of those that are, devices, FIFOs, sockets and set-ID bits go. */
int run_collect(struct run *r, struct err *err);
/* Publish the results folder where the job says so, and put into `record` what is there now, or why nothing is. Nothing
 * after an interruption, unless that is wanted. */
int run_publish(struct run *r, json_t *record, struct err *err);
/* Once all inputs are ready: begin to write down what they are. The record of 10,000 files takes longer than many a
 * container; nothing it holds changes from here on. Without a thread to spare, run_record() does it. */
void run_describe_inputs(struct run *r);
void run_describe_end(struct run *r); /* joins; again is fine */
json_t *run_record(struct run *r, const struct err *failure, struct err *err);

#endif
