/* policy: where requests may go, and through what.
 *
 * The address is checked when the socket is opened, so that what was checked is what is connected (no rebinding).
 * Connections are never shared between policies.
 *
 * Through a proxy the only address seen is the proxy's, so `public_only` says nothing about where the proxy goes. That
 * is why strangers' jobs have `no_proxy_env`; an operator who vouches for a proxy leaves it unset and, where the
 * proxy's own address is not public, lists that address in `allow`. URLs whose host is an address are checked before
 * they are handed to any proxy. */
#ifndef BERTH_XFER_POLICY_H
#define BERTH_XFER_POLICY_H

#include "base/err.h"
#include "base/str.h"

#include <sys/socket.h>

struct xfer_policy {
    bool public_only;  /* refuse loopback, link-local, metadata, private, multicast, … addresses (F21) */
    bool no_proxy_env; /* ignore http_proxy and friends: for strangers' jobs */
    bool https_only;
    /* Exceptions to public_only, NULL-terminated: "host", "host:port", "10.1.2.3", "[::1]:8080", "10.0.0.0/8". What
     * cannot be read allows nothing. */
    const char *const *allow;
    const char *ca_file; /* PEM; NULL: AWS_CA_BUNDLE, SSL_CERT_FILE, else the system's */
    /* Not "": requests go by https alone, and the server must prove that it has the public key (SubjectPublicKeyInfo,
     * RFC 5280) of this SHA-256, in hex; nothing else of its certificate is looked at. What is no digest fits none. */
    char key_fingerprint[65];
};

/* Whether a connection to `addr` for `host` may be opened. Pure. ERR_REFUSED names host and address and the setting
 * that would allow it. Address classes: RFC 6890, RFC 4291, RFC 4193; IPv4-mapped, 6to4 and NAT64 forms are looked
 * into. */
int policy_check_address(const struct xfer_policy *p, const char *host, const struct sockaddr *addr, socklen_t n,
                         struct err *err);

/* The same for packet filters, which keep others than this process from what is not public; IPv4 alone. */
#define POLICY_RANGE_MAX 32 /* "255.255.255.255/32" */
/* The range of that index that is not public; false after the last. Some lie within others. */
bool policy_range_v4(size_t i, char out[POLICY_RANGE_MAX]);
struct policy_exception {
    char range[POLICY_RANGE_MAX];
    uint16_t port; /* 0: all */
};
/* An entry of `allow` that names IPv4 addresses; false where it names a host, or IPv6. */
bool policy_exception_v4(const char *entry, struct policy_exception *out);

#endif
