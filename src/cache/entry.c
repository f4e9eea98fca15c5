/* Entries, proofs and pins. */
#include "cache/cache_priv.h"

#define IDENTITY_MAX ((size_t)16 << 10)
#define PIN_NAME_MAX 256

static int put_entry(struct cache *c, const struct cache_entry *e, const uint8_t key[32], const struct buf *shown,
                     struct err *err)
{
    struct db_stmt *s = NULL;
    struct snapshot_row row;
    bool found;
    if (snapshot_row_get(c->index.db, e->snapshot, &row, &found, err) < 0)
        return -1;
    if (!found)
        return snapshot_not_found(e->snapshot, err);
    if (db_prepare(c->index.db,
                   "INSERT INTO entries(key, scope, identity, fingerprint, snapshot, downloaded_ms, last_used_ms) "
                   "VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT(key, scope) DO UPDATE SET identity = $3, "
                   "fingerprint = $4, snapshot = $5, downloaded_ms = $6, last_used_ms = $7",
                   &s, err) < 0)
        return -1;
    db_bind_blob(s, 1, key, 32);
    db_bind_blob(s, 2, e->scope, sizeof e->scope);
    db_bind_span(s, 3, buf_span(shown));
    db_bind_blob(s, 4, e->fingerprint, sizeof e->fingerprint);
    db_bind_i64(s, 5, row.n);
    db_bind_i64(s, 6, e->downloaded_ms ? e->downloaded_ms : cache_now(c));
    db_bind_i64(s, 7, cache_now(c));
    return db_run(s, err);
}

int cache_entry_put(struct cache *c, const struct cache_entry *entry, struct err *err)
{
    AUTO_BUF shown;
    uint8_t key[32];
    buf_init(&shown, IDENTITY_MAX);
    identity_redact(entry->identity, &shown);
    if (buf_check(&shown, "the identity of an input", err) < 0 || key_of_identity(c, entry->identity, key, err) < 0 ||
        index_begin(c, err) < 0 || index_end(c, put_entry(c, entry, key, &shown, err), err) < 0)
        return err_wrap(err, "cache");
    return 0;
}

static void take_hash(uint8_t out[32], struct span s)
{
    if (s.n == 32)
        memcpy(out, s.p, 32);
}

static int read_entry(struct cache *c, const uint8_t key[32], const uint8_t scope[32], struct cache_entry *out,
                      int64_t *snapshot, bool *found, struct err *err)
{
    struct db_stmt *s = NULL;
    if (db_prepare(c->index.db,
                   "SELECT e.fingerprint, s.id, e.downloaded_ms, e.last_used_ms, s.n FROM entries e "
                   "JOIN snapshots s ON s.n = e.snapshot WHERE e.key = $1 AND e.scope = $2",
                   &s, err) < 0)
        return -1;
    db_bind_blob(s, 1, key, 32);
    db_bind_blob(s, 2, scope, 32);
    int rc = db_next(s, err);
    *found = rc > 0;
    if (rc <= 0)
        return rc;
    take_hash(out->fingerprint, db_col_text(s, 0));
    text_copy(out->snapshot, sizeof out->snapshot, db_col_text(s, 1));
    out->downloaded_ms = db_col_i64(s, 2);
    out->last_used_ms = db_col_i64(s, 3);
    *snapshot = db_col_i64(s, 4);
    db_done(s);
    out->expired = cache_now(c) - out->downloaded_ms > c->ttl_ms;
    return 0;
}

static int count_use(struct cache *c, const uint8_t key[32], const uint8_t scope[32], int64_t snapshot, struct err *err)
{
    struct db_stmt *s = NULL;
    if (db_prepare(c->index.db, "UPDATE entries SET hits = hits + 1, last_used_ms = $3 WHERE key = $1 AND scope = $2",
                   &s, err) < 0)
        return -1;
    db_bind_blob(s, 1, key, 32);
    db_bind_blob(s, 2, scope, 32);
    db_bind_i64(s, 3, cache_now(c));
    if (db_run(s, err) < 0 ||
        db_prepare(c->index.db, "UPDATE snapshots SET hits = hits + 1, last_used_ms = $2 WHERE n = $1", &s, err) < 0)
        return -1;
    db_bind_i64(s, 1, snapshot);
    db_bind_i64(s, 2, cache_now(c));
    return db_run(s, err);
}

static int get_entry(struct cache *c, struct cache_lease *lease, const uint8_t key[32], const uint8_t scope[32],
                     struct cache_entry *out, bool *found, struct err *err)
{
    int64_t snapshot = 0;
    if (read_entry(c, key, scope, out, &snapshot, found, err) < 0)
        return -1;
    if (!*found)
        return 0;
    if (count_use(c, key, scope, snapshot, err) < 0)
        return -1;
    return lease_add_snapshot(c->index.db, lease, snapshot, err);
}

int cache_entry_get(struct cache *c, struct cache_lease *lease, const char *identity, const uint8_t scope[32],
                    struct cache_entry *out, bool *found, struct err *err)
{
    uint8_t key[32];
    *found = false;
    *out = (struct cache_entry){.identity = identity};
    memcpy(out->scope, scope, sizeof out->scope);
    if (key_of_identity(c, identity, key, err) < 0 || index_begin(c, err) < 0 ||
        index_end(c, get_entry(c, lease, key, scope, out, found, err), err) < 0)
        return err_wrap(err, "cache");
    return 0;
}

static int put_proof(struct cache *c, const uint8_t scope[32], const uint8_t fingerprint[32], struct err *err)
{
    struct db_stmt *s = NULL;
    if (db_prepare(c->index.db,
                   "INSERT INTO proofs(scope, fingerprint, proved_ms) VALUES ($1, $2, $3) "
                   "ON CONFLICT(scope, fingerprint) DO UPDATE SET proved_ms = $3",
                   &s, err) < 0)
        return -1;
    db_bind_blob(s, 1, scope, 32);
    db_bind_blob(s, 2, fingerprint, 32);
    db_bind_i64(s, 3, cache_now(c));
    return db_run(s, err);
}

int cache_proof_put(struct cache *c, const uint8_t scope[32], const uint8_t fingerprint[32], struct err *err)
{
    if (index_begin(c, err) < 0 || index_end(c, put_proof(c, scope, fingerprint, err), err) < 0)
        return err_wrap(err, "cache");
    return 0;
}

/* A proof from the future (the clock was set back) proves nothing. */
static int has_proof(struct cache *c, struct db *db, const uint8_t scope[32], const uint8_t fingerprint[32], bool *has,
                     struct err *err)
{
    struct db_stmt *s = NULL;
    int64_t now = cache_now(c);
    if (db_prepare(db,
                   "SELECT 1 FROM proofs WHERE scope = $1 AND fingerprint = $2 AND proved_ms >= $3 AND proved_ms <= $4",
                   &s, err) < 0)
        return -1;
    db_bind_blob(s, 1, scope, 32);
    db_bind_blob(s, 2, fingerprint, 32);
    db_bind_i64(s, 3, now - c->ttl_ms);
    db_bind_i64(s, 4, now);
    int rc = db_next(s, err);
    *has = rc > 0;
    db_done(s);
    return rc < 0 ? -1 : 0;
}

int cache_proof_has(struct cache *c, const uint8_t scope[32], const uint8_t fingerprint[32], bool *has, struct err *err)
{
    *has = false;
    int rc = has_proof(c, index_enter(c), scope, fingerprint, has, err);
    index_leave(c);
    return rc < 0 ? err_wrap(err, "cache") : 0;
}

static int find_row(struct cache *c, const char *id, struct snapshot_row *row, struct err *err)
{
    bool found;
    if (snapshot_row_get(c->index.db, id, row, &found, err) < 0)
        return -1;
    return found ? 0 : snapshot_not_found(id, err);
}

static int put_pin(struct cache *c, const char *id, const char *by, struct err *err)
{
    struct db_stmt *s = NULL;
    struct snapshot_row row;
    if (find_row(c, id, &row, err) < 0 ||
        db_prepare(c->index.db, "INSERT OR IGNORE INTO pins(snapshot, by, created_ms) VALUES ($1, $2, $3)", &s, err) <
            0)
        return -1;
    db_bind_i64(s, 1, row.n);
    db_bind_text(s, 2, by);
    db_bind_i64(s, 3, cache_now(c));
    return db_run(s, err);
}

static int drop_pin(struct cache *c, const char *id, const char *by, struct err *err)
{
    struct db_stmt *s = NULL;
    struct snapshot_row row;
    if (find_row(c, id, &row, err) < 0 ||
        db_prepare(c->index.db, "DELETE FROM pins WHERE snapshot = $1 AND by = $2", &s, err) < 0)
        return -1;
    db_bind_i64(s, 1, row.n);
    db_bind_text(s, 2, by);
    if (db_run(s, err) < 0)
        return -1;
    return db_changes(c->index.db) ? 0 : err_set(err, ERR_NOTFOUND, "snapshot %s is not pinned by %s", row.id, by);
}

static int change_pin(struct cache *c, const char *snapshot, const char *by,
                      int (*change)(struct cache *, const char *, const char *, struct err *), struct err *err)
{
    char id[SNAPSHOT_ID_MAX];
    if (str_empty(by) || strlen(by) > PIN_NAME_MAX)
        return err_set(err, ERR_INVALID, "cache: a pin needs a name of at most %d bytes", PIN_NAME_MAX);
    if (cache_find(c, snapshot, id, err) < 0)
        return -1;
    if (index_begin(c, err) < 0 || index_end(c, change(c, id, by, err), err) < 0)
        return err_wrap(err, "cache");
    return 0;
}

int cache_pin(struct cache *c, const char *snapshot, const char *by, struct err *err)
{
    return change_pin(c, snapshot, by, put_pin, err);
}

int cache_unpin(struct cache *c, const char *snapshot, const char *by, struct err *err)
{
    return change_pin(c, snapshot, by, drop_pin, err);
}
