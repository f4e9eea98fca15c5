#include "stage/peer.h"

#include "base/enc.h"
#include "xfer/xfer.h"

#include <arpa/inet.h>
#include <string.h>

/* --- who ---------------------------------------------------------------------------------------------------------- */

bool peer_digest_ok(const char *hex)
{
    return hex && strlen(hex) == PEER_DIGEST_MAX - 1 && strspn(hex, "0123456789abcdef") == PEER_DIGEST_MAX - 1;
}

static bool is_port(struct span text)
{
    uint64_t port = 0;
    struct err none = ERR_INIT;
    return text.n > 0 && text.n <= 5 && span_to_u64(text, &port, &none) == 0 && port > 0 && port <= UINT16_MAX;
}

static bool is_ip(int family, struct span text)
{
    char host[INET6_ADDRSTRLEN];
    uint8_t bytes[sizeof(struct in6_addr)];
    if (text.n == 0 || text.n >= sizeof host)
        return false;
    snprintf(host, sizeof host, "%.*s", SPAN_FMT(text));
    return inet_pton(family, host, bytes) == 1;
}

bool peer_address_ok(struct span address)
{
    struct span host, port;
    if (address.n >= PEER_ADDRESS_MAX)
        return false;
    if (address.n > 0 && address.p[0] == '[')
        return span_cut((struct span){address.p + 1, address.n - 1}, ']', &host, &port) && port.n > 0 &&
               port.p[0] == ':' && is_ip(AF_INET6, host) && is_port((struct span){port.p + 1, port.n - 1});
    return span_cut(address, ':', &host, &port) && is_ip(AF_INET, host) && is_port(port);
}

/* RFC 6750, 2.1. */
static bool is_token(const char *text)
{
    size_t n = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=");
    return n > 0 && text[n] == '\0' && n < PEER_TOKEN_MAX;
}

bool peer_read(const json_t *item, struct peer *out)
{
    const char *node = json_get_str(item, "node"), *address = json_get_str(item, "address"),
               *fingerprint = json_get_str(item, "fingerprint"), *token = json_get_str(item, "token");
    if (!node || !*node || strlen(node) >= PEER_NODE_MAX || !address || !peer_address_ok(span_of(address)) ||
        !peer_digest_ok(fingerprint) || !token || !is_token(token))
        return false;
    snprintf(out->node, sizeof out->node, "%s", node);
    snprintf(out->address, sizeof out->address, "%s", address);
    snprintf(out->fingerprint, sizeof out->fingerprint, "%s", fingerprint);
    snprintf(out->token, sizeof out->token, "%s", token);
    return true;
}

/* --- where it came from ------------------------------------------------------------------------------------------- */

int peer_origin_write(const struct cache_origin *origin, struct buf *out, struct err *err)
{
    const char *const fields[] = {origin->source, origin->location, origin->version};
    AUTO_BUF text;
    buf_init(&text, PEER_ORIGIN_MAX / 4 * 3);
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        buf_add(&text, fields[i] ? fields[i] : "", fields[i] ? strlen(fields[i]) + 1 : 1);
    if (buf_check(&text, "the name of an origin", err) < 0)
        return -1;
    base64_encode(out, (const uint8_t *)text.p, text.n);
    return buf_check(out, "the name of an origin", err);
}

int peer_origin_read(struct span value, struct arena *a, struct cache_origin *out, struct err *err)
{
    char *text = value.n <= PEER_ORIGIN_MAX ? arena_array(a, value.n + 1, sizeof *text) : NULL;
    const char *fields[3] = {NULL};
    size_t n = 0, at = 0;
    if (arena_check(a, err) < 0)
        return -1;
    if (!text || base64_decode((uint8_t *)text, value.n, &n, value, err) < 0) {
        err_clear(err);
        return err_set(err, ERR_INVALID, PEER_ORIGIN_HEADER ": not the name of an origin");
    }
    for (size_t i = 0; i < ARRAY_LEN(fields) && at < n && memchr(text + at, '\0', n - at); i++) {
        fields[i] = text + at;
        at += strlen(fields[i]) + 1;
    }
    if (at != n || str_empty(fields[0]) || str_empty(fields[1]) || str_empty(fields[2]))
        return err_set(err, ERR_INVALID, PEER_ORIGIN_HEADER ": not the name of an origin");
    *out = (struct cache_origin){
        .source = fields[0], .location = fields[1], .version = fields[2], .size = XFER_SIZE_UNKNOWN};
    return 0;
}

/* --- which part --------------------------------------------------------------------------------------------------- */

static bool number(struct span text, uint64_t *out)
{
    struct err none = ERR_INIT;
    return text.n > 0 && span_to_u64(text, out, &none) == 0;
}

int peer_range(const char *header, uint64_t size, uint64_t *first, uint64_t *n)
{
    static const struct span unit = SPAN_LIT("bytes=");
    struct span text = span_of(header), from, to;
    uint64_t a = 0, b = 0;
    *first = 0;
    *n = size;
    if (!header || !span_starts(text, unit) ||
        !span_cut((struct span){text.p + unit.n, text.n - unit.n}, '-', &from, &to))
        return 0;
    if (from.n == 0) { /* the last so many */
        if (!number(to, &b))
            return 0;
        if (b == 0 || size == 0)
            return -1;
        *n = b < size ? b : size;
        *first = size - *n;
        return 1;
    }
    if (!number(from, &a) || (to.n > 0 && (!number(to, &b) || b < a)))
        return 0;
    if (a >= size)
        return -1;
    *first = a;
    *n = to.n > 0 && b < size - 1 ? b - a + 1 : size - a;
    return 1;
}
