/* path: what may become a path on disk, decided without touching one. Pure.
 *
 * A relative path is safe when it has no empty, "." or ".." component, no NUL, no leading slash and no component above
 * 255 bytes (NAME_MAX) nor a total above PATH_SAFE_MAX. */
#ifndef BERTH_BASE_PATH_H
#define BERTH_BASE_PATH_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#define PATH_COMPONENT_MAX 255
#define PATH_SAFE_MAX      3072

/* ERR_REFUSED naming the path and the reason. */
int path_check_relative(struct span path, struct err *err);

/* Normalise a container path: absolute, "." and ".." resolved, no trailing slash ("/root/../data/" → "/data").
 * ERR_INVALID: relative, empty, "/", or /proc, /sys, /dev and below. */
int path_normalise_target(struct span target, struct buf *out, struct err *err);

struct span path_basename(struct span path);           /* after the last slash; empty after a trailing one */
bool path_is_below(struct span path, struct span dir); /* "/a/b" is below "/a"; "/ab" is not; equal is not */

/* What a symbolic link at `path` holds that leads to `to`, both safe and below one folder: ("s/c/f", "b/x") gives
 * "../../b/x". It leaves no folder that the two have in common. */
void path_link_text(const char *path, const char *to, struct buf *out);

#endif
