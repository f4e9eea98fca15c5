/* Markets: their settings, and how they are doing. */
#include "market/market_priv.h"

#define DAY_MS          ((int64_t)86400000)
#define LOG_BYTES_LEAST 4096

static const struct setting {
    const char *name;
    size_t offset;
    int64_t fallback, min, max;
} settings[] = {
    {"locality_window_ms", offsetof(struct market_settings, locality_window_ms), 10000, 0, 600000},
    {"max_attempts", offsetof(struct market_settings, max_attempts), 3, 1, 100},
    {"max_queued", offsetof(struct market_settings, max_queued), 100000, 1, 10000000},
    {"retention_ms", offsetof(struct market_settings, retention_ms), 7 * DAY_MS, 0, 3650 * DAY_MS},
    {"max_log_bytes", offsetof(struct market_settings, max_log_bytes), 16 << 20, LOG_BYTES_LEAST, (int64_t)1 << 40},
    {"max_per_poster", offsetof(struct market_settings, max_per_poster), MARKET_POSTER_JOBS, 1, 10000000},
};

static int64_t setting_of(const struct market_settings *s, size_t i)
{
    return *(const int64_t *)(const void *)((const char *)s + settings[i].offset);
}

static int check_settings(const struct market_settings *s, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        int64_t v = setting_of(s, i);
        if (v != MARKET_KEEP && (v < settings[i].min || v > settings[i].max))
            return err_set(err, ERR_INVALID, "%s: expected %lld to %lld", settings[i].name, (long long)settings[i].min,
                           (long long)settings[i].max);
    }
    if ((s->name && strlen(s->name) >= MARKET_NAME_MAX) || (s->description && strlen(s->description) > JSON_TEXT_MAX))
        return err_set(err, ERR_INVALID, "name or description is too long");
    return 0;
}

static int insert_market(struct market *m, const char *address, const struct market_settings *s, struct err *err)
{
    struct query q = query_on(m,
                              "INSERT INTO markets (address, created_ms, name, description, locality_window_ms,"
                              " max_attempts, max_queued, retention_ms, max_log_bytes, max_per_poster)"
                              " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (address) DO NOTHING",
                              err);
    query_text(&q, address);
    query_i64(&q, m->tx.now_ms);
    query_text(&q, s->name ? s->name : address);
    query_text(&q, s->description ? s->description : "");
    for (size_t i = 0; i < ARRAY_LEN(settings); i++)
        query_i64(&q, setting_of(s, i) == MARKET_KEEP ? settings[i].fallback : setting_of(s, i));
    return query_run(&q);
}

static int update_market(struct market *m, const char *address, const struct market_settings *s, struct err *err)
{
    struct query q = query_on(m,
                              "UPDATE markets SET name = COALESCE($2, name), description = COALESCE($3, description),"
                              " locality_window_ms = COALESCE($4, locality_window_ms),"
                              " max_attempts = COALESCE($5, max_attempts), max_queued = COALESCE($6, max_queued),"
                              " retention_ms = COALESCE($7, retention_ms), max_log_bytes = COALESCE($8, max_log_bytes),"
                              " max_per_poster = COALESCE($9, max_per_poster)"
                              " WHERE address = $1",
                              err);
    query_text(&q, address);
    query_text(&q, s->name);
    query_text(&q, s->description);
    for (size_t i = 0; i < ARRAY_LEN(settings); i++)
        query_value(&q, setting_of(s, i) == MARKET_KEEP ? VALUE_NONE : setting_of(s, i));
    return query_run(&q);
}

int market_put(struct market *m, const struct market_caller *c, const char *address, const struct market_settings *s,
               bool *created, json_t **out, struct err *err)
{
    if (need_operator(c, err) < 0 || check_address("market", address, err) < 0 || check_settings(s, err) < 0 ||
        market_begin(m, err) < 0)
        return -1;
    int rc = insert_market(m, address, s, err);
    bool is_new = rc == 0 && db_changes(m->db) == 1;
    if (rc == 0 && !is_new)
        rc = update_market(m, address, s, err);
    if (market_end(m, rc, err) < 0)
        return -1;
    if (created)
        *created = is_new;
    return out ? market_get(m, address, out, err) : 0;
}

/* ---- Showing them */

#define MARKET_COLUMNS                                                                                                 \
    "SELECT address, name, description, created_ms, locality_window_ms, max_attempts, max_queued, retention_ms,"       \
    " max_log_bytes, max_per_poster, required_version FROM markets "

static json_t *settings_json(void *ctx, const struct query *q, struct err *err)
{
    (void)ctx;
    static const char *const texts[] = {"address", "name", "description"};
    json_t *o = json_object();
    for (int i = 0; i < (int)ARRAY_LEN(texts); i++) {
        struct span s = db_col_text(q->s, i);
        json_put(o, texts[i], json_stringn(s.p, s.n), err);
    }
    put_ms(o, "created_ms", query_get(q, 3), err);
    for (int i = 0; i < (int)ARRAY_LEN(settings); i++)
        put_i64(o, settings[i].name, query_get(q, 4 + i), err);
    put_i64(o, "required_version", query_get(q, 4 + (int)ARRAY_LEN(settings)), err);
    return o;
}

static json_t *nodes_json(struct market *m, const char *address, int64_t now_ms, struct err *err)
{
    static const char *const words[] = {"ready", "preparing", "pending", "gone"};
    int64_t counts[ARRAY_LEN(words)] = {0};
    struct query q = query_on(m,
                              "SELECT CASE WHEN last_seen_ms <= $2 THEN 3 WHEN state = 'pending' THEN 2"
                              " WHEN ready = 0 THEN 1 ELSE 0 END AS kind, COUNT(*)"
                              " FROM nodes WHERE market = $1 AND state <> 'rejected' GROUP BY kind",
                              err);
    query_text(&q, address);
    query_i64(&q, now_ms - m->opts.lease_ms);
    while (query_next(&q) == 1) {
        int64_t kind = query_get(&q, 0);
        if (kind >= 0 && kind < (int64_t)ARRAY_LEN(words))
            counts[kind] = query_get(&q, 1);
    }
    json_t *o = json_object();
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        put_i64(o, words[i], counts[i], err);
    return o;
}

static json_t *queue_json(struct market *m, const char *address, struct err *err)
{
    int64_t queued = 0, running = 0;
    struct query q = query_on(m, "SELECT COUNT(*) FROM executions WHERE market = $1 AND state = 0", err);
    query_text(&q, address);
    query_one(&q, &queued);
    q = query_on(m, "SELECT COUNT(*) FROM executions WHERE market = $1 AND state BETWEEN 1 AND 4", err);
    query_text(&q, address);
    query_one(&q, &running);
    json_t *o = json_object();
    put_i64(o, "queued", queued, err);
    put_i64(o, "running", running, err);
    return o;
}

/* What changes by the minute, beside the settings. */
static int add_doings(struct market *m, json_t *o, struct err *err)
{
    int64_t now_ms;
    const char *address = json_get_str(o, "address");
    if (!address || market_now(m, &now_ms, err) < 0)
        return -1;
    json_put(o, "nodes", nodes_json(m, address, now_ms, err), err);
    return json_put(o, "queue", queue_json(m, address, err), err);
}

static int no_market(const char *address, struct err *err)
{
    return err_set(err, ERR_NOTFOUND, "no market '%.64s'", address ? address : "");
}

int market_get(struct market *m, const char *address, json_t **out, struct err *err)
{
    struct query q = query_on(m, MARKET_COLUMNS "WHERE address = $1", err);
    query_text(&q, address);
    int rc = query_next(&q);
    if (rc <= 0)
        return rc < 0 ? -1 : no_market(address, err);
    json_t *market = settings_json(NULL, &q, err);
    query_done(&q);
    AUTO_JSON o = json_object();
    add_doings(m, market, err);
    json_put(o, "market", market, err);
    return give(out, &o, err);
}

int market_list(struct market *m, const struct market_page *page, json_t **out, struct err *err)
{
    struct page_at at;
    if (page_open(page, &at, err) < 0)
        return -1;
    struct query q = query_on(m, MARKET_COLUMNS "WHERE address > $1 ORDER BY address LIMIT $2", err);
    query_text(&q, at.first ? "" : at.id);
    query_i64(&q, at.limit + 1);
    const struct page_rows rows = {.things = "markets", .row = settings_json, .id_column = 0, .number_column = -1};
    AUTO_JSON o = page_rows(&q, &at, &rows, err);
    size_t i;
    json_t *market;
    json_array_foreach(json_object_get(o, "markets"), i, market) add_doings(m, market, err);
    return give(out, &o, err);
}

static json_t *peer_bytes_json(struct market *m, struct err *err)
{
    json_t *all = json_object();
    struct query q = query_on(m,
                              "SELECT market, CAST(SUM(peer_sent_bytes) AS BIGINT), CAST(SUM(peer_got_bytes) AS BIGINT)"
                              " FROM nodes GROUP BY market ORDER BY market",
                              err);
    while (query_next(&q) == 1) {
        char address[MARKET_ADDRESS_MAX];
        json_t *of = json_object();
        query_str(&q, 0, address);
        put_i64(of, "sent", query_get(&q, 1), err);
        put_i64(of, "got", query_get(&q, 2), err);
        json_put(all, address, of, err);
    }
    return all;
}

int market_numbers(struct market *m, json_t **out, struct err *err)
{
    int64_t now_ms;
    if (market_now(m, &now_ms, err) < 0)
        return -1;
    AUTO_JSON o = json_object();
    json_t *jobs = json_object(), *nodes = json_object(), *oldest = json_object();
    struct query q = query_on(m, "SELECT address FROM markets ORDER BY address", err);
    while (query_next(&q) == 1) {
        char address[MARKET_ADDRESS_MAX];
        query_str(&q, 0, address);
        json_put(jobs, address, json_object(), err);
        json_put(oldest, address, json_null(), err);
    }
    q = query_on(m, "SELECT market, state, COUNT(*) FROM jobs GROUP BY market, state", err);
    while (query_next(&q) == 1) {
        char address[MARKET_ADDRESS_MAX];
        query_str(&q, 0, address);
        json_t *of = json_object_get(jobs, address);
        if (of)
            put_i64(of, exec_state_word((enum exec_state)query_get(&q, 1)), query_get(&q, 2), err);
    }
    q = query_on(m, "SELECT market, MIN(queued_ms) FROM executions WHERE state = 0 GROUP BY market", err);
    while (query_next(&q) == 1) {
        char address[MARKET_ADDRESS_MAX];
        query_str(&q, 0, address);
        json_object_set_new(oldest, address, json_integer(now_ms - query_get(&q, 1)));
    }
    json_t *bytes = peer_bytes_json(m, err);
    const char *address;
    json_t *of;
    json_object_foreach(jobs, address, of) json_put(nodes, address, nodes_json(m, address, now_ms, err), err);
    json_put(o, "jobs", jobs, err);
    json_put(o, "nodes", nodes, err);
    json_put(o, "oldest_queued_ms", oldest, err);
    json_put(o, "peer_bytes", bytes, err);
    return give(out, &o, err);
}

int market_required_version(struct market *m, const char *address, int64_t *out, struct err *err)
{
    struct query q = query_on(m, "SELECT required_version FROM markets WHERE address = $1", err);
    query_text(&q, address);
    return query_one(&q, out);
}
