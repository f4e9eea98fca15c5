/* archive: tar streams, written reproducibly and read with confinement; gzip.
 *
 * Reading trusts nothing: every path goes through path_check_relative() and a confined open, links may not point
 * outside, devices, FIFOs, sockets, setuid and setgid bits are refused or dropped, and bytes, entries, inodes and the
 * ratio of unpacked to packed bytes are bounded. */
#ifndef BERTH_ARCHIVE_ARCHIVE_H
#define BERTH_ARCHIVE_ARCHIVE_H

#include "base/buf.h"
#include "base/cancel.h"
#include "base/err.h"

#include <stdint.h>

/* Where archive bytes come from: fill up to `max` bytes, return how many, 0 at the end, -1 with err. Called on the
 * thread that calls archive_unpack(). */
typedef int64_t (*archive_read_fn)(void *ctx, void *p, size_t max, struct err *err);

struct archive_limits {
    uint64_t max_bytes;   /* unpacked content, holes of sparse files counted; 0: 1 TiB */
    uint64_t max_entries; /* and as many folders again that no entry names; 0: 1,000,000 */
    uint32_t max_ratio;   /* unpacked to packed, looked at after the first 64 MiB; 0: 1,000 */
};

/* What happens to an entry that is neither file, folder nor link inside the tree. A path that is absolute or climbs by
 * "..", or goes through a link of the archive, is refused in either case. */
enum archive_odd { ARCHIVE_ODD_REFUSE, ARCHIVE_ODD_SKIP };

struct archive_unpack_opts {
    struct archive_limits limits;
    enum archive_odd odd;
    unsigned strip_components; /* leading path components to drop; the engine's copies have one */
    const struct cancel *cancel;
    /* Called for each entry skipped under ARCHIVE_ODD_SKIP; may be NULL. */
    void (*skipped)(void *ctx, const char *path, const char *why);
    void *skipped_ctx;
};

/* Why a symbolic link at `path` (as archive_unpack() has it: clean, relative) may not have this target, or NULL.
 *
 * A target may climb only by ".." components at its beginning: these walk real folders, since `path` goes through no
 * link. A ".." after a name would climb from wherever that name's own link leads, which no look at the text can tell.
 */
const char *archive_link_fault(const char *path, struct span target);

struct archive_totals {
    uint64_t files, folders, links, skipped, bytes;
};

/* Unpack a tar stream (ustar, pax, GNU; plain or gzip, told by its first bytes) beneath `dir_fd`. Names stay the bytes
 * they are. Files keep their times, what 0755 leaves of their modes, and holes; folders stay open to their owner;
 * owners and attributes are not restored. A later entry replaces a file or link of the same name, never a folder. The
 * stream is read to its end. Not synced to disk.
 *
 * On error what was unpacked so far is left for the caller, who owns the folder, to remove. ERR_REFUSED names the
 * entry; ERR_LIMIT, ERR_CORRUPT (damaged or cut short), ERR_UNSUPPORTED (another compression), ERR_NOSPACE,
 * ERR_CANCELLED. */
int archive_unpack(int dir_fd, archive_read_fn read, void *ctx, const struct archive_unpack_opts *opts,
                   struct archive_totals *totals, struct err *err);

/* Streaming gzip reading (RFC 1952): any number of members, each verified; zero bytes may follow each of them.
 * ERR_CORRUPT where the stream is damaged, cut short, or followed by something else. `read` and `ctx` are borrowed. */
struct gunzip;
int gunzip_open(struct gunzip **out, archive_read_fn read, void *ctx, struct err *err);
int64_t gunzip_read(struct gunzip *g, void *p, size_t max, struct err *err); /* like archive_read_fn */
void gunzip_free(struct gunzip *g);

#endif
