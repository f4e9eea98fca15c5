#include "xfer/xfer.h"

#include "xfer/retry.h"
#include "xfer/xfer_priv.h"

#include <stdlib.h>
#include <unistd.h>

#define PART_BYTES_DEFAULT       (8u * 1024 * 1024)
#define BUFFER_BYTES_DEFAULT     (32u * 1024 * 1024)
#define MAX_CONNECTIONS_DEFAULT  64
#define HOST_CONNECTIONS_DEFAULT 32
#define STALL_BYTES_DEFAULT      1024
#define STALL_MS_DEFAULT         30000
#define PATIENCE_MS_DEFAULT      60000
#define THREADS_DEFAULT_MAX      4
#define REFRESH_THREADS          2 /* they block on the network; few files need them at once */

static uint32_t one_per_core(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 1 ? 1 : cores > THREADS_DEFAULT_MAX ? THREADS_DEFAULT_MAX : (uint32_t)cores;
}

static void default_u32(uint32_t *field, uint32_t value)
{
    if (*field == 0)
        *field = value;
}

static void default_u64(uint64_t *field, uint64_t value)
{
    if (*field == 0)
        *field = value;
}

static void fill_defaults(struct xfer_opts *o)
{
    default_u32(&o->threads, one_per_core());
    default_u32(&o->hash_threads, one_per_core());
    default_u64(&o->part_bytes, PART_BYTES_DEFAULT);
    default_u64(&o->buffer_bytes, BUFFER_BYTES_DEFAULT);
    default_u32(&o->max_connections, MAX_CONNECTIONS_DEFAULT);
    default_u32(&o->max_connections_host, HOST_CONNECTIONS_DEFAULT);
    default_u32(&o->stall_bytes_per_second, STALL_BYTES_DEFAULT);
    default_u32(&o->stall_ms, STALL_MS_DEFAULT);
    default_u32(&o->connect_timeout_ms, XFER_CONNECT_TIMEOUT_MS);
    default_u32(&o->patience_ms, PATIENCE_MS_DEFAULT);
    if (o->tries == 0)
        o->tries = RETRY_TRIES_DEFAULT;
    if (o->threads > SCHED_THREADS_MAX)
        o->threads = SCHED_THREADS_MAX;
}

static int open_parts(struct xfer *x, struct err *err)
{
    uint64_t seed;
    if (rng_bytes(&seed, sizeof seed, err) < 0)
        return -1;
    x->shared.rng.state = seed;
    if (!(x->hash_pool = pool_new("hash", x->opts.hash_threads, 0, err)) ||
        !(x->refresh_pool = pool_new("refresh", REFRESH_THREADS, 0, err)))
        return -1;
    for (; x->thread_count < x->opts.threads; x->thread_count++) {
        if (loop_open(&x->loops[x->thread_count], x, x->thread_count, err) < 0)
            return -1;
    }
    for (unsigned i = 0; i < x->thread_count; i++) {
        if (loop_start(x->loops[i], err) < 0)
            return -1;
    }
    return 0;
}

int xfer_open(struct xfer **out, const struct xfer_opts *opts, struct err *err)
{
    if (xfer_curl_init(err) < 0)
        return -1;
    struct xfer *x = calloc(1, sizeof *x);
    if (!x)
        return err_nomem(err);
    x->opts = *opts;
    fill_defaults(&x->opts);
    pthread_mutex_init(&x->shared.mu, NULL);
    pthread_cond_init(&x->shared.idle, NULL);
    pthread_mutex_init(&x->band.mu, NULL);
    LIST_INIT(&x->shared.groups);
    sched_init(&x->shared.sched, x->opts.threads, x->opts.max_connections, x->opts.max_connections_host);
    bucket_init(&x->band.bucket, x->opts.bytes_per_second, clock_mono_us());
    if (open_parts(x, err) < 0) {
        xfer_free(x);
        return -1;
    }
    *out = x;
    return 0;
}

/* ---- groups ---- */

static struct group_rec *find_group(struct xfer *x, struct xfer_group *group, struct err *err)
{
    struct group_rec *rec = NULL;
    LIST_FOREACH(rec, &x->shared.groups, all)
    {
        if (rec->group == group)
            return rec;
    }
    const struct xfer_policy *policy = policy_intern(x, &group->policy, err);
    rec = policy ? calloc(1, sizeof *rec) : NULL;
    if (!rec) {
        err_nomem(err);
        return NULL;
    }
    rec->group = group;
    rec->policy = policy;
    LIST_INIT(&rec->files);
    LIST_INSERT_HEAD(&x->shared.groups, rec, all);
    sched_group_add(&x->shared.sched, &rec->sched);
    return rec;
}

static void drop_group_if_empty(struct xfer *x, struct group_rec *rec)
{
    if (!LIST_EMPTY(&rec->files))
        return;
    sched_group_remove(&x->shared.sched, &rec->sched);
    LIST_REMOVE(rec, all);
    free(rec);
}

void group_leave_locked(struct xfer_file *f)
{
    LIST_REMOVE(f, of_group);
    drop_group_if_empty(f->x, f->rec);
}

/* Fail every file, or those of cancelled groups. Files are referenced over the failure, as failing may free them. */
static void fail_files(struct xfer *x, bool all)
{
    struct group_rec *rec, *next_rec;
    struct xfer_file *doomed;
    do {
        doomed = NULL;
        pthread_mutex_lock(&x->shared.mu);
        for (rec = LIST_FIRST(&x->shared.groups); rec && !doomed; rec = next_rec) {
            next_rec = LIST_NEXT(rec, all);
            if (!all && cancel_level_of(rec->group->cancel) == CANCEL_NONE)
                continue;
            struct xfer_file *f = LIST_FIRST(&rec->files);
            while (f && f->ended)
                f = LIST_NEXT(f, of_group);
            if (f)
                file_ref_locked(f);
            doomed = f;
        }
        pthread_mutex_unlock(&x->shared.mu);
        if (doomed) {
            struct err err = ERR_INIT;
            err_set(&err, ERR_CANCELLED, "%s: cancelled", doomed->name);
            file_fail(doomed, &err);
            file_unref(doomed);
        }
    } while (doomed);
}

void xfer_look_for_cancelled(struct xfer *x)
{
    fail_files(x, atomic_load(&x->stopping));
}

/* ---- files ---- */

static int check_get(const struct xfer_get *get, struct err *err)
{
    if (!get->group || !get->source || !get->source->request || !get->done || (!get->sink && !get->head_only))
        return err_set(err, ERR_INVALID, "xfer_get lacks a group, source, sink or done");
    if (get->size != XFER_SIZE_UNKNOWN && get->size > INT64_MAX)
        return err_set(err, ERR_LIMIT, "%s: larger than a file can be", get->name ? get->name : "file");
    return 0;
}

static struct xfer_file *file_new(struct xfer *x, const struct xfer_get *get, struct err *err)
{
    struct xfer_file *f = calloc(1, sizeof *f);
    if (!f) {
        err_nomem(err);
        return NULL;
    }
    f->x = x;
    f->get = *get;
    f->want = get->want;
    f->fd = -1;
    f->refs = 1;
    f->sched.size = get->size;
    pthread_mutex_init(&f->mu, NULL);
    f->name = str_dup(get->name ? get->name : "transfer", err);
    if (f->name)
        return f;
    file_free(f);
    return NULL;
}

static int enqueue(struct xfer *x, struct xfer_file *f, struct err *err)
{
    if (atomic_load(&x->stopping))
        return err_set(err, ERR_CANCELLED, "%s: the transfer engine is stopping", f->name);
    f->rec = find_group(x, f->get.group, err);
    if (!f->rec)
        return -1;
    LIST_INSERT_HEAD(&f->rec->files, f, of_group);
    f->sched.group = &f->rec->sched;
    sched_file_add(&f->sched);
    x->shared.files++;
    return 0;
}

int xfer_get_start(struct xfer *x, const struct xfer_get *get, struct err *err)
{
    if (check_get(get, err) < 0)
        return -1;
    struct xfer_file *f = file_new(x, get, err);
    if (!f)
        return -1;
    pthread_mutex_lock(&x->shared.mu);
    int rc = enqueue(x, f, err);
    struct loop *helper = rc == 0 ? xfer_helper_locked(x, &f->sched) : NULL;
    pthread_mutex_unlock(&x->shared.mu);
    if (rc < 0) {
        file_free(f);
        return -1;
    }
    if (helper)
        loop_poke(helper);
    return 0;
}

/* ---- the end ---- */

/* Threads first learn that everything is cancelled; each `done` runs on its way out. Tasks on pools hold references,
 * so the wait for the last file is a wait for them, too. */
static void wind_down(struct xfer *x)
{
    xfer_look_for_cancelled(x);
    xfer_poke_all(x);
    pthread_mutex_lock(&x->shared.mu);
    while (x->shared.files > 0)
        pthread_cond_wait(&x->shared.idle, &x->shared.mu);
    pthread_mutex_unlock(&x->shared.mu);
}

void xfer_free(struct xfer *x)
{
    if (!x)
        return;
    pthread_mutex_lock(&x->shared.mu);
    atomic_store(&x->stopping, true);
    pthread_mutex_unlock(&x->shared.mu);
    wind_down(x);
    pool_free(x->hash_pool);
    pool_free(x->refresh_pool);
    for (unsigned i = 0; i < x->thread_count; i++)
        loop_stop(x->loops[i]);
    for (unsigned i = 0; i < x->thread_count; i++)
        loop_free(x->loops[i]);
    hosts_free(x);
    pthread_mutex_destroy(&x->band.mu);
    pthread_cond_destroy(&x->shared.idle);
    pthread_mutex_destroy(&x->shared.mu);
    free(x);
}

void xfer_stats(struct xfer *x, struct xfer_stats *out)
{
    *out = (struct xfer_stats){
        .requests = atomic_load(&x->stats.requests),
        .retries = atomic_load(&x->stats.retries),
        .hedges = atomic_load(&x->stats.hedges),
        .connections_opened = atomic_load(&x->stats.connections),
        .wake_ups = atomic_load(&x->stats.wake_ups),
        .bytes_wire = atomic_load(&x->stats.wire),
        .bytes_written = atomic_load(&x->stats.written),
        .buffer_bytes_peak = atomic_load(&x->stats.buffers_peak),
    };
}

void xfer_count_buffer(struct xfer *x, int64_t bytes)
{
    uint64_t now = bytes >= 0 ? atomic_fetch_add(&x->stats.buffers, (uint64_t)bytes) + (uint64_t)bytes
                              : atomic_fetch_sub(&x->stats.buffers, (uint64_t)-bytes);
    uint64_t peak = atomic_load(&x->stats.buffers_peak);
    while (now > peak && !atomic_compare_exchange_weak(&x->stats.buffers_peak, &peak, now))
        ;
}
