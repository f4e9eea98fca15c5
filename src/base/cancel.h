/* cancel: a flag that any thread or signal handler can raise and any loop can wait on.
 *
 * Levels only rise: CANCEL_STOP asks for an orderly end (first Ctrl-C), CANCEL_KILL for an immediate one (second). */
#ifndef BERTH_BASE_CANCEL_H
#define BERTH_BASE_CANCEL_H

#include "base/err.h"

#include <stdatomic.h>
#include <stdint.h>

enum cancel_level { CANCEL_NONE, CANCEL_STOP, CANCEL_KILL };

struct cancel {
    atomic_int level;
    int event_fd; /* readable once raised; poll it, never read it */
};

int cancel_init(struct cancel *c, struct err *err);
void cancel_release(struct cancel *c);
void cancel_raise(struct cancel *c, enum cancel_level level); /* async-signal-safe */

/* NULL is never cancelled. */
static inline enum cancel_level cancel_level_of(const struct cancel *c)
{
    return c ? (enum cancel_level)atomic_load_explicit(&c->level, memory_order_relaxed) : CANCEL_NONE;
}

/* -1 with ERR_CANCELLED where raised. */
int cancel_check(const struct cancel *c, struct err *err) ATTR_CHECK;

/* Sleep, cut short by cancellation (then -1 with ERR_CANCELLED). For back-off only. */
int cancel_sleep_ms(const struct cancel *c, uint64_t ms, struct err *err);

#endif
