/* get: a published result back to a folder: fetched by parallel ranges, verified against what was published, unpacked
 * by a helper in a sandbox, where nothing can leave the folder (job/unpack.h).
 *
 * The folder appears whole, by one rename; what an interrupted get fetched lies beside it in "<folder>.part" and is
 * taken up again. Needs s3:GetObject, and nothing at all for a pre-signed URL. */
#ifndef BERTH_JOB_GET_H
#define BERTH_JOB_GET_H

#include "archive/archive.h"
#include "base/json.h"
#include "spec/job.h"
#include "stage/stage.h"

struct job_get_opts {
    struct stage_opts stage; /* xfer, http, access, cancel, warn; the cache is not used */
    const char *dir;         /* must be absent or empty */
    bool raw;                /* keep the archive, or manifest, as it was published */
    struct archive_limits limits;
    /* While it is fetched; NULL: over. May itself be NULL. */
    void (*watch)(void *ctx, const struct stage *stage, size_t inputs);
    void *watch_ctx;
};

struct job_got {
    struct archive_totals totals;
    bool verified; /* against a checksum of the whole */
};

/* What a document says was published: a run record (berth.json), a PublishedResult alone, or a result as a server lists
 * it ({"published", "url"}: an archive is then fetched by the URL) becomes the input that fetches it. Strings go to the
 * arena or stay the document's. ERR_INVALID; ERR_NOTFOUND: a run that published nothing.
 */
int job_published_read(const json_t *document, struct arena *a, struct input *out, struct err *err);

/* Fetch one input (a single object, an archive or a manifest of this module's making) to opts->dir. Errors are those of
 * staging and of archive_unpack(): ERR_CORRUPT, ERR_REFUSED, ERR_LIMIT, ERR_DENIED, ERR_EXISTS (the folder), … */
int job_get(const struct input *from, const struct job_get_opts *opts, struct job_got *got, struct err *err);

/* ---- several executions ---- */

#define JOB_EXECUTIONS_MAX 10000

struct job_execution {
    const char *name; /* of its folder: one component, unlike all others */
    const char *id;   /* short; NULL: not told */
    int64_t index;    /* -1: not told */
    struct input input;
};

struct job_executions {
    struct job_execution *v; /* owned; what it points to is the arena's, or the documents' */
    size_t n;
};
void job_executions_release(struct job_executions *x);

/* Append what a document says was published: what job_published_read() takes, a list of it, or {"results": [...]}, as a
 * server tells of a job's executions ("index" and "published" in each). */
int job_executions_read(struct job_executions *x, const json_t *document, struct arena *a, struct err *err);
int job_executions_add(struct job_executions *x, const struct job_execution *one, struct err *err);

/* Give all their names: their indexes, where all have one of their own; else likewise their ids; else 0, 1, 2, … */
int job_executions_name(struct job_executions *x, struct arena *a, struct err *err);

/* The id of whose results a key, file or id names: "r/e-1a2b3c4d5e6f.tar.gz" gives "1a2b3c4d"; a manifest is
 * called as its prefix is; other names stay, up to a dot. Safe as a part of a file's name. Owned. */
char *job_short_name(const char *of, struct err *err);

/* Fetch all to opts->dir: each to its own folder, or merged into one (see docs/guide-results.md). The folder appears
 * whole; what lies in "<dir>.part", of results that have a version or a checksum, is not fetched again. Errors are
 * those of job_get(), after the execution's name; ERR_EXISTS: two executions have different files of one name. */
int job_get_all(const struct job_executions *from, bool merge, const struct job_get_opts *opts, struct job_got *got,
                struct err *err);

#endif
