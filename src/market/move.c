/* The one way an execution moves: its row, its job's counts, its history. All under the job's row. */
#include "market/market_priv.h"

void exec_id(char out[EXEC_ID_MAX], const char *job, uint32_t index)
{
    snprintf(out, EXEC_ID_MAX, "%.*s/%u", MARKET_ID_MAX - 1, job, index);
}

/* ---- Rows */

void counts_read(struct span text, uint32_t counts[EXEC_STATE_COUNT])
{
    struct span head, rest = text;
    for (unsigned s = 0; s < EXEC_STATE_COUNT; s++) {
        struct err ignored = ERR_INIT;
        uint64_t n = 0;
        span_cut(rest, ',', &head, &rest);
        if (span_to_u64(head, &n, &ignored) < 0)
            n = 0;
        counts[s] = (uint32_t)n;
    }
}

void job_read(const struct query *q, int at, struct job_row *j)
{
    query_str(q, at, j->id);
    query_str(q, at + 1, j->market);
    query_str(q, at + 2, j->owner);
    query_str(q, at + 3, j->node);
    query_str(q, at + 4, j->reason);
    j->moves = query_get(q, at + 5);
    j->exit_code = query_get(q, at + 6);
    j->finished_ms = query_get(q, at + 7);
    j->queue_timeout_ms = query_get(q, at + 8);
    j->state = (enum exec_state)query_get(q, at + 9);
    counts_read(db_col_text(q->s, at + 10), j->counts);
    j->confidential = query_get(q, at + 11) != 0;
}

int job_lock(struct market *m, const char *id, struct job_row *j, struct err *err)
{
    struct query q = query_on(m, schema_locks(m->db)->job, err);
    query_text(&q, id);
    int rc = query_next(&q);
    if (rc == 1) {
        job_read(&q, 0, j);
        query_done(&q);
    }
    return rc;
}

int job_store(struct market *m, const struct job_row *j, struct err *err)
{
    char counts[EXEC_STATE_COUNT * 12];
    size_t n = 0;
    for (unsigned s = 0; s < EXEC_STATE_COUNT; s++)
        n += (size_t)snprintf(counts + n, sizeof(counts) - n, s ? ",%u" : "%u", j->counts[s]);
    struct query q = query_on(m,
                              "UPDATE jobs SET moves = $2, state = $3, counts = $4, reason = $5, exit_code = $6,"
                              " finished_ms = $7, node = $8 WHERE id = $1",
                              err);
    query_text(&q, j->id);
    query_i64(&q, j->moves);
    query_i64(&q, j->state);
    query_text(&q, counts);
    query_text(&q, j->reason);
    query_value(&q, j->exit_code);
    query_value(&q, j->finished_ms);
    query_text(&q, j->node);
    return query_later(&q);
}

void exec_read(const struct query *q, struct exec_row *x)
{
    query_str(q, 0, x->id);
    query_str(q, 1, x->job);
    query_str(q, 2, x->market);
    query_str(q, 3, x->node);
    query_str(q, 4, x->avoid_node);
    query_str(q, 5, x->reason);
    x->index = (uint32_t)query_get(q, 6);
    x->epoch = query_get(q, 7);
    x->queued_ms = query_get(q, 8);
    x->claimed_ms = query_get(q, 9);
    x->started_ms = query_get(q, 10);
    x->finished_ms = query_get(q, 11);
    x->exit_code = query_get(q, 12);
    int64_t stop_as = query_get(q, 20);
    x->facts = (struct exec_facts){
        .state = (enum exec_state)query_get(q, 13),
        .attempt = (uint32_t)query_get(q, 14),
        .max_attempts = (uint32_t)query_get(q, 15),
        .lease_until_ms = query_get(q, 16),
        .definition_until_ms = query_get(q, 17),
        .queue_deadline_ms = query_get(q, 18),
        .total_deadline_ms = query_get(q, 19),
        .stopping = stop_as != VALUE_NONE,
        .stop_as = stop_as != VALUE_NONE ? (enum exec_state)stop_as : EXEC_STOPPED,
        .stop_by_ms = query_get(q, 21),
    };
}

int exec_load(struct market *m, const char *job, uint32_t index, struct exec_row *x, struct err *err)
{
    struct query q = query_on(m, "SELECT " EXEC_COLUMNS " FROM executions e WHERE e.job = $1 AND e.idx = $2", err);
    query_text(&q, job);
    query_i64(&q, index);
    int rc = query_next(&q);
    if (rc == 1) {
        exec_read(&q, x);
        query_done(&q);
    }
    return rc;
}

struct query exec_lock_start(struct market *m, const char *job, uint32_t index, struct err *err)
{
    struct query q = query_on(m, schema_locks(m->db)->exec, err);
    query_text(&q, job);
    query_i64(&q, index);
    query_start(&q);
    return q;
}

int exec_lock_end(struct query *q, struct job_row *j, struct exec_row *x)
{
    int rc = query_next(q);
    if (rc == 1) {
        exec_read(q, x);
        job_read(q, EXEC_COLUMN_COUNT, j);
        query_done(q);
    }
    return rc;
}

int exec_lock(struct market *m, const char *job, uint32_t index, struct job_row *j, struct exec_row *x, struct err *err)
{
    struct query q = exec_lock_start(m, job, index, err);
    return exec_lock_end(&q, j, x);
}

/* How far it is, is kept while it is held. */
int exec_store(struct market *m, const struct exec_row *x, struct err *err)
{
    const struct exec_facts *f = &x->facts;
    struct query q =
        query_on(m,
                 "UPDATE executions SET node = $2, avoid_node = $3, reason = $4, epoch = $5,"
                 " queued_ms = $6, claimed_ms = $7, started_ms = $8, finished_ms = $9, exit_code = $10,"
                 " state = $11, attempt = $12, lease_until_ms = $13, definition_until_ms = $14,"
                 " queue_deadline_ms = $15, stop_as = $16, stop_by_ms = $17, due_ms = $18,"
                 " progress = CASE WHEN CAST($11 AS BIGINT) BETWEEN 1 AND 4 THEN progress END WHERE id = $1",
                 err);
    query_text(&q, x->id);
    query_text(&q, x->node);
    query_text(&q, x->avoid_node);
    query_text(&q, x->reason);
    query_i64(&q, x->epoch);
    query_i64(&q, x->queued_ms);
    query_value(&q, x->claimed_ms);
    query_value(&q, x->started_ms);
    query_value(&q, x->finished_ms);
    query_value(&q, x->exit_code);
    query_i64(&q, f->state);
    query_i64(&q, f->attempt);
    query_value(&q, f->lease_until_ms);
    query_value(&q, f->definition_until_ms);
    query_value(&q, f->queue_deadline_ms);
    query_value(&q, f->stopping ? (int64_t)f->stop_as : VALUE_NONE);
    query_value(&q, f->stopping ? f->stop_by_ms : VALUE_NONE);
    query_value(&q, decide_due(f));
    return query_later(&q);
}

/* ---- Moves */

static int add_history(struct market *m, const struct job_row *j, const struct exec_row *x, enum exec_state from,
                       struct err *err)
{
    struct query q = query_on(m,
                              "INSERT INTO history (job, seq, at_ms, idx, attempt, epoch, from_state, to_state, node,"
                              " reason) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
                              err);
    query_text(&q, x->job);
    query_i64(&q, j->moves);
    query_i64(&q, m->tx.now_ms);
    query_i64(&q, x->index);
    query_i64(&q, x->facts.attempt);
    query_i64(&q, x->epoch);
    query_i64(&q, from);
    query_i64(&q, x->facts.state);
    query_text(&q, x->node);
    query_text(&q, x->reason);
    return query_later(&q);
}

static void enter_queue(const struct market *m, const struct job_row *j, struct exec_row *x, bool avoid)
{
    snprintf(x->avoid_node, sizeof(x->avoid_node), "%s", avoid ? x->node : "");
    x->node[0] = '\0';
    x->queued_ms = m->tx.now_ms;
    x->facts.queue_deadline_ms = j->queue_timeout_ms > 0 ? m->tx.now_ms + j->queue_timeout_ms : TIME_NEVER;
    x->facts.lease_until_ms = x->facts.definition_until_ms = TIME_NEVER;
    x->facts.stopping = false;
}

static void end(const struct market *m, struct job_row *j, struct exec_row *x)
{
    x->finished_ms = m->tx.now_ms;
    x->facts.lease_until_ms = x->facts.definition_until_ms = TIME_NEVER;
    if (x->exit_code != VALUE_NONE && (j->exit_code == VALUE_NONE || j->exit_code == 0))
        j->exit_code = x->exit_code;
}

static int drop_definition(struct market *m, const struct exec_row *x, struct err *err)
{
    struct query q = query_on(m, "DELETE FROM definitions WHERE execution = $1", err);
    query_text(&q, x->id);
    return query_later(&q);
}

/* Those who wait, for work or for an end. PostgreSQL lets transactions that notify commit one at a time only, so other
 * servers hear of work alone, and find the rest by polling. */
static void tell(struct market *m, const struct job_row *j, const struct exec_row *x, enum exec_state to)
{
    market_changed(m, j->id, false);
    if (to == EXEC_QUEUED)
        market_changed(m, x->market, true);
}

static int ask_stop(struct market *m, struct exec_row *x, const struct verdict *v, const char *reason, struct err *err)
{
    x->facts.stopping = true;
    x->facts.stop_as = v->to;
    x->facts.stop_by_ms = m->tx.now_ms + MARKET_STOP_GRACE_MS;
    str_fit(x->reason, sizeof(x->reason), reason);
    market_changed(m, x->node, true);
    return exec_store(m, x, err);
}

int exec_apply(struct market *m, struct job_row *j, struct exec_row *x, const struct verdict *v, const char *reason,
               struct err *err)
{
    enum exec_state from = x->facts.state;
    const char *why = v->reason ? v->reason : (reason ? reason : x->reason);
    if (v->kind == VERDICT_KEEP)
        return 0;
    if (v->kind == VERDICT_ASK_STOP)
        return ask_stop(m, x, v, why, err);
    if (!exec_may_move(from, v->to))
        return err_set(err, ERR_SYSTEM, "an execution may not go from %s to %s", exec_state_word(from),
                       exec_state_word(v->to));
    str_fit(x->reason, sizeof(x->reason), why);
    memcpy(j->reason, x->reason, sizeof(j->reason));
    memcpy(j->node, x->node, sizeof(j->node));
    x->facts.state = v->to;
    tell(m, j, x, v->to);
    if (v->to == EXEC_RUNNING)
        x->started_ms = m->tx.now_ms;
    if (exec_is_ended(v->to))
        end(m, j, x);
    j->moves++;
    if (add_history(m, j, x, from, err) < 0 ||
        (j->confidential && exec_is_held(from) && !exec_is_held(v->to) && drop_definition(m, x, err) < 0))
        return -1;
    if (v->to == EXEC_QUEUED)
        enter_queue(m, j, x, v->avoid);
    j->counts[from] -= j->counts[from] > 0;
    j->counts[v->to]++;
    j->state = decide_job_state(j->counts);
    j->finished_ms = exec_is_ended(j->state) ? m->tx.now_ms : VALUE_NONE;
    return exec_store(m, x, err) < 0 ? -1 : job_store(m, j, err);
}

/* ---- Who holds it */

int lost_error(const struct market_ref *ref, struct err *err)
{
    return err_set(err, ERR_CHANGED, "this node does not hold execution %u of job %.40s under epoch %lld (any more)",
                   ref->index, ref->job, (long long)ref->epoch);
}

static int check_held(const struct market_caller *c, const struct market_ref *ref, const struct exec_row *x,
                      struct err *err)
{
    if (exec_is_held(x->facts.state) && x->epoch == ref->epoch && str_eq(x->node, c->node))
        return 0;
    return lost_error(ref, err);
}

int exec_held(struct market *m, const struct market_caller *c, const struct market_ref *ref, struct job_row *j,
              struct exec_row *x, struct err *err)
{
    if (need_node(c, err) < 0)
        return -1;
    int rc = exec_lock(m, ref->job, ref->index, j, x, err);
    if (rc == 0)
        return lost_error(ref, err);
    return rc < 0 ? -1 : check_held(c, ref, x, err);
}

int exec_peek_held(struct market *m, const struct market_caller *c, const struct market_ref *ref, struct exec_row *x,
                   struct err *err)
{
    if (need_node(c, err) < 0)
        return -1;
    int rc = exec_load(m, ref->job, ref->index, x, err);
    if (rc == 0)
        return lost_error(ref, err);
    return rc < 0 ? -1 : check_held(c, ref, x, err);
}
