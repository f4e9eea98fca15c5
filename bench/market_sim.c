/* A fleet on paper: what the market's placement does with 10,000 nodes and 1,000,000 jobs.
 *
 * market_sim [NODES [JOBS [SEED]]]. Time is simulated; decisions are those of market/decide.h. Jobs come at random
 * times, at four priorities, each for one of 2,000 models (few of them popular, most not); a tenth needs a large GPU.
 * A node runs one job at a time, keeps the models it used last in a cache of 6, and fetches what is missing from the
 * origin at the assumed rate. Printed with the locality window and without: how long jobs wait, what the origin has to
 * send, how often a model was there already. */
#include "base/attr.h"
#include "base/rng.h"
#include "market/decide.h"

#include <math.h>

#define NODES_DEFAULT 10000
#define JOBS_DEFAULT  1000000
#define MODELS        2000
#define CACHE_MODELS  6
#define LEVELS        4 /* of priority: 0, 1, 2, 3 */
#define RUN_MS        300000.0
#define LOAD          0.72 /* of what the fleet could run if every model were there */
#define WINDOW_MS     10000
#define SCAN_MAX      1024
#define NONE          UINT32_MAX

enum { EVENT_ARRIVAL, EVENT_WINDOW, EVENT_FREE };

struct event {
    int64_t at_ms;
    uint32_t kind, of; /* a job, or a node */
};

struct sim_job {
    int64_t queued_ms;
    uint32_t model, run_ms, next, before; /* neighbours in the queue of its level */
    uint8_t level;
    bool large, waiting;
};

struct holder { /* a place in a node's cache; linked while the node is idle */
    uint32_t model, next, before;
    int64_t used_ms;
};

struct sim_node {
    struct machine machine;
    struct holder cache[CACHE_MODELS];
    uint32_t next, before; /* among the idle */
    bool idle;
};

struct sim {
    struct sim_node *nodes;
    struct sim_job *jobs;
    struct event *heap;
    uint32_t *waits_ms;
    uint32_t node_count, job_count, heap_n, started, idle;
    uint32_t first[LEVELS], last[LEVELS];
    uint32_t idle_holders[MODELS], holders[MODELS];
    uint64_t bytes[MODELS], origin_bytes, wanted_bytes, hits;
    double zipf[MODELS];
    struct rng rng;
    int64_t window_ms, now_ms;
};

static double uniform(struct sim *s)
{
    return ((double)(rng_next(&s->rng) >> 11) + 0.5) / (double)(UINT64_C(1) << 53);
}

/* ---- Events, in a binary heap */

static void event_add(struct sim *s, int64_t at_ms, uint32_t kind, uint32_t of)
{
    uint32_t i = s->heap_n++;
    for (; i > 0 && s->heap[(i - 1) / 2].at_ms > at_ms; i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = (struct event){at_ms, kind, of};
}

static struct event event_next(struct sim *s)
{
    const struct event top = s->heap[0], last = s->heap[--s->heap_n];
    uint32_t i = 0;
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= s->heap_n)
            break;
        if (child + 1 < s->heap_n && s->heap[child + 1].at_ms < s->heap[child].at_ms)
            child++;
        if (last.at_ms <= s->heap[child].at_ms)
            break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = last;
    return top;
}

/* ---- The queue: a list a level, each in the order of age */

static void enqueue(struct sim *s, uint32_t job)
{
    struct sim_job *j = &s->jobs[job];
    j->waiting = true;
    j->next = NONE;
    j->before = s->last[j->level];
    if (j->before == NONE)
        s->first[j->level] = job;
    else
        s->jobs[j->before].next = job;
    s->last[j->level] = job;
}

static void dequeue(struct sim *s, uint32_t job)
{
    struct sim_job *j = &s->jobs[job];
    j->waiting = false;
    if (j->before == NONE)
        s->first[j->level] = j->next;
    else
        s->jobs[j->before].next = j->next;
    if (j->next == NONE)
        s->last[j->level] = j->before;
    else
        s->jobs[j->next].before = j->before;
}

/* ---- Idle nodes: all of them, and by the models they hold */

static struct holder *place_of(struct sim *s, uint32_t place)
{
    return &s->nodes[place / CACHE_MODELS].cache[place % CACHE_MODELS];
}

static void link_holders(struct sim *s, uint32_t node)
{
    for (uint32_t i = 0; i < CACHE_MODELS; i++) {
        struct holder *h = &s->nodes[node].cache[i];
        if (h->model == NONE)
            continue;
        h->before = NONE;
        h->next = s->idle_holders[h->model];
        if (h->next != NONE)
            place_of(s, h->next)->before = node * CACHE_MODELS + i;
        s->idle_holders[h->model] = node * CACHE_MODELS + i;
    }
}

static void unlink_holders(struct sim *s, uint32_t node)
{
    for (uint32_t i = 0; i < CACHE_MODELS; i++) {
        const struct holder *h = &s->nodes[node].cache[i];
        if (h->model == NONE)
            continue;
        if (h->before == NONE)
            s->idle_holders[h->model] = h->next;
        else
            place_of(s, h->before)->next = h->next;
        if (h->next != NONE)
            place_of(s, h->next)->before = h->before;
    }
}

static void make_idle(struct sim *s, uint32_t node)
{
    struct sim_node *n = &s->nodes[node];
    n->idle = true;
    n->before = NONE;
    n->next = s->idle;
    if (n->next != NONE)
        s->nodes[n->next].before = node;
    s->idle = node;
    link_holders(s, node);
}

static void make_busy(struct sim *s, uint32_t node)
{
    struct sim_node *n = &s->nodes[node];
    if (!n->idle)
        return;
    n->idle = false;
    if (n->before == NONE)
        s->idle = n->next;
    else
        s->nodes[n->before].next = n->next;
    if (n->next != NONE)
        s->nodes[n->next].before = n->before;
    unlink_holders(s, node);
}

/* ---- Placement */

static struct holder *cached(struct sim *s, uint32_t node, uint32_t model)
{
    for (uint32_t i = 0; i < CACHE_MODELS; i++)
        if (s->nodes[node].cache[i].model == model)
            return &s->nodes[node].cache[i];
    return NULL;
}

static enum placement place(struct sim *s, uint32_t node, uint32_t job)
{
    static const struct needs needs[2] = {{.gpus = 1}, {.gpus = 1, .vram_mib = 80000}};
    const struct sim_job *j = &s->jobs[job];
    bool there = cached(s, node, j->model);
    const struct offer o = {.queued_ms = j->queued_ms,
                            .max_window_ms = s->window_ms,
                            .missing_bytes = there || s->holders[j->model] == 0 ? 0 : s->bytes[j->model],
                            .fits = decide_fits(&needs[j->large], &s->nodes[node].machine)};
    return decide_place(&o, s->now_ms);
}

/* Into the cache, in the place of what was used longest ago; what it takes to get it there. */
static int64_t fetch(struct sim *s, uint32_t node, uint32_t model)
{
    struct holder *h = cached(s, node, model);
    s->wanted_bytes += s->bytes[model];
    if (h) {
        h->used_ms = s->now_ms;
        s->hits++;
        return 0;
    }
    h = &s->nodes[node].cache[0];
    for (uint32_t i = 1; i < CACHE_MODELS; i++)
        if (s->nodes[node].cache[i].used_ms < h->used_ms)
            h = &s->nodes[node].cache[i];
    if (h->model != NONE)
        s->holders[h->model]--;
    h->model = model;
    h->used_ms = s->now_ms;
    s->holders[model]++;
    s->origin_bytes += s->bytes[model];
    return (int64_t)(s->bytes[model] / (ASSUMED_BYTES_PER_S / 1000));
}

static void start(struct sim *s, uint32_t node, uint32_t job)
{
    struct sim_job *j = &s->jobs[job];
    make_busy(s, node);
    dequeue(s, job);
    s->waits_ms[s->started++] = (uint32_t)(s->now_ms - j->queued_ms);
    event_add(s, s->now_ms + fetch(s, node, j->model) + j->run_ms, EVENT_FREE, node);
}

/* A node has room: the first job, by rank, that it may take now. */
static void node_claims(struct sim *s, uint32_t node)
{
    uint32_t at[LEVELS];
    memcpy(at, s->first, sizeof(at));
    for (int seen = 0; seen < SCAN_MAX; seen++) {
        int best = -1;
        for (int l = 0; l < LEVELS; l++)
            if (at[l] != NONE &&
                (best < 0 || decide_rank(s->jobs[at[l]].queued_ms, l) < decide_rank(s->jobs[at[best]].queued_ms, best)))
                best = l;
        if (best < 0)
            break;
        if (place(s, node, at[best]) == PLACE_TAKE) {
            start(s, node, at[best]);
            return;
        }
        at[best] = s->jobs[at[best]].next;
    }
    make_idle(s, node);
}

/* A job is there, or its window is over: idle nodes that hold its model ask as well as all others. */
static bool offer_to_idle(struct sim *s, uint32_t job)
{
    uint32_t i = s->window_ms ? s->idle_holders[s->jobs[job].model] : NONE;
    for (int n = 0; i != NONE && n < SCAN_MAX; n++, i = place_of(s, i)->next) {
        if (place(s, i / CACHE_MODELS, job) == PLACE_TAKE) {
            start(s, i / CACHE_MODELS, job);
            return true;
        }
    }
    i = s->idle;
    for (int n = 0; i != NONE && n < SCAN_MAX; n++, i = s->nodes[i].next) {
        if (place(s, i, job) == PLACE_TAKE) {
            start(s, i, job);
            return true;
        }
    }
    return false;
}

/* ---- The run */

static uint32_t pick_model(struct sim *s)
{
    const double u = uniform(s) * s->zipf[MODELS - 1];
    uint32_t low = 0, high = MODELS - 1;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (s->zipf[middle] < u)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void arrive(struct sim *s, uint32_t job, double gap_ms)
{
    struct sim_job *j = &s->jobs[job];
    *j = (struct sim_job){.queued_ms = s->now_ms,
                          .model = pick_model(s),
                          .run_ms = (uint32_t)(-log(uniform(s)) * RUN_MS) + 1,
                          .level = (uint8_t)(rng_below(&s->rng, 10) ? 0 : 1 + rng_below(&s->rng, LEVELS - 1)),
                          .large = rng_below(&s->rng, 10) == 0};
    enqueue(s, job);
    if (!offer_to_idle(s, job) && s->window_ms)
        event_add(s, s->now_ms + decide_window_ms(s->window_ms, s->bytes[j->model]), EVENT_WINDOW, job);
    if (job + 1 < s->job_count)
        event_add(s, s->now_ms + (int64_t)(-log(uniform(s)) * gap_ms + 0.5), EVENT_ARRIVAL, job + 1);
}

static void run(struct sim *s)
{
    const double gap_ms = RUN_MS / (LOAD * s->node_count);
    for (uint32_t n = 0; n < s->node_count; n++)
        make_idle(s, n);
    event_add(s, 0, EVENT_ARRIVAL, 0);
    while (s->heap_n) {
        const struct event e = event_next(s);
        s->now_ms = e.at_ms;
        if (e.kind == EVENT_ARRIVAL)
            arrive(s, e.of, gap_ms);
        else if (e.kind == EVENT_FREE)
            node_claims(s, e.of);
        else if (s->jobs[e.of].waiting)
            offer_to_idle(s, e.of);
    }
}

static int set_up(struct sim *s, uint32_t nodes, uint32_t jobs, uint64_t seed, int64_t window_ms)
{
    *s = (struct sim){.node_count = nodes, .job_count = jobs, .idle = NONE, .rng = {seed}, .window_ms = window_ms};
    s->nodes = calloc(nodes, sizeof(*s->nodes));
    s->jobs = calloc(jobs, sizeof(*s->jobs));
    s->waits_ms = calloc(jobs, sizeof(*s->waits_ms));
    s->heap = calloc((size_t)nodes + jobs + 2, sizeof(*s->heap)); /* one a node, one a waiting job, the next arrival */
    if (!s->nodes || !s->jobs || !s->waits_ms || !s->heap)
        return -1;
    memset(s->first, 0xff, sizeof(s->first));
    memset(s->last, 0xff, sizeof(s->last));
    memset(s->idle_holders, 0xff, sizeof(s->idle_holders));
    for (uint32_t m = 0; m < MODELS; m++) {
        s->zipf[m] = (m ? s->zipf[m - 1] : 0) + 1.0 / (m + 1);
        s->bytes[m] = (uint64_t)(1e9 * (2 + 38 * uniform(s) * uniform(s)));
    }
    for (uint32_t n = 0; n < nodes; n++) {
        const uint32_t mib = n % 5 == 0 ? 81920 : 24576;
        s->nodes[n].machine = (struct machine){.cpus = 16, .gpus = 1, .gpu_mib = {mib}};
        for (int i = 0; i < CACHE_MODELS; i++)
            s->nodes[n].cache[i].model = NONE;
    }
    return 0;
}

static int compare(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static int simulate(const char *name, uint32_t nodes, uint32_t jobs, uint64_t seed, int64_t window_ms)
{
    struct sim *s = malloc(sizeof(*s));
    int rc = s && set_up(s, nodes, jobs, seed, window_ms) == 0 ? 0 : -1;
    if (rc == 0) {
        run(s);
        qsort(s->waits_ms, s->started, sizeof(*s->waits_ms), compare);
        printf("| %s | %u | %.1f | %.1f | %.1f | %.1f | %.1f %% | %.1f %% |\n", name, s->started,
               s->waits_ms[s->started / 2] / 1e3, s->waits_ms[(uint64_t)s->started * 99 / 100] / 1e3,
               s->waits_ms[s->started - 1] / 1e3, (double)s->origin_bytes / 1e15, 100.0 * (double)s->hits / s->started,
               100.0 - 100.0 * (double)s->origin_bytes / (double)s->wanted_bytes);
        rc = s->started == jobs ? 0 : -1;
    }
    if (s) {
        free(s->nodes);
        free(s->jobs);
        free(s->waits_ms);
        free(s->heap);
    }
    free(s);
    return rc;
}

static uint32_t number(int argc, char **argv, int i, uint32_t fallback)
{
    unsigned long v = i < argc ? strtoul(argv[i], NULL, 10) : fallback;
    return v >= 1 && v <= 100000000 ? (uint32_t)v : fallback;
}

int main(int argc, char **argv)
{
    const uint32_t nodes = number(argc, argv, 1, NODES_DEFAULT), jobs = number(argc, argv, 2, JOBS_DEFAULT),
                   seed = number(argc, argv, 3, 1);
    printf("%u nodes, %u jobs, %d models\n\n", nodes, jobs, MODELS);
    printf("| locality | jobs run | wait median s | wait p99 s | wait longest s | from the origin PB | models found | "
           "bytes found |\n"
           "|---|---|---|---|---|---|---|---|\n");
    int without = simulate("without", nodes, jobs, seed, 0);
    int with = simulate("10 s window", nodes, jobs, seed, WINDOW_MS);
    if (without < 0 || with < 0)
        fprintf(stderr, "market_sim: a job was lost, or memory ran out\n");
    return without < 0 || with < 0;
}
