/* Grants: one that was made is good for its payload until its time, and not a bit longer, for nothing else and in no
 * other spelling; no other text is one. */
#include "seal/seal.h"

#include <stdlib.h>

static void require(bool holds)
{
    if (!holds)
        abort();
}

static int check(const uint8_t *key, struct span payload, struct span grant, int64_t now_ms)
{
    struct err err = ERR_INIT;
    int rc = seal_grant_check(key, payload, grant, now_ms, &err);
    require(rc == 0 ? !err_is_set(&err) : err.kind == ERR_DENIED);
    return rc;
}

static void check_made(const uint8_t *key, struct span payload, int64_t expires_ms, struct span other)
{
    struct err err = ERR_INIT;
    char text[SEAL_GRANT_MAX];
    require((seal_grant_make(key, payload, expires_ms, text, &err) == 0) == (expires_ms >= 0));
    if (expires_ms < 0)
        return;
    const struct span grant = span_of(text);
    require(check(key, payload, grant, expires_ms) < 0);
    require(expires_ms == 0 || check(key, payload, grant, expires_ms - 1) == 0);
    if (!span_eq(other, payload))
        require(check(key, other, grant, 0) < 0);
    if (!span_eq(other, grant))
        require(check(key, payload, other, 0) < 0);
    uint8_t another[SEAL_SUBKEY_BYTES];
    memcpy(another, key, sizeof another);
    another[other.n % sizeof another] ^= 1;
    require(check(another, payload, grant, 0) < 0);
}

/* The grant with a piece of it replaced by what the input says. */
static void check_altered(const uint8_t *key, struct span payload, int64_t expires_ms, uint8_t where, struct span piece)
{
    struct err err = ERR_INIT;
    char text[SEAL_GRANT_MAX];
    AUTO_BUF altered;
    buf_init(&altered, 1 << 20);
    if (seal_grant_make(key, payload, expires_ms, text, &err) < 0)
        return;
    size_t n = strlen(text), at = where % (n + 1), gone = where % 3 < n - at ? where % 3 : n - at;
    buf_add(&altered, text, at);
    buf_add_span(&altered, piece);
    buf_adds(&altered, text + at + gone);
    require(span_eq(buf_span(&altered), span_of(text)) || check(key, payload, buf_span(&altered), 0) < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* A time, a place in the grant, a payload up to the first NUL, and any text. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const uint8_t key[SEAL_SUBKEY_BYTES] = "a key that only the fleet knows";
    int64_t expires_ms;
    if (n < sizeof expires_ms + 1)
        return 0;
    memcpy(&expires_ms, data, sizeof expires_ms);
    struct span rest = {(const char *)data + sizeof expires_ms + 1, n - sizeof expires_ms - 1}, payload, text;
    span_cut(rest, '\0', &payload, &text);
    check_made(key, payload, expires_ms, text);
    check_altered(key, payload, expires_ms, data[sizeof expires_ms], text);
    return 0;
}
