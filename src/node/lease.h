/* lease: how long a claim is held, by a clock that goes on while the machine sleeps. Pure but for boot_ms(). */
#ifndef BERTH_NODE_LEASE_H
#define BERTH_NODE_LEASE_H

#include <stdint.h>

uint64_t boot_ms(void); /* CLOCK_BOOTTIME */

/* The end of a lease of `lease_ms` that came as the answer to a request sent at `asked_ms`, where one until `known` was
 * held already: an answer that was long under way never shortens it. */
uint64_t lease_extend(uint64_t known_ms, uint64_t asked_ms, int64_t lease_ms);

#endif
