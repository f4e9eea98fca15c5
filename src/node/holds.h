/* holds: which inputs this machine has staged, by the name that servers know them by (market/hold.h), so that jobs find
 * the nodes that need not fetch. Kept in a file, checked against the cache before it is told. Thread-safe. */
#ifndef BERTH_NODE_HOLDS_H
#define BERTH_NODE_HOLDS_H

#include "cache/cache.h"
#include "market/hold.h"
#include "spec/job.h"

#include <pthread.h>

#define HOLDS_MAX 4096 /* the one used longest ago makes room */

struct hold {
    char key[HOLD_KEY_MAX];
    char snapshot[SNAPSHOT_ID_MAX];
    uint64_t bytes;
};

struct holds {
    pthread_mutex_t mu;
    struct hold *v; /* the last used last */
    size_t n;
    bool changed; /* since holds_tell() */
    int dir_fd;   /* borrowed */
};

/* A file that is not there, or no good, is an empty list. */
int holds_open(struct holds *h, int dir_fd, struct err *err);
void holds_release(struct holds *h);
/* `staged`: an entry of a run record's `inputs`. Inputs without a name, or without a snapshot, are passed over. */
int holds_note(struct holds *h, const struct input *in, const json_t *staged, struct err *err);
/* [{"key", "bytes"}] less what the cache has dropped; NULL (and no error) where nothing changed since the last time and
 * `all` is false. */
json_t *holds_tell(struct holds *h, struct cache *cache, bool all, struct err *err);

#endif
