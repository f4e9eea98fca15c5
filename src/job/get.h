/* get: a published result back to a folder: fetched by parallel ranges, verified against what was published, unpacked
 * where nothing can leave the folder.
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

/* What a document says was published: a run record (berth.json), or a PublishedResult alone, becomes the input that
 * fetches it. Strings go to the arena or stay the document's. ERR_INVALID; ERR_NOTFOUND: a run that published nothing.
 */
int job_published_read(const json_t *document, struct arena *a, struct input *out, struct err *err);

/* Fetch one input (a single object, an archive or a manifest of this module's making) to opts->dir. Errors are those of
 * staging and of archive_unpack(): ERR_CORRUPT, ERR_REFUSED, ERR_LIMIT, ERR_DENIED, ERR_EXISTS (the folder), … */
int job_get(const struct input *from, const struct job_get_opts *opts, struct job_got *got, struct err *err);

#endif
