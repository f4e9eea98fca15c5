/* stage, inside: the shared state of one staging and the parts of an input's way from declaration to snapshot. */
#ifndef BERTH_STAGE_STAGE_PRIV_H
#define BERTH_STAGE_STAGE_PRIV_H

#include "stage/peer.h"
#include "stage/source_priv.h"
#include "stage/stage.h"

#include <pthread.h>
#include <stdatomic.h>

#define STAGE_INPUTS_MAX       1024
#define STAGE_PARALLEL_DEFAULT 16
#define STAGE_WINDOW           256                 /* transfers an input keeps queued in the engine */
#define STAGE_LOOKUP_BATCH     1000                /* origins asked of the index at once */
#define STAGE_BAD_PEERS        64                  /* beyond that none is asked any more */
#define STAGE_TREE_BYTES_MAX   (UINT64_C(1) << 30) /* memory for the list of one snapshot */

struct stage_input;
struct peer_file;
struct peer_plan;
struct peer_try;

/* One file on its way. Made by the input's thread, given to xfer, returned through the input's queue. */
struct fetch {
    struct stage_input *in;
    size_t file;
    uint64_t expected_size;
    void *source_ctx;
    struct cache_fill *fill; /* cache store */
    uint64_t reserved;       /* cache store: on top of what was reserved for known sizes */
    char *temporary;         /* folder store: name below .berth-partial */
    bool versioned;          /* folder store: that name stands for these bytes alone */
    char *path;              /* folder store: where it goes below the folder */
    int fd;                  /* folder store */
    struct partmap *map;     /* folder store */
    int map_fd;
    const struct peer_file *stated; /* the origin stated its SHA-256; NULL: not so */
    struct peer_try *peer;          /* under way from a peer; NULL: from the origin */
    unsigned peers_tried, peers_turn;
    /* Set by done(): */
    struct xfer_result result;
    struct err *failure; /* NULL on success */
    char *learned_version;
    struct fetch *next;
};

/* Where fetched bytes are kept: the cache, or the folder of `berth fetch`. begin(), commit() and abandon() run on the
 * input's thread, open() on a transfer thread. */
struct store_ops {
    int (*begin)(struct fetch *f, const struct source_file *file, enum cache_fill_state *state, struct err *err);
    int (*open)(struct fetch *f, uint64_t size, int *fd, struct partmap **map, struct err *err);
    int (*grow)(struct fetch *f, uint64_t bytes, struct err *err); /* see struct xfer_sink */
    int (*commit)(struct fetch *f, const struct source_file *file, struct err *err);
    void (*abandon)(struct fetch *f, bool keep);
};
extern const struct store_ops store_cache;
extern const struct store_ops store_folder;

struct held_blob {
    char id[BLOB_ID_MAX];
    uint64_t size; /* also where the origin did not tell */
};

/* How a job came to write to its copy of a view. */
enum writable_how { WRITABLE_NOT, WRITABLE_REFLINK, WRITABLE_OVERLAY, WRITABLE_COPY };

struct stage_input {
    struct stage *stage;
    size_t index;
    struct source *source;
    /* Read by anybody. */
    struct {
        atomic_int phase;
        atomic_uint_fast64_t files_total, files_done, files_cached, bytes_total, bytes_cached, bytes_before;
        atomic_uint_fast64_t resolve_ms, fetch_ms;
        atomic_uint_fast64_t peer_files, peer_failures;
        struct xfer_group group;
    } shown;
    /* Transfer threads put finished fetches here; the input's thread takes them. */
    struct {
        pthread_mutex_t mu;
        pthread_cond_t cv;
        struct fetch *first, *last;
    } finished;
    struct {
        pthread_mutex_t mu;
        struct peer_try *live;
        struct peer_figures {
            uint64_t bytes_done, bytes_wire, requests, retries;
        } over; /* of those that have ended; bytes_done only of those that ended well */
    } peers;
    /* The input's thread only; after it ended, stage_run's. */
    struct {
        struct held_blob *blobs; /* by file; empty id: still to be fetched */
        bool *proved;
        size_t in_flight;
        uint8_t scope[32], fingerprint[32];
        bool stale;  /* the origin was not reached: the snapshot is that of before */
        bool steady; /* every file has a version: the fingerprint identifies content */
        char snapshot[SNAPSHOT_ID_MAX];
        enum writable_how writable;
        uint64_t verified, by_size; /* files fetched now: checked by a digest, or by size alone */
        struct peer_plan *peers;    /* NULL: none is asked */
        struct err err;
    } own;
};

struct stage {
    struct stage_opts opts;
    const struct input *inputs;
    size_t n;
    struct stage_input *in; /* n of them */
    struct cache_lease *lease;
    struct s3_memory *s3_memory; /* what servers taught one input serves all */
    struct s3_login *s3_logins;  /* credentials in use, one for equal keys; written before the inputs run */
    struct cancel stop;          /* raised by the first failure or by opts.cancel */
    const struct store_ops *store;
    struct {
        pthread_mutex_t mu;
        size_t next, running; /* inputs not yet taken by a thread; threads alive */
        size_t failed;        /* the first input that failed; n: none */
        int done_fd;          /* eventfd: a thread ended */
    } shared;
    pthread_mutex_t warn_mu; /* one callback at a time */
    /* After the inputs are done. */
    struct arena *arena;
    struct stage_mount *mounts;
    size_t mount_count;
    unsigned copies; /* writable copies made below work_dir */
    struct {
        pthread_mutex_t mu;
        char address[STAGE_BAD_PEERS][PEER_ADDRESS_MAX]; /* they failed this job, and are left alone */
        size_t n;
    } bad_peers;
    struct {
        const struct stage_fetch_opts *opts;
        int dir_fd, partial_fd; /* -1 unless fetching to a folder */
        pthread_mutex_t mu;     /* guards each() and `claims` */
        void *claims;           /* tsearch tree: which input writes which path; used with several inputs */
    } folder;
};

void source_s3_logout(struct stage *s); /* after the last source is gone */
void stage_warn(struct stage *s, size_t input, const char *fmt, ...) ATTR_PRINTF(3, 4);
/* Say which input it is, once: most errors of sources begin with the label already. Returns -1. */
int stage_name_input(struct err *err, const char *label);
void store_folder_release(struct stage *s);
/* Below the folder of `berth fetch`: the target, without its slash, and the path. Owned. */
char *store_folder_path(const struct stage_input *in, const char *path, struct err *err);
/* The links of an input whose files are all there. */
int store_folder_links(struct stage_input *in, struct err *err);
void input_set_phase(struct stage_input *in, enum stage_phase phase);

/* The whole way of one input, on its thread. */
int input_run(struct stage_input *in, struct err *err);

/* Every input by input_run(), in parallel; the first error, named after its input. */
int stage_run_inputs(struct stage *s, struct err *err);

/* The folder's half of input_run(). */
int fetch_to_folder(struct stage_input *in, struct err *err);

/* Fetch every file whose blob is not known yet; the store's commit fills own.blobs. */
int fetch_files(struct stage_input *in, struct err *err);
/* HEAD files whose SHA-256 only that can tell; a file whose HEAD fails is left to the origin. */
int fetch_look(struct stage_input *in, struct peer_plan *plan, struct err *err);
/* HEAD every cached file that these credentials have not been seen to read. */
int fetch_prove(struct stage_input *in, struct err *err);

/* peers.c: files that other machines may have. */
struct peer_file {
    size_t file;
    bool stated; /* by the origin, which has also let this job read it */
    struct digest_value sha256;
    const json_t *peers; /* who holds it; borrowed from the plan's answers; NULL: nobody */
};
struct peer_plan {
    struct peer_file *v; /* sorted by file */
    size_t n, room;
    json_t *answers;
};
/* Which of the missing files the origin states a SHA-256 of, and who has them. Fails only where staging has to end. */
int peers_plan(struct stage_input *in, bool proved, struct err *err);
void peers_forget(struct stage_input *in);
struct peer_file *peers_file(const struct peer_plan *plan, size_t file); /* NULL: not in the plan */
/* From the next peer that has it, through the engine for peers. False: there is none left. */
bool peers_launch(struct fetch *f, const struct xfer_sink *sink,
                  void (*done)(void *ctx, const struct xfer_result *result, const struct err *err));
/* It came back: whether well or, `why`, not. Counts, tells, and takes it off the peer. */
void peers_settle(struct fetch *f, const struct err *why);
void peers_figures(struct stage_input *in, struct peer_figures *out);

/* Inputs whose targets are equal or nested become one group, mounted at the outermost target. Pure. */
struct merge_member {
    size_t input;
    const char *prefix; /* below the group's target, "" or "a/b" */
};
struct merge_group {
    const char *target;
    struct merge_member *members;
    size_t count;
    bool writable;
};
struct merge_plan {
    struct merge_group *groups;
    size_t count;
};
bool merge_covers(const char *outer, const char *inner); /* targets: equal, or the inner below the outer */
int merge_plan(struct arena *a, const struct input *inputs, size_t n, struct merge_plan *out, struct err *err);

/* The merged tree of a group: paths prefixed, equal paths must carry equal blobs, or links to the same file. */
int merge_trees(struct arena *a, const struct merge_group *group, const struct cache_tree *trees, const bool *as_file,
                const char *(*label)(void *ctx, size_t input), void *ctx, struct cache_tree *out, struct err *err);

/* Snapshots of the inputs → views, merged views, writable copies → s->mounts. */
int mount_all(struct stage *s, struct err *err);

const char *writable_word(enum writable_how how);
/* Adds the copy's path to `path`. */
int writable_make(struct stage *s, const char *view, struct buf *path, enum writable_how *how, struct err *err);
void writable_release(struct stage *s); /* unmounts and removes them all */

#endif
