/* rate: how many requests one caller may make: token buckets in a table of fixed size. Thread-safe. */
#ifndef BERTH_SERVER_RATE_H
#define BERTH_SERVER_RATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define RATE_SLOTS       4096 /* callers that fall into one slot share its bucket, which only a flood notices */
#define RATE_WHO_MAX     64
#define RATE_BURST_TIMES 4 /* a bucket holds so many seconds' worth */

struct rate {
    pthread_mutex_t mu;
    double per_ms; /* constant, as is: */
    double burst;
    struct {
        double level;
        uint64_t at_ms;
        uint64_t who;    /* hashed */
    } slots[RATE_SLOTS]; /* guarded by mu */
};
void rate_init(struct rate *r, unsigned per_second);
void rate_release(struct rate *r);
/* Whom a numeric address counts for: in IPv6 its whole network of 64 bits, since one machine has as many addresses as
 * it likes. */
void rate_who(const char *address, char out[RATE_WHO_MAX]);
/* One request of `who`, at a time of the monotonic clock; false: one too many. */
bool rate_take(struct rate *r, const char *who, uint64_t now_ms);

#endif
