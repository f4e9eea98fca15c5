/* What there is, as JSON. */
#include "cache/cache_priv.h"

#include "base/fs.h"

static int add_pins(struct db *db, int64_t snapshot, json_t *o, struct err *err)
{
    struct db_stmt *s = NULL;
    json_t *names = json_array();
    int rc;
    if (json_put(o, "pinned_by", names, err) < 0 ||
        db_prepare(db, "SELECT by FROM pins WHERE snapshot = $1 ORDER BY created_ms, by", &s, err) < 0)
        return -1;
    db_bind_i64(s, 1, snapshot);
    while ((rc = db_next(s, err)) > 0) {
        struct span by = db_col_text(s, 0);
        if (json_array_append_new(names, json_stringn(by.p, by.n)) < 0) {
            db_done(s);
            return err_nomem(err);
        }
    }
    return rc;
}

static int add_leases(struct db *db, int64_t snapshot, json_t *o, struct err *err)
{
    struct db_stmt *s = NULL;
    json_t *jobs = json_array();
    uint64_t n = 0;
    int rc;
    if (json_put(o, "leased_by", jobs, err) < 0 ||
        db_prepare(db,
                   "SELECT l.job FROM lease_snapshots h JOIN leases l ON l.n = h.lease WHERE h.snapshot = $1 "
                   "ORDER BY l.n",
                   &s, err) < 0)
        return -1;
    db_bind_i64(s, 1, snapshot);
    while ((rc = db_next(s, err)) > 0) {
        struct span job = db_col_text(s, 0);
        n++;
        if (json_array_append_new(jobs, json_stringn(job.p, job.n)) < 0) {
            db_done(s);
            return err_nomem(err);
        }
    }
    return rc < 0 ? -1 : json_put_u64(o, "leases", n, err);
}

static int put_ms(json_t *o, const char *key, int64_t ms, struct err *err)
{
    return json_put(o, key, json_integer(ms), err);
}

/* What an entry adds; a snapshot made from others has none. */
static int put_entry(struct cache *c, struct db_stmt *s, json_t *o, struct err *err)
{
    static const uint8_t anybody[32];
    struct span identity = db_col_text(s, 7), scope = db_col_text(s, 8);
    bool has = identity.p != NULL;
    int64_t downloaded_ms = has ? db_col_i64(s, 9) : db_col_i64(s, 4);
    bool for_all = has && scope.n == sizeof anybody && memcmp(scope.p, anybody, sizeof anybody) == 0;
    if (json_put(o, "origin", has ? json_stringn(identity.p, identity.n) : json_null(), err) < 0 ||
        json_put(o, "public", has ? json_boolean(for_all) : json_null(), err) < 0 ||
        put_ms(o, "downloaded_ms", downloaded_ms, err) < 0 ||
        json_put(o, "expired", json_boolean(cache_now(c) - downloaded_ms > c->ttl_ms), err) < 0)
        return -1;
    return json_put(o, "hits", json_integer(has ? db_col_i64(s, 10) : db_col_i64(s, 6)), err);
}

static int put_row(struct cache *c, struct db *db, struct db_stmt *s, json_t *list, struct err *err)
{
    json_t *o = json_object();
    if (!o || json_array_append_new(list, o) < 0)
        return err_nomem(err);
    struct span id = db_col_text(s, 1);
    if (json_put(o, "snapshot", json_stringn(id.p, id.n), err) < 0 || put_entry(c, s, o, err) < 0 ||
        json_put(o, "files", json_integer(db_col_i64(s, 2)), err) < 0 ||
        json_put(o, "bytes", json_integer(db_col_i64(s, 3)), err) < 0 ||
        put_ms(o, "created_ms", db_col_i64(s, 4), err) < 0 || put_ms(o, "last_used_ms", db_col_i64(s, 5), err) < 0 ||
        add_pins(db, db_col_i64(s, 0), o, err) < 0)
        return -1;
    return add_leases(db, db_col_i64(s, 0), o, err);
}

/* All, or those of one snapshot. */
static int list_rows(struct cache *c, struct db *db, const char *snapshot, json_t *list, struct err *err)
{
    struct db_stmt *s = NULL;
    int rc;
    if (db_prepare(db,
                   "SELECT s.n, s.id, s.files, s.bytes, s.created_ms, s.last_used_ms, s.hits,"
                   " e.identity, e.scope, e.downloaded_ms, e.hits "
                   "FROM snapshots s LEFT JOIN entries e ON e.snapshot = s.n WHERE $1 IS NULL OR s.id = $1 "
                   "ORDER BY s.last_used_ms DESC, s.n DESC, e.identity, e.scope",
                   &s, err) < 0)
        return -1;
    db_bind_text(s, 1, snapshot);
    while ((rc = db_next(s, err)) > 0) {
        if (put_row(c, db, s, list, err) < 0) {
            db_done(s);
            return -1;
        }
    }
    return rc;
}

static json_t *list_of(struct cache *c, const char *snapshot, struct err *err)
{
    AUTO_JSON list = json_array();
    if (!list) {
        err_nomem(err);
        return NULL;
    }
    int rc = list_rows(c, index_enter(c), snapshot, list, err);
    index_leave(c);
    return rc < 0 ? NULL : json_incref(list);
}

json_t *cache_list(struct cache *c, struct err *err)
{
    json_t *list = list_of(c, NULL, err);
    if (!list)
        err_wrap(err, "cache");
    return list;
}

static const struct figure {
    const char *name, *sql;
} figures[] = {
    {"blobs", "SELECT count(*) FROM blobs WHERE lost = 0"},
    {"blobs_bytes", "SELECT coalesce(sum(size), 0) FROM blobs WHERE lost = 0"},
    {"lost", "SELECT count(*) FROM blobs WHERE lost <> 0"},
    {"origins", "SELECT count(*) FROM origins"},
    {"snapshots", "SELECT count(*) FROM snapshots"},
    {"entries", "SELECT count(*) FROM entries"},
    {"pinned_snapshots", "SELECT count(DISTINCT snapshot) FROM pins"},
    {"leases", "SELECT count(*) FROM leases"},
    {"reserved_bytes", "SELECT coalesce(sum(reserved), 0) FROM leases"},
    {"hits", "SELECT coalesce(sum(hits), 0) FROM snapshots"},
};

static int put_figures(struct db *db, json_t *o, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(figures); i++) {
        int64_t n = 0;
        if (index_value(db, figures[i].sql, &n, err) < 0 || json_put(o, figures[i].name, json_integer(n), err) < 0)
            return -1;
    }
    return 0;
}

static json_t *text_or_null(struct db_stmt *s, int column)
{
    struct span text = db_col_text(s, column);
    return text.p ? json_stringn(text.p, text.n) : json_null();
}

static int put_jobs(struct db *db, json_t *jobs, struct err *err)
{
    struct db_stmt *s = NULL;
    int rc;
    if (db_prepare(db, "SELECT job, pid, engine, container, created_ms FROM leases ORDER BY n", &s, err) < 0)
        return -1;
    while ((rc = db_next(s, err)) > 0) {
        json_t *o = json_object();
        struct span job = db_col_text(s, 0);
        if (!o || json_array_append_new(jobs, o) < 0) {
            db_done(s);
            return err_nomem(err);
        }
        if (json_put(o, "job", json_stringn(job.p, job.n), err) < 0 ||
            json_put(o, "pid", json_integer(db_col_i64(s, 1)), err) < 0 ||
            json_put(o, "engine", text_or_null(s, 2), err) < 0 ||
            json_put(o, "container", text_or_null(s, 3), err) < 0 || put_ms(o, "since_ms", db_col_i64(s, 4), err) < 0) {
            db_done(s);
            return -1;
        }
    }
    return rc;
}

static int put_limits(struct cache *c, json_t *o, struct err *err)
{
    struct fs_space space;
    struct partials partials;
    if (fs_space(c->dir_fd, &space, err) < 0 || partials_sweep(c, INT64_MAX, false, &partials, err) < 0)
        return -1;
    uint64_t floor = c->min_free_bytes == UINT64_MAX ? space.total_bytes / 10 : c->min_free_bytes;
    if (json_put_u64(o, "partials_bytes", partials.live_bytes + partials.stale_bytes, err) < 0 ||
        json_put_u64(o, "free_bytes", space.free_bytes, err) < 0 || json_put_u64(o, "min_free_bytes", floor, err) < 0 ||
        json_put(o, "max_bytes", c->max_bytes ? json_integer((json_int_t)c->max_bytes) : json_null(), err) < 0)
        return -1;
    return json_put_u64(o, "ttl_ms", (uint64_t)c->ttl_ms, err);
}

static json_t *stat_all(struct cache *c, struct err *err)
{
    AUTO_JSON o = json_object();
    json_t *jobs = json_array();
    if (json_put_str(o, "dir", c->dir, err) < 0) {
        json_decref(jobs);
        return NULL;
    }
    struct db *db = index_enter(c);
    int rc = put_figures(db, o, err);
    if (rc == 0)
        rc = put_jobs(db, jobs, err);
    index_leave(c);
    if (rc == 0)
        rc = put_limits(c, o, err);
    if (rc < 0) {
        json_decref(jobs);
        return NULL;
    }
    return json_put(o, "jobs", jobs, err) < 0 ? NULL : json_incref(o);
}

/* How much of it nothing else holds. */
static int put_own_bytes(struct cache *c, const char *id, json_t *o, struct err *err)
{
    AUTO_BUF list;
    AUTO(tree_release) struct tree t = {0};
    struct snapshot_row row;
    bool found;
    uint64_t own = 0;
    buf_init(&list, LIST_BYTES_MAX);
    struct db *db = index_enter(c);
    int rc = snapshot_row_get(db, id, &row, &found, err);
    if (rc == 0)
        rc = found ? snapshot_list_read(db, row.n, &list, err) : snapshot_not_found(id, err);
    if (rc == 0)
        rc = tree_decode(buf_span(&list), &t, err);
    for (size_t i = 0; rc == 0 && i < t.n; i++) {
        struct blob_row blob;
        if (!t.v[i].blob)
            continue;
        rc = blob_row_by_id(db, t.v[i].blob, &blob, &found, err);
        own += rc == 0 && found && blob.refs == 1 ? (uint64_t)blob.size : 0;
    }
    index_leave(c);
    if (rc < 0 || json_put(o, "folders", json_integer(row.folders), err) < 0 ||
        json_put(o, "built", json_boolean(view_is_built(c, &row)), err) < 0)
        return -1;
    return json_put_u64(o, "own_bytes", own, err);
}

static json_t *stat_one(struct cache *c, const char *what, struct err *err)
{
    char id[SNAPSHOT_ID_MAX];
    if (cache_find(c, what, id, err) < 0)
        return NULL;
    AUTO_JSON list = list_of(c, id, err);
    json_t *first = list ? json_array_get(list, 0) : NULL;
    if (!first) {
        snapshot_not_found(id, err);
        return NULL;
    }
    if (put_own_bytes(c, id, first, err) < 0)
        return NULL;
    AUTO_STR view = str_printf(err, "%s/views/%s", c->dir, id);
    return view && json_put_str(first, "view", view, err) == 0 ? json_incref(first) : NULL;
}

json_t *cache_stat(struct cache *c, const char *what, struct err *err)
{
    json_t *o = what ? stat_one(c, what, err) : stat_all(c, err);
    if (!o && !what)
        err_wrap(err, "cache");
    return o;
}
