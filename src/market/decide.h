/* decide: what a market does, as pure functions of (rows, now). No SQL, no clock, no memory of its own; the model test,
 * the simulation and the SQL all call exactly these.
 *
 * An execution is *queued*, or *held* by a node under an epoch (claimed … publishing), or *ended*. A verdict says what
 * becomes of it: nothing, a move to another state, or a request to its node to stop. */
#ifndef BERTH_MARKET_DECIDE_H
#define BERTH_MARKET_DECIDE_H

#include "base/str.h"

#include <stdint.h>

/* X(name, word); in the order of their advance. The numbers are stored: append only. */
#define EXEC_STATES(X)                                                                                                 \
    X(QUEUED, "queued")                                                                                                \
    X(CLAIMED, "claimed")                                                                                              \
    X(STAGING, "staging")                                                                                              \
    X(RUNNING, "running")                                                                                              \
    X(PUBLISHING, "publishing")                                                                                        \
    X(SUCCEEDED, "succeeded")                                                                                          \
    X(FAILED, "failed")                                                                                                \
    X(STOPPED, "stopped")                                                                                              \
    X(TIMED_OUT, "timed_out")                                                                                          \
    X(EXPIRED, "expired")

enum exec_state {
#define X(name, word) EXEC_##name,
    EXEC_STATES(X)
#undef X
        EXEC_STATE_COUNT
};

const char *exec_state_word(enum exec_state s);
bool exec_state_parse(const char *word, enum exec_state *out); /* false: no such word */
bool exec_may_move(enum exec_state from, enum exec_state to);  /* the one table of allowed moves */
static inline bool exec_is_held(enum exec_state s)
{
    return s >= EXEC_CLAIMED && s <= EXEC_PUBLISHING;
}
static inline bool exec_is_ended(enum exec_state s)
{
    return s >= EXEC_SUCCEEDED;
}

#define TIME_NEVER INT64_MAX

/* What decisions about one execution look at. */
struct exec_facts {
    enum exec_state state;
    uint32_t attempt, max_attempts;
    int64_t lease_until_ms;      /* while held */
    int64_t definition_until_ms; /* TIME_NEVER: has its definition, or needs none */
    int64_t queue_deadline_ms;   /* TIME_NEVER: none */
    int64_t total_deadline_ms;   /* TIME_NEVER: none */
    bool stopping;               /* its node was asked to stop */
    enum exec_state stop_as;     /* while stopping: what it ends as */
    int64_t stop_by_ms;          /* while stopping: when it ends without its node */
};

enum verdict_kind { VERDICT_KEEP, VERDICT_MOVE, VERDICT_ASK_STOP };
struct verdict {
    enum verdict_kind kind;
    enum exec_state to; /* MOVE: there; ASK_STOP: what it will end as */
    bool avoid;         /* MOVE to queued: its last node only where no other could take it */
    const char *reason; /* a literal, or NULL: the caller's own words */
};

/* When decide_tick() has to look next; TIME_NEVER for an ended one. */
int64_t decide_due(const struct exec_facts *x);
/* Time passes. KEEP before decide_due(). */
struct verdict decide_tick(const struct exec_facts *x, int64_t now_ms);
/* Somebody stops the job; KEEP: it has ended, or is being stopped already. */
struct verdict decide_stop(const struct exec_facts *x);
/* Its holder reports a state: MOVE forwards, KEEP where it is no news (a late message). */
struct verdict decide_report(const struct exec_facts *x, enum exec_state reported);
/* Its holder is done: `outcome` is SUCCEEDED, FAILED, STOPPED or TIMED_OUT; `retry`: the node's own fault. */
struct verdict decide_finish(const struct exec_facts *x, enum exec_state outcome, bool retry);
/* Its holder was rejected, or gave it back. */
struct verdict decide_lost(const struct exec_facts *x, const char *reason);

/* The job's state from its executions', one count a state: the least advanced live one's; when none lives, succeeded
 * if all did, else stopped, expired, timed_out, failed, the first that any has. */
enum exec_state decide_job_state(const uint32_t counts[EXEC_STATE_COUNT]);

/* ---- Order. A step of priority is worth a minute of waiting, for ever: the rank does not change with time, so one
 * index serves the claim, and whatever waits is overtaken only by what came at most `priority × step` later. */
#define PRIORITY_MAX     100
#define PRIORITY_STEP_MS 60000
static inline int64_t decide_rank(int64_t queued_ms, int32_t priority)
{
    return queued_ms - (int64_t)priority * PRIORITY_STEP_MS;
}

/* ---- Placement */

struct label {
    const char *name, *value;
};
struct label_set {
    const struct label *v;
    size_t n;
};
/* One constraint over labels: in notin exists ! gt lt = == !=, as Kubernetes' selectors read them: an absent label
 * satisfies `!`, `!=` and `notin`; gt and lt compare numbers, and are false where one is none. */
struct match {
    const char *name, *op;
    const char *const *values;
    size_t value_count;
};
bool decide_match(const struct match *c, const struct label_set *labels);

#define GPUS_MAX 64
#define GPUS_ALL UINT32_MAX
struct needs {
    double cpus; /* 0: does not say; so for all */
    uint64_t memory_bytes, disk_bytes;
    uint32_t gpus; /* or GPUS_ALL */
    uint32_t vram_mib;
    bool confidential; /* the node must have a key */
    const struct match *constraints;
    size_t constraint_count;
};
struct machine {
    double cpus;
    uint64_t memory_bytes, disk_bytes;
    uint32_t gpu_mib[GPUS_MAX];
    uint32_t gpus;
    bool has_key;
    struct label_set labels;
    struct { /* by what it runs already */
        double cpus;
        uint64_t memory_bytes, disk_bytes;
        uint32_t gpus; /* saturates at GPUS_ALL */
    } used;
};
bool decide_fits(const struct needs *needs, const struct machine *machine);
/* Count what an execution uses as used. */
void decide_use(struct machine *machine, const struct needs *needs);

/* What is assumed of the link to an origin when a wait for another node is weighed against a download. */
#define ASSUMED_BYTES_PER_S 125000000
/* How long an execution waits for the nodes that hold its inputs. */
int64_t decide_window_ms(int64_t max_window_ms, uint64_t missing_bytes);

/* One queued execution and one node that has room. */
struct offer {
    int64_t queued_ms;      /* when it was queued last */
    int64_t max_window_ms;  /* the market's */
    uint64_t missing_bytes; /* of its inputs: what the best other live node holds beyond this one; 0: nobody does */
    bool fits;
    bool lost_here;    /* this node lost its last attempt */
    bool others_could; /* looked at with lost_here: another live node fits */
};
enum placement { PLACE_TAKE, PLACE_UNFIT, PLACE_LEAVE_TO_OTHERS, PLACE_WAIT_FOR_HOLDER };
enum placement decide_place(const struct offer *o, int64_t now_ms);

#endif
