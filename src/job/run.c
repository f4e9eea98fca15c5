#include "job/job_priv.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "spec/spec.h"

#include <stdarg.h>
#include <unistd.h>

const char *run_phase_name(enum run_phase phase)
{
    static const char *const names[] = {
#define X(name, word) word,
        RUN_PHASES(X)
#undef X
    };
    return (size_t)phase < ARRAY_LEN(names) ? names[phase] : "unknown";
}

/* --- events: one at a time, whatever thread they come from -------------------------------------------------------- */

void run_say_phase(struct run *r, enum run_phase phase)
{
    if (!r->opts->events.phase)
        return;
    pthread_mutex_lock(&r->events_mu);
    r->opts->events.phase(r->opts->events.ctx, phase);
    pthread_mutex_unlock(&r->events_mu);
}

void run_warn(struct run *r, const char *fmt, ...)
{
    if (!r->opts->events.warn)
        return;
    char text[ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    pthread_mutex_lock(&r->events_mu);
    r->opts->events.warn(r->opts->events.ctx, text);
    pthread_mutex_unlock(&r->events_mu);
}

/* NULL: nothing more to watch. */
static void say_stage(struct run *r, const struct stage *stage, size_t inputs)
{
    if (!r->opts->events.stage)
        return;
    pthread_mutex_lock(&r->events_mu);
    r->opts->events.stage(r->opts->events.ctx, stage, inputs);
    pthread_mutex_unlock(&r->events_mu);
}

static void on_stage_warn(void *ctx, size_t input, const char *text)
{
    struct run *r = ctx;
    run_warn(r, "input %s: %s", r->op->inputs[input].at, text);
}

static void on_stage_phase(void *ctx, size_t input, enum stage_phase phase)
{
    struct run *r = ctx;
    (void)input;
    if (phase == STAGE_DOWNLOADING && !r->downloading_said) {
        r->downloading_said = true; /* stage calls back one at a time */
        run_say_phase(r, RUN_DOWNLOADING);
    }
}

static void on_pull(void *ctx, const char *status, uint64_t done, uint64_t total)
{
    struct run *r = ctx;
    if (!r->opts->events.pull)
        return;
    pthread_mutex_lock(&r->events_mu);
    r->opts->events.pull(r->opts->events.ctx, status, done, total);
    pthread_mutex_unlock(&r->events_mu);
}

static int on_output(void *ctx, int stream, const void *p, size_t n, struct err *err)
{
    struct run *r = ctx;
    if (r->opts->events.output) {
        pthread_mutex_lock(&r->events_mu);
        r->opts->events.output(r->opts->events.ctx, stream, p, n);
        pthread_mutex_unlock(&r->events_mu);
    }
    return results_add(&r->results, stream, p, n, err);
}

static void on_started(void *ctx)
{
    struct run *r = ctx;
    r->running_since = clock_mono_ms();
    run_say_phase(r, RUN_RUNNING);
}

/* --- image and inputs, side by side ------------------------------------------------------------------------------- */

struct pulling {
    struct run *run;
    struct err err;
    uint64_t ms;
};

static void *pull_thread(void *ctx)
{
    struct pulling *p = ctx;
    struct run *r = p->run;
    const struct registry_auth *auth = &r->op->auth;
    const struct engine_registry_auth given = {auth->server, auth->username, auth->password, auth->email};
    const struct engine_pull_opts opts = {
        .when = r->opts->pull,
        .auth = auth->username ? &given : NULL,
        .given_only = r->opts->market.job_id != NULL,
        .guard = r->opts->image_guard,
        .progress = on_pull,
        .ctx = r,
        .cancel = &r->stop,
    };
    uint64_t start = clock_mono_ms();
    if (engine_image_ensure(r->opts->engine, r->op->image, &opts, r->image_id, &r->image_pulled, &p->err) < 0)
        cancel_raise(&r->stop, CANCEL_STOP); /* no image, no need for inputs */
    p->ms = clock_mono_ms() - start;
    return NULL;
}

static int stage_inputs(struct run *r, struct err *err)
{
    if (r->op->input_count == 0)
        return 0;
    struct stage_opts so = r->opts->stage;
    so.job_id = r->result->job_id;
    so.work_dir = r->work.path;
    so.mounts_seen = r->info.same_mounts;
    so.cancel = &r->stop;
    so.warn = on_stage_warn;
    so.phase = on_stage_phase;
    so.ctx = r;
    if (stage_new(&r->stage, &so, r->op->inputs, r->op->input_count, err) < 0)
        return -1;
    say_stage(r, r->stage, r->op->input_count);
    int rc = stage_run(r->stage, err);
    say_stage(r, NULL, 0);
    return rc;
}

static void count_stage_times(struct run *r, uint64_t wall_ms)
{
    uint64_t resolve = 0;
    for (size_t i = 0; r->stage && i < r->op->input_count; i++) {
        struct stage_progress p;
        stage_progress(r->stage, i, &p);
        if (p.resolve_ms > resolve)
            resolve = p.resolve_ms;
        r->result->bytes_fetched += p.bytes_wire;
        r->result->bytes_cached += p.bytes_cached;
    }
    r->result->phase_ms[RUN_RESOLVING] = resolve < wall_ms ? resolve : wall_ms;
    r->result->phase_ms[RUN_DOWNLOADING] = wall_ms - r->result->phase_ms[RUN_RESOLVING];
}

static int too_late(struct err *err)
{
    return err_set(err, ERR_TIMEOUT, "the inputs were not ready within the stage timeout");
}

static int prepare(struct run *r, struct err *err)
{
    struct pulling pull = {.run = r};
    pthread_t thread;
    if (pthread_create(&thread, NULL, pull_thread, &pull) != 0)
        return err_set(err, ERR_SYSTEM, "cannot start a thread");
    uint64_t start = clock_mono_ms();
    struct err staging = ERR_INIT;
    if (stage_inputs(r, &staging) < 0)
        cancel_raise(&r->stop, CANCEL_STOP);
    count_stage_times(r, clock_mono_ms() - start);
    pthread_join(thread, NULL);
    r->result->phase_ms[RUN_PULLING] = pull.ms;
    if (atomic_load(&r->watch.timed_out))
        return too_late(err);
    /* Of two failures, the one that was not caused by the other. */
    if (err_is_set(&staging) && (staging.kind != ERR_CANCELLED || !err_is_set(&pull.err)))
        return err_move(err, &staging);
    return err_is_set(&pull.err) ? err_move(err, &pull.err) : 0;
}

/* --- the container ------------------------------------------------------------------------------------------------ */

static int run_container(struct run *r, struct err *err)
{
    uint64_t start = clock_mono_ms();
    run_say_phase(r, RUN_STARTING);
    if (run_create(r, err) < 0)
        return -1;
    const struct engine_run_opts opts = {
        .output = {.write = on_output, .ctx = r, .started = on_started},
        .timeout_ms = r->opts->timeout_ms ? r->opts->timeout_ms : r->opts->job->execution_timeout_ms,
        .stop_grace_ms = r->opts->stop_grace_ms ? r->opts->stop_grace_ms : GRACE_MS_DEFAULT,
        .cancel = &r->stop,
    };
    int rc = engine_run(r->opts->engine, r->container, &opts, &r->exit, err);
    uint64_t end = clock_mono_ms();
    r->result->phase_ms[RUN_STARTING] = (r->running_since ? r->running_since : end) - start;
    r->result->phase_ms[RUN_RUNNING] = r->running_since ? end - r->running_since : 0;
    r->result->first_output_ms = r->exit.first_output_ms;
    return rc;
}

static int stopped_code(const struct run_opts *o)
{
    return o->stopped_exit_code ? o->stopped_exit_code() : 130;
}

static int exit_code_of(const struct run_opts *o, const struct engine_exit *e)
{
    switch (e->end) {
    case ENGINE_TIMED_OUT:
        return 124;
    case ENGINE_STOPPED:
        return stopped_code(o);
    case ENGINE_EXITED:
    case ENGINE_OOM:
    case ENGINE_NOT_STARTED:
        break;
    }
    return e->exit_code;
}

static int keep_results(struct run *r, const struct err *failure, struct err *err)
{
    uint64_t start = clock_mono_ms();
    run_say_phase(r, RUN_PUBLISHING);
    if (r->container[0])
        run_collect(r, err);
    r->finished_ms = clock_wall_ms();
    results_finish(&r->results, r->result->exit_code, err);
    r->result->phase_ms[RUN_PUBLISHING] = clock_mono_ms() - start;
    r->result->record = run_record(r, failure, err);
    if (r->result->record)
        results_write_record(&r->results, r->result->record, err);
    if (err_is_set(err) || failure)
        return err_is_set(err) ? -1 : 0;
    return run_publish(r, r->result->record, err);
}

static void clean_up(struct run *r)
{
    bool left = false;
    if (r->container[0]) {
        struct err err = ERR_INIT;
        left = engine_remove(r->opts->engine, r->container, &err) < 0;
        if (left)
            run_warn(r, "container %.12s could not be removed now, a later run will: %s", r->container, err.text);
    }
    run_describe_end(r);
    stage_free(r->stage);
    results_release(&r->results);
    watch_end(&r->watch);
    if (r->stop.event_fd >= 0)
        cancel_release(&r->stop);
    workplace_release(&r->work, left);
    pthread_mutex_destroy(&r->events_mu);
}

static int set_up(struct run *r, struct err *err)
{
    const struct run_opts *o = r->opts;
    if (run_check(r, err) < 0 || cancel_init(&r->stop, err) < 0)
        return -1;
    /* Bind mounts only where what the container's user writes stays ours to read and remove. */
    r->bind_outputs = geteuid() == 0 || r->info.rootless;
    if (workplace_open(&r->work, o->work_root, r->result->job_id, err) < 0)
        return -1;
    uint64_t max = o->log_max_bytes ? o->log_max_bytes : LOG_MAX_DEFAULT;
    if (results_open(&r->results, o->results_dir, max, err) < 0)
        return -1;
    return watch_start(&r->watch, o->cancel, &r->stop, o->stage_timeout_ms, err);
}

/* The stage timeout ends with staging; cancellation is watched until the end. */
static int watch_again(struct run *r, struct err *err)
{
    watch_end(&r->watch);
    if (atomic_load(&r->watch.timed_out)) /* at the very end: what was stopped by it must not look like a Ctrl-C */
        return too_late(err);
    return watch_start(&r->watch, r->opts->cancel, &r->stop, 0, err);
}

static int whole_run(struct run *r, struct err *err)
{
    run_say_phase(r, RUN_RESOLVING);
    if (prepare(r, err) < 0 || watch_again(r, err) < 0 || cancel_check(&r->stop, err) < 0)
        return -1;
    run_describe_inputs(r);
    if (run_container(r, err) < 0)
        return -1;
    r->result->end = r->exit.end;
    r->result->exit_code = exit_code_of(r->opts, &r->exit);
    return 0;
}

static int exit_code_of_error(struct run *r, const struct err *err)
{
    return err->kind == ERR_CANCELLED ? stopped_code(r->opts) : atomic_load(&r->watch.timed_out) ? 124 : 125;
}

int job_run(const struct run_opts *opts, struct run_result *result, struct err *err)
{
    struct run r = {.opts = opts, .op = &opts->job->ops[0], .result = result, .begun_ms = clock_wall_ms()};
    r.stop.event_fd = r.work.root_fd = r.work.lock_fd = -1;
    r.results.dir_fd = r.results.stream_fd[0] = r.results.stream_fd[1] = -1;
    pthread_mutex_init(&r.events_mu, NULL);
    *result = (struct run_result){.end = ENGINE_NOT_STARTED, .exit_code = 125, .first_output_ms = UINT64_MAX};
    char id[RNG_ID_MAX];
    int rc = rng_id(id, err);
    if (rc == 0) {
        snprintf(result->job_id, sizeof result->job_id, "j-%s", id);
        rc = set_up(&r, err);
    }
    if (rc == 0) {
        rc = whole_run(&r, err);
        if (rc < 0)
            result->exit_code = exit_code_of_error(&r, err);
        struct err second = ERR_INIT;
        if (keep_results(&r, rc < 0 ? err : NULL, &second) < 0 && rc == 0) {
            result->exit_code = second.kind == ERR_CANCELLED ? stopped_code(opts) : 125;
            rc = err_move(err, &second);
        }
    }
    clean_up(&r);
    if (opts->events.phase)
        opts->events.phase(opts->events.ctx, RUN_DONE);
    return rc;
}

void run_result_release(struct run_result *r)
{
    json_decref(r->record);
    r->record = NULL;
}
