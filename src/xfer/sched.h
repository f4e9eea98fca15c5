/* sched: which piece of which file is fetched next, and how hard each host may be pressed.
 *
 * Pure: no I/O, no clock, no locks. Every decision takes `now` as an argument, so tests run years in microseconds. The
 * engine calls all of it under one mutex (xfer's `shared.mu`) and holds that only for the decision.
 *
 * Words. A *unit* is the work of one request: a part of a file, or a whole file where it cannot be cut. A *group* is
 * one declared input; groups share by bytes (start-time fair queueing), so that 200 small files do not wait for every
 * second part of a large one. A *host* is an origin under one policy (scheme, host, port,
 * policy); its *gate* says how many units may be under way there. */
#ifndef BERTH_XFER_SCHED_H
#define BERTH_XFER_SCHED_H

#include "base/err.h"
#include "base/rng.h"
#include "base/str.h"

#include <stdint.h>
#include <sys/queue.h>

#define SCHED_THREADS_MAX 16
#define SCHED_UNIT_COST   (256 * 1024) /* what a request costs besides its bytes, in bytes */
#define SCHED_NEVER       UINT64_MAX
#define SCHED_WHOLE       UINT64_MAX

/* ---- gate: additive increase, multiplicative decrease (sched_gate.c) ---- */

#define GATE_START        8           /* connections at first */
#define GATE_STEP         4           /* how many more are tried at once */
#define GATE_WINDOW_MS    200         /* goodput is compared over so long */
#define GATE_HOLD_MS      5000        /* until the next try, after more did not help */
#define GATE_UNIT_WORTH   (32 * 1024) /* bytes that a finished request counts for besides its own: small objects */
#define GATE_EXPONENT_MAX 4 /* of the back-off: 3.2 s at most, so that an end of the pressure is soon noticed */
#define GATE_GAIN_PERCENT 8 /* a step has to bring so much */

struct gate {
    uint32_t limit, max;
    uint32_t last_step; /* by which it grew, until that is known to have helped */
    uint64_t window_start_ms, window_worth;
    bool saturated;     /* the limit was reached in this window: only then growing can help */
    uint64_t best_rate; /* worth per second at the limit before the last step */
    uint64_t hold_until_ms;
    uint64_t blocked_until_ms;
    uint64_t pressed_at_ms;    /* last decrease; 0: never */
    uint64_t pressed_since_ms; /* first refusal of the present series; 0: the last answer was a good one */
    unsigned presses;          /* refusals in the series, those of one volley counted once */
};

void gate_init(struct gate *g, uint32_t max, uint64_t now_ms);
bool gate_open(const struct gate *g, uint32_t active, uint64_t now_ms);
void gate_took(struct gate *g, uint32_t active); /* `active` with the one just taken */
/* A unit ended well. */
void gate_succeeded(struct gate *g, uint64_t bytes, uint64_t now_ms);
/* 429 or 503 to a request begun at `started_ms`: halve, and rest for the whole host. Answers of one volley halve once.
 */
void gate_pressed(struct gate *g, uint64_t started_ms, uint64_t retry_after_ms, uint64_t now_ms, struct rng *rng);
/* Whether refusals have gone on for `patience_ms`; before that they do not fail a unit. */
bool gate_lost_patience(const struct gate *g, uint64_t patience_ms, uint64_t now_ms);

/* ---- rate: the bandwidth ceiling and the stall meter (sched_rate.c) ---- */

#define BUCKET_BURST_MS 100

struct bucket {
    uint64_t rate; /* bytes per second; 0: unlimited */
    int64_t level; /* may be negative: what was received is paid afterwards */
    uint64_t at_us;
};
void bucket_init(struct bucket *b, uint64_t rate, uint64_t now_us);
/* Account for `n` bytes received; how long to receive nothing more, in microseconds. */
uint64_t bucket_spend(struct bucket *b, uint64_t n, uint64_t now_us);

enum stall { STALL_NONE, STALL_SLOW, STALL_DEAD }; /* SLOW: hedge it; DEAD: slow for another window: give it up */

struct stall_meter {
    uint64_t window_start_ms, window_bytes;
    unsigned slow_windows;
};
void stall_start(struct stall_meter *m, uint64_t now_ms);
enum stall stall_check(struct stall_meter *m, uint64_t min_bytes_per_second, uint64_t window_ms, uint64_t now_ms);

/* ---- queue (sched.c) ---- */

TAILQ_HEAD(sched_unit_list, sched_unit);
TAILQ_HEAD(sched_file_list, sched_file);
TAILQ_HEAD(sched_group_list, sched_group);
LIST_HEAD(sched_host_list, sched_host);

struct sched_host {
    LIST_ENTRY(sched_host) all;
    struct gate gate;
    uint32_t active; /* units under way, those not counted whose place went to a hedge */
    uint32_t active_by_thread[SCHED_THREADS_MAX];
};

struct sched_group {
    TAILQ_ENTRY(sched_group) ring; /* ordered by `finish` */
    uint64_t finish;               /* virtual time, in bytes, at which what it was given is paid for */
    struct sched_unit_list again;  /* may run now: retries that are due, hedges; before anything fresh */
    struct sched_file_list ready;  /* have parts that nobody took yet, in the order they came */
    struct sched_host *usual_host; /* assumed for files that have not said where they live */
};

struct sched_file {
    TAILQ_ENTRY(sched_file) ready;
    struct sched_group *group;
    struct sched_host *host; /* NULL: not known yet */
    bool listed;             /* in group->ready */
    bool held;               /* nothing of it may be taken now (being prepared, credentials refreshed, one stream) */
    bool prepared;           /* its parts are known */
    uint64_t size, part_bytes, part_count;
    uint64_t next_part; /* parts below were handed out or are done */
    uint64_t parts_done;
    uint64_t prefix_parts; /* parts done without a gap from the start */
    uint64_t *done;        /* a bit a part; owned by the file, NULL while part_count <= 64 */
    uint64_t done_few;     /* the same for up to 64 parts */
};

struct sched_unit {
    TAILQ_ENTRY(sched_unit) wait;
    struct sched_file *file;
    struct sched_host *host; /* where it is accounted while under way; NULL: nowhere */
    uint64_t part;
    uint64_t offset, length; /* SCHED_WHOLE: the whole file, without a range */
    uint64_t not_before_ms;
    bool unprepared; /* its file has to be prepared first, then sched_prepared() gives it its range */
    bool hedge;      /* a second request for a part that stalls */
    bool stalled;    /* does not count against the gate */
};

struct sched {
    unsigned threads;
    uint32_t max_connections, max_connections_host;
    uint32_t active;
    uint32_t active_by_thread[SCHED_THREADS_MAX];
    struct sched_group_list ring;
    uint64_t virtual_bytes;         /* virtual time: the start of the unit given last */
    struct sched_unit_list delayed; /* by not_before_ms */
    struct sched_host_list hosts;
};

void sched_init(struct sched *s, unsigned threads, uint32_t max_connections, uint32_t max_connections_host);

void sched_group_add(struct sched *s, struct sched_group *g);
void sched_group_remove(struct sched *s, struct sched_group *g);
void sched_host_add(struct sched *s, struct sched_host *h, uint64_t now_ms);

/* Queue a file that has work to hand out. */
void sched_file_add(struct sched_file *f);
/* Take it off the queue (its units under way or waiting are the caller's affair). */
void sched_file_remove(struct sched_file *f);

/* Cut a file into parts; `done` bits (owned by the caller until the file ends) say what is there already. */
void sched_file_cut(struct sched_file *f, uint64_t size, uint64_t part_bytes, uint64_t *done);
bool sched_part_is_done(const struct sched_file *f, uint64_t part);
/* Mark one; true where that was the last. */
bool sched_part_done(struct sched_file *f, uint64_t part);
/* Take back `count` parts that are done, and offer them again. */
void sched_parts_undo(struct sched_file *f, uint64_t first, uint64_t count);
uint64_t sched_part_length(const struct sched_file *f, uint64_t part);
uint64_t sched_prefix_bytes(const struct sched_file *f);

/* The next unit for `thread`: one that waited, or `spare` filled in with a fresh part (or, with `unprepared`, a file to
 * prepare). It is accounted to its host until sched_unit_over(). NULL: nothing now; *wake_ms is when to ask again. */
struct sched_unit *sched_pick(struct sched *s, unsigned thread, struct sched_unit *spare, uint64_t now_ms,
                              uint64_t *wake_ms);
/* Whether `thread` has a place for a unit of `f`, as far as is known where that lives. A host that only rests counts as
 * open: whoever asks learns by sched_pick() when to ask again. */
bool sched_has_place(const struct sched *s, const struct sched_file *f, unsigned thread);
/* After preparation: give `u` the first part to fetch; false where nothing is left to fetch (u is over then). */
bool sched_prepared(struct sched *s, struct sched_unit *u, unsigned thread);
/* The request turned out to go to `host`: account it there. False where that host's gate is closed; a redirect under
 * way is let through, and from then on the file's units wait for the gate of where it led. */
bool sched_unit_to_host(struct sched *s, struct sched_unit *u, unsigned thread, struct sched_host *host,
                        bool redirected, uint64_t now_ms);
/* No longer under way. */
void sched_unit_over(struct sched *s, struct sched_unit *u, unsigned thread);
/* It stalls: its place goes to its hedge. It is over for the accounts, though its request goes on. */
void sched_unit_stalled(struct sched *s, struct sched_unit *u, unsigned thread);
/* Offer it again, at once or later. Not under way then. */
void sched_unit_again(struct sched *s, struct sched_unit *u, uint64_t not_before_ms, uint64_t now_ms);
/* Take every waiting unit of a file off the queue, for the caller to free: the next one, or NULL. */
struct sched_unit *sched_unit_withdraw(struct sched *s, struct sched_file *f);

#endif
