#include "digest/digest_priv.h"

/* The reflected polynomials of CRC-32/ISO-HDLC, CRC-32/iSCSI and CRC-64/NVME. */
const struct gf2_field gf2_crc32 = {32, 0xedb88320};
const struct gf2_field gf2_crc32c = {32, 0x82f63b78};
const struct gf2_field gf2_crc64nvme = {64, 0x9a6c9329ac4bc9b5};

uint64_t gf2_x(const struct gf2_field *f, unsigned exponent)
{
    return (uint64_t)1 << (f->width - 1 - exponent);
}

static uint64_t times_x(const struct gf2_field *f, uint64_t a)
{
    return (a >> 1) ^ (a & 1 ? f->poly : 0);
}

uint64_t gf2_multiply(const struct gf2_field *f, uint64_t a, uint64_t b)
{
    uint64_t product = 0;
    for (uint64_t term = gf2_x(f, 0); term; term >>= 1) {
        if (a & term)
            product ^= b;
        b = times_x(f, b);
    }
    return product;
}

uint64_t gf2_power(const struct gf2_field *f, uint64_t base, uint64_t exponent)
{
    uint64_t power = gf2_x(f, 0);
    for (; exponent; exponent >>= 1) {
        if (exponent & 1)
            power = gf2_multiply(f, power, base);
        base = gf2_multiply(f, base, base);
    }
    return power;
}

/* The inversions before and after cancel out, since all three CRCs use all ones for both. */
uint64_t crc_combine(const struct gf2_field *f, uint64_t a, uint64_t b, uint64_t b_length)
{
    return gf2_multiply(f, a, gf2_power(f, gf2_x(f, 8), b_length)) ^ b;
}
