/* blobs: which blobs of the cache a server has been told that this machine serves to others, as differences. Only what
 * was told is served. Thread-safe. */
#ifndef BERTH_NODE_BLOBS_H
#define BERTH_NODE_BLOBS_H

#include "cache/cache.h"

#include <pthread.h>

#define BLOBS_MAX      100000 /* the newest of the cache; what a server keeps of one node */
#define BLOBS_TOLD_MAX 1000   /* of one message, each way */

struct blob_digest {
    uint8_t b[32];
};

struct blobs {
    pthread_mutex_t mu;
    struct blob_digest *told; /* sorted */
    size_t n;
    bool unsure; /* what the server has of it may be anything: it is to forget it first */
};

void blobs_init(struct blobs *b);
void blobs_release(struct blobs *b);
/* What is to be told now: {"add", "remove", "reset"}; NULL (and no error) where nothing changed. From then on it counts
 * as told. `more`: there is more than fits into one message. */
json_t *blobs_tell(struct blobs *b, struct cache *cache, bool *more, struct err *err);
/* The message may not have arrived. */
void blobs_unsure(struct blobs *b);
bool blobs_has(struct blobs *b, const char *sha256);

#endif
