#include "job/job_priv.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

static void *watch_thread(void *ctx)
{
    struct watch *w = ctx;
    AUTO_FD timer = -1;
    if (w->timeout_ms > 0) {
        timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
        const struct itimerspec at = {
            .it_value = {.tv_sec = (time_t)(w->timeout_ms / 1000), .tv_nsec = (long)(w->timeout_ms % 1000) * 1000000}};
        if (timer >= 0)
            timerfd_settime(timer, 0, &at, NULL);
    }
    enum cancel_level seen = w->ignored;
    for (;;) {
        /* A raised cancel stays readable, and a second Ctrl-C only raises its level: look again every so often then. */
        struct pollfd fds[3] = {{.fd = w->end_fd, .events = POLLIN},
                                {.fd = w->from && seen == CANCEL_NONE ? w->from->event_fd : -1, .events = POLLIN},
                                {.fd = timer, .events = POLLIN}};
        if (poll(fds, 3, seen == CANCEL_STOP ? 100 : -1) < 0 && errno != EINTR)
            return NULL;
        if (fds[0].revents)
            return NULL;
        if (cancel_level_of(w->from) > seen) {
            seen = cancel_level_of(w->from);
            cancel_raise(w->to, seen);
        }
        if (fds[2].revents) {
            atomic_store(&w->timed_out, true);
            cancel_raise(w->to, CANCEL_STOP);
            auto_close(&timer);
            timer = -1;
        }
    }
}

int watch_start(struct watch *w, const struct cancel *from, struct cancel *to, uint64_t timeout_ms, struct err *err)
{
    w->from = from;
    w->to = to;
    w->timeout_ms = timeout_ms;
    atomic_init(&w->timed_out, false);
    w->end_fd = eventfd(0, EFD_CLOEXEC);
    if (w->end_fd < 0)
        return err_sys(err, "eventfd");
    if (pthread_create(&w->thread, NULL, watch_thread, w) != 0) {
        auto_close(&w->end_fd);
        return err_set(err, ERR_SYSTEM, "cannot start a thread");
    }
    w->running = true;
    return 0;
}

void watch_end(struct watch *w)
{
    if (!w->running)
        return;
    uint64_t one = 1;
    ssize_t n = write(w->end_fd, &one, sizeof one);
    (void)n; /* an eventfd takes eight bytes */
    pthread_join(w->thread, NULL);
    auto_close(&w->end_fd);
    w->running = false;
}
