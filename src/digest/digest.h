/* digest: checksums of bytes, streaming and by whole files, with the machine's instructions where there are any.
 *
 * SHA-256, SHA-1 and MD5 come from OpenSSL, CRC-32 and CRC-32C from ISA-L, XXH3-128 from libxxhash; CRC-64/NVME is
 * berth's own carry-less-multiply code with a table fall-back. CRC values of adjacent ranges combine, so that parts
 * hashed in any order give the whole's value; the cryptographic ones need the bytes in order.
 *
 * A struct digest is used by one thread at a time. Nothing here does I/O except digest_fd(). */
#ifndef BERTH_DIGEST_DIGEST_H
#define BERTH_DIGEST_DIGEST_H

#include "base/buf.h"
#include "base/cancel.h"
#include "base/err.h"
#include "base/str.h"

#include <stdint.h>

/* X(name, word, bytes): the word is S3's (`x-amz-checksum-<word>`) where S3 has one. */
#define DIGEST_KINDS(X)                                                                                                \
    X(SHA256, "sha256", 32)                                                                                            \
    X(SHA1, "sha1", 20)                                                                                                \
    X(MD5, "md5", 16)                                                                                                  \
    X(CRC32, "crc32", 4)                                                                                               \
    X(CRC32C, "crc32c", 4)                                                                                             \
    X(CRC64NVME, "crc64nvme", 8)                                                                                       \
    X(XXH3, "xxh3", 16)

enum digest_kind {
#define X(name, word, bytes) DIGEST_##name,
    DIGEST_KINDS(X)
#undef X
        DIGEST_KIND_COUNT
};

#define DIGEST_BYTES_MAX 32

/* A finished value; `bytes` in the order that hex and base64 show (big-endian for CRCs). */
struct digest_value {
    enum digest_kind kind;
    uint8_t bytes[DIGEST_BYTES_MAX];
};

const char *digest_name(enum digest_kind kind);
size_t digest_size(enum digest_kind kind);
bool digest_combines(enum digest_kind kind); /* true for the CRCs */
int digest_kind_parse(struct span word, enum digest_kind *out, struct err *err);

bool digest_equal(const struct digest_value *a, const struct digest_value *b); /* constant time */
#define DIGEST_HEX_MAX (2 * DIGEST_BYTES_MAX + 1)
char *digest_hex(char out[DIGEST_HEX_MAX], const struct digest_value *v);
void digest_base64(struct buf *out, const struct digest_value *v);

/* Hex, `0x` hex or base64; the length must fit the kind. */
int digest_parse(enum digest_kind kind, struct span text, struct digest_value *out, struct err *err);

/* Several kinds over one stream of bytes. */
struct digest;
int digest_open(struct digest **out, unsigned kinds /* BIT(DIGEST_…)s */, struct err *err);
void digest_free(struct digest *d);
int digest_update(struct digest *d, const void *p, size_t n, struct err *err);
/* One value per kind; the stream may not be continued after the first call. */
int digest_final(struct digest *d, enum digest_kind kind, struct digest_value *out, struct err *err);
uint64_t digest_length(const struct digest *d); /* bytes taken in so far */

/* The CRC of A followed by B, from A's, B's and B's length, in O(log length). `a` becomes the result; both must be of
 * one kind that combines (else `a` stays as it is). */
void digest_combine(struct digest_value *a, const struct digest_value *b, uint64_t b_length);

/* Hash `length` bytes of a file from `offset` by pread, in blocks of 256 KiB; ERR_CORRUPT at a short file,
 * ERR_CANCELLED. `d` may hold earlier bytes. */
int digest_fd(struct digest *d, int fd, uint64_t offset, uint64_t length, const struct cancel *cancel, struct err *err);

/* One-shot forms. digest_hmac_sha256 is RFC 2104; `out` may not alias the inputs. */
int digest_bytes(enum digest_kind kind, const void *p, size_t n, struct digest_value *out, struct err *err);
int digest_hmac_sha256(const void *key, size_t key_n, const void *p, size_t n, uint8_t out[32], struct err *err);

/* Git's blob id: SHA-1 over "blob <size>\0" and the content; call before the first update. Other kinds of the same
 * stream see the content alone. */
int digest_git_blob_start(struct digest *d, uint64_t size, struct err *err);

#endif
