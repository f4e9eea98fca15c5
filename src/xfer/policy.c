#include "xfer/policy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* An address as 16 bytes in IPv6 form; IPv4 is ::ffff:a.b.c.d, so that one table and one comparison serve both. */
struct address {
    uint8_t b[16];
    uint16_t port;
};

struct block {
    uint8_t b[16];
    unsigned bits;
    const char *what;
};

#define V4(a, b, c, d)                                                                                                 \
    {                                                                                                                  \
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d                                                           \
    }
#define V4_BITS 96

/* IANA special-purpose registries (RFC 6890 and its updates): what is not the public internet. */
static const struct block blocks[] = {
    {V4(0, 0, 0, 0), V4_BITS + 8, "this network"},
    {V4(10, 0, 0, 0), V4_BITS + 8, "private"},
    {V4(100, 100, 100, 200), V4_BITS + 32, "cloud metadata"},
    {V4(100, 64, 0, 0), V4_BITS + 10, "carrier-grade NAT"},
    {V4(127, 0, 0, 0), V4_BITS + 8, "loopback"},
    {V4(168, 63, 129, 16), V4_BITS + 32, "cloud metadata"},
    {V4(169, 254, 169, 254), V4_BITS + 32, "cloud metadata"},
    {V4(169, 254, 0, 0), V4_BITS + 16, "link-local"},
    {V4(172, 16, 0, 0), V4_BITS + 12, "private"},
    {V4(192, 0, 0, 0), V4_BITS + 24, "reserved"},
    {V4(192, 0, 2, 0), V4_BITS + 24, "documentation"},
    {V4(192, 88, 99, 0), V4_BITS + 24, "6to4 relay"},
    {V4(192, 168, 0, 0), V4_BITS + 16, "private"},
    {V4(198, 18, 0, 0), V4_BITS + 15, "benchmarking"},
    {V4(198, 51, 100, 0), V4_BITS + 24, "documentation"},
    {V4(203, 0, 113, 0), V4_BITS + 24, "documentation"},
    {V4(224, 0, 0, 0), V4_BITS + 4, "multicast"},
    {V4(240, 0, 0, 0), V4_BITS + 4, "reserved"},
    {{[15] = 0}, 128, "unspecified"},
    {{[15] = 1}, 128, "loopback"},
    {{0xfd, 0x00, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54}, 128, "cloud metadata"},
    {{0xfc}, 7, "private"},
    {{0xfe, 0x80}, 10, "link-local"},
    {{0xfe, 0xc0}, 10, "site-local"},
    {{0xff}, 8, "multicast"},
    {{0x20, 0x01, 0x00}, 23, "reserved"}, /* Teredo, ORCHID, benchmarking and the like */
    {{0x20, 0x01, 0x0d, 0xb8}, 32, "documentation"},
    {{0x3f, 0xff, 0x00}, 20, "documentation"},
};

static const struct block v4_space = {V4(0, 0, 0, 0), V4_BITS, "IPv4"};
static const struct block nat64 = {{0x00, 0x64, 0xff, 0x9b}, 96, "NAT64"}; /* RFC 6052; the address in bytes 12–15 */
static const struct block six_to_four = {{0x20, 0x02}, 16, "6to4"};        /* RFC 3056; the address in bytes 2–5 */
static const struct block unicast = {{0x20}, 3, "global unicast"};         /* RFC 4291: nothing else is assigned */

static bool in_block(const uint8_t address[16], const uint8_t prefix[16], unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    if (memcmp(address, prefix, whole) != 0)
        return false;
    return rest == 0 || (address[whole] ^ prefix[whole]) >> (8 - rest) == 0;
}

static void from_v4(struct address *out, const void *four)
{
    *out = (struct address){.b = V4(0, 0, 0, 0)};
    memcpy(out->b + 12, four, 4);
}

static bool take_address(const struct sockaddr *addr, socklen_t n, struct address *out)
{
    if (addr->sa_family == AF_INET && n >= (socklen_t)sizeof(struct sockaddr_in)) {
        struct sockaddr_in in;
        memcpy(&in, addr, sizeof in);
        from_v4(out, &in.sin_addr);
        out->port = ntohs(in.sin_port);
        return true;
    }
    if (addr->sa_family == AF_INET6 && n >= (socklen_t)sizeof(struct sockaddr_in6)) {
        struct sockaddr_in6 in;
        memcpy(&in, addr, sizeof in);
        memcpy(out->b, &in.sin6_addr, sizeof out->b);
        out->port = ntohs(in.sin6_port);
        return true;
    }
    return false;
}

/* The IPv4 address that a transition form leads to; false where it is none. */
static bool look_inside(const struct address *a, struct address *inner)
{
    if (in_block(a->b, nat64.b, nat64.bits))
        from_v4(inner, a->b + 12);
    else if (in_block(a->b, six_to_four.b, six_to_four.bits))
        from_v4(inner, a->b + 2);
    else
        return false;
    inner->port = a->port;
    return true;
}

/* Why the address is not public; NULL: it is. */
static const char *not_public(const struct address *a)
{
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++)
        if (in_block(a->b, blocks[i].b, blocks[i].bits))
            return blocks[i].what;
    if (in_block(a->b, v4_space.b, v4_space.bits))
        return NULL;
    struct address inner;
    if (look_inside(a, &inner))
        return not_public(&inner);
    return in_block(a->b, unicast.b, unicast.bits) ? NULL : "reserved";
}

static bool parse_ip(struct span s, struct address *out)
{
    char text[INET6_ADDRSTRLEN];
    if (s.n == 0 || s.n >= sizeof text)
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    uint8_t four[4];
    if (inet_pton(AF_INET, text, four) == 1) {
        from_v4(out, four);
        return true;
    }
    return inet_pton(AF_INET6, text, out->b) == 1;
}

/* "10.0.0.0/8"; *bits counts in the IPv6 form. */
static bool parse_range(struct span network, struct span bits_text, struct address *prefix, unsigned *bits)
{
    uint64_t n;
    struct err ignored = ERR_INIT;
    if (!parse_ip(network, prefix) || span_to_u64(bits_text, &n, &ignored) < 0)
        return false;
    bool v4 = memchr(network.p, ':', network.n) == NULL;
    if (n > (v4 ? 32 : 128))
        return false;
    *bits = (unsigned)n + (v4 ? V4_BITS : 0);
    return true;
}

static bool range_allows(struct span network, struct span bits_text, const struct address *a)
{
    struct address prefix = {0};
    unsigned bits = 0;
    return parse_range(network, bits_text, &prefix, &bits) && in_block(a->b, prefix.b, bits);
}

/* Split "host:port" and "[v6]:port"; a bare IPv6 address has no port. False where the port is no number. */
static bool cut_port(struct span entry, struct span *host, uint64_t *port)
{
    struct span digits = {0};
    *host = entry;
    *port = 0;
    if (entry.n && entry.p[0] == '[') {
        const char *end = memchr(entry.p, ']', entry.n);
        if (!end)
            return false;
        *host = (struct span){entry.p + 1, (size_t)(end - entry.p) - 1};
        digits = (struct span){end + 1, entry.n - host->n - 2};
        if (digits.n && digits.p[0] != ':')
            return false;
    } else {
        const char *colon = memchr(entry.p, ':', entry.n);
        if (!colon || memchr(colon + 1, ':', entry.n - (size_t)(colon + 1 - entry.p)))
            return true;
        *host = (struct span){entry.p, (size_t)(colon - entry.p)};
        digits = (struct span){colon, entry.n - host->n};
    }
    if (digits.n == 0)
        return true;
    struct err ignored = ERR_INIT;
    return span_to_u64((struct span){digits.p + 1, digits.n - 1}, port, &ignored) == 0 && *port > 0;
}

static bool entry_allows(struct span entry, struct span host, const struct address *a)
{
    struct span name, bits;
    uint64_t port;
    if (span_cut(entry, '/', &name, &bits))
        return range_allows(name, bits, a);
    if (!cut_port(entry, &name, &port) || name.n == 0 || (port && port != a->port))
        return false;
    struct address literal = {0};
    if (parse_ip(name, &literal))
        return memcmp(literal.b, a->b, sizeof a->b) == 0;
    return span_eq_nocase(name, host);
}

static bool allowed(const struct xfer_policy *p, struct span host, const struct address *a)
{
    struct address inner;
    bool wrapped = look_inside(a, &inner);
    for (size_t i = 0; p->allow && p->allow[i]; i++) {
        struct span entry = span_trim(span_of(p->allow[i]));
        if (entry_allows(entry, host, a) || (wrapped && entry_allows(entry, host, &inner)))
            return true;
    }
    return false;
}

static const char *show(const struct sockaddr *addr, const struct address *a, char out[INET6_ADDRSTRLEN])
{
    if (addr->sa_family == AF_INET)
        return inet_ntop(AF_INET, a->b + 12, out, INET6_ADDRSTRLEN);
    return inet_ntop(AF_INET6, a->b, out, INET6_ADDRSTRLEN);
}

int policy_check_address(const struct xfer_policy *p, const char *host, const struct sockaddr *addr, socklen_t n,
                         struct err *err)
{
    if (!p->public_only)
        return 0;
    struct address a = {0};
    if (!take_address(addr, n, &a))
        return err_set(err, ERR_REFUSED, "%s: not an internet address", host);
    const char *why = not_public(&a);
    if (!why || allowed(p, span_of(host), &a))
        return 0;
    char text[INET6_ADDRSTRLEN] = "";
    const char *shown = show(addr, &a, text);
    err_set(err, ERR_REFUSED, "%s: address %s is %s, not public", host, shown ? shown : "?", why);
    return err_hint(err,
                    "the machine's operator can allow it by adding '%s:%u' or a range like '%s/%d' to the allowed "
                    "addresses",
                    host, a.port, shown ? shown : "?", addr->sa_family == AF_INET ? 32 : 128);
}

/* --- the same for packet filters ---------------------------------------------------------------------------------- */

static bool write_v4(const uint8_t address[16], unsigned bits, char out[POLICY_RANGE_MAX])
{
    if (bits < V4_BITS || !in_block(address, v4_space.b, v4_space.bits))
        return false;
    uint32_t mask = bits == V4_BITS ? 0 : UINT32_MAX << (128 - bits), four;
    memcpy(&four, address + 12, sizeof four);
    four &= htonl(mask);
    const uint8_t *b = (const uint8_t *)&four;
    snprintf(out, POLICY_RANGE_MAX, "%u.%u.%u.%u/%u", b[0], b[1], b[2], b[3], bits - V4_BITS);
    return true;
}

bool policy_range_v4(size_t i, char out[POLICY_RANGE_MAX])
{
    for (size_t k = 0; k < ARRAY_LEN(blocks); k++)
        if (write_v4(blocks[k].b, blocks[k].bits, out) && i-- == 0)
            return true;
    return false;
}

bool policy_exception_v4(const char *entry, struct policy_exception *out)
{
    struct span text = span_trim(span_of(entry)), name, bits_text;
    struct address a = {0};
    unsigned bits = 128;
    uint64_t port = 0;
    if (span_cut(text, '/', &name, &bits_text)) {
        if (!parse_range(name, bits_text, &a, &bits))
            return false;
    } else if (!cut_port(text, &name, &port) || port > UINT16_MAX || !parse_ip(name, &a)) {
        return false;
    }
    out->port = (uint16_t)port;
    return write_v4(a.b, bits, out->range);
}
