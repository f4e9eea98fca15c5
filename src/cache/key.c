#include "cache/cache_priv.h"

#include "base/enc.h"
#include "base/rng.h"

#define KEY_TEXT_MAX ((size_t)64 << 10)

/* The purpose comes first, so that no value of one kind passes for another; fields are told apart by their NUL. */
static int keyed(const struct cache *c, const char *purpose, const struct span *fields, size_t n, uint8_t out[32],
                 struct err *err)
{
    AUTO_BUF text;
    buf_init(&text, KEY_TEXT_MAX);
    buf_add(&text, purpose, strlen(purpose) + 1);
    for (size_t i = 0; i < n; i++) {
        buf_add_span(&text, fields[i]);
        buf_addc(&text, '\0');
    }
    if (buf_check(&text, purpose, err) < 0)
        return -1;
    return digest_hmac_sha256(c->key, CACHE_KEY_N, text.p, text.n, out, err);
}

int key_of_origin(const struct cache *c, const struct cache_origin *origin, char out[ORIGIN_KEY_MAX], struct err *err)
{
    uint8_t hash[32];
    struct span fields[] = {span_of(origin->source), span_of(origin->location), span_of(origin->version)};
    if (keyed(c, "origin", fields, ARRAY_LEN(fields), hash, err) < 0)
        return -1;
    hex_encode(out, hash, 16); /* 128 bits are plenty under a secret key */
    return 0;
}

int key_random(char out[ORIGIN_KEY_MAX], struct err *err)
{
    out[0] = 'r';
    return rng_id(out + 1, err);
}

int key_of_identity(const struct cache *c, const char *identity, uint8_t out[32], struct err *err)
{
    struct span field = span_of(identity);
    return keyed(c, "identity", &field, 1, out, err);
}

int cache_scope_key(struct cache *c, const uint8_t identity[32], uint8_t scope[32], struct err *err)
{
    struct span field = {(const char *)identity, 32};
    return keyed(c, "scope", &field, 1, scope, err);
}

/* What may be shown: queries can be signatures, and what stands before '@' in an authority can be a password. */
void identity_redact(const char *identity, struct buf *out)
{
    for (const char *p = identity; *p; p++) {
        if (*p == '?') {
            buf_adds(out, "?…");
            p += strcspn(p, " \t\n");
            if (!*p)
                return;
        } else if (strncmp(p, "//", 2) == 0) {
            const char *at = memrchr(p + 2, '@', strcspn(p + 2, "/?# \t\n"));
            if (at) {
                buf_adds(out, "//…");
                p = at;
            }
        }
        buf_addc(out, *p);
    }
}
