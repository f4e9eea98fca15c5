/* xfer_priv: the engine's inside.
 *
 * Who holds what. One mutex, `shared.mu`, guards the scheduler and every `sched_…` part of files, hosts and groups; it
 * is held for decisions only. A file's own mutex serialises its source's and sink's callbacks. An exchange belongs to
 * one transfer thread from the moment it was picked until it ends or waits again. Threads tell one another to look
 * again by loop_poke(); what they then see are atomic flags (`dead`, `epoch`, a twin's `winner`).
 *
 * A file is freed with its last reference: one is its life (from xfer_get_start() until it succeeded or failed), one is
 * held by each unit under way and by each task on a pool. Whoever drops the last runs `done`. */
#ifndef BERTH_XFER_PRIV_H
#define BERTH_XFER_PRIV_H

#include "base/clock.h"
#include "base/pool.h"
#include "xfer/lane.h"
#include "xfer/loop.h"
#include "xfer/sched.h"
#include "xfer/verify.h"
#include "xfer/xfer.h"

#include <pthread.h>

#define XFER_TICK_MS        50 /* how late a cancellation or a stall may be noticed */
#define XFER_ERROR_BODY_MAX (64 * 1024)
#define XFER_PROGRESS_MIN   (64 * 1024) /* a try that came so much further is not held against its part */

/* An origin under one policy. Lives as long as the engine. */
struct xfer_host {
    struct sched_host sched; /* first */
    const struct xfer_policy *policy;
    struct arena *arena;
    struct url url; /* of its root */
    bool tls;
    bool raw_fit; /* no proxy stands in between */
};

LIST_HEAD(file_list, xfer_file);
LIST_HEAD(group_list, group_rec);

struct group_rec {
    struct sched_group sched; /* first */
    LIST_ENTRY(group_rec) all;
    struct xfer_group *group;
    const struct xfer_policy *policy; /* the engine's copy */
    struct file_list files;
};

struct xfer_file {
    struct sched_file sched; /* first; guarded by shared.mu */
    struct xfer *x;
    struct group_rec *rec;
    struct xfer_get get;
    char *name;

    LIST_ENTRY(xfer_file) of_group; /* guarded by shared.mu, as all until the next heading */
    unsigned refs;
    bool ended; /* its life is over; `err` says how */
    bool refreshing;
    bool hashing;                   /* a task follows the front of the file */
    bool finishing;                 /* the last digests are being computed */
    struct err *err;                /* owned */
    const struct err *result_error; /* NULL: success so far */

    atomic_bool dead;  /* requests under way for it are to be dropped */
    atomic_uint epoch; /* cut anew as one stream: requests of an earlier epoch are to be dropped */
    atomic_uint_fast64_t wire;
    atomic_uint_fast64_t streamed; /* of a file in one part: bytes in it so far */

    pthread_mutex_t mu; /* guards the rest; serialises the callbacks of source and sink */
    bool opened;
    int fd;
    struct partmap *map;
    struct xfer_want want;
    struct verify *verify;
    bool verify_stale;   /* cut anew since it was opened: computed afresh from the file at the end */
    unsigned auth_epoch; /* counts refreshed credentials */
    char *moved_to;      /* where the last redirect chain ended, to go there at once with the next part */
    bool moved_away;     /* that is another origin: bound headers stay behind */
    bool has_head;
    struct http_response head;
    uint64_t head_bytes;   /* Content-Length of the answer to HEAD */
    uint64_t learned_size; /* where it was unknown */

    /* the one thread that finishes the file */
    unsigned refetches;
    uint64_t refetched_first;
    struct xfer_result result;
};

/* Two requests for one part that stalls. Bytes are written under `mu`, so that the loser cannot write after the winner
 * was declared. */
struct twin {
    pthread_mutex_t mu;
    atomic_uint refs; /* who may look at this struct */
    unsigned riders;  /* requests that may still win; guarded by mu */
    atomic_bool decided;
};

enum exchange_phase { EXCHANGE_HEAD, EXCHANGE_BODY, EXCHANGE_ERROR_BODY };

/* A unit and its request. */
struct exchange {
    struct sched_unit unit; /* first */
    struct xfer_file *file;
    TAILQ_ENTRY(exchange) live; /* of the thread it is under way on */
    struct loop *loop;

    /* Over all tries. */
    unsigned tries;
    uint64_t got;      /* bytes of the unit that are in the file */
    uint64_t furthest; /* the most that `got` has been at the end of a try that made progress */
    struct digest *digest;
    struct twin *twin;
    bool hedged;

    /* Of this try. */
    const struct lane_ops *ops;
    struct lane *lane;
    void *lane_state;
    struct xfer_request req;
    struct lane_request wire;
    struct arena *arena; /* the URL, after redirects */
    struct url url;
    struct buf url_text, authority, lines;
    struct xfer_host *host;
    unsigned hops;
    bool bound_dropped; /* a redirect led to another origin */
    bool used_moved;    /* went to file->moved_to at once */
    bool whole;         /* asked without a range */
    bool single;        /* its file is in one part */
    unsigned epoch, auth_epoch;
    uint64_t started_ms;
    uint64_t try_got;     /* bytes of this try */
    uint64_t throttle_ms; /* Retry-After of this answer */
    uint64_t expected;    /* bytes this answer is to bring; UINT64_MAX: not known */
    enum exchange_phase phase;
    struct http_response resp;
    struct stall_meter stall;
    uint64_t resume_us; /* paused by the bandwidth ceiling until then; 0: not */
    struct err err;     /* why the engine itself ended it */
    bool passing;       /* …and whether trying again may help */
    bool pressed;       /* 429 or 503 */
    bool again_at_once; /* redirect, new signature: no back-off */
    bool refresh;
    bool counted_stalled; /* in group->stalled */
    bool abandoned;       /* nobody wants it any more: twin, epoch, death */
};

TAILQ_HEAD(exchange_list, exchange);

struct xfer {
    struct xfer_opts opts; /* defaults filled in; never changes */
    unsigned thread_count;
    struct loop *loops[SCHED_THREADS_MAX];
    struct pool *hash_pool, *refresh_pool;
    atomic_bool stopping;

    struct {
        pthread_mutex_t mu;
        pthread_cond_t idle; /* the last file went */
        struct sched sched;
        struct group_list groups;
        struct policy_copy *policies;
        unsigned files;
        struct rng rng;
    } shared;

    struct {
        pthread_mutex_t mu;
        struct bucket bucket;
    } band;

    struct {
        atomic_uint_fast64_t requests, retries, hedges, connections, wake_ups, wire, written, buffers, buffers_peak;
    } stats;
};

/* xfer_host.c; both under shared.mu */
const struct xfer_policy *policy_intern(struct xfer *x, const struct xfer_policy *p, struct err *err);
struct xfer_host *host_intern(struct xfer *x, const struct xfer_policy *policy, const struct url *url, struct err *err);
void hosts_free(struct xfer *x);

/* xfer_loop.c */
int loop_open(struct loop **out, struct xfer *x, unsigned index, struct err *err);
int loop_start(struct loop *l, struct err *err);
void loop_stop(struct loop *l); /* joins; every file has ended */
void loop_free(struct loop *l);
struct lane *loop_lane(struct loop *l, const struct lane_ops *ops, struct err *err);
void loop_adopt(struct loop *l, struct exchange *ex);
void loop_release(struct loop *l, struct exchange *ex);
struct exchange *loop_spare(struct loop *l, struct err *err); /* a blank one, from the thread's few */
void loop_recycle(struct loop *l, struct exchange *ex);
void xfer_poke_all(struct xfer *x);
void xfer_poke_hungry(struct xfer *x);
/* The thread to poke, once the mutex is given back, for a file that was just queued: one that sleeps and has a place
 * for it. NULL: none does; those awake ask before they sleep, those without a place when a unit of theirs is over. */
struct loop *xfer_helper_locked(struct xfer *x, const struct sched_file *f);

/* xfer_exchange.c */
void exchange_free(struct exchange *ex);
void exchange_blank(struct exchange *ex);
void exchange_take_locked(struct exchange *ex); /* just picked; wants shared.mu held */
void exchange_begin(struct exchange *ex);
void exchange_redirect(struct exchange *ex);              /* to where its response leads */
void exchange_look(struct exchange *ex, uint64_t now_ms); /* is it wanted still, does it stall */
void exchange_cut(struct exchange *ex, enum err_kind kind, const char *why, bool passing); /* drop and end it */
void exchange_forget(struct exchange *ex); /* what came of its unit: the next try starts anew */

/* xfer_hedge.c */
void exchange_hedge(struct exchange *ex);
void exchange_count_stalled(struct exchange *ex, bool stalled);
bool twin_win(struct exchange *ex);       /* true where nobody else had won */
bool twin_has_other(struct exchange *ex); /* true where another request may still win: this one stands back */
void twin_leave(struct exchange *ex);

/* xfer_request.c */
int request_build(struct exchange *ex, struct err *err);
int request_follow(struct exchange *ex, struct err *err);

/* xfer_outcome.c */
void outcome_settle(struct exchange *ex);
int exchange_note_verdict(struct exchange *ex, enum xfer_verdict verdict); /* 0: accepted */
void exchange_discard(struct exchange *ex);

/* xfer_file.c. "locked" wants shared.mu held, "opening" file->mu. */
int file_prepare(struct xfer_file *f, struct err *err);
int file_open_sink(struct xfer_file *f, uint64_t size, struct err *err); /* opening */
int file_open_verify(struct xfer_file *f, struct err *err);              /* opening */
void file_keep_head(struct xfer_file *f, struct exchange *ex);           /* opening */
uint64_t file_recut_locked(struct xfer_file *f);                         /* as one part; how many bytes were done */
void file_forget_bytes(struct xfer_file *f);                             /* all of them will come again */
void file_uncount(struct xfer_file *f, uint64_t bytes);
void file_learn_size(struct xfer_file *f, uint64_t size);
void file_ref_locked(struct xfer_file *f);
void file_unref(struct xfer_file *f);
void file_fail(struct xfer_file *f, struct err *err); /* the first failure counts; consumes err */
void file_fail_locked(struct xfer_file *f, struct err *err);
/* false: the file was cut anew since that epoch, and its bytes count for nothing. */
bool file_part_arrived(struct xfer_file *f, uint64_t part, unsigned epoch);
void file_refresh(struct xfer_file *f);

void file_free(struct xfer_file *f);

/* xfer_finish.c: digests and the end */
void file_front_grew(struct xfer_file *f);
void file_complete(struct xfer_file *f); /* all bytes are there */

/* xfer.c */
void group_leave_locked(struct xfer_file *f);
void xfer_look_for_cancelled(struct xfer *x);
void xfer_count_buffer(struct xfer *x, int64_t bytes);

#endif
