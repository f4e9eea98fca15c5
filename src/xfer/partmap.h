/* partmap: which parts of a file are on disk, kept so that a restart fetches only what is missing.
 *
 * A part is marked after its bytes were written (and verified, where it can be by itself). The map is a small file
 * beside the data: header (magic, version, size, part size, identity hash), then the bitmap in
 * records that carry their own CRC-32C and are rewritten in place, so a torn write loses marks and never invents one.
 * It is not fsynced: after a power cut, call it stale (the data may be, too) unless both were synced. */
#ifndef BERTH_XFER_PARTMAP_H
#define BERTH_XFER_PARTMAP_H

#include "base/err.h"
#include "base/str.h"

#include <stdint.h>

struct partmap;

/* Open or create beside the data. `identity` binds it to one version of one object (ETag, version id); a map of another
 * identity, size or part size, or a damaged one, starts empty. `fd` is borrowed until partmap_free(). */
int partmap_open(struct partmap **out, int fd, uint64_t size, uint64_t part_bytes, struct span identity,
                 struct err *err);
void partmap_free(struct partmap *m);

uint64_t partmap_count(const struct partmap *m);
uint64_t partmap_part_bytes(const struct partmap *m);
bool partmap_has(const struct partmap *m, uint64_t part);
uint64_t partmap_done_bytes(const struct partmap *m);

/* Mark and write through (the data must be in the file by then). Thread-safe. */
int partmap_mark(struct partmap *m, uint64_t part, struct err *err);
/* Take marks back (a digest did not match). */
int partmap_clear(struct partmap *m, uint64_t first, uint64_t count, struct err *err);

#endif
