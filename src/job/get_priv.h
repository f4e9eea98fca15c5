/* get, inside. */
#ifndef BERTH_JOB_GET_PRIV_H
#define BERTH_JOB_GET_PRIV_H

#include "job/get.h"

#define GET_MANIFEST     "manifest.json"
#define GET_MANIFEST_MAX ((size_t)512 << 20)

#define GET_KEY_CHARS 32
#define GET_OBJECT    "object" /* what was published: an archive, or a manifest */
#define GET_PLAIN     "plain"  /* what a manifest names */

/* One get under way: "<dir>.part" holds "out", which becomes the folder, and "fetched/<key>" with the folders of what
 * was fetched: of this result alone, whatever else another get left there. */
struct getting {
    const struct job_get_opts *opts;
    struct job_got *got;
    char *part;
    char key[GET_KEY_CHARS + 1];
    int part_fd, all_fd, fetched_fd, out_fd; /* part, part/fetched, part/fetched/<key>, part/out */
};

/* The name that stands for a result, the same at every try. */
int get_key(const struct input *in, char out[GET_KEY_CHARS + 1], struct err *err);

/* The digest that the whole is held against; NULL: none. */
const char *get_checksum(const struct input *in);

/* Fetch `in` to a folder below part/fetched/<key>. */
int get_fetch(struct getting *g, const struct input *in, const char *folder, struct err *err);

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
