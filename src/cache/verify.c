/* Scrubbing. A blob is held against its scrub hash (XXH3-128), and the first time, when it has none, against the
 * SHA-256 that is its id; from then on the scrub hash, which is many times faster, is enough to find damage. A blob of
 * neither (verified by size, or by a digest that says nothing about the whole) gets its scrub hash from what is on disk
 * now. */
#include "cache/cache_priv.h"

#include "base/enc.h"

#define VERIFY_BATCH 256

struct verify {
    struct cache *c;
    const struct cache_verify_opts *opts;
    struct cache_verify_result *out;
    uint64_t total_bytes;
    int64_t after; /* blobs up to this number are done */
};

struct check {
    int64_t n, size;
    char id[BLOB_ID_MAX];
    bool has_scrub;
    struct digest_value scrub;
};

enum health { SOUND, DAMAGED, MISSING };

static int read_batch(struct verify *v, struct check *out, size_t *n, struct err *err)
{
    struct db_stmt *s = NULL;
    *n = 0;
    int rc = db_prepare(index_enter(v->c),
                        "SELECT n, id, size, scrub FROM blobs WHERE lost = 0 AND n > $1 ORDER BY n LIMIT 256", &s, err);
    if (rc == 0)
        db_bind_i64(s, 1, v->after);
    while (rc >= 0 && *n < VERIFY_BATCH && (rc = db_next(s, err)) > 0) {
        struct check *k = &out[(*n)++];
        *k = (struct check){.n = db_col_i64(s, 0), .size = db_col_i64(s, 2), .scrub.kind = DIGEST_XXH3};
        text_copy(k->id, sizeof k->id, db_col_text(s, 1));
        struct span scrub = db_col_text(s, 3);
        k->has_scrub = scrub.n == digest_size(DIGEST_XXH3);
        if (k->has_scrub)
            memcpy(k->scrub.bytes, scrub.p, scrub.n);
    }
    if (s)
        db_done(s);
    index_leave(v->c);
    return rc < 0 ? -1 : 0;
}

static int record_scrub(struct cache *c, const struct check *k, const struct digest_value *scrub, struct err *err)
{
    struct db_stmt *s = NULL;
    if (index_begin(c, err) < 0)
        return -1;
    int rc =
        db_prepare(c->index.db, "UPDATE blobs SET scrub = $2 WHERE n = $1 AND scrub IS NULL AND lost = 0", &s, err);
    if (rc == 0) {
        db_bind_i64(s, 1, k->n);
        db_bind_blob(s, 2, scrub->bytes, digest_size(DIGEST_XXH3));
        rc = db_run(s, err);
    }
    return index_end(c, rc, err);
}

static int hash(struct verify *v, const struct check *k, int fd, enum health *health, struct err *err)
{
    struct digest *d = NULL;
    struct digest_value scrub, sha256;
    char hex[DIGEST_HEX_MAX];
    bool hashed = k->id[0] != 'r' && !k->has_scrub;
    if (digest_open(&d, BIT(DIGEST_XXH3) | (hashed ? BIT(DIGEST_SHA256) : 0), err) < 0)
        return -1;
    int rc = digest_fd(d, fd, 0, (uint64_t)k->size, v->opts->cancel, err);
    if (rc == 0)
        rc = digest_final(d, DIGEST_XXH3, &scrub, err);
    if (rc == 0 && hashed)
        rc = digest_final(d, DIGEST_SHA256, &sha256, err);
    digest_free(d);
    if (rc < 0)
        return -1;
    bool sound = k->has_scrub ? digest_equal(&scrub, &k->scrub) : !hashed || str_eq(digest_hex(hex, &sha256), k->id);
    *health = sound ? SOUND : DAMAGED;
    return sound && !k->has_scrub ? record_scrub(v->c, k, &scrub, err) : 0;
}

static int examine(struct verify *v, const struct check *k, enum health *health, struct err *err)
{
    struct err why = ERR_INIT;
    uint64_t size;
    AUTO_FD fd = -1;
    *health = SOUND;
    if (blob_open(v->c, k->id, &fd, &size, &why) < 0) {
        if (why.kind != ERR_NOTFOUND && why.kind != ERR_CORRUPT && why.kind != ERR_REFUSED)
            return err_move(err, &why);
        *health = why.kind == ERR_NOTFOUND ? MISSING : DAMAGED;
        return 0;
    }
    if (size != (uint64_t)k->size)
        *health = DAMAGED;
    else if (hash(v, k, fd, health, &why) < 0) {
        if (why.kind != ERR_CORRUPT && why.kind != ERR_SYSTEM) /* cut short meanwhile, or the disk cannot read it */
            return err_move(err, &why);
        *health = DAMAGED;
    }
    return 0;
}

/* Somebody may have removed it, file and row, while it was looked at. */
static int still_there(struct cache *c, const struct check *k, bool *yes, struct err *err)
{
    struct blob_row row;
    bool found;
    int rc = blob_row_by_id(index_enter(c), k->id, &row, &found, err);
    index_leave(c);
    *yes = rc == 0 && found && row.n == k->n;
    return rc;
}

/* Under the blob's lock, so that a file which is just being renamed into place or removed is not misread. */
static int confirm(struct verify *v, const struct check *k, enum health *health, struct err *err)
{
    bool there;
    struct lock_name lock = lock_name_of(LOCK_BLOB, k->id);
    if (locks_wait(v->c->locks, lock, LOCK_ALONE, v->opts->cancel, err) < 0)
        return -1;
    int rc = still_there(v->c, k, &there, err);
    if (rc == 0 && !there)
        *health = SOUND;
    else if (rc == 0)
        rc = examine(v, k, health, err);
    if (rc == 0 && *health != SOUND && v->opts->repair) {
        rc = lost_mark(v->c, k->n, err);
        v->out->repaired++;
    }
    locks_drop(v->c->locks, lock);
    return rc;
}

static int verify_blob(struct verify *v, const struct check *k, struct err *err)
{
    enum health health;
    if (cancel_check(v->opts->cancel, err) < 0 || examine(v, k, &health, err) < 0 ||
        (health != SOUND && confirm(v, k, &health, err) < 0))
        return -1;
    v->out->blobs++;
    v->out->bytes += (uint64_t)k->size;
    v->out->damaged += health == DAMAGED;
    v->out->missing += health == MISSING;
    if (v->opts->progress)
        v->opts->progress(v->opts->ctx, v->out->bytes, v->total_bytes);
    return 0;
}

static int verify_blobs(struct verify *v, struct err *err)
{
    int64_t total = 0;
    int rc = index_value(index_enter(v->c), "SELECT coalesce(sum(size), 0) FROM blobs WHERE lost = 0", &total, err);
    index_leave(v->c);
    v->total_bytes = (uint64_t)total;
    struct check *batch = calloc(VERIFY_BATCH, sizeof *batch);
    size_t n = 1;
    if (!batch)
        return err_nomem(err);
    while (rc == 0 && n) {
        rc = read_batch(v, batch, &n, err);
        for (size_t i = 0; rc == 0 && i < n; i++) {
            rc = verify_blob(v, &batch[i], err);
            v->after = batch[i].n;
        }
    }
    free(batch);
    return rc;
}

static int verify(struct verify *v, struct err *err)
{
    uint64_t bytes = 0;
    writer_drain(v->c);
    if (verify_blobs(v, err) < 0 || (v->opts->repair && lost_settle(v->c, err) < 0) ||
        views_verify(v->c, v->opts, v->out, err) < 0 ||
        orphans_sweep(v->c, v->opts->repair, &v->out->orphans, &bytes, err) < 0)
        return -1;
    if (v->opts->repair)
        v->out->repaired += v->out->orphans;
    return 0;
}

int cache_verify(struct cache *c, const struct cache_verify_opts *opts, struct cache_verify_result *out,
                 struct err *err)
{
    struct verify v = {.c = c, .opts = opts, .out = out};
    *out = (struct cache_verify_result){0};
    return verify(&v, err) < 0 ? err_wrap(err, "cache: verify") : 0;
}
