#include "hf/glob.h"

#define BYTE_OUTSIDE_UTF8 0x110000u /* beyond the last code point: such a byte equals only itself */

bool hf_glob_is_pattern(struct span text)
{
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] == '*' || text.p[i] == '?' || text.p[i] == '[')
            return true;
    return span_ends(text, SPAN_LIT("/"));
}

/* Take one character off the front. */
static uint32_t take_char(struct span *s)
{
    size_t n = span_utf8_step(*s);
    const unsigned char *p = (const unsigned char *)s->p;
    uint32_t c = n == 0 ? BYTE_OUTSIDE_UTF8 + p[0] : n == 1 ? p[0] : p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++)
        c = c << 6 | (p[i] & 0x3fu);
    n = n ? n : 1;
    s->p += n;
    s->n -= n;
    return c;
}

/* The inside of the set that starts after a '['; false: it has no end. */
static bool cut_set(struct span *pattern, struct span *set)
{
    size_t end = 0;
    if (end < pattern->n && pattern->p[end] == '!')
        end++;
    if (end < pattern->n && pattern->p[end] == ']')
        end++; /* the first one is a member */
    while (end < pattern->n && pattern->p[end] != ']')
        end++;
    if (end >= pattern->n)
        return false;
    *set = (struct span){pattern->p, end};
    pattern->p += end + 1;
    pattern->n -= end + 1;
    return true;
}

static bool in_set(struct span set, uint32_t c)
{
    bool inverted = set.n > 0 && set.p[0] == '!', found = false;
    if (inverted) {
        set.p++;
        set.n--;
    }
    while (set.n > 0) {
        uint32_t low = take_char(&set), high = low;
        if (set.n > 1 && set.p[0] == '-') {
            take_char(&set);
            high = take_char(&set);
        }
        found |= low <= c && c <= high;
    }
    return found != inverted;
}

/* One element of the pattern, no star, against one character. Both move on. */
static bool match_one(struct span *pattern, struct span *text)
{
    struct span set;
    uint32_t want = take_char(pattern), c = take_char(text);
    if (want == '?')
        return true;
    if (want == '[' && cut_set(pattern, &set))
        return in_set(set, c);
    return want == c;
}

bool hf_glob_match(struct span pattern, struct span text)
{
    struct span after_star = {0}, retry = {0};
    bool star = false, all_below = span_ends(pattern, SPAN_LIT("/"));
    for (;;) {
        if (pattern.n > 0 && pattern.p[0] == '*') {
            take_char(&pattern);
            after_star = pattern;
            retry = text;
            star = true;
            continue;
        }
        if (pattern.n == 0 && (text.n == 0 || all_below))
            return true;
        if (pattern.n > 0 && text.n > 0 && match_one(&pattern, &text))
            continue;
        if (!star || retry.n == 0)
            return false;
        take_char(&retry); /* the last star takes one more */
        pattern = after_star;
        text = retry;
    }
}
