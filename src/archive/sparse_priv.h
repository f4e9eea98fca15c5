/* archive, inside: where the data of a file lies, and where its holes. */
#ifndef BERTH_ARCHIVE_SPARSE_PRIV_H
#define BERTH_ARCHIVE_SPARSE_PRIV_H

#include "archive/tar_priv.h"

#include <sys/stat.h>

/* Holes below this are read as the zeros they are: what a file system makes of small ones says nothing about the file.
 */
#define SPARSE_HOLE_MIN ((uint64_t)64 << 10)

struct extents {
    struct tar_extent *v; /* owned */
    size_t n, capacity;
};

/* The pieces of the file that hold data; one piece, the whole, where it has no holes worth their while. A sparse file's
 * last piece ends with the file, and may be empty. */
int extents_find(struct extents *x, int fd, const struct stat *st, bool *sparse, struct err *err);
uint64_t extents_bytes(const struct extents *x);
void extents_release(struct extents *x);

#endif
