/* filter: keeps the containers of one network from all that is not the public internet, by rules of nftables(8).
 *
 * Rejected is what comes from the network's bridge towards this machine itself, towards addresses that are not public
 * (the classes of xfer/policy.h), towards the bridge's other containers, by IPv6, or with IP options (source routes).
 * Let through are replies, DNS at the resolvers that this machine uses, and exceptions: those entries of xfer_policy's
 * `allow` that name addresses, and for this machine itself those of them that name a port. Names of hosts make no
 * exceptions: packets don't carry them.
 *
 * The rules are in two tables of berth's own, named as the bridge; they come and go as a whole. Whoever flushes the
 * whole ruleset takes them along, so they are set again before each container that depends on them. */
#ifndef BERTH_ENGINE_FILTER_H
#define BERTH_ENGINE_FILTER_H

#include "base/buf.h"
#include "engine/engine.h"

#define FILTER_RULES_MAX     ((size_t)1 << 20)
#define FILTER_RESOLVERS_MAX 8

struct filter_resolvers {
    char v4[FILTER_RESOLVERS_MAX][16];
    size_t n;
};

/* Make the network and set the rules. `allow` is NULL-terminated, or NULL. ERR_NOTFOUND: there is no nft; ERR_DENIED:
 * the rules are not this user's to set; ERR_UNSUPPORTED: engine_network_check(), or the kernel's words. */
int filter_set(struct engine *e, const char *const *allow, struct engine_network *out, struct err *err);

/* Whether filter_set() would work, as far as it can be told without changing anything. */
int filter_check(struct engine *e, struct err *err);

/* The rules as text for `nft -f -`, which replace earlier ones of the same network. Pure; look at buf_check(). */
void filter_rules(struct buf *out, const struct engine_network *network, const char *const *allow,
                  const struct filter_resolvers *resolvers);

/* Add the IPv4 nameservers of a resolv.conf(5) that containers can ask: those of loopback they can't. Pure. */
void filter_resolvers_read(struct filter_resolvers *r, struct span text);

#endif
