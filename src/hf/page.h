/* page: the hub's JSON: the commit of a revision, and pages of a commit's tree. Pure. */
#ifndef BERTH_HF_PAGE_H
#define BERTH_HF_PAGE_H

#include "base/err.h"
#include "hf/hf.h"

#define HF_COMMIT_LENGTH 40

bool hf_is_commit(struct span s); /* 40 lower-case hex digits */

/* `sha` of a repository's description, into the arena. ERR_PROTOCOL. */
int hf_read_commit(struct arena *a, struct span json, const char **commit, struct err *err);

/* The files of one page, in its order; folders are left out. `path` is in the arena, `target` not set. ERR_PROTOCOL:
 * not a page of a tree, and what each() gives. */
int hf_read_tree(struct arena *a, struct span json, int (*each)(void *ctx, const struct hf_file *f, struct err *err),
                 void *ctx, struct err *err);

#endif
