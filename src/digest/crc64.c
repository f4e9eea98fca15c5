/* CRC-64/NVME: the table that works everywhere, and the choice of the fastest way that this CPU has. All constants
 * are computed from the polynomial, once. */
#include "digest/digest_priv.h"

#include <endian.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#define SLICES   8
#define WAYS_MAX 3

static pthread_once_t once = PTHREAD_ONCE_INIT;
/* slice[k][b]: the state after byte b and k zero bytes. */
static uint64_t slice[SLICES][256];
static struct crc64_way ways[WAYS_MAX + 1];

static void fill_slices(void)
{
    for (unsigned b = 0; b < 256; b++)
        slice[0][b] = gf2_multiply(&gf2_crc64nvme, b, gf2_x(&gf2_crc64nvme, 8));
    for (unsigned k = 1; k < SLICES; k++)
        for (unsigned b = 0; b < 256; b++)
            slice[k][b] = slice[0][slice[k - 1][b] & 0xff] ^ (slice[k - 1][b] >> 8);
}

#if defined(__x86_64__)
static struct crc64_fold crc64_fold_by(unsigned bits)
{
    const struct gf2_field *f = &gf2_crc64nvme;
    return (struct crc64_fold){
        .first = gf2_power(f, gf2_x(f, 1), bits + 63),
        .second = gf2_power(f, gf2_x(f, 1), bits - 1),
    };
}

static size_t add_vector_ways(size_t n)
{
    crc64_set_folds(crc64_fold_by(512), crc64_fold_by(2048));
    __builtin_cpu_init();
    bool narrow = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
    if (narrow && __builtin_cpu_supports("vpclmulqdq") && __builtin_cpu_supports("avx512f"))
        ways[n++] = (struct crc64_way){"vpclmulqdq", crc64_update_clmul_wide};
    if (narrow)
        ways[n++] = (struct crc64_way){"pclmulqdq", crc64_update_clmul};
    return n;
}
#else
static size_t add_vector_ways(size_t n)
{
    return n;
}
#endif

static void set_up(void)
{
    fill_slices();
    ways[add_vector_ways(0)] = (struct crc64_way){"table", crc64_update_table};
}

const struct crc64_way *crc64_ways(void)
{
    pthread_once(&once, set_up);
    return ways;
}

uint64_t crc64_update_table(uint64_t state, const uint8_t *p, size_t n)
{
    for (; n >= SLICES; p += SLICES, n -= SLICES) {
        uint64_t word;
        memcpy(&word, p, sizeof(word));
        word = le64toh(word) ^ state;
        state = 0;
        for (unsigned k = 0; k < SLICES; k++, word >>= 8)
            state ^= slice[SLICES - 1 - k][word & 0xff];
    }
    for (; n; p++, n--)
        state = slice[0][(state ^ *p) & 0xff] ^ (state >> 8);
    return state;
}

uint64_t crc64nvme_extend(uint64_t crc, const void *p, size_t n)
{
    return ~crc64_ways()->update(~crc, p, n);
}
