#include "server/metrics.h"

#include <inttypes.h>

static const uint64_t bounds_us[METRICS_BUCKETS] = {500,   1000,   2500,   5000,    10000,
                                                    50000, 100000, 500000, 1000000, 30000000};

void metrics_init(struct metrics *m)
{
    pthread_mutex_init(&m->mu, NULL);
}

void metrics_release(struct metrics *m)
{
    pthread_mutex_destroy(&m->mu);
}

void metrics_request(struct metrics *m, const char *method, const char *pattern, int status, uint64_t us)
{
    pthread_mutex_lock(&m->mu);
    size_t i = 0;
    while (i < m->n && (m->routes[i].pattern != pattern || !str_eq(m->routes[i].method, method)))
        i++;
    if (i == m->n && m->n < METRICS_ROUTES_MAX) {
        m->routes[i].method = method;
        m->routes[i].pattern = pattern;
        m->n++;
    }
    if (i < m->n) {
        size_t b = 0;
        while (b < METRICS_BUCKETS && us > bounds_us[b])
            b++;
        m->routes[i].buckets[b]++;
        m->routes[i].us_sum += us;
        m->routes[i].n++;
        m->routes[i].statuses[status / 100 < METRICS_CLASSES ? status / 100 : 5]++;
    }
    pthread_mutex_unlock(&m->mu);
}

void metrics_claims(struct metrics *m, uint64_t n)
{
    pthread_mutex_lock(&m->mu);
    m->claims += n;
    pthread_mutex_unlock(&m->mu);
}

void metrics_limited(struct metrics *m)
{
    pthread_mutex_lock(&m->mu);
    m->rate_limited++;
    pthread_mutex_unlock(&m->mu);
}

static void write_requests(const struct metrics *m, struct buf *out)
{
    buf_adds(out, "# HELP berth_requests_total Requests answered.\n# TYPE berth_requests_total counter\n");
    for (size_t i = 0; i < m->n; i++)
        for (int c = 1; c < METRICS_CLASSES; c++)
            if (m->routes[i].statuses[c])
                buf_addf(out, "berth_requests_total{method=\"%s\",route=\"%s\",status=\"%dxx\"} %" PRIu64 "\n",
                         m->routes[i].method, m->routes[i].pattern, c, m->routes[i].statuses[c]);
    buf_adds(out, "# HELP berth_request_seconds Time to the end of the answer; long polls and streams included.\n"
                  "# TYPE berth_request_seconds histogram\n");
    for (size_t i = 0; i < m->n; i++) {
        const char *method = m->routes[i].method, *route = m->routes[i].pattern;
        uint64_t sum = 0;
        for (size_t b = 0; b < METRICS_BUCKETS; b++)
            buf_addf(out, "berth_request_seconds_bucket{method=\"%s\",route=\"%s\",le=\"%g\"} %" PRIu64 "\n", method,
                     route, (double)bounds_us[b] / 1e6, sum += m->routes[i].buckets[b]);
        buf_addf(out, "berth_request_seconds_bucket{method=\"%s\",route=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", method,
                 route, m->routes[i].n);
        buf_addf(out, "berth_request_seconds_sum{method=\"%s\",route=\"%s\"} %.6f\n", method, route,
                 (double)m->routes[i].us_sum / 1e6);
        buf_addf(out, "berth_request_seconds_count{method=\"%s\",route=\"%s\"} %" PRIu64 "\n", method, route,
                 m->routes[i].n);
    }
}

/* {MARKET: {WORD: n}} or {MARKET: n}. */
static void write_by_market(const json_t *object, const char *name, const char *word_label, const char *help,
                            struct buf *out)
{
    const char *market, *word;
    json_t *value, *n;
    buf_addf(out, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name);
    json_object_foreach((json_t *)(uintptr_t)object, market, value)
    {
        if (json_is_integer(value))
            buf_addf(out, "%s{market=\"%s\"} %" JSON_INTEGER_FORMAT "\n", name, market, json_integer_value(value));
        json_object_foreach(value, word, n) buf_addf(out, "%s{market=\"%s\",%s=\"%s\"} %" JSON_INTEGER_FORMAT "\n",
                                                     name, market, word_label, word, json_integer_value(n));
    }
}

void metrics_write(struct metrics *m, const json_t *numbers, struct buf *out)
{
    pthread_mutex_lock(&m->mu);
    write_requests(m, out);
    buf_addf(out,
             "# HELP berth_claims_total Executions given to nodes by this server.\n# TYPE berth_claims_total counter\n"
             "berth_claims_total %" PRIu64 "\n"
             "# HELP berth_rate_limited_total Requests refused by the rate limit.\n"
             "# TYPE berth_rate_limited_total counter\nberth_rate_limited_total %" PRIu64 "\n",
             m->claims, m->rate_limited);
    pthread_mutex_unlock(&m->mu);
    if (!numbers)
        return;
    write_by_market(json_object_get(numbers, "jobs"), "berth_jobs", "state", "Jobs by state.", out);
    write_by_market(json_object_get(numbers, "nodes"), "berth_nodes", "state", "Nodes by state.", out);
    write_by_market(json_object_get(numbers, "oldest_queued_ms"), "berth_oldest_queued_ms", "state",
                    "Age of the oldest queued job.", out);
}
