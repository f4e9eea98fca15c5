/* get, inside. */
#ifndef BERTH_JOB_GET_PRIV_H
#define BERTH_JOB_GET_PRIV_H

#include "job/get.h"

#define GET_MANIFEST     "manifest.json"
#define GET_MANIFEST_MAX ((size_t)512 << 20)

/* One get under way: "<dir>.part" holds "fetched", and "out", which becomes the folder. */
struct getting {
    const struct job_get_opts *opts;
    struct job_got *got;
    char *part;
    int part_fd, fetched_fd, out_fd;
};

/* Fetch `in` below part/fetched. */
int get_fetch(struct getting *g, const struct input *in, struct err *err);

/* The files that a manifest names, fetched and checked one by one, become `out`. */
int get_plain(struct getting *g, const struct input *manifest_at, const json_t *manifest, struct err *err);

/* Whether a folder can appear there; an empty one goes. */
int get_check_target(const char *dir, struct err *err);

/* ---- get_merge.c ---- */

#define GET_MERGING "merging" /* below from_fd: what is being moved; worthless when that was interrupted */

/* Move what the folders `names[i]` of `from_fd` hold, each the results of execution i, into the one at `out_fd`.
 * Nothing is moved where two of them disagree. */
int get_merge(int from_fd, const char *const *names, const struct job_executions *x, int out_fd,
              const struct cancel *cancel, struct err *err);

#endif
