/* By ISA-L's igzip: level 1, about as small as `gzip -1` and several times as fast. */
#include "archive/deflate_priv.h"

#include <isa-l/igzip_lib.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define LEVEL          1
#define CRC_POLYNOMIAL 0xedb88320u /* of CRC-32 (RFC 1952, 8), bits reversed */

/* At its very beginning, ISA-L 2.30 hashes the address of its own state where it means the third byte on, so that
 * output depended on where memory lay. That part of it leaves so few bytes to another, which does not. */
#define FIRST_BYTES 16

struct deflater {
    struct isal_zstream stream;
    uint8_t level_memory[ISAL_DEF_LVL1_DEFAULT];
};

struct deflater *deflater_new(void)
{
    return malloc(sizeof(struct deflater));
}

void deflater_free(struct deflater *d)
{
    free(d);
}

static size_t store_block(const uint8_t *in, size_t n, uint8_t *out)
{
    size_t written = 0;
    for (size_t at = 0; at < n;) {
        size_t piece = n - at < DEFLATE_STORED_MAX ? n - at : DEFLATE_STORED_MAX;
        const uint8_t head[5] = {0, (uint8_t)piece, (uint8_t)(piece >> 8), (uint8_t)~piece, (uint8_t)(~piece >> 8)};
        memcpy(out + written, head, sizeof head);
        memcpy(out + written + sizeof head, in + at, piece);
        written += sizeof head + piece;
        at += piece;
    }
    return written;
}

/* On with the next `n` bytes of the input; what does not fit into `out` is lost. */
static bool go_on(struct isal_zstream *s, size_t n, uint16_t flush, uint8_t *out, size_t room)
{
    bool fits = true;
    s->avail_in = (uint32_t)n;
    s->flush = flush;
    do {
        if (s->avail_out == 0) { /* the CRC goes on */
            fits = false;
            s->next_out = out;
            s->avail_out = (uint32_t)room;
        }
    } while (isal_deflate(s) == COMP_OK && (s->avail_in > 0 || s->avail_out == 0));
    return fits;
}

size_t deflate_block(struct deflater *d, const uint8_t *in, size_t n, uint8_t *out, uint32_t *crc)
{
    struct isal_zstream *s = &d->stream;
    isal_deflate_init(s);
    s->level = LEVEL;
    s->level_buf = d->level_memory;
    s->level_buf_size = sizeof d->level_memory;
    s->gzip_flag = IGZIP_GZIP_NO_HDR; /* for the CRC; the trailer is never reached */
    const union {
        const uint8_t *given;
        uint8_t *wanted; /* ISA-L only reads there */
    } input = {.given = in};
    s->next_in = input.wanted;
    size_t room = deflate_bound(n), first = n < FIRST_BYTES ? n : FIRST_BYTES;
    s->next_out = out;
    s->avail_out = (uint32_t)room;
    bool fits = go_on(s, first, SYNC_FLUSH, out, room);
    fits = go_on(s, n - first, FULL_FLUSH, out, room) && fits;
    *crc = s->internal_state.crc;
    return fits ? s->total_out : store_block(in, n, out);
}

/* ---- CRCs: polynomials over GF(2), the highest power in the lowest bit ---- */

static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;
    for (uint32_t term = 1u << 31; term; term >>= 1) {
        if (a & term)
            product ^= b;
        b = (b >> 1) ^ (b & 1 ? CRC_POLYNOMIAL : 0);
    }
    return product;
}

/* A's remainder moves up by as many bits as B has: times x to that power. The inversions of both cancel out. */
uint32_t crc32_join(uint32_t a, uint32_t b, uint64_t b_bytes)
{
    uint32_t power = 1u << 31, base = 1u << (31 - 8); /* x^0, x^8 */
    for (; b_bytes; b_bytes >>= 1) {
        if (b_bytes & 1)
            power = multiply(power, base);
        base = multiply(base, base);
    }
    return multiply(a, power) ^ b;
}
