/* Posting a job: one transaction, after which it is never lost. */
#include "digest/digest.h"
#include "market/market_priv.h"
#include "spec/spec.h"

#define DEFINITION_MAX   (8u << 20)
#define COUNT_MAX        10000
#define IDEMPOTENCY_MAX  128
#define ROOM_RECOUNT_MAX 1000
#define ROOM_SHARE       8 /* of what is free, one connection gives away one part before it counts again */
#define REDACTED_QUERY   '?'
#define SHOWN_BYTES_MAX  (32u << 10) /* of the images and inputs that lists of jobs show */

/* The parts of a posting, on their way into the tables. */
struct posting {
    const struct market_post *post;
    const char *owner;
    bool limited;   /* in how much it may have there: posters are, operators not */
    struct job job; /* the caller's, with what the post says over it; its lists are borrowed */
    struct job_kvs labels;
    uint32_t count;
    int32_t priority;
    json_t *labels_json, *definition, *needs, *holds, *shown, *secrets;
    struct buf sealed_secrets, sealed_credentials;
    struct digest_value body;
    char id[MARKET_ID_MAX];
};

static void posting_release(struct posting *p)
{
    json_decref(p->labels_json);
    json_decref(p->definition);
    json_decref(p->needs);
    json_decref(p->holds);
    json_decref(p->shown);
    market_secrets_free(p->secrets);
    buf_release(&p->sealed_secrets);
    buf_release(&p->sealed_credentials);
    free(p->labels.v);
}

/* ---- What is shown of a job: places without credentials, queries (which may be signatures) or user data. */

static void show_url(struct buf *b, const char *url)
{
    struct span place, query;
    span_cut(span_of(url), REDACTED_QUERY, &place, &query);
    buf_add_span(b, place);
}

static void show_input(struct buf *b, const struct input *in)
{
    switch (in->kind) {
    case SOURCE_S3:
        if (in->s3.url)
            show_url(b, in->s3.url);
        else
            buf_addf(b, "s3://%s/%s", in->s3.bucket ? in->s3.bucket : "", in->s3.key ? in->s3.key : "");
        break;
    case SOURCE_HF:
        buf_addf(b, "hf://%s", in->hf.repo);
        break;
    case SOURCE_OLLAMA:
        buf_addf(b, "ollama://%s", in->ollama.model);
        break;
    case SOURCE_URL:
    case SOURCE_PRESIGNED:
        show_url(b, in->url.url);
        break;
    case SOURCE_LOCAL:
        buf_addf(b, "file://%s", in->local.path);
        break;
    }
    if (in->target)
        buf_addf(b, " → %s", in->target);
}

/* One of the two lists; what comes after the first that does not fit is only counted. */
struct showing {
    json_t *list;
    size_t left_out;
};

static void show(struct showing *s, size_t *room, struct span text, struct err *err)
{
    if (s->left_out > 0 || text.n > *room) {
        s->left_out++;
        return;
    }
    *room -= text.n;
    append(s->list, json_stringn(text.p, text.n), err);
}

static void show_left_out(const struct showing *s, struct err *err)
{
    AUTO_STR text = s->left_out ? str_printf(err, "… and %zu more", s->left_out) : NULL;
    if (text)
        append(s->list, json_string(text), err);
}

static int show_op(const struct op *op, struct showing *images, struct showing *inputs, size_t *room, struct err *err)
{
    if (op->image && op->image[0])
        show(images, room, span_of(op->image), err);
    for (size_t i = 0; i < op->input_count; i++) {
        AUTO_BUF b;
        buf_init(&b, JSON_TEXT_MAX);
        show_input(&b, &op->inputs[i]);
        if (buf_check(&b, "an input", err) < 0)
            return -1;
        show(inputs, room, buf_span(&b), err);
    }
    return err_is_set(err) ? -1 : 0;
}

static void show_publisher(json_t *o, const struct publisher *p, struct err *err)
{
    if (p->kind == PUBLISH_S3) {
        AUTO_STR url = str_printf(err, "s3://%s/%s", p->bucket ? p->bucket : "", p->key ? p->key : "");
        json_put_str(o, "publish", url, err);
    } else {
        json_put_str(o, "publish",
                     p->kind == PUBLISH_S3MANAGED ? "s3managed"
                     : p->kind == PUBLISH_LOCAL   ? "local"
                                                  : NULL,
                     err);
    }
}

static json_t *shown_of(const struct job *job, struct err *err)
{
    struct showing images = {.list = json_array()}, inputs = {.list = json_array()};
    size_t room = SHOWN_BYTES_MAX;
    json_t *o = json_object();
    for (size_t i = 0; i < job->op_count && !err_is_set(err); i++)
        show_op(&job->ops[i], &images, &inputs, &room, err);
    show_left_out(&images, err);
    show_left_out(&inputs, err);
    json_put(o, "images", images.list, err);
    json_put(o, "inputs", inputs.list, err);
    show_publisher(o, &job->publisher, err);
    return o;
}

/* ---- Putting it together */

/* The post's labels over the file's own. */
static int merge_labels(struct posting *p, struct err *err)
{
    const struct job_kvs *own = &p->job.labels;
    const char *name;
    json_t *value;
    p->labels_json = json_object();
    for (size_t i = 0; i < own->n; i++)
        if (!json_object_get(p->labels_json, own->v[i].name))
            json_put_str(p->labels_json, own->v[i].name, own->v[i].value, err);
    json_object_foreach((json_t *)p->post->labels, name, value)
    {
        if (json_object_set(p->labels_json, name, value) < 0)
            err_nomem(err);
    }
    if (err_is_set(err) || check_labels(p->labels_json, err) < 0)
        return -1;
    p->labels.v = calloc(json_object_size(p->labels_json) + 1, sizeof(*p->labels.v));
    if (!p->labels.v)
        return err_nomem(err);
    json_object_foreach(p->labels_json, name, value)
    {
        p->labels.v[p->labels.n++] = (struct job_kv){.name = name, .value = json_string_value(value)};
    }
    p->job.labels = p->labels;
    return 0;
}

static uint64_t override(int64_t posted, uint64_t own)
{
    return posted == MARKET_OWN ? own : (uint64_t)posted;
}

static int check_post(const struct market_post *post, struct err *err)
{
    const int64_t timeouts[] = {post->timeout_ms, post->queue_timeout_ms, post->total_timeout_ms};
    for (size_t i = 0; i < ARRAY_LEN(timeouts); i++)
        if (timeouts[i] < MARKET_OWN || timeouts[i] > INT32_MAX * (int64_t)1000)
            return err_set(err, ERR_INVALID, "a time-out is below zero or above %d seconds", INT32_MAX);
    if (post->priority && (*post->priority < -PRIORITY_MAX || *post->priority > PRIORITY_MAX))
        return err_set(err, ERR_INVALID, "priority: expected %d to %d", -PRIORITY_MAX, PRIORITY_MAX);
    if (post->idempotency_key && (!post->idempotency_key[0] || strlen(post->idempotency_key) > IDEMPOTENCY_MAX))
        return err_set(err, ERR_INVALID, "Idempotency-Key: expected 1 to %d bytes", IDEMPOTENCY_MAX);
    if (post->confidential ? post->job != NULL : !post->job)
        return err_set(err, ERR_INVALID, "a job has either a definition, or is confidential and gets it when claimed");
    return check_labels(post->labels, err);
}

/* As every node would, after it has run. */
static int check_publisher(const struct publisher *to, struct err *err)
{
    if (to->kind != PUBLISH_LOCAL || !to->key)
        return 0;
    err_set(err, ERR_UNSUPPORTED,
            "the publisher names a folder, and a job of a market may not write to its node's disk");
    return err_hint(err, "publish to S3: s3://BUCKET/KEY");
}

static int apply_overrides(struct posting *p, struct arena *a, struct err *err)
{
    const struct market_post *post = p->post;
    if (post->job)
        p->job = *post->job;
    else
        p->job = (struct job){.name = "confidential", .type = "container", .count = post->sealed_count};
    p->job.execution_timeout_ms = override(post->timeout_ms, p->job.execution_timeout_ms);
    p->job.queue_timeout_ms = override(post->queue_timeout_ms, p->job.queue_timeout_ms);
    p->job.total_timeout_ms = override(post->total_timeout_ms, p->job.total_timeout_ms);
    if (post->priority)
        p->job.priority = *post->priority;
    p->priority = p->job.priority;
    p->priority = p->priority > PRIORITY_MAX ? PRIORITY_MAX : p->priority < -PRIORITY_MAX ? -PRIORITY_MAX : p->priority;
    p->count = p->job.count ? p->job.count : 1;
    if (p->count > COUNT_MAX)
        return err_set(err, ERR_LIMIT, "a job of %u executions; at most %d are taken", p->count, COUNT_MAX);
    if (post->publish && spec_parse_publisher(a, span_of(post->publish), &p->job.publisher, err) < 0)
        return err_wrap(err, "publish");
    return check_publisher(&p->job.publisher, err) < 0 ? -1 : merge_labels(p, err);
}

static json_t *credentials_json(const struct market_credentials *c, struct err *err)
{
    json_t *o = json_object();
    json_put_str(o, "access_key_id", c->access_key_id, err);
    json_put_str(o, "secret_access_key", c->secret_access_key, err);
    json_put_str(o, "session_token", c->session_token, err);
    json_put_str(o, "region", c->region, err);
    return o;
}

static int seal_all(struct market *m, struct posting *p, struct err *err)
{
    if (p->definition) {
        p->secrets = job_secrets(&p->job, p->definition, err);
        if (!p->secrets)
            return -1;
        if (json_object_size(p->secrets) && seal_json(m, p->secrets, p->id, "variables", &p->sealed_secrets, err) < 0)
            return -1;
    }
    if (!p->post->credentials)
        return 0;
    json_t *credentials = credentials_json(p->post->credentials, err);
    int rc = err_is_set(err) ? -1 : seal_json(m, credentials, p->id, "credentials", &p->sealed_credentials, err);
    market_secrets_free(credentials);
    return rc;
}

static int posting_build(struct market *m, struct posting *p, struct arena *a, struct err *err)
{
    const struct market_post *post = p->post;
    if (apply_overrides(p, a, err) < 0 || new_id("j", p->id, err) < 0 ||
        digest_bytes(DIGEST_SHA256, post->body.p ? post->body.p : "", post->body.n, &p->body, err) < 0)
        return -1;
    p->shown = shown_of(&p->job, err);
    if (post->confidential) {
        p->needs = post->requires ? json_deep_copy(post->requires) : json_object();
        if (!p->needs)
            return err_nomem(err);
    } else {
        p->definition = spec_to_json(&p->job, err);
        p->needs = p->definition ? needs_of_job(&p->job, err) : NULL;
        p->holds = p->needs ? holds_of_job(&p->job, err) : NULL;
    }
    /* What cannot be read again at the claim would stand in every node's way. */
    if (err_is_set(err) || needs_check(p->needs, err) < 0)
        return -1;
    return seal_all(m, p, err);
}

/* ---- Into the tables */

static int insert_job(struct market *m, const struct posting *p, struct err *err)
{
    AUTO_STR labels = NULL;
    AUTO_STR needs = NULL;
    AUTO_STR definition = NULL;
    AUTO_STR shown = NULL;
    char counts[64];
    snprintf(counts, sizeof(counts), "%u,0,0,0,0,0,0,0,0,0", p->count);
    if (json_text(p->labels_json, JSON_TEXT_MAX, "labels", &labels, err) < 0 ||
        json_text(p->needs, NEEDS_TEXT_MAX, "what the job requires of a node", &needs, err) < 0 ||
        json_text(p->definition, DEFINITION_MAX, "the definition", &definition, err) < 0 ||
        json_text(p->shown, DEFINITION_MAX, "what is shown of the job", &shown, err) < 0)
        return -1;
    struct query q =
        query_on(m,
                 "INSERT INTO jobs (id, market, owner, name, priority, count, labels, created_ms,"
                 " timeout_ms, queue_timeout_ms, total_deadline_ms, state, counts, moves, reason, node,"
                 " confidential, needs, has_holds, definition, shown, secrets, credentials) VALUES ($1, $2,"
                 " $3, $4, $5, $6, $7, $8, $9, $10, $11, 0, $12, 0, '', '', $13, $14, $15, $16, $17, $18,"
                 " $19)",
                 err);
    query_text(&q, p->id);
    query_text(&q, p->post->market);
    query_text(&q, p->owner);
    query_text(&q, p->job.name);
    query_i64(&q, p->priority);
    query_i64(&q, p->count);
    query_text(&q, labels);
    query_i64(&q, m->tx.now_ms);
    query_i64(&q, (int64_t)p->job.execution_timeout_ms);
    query_i64(&q, (int64_t)p->job.queue_timeout_ms);
    query_value(&q, p->job.total_timeout_ms ? m->tx.now_ms + (int64_t)p->job.total_timeout_ms : VALUE_NONE);
    query_text(&q, counts);
    query_i64(&q, p->post->confidential);
    query_text(&q, needs);
    query_i64(&q, json_array_size(p->holds) > 0);
    query_text(&q, definition);
    query_text(&q, shown);
    query_blob(&q, p->sealed_secrets.n ? buf_span(&p->sealed_secrets) : (struct span){NULL, 0});
    query_blob(&q, p->sealed_credentials.n ? buf_span(&p->sealed_credentials) : (struct span){NULL, 0});
    return query_run(&q);
}

static int insert_execution(struct market *m, const struct posting *p, uint32_t index, int64_t max_attempts,
                            struct err *err)
{
    char id[EXEC_ID_MAX];
    const struct exec_facts f = {
        .queue_deadline_ms = p->job.queue_timeout_ms ? m->tx.now_ms + (int64_t)p->job.queue_timeout_ms : TIME_NEVER,
        .total_deadline_ms = p->job.total_timeout_ms ? m->tx.now_ms + (int64_t)p->job.total_timeout_ms : TIME_NEVER};
    exec_id(id, p->id, index);
    struct query q = query_on(m,
                              "INSERT INTO executions (id, job, idx, market, rank, state, max_attempts, due_ms,"
                              " queue_deadline_ms, total_deadline_ms, queued_ms)"
                              " VALUES ($1, $2, $3, $4, $5, 0, $6, $7, $8, $9, $10)",
                              err);
    query_text(&q, id);
    query_text(&q, p->id);
    query_i64(&q, index);
    query_text(&q, p->post->market);
    query_i64(&q, decide_rank(m->tx.now_ms, p->priority));
    query_i64(&q, max_attempts);
    query_value(&q, decide_due(&f));
    query_value(&q, f.queue_deadline_ms);
    query_value(&q, f.total_deadline_ms);
    query_i64(&q, m->tx.now_ms);
    return query_run(&q);
}

static int insert_lists(struct market *m, const struct posting *p, struct err *err)
{
    size_t i;
    json_t *hold;
    for (size_t k = 0; k < p->labels.n; k++) {
        struct query q = query_on(m, "INSERT INTO job_labels (job, name, value) VALUES ($1, $2, $3)", err);
        query_text(&q, p->id);
        query_text(&q, p->labels.v[k].name);
        query_text(&q, p->labels.v[k].value);
        if (query_run(&q) < 0)
            return -1;
    }
    json_array_foreach(p->holds, i, hold)
    {
        struct query q = query_on(m, "INSERT INTO job_holds (job, hold) VALUES ($1, $2)", err);
        query_text(&q, p->id);
        query_text(&q, json_string_value(hold));
        if (query_run(&q) < 0)
            return -1;
    }
    return 0;
}

static int insert_key(struct market *m, const struct posting *p, struct err *err)
{
    if (!p->post->idempotency_key)
        return 0;
    struct query q =
        query_on(m, "INSERT INTO idempotency (owner, key, body, job, created_ms) VALUES ($1, $2, $3, $4, $5)", err);
    query_text(&q, p->owner);
    query_text(&q, p->post->idempotency_key);
    query_blob(&q, (struct span){(const char *)p->body.bytes, digest_size(DIGEST_SHA256)});
    query_text(&q, p->id);
    query_i64(&q, m->tx.now_ms);
    return query_run(&q);
}

/* What is there is counted now and then, not for every job: a ceiling is near enough, and posting stays cheap however
 * long the queue is. True: there is room without a count. */
static bool room_take(struct room *r, const char *of, int64_t n)
{
    bool there = str_eq(r->of, of) && r->left >= n;
    if (there)
        r->left -= n;
    return there;
}

/* After a count: a part of what is free, since others post as well. */
static void room_keep(struct room *r, const char *of, int64_t free)
{
    r->left = free / ROOM_SHARE < ROOM_RECOUNT_MAX ? free / ROOM_SHARE : ROOM_RECOUNT_MAX;
    snprintf(r->of, sizeof(r->of), "%s", of);
}

static int check_queue(struct market *m, const struct posting *p, int64_t most, struct err *err)
{
    const char *market = p->post->market;
    int64_t queued;
    if (room_take(&m->queue_room, market, p->count))
        return 0;
    m->queue_room.left = 0;
    struct query q = query_on(m, "SELECT COUNT(*) FROM executions WHERE market = $1 AND state = 0", err);
    query_text(&q, market);
    if (query_one(&q, &queued) < 0)
        return -1;
    if (queued + p->count > most) {
        err_set(err, ERR_LIMIT, "market '%s' has %lld executions waiting, and takes no more than %lld", market,
                (long long)queued, (long long)most);
        return err_hint(err, "post again when some have been taken");
    }
    room_keep(&m->queue_room, market, most - queued - p->count);
    return 0;
}

/* So that one poster cannot fill the queue of all. */
static int check_poster(struct market *m, const struct posting *p, int64_t most, struct err *err)
{
    char of[sizeof(m->poster_room.of)];
    int64_t there;
    snprintf(of, sizeof(of), "%s %s", p->post->market, p->owner);
    if (!p->limited || room_take(&m->poster_room, of, p->count))
        return 0;
    m->poster_room.left = 0;
    struct query q = query_on(m,
                              "SELECT CAST(COALESCE(SUM(count), 0) AS BIGINT) FROM jobs"
                              " WHERE owner = $1 AND market = $2 AND finished_ms IS NULL",
                              err);
    query_text(&q, p->owner);
    query_text(&q, p->post->market);
    if (query_one(&q, &there) < 0)
        return -1;
    if (there + p->count > most) {
        err_set(err, ERR_LIMIT,
                "this token has %lld executions in market '%s' that have not ended, and may have no more than %lld",
                (long long)there, p->post->market, (long long)most);
        return err_hint(err, "post again when some have ended, stop some, or ask the market's operator for a higher "
                             "max_per_poster");
    }
    room_keep(&m->poster_room, of, most - there - p->count);
    return 0;
}

/* 1: posted before, `id` says as what; 0: not. */
static int posted_before(struct market *m, const struct posting *p, char id[MARKET_ID_MAX], struct err *err)
{
    if (!p->post->idempotency_key)
        return 0;
    struct query q = query_on(m, "SELECT body, job FROM idempotency WHERE owner = $1 AND key = $2", err);
    query_text(&q, p->owner);
    query_text(&q, p->post->idempotency_key);
    int rc = query_next(&q);
    if (rc <= 0)
        return rc;
    bool same = span_eq(db_col_text(q.s, 0), (struct span){(const char *)p->body.bytes, digest_size(DIGEST_SHA256)});
    query_copy(&q, 1, id, MARKET_ID_MAX);
    query_done(&q);
    return same ? 1 : err_set(err, ERR_EXISTS, "this Idempotency-Key was used with another request");
}

static int insert_all(struct market *m, const struct posting *p, struct err *err)
{
    struct query q =
        query_on(m, "SELECT max_attempts, max_queued, max_per_poster FROM markets WHERE address = $1", err);
    query_text(&q, p->post->market);
    int rc = query_next(&q);
    if (rc <= 0)
        return rc < 0 ? -1 : err_set(err, ERR_NOTFOUND, "no market '%.64s'", p->post->market);
    int64_t max_attempts = query_get(&q, 0), max_queued = query_get(&q, 1), max_per_poster = query_get(&q, 2);
    query_done(&q);
    if (check_queue(m, p, max_queued, err) < 0 || check_poster(m, p, max_per_poster, err) < 0 ||
        insert_job(m, p, err) < 0)
        return -1;
    for (uint32_t i = 0; i < p->count; i++)
        if (insert_execution(m, p, i, max_attempts, err) < 0)
            return -1;
    market_changed(m, p->post->market, true);
    return insert_lists(m, p, err) < 0 ? -1 : insert_key(m, p, err);
}

/* Two posts with one key at the same time: the second one's key collides, and it finds the first one's job. */
static int post_once(struct market *m, const struct posting *p, bool *before, char id[MARKET_ID_MAX], struct err *err)
{
    if (market_begin(m, err) < 0)
        return -1;
    int rc = posted_before(m, p, id, err);
    *before = rc == 1;
    if (rc == 0) {
        memcpy(id, p->id, MARKET_ID_MAX);
        rc = insert_all(m, p, err);
    }
    return market_end(m, rc < 0 ? -1 : 0, err);
}

static int post_job(struct market *m, const struct posting *p, bool *before, char id[MARKET_ID_MAX], struct err *err)
{
    struct err first = ERR_INIT;
    if (post_once(m, p, before, id, &first) == 0)
        return 0;
    if (first.kind != ERR_EXISTS || !p->post->idempotency_key)
        return err_move(err, &first);
    return post_once(m, p, before, id, err);
}

int market_job_post(struct market *m, const struct market_caller *c, const struct market_post *post, bool *again,
                    json_t **out, struct err *err)
{
    struct posting p = {.post = post, .owner = c->token, .limited = c->role == MARKET_POSTER};
    char id[MARKET_ID_MAX];
    bool before = false;
    if (c->role != MARKET_POSTER && c->role != MARKET_OPERATOR)
        return err_set(err, ERR_DENIED, "a node's token posts no jobs");
    if (check_address("market", post->market, err) < 0 || check_token_market(c, post->market, err) < 0 ||
        check_post(post, err) < 0)
        return -1;
    struct arena *a = arena_new(0, err);
    buf_init(&p.sealed_secrets, DEFINITION_MAX);
    buf_init(&p.sealed_credentials, DEFINITION_MAX);
    int rc = a ? posting_build(m, &p, a, err) : -1;
    if (rc == 0)
        rc = post_job(m, &p, &before, id, err);
    posting_release(&p);
    arena_free(a);
    if (rc < 0)
        return -1;
    if (again)
        *again = before;
    return out ? market_job_get(m, c, id, 0, out, err) : 0;
}
