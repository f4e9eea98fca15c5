/* Sealing to somebody's public key. */
#include "seal/seal_priv.h"

#include <sodium.h>

#define PAIR_MAGIC "berth-node-key 1"

struct seal_pair {
    uint8_t public_key[crypto_box_PUBLICKEYBYTES];
    struct keyfile *file; /* its first key is the seed */
};

int seal_pair_open(struct seal_pair **out, const char *path, bool create, struct err *err)
{
    *out = NULL;
    struct seal_pair *p = calloc(1, sizeof *p);
    if (!p)
        return err_nomem(err);
    p->file = keyfile_read(path, PAIR_MAGIC, create, err);
    if (!p->file) {
        free(p);
        return -1;
    }
    uint8_t secret[crypto_box_SECRETKEYBYTES];
    crypto_box_seed_keypair(p->public_key, secret, p->file->key[0]);
    sodium_memzero(secret, sizeof secret);
    *out = p;
    return 0;
}

void seal_pair_free(struct seal_pair *p)
{
    if (!p)
        return;
    sodium_free(p->file);
    free(p);
}

const uint8_t *seal_pair_public(const struct seal_pair *p)
{
    return p->public_key;
}

int seal_to(const uint8_t public_key[SEAL_PUBLIC_BYTES], struct span plain, struct buf *out, struct err *err)
{
    if (seal_setup(err) < 0)
        return -1;
    char *p = buf_reserve(out, plain.n + crypto_box_SEALBYTES);
    if (!p)
        return buf_check(out, "sealed value", err);
    if (crypto_box_seal((uint8_t *)p, (const uint8_t *)plain.p, plain.n, public_key) < 0)
        return err_set(err, ERR_INVALID, "not a public key");
    buf_grew(out, plain.n + crypto_box_SEALBYTES);
    return 0;
}

int seal_from(const struct seal_pair *p, struct span sealed, struct buf *out, struct err *err)
{
    if (sealed.n < crypto_box_SEALBYTES)
        return err_set(err, ERR_CORRUPT, "a value sealed to this node is damaged");
    char *plain = buf_reserve(out, sealed.n - crypto_box_SEALBYTES + 1);
    if (!plain)
        return buf_check(out, "opened value", err);
    uint8_t public_key[crypto_box_PUBLICKEYBYTES], secret[crypto_box_SECRETKEYBYTES];
    crypto_box_seed_keypair(public_key, secret, p->file->key[0]);
    int rc = crypto_box_seal_open((uint8_t *)plain, (const uint8_t *)sealed.p, sealed.n, public_key, secret);
    sodium_memzero(secret, sizeof secret);
    if (rc < 0)
        return err_set(err, ERR_CORRUPT, "a value was altered, or sealed to another node");
    buf_grew(out, sealed.n - crypto_box_SEALBYTES);
    return 0;
}
