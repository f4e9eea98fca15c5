/* policy: where requests may go, and through what.
 *
 * The address is checked when the socket is opened, so that what was checked is what is connected (no rebinding).
 * Connections are never shared between policies. */
#ifndef BERTH_XFER_POLICY_H
#define BERTH_XFER_POLICY_H

#include "base/err.h"
#include "base/str.h"

#include <sys/socket.h>

struct xfer_policy {
    bool public_only;  /* refuse loopback, link-local, metadata, private, multicast, … addresses (F21) */
    bool no_proxy_env; /* ignore http_proxy and friends: for strangers' jobs */
    bool https_only;
    const char *const *allow; /* "host", "host:port", "10.0.0.0/8", NULL-terminated: exceptions to public_only */
    const char *ca_file;      /* PEM; NULL: AWS_CA_BUNDLE, SSL_CERT_FILE, else the system's */
};

/* Whether a connection to `addr` for `host` may be opened. Pure. ERR_REFUSED names host and address and the setting
 * that would allow it. Address classes: RFC 6890, RFC 4291, RFC 4193; IPv4-mapped, 6to4 and NAT64 forms are looked
 * into. */
int policy_check_address(const struct xfer_policy *p, const char *host, const struct sockaddr *addr, socklen_t n,
                         struct err *err);

#endif
