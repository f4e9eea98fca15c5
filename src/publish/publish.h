/* publish: a job's results to S3, or to a local archive or folder, and back.
 *
 * gzip: one archive, packed, compressed and stored as it is made, without a temporary file. plain: every file an object
 * of its own below a prefix, and at last manifest.json, which names them all. Either appears whole, by its last
 * request, or not at all. What was published is told as a PublishedResult that another job can have as its input.
 *
 * Keys may hold {executionID}, {jobID}, {nodeID}, {date} and {time} (UTC, YYYYMMDD and HHMMSS of one clock reading).
 * They are replaced first; then a key of an archive gets its ".tar.gz" where it is missing (after the execution's id
 * where it ends in a slash), and a prefix its slash.
 *
 * Least privilege: s3:PutObject and s3:AbortMultipartUpload to publish, s3:GetObject to get. */
#ifndef BERTH_PUBLISH_PUBLISH_H
#define BERTH_PUBLISH_PUBLISH_H

#include "archive/pack.h"
#include "base/cancel.h"
#include "base/err.h"
#include "base/json.h"
#include "s3/s3.h"
#include "spec/job.h"
#include "xfer/http.h"
#include "xfer/xfer.h"

#include <stdint.h>

/* How places may be reached. All borrowed for the time of a call. */
struct publish_access {
    struct s3_keys keys;  /* given for this purpose; access_key_id NULL: none */
    bool ambient;         /* the machine's own credentials may be used */
    const char *profile;  /* NULL: AWS_PROFILE or "default" */
    const char *endpoint; /* for publishers that name none; NULL: AWS */
    const char *region;   /* NULL: environment, profile, else found out */
    enum s3_addressing addressing;
    const char *const *mirrors; /* NULL: none */
    bool https_only;
    /* Where it is noted what of an archive is stored, so that the next attempt after a crash goes on with it; made
     * where it is not there. NULL: nowhere. */
    const char *journal_dir;
};

/* What stands for the placeholders of a key. Borrowed. */
struct publish_names {
    const char *execution_id, *job_id, *node_id;
    int64_t now_ms;
};

#define PUBLISH_KEY_MAX 1024

/* The key of the archive, or the prefix of its files. Pure. ERR_INVALID: an unknown placeholder; ERR_LIMIT: too long.
 */
int publish_key(const char *pattern, enum publish_encoding encoding, const struct publish_names *names, struct buf *out,
                struct err *err);

/* An upload in parts, while it lasts. Borrowed. */
struct publish_upload {
    const char *bucket, *key, *upload_id, *endpoint, *region;
};

struct publish_opts {
    const struct publisher *to;
    struct publish_access access;
    struct publish_names names;
    struct http *http;     /* borrowed */
    unsigned threads;      /* that compress; 0: one a core, at most 4 */
    uint64_t buffer_bytes; /* of parts under way; 0: 32 MiB */
    uint64_t max_bytes;    /* of content; 0: 1 TiB */
    uint64_t max_entries;  /* 0: 1,000,000 */
    const struct cancel *cancel;
    /* Content read so far, of all there is; any thread, one at a time. NULL is fine for both. */
    void (*progress)(void *ctx, uint64_t done_bytes, uint64_t total_bytes);
    void (*warn)(void *ctx, const char *text); /* on the calling thread: what was left out */
    /* On the calling thread; -1 ends the publishing with that error. An upload in parts has begun: who knows its id can
     * abort it (publish_abort()). And: all is stored, the next request makes the result appear. NULL: not wanted. */
    int (*begun)(void *ctx, const struct publish_upload *upload, struct err *err);
    int (*commit)(void *ctx, struct err *err);
    void *ctx;
};

/* What is there now. Strings are owned; NULL where they do not apply. */
struct publish_result {
    enum publisher_kind kind;
    enum publish_encoding encoding;
    char *bucket, *key, *endpoint, *region, *version_id;
    char *path;                        /* PUBLISH_LOCAL: absolute; PUBLISH_S3MANAGED: the URL without its query */
    char sha256[DIGEST_BYTES_MAX * 2]; /* base64, of the archive or the manifest */
    uint64_t stored_bytes;
    struct archive_totals totals;
};
void publish_result_release(struct publish_result *r);

/* {"Type": "s3", "Params": {"Bucket", "Key", "Endpoint", "Region", "VersionID", "ChecksumSHA256"}}; owned. */
json_t *publish_result_json(const struct publish_result *r, struct err *err);

/* Publish what is beneath `dir_fd`. Errors name the place: ERR_DENIED, ERR_NOTFOUND (the bucket), ERR_LIMIT,
 * ERR_EXISTS, ERR_CANCELLED, ERR_TRANSIENT (tries spent), … Nothing is visible then, but for single files of a plain
 * publish, which no manifest names. */
int publish_folder(int dir_fd, const struct publish_opts *opts, struct publish_result *out, struct err *err);

/* Abort one upload, with the access of `opts`, of which only `to` (for its customer key), `access`, `http` and `cancel`
 * are used. One that is no more is fine. */
int publish_abort(const struct publish_opts *opts, const struct publish_upload *upload, struct err *err);

/* Abort uploads below a bucket's prefix that were begun `older_ms` ago or earlier. Needs s3:ListBucketMultipartUploads
 * besides. `each` may be NULL. */
struct publish_stale {
    uint64_t older_ms;
    int64_t now_ms;
    void (*each)(void *ctx, const char *key, int64_t begun_ms);
    void *ctx;
};
int publish_abort_stale(const struct publish_opts *opts, const struct publish_stale *stale, unsigned *aborted,
                        struct err *err);

#endif
