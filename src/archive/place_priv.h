/* archive, inside: making folders, files and links beneath one folder, whatever an earlier entry may have planted
 * there.
 *
 * No path goes through a symbolic link. What comes later replaces a file or a link of the same name (the name is
 * removed first, so nothing is written through it), never a folder. */
#ifndef BERTH_ARCHIVE_PLACE_PRIV_H
#define BERTH_ARCHIVE_PLACE_PRIV_H

#include "base/err.h"
#include "base/path.h"

#include <stdint.h>
#include <sys/types.h>

struct place {
    int dir_fd;            /* borrowed */
    uint64_t folders_left; /* how many missing folders may still be made */
    int parent_fd;         /* of the last entry; -1: none yet */
    char parent[PATH_SAFE_MAX + 1];
};

void place_init(struct place *p, int dir_fd, uint64_t folders_max);
void place_release(struct place *p);

/* Paths are clean and not empty. `mode`: what of 0755 the entry may have. */
int place_folder(struct place *p, const char *path, mode_t mode, struct err *err);
int place_file(struct place *p, const char *path, int *fd, struct err *err); /* empty, 0600, open for writing */
int place_symlink(struct place *p, const char *path, const char *target, struct err *err);
int place_hard_link(struct place *p, const char *path, const char *target, struct err *err);

/* Whether a regular file stands at `path`: ERR_NOTFOUND or ERR_REFUSED where not. */
int place_check_file(const struct place *p, const char *path, struct err *err);

#endif
