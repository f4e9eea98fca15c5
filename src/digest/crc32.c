#include "digest/digest_priv.h"

#include <isa-l/crc.h>

/* ISA-L takes the length of a CRC-32C as an int. */
#define CRC32C_CHUNK ((size_t)1 << 30)

uint32_t crc32_extend(uint32_t crc, const void *p, size_t n)
{
    return crc32_gzip_refl(crc, p, n);
}

uint32_t crc32c_extend(uint32_t crc, const void *p, size_t n)
{
    const uint8_t *at = p;
    uint32_t state = ~crc;
    while (n) {
        size_t take = n < CRC32C_CHUNK ? n : CRC32C_CHUNK;
        state = crc32_iscsi((unsigned char *)at, (int)take, state); /* only reads, whatever its prototype says */
        at += take;
        n -= take;
    }
    return ~state;
}
