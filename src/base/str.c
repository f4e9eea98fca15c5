#include "base/str.h"

#include "base/buf.h"

#include <limits.h>
#include <stdarg.h>
#include <strings.h>

bool span_eq(struct span a, struct span b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool span_eq_nocase(struct span a, struct span b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (ascii_lower(a.p[i]) != ascii_lower(b.p[i]))
            return false;
    return true;
}

bool span_starts(struct span s, struct span prefix)
{
    return s.n >= prefix.n && span_eq((struct span){s.p, prefix.n}, prefix);
}

bool span_ends(struct span s, struct span suffix)
{
    if (s.n < suffix.n)
        return false;
    return suffix.n == 0 || memcmp(s.p + (s.n - suffix.n), suffix.p, suffix.n) == 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct span span_trim(struct span s)
{
    while (s.n > 0 && is_blank(s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

bool span_cut(struct span s, char sep, struct span *head, struct span *tail)
{
    const char *at = s.n ? memchr(s.p, sep, s.n) : NULL;
    if (!at) {
        *head = s;
        *tail = (struct span){"", 0};
        return false;
    }
    size_t before = (size_t)(at - s.p);
    *head = (struct span){s.p, before};
    *tail = (struct span){at + 1, s.n - before - 1};
    return true;
}

size_t span_utf8_step(struct span s)
{
    if (s.n == 0)
        return 0;
    const unsigned char *p = (const unsigned char *)s.p;
    unsigned char lead = p[0];
    if (lead < 0x80)
        return 1;
    size_t len = lead >= 0xc2 && lead <= 0xdf   ? 2
                 : lead >= 0xe0 && lead <= 0xef ? 3
                 : lead >= 0xf0 && lead <= 0xf4 ? 4
                                                : 0;
    if (len == 0 || s.n < len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (lead == 0xe0 && p[1] < 0xa0) || (lead == 0xf0 && p[1] < 0x90);
    bool surrogate = lead == 0xed && p[1] > 0x9f;
    bool beyond = lead == 0xf4 && p[1] > 0x8f;
    return overlong || surrogate || beyond ? 0 : len;
}

/* How many bytes at the front are ASCII, as far as eight at a time tell. */
static size_t ascii_front(struct span s)
{
    uint64_t eight;
    size_t n = 0;
    for (; s.n - n >= sizeof eight; n += sizeof eight) {
        memcpy(&eight, s.p + n, sizeof eight);
        if (eight & UINT64_C(0x8080808080808080))
            break;
    }
    return n;
}

bool span_starts_control(struct span s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    return s.n > 0 && (p[0] < 0x20 || p[0] == 0x7f || (s.n > 1 && p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0));
}

bool span_is_utf8(struct span s)
{
    while (s.n > 0) {
        size_t step = ascii_front(s);
        if (step == 0)
            step = span_utf8_step(s);
        if (step == 0)
            return false;
        s.p += step;
        s.n -= step;
    }
    return true;
}

void str_fit(char *out, size_t size, const char *text)
{
    struct span rest = span_of(text);
    size_t n = 0, step;
    while ((step = span_utf8_step(rest)) > 0 && n + step < size) {
        n += step;
        rest = (struct span){rest.p + step, rest.n - step};
    }
    memmove(out, text, n);
    out[n] = '\0';
}

int span_to_u64(struct span s, uint64_t *out, struct err *err)
{
    uint64_t value = 0;
    if (s.n == 0)
        return err_set(err, ERR_INVALID, "a number is missing");
    for (size_t i = 0; i < s.n; i++) {
        if (!ascii_is_digit(s.p[i]))
            return err_set(err, ERR_INVALID, "\"%.*s\" is not a whole number", SPAN_FMT(span_head(s, 64)));
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (unsigned)(s.p[i] - '0'), &value))
            return err_set(err, ERR_INVALID, "\"%.*s\" is too large a number", SPAN_FMT(span_head(s, 64)));
    }
    *out = value;
    return 0;
}

uint64_t str_hash(uint64_t before, const char *s)
{
    uint64_t hash = before;
    for (; *s; s++)
        hash = (hash ^ (unsigned char)*s) * UINT64_C(1099511628211);
    return hash;
}

bool str_eq(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

bool str_empty(const char *s)
{
    return !s || !*s;
}

char *str_dup(const char *s, struct err *err)
{
    return str_dup_span(span_of(s), err);
}

char *str_dup_span(struct span s, struct err *err)
{
    char *copy = malloc(s.n + 1);
    if (!copy) {
        err_nomem(err);
        return NULL;
    }
    if (s.n)
        memcpy(copy, s.p, s.n);
    copy[s.n] = '\0';
    return copy;
}

static char *str_vprintf(struct err *err, const char *fmt, va_list ap) ATTR_PRINTF(2, 0);
static char *str_vprintf(struct err *err, const char *fmt, va_list ap)
{
    char *text = NULL;
    if (vasprintf(&text, fmt, ap) < 0) {
        err_nomem(err);
        return NULL;
    }
    return text;
}

char *str_printf(struct err *err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = str_vprintf(err, fmt, ap);
    va_end(ap);
    return text;
}

void mem_wipe(void *p, size_t n)
{
    if (p && n)
        explicit_bzero(p, n);
}

void str_free_secret(char *s)
{
    if (!s)
        return;
    mem_wipe(s, strlen(s));
    free(s);
}

/* The list keeps no capacity: it is full when its length with the closing NULL is a power of two. */
static int strv_add_taken(struct strv *v, char *owned, struct err *err)
{
    size_t used = v->n ? v->n + 1 : 0;
    if ((used & (used - 1)) == 0) {
        size_t cap = used ? used * 2 : 2;
        char **grown = cap > SIZE_MAX / sizeof *grown / 2 ? NULL : realloc(v->v, cap * sizeof *grown);
        if (!grown) {
            free(owned);
            return err_nomem(err);
        }
        v->v = grown;
    }
    v->v[v->n++] = owned;
    v->v[v->n] = NULL;
    return 0;
}

int strv_add(struct strv *v, const char *s, struct err *err)
{
    char *copy = str_dup(s, err);
    return copy ? strv_add_taken(v, copy, err) : -1;
}

int strv_addf(struct strv *v, struct err *err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = str_vprintf(err, fmt, ap);
    va_end(ap);
    return text ? strv_add_taken(v, text, err) : -1;
}

void strv_release(struct strv *v)
{
    for (size_t i = 0; i < v->n; i++)
        free(v->v[i]);
    free(v->v);
    *v = (struct strv){0};
}
