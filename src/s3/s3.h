/* s3: reading S3-compatible storage: find the bucket, list, look, fetch.
 *
 * A struct s3 is a client for one place (endpoint, bucket, addressing style, region) with one set of credentials.
 * Thread-safe. What servers teach (style of a guessed place, region, clock offset) is kept in a struct s3_memory, which
 * clients of one process may share. Requests: Amazon S3 API reference, version 2006-03-01.
 *
 * Where a place is, is decided by place.h; the words here: the *front* of a place is what stands before the key in its
 * URLs ("https://bucket.s3.eu-west-1.amazonaws.com", "http://127.0.0.1:9000/bucket").
 *
 * Mirrors. The address as written decides what is endpoint, bucket and key, and how requests look; then the longest
 * mirror whose left side starts the front (at a '/' or its end) replaces that start. A left side therefore ends at the
 * host or at the bucket, and a host that is itself the bucket may be mapped onto one bucket of a local server:
 *   https://models.example=http://127.0.0.1:9000/models   https://models.example/test/a → …:9000/models/test/a
 *   https://ai.r2.cloudflarestorage.com=http://127.0.0.1:9000   …/ai-model/x → …:9000/ai-model/x
 * Where the front is of the form bucket.host and no mirror fits it, its path form host/bucket is looked up too, so that
 * one mirror of an AWS endpoint serves all its buckets. A mirror's right side is the operator's word: it may be
 * http://.
 */
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

/* What servers taught: per host and bucket the style and region, per host the clock offset. Bounded; thread-safe. */
struct s3_memory;
struct s3_memory *s3_memory_new(struct err *err);
void s3_memory_free(struct s3_memory *m);

struct s3_opts {
    struct http *http;        /* borrowed: listings and HEADs */
    struct s3_memory *memory; /* borrowed, outlives the client; NULL: the client's own */
    enum s3_addressing addressing;
    const char *default_endpoint; /* configuration or AWS_ENDPOINT_URL_S3 / AWS_ENDPOINT_URL; NULL: AWS */
    const char *default_region;   /* NULL: us-east-1 */
    const char *const *mirrors;   /* "https://from/prefix=http://to/prefix", NULL-terminated; NULL: none */
    bool plain_http_refused;      /* market nodes: http:// only where the operator allows it (a mirror does) */
    const struct cancel *cancel;
};

struct s3;

/* A client for the place `src` names; no request is sent yet. `src` is copied as far as needed; the credentials are
 * borrowed and must outlive the client. ERR_INVALID, ERR_UNSUPPORTED (access points, website endpoints …), ERR_REFUSED
 * (plain http). */
int s3_open(struct s3 **out, const struct source_s3 *src, struct creds *creds, const struct s3_opts *opts,
            struct err *err);
void s3_free(struct s3 *s3);

/* One object of a listing, a HEAD or a resolution. Who owns the strings is said where one is handed out. */
struct s3_object {
    const char *key;
    const char *path;       /* below the target; NULL in plain listings */
    uint64_t size;          /* XFER_SIZE_UNKNOWN where the origin does not say */
    const char *etag;       /* with quotes as sent; NULL */
    const char *version_id; /* the version that was asked for; NULL: whichever is the latest */
    int64_t modified_ms;
    const char *storage_class; /* NULL: standard, and in resolutions */
    bool archived;             /* GLACIER, DEEP_ARCHIVE, not restored as far as known */
    bool folder;               /* a common prefix of a listing with a delimiter; the key ends in it */
    bool looked;               /* these credentials were seen to read it (HEAD), not only to list it */
    struct xfer_want want;     /* what the origin stated, as far as known */
};

/* ListObjectsV2, streamed page by page; `each` returns non-zero to stop early (that value is returned). The object and
 * its strings are valid during the call. Bounded memory; hostile XML, oversized pages and repeated tokens are
 * ERR_PROTOCOL. `delimiter` NULL: none. */
int s3_list(struct s3 *s3, const char *prefix, const char *delimiter,
            int (*each)(void *ctx, const struct s3_object *object, struct err *err), void *ctx, struct err *err);

/* HeadObject with checksum mode on. Strings of `out` go to the arena. Gateways that know no HEAD are asked for one
 * byte.
 */
int s3_head(struct s3 *s3, const char *key, const char *version_id, struct arena *a, struct s3_object *out,
            struct err *err);

/* What a declared source means now: sorted by path, checked for F1–F3, filtered, partitioned. A million objects take
 * about 40 MiB, so an object is handed out one at a time. */
struct s3_resolution {
    struct arena *arena;
    size_t object_count;
    const char **folders; /* sorted; zero-byte "x/" markers: folders to create, without the slash */
    size_t folder_count;
    bool single;                            /* one exact object: may be mounted as a file */
    const char *endpoint, *bucket, *region; /* as found, before mirrors; bucket "" where the host is the bucket */
    uint64_t total_bytes;                   /* of known sizes */
    const char **warnings;
    size_t warning_count;
    /* For s3_resolution_get(): */
    struct s3_objects *objects; /* as listed */
    struct s3_object *looked;   /* instead, where each was looked at by name */
    size_t base_n;              /* bytes of a listed key that stand before its path */
};
struct s3_resolve_opts {
    uint32_t partition_index, partition_count; /* 0, 0: whole */
    /* From a run record: exactly these objects in exactly these versions, without asking what is there now. An object
     * whose version is gone then fails when it is fetched (CHANGED, NOTFOUND). */
    const struct pin *pins;
    size_t pin_count; /* 0: resolve */
};
/* Errors: NOTFOUND (with near misses), DENIED, REFUSED (keys that may not become paths), UNSUPPORTED (Glacier), … */
int s3_resolve(struct s3 *s3, const struct source_s3 *src, const struct s3_resolve_opts *opts,
               struct s3_resolution **out, struct err *err);
void s3_resolution_free(struct s3_resolution *r);

/* Object `i` in the order of paths. Its strings are borrowed until the next get on this resolution: one thread at a
 * time. Cheap in order, a few key lengths of work at random. */
void s3_resolution_get(struct s3_resolution *r, size_t i, struct s3_object *out);

/* Feeding xfer: a source over one object, whose strings are copied. The context is owned by the caller until `done`.
 * judge() compares ETags (If-Match on every range), learns x-amz-checksum-*, maps S3 error bodies to messages (which
 * credentials, which action, what to try), corrects region and clock once. s3_fetch_new() may wait for
 * credentials. */
struct s3_fetch;
int s3_fetch_new(struct s3_fetch **out, struct s3 *s3, const struct s3_object *object, struct err *err);

/* Ranges of an object state no checksum of the whole; a HEAD does, and for composite checksums GetObjectAttributes
 * states those of the parts. Worth its while before a large object is moved: blocks; does nothing where a digest is
 * known or the object is below S3_LOOK_BYTES. What it finds is in s3_fetch_learned()->want, and given to xfer by
 * judge(). */
#define S3_LOOK_BYTES ((uint64_t)64 << 20)
int s3_fetch_look(struct s3_fetch *f, struct err *err);

void s3_fetch_head_only(struct s3_fetch *f); /* sign for HEAD; together with xfer_get.head_only */
void s3_fetch_free(struct s3_fetch *f);
extern const struct xfer_source s3_xfer_source; /* source_ctx: struct s3_fetch * */

/* What the judged answers taught about the object (ETag, version, digests, size). Borrowed from `f`; valid in and after
 * done(). */
const struct s3_object *s3_fetch_learned(const struct s3_fetch *f);

/* A URL that lets its holder make this one request until it expires: 1 to 604,800 seconds. `query` is encoded
 * already. */
int s3_presign(struct s3 *s3, const char *method, const char *key, struct span query, uint32_t expires_s,
               struct buf *url, struct err *err);
/* Likewise, to fetch an object. */
int s3_presign_get(struct s3 *s3, const char *key, const char *version_id, uint32_t expires_s, struct buf *url,
                   struct err *err);

/* The endpoint (without the bucket) and region that requests go to, as far as known now; before mirrors. */
#define S3_REGION_NAME_MAX 40
void s3_where(struct s3 *s3, struct buf *endpoint, char region[S3_REGION_NAME_MAX]);

/* Where the object is, for cache identities and records: "<endpoint>/<bucket>/<key>" with mirrors applied. */
void s3_location(struct s3 *s3, const char *key, struct buf *out);

#endif
