/* regex: regular expressions from job files, bounded. By pcre2 (Perl syntax, UTF-8, unanchored).
 *
 * A pattern comes from a stranger: its length, the work of one match and its memory have ceilings; a match that reaches
 * them is ERR_LIMIT, never a hang. A struct regex is used by one thread at a time. */
#ifndef BERTH_SPEC_REGEX_H
#define BERTH_SPEC_REGEX_H

#include "base/err.h"
#include "base/str.h"

#define REGEX_PATTERN_MAX 4096
#define REGEX_GROUPS_MAX  32 /* groups handed out by regex_match(); more may exist in the pattern */

struct regex;

/* ERR_INVALID names the pattern, the offset and what is wrong there. */
int regex_compile(struct regex **out, const char *pattern, struct err *err);
void regex_free(struct regex *re);

/* The first match in `subject`. *matched says whether there is one; groups[0] is the whole match, then the capture
 * groups (empty where unset); *group_count says how many, at most `max`. `groups` may be NULL with max 0. */
int regex_match(struct regex *re, struct span subject, bool *matched, struct span *groups, size_t max,
                size_t *group_count, struct err *err);

#endif
