/* How an attempt ends: uploads recorded, leave to complete them, the one result. */
#include "market/market_priv.h"

#define UPLOAD_TEXT_MAX 4096

/* ---- Uploads */

int uploads_json(struct market *m, const char *exec, int64_t before_epoch, json_t **out, struct err *err)
{
    json_t *list = json_array();
    struct query q = query_on(
        m, "SELECT record FROM uploads WHERE execution = $1 AND epoch < $2 ORDER BY at_ms, record LIMIT $3", err);
    query_text(&q, exec);
    query_i64(&q, before_epoch);
    query_i64(&q, MARKET_UPLOADS_MAX);
    while (query_next(&q) == 1)
        append(list, json_parse(db_col_text(q.s, 0), err), err);
    *out = list;
    return err_is_set(err) ? -1 : 0;
}

static int check_upload(const json_t *record, struct err *err)
{
    static const char known[] = " bucket key upload_id endpoint region ";
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)record, key, value)
    {
        char word[32];
        snprintf(word, sizeof(word), " %.20s ", key);
        if (!strstr(known, word) || (!json_is_string(value) && !json_is_null(value)))
            return err_set(err, ERR_INVALID, "record: unknown member '%.40s', or not a text", key);
    }
    if (!json_get_str(record, "bucket") || !json_get_str(record, "key") || !json_get_str(record, "upload_id"))
        return err_set(err, ERR_INVALID, "record: expected bucket, key and upload_id");
    return 0;
}

static int add_upload(struct market *m, const struct exec_row *x, const json_t *record, struct err *err)
{
    AUTO_STR text = NULL;
    int64_t n;
    if (check_upload(record, err) < 0 || json_text(record, UPLOAD_TEXT_MAX, "record", &text, err) < 0)
        return -1;
    struct query q = query_on(m, "SELECT COUNT(*) FROM uploads WHERE execution = $1", err);
    query_text(&q, x->id);
    if (query_one(&q, &n) < 0)
        return -1;
    if (n >= MARKET_UPLOADS_MAX)
        return err_set(err, ERR_LIMIT, "execution %s has recorded %d uploads already", x->id, MARKET_UPLOADS_MAX);
    q = query_on(m,
                 "INSERT INTO uploads (execution, record, epoch, at_ms) VALUES ($1, $2, $3, $4)"
                 " ON CONFLICT (execution, record) DO NOTHING",
                 err);
    query_text(&q, x->id);
    query_text(&q, text);
    query_i64(&q, x->epoch);
    query_i64(&q, m->tx.now_ms);
    return query_run(&q);
}

static int uploads_held(struct market *m, const struct market_caller *c, const struct market_ref *ref,
                        const json_t *record, json_t **previous, struct err *err)
{
    struct job_row j = {0};
    struct exec_row x = {0};
    if (exec_held(m, c, ref, &j, &x, err) < 0 || (record && add_upload(m, &x, record, err) < 0))
        return -1;
    return uploads_json(m, x.id, x.epoch, previous, err);
}

int market_node_uploads(struct market *m, const struct market_caller *c, const struct market_ref *x,
                        const json_t *record, json_t **out, struct err *err)
{
    json_t *previous = NULL;
    if (market_begin(m, err) < 0)
        return -1;
    int rc = market_end(m, uploads_held(m, c, x, record, &previous, err), err);
    AUTO_JSON o = json_object();
    json_put(o, "previous", previous, err);
    return rc < 0 ? -1 : give(out, &o, err);
}

/* ---- Commit */

static int commit_held(struct market *m, const struct market_caller *c, const struct market_ref *ref, struct err *err)
{
    struct job_row j = {0};
    struct exec_row x = {0};
    if (exec_held(m, c, ref, &j, &x, err) < 0)
        return -1;
    if (x.facts.stopping)
        return err_set(err, ERR_REFUSED, "execution %s is being stopped: %s", x.id, x.reason);
    x.facts.lease_until_ms = m->tx.now_ms + m->opts.lease_ms;
    const struct verdict v = decide_report(&x.facts, EXEC_PUBLISHING);
    return v.kind == VERDICT_MOVE ? exec_apply(m, &j, &x, &v, "", err) : exec_store(m, &x, err);
}

int market_node_commit(struct market *m, const struct market_caller *c, const struct market_ref *x, json_t **out,
                       struct err *err)
{
    if (market_begin(m, err) < 0)
        return -1;
    if (market_end(m, commit_held(m, c, x, err), err) < 0)
        return -1;
    AUTO_JSON o = json_object();
    put_i64(o, "lease_ms", m->opts.lease_ms, err);
    return give(out, &o, err);
}

/* ---- Finish */

static int read_outcome(const struct market_finish *f, enum exec_state *out, struct err *err)
{
    if (f->outcome && exec_state_parse(f->outcome, out) && exec_is_ended(*out) && *out != EXEC_EXPIRED)
        return 0;
    return err_set(err, ERR_INVALID, "outcome: expected succeeded, failed, stopped or timed_out");
}

/* The key allows one row, ever: whatever went wrong elsewhere, there is no second result. */
static int insert_result(struct market *m, const struct exec_row *x, const struct market_finish *f, struct err *err)
{
    AUTO_STR published = NULL;
    if (json_text(f->published, MARKET_RECORD_MAX, "published", &published, err) < 0)
        return -1;
    struct query q = query_on(m,
                              "INSERT INTO results (job, idx, attempt, epoch, exit_code, published, at_ms)"
                              " VALUES ($1, $2, $3, $4, $5, $6, $7)",
                              err);
    query_text(&q, x->job);
    query_i64(&q, x->index);
    query_i64(&q, x->facts.attempt);
    query_i64(&q, x->epoch);
    query_value(&q, x->exit_code);
    query_text(&q, published);
    query_i64(&q, m->tx.now_ms);
    return query_later(&q);
}

static int store_record(struct market *m, const struct exec_row *x, const json_t *record, struct err *err)
{
    AUTO_STR text = NULL;
    if (!record)
        return 0;
    if (json_text(record, MARKET_RECORD_MAX, "record", &text, err) < 0)
        return -1;
    struct query q = query_on(m, "UPDATE executions SET record = $2 WHERE id = $1", err);
    query_text(&q, x->id);
    query_text(&q, text);
    return query_later(&q);
}

/* Said before: the answer was lost. By the same epoch, and it became what this message says. */
static bool is_repeat(const struct market_caller *c, const struct market_ref *ref, const struct exec_row *x,
                      enum exec_state outcome, bool retry)
{
    if (x->epoch != ref->epoch)
        return false;
    if (x->facts.state == EXEC_QUEUED)
        return retry && outcome != EXEC_SUCCEEDED && str_eq(x->avoid_node, c->node);
    if (!str_eq(x->node, c->node))
        return false;
    return x->facts.state == outcome ||
           (x->facts.stopping && x->facts.state == x->facts.stop_as && outcome == EXEC_STOPPED) ||
           (retry && x->facts.state == EXEC_FAILED);
}

static int finish_locked(struct market *m, const struct market_caller *c, const struct market_ref *ref,
                         const struct market_finish *f, enum exec_state outcome, struct err *err)
{
    struct job_row j = {0};
    struct exec_row x = {0};
    struct query lock = exec_lock_start(m, ref->job, ref->index, err);
    int rc = market_clock(m, err) < 0 ? -1 : exec_lock_end(&lock, &j, &x);
    if (rc <= 0)
        return rc < 0 ? -1 : lost_error(ref, err);
    if (!exec_is_held(x.facts.state) && is_repeat(c, ref, &x, outcome, f->retry))
        return 0;
    if (!exec_is_held(x.facts.state) || x.epoch != ref->epoch || !str_eq(x.node, c->node))
        return lost_error(ref, err);
    const struct verdict v = decide_finish(&x.facts, outcome, f->retry);
    x.exit_code = f->has_exit_code && v.to != EXEC_QUEUED ? f->exit_code : VALUE_NONE;
    if (store_record(m, &x, f->record, err) < 0)
        return -1;
    if (v.to != EXEC_QUEUED && insert_result(m, &x, f, err) < 0)
        return -1;
    return exec_apply(m, &j, &x, &v, f->reason ? f->reason : "", err);
}

int market_node_finish(struct market *m, const struct market_caller *c, const struct market_ref *x,
                       const struct market_finish *f, struct err *err)
{
    enum exec_state outcome = EXEC_FAILED;
    if (need_node(c, err) < 0 || read_outcome(f, &outcome, err) < 0 || market_begin_at(m, 0, err) < 0)
        return -1;
    return market_end(m, finish_locked(m, c, x, f, outcome, err), err);
}

/* ---- A confidential definition */

int market_node_definition(struct market *m, const struct market_caller *c, const struct market_ref *x, json_t **out,
                           struct err *err)
{
    struct exec_row row;
    if (exec_peek_held(m, c, x, &row, err) < 0)
        return -1;
    struct query q = query_on(m, "SELECT sealed FROM definitions WHERE execution = $1 AND epoch = $2", err);
    query_text(&q, row.id);
    query_i64(&q, row.epoch);
    int rc = query_next(&q);
    if (rc <= 0)
        return rc < 0 ? -1 : err_set(err, ERR_NOTFOUND, "the sealed definition has not come yet");
    struct span sealed = db_col_text(q.s, 0);
    AUTO_JSON o = json_object();
    json_put(o, "sealed", json_stringn(sealed.p, sealed.n), err);
    query_done(&q);
    return give(out, &o, err);
}
