#include "httpd/pace.h"

#include "base/str.h"

#define WAIT_LEAST_MS 10
#define WAIT_MOST_MS  1000

void pace_init(struct pace *p, uint64_t bytes_per_second, uint64_t now_us)
{
    double most = (double)bytes_per_second * PACE_SAVED_S;
    *p = (struct pace){.per_us = (double)bytes_per_second / 1e6, .at_us = now_us};
    p->most = p->left = most > PACE_GRAIN ? most : PACE_GRAIN;
}

static uint64_t hash_of(const char *who)
{
    uint64_t hash = str_hash(STR_HASH_START, who);
    return hash ? hash : 1;
}

static void add_left(struct pace *p, double bytes)
{
    p->left = p->left + bytes < p->most ? p->left + bytes : p->most;
}

/* Whoever went away leaves what it had to the others. Returns how many are there. */
static size_t forget_gone(struct pace *p, uint64_t now_us)
{
    size_t n = 0;
    for (size_t i = 0; i < PACE_READERS; i++) {
        struct pace_reader *r = &p->readers[i];
        if (r->who && now_us > r->asked_us && now_us - r->asked_us >= PACE_GONE_US) {
            add_left(p, r->saved);
            *r = (struct pace_reader){0};
        }
        n += r->who != 0;
    }
    return n;
}

/* What has come about since the last time, in equal parts; what a reader cannot save is left to all. */
static void give_out(struct pace *p, size_t readers, uint64_t now_us)
{
    double fresh = now_us > p->at_us ? (double)(now_us - p->at_us) * p->per_us : 0, part = fresh;
    if (now_us > p->at_us)
        p->at_us = now_us;
    if (readers == 0) {
        add_left(p, fresh);
        return;
    }
    part /= (double)readers;
    double room = p->most / (double)readers > PACE_GRAIN ? p->most / (double)readers : PACE_GRAIN;
    for (size_t i = 0; i < PACE_READERS; i++) {
        struct pace_reader *r = &p->readers[i];
        if (!r->who)
            continue;
        r->saved += part;
        if (r->saved > room) {
            add_left(p, r->saved - room);
            r->saved = room;
        }
    }
}

/* NULL: there are too many. */
static struct pace_reader *reader_of(struct pace *p, uint64_t who)
{
    struct pace_reader *none = NULL;
    for (size_t i = 0; i < PACE_READERS; i++) {
        if (p->readers[i].who == who)
            return &p->readers[i];
        if (!p->readers[i].who && !none)
            none = &p->readers[i];
    }
    if (none)
        *none = (struct pace_reader){.who = who};
    return none;
}

/* Until a reader's own part has become worth a piece. */
static uint32_t wait_for(const struct pace *p, double missing, size_t readers)
{
    double ms = missing * (double)(readers ? readers : 1) / p->per_us / 1000;
    return ms < WAIT_LEAST_MS ? WAIT_LEAST_MS : ms > WAIT_MOST_MS ? WAIT_MOST_MS : (uint32_t)ms;
}

size_t pace_take(struct pace *p, const char *who, size_t want, uint64_t now_us, uint32_t *wait_ms)
{
    if (p->per_us <= 0 || want == 0)
        return want;
    size_t readers = forget_gone(p, now_us);
    give_out(p, readers, now_us);
    struct pace_reader *r = reader_of(p, hash_of(who));
    double own = r ? r->saved : 0, least = want < PACE_GRAIN ? (double)want : PACE_GRAIN;
    if (r)
        r->asked_us = p->at_us;
    if (own + p->left < least) {
        *wait_ms = wait_for(p, least - own - p->left, readers);
        return 0;
    }
    double n = own + p->left < (double)want ? own + p->left : (double)want;
    n = (double)(size_t)n;
    double from_own = n < own ? n : own;
    if (r)
        r->saved -= from_own;
    p->left -= n - from_own;
    if (p->left < 0)
        p->left = 0;
    return (size_t)n;
}
