#include "xfer/retry.h"

#include "base/clock.h"

bool retry_status(int http_status)
{
    switch (http_status) {
    case 408:
    case 429:
    case 500:
    case 502:
    case 503:
    case 504:
        return true;
    default:
        return false;
    }
}

uint64_t retry_delay_ms(unsigned attempt, uint64_t retry_after_ms, struct rng *rng)
{
    uint64_t ceiling = RETRY_BASE_MS;
    for (unsigned i = 0; i < attempt && ceiling < RETRY_CAP_MS; i++)
        ceiling *= 2;
    if (ceiling > RETRY_CAP_MS)
        ceiling = RETRY_CAP_MS;
    uint64_t delay = rng_below(rng, ceiling + 1);
    if (retry_after_ms > RETRY_AFTER_MAX_MS)
        retry_after_ms = RETRY_AFTER_MAX_MS;
    return delay > retry_after_ms ? delay : retry_after_ms;
}

static bool all_digits(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return s.n > 0;
}

static uint64_t bounded(uint64_t ms)
{
    return ms < RETRY_AFTER_MAX_MS ? ms : RETRY_AFTER_MAX_MS;
}

uint64_t retry_after_ms(struct span header, int64_t now_wall_ms)
{
    header = span_trim(header);
    struct err ignored = ERR_INIT;
    if (all_digits(header)) {
        uint64_t seconds;
        if (span_to_u64(header, &seconds, &ignored) < 0 || seconds > RETRY_AFTER_MAX_MS / 1000)
            return RETRY_AFTER_MAX_MS; /* more digits than fit is still "long" */
        return bounded(seconds * 1000);
    }
    int64_t then, wait;
    if (time_parse_http(header, &then, &ignored) < 0)
        return 0;
    if (__builtin_sub_overflow(then, now_wall_ms, &wait))
        return then > now_wall_ms ? RETRY_AFTER_MAX_MS : 0;
    return wait > 0 ? bounded((uint64_t)wait) : 0;
}

/* One policy: its name, then parameters. */
static uint64_t policy_wait_ms(struct span policy)
{
    struct span item, name, value;
    uint64_t remaining = 1, seconds = 0;
    struct err ignored = ERR_INIT;
    span_cut(policy, ';', &item, &policy);
    while (policy.n > 0) {
        span_cut(policy, ';', &item, &policy);
        span_cut(item, '=', &name, &value);
        name = span_trim(name);
        uint64_t *into = span_eq(name, SPAN_LIT("r")) ? &remaining : span_eq(name, SPAN_LIT("t")) ? &seconds : NULL;
        if (into && span_to_u64(span_trim(value), into, &ignored) < 0)
            return 0;
    }
    if (remaining > 0)
        return 0;
    return seconds < RETRY_AFTER_MAX_MS / 1000 ? seconds * 1000 : RETRY_AFTER_MAX_MS;
}

uint64_t retry_rate_limit_ms(struct span header)
{
    struct span policy;
    uint64_t longest = 0;
    while (header.n > 0) {
        span_cut(header, ',', &policy, &header);
        uint64_t wait = policy_wait_ms(policy);
        longest = wait > longest ? wait : longest;
    }
    return longest;
}
