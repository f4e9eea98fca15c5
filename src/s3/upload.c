/* Parts side by side: who holds which buffer, what has failed, when all is there.
 *
 * A slot is one part under way. The thread that drives an upload takes a free slot, fills it (a stream's bytes, or a
 * file's region) and gives it to a worker; the worker sends it and frees the slot again. */
#include "s3/upload_journal.h"

#include "base/log.h"
#include "base/pool.h"

#define MIB           ((uint64_t)1 << 20)
#define PARTS_SPARE   500 /* left free when a part size is chosen, should the size be exceeded a little */
#define PARALLEL_MAX  32
#define SLOTS_MIN     2
#define ONE_PUT_BELOW S3_PART_DEFAULT
#define SETTINGS_ROOM ((size_t)16 << 10)

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
    struct upload_journal *journal; /* NULL: none. Workers read its past, and add to it under mu */
    bool resumed;                   /* `id` was another process's */
    struct pool *pool;
    struct slot *slots, *filling;
    size_t slot_count;
    bool finished;

    pthread_mutex_t mu;
    pthread_cond_t freed; /* a slot is no longer busy */
    struct {              /* under mu */
        struct upload_parts parts;
        uint64_t stored;
        struct err err; /* of the first part that failed */
        bool outdated;
    } shared;
};

uint64_t s3_part_bytes(uint64_t size)
{
    uint64_t parts = S3_PARTS_MAX - PARTS_SPARE, each = size / parts + 1;
    each = (each + MIB - 1) / MIB * MIB;
    return each < S3_PART_DEFAULT ? S3_PART_DEFAULT : each;
}

/* ---- what an earlier process left ---- */

/* What an upload's parts have in common, from its creation on. */
static int hash_settings(const struct s3_upload *u, char out[DIGEST_HEX_MAX], struct err *err)
{
    const struct s3_put_opts *o = &u->opts.put;
    const char *const words[] = {
        o->content_type, o->storage_class, o->sse, o->sse_kms_key_id, o->tags, o->acl, u->s3->sse_key_md5,
    };
    struct digest_value v;
    AUTO_BUF text;
    buf_init(&text, SETTINGS_ROOM);
    buf_addf(&text, "%llu", (unsigned long long)u->part_bytes);
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        buf_addf(&text, "\n%zu %s", words[i] ? strlen(words[i]) : 0, words[i] ? words[i] : "");
    if (buf_check(&text, "settings", err) < 0 || digest_bytes(DIGEST_SHA256, text.p, text.n, &v, err) < 0)
        return -1;
    digest_hex(out, &v);
    return 0;
}

static void abort_upload(struct s3_upload *u, const char *id, bool *gone)
{
    struct err err = ERR_INIT;
    *gone = s3_upload_abort(u->s3, u->key, id, &err) == 0;
    if (!*gone)
        log_warn("s3", "an unfinished upload could not be removed (key=%.256s reason=\"%.512s\")", u->key, err.text);
}

/* One with other parts, or to be stored otherwise, is of no use. */
static int open_journal(struct s3_upload *u, struct err *err)
{
    char settings[DIGEST_HEX_MAX];
    AUTO_BUF name;
    bool ignored;
    buf_init(&name, S3_URL_MAX);
    s3_location(u->s3, u->key, &name);
    buf_addf(&name, "\n%s", u->opts.journal_name);
    if (buf_check(&name, "name of an upload", err) < 0 || hash_settings(u, settings, err) < 0)
        return -1;
    u->journal = journal_open(u->opts.journal_dir, buf_str(&name));
    if (!u->journal || !journal_past(u->journal)->id[0] || str_eq(journal_past(u->journal)->settings, settings))
        return 0;
    abort_upload(u, journal_past(u->journal)->id, &ignored);
    journal_forget(u->journal);
    return 0;
}

/* ---- workers ---- */

static bool has_failed(struct s3_upload *u)
{
    pthread_mutex_lock(&u->mu);
    bool failed = err_is_set(&u->shared.err);
    pthread_mutex_unlock(&u->mu);
    return failed;
}

/* What an earlier process stored under this number; NULL: nothing. */
static const struct journal_part *past_part(const struct s3_upload *u, unsigned number)
{
    const struct journal_past *past = u->resumed ? journal_past(u->journal) : NULL;
    return past && number <= past->count && past->parts[number - 1].part.size > 0 ? &past->parts[number - 1] : NULL;
}

static int outdated(struct s3_upload *u, unsigned number, struct err *err)
{
    pthread_mutex_lock(&u->mu);
    u->shared.outdated = true;
    pthread_mutex_unlock(&u->mu);
    return err_set(err, ERR_CHANGED, "part %u is not what an interrupted upload stored", number);
}

/* 1: it is there already. */
static int store_part(struct s3_upload *u, const struct slot *s, struct journal_part *out, struct err *err)
{
    const struct s3_body body = {.bytes = {s->buffer, s->n}, .file = u->fd >= 0 ? &s->region : NULL};
    const struct journal_part *past = past_part(u, s->number);
    if (u->journal && digest_bytes(DIGEST_SHA256, s->buffer, s->n, &out->sha256, err) < 0)
        return -1;
    if (!past)
        return upload_put_part(u->s3, u->key, u->id, s->number, &body, u->sums, &out->part, err);
    if (past->part.size != s->n || !digest_equal(&past->sha256, &out->sha256))
        return outdated(u, s->number, err);
    *out = *past;
    return 1;
}

static void note_stored(struct s3_upload *u, const struct slot *s, const struct journal_part *p, bool known)
{
    if (u->journal && !known)
        journal_add(u->journal, s->number, p);
    u->shared.parts.v[s->number - 1] = p->part;
    u->shared.stored += p->part.size;
    if (u->opts.progress)
        u->opts.progress(u->opts.ctx, u->shared.stored);
}

static void send_part(void *ctx)
{
    struct slot *s = ctx;
    struct s3_upload *u = s->upload;
    struct journal_part stored = {0};
    struct err err = ERR_INIT;
    bool wanted = !has_failed(u);
    int rc = wanted ? store_part(u, s, &stored, &err) : 0;
    pthread_mutex_lock(&u->mu);
    u->shared.outdated |= rc < 0 && u->resumed && err.kind == ERR_NOTFOUND;
    if (rc < 0)
        err_move(&u->shared.err, &err);
    else if (wanted)
        note_stored(u, s, &stored, rc == 1);
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

static int create(struct s3_upload *u, struct err *err)
{
    char settings[DIGEST_HEX_MAX];
    if (upload_create(u->s3, u->key, &u->opts.put, u->id, &u->sums, err) < 0)
        return -1;
    if (u->journal && hash_settings(u, settings, err) < 0)
        return -1;
    if (u->journal)
        journal_begin(u->journal, u->id, u->sums, settings);
    return 0;
}

static void go_on(struct s3_upload *u)
{
    const struct journal_past *past = journal_past(u->journal);
    memcpy(u->id, past->id, sizeof u->id);
    u->sums = past->sums;
    u->resumed = true;
    log_info("s3", "going on with an interrupted upload (key=%.256s)", u->key);
}

static int begin(struct s3_upload *u, struct err *err)
{
    if (u->id[0])
        return 0;
    u->pool = pool_new("s3-upload", (unsigned)u->slot_count, 0, err);
    if (!u->pool)
        return -1;
    if (u->journal && journal_past(u->journal)->id[0])
        go_on(u);
    else if (create(u, err) < 0)
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
    pthread_mutex_lock(&u->mu);
    int rc = upload_parts_add(&u->shared.parts, number, err);
    pthread_mutex_unlock(&u->mu);
    return rc;
}

static int too_many_parts(const char *key, uint64_t part_bytes, struct err *err)
{
    err_set(err, ERR_LIMIT, "%.700s: more than %d parts of %llu bytes", key, S3_PARTS_MAX,
            (unsigned long long)part_bytes);
    return err_hint(err, "choose larger parts");
}

static int submit(struct s3_upload *u, struct slot *s, struct err *err)
{
    if (check_failed(u, err) < 0 || cancel_check(u->s3->cancel, err) < 0 || begin(u, err) < 0 ||
        add_part(u, &s->number, err) < 0)
        return -1;
    if (s->number > S3_PARTS_MAX)
        return too_many_parts(u->key, u->part_bytes, err);
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
    if (upload_complete(u->s3, u->key, u->id, u->shared.parts.v, u->shared.parts.n, u->opts.put.only_new, out, err) <
        0) {
        u->shared.outdated = u->resumed && err->kind == ERR_NOTFOUND; /* the workers are idle */
        return -1;
    }
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

/* The upload that nobody will complete: this one, or what a crash left and is not gone on with. */
static const char *left_over(const struct s3_upload *u)
{
    if (u->id[0])
        return u->finished ? NULL : u->id;
    const char *past = u->journal ? journal_past(u->journal)->id : "";
    return past[0] ? past : NULL;
}

bool s3_upload_outdated(struct s3_upload *u)
{
    pthread_mutex_lock(&u->mu);
    bool is = u->shared.outdated;
    pthread_mutex_unlock(&u->mu);
    return is;
}

void s3_upload_free(struct s3_upload *u)
{
    if (!u)
        return;
    pool_free(u->pool);
    const char *over = left_over(u);
    bool gone = true;
    if (over)
        abort_upload(u, over, &gone);
    journal_close(u->journal, !gone && !u->shared.outdated); /* what can't be removed can be gone on with */
    for (size_t i = 0; u->slots && i < u->slot_count; i++)
        free(u->slots[i].buffer);
    free(u->slots);
    free(u->shared.parts.v);
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
    struct s3_upload *u = upload_new(s3, key, -1, opts, err);
    if (!u)
        return -1;
    if (opts->journal_dir && open_journal(u, err) < 0) {
        s3_upload_free(u);
        return -1;
    }
    *out = u;
    return 0;
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

static int check_part_count(const char *key, uint64_t size, uint64_t part_bytes, struct err *err)
{
    if (size / part_bytes + (size % part_bytes != 0) <= S3_PARTS_MAX)
        return 0;
    return too_many_parts(key, part_bytes, err);
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
    if (check_part_count(key, size, chosen.part_bytes, err) < 0)
        return -1;
    struct s3_upload *u = upload_new(s3, key, fd, &chosen, err);
    int rc = u ? put_parts(u, size, out, err) : -1;
    s3_upload_free(u);
    return rc;
}
