/* All ways to a digest agree: the stream cut anywhere with the whole, the parts' CRCs combined with the whole's, every
 * way to CRC-64/NVME with the table; and no text is taken for a digest that does not read back as itself. */
#include "digest/digest.h"
#include "digest/digest_priv.h"

#include <stdlib.h>

#define ALL_KINDS (BIT(DIGEST_KIND_COUNT) - 1)

#define MUST(x)                                                                                                        \
    do {                                                                                                               \
        if (!(x))                                                                                                      \
            abort();                                                                                                   \
    } while (0)

static void check_ways(const uint8_t *p, size_t n, uint64_t state)
{
    for (const struct crc64_way *way = crc64_ways(); way->name; way++)
        MUST(way->update(state, p, n) == crc64_update_table(state, p, n));
}

static void check_kinds(const uint8_t *p, size_t n, size_t cut)
{
    struct err err = ERR_INIT;
    struct digest *d = NULL;
    MUST(digest_open(&d, ALL_KINDS, &err) == 0);
    MUST(digest_update(d, p, cut, &err) == 0 && digest_update(d, p + cut, n - cut, &err) == 0);
    MUST(digest_length(d) == n);
    for (unsigned kind = 0; kind < DIGEST_KIND_COUNT; kind++) {
        struct digest_value streamed, whole, first, second;
        MUST(digest_final(d, kind, &streamed, &err) == 0);
        MUST(digest_bytes(kind, p, n, &whole, &err) == 0);
        MUST(digest_equal(&streamed, &whole));
        if (!digest_combines(kind))
            continue;
        MUST(digest_bytes(kind, p, cut, &first, &err) == 0);
        MUST(digest_bytes(kind, p + cut, n - cut, &second, &err) == 0);
        digest_combine(&first, &second, n - cut);
        MUST(digest_equal(&first, &whole));
    }
    digest_free(d);
}

static void check_text(const uint8_t *p, size_t n)
{
    for (unsigned kind = 0; kind < DIGEST_KIND_COUNT; kind++) {
        struct err err = ERR_INIT;
        struct digest_value v, back;
        char hex[DIGEST_HEX_MAX];
        if (digest_parse(kind, (struct span){(const char *)p, n}, &v, &err) < 0) {
            MUST(err.kind == ERR_INVALID);
            continue;
        }
        MUST(digest_parse(kind, span_of(digest_hex(hex, &v)), &back, &err) == 0 && digest_equal(&v, &back));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    const uint8_t *p = data + 2;
    const size_t n = size - 2, cut = n ? ((size_t)data[0] << 8 | data[1]) % (n + 1) : 0;
    check_ways(p, n, (uint64_t)data[0] * 0x0101010101010101);
    check_kinds(p, n, cut);
    check_text(p, n);
    return 0;
}
