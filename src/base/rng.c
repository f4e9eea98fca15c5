#include "base/rng.h"

#include "base/enc.h"

#include <errno.h>
#include <sys/random.h>

int rng_bytes(void *out, size_t n, struct err *err)
{
    char *p = out;
    while (n > 0) {
        ssize_t got = getrandom(p, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_sys(err, "getrandom");
        p += got;
        n -= (size_t)got;
    }
    return 0;
}

int rng_id(char out[RNG_ID_MAX], struct err *err)
{
    uint8_t bits[16];
    if (rng_bytes(bits, sizeof bits, err) < 0)
        return -1;
    hex_encode(out, bits, sizeof bits);
    return 0;
}

/* SplitMix64: one addition and a mixing function, so that any seed is a good one. */
uint64_t rng_next(struct rng *r)
{
    uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t rng_below(struct rng *r, uint64_t bound)
{
    if (bound == 0)
        return 0;
    uint64_t uneven =
        (UINT64_MAX - bound + 1) % bound; /* 2^64 mod bound: drawing below it would favour small results */
    uint64_t drawn;
    do {
        drawn = rng_next(r);
    } while (drawn < uneven);
    return drawn % bound;
}
