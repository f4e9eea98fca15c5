/* seal: secrets at rest, tokens, and short-lived grants.
 *
 * A *key file* is text, mode 0600: "berth-keys 1", then one key a line, the current one first. All servers of a fleet
 * share it. To rotate, put a new line on top (seal_keys_rotate()): what was sealed before can still be opened, and is
 * known as stale (seal_is_stale()) to whoever seals it anew.
 *
 * A sealed value is XChaCha20-Poly1305 under the current key with a random nonce, bound to associated data (what it is
 * and whose: moved to another job, it does not open). Its first bytes are a format version and the key's id.
 *
 * Tokens carry 256 random bits; a plain hash of one at rest is enough, since nobody can guess its input (slow hashes
 * are for passwords). Keys lie in locked memory and are wiped. No error ever holds a secret. Thread-safe: all that is
 * here is constant once opened. Source: libsodium's documentation. */
#ifndef BERTH_SEAL_SEAL_H
#define BERTH_SEAL_SEAL_H

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

struct seal_keys;

#define SEAL_KEYS_MAX 16

/* `create`: made where it is not there. ERR_REFUSED: others may read the file; ERR_INVALID: not a key file. */
int seal_keys_open(struct seal_keys **out, const char *path, bool create, struct err *err);
void seal_keys_free(struct seal_keys *k);
/* A new current key on top of the file, for the next seal_keys_open(). Who does so at once takes turns. ERR_LIMIT above
 * SEAL_KEYS_MAX; ERR_REFUSED: the file is another user's. */
int seal_keys_rotate(const char *path, struct err *err);

/* Append the sealed form (binary) to `out`. */
int seal_box(const struct seal_keys *k, struct span plain, struct span bound_to, struct buf *out, struct err *err);
/* Append the plain text; wipe the buffer (seal_wipe()) after use. ERR_CORRUPT: altered, or bound to something else;
 * ERR_NOTFOUND: the key is not in the file (any more). */
int seal_open(const struct seal_keys *k, struct span sealed, struct span bound_to, struct buf *out, struct err *err);
size_t seal_keys_count(const struct seal_keys *k); /* the current one and the older ones */
/* Whether it was sealed under an older key than the current one. */
bool seal_is_stale(const struct seal_keys *k, struct span sealed);
void seal_wipe(struct buf *secret); /* overwritten, then released */

/* "berth_" and a letter for the role, then 256 random bits. */
#define SEAL_TOKEN_MAX 64
int seal_token_new(char out[SEAL_TOKEN_MAX], char role, struct err *err);
/* BLAKE2b-256, what is kept of a token. */
#define SEAL_HASH_BYTES 32
void seal_token_hash(uint8_t out[SEAL_HASH_BYTES], struct span token);
bool seal_equal(const void *a, const void *b, size_t n); /* in constant time */

/* A key for one purpose and one party ("peer", node id), derived from the current key. */
#define SEAL_SUBKEY_BYTES 32
int seal_subkey(const struct seal_keys *k, const char *purpose, const char *party, uint8_t out[SEAL_SUBKEY_BYTES],
                struct err *err);

/* A grant says "until then, this": "1.<expiry, Unix ms>.<MAC, hex>", where the MAC covers expiry and payload. Whoever
 * holds the subkey checks it without asking anybody. */
#define SEAL_GRANT_MAX 128
int seal_grant_make(const uint8_t key[SEAL_SUBKEY_BYTES], struct span payload, int64_t expires_ms,
                    char out[SEAL_GRANT_MAX], struct err *err);
/* ERR_DENIED: not for this payload, altered, or over. */
int seal_grant_check(const uint8_t key[SEAL_SUBKEY_BYTES], struct span payload, struct span grant, int64_t now_ms,
                     struct err *err);

/* Sealing to somebody: X25519 sealed boxes, for definitions that the server must not read. */
#define SEAL_PUBLIC_BYTES 32
struct seal_pair;
int seal_pair_open(struct seal_pair **out, const char *path, bool create, struct err *err); /* file as above */
void seal_pair_free(struct seal_pair *p);
const uint8_t *seal_pair_public(const struct seal_pair *p); /* borrowed */
int seal_to(const uint8_t public_key[SEAL_PUBLIC_BYTES], struct span plain, struct buf *out, struct err *err);
int seal_from(const struct seal_pair *p, struct span sealed, struct buf *out, struct err *err);

#endif
