/* upload: storing objects: one request for small ones, parts side by side for large ones.
 *
 * An object appears whole, by one PUT or by CompleteMultipartUpload, or not at all: what fails or is cancelled is
 * aborted, and what a crash leaves is found by s3_uploads_list(). Needed: s3:PutObject, and s3:AbortMultipartUpload for
 * cleaning up; nothing is listed or looked at, unless an answer to the last request got lost.
 *
 * In transit: over TLS, and to this machine, payloads are not signed but carry a checksum that the server compares:
 * CRC-32C where it knows it, else MD5; which of them, its first answer tells, once per host. Over plain HTTP to others
 * the signature covers the SHA-256 of the payload. "Uploading and copying objects using multipart upload" and
 * "Checking object integrity" of the Amazon S3 user guide. */
#ifndef BERTH_S3_UPLOAD_H
#define BERTH_S3_UPLOAD_H

#include "s3/s3.h"

#define S3_PART_MIN        ((uint64_t)5 << 20) /* of all but the last part */
#define S3_PART_DEFAULT    ((uint64_t)8 << 20)
#define S3_PART_MAX        ((uint64_t)5 << 30)
#define S3_PARTS_MAX       10000
#define S3_UPLOAD_ID_MAX   1024
#define S3_UPLOAD_BUFFERS  ((uint64_t)32 << 20) /* memory of a stream's parts, of at least two of them */
#define S3_UPLOAD_PARALLEL 8

/* How an object is to be stored. NULL: as the bucket has it. Strings are borrowed for the time of the call or upload.
 */
struct s3_put_opts {
    const char *content_type;
    const char *storage_class;
    const char *sse; /* "AES256", "aws:kms"; a customer's key is the client's (source_s3) */
    const char *sse_kms_key_id;
    const char *tags; /* "name=value&…", encoded as a query is */
    const char *acl;  /* "private", "bucket-owner-full-control", … */
    bool only_new;    /* ERR_EXISTS where the key holds an object by then (If-None-Match) */
};

/* What the server said of the object that is there now. */
struct s3_stored {
    char *etag;       /* NULL: not told */
    char *version_id; /* NULL: the bucket is not versioned */
    uint64_t size;
};
void s3_stored_release(struct s3_stored *s);

/* The bytes to store: `file` where it is not NULL, else `bytes`. Borrowed. */
struct s3_body {
    struct span bytes;
    const struct http_region *file;
};

/* One PUT; up to 5 GiB. Blocks. ERR_DENIED, ERR_NOTFOUND (the bucket), ERR_EXISTS, ERR_TRANSIENT, ERR_CHANGED (the file
 * changed meanwhile), … */
int s3_put(struct s3 *s3, const char *key, const struct s3_body *body, const struct s3_put_opts *opts,
           struct s3_stored *out, struct err *err);

struct s3_upload_opts {
    struct s3_put_opts put;
    uint64_t part_bytes;   /* 0: 8 MiB; s3_part_bytes() tells what a size needs */
    uint64_t buffer_bytes; /* of a stream; 0: S3_UPLOAD_BUFFERS */
    unsigned parallel;     /* parts under way; 0: as many as fit the buffers, of files S3_UPLOAD_PARALLEL */
    /* Stored so far, on any thread, one call at a time; NULL: not wanted. */
    void (*progress)(void *ctx, uint64_t bytes);
    /* An upload in parts has begun under this id; a stream then is one however small it is, so that whoever knows the
     * id can keep it from ever being completed. And: all is there, the next request makes the object appear. Both on
     * the thread that drives the upload; -1 ends it with that error. NULL: not wanted. */
    int (*begun)(void *ctx, const char *upload_id, struct err *err);
    int (*commit)(void *ctx, struct err *err);
    void *ctx;
    /* Of a stream: the folder (made where it is not there) in which it is noted what is stored, so that after a crash
     * the same stream can go on where it was: parts of the same content are not sent again. NULL: not noted. */
    const char *journal_dir;
    const char *journal_name; /* what is stored: with the key it names the note */
};

/* The least multiple of a MiB, from 8 MiB on, in which `size` bytes make at most S3_PARTS_MAX parts. */
uint64_t s3_part_bytes(uint64_t size);

/* A file, in one request or in parts; parts are read where they are sent, so memory does not grow with them. */
int s3_put_file(struct s3 *s3, const char *key, int fd, uint64_t size, const struct s3_upload_opts *opts,
                struct s3_stored *out, struct err *err);

/* A stream of unknown length. One thread writes; nothing is sent before the first part is full, so that what is
 * smaller goes as one PUT. `opts` is copied but for its strings. */
struct s3_upload;
int s3_upload_open(struct s3_upload **out, struct s3 *s3, const char *key, const struct s3_upload_opts *opts,
                   struct err *err);
int s3_upload_write(struct s3_upload *u, const void *p, size_t n, struct err *err);
/* Whether it failed because what a crash left does not fit: other content, or an upload that the server no longer has.
 * Free this one, which aborts what was left, and begin again with another. */
bool s3_upload_outdated(struct s3_upload *u);
/* Waits for all parts and makes the object appear. Once; after it, or after any failure, s3_upload_free(). */
int s3_upload_finish(struct s3_upload *u, struct s3_stored *out, struct err *err);
void s3_upload_free(struct s3_upload *u); /* aborts what was not finished, also when cancelled */

/* Begin an upload in parts that others carry on by pre-signed URLs; they can state no checksum but Content-MD5. Gives
 * up after a few seconds. */
int s3_upload_begin(struct s3 *s3, const char *key, const struct s3_put_opts *opts, char id[S3_UPLOAD_ID_MAX],
                    struct err *err);

/* Uploads that were begun and neither completed nor aborted, of keys that start with `prefix`. Needs
 * s3:ListBucketMultipartUploads. Strings are valid during the call; a return other than 0 ends the listing with it. */
struct s3_unfinished {
    const char *key, *upload_id;
    int64_t begun_ms; /* 0: not told */
};
int s3_uploads_list(struct s3 *s3, const char *prefix,
                    int (*each)(void *ctx, const struct s3_unfinished *upload, struct err *err), void *ctx,
                    struct err *err);
int s3_upload_abort(struct s3 *s3, const char *key, const char *upload_id, struct err *err);

#endif
