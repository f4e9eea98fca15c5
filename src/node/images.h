/* images: which of the engine's images a job of the market may use without its registry being asked.
 *
 * All jobs share the engine. An image that was pulled with the registry credentials of one job must not be there for a
 * job that has none, so the repositories from which such pulls come are remembered, before the first byte of one does:
 * whoever names an image of such a repository has its registry asked, with that job's own credentials. A pull without
 * any shows that the repository is for everybody, and ends that. Free for all are the images that the market requires,
 * and those of repositories that no job opened: public ones, and what this machine's owner pulled or built.
 *
 * Kept in a file of the state folder. Thread-safe. */
#ifndef BERTH_NODE_IMAGES_H
#define BERTH_NODE_IMAGES_H

#include "base/str.h"
#include "engine/engine.h"

#include <pthread.h>

#define IMAGES_MAX 10000 /* repositories; no pull with credentials beyond */

struct images {
    pthread_mutex_t mu;
    struct closed_repository {
        char *name;
        unsigned pulling; /* with credentials, now */
        bool pulled;      /* an image came with some */
    } * v;
    size_t n;
    struct strv required; /* full names */
    int dir_fd;           /* borrowed */
};

/* A file that is not there is an empty list; one that cannot be read is an error, or all would be open. */
int images_open(struct images *im, int dir_fd, struct err *err);
void images_release(struct images *im);
/* What the market requires now, in the place of what it did. */
int images_require(struct images *im, const struct strv *names, struct err *err);
/* For jobs of the market; good for as long as `im`. */
struct engine_image_guard images_guard(struct images *im);
/* For what the market requires, with this machine's own credentials: what comes by these is not closed. */
struct engine_image_guard images_guard_own(struct images *im);

#endif
