#include "engine/run_watch.h"

#include "base/clock.h"
#include "base/enc.h"
#include "base/log.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>

enum watch_phase { PHASE_RUNNING, PHASE_STOPPING, PHASE_KILLED, PHASE_GIVEN_UP };

struct watching {
    struct run_watch *w;
    enum watch_phase phase;
    uint64_t until_ms; /* monotonic; UINT64_MAX: never */
    struct oom_watch oom;
};

int run_watch_init(struct run_watch *w, struct docker *d, const char *id, const struct engine_run_opts *opts,
                   struct err *err)
{
    *w = (struct run_watch){.d = d, .id = id, .opts = opts, .over_fd = -1};
    if (cancel_init(&w->give_up, err) < 0)
        return -1;
    w->over_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->over_fd >= 0)
        return 0;
    err_sys(err, "eventfd");
    cancel_release(&w->give_up);
    return -1;
}

void run_watch_release(struct run_watch *w)
{
    run_watch_join(w);
    auto_close(&w->over_fd);
    w->over_fd = -1;
    cancel_release(&w->give_up);
}

static uint64_t later(uint64_t now, uint64_t ms)
{
    return ms > UINT64_MAX - now ? UINT64_MAX : now + ms;
}

/* False where the container had ended already: then it was not us. */
static bool send_signal(const struct run_watch *w, const char *signal)
{
    AUTO_BUF tail;
    AUTO_REPLY reply = {0};
    char path[DOCKER_PATH_MAX];
    struct err err = ERR_INIT;
    buf_init(&tail, DOCKER_PATH_MAX);
    buf_adds(&tail, "/kill?signal=");
    percent_encode(&tail, span_of(signal), false);
    if (docker_container_path(path, w->id, buf_str(&tail), &err) == 0 &&
        docker_call(w->d, &(struct docker_request){.method = "POST", .path = path}, &reply, &err) == 0 &&
        reply.status / 100 == 2)
        return true;
    log_debug("engine", "signal not delivered (container=%.12s signal=%s reason=%s)", w->id, signal,
              err_is_set(&err) ? err.text : reply.message);
    return false;
}

static void kill_now(struct watching *s)
{
    if (send_signal(s->w, "KILL"))
        s->w->result.killed_by_us = true;
    s->phase = PHASE_KILLED;
    s->until_ms = later(clock_mono_ms(), GIVE_UP_MS);
}

static void stop_politely(struct watching *s)
{
    struct docker_state state = {0};
    struct err unknown = ERR_INIT;
    uint64_t grace = s->w->opts->stop_grace_ms ? s->w->opts->stop_grace_ms : STOP_GRACE_DEFAULT_MS;
    (void)docker_inspect(s->w->d, s->w->id, &state, &unknown); /* the image may name a signal of its own */
    if (send_signal(s->w, state.stop_signal[0] ? state.stop_signal : "SIGTERM"))
        s->w->result.killed_by_us = true;
    s->phase = PHASE_STOPPING;
    s->until_ms = later(clock_mono_ms(), grace);
}

static void note_why(struct watching *s, enum watch_why why)
{
    if (s->w->result.why == WATCH_NOTHING)
        s->w->result.why = why;
}

/* What the clock or the caller now asks for. */
static void decide(struct watching *s)
{
    enum cancel_level asked = cancel_level_of(s->w->opts->cancel);
    bool due = clock_mono_ms() >= s->until_ms;
    switch (s->phase) {
    case PHASE_RUNNING:
        if (asked == CANCEL_NONE && !due)
            return;
        note_why(s, asked == CANCEL_NONE ? WATCH_TIMED_OUT : WATCH_STOPPED);
        if (asked == CANCEL_KILL)
            kill_now(s);
        else
            stop_politely(s);
        return;
    case PHASE_STOPPING:
        if (asked == CANCEL_KILL || due)
            kill_now(s);
        return;
    case PHASE_KILLED:
        if (!due)
            return;
        cancel_raise(&s->w->give_up, CANCEL_KILL);
        s->phase = PHASE_GIVEN_UP;
        s->until_ms = UINT64_MAX;
        return;
    case PHASE_GIVEN_UP:
        return;
    }
}

static int wait_ms(const struct watching *s)
{
    uint64_t now = clock_mono_ms(), left = s->until_ms > now ? s->until_ms - now : 0;
    if (s->until_ms == UINT64_MAX)
        return -1;
    if (s->phase == PHASE_STOPPING && left > WATCH_TICK_MS)
        return WATCH_TICK_MS; /* a flag that is up already can't wake us when it rises further */
    return left > INT_MAX ? INT_MAX : (int)left;
}

/* True once the run is over. */
static bool wait_for_something(struct watching *s)
{
    const struct cancel *cancel = s->w->opts->cancel;
    struct pollfd fds[] = {
        {.fd = s->w->over_fd, .events = POLLIN},
        {.fd = cancel && s->phase == PHASE_RUNNING ? cancel->event_fd : -1, .events = POLLIN},
        {.fd = s->oom.killed ? -1 : oom_watch_fd(&s->oom), .events = s->oom.events},
    };
    if (poll(fds, ARRAY_LEN(fds), wait_ms(s)) < 0 && errno != EINTR)
        return true;
    if (fds[2].revents)
        oom_watch_look(&s->oom);
    return fds[0].revents != 0;
}

/* Podman only: Docker's inspect tells. */
static void watch_memory(struct watching *s)
{
    struct run_watch *w = s->w;
    struct docker_state state;
    struct err unknown = ERR_INIT;
    if (w->d->flavour != FLAVOUR_PODMAN || !w->d->local || docker_inspect(w->d, w->id, &state, &unknown) < 0)
        return;
    w->result.oom_watched = state.memory_bytes > 0 && state.pid > 0 && oom_watch_open(&s->oom, state.pid);
}

static void *watch(void *ctx)
{
    struct run_watch *w = ctx;
    struct watching s = {.w = w, .oom = OOM_WATCH_NONE};
    s.until_ms = w->opts->timeout_ms ? later(clock_mono_ms(), w->opts->timeout_ms) : UINT64_MAX;
    watch_memory(&s);
    do
        decide(&s);
    while (!wait_for_something(&s));
    oom_watch_look(&s.oom);
    w->result.oom_seen = s.oom.killed;
    oom_watch_release(&s.oom);
    return NULL;
}

int run_watch_start(struct run_watch *w, struct err *err)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the threads that expect them */
    int rc = pthread_create(&w->thread, NULL, watch, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0)
        return err_set(err, ERR_SYSTEM, "a thread to watch the container can't be started: %s", strerror(rc));
    w->started = true;
    return 0;
}

void run_watch_join(struct run_watch *w)
{
    uint64_t one = 1;
    if (!w->started)
        return;
    if (write(w->over_fd, &one, sizeof one) != sizeof one)
        log_error("engine", "eventfd: %s", strerror(errno)); /* impossible for a counter at 0 */
    pthread_join(w->thread, NULL);
    w->started = false;
}
