/* One execution from claim to finish, on a thread of its own. */
#include "node/node_priv.h"

#include "base/fs.h"
#include "base/log.h"
#include "spec/spec.h"

#include <time.h>

#define REASON_TEXT_MAX 700 /* of an error; its hint beside it */
#define REASON_HINT_MAX 300

/* --- what the run tells ------------------------------------------------------------------------------------------- */

static void on_phase(void *ctx, enum run_phase phase)
{
    struct execution *e = ctx;
    struct node *n = e->node;
    pthread_mutex_lock(&n->mu);
    if (phase == RUN_RUNNING)
        e->shared.state = EXEC_RUNNING;
    else if (phase == RUN_PUBLISHING && e->shared.state == EXEC_RUNNING)
        e->shared.state = EXEC_PUBLISHING;
    else if (e->shared.state == EXEC_CLAIMED)
        e->shared.state = EXEC_STAGING;
    n->shared.blobs_changed |= phase == RUN_RUNNING;
    node_beat_now(n);
    pthread_mutex_unlock(&n->mu);
}

static void on_stage(void *ctx, const struct stage *stage, size_t inputs)
{
    struct execution *e = ctx;
    pthread_mutex_lock(&e->node->mu);
    e->shared.stage = stage;
    e->shared.inputs = inputs;
    pthread_mutex_unlock(&e->node->mu);
}

static void on_pull(void *ctx, const char *status, uint64_t done, uint64_t total)
{
    struct execution *e = ctx;
    (void)status;
    pthread_mutex_lock(&e->node->mu);
    e->shared.pull_done = done;
    e->shared.pull_total = total;
    pthread_mutex_unlock(&e->node->mu);
}

static void on_publish(void *ctx, uint64_t done, uint64_t total)
{
    struct execution *e = ctx;
    pthread_mutex_lock(&e->node->mu);
    e->shared.publish_done = done;
    e->shared.publish_total = total;
    pthread_mutex_unlock(&e->node->mu);
}

static void on_output(void *ctx, int stream, const void *p, size_t n)
{
    (void)stream;
    (void)p;
    (void)n;
    logs_more(ctx);
}

static void on_warn(void *ctx, const char *text)
{
    const struct execution *e = ctx;
    log_warn("node", "%s (execution=%s)", text, e->tag);
}

/* --- the run ------------------------------------------------------------------------------------------------------ */

static bool is_allowed(const struct node *n, const struct publisher *to)
{
    for (const char *const *b = n->opts->allow_buckets; b && *b; b++)
        if (!to->endpoint && str_eq(*b, to->bucket))
            return true;
    return false;
}

static void publish_access(const struct execution *e, const struct execution_job *j, struct publish_access *out)
{
    *out = e->node->opts->publish;
    out->keys = j->keys;
    out->ambient = !j->keys.access_key_id && is_allowed(e->node, &j->job->publisher);
    if (j->region)
        out->region = j->region;
}

static void describe_run(struct execution *e, const struct execution_job *j, struct uploads *uploads,
                         const struct engine_image_guard *guard, struct run_opts *out)
{
    const struct node_opts *o = e->node->opts;
    *out = (struct run_opts){
        .job = j->job,
        .engine = o->engine,
        .stage = {.cache = o->cache,
                  .xfer = o->xfer,
                  .http = o->http,
                  .access = o->access,
                  .stale_if_error = o->stale_if_error,
                  .partition_index = e->count > 1 ? e->index : 0,
                  .partition_count = e->count > 1 ? e->count : 0},
        .results_dir = e->dir,
        .work_root = o->work_root,
        .no_gpu = o->no_gpu,
        .network = o->network,
        .network_allow = o->access.policy.allow,
        .image_guard = guard,
        .timeout_ms = j->timeout_ms,
        .stop_grace_ms = o->stop_grace_ms,
        .log_max_bytes = o->log_max_bytes,
        .output_max_bytes = o->output_max_bytes,
        .market = {.job_id = e->job,
                   .execution_id = e->execution_id,
                   .node_id = e->node->id,
                   .attempt = e->attempt,
                   .begun = uploads_begun,
                   .commit = uploads_commit,
                   .grant = uploads_grant,
                   .more = uploads_more,
                   .ctx = uploads},
        .cancel = &e->cancel,
        .events = {.phase = on_phase,
                   .stage = on_stage,
                   .pull = on_pull,
                   .publish = on_publish,
                   .output = on_output,
                   .warn = on_warn,
                   .ctx = e},
    };
    if (!e->confidential) /* the server would learn its inputs' digests */
        out->stage.peers = (struct stage_peers){.locate = peers_locate, .ctx = e, .xfer = e->node->peer_xfer};
    out->stage.access.ambient = false;
    out->stage.access.ambient_buckets = o->allow_buckets;
    out->stage.access.local_private = e->node->private_dirs;
    publish_access(e, j, &out->publish);
    uploads->exec = e;
    uploads->access =
        (struct publish_opts){.to = &j->job->publisher, .access = out->publish, .http = o->http, .cancel = &e->lost_fd};
}

static void note_holds(struct execution *e, const struct job *job, const json_t *record)
{
    const json_t *staged = json_object_get(record, "inputs");
    for (size_t i = 0; i < job->ops[0].input_count; i++) {
        struct err err = ERR_INIT;
        if (holds_note(&e->node->holds, &job->ops[0].inputs[i], json_array_get(staged, i), &err) < 0)
            log_warn("node", "what is held cannot be noted (reason=\"%s\")", err.text);
    }
}

struct outcome {
    int rc; /* of job_run() */
    struct run_result result;
    struct err err;
    bool keep; /* the results folder is where results are published */
};

static void run_job(struct execution *e, const struct execution_job *j, const json_t *previous, struct outcome *o)
{
    struct run_opts opts;
    struct uploads uploads = {0};
    pthread_t sender;
    bool logs = !j->job->ops[0].private_logs;
    const struct engine_image_guard guard = images_guard(&e->node->images);
    describe_run(e, j, &uploads, &guard, &opts);
    uploads_abort(&uploads, previous);
    if (logs && logs_start(e, &sender, &o->err) < 0)
        return;
    o->rc = job_run(&opts, &o->result, &o->err);
    if (logs)
        logs_end(e, sender);
    uploads_release(&uploads);
    if (!e->confidential) /* the server would learn what its inputs are called, and who else reads them */
        note_holds(e, j->job, o->result.record);
    o->keep = j->job->publisher.kind == PUBLISH_LOCAL;
}

/* --- its end ------------------------------------------------------------------------------------------------------ */

/* Kinds of errors that another node may not have. */
static bool is_own_fault(enum err_kind kind)
{
    return kind == ERR_TRANSIENT || kind == ERR_NOSPACE || kind == ERR_NOMEM || kind == ERR_SYSTEM ||
           kind == ERR_BUSY || kind == ERR_TIMEOUT;
}

struct verdict {
    const char *outcome;
    char reason[REASON_MAX];
    bool has_code, retry;
};

static const char *outcome_of_end(const struct run_result *r)
{
    return r->end == ENGINE_TIMED_OUT                     ? "timed_out"
           : r->end == ENGINE_EXITED && r->exit_code == 0 ? "succeeded"
                                                          : "failed";
}

static void reason_of_end(const struct execution *e, const struct run_result *r, char out[REASON_MAX])
{
    const char *why = e->confidential ? NULL : json_get_str(r->record, "reason"); /* it may name the image */
    if (r->end == ENGINE_TIMED_OUT)
        snprintf(out, REASON_MAX, "its time was up");
    else if (r->end == ENGINE_OOM)
        snprintf(out, REASON_MAX, "the container ran out of memory and was killed");
    else if (r->end == ENGINE_NOT_STARTED)
        snprintf(out, REASON_MAX, "the container did not start: %s", why ? why : "no reason given");
    else if (r->exit_code != 0)
        snprintf(out, REASON_MAX, "exit code %d", r->exit_code);
}

/* Errors name inputs, images and places: of a confidential job they are for this node's log alone. */
static void reason_of_error(const struct execution *e, const struct err *why, char out[REASON_MAX])
{
    char text[REASON_TEXT_MAX], hint[REASON_HINT_MAX];
    if (e->confidential) {
        log_info("node", "not run to its end (execution=%s reason=\"%s\")", e->tag, why->text);
        snprintf(out, REASON_MAX, "%s; what it was stays on the node, in its log", err_kind_name(why->kind));
        return;
    }
    str_fit(text, sizeof text, why->text);
    str_fit(hint, sizeof hint, why->hint);
    snprintf(out, REASON_MAX, "%s%s%s", text, *hint ? "; " : "", hint);
}

static void judge(struct execution *e, const struct outcome *o, struct verdict *v)
{
    bool interrupted = o->rc < 0 ? o->err.kind == ERR_CANCELLED : o->result.end == ENGINE_STOPPED;
    pthread_mutex_lock(&e->node->mu);
    bool stopped = e->shared.stopped, given_back = e->shared.given_back;
    *v = (struct verdict){.outcome = "failed"};
    if (interrupted && stopped)
        snprintf(v->reason, sizeof v->reason, "%s", e->shared.stop_reason);
    pthread_mutex_unlock(&e->node->mu);
    if (interrupted && stopped) {
        v->outcome = "stopped";
    } else if (interrupted) {
        v->retry = true;
        snprintf(v->reason, sizeof v->reason, "%s", given_back ? "its node was shut down" : "interrupted");
    } else if (o->rc < 0) {
        v->retry = is_own_fault(o->err.kind);
        reason_of_error(e, &o->err, v->reason);
    } else {
        v->outcome = outcome_of_end(&o->result);
        v->has_code = true;
        reason_of_end(e, &o->result, v->reason);
    }
}

/* A container that missed its network may well have failed for that. */
static void add_network(const struct run_result *r, struct verdict *v)
{
    static const struct span none = SPAN_LIT("none: ");
    const char *network = json_get_str(r->record, "network");
    size_t n = strlen(v->reason);
    if (network && span_starts(span_of(network), none))
        snprintf(v->reason + n, sizeof v->reason - n, "%sit asked for a network and had none: %s", n ? "; " : "",
                 network + none.n);
}

/* What a record holds that comes from no definition, nor names what is in one. */
static json_t *confidential_record(const json_t *record)
{
    static const char *const members[] = {
        "berth",  "id",      "attempt",   "exit_code",       "end",       "error_kind",
        "engine", "logs",    "phases_ms", "first_output_ms", "published", "published_bytes",
        "begun",  "finished"};
    json_t *copy = json_object();
    for (size_t i = 0; copy && i < ARRAY_LEN(members); i++) {
        json_t *value = json_object_get(record, members[i]);
        if (value && json_object_set(copy, members[i], value) < 0) {
            json_decref(copy);
            return NULL;
        }
    }
    return copy;
}

/* The record as far as it fits in a message: without the lists of objects, where those are long. */
static json_t *record_to_send(const struct execution *e, const json_t *record)
{
    size_t i;
    json_t *input, *copy = e->confidential ? confidential_record(record) : json_deep_copy(record);
    if (!copy || json_dumpb(copy, NULL, 0, JSON_COMPACT) <= RECORD_BYTES_MAX)
        return copy;
    json_array_foreach(json_object_get(copy, "inputs"), i, input) json_object_del(input, "objects");
    if (json_dumpb(copy, NULL, 0, JSON_COMPACT) <= RECORD_BYTES_MAX)
        return copy;
    json_decref(copy);
    return NULL;
}

static json_t *finish_body(const struct execution *e, const struct outcome *o, const struct verdict *v, struct err *err)
{
    json_t *body = exec_ref(e, err), *record = record_to_send(e, o->result.record);
    json_t *published = json_object_get(o->result.record, "published");
    json_put_str(body, "outcome", v->outcome, err);
    json_put(body, "exit_code", v->has_code ? json_integer(o->result.exit_code) : json_null(), err);
    json_put_str(body, "reason", v->reason, err);
    json_put(body, "published", published ? json_incref(published) : json_null(), err);
    if (record)
        json_put(body, "record", record, err);
    json_put(body, "retry", json_boolean(v->retry), err);
    if (!err_is_set(err))
        return body;
    json_decref(body);
    return NULL;
}

static bool is_lost(struct execution *e, bool finishing)
{
    pthread_mutex_lock(&e->node->mu);
    bool lost = e->shared.lost;
    e->shared.finishing = finishing && !lost;
    pthread_mutex_unlock(&e->node->mu);
    return lost;
}

/* Until the server has it, or it is nobody's anymore. */
static void finish(struct execution *e, const struct outcome *o)
{
    struct verdict v;
    struct err err = ERR_INIT;
    judge(e, o, &v);
    add_network(&o->result, &v);
    str_fit(v.reason, sizeof v.reason, v.reason); /* half a character is no text for a server */
    AUTO_JSON body = finish_body(e, o, &v, &err);
    struct err unwritten = ERR_INIT; /* a full disk keeps nobody from saying it */
    if (body && will_write(e, body, &unwritten) < 0)
        log_warn("node", "the end is not on disk (execution=%s reason=\"%s\")", e->tag, unwritten.text);
    if (is_lost(e, true) || !body || exec_call(e, "finish", body, NULL, NULL, &err) < 0) {
        if (err_is_set(&err) && err.kind != ERR_CANCELLED)
            node_say(e->node, "execution %s: its end was not taken: %s", e->tag, err.text);
    } else {
        log_info("node", "finished (execution=%s outcome=%s reason=\"%s\")", e->tag, v.outcome, v.reason);
    }
    pthread_mutex_lock(&e->node->mu);
    e->shared.told = true;
    pthread_mutex_unlock(&e->node->mu);
    will_remove(e);
}

static void remove_results(struct execution *e)
{
    struct err err = ERR_INIT;
    if (!e->node->opts->keep_results && fs_remove_tree(e->node->results_fd, e->tag, &err) < 0)
        log_warn("node", "results could not be removed (execution=%s reason=\"%s\")", e->tag, err.text);
}

static void run_all(struct execution *e, struct outcome *o)
{
    struct execution_job j = {0};
    AUTO_JSON previous = json_deep_copy(json_object_get(e->claim, "previous_uploads"));
    if (will_write(e, NULL, &o->err) == 0 && definition_read(e, &j, &o->err) == 0) {
        on_phase(e, RUN_RESOLVING);
        run_job(e, &j, previous, o);
    }
    job_free(j.job);
}

static void *exec_thread(void *ctx)
{
    struct execution *e = ctx;
    struct node *n = e->node;
    struct outcome o = {.rc = -1};
    log_info("node", "claimed (execution=%s attempt=%u)", e->tag, e->attempt);
    run_all(e, &o);
    finish(e, &o);
    run_result_release(&o.result);
    if (!o.keep)
        remove_results(e);
    pthread_mutex_lock(&n->mu);
    e->shared.done = true;
    pthread_mutex_unlock(&n->mu);
    node_wake(n);
    return NULL;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

void exec_stop(struct execution *e, const char *reason)
{
    e->shared.stopped = true;
    snprintf(e->shared.stop_reason, sizeof e->shared.stop_reason, "%s", reason);
    cancel_raise(&e->cancel, CANCEL_STOP);
}

void exec_free(struct execution *e)
{
    if (!e)
        return;
    secrets_free(e->claim);
    cancel_release(&e->cancel);
    cancel_release(&e->lost_fd);
    pthread_cond_destroy(&e->log.changed);
    pthread_mutex_destroy(&e->log.mu);
    free(e->dir);
    free(e);
}

/* A name that may be one of a file: it comes from outside. */
static bool is_plain(const char *job)
{
    if (str_empty(job) || strlen(job) >= NODE_JOB_MAX)
        return false;
    for (const char *p = job; *p; p++)
        if (!ascii_is_digit(*p) && !(ascii_lower(*p) >= 'a' && ascii_lower(*p) <= 'z') && *p != '-')
            return false;
    return true;
}

static int read_claim(struct execution *e, struct err *err)
{
    const char *job = json_get_str(e->claim, "job");
    int64_t index = -1, count = 0, attempt = 0, epoch = -1, lease = 0;
    if (!is_plain(job) || !json_get_i64(e->claim, "index", &index) || !json_get_i64(e->claim, "count", &count) ||
        !json_get_i64(e->claim, "attempt", &attempt) || !json_get_i64(e->claim, "epoch", &epoch) ||
        !json_get_i64(e->claim, "lease_ms", &lease) || index < 0 || index > UINT32_MAX || count < 1 ||
        count > UINT32_MAX || attempt < 0 || attempt > UINT32_MAX || epoch < 0 || lease <= 0)
        return err_set(err, ERR_PROTOCOL, "the server's claim cannot be understood");
    snprintf(e->job, sizeof e->job, "%s", job);
    e->index = (uint32_t)index;
    e->count = (uint32_t)count;
    e->attempt = (uint32_t)attempt;
    e->epoch = epoch;
    snprintf(e->tag, sizeof e->tag, "%s-%u-%lld", e->job, e->index, (long long)e->epoch);
    /* Not the attempt's: another one replaces this one's result, and cannot leave a second beside it. */
    snprintf(e->execution_id, sizeof e->execution_id, "e-%s-%u", e->job, e->index);
    return 0;
}

static int init(struct execution *e, struct err *err)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&e->log.mu, NULL);
    pthread_cond_init(&e->log.changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    e->cancel.event_fd = e->lost_fd.event_fd = -1;
    if (cancel_init(&e->cancel, err) < 0 || cancel_init(&e->lost_fd, err) < 0 || read_claim(e, err) < 0)
        return -1;
    e->dir = str_printf(err, "%s/%s", e->node->results_dir, e->tag);
    return e->dir ? 0 : -1;
}

static void unlink_execution(struct execution *e)
{
    struct execution **at = &e->node->shared.running;
    while (*at != e)
        at = &(*at)->shared.next;
    *at = e->shared.next;
    e->node->shared.running_count--;
}

int exec_start(struct node *n, json_t *claim, uint64_t asked_ms, struct err *err)
{
    struct execution *e = calloc(1, sizeof *e);
    int64_t lease = 0;
    if (!e) {
        secrets_free(claim);
        return err_nomem(err);
    }
    e->node = n;
    e->claim = claim;
    e->confidential = json_get_bool(claim, "confidential", false);
    if (init(e, err) < 0) {
        exec_free(e);
        return -1;
    }
    json_get_i64(claim, "lease_ms", &lease);
    e->shared.lease_until_ms = lease_extend(0, asked_ms, lease);
    pthread_mutex_lock(&n->mu);
    e->shared.next = n->shared.running;
    n->shared.running = e;
    n->shared.running_count++;
    int rc = pthread_create(&e->thread, NULL, exec_thread, e);
    if (rc != 0)
        unlink_execution(e);
    node_beat_now(n);
    pthread_mutex_unlock(&n->mu);
    node_wake(n);
    if (rc == 0)
        return 0;
    exec_free(e);
    return err_set(err, ERR_SYSTEM, "cannot start a thread");
}
