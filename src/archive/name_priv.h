/* archive, inside: which names and links an archive may bring. Pure. */
#ifndef BERTH_ARCHIVE_NAME_PRIV_H
#define BERTH_ARCHIVE_NAME_PRIV_H

#include "base/err.h"
#include "base/path.h"
#include "base/str.h"

/* The path beneath the folder that an entry's name stands for: without "./", doubled and trailing slashes, and without
 * the first `strip` components. "" is the folder itself. ERR_REFUSED: absolute, with "..", too long or too deep. */
int name_clean(struct span raw, unsigned strip, char out[PATH_SAFE_MAX + 1], struct err *err);

/* Why a symbolic link at `path` (clean) may not have this target, or NULL.
 *
 * A target may climb only by ".." components at its beginning: these walk real folders, since `path` goes through no
 * link. A ".." after a name would climb from wherever that name's own link leads, which no look at the text can tell.
 */
const char *link_fault(const char *path, struct span target);

#endif
