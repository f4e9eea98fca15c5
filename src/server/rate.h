/* rate: how many requests one caller may make: token buckets in a table of fixed size. Thread-safe. */
#ifndef BERTH_SERVER_RATE_H
#define BERTH_SERVER_RATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define RATE_SLOTS       4096 /* callers that share one share its bucket, which only a flood notices */
#define RATE_BURST_TIMES 4    /* a bucket holds so many seconds' worth */

struct rate {
    pthread_mutex_t mu;
    double per_ms;
    double burst;
    struct {
        double level;
        uint64_t at_ms;
        uint64_t who;
    } slots[RATE_SLOTS];
};
void rate_init(struct rate *r, unsigned per_second);
void rate_release(struct rate *r);
bool rate_take(struct rate *r, const char *who, uint64_t now_ms);
bool rate_peek(struct rate *r, const char *who, uint64_t now_ms); /* whether there is one to take */

#endif
