/* Heartbeats: what runs and how far it is, there; which leases go on, back. */
#include "node/node_priv.h"
#include "node/progress.h"

#include "base/clock.h"
#include "base/log.h"
#include "market/market.h"

#include <inttypes.h>
#include <time.h>

#define BEAT_APART_MS      500 /* news waits for the next one this long at least */
#define HOLDS_EVERY        20  /* regular heartbeats between two looks at all that is held */
#define PROGRESS_LABEL_MAX 256 /* of one input */
/* Of all of them, so that a server keeps it, with the image and the results beside. */
#define PROGRESS_INPUTS_MAX (MARKET_PROGRESS_MAX - 512)

static const char *const state_words[] = {
#define X(name, word) word,
    EXEC_STATES(X)
#undef X
};

static json_t *input_progress(const struct stage *stage, size_t i, bool named, struct err *err)
{
    struct stage_progress p;
    char label[PROGRESS_LABEL_MAX];
    json_t *one = json_object();
    stage_progress(stage, i, &p);
    str_fit(label, sizeof label, named ? stage_label(stage, i) : "confidential");
    if (json_put_str(one, "input", label, err) == 0 &&
        json_put_str(one, "phase", stage_phase_name(p.phase), err) == 0 &&
        json_put_u64(one, "bytes_total", p.bytes_total, err) == 0 &&
        json_put_u64(one, "bytes_done", p.bytes_done, err) == 0 &&
        json_put_u64(one, "bytes_cached", p.bytes_cached, err) == 0 &&
        json_put_u64(one, "bytes_from_peers", p.bytes_from_peers, err) == 0 &&
        json_put_u64(one, "files_total", p.files_total, err) == 0 &&
        json_put_u64(one, "files_done", p.files_done, err) == 0)
        return one;
    json_decref(one);
    return NULL;
}

static int put_part(json_t *into, const char *name, uint64_t done, uint64_t total, struct err *err)
{
    if (total == 0 && done == 0)
        return 0;
    json_t *part = json_object();
    json_put_u64(part, "bytes_done", done, err);
    json_put_u64(part, "bytes_total", total, err);
    return json_put(into, name, part, err);
}

static json_t *progress_of(const struct execution *e, struct err *err)
{
    json_t *progress = json_object(), *inputs = json_array();
    for (size_t i = 0; e->shared.stage && i < e->shared.inputs; i++) {
        json_t *one = input_progress(e->shared.stage, i, !e->confidential, err);
        if (one)
            json_array_append_new(inputs, one);
    }
    progress_fit(inputs, PROGRESS_INPUTS_MAX, err);
    json_put(progress, "inputs", inputs, err);
    put_part(progress, "image", e->shared.pull_done, e->shared.pull_total, err);
    put_part(progress, "publishing", e->shared.publish_done, e->shared.publish_total, err);
    return progress;
}

json_t *running_list(struct node *n, bool with_progress, struct err *err)
{
    json_t *list = json_array();
    pthread_mutex_lock(&n->mu);
    for (const struct execution *e = n->shared.running; list && e && !err_is_set(err); e = e->shared.next) {
        if (e->shared.lost || e->shared.told)
            continue;
        json_t *one = exec_ref(e, err);
        if (with_progress) {
            json_put_str(one, "state", state_words[e->shared.state], err);
            json_put(one, "progress", progress_of(e, err), err);
        }
        json_array_append_new(list, one);
    }
    pthread_mutex_unlock(&n->mu);
    if (list && !err_is_set(err))
        return list;
    json_decref(list);
    if (!err_is_set(err))
        err_nomem(err);
    return NULL;
}

struct execution *exec_find(struct node *n, const json_t *ref)
{
    const char *job = json_get_str(ref, "job");
    int64_t index = -1, epoch = -1;
    json_get_i64(ref, "index", &index);
    json_get_i64(ref, "epoch", &epoch);
    for (struct execution *e = n->shared.running; e; e = e->shared.next)
        if (str_eq(e->job, job) && e->index == index && e->epoch == epoch)
            return e;
    return NULL;
}

/* What is being prepared, in words. mu held. */
static void say_readiness(const struct node *n, char out[READINESS_MAX])
{
    uint64_t done = 0, total = 0;
    size_t ready = 0;
    char a[HUMAN_MAX], b[HUMAN_MAX];
    for (size_t i = 0; n->shared.preparing && i < n->shared.preparing_count; i++) {
        struct stage_progress p;
        stage_progress(n->shared.preparing, i, &p);
        done += p.bytes_done;
        total += p.bytes_total;
        ready += p.phase == STAGE_READY;
    }
    if (n->shared.preparing)
        snprintf(out, READINESS_MAX, "resources: %zu of %zu ready, %s of %s", ready, n->shared.preparing_count,
                 human_bytes(a, done), human_bytes(b, total));
    else
        snprintf(out, READINESS_MAX, "%s", n->shared.readiness);
}

/* Which blobs peers may fetch from here; often the same as the last time. */
static int put_blobs(struct node *n, bool regular, json_t *body, struct err *err)
{
    struct err minor = ERR_INIT;
    bool more = false;
    pthread_mutex_lock(&n->mu);
    bool look = regular || n->shared.blobs_changed;
    n->shared.blobs_changed = false;
    pthread_mutex_unlock(&n->mu);
    json_t *blobs = look ? peers_tell(n, &more, &minor) : NULL;
    if (err_is_set(&minor))
        log_warn("node", "the blobs cannot be listed (reason=\"%s\")", minor.text);
    if (more) {
        pthread_mutex_lock(&n->mu);
        n->shared.blobs_changed = true;
        node_beat_now(n);
        pthread_mutex_unlock(&n->mu);
    }
    return blobs ? json_put(body, "blobs", blobs, err) : 0;
}

/* `regular`: not sent early for some news; then the cache is looked at, too, which costs more. */
static json_t *beat_body(struct node *n, bool regular, bool all_holds, struct err *err)
{
    char readiness[READINESS_MAX];
    struct err minor = ERR_INIT;
    json_t *body = json_object(), *cache = regular ? info_cache(n, &minor) : NULL, *holds = NULL;
    pthread_mutex_lock(&n->mu);
    bool ready = n->shared.ready;
    int64_t held = n->shared.required_held;
    say_readiness(n, readiness);
    pthread_mutex_unlock(&n->mu);
    if (!err_is_set(&minor))
        holds = holds_tell(&n->holds, n->opts->cache, all_holds, &minor);
    if (err_is_set(&minor))
        log_warn("node", "the cache cannot be asked (reason=\"%s\")", minor.text);
    if (json_put(body, "running", running_list(n, true, err), err) < 0 ||
        json_put(body, "ready", json_boolean(ready), err) < 0 || json_put_str(body, "readiness", readiness, err) < 0 ||
        (held >= 0 && json_put(body, "required_version", json_integer(held), err) < 0) ||
        (cache && json_put(body, "cache", cache, err) < 0) || (holds && json_put(body, "holds", holds, err) < 0) ||
        json_put(body, "peers", peers_bytes(n, err), err) < 0 || put_blobs(n, regular, body, err) < 0) {
        json_decref(body);
        return NULL;
    }
    return body;
}

static void take_renewals(struct node *n, const json_t *answer, uint64_t asked_ms)
{
    size_t i;
    json_t *one;
    pthread_mutex_lock(&n->mu);
    json_array_foreach(json_object_get(answer, "renewed"), i, one)
    {
        struct execution *e = exec_find(n, one);
        int64_t lease = 0;
        if (e && json_get_i64(one, "lease_ms", &lease))
            e->shared.lease_until_ms = lease_extend(e->shared.lease_until_ms, asked_ms, lease);
    }
    json_array_foreach(json_object_get(answer, "lost"), i, one)
    {
        struct execution *e = exec_find(n, one);
        if (e && !e->shared.finishing) /* its answer says more, and may have been first */
            exec_lose(e);
    }
    pthread_mutex_unlock(&n->mu);
    node_heed(n, answer);
}

/* Until the next heartbeat is due, or there is news. */
static void wait_for_beat(struct node *n, uint64_t since_ms)
{
    pthread_mutex_lock(&n->mu);
    for (;;) {
        uint64_t due = since_ms + (n->shared.beat_now ? BEAT_APART_MS : n->shared.heartbeat_ms), now = clock_mono_ms();
        if (now >= due || cancel_level_of(&n->over) != CANCEL_NONE)
            break;
        const struct timespec at = {.tv_sec = (time_t)(due / 1000), .tv_nsec = (long)(due % 1000) * 1000000};
        pthread_cond_timedwait(&n->changed, &n->mu, &at);
    }
    n->shared.beat_now = false;
    pthread_mutex_unlock(&n->mu);
}

/* What one heartbeat takes along of the last. */
struct beating {
    struct node *n;
    struct back_off pause;
    bool all_holds;
    uint64_t regular_ms; /* when the last was not early */
    unsigned count;      /* of the regular ones */
};

static uint32_t call_ms(struct node *n)
{
    pthread_mutex_lock(&n->mu);
    uint32_t ms = n->shared.lease_ms / 3;
    pthread_mutex_unlock(&n->mu);
    return ms < CALL_MS ? ms : CALL_MS;
}

static bool is_regular(struct beating *b, uint64_t now)
{
    pthread_mutex_lock(&b->n->mu);
    bool due = b->count == 0 || now - b->regular_ms >= b->n->shared.heartbeat_ms;
    pthread_mutex_unlock(&b->n->mu);
    if (!due)
        return false;
    b->regular_ms = now;
    b->all_holds |= b->count++ % HOLDS_EVERY == 0;
    return true;
}

/* Once: a renewal counts from before its request, so that a fresh one is worth more than a repeated one. */
static int beat(struct beating *b, uint64_t now)
{
    struct node *n = b->n;
    struct err err = ERR_INIT;
    AUTO_JSON answer = NULL;
    bool regular = is_regular(b, now);
    uint64_t asked = boot_ms();
    const struct node_call call = {.what = "heartbeat",
                                   .body = beat_body(n, regular, b->all_holds, &err),
                                   .once = true,
                                   .total_ms = call_ms(n),
                                   .cancel = &n->over};
    if (node_call(n, &call, &answer, &err) == 0) {
        b->all_holds = false;
        b->pause.failed = 0;
        take_renewals(n, answer, asked);
        return 0;
    }
    b->all_holds = true; /* what was told may not have arrived */
    peers_unsure(n);
    if (err.kind == ERR_DENIED)
        node_fail(n, &err);
    else if (err.kind != ERR_CANCELLED)
        log_warn("node", "no heartbeat (reason=\"%s\")", err.text);
    return -1;
}

void *beat_thread(void *ctx)
{
    struct beating b = {.n = ctx, .all_holds = true};
    while (cancel_level_of(&b.n->over) == CANCEL_NONE) {
        uint64_t now = clock_mono_ms();
        if (beat(&b, now) == 0)
            wait_for_beat(b.n, now);
        else if (back_off_wait(&b.pause, &b.n->over) < 0)
            break;
    }
    return NULL;
}
