/* archive, inside: the head of a tar entry, as bytes. Pure.
 *
 * A ustar header (POSIX.1-2001), and before it a pax header where ustar has no room or no words: long names and names
 * that are not ASCII, sizes from 8 GiB, times with fractions or before 1970, sparse files. */
#ifndef BERTH_ARCHIVE_TAR_HEAD_PRIV_H
#define BERTH_ARCHIVE_TAR_HEAD_PRIV_H

#include "archive/tar_priv.h"
#include "base/buf.h"

struct tar_head {
    enum tar_type type; /* file, folder or symbolic link */
    const char *path;   /* without a slash at the end */
    const char *link;   /* of a symbolic link; else NULL */
    mode_t mode;        /* the permissions */
    struct timespec mtime;
    uint64_t size;   /* of a file, holes included */
    bool sparse;     /* then the content begins with a map (tar_map_write) */
    uint64_t stored; /* bytes of content in the archive, map and all */
};

/* Appends one or more blocks. */
void tar_head_write(const struct tar_head *h, struct buf *out);

/* GNU's pax form 1.0: the pieces that are stored, as decimal lines, filled up to whole blocks. */
void tar_map_write(const struct tar_extent *extents, size_t n, struct buf *out);

/* Zeros up to the next whole block after `n` bytes. */
static inline size_t tar_padding(uint64_t n)
{
    return (size_t)((TAR_BLOCK - n % TAR_BLOCK) % TAR_BLOCK);
}

#endif
