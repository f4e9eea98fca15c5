#include "base/cancel.h"

#include "base/clock.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/eventfd.h>

int cancel_init(struct cancel *c, struct err *err)
{
    atomic_init(&c->level, CANCEL_NONE);
    c->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return c->event_fd < 0 ? err_sys(err, "eventfd") : 0;
}

void cancel_release(struct cancel *c)
{
    auto_close(&c->event_fd);
    c->event_fd = -1;
}

void cancel_raise(struct cancel *c, enum cancel_level level)
{
    int seen = atomic_load(&c->level);
    while (seen < (int)level)
        if (atomic_compare_exchange_weak(&c->level, &seen, (int)level))
            break;
    if (level == CANCEL_NONE)
        return;
    int saved = errno; /* a signal handler must not change it */
    uint64_t one = 1;
    /* Fails only where the counter is full, and then the descriptor is readable already. */
    ssize_t ignored = write(c->event_fd, &one, sizeof one);
    (void)ignored;
    errno = saved;
}

int cancel_check(const struct cancel *c, struct err *err)
{
    if (cancel_level_of(c) == CANCEL_NONE)
        return 0;
    return err_set(err, ERR_CANCELLED, "cancelled");
}

int cancel_sleep_ms(const struct cancel *c, uint64_t ms, struct err *err)
{
    uint64_t start = clock_mono_ms(), passed = 0;
    struct pollfd wake = {.fd = c ? c->event_fd : -1, .events = POLLIN};
    while (passed < ms) {
        if (cancel_check(c, err) < 0)
            return -1;
        uint64_t left = ms - passed;
        if (poll(&wake, 1, left > INT_MAX ? INT_MAX : (int)left) < 0 && errno != EINTR)
            return err_sys(err, "poll");
        passed = clock_mono_ms() - start;
    }
    return cancel_check(c, err);
}
