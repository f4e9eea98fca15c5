/* digest, inside: the CRCs that digest.c streams into, and what their combining is made of. Pure. */
#ifndef BERTH_DIGEST_DIGEST_PRIV_H
#define BERTH_DIGEST_DIGEST_PRIV_H

#include <stddef.h>
#include <stdint.h>

/* Each takes the finished CRC of what came before (0 for nothing) and gives that of the longer text. */
uint32_t crc32_extend(uint32_t crc, const void *p, size_t n);  /* ISO-HDLC: zlib, gzip, S3's CRC32 */
uint32_t crc32c_extend(uint32_t crc, const void *p, size_t n); /* iSCSI, Castagnoli */
uint64_t crc64nvme_extend(uint64_t crc, const void *p, size_t n);

/* Polynomials over GF(2), bit-reflected as all three CRCs have them: in a value of `width` bits, the top bit is x^0 and
 * bit 0 is x^(width - 1); the modulus is `poly` with its leading x^width left out. */
struct gf2_field {
    unsigned width; /* 32 or 64 */
    uint64_t poly;
};
extern const struct gf2_field gf2_crc32, gf2_crc32c, gf2_crc64nvme;

uint64_t gf2_multiply(const struct gf2_field *f, uint64_t a, uint64_t b);
uint64_t gf2_power(const struct gf2_field *f, uint64_t base, uint64_t exponent); /* base^exponent */
uint64_t gf2_x(const struct gf2_field *f, unsigned exponent);                    /* x^exponent, exponent < width */

/* The CRC of A followed by B: moving A's to the left by B's 8n bits is a multiplication by (x^8)^n. */
uint64_t crc_combine(const struct gf2_field *f, uint64_t a, uint64_t b, uint64_t b_length);

/* The ways to compute a CRC-64/NVME, for the dispatcher and for the tests that hold them against one another. `update`
 * works on the raw state: no inversion before or after. */
struct crc64_way {
    const char *name;
    uint64_t (*update)(uint64_t state, const uint8_t *p, size_t n);
};

/* Those that this CPU can run, fastest first; the last is always the table. Ends with a NULL name. */
const struct crc64_way *crc64_ways(void);

uint64_t crc64_update_table(uint64_t state, const uint8_t *p, size_t n);

#if defined(__x86_64__)
/* Constants that move a 128-bit accumulator to the left: `by_*` is x^(bits - 1) for one half and x^(bits + 63) for the
 * other (the odd one less makes up for the carry-less product of reflected operands being one bit short). */
struct crc64_fold {
    uint64_t first, second; /* for the half that comes first in memory, and the other */
};
void crc64_set_folds(struct crc64_fold by_512_bits, struct crc64_fold by_2048_bits);
uint64_t crc64_update_clmul(uint64_t state, const uint8_t *p, size_t n);      /* PCLMULQDQ, SSE4.1 */
uint64_t crc64_update_clmul_wide(uint64_t state, const uint8_t *p, size_t n); /* VPCLMULQDQ, AVX-512F */
#endif

#endif
