/* What every node of the market must hold before it claims: images pulled, resources staged and pinned. */
#include "node/node_priv.h"

#include "base/log.h"
#include "spec/spec.h"

#include <stdarg.h>

#define PIN_MAX    (NODE_MARKET_MAX + 16)
#define TARGET_MAX 32

/* As the server tells it. */
struct required {
    int64_t version;
    struct strv images;
    struct job *job; /* its only op has the resources as inputs; NULL: there are none */
};

static void required_release(struct required *r)
{
    strv_release(&r->images);
    job_free(r->job);
    *r = (struct required){0};
}

static void say(struct node *n, const char *fmt, ...) ATTR_PRINTF(2, 3);
static void say(struct node *n, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    pthread_mutex_lock(&n->mu);
    vsnprintf(n->shared.readiness, READINESS_MAX, fmt, ap);
    str_fit(n->shared.readiness, READINESS_MAX, n->shared.readiness); /* half a character is no text for a server */
    node_beat_now(n);
    pthread_mutex_unlock(&n->mu);
    va_end(ap);
}

/* --- what it is --------------------------------------------------------------------------------------------------- */

/* Inputs as a run record has them, made into one: each with a target of its own, which is never mounted. */
static json_t *as_record(json_t *resources, struct err *err)
{
    size_t i;
    json_t *input;
    json_array_foreach(resources, i, input)
    {
        char target[TARGET_MAX];
        snprintf(target, sizeof target, "/required/%zu", i);
        if (json_object_set_new(input, "target", json_string(target)) < 0)
            err_nomem(err);
    }
    json_t *op = json_object(), *ops = json_array(), *job = json_object(), *record = json_object();
    json_put_str(op, "kind", "run", err);
    json_put_str(op, "id", "required", err);
    json_put_str(op, "image", "none", err);
    json_put_str(op, "network", "none", err);
    json_put(op, "inputs", json_incref(resources), err);
    json_array_append_new(ops, op);
    json_put_str(job, "name", "required", err);
    json_put_str(job, "type", "container", err);
    json_put(job, "ops", ops, err);
    json_put(record, "berth", json_integer(1), err);
    json_put(record, "job", job, err);
    return record;
}

static int take_images(const json_t *list, struct strv *out, struct err *err)
{
    size_t i;
    json_t *image;
    json_array_foreach(list, i, image)
    {
        if (json_is_string(image) && strv_add(out, json_string_value(image), err) < 0)
            return -1;
    }
    return 0;
}

static int take(json_t *answer, struct required *out, struct err *err)
{
    json_t *resources = json_object_get(answer, "resources");
    if (!json_get_i64(answer, "required_version", &out->version))
        return err_set(err, ERR_PROTOCOL, "the server's list of required resources has no version");
    if (take_images(json_object_get(answer, "images"), &out->images, err) < 0)
        return -1;
    if (json_array_size(resources) == 0)
        return 0;
    AUTO_JSON record = as_record(resources, err);
    if (err_is_set(err))
        return -1;
    return definition_parse(record, json_object_get(answer, "variables"), &out->job, err);
}

static int ask(struct node *n, struct required *out, struct err *err)
{
    json_t *answer = NULL;
    const struct node_call call = {.what = "required", .body = json_object(), .cancel = &n->ending};
    int rc = node_call(n, &call, &answer, err);
    if (rc == 0)
        rc = take(answer, out, err);
    secrets_free(answer);
    return rc;
}

/* --- images ------------------------------------------------------------------------------------------------------- */

struct pulling {
    struct node *node;
    const char *image;
    size_t number, of;
    int percent;
};

static void on_pull(void *ctx, const char *status, uint64_t done, uint64_t total)
{
    struct pulling *p = ctx;
    int percent = total ? (int)(done * 100 / total) : 0;
    (void)status;
    if (percent == p->percent)
        return;
    p->percent = percent;
    say(p->node, "image %zu of %zu: %.100s, %d %%", p->number, p->of, p->image, percent);
}

static int pull_all(struct node *n, const struct strv *images, struct err *err)
{
    const struct engine_image_guard guard = images_guard_own(&n->images);
    for (size_t i = 0; i < images->n; i++) {
        struct pulling p = {n, images->v[i], i + 1, images->n, -1};
        char id[IMAGE_ID_MAX];
        bool pulled = false;
        const struct engine_pull_opts opts = {
            .when = ENGINE_PULL_MISSING, .guard = &guard, .progress = on_pull, .ctx = &p, .cancel = &n->ending};
        say(n, "image %zu of %zu: %.100s", p.number, p.of, p.image);
        if (engine_image_ensure(n->opts->engine, images->v[i], &opts, id, &pulled, err) < 0)
            return -1;
    }
    return 0;
}

/* --- resources ---------------------------------------------------------------------------------------------------- */

static void show_stage(struct node *n, const struct stage *stage, size_t inputs)
{
    pthread_mutex_lock(&n->mu);
    n->shared.preparing = stage;
    n->shared.preparing_count = inputs;
    node_beat_now(n);
    pthread_mutex_unlock(&n->mu);
}

static int pin_all(struct node *n, const struct stage *stage, const struct op *op, const char *by, json_t *kept,
                   struct err *err)
{
    for (size_t i = 0; i < op->input_count; i++) {
        AUTO_JSON staged = stage_record(stage, i, err);
        const char *snapshot = json_get_str(staged, "snapshot");
        if (!staged)
            return -1;
        if (!snapshot)
            continue; /* a folder of this machine is not in the cache */
        if (cache_pin(n->opts->cache, snapshot, by, err) < 0 ||
            holds_note(&n->holds, &op->inputs[i], staged, err) < 0 ||
            json_object_set_new(kept, snapshot, json_true()) < 0)
            return err_is_set(err) ? -1 : err_nomem(err);
    }
    return 0;
}

static int stage_and_pin(struct node *n, const struct op *op, const char *by, json_t *kept, struct err *err)
{
    struct stage *stage = NULL;
    struct stage_opts so = {.cache = n->opts->cache,
                            .xfer = n->opts->xfer,
                            .http = n->opts->http,
                            .access = n->opts->access,
                            .peers = {.locate = peers_locate_required, .ctx = n, .xfer = n->peer_xfer},
                            .job_id = "required",
                            .work_dir = n->opts->work_root,
                            .stale_if_error = n->opts->stale_if_error,
                            .cancel = &n->ending};
    so.access.ambient = false;
    so.access.ambient_buckets = n->opts->allow_buckets;
    so.access.local_private = n->private_dirs;
    if (stage_new(&stage, &so, op->inputs, op->input_count, err) < 0)
        return -1;
    show_stage(n, stage, op->input_count);
    int rc = stage_run(stage, err);
    show_stage(n, NULL, 0);
    if (rc == 0)
        rc = pin_all(n, stage, op, by, kept, err);
    stage_free(stage);
    return rc;
}

/* What is no longer required is unpinned, not deleted. */
static int unpin_others(struct node *n, const char *by, const json_t *kept, struct err *err)
{
    AUTO_JSON list = cache_list(n->opts->cache, err);
    size_t i, k;
    json_t *one, *who;
    json_array_foreach(list, i, one)
    {
        const char *snapshot = json_get_str(one, "snapshot");
        bool pinned = false;
        json_array_foreach(json_object_get(one, "pinned_by"), k, who) pinned |= str_eq(json_string_value(who), by);
        if (pinned && snapshot && !json_object_get(kept, snapshot) &&
            cache_unpin(n->opts->cache, snapshot, by, err) < 0)
            return -1;
    }
    return list ? 0 : -1;
}

static int hold_all(struct node *n, const struct required *r, struct err *err)
{
    char by[PIN_MAX];
    AUTO_JSON kept = json_object();
    snprintf(by, sizeof by, "market %s", n->market);
    if (!kept)
        return err_nomem(err);
    if (pull_all(n, &r->images, err) < 0 || images_require(&n->images, &r->images, err) < 0)
        return -1;
    if (r->job && stage_and_pin(n, &r->job->ops[0], by, kept, err) < 0)
        return -1;
    return unpin_others(n, by, kept, err);
}

/* --- following changes -------------------------------------------------------------------------------------------- */

static bool wait_for_change(struct node *n)
{
    pthread_mutex_lock(&n->mu);
    while (cancel_level_of(&n->ending) == CANCEL_NONE && n->shared.required_wanted == n->shared.required_held)
        pthread_cond_wait(&n->changed, &n->mu);
    n->shared.ready = false;
    pthread_mutex_unlock(&n->mu);
    return cancel_level_of(&n->ending) == CANCEL_NONE;
}

static void now_ready(struct node *n, int64_t version)
{
    pthread_mutex_lock(&n->mu);
    n->shared.blobs_changed = true;
    n->shared.required_held = version;
    if (n->shared.required_wanted < version)
        n->shared.required_wanted = version;
    n->shared.ready = n->shared.required_wanted == version;
    snprintf(n->shared.readiness, READINESS_MAX, "ready");
    node_beat_now(n);
    pthread_cond_broadcast(&n->changed);
    pthread_mutex_unlock(&n->mu);
    node_say(n, "ready for %s (node %s)", n->market, n->id);
}

static int prepare(struct node *n, int64_t *version, struct err *err)
{
    struct required r = {0};
    int rc = ask(n, &r, err);
    if (rc == 0) {
        *version = r.version;
        rc = hold_all(n, &r, err);
    }
    required_release(&r);
    return rc;
}

void *required_thread(void *ctx)
{
    struct node *n = ctx;
    struct back_off pause = {0};
    while (wait_for_change(n)) {
        struct err err = ERR_INIT;
        int64_t version = 0;
        if (prepare(n, &version, &err) == 0) {
            pause.failed = 0;
            now_ready(n, version);
            continue;
        }
        if (cancel_level_of(&n->ending) != CANCEL_NONE)
            break;
        say(n, "%.250s", err.kind == ERR_DENIED && !version ? "waiting for approval" : err.text);
        log_warn("node", "what the market requires is not here yet (reason=\"%s\")", err.text);
        if (back_off_wait(&pause, &n->ending) < 0)
            break;
    }
    return NULL;
}
