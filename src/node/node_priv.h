/* node, inside: what its threads share.
 *
 * Threads: main (node_run: reaps, ends), one each for claims, control, heartbeats, fences and required resources; of
 * each execution one that runs it and one that sends its log. One mutex guards all that more than one of them touches;
 * it is never held over a call. */
#ifndef BERTH_NODE_NODE_PRIV_H
#define BERTH_NODE_NODE_PRIV_H

#include "api/api.h"
#include "base/rng.h"
#include "node/blobs.h"
#include "node/holds.h"
#include "node/images.h"
#include "node/lease.h"
#include "node/node.h"
#include "seal/seal.h"

#include <pthread.h>

#define NODE_ID_MAX      65
#define NODE_JOB_MAX     40
#define NODE_MARKET_MAX  65
#define REASON_MAX       1024
#define READINESS_MAX    256
#define CALL_MS          15000
#define LONG_POLL_MS     25000
#define LONG_CALL_MS     (LONG_POLL_MS + CALL_MS)
#define BACK_OFF_MS      500
#define BACK_OFF_MAX_MS  15000
#define LOG_PIECE        ((size_t)192 << 10) /* of one call: base64 makes 256 KiB of it */
#define RECORD_BYTES_MAX ((size_t)900 << 10) /* of a run record in finish */
#define API_NODE         "/api/v1/node/"

/* X(name, word): what the server is told. */
#define EXEC_STATES(X) X(CLAIMED, "claimed") X(STAGING, "staging") X(RUNNING, "running") X(PUBLISHING, "publishing")
enum exec_state {
#define X(name, word) EXEC_##name,
    EXEC_STATES(X)
#undef X
};

struct node;

struct execution {
    /* Never changes. */
    struct node *node;
    char job[NODE_JOB_MAX];
    uint32_t index, count, attempt;
    int64_t epoch;
    bool confidential;           /* the server is not to hear what the job is made of */
    json_t *claim;               /* the running thread's; wiped as soon as it is understood */
    char tag[NODE_JOB_MAX + 40]; /* "<job>-<index>-<epoch>": names of its folder and its will */
    char execution_id[NODE_JOB_MAX + 16];
    char *dir; /* its results folder */
    pthread_t thread;
    struct cancel cancel;  /* ends the run */
    struct cancel lost_fd; /* raised when the claim is lost: ends what is still being sent */
    struct {               /* under node->mu */
        struct execution *next;
        uint64_t lease_until_ms; /* boot time */
        enum exec_state state;
        bool lost, stopped, given_back;
        bool finishing, told, done; /* its end: being told, known to the server, the thread ends */
        char stop_reason[REASON_MAX];
        const struct stage *stage; /* while it is being staged */
        size_t inputs;
        uint64_t pull_done, pull_total, publish_done, publish_total;
    } shared;
    struct {
        pthread_mutex_t mu;
        pthread_cond_t changed;
        bool more, over; /* output came; no more will */
    } log;
};

struct node {
    const struct node_opts *opts;
    struct api *api;
    char id[NODE_ID_MAX], market[NODE_MARKET_MAX];
    int state_fd, lock_fd, results_fd;
    char *results_dir;
    const char *private_dirs[3]; /* no input may see them; NULL at the end */
    struct seal_pair *pair;
    struct engine_info engine;
    struct holds holds;
    struct images images;
    struct node_peers *peers; /* NULL: serves none */
    struct xfer *peer_xfer;   /* fetches from them */
    struct cancel ending;     /* no new claims, no more preparing */
    struct cancel over;       /* all threads end */
    int wake_fd;              /* eventfd: main is to look around */
    int fence_fd;             /* eventfd: leases changed */

    pthread_mutex_t mu;
    pthread_cond_t changed; /* on the monotonic clock */
    struct {                /* under mu */
        struct execution *running;
        uint32_t running_count;
        bool ready, drain, beat_now;
        bool blobs_changed; /* something was staged: the next heartbeat looks at once which blobs are there */
        char readiness[READINESS_MAX];
        int64_t required_wanted, required_held; /* versions; -1: none yet */
        uint32_t heartbeat_ms, lease_ms;
        const struct stage *preparing; /* required resources being staged */
        size_t preparing_count;
        struct err fatal;
    } shared;
};

/* node.c */
void node_say(const struct node *n, const char *fmt, ...) ATTR_PRINTF(2, 3);
void node_wake(struct node *n);     /* main, and whoever waits for `changed` */
void node_beat_now(struct node *n); /* mu held: the heartbeat need not wait */
void node_fail(struct node *n, struct err *why);
/* Fold in what any answer may say: "drain", "required_version". */
void node_heed(struct node *n, const json_t *answer);

/* identity.c: id, token and keys of the state folder. */
int identity_open(struct node *n, struct err *err);
char *identity_token(const struct node *n, struct err *err); /* NULL: none yet; free with str_free_secret() */
int identity_keep_token(const struct node *n, const char *token, struct err *err);
int identity_keep_given(const struct node *n, struct err *err); /* the options' one, where none is kept */

/* hello.c: joins; blocks until the server has answered. */
int node_hello(struct node *n, struct err *err);

/* calls.c */
/* One call of the agent's side; adds version and node to `body`, which is stolen (NULL with `err` set is fine). */
struct node_call {
    const char *what; /* "claim" */
    json_t *body;
    bool once; /* not to be repeated */
    uint32_t total_ms;
    const struct cancel *cancel;
    json_t **refusal;
};
int node_call(struct node *n, const struct node_call *call, json_t **out, struct err *err);
/* {"job", "index", "epoch"}; owned, NULL with `err`. */
json_t *exec_ref(const struct execution *e, struct err *err);
/* A call about an execution, repeated until it is answered or the claim is lost (ERR_CANCELLED then). ERR_CHANGED has
 * lost the claim already. `body` is borrowed: an exec_ref() with more in it. */
int exec_call(struct execution *e, const char *what, const json_t *body, json_t **out, json_t **refusal,
              struct err *err);
bool worth_repeating(enum err_kind kind);
/* Wait longer each time, with jitter. -1 where `cancel` was raised. */
struct back_off {
    unsigned failed;
    struct rng rng;
};
int back_off_wait(struct back_off *b, const struct cancel *cancel);
void secrets_free(json_t *value); /* overwritten, then freed */

/* lease.c */
void exec_lose(struct execution *e); /* mu held */
void *fence_thread(void *ctx);       /* of all threads: struct node */

/* beat.c, control.c, claim.c, required.c */
void *beat_thread(void *ctx);
void *control_thread(void *ctx);
void *claim_thread(void *ctx);
void *required_thread(void *ctx);
json_t *running_list(struct node *n, bool with_progress, struct err *err); /* takes mu */
struct execution *exec_find(struct node *n, const json_t *ref);            /* mu held */

/* execution.c */
int exec_start(struct node *n, json_t *claim, uint64_t asked_ms, struct err *err); /* steals `claim` */
void exec_stop(struct execution *e, const char *reason);                           /* mu held */
void exec_free(struct execution *e);

/* definition.c: a claim to a job to run. */
struct execution_job {
    struct job *job;
    struct s3_keys keys; /* that came with the job; in the job's arena */
    const char *region;
    uint64_t timeout_ms;
};
int definition_parse(const json_t *definition, const json_t *variables, struct job **out, struct err *err);
int definition_read(struct execution *e, struct execution_job *out, struct err *err);

/* uploads.c: what the server is told of uploads, and its leave to complete. */
struct uploads {
    struct execution *exec;
    struct publish_opts access; /* how the job's publisher is reached */
    char *granted;              /* the upload id of a grant */
};
void uploads_release(struct uploads *u);
void uploads_abort(const struct uploads *u, const json_t *list); /* recorded by earlier attempts */
int uploads_begun(void *ctx, const struct publish_upload *upload, struct err *err);
int uploads_commit(void *ctx, struct err *err);
json_t *uploads_grant(void *ctx, uint64_t bytes, struct err *err);
int uploads_more(void *ctx, enum s3_grant_for what, unsigned part, struct buf *url, struct err *err);

/* logs.c */
int logs_start(struct execution *e, pthread_t *thread, struct err *err);
void logs_more(struct execution *e);
void logs_end(struct execution *e, pthread_t thread); /* sends the rest */

/* will.c */
int will_write(struct execution *e, const json_t *finish, struct err *err); /* NULL: the one of a crash */
void will_remove(struct execution *e);
/* Deliver what earlier processes left; 1: some could not be yet. */
int wills_deliver(struct node *n, struct err *err);

/* peers.c: blobs to and from other nodes. */
int peers_start(struct node *n, struct err *err); /* before hello */
void peers_stop(struct node *n);
int peers_introduce(const struct node *n, json_t *hello, struct err *err);
int peers_welcome(struct node *n, const json_t *answer, struct err *err);
/* A heartbeat's "blobs"; NULL: nothing changed. `more`: the next one has more. */
json_t *peers_tell(struct node *n, bool *more, struct err *err);
void peers_unsure(struct node *n);                          /* it may not have arrived */
json_t *peers_bytes(const struct node *n, struct err *err); /* a heartbeat's "peers" */
/* As in struct stage_peers; `ctx` is the struct execution. */
int peers_locate(void *ctx, const char *const *sha256, size_t n, json_t **out, struct err *err);
int peers_locate_required(void *ctx, const char *const *sha256, size_t n, json_t **out, struct err *err); /* the node */

/* info.c */
json_t *info_json(const struct node *n, struct err *err);
json_t *info_cache(struct node *n, struct err *err);
/* "name, MiB" lines of nvidia-smi; pure. */
json_t *info_gpus(struct span lines, struct err *err);

#endif
