/* P10 and P12 of the market: claims a second by many nodes at once, and what a claim costs as the queue grows.
 *
 * market_claims URL [NODES [JOBS [CONNECTIONS]]]: URL as the server takes it ("sqlite:/path", "postgresql://…"), an
 * empty database. Every node is a thread; it claims one execution at a time and finishes it, until the queue is empty.
 * Nodes have a connection each, or share CONNECTIONS of them: a server has 2 on SQLite, and its nodes queue for them,
 * which counts. Then, on one connection: one claim with 1, 10, … 10,000 jobs waiting. */
#include "base/attr.h"
#include "base/clock.h"
#include "base/rng.h"
#include "market/market.h"
#include "spec/spec.h"

#include <pthread.h>
#include <stdatomic.h>

#define NODES_DEFAULT 64
#define JOBS_DEFAULT  10000
#define NODES_LIMIT   512
#define QUEUE_MAX     10000
#define SAMPLES       200
#define ADDRESS       "bench"

static const char job_text[] =
    "{\"Name\":\"bench\",\"Type\":\"batch\",\"Tasks\":[{\"Name\":\"main\",\"Engine\":{\"Type\":"
    "\"docker\",\"Params\":{\"Image\":\"busybox\",\"Parameters\":[\"true\"]}}}]}";

/* Connections, lent in the order in which they are asked for. */
struct pool {
    pthread_mutex_t mu;
    struct market *idle[NODES_LIMIT];
    unsigned n;
    struct worker *first, **last; /* who waits */
};

struct bench {
    const char *url;
    struct pool pool;
    struct seal_keys *keys;
    struct market *m;
    struct market_caller operator_, poster;
    struct job *job;
    _Atomic bool ready, failed;
    _Atomic unsigned waiting;
};

struct worker {
    struct bench *b;
    struct market_caller c;
    pthread_t thread;
    struct market *m; /* lent; given, as the next two, under the lock of the pool */
    pthread_cond_t given;
    struct worker *next;
    uint64_t *took_us; /* of each claim that got something */
    size_t n, max;
};

static int fail(const char *what, const struct err *err)
{
    fprintf(stderr, "market_claims: %s: %s\n", what, err->text);
    return -1;
}

static int open_market(const struct bench *b, struct market **out, struct err *err)
{
    const struct market_opts o = {.db_url = b->url, .keys = b->keys, .busy_timeout_ms = 60000};
    return market_open(out, &o, err);
}

static int new_caller(struct bench *b, enum market_role role, struct market_caller *out, struct err *err)
{
    const struct market_token_opts o = {.role = role, .market = ADDRESS};
    AUTO_JSON token = NULL;
    if (market_token_new(b->m, &b->operator_, &o, &token, err) < 0)
        return -1;
    return market_token_auth(b->m, span_of(json_get_str(token, "token")), out, err);
}

static int new_node(struct bench *b, unsigned i, struct market_caller *out, struct err *err)
{
    char name[32];
    struct market_caller join;
    AUTO_JSON info = json_object();
    AUTO_JSON answer = NULL;
    snprintf(name, sizeof(name), "node-%u", i);
    const struct market_hello h = {.node = name, .slots = MARKET_SLOTS_MAX, .info = info};
    const struct market_heartbeat beat = {.ready = true};
    if (new_caller(b, MARKET_JOIN, &join, err) < 0 || market_node_hello(b->m, &join, &h, &answer, err) < 0 ||
        market_token_auth(b->m, span_of(json_get_str(answer, "token")), out, err) < 0)
        return -1;
    return market_node_heartbeat(b->m, out, &beat, NULL, err);
}

static int post_jobs(struct bench *b, unsigned n, struct err *err)
{
    struct market_post p = MARKET_POST_OWN;
    p.market = ADDRESS;
    p.job = b->job;
    for (unsigned i = 0; i < n; i++)
        if (market_job_post(b->m, &b->poster, &p, NULL, NULL, err) < 0)
            return -1;
    return 0;
}

/* One claim and its finish: 1 got one, 0 none. */
static int claim_one(struct market *m, const struct market_caller *c, uint64_t *took_us, struct err *err)
{
    AUTO_JSON answer = NULL;
    int64_t index, epoch;
    uint64_t begun_us = clock_mono_us();
    if (market_node_claim(m, c, 1, NULL, &answer, err) < 0)
        return -1;
    *took_us = clock_mono_us() - begun_us;
    const json_t *claim = json_array_get(json_object_get(answer, "claims"), 0);
    if (!claim || !json_get_i64(claim, "index", &index) || !json_get_i64(claim, "epoch", &epoch))
        return 0;
    const struct market_ref ref = {json_get_str(claim, "job"), (uint32_t)index, epoch};
    const struct market_finish f = {.outcome = "succeeded", .has_exit_code = true};
    return market_node_finish(m, c, &ref, &f, err) < 0 ? -1 : 1;
}

static struct market *borrow(struct worker *w)
{
    struct pool *p = &w->b->pool;
    pthread_mutex_lock(&p->mu);
    w->m = p->n > 0 ? p->idle[--p->n] : NULL;
    if (!w->m) {
        w->next = NULL;
        *p->last = w;
        p->last = &w->next;
    }
    while (!w->m)
        pthread_cond_wait(&w->given, &p->mu);
    pthread_mutex_unlock(&p->mu);
    return w->m;
}

static void give_back(struct worker *w)
{
    struct pool *p = &w->b->pool;
    pthread_mutex_lock(&p->mu);
    struct worker *first = p->first;
    if (first) {
        p->first = first->next;
        p->last = p->first ? p->last : &p->first;
        first->m = w->m;
        pthread_cond_signal(&first->given);
    } else {
        p->idle[p->n++] = w->m;
    }
    pthread_mutex_unlock(&p->mu);
}

/* As claim_one(), with the wait for a connection. */
static int claim_by(struct worker *w, uint64_t *took_us, struct err *err)
{
    uint64_t begun_us = clock_mono_us();
    struct market *m = borrow(w);
    uint64_t waited_us = clock_mono_us() - begun_us;
    int rc = claim_one(m, &w->c, took_us, err);
    *took_us += waited_us;
    give_back(w);
    return rc;
}

static void *work(void *ctx)
{
    struct worker *w = ctx;
    struct err err = ERR_INIT;
    atomic_fetch_add(&w->b->waiting, 1);
    while (!atomic_load(&w->b->ready))
        usleep(100);
    for (int empty = 0; empty < 3 && w->n < w->max;) {
        int rc = claim_by(w, &w->took_us[w->n], &err);
        if (rc < 0) {
            fail("claim", &err);
            atomic_store(&w->b->failed, true);
            break;
        }
        empty = rc ? 0 : empty + 1;
        w->n += (size_t)rc;
    }
    return NULL;
}

static int compare(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int report(struct worker *workers, unsigned nodes, uint64_t took_us)
{
    size_t n = 0, at = 0;
    for (unsigned i = 0; i < nodes; i++)
        n += workers[i].n;
    uint64_t *all = calloc(n + 1, sizeof(*all));
    if (!all)
        return -1;
    for (unsigned i = 0; i < nodes; i++)
        for (size_t k = 0; k < workers[i].n; k++)
            all[at++] = workers[i].took_us[k];
    qsort(all, n, sizeof(*all), compare);
    printf("| nodes | claims | seconds | claims and finishes a second | claim median ms | claim p99 ms "
           "|\n|---|---|---|---|---|---|\n");
    printf("| %u | %zu | %.2f | %.0f | %.2f | %.2f |\n\n", nodes, n, (double)took_us / 1e6,
           (double)n * 1e6 / (double)took_us, (double)all[n / 2] / 1e3, (double)all[n * 99 / 100] / 1e3);
    free(all);
    return 0;
}

static int open_pool(struct bench *b, unsigned connections, struct err *err)
{
    struct pool *p = &b->pool;
    pthread_mutex_init(&p->mu, NULL);
    p->last = &p->first;
    for (; p->n < connections; p->n++)
        if (open_market(b, &p->idle[p->n], err) < 0)
            return -1;
    return 0;
}

static int run_nodes(struct bench *b, unsigned nodes, unsigned jobs, struct err *err)
{
    struct worker *workers = calloc(nodes, sizeof(*workers));
    if (!workers || post_jobs(b, jobs, err) < 0)
        return -1;
    for (unsigned i = 0; i < nodes; i++) {
        workers[i] = (struct worker){.b = b, .max = jobs, .took_us = calloc(jobs + 1, sizeof(uint64_t))};
        pthread_cond_init(&workers[i].given, NULL);
        if (!workers[i].took_us || new_node(b, i, &workers[i].c, err) < 0)
            return -1;
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    while (atomic_load(&b->waiting) < nodes)
        usleep(1000);
    uint64_t begun_us = clock_mono_us();
    atomic_store(&b->ready, true);
    for (unsigned i = 0; i < nodes; i++)
        pthread_join(workers[i].thread, NULL);
    int rc = report(workers, nodes, clock_mono_us() - begun_us);
    for (unsigned i = 0; i < nodes; i++)
        free(workers[i].took_us);
    free(workers);
    while (b->pool.n > 0)
        market_free(b->pool.idle[--b->pool.n]);
    return rc;
}

/* The median of a claim, and of a post, with that many jobs waiting; what is claimed is posted again. */
static int cost_at(struct bench *b, const struct market_caller *node, unsigned queued, struct err *err)
{
    uint64_t claims[SAMPLES], posts[SAMPLES];
    for (int i = 0; i < SAMPLES; i++) {
        if (claim_one(b->m, node, &claims[i], err) < 0)
            return -1;
        uint64_t begun_us = clock_mono_us();
        if (post_jobs(b, 1, err) < 0)
            return -1;
        posts[i] = clock_mono_us() - begun_us;
    }
    qsort(claims, SAMPLES, sizeof(*claims), compare);
    qsort(posts, SAMPLES, sizeof(*posts), compare);
    printf("| %u | %.2f | %.2f | %.2f |\n", queued, (double)claims[SAMPLES / 2] / 1e3,
           (double)claims[SAMPLES * 99 / 100] / 1e3, (double)posts[SAMPLES / 2] / 1e3);
    return 0;
}

static int grow(struct bench *b, struct err *err)
{
    struct market_caller node;
    unsigned queued = 0;
    if (new_node(b, NODES_LIMIT, &node, err) < 0)
        return -1;
    printf("| jobs waiting | claim median ms | claim p99 ms | post median ms |\n|---|---|---|---|\n");
    for (unsigned want = 1; want <= QUEUE_MAX; want *= 10) {
        if (post_jobs(b, want - queued, err) < 0 || cost_at(b, &node, want, err) < 0)
            return -1;
        queued = want;
    }
    return 0;
}

static int set_up(struct bench *b, struct err *err)
{
    char token[SEAL_TOKEN_MAX], keys[] = "/tmp/berth-bench-keys-XXXXXX", path[64];
    struct market_settings s = MARKET_SETTINGS_KEEP;
    const struct spec_opts spec = {.file = "bench"};
    s.max_per_poster = s.max_queued = 2 * QUEUE_MAX; /* one poster posts all */
    if (!mkdtemp(keys))
        return err_sys(err, "mkdtemp");
    snprintf(path, sizeof(path), "%s/keys", keys);
    int rc = seal_keys_open(&b->keys, path, true, err);
    unlink(path);
    rmdir(keys);
    if (rc < 0 || open_market(b, &b->m, err) < 0)
        return -1;
    rc = market_token_first(b->m, token, err);
    if (rc != 1)
        return rc < 0 ? -1 : err_set(err, ERR_REFUSED, "the database is not empty");
    if (market_token_auth(b->m, span_of(token), &b->operator_, err) < 0 ||
        market_put(b->m, &b->operator_, ADDRESS, &s, NULL, NULL, err) < 0 ||
        new_caller(b, MARKET_POSTER, &b->poster, err) < 0)
        return -1;
    return spec_parse(span_of(job_text), &spec, &b->job, err);
}

static unsigned number(const char *s, unsigned fallback, unsigned max)
{
    unsigned long v = s ? strtoul(s, NULL, 10) : fallback;
    return v >= 1 && v <= max ? (unsigned)v : fallback;
}

int main(int argc, char **argv)
{
    struct err err = ERR_INIT;
    if (argc < 2) {
        fprintf(stderr, "usage: market_claims DATABASE-URL [NODES [JOBS [CONNECTIONS]]]\n");
        return 2;
    }
    struct bench b = {.url = argv[1]};
    unsigned nodes = number(argc > 2 ? argv[2] : NULL, NODES_DEFAULT, NODES_LIMIT);
    unsigned jobs = number(argc > 3 ? argv[3] : NULL, JOBS_DEFAULT, 1000000);
    unsigned connections = number(argc > 4 ? argv[4] : NULL, nodes, NODES_LIMIT);
    if (set_up(&b, &err) < 0 || open_pool(&b, connections, &err) < 0 || run_nodes(&b, nodes, jobs, &err) < 0 ||
        grow(&b, &err) < 0)
        fail(argv[1], &err);
    market_free(b.m);
    job_free(b.job);
    seal_keys_free(b.keys);
    return err_is_set(&err) || atomic_load(&b.failed);
}
