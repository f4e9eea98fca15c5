/* verify: the digests of one file, computed while its parts arrive in any order.
 *
 * CRCs are taken per part, on the transfer thread, from the bytes that pass by, and combined at the end. What needs the
 * bytes in order (SHA-256, SHA-1, MD5, XXH3, git blob ids) follows the gapless front of the file, reading it back from
 * the page cache on the hash pool, so that hashing overlaps with the transfer. A file that comes in one small piece is
 * hashed whole as it passes by. Whatever was not computed on the way (parts that an earlier run left) is read from the
 * file at the end.
 *
 * Threads: verify_part() and verify_forget() from any; verify_advance() and verify_finish() from one at a time, which
 * the caller sees to. `fd` must be readable. */
#ifndef BERTH_XFER_VERIFY_H
#define BERTH_XFER_VERIFY_H

#include "xfer/xfer.h"

#define VERIFY_INLINE_MAX (1024 * 1024) /* a file up to this size, in one part, is hashed as it passes by */

struct verify;

/* NULL in *out where nothing is to be computed. `size` may be XFER_SIZE_UNKNOWN. `want` is borrowed for the call. */
int verify_open(struct verify **out, const struct xfer_want *want, uint64_t size, uint64_t part_bytes,
                uint64_t part_count, struct err *err);
void verify_free(struct verify *v);

/* The kinds that the transfer thread is to compute over each part. */
unsigned verify_passing_kinds(const struct verify *v);
/* Whether something follows the front of the file (then verify_advance() is worth calling as it grows). */
bool verify_is_ordered(const struct verify *v);

/* How far the ordered digests are; for the one thread that advances them. */
uint64_t verify_hashed(struct verify *v);
/* Whether what is computed covers what `want` asks for. `v` may be NULL. */
bool verify_covers(const struct verify *v, const struct xfer_want *want);
/* Whether verify_finish() needs no byte of the file (all parts passed by, nothing in order). `v` may be NULL. */
bool verify_is_cheap(struct verify *v, const struct xfer_want *want);

/* Keep what was computed over one whole part. */
int verify_part(struct verify *v, uint64_t part, struct digest *d, struct err *err);
/* Those parts will be fetched again; what was computed over them, and in order beyond them, is void. */
void verify_forget(struct verify *v, uint64_t first, uint64_t count);

/* Hash in order up to `front` bytes. */
int verify_advance(struct verify *v, int fd, uint64_t front, const struct cancel *cancel, struct err *err);

/* All bytes are there: compute what is missing and compare. 0: all matches, or nothing was stated; `result` has the
 * values and by what it was verified. 1: a mismatch, with its words in `err` (ERR_CORRUPT); *bad_first and *bad_bytes
 * say which range is to be fetched again. -1: could not be computed. */
int verify_finish(struct verify *v, const struct xfer_want *want, int fd, uint64_t size, const struct cancel *cancel,
                  struct xfer_result *result, uint64_t *bad_first, uint64_t *bad_bytes, struct err *err);

#endif
