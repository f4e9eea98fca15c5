/* run_watch: one thread beside a run, which ends the container when its time is up or the caller asks for it, and
 * looks out for the kernel's out-of-memory killer. The run's own thread reads the output meanwhile.
 *
 * Ending is orderly first: the image's stop signal, the grace period, then KILL. PID 1 may ignore the first (a shell
 * does, without a trap) and cannot ignore the second. Where the engine does not end the stream even then, the stream
 * is given up, so that a run always returns. */
#ifndef BERTH_ENGINE_RUN_WATCH_H
#define BERTH_ENGINE_RUN_WATCH_H

#include "engine/docker.h"
#include "engine/oom_watch.h"

#define STOP_GRACE_DEFAULT_MS 10000
#define GIVE_UP_MS            30000 /* from KILL to giving the stream up */
#define WATCH_TICK_MS         100   /* how soon a second Ctrl-C during the grace period is seen */

enum watch_why { WATCH_NOTHING, WATCH_TIMED_OUT, WATCH_STOPPED };

struct run_watch {
    struct docker *d; /* never changes, like the two below */
    const char *id;
    const struct engine_run_opts *opts;

    int over_fd;           /* eventfd: the run is over; raised by the run's thread */
    struct cancel give_up; /* raised by the watching thread: the engine does not let go of the stream */
    pthread_t thread;
    bool started;

    struct { /* the watching thread's, until it is joined */
        enum watch_why why;
        bool killed_by_us; /* with KILL, or a signal that ended it */
        bool oom_watched, oom_seen;
    } result;
};

int run_watch_init(struct run_watch *w, struct docker *d, const char *id, const struct engine_run_opts *opts,
                   struct err *err);
int run_watch_start(struct run_watch *w, struct err *err); /* the container runs */
void run_watch_join(struct run_watch *w);                  /* it does not any more; `result` is the caller's now */
void run_watch_release(struct run_watch *w);

#endif
