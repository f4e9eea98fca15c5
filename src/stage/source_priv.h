/* source: what every kind of input offers to the generic half of stage. One const table of functions a kind.
 *
 * A struct source belongs to one input and is driven by that input's thread; get_begin() hands a transfer to xfer,
 * whose callbacks then run on transfer threads against the fetch context alone. */
#ifndef BERTH_STAGE_SOURCE_PRIV_H
#define BERTH_STAGE_SOURCE_PRIV_H

#include "stage/stage.h"

struct source;

/* One resolved file. Strings are borrowed until the next call of file() on the same source. */
struct source_file {
    const char *path;                  /* below the target */
    const char *name;                  /* a link to it, by which people know it; NULL: the path itself */
    const char *location;              /* "<endpoint>/<bucket>/<key>" */
    const char *version;               /* equal versions mean equal bytes; NULL: the origin gives none */
    uint64_t size;                     /* XFER_SIZE_UNKNOWN possible */
    int64_t modified_ms;               /* 0: unknown */
    bool proved;                       /* resolving it already proved that these credentials may read it */
    const struct xfer_want *want;      /* what the origin stated of its content; NULL: only the transfer tells */
    const struct digest_value *sha256; /* stated by the origin itself, not by the job; NULL: not known (yet) */
    struct span content; /* resolving already gave its bytes (at most one part): no request follows; p NULL: not so */
};

struct source_ops {
    const char *name; /* the cache's name of the source: "s3" */
    /* Ask the origin what is there now. Fills the public fields of struct source. May be called again (things changed).
     */
    int (*resolve)(struct source *s, struct err *err);
    void (*file)(struct source *s, size_t i, struct source_file *out);
    /* Set name, size, want, source and source_ctx of `get`; for a HEAD when get->head_only. */
    int (*get_begin)(struct source *s, size_t i, struct xfer_get *get, struct err *err);
    /* After done(): the version that the answers carried (NULL: none), then release the context. Both borrow `ctx` from
     * get_begin. */
    const char *(*get_version)(void *ctx);
    void (*get_end)(void *ctx);
    /* Prove, blocking, that these credentials may read file `i`, and with it all files of the source. NULL: each cached
     * file is proved by a HEAD of its own. */
    int (*prove)(struct source *s, size_t i, struct err *err);
    /* Write file `i` to an empty file, blocking, instead of get_begin() and what follows it. NULL: it is fetched. */
    int (*copy)(struct source *s, size_t i, int to_fd, uint64_t *size, struct err *err);
    /* Members of the run record: endpoint, bucket, region, … */
    int (*describe)(const struct source *s, json_t *into, struct err *err);
    void (*free)(struct source *s);
};

struct source {
    const struct source_ops *ops;
    const struct input *input;
    struct stage *stage;
    size_t index;
    /* After resolve(): */
    size_t file_count;
    const char *const *folders;
    size_t folder_count;
    const struct cache_link *links; /* each leads to one of the files */
    size_t link_count;
    bool unasked;        /* resolve() took a run record's word: only a request for each file tells what may be read */
    bool states_by_head; /* a HEAD of a file (get_begin() with head_only) may bring its SHA-256, from the origin */
    bool single;         /* one exact object: mounted as a file where the target ends in its name */
    /* From creation on: */
    char *identity;        /* what is asked for, all that shapes the result included */
    uint8_t principal[32]; /* who asks; all zero: anybody */
    char *label;
    /* Mounted from where it lies on this machine, not through the cache: what `input->local` leads to. Borrowed from
     * the source. NULL: files are fetched. `single` says that it is a file. */
    const char *host_path;
};

/* A source for the input. */
int stage_source_new(struct source **out, struct stage *stage, size_t index, struct err *err);
void stage_source_free(struct source *s);

int source_s3_new(struct source **out, struct stage *stage, size_t index, struct err *err);
int source_local_new(struct source **out, struct stage *stage, size_t index, struct err *err);
/* Right before it is mounted: ERR_CHANGED, ERR_NOTFOUND …, where the path no longer leads to what was judged. */
int source_local_recheck(struct source *base, struct err *err);
int source_ollama_new(struct source **out, struct stage *stage, size_t index, struct err *err);
int source_url_new(struct source **out, struct stage *stage, size_t index, struct err *err);
int source_hf_new(struct source **out, struct stage *stage, size_t index, struct err *err);

#endif
