#include "base/yaml_priv.h"

#include <errno.h>
#include <math.h>

#define NUMBER_TEXT_MAX 64 /* longer texts are strings */

static bool is_word(struct span text, const char *lower, const char *title, const char *upper)
{
    return span_eq(text, span_of(lower)) || span_eq(text, span_of(title)) || span_eq(text, span_of(upper));
}

static bool is_null_word(struct span text)
{
    return text.n == 0 || span_eq(text, SPAN_LIT("~")) || is_word(text, "null", "Null", "NULL");
}

static size_t count_digits(struct span s, unsigned base)
{
    size_t i = 0;
    for (; i < s.n; i++) {
        char c = ascii_lower(s.p[i]);
        unsigned digit = ascii_is_digit(c) ? (unsigned)(c - '0') : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10 : 16;
        if (digit >= base)
            break;
    }
    return i;
}

static struct span after(struct span s, size_t n)
{
    return (struct span){s.p + n, s.n - n};
}

static struct span without_sign(struct span s)
{
    return s.n > 0 && (s.p[0] == '-' || s.p[0] == '+') ? after(s, 1) : s;
}

/* The base of an integer of the core schema, or 0: [-+]?[0-9]+, 0o[0-7]+, 0x[0-9a-fA-F]+. */
static unsigned integer_base(struct span s)
{
    struct span digits = without_sign(s);
    if (digits.n > 0 && count_digits(digits, 10) == digits.n)
        return 10;
    if (s.n < 3)
        return 0;
    if (span_starts(s, SPAN_LIT("0o")) && count_digits(after(s, 2), 8) == s.n - 2)
        return 8;
    return span_starts(s, SPAN_LIT("0x")) && count_digits(after(s, 2), 16) == s.n - 2 ? 16 : 0;
}

/* [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)? */
static bool is_float(struct span s)
{
    s = without_sign(s);
    size_t whole = count_digits(s, 10), part = 0;
    s = after(s, whole);
    if (s.n > 0 && s.p[0] == '.') {
        s = after(s, 1);
        part = count_digits(s, 10);
        s = after(s, part);
    }
    if (whole + part == 0)
        return false;
    if (s.n > 0 && ascii_lower(s.p[0]) == 'e') {
        s = without_sign(after(s, 1));
        return s.n > 0 && count_digits(s, 10) == s.n;
    }
    return s.n == 0;
}

static bool is_not_finite(struct span s)
{
    return is_word(without_sign(s), ".inf", ".Inf", ".INF") || is_word(s, ".nan", ".NaN", ".NAN");
}

json_t *yaml_new_string(struct span text, struct err *err)
{
    json_t *value = json_stringn(text.p, text.n);
    if (!value)
        err_nomem(err);
    return value;
}

static json_t *owned(json_t *value, struct err *err)
{
    if (!value)
        err_nomem(err);
    return value;
}

static json_t *bad_number(unsigned line, const char *why, struct err *err)
{
    err_set(err, ERR_INVALID, "line %u: %s", line, why);
    err_hint(err, "put it in quotes if it is meant as text");
    return NULL;
}

/* Everything given here matches the grammar above, so that strtoll and strtod take all of it. */
static json_t *read_number(struct span text, unsigned base, unsigned line, struct err *err)
{
    char copy[NUMBER_TEXT_MAX + 1];
    if (text.n > NUMBER_TEXT_MAX)
        return bad_number(line, "a number with too many digits", err);
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    errno = 0;
    if (base) {
        long long whole = strtoll(base == 10 ? copy : copy + 2, NULL, (int)base);
        return errno ? bad_number(line, "a whole number outside 64 bits", err) : owned(json_integer(whole), err);
    }
    double number = strtod(copy, NULL);
    return isfinite(number) ? owned(json_real(number), err)
                            : bad_number(line, "a number outside double precision", err);
}

json_t *yaml_resolve_plain(struct span text, unsigned line, struct err *err)
{
    if (is_null_word(text))
        return json_null();
    if (is_word(text, "true", "True", "TRUE"))
        return json_true();
    if (is_word(text, "false", "False", "FALSE"))
        return json_false();
    unsigned base = integer_base(text);
    if (base || is_float(text))
        return read_number(text, base, line, err);
    if (is_not_finite(text))
        return bad_number(line, "infinity and not-a-number have no JSON form", err);
    return yaml_new_string(text, err);
}

bool yaml_needs_quotes(struct span text)
{
    static const char *const old_words[] = {"y", "n", "yes", "no", "on", "off", "<<", "="}; /* YAML 1.1 */
    for (size_t i = 0; i < ARRAY_LEN(old_words); i++)
        if (span_eq_nocase(text, span_of(old_words[i])))
            return true;
    bool word = is_null_word(text) || is_word(text, "true", "True", "TRUE") || is_word(text, "false", "False", "FALSE");
    /* Also what an older reader takes for a number: 1_000, 0b1, 12:30:00, 2026-01-31. */
    char first = text.n ? without_sign(text).n ? without_sign(text).p[0] : '0' : '0';
    return word || is_not_finite(text) || ascii_is_digit(first) || first == '.';
}
