/* archive, inside: reading tar as POSIX.1-2001 (ustar, pax) and GNU tar write it, with long names and sparse files.
 *
 * berth reads tar itself, since names must stay the bytes they are: a library that converts character sets recomposes
 * them in one locale and loses them in another. All is strict: what is damaged or ambiguous ends the reading. */
#ifndef BERTH_ARCHIVE_TAR_PRIV_H
#define BERTH_ARCHIVE_TAR_PRIV_H

#include "archive/stream_priv.h"
#include "base/buf.h"

#include <time.h>

#define TAR_BLOCK       512
#define TAR_EXTENTS_MAX ((size_t)1 << 18)    /* pieces of one sparse file */
#define TAR_HEADERS_MAX 32                   /* long names and attributes before one entry */
#define TAR_SPECIAL_MAX ((size_t)1 << 20)    /* bytes of one of these */
#define TAR_PADDING_MAX ((uint64_t)16 << 20) /* zeros after the end marker: a tape record's rest */

enum tar_type { TAR_FILE, TAR_FOLDER, TAR_SYMLINK, TAR_HARD_LINK, TAR_ODD };

/* A piece of a file that is stored; what lies between the pieces is a hole. */
struct tar_extent {
    uint64_t offset, size;
};

struct tar_entry {
    enum tar_type type;
    const char *odd;        /* TAR_ODD: "is a device" */
    struct span name, link; /* borrowed until the next tar_next() */
    mode_t mode;            /* as stated: to be masked */
    uint64_t size;          /* of the content, holes included */
    struct timespec mtime;
};

/* What pax records say of the next entry, and where they are silent nothing. */
struct tar_pax {
    struct buf path, link, sparse_name;
    bool has_path, has_link, has_size, has_mtime;
    uint64_t size;
    struct timespec mtime;
    bool sparse; /* one of the three forms of GNU's sparse files */
    bool sparse_name_set, has_real_size;
    uint64_t major, minor, real_size;
};

struct tar {
    struct stream *stream;
    uint8_t *block; /* what was read last; block[at] to block[n] is still to come */
    size_t at, n;
    uint64_t stored_left; /* content of the current entry that was not read yet, and the padding behind it */
    uint64_t padding;
    struct {
        struct tar_extent *v;
        size_t n, capacity, at;
        uint64_t done; /* of v[at] */
    } extents;
    struct tar_pax pax;
    struct buf name, link; /* of GNU's long names or the header; pax comes before them */
    bool long_name, long_link;
    struct buf special;
};

int tar_init(struct tar *t, struct stream *stream, struct err *err);
void tar_release(struct tar *t);

/* 1: an entry; 0: the end, and the stream is read to its end; -1. Content not read is skipped.
 * ERR_CORRUPT: damaged or cut short; ERR_UNSUPPORTED: bytes after the end, multi-volume archives. */
int tar_next(struct tar *t, struct tar_entry *entry, struct err *err);

/* The next piece of a file's content, borrowed until the next call, and where it belongs; 0 at the end. */
int64_t tar_read(struct tar *t, const uint8_t **p, uint64_t *offset, struct err *err);

/* For the parts of the reader. */
const uint8_t *tar_block(struct tar *t,
                         struct err *err); /* the next 512 bytes; NULL with ERR_CORRUPT where there are none */
int tar_number(const uint8_t *field, size_t n, int64_t *out); /* octal or base 256; -1: neither */
int tar_cut_short(struct err *err);

/* tar_pax.c: records of a pax header. With `global`, they must not be about one file's name or content. */
void tar_pax_reset(struct tar *t);
int tar_pax_read(struct tar *t, struct span records, bool global, struct err *err);

/* tar_sparse.c */
int tar_extent_add(struct tar *t, uint64_t offset, uint64_t size, struct err *err);
int tar_sparse_old_gnu(struct tar *t, const uint8_t *header, uint64_t *real_size, struct err *err);
int tar_sparse_map(struct tar *t, struct span map, struct err *err); /* "offset,size,…" of form 0.1 */
int tar_sparse_1_0(struct tar *t, struct err *err);                  /* from the beginning of the content */
int tar_sparse_check(const struct tar *t, uint64_t real_size, struct err *err);

#endif
