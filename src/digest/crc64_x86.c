/* CRC-64/NVME by carry-less multiplication.
 *
 * The remainder of a long text is kept by replacing its first 64 (or 256) bytes A, followed by the next as many bytes
 * B, with A·x^d + B, where d is the distance in bits: for each 128-bit lane two multiplications by constants. What is
 * left at the end is a shorter text with the same remainder, which the next simpler way takes on from state 0. The
 * state so far enters by being added to the first eight bytes. */
#include "digest/digest_priv.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define NARROW_BYTES 64   /* four 128-bit accumulators hide the latency of the multiplication */
#define WIDE_BYTES   256  /* four of 512 bits */
#define XOR3         0x96 /* the truth table of a ^ b ^ c */

static struct crc64_fold fold_narrow, fold_wide;

void crc64_set_folds(struct crc64_fold by_512_bits, struct crc64_fold by_2048_bits)
{
    fold_narrow = by_512_bits;
    fold_wide = by_2048_bits;
}

__attribute__((target("pclmul,sse4.1"))) static inline __m128i fold_128(__m128i acc, __m128i by, const uint8_t *next)
{
    __m128i moved = _mm_xor_si128(_mm_clmulepi64_si128(acc, by, 0x00), _mm_clmulepi64_si128(acc, by, 0x11));
    return _mm_xor_si128(moved, _mm_loadu_si128((const __m128i *)next));
}

__attribute__((target("pclmul,sse4.1"))) uint64_t crc64_update_clmul(uint64_t state, const uint8_t *p, size_t n)
{
    if (n < (size_t)2 * NARROW_BYTES)
        return crc64_update_table(state, p, n);

    const __m128i by = _mm_set_epi64x((long long)fold_narrow.second, (long long)fold_narrow.first);
    __m128i a0 = _mm_loadu_si128((const __m128i *)p);
    __m128i a1 = _mm_loadu_si128((const __m128i *)(p + 16));
    __m128i a2 = _mm_loadu_si128((const __m128i *)(p + 32));
    __m128i a3 = _mm_loadu_si128((const __m128i *)(p + 48));
    a0 = _mm_xor_si128(a0, _mm_cvtsi64_si128((long long)state));
    for (p += NARROW_BYTES, n -= NARROW_BYTES; n >= NARROW_BYTES; p += NARROW_BYTES, n -= NARROW_BYTES) {
        a0 = fold_128(a0, by, p);
        a1 = fold_128(a1, by, p + 16);
        a2 = fold_128(a2, by, p + 32);
        a3 = fold_128(a3, by, p + 48);
    }

    uint8_t rest[NARROW_BYTES];
    _mm_storeu_si128((__m128i *)rest, a0);
    _mm_storeu_si128((__m128i *)(rest + 16), a1);
    _mm_storeu_si128((__m128i *)(rest + 32), a2);
    _mm_storeu_si128((__m128i *)(rest + 48), a3);
    return crc64_update_table(crc64_update_table(0, rest, sizeof(rest)), p, n);
}

__attribute__((target("avx512f,vpclmulqdq"))) static inline __m512i fold_512(__m512i acc, __m512i by,
                                                                             const uint8_t *next)
{
    return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(acc, by, 0x00), _mm512_clmulepi64_epi128(acc, by, 0x11),
                                     _mm512_loadu_si512(next), XOR3);
}

__attribute__((target("avx512f,vpclmulqdq"))) uint64_t crc64_update_clmul_wide(uint64_t state, const uint8_t *p,
                                                                               size_t n)
{
    if (n < (size_t)2 * WIDE_BYTES)
        return crc64_update_clmul(state, p, n);

    const long long first = (long long)fold_wide.first, second = (long long)fold_wide.second;
    const __m512i by = _mm512_set_epi64(second, first, second, first, second, first, second, first);
    __m512i a0 = _mm512_loadu_si512(p);
    __m512i a1 = _mm512_loadu_si512(p + 64);
    __m512i a2 = _mm512_loadu_si512(p + 128);
    __m512i a3 = _mm512_loadu_si512(p + 192);
    a0 = _mm512_xor_si512(a0, _mm512_set_epi64(0, 0, 0, 0, 0, 0, 0, (long long)state));
    for (p += WIDE_BYTES, n -= WIDE_BYTES; n >= WIDE_BYTES; p += WIDE_BYTES, n -= WIDE_BYTES) {
        a0 = fold_512(a0, by, p);
        a1 = fold_512(a1, by, p + 64);
        a2 = fold_512(a2, by, p + 128);
        a3 = fold_512(a3, by, p + 192);
    }

    uint8_t rest[WIDE_BYTES];
    _mm512_storeu_si512(rest, a0);
    _mm512_storeu_si512(rest + 64, a1);
    _mm512_storeu_si512(rest + 128, a2);
    _mm512_storeu_si512(rest + 192, a3);
    return crc64_update_clmul(crc64_update_clmul(0, rest, sizeof(rest)), p, n);
}

#endif
