/* mirror: other places for the fronts of S3 URLs. The rule stands in s3.h. Pure. */
#ifndef BERTH_S3_MIRROR_H
#define BERTH_S3_MIRROR_H

#include "s3/place.h"
#include "xfer/mirror.h"

/* The front of a place for a region, mirrors applied; *mirrored says whether one was. */
int mirrors_front(const struct mirrors *m, const struct s3_place *p, const char *region, struct buf *out,
                  bool *mirrored, struct err *err);

/* A mirror that goes on below the host says what the first segment is: a bucket. Other guesses of
 * buckets are left out. */
int mirrors_narrow(const struct mirrors *m, struct s3_places *places, struct err *err);

#endif
