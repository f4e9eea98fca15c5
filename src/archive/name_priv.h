/* archive, inside: which names and links an archive may bring. Pure. */
#ifndef BERTH_ARCHIVE_NAME_PRIV_H
#define BERTH_ARCHIVE_NAME_PRIV_H

#include "base/err.h"
#include "base/path.h"
#include "base/str.h"

/* The path beneath the folder that an entry's name stands for: without "./", doubled and trailing slashes, and without
 * the first `strip` components. "" is the folder itself. ERR_REFUSED: absolute, with "..", too long, or deeper than
 * fs_walk() goes, to which a `folder` counts as one more. */
int name_clean(struct span raw, unsigned strip, bool folder, char out[PATH_SAFE_MAX + 1], struct err *err);

#endif
