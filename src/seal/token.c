/* Tokens and grants. */
#include "seal/seal_priv.h"

#include "base/enc.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>

#define TOKEN_RANDOM_BYTES 32
#define GRANT_VERSION      "1"
#define GRANT_MAC_BYTES    32

int seal_token_new(char out[SEAL_TOKEN_MAX], char role, struct err *err)
{
    uint8_t random[TOKEN_RANDOM_BYTES];
    if (seal_setup(err) < 0)
        return -1;
    randombytes_buf(random, sizeof random);
    int n = snprintf(out, SEAL_TOKEN_MAX, "berth_%c", role);
    sodium_bin2base64(out + n, SEAL_TOKEN_MAX - (size_t)n, random, sizeof random,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_memzero(random, sizeof random);
    return 0;
}

void seal_token_hash(uint8_t out[SEAL_HASH_BYTES], struct span token)
{
    crypto_generichash(out, SEAL_HASH_BYTES, (const uint8_t *)token.p, token.n, NULL, 0);
}

bool seal_equal(const void *a, const void *b, size_t n)
{
    return sodium_memcmp(a, b, n) == 0;
}

static void grant_text(const uint8_t key[SEAL_SUBKEY_BYTES], struct span payload, int64_t expires_ms,
                       char out[SEAL_GRANT_MAX])
{
    uint8_t mac[GRANT_MAC_BYTES];
    char hex[2 * GRANT_MAC_BYTES + 1];
    int n = snprintf(out, SEAL_GRANT_MAX, GRANT_VERSION ".%" PRId64 ".", expires_ms);
    crypto_generichash_state state;
    crypto_generichash_init(&state, key, SEAL_SUBKEY_BYTES, sizeof mac);
    crypto_generichash_update(&state, (const uint8_t *)out, (unsigned)n);
    crypto_generichash_update(&state, (const uint8_t *)payload.p, payload.n);
    crypto_generichash_final(&state, mac, sizeof mac);
    hex_encode(hex, mac, sizeof mac);
    snprintf(out + n, SEAL_GRANT_MAX - (size_t)n, "%s", hex);
}

int seal_grant_make(const uint8_t key[SEAL_SUBKEY_BYTES], struct span payload, int64_t expires_ms,
                    char out[SEAL_GRANT_MAX], struct err *err)
{
    if (expires_ms < 0)
        return err_set(err, ERR_INVALID, "a grant can't end before 1970");
    grant_text(key, payload, expires_ms, out);
    return 0;
}

/* The whole text is compared: a grant has one spelling. */
int seal_grant_check(const uint8_t key[SEAL_SUBKEY_BYTES], struct span payload, struct span grant, int64_t now_ms,
                     struct err *err)
{
    struct span version, expiry, mac;
    uint64_t expires = 0;
    char right[SEAL_GRANT_MAX];
    struct err number = ERR_INIT;
    if (!span_cut(grant, '.', &version, &expiry) || !span_cut(expiry, '.', &expiry, &mac) ||
        span_to_u64(expiry, &expires, &number) < 0 || expires > INT64_MAX)
        return err_set(err, ERR_DENIED, "not a grant");
    grant_text(key, payload, (int64_t)expires, right);
    if (grant.n != strlen(right) || !seal_equal(right, grant.p, grant.n))
        return err_set(err, ERR_DENIED, "the grant is not for this");
    return now_ms < (int64_t)expires ? 0 : err_set(err, ERR_DENIED, "the grant is over");
}
