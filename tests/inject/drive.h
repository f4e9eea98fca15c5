/* drive: one piece of berth's work a program run, with one call made to fail in it, and a look at what it left.
 *
 *     drive WORK KIND NTH
 *
 * Ends with 0 when the failure happened and all is well, 3 when the work was over before its NTH call, 1 when something
 * is not as it must be: success without what was promised, failure without an error, descriptors left open. */
#ifndef BERTH_TESTS_DRIVE_H
#define BERTH_TESTS_DRIVE_H

#include "../unit/xfer/loopback.h"
#include "base/err.h"

struct work {
    const char *name;
    int (*prepare)(const char *dir); /* not disturbed; 0 or -1 */
    int (*run)(struct err *err);     /* with the failure in it; frees all it took but what check() needs */
    bool (*check)(bool succeeded);   /* not disturbed; false, after a word on stderr: a lie */
};

extern const struct work work_parse, work_cache, work_results, work_unpack, work_download, work_seal, work_api,
    work_market, work_server, work_node;

/* Content that only the right bytes equal. */
void drive_fill(unsigned seed, void *out, size_t n);
bool drive_file_is(const char *dir, const char *path, unsigned seed, size_t n);
/* Whether a file of the folder has this text in it. */
bool drive_folder_holds(const char *dir, const char *text);
/* A server on loopback, a process of its own and so left undisturbed; it ends with this one. 0 or -1. */
int drive_serve(loopback_answer_fn *answer, uint16_t *port);

#endif
