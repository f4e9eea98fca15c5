/* pack: a folder to a tar stream, and bytes to gzip, reproducibly: equal trees give equal bytes, whoever packs them, on
 * however many cores.
 *
 * The tar is POSIX.1-2001 (pax) as GNU tar, bsdtar, Python and Go read it: entries sorted, folders before what they
 * hold, paths relative and without "./", owner and group 0 without names, modes and modification times kept. Sparse
 * files stay sparse (GNU's pax form 1.0). Hard links become files of their own. What archive_unpack() would refuse is
 * not packed: devices, FIFOs, sockets and links that point outside are left out and told; set-ID bits are dropped. */
#ifndef BERTH_ARCHIVE_PACK_H
#define BERTH_ARCHIVE_PACK_H

#include "archive/archive.h"

/* Where bytes go, in order, on the thread that calls. */
typedef int (*archive_write_fn)(void *ctx, const void *p, size_t n, struct err *err);

struct archive_pack_opts {
    uint64_t max_bytes;   /* content, holes of sparse files counted; 0: 1 TiB */
    uint64_t max_entries; /* 0: 1,000,000 */
    const struct cancel *cancel;
    /* What was left out, or not packed as it was; may be NULL. Only archive_pack() tells. */
    void (*odd)(void *ctx, const char *path, const char *why);
    /* Content read so far, now and then; may be NULL. */
    void (*progress)(void *ctx, uint64_t bytes);
    void *ctx;
};

/* Pack what is beneath `dir_fd` (nothing of the folder itself). Files are read once, at the size that they have when
 * they are opened: ERR_CHANGED where one shrinks meanwhile. `totals->skipped` counts what was left out.
 * ERR_LIMIT, ERR_CANCELLED, and those of reading and of `write`. */
int archive_pack(int dir_fd, archive_write_fn write, void *ctx, const struct archive_pack_opts *opts,
                 struct archive_totals *totals, struct err *err);

/* How many bytes archive_pack() would write, without reading any file's content. */
int archive_measure(int dir_fd, const struct archive_pack_opts *opts, uint64_t *tar_bytes,
                    struct archive_totals *totals, struct err *err);

/* Streaming gzip (RFC 1952): blocks of GZIP_BLOCK_BYTES are compressed side by side, each on its own, and joined into
 * one member. Memory: about 3 MiB a thread. At most GZIP_THREADS_MAX. */
#define GZIP_BLOCK_BYTES ((size_t)512 << 10)
#define GZIP_THREADS_MAX 16

struct gzip;
int gzip_open(struct gzip **out, unsigned threads /* 0: one a core, at most 4 */, archive_write_fn write, void *ctx,
              struct err *err);
int gzip_write(struct gzip *g, const void *p, size_t n, struct err *err); /* an archive_write_fn, but for its type */
int gzip_finish(struct gzip *g, struct err *err);                         /* once; then gzip_free() */
void gzip_free(struct gzip *g);

/* No stream of `n` bytes becomes longer than this. */
uint64_t gzip_bound(uint64_t n);

#endif
