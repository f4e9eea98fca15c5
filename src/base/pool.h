/* pool: a fixed number of worker threads for blocking or heavy work.
 *
 * Tasks run in the order of submission, each once; pool_free() runs what is queued, then joins. */
#ifndef BERTH_BASE_POOL_H
#define BERTH_BASE_POOL_H

#include "base/err.h"

struct pool;

/* `queue_max` bounds what waits; pool_submit() blocks when it is full. 0: no bound. */
struct pool *pool_new(const char *name, unsigned threads, size_t queue_max, struct err *err);
void pool_free(struct pool *p);
int pool_submit(struct pool *p, void (*run)(void *ctx), void *ctx, struct err *err);
void pool_wait_idle(struct pool *p); /* until nothing is queued or running */

#endif
