#include "server/rate.h"

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

static bool take(struct rate *r, const char *who, uint64_t now_ms, double cost)
{
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
    for (; *who; who++)
        hash = (hash ^ (uint8_t)*who) * UINT64_C(1099511628211);
    pthread_mutex_lock(&r->mu);
    unsigned i = (unsigned)(hash % RATE_SLOTS);
    if (r->slots[i].who != hash && (double)(now_ms - r->slots[i].at_ms) * r->per_ms >= r->burst - r->slots[i].level) {
        r->slots[i].who = hash; /* whoever had it would have a full bucket by now */
        r->slots[i].level = r->burst;
    } else {
        double level = r->slots[i].level + (double)(now_ms - r->slots[i].at_ms) * r->per_ms;
        r->slots[i].level = level < r->burst ? level : r->burst;
    }
    r->slots[i].at_ms = now_ms;
    bool ok = r->slots[i].level >= 1;
    if (ok)
        r->slots[i].level -= cost;
    pthread_mutex_unlock(&r->mu);
    return ok;
}

bool rate_take(struct rate *r, const char *who, uint64_t now_ms)
{
    return take(r, who, now_ms, 1);
}

bool rate_peek(struct rate *r, const char *who, uint64_t now_ms)
{
    return take(r, who, now_ms, 0);
}
