#include "seal/cert.h"

#include "base/enc.h"
#include "seal/seal_priv.h"

#include <sodium.h>

#define CERT_MAGIC "berth-peer-key 1"
#define PEM_LINE   64
#define SPKI_BYTES (sizeof spki + crypto_sign_PUBLICKEYBYTES)
#define TBS_BYTES  (sizeof tbs + SPKI_BYTES)

#define ED25519 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70 /* AlgorithmIdentifier, RFC 8410, 3 */
#define NAME                                                                                                           \
    0x30, 0x15, 0x31, 0x13, 0x30, 0x11, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x0a, 'b', 'e', 'r', 't', 'h', ' ', 'n',   \
        'o', 'd', 'e' /* CN=berth node */

/* What stands before the key, or before what was signed. Lengths are part of it, since all parts have fixed ones. */
static const uint8_t spki[] = {0x30, 0x2a, ED25519, 0x03, 0x21, 0x00};
static const uint8_t tbs[] = {
    0x30,    0x81, 0x86,                                                                       /* TBSCertificate, v1 */
    0x02,    0x01, 0x01,                                                                       /* serial number 1 */
    ED25519, NAME,                                                                             /* signature, issuer */
    0x30,    0x20,                                                                             /* validity: */
    0x17,    0x0d, '2',  '4', '0', '1', '0', '1', '0', '0', '0', '0', '0', '0', 'Z',           /* from 2024 */
    0x18,    0x0f, '9',  '9', '9', '9', '1', '2', '3', '1', '2', '3', '5', '9', '5', '9', 'Z', /* RFC 5280, 4.1.2.5 */
    NAME,                                                                                      /* subject */
};
static const uint8_t certificate[] = {0x30, 0x81, 0xd3};
static const uint8_t signature[] = {ED25519, 0x03, 0x41, 0x00};
static const uint8_t private_key[] = {0x30, 0x2e, 0x02, 0x01, 0x00, ED25519, 0x04, 0x22, 0x04, 0x20}; /* RFC 8410, 7 */

static int write_pem(const char *label, const uint8_t *der, size_t n, char out[SEAL_PEM_MAX], struct err *err)
{
    struct buf base64, pem;
    buf_init(&base64, SEAL_PEM_MAX);
    buf_init(&pem, SEAL_PEM_MAX - 1);
    base64_encode(&base64, der, n);
    buf_addf(&pem, "-----BEGIN %s-----\n", label);
    for (struct span rest = buf_span(&base64); rest.n > 0;) {
        size_t line = rest.n < PEM_LINE ? rest.n : PEM_LINE;
        buf_add(&pem, rest.p, line);
        buf_addc(&pem, '\n');
        rest = (struct span){rest.p + line, rest.n - line};
    }
    buf_addf(&pem, "-----END %s-----\n", label);
    int rc = buf_check(&base64, label, err) < 0 ? -1 : buf_check(&pem, label, err);
    if (rc == 0)
        memcpy(out, buf_str(&pem), pem.n + 1);
    seal_wipe(&base64);
    seal_wipe(&pem);
    return rc;
}

static uint8_t *put(uint8_t *at, const void *p, size_t n)
{
    memcpy(at, p, n);
    return at + n;
}

int seal_cert_make(struct seal_cert *out, const uint8_t key[SEAL_CERT_KEY_BYTES], struct err *err)
{
    uint8_t public_key[crypto_sign_PUBLICKEYBYTES], secret[crypto_sign_SECRETKEYBYTES], hash[crypto_hash_sha256_BYTES];
    uint8_t pkcs8[sizeof private_key + SEAL_CERT_KEY_BYTES];
    uint8_t der[sizeof certificate + TBS_BYTES + sizeof signature + crypto_sign_BYTES];
    *out = (struct seal_cert){0};
    if (seal_setup(err) < 0)
        return -1;
    crypto_sign_seed_keypair(public_key, secret, key);
    uint8_t *signed_part = put(der, certificate, sizeof certificate);
    uint8_t *spki_part = put(signed_part, tbs, sizeof tbs);
    uint8_t *at = put(put(spki_part, spki, sizeof spki), public_key, sizeof public_key);
    at = put(at, signature, sizeof signature);
    crypto_sign_detached(at, NULL, signed_part, TBS_BYTES, secret);
    sodium_memzero(secret, sizeof secret);
    crypto_hash_sha256(hash, spki_part, SPKI_BYTES);
    hex_encode(out->fingerprint, hash, sizeof hash);
    put(put(pkcs8, private_key, sizeof private_key), key, SEAL_CERT_KEY_BYTES);
    int rc = write_pem("CERTIFICATE", der, sizeof der, out->cert, err);
    if (rc == 0)
        rc = write_pem("PRIVATE KEY", pkcs8, sizeof pkcs8, out->key, err);
    sodium_memzero(pkcs8, sizeof pkcs8);
    return rc;
}

int seal_cert_open(struct seal_cert *out, const char *path, struct err *err)
{
    struct keyfile *k = keyfile_read(path, CERT_MAGIC, true, err);
    if (!k)
        return -1;
    int rc = seal_cert_make(out, k->key[0], err);
    sodium_free(k);
    return rc;
}

void seal_cert_wipe(struct seal_cert *c)
{
    sodium_memzero(c, sizeof *c);
}
