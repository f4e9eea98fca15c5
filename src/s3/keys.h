/* keys: which keys a source means, and which of them may become files of one tree. Pure. */
#ifndef BERTH_S3_KEYS_H
#define BERTH_S3_KEYS_H

#include "base/arena.h"
#include "s3/objects.h"
#include "spec/job.h"

enum keys_mode {
    KEYS_OBJECT,           /* that key and nothing else */
    KEYS_PREFIX,           /* every key that starts with `prefix` */
    KEYS_FOLDER_OR_OBJECT, /* every key below `prefix` (which ends in '/'); if there is none, the object itself */
    KEYS_FILES,            /* the source's `files`, below `prefix` */
};

struct keys_plan {
    enum keys_mode mode;
    const char *key;    /* OBJECT, FOLDER_OR_OBJECT: the object */
    const char *prefix; /* PREFIX, FOLDER_OR_OBJECT: to list; FILES: "" or ends in '/' */
    size_t base_n;      /* bytes of each key that are not in its path */
};

/* `key` as the place has it; a version makes it one object. Strings live in the arena or are `key`'s. */
int keys_plan(struct arena *a, const struct source_s3 *src, const char *key, const char *version_id,
              struct keys_plan *out, struct err *err);

/* Refuses what can't be one tree of files (F2): the same path twice, or a file where a folder must be. Paths come in
 * the order of their bytes; those of folders end in '/'. */
struct tree_check {
    char last[S3_KEY_LENGTH_MAX + 1];
    size_t last_n;
    size_t files[S3_KEY_LENGTH_MAX + 1]; /* lengths of those starts of `last` that are files, ascending */
    size_t file_count;
    bool begun;
};
int tree_check_add(struct tree_check *t, const char *path, struct err *err);

#endif
