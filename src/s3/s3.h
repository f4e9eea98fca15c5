/* s3: reading S3-compatible storage: find the bucket, list, look, fetch.
 *
 * A struct s3 is a client for one place (endpoint, bucket, addressing style, region) with one set of credentials. It
 * remembers the region and style that a server taught it, and a clock offset (RequestTimeTooSkewed), per host.
 * Thread-safe. Requests: Amazon S3 API reference, version 2006-03-01. */
#ifndef BERTH_S3_S3_H
#define BERTH_S3_S3_H

#include "base/cancel.h"
#include "base/err.h"
#include "s3/creds.h"
#include "spec/job.h"
#include "xfer/http.h"
#include "xfer/xfer.h"

#include <stdint.h>

enum s3_addressing { S3_ADDRESS_AUTO, S3_ADDRESS_PATH, S3_ADDRESS_VIRTUAL };

struct s3_opts {
    struct http *http; /* borrowed: listings and HEADs */
    enum s3_addressing addressing;
    const char *default_endpoint; /* configuration or AWS_ENDPOINT_URL_S3 / AWS_ENDPOINT_URL; NULL: AWS */
    const char *default_region;   /* NULL: us-east-1 */
    const char *const *mirrors;   /* "https://from/prefix=http://to/prefix", NULL-terminated; NULL: none */
    bool plain_http_refused;      /* market nodes: http:// only where the operator allows it */
    const struct cancel *cancel;
};

struct s3;

/* A client for the place `src` names; no request is sent yet. The credentials are borrowed and must outlive it. */
int s3_open(struct s3 **out, const struct source_s3 *src, struct creds *creds, const struct s3_opts *opts,
            struct err *err);
void s3_free(struct s3 *s3);

/* One object of a listing, a HEAD or a resolution. Strings live with their owner (the listing page, the result's
 * arena). */
struct s3_object {
    const char *key;
    const char *path;       /* below the target; NULL in plain listings */
    uint64_t size;          /* XFER_SIZE_UNKNOWN until looked at (files[] need no listing) */
    const char *etag;       /* with quotes as sent; NULL */
    const char *version_id; /* NULL */
    int64_t modified_ms;
    const char *storage_class; /* NULL: standard */
    bool archived;             /* GLACIER, DEEP_ARCHIVE not restored */
    struct xfer_want want;     /* what the origin stated, as far as known */
};

/* ListObjectsV2, streamed page by page; `each` returns non-zero to stop early (that value is returned). Bounded memory;
 * hostile XML, oversized pages and repeated tokens are ERR_PROTOCOL. */
int s3_list(struct s3 *s3, const char *prefix, const char *delimiter,
            int (*each)(void *ctx, const struct s3_object *object, struct err *err), void *ctx, struct err *err);

/* HeadObject with checksum mode on. Strings of `out` go to the arena. */
int s3_head(struct s3 *s3, const char *key, const char *version_id, struct arena *a, struct s3_object *out,
            struct err *err);

/* What a declared source means now: sorted by path, checked for F1–F3, filtered, partitioned. */
struct s3_resolution {
    struct arena *arena;
    struct s3_object *objects;
    size_t object_count;
    const char **folders; /* zero-byte "x/" markers: folders to create */
    size_t folder_count;
    bool single;                            /* one exact object: may be mounted as a file */
    const char *endpoint, *bucket, *region; /* as really used */
    uint64_t total_bytes;                   /* of known sizes */
    const char **warnings;
    size_t warning_count;
};
struct s3_resolve_opts {
    uint32_t partition_index, partition_count; /* 0, 0: whole */
};
int s3_resolve(struct s3 *s3, const struct source_s3 *src, const struct s3_resolve_opts *opts,
               struct s3_resolution **out, struct err *err);
void s3_resolution_free(struct s3_resolution *r);

/* Feeding xfer: a source over one object. The context is owned by the caller until `done`. judge() compares ETags
 * (If-Match on every range), learns x-amz-checksum-*, maps S3 error bodies to messages (which credentials, which
 * action, what to try), corrects region and clock once. */
struct s3_fetch;
int s3_fetch_new(struct s3_fetch **out, struct s3 *s3, const struct s3_object *object, struct err *err);
void s3_fetch_free(struct s3_fetch *f);
extern const struct xfer_source s3_xfer_source; /* source_ctx: struct s3_fetch * */

/* What the last judged answer taught about the object (ETag, version, digests, size). Borrowed; valid in and after
 * done(). */
const struct s3_object *s3_fetch_learned(const struct s3_fetch *f);

/* A URL that lets its holder fetch the object until it expires. */
int s3_presign_get(struct s3 *s3, const char *key, const char *version_id, uint32_t expires_s, struct buf *url,
                   struct err *err);

/* Where the object is, for cache identities and records: "<endpoint>/<bucket>/<key>". */
void s3_location(const struct s3 *s3, const char *key, struct buf *out);

#endif
