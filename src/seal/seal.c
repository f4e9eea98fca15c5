#include "seal/seal_priv.h"

#include <sodium.h>

#define KEYS_MAGIC  "berth-keys 1"
#define NONCE_BYTES crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG_BYTES   crypto_aead_xchacha20poly1305_ietf_ABYTES
#define HEAD_BYTES  (1 + KEY_ID_BYTES + NONCE_BYTES)

struct seal_keys {
    struct keyfile *file;
};

int seal_keys_open(struct seal_keys **out, const char *path, bool create, struct err *err)
{
    *out = NULL;
    struct seal_keys *k = calloc(1, sizeof *k);
    if (!k)
        return err_nomem(err);
    k->file = keyfile_read(path, KEYS_MAGIC, create, err);
    if (!k->file) {
        free(k);
        return -1;
    }
    *out = k;
    return 0;
}

void seal_keys_free(struct seal_keys *k)
{
    if (!k)
        return;
    sodium_free(k->file);
    free(k);
}

int seal_keys_rotate(const char *path, struct err *err)
{
    return keyfile_add(path, KEYS_MAGIC, err);
}

void seal_wipe(struct buf *secret)
{
    if (secret->p)
        sodium_memzero(secret->p, secret->cap);
    buf_release(secret);
}

int seal_box(const struct seal_keys *k, struct span plain, struct span bound_to, struct buf *out, struct err *err)
{
    char *p = buf_reserve(out, HEAD_BYTES + plain.n + TAG_BYTES);
    if (!p)
        return buf_check(out, "sealed value", err);
    uint8_t *sealed = (uint8_t *)p, *nonce = sealed + 1 + KEY_ID_BYTES;
    sealed[0] = SEALED_VERSION;
    memcpy(sealed + 1, k->file->id[0], KEY_ID_BYTES);
    randombytes_buf(nonce, NONCE_BYTES);
    unsigned long long n = 0;
    crypto_aead_xchacha20poly1305_ietf_encrypt(sealed + HEAD_BYTES, &n, (const uint8_t *)plain.p, plain.n,
                                               (const uint8_t *)bound_to.p, bound_to.n, NULL, nonce, k->file->key[0]);
    buf_grew(out, HEAD_BYTES + (size_t)n);
    return 0;
}

/* SIZE_MAX: none of them. */
static size_t key_of(const struct seal_keys *k, struct span sealed)
{
    if (sealed.n < HEAD_BYTES + TAG_BYTES || sealed.p[0] != SEALED_VERSION)
        return SIZE_MAX;
    for (size_t i = 0; i < k->file->n; i++)
        if (memcmp(k->file->id[i], sealed.p + 1, KEY_ID_BYTES) == 0)
            return i;
    return SIZE_MAX;
}

int seal_open(const struct seal_keys *k, struct span sealed, struct span bound_to, struct buf *out, struct err *err)
{
    if (sealed.n < HEAD_BYTES + TAG_BYTES || sealed.p[0] != SEALED_VERSION)
        return err_set(err, ERR_CORRUPT, "a sealed value is damaged, or of a newer version");
    size_t key = key_of(k, sealed);
    if (key == SIZE_MAX) {
        err_set(err, ERR_NOTFOUND, "a value was sealed under a key that the key file does not hold");
        return err_hint(err, "all servers of a fleet need the same key file, with its older keys");
    }
    const uint8_t *p = (const uint8_t *)sealed.p;
    size_t cipher = sealed.n - HEAD_BYTES;
    char *plain = buf_reserve(out, cipher - TAG_BYTES + 1);
    if (!plain)
        return buf_check(out, "opened value", err);
    unsigned long long n = 0;
    if (crypto_aead_xchacha20poly1305_ietf_decrypt((uint8_t *)plain, &n, NULL, p + HEAD_BYTES, cipher,
                                                   (const uint8_t *)bound_to.p, bound_to.n, p + 1 + KEY_ID_BYTES,
                                                   k->file->key[key]) < 0)
        return err_set(err, ERR_CORRUPT, "a sealed value was altered, or belongs to something else");
    buf_grew(out, (size_t)n);
    return 0;
}

size_t seal_keys_count(const struct seal_keys *k)
{
    return k->file->n;
}

bool seal_is_stale(const struct seal_keys *k, struct span sealed)
{
    return key_of(k, sealed) != 0;
}

int seal_subkey(const struct seal_keys *k, const char *purpose, const char *party, uint8_t out[SEAL_SUBKEY_BYTES],
                struct err *err)
{
    struct buf text;
    buf_init(&text, 1024);
    buf_addf(&text, "%s%c%s", purpose, '\0', party);
    if (buf_check(&text, "subkey", err) < 0) {
        buf_release(&text);
        return -1;
    }
    crypto_generichash(out, SEAL_SUBKEY_BYTES, (const uint8_t *)text.p, text.n, k->file->key[0], KEY_BYTES);
    buf_release(&text);
    return 0;
}
