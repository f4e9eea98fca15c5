/* archive, inside: the compressor. One block in, whole bytes of raw deflate (RFC 1951) out, which further blocks may
 * follow; no block looks back into another. Pure. */
#ifndef BERTH_ARCHIVE_DEFLATE_PRIV_H
#define BERTH_ARCHIVE_DEFLATE_PRIV_H

#include <stddef.h>
#include <stdint.h>

#define DEFLATE_STORED_MAX 65535 /* bytes of one stored block */

/* Room for `n` bytes and the heads of the blocks they are stored in where compression does not help. */
static inline size_t deflate_bound(size_t n)
{
    return n + n / 1024 + 64;
}

/* Working memory of one deflate_block() at a time. NULL: no memory. */
struct deflater;
struct deflater *deflater_new(void);
void deflater_free(struct deflater *d);

/* `out` has room for deflate_bound(n). Returns the bytes written; *crc is the CRC-32 of the input. */
size_t deflate_block(struct deflater *d, const uint8_t *in, size_t n, uint8_t *out, uint32_t *crc);

/* The CRC-32 of A followed by B, from theirs and B's length. */
uint32_t crc32_join(uint32_t a, uint32_t b, uint64_t b_bytes);

#endif
