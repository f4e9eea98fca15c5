/* mirror: other places for the fronts of URLs. The rule stands in s3.h. Pure. */
#ifndef BERTH_S3_MIRROR_H
#define BERTH_S3_MIRROR_H

#include "base/arena.h"
#include "s3/place.h"

struct mirrors {
    struct mirror {
        const char *from, *to; /* without a slash at the end */
    } * v;
    size_t n;
};

/* "https://from/prefix=http://to/prefix" entries, NULL-terminated; NULL: none. Strings live in the arena. */
int mirrors_read(struct arena *a, const char *const *entries, struct mirrors *out, struct err *err);

/* The front of a place for a region, mirrors applied; *mirrored says whether one was. */
int mirrors_front(const struct mirrors *m, const struct s3_place *p, const char *region, struct buf *out,
                  bool *mirrored, struct err *err);

#endif
