/* Kinds by name, and finished values: comparing, showing, parsing, combining. */
#include "digest/digest.h"

#include "base/enc.h"
#include "digest/digest_priv.h"

#include <openssl/crypto.h>

static const struct {
    const char *name;
    uint8_t size;
} kinds[DIGEST_KIND_COUNT] = {
#define X(name, word, bytes) [DIGEST_##name] = {word, bytes},
    DIGEST_KINDS(X)
#undef X
};

/* How much of a text that is no digest an error shows. */
#define SHOWN_MAX 80

const char *digest_name(enum digest_kind kind)
{
    return (unsigned)kind < DIGEST_KIND_COUNT ? kinds[kind].name : "unknown";
}

size_t digest_size(enum digest_kind kind)
{
    return (unsigned)kind < DIGEST_KIND_COUNT ? kinds[kind].size : 0;
}

/* What the CRCs are combined by; NULL for the other kinds. */
static const struct gf2_field *field_of(enum digest_kind kind)
{
    switch (kind) {
    case DIGEST_CRC32:
        return &gf2_crc32;
    case DIGEST_CRC32C:
        return &gf2_crc32c;
    case DIGEST_CRC64NVME:
        return &gf2_crc64nvme;
    default:
        return NULL;
    }
}

bool digest_combines(enum digest_kind kind)
{
    return field_of(kind) != NULL;
}

int digest_kind_parse(struct span word, enum digest_kind *out, struct err *err)
{
    for (unsigned i = 0; i < DIGEST_KIND_COUNT; i++)
        if (span_eq_nocase(word, span_of(kinds[i].name))) {
            *out = (enum digest_kind)i;
            return 0;
        }
    err_set(err, ERR_INVALID, "\"%.*s\" is not a kind of digest", (int)(word.n < SHOWN_MAX ? word.n : SHOWN_MAX),
            word.p);
#define X(name, word, bytes) " " word
    return err_hint(err, "the kinds are:" DIGEST_KINDS(X));
#undef X
}

bool digest_equal(const struct digest_value *a, const struct digest_value *b)
{
    return a->kind == b->kind && CRYPTO_memcmp(a->bytes, b->bytes, digest_size(a->kind)) == 0;
}

char *digest_hex(char out[DIGEST_HEX_MAX], const struct digest_value *v)
{
    hex_encode(out, v->bytes, digest_size(v->kind));
    return out;
}

void digest_base64(struct buf *out, const struct digest_value *v)
{
    base64_encode(out, v->bytes, digest_size(v->kind));
}

/* No kind's hex is as long as its base64, except CRC-32's eight characters of either: there the padding tells. */
static int decode(struct digest_value *v, size_t size, struct span text, struct err *err)
{
    bool padded = text.n && text.p[text.n - 1] == '=';
    if (text.n == 2 * size && !padded)
        return hex_decode(v->bytes, size, text, err);
    if (text.n == 2 * size + 2 && text.p[0] == '0' && (text.p[1] == 'x' || text.p[1] == 'X'))
        return hex_decode(v->bytes, size, (struct span){text.p + 2, text.n - 2}, err);

    size_t n = 0;
    if (text.n != (size + 2) / 3 * 4)
        return err_set(err, ERR_INVALID, "it has %zu characters", text.n);
    if (base64_decode(v->bytes, sizeof(v->bytes), &n, text, err) < 0)
        return -1;
    return n == size ? 0 : err_set(err, ERR_INVALID, "it is base64 of %zu bytes", n);
}

int digest_parse(enum digest_kind kind, struct span text, struct digest_value *out, struct err *err)
{
    size_t size = digest_size(kind);
    struct digest_value v = {.kind = kind};
    if (decode(&v, size, text, err) < 0) {
        err_hint(err, "a %s is %zu hex digits or %zu characters of base64", digest_name(kind), 2 * size,
                 (size + 2) / 3 * 4);
        return err_wrap(err, "\"%.*s\" is not a %s", (int)(text.n < SHOWN_MAX ? text.n : SHOWN_MAX), text.p,
                        digest_name(kind));
    }
    *out = v;
    return 0;
}

static uint64_t load_crc(const struct digest_value *v)
{
    uint64_t crc = 0;
    for (size_t i = 0; i < digest_size(v->kind); i++)
        crc = crc << 8 | v->bytes[i];
    return crc;
}

static void store_crc(struct digest_value *v, uint64_t crc)
{
    for (size_t i = digest_size(v->kind); i-- > 0; crc >>= 8)
        v->bytes[i] = (uint8_t)crc;
}

void digest_combine(struct digest_value *a, const struct digest_value *b, uint64_t b_length)
{
    const struct gf2_field *f = field_of(a->kind);
    if (f && a->kind == b->kind)
        store_crc(a, crc_combine(f, load_crc(a), load_crc(b), b_length));
}
