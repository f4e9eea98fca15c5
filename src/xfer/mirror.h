/* mirror: other places for URLs. A mirror's left side replaces the start of a URL, up to a '/', a '?' or its end, by
 * its right side; the longest left side that fits wins. Pure.
 *
 * A right side is the operator's word: it may be http:// where that would otherwise be refused. What a module mirrors
 * (whole URLs, or the part of them that names a place) is said in its own header. */
#ifndef BERTH_XFER_MIRROR_H
#define BERTH_XFER_MIRROR_H

#include "base/arena.h"
#include "base/buf.h"

struct mirrors {
    struct mirror {
        const char *from, *to; /* without a slash at the end */
    } * v;
    size_t n;
};

/* "https://from/prefix=http://to/prefix" entries, NULL-terminated; NULL: none. Strings live in the arena.
 * ERR_INVALID names the entry. */
int mirrors_read(struct arena *a, const char *const *entries, struct mirrors *out, struct err *err);

/* Add `url` (as url_write() has it) to `out`, at its mirror; false, and nothing added, where none fits. */
bool mirrors_apply(const struct mirrors *m, struct span url, struct buf *out);

/* "https://h/a" starts "https://h/a", "https://h/a/b" and "https://h/a?b", not "https://h/ab". */
bool mirror_starts(struct span url, struct span start);

#endif
