/* rng: random bytes and ids from the kernel. Pure code takes a `struct rng` seed instead. */
#ifndef BERTH_BASE_RNG_H
#define BERTH_BASE_RNG_H

#include "base/err.h"

#include <stdint.h>

int rng_bytes(void *out, size_t n, struct err *err);

/* 128 random bits as 32 lower-case hex digits. */
#define RNG_ID_MAX 33
int rng_id(char out[RNG_ID_MAX], struct err *err);

/* A small deterministic generator (for jitter and tests): same seed, same sequence. Not for secrets. */
struct rng {
    uint64_t state;
};
uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t bound); /* bound 0 gives 0 */

#endif
