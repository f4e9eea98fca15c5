/* What strange machines say of blobs: the name of an origin, a range, a list of peers. What is taken of an origin is
 * written as what reads as it again; what a range gives lies within the blob; a peer that is taken has nothing that
 * could split a header or be looked up as a name. Input: a byte that says which, then its text. */
#include "stage/peer.h"

#include <stdlib.h>
#include <string.h>

#define BLOB_BYTES 1000

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void check_origin(struct span text)
{
    struct err err = ERR_INIT;
    struct cache_origin first, again;
    struct arena *a = arena_new(0, &err);
    AUTO_BUF out;
    buf_init(&out, PEER_ORIGIN_MAX);
    if (a && peer_origin_read(text, a, &first, &err) == 0) {
        must(*first.source && *first.location && *first.version);
        must(peer_origin_write(&first, &out, &err) == 0 && peer_origin_read(buf_span(&out), a, &again, &err) == 0);
        must(str_eq(first.source, again.source) && str_eq(first.location, again.location) &&
             str_eq(first.version, again.version));
    } else {
        must(err.kind == ERR_INVALID && err.text[0]);
    }
    arena_free(a);
}

static void check_range(const char *text)
{
    for (uint64_t size = 0; size <= BLOB_BYTES; size += BLOB_BYTES) {
        uint64_t first = UINT64_MAX, n = UINT64_MAX;
        int rc = peer_range(text, size, &first, &n);
        must(rc != 0 || (first == 0 && n == size));
        must(rc <= 0 || (n > 0 && n <= size && first <= size - n));
    }
}

static void check_peer(struct span text)
{
    struct err err = ERR_INIT;
    struct peer p;
    AUTO_JSON item = json_parse(text, &err);
    if (!item || !peer_read(item, &p))
        return;
    must(peer_digest_ok(p.fingerprint) && *p.node && *p.token && !strpbrk(p.token, "\r\n \t,;"));
    must(strspn(p.address, "0123456789abcdefABCDEF.:[]") == strlen(p.address) && strchr(p.address, ':'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err err = ERR_INIT;
    if (n < 1)
        return 0;
    const struct span text = {(const char *)data + 1, n - 1};
    AUTO_STR copy = str_dup_span(text, &err);
    must(copy);
    if (data[0] % 3 == 0)
        check_origin(text);
    else if (data[0] % 3 == 1)
        check_range(copy);
    else
        check_peer(text);
    return 0;
}
