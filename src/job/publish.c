/* The last phase: the results folder to where the job says. */
#include "base/clock.h"
#include "base/rng.h"
#include "job/job_priv.h"

#include <limits.h>
#include <unistd.h>

#define NODE_MAX 65

/* What one publish needs besides its options. */
struct publishing {
    struct run *run;
    char execution_id[RNG_ID_MAX + 2], node_id[NODE_MAX];
    struct cancel own; /* after an interruption: only the second Ctrl-C ends this */
    struct watch watch;
    bool watched;
};

static void on_progress(void *ctx, uint64_t done, uint64_t total)
{
    struct run *r = ctx;
    if (!r->opts->events.publish)
        return;
    pthread_mutex_lock(&r->events_mu);
    r->opts->events.publish(r->opts->events.ctx, done, total);
    pthread_mutex_unlock(&r->events_mu);
}

static void on_warn(void *ctx, const char *text)
{
    run_warn(ctx, "publish: %s", text);
}

/* This machine's name, as far as it can stand in a key. */
static void name_node(char out[NODE_MAX])
{
    char host[NODE_MAX] = "";
    if (gethostname(host, sizeof host - 1) < 0 || !host[0])
        snprintf(host, sizeof host, "node");
    size_t n = 0;
    for (const char *p = host; *p && n + 1 < NODE_MAX; p++)
        out[n++] = (ascii_is_digit(*p) || (ascii_lower(*p) >= 'a' && ascii_lower(*p) <= 'z')) ? *p : '-';
    out[n] = '\0';
}

static int choose_cancel(struct publishing *p, const struct cancel **out, struct err *err)
{
    struct run *r = p->run;
    *out = &r->stop;
    if (cancel_level_of(&r->stop) == CANCEL_NONE)
        return 0;
    if (cancel_init(&p->own, err) < 0)
        return -1;
    *out = &p->own;
    p->watch.ignored = CANCEL_STOP;
    if (watch_start(&p->watch, r->opts->cancel, &p->own, 0, err) < 0) {
        cancel_release(&p->own);
        return -1;
    }
    p->watched = true;
    return 0;
}

static int on_begun(void *ctx, const struct publish_upload *upload, struct err *err)
{
    const struct run_market *m = &((struct run *)ctx)->opts->market;
    return m->begun(m->ctx, upload, err);
}

static int on_commit(void *ctx, struct err *err)
{
    const struct run_market *m = &((struct run *)ctx)->opts->market;
    return m->commit(m->ctx, err);
}

static int on_more(void *ctx, enum s3_grant_for what, unsigned part, struct buf *url, struct err *err)
{
    const struct run_market *m = &((struct run *)ctx)->opts->market;
    return m->more(m->ctx, what, part, url, err);
}

/* By URLs that the market's server signs. */
static int publish_managed(const struct run *r, const struct publish_opts *opts, struct publish_result *out,
                           struct err *err)
{
    const struct run_market *m = &r->opts->market;
    const struct archive_pack_opts pack = {.max_bytes = opts->max_bytes, .cancel = opts->cancel};
    struct archive_totals totals;
    struct s3_grant grant;
    uint64_t bytes = 0;
    if (archive_measure(r->results.dir_fd, &pack, &bytes, &totals, err) < 0)
        return -1;
    AUTO_JSON document = m->grant(m->ctx, bytes, err);
    struct arena *a = document ? arena_new(0, err) : NULL;
    int rc = a ? s3_grant_read(document, a, &grant, err) : -1;
    if (rc == 0)
        rc = publish_by_grant(r->results.dir_fd, &grant, opts, on_more, out, err);
    arena_free(a);
    return rc;
}

/* Names of a run that no market knows. */
static int name_alone(struct publishing *p, struct publish_names *names, struct err *err)
{
    char id[RNG_ID_MAX];
    if (rng_id(id, err) < 0)
        return -1;
    snprintf(p->execution_id, sizeof p->execution_id, "e-%s", id);
    name_node(p->node_id);
    names->execution_id = p->execution_id;
    names->job_id = p->run->result->job_id;
    names->node_id = p->node_id;
    return 0;
}

static int publish_now(struct publishing *p, const struct cancel *cancel, struct publish_result *out, struct err *err)
{
    struct run *r = p->run;
    const struct run_market *m = &r->opts->market;
    struct publish_names names = {m->execution_id, m->job_id, m->node_id, clock_wall_ms()};
    if (!m->job_id && name_alone(p, &names, err) < 0)
        return -1;
    const struct publish_opts opts = {
        .to = &r->opts->job->publisher,
        .access = r->opts->publish,
        .names = names,
        .http = r->opts->stage.http,
        .max_bytes = r->opts->output_max_bytes,
        .cancel = cancel,
        .progress = on_progress,
        .warn = on_warn,
        .begun = m->begun ? on_begun : NULL,
        .commit = m->commit ? on_commit : NULL,
        .ctx = r,
    };
    if (opts.to->kind == PUBLISH_S3MANAGED && m->grant)
        return publish_managed(r, &opts, out, err);
    return publish_folder(r->results.dir_fd, &opts, out, err);
}

/* `local` alone: the results folder is where they are published. */
static int publish_here(const struct run *r, struct publish_result *out, struct err *err)
{
    *out = (struct publish_result){.kind = PUBLISH_LOCAL, .path = realpath(r->opts->results_dir, NULL)};
    return out->path ? 0 : err_sys(err, "find %s", r->opts->results_dir);
}

static int publish_to(struct run *r, struct publish_result *out, struct err *err)
{
    struct publishing p = {.run = r};
    const struct cancel *cancel;
    if (r->opts->job->publisher.kind == PUBLISH_LOCAL && !r->opts->job->publisher.key)
        return publish_here(r, out, err);
    if (choose_cancel(&p, &cancel, err) < 0)
        return -1;
    int rc = publish_now(&p, cancel, out, err);
    if (p.watched) {
        watch_end(&p.watch);
        cancel_release(&p.own);
    }
    return rc;
}

static int note_published(const struct publish_result *result, json_t *record, struct err *err)
{
    if (json_put(record, "published", publish_result_json(result, err), err) < 0)
        return -1;
    return json_put_u64(record, "published_bytes", result->stored_bytes, err);
}

static int note_time(const struct run *r, json_t *record, struct err *err)
{
    json_t *ms = json_integer((json_int_t)r->result->phase_ms[RUN_PUBLISHING]);
    if (!ms || json_object_set_new(json_object_get(record, "phases_ms"), run_phase_name(RUN_PUBLISHING), ms) < 0)
        return err_nomem(err);
    return 0;
}

/* Who posted a job to a market has no way to the results folder. */
static void say_not_published(const struct run *r, struct err *err)
{
    if (r->opts->market.job_id) {
        err_wrap(err, "the results were not published");
        return;
    }
    err_wrap(err, "the results are in %s and were not published", r->opts->results_dir);
    err_hint(err, "`berth publish` tries again");
}

int run_publish(struct run *r, json_t *record, struct err *err)
{
    bool interrupted = cancel_level_of(&r->stop) != CANCEL_NONE;
    if (r->opts->job->publisher.kind == PUBLISH_NONE || (interrupted && !r->opts->publish_partial))
        return 0;
    struct publish_result result = {0};
    struct err second = ERR_INIT;
    uint64_t start = clock_mono_ms();
    if (publish_to(r, &result, err) < 0) {
        say_not_published(r, err);
        json_put_str(record, "publish_error", err->text, &second);
    } else {
        note_published(&result, record, &second);
    }
    publish_result_release(&result);
    r->result->phase_ms[RUN_PUBLISHING] += clock_mono_ms() - start;
    if (!err_is_set(&second) && note_time(r, record, &second) == 0)
        results_write_record(&r->results, record, &second);
    if (err_is_set(&second))
        err_move(err, &second);
    return err_is_set(err) ? -1 : 0;
}
