#include "server/metrics.h"

#include <inttypes.h>

static const uint64_t bounds_us[METRICS_BUCKETS] = {500,   1000,   2500,   5000,    10000,
                                                    50000, 100000, 500000, 1000000, 30000000};
static const int known_statuses[METRICS_STATUSES] = {200, 201, 304, 400, 401, 403, 404, 405,
                                                     409, 413, 422, 429, 431, 500, 503, 0};

void metrics_init(struct metrics *m)
{
    pthread_mutex_init(&m->mu, NULL);
}

void metrics_release(struct metrics *m)
{
    pthread_mutex_destroy(&m->mu);
}

/* A request's own text does not outlive it, and whatever a client makes up must not become a label. */
static const char *method_word(const char *method)
{
    static const char *const words[] = {"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_eq(method, words[i]))
            return words[i];
    return "other";
}

static size_t status_slot(int status)
{
    size_t i = 0;
    while (i < METRICS_STATUSES - 1 && known_statuses[i] && known_statuses[i] != status)
        i++;
    return i;
}

void metrics_request(struct metrics *m, const char *method, const char *pattern, int status, uint64_t us)
{
    const char *word = method_word(method);
    pthread_mutex_lock(&m->mu);
    size_t i = 0;
    while (i < m->n && (m->routes[i].method != word || !str_eq(m->routes[i].pattern, pattern)))
        i++;
    if (i == m->n && m->n < METRICS_ROUTES_MAX) {
        m->routes[i].method = word;
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
        m->routes[i].statuses[status_slot(status)]++;
    }
    pthread_mutex_unlock(&m->mu);
}

static void add(struct metrics *m, uint64_t *counter, uint64_t n)
{
    pthread_mutex_lock(&m->mu);
    *counter += n;
    pthread_mutex_unlock(&m->mu);
}

void metrics_claims(struct metrics *m, uint64_t n)
{
    add(m, &m->claims, n);
}

void metrics_lost(struct metrics *m, uint64_t n)
{
    add(m, &m->lost, n);
}

void metrics_limited(struct metrics *m)
{
    add(m, &m->rate_limited, 1);
}

/* --- text --------------------------------------------------------------------------------------------------------- */

static void write_head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void write_counter(struct buf *out, const char *name, const char *help, uint64_t n)
{
    write_head(out, name, "counter", help);
    buf_addf(out, "%s %" PRIu64 "\n", name, n);
}

static void write_statuses(const struct metrics *m, size_t i, struct buf *out)
{
    for (size_t s = 0; s < METRICS_STATUSES; s++) {
        if (m->routes[i].statuses[s] == 0)
            continue;
        buf_addf(out, "berth_requests_total{method=\"%s\",route=\"%s\",status=\"", m->routes[i].method,
                 m->routes[i].pattern);
        if (known_statuses[s])
            buf_addf(out, "%d", known_statuses[s]);
        else
            buf_adds(out, "other");
        buf_addf(out, "\"} %" PRIu64 "\n", m->routes[i].statuses[s]);
    }
}

static void write_times(const struct metrics *m, size_t i, struct buf *out)
{
    const char *method = m->routes[i].method, *route = m->routes[i].pattern;
    uint64_t sum = 0;
    for (size_t b = 0; b < METRICS_BUCKETS; b++)
        buf_addf(out, "berth_request_seconds_bucket{method=\"%s\",route=\"%s\",le=\"%g\"} %" PRIu64 "\n", method, route,
                 (double)bounds_us[b] / 1e6, sum += m->routes[i].buckets[b]);
    buf_addf(out, "berth_request_seconds_bucket{method=\"%s\",route=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", method, route,
             m->routes[i].n);
    buf_addf(out, "berth_request_seconds_sum{method=\"%s\",route=\"%s\"} %.6f\n", method, route,
             (double)m->routes[i].us_sum / 1e6);
    buf_addf(out, "berth_request_seconds_count{method=\"%s\",route=\"%s\"} %" PRIu64 "\n", method, route,
             m->routes[i].n);
}

/* {MARKET: {WORD: n}}. Addresses and words need no escapes. */
static void write_by_market(const json_t *object, const char *name, const char *label, struct buf *out)
{
    const char *market, *word;
    json_t *words, *n;
    json_object_foreach((json_t *)object, market, words)
    {
        json_object_foreach(words, word, n)
        {
            buf_addf(out, "%s{market=\"%s\",%s=\"%s\"} %" JSON_INTEGER_FORMAT "\n", name, market, label, word,
                     json_integer_value(n));
        }
    }
}

static void write_ages(const json_t *object, struct buf *out)
{
    const char *market;
    json_t *ms;
    write_head(out, "berth_oldest_queued_seconds", "gauge", "Age of the oldest job that waits.");
    json_object_foreach((json_t *)object, market, ms)
    {
        buf_addf(out, "berth_oldest_queued_seconds{market=\"%s\"} %.3f\n", market,
                 (double)json_integer_value(ms) / 1000);
    }
}

void metrics_write(struct metrics *m, const json_t *numbers, struct buf *out)
{
    pthread_mutex_lock(&m->mu);
    write_head(out, "berth_requests_total", "counter", "Requests answered.");
    for (size_t i = 0; i < m->n; i++)
        write_statuses(m, i, out);
    write_head(out, "berth_request_seconds", "histogram",
               "Time to the end of the answer; long polls and streams wait by their nature.");
    for (size_t i = 0; i < m->n; i++)
        write_times(m, i, out);
    write_counter(out, "berth_claims_total", "Executions given to nodes by this server.", m->claims);
    write_counter(out, "berth_claims_lost_total", "Claims that nodes were told they no longer hold.", m->lost);
    write_counter(out, "berth_rate_limited_total", "Requests refused by the rate limit.", m->rate_limited);
    pthread_mutex_unlock(&m->mu);
    if (!numbers)
        return;
    write_head(out, "berth_jobs", "gauge", "Jobs by state.");
    write_by_market(json_object_get(numbers, "jobs"), "berth_jobs", "state", out);
    write_head(out, "berth_nodes", "gauge", "Nodes by state.");
    write_by_market(json_object_get(numbers, "nodes"), "berth_nodes", "state", out);
    write_head(out, "berth_peer_bytes_total", "counter", "Bytes that nodes sent to each other, and got.");
    write_by_market(json_object_get(numbers, "peer_bytes"), "berth_peer_bytes_total", "direction", out);
    write_ages(json_object_get(numbers, "oldest_queued_ms"), out);
}
