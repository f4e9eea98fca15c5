/* Which node may take what, and when. */
#include "base/attr.h"
#include "market/decide.h"

static const char *label_of(const struct label_set *labels, const char *name)
{
    for (size_t i = 0; i < labels->n; i++)
        if (str_eq(labels->v[i].name, name))
            return labels->v[i].value;
    return NULL;
}

/* [-]digits[.digits], whatever the locale; longer than that is no number to compare. */
#define NUMBER_CHARS_MAX 30
static bool number_of(const char *s, double *out)
{
    struct span left = span_of(s);
    double sign = 1, value = 0, scale = 1;
    size_t digits = 0;
    if (left.n && (left.p[0] == '-' || left.p[0] == '+')) {
        sign = left.p[0] == '-' ? -1 : 1;
        left = (struct span){left.p + 1, left.n - 1};
    }
    if (left.n > NUMBER_CHARS_MAX)
        return false;
    bool fraction = false;
    for (size_t i = 0; i < left.n; i++) {
        if (left.p[i] == '.' && !fraction) {
            fraction = true;
            continue;
        }
        if (!ascii_is_digit(left.p[i]))
            return false;
        digits++;
        value = value * 10 + (left.p[i] - '0');
        scale = fraction ? scale * 10 : scale;
    }
    *out = sign * value / scale;
    return digits > 0;
}

static bool one_of(const char *value, const struct match *c)
{
    for (size_t i = 0; i < c->value_count; i++)
        if (str_eq(value, c->values[i]))
            return true;
    return false;
}

/* -1, 0, 1 as the label is below, equal to or above the constraint's number. */
static bool compares(const char *value, const struct match *c, int wanted)
{
    double have, bound;
    if (!value || c->value_count != 1 || !number_of(value, &have) || !number_of(c->values[0], &bound))
        return false;
    return (have > bound) - (have < bound) == wanted;
}

bool decide_match(const struct match *c, const struct label_set *labels)
{
    const char *value = label_of(labels, c->name);
    if (str_eq(c->op, "exists"))
        return value;
    if (str_eq(c->op, "!"))
        return !value;
    if (str_eq(c->op, "in") || str_eq(c->op, "=") || str_eq(c->op, "=="))
        return value && one_of(value, c);
    if (str_eq(c->op, "notin") || str_eq(c->op, "!="))
        return !value || !one_of(value, c);
    if (str_eq(c->op, "gt"))
        return compares(value, c, 1);
    return str_eq(c->op, "lt") && compares(value, c, -1);
}

static bool gpus_fit(const struct needs *needs, const struct machine *m)
{
    if (needs->gpus == 0 && needs->vram_mib == 0)
        return true;
    uint32_t large_enough = 0, used = m->used.gpus < m->gpus ? m->used.gpus : m->gpus;
    for (uint32_t i = 0; i < m->gpus && i < GPUS_MAX; i++)
        large_enough += m->gpu_mib[i] >= needs->vram_mib;
    if (needs->gpus == GPUS_ALL)
        return used == 0 && large_enough > 0 && large_enough == m->gpus;
    uint32_t wanted = needs->gpus ? needs->gpus : 1;
    /* Which of them are in use only the node knows: the smallest may be all that is left. */
    return large_enough >= used && large_enough - used >= wanted;
}

static bool bytes_fit(uint64_t wanted, uint64_t all, uint64_t used)
{
    return wanted == 0 || (used <= all && all - used >= wanted);
}

bool decide_fits(const struct needs *needs, const struct machine *m)
{
    if (needs->confidential && !m->has_key)
        return false;
    if (needs->cpus > 0 && m->used.cpus + needs->cpus > m->cpus)
        return false;
    if (!bytes_fit(needs->memory_bytes, m->memory_bytes, m->used.memory_bytes) ||
        !bytes_fit(needs->disk_bytes, m->disk_bytes, m->used.disk_bytes) || !gpus_fit(needs, m))
        return false;
    for (size_t i = 0; i < needs->constraint_count; i++)
        if (!decide_match(&needs->constraints[i], &m->labels))
            return false;
    return true;
}

static uint64_t add_saturating(uint64_t a, uint64_t b)
{
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

void decide_use(struct machine *m, const struct needs *needs)
{
    m->used.cpus += needs->cpus;
    m->used.memory_bytes = add_saturating(m->used.memory_bytes, needs->memory_bytes);
    m->used.disk_bytes = add_saturating(m->used.disk_bytes, needs->disk_bytes);
    uint64_t gpus = add_saturating(m->used.gpus, needs->gpus ? needs->gpus : needs->vram_mib > 0);
    m->used.gpus = gpus < GPUS_ALL ? (uint32_t)gpus : GPUS_ALL;
}

int64_t decide_window_ms(int64_t max_window_ms, uint64_t missing_bytes)
{
    uint64_t ms = missing_bytes / (ASSUMED_BYTES_PER_S / 1000);
    if (max_window_ms <= 0)
        return 0;
    return ms < (uint64_t)max_window_ms ? (int64_t)ms : max_window_ms;
}

enum placement decide_place(const struct offer *o, int64_t now_ms)
{
    if (!o->fits)
        return PLACE_UNFIT;
    if (o->lost_here && o->others_could)
        return PLACE_LEAVE_TO_OTHERS;
    if (now_ms - o->queued_ms < decide_window_ms(o->max_window_ms, o->missing_bytes))
        return PLACE_WAIT_FOR_HOLDER;
    return PLACE_TAKE;
}
