/* Blobs for other machines: which there are, and the content of one for whoever names where it came from. */
#include "cache/cache_priv.h"

#define PAGE_ROWS 1000 /* read under one hold of the index */

struct page {
    char (*ids)[BLOB_ID_MAX];
    size_t n;
    int64_t before; /* the number of the last row; the next page lies below */
};

static int read_page(struct cache *c, struct page *p, struct err *err)
{
    struct db_stmt *s = NULL;
    int rc;
    p->n = 0;
    if (db_prepare(c->index.db,
                   "SELECT n, id FROM blobs WHERE n < $1 AND lost = 0 AND id NOT LIKE 'r%' ORDER BY n DESC LIMIT $2",
                   &s, err) < 0)
        return -1;
    db_bind_i64(s, 1, p->before);
    db_bind_i64(s, 2, PAGE_ROWS);
    while ((rc = db_next(s, err)) > 0 && p->n < PAGE_ROWS) {
        p->before = db_col_i64(s, 0);
        text_copy(p->ids[p->n++], BLOB_ID_MAX, db_col_text(s, 1));
    }
    db_done(s);
    return rc < 0 ? -1 : 0;
}

static int visit_pages(struct cache *c, struct page *p, size_t max,
                       int (*each)(void *ctx, const char *sha256, struct err *err), void *ctx, struct err *err)
{
    do {
        index_enter(c);
        int rc = read_page(c, p, err);
        index_leave(c);
        for (size_t i = 0; rc == 0 && i < p->n && max > 0; i++, max--)
            rc = each(ctx, p->ids[i], err);
        if (rc < 0)
            return -1;
    } while (p->n == PAGE_ROWS && max > 0);
    return 0;
}

int cache_blobs(struct cache *c, size_t max, int (*each)(void *ctx, const char *sha256, struct err *err), void *ctx,
                struct err *err)
{
    struct page p = {.before = INT64_MAX, .ids = calloc(PAGE_ROWS, sizeof *p.ids)};
    int rc = p.ids ? visit_pages(c, &p, max, each, ctx, err) : err_nomem(err);
    free(p.ids);
    return rc < 0 ? err_wrap(err, "cache") : 0;
}

int cache_blob_open(struct cache *c, const struct cache_origin *origin, const char *sha256, int *fd, uint64_t *size,
                    struct err *err)
{
    char key[ORIGIN_KEY_MAX];
    struct blob_row row = {0};
    bool found = false;
    if (origin->version && key_of_origin(c, origin, key, err) < 0)
        return err_wrap(err, "cache");
    if (origin->version) {
        int rc = blob_row_by_origin(index_enter(c), key, &row, &found, err);
        index_leave(c);
        if (rc < 0)
            return err_wrap(err, "cache");
    }
    if (!found || row.id[0] == 'r' || !str_eq(row.id, sha256))
        return err_set(err, ERR_NOTFOUND, "no blob %.64s of this origin", sha256);
    if (blob_open(c, row.id, fd, size, err) < 0)
        return err_wrap(err, "cache");
    if (*size == (uint64_t)row.size)
        return 0;
    auto_close(fd);
    return err_set(err, ERR_CORRUPT, "cache: blob %s has another size than the index says", row.id);
}
