#include "server/rate.h"

#include "base/str.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define NETWORK_BYTES 8

void rate_init(struct rate *r, unsigned per_second)
{
    pthread_mutex_init(&r->mu, NULL);
    r->per_ms = per_second / 1000.0;
    r->burst = (double)per_second * RATE_BURST_TIMES;
}

void rate_release(struct rate *r)
{
    pthread_mutex_destroy(&r->mu);
}

void rate_who(const char *address, char out[RATE_WHO_MAX])
{
    struct in6_addr v6;
    bool network = inet_pton(AF_INET6, address, &v6) == 1 && !IN6_IS_ADDR_V4MAPPED(&v6);
    if (network)
        memset(v6.s6_addr + NETWORK_BYTES, 0, sizeof v6.s6_addr - NETWORK_BYTES);
    if (!network || !inet_ntop(AF_INET6, &v6, out, RATE_WHO_MAX))
        snprintf(out, RATE_WHO_MAX, "%s", address);
}

bool rate_take(struct rate *r, const char *who, uint64_t now_ms)
{
    uint64_t hash = str_hash(STR_HASH_START, who);
    unsigned i = (unsigned)(hash % RATE_SLOTS);
    pthread_mutex_lock(&r->mu);
    /* Clocks are read before the lock is taken, so another thread's reading may be the later one. */
    double passed = now_ms > r->slots[i].at_ms ? (double)(now_ms - r->slots[i].at_ms) : 0;
    double level = r->slots[i].level + passed * r->per_ms;
    if (r->slots[i].who == 0 || level > r->burst)
        level = r->burst;
    if (r->slots[i].who != hash && level >= r->burst)
        r->slots[i].who = hash; /* whoever had it does not need it now */
    if (now_ms > r->slots[i].at_ms)
        r->slots[i].at_ms = now_ms;
    bool ok = level >= 1;
    r->slots[i].level = ok ? level - 1 : level;
    pthread_mutex_unlock(&r->mu);
    return ok;
}
