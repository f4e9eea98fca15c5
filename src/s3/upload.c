/* Parts side by side: who holds which buffer, what has failed, when all is there.
 *
 * A slot is one part under way. The thread that drives an upload takes a free slot, fills it (a stream's bytes, or a
 * file's region) and gives it to a worker; the worker sends it and frees the slot again. */
#include "s3/upload_priv.h"

#include "base/log.h"
#include "base/pool.h"

#define MIB           ((uint64_t)1 << 20)
#define PARTS_SPARE   500 /* left free when a part size is chosen, should the size be exceeded a little */
#define PARALLEL_MAX  32
#define SLOTS_MIN     2
#define ONE_PUT_BELOW S3_PART_DEFAULT

struct slot {
    struct s3_upload *upload;
    bool busy; /* under upload->mu; a busy slot is its worker's */
    unsigned number;
    char *buffer; /* of part_bytes; NULL: never filled, or parts of a file */
    size_t n;
    struct http_region region;
};

struct s3_upload {
    /* Never changes after opening. */
    struct s3 *s3;
    char *key;
    struct s3_upload_opts opts;
    uint64_t part_bytes;
    int fd; /* -1: a stream */
    /* The driving thread's. */
    char id[S3_UPLOAD_ID_MAX]; /* "": not begun */
    enum sums_known sums;
    struct pool *pool;
    struct slot *slots, *filling;
    size_t slot_count;
    bool finished;

    pthread_mutex_t mu;
    pthread_cond_t freed; /* a slot is no longer busy */
    struct {              /* under mu */
        struct upload_part *parts;
        size_t part_count, part_room;
        uint64_t stored;
        struct err err; /* of the first part that failed */
    } shared;
};

uint64_t s3_part_bytes(uint64_t size)
{
    uint64_t parts = S3_PARTS_MAX - PARTS_SPARE, each = size / parts + 1;
    each = (each + MIB - 1) / MIB * MIB;
    return each < S3_PART_DEFAULT ? S3_PART_DEFAULT : each;
}

/* ---- workers ---- */

static bool has_failed(struct s3_upload *u)
{
    pthread_mutex_lock(&u->mu);
    bool failed = err_is_set(&u->shared.err);
    pthread_mutex_unlock(&u->mu);
    return failed;
}

static void note_stored(struct s3_upload *u, const struct slot *s, const struct upload_part *part)
{
    u->shared.parts[s->number - 1] = *part;
    u->shared.stored += part->size;
    if (u->opts.progress)
        u->opts.progress(u->opts.ctx, u->shared.stored);
}

static void send_part(void *ctx)
{
    struct slot *s = ctx;
    struct s3_upload *u = s->upload;
    struct upload_part part = {0};
    struct err err = ERR_INIT;
    const struct s3_body body = {.bytes = {s->buffer, s->n}, .file = u->fd >= 0 ? &s->region : NULL};
    bool wanted = !has_failed(u);
    if (wanted)
        upload_put_part(u->s3, u->key, u->id, s->number, &body, u->sums, &part, &err);
    pthread_mutex_lock(&u->mu);
    if (err_is_set(&err))
        err_move(&u->shared.err, &err);
    else if (wanted)
        note_stored(u, s, &part);
    s->busy = false;
    pthread_cond_signal(&u->freed);
    pthread_mutex_unlock(&u->mu);
}

/* ---- the driving thread ---- */

/* -1 with the error of the first part that failed, which stays for whoever asks next. */
static int check_failed(struct s3_upload *u, struct err *err)
{
    pthread_mutex_lock(&u->mu);
    struct err first = u->shared.err;
    pthread_mutex_unlock(&u->mu);
    return err_is_set(&first) ? err_move(err, &first) : 0;
}

static struct slot *free_slot(struct s3_upload *u)
{
    pthread_mutex_lock(&u->mu);
    for (;;) {
        for (size_t i = 0; i < u->slot_count; i++)
            if (!u->slots[i].busy) {
                pthread_mutex_unlock(&u->mu);
                return &u->slots[i];
            }
        pthread_cond_wait(&u->freed, &u->mu);
    }
}

static int begin(struct s3_upload *u, struct err *err)
{
    if (u->id[0])
        return 0;
    u->pool = pool_new("s3-upload", (unsigned)u->slot_count, 0, err);
    if (!u->pool || upload_create(u->s3, u->key, &u->opts.put, u->id, &u->sums, err) < 0)
        return -1;
    log_debug("s3", "upload begun (key=%.256s part_bytes=%llu parallel=%zu)", u->key, (unsigned long long)u->part_bytes,
              u->slot_count);
    return u->opts.begun ? u->opts.begun(u->opts.ctx, u->id, err) : 0;
}

static int ask_commit(const struct s3_upload_opts *o, struct err *err)
{
    return o->commit ? o->commit(o->ctx, err) : 0;
}

static int add_part(struct s3_upload *u, unsigned *number, struct err *err)
{
    int rc = 0;
    pthread_mutex_lock(&u->mu);
    if (u->shared.part_count == u->shared.part_room) {
        size_t room = u->shared.part_room ? 2 * u->shared.part_room : 64;
        struct upload_part *parts = reallocarray(u->shared.parts, room, sizeof *parts);
        if (parts) {
            u->shared.parts = parts;
            u->shared.part_room = room;
        } else {
            rc = err_nomem(err);
        }
    }
    if (rc == 0)
        *number = (unsigned)++u->shared.part_count;
    pthread_mutex_unlock(&u->mu);
    return rc;
}

static int submit(struct s3_upload *u, struct slot *s, struct err *err)
{
    if (check_failed(u, err) < 0 || cancel_check(u->s3->cancel, err) < 0 || begin(u, err) < 0 ||
        add_part(u, &s->number, err) < 0)
        return -1;
    if (s->number > S3_PARTS_MAX) {
        err_set(err, ERR_LIMIT, "%.700s: more than %d parts of %llu bytes", u->key, S3_PARTS_MAX,
                (unsigned long long)u->part_bytes);
        return err_hint(err, "choose larger parts");
    }
    s->busy = true; /* no worker knows it yet */
    if (pool_submit(u->pool, send_part, s, err) == 0)
        return 0;
    s->busy = false;
    return -1;
}

/* ---- a stream ---- */

static int start_filling(struct s3_upload *u, struct err *err)
{
    struct slot *s = free_slot(u);
    if (!s->buffer)
        s->buffer = malloc(u->part_bytes);
    if (!s->buffer)
        return err_nomem(err);
    s->n = 0;
    u->filling = s;
    return 0;
}

static int send_filled(struct s3_upload *u, struct err *err)
{
    struct slot *s = u->filling;
    u->filling = NULL;
    return submit(u, s, err);
}

int s3_upload_write(struct s3_upload *u, const void *p, size_t n, struct err *err)
{
    const char *from = p;
    while (n > 0) {
        /* A full part waits for the byte behind it, since the whole may end here. */
        if (u->filling && u->filling->n == u->part_bytes && send_filled(u, err) < 0)
            return -1;
        if (!u->filling && start_filling(u, err) < 0)
            return -1;
        struct slot *s = u->filling;
        size_t room = (size_t)u->part_bytes - s->n, piece = n < room ? n : room;
        memcpy(s->buffer + s->n, from, piece);
        s->n += piece;
        from += piece;
        n -= piece;
    }
    return 0;
}

/* ---- the end ---- */

static int complete(struct s3_upload *u, struct s3_stored *out, struct err *err)
{
    pool_wait_idle(u->pool);
    if (check_failed(u, err) < 0 || cancel_check(u->s3->cancel, err) < 0 || ask_commit(&u->opts, err) < 0)
        return -1;
    if (upload_complete(u->s3, u->key, u->id, u->shared.parts, u->shared.part_count, u->opts.put.only_new, out, err) <
        0)
        return -1;
    u->finished = true;
    return 0;
}

static int finish_small(struct s3_upload *u, struct s3_stored *out, struct err *err)
{
    const struct slot *s = u->filling;
    const struct s3_body body = {.bytes = {s ? s->buffer : "", s ? s->n : 0}};
    if (cancel_check(u->s3->cancel, err) < 0 || ask_commit(&u->opts, err) < 0 ||
        s3_put(u->s3, u->key, &body, &u->opts.put, out, err) < 0)
        return -1;
    u->finished = true;
    if (u->opts.progress)
        u->opts.progress(u->opts.ctx, body.bytes.n);
    return 0;
}

int s3_upload_finish(struct s3_upload *u, struct s3_stored *out, struct err *err)
{
    if (!u->id[0] && (!u->filling || !u->opts.begun))
        return finish_small(u, out, err);
    if (u->filling && send_filled(u, err) < 0)
        return -1;
    return complete(u, out, err);
}

static void abort_begun(struct s3_upload *u)
{
    struct err err = ERR_INIT;
    if (s3_upload_abort(u->s3, u->key, u->id, &err) < 0)
        log_warn("s3", "an unfinished upload could not be removed (key=%.256s reason=\"%.512s\")", u->key, err.text);
}

void s3_upload_free(struct s3_upload *u)
{
    if (!u)
        return;
    pool_free(u->pool);
    if (u->id[0] && !u->finished)
        abort_begun(u);
    for (size_t i = 0; u->slots && i < u->slot_count; i++)
        free(u->slots[i].buffer);
    free(u->slots);
    free(u->shared.parts);
    free(u->key);
    pthread_cond_destroy(&u->freed);
    pthread_mutex_destroy(&u->mu);
    free(u);
}

/* ---- opening ---- */

static size_t slots_of(const struct s3_upload *u)
{
    uint64_t room = u->opts.buffer_bytes ? u->opts.buffer_bytes : S3_UPLOAD_BUFFERS;
    uint64_t n = u->fd >= 0 ? S3_UPLOAD_PARALLEL : room / u->part_bytes;
    if (u->opts.parallel && (u->opts.parallel < n || u->fd >= 0))
        n = u->opts.parallel;
    return n < SLOTS_MIN ? SLOTS_MIN : n > PARALLEL_MAX ? PARALLEL_MAX : (size_t)n;
}

static struct s3_upload *upload_new(struct s3 *s3, const char *key, int fd, const struct s3_upload_opts *opts,
                                    struct err *err)
{
    struct s3_upload *u = calloc(1, sizeof *u);
    if (!u) {
        err_nomem(err);
        return NULL;
    }
    pthread_mutex_init(&u->mu, NULL);
    pthread_cond_init(&u->freed, NULL);
    u->s3 = s3;
    u->fd = fd;
    u->opts = *opts;
    u->part_bytes = opts->part_bytes ? opts->part_bytes : S3_PART_DEFAULT;
    u->slot_count = slots_of(u);
    u->key = str_dup(key, err);
    u->slots = calloc(u->slot_count, sizeof *u->slots);
    if (!u->key || !u->slots) {
        err_nomem(err);
        s3_upload_free(u);
        return NULL;
    }
    for (size_t i = 0; i < u->slot_count; i++)
        u->slots[i].upload = u;
    return u;
}

static int check_part_bytes(uint64_t part_bytes, struct err *err)
{
    if (part_bytes == 0 || (part_bytes >= S3_PART_MIN && part_bytes <= S3_PART_MAX))
        return 0;
    return err_set(err, ERR_INVALID, "parts of %llu bytes; S3 takes 5 MiB to 5 GiB", (unsigned long long)part_bytes);
}

int s3_upload_open(struct s3_upload **out, struct s3 *s3, const char *key, const struct s3_upload_opts *opts,
                   struct err *err)
{
    *out = NULL;
    if (check_part_bytes(opts->part_bytes, err) < 0 || s3_settle(s3, err) < 0)
        return -1;
    *out = upload_new(s3, key, -1, opts, err);
    return *out ? 0 : -1;
}

/* ---- a file ---- */

static int put_whole_file(struct s3 *s3, const char *key, int fd, uint64_t size, const struct s3_upload_opts *opts,
                          struct s3_stored *out, struct err *err)
{
    const struct http_region region = {.fd = fd, .length = size};
    const struct s3_body body = {.bytes = {"", 0}, .file = size > 0 ? &region : NULL};
    if (ask_commit(opts, err) < 0 || s3_put(s3, key, &body, &opts->put, out, err) < 0)
        return -1;
    if (opts->progress)
        opts->progress(opts->ctx, size);
    return 0;
}

static int put_parts(struct s3_upload *u, uint64_t size, struct s3_stored *out, struct err *err)
{
    for (uint64_t at = 0; at < size; at += u->part_bytes) {
        struct slot *s = free_slot(u);
        s->region = (struct http_region){u->fd, at, size - at < u->part_bytes ? size - at : u->part_bytes};
        if (submit(u, s, err) < 0)
            return -1;
    }
    return complete(u, out, err);
}

int s3_put_file(struct s3 *s3, const char *key, int fd, uint64_t size, const struct s3_upload_opts *opts,
                struct s3_stored *out, struct err *err)
{
    if (check_part_bytes(opts->part_bytes, err) < 0 || s3_settle(s3, err) < 0)
        return -1;
    struct s3_upload_opts chosen = *opts;
    if (chosen.part_bytes == 0)
        chosen.part_bytes = s3_part_bytes(size);
    if (size <= ONE_PUT_BELOW || size <= chosen.part_bytes)
        return put_whole_file(s3, key, fd, size, &chosen, out, err);
    struct s3_upload *u = upload_new(s3, key, fd, &chosen, err);
    int rc = u ? put_parts(u, size, out, err) : -1;
    s3_upload_free(u);
    return rc;
}
