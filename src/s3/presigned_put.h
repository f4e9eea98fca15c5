/* presigned_put: storing one object by a grant (grant.h), without credentials and without a temporary file.
 *
 * One PUT needs to know the object's size and MD5 before its first byte, and its bytes again where it has to be tried
 * again: they come from a function that makes the whole stream, the same each time. Parts are written as the stream is
 * made, held in memory until they are stored, and tried again one by one; what is not finished is aborted.
 *
 * Each request carries a Content-MD5 where its URL was signed by Signature Version 4, which leaves such headers free;
 * the server compares ("Checking object integrity", Amazon S3 user guide). Redirects are not followed.
 *
 * Errors name the URL without its query: ERR_DENIED (says so where the grant has expired), ERR_LIMIT (larger than the
 * grant or S3 takes), ERR_CHANGED (the stream is another than was announced, or arrived as another), ERR_NOTFOUND (the
 * upload is no more), ERR_TRANSIENT (tries spent), ERR_CANCELLED, … */
#ifndef BERTH_S3_PRESIGNED_PUT_H
#define BERTH_S3_PRESIGNED_PUT_H

#include "digest/digest.h"
#include "s3/grant.h"
#include "s3/upload.h"

enum s3_grant_for { S3_GRANT_FOR_PART, S3_GRANT_FOR_COMPLETE, S3_GRANT_FOR_ABORT };

struct s3_granted_opts {
    struct http *http; /* borrowed */
    const struct cancel *cancel;
    uint64_t buffer_bytes; /* of parts; 0: S3_UPLOAD_BUFFERS, and at least two parts */
    /* A further URL: of a part that the grant does not hold, or of any that was refused, once each. On any thread, one
     * call at a time. NULL: there are no more. */
    int (*more)(void *ctx, enum s3_grant_for what, unsigned part, struct buf *url, struct err *err);
    /* All is there, the next request makes the object appear; -1 ends it with that error. On the calling thread. May be
     * NULL. */
    int (*commit)(void *ctx, struct err *err);
    void *ctx;
};

/* ---- one PUT ---- */

/* Makes the whole stream and hands it over piece by piece, on a thread of its own. Called once a try. */
typedef int (*s3_give_fn)(void *to, const void *p, size_t n, struct err *err);
struct s3_stream {
    int (*make)(void *ctx, s3_give_fn give, void *to, struct err *err);
    void *ctx;
    uint64_t size;
    struct digest_value md5;
};
/* Blocks. `grant->method` is S3_GRANT_PUT. */
int s3_granted_put(const struct s3_grant *grant, const struct s3_stream *stream, const struct s3_granted_opts *opts,
                   struct s3_stored *out, struct err *err);

/* ---- parts ---- */

/* One thread writes. The grant and what `opts` points to are borrowed until s3_granted_free(). */
struct s3_granted;
int s3_granted_open(struct s3_granted **out, const struct s3_grant *grant, const struct s3_granted_opts *opts,
                    struct err *err);
int s3_granted_write(struct s3_granted *g, const void *p, size_t n, struct err *err);
/* Once; after it, or after any failure, s3_granted_free(). */
int s3_granted_finish(struct s3_granted *g, struct s3_stored *out, struct err *err);
void s3_granted_free(struct s3_granted *g); /* aborts what was not finished, also when cancelled */

#endif
