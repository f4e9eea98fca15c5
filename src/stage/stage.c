#include "base/clock.h"
#include "stage/stage_priv.h"

#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

const char *stage_phase_name(enum stage_phase phase)
{
    static const char *const names[] = {
#define X(name, word) word,
        STAGE_PHASES(X)
#undef X
    };
    return (size_t)phase < ARRAY_LEN(names) ? names[phase] : "unknown";
}

void stage_warn(struct stage *s, size_t input, const char *fmt, ...)
{
    if (!s->opts.warn)
        return;
    char text[ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    pthread_mutex_lock(&s->warn_mu);
    s->opts.warn(s->opts.ctx, input, text);
    pthread_mutex_unlock(&s->warn_mu);
}

static int input_init(struct stage *s, size_t i, struct err *err)
{
    struct stage_input *in = &s->in[i];
    in->stage = s;
    in->index = i;
    in->shown.group.cancel = &s->stop;
    in->shown.group.policy = s->opts.access.policy;
    pthread_mutex_init(&in->finished.mu, NULL);
    pthread_mutex_init(&in->peers.mu, NULL);
    pthread_cond_init(&in->finished.cv, NULL);
    return stage_source_new(&in->source, s, i, err);
}

static void input_release(struct stage_input *in)
{
    peers_forget(in);
    stage_source_free(in->source);
    free(in->own.blobs);
    free(in->own.proved);
    if (in->stage) {
        pthread_mutex_destroy(&in->finished.mu);
        pthread_mutex_destroy(&in->peers.mu);
        pthread_cond_destroy(&in->finished.cv);
    }
}

/* What is mounted as it lies cannot be part of a merged tree. */
static int check_local_targets(const struct stage *s, struct err *err)
{
    for (size_t i = 0; i < s->n; i++) {
        for (size_t k = 0; s->in[i].source->host_path && k < s->n; k++) {
            const char *one = s->inputs[i].target, *two = s->inputs[k].target;
            if (k == i || (!merge_covers(one, two) && !merge_covers(two, one)))
                continue;
            err_set(err, ERR_INVALID, "%s and %s: a local folder is mounted as it is, and cannot be merged",
                    stage_label(s, i), stage_label(s, k));
            return err_hint(err, "give one of them a target outside the other's");
        }
    }
    return 0;
}

int stage_new(struct stage **out, const struct stage_opts *opts, const struct input *inputs, size_t n, struct err *err)
{
    if (n > STAGE_INPUTS_MAX)
        return err_set(err, ERR_LIMIT, "%zu inputs: a job may have at most %d", n, STAGE_INPUTS_MAX);
    struct stage *s = calloc(1, sizeof *s);
    if (!s)
        return err_nomem(err);
    s->opts = *opts;
    s->inputs = inputs;
    s->n = n;
    s->store = &store_cache;
    s->shared.failed = n;
    s->shared.done_fd = s->folder.dir_fd = s->folder.partial_fd = s->stop.event_fd = -1;
    pthread_mutex_init(&s->shared.mu, NULL);
    pthread_mutex_init(&s->warn_mu, NULL);
    pthread_mutex_init(&s->bad_peers.mu, NULL);
    pthread_mutex_init(&s->folder.mu, NULL);
    s->arena = arena_new(STAGE_TREE_BYTES_MAX, err);
    s->in = calloc(n ? n : 1, sizeof *s->in);
    s->s3_memory = s3_memory_new(err);
    int rc = s->arena && s->in && s->s3_memory ? cancel_init(&s->stop, err) : err_nomem(err);
    if (rc == 0 && (s->shared.done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
        rc = err_sys(err, "eventfd");
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = input_init(s, i, err);
        if (rc < 0 && *inputs[i].at)
            err_wrap(err, "%s", inputs[i].at);
    }
    if (rc == 0 && opts->cache)
        rc = check_local_targets(s, err);
    if (rc == 0 && opts->cache)
        rc = cache_lease_new(opts->cache, opts->job_id, &s->lease, err);
    if (rc < 0) {
        stage_free(s);
        return -1;
    }
    *out = s;
    return 0;
}

void stage_free(struct stage *s)
{
    if (!s)
        return;
    writable_release(s);
    store_folder_release(s);
    cache_lease_free(s->lease);
    for (size_t i = 0; s->in && i < s->n; i++)
        input_release(&s->in[i]);
    free(s->in);
    source_s3_logout(s);
    s3_memory_free(s->s3_memory);
    arena_free(s->arena);
    if (s->stop.event_fd >= 0)
        cancel_release(&s->stop);
    auto_close(&s->shared.done_fd);
    auto_close(&s->folder.partial_fd);
    auto_close(&s->folder.dir_fd);
    pthread_mutex_destroy(&s->shared.mu);
    pthread_mutex_destroy(&s->warn_mu);
    pthread_mutex_destroy(&s->bad_peers.mu);
    pthread_mutex_destroy(&s->folder.mu);
    free(s);
}

/* --- inputs in parallel ------------------------------------------------------------------------------------------- */

static void note_failure(struct stage *s, size_t i)
{
    pthread_mutex_lock(&s->shared.mu);
    /* What the first failure cancelled is not the cause. */
    if (s->shared.failed == s->n ||
        (s->in[s->shared.failed].own.err.kind == ERR_CANCELLED && s->in[i].own.err.kind != ERR_CANCELLED))
        s->shared.failed = i;
    pthread_mutex_unlock(&s->shared.mu);
    cancel_raise(&s->stop, CANCEL_STOP);
}

static void *input_thread(void *ctx)
{
    struct stage *s = ctx;
    for (;;) {
        pthread_mutex_lock(&s->shared.mu);
        size_t i = s->shared.next;
        if (i < s->n)
            s->shared.next++;
        pthread_mutex_unlock(&s->shared.mu);
        if (i >= s->n)
            break;
        struct stage_input *in = &s->in[i];
        if (cancel_check(&s->stop, &in->own.err) < 0 || input_run(in, &in->own.err) < 0)
            note_failure(s, i);
    }
    pthread_mutex_lock(&s->shared.mu);
    s->shared.running--;
    pthread_mutex_unlock(&s->shared.mu);
    uint64_t one = 1;
    ssize_t n = write(s->shared.done_fd, &one, sizeof one);
    (void)n; /* only a full counter could refuse, and then it is readable anyway */
    return NULL;
}

/* Pass the caller's cancellation on until every thread has ended. */
static void watch(struct stage *s)
{
    for (;;) {
        pthread_mutex_lock(&s->shared.mu);
        bool ended = s->shared.running == 0;
        pthread_mutex_unlock(&s->shared.mu);
        if (ended)
            return;
        bool stopped = cancel_level_of(&s->stop) != CANCEL_NONE;
        struct pollfd fds[2] = {{.fd = s->shared.done_fd, .events = POLLIN},
                                {.fd = s->opts.cancel && !stopped ? s->opts.cancel->event_fd : -1, .events = POLLIN}};
        poll(fds, 2, -1);
        if (cancel_level_of(s->opts.cancel) != CANCEL_NONE)
            cancel_raise(&s->stop, cancel_level_of(s->opts.cancel));
        uint64_t ignored;
        ssize_t n = read(s->shared.done_fd, &ignored, sizeof ignored);
        (void)n; /* nonblocking: empty is fine */
    }
}

int stage_name_input(struct err *err, const char *label)
{
    size_t n = strlen(label);
    if (strncmp(err->text, label, n) != 0 || err->text[n] != ':')
        return err_wrap(err, "input %s", label);
    struct err bare = *err;
    err_clear(err);
    err_set(err, bare.kind, "input %s", bare.text);
    return bare.hint[0] ? err_hint(err, "%s", bare.hint) : -1;
}

static void hint_space(const struct stage *s, struct err *err)
{
    if (s->folder.opts)
        err_hint(err, "free some space on the disk that holds %s, or name a folder on another one",
                 s->folder.opts->dir);
    else
        err_hint(err, "free some space on the disk that holds the cache: `berth cache gc` removes what has expired");
}

int stage_run_inputs(struct stage *s, struct err *err)
{
    size_t want = s->opts.parallel ? s->opts.parallel : STAGE_PARALLEL_DEFAULT;
    if (want > s->n)
        want = s->n;
    pthread_t *threads = calloc(want ? want : 1, sizeof *threads);
    if (!threads)
        return err_nomem(err);
    size_t started = 0;
    s->shared.running = want;
    for (; started < want; started++)
        if (pthread_create(&threads[started], NULL, input_thread, s) != 0)
            break;
    pthread_mutex_lock(&s->shared.mu);
    s->shared.running -= want - started;
    pthread_mutex_unlock(&s->shared.mu);
    if (started == 0 && want > 0)
        err_set(err, ERR_SYSTEM, "cannot start a thread");
    watch(s);
    for (size_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    free(threads);
    if (s->shared.failed < s->n) {
        struct stage_input *in = &s->in[s->shared.failed];
        if (in->own.err.kind != ERR_CANCELLED)
            stage_name_input(&in->own.err, in->source->label);
        if (in->own.err.kind == ERR_NOSPACE)
            hint_space(s, &in->own.err);
        return err_move(err, &in->own.err);
    }
    return err_is_set(err) ? -1 : 0;
}

int stage_run(struct stage *s, struct err *err)
{
    if (stage_run_inputs(s, err) < 0)
        return -1;
    return mount_all(s, err);
}

/* --- looking in --------------------------------------------------------------------------------------------------- */

void stage_progress(const struct stage *s, size_t input, struct stage_progress *out)
{
    struct stage_input *in = &s->in[input];
    const struct xfer_group *g = &in->shown.group;
    struct peer_figures peers;
    peers_figures(in, &peers);
    *out = (struct stage_progress){
        .phase = (enum stage_phase)atomic_load(&in->shown.phase),
        .files_total = atomic_load(&in->shown.files_total),
        .files_done = atomic_load(&in->shown.files_done),
        .files_cached = atomic_load(&in->shown.files_cached),
        .bytes_total = atomic_load(&in->shown.bytes_total),
        .bytes_cached = atomic_load(&in->shown.bytes_cached),
        .bytes_wire = atomic_load(&g->bytes_wire) + peers.bytes_wire,
        .requests = atomic_load(&g->requests) + peers.requests,
        .retries = atomic_load(&g->retries) + peers.retries,
        .bytes_from_peers = peers.bytes_wire,
        .files_from_peers = atomic_load(&in->shown.peer_files),
        .peers_failed = atomic_load(&in->shown.peer_failures),
        .stalled = atomic_load(&g->stalled),
        .resolve_ms = atomic_load(&in->shown.resolve_ms),
        .fetch_ms = atomic_load(&in->shown.fetch_ms),
    };
    uint64_t before = atomic_load(&in->shown.bytes_before), fetched = atomic_load(&g->bytes_done) + peers.bytes_done;
    out->bytes_done = out->bytes_cached + (fetched > before ? fetched - before : 0);
}

const char *stage_label(const struct stage *s, size_t input)
{
    return s->in[input].source->label;
}

const struct stage_mount *stage_mounts(const struct stage *s, size_t *n)
{
    *n = s->mount_count;
    return s->mounts;
}

struct cache_lease *stage_lease(struct stage *s)
{
    return s->lease;
}
