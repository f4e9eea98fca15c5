/* Several kinds over one stream of bytes. */
#include "digest/digest.h"

#include "base/fs.h"
#include "digest/digest_priv.h"
#include "digest/evp_priv.h"

#include <endian.h>
#include <xxhash.h>

/* With more than one kind, each block goes through all of them while it is in the nearest caches. */
#define BLOCK_BYTES ((size_t)32 << 10)
/* What digest_fd() reads at a time. */
#define READ_BYTES ((size_t)256 << 10)

#define EVP_KINDS   (BIT(DIGEST_SHA256) | BIT(DIGEST_SHA1) | BIT(DIGEST_MD5))
#define KNOWN_KINDS (BIT(DIGEST_KIND_COUNT) - 1)

struct digest {
    unsigned kinds;
    bool finished;
    uint64_t length;
    EVP_MD_CTX *evp[DIGEST_KIND_COUNT]; /* NULL where not asked for, or not of OpenSSL's */
    XXH3_state_t *xxh3;
    uint32_t crc32, crc32c;
    uint64_t crc64nvme;
    uint8_t *block;                                /* READ_BYTES, allocated by the first digest_fd() */
    struct digest_value values[DIGEST_KIND_COUNT]; /* once finished */
};

static bool has(const struct digest *d, enum digest_kind kind)
{
    return d->kinds & BIT(kind);
}

static int start_all(struct digest *d, struct err *err)
{
    for (unsigned kind = 0; kind < DIGEST_KIND_COUNT; kind++)
        if ((d->kinds & EVP_KINDS & BIT(kind)) && evp_start(&d->evp[kind], (enum digest_kind)kind, err) < 0)
            return -1;
    if (!has(d, DIGEST_XXH3))
        return 0;
    d->xxh3 = XXH3_createState();
    if (!d->xxh3)
        return err_nomem(err);
    XXH3_128bits_reset(d->xxh3);
    return 0;
}

int digest_open(struct digest **out, unsigned kinds, struct err *err)
{
    if (kinds & ~KNOWN_KINDS)
        return err_set(err, ERR_INVALID, "digest: unknown kinds 0x%x", kinds & ~KNOWN_KINDS);
    struct digest *d = calloc(1, sizeof(*d));
    if (!d)
        return err_nomem(err);
    d->kinds = kinds;
    if (start_all(d, err) < 0) {
        digest_free(d);
        return err_wrap(err, "digest");
    }
    *out = d;
    return 0;
}

void digest_free(struct digest *d)
{
    if (!d)
        return;
    for (unsigned kind = 0; kind < DIGEST_KIND_COUNT; kind++)
        EVP_MD_CTX_free(d->evp[kind]);
    XXH3_freeState(d->xxh3);
    free(d->block);
    free(d);
}

static int update_block(struct digest *d, const uint8_t *p, size_t n, struct err *err)
{
    for (unsigned kind = 0; kind < DIGEST_KIND_COUNT; kind++)
        if (d->evp[kind] && EVP_DigestUpdate(d->evp[kind], p, n) != 1)
            return evp_fail(digest_name((enum digest_kind)kind), err);
    if (d->xxh3)
        XXH3_128bits_update(d->xxh3, p, n);
    if (has(d, DIGEST_CRC32))
        d->crc32 = crc32_extend(d->crc32, p, n);
    if (has(d, DIGEST_CRC32C))
        d->crc32c = crc32c_extend(d->crc32c, p, n);
    if (has(d, DIGEST_CRC64NVME))
        d->crc64nvme = crc64nvme_extend(d->crc64nvme, p, n);
    d->length += n;
    return 0;
}

int digest_update(struct digest *d, const void *p, size_t n, struct err *err)
{
    if (d->finished)
        return err_set(err, ERR_SYSTEM, "digest: more bytes after the end");
    const uint8_t *at = p;
    const bool single = (d->kinds & (d->kinds - 1)) == 0;
    while (n) {
        size_t take = single || n < BLOCK_BYTES ? n : BLOCK_BYTES;
        if (update_block(d, at, take, err) < 0)
            return -1;
        at += take;
        n -= take;
    }
    return 0;
}

static void put_be32(uint8_t *out, uint32_t v)
{
    v = htobe32(v);
    memcpy(out, &v, sizeof(v));
}

static void put_be64(uint8_t *out, uint64_t v)
{
    v = htobe64(v);
    memcpy(out, &v, sizeof(v));
}

static int finish(struct digest *d, struct err *err)
{
    for (unsigned kind = 0; kind < DIGEST_KIND_COUNT; kind++) {
        d->values[kind].kind = (enum digest_kind)kind;
        if (d->evp[kind] && EVP_DigestFinal_ex(d->evp[kind], d->values[kind].bytes, NULL) != 1)
            return evp_fail(digest_name((enum digest_kind)kind), err);
    }
    put_be32(d->values[DIGEST_CRC32].bytes, d->crc32);
    put_be32(d->values[DIGEST_CRC32C].bytes, d->crc32c);
    put_be64(d->values[DIGEST_CRC64NVME].bytes, d->crc64nvme);
    if (d->xxh3) {
        XXH128_canonical_t canonical;
        XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(d->xxh3));
        memcpy(d->values[DIGEST_XXH3].bytes, canonical.digest, sizeof(canonical.digest));
    }
    d->finished = true;
    return 0;
}

int digest_final(struct digest *d, enum digest_kind kind, struct digest_value *out, struct err *err)
{
    if ((unsigned)kind >= DIGEST_KIND_COUNT || !has(d, kind))
        return err_set(err, ERR_SYSTEM, "digest: %s was not asked for when it was opened", digest_name(kind));
    if (!d->finished && finish(d, err) < 0)
        return err_wrap(err, "digest");
    *out = d->values[kind];
    return 0;
}

uint64_t digest_length(const struct digest *d)
{
    return d->length;
}

int digest_fd(struct digest *d, int fd, uint64_t offset, uint64_t length, const struct cancel *cancel, struct err *err)
{
    if (!d->block && !(d->block = malloc(READ_BYTES)))
        return err_nomem(err);
    while (length) {
        size_t take = length < READ_BYTES ? (size_t)length : READ_BYTES;
        if (cancel_check(cancel, err) < 0 || fs_pread_all(fd, d->block, take, offset, err) < 0 ||
            digest_update(d, d->block, take, err) < 0)
            return -1;
        offset += take;
        length -= take;
    }
    return 0;
}

int digest_bytes(enum digest_kind kind, const void *p, size_t n, struct digest_value *out, struct err *err)
{
    struct digest *d = NULL;
    if ((unsigned)kind >= DIGEST_KIND_COUNT)
        return err_set(err, ERR_INVALID, "digest: unknown kind %u", (unsigned)kind);
    if (digest_open(&d, BIT(kind), err) < 0 || !d)
        return -1;
    int rc = digest_update(d, p, n, err);
    if (rc == 0)
        rc = digest_final(d, kind, out, err);
    digest_free(d);
    return rc;
}

int digest_git_blob_start(struct digest *d, uint64_t size, struct err *err)
{
    char header[32];
    EVP_MD_CTX *sha1 = d->evp[DIGEST_SHA1];
    if (!sha1 || d->length || d->finished)
        return err_set(err, ERR_SYSTEM, "digest: a git blob needs SHA-1 and an unused digest");
    int n = snprintf(header, sizeof(header), "blob %llu", (unsigned long long)size);
    if (EVP_DigestUpdate(sha1, header, (size_t)n + 1) != 1) /* with its NUL */
        return evp_fail("sha1", err);
    return 0;
}
