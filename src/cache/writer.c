/* Index rows of new blobs, many in one transaction, by a thread of their own: who commits a fill (a transfer thread)
 * waits for no SQL, and nothing stays unseen for longer than LINGER_MS.
 *
 * Until its row is there, a fill keeps the locks of its origin (nobody fetches it again) and of its blob (nobody takes
 * its file for an orphan). */
#include "cache/cache_priv.h"

#include "base/log.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#define WRITER_BATCH 512  /* rows of one transaction */
#define WRITER_QUEUE 8192 /* what may wait; then commits do */
#define LINGER_MS    5    /* for more to come */

struct writer {
    struct cache *cache;
    struct db *db; /* the thread's own */
    pthread_t thread;
    pthread_mutex_t mu; /* guards all below */
    pthread_cond_t work, settled;
    struct pending *head, **tail;
    size_t queued;
    uint64_t added, done; /* since the start */
    unsigned in_haste;    /* drains under way */
    bool started, stopping;
    struct err failed;
};

static const char *verified_word(const struct cache_verified *how)
{
    if (how->has_digest)
        return digest_name(how->by.kind);
    return how->has_sha256 ? digest_name(DIGEST_SHA256) : "size";
}

/* A row that got another file is as new as one that was just made: a sync that is under way has not covered it. */
static int count_healed(struct db *db, int64_t n, struct err *err)
{
    struct db_stmt *s = NULL;
    if (db_prepare(db, "UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'blobs'", &s, err) < 0 ||
        db_run(s, err) < 0 ||
        db_prepare(db, "UPDATE blobs SET healed = (SELECT seq FROM sqlite_sequence WHERE name = 'blobs') WHERE n = $1",
                   &s, err) < 0)
        return -1;
    db_bind_i64(s, 1, n);
    return db_run(s, err);
}

static int put_blob(const struct cache *c, struct db *db, const struct pending *p, int64_t *n, struct err *err)
{
    struct db_stmt *s = NULL;
    const struct digest_value *digest = p->how.has_digest ? &p->how.by : p->how.has_sha256 ? &p->how.sha256 : NULL;
    if (db_prepare(db,
                   "INSERT INTO blobs(id, size, created_ms, last_used_ms, boot, public, verified_by, digest, scrub) "
                   "VALUES ($1, $2, $3, $3, $4, $5, $6, $7, $8) "
                   "ON CONFLICT(id) DO UPDATE SET last_used_ms = $3, boot = iif($9, $4, boot), lost = 0, "
                   "healed = iif($9, -1, healed) RETURNING n, healed < 0",
                   &s, err) < 0)
        return -1;
    db_bind_text(s, 1, p->id);
    db_bind_i64(s, 2, (int64_t)p->size);
    db_bind_i64(s, 3, cache_now(c));
    db_bind_i64(s, 4, c->boot);
    db_bind_i64(s, 5, p->how.world_readable);
    db_bind_text(s, 6, verified_word(&p->how));
    if (digest)
        db_bind_blob(s, 7, digest->bytes, digest_size(digest->kind));
    if (p->how.has_scrub)
        db_bind_blob(s, 8, p->how.scrub.bytes, digest_size(DIGEST_XXH3));
    db_bind_i64(s, 9, p->stored);
    int rc = db_next(s, err);
    if (rc <= 0)
        return rc < 0 ? -1 : err_set(err, ERR_SYSTEM, "index: blob %s got no row", p->id);
    *n = db_col_i64(s, 0);
    bool healed = db_col_i64(s, 1) != 0;
    if (db_next(s, err) < 0) /* to its end, which is where the row is written */
        return -1;
    return healed ? count_healed(db, *n, err) : 0;
}

static int put_origin(struct db *db, const char *key, int64_t blob, struct err *err)
{
    struct db_stmt *s = NULL;
    if (!*key)
        return 0;
    if (db_prepare(db, "INSERT INTO origins(key, blob) VALUES ($1, $2) ON CONFLICT(key) DO UPDATE SET blob = $2", &s,
                   err) < 0)
        return -1;
    db_bind_text(s, 1, key);
    db_bind_i64(s, 2, blob);
    return db_run(s, err);
}

/* What is stored needs no reservation any more. */
static int use_up_reservation(struct db *db, const struct cache_lease *lease, uint64_t bytes, struct err *err)
{
    struct db_stmt *s = NULL;
    if (!lease || !bytes)
        return 0;
    if (db_prepare(db, "UPDATE leases SET reserved = max(0, reserved - $2) WHERE n = $1 AND reserved > 0", &s, err) < 0)
        return -1;
    db_bind_i64(s, 1, lease->n);
    db_bind_i64(s, 2, (int64_t)bytes);
    return db_run(s, err);
}

static int put_all(const struct cache *c, struct db *db, const struct pending *list, struct err *err)
{
    uint64_t bytes = 0;
    const struct cache_lease *lease = NULL;
    for (const struct pending *p = list; p; p = p->next) {
        int64_t n = 0;
        if (put_blob(c, db, p, &n, err) < 0 || put_origin(db, p->key, n, err) < 0 ||
            lease_add_blob(db, p->lease, n, err) < 0)
            return -1;
        if (p->lease != lease) {
            if (use_up_reservation(db, lease, bytes, err) < 0)
                return -1;
            bytes = 0;
        }
        lease = p->lease;
        bytes += p->size;
    }
    return use_up_reservation(db, lease, bytes, err);
}

static int write_batch(struct writer *w, const struct pending *list, struct err *err)
{
    if (db_begin(w->db, err) < 0)
        return -1;
    if (put_all(w->cache, w->db, list, err) < 0) {
        db_rollback(w->db);
        return -1;
    }
    if (db_commit(w->db, err) < 0)
        return -1;
    if (w->cache->durable)
        atomic_store(&w->cache->unsynced, true);
    return 0;
}

/* A file that could not be indexed goes, so that its space is free again: unless another fill of this process shares it
 * or was indexed with it a moment ago. */
static void drop_file(struct cache *c, const struct pending *p)
{
    struct err err = ERR_INIT;
    struct blob_row row;
    bool known = true;
    if (locks_holders(c->locks, p->blob_lock) > 1)
        return;
    int rc = blob_row_by_id(index_enter(c), p->id, &row, &known, &err);
    index_leave(c);
    if (rc < 0 || (!known && blob_unlink(c, p->id, &err) < 0)) /* what nobody knows is swept */
        log_warn("cache", "%s", err.text);
}

/* Done with, either way. */
static void settle(struct writer *w, struct pending *p, const struct err *failed)
{
    struct cache *c = w->cache;
    if (err_is_set(failed) && p->stored)
        drop_file(c, p);
    locks_drop(c->locks, p->blob_lock);
    locks_drop(c->locks, p->origin_lock);
    if (err_is_set(failed) && p->lease) {
        pthread_mutex_lock(&w->mu);
        if (!err_is_set(&p->lease->failed))
            p->lease->failed = *failed;
        pthread_mutex_unlock(&w->mu);
    }
    free(p);
}

static void wait_for_more(struct writer *w)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LINGER_MS * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    while (w->queued < WRITER_BATCH && !w->in_haste && !w->stopping)
        if (pthread_cond_timedwait(&w->work, &w->mu, &until) == ETIMEDOUT)
            return;
}

static struct pending *take_batch(struct writer *w, size_t *n)
{
    struct pending *list = w->head, **at = &w->head;
    for (*n = 0; *at && *n < WRITER_BATCH; ++*n)
        at = &(*at)->next;
    w->head = *at;
    *at = NULL;
    w->queued -= *n;
    if (!w->head)
        w->tail = &w->head;
    return list;
}

/* With the mutex held, which is let go meanwhile. */
static void write_some(struct writer *w)
{
    size_t n;
    struct err failed = ERR_INIT;
    struct pending *list = take_batch(w, &n);
    pthread_mutex_unlock(&w->mu);
    if ((!w->db && index_connect(w->cache, &w->db, &failed) < 0) || write_batch(w, list, &failed) < 0)
        log_warn("cache", "%zu fills could not be indexed: %s", n, failed.text);
    while (list) {
        struct pending *next = list->next;
        settle(w, list, &failed);
        list = next;
    }
    pthread_mutex_lock(&w->mu);
    w->done += n;
    if (err_is_set(&failed))
        err_move(&w->failed, &failed);
    pthread_cond_broadcast(&w->settled);
}

static void *writer_main(void *ctx)
{
    struct writer *w = ctx;
    pthread_mutex_lock(&w->mu);
    for (;;) {
        if (w->head) {
            wait_for_more(w);
            write_some(w);
        } else if (w->stopping) {
            break;
        } else {
            pthread_cond_wait(&w->work, &w->mu);
        }
    }
    pthread_mutex_unlock(&w->mu);
    return NULL;
}

int writer_open(struct cache *c, struct err *err)
{
    pthread_condattr_t monotonic;
    struct writer *w = calloc(1, sizeof *w);
    if (!w)
        return err_nomem(err);
    w->cache = c;
    w->tail = &w->head;
    pthread_mutex_init(&w->mu, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&w->work, &monotonic);
    pthread_cond_init(&w->settled, &monotonic);
    pthread_condattr_destroy(&monotonic);
    c->writer = w;
    return 0;
}

void writer_close(struct cache *c)
{
    struct writer *w = c->writer;
    if (!w)
        return;
    pthread_mutex_lock(&w->mu);
    w->stopping = true;
    bool started = w->started;
    pthread_cond_signal(&w->work);
    pthread_mutex_unlock(&w->mu);
    if (started)
        pthread_join(w->thread, NULL);
    db_free(w->db);
    pthread_cond_destroy(&w->work);
    pthread_cond_destroy(&w->settled);
    pthread_mutex_destroy(&w->mu);
    free(w);
    c->writer = NULL;
}

/* Most runs store nothing: the thread comes with the first blob. */
static int start(struct writer *w, struct err *err)
{
    if (w->started)
        return 0;
    int rc = pthread_create(&w->thread, NULL, writer_main, w);
    if (rc != 0) {
        errno = rc;
        return err_sys(err, "start the cache's writer");
    }
    w->started = true;
    return 0;
}

int writer_add(struct cache *c, struct pending *p, struct err *err)
{
    struct writer *w = c->writer;
    pthread_mutex_lock(&w->mu);
    if (start(w, err) < 0) {
        struct err why = *err;
        pthread_mutex_unlock(&w->mu);
        settle(w, p, &why);
        return -1;
    }
    while (w->queued >= WRITER_QUEUE)
        pthread_cond_wait(&w->settled, &w->mu);
    *w->tail = p;
    w->tail = &p->next;
    w->added++;
    w->queued++;
    if (w->queued == 1 || w->queued == WRITER_BATCH)
        pthread_cond_signal(&w->work);
    pthread_mutex_unlock(&w->mu);
    return 0;
}

void writer_drain(struct cache *c)
{
    struct writer *w = c->writer;
    pthread_mutex_lock(&w->mu);
    const uint64_t target = w->added;
    w->in_haste++;
    pthread_cond_signal(&w->work);
    while (w->done < target)
        pthread_cond_wait(&w->settled, &w->mu);
    w->in_haste--;
    pthread_mutex_unlock(&w->mu);
}

int writer_failure(struct cache *c, struct err *err)
{
    struct writer *w = c->writer;
    pthread_mutex_lock(&w->mu);
    int rc = err_is_set(&w->failed) ? err_move(err, &w->failed) : 0;
    pthread_mutex_unlock(&w->mu);
    return rc;
}

int writer_failure_of(struct cache *c, struct cache_lease *l, struct err *err)
{
    struct writer *w = c->writer;
    struct err failed = ERR_INIT;
    pthread_mutex_lock(&w->mu);
    if (l)
        failed = l->failed;
    pthread_mutex_unlock(&w->mu);
    return err_is_set(&failed) ? err_move(err, &failed) : 0;
}

/* What a sync covers: blobs up to a number (numbers are never used twice), views built before an instant. */
struct covered {
    int64_t blob, before_ms;
};

static int mark_synced(struct cache *c, const struct covered *upto, struct err *err)
{
    struct db_stmt *s = NULL;
    if (db_prepare(c->index.db, "UPDATE blobs SET boot = 0 WHERE boot <> 0 AND max(n, healed) <= $1", &s, err) < 0)
        return -1;
    db_bind_i64(s, 1, upto->blob);
    if (db_run(s, err) < 0 ||
        db_prepare(c->index.db, "UPDATE snapshots SET view_boot = 0 WHERE view_boot > 0 AND view_made_ms < $1", &s,
                   err) < 0)
        return -1;
    db_bind_i64(s, 1, upto->before_ms);
    return db_run(s, err);
}

int writer_sync(struct cache *c, struct err *err)
{
    struct covered upto = {.before_ms = cache_now(c)};
    if (!c->durable || !atomic_exchange(&c->unsynced, false))
        return 0;
    int rc = index_value(index_enter(c), "SELECT seq FROM sqlite_sequence WHERE name = 'blobs'", &upto.blob, err);
    index_leave(c);
    if (rc == 0 && syncfs(c->dir_fd) < 0)
        rc = err_sys(err, "sync %s", c->dir);
    if (rc == 0 && (rc = index_begin(c, err)) == 0)
        rc = index_end(c, mark_synced(c, &upto, err), err);
    if (rc < 0)
        atomic_store(&c->unsynced, true);
    return rc;
}
