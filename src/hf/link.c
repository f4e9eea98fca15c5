#include "hf/link.h"

static void skip_blanks(struct span *s)
{
    while (s->n > 0 && (s->p[0] == ' ' || s->p[0] == '\t')) {
        s->p++;
        s->n--;
    }
}

static bool take_byte(struct span *s, char c)
{
    skip_blanks(s);
    if (s->n == 0 || s->p[0] != c)
        return false;
    s->p++;
    s->n--;
    return true;
}

/* Up to one of `ends`, which is left there. */
static struct span take_until(struct span *s, const char *ends)
{
    struct span head = {s->p, 0};
    while (s->n > 0 && (s->p[0] == '\0' || !strchr(ends, s->p[0]))) {
        s->p++;
        s->n--;
    }
    head.n = (size_t)(s->p - head.p);
    return span_trim(head);
}

/* What stands in quotes keeps its backslashes: no relation has any. */
static bool take_quoted(struct span *s, struct span *out)
{
    size_t n = 0;
    while (n < s->n && s->p[n] != '"')
        n += s->p[n] == '\\' ? 2 : 1;
    if (n >= s->n)
        return false;
    *out = (struct span){s->p, n};
    s->p += n + 1;
    s->n -= n + 1;
    return true;
}

/* ";name=value" or ";name"; false: malformed. */
static bool take_parameter(struct span *s, struct span *name, struct span *value)
{
    *name = take_until(s, "=;,");
    *value = (struct span){0};
    if (!take_byte(s, '='))
        return true;
    if (take_byte(s, '"'))
        return take_quoted(s, value);
    *value = take_until(s, ";,");
    return true;
}

/* A relation may be a list of words. */
static bool names_next(struct span relations)
{
    struct span word;
    while (relations.n > 0) {
        span_cut(relations, ' ', &word, &relations);
        if (span_eq_nocase(word, SPAN_LIT("next")))
            return true;
    }
    return false;
}

bool hf_link_next(struct span header, struct span *target)
{
    while (take_byte(&header, '<')) {
        struct span uri = take_until(&header, ">"), name, value;
        bool next = false, seen = false;
        if (!take_byte(&header, '>'))
            return false;
        while (take_byte(&header, ';')) {
            if (!take_parameter(&header, &name, &value))
                return false;
            if (span_eq_nocase(name, SPAN_LIT("rel")) && !seen) { /* later ones don't count (3.3) */
                seen = true;
                next = names_next(value);
            }
        }
        if (next && uri.n > 0) {
            *target = uri;
            return true;
        }
        if (!take_byte(&header, ','))
            return false;
    }
    return false;
}
