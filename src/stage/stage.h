/* stage: a job's declared inputs to folders ready to mount.
 *
 * Inputs are resolved and fetched in parallel, each by one thread that plans while the transfer engine moves bytes.
 * What the cache has is used only after the origin, asked with this job's credentials, has said what is there now and
 * that they may read it. Inputs that share a target, or nest, become one merged tree. Nothing is visible before all of
 * it is.
 *
 * A struct stage is driven by one thread (stage_run); stage_progress() and the callbacks' contents may be read by
 * others. */
#ifndef BERTH_STAGE_STAGE_H
#define BERTH_STAGE_STAGE_H

#include "base/cancel.h"
#include "base/err.h"
#include "base/json.h"
#include "cache/cache.h"
#include "s3/s3.h"
#include "spec/job.h"
#include "xfer/http.h"
#include "xfer/xfer.h"

#include <stdint.h>

/* How inputs may be reached; from configuration and flags. All borrowed for the life of the struct stage. */
struct stage_access {
    bool ambient; /* the machine's own credentials may be used: the job's author runs it here */
    const char *const
        *ambient_buckets; /* without `ambient`: they may still be used for these, at `endpoint`; NULL: none */
    const char *profile;  /* NULL: AWS_PROFILE or "default" */
    const char *endpoint; /* for s3:// forms without one; NULL: environment, else AWS */
    const char *region;   /* NULL: environment, profile, else found out */
    const char *hub;      /* endpoint of the Hugging Face Hub; NULL: the public one */
    enum s3_addressing addressing;
    const char *const *mirrors;     /* "FROM=TO" prefixes; NULL: none */
    const char *const *local_allow; /* folders that localDirectory may name; NULL: none */
    /* Folders of berth's own besides the cache and the work folder, which no input may hold, nor lie in; NULL: none */
    const char *const *local_private;
    struct xfer_policy policy;
};

/* X(name, word) */
#define STAGE_PHASES(X)                                                                                                \
    X(WAITING, "waiting")                                                                                              \
    X(RESOLVING, "resolving")                                                                                          \
    X(CHECKING, "checking") /* proving that cached private objects may be read */                                      \
    X(DOWNLOADING, "downloading")                                                                                      \
    X(STORING, "storing") /* snapshot and view */                                                                      \
    X(READY, "ready")                                                                                                  \
    X(FAILED, "failed")

enum stage_phase {
#define X(name, word) STAGE_##name,
    STAGE_PHASES(X)
#undef X
};
const char *stage_phase_name(enum stage_phase phase);

/* Other machines that may hold what the origin has. They are asked about files whose SHA-256 the origin itself has
 * stated to this job's credentials, and only once these were seen to be allowed to read; whatever comes from there is
 * checked against that digest, and anything else than the right bytes soon is the origin's turn again. All zero: there
 * are none.
 */
#define STAGE_LOCATE_MAX 1000
struct stage_peers {
    /* Who holds these blobs (SHA-256, in hex; at most STAGE_LOCATE_MAX, none: is anybody there at all)? → owned
     * {"peers": {HEX: [{"node", "address", "fingerprint", "token"}]}, "others": bool}. Blocks; called by several
     * threads. */
    int (*locate)(void *ctx, const char *const *sha256, size_t n, json_t **out, struct err *err);
    void *ctx;
    struct xfer *xfer; /* an engine for them alone, with little patience: the origin is there */
};

struct stage_progress {
    enum stage_phase phase;
    uint64_t files_total, files_done, files_cached; /* done includes cached */
    uint64_t bytes_total, bytes_done, bytes_cached; /* of files whose size is known; done includes cached */
    uint64_t bytes_wire, requests, retries, stalled;
    uint64_t bytes_from_peers, files_from_peers; /* bytes: of bytes_wire; files: of those that are done */
    uint64_t peers_failed;                       /* times that a file was given up on a peer */
    uint64_t resolve_ms, fetch_ms;               /* spent so far */
};

struct stage_opts {
    struct cache *cache; /* NULL only for stage_fetch */
    struct xfer *xfer;
    struct http *http;
    struct stage_access access;
    struct stage_peers peers;
    const char *job_id;
    const char *work_dir; /* writable copies go below it: on the cache's file system where reflinks are wanted */
    bool mounts_seen;     /* the engine sees what this process mounts: overlays may stand in for copies */
    bool stale_if_error;  /* origin unreachable: use what this credential had within the TTL, with a warning */
    uint32_t partition_index, partition_count;
    unsigned parallel; /* inputs at once; 0: 16 */
    const struct cancel *cancel;
    /* A person should know; called on any thread, one at a time. `input` counts from 0. */
    void (*warn)(void *ctx, size_t input, const char *text);
    /* An input went on to its next phase; likewise. NULL is fine for both. */
    void (*phase)(void *ctx, size_t input, enum stage_phase phase);
    void *ctx;
};

struct stage;

/* Checks what can be checked without the network (allow-lists, credentials found). `inputs` is borrowed. */
int stage_new(struct stage **out, const struct stage_opts *opts, const struct input *inputs, size_t n, struct err *err);
/* Also ends leases: mounts must be gone by then. Writable copies are removed. */
void stage_free(struct stage *s);

/* Unmount what a killed staging left below its work_dir, which then can be removed. */
int stage_sweep(const char *work_dir, struct err *err);

/* Resolve, fetch, store, merge; returns when everything is ready to mount, or with the first error, named after its
 * input (the others are cancelled, what they fetched stays resumable). */
int stage_run(struct stage *s, struct err *err);

/* Any thread, any time between stage_new and stage_free. */
void stage_progress(const struct stage *s, size_t input, struct stage_progress *out);
/* "s3://bucket/prefix → /target": how an input is called on screen. Borrowed. */
const char *stage_label(const struct stage *s, size_t input);

struct stage_mount {
    const char *source; /* absolute host path of a folder or file */
    const char *target;
    bool writable;
};
/* After a successful run. Borrowed until stage_free(). */
const struct stage_mount *stage_mounts(const struct stage *s, size_t *n);
struct cache_lease *stage_lease(struct stage *s);

/* One input as the run record has it: what it resolved to (endpoint, snapshot, objects with version, size, digest: the
 * first STAGE_RECORD_OBJECTS and their count), cached or fetched bytes, verification. Owned JSON, no secrets. */
#define STAGE_RECORD_OBJECTS 10000
json_t *stage_record(const struct stage *s, size_t input, struct err *err);

/* `berth fetch`: the same sources and checks, written straight below `dir` instead of the cache. Parts of files that
 * have a version are resumed within one boot of the machine; files that are there with the origin's size and
 * modification time are kept unless `force`. */
struct stage_fetch_opts {
    const char *dir;
    bool force;
    bool dry_run; /* list only: each() for every file */
    void (*each)(void *ctx, const char *path, uint64_t size, const char *version);
    void *ctx;
};
int stage_fetch(struct stage *s, const struct stage_fetch_opts *opts, struct err *err);

#endif
