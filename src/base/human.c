#include "base/str.h"

#include <inttypes.h>

char *human_bytes(char out[HUMAN_MAX], uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (bytes < 1024) {
        snprintf(out, HUMAN_MAX, "%" PRIu64 " B", bytes);
        return out;
    }
    unsigned unit = 1;
    while (unit + 1 < ARRAY_LEN(units) && bytes >> (10 * (unit + 1)))
        unit++;
    unsigned shift = 10 * unit;
    uint64_t whole = bytes >> shift;
    uint64_t part = (bytes & ((UINT64_C(1) << shift) - 1)) >> (shift - 10); /* in 1/1024 of the unit */
    uint64_t tenths = whole * 10 + (part * 10 + 512) / 1024;
    if (tenths >= 10240 && unit + 1 < ARRAY_LEN(units)) { /* 1023.97 KiB reads 1.0 MiB */
        tenths = 10;
        unit++;
    }
    snprintf(out, HUMAN_MAX, "%" PRIu64 ".%u %s", tenths / 10, (unsigned)(tenths % 10), units[unit]);
    return out;
}

char *human_duration(char out[HUMAN_MAX], uint64_t ms)
{
    uint64_t s = ms / 1000;
    if (ms < 1000)
        snprintf(out, HUMAN_MAX, "%ums", (unsigned)ms);
    else if (s < 60)
        snprintf(out, HUMAN_MAX, "%u.%us", (unsigned)s, (unsigned)(ms % 1000 / 100));
    else if (s < 3600)
        snprintf(out, HUMAN_MAX, "%um%02us", (unsigned)(s / 60), (unsigned)(s % 60));
    else
        snprintf(out, HUMAN_MAX, "%" PRIu64 "h%02um", s / 3600, (unsigned)(s / 60 % 60));
    return out;
}

/* A decimal number at the front of a text: its whole part and up to FRACTION_DIGITS of what follows the point. */
#define FRACTION_DIGITS 6
struct decimal {
    uint64_t whole;
    uint64_t fraction; /* in 10^-FRACTION_DIGITS */
    bool has_point;
};

/* Take a decimal off the front of `s`; digits beyond FRACTION_DIGITS are dropped. False: none there, or too large. */
static bool take_decimal(struct span *s, struct decimal *d)
{
    size_t i = 0;
    *d = (struct decimal){0};
    for (; i < s->n && ascii_is_digit(s->p[i]); i++)
        if (__builtin_mul_overflow(d->whole, 10, &d->whole) ||
            __builtin_add_overflow(d->whole, (unsigned)(s->p[i] - '0'), &d->whole))
            return false;
    if (i == 0)
        return false;
    if (i < s->n && s->p[i] == '.') {
        size_t first = ++i;
        uint64_t weight = 1000000;
        for (; i < s->n && ascii_is_digit(s->p[i]); i++) {
            weight /= 10;
            d->fraction += weight * (unsigned)(s->p[i] - '0');
        }
        if (i == first)
            return false;
        d->has_point = true;
    }
    s->p += i;
    s->n -= i;
    return true;
}

static bool decimal_times(const struct decimal *d, uint64_t unit, uint64_t *out)
{
    uint64_t whole, part;
    if (__builtin_mul_overflow(d->whole, unit, &whole) || __builtin_mul_overflow(d->fraction, unit, &part))
        return false;
    return !__builtin_add_overflow(whole, part / 1000000, out);
}

struct unit {
    const char *name;
    uint64_t size;
};

static const struct unit *unit_find(const struct unit *units, size_t n, struct span name)
{
    for (size_t i = 0; i < n; i++)
        if (span_eq_nocase(name, span_of(units[i].name)))
            return &units[i];
    return NULL;
}

#define KILO UINT64_C(1000)
#define KIBI UINT64_C(1024)
static const struct unit byte_units[] = {
    {"", 1},
    {"b", 1},
    {"k", KILO},
    {"kb", KILO},
    {"ki", KIBI},
    {"kib", KIBI},
    {"m", KILO *KILO},
    {"mb", KILO *KILO},
    {"mi", KIBI *KIBI},
    {"mib", KIBI *KIBI},
    {"g", KILO *KILO *KILO},
    {"gb", KILO *KILO *KILO},
    {"gi", KIBI *KIBI *KIBI},
    {"gib", KIBI *KIBI *KIBI},
    {"t", KILO *KILO *KILO *KILO},
    {"tb", KILO *KILO *KILO *KILO},
    {"ti", KIBI *KIBI *KIBI *KIBI},
    {"tib", KIBI *KIBI *KIBI *KIBI},
};

static int bad_size(struct span text, struct err *err)
{
    err_set(err, ERR_INVALID, "\"%.*s\" is not a size", SPAN_FMT(span_head(text, 64)));
    return err_hint(err, "write bytes, or a number with a unit such as 500MB or 1.5GiB");
}

int parse_bytes(struct span s, uint64_t *out, struct err *err)
{
    struct span rest = span_trim(s);
    struct decimal d;
    if (!take_decimal(&rest, &d))
        return bad_size(s, err);
    const struct unit *unit = unit_find(byte_units, ARRAY_LEN(byte_units), span_trim(rest));
    if (!unit || (d.has_point && unit->size == 1))
        return bad_size(s, err);
    if (!decimal_times(&d, unit->size, out))
        return err_set(err, ERR_INVALID, "the size \"%.*s\" is too large", SPAN_FMT(span_head(s, 64)));
    return 0;
}

static const struct unit time_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", UINT64_C(60) * 1000}, {"h", UINT64_C(3600) * 1000}, {"d", UINT64_C(86400) * 1000},
};

static struct span take_letters(struct span *s)
{
    size_t i = 0;
    while (i < s->n && ascii_lower(s->p[i]) >= 'a' && ascii_lower(s->p[i]) <= 'z')
        i++;
    struct span letters = {s->p, i};
    s->p += i;
    s->n -= i;
    return letters;
}

static int bad_duration(struct span text, struct err *err)
{
    err_set(err, ERR_INVALID, "\"%.*s\" is not a duration", SPAN_FMT(span_head(text, 64)));
    return err_hint(err, "write a number with a unit such as 90s, 10m, 1h30m or 250ms");
}

int parse_duration_ms(struct span s, uint64_t bare_unit_ms, uint64_t *out_ms, struct err *err)
{
    struct span all = span_trim(s), rest = all;
    uint64_t total = 0;
    if (rest.n == 0)
        return bad_duration(s, err);
    while (rest.n > 0) {
        struct decimal d;
        uint64_t part;
        bool first = rest.p == all.p;
        if (!take_decimal(&rest, &d))
            return bad_duration(s, err);
        struct span name = take_letters(&rest);
        const struct unit *unit = unit_find(time_units, ARRAY_LEN(time_units), name);
        bool bare = name.n == 0 && first && rest.n == 0 && bare_unit_ms > 0;
        if (!unit && !bare)
            return bad_duration(s, err);
        if (!decimal_times(&d, unit ? unit->size : bare_unit_ms, &part) || __builtin_add_overflow(total, part, &total))
            return err_set(err, ERR_INVALID, "the duration \"%.*s\" is too long", SPAN_FMT(span_head(s, 64)));
    }
    *out_ms = total;
    return 0;
}
