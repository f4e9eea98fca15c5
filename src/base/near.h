/* near: "did you mean …?": the candidates closest to a misspelt word, by Damerau-Levenshtein distance. Pure. */
#ifndef BERTH_BASE_NEAR_H
#define BERTH_BASE_NEAR_H

#include "base/str.h"

/* Case-insensitive distance, capped: returns max + 1 as soon as it is above `max`. Inputs above 255 bytes never match.
 */
unsigned near_distance(struct span a, struct span b, unsigned max);

/* The nearest of `n` candidates within a third of the word's length (at least 1, at most 4), else NULL. */
const char *near_best(struct span word, const char *const *candidates, size_t n);

/* A running "best few" for streams of candidates (listings): keeps the NEAR_TOP closest. A '/' at the end of a
 * candidate, a folder's, is kept and does not count. */
#define NEAR_TOP      3
#define NEAR_WORD_MAX 257
struct near_top {
    struct span word;
    unsigned distance[NEAR_TOP];
    char best[NEAR_TOP][NEAR_WORD_MAX];
    size_t n;
};
void near_top_init(struct near_top *t, struct span word);
void near_top_add(struct near_top *t, struct span candidate);

#endif
