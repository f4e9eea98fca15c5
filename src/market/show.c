/* Jobs as their posters and operators see them. */
#include "market/market_priv.h"

#define ID_PREFIX_MIN 8
#define ID_CHARS      "abcdefghijklmnopqrstuvwxyz0123456789-"
#define ROWS_MAX      20000      /* of one job's history or executions */
#define RECORDS_SHOWN (8u << 20) /* bytes of run records and progress in one answer; those after are left out */

#define JOB_COLUMNS                                                                                                    \
    "SELECT j.id, j.name, j.market, j.state, j.priority, j.count, j.labels, j.created_ms, j.finished_ms,"              \
    " j.timeout_ms, j.queue_timeout_ms, j.total_deadline_ms, j.exit_code, j.reason, j.node, j.confidential, j.shown,"  \
    " j.counts FROM jobs j "

/* "" sees all jobs, an id those of that token; false: none. */
static bool owner_seen(const struct market_caller *c, const char **owner)
{
    *owner = c->role == MARKET_OPERATOR ? "" : c->token;
    return c->role == MARKET_OPERATOR || c->role == MARKET_POSTER;
}

static int no_job(const char *id, struct err *err)
{
    return err_set(err, ERR_NOTFOUND, "no job '%.*s'", MARKET_ID_MAX, id ? id : "");
}

int job_find(struct market *m, const struct market_caller *c, const char *id, char out[MARKET_ID_MAX], struct err *err)
{
    const char *owner;
    char last[MARKET_ID_MAX]; /* that may begin so: ids are of a-z and digits, and all of one length */
    size_t n = id ? strlen(id) : 0;
    if (!owner_seen(c, &owner) || n < ID_PREFIX_MIN || n >= MARKET_ID_MAX || strspn(id, ID_CHARS) != n)
        return no_job(id, err);
    memset(last, 'z', sizeof(last) - 1);
    memcpy(last, id, n);
    last[sizeof(last) - 1] = '\0';
    struct query q = query_on(m,
                              "SELECT id FROM jobs WHERE id >= $1 AND id <= $2 AND ($3 = '' OR owner = $3)"
                              " AND ($4 = '' OR market = $4) ORDER BY id LIMIT 2",
                              err);
    query_text(&q, id);
    query_text(&q, last);
    query_text(&q, owner);
    query_text(&q, c->market);
    int rc = query_next(&q);
    if (rc <= 0)
        return rc < 0 ? -1 : no_job(id, err);
    query_copy(&q, 0, out, MARKET_ID_MAX);
    bool whole = strlen(out) == n;
    rc = query_next(&q);
    if (rc == 1)
        query_done(&q);
    if (rc == 1 && !whole)
        return err_set(err, ERR_INVALID, "'%.*s' is the beginning of more than one job's id", MARKET_ID_MAX, id);
    return rc < 0 ? -1 : 0;
}

static json_t *counts_json(struct span text, struct err *err)
{
    json_t *o = json_object();
    uint32_t counts[EXEC_STATE_COUNT];
    counts_read(text, counts);
    for (unsigned s = 0; s < EXEC_STATE_COUNT; s++)
        json_put_u64(o, exec_state_word((enum exec_state)s), counts[s], err);
    return o;
}

static json_t *column_text(const struct query *q, int col)
{
    struct span s = db_col_text(q->s, col);
    return s.p && s.n ? json_stringn(s.p, s.n) : json_null();
}

static int put_text(json_t *o, const char *key, const struct query *q, int col, struct err *err)
{
    struct span s = db_col_text(q->s, col);
    return json_put(o, key, json_stringn(s.p ? s.p : "", s.n), err);
}

/* The members of what was shown at posting: images, inputs, publish. */
static void put_shown(json_t *o, const struct query *q, int col, struct err *err)
{
    AUTO_JSON shown = json_parse(db_col_text(q->s, col), err);
    if (shown && json_object_update(o, shown) < 0)
        err_nomem(err);
}

static json_t *row_json(void *ctx, const struct query *q, struct err *err)
{
    (void)ctx;
    json_t *o = json_object();
    int64_t created_ms = query_get(q, 7), queue_ms = query_get(q, 10);
    put_text(o, "id", q, 0, err);
    put_text(o, "name", q, 1, err);
    put_text(o, "market", q, 2, err);
    json_put_str(o, "state", exec_state_word((enum exec_state)query_get(q, 3)), err);
    put_i64(o, "priority", query_get(q, 4), err);
    put_i64(o, "count", query_get(q, 5), err);
    put_stored(o, "labels", q, 6, json_object(), err);
    put_ms(o, "created_ms", created_ms, err);
    put_ms(o, "queued_ms", created_ms, err);
    put_ms(o, "finished_ms", query_get(q, 8), err);
    put_ms(o, "timeout_ms", query_get(q, 9), err);
    put_ms(o, "queue_deadline_ms", queue_ms > 0 ? created_ms + queue_ms : VALUE_NONE, err);
    put_ms(o, "total_deadline_ms", query_get(q, 11), err);
    put_ms(o, "exit_code", query_get(q, 12), err);
    put_text(o, "reason", q, 13, err);
    json_put(o, "node", column_text(q, 14), err);
    put_bool(o, "confidential", query_get(q, 15), err);
    put_shown(o, q, 16, err);
    json_put(o, "executions", counts_json(db_col_text(q->s, 17), err), err);
    return o;
}

json_t *job_json(struct market *m, const char *id, struct err *err)
{
    struct query q = query_on(m, JOB_COLUMNS "WHERE j.id = $1", err);
    query_text(&q, id);
    int rc = query_next(&q);
    if (rc <= 0) {
        if (rc == 0)
            no_job(id, err);
        return NULL;
    }
    json_t *o = row_json(NULL, &q, err);
    query_done(&q);
    return o;
}

/* ---- Lists. $1 owner ("": any), $2 market, $3 state, $4 label, $5 its value (NULL: any), $6/$7 after, $8 how many.
 * Each order has its index; the owner's own is used where there is one. */

#define FILTERS                                                                                                        \
    " AND (CAST($2 AS TEXT) IS NULL OR j.market = $2) AND ($3 < 0 OR j.state = $3)"                                    \
    " AND (CAST($4 AS TEXT) IS NULL OR EXISTS (SELECT 1 FROM job_labels l WHERE l.job = j.id AND l.name = $4"          \
    " AND (CAST($5 AS TEXT) IS NULL OR l.value = $5)))"
#define LIST_SQL(column, after, direction)                                                                             \
    JOB_COLUMNS "WHERE $1 = '' AND (j." column ", j.id) " after " ($6, $7)" FILTERS " ORDER BY j." column              \
                " " direction ", j.id " direction " LIMIT $8"
#define OWN_SQL(column, after, direction)                                                                              \
    JOB_COLUMNS "WHERE j.owner = $1 AND (j." column ", j.id) " after " ($6, $7)" FILTERS " ORDER BY j." column         \
                " " direction ", j.id " direction " LIMIT $8"
#define ORDERS(column)                                                                                                 \
    {                                                                                                                  \
        {LIST_SQL(column, "<", "DESC"), LIST_SQL(column, ">", "ASC")},                                                 \
        {                                                                                                              \
            OWN_SQL(column, "<", "DESC"), OWN_SQL(column, ">", "ASC")                                                  \
        }                                                                                                              \
    }
static const char *const list_sql[3][2][2] = {
    [MARKET_BY_CREATED] = ORDERS("created_ms"),
    [MARKET_BY_PRIORITY] = ORDERS("priority"),
    [MARKET_BY_STATE] = ORDERS("state"),
};
static const int order_column[] = {[MARKET_BY_CREATED] = 7, [MARKET_BY_PRIORITY] = 4, [MARKET_BY_STATE] = 3};

/* After the last of the page before; from the beginning: past every row, in either direction. */
static void bind_after(struct query *q, const struct page_at *at, bool reverse)
{
    query_i64(q, at->first ? (reverse ? INT64_MIN : INT64_MAX) : at->number);
    query_text(q, at->first ? "" : at->id);
}

int market_job_list(struct market *m, const struct market_caller *c, const struct market_job_query *query, json_t **out,
                    struct err *err)
{
    struct page_at at;
    const char *owner;
    enum exec_state state = EXEC_QUEUED;
    if (!owner_seen(c, &owner))
        return err_set(err, ERR_DENIED, "a node's token lists no jobs");
    if (query->state && !exec_state_parse(query->state, &state))
        return err_set(err, ERR_INVALID, "state: unknown '%.40s'", query->state);
    if (page_open(&query->page, &at, err) < 0)
        return -1;
    struct query q = query_on(m, list_sql[query->order][owner[0] != '\0'][query->reverse], err);
    query_text(&q, owner);
    query_text(&q, query->market ? query->market : c->market[0] ? c->market : NULL);
    query_i64(&q, query->state ? (int64_t)state : -1);
    query_text(&q, query->label_name);
    query_text(&q, query->label_value);
    bind_after(&q, &at, query->reverse);
    query_i64(&q, at.limit + 1);
    const struct page_rows rows = {
        .things = "jobs", .row = row_json, .id_column = 0, .number_column = order_column[query->order]};
    AUTO_JSON o = page_rows(&q, &at, &rows, err);
    return give(out, &o, err);
}

/* ---- One job */

static json_t *history_json(struct market *m, const char *id, struct err *err)
{
    json_t *list = json_array();
    struct query q = query_on(m,
                              "SELECT seq, at_ms, idx, attempt, epoch, from_state, to_state, node, reason FROM history"
                              " WHERE job = $1 ORDER BY seq LIMIT $2",
                              err);
    query_text(&q, id);
    query_i64(&q, ROWS_MAX);
    while (query_next(&q) == 1) {
        static const char *const numbers[] = {"seq", "at_ms", "index", "attempt", "epoch"};
        json_t *o = json_object();
        for (int i = 0; i < (int)ARRAY_LEN(numbers); i++)
            put_i64(o, numbers[i], query_get(&q, i), err);
        json_put_str(o, "from", exec_state_word((enum exec_state)query_get(&q, 5)), err);
        json_put_str(o, "to", exec_state_word((enum exec_state)query_get(&q, 6)), err);
        json_put(o, "node", column_text(&q, 7), err);
        put_text(o, "reason", &q, 8, err);
        append(list, o, err);
    }
    return list;
}

/* What nodes said, as long as there is room for it. */
static void put_said(json_t *o, const char *key, const struct query *q, int col, size_t *records, struct err *err)
{
    *records += db_col_text(q->s, col).n;
    if (*records <= RECORDS_SHOWN)
        put_stored(o, key, q, col, json_null(), err);
    else
        json_put(o, key, json_null(), err);
}

static json_t *execution_json(const struct query *q, size_t *records, struct err *err)
{
    const int more = EXEC_COLUMN_COUNT;
    struct exec_row x;
    json_t *o = json_object();
    exec_read(q, &x);
    put_i64(o, "index", x.index, err);
    put_i64(o, "attempt", x.facts.attempt, err);
    put_i64(o, "epoch", x.epoch, err);
    json_put_str(o, "state", exec_state_word(x.facts.state), err);
    json_put_str(o, "node", x.node[0] ? x.node : NULL, err);
    put_ms(o, "lease_until_ms", x.facts.lease_until_ms, err);
    put_ms(o, "claimed_ms", x.claimed_ms, err);
    put_ms(o, "started_ms", x.started_ms, err);
    put_ms(o, "finished_ms", x.finished_ms, err);
    put_ms(o, "exit_code", x.exit_code, err);
    json_put_str(o, "reason", x.reason, err);
    put_said(o, "progress", q, more, records, err);
    put_said(o, "record", q, more + 1, records, err);
    /* What a confidential definition is sealed to. */
    if (query_get(q, more + 3) && x.facts.definition_until_ms != TIME_NEVER)
        json_put(o, "public_key", column_text(q, more + 2), err);
    return o;
}

static json_t *executions_json(struct market *m, const char *id, struct err *err)
{
    json_t *list = json_array();
    size_t records = 0;
    struct query q = query_on(m,
                              "SELECT " EXEC_COLUMNS ", e.progress, e.record, n.public_key, j.confidential"
                              " FROM executions e JOIN jobs j ON j.id = e.job LEFT JOIN nodes n ON n.id = e.node"
                              " WHERE e.job = $1 ORDER BY e.idx LIMIT $2",
                              err);
    query_text(&q, id);
    query_i64(&q, ROWS_MAX);
    while (query_next(&q) == 1)
        append(list, execution_json(&q, &records, err), err);
    return list;
}

int market_job_get(struct market *m, const struct market_caller *c, const char *id, unsigned with, json_t **out,
                   struct err *err)
{
    char whole[MARKET_ID_MAX];
    if (job_find(m, c, id, whole, err) < 0)
        return -1;
    AUTO_JSON o = json_object();
    json_put(o, "job", job_json(m, whole, err), err);
    if (with & MARKET_WITH_HISTORY)
        json_put(o, "history", history_json(m, whole, err), err);
    if (with & MARKET_WITH_EXECUTIONS)
        json_put(o, "executions", executions_json(m, whole, err), err);
    return give(out, &o, err);
}

int market_job_history(struct market *m, const struct market_caller *c, const char *id, json_t **out, struct err *err)
{
    char whole[MARKET_ID_MAX];
    if (job_find(m, c, id, whole, err) < 0)
        return -1;
    AUTO_JSON o = json_object();
    json_put(o, "history", history_json(m, whole, err), err);
    return give(out, &o, err);
}

int market_job_executions(struct market *m, const struct market_caller *c, const char *id, json_t **out,
                          struct err *err)
{
    char whole[MARKET_ID_MAX];
    if (job_find(m, c, id, whole, err) < 0)
        return -1;
    AUTO_JSON o = json_object();
    json_put(o, "executions", executions_json(m, whole, err), err);
    return give(out, &o, err);
}

int market_job_results(struct market *m, const struct market_caller *c, const char *id, json_t **out, struct err *err)
{
    char whole[MARKET_ID_MAX];
    if (job_find(m, c, id, whole, err) < 0)
        return -1;
    AUTO_JSON o = json_object();
    json_t *list = json_array();
    struct query q =
        query_on(m, "SELECT idx, attempt, exit_code, published FROM results WHERE job = $1 ORDER BY idx LIMIT $2", err);
    query_text(&q, whole);
    query_i64(&q, ROWS_MAX);
    while (query_next(&q) == 1) {
        json_t *r = json_object();
        put_i64(r, "index", query_get(&q, 0), err);
        put_i64(r, "attempt", query_get(&q, 1), err);
        put_ms(r, "exit_code", query_get(&q, 2), err);
        put_stored(r, "published", &q, 3, json_null(), err);
        append(list, r, err);
    }
    json_put(o, "results", list, err);
    return give(out, &o, err);
}
