/* publish, inside: a local folder that is filled under a temporary name beside its place, and appears whole. Paths are
 * relative, and stay beneath it. Files may be put by several threads at once. */
#ifndef BERTH_PUBLISH_SHELF_PRIV_H
#define BERTH_PUBLISH_SHELF_PRIV_H

#include "publish/publish_priv.h"

#include <sys/stat.h>

#define SHELF_NAME_MAX 64

struct shelf {
    char *path; /* owned */
    const char *name;
    int parent_fd, dir_fd;          /* -1: not there */
    char temporary[SHELF_NAME_MAX]; /* "": none is there */
};

#define SHELF_NONE                                                                                                     \
    {                                                                                                                  \
        .parent_fd = -1, .dir_fd = -1                                                                                  \
    }

/* Folders above are made; slashes at its end do not count. Release it in any case. */
int shelf_open(struct shelf *s, const char *path, struct err *err);
bool shelf_is(const struct shelf *s, const struct stat *st); /* whether this is the folder that is filled */
int shelf_folder(const struct shelf *s, const char *path, struct err *err);
int shelf_link(const struct shelf *s, const char *path, const char *target, struct err *err);
/* The first `size` bytes of `fd`, with its time, readable by all and executable where it is. */
int shelf_file(const struct shelf *s, const char *path, int fd, const struct stat *st, struct err *err);
int shelf_text(const struct shelf *s, const char *path, struct span text, struct err *err);
/* ERR_EXISTS where something is in its place. `absolute`: where it is now; owned. */
int shelf_commit(struct shelf *s, char **absolute, struct err *err);
void shelf_release(struct shelf *s); /* what was not committed vanishes */

#endif
