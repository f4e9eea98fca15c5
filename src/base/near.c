#include "base/near.h"

#define NEAR_LENGTH_MAX 255
#define NEAR_LIMIT_MAX  4

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    unsigned least = a < b ? a : b;
    return least < c ? least : c;
}

/* Three rows of the classic table are enough: a swap of neighbours looks two rows back. */
unsigned near_distance(struct span a, struct span b, unsigned max)
{
    unsigned rows[3][NEAR_LENGTH_MAX + 1];
    size_t gap = a.n > b.n ? a.n - b.n : b.n - a.n;
    if (a.n > NEAR_LENGTH_MAX || b.n > NEAR_LENGTH_MAX || gap > max)
        return max + 1;
    for (size_t j = 0; j <= b.n; j++)
        rows[0][j] = (unsigned)j;
    for (size_t i = 1; i <= a.n; i++) {
        unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        char ca = ascii_lower(a.p[i - 1]), ca_before = i > 1 ? ascii_lower(a.p[i - 2]) : '\0';
        unsigned least = row[0] = (unsigned)i;
        for (size_t j = 1; j <= b.n; j++) {
            char cb = ascii_lower(b.p[j - 1]);
            row[j] = min3(above[j] + 1, row[j - 1] + 1, above[j - 1] + (ca != cb));
            bool swapped = i > 1 && j > 1 && ca == ascii_lower(b.p[j - 2]) && ca_before == cb;
            if (swapped && above2[j - 2] + 1 < row[j])
                row[j] = above2[j - 2] + 1;
            least = row[j] < least ? row[j] : least;
        }
        if (least > max && i > 1 && i < a.n) {
            /* A swap can still reach from the row above, so both must be out of reach. */
            unsigned least_above = above[0];
            for (size_t j = 1; j <= b.n; j++)
                least_above = above[j] < least_above ? above[j] : least_above;
            if (least_above >= max)
                return max + 1;
        }
    }
    unsigned distance = rows[a.n % 3][b.n];
    return distance > max ? max + 1 : distance;
}

/* How far a candidate may be: a third of the word's length, at least 1, at most NEAR_LIMIT_MAX. */
static unsigned limit_for(struct span word)
{
    size_t third = word.n / 3;
    return third < 1 ? 1 : third > NEAR_LIMIT_MAX ? NEAR_LIMIT_MAX : (unsigned)third;
}

const char *near_best(struct span word, const char *const *candidates, size_t n)
{
    const char *best = NULL;
    unsigned limit = limit_for(word);
    for (size_t i = 0; i < n; i++) {
        unsigned distance = near_distance(word, span_of(candidates[i]), limit);
        if (distance > limit)
            continue;
        best = candidates[i];
        if (distance == 0)
            break;
        limit = distance - 1; /* only a closer one replaces it */
    }
    return best;
}

void near_top_init(struct near_top *t, struct span word)
{
    t->word = word;
    t->n = 0;
}

void near_top_add(struct near_top *t, struct span candidate)
{
    unsigned limit = limit_for(t->word);
    bool folder = span_ends(candidate, SPAN_LIT("/"));
    unsigned distance = near_distance(t->word, (struct span){candidate.p, candidate.n - folder}, limit);
    size_t at = t->n;
    if (distance > limit)
        return;
    for (size_t i = 0; i < t->n; i++)
        if (span_eq(span_of(t->best[i]), candidate))
            return;
    while (at > 0 && t->distance[at - 1] > distance)
        at--;
    if (at >= NEAR_TOP)
        return;
    size_t behind = (t->n < NEAR_TOP ? t->n : NEAR_TOP - 1) - at;
    memmove(&t->distance[at + 1], &t->distance[at], behind * sizeof t->distance[0]);
    memmove(&t->best[at + 1], &t->best[at], behind * sizeof t->best[0]);
    t->distance[at] = distance;
    memcpy(t->best[at], candidate.p,
           candidate.n); /* near_distance let nothing longer than 255 bytes and a slash through */
    t->best[at][candidate.n] = '\0';
    t->n += t->n < NEAR_TOP;
}
