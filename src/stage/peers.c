/* Files from other machines of a market instead of the origin: which may come from there, who has them, and each try.
 *
 * A try is a transfer like any other, in ranges and resumable, but through an engine of its own. It ends well, with the
 * digest that the origin stated, or the file goes on elsewhere. */
#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "stage/stage_priv.h"

#include <stdlib.h>

#define PEER_BYTES_MIN (UINT64_C(1) << 20) /* asking around for less costs more than it saves */
#define PEER_TRIES_MAX 3                   /* peers that one file is tried on */
/* A file that comes slower than this, and would not be there within the grace either, is given up on its peer. */
#define PEER_BYTES_PER_MS (UINT64_C(4) << 10)
#define PEER_GRACE_MS     UINT64_C(30000)
#define PEER_LOOK_MS      UINT64_C(10000) /* before that nothing is concluded */
#define PLAN_FIRST        64

struct peer_try {
    struct peer_try *next; /* of in->peers.live */
    struct fetch *fetch;
    struct xfer_group group;
    uint64_t size, started_ms; /* 0: nothing was asked yet */
    char sha256[PEER_DIGEST_MAX];
    struct buf origin;
    pthread_mutex_t mu; /* guards `peer`, whose token may be renewed meanwhile */
    struct peer peer;
};

/* --- the plan ----------------------------------------------------------------------------------------------------- */

struct peer_file *peers_file(const struct peer_plan *plan, size_t file)
{
    size_t low = 0, high = plan->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (plan->v[middle].file < file)
            low = middle + 1;
        else
            high = middle;
    }
    return low < plan->n && plan->v[low].file == file ? &plan->v[low] : NULL;
}

void peers_forget(struct stage_input *in)
{
    struct peer_plan *p = in->own.peers;
    in->own.peers = NULL;
    if (!p)
        return;
    json_decref(p->answers);
    free(p->v);
    free(p);
}

static int add_file(struct peer_plan *p, size_t file, const struct digest_value *sha256, struct err *err)
{
    if (p->n == p->room) {
        size_t room = p->room ? p->room * 2 : PLAN_FIRST;
        struct peer_file *bigger = reallocarray(p->v, room, sizeof *p->v);
        if (!bigger)
            return err_nomem(err);
        p->v = bigger;
        p->room = room;
    }
    p->v[p->n] = (struct peer_file){.file = file, .stated = sha256 != NULL};
    if (sha256)
        p->v[p->n].sha256 = *sha256;
    p->n++;
    return 0;
}

/* Missing files that a peer could be asked for. `unproved`: one whose SHA-256 the origin has stated without showing yet
 * that this job may read it; SIZE_MAX: none. */
static int collect(struct stage_input *in, struct peer_plan *p, size_t *unproved, struct err *err)
{
    struct source *src = in->source;
    *unproved = SIZE_MAX;
    for (size_t i = 0; i < src->file_count; i++) {
        struct source_file f;
        if (in->own.blobs[i].id[0])
            continue;
        src->ops->file(src, i, &f);
        bool known = f.sha256 && f.sha256->kind == DIGEST_SHA256;
        bool fits = f.version && !f.content.p && f.size != XFER_SIZE_UNKNOWN && f.size >= PEER_BYTES_MIN;
        if (!fits || (!known && (f.proved || !src->states_by_head)))
            continue;
        if (known && !f.proved && *unproved == SIZE_MAX)
            *unproved = i;
        if (add_file(p, i, known ? f.sha256 : NULL, err) < 0)
            return -1;
    }
    return 0;
}

/* Whoever may only list gets nothing from anybody: either reading one file proves all, or each HEAD its own. */
static int prove(struct stage_input *in, struct peer_plan *p, bool proved, size_t unproved, struct err *err)
{
    const struct source_ops *ops = in->source->ops;
    if (in->source->states_by_head)
        return fetch_look(in, p, err);
    if (proved || unproved == SIZE_MAX)
        return 0;
    return ops->prove ? ops->prove(in->source, unproved, err) : err_set(err, ERR_DENIED, "reading cannot be proved");
}

static int ask(struct stage_input *in, const char *const *hex, size_t n, json_t **out, struct err *err)
{
    const struct stage_peers *peers = &in->stage->opts.peers;
    *out = NULL;
    return peers->locate(peers->ctx, hex, n, out, err);
}

static bool anybody(struct stage_input *in, struct err *err)
{
    AUTO_JSON answer = NULL;
    return ask(in, NULL, 0, &answer, err) == 0 && json_get_bool(answer, "others", false);
}

/* From `first` on; how far it came. */
static size_t locate_batch(struct stage_input *in, struct peer_plan *p, size_t first, struct err *err)
{
    char(*hex)[DIGEST_HEX_MAX] = calloc(STAGE_LOCATE_MAX, sizeof *hex);
    const char **list = calloc(STAGE_LOCATE_MAX, sizeof *list);
    size_t n = 0, at = first;
    json_t *answer = NULL;
    for (; hex && list && at < p->n && n < STAGE_LOCATE_MAX; at++)
        if (p->v[at].stated)
            list[n] = digest_hex(hex[n], &p->v[at].sha256), n++;
    if (!hex || !list)
        err_nomem(err);
    else if (n > 0 && ask(in, list, n, &answer, err) == 0 && json_array_append_new(p->answers, answer) < 0)
        err_nomem(err);
    const json_t *found = json_object_get(answer, "peers");
    for (size_t i = first; !err_is_set(err) && i < at; i++) {
        char name[DIGEST_HEX_MAX];
        if (p->v[i].stated)
            p->v[i].peers = json_object_get(found, digest_hex(name, &p->v[i].sha256));
    }
    free((void *)list);
    free(hex);
    return at;
}

static int make_plan(struct stage_input *in, struct peer_plan *p, bool proved, struct err *err)
{
    size_t unproved;
    if (collect(in, p, &unproved, err) < 0)
        return -1;
    if (p->n == 0 || !anybody(in, err))
        p->n = 0;
    else if (prove(in, p, proved, unproved, err) < 0)
        p->n = 0;
    for (size_t i = 0; i < p->n && !err_is_set(err);)
        i = locate_batch(in, p, i, err);
    return err_is_set(err) ? -1 : 0;
}

int peers_plan(struct stage_input *in, bool proved, struct err *err)
{
    struct err why = ERR_INIT;
    if (!in->stage->opts.peers.locate || in->source->unasked)
        return 0;
    struct peer_plan *p = calloc(1, sizeof *p);
    json_t *answers = json_array();
    if (!p || !answers) {
        free(p);
        json_decref(answers);
        return err_nomem(err);
    }
    p->answers = answers;
    in->own.peers = p;
    if (make_plan(in, p, proved, &why) < 0) /* the origin will tell whether that matters */
        log_info("stage", "peers are not asked (input=%zu reason=\"%s\")", in->index, why.text);
    return cancel_check(&in->stage->stop, err);
}

/* --- who failed --------------------------------------------------------------------------------------------------- */

static bool is_bad(struct stage *s, const char *address)
{
    pthread_mutex_lock(&s->bad_peers.mu);
    bool bad = s->bad_peers.n == STAGE_BAD_PEERS;
    for (size_t i = 0; i < s->bad_peers.n && !bad; i++)
        bad = str_eq(s->bad_peers.address[i], address);
    pthread_mutex_unlock(&s->bad_peers.mu);
    return bad;
}

static void note_bad(struct stage *s, const char *address)
{
    if (is_bad(s, address))
        return;
    pthread_mutex_lock(&s->bad_peers.mu);
    if (s->bad_peers.n < STAGE_BAD_PEERS)
        snprintf(s->bad_peers.address[s->bad_peers.n++], PEER_ADDRESS_MAX, "%s", address);
    pthread_mutex_unlock(&s->bad_peers.mu);
}

/* --- the transfer, on the engine's threads ------------------------------------------------------------------------ */

static int check_pace(struct peer_try *t, struct err *err)
{
    uint64_t now = clock_mono_ms(), got = atomic_load(&t->group.bytes_wire);
    if (!t->started_ms)
        t->started_ms = now;
    uint64_t spent = now - t->started_ms, allowed = PEER_GRACE_MS + t->size / PEER_BYTES_PER_MS;
    /* At this pace it takes spent × size / got. */
    if (spent < PEER_LOOK_MS || (double)spent * (double)t->size <= (double)allowed * (double)got)
        return 0;
    return err_set(err, ERR_TIMEOUT, "too slow: %llu bytes in %llu ms", (unsigned long long)got,
                   (unsigned long long)spent);
}

static int request_peer(void *ctx, uint64_t offset, uint64_t length, struct xfer_request *out, struct err *err)
{
    struct peer_try *t = ctx;
    (void)offset, (void)length;
    if (is_bad(t->fetch->in->stage, t->peer.address))
        return err_set(err, ERR_TRANSIENT, "it failed before");
    if (check_pace(t, err) < 0)
        return -1;
    buf_addf(&out->url, "https://%s" PEER_PATH "%s", t->peer.address, t->sha256);
    pthread_mutex_lock(&t->mu);
    buf_addf(&out->headers, "Authorization: Bearer %s\r\n" PEER_ORIGIN_HEADER ": %s\r\n", t->peer.token,
             buf_str(&t->origin));
    pthread_mutex_unlock(&t->mu);
    out->keep_redirects = true; /* only the machine that was named is asked */
    return 0;
}

static enum xfer_verdict judge_peer(void *ctx, const struct xfer_head *head, struct xfer_want *want, struct err *err)
{
    (void)ctx, (void)want;
    switch (head->status) {
    case 200:
    case 206:
        return XFER_ACCEPT;
    case 401: /* its time may be over: a large file takes long */
        return XFER_REFRESH;
    case 404:
        err_set(err, ERR_NOTFOUND, "it is not there (any more)");
        return XFER_FAIL;
    default:
        err_set(err, ERR_PROTOCOL, "HTTP %d", head->status);
        return XFER_FAIL;
    }
}

static int refresh_peer(void *ctx, struct err *err)
{
    struct peer_try *t = ctx;
    const char *const hex[] = {t->sha256};
    AUTO_JSON answer = NULL;
    struct peer now;
    size_t i;
    json_t *item;
    if (ask(t->fetch->in, hex, 1, &answer, err) < 0)
        return -1;
    json_array_foreach(json_object_get(json_object_get(answer, "peers"), t->sha256), i, item)
    {
        if (!peer_read(item, &now) || !str_eq(now.node, t->peer.node) || !str_eq(now.address, t->peer.address) ||
            !str_eq(now.fingerprint, t->peer.fingerprint))
            continue;
        pthread_mutex_lock(&t->mu);
        memcpy(t->peer.token, now.token, sizeof t->peer.token);
        pthread_mutex_unlock(&t->mu);
        return 0;
    }
    return err_set(err, ERR_NOTFOUND, "it is no longer named as one that holds it");
}

static const struct xfer_source peer_source = {.request = request_peer, .judge = judge_peer, .refresh = refresh_peer};

/* --- tries -------------------------------------------------------------------------------------------------------- */

static void try_free(struct peer_try *t)
{
    if (!t)
        return;
    mem_wipe(&t->peer, sizeof t->peer);
    pthread_mutex_destroy(&t->mu);
    buf_release(&t->origin);
    free(t);
}

static struct peer_try *try_new(struct fetch *f, const struct peer *peer, struct err *err)
{
    struct stage_input *in = f->in;
    struct source_file file;
    struct peer_try *t = calloc(1, sizeof *t);
    if (!t) {
        err_nomem(err);
        return NULL;
    }
    in->source->ops->file(in->source, f->file, &file);
    const struct cache_origin origin = {in->source->ops->name, file.location, file.version, file.size};
    pthread_mutex_init(&t->mu, NULL);
    buf_init(&t->origin, PEER_ORIGIN_MAX);
    t->fetch = f;
    t->peer = *peer;
    t->size = file.size;
    t->group.cancel = &in->stage->stop;
    t->group.policy = (struct xfer_policy){.no_proxy_env = true, .https_only = true};
    memcpy(t->group.policy.key_fingerprint, peer->fingerprint, sizeof peer->fingerprint);
    char hex[DIGEST_HEX_MAX];
    snprintf(t->sha256, sizeof t->sha256, "%.64s", digest_hex(hex, &f->stated->sha256));
    if (peer_origin_write(&origin, &t->origin, err) == 0)
        return t;
    try_free(t);
    return NULL;
}

static void put_live(struct stage_input *in, struct peer_try *t)
{
    pthread_mutex_lock(&in->peers.mu);
    t->next = in->peers.live;
    in->peers.live = t;
    pthread_mutex_unlock(&in->peers.mu);
}

/* An answer without content, a refusal, is no bytes from a peer. */
static void add_figures(struct peer_figures *sum, struct peer_try *t)
{
    uint64_t done = atomic_load(&t->group.bytes_done);
    sum->bytes_done += done;
    sum->bytes_wire += done ? atomic_load(&t->group.bytes_wire) : 0;
    sum->requests += atomic_load(&t->group.requests);
    sum->retries += atomic_load(&t->group.retries);
}

/* What it received counts; what it brought only where that was of use: else the next to fetch finds it, and counts it.
 */
static void take_live(struct stage_input *in, struct peer_try *t, bool well)
{
    pthread_mutex_lock(&in->peers.mu);
    struct peer_try **at = &in->peers.live;
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    uint64_t before = in->peers.over.bytes_done;
    add_figures(&in->peers.over, t);
    if (!well)
        in->peers.over.bytes_done = before;
    pthread_mutex_unlock(&in->peers.mu);
}

void peers_figures(struct stage_input *in, struct peer_figures *out)
{
    pthread_mutex_lock(&in->peers.mu);
    *out = in->peers.over;
    for (struct peer_try *t = in->peers.live; t; t = t->next)
        add_figures(out, t);
    pthread_mutex_unlock(&in->peers.mu);
}

/* Not everybody is to begin with the same one. */
static bool next_peer(struct fetch *f, struct peer *out)
{
    size_t n = json_array_size(f->stated->peers), most = n < PEER_TRIES_MAX ? n : PEER_TRIES_MAX;
    struct rng rng;
    struct err none = ERR_INIT;
    if (n == 0)
        return false;
    if (n > 1 && f->peers_tried == 0)
        f->peers_turn = rng_bytes(&rng, sizeof rng, &none) == 0 ? (unsigned)rng_below(&rng, n) : 0;
    while (f->peers_tried < most) {
        size_t i = (f->peers_turn + f->peers_tried++) % n;
        if (peer_read(json_array_get(f->stated->peers, i), out) && !is_bad(f->in->stage, out->address))
            return true;
    }
    return false;
}

bool peers_launch(struct fetch *f, const struct xfer_sink *sink,
                  void (*done)(void *ctx, const struct xfer_result *result, const struct err *err))
{
    struct peer peer;
    struct err err = ERR_INIT;
    struct peer_try *t = next_peer(f, &peer) ? try_new(f, &peer, &err) : NULL;
    if (!t)
        return false;
    const struct xfer_get get = {
        .group = &t->group,
        .name = t->peer.node,
        .size = t->size,
        .part_bytes = XFER_PART_DEFAULT,
        .want = {.has_full = true, .full = f->stated->sha256},
        .source = &peer_source,
        .source_ctx = t,
        .sink = sink,
        .sink_ctx = f,
        .done = done,
        .done_ctx = f,
    };
    f->expected_size = t->size;
    f->peer = t;
    put_live(f->in, t);
    if (xfer_get_start(f->in->stage->opts.peers.xfer, &get, &err) == 0)
        return true;
    take_live(f->in, t, false);
    f->peer = NULL;
    try_free(t);
    return false;
}

void peers_settle(struct fetch *f, const struct err *why)
{
    struct stage_input *in = f->in;
    struct peer_try *t = f->peer;
    f->peer = NULL;
    take_live(in, t, !why);
    if (!why) {
        atomic_fetch_add(&in->shown.peer_files, 1);
    } else if (why->kind != ERR_CANCELLED) {
        atomic_fetch_add(&in->shown.peer_failures, 1);
        log_warn("stage", "a peer failed (input=%zu sha256=%.12s address=%s reason=\"%s\")", in->index, t->sha256,
                 t->peer.address, why->text);
        if (why->kind != ERR_NOTFOUND)
            note_bad(in->stage, t->peer.address);
    }
    try_free(t);
}
