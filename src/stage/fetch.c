/* Many files of one input through the transfer engine, a window at a time. */
#include "base/fs.h"
#include "base/log.h"
#include "stage/stage_priv.h"

#include <limits.h>

/* --- finished fetches come back to the input's thread ------------------------------------------------------------- */

static void hand_back(struct fetch *f)
{
    struct stage_input *in = f->in;
    pthread_mutex_lock(&in->finished.mu);
    f->next = NULL;
    if (in->finished.last)
        in->finished.last->next = f;
    else
        in->finished.first = f;
    in->finished.last = f;
    pthread_cond_signal(&in->finished.cv);
    pthread_mutex_unlock(&in->finished.mu);
}

static struct fetch *take_finished(struct stage_input *in)
{
    pthread_mutex_lock(&in->finished.mu);
    while (!in->finished.first)
        pthread_cond_wait(&in->finished.cv, &in->finished.mu);
    struct fetch *f = in->finished.first;
    in->finished.first = f->next;
    if (!f->next)
        in->finished.last = NULL;
    pthread_mutex_unlock(&in->finished.mu);
    in->own.in_flight--;
    return f;
}

/* Stands in where there is no memory for the real error. */
static struct err no_memory_left = {.kind = ERR_NOMEM, .text = "out of memory"};

static void on_done(void *ctx, const struct xfer_result *result, const struct err *err)
{
    struct fetch *f = ctx;
    if (result) {
        f->result = *result;
        f->result.head = NULL; /* borrowed by the engine */
    }
    if (err) {
        f->failure = malloc(sizeof *f->failure);
        if (f->failure)
            *f->failure = *err;
        else
            f->failure = &no_memory_left;
    } else {
        const char *version = f->source_ctx ? f->in->source->ops->get_version(f->source_ctx) : NULL;
        struct err ignored = ERR_INIT;
        f->learned_version = version ? str_dup(version, &ignored) : NULL;
    }
    hand_back(f);
}

static int on_open(void *ctx, uint64_t size, int *fd, struct partmap **map, struct err *err)
{
    struct fetch *f = ctx;
    return f->in->stage->store->open(f, size, fd, map, err);
}

static int on_grow(void *ctx, uint64_t bytes, struct err *err)
{
    struct fetch *f = ctx;
    return f->in->stage->store->grow ? f->in->stage->store->grow(f, bytes, err) : 0;
}

static const struct xfer_sink sink = {.open = on_open, .grow = on_grow};

static void forget_failure(struct fetch *f)
{
    if (f->failure != &no_memory_left)
        free(f->failure);
    f->failure = NULL;
}

static void fetch_free(struct fetch *f)
{
    if (f->source_ctx)
        f->in->source->ops->get_end(f->source_ctx);
    forget_failure(f);
    free(f->learned_version);
    free(f->path);
    free(f);
}

/* --- starting ----------------------------------------------------------------------------------------------------- */

static struct fetch *fetch_new(struct stage_input *in, size_t file, struct err *err)
{
    struct fetch *f = calloc(1, sizeof *f);
    if (!f) {
        err_nomem(err);
        return NULL;
    }
    f->in = in;
    f->file = file;
    f->fd = f->map_fd = -1;
    return f;
}

/* Queue `f` in the engine; it comes back through the queue. Takes `f` over in either case. */
static int launch(struct fetch *f, bool head_only, struct err *err)
{
    struct stage_input *in = f->in;
    struct xfer_get get = {
        .group = &in->shown.group,
        .part_bytes = XFER_PART_DEFAULT,
        .sink = &sink,
        .sink_ctx = f,
        .done = on_done,
        .done_ctx = f,
        .head_only = head_only,
    };
    int rc = in->source->ops->get_begin(in->source, f->file, &get, err);
    if (rc == 0) {
        f->source_ctx = get.source_ctx;
        f->expected_size = get.size;
        if (f->stated && !head_only)
            get.want = (struct xfer_want){.has_full = true, .full = f->stated->sha256, .compute = get.want.compute};
        in->own.in_flight++;
        rc = xfer_get_start(in->stage->opts.xfer, &get, err);
        if (rc < 0)
            in->own.in_flight--;
    }
    if (rc < 0) {
        in->stage->store->abandon(f, true);
        fetch_free(f);
    }
    return rc;
}

/* From a peer where one has it, else from the origin. Takes `f` over in either case. */
static int launch_somewhere(struct fetch *f, struct err *err)
{
    if (!f->stated || !peers_launch(f, &sink, on_done))
        return launch(f, false, err);
    f->in->own.in_flight++;
    return 0;
}

static int put_content(struct fetch *f, struct span content, int fd, struct err *err)
{
    f->result.verified_by.kind = DIGEST_SHA256;
    f->result.verified = true;
    f->result.size = content.n;
    if (fs_pwrite_all(fd, content.p, content.n, 0, err) < 0)
        return -1;
    return digest_bytes(DIGEST_SHA256, content.p, content.n, &f->result.verified_by, err);
}

/* What the source has already is stored without a request, and comes back through the queue all the same. Takes `f`
 * over in either case. */
static int store_here(struct fetch *f, const struct source_file *file, struct err *err)
{
    struct stage_input *in = f->in;
    struct partmap *map = NULL; /* written in one go */
    bool given = file->content.p;
    int fd = -1;
    f->expected_size = file->size;
    int rc = in->stage->store->open(f, given ? file->content.n : XFER_SIZE_UNKNOWN, &fd, &map, err);
    if (rc == 0)
        rc = given ? put_content(f, file->content, fd, err)
                   : in->source->ops->copy(in->source, f->file, fd, &f->result.size, err);
    if (rc < 0) {
        in->stage->store->abandon(f, false);
        fetch_free(f);
        return -1;
    }
    atomic_fetch_add(&in->shown.group.bytes_done, f->result.size);
    in->own.in_flight++;
    hand_back(f);
    return 0;
}

/* --- fetching ----------------------------------------------------------------------------------------------------- */

static void count_stored(struct stage_input *in, const struct fetch *f)
{
    atomic_fetch_add(&in->shown.files_done, 1);
    if (f->expected_size == XFER_SIZE_UNKNOWN)
        atomic_fetch_add(&in->shown.bytes_total, f->result.size);
    if (f->result.verified)
        in->own.verified++;
    else
        in->own.by_size++;
    if (in->stage->folder.opts && in->stage->folder.opts->each) {
        struct source_file file;
        in->source->ops->file(in->source, f->file, &file);
        pthread_mutex_lock(&in->stage->folder.mu);
        in->stage->folder.opts->each(in->stage->folder.opts->ctx, file.name ? file.name : file.path, f->result.size,
                                     file.version);
        pthread_mutex_unlock(&in->stage->folder.mu);
    }
}

/* Not from this peer: the parts that came stay, since all is checked in the end, unless they were shown to be wrong. */
static void try_elsewhere(struct fetch *f, struct err *err)
{
    peers_settle(f, f->failure);
    if (f->failure->kind == ERR_CORRUPT)
        cache_fill_wipe(f->fill);
    forget_failure(f);
    launch_somewhere(f, err);
}

/* Take one finished fetch: store it, go on elsewhere, or keep the first error. */
static void settle(struct stage_input *in, struct err *err)
{
    struct fetch *f = take_finished(in);
    if (f->peer && f->failure && !err_is_set(err) && cancel_level_of(&in->stage->stop) == CANCEL_NONE) {
        try_elsewhere(f, err);
        return;
    }
    if (f->peer)
        peers_settle(f, f->failure);
    if (f->failure) {
        bool keep =
            f->failure->kind != ERR_CORRUPT && f->failure->kind != ERR_CHANGED && f->failure->kind != ERR_NOSPACE;
        in->stage->store->abandon(f, keep);
        err_move(err, f->failure);
    } else if (err_is_set(err)) {
        in->stage->store->abandon(f, true);
    } else {
        struct source_file file;
        in->source->ops->file(in->source, f->file, &file);
        if (in->stage->store->commit(f, &file, err) == 0)
            count_stored(in, f);
    }
    fetch_free(f);
}

static void settle_all(struct stage_input *in, struct err *err)
{
    while (in->own.in_flight > 0)
        settle(in, err);
}

static void count_there(struct stage_input *in, uint64_t size)
{
    atomic_fetch_add(&in->shown.files_done, 1);
    atomic_fetch_add(&in->shown.files_cached, 1);
    if (size != XFER_SIZE_UNKNOWN)
        atomic_fetch_add(&in->shown.bytes_cached, size);
}

/* 1: started or had; 0: somebody else is at it; -1: error. */
static int start_one(struct stage_input *in, size_t i, struct err *err)
{
    struct source_file file;
    in->source->ops->file(in->source, i, &file);
    struct fetch *f = fetch_new(in, i, err);
    if (!f)
        return -1;
    enum cache_fill_state state = CACHE_FILL_BUSY;
    int rc = in->stage->store->begin(f, &file, &state, err);
    if (rc < 0 || state != CACHE_FILL_MINE) {
        fetch_free(f);
        if (rc == 0 && state == CACHE_FILL_HIT)
            count_there(in, file.size);
        return rc < 0 ? -1 : state == CACHE_FILL_HIT;
    }
    const struct peer_file *peers = in->own.peers ? peers_file(in->own.peers, i) : NULL;
    if (peers && peers->stated) {
        f->stated = peers;
        cache_fill_bind(f->fill, &peers->sha256);
    }
    bool here = file.content.p || in->source->ops->copy;
    int started = here ? store_here(f, &file, err) : launch_somewhere(f, err);
    return started < 0 ? -1 : 1;
}

/* Files that another job is fetching: wait for it outside the window, then take what it left or take over. */
static int fetch_busy(struct stage_input *in, const size_t *busy, size_t n, struct err *err)
{
    struct stage *s = in->stage;
    for (size_t k = 0; k < n; k++) {
        int rc = 0;
        while ((rc = start_one(in, busy[k], err)) == 0) {
            struct source_file file;
            in->source->ops->file(in->source, busy[k], &file);
            struct cache_origin origin = {in->source->ops->name, file.location, file.version, file.size};
            settle_all(in, err);
            if (err_is_set(err) || cache_fill_wait(s->opts.cache, &origin, &s->stop, err) < 0)
                return -1;
        }
        if (rc < 0)
            return -1;
    }
    return 0;
}

int fetch_files(struct stage_input *in, struct err *err)
{
    size_t n = in->source->file_count, waiting = 0;
    size_t *busy = NULL;
    for (size_t i = 0; i < n && !err_is_set(err); i++) {
        if (in->own.blobs && in->own.blobs[i].id[0])
            continue;
        while (in->own.in_flight >= STAGE_WINDOW && !err_is_set(err))
            settle(in, err);
        if (err_is_set(err) || cancel_check(&in->stage->stop, err) < 0)
            break;
        int rc = start_one(in, i, err);
        if (rc == 0) {
            if (!busy && !(busy = calloc(n, sizeof *busy)))
                err_nomem(err);
            else
                busy[waiting++] = i;
        }
    }
    if (!err_is_set(err) && waiting > 0)
        fetch_busy(in, busy, waiting, err);
    settle_all(in, err);
    free(busy);
    return err_is_set(err) ? -1 : 0;
}

/* --- proving ------------------------------------------------------------------------------------------------------ */

static void settle_proof(struct stage_input *in, struct err *err)
{
    struct fetch *f = take_finished(in);
    if (f->failure)
        err_move(err, f->failure);
    fetch_free(f);
}

static void settle_look(struct stage_input *in, const struct peer_plan *plan)
{
    struct fetch *f = take_finished(in);
    struct peer_file *p = peers_file(plan, f->file);
    const struct xfer_want *want = &f->result.want;
    if (!f->failure && want->has_full && want->full.kind == DIGEST_SHA256) {
        p->stated = true;
        p->sha256 = want->full;
    }
    fetch_free(f);
}

int fetch_look(struct stage_input *in, struct peer_plan *plan, struct err *err)
{
    for (size_t i = 0; i < plan->n && !err_is_set(err); i++) {
        if (plan->v[i].stated)
            continue;
        while (in->own.in_flight >= STAGE_WINDOW)
            settle_look(in, plan);
        struct err why = ERR_INIT;
        struct fetch *f = cancel_check(&in->stage->stop, err) < 0 ? NULL : fetch_new(in, plan->v[i].file, err);
        if (f && launch(f, true, &why) < 0)
            log_debug("stage", "no HEAD (input=%zu reason=\"%s\")", in->index, why.text);
    }
    while (in->own.in_flight > 0)
        settle_look(in, plan);
    return err_is_set(err) ? -1 : 0;
}

int fetch_prove(struct stage_input *in, struct err *err)
{
    for (size_t i = 0; i < in->source->file_count && !err_is_set(err); i++) {
        if (!in->own.blobs[i].id[0] || in->own.proved[i])
            continue;
        while (in->own.in_flight >= STAGE_WINDOW)
            settle_proof(in, err);
        if (err_is_set(err) || cancel_check(&in->stage->stop, err) < 0)
            break;
        if (in->source->ops->prove)
            return in->source->ops->prove(in->source, i, err);
        struct fetch *f = fetch_new(in, i, err);
        if (f)
            launch(f, true, err);
    }
    while (in->own.in_flight > 0)
        settle_proof(in, err);
    return err_is_set(err) ? -1 : 0;
}
