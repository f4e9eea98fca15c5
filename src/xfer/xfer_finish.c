/* Digests as the file grows, and how a file ends well, or is fetched once more. */
#include "xfer/xfer_priv.h"

#define HASH_STEP (64u * 1024 * 1024) /* hashed between two looks at whether it is still wanted */

static const struct cancel *cancel_of(const struct xfer_file *f)
{
    return f->rec->group->cancel;
}

/* ---- following the front ---- */

/* How far the file is written without a gap. */
static uint64_t front_of(struct xfer_file *f)
{
    pthread_mutex_lock(&f->x->shared.mu);
    uint64_t front = sched_prefix_bytes(&f->sched);
    if (f->sched.part_count == 1 && front == 0)
        front = atomic_load_explicit(&f->streamed, memory_order_acquire);
    pthread_mutex_unlock(&f->x->shared.mu);
    return front;
}

/* For the task that follows the front: while it does, nobody settles the digests. */
static struct verify *verify_of(struct xfer_file *f)
{
    pthread_mutex_lock(&f->mu);
    struct verify *v = f->verify_stale ? NULL : f->verify;
    pthread_mutex_unlock(&f->mu);
    return v;
}

/* Hash up to the front until it no longer moves. */
static void follow_front(struct xfer_file *f, struct err *err)
{
    uint64_t at, front;
    struct verify *v;
    while ((v = verify_of(f)) && !atomic_load(&f->dead) && (front = front_of(f)) > (at = verify_hashed(v))) {
        at = front - at > HASH_STEP ? at + HASH_STEP : front;
        if (verify_advance(v, f->fd, at, cancel_of(f), err) < 0)
            return;
    }
}

static void finish_task(void *ctx);

static void hash_task(void *ctx)
{
    struct xfer_file *f = ctx;
    struct xfer *x = f->x;
    struct err err = ERR_INIT;
    follow_front(f, &err);
    pthread_mutex_lock(&x->shared.mu);
    f->hashing = false;
    bool finish = f->finishing && !f->ended;
    pthread_mutex_unlock(&x->shared.mu);
    if (err_is_set(&err)) {
        err_wrap(&err, "%s", f->name);
        file_fail(f, &err);
    } else if (finish) {
        finish_task(f);
        return; /* with the reference */
    }
    file_unref(f);
}

/* Asked under the file's mutex: another thread may be at the end of the file, and there the digests are made anew. */
static bool is_followed(struct xfer_file *f)
{
    pthread_mutex_lock(&f->mu);
    bool followed = !f->verify_stale && verify_is_ordered(f->verify);
    pthread_mutex_unlock(&f->mu);
    return followed;
}

void file_front_grew(struct xfer_file *f)
{
    struct xfer *x = f->x;
    struct err err = ERR_INIT;
    if (!is_followed(f))
        return;
    pthread_mutex_lock(&x->shared.mu);
    bool start = !f->hashing && !f->finishing && !f->ended;
    if (start) {
        f->hashing = true;
        file_ref_locked(f);
    }
    pthread_mutex_unlock(&x->shared.mu);
    if (!start || pool_submit(x->hash_pool, hash_task, f, &err) == 0)
        return;
    pthread_mutex_lock(&x->shared.mu);
    f->hashing = false;
    pthread_mutex_unlock(&x->shared.mu);
    file_fail(f, &err);
    file_unref(f);
}

/* ---- the end ---- */

static void succeed(struct xfer_file *f)
{
    struct xfer *x = f->x;
    pthread_mutex_lock(&x->shared.mu);
    bool first = !f->ended;
    f->ended = true;
    pthread_mutex_unlock(&x->shared.mu);
    if (first)
        file_unref(f);
}

/* A digest does not match: fetch the range again, once; a range that a part's own digest names does not count against
 * the others. */
static bool fetch_again(struct xfer_file *f, uint64_t first, uint64_t bytes, uint64_t size)
{
    struct xfer *x = f->x;
    struct err ignored = ERR_INIT;
    if (size == 0 || (f->refetches > 0 && f->refetched_first == first) || f->refetches > f->want.part_count)
        return false;
    f->refetches++;
    f->refetched_first = first;
    pthread_mutex_lock(&x->shared.mu);
    uint64_t cut = f->sched.part_bytes, parts = f->sched.part_count;
    pthread_mutex_unlock(&x->shared.mu);
    uint64_t from = parts == 1 ? 0 : first / cut;
    uint64_t end = parts == 1 ? 1 : (first + (bytes > size - first ? size - first : bytes) - 1) / cut + 1;
    pthread_mutex_lock(&f->mu);
    if (f->map)
        partmap_clear(f->map, from, end - from, &ignored);
    verify_forget(f->verify, from, end - from);
    pthread_mutex_unlock(&f->mu);
    uint64_t again = parts == 1 ? size : (end * cut < size ? end * cut : size) - from * cut;
    file_uncount(f, again);
    atomic_store(&f->streamed, 0);
    pthread_mutex_lock(&x->shared.mu);
    bool wanted = !f->ended;
    f->finishing = false;
    if (wanted)
        sched_parts_undo(&f->sched, from, end - from);
    pthread_mutex_unlock(&x->shared.mu);
    xfer_poke_all(x);
    return wanted;
}

/* The digests as opened may not be those wanted in the end: the source learned more, or the cut changed. */
static int settle_verify(struct xfer_file *f, struct err *err)
{
    int rc = 0;
    pthread_mutex_lock(&f->mu);
    if (f->verify_stale || !verify_covers(f->verify, &f->want)) {
        verify_free(f->verify);
        f->verify_stale = false;
        rc = file_open_verify(f, err);
    }
    pthread_mutex_unlock(&f->mu);
    return rc;
}

static uint64_t final_size(struct xfer_file *f)
{
    if (f->get.head_only)
        return f->head_bytes;
    return f->get.size != XFER_SIZE_UNKNOWN ? f->get.size : f->learned_size;
}

/* Compute, compare, end. Takes over one reference. */
static void finish(struct xfer_file *f)
{
    struct err err = ERR_INIT;
    uint64_t size = final_size(f), bad_first = 0, bad_bytes = 0;
    int rc = 0;
    f->result.size = size;
    if (!f->get.head_only) {
        rc = settle_verify(f, &err);
        f->result.computed = 0;
        if (rc == 0 && f->verify)
            rc =
                verify_finish(f->verify, &f->want, f->fd, size, cancel_of(f), &f->result, &bad_first, &bad_bytes, &err);
    }
    if (rc == 0) {
        succeed(f);
    } else if (rc < 0 || !fetch_again(f, bad_first, bad_bytes, size)) {
        err_wrap(&err, "%s", f->name);
        file_fail(f, &err);
    }
    file_unref(f);
}

static void finish_task(void *ctx)
{
    finish(ctx);
}

/* Streams may be shorter than what an earlier try of them wrote. */
static int trim(struct xfer_file *f, struct err *err)
{
    if (f->get.head_only || f->get.size != XFER_SIZE_UNKNOWN)
        return 0;
    if (ftruncate(f->fd, (off_t)f->learned_size) < 0)
        return err_sys(err, "%s: ftruncate", f->name);
    return 0;
}

void file_complete(struct xfer_file *f)
{
    struct xfer *x = f->x;
    struct err err = ERR_INIT;
    if (trim(f, &err) < 0) {
        file_fail(f, &err);
        return;
    }
    pthread_mutex_lock(&f->mu);
    bool at_once = !f->verify_stale && verify_covers(f->verify, &f->want) && verify_is_cheap(f->verify, &f->want);
    pthread_mutex_unlock(&f->mu);
    pthread_mutex_lock(&x->shared.mu);
    bool later = f->hashing || f->finishing || f->ended; /* a task is at it, and will see `finishing` */
    if (!f->ended)
        f->finishing = true;
    if (!later)
        file_ref_locked(f);
    pthread_mutex_unlock(&x->shared.mu);
    if (later)
        return;
    if (at_once || f->get.head_only) {
        finish(f);
    } else if (pool_submit(x->hash_pool, finish_task, f, &err) < 0) {
        file_fail(f, &err);
        file_unref(f);
    }
}
