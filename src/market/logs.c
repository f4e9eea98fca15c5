/* Logs: chunks in the order in which the holder sent them, up to a ceiling; what lies above leaves a gap that says how
 * much. The cursor of a reader is a chunk's number. */
#include "base/enc.h"
#include "market/market_priv.h"

#define STREAM_OUT      1
#define STREAM_ERR      2
#define READ_BYTES      (256u << 10)
#define READ_BYTES_MAX  (4u << 20)
#define READ_CHUNKS_MAX 1000

struct log_row {
    int64_t seq, bytes, offset[3]; /* offset by stream */
    int64_t attempt, log_attempt, max_bytes;
    char id[EXEC_ID_MAX], job[MARKET_ID_MAX];
};

/* The counters of an execution that this caller holds, its row locked. */
static int lock_log(struct market *m, const struct market_caller *c, const struct market_ref *ref, struct log_row *l,
                    struct err *err)
{
    struct query q = query_on(m,
                              "UPDATE executions SET log_seq = log_seq + 1 WHERE job = $1 AND idx = $2 AND epoch = $3"
                              " AND node = $4 AND state BETWEEN 1 AND 4 RETURNING id, log_seq, log_bytes, out_offset,"
                              " err_offset, attempt, log_attempt,"
                              " (SELECT max_log_bytes FROM markets WHERE address = market)",
                              err);
    query_text(&q, ref->job);
    query_i64(&q, ref->index);
    query_i64(&q, ref->epoch);
    query_text(&q, c->node);
    int rc = query_next(&q);
    if (rc <= 0)
        return rc < 0 ? -1 : lost_error(ref, err);
    query_str(&q, 0, l->id);
    l->seq = query_get(&q, 1);
    l->bytes = query_get(&q, 2);
    l->offset[STREAM_OUT] = query_get(&q, 3);
    l->offset[STREAM_ERR] = query_get(&q, 4);
    l->attempt = query_get(&q, 5);
    l->log_attempt = query_get(&q, 6);
    l->max_bytes = query_get(&q, 7);
    query_done(&q);
    if (l->log_attempt != l->attempt) /* a new attempt writes from the beginning again */
        l->offset[STREAM_OUT] = l->offset[STREAM_ERR] = 0;
    return 0;
}

static int store_log(struct market *m, const struct log_row *l, struct err *err)
{
    struct query q = query_on(m,
                              "UPDATE executions SET log_seq = $2, log_bytes = $3, out_offset = $4, err_offset = $5,"
                              " log_attempt = $6 WHERE id = $1",
                              err);
    query_text(&q, l->id);
    query_i64(&q, l->seq);
    query_i64(&q, l->bytes);
    query_i64(&q, l->offset[STREAM_OUT]);
    query_i64(&q, l->offset[STREAM_ERR]);
    query_i64(&q, l->attempt);
    return query_run(&q);
}

/* One chunk, or with p NULL a gap of n bytes. */
static int insert_chunk(struct market *m, const struct log_row *l, int stream, struct span data, struct err *err)
{
    struct query q = query_on(m,
                              "INSERT INTO logs (execution, seq, attempt, stream, at_offset, bytes, data)"
                              " VALUES ($1, $2, $3, $4, $5, $6, $7)",
                              err);
    query_text(&q, l->id);
    query_i64(&q, l->seq);
    query_i64(&q, l->attempt);
    query_i64(&q, stream);
    query_i64(&q, l->offset[stream]);
    query_i64(&q, (int64_t)data.n);
    query_blob(&q, data);
    return query_run(&q);
}

/* Gaps that follow one another are one, so that a job that never stops writing does not fill the table with them. */
static int widen_gap(struct market *m, struct log_row *l, int stream, size_t n, struct err *err)
{
    struct query q = query_on(m,
                              "UPDATE logs SET bytes = bytes + $4 WHERE execution = $1 AND attempt = $2 AND stream = $3"
                              " AND data IS NULL",
                              err);
    query_text(&q, l->id);
    query_i64(&q, l->attempt);
    query_i64(&q, stream);
    query_i64(&q, (int64_t)n);
    if (query_run(&q) < 0)
        return -1;
    if (db_changes(m->db) == 0)
        return insert_chunk(m, l, stream, (struct span){NULL, n}, err);
    l->seq--; /* no chunk of its own */
    return 0;
}

static int append_log(struct market *m, const struct market_caller *c, const struct market_ref *ref, int stream,
                      uint64_t offset, struct span data, uint64_t *next_offset, struct err *err)
{
    struct log_row l = {0};
    if (lock_log(m, c, ref, &l, err) < 0)
        return -1;
    uint64_t known = (uint64_t)l.offset[stream];
    *next_offset = known;
    if (offset > known)
        return err_set(err, ERR_REFUSED, "a gap in the log: it is known up to byte %llu", (unsigned long long)known);
    uint64_t seen = known - offset;
    if (seen >= data.n)
        return 0; /* sent before; the answer was lost */
    struct span fresh = {data.p + seen, data.n - (size_t)seen};
    size_t room = l.bytes < l.max_bytes ? (size_t)(l.max_bytes - l.bytes) : 0;
    struct span kept = span_head(fresh, room);
    if (kept.n && insert_chunk(m, &l, stream, kept, err) < 0)
        return -1;
    l.bytes += (int64_t)kept.n;
    l.offset[stream] += (int64_t)kept.n;
    if (kept.n < fresh.n) {
        l.seq += kept.n > 0;
        if (widen_gap(m, &l, stream, fresh.n - kept.n, err) < 0)
            return -1;
        l.offset[stream] += (int64_t)(fresh.n - kept.n);
    }
    *next_offset = (uint64_t)l.offset[stream];
    market_changed(m, ref->job, false);
    return store_log(m, &l, err);
}

int market_node_logs(struct market *m, const struct market_caller *c, const struct market_ref *x, int stream,
                     uint64_t offset, struct span data, uint64_t *next_offset, struct err *err)
{
    *next_offset = 0;
    if (stream != STREAM_OUT && stream != STREAM_ERR)
        return err_set(err, ERR_INVALID, "stream: expected 1 or 2");
    if (data.n > MARKET_LOG_BYTES_MAX)
        return err_set(err, ERR_INVALID, "data: more than %u bytes", MARKET_LOG_BYTES_MAX);
    if (need_node(c, err) < 0 || market_begin(m, err) < 0)
        return -1;
    return market_end(m, append_log(m, c, x, stream, offset, data, next_offset, err), err);
}

/* ---- Reading */

static json_t *event_json(const struct query *q, uint32_t index, int64_t seq, struct err *err)
{
    char id[24];
    AUTO_BUF text;
    struct span data = db_col_text(q->s, 5);
    json_t *o = json_object(), *d = json_object();
    buf_init(&text, MARKET_LOG_BYTES_MAX * 2);
    snprintf(id, sizeof(id), "%lld", (long long)seq);
    json_put_str(o, "event", data.p ? "log" : "gap", err);
    json_put_str(o, "id", id, err);
    put_i64(d, "index", index, err);
    put_i64(d, "attempt", query_get(q, 1), err);
    put_i64(d, "stream", query_get(q, 2), err);
    if (data.p) {
        base64_encode(&text, (const uint8_t *)data.p, data.n);
        put_i64(d, "offset", query_get(q, 3), err);
        if (buf_check(&text, "a log chunk", err) == 0)
            json_put(d, "data", json_stringn(buf_str(&text), text.n), err);
    } else {
        put_i64(d, "bytes", query_get(q, 4), err);
    }
    json_put(o, "data", d, err);
    return o;
}

/* Whether there is more than was given out. */
static bool read_chunks(struct market *m, const char *exec, uint32_t index, uint32_t max_bytes, int64_t *seq,
                        json_t *events, struct err *err)
{
    uint64_t bytes = 0;
    struct query q = query_on(m,
                              "SELECT seq, attempt, stream, at_offset, bytes, data FROM logs WHERE execution = $1"
                              " AND seq > $2 ORDER BY seq LIMIT $3",
                              err);
    query_text(&q, exec);
    query_i64(&q, *seq);
    query_i64(&q, READ_CHUNKS_MAX);
    int n = 0;
    bool full = false;
    while (!full && query_next(&q) == 1) {
        *seq = query_get(&q, 0);
        append(events, event_json(&q, index, *seq, err), err);
        bytes += db_col_text(q.s, 5).n;
        full = ++n == READ_CHUNKS_MAX || bytes >= max_bytes;
    }
    if (full)
        query_done(&q);
    return full;
}

static int put_state(struct market *m, const char *id, json_t *o, struct err *err)
{
    AUTO_JSON job = job_json(m, id, err);
    enum exec_state state = EXEC_QUEUED;
    if (!job)
        return -1;
    const char *word = json_get_str(job, "state");
    exec_state_parse(word, &state);
    put_bool(o, "ended", exec_is_ended(state), err);
    json_put_str(o, "state", word, err);
    json_put(o, "exit_code", json_incref(json_object_get(job, "exit_code")), err);
    return json_put_str(o, "reason", json_get_str(job, "reason"), err);
}

int market_job_logs(struct market *m, const struct market_caller *c, const char *id, uint32_t index, const char *cursor,
                    uint32_t max_bytes, json_t **out, struct err *err)
{
    char whole[MARKET_ID_MAX], exec[EXEC_ID_MAX], text[24];
    uint64_t after = 0;
    struct err why = ERR_INIT;
    if (!str_empty(cursor) && (span_to_u64(span_of(cursor), &after, &why) < 0 || after > INT64_MAX))
        return err_set(err, ERR_INVALID, "the cursor is none that a log of this server gave");
    if (job_find(m, c, id, whole, err) < 0)
        return -1;
    exec_id(exec, whole, index);
    AUTO_JSON o = json_object();
    json_t *events = json_array();
    int64_t seq = (int64_t)after;
    if (max_bytes == 0 || max_bytes > READ_BYTES_MAX)
        max_bytes = max_bytes ? READ_BYTES_MAX : READ_BYTES;
    /* The state first: chunks come before the end, so an end seen here has all of them behind it. */
    AUTO_JSON state = json_object();
    put_state(m, whole, state, err);
    bool more = read_chunks(m, exec, index, max_bytes, &seq, events, err);
    json_put(o, "events", events, err);
    snprintf(text, sizeof(text), "%lld", (long long)seq);
    json_put_str(o, "cursor", seq ? text : "", err);
    if (json_object_update(o, state) < 0)
        err_nomem(err);
    if (more)
        json_object_set_new(o, "ended", json_false());
    return give(out, &o, err);
}
