/* One file's life: prepared, its parts arriving, refreshed credentials, failure. How it finishes: xfer_finish.c. */
#include "xfer/xfer_priv.h"

#include <stdlib.h>

#define PART_BYTES_MIN (1024 * 1024) /* smaller parts are not worth a request */

/* ---- references ---- */

void file_ref_locked(struct xfer_file *f)
{
    f->refs++;
}

/* The last reference is gone: nobody else knows the file any more. */
static void farewell(struct xfer_file *f)
{
    struct xfer *x = f->x;
    if (f->has_head)
        f->result.head = &f->head;
    f->result.bytes_wire = atomic_load(&f->wire);
    f->result.want = f->want;
    if (!f->result_error)
        atomic_fetch_add(&f->rec->group->files_done, 1);
    /* Before done(), which may be the end of the group: who looks for cancelled groups must not find it any more. */
    pthread_mutex_lock(&x->shared.mu);
    group_leave_locked(f);
    pthread_mutex_unlock(&x->shared.mu);
    f->get.done(f->get.done_ctx, &f->result, f->result_error);
    file_free(f);
    pthread_mutex_lock(&x->shared.mu);
    if (--x->shared.files == 0)
        pthread_cond_broadcast(&x->shared.idle);
    pthread_mutex_unlock(&x->shared.mu);
}

void file_unref(struct xfer_file *f)
{
    struct xfer *x = f->x;
    pthread_mutex_lock(&x->shared.mu);
    bool last = --f->refs == 0;
    pthread_mutex_unlock(&x->shared.mu);
    if (last)
        farewell(f);
}

void file_free(struct xfer_file *f)
{
    verify_free(f->verify);
    if (f->has_head)
        http_response_release(&f->head);
    pthread_mutex_destroy(&f->mu);
    free(f->sched.done);
    free(f->moved_to);
    free(f->err);
    free(f->name);
    free(f);
}

/* ---- failure ---- */

static const struct err no_memory_for_error = {.kind = ERR_NOMEM, .text = "out of memory"};

void file_fail_locked(struct xfer_file *f, struct err *err)
{
    struct sched_unit *waiting;
    if (f->ended)
        return;
    f->ended = true;
    f->err = malloc(sizeof *f->err);
    if (f->err)
        *f->err = *err;
    f->result_error = f->err ? f->err : &no_memory_for_error;
    atomic_store(&f->dead, true);
    sched_file_remove(&f->sched);
    while ((waiting = sched_unit_withdraw(&f->x->shared.sched, &f->sched)))
        exchange_discard((struct exchange *)waiting);
}

void file_fail(struct xfer_file *f, struct err *err)
{
    struct xfer *x = f->x;
    pthread_mutex_lock(&x->shared.mu);
    bool first = !f->ended;
    file_fail_locked(f, err);
    pthread_mutex_unlock(&x->shared.mu);
    err_clear(err);
    if (!first)
        return;
    xfer_poke_all(x);
    file_unref(f);
}

/* ---- preparation ---- */

/* Parts that fit the origin's own, so that its part digests can be put together from the engine's. */
static uint64_t choose_part_bytes(const struct xfer_file *f)
{
    uint64_t bytes = f->get.part_bytes ? f->get.part_bytes : f->x->opts.part_bytes;
    uint64_t stated = f->want.part_count > 0 ? f->want.parts_bytes : 0;
    if (f->map)
        return partmap_part_bytes(f->map);
    if (f->get.part_bytes == 0 && stated > 0) {
        uint64_t pieces = (stated - 1) / bytes + 1;
        if (stated % pieces == 0 && stated / pieces >= PART_BYTES_MIN)
            return stated / pieces;
    }
    return bytes;
}

/* What an earlier run left, as bits of the engine's cut. */
static int load_done(const struct xfer_file *f, uint64_t parts, uint64_t **out, uint64_t *bytes, struct err *err)
{
    *out = NULL;
    *bytes = 0;
    if (parts <= 64 && !f->map)
        return 0;
    uint64_t *done = calloc(parts / 64 + 1, sizeof *done);
    if (!done)
        return err_nomem(err);
    for (uint64_t i = 0; f->map && i < parts; i++) {
        if (partmap_has(f->map, i))
            done[i / 64] |= UINT64_C(1) << i % 64;
    }
    *bytes = f->map ? partmap_done_bytes(f->map) : 0;
    *out = done;
    return 0;
}

int file_open_sink(struct xfer_file *f, uint64_t size, struct err *err)
{
    if (f->get.sink->open(f->get.sink_ctx, size, &f->fd, &f->map, err) < 0)
        return err_wrap(err, "%s", f->name);
    f->opened = true;
    return 0;
}

int file_prepare(struct xfer_file *f, struct err *err)
{
    uint64_t size = f->get.head_only ? 0 : f->get.size, part_bytes = 1, parts = 1, *done = NULL, have = 0;
    int rc = 0;
    pthread_mutex_lock(&f->mu);
    if (size != XFER_SIZE_UNKNOWN && !f->get.head_only) {
        rc = file_open_sink(f, size, err);
        part_bytes = rc == 0 ? choose_part_bytes(f) : 1;
        parts = size <= part_bytes ? 1 : (size - 1) / part_bytes + 1;
        if (rc == 0)
            rc = load_done(f, parts, &done, &have, err);
    }
    pthread_mutex_unlock(&f->mu);
    if (rc < 0)
        return -1;
    atomic_fetch_add(&f->rec->group->bytes_done, have);
    pthread_mutex_lock(&f->x->shared.mu);
    sched_file_cut(&f->sched, size, part_bytes, done);
    pthread_mutex_unlock(&f->x->shared.mu);
    return 0;
}

int file_open_verify(struct xfer_file *f, struct err *err)
{
    const struct sched_file *s = &f->sched; /* the cut does not change under an accepted answer of this epoch */
    return verify_open(&f->verify, &f->want, f->get.size, s->part_bytes, s->part_count, err);
}

void file_keep_head(struct xfer_file *f, struct exchange *ex)
{
    if (f->has_head)
        return;
    f->head = ex->resp;
    f->has_head = true;
    http_response_init(&ex->resp, XFER_ERROR_BODY_MAX);
    ex->resp.status = f->head.status;
}

/* ---- parts ---- */

void file_uncount(struct xfer_file *f, uint64_t bytes)
{
    atomic_fetch_sub(&f->rec->group->bytes_done, bytes);
}

uint64_t file_recut_locked(struct xfer_file *f)
{
    uint64_t *old = f->sched.done, had = 0;
    for (uint64_t i = 0; i < f->sched.part_count; i++)
        had += sched_part_is_done(&f->sched, i) ? sched_part_length(&f->sched, i) : 0;
    sched_file_cut(&f->sched, f->sched.size, f->sched.size == SCHED_WHOLE ? 1 : f->sched.size, NULL);
    f->sched.next_part = 1; /* the one part is under way already */
    free(old);
    return had;
}

void file_forget_bytes(struct xfer_file *f)
{
    struct err ignored = ERR_INIT;
    atomic_store(&f->streamed, 0);
    pthread_mutex_lock(&f->mu);
    f->verify_stale = f->verify != NULL;
    if (f->map)
        partmap_clear(f->map, 0, partmap_count(f->map), &ignored); /* what stays marked is overwritten, and verified */
    f->map = NULL;
    pthread_mutex_unlock(&f->mu);
}

void file_learn_size(struct xfer_file *f, uint64_t size)
{
    pthread_mutex_lock(&f->mu);
    f->learned_size = size;
    pthread_mutex_unlock(&f->mu);
}

bool file_part_arrived(struct xfer_file *f, uint64_t part, unsigned epoch)
{
    struct xfer *x = f->x;
    struct err err = ERR_INIT;
    pthread_mutex_lock(&f->mu);
    struct partmap *map = f->map;
    pthread_mutex_unlock(&f->mu);
    if (map && partmap_mark(map, part, &err) < 0) {
        err_wrap(&err, "%s: part map", f->name);
        file_fail(f, &err);
        return true;
    }
    pthread_mutex_lock(&x->shared.mu);
    bool known = atomic_load(&f->epoch) == epoch; /* else it is no part of the file as it is cut now */
    bool last = known && sched_part_done(&f->sched, part) && !f->ended;
    pthread_mutex_unlock(&x->shared.mu);
    if (last)
        file_complete(f);
    else if (known)
        file_front_grew(f);
    return known;
}

/* ---- credentials ---- */

static void refresh_task(void *ctx)
{
    struct xfer_file *f = ctx;
    struct xfer *x = f->x;
    struct err err = ERR_INIT;
    int rc = atomic_load(&f->dead) ? 0 : f->get.source->refresh(f->get.source_ctx, &err);
    pthread_mutex_lock(&f->mu);
    f->auth_epoch++;
    pthread_mutex_unlock(&f->mu);
    pthread_mutex_lock(&x->shared.mu);
    f->refreshing = f->sched.held = false;
    pthread_mutex_unlock(&x->shared.mu);
    if (rc < 0) {
        err_wrap(&err, "%s: refresh credentials", f->name);
        file_fail(f, &err);
    }
    xfer_poke_all(x);
    file_unref(f); /* NOLINT(clang-analyzer-unix.Malloc): file_fail() gave back another reference */
}

void file_refresh(struct xfer_file *f)
{
    struct xfer *x = f->x;
    struct err err = ERR_INIT;
    pthread_mutex_lock(&x->shared.mu);
    bool start = !f->refreshing && !f->ended;
    if (start) {
        f->refreshing = f->sched.held = true;
        file_ref_locked(f);
    }
    pthread_mutex_unlock(&x->shared.mu);
    if (!start || pool_submit(x->refresh_pool, refresh_task, f, &err) == 0)
        return;
    pthread_mutex_lock(&x->shared.mu);
    f->refreshing = f->sched.held = false;
    pthread_mutex_unlock(&x->shared.mu);
    file_fail(f, &err);
    file_unref(f); /* NOLINT(clang-analyzer-unix.Malloc): as above */
}
