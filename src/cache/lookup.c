#include "cache/cache_priv.h"

#define LOOKUP_BATCH 1000 /* origins looked up under one hold of the write lock */

static int read_blob_row(struct db_stmt *s, struct blob_row *out, bool *found, struct err *err)
{
    int rc = db_next(s, err);
    *found = rc > 0;
    if (rc <= 0)
        return rc;
    *out = (struct blob_row){.n = db_col_i64(s, 0), .size = db_col_i64(s, 2), .refs = db_col_i64(s, 3)};
    text_copy(out->id, sizeof out->id, db_col_text(s, 1));
    db_done(s);
    return 0;
}

int blob_row_by_origin(struct db *db, const char *key, struct blob_row *out, bool *found, struct err *err)
{
    struct db_stmt *s = NULL;
    if (db_prepare(db,
                   "SELECT b.n, b.id, b.size, b.refs FROM origins o JOIN blobs b ON b.n = o.blob "
                   "WHERE o.key = $1 AND b.lost = 0",
                   &s, err) < 0)
        return -1;
    db_bind_text(s, 1, key);
    return read_blob_row(s, out, found, err);
}

int blob_row_by_id(struct db *db, const char *id, struct blob_row *out, bool *found, struct err *err)
{
    struct db_stmt *s = NULL;
    if (db_prepare(db, "SELECT n, id, size, refs FROM blobs WHERE id = $1 AND lost = 0", &s, err) < 0)
        return -1;
    db_bind_text(s, 1, id);
    return read_blob_row(s, out, found, err);
}

/* A blob of no snapshot is as old as its last use; the others go with their snapshots. */
static int touch(struct cache *c, struct db *db, const struct blob_row *row, struct err *err)
{
    struct db_stmt *s = NULL;
    if (row->refs)
        return 0;
    if (db_prepare(db, "UPDATE blobs SET last_used_ms = $2 WHERE n = $1", &s, err) < 0)
        return -1;
    db_bind_i64(s, 1, row->n);
    db_bind_i64(s, 2, cache_now(c));
    return db_run(s, err);
}

/* In a transaction: what is found is leased before anybody could remove it. A size that differs from what the origin
 * says now is not what was asked for. */
static int find(struct cache *c, struct cache_lease *lease, const char *key, uint64_t size, struct cache_blob *out,
                struct err *err)
{
    struct blob_row row;
    bool found;
    *out = (struct cache_blob){0};
    if (blob_row_by_origin(c->index.db, key, &row, &found, err) < 0)
        return -1;
    if (!found || (size != XFER_SIZE_UNKNOWN && size != (uint64_t)row.size))
        return 0;
    if (lease_add_blob(c->index.db, lease, row.n, err) < 0 || touch(c, c->index.db, &row, err) < 0)
        return -1;
    out->found = true;
    out->size = (uint64_t)row.size;
    memcpy(out->id, row.id, sizeof out->id);
    return 0;
}

int lookup_one(struct cache *c, struct cache_lease *lease, const char *key, uint64_t size, struct cache_blob *out,
               struct err *err)
{
    struct blob_row row;
    *out = (struct cache_blob){0};
    bool found;
    int rc =
        blob_row_by_origin(index_enter(c), key, &row, &found, err); /* cheap: no write lock for what is not there */
    index_leave(c);
    if (rc < 0 || !found)
        return rc;
    if (index_begin(c, err) < 0)
        return -1;
    return index_end(c, find(c, lease, key, size, out, err), err);
}

static int lookup_batch(struct cache *c, struct cache_lease *lease, const struct cache_origin *origins, size_t n,
                        struct cache_blob *out, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        char key[ORIGIN_KEY_MAX];
        out[i] = (struct cache_blob){0};
        if (!origins[i].version)
            continue;
        if (key_of_origin(c, &origins[i], key, err) < 0 || find(c, lease, key, origins[i].size, &out[i], err) < 0)
            return -1;
    }
    return 0;
}

int cache_lookup(struct cache *c, struct cache_lease *lease, const struct cache_origin *origins, size_t n,
                 struct cache_blob *out, struct err *err)
{
    for (size_t at = 0; at < n; at += LOOKUP_BATCH) {
        size_t take = n - at < LOOKUP_BATCH ? n - at : LOOKUP_BATCH;
        if (index_begin(c, err) < 0)
            return err_wrap(err, "cache");
        if (index_end(c, lookup_batch(c, lease, origins + at, take, out + at, err), err) < 0)
            return err_wrap(err, "cache");
    }
    return 0;
}
