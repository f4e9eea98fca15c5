/* cache: verified blobs and snapshots on disk, shared by every job of one user, safe under concurrent processes.
 *
 * Words. A *blob* is an immutable file of content; its id is its SHA-256 where that was computed or verified, else
 * random. An *origin* names bytes at their source (source, location, version); it leads to a blob. A *snapshot* is a
 * sorted list (path, blob), with links from path to path where it has any; its id is the hash of that list, and its
 * *view* is a folder of hard links that a job mounts read-only. An *entry* says which snapshot an identity had, for
 * whom, and when.
 *
 * Promises. Nothing partial is ever visible; files and index agree after any crash; what is leased or pinned is never
 * evicted; a claimed digest alone never selects a blob; nothing outside the folder is touched; the same object wanted
 * twice is fetched once, across processes.
 *
 * A struct cache is thread-safe. Functions may block on disk and on SQLite's write lock (bounded), never on the
 * network. */
#ifndef BERTH_CACHE_CACHE_H
#define BERTH_CACHE_CACHE_H

#include "base/arena.h"
#include "base/cancel.h"
#include "base/err.h"
#include "base/json.h"
#include "digest/digest.h"
#include "xfer/partmap.h"

#include <stdint.h>

struct cache;

struct cache_opts {
    const char *dir;
    uint64_t max_bytes;           /* 0: no quota but the floor below */
    uint64_t min_free_bytes;      /* UINT64_MAX: 10 % of the file system */
    uint64_t ttl_ms;              /* 0: 24 h */
    bool durable;                 /* survive power cuts, see cache_fill_flush(); off on tmpfs by itself */
    int64_t (*now_ms)(void *ctx); /* NULL: the wall clock */
    void *now_ctx;
};

/* Creates the folder (0700) and layout; migrates an older layout, refuses a newer one (ERR_UNSUPPORTED) and a folder
 * that holds something else (ERR_REFUSED); runs the cheap repair. Not to be used across fork(). */
int cache_open(struct cache **out, const struct cache_opts *opts, struct err *err);
void cache_free(struct cache *c); /* flushes; fills, leases are to be ended before */
const char *cache_dir(const struct cache *c);

#define BLOB_ID_MAX     68 /* 64 hex digits, or 'r' and 32 */
#define SNAPSHOT_ID_MAX 65

/* Bytes at their source. Equal triples mean equal bytes: `version` is a version id, a strong ETag, a commit, a digest.
 * With version NULL nothing is ever found (it may be stored). */
struct cache_origin {
    const char *source;   /* "s3", "hf", … */
    const char *location; /* "<endpoint>/<bucket>/<key>" */
    const char *version;
    uint64_t size; /* XFER_SIZE_UNKNOWN allowed */
};

struct cache_blob {
    bool found;
    char id[BLOB_ID_MAX];
    uint64_t size;
};

/* Many origins at once; each found blob is protected by `lease` from now on (see leases). */
struct cache_lease;
int cache_lookup(struct cache *c, struct cache_lease *lease, const struct cache_origin *origins, size_t n,
                 struct cache_blob *out, struct err *err);

/* Filling: single flight per origin. CACHE_FILL_MINE gives the file to write; CACHE_FILL_HIT: somebody stored it
 * meanwhile; CACHE_FILL_BUSY: another thread or process is fetching it: wait with cache_fill_wait() or come again. A
 * fetcher that dies is followed by the next to ask, who takes over its partial. `lease` may be NULL: then nothing keeps
 * the blob from being evicted, and must else outlive the fill. */
enum cache_fill_state { CACHE_FILL_MINE, CACHE_FILL_HIT, CACHE_FILL_BUSY };
struct cache_fill;
int cache_fill_begin(struct cache *c, struct cache_lease *lease, const struct cache_origin *origin,
                     struct cache_fill **out, struct cache_blob *hit, enum cache_fill_state *state, struct err *err);
/* Block until the other fetcher ended (either way), or cancelled. Not from the thread that alone could end a fill that
 * another waits for. */
int cache_fill_wait(struct cache *c, const struct cache_origin *origin, const struct cancel *cancel, struct err *err);

/* The partial file; kept from an earlier, interrupted fetch of the same version. The map is NULL for files of one part,
 * of unknown size or without a version, whose partials always start empty. `part_bytes` 0: CACHE_PART_BYTES. Both
 * belong to the fill. Parts are resumed within one boot of the machine: after a power cut nobody knows which of the
 * marked bytes had reached the disk. ERR_NOSPACE leaves no partial. */
#define CACHE_PART_BYTES ((uint64_t)8 << 20)
int cache_fill_open(struct cache_fill *f, uint64_t size, uint64_t part_bytes, int *fd, struct partmap **map,
                    struct err *err);

/* How the content was verified; all zero: by size only. */
struct cache_verified {
    bool has_digest;
    struct digest_value by; /* what the origin stated and matched */
    bool has_sha256;
    struct digest_value sha256; /* computed or verified here: becomes the blob's id */
    bool has_scrub;
    struct digest_value scrub; /* DIGEST_XXH3, where it was computed on the way; else the first cache_verify() does */
    bool world_readable;       /* fetched without credentials */
};
/* The bytes are whole and verified: make them a blob. Its index row is written by a thread of the cache, many in one
 * transaction; others see it a few milliseconds later, and cache_fill_flush() or making a snapshot waits for it. Frees
 * `f` in either case; on failure its partial is gone. `origin` may carry the version learned while fetching (NULL: as
 * begun). Must not block for long: no SQL is waited for, unless another process is just storing or removing the same
 * content. */
int cache_fill_commit(struct cache_fill *f, const struct cache_origin *origin, uint64_t size,
                      const struct cache_verified *how, struct cache_blob *out, struct err *err);
/* From now on its bytes may come from several places that nobody vouches for alone: whoever fills it checks them in the
 * end against this digest, stated by the origin. Parts are resumed only by a fill that is bound to the same. Before
 * cache_fill_open(). */
void cache_fill_bind(struct cache_fill *f, const struct digest_value *stated);
/* Forget what was written; the fill goes on with cache_fill_open(). */
void cache_fill_wipe(struct cache_fill *f);
/* Give up: keep = true leaves the partial for a later resume. */
void cache_fill_abandon(struct cache_fill *f, bool keep);
/* Until all that was committed is in the index, and, for a durable cache, on disk (syncfs). What was stored since the
 * last flush is forgotten after a power cut (not after a crash of the process), since it may be torn. An error tells of
 * fills that could not be indexed since the last call (ERR_NOSPACE); their blobs are gone, the other fills are not
 * concerned. */
int cache_fill_flush(struct cache *c, struct err *err);

/* Snapshots. Files in any order, paths checked again (F1, F2); folders may repeat what files imply. A link leads to a
 * file of the same tree, never to another link or a folder: no view leads out of itself. */
struct cache_file {
    const char *path;
    const char *blob; /* id */
    uint64_t size;
};
struct cache_link {
    const char *path, *to; /* a relative symbolic link in the view */
};
struct cache_tree {
    const struct cache_file *files;
    size_t file_count;
    const char *const *folders;
    size_t folder_count;
    const struct cache_link *links;
    size_t link_count;
};
/* Makes (or finds) the snapshot and its view, and leases it. ERR_REFUSED: a path that may not be; ERR_INVALID: two
 * paths that exclude one another (both are named), a link to what is no file; ERR_NOTFOUND: a blob that is not there;
 * the error of a fill of this lease that could not be indexed. */
#define CACHE_DEPTH_MAX 120     /* folders in one another */
#define CACHE_PATHS_MAX 4000000 /* files, folders and links of one snapshot */
int cache_snapshot_make(struct cache *c, struct cache_lease *lease, const struct cache_tree *tree,
                        char id[SNAPSHOT_ID_MAX], struct err *err);
/* Its view: an absolute path, valid while leased. Rebuilt where it is missing. */
int cache_snapshot_view(struct cache *c, const char *id, struct buf *path, struct err *err);
/* The list itself, sorted, in the arena. */
int cache_snapshot_list(struct cache *c, const char *id, struct arena *a, struct cache_tree *out, struct err *err);

/* Leases: an OFD lock on a file that names job and container; everything looked up, filled or made under it stays until
 * it is freed, or its process is dead and so is its container: as its own engine says, or by a later boot of the
 * machine. Any thread may use one; freeing waits for its commits. */
int cache_lease_new(struct cache *c, const char *job_id, struct cache_lease **out, struct err *err);
/* `engine` names the one that has it, in words that are alike in every process. */
int cache_lease_set_container(struct cache_lease *l, const char *engine, const char *container_id, struct err *err);
void cache_lease_free(struct cache_lease *l);

/* Entries. `identity` names what was asked for (source and all that shapes the result), `scope` whom it was for (keyed
 * hash of the credentials; all zero: public); `fingerprint` is the hash of the resolved list (paths, versions, sizes,
 * and where each lies). */
struct cache_entry {
    const char *identity;
    uint8_t scope[32];
    uint8_t fingerprint[32];
    char snapshot[SNAPSHOT_ID_MAX];
    int64_t downloaded_ms, last_used_ms;
    bool expired; /* out: past the TTL */
};
int cache_entry_put(struct cache *c, const struct cache_entry *entry, struct err *err);
/* found = false: none. Touches last_used. Leases the snapshot. */
int cache_entry_get(struct cache *c, struct cache_lease *lease, const char *identity, const uint8_t scope[32],
                    struct cache_entry *out, bool *found, struct err *err);

/* Proofs: this credential was seen to read each object of this fingerprint, within the TTL. They are worth what the
 * fingerprint says: it has to name the origin, or a list of the same shape elsewhere proves this one. */
int cache_proof_put(struct cache *c, const uint8_t scope[32], const uint8_t fingerprint[32], struct err *err);
int cache_proof_has(struct cache *c, const uint8_t scope[32], const uint8_t fingerprint[32], bool *has,
                    struct err *err);
/* Keyed by a secret of this cache, so that the index tells nobody whose credentials were used. */
int cache_scope_key(struct cache *c, const uint8_t identity[32], uint8_t scope[32], struct err *err);

/* Room for `bytes` more in `files` more files, evicting what may go; ERR_NOSPACE with need, have and what holds the
 * rest. The bytes are reserved: used up by the fills of the lease, released with it. The files are held against the
 * inodes that are free now (one each; folders of views come on top), and not reserved: of two jobs that start at once
 * on a file system about to run out, one may fail later. */
int cache_reserve(struct cache *c, struct cache_lease *lease, uint64_t bytes, uint64_t files, struct err *err);

/* Pins. `by` says who ("user", "market nvidia-3090"). */
int cache_pin(struct cache *c, const char *snapshot, const char *by, struct err *err);
int cache_unpin(struct cache *c, const char *snapshot, const char *by, struct err *err);

/* For other machines. Each blob that is known by its SHA-256, the newest first, until `each` gives -1. */
int cache_blobs(struct cache *c, size_t max, int (*each)(void *ctx, const char *sha256, struct err *err), void *ctx,
                struct err *err);
/* The whole content of the blob that `origin` led to, if its SHA-256 (hex) is this: who can only name a digest gets
 * nothing. `fd` is the caller's, and is readable whatever becomes of the blob. ERR_NOTFOUND. */
int cache_blob_open(struct cache *c, const struct cache_origin *origin, const char *sha256, int *fd, uint64_t *size,
                    struct err *err);

/* Administration; all give JSON so that --json and tables show the same. Snapshot ids may be abbreviated (≥ 6 digits).
 */
/* An array, the last used first: snapshot, origin (the identity, less what may be secret; null for a tree merged from
 * others), public, files, bytes, created_ms, downloaded_ms, last_used_ms, expired, hits, pinned_by, leased_by, leases.
 */
json_t *cache_list(struct cache *c, struct err *err);
/* One of these with folders, own_bytes (nothing else holds them), built and view; or, `what` NULL, the whole cache:
 * dir, counts, sizes, limits and the jobs that hold leases. */
json_t *cache_stat(struct cache *c, const char *what, struct err *err);
int cache_find(struct cache *c, const char *what, char id[SNAPSHOT_ID_MAX],
               struct err *err); /* id prefix or identity */
int cache_remove(struct cache *c, const char *snapshot, bool even_if_pinned, uint64_t *freed, struct err *err);

enum cache_container { CACHE_CONTAINER_UNKNOWN, CACHE_CONTAINER_GONE, CACHE_CONTAINER_LIVES };

struct cache_gc_opts {
    bool all; /* everything that is not leased or pinned, expired or not */
    bool dry_run;
    uint64_t need_bytes; /* free at least so much, least recently used first; 0: only what expired or is orphaned */
    /* What became of a container, asked for leases of dead processes. `engine` as it was noted; NULL: it was not, by an
     * earlier version. UNKNOWN keeps the lease: what the container may have mounted stays. NULL: nobody can be asked.
     */
    enum cache_container (*container)(void *ctx, const char *engine, const char *container_id);
    void *ctx;
};
struct cache_gc_result {
    uint64_t blobs, snapshots, partials, bytes;
};
int cache_gc(struct cache *c, const struct cache_gc_opts *opts, struct cache_gc_result *out, struct err *err);

struct cache_verify_opts {
    bool repair;
    const struct cancel *cancel;
    void (*progress)(void *ctx, uint64_t done_bytes, uint64_t total_bytes);
    void *ctx;
};
struct cache_verify_result {
    uint64_t blobs, bytes, damaged, missing, orphans, repaired;
};
int cache_verify(struct cache *c, const struct cache_verify_opts *opts, struct cache_verify_result *out,
                 struct err *err);

#endif
