#include "node/node_priv.h"

#include "base/log.h"

#include <poll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

uint64_t boot_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t lease_extend(uint64_t known_ms, uint64_t asked_ms, int64_t lease_ms)
{
    if (lease_ms <= 0)
        return known_ms;
    uint64_t until;
    if (__builtin_add_overflow(asked_ms, (uint64_t)lease_ms, &until))
        until = UINT64_MAX;
    return until > known_ms ? until : known_ms;
}

void exec_lose(struct execution *e)
{
    if (e->shared.lost)
        return;
    e->shared.lost = true;
    cancel_raise(&e->lost_fd, CANCEL_KILL);
    cancel_raise(&e->cancel, CANCEL_KILL);
    log_warn("node", "the claim is lost; nothing of it will be published (execution=%s)", e->tag);
}

/* When the next lease ends; 0: there is none. */
static uint64_t fence_those_due(struct node *n, uint64_t now)
{
    uint64_t next = 0;
    pthread_mutex_lock(&n->mu);
    for (struct execution *e = n->shared.running; e; e = e->shared.next) {
        if (e->shared.lost || e->shared.told)
            continue;
        if (e->shared.lease_until_ms <= now)
            exec_lose(e);
        else if (next == 0 || e->shared.lease_until_ms < next)
            next = e->shared.lease_until_ms;
    }
    pthread_mutex_unlock(&n->mu);
    return next;
}

static void set_timer(int fd, uint64_t at_ms)
{
    const struct itimerspec at = {
        .it_value = {.tv_sec = (time_t)(at_ms / 1000), .tv_nsec = (long)(at_ms % 1000) * 1000000}};
    timerfd_settime(fd, TFD_TIMER_ABSTIME, &at, NULL); /* zero disarms it */
}

void *fence_thread(void *ctx)
{
    struct node *n = ctx;
    AUTO_FD timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (timer < 0) {
        struct err err = ERR_INIT;
        err_sys(&err, "timerfd");
        node_fail(n, &err);
        return NULL;
    }
    while (cancel_level_of(&n->over) == CANCEL_NONE) {
        uint64_t drained;
        set_timer(timer, fence_those_due(n, boot_ms()));
        struct pollfd fds[3] = {{.fd = n->over.event_fd, .events = POLLIN},
                                {.fd = timer, .events = POLLIN},
                                {.fd = n->fence_fd, .events = POLLIN}};
        poll(fds, 3, -1);
        if (fds[2].revents)
            (void)!read(n->fence_fd, &drained, sizeof drained);
    }
    return NULL;
}
