#include "base/clock.h"

#include <time.h>

#define WALL_MIN INT64_C(-62167219200000) /* 0000-01-01T00:00:00Z */
#define WALL_MAX INT64_C(253402300799999) /* 9999-12-31T23:59:59.999Z */

static uint64_t mono_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail for this clock */
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int64_t clock_wall_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

uint64_t clock_mono_ms(void)
{
    return mono_ns() / 1000000;
}

uint64_t clock_mono_us(void)
{
    return mono_ns() / 1000;
}

/* The calendar fields of a time, clamped to the years that four digits can write; returns its milliseconds. */
static unsigned split(int64_t wall_ms, struct tm *tm)
{
    wall_ms = wall_ms < WALL_MIN ? WALL_MIN : wall_ms > WALL_MAX ? WALL_MAX : wall_ms;
    int64_t ms = wall_ms % 1000;
    if (ms < 0)
        ms += 1000;
    time_t s = (time_t)((wall_ms - ms) / 1000);
    gmtime_r(&s, tm);
    return (unsigned)ms;
}

/* strftime writes the year 7 as "7", so years are written here. */
static unsigned year_of(const struct tm *tm)
{
    return (unsigned)(tm->tm_year + 1900) % 10000;
}

char *time_iso(char out[TIME_MAX], int64_t wall_ms)
{
    struct tm tm = {0};
    unsigned ms = split(wall_ms, &tm);
    int n = snprintf(out, TIME_MAX, "%04u", year_of(&tm));
    size_t at = (size_t)n;
    at += strftime(out + at, TIME_MAX - at, "-%m-%dT%H:%M:%S", &tm);
    if (ms)
        snprintf(out + at, TIME_MAX - at, ".%03uZ", ms);
    else
        snprintf(out + at, TIME_MAX - at, "Z");
    return out;
}

char *time_compact(char out[TIME_MAX], int64_t wall_ms)
{
    struct tm tm = {0};
    split(wall_ms, &tm);
    int n = snprintf(out, TIME_MAX, "%04u", year_of(&tm));
    strftime(out + n, TIME_MAX - (size_t)n, "%m%dT%H%M%SZ", &tm);
    return out;
}

/* A text being read from the front; `ok` turns false at the first mismatch and stays so. */
struct reader {
    struct span s;
    bool ok;
};

static void skip(struct reader *r, size_t n)
{
    r->s.p += n;
    r->s.n -= n;
}

static bool next_is(const struct reader *r, char c)
{
    return r->ok && r->s.n > 0 && r->s.p[0] == c;
}

static void expect(struct reader *r, const char *text)
{
    struct span want = span_of(text);
    r->ok = r->ok && span_starts(r->s, want);
    if (r->ok)
        skip(r, want.n);
}

static void expect_letter(struct reader *r, char lower)
{
    r->ok = r->ok && r->s.n > 0 && ascii_lower(r->s.p[0]) == lower;
    if (r->ok)
        skip(r, 1);
}

static int read_digits(struct reader *r, size_t count)
{
    int value = 0;
    r->ok = r->ok && r->s.n >= count;
    for (size_t i = 0; r->ok && i < count; i++) {
        r->ok = ascii_is_digit(r->s.p[i]);
        value = value * 10 + (r->s.p[i] - '0');
    }
    if (!r->ok)
        return 0;
    skip(r, count);
    return value;
}

/* The index of the name at the front, or `r` fails. */
static int read_name(struct reader *r, const char *const *names, int n)
{
    for (int i = 0; r->ok && i < n; i++) {
        if (span_starts(r->s, span_of(names[i]))) {
            skip(r, strlen(names[i]));
            return i;
        }
    }
    r->ok = false;
    return 0;
}

struct calendar {
    int year, month, day, hour, minute, second; /* month and day count from 1 */
};

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

static bool calendar_to_ms(const struct calendar *c, int64_t *wall_ms)
{
    if (c->month < 1 || c->month > 12 || c->day < 1 || c->day > days_in_month(c->year, c->month))
        return false;
    if (c->hour > 23 || c->minute > 59 || c->second > 60) /* 60: a leap second counts as the next one */
        return false;
    struct tm tm = {.tm_year = c->year - 1900,
                    .tm_mon = c->month - 1,
                    .tm_mday = c->day,
                    .tm_hour = c->hour,
                    .tm_min = c->minute,
                    .tm_sec = c->second};
    *wall_ms = (int64_t)timegm(&tm) * 1000;
    return true;
}

static void read_clock(struct reader *r, struct calendar *c)
{
    c->hour = read_digits(r, 2);
    expect(r, ":");
    c->minute = read_digits(r, 2);
    expect(r, ":");
    c->second = read_digits(r, 2);
}

/* ".123456" in milliseconds; what is finer is dropped. */
static int read_fraction_ms(struct reader *r)
{
    if (!next_is(r, '.'))
        return 0;
    skip(r, 1);
    int ms = 0, weight = 100;
    r->ok = r->s.n > 0 && ascii_is_digit(r->s.p[0]);
    while (r->ok && r->s.n > 0 && ascii_is_digit(r->s.p[0])) {
        ms += weight * (r->s.p[0] - '0');
        weight /= 10;
        skip(r, 1);
    }
    return ms;
}

/* "Z" or "+02:00", in minutes east. */
static int read_offset(struct reader *r)
{
    bool east = next_is(r, '+');
    if (!east && !next_is(r, '-')) {
        expect_letter(r, 'z');
        return 0;
    }
    skip(r, 1);
    int hours = read_digits(r, 2);
    expect(r, ":");
    int minutes = read_digits(r, 2);
    r->ok = r->ok && hours <= 23 && minutes <= 59;
    return (east ? 1 : -1) * (hours * 60 + minutes);
}

int time_parse_iso(struct span s, int64_t *wall_ms, struct err *err)
{
    struct reader r = {s, true};
    struct calendar c = {0};
    int64_t at = 0;
    c.year = read_digits(&r, 4);
    expect(&r, "-");
    c.month = read_digits(&r, 2);
    expect(&r, "-");
    c.day = read_digits(&r, 2);
    expect_letter(&r, 't');
    read_clock(&r, &c);
    int ms = read_fraction_ms(&r);
    int offset = read_offset(&r);
    if (!r.ok || r.s.n > 0 || !calendar_to_ms(&c, &at))
        return err_set(err, ERR_INVALID, "\"%.*s\" is not a time like 2026-01-31T12:00:00Z",
                       SPAN_FMT(span_head(s, 40)));
    *wall_ms = at + ms - (int64_t)offset * 60000;
    return 0;
}

static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
static const char *const weekdays[] = {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday",
                                       "Mon",    "Tue",     "Wed",       "Thu",      "Fri",    "Sat",      "Sun"};

/* "06 Nov 1994 08:49:37 GMT", or with dashes and a year of two digits. */
static void read_http_date(struct reader *r, struct calendar *c)
{
    c->day = read_digits(r, 2);
    bool rfc850 = next_is(r, '-');
    expect(r, rfc850 ? "-" : " ");
    c->month = 1 + read_name(r, months, ARRAY_LEN(months));
    expect(r, rfc850 ? "-" : " ");
    c->year = read_digits(r, rfc850 ? 2 : 4);
    if (rfc850)
        c->year += c->year < 70 ? 2000 : 1900;
    expect(r, " ");
    read_clock(r, c);
    expect(r, " GMT");
}

/* "Nov  6 08:49:37 1994" */
static void read_asctime(struct reader *r, struct calendar *c)
{
    c->month = 1 + read_name(r, months, ARRAY_LEN(months));
    expect(r, " ");
    if (next_is(r, ' ')) {
        skip(r, 1);
        c->day = read_digits(r, 1);
    } else {
        c->day = read_digits(r, 2);
    }
    expect(r, " ");
    read_clock(r, c);
    expect(r, " ");
    c->year = read_digits(r, 4);
}

int time_parse_http(struct span s, int64_t *wall_ms, struct err *err)
{
    struct reader r = {span_trim(s), true};
    struct calendar c = {0};
    read_name(&r, weekdays, ARRAY_LEN(weekdays));
    if (next_is(&r, ',')) {
        expect(&r, ", ");
        read_http_date(&r, &c);
    } else {
        expect(&r, " ");
        read_asctime(&r, &c);
    }
    if (!r.ok || r.s.n > 0 || !calendar_to_ms(&c, wall_ms))
        return err_set(err, ERR_PROTOCOL, "\"%.*s\" is not an HTTP date", SPAN_FMT(span_head(s, 40)));
    return 0;
}
