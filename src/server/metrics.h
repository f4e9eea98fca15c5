/* metrics: requests, claims and losses counted, as Prometheus text (exposition format 0.0.4). Thread-safe. */
#ifndef BERTH_SERVER_METRICS_H
#define BERTH_SERVER_METRICS_H

#include "base/buf.h"
#include "base/json.h"

#include <pthread.h>
#include <stdint.h>

#define METRICS_ROUTES_MAX 192
#define METRICS_BUCKETS    10
#define METRICS_STATUSES   16 /* those that answers have; the last: all others */

struct metrics {
    pthread_mutex_t mu;
    /* All that follows is guarded by mu. */
    struct {
        const char *method, *pattern; /* literals */
        uint64_t statuses[METRICS_STATUSES];
        uint64_t buckets[METRICS_BUCKETS + 1]; /* by time; the last: above all */
        uint64_t us_sum, n;
    } routes[METRICS_ROUTES_MAX];
    size_t n;
    uint64_t claims, lost, rate_limited;
};
void metrics_init(struct metrics *m);
void metrics_release(struct metrics *m);
/* `pattern` lives as long as the counters; "" for what fits no route. */
void metrics_request(struct metrics *m, const char *method, const char *pattern, int status, uint64_t us);
void metrics_claims(struct metrics *m, uint64_t n);
void metrics_lost(struct metrics *m, uint64_t n); /* claims that nodes were told they no longer hold */
void metrics_limited(struct metrics *m);
/* `numbers` as market_numbers() gives them; NULL: leave the database's out. */
void metrics_write(struct metrics *m, const json_t *numbers, struct buf *out);

#endif
