/* cache, inside. Files by verb: layout.c (folders, version, key), index.c (the SQL index), lock.c (names held across
 * processes), key.c (keyed hashes), blob.c (content files), writer.c (index rows of new blobs, in batches), lookup.c,
 * fill.c, tree.c (the list of a snapshot; pure), snapshot.c, view.c, lease.c, entry.c, evict.c, orphan.c (files without
 * rows), lost.c (rows without files), space.c, gc.c, verify.c, verify_view.c, admin.c, find.c.
 *
 * Who may go when. The index decides: a blob with references or a lease, a snapshot with a lease or a pin has its row
 * kept by foreign keys and by the same immediate transaction that would remove it. A file appears before its row and
 * goes after it, both under the lock of its name; so a crash leaves files without rows, which verify and gc remove, and
 * never a row without its file. */
#ifndef BERTH_CACHE_CACHE_PRIV_H
#define BERTH_CACHE_CACHE_PRIV_H

#include "base/rng.h"
#include "cache/cache.h"
#include "cache/lock.h"
#include "db/db.h"
#include "xfer/xfer.h"

#include <pthread.h>
#include <stdatomic.h>

#define ORIGIN_KEY_MAX 34 /* 32 hex digits, or 'r' and 32 */
#define CACHE_KEY_N    32
#define VIEW_NONE      (-1) /* snapshots.view_boot: not built */

/* A blob or a view is marked with the boot of the machine in which it was written until a syncfs has covered it
 * (SYNCED): marks of an earlier boot are what a power cut may have torn. */
#define SYNCED 0

struct writer;

struct cache {
    char *dir; /* absolute */
    int dir_fd, blobs_fd, partial_fd, views_fd, locks_fd, leases_fd, quarantine_fd;
    uint64_t max_bytes, min_free_bytes;
    int64_t ttl_ms;
    bool durable;
    int64_t boot; /* what new rows are marked with: SYNCED where not durable */
    int64_t boot_id;
    uint8_t key[CACHE_KEY_N];
    int64_t (*now_ms)(void *ctx);
    void *now_ctx;

    struct locks *locks;
    struct writer *writer;
    atomic_bool unsynced; /* rows with a mark were written */
    struct {
        pthread_mutex_t mu;
        struct db *db;
    } index;
};

static inline int64_t cache_now(const struct cache *c)
{
    return c->now_ms(c->now_ctx);
}

/* layout.c */
int layout_open(struct cache *c, struct err *err);
void layout_close(struct cache *c);

/* index.c: the mutex around one connection. enter and leave for single reads, begin and end around a transaction. */
int index_connect(const struct cache *c, struct db **out, struct err *err);
int index_open(struct cache *c, struct err *err);
void index_close(struct cache *c);
struct db *index_enter(struct cache *c);
void index_leave(struct cache *c);
int index_begin(struct cache *c, struct err *err);
int index_end(struct cache *c, int rc, struct err *err); /* commits where rc is 0, else rolls back; the outcome */
int index_value(struct db *db, const char *sql, int64_t *out, struct err *err); /* one row, one number */
void text_copy(char *out, size_t n, struct span s);                             /* cut where it does not fit */

/* key.c: HMAC-SHA-256 by the cache's own key, so that the index tells nothing to who has no key. */
int key_of_origin(const struct cache *c, const struct cache_origin *origin, char out[ORIGIN_KEY_MAX], struct err *err);
int key_random(char out[ORIGIN_KEY_MAX], struct err *err);
int key_of_identity(const struct cache *c, const char *identity, uint8_t out[32], struct err *err);
void identity_redact(const char *identity, struct buf *out);

/* blob.c */
bool blob_id_ok(const char *id);
int blob_shard(const struct cache *c, const char *id, bool make, struct err *err); /* its folder's fd */
int blob_place(const struct cache *c, const char *id, int from_dir, const char *from, bool replace, bool *exists,
               struct err *err);
int blob_unlink(const struct cache *c, const char *id, struct err *err); /* absent is fine */
int blob_open(const struct cache *c, const char *id, int *fd, uint64_t *size, struct err *err);
int blob_link(struct cache *c, const char *id, int dir_fd, const char *name, struct err *err);
int blob_quarantine(const struct cache *c, const char *id, struct err *err);

/* lookup.c: inside a transaction, or between enter and leave. */
struct blob_row {
    int64_t n, size, refs;
    char id[BLOB_ID_MAX];
};
int blob_row_by_origin(struct db *db, const char *key, struct blob_row *out, bool *found, struct err *err);
int blob_row_by_id(struct db *db, const char *id, struct blob_row *out, bool *found, struct err *err);
int lookup_one(struct cache *c, struct cache_lease *lease, const char *key, uint64_t size, struct cache_blob *out,
               struct err *err);

/* writer.c */
struct pending {
    struct pending *next;
    struct cache_lease *lease; /* may be NULL */
    char key[ORIGIN_KEY_MAX];  /* "": an origin without version, never found again */
    char id[BLOB_ID_MAX];
    uint64_t size;
    struct cache_verified how;
    bool stored; /* its file is this fill's doing */
    struct lock_name origin_lock, blob_lock;
};
int writer_open(struct cache *c, struct err *err);
void writer_close(struct cache *c);                                  /* writes what is queued */
int writer_add(struct cache *c, struct pending *p, struct err *err); /* owns p, also in failure */
void writer_drain(struct cache *c);                                  /* until what is queued now is settled */
int writer_failure(struct cache *c, struct err *err);                /* of any fill since the last call */
int writer_failure_of(struct cache *c, struct cache_lease *l, struct err *err);
int writer_sync(struct cache *c, struct err *err);

/* tree.c: the list of a snapshot, its canonical form and back. Pure. */
#define LIST_BYTES_MAX ((size_t)768 << 20)
struct tree_entry {
    const char *path;
    const char *blob; /* of a file, else NULL */
    const char *to;   /* of a link, else NULL: the path of a file of the same list */
    uint64_t size;
};
static inline bool tree_is_folder(const struct tree_entry *e)
{
    return !e->blob && !e->to;
}
struct tree {
    struct tree_entry *v; /* sorted, folders only where nothing below implies them */
    size_t n, files, links;
    uint64_t bytes;
};
int tree_sort(const struct cache_tree *in, struct tree *out, struct err *err); /* checks F1, F2 */
void tree_release(struct tree *t);
int tree_encode(const struct tree *t, struct buf *out, struct err *err);
int tree_decode(struct span list, struct tree *out, struct err *err); /* strings borrowed from `list` */
int tree_id(struct span list, char id[SNAPSHOT_ID_MAX], struct err *err);

/* snapshot.c */
struct snapshot_row {
    int64_t n, files, folders, bytes, created_ms, last_used_ms, hits, view_boot;
    char id[SNAPSHOT_ID_MAX];
};
int snapshot_row_get(struct db *db, const char *id, struct snapshot_row *out, bool *found, struct err *err);
int snapshot_list_read(struct db *db, int64_t n, struct buf *out, struct err *err);
/* Take the row away and release its blobs; in a transaction. The view is the caller's. */
int snapshot_row_drop(struct db *db, int64_t n, int64_t last_used_ms, struct err *err);
int snapshot_not_found(const char *id, struct err *err);

/* view.c: under the lock of the view. */
int view_ensure(struct cache *c, const char *id, struct err *err);
int view_remove(struct cache *c, const char *id, struct err *err);
int view_detach(struct cache *c, const char *id, struct err *err); /* out of the way, its files stay for who has it */
int view_discard(struct cache *c, const char *name, struct err *err);
int view_link_text(const struct tree_entry *link, struct buf *out, struct err *err);
bool view_is_built(const struct cache *c, const struct snapshot_row *row);

/* lost.c: blobs whose file is gone or damaged. */
int lost_mark(struct cache *c, int64_t blob, struct err *err);
void lost_search(struct cache *c, const struct snapshot_row *row); /* marks what the snapshot misses, settles */
int lost_settle(struct cache *c, struct err *err);
int repair_cheap(struct cache *c, struct err *err); /* at every start */

/* lease.c */
struct cache_lease {
    struct cache *cache;
    int64_t n;
    char name[RNG_ID_MAX];
    int fd;
    char *job, *engine, *container;
    struct err failed; /* of a fill that could not be indexed; guarded by the writer's mutex */
};
int lease_add_blob(struct db *db, const struct cache_lease *l, int64_t blob, struct err *err); /* NULL lease: nothing */
int lease_add_snapshot(struct db *db, const struct cache_lease *l, int64_t snapshot, struct err *err);
struct lease_probe {
    enum cache_container (*container)(void *ctx, const char *engine,
                                      const char *container_id); /* as in cache_gc_opts */
    void *ctx;
};
/* `probe` NULL: there is nobody to ask. */
int lease_reap(struct cache *c, const struct lease_probe *probe, struct err *err);
int lease_sweep_files(struct cache *c, struct err *err); /* files without a row */
int lease_is_alive(const struct cache *c, const char *name, bool *alive, struct err *err);

/* verify_view.c */
int views_verify(struct cache *c, const struct cache_verify_opts *opts, struct cache_verify_result *out,
                 struct err *err);

/* evict.c: one sweep removes rows in transactions of bounded size, then files. */
struct sweep {
    struct cache *c;
    bool dry; /* all within one transaction, rolled back in the end; no file is touched */
    struct cache_gc_result done;
};
int sweep_begin(struct sweep *s, struct err *err);
int sweep_end(struct sweep *s, int rc, struct err *err);
int sweep_entries(struct sweep *s, int64_t before_ms, struct err *err);
int sweep_snapshots(struct sweep *s, int64_t before_ms, struct err *err);
int sweep_blobs(struct sweep *s, int64_t created_before_ms, struct err *err);
int sweep_blob(struct sweep *s, const char *id, struct err *err);
struct lack {
    uint64_t bytes, files;
};
int sweep_oldest(struct sweep *s, struct lack need, struct err *err); /* until both are freed, or nothing more may go */
int sweep_snapshot(struct sweep *s, const struct snapshot_row *row, struct err *err);

/* orphan.c: files that the index does not know. */
int orphans_sweep(struct cache *c, bool remove, uint64_t *count, uint64_t *bytes, struct err *err);
struct partials {
    uint64_t live_bytes;         /* of fetches under way */
    uint64_t stale, stale_bytes; /* of nobody, old enough */
};
int partials_sweep(struct cache *c, int64_t before_ms, bool remove, struct partials *out, struct err *err);

#endif
