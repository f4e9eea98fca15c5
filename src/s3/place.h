/* place: from what a job file says to endpoint, bucket, key and the URLs of requests. Pure.
 *
 * 1. A known host tells bucket and region itself, in front of the host or as the first segment of the path.
 * 2. `bucket` given: the endpoint is the URL's scheme and host, a leading "/bucket/" of the path is dropped;
 * path-style, unless the host starts with "bucket." (then the path is the key and nothing is dropped).
 * 3. Any other host: the host itself is the bucket, else the first segment is, else the URL is one plain object. These
 *    are tried in that order (see client.c).
 * 4. s3://bucket/key: at AWS bucket.host where the name allows it; at a stated endpoint path-style. */
#ifndef BERTH_S3_PLACE_H
#define BERTH_S3_PLACE_H

#include "base/arena.h"
#include "s3/host.h"
#include "s3/s3.h"
#include "xfer/url.h"

enum s3_style {
    S3_STYLE_PATH,    /* endpoint/bucket/key */
    S3_STYLE_VIRTUAL, /* bucket.endpoint/key */
    S3_STYLE_HOST,    /* endpoint/key: the host is the bucket */
    S3_STYLE_PLAIN,   /* one URL, no listing, never signed */
};

struct s3_place {
    enum s3_style style;
    enum s3_service service;
    struct url endpoint;     /* without the bucket; `path` is "" or what stands before it ("/s3") */
    const char *bucket;      /* "" for HOST and PLAIN */
    const char *key;         /* what the source names, decoded; "": all of it */
    const char *version_id;  /* ?versionId= of the URL; NULL */
    const char *host_region; /* as the host tells it; "" */
    const char *plain_url;   /* PLAIN: as written; may hold a signature */
};

#define S3_PLACES_MAX 3
struct s3_places {
    struct s3_place v[S3_PLACES_MAX];
    size_t n; /* above 1: to be tried in order */
};

struct place_opts {
    enum s3_addressing addressing;
    const char *default_endpoint; /* for s3:// without one; NULL: AWS */
    const char *region;           /* for AWS' endpoint */
};

/* Strings live in the arena. */
int place_find(struct arena *a, const struct source_s3 *src, const struct place_opts *opts, struct s3_places *out,
               struct err *err);

/* What stands before the key in URLs, without a slash at the end. `region` replaces the one of an AWS endpoint's host
 * where it differs. */
void place_front(const struct s3_place *p, const char *region, struct buf *out);

/* Only scheme, host and what stands before the bucket. */
void place_endpoint(const struct s3_place *p, const char *region, struct buf *out);

/* The front in path style, for mirrors that name an endpoint. */
void place_path_front(const struct s3_place *p, const char *region, struct buf *out);

/* Whether a bucket can be a label of a host name under a TLS wildcard certificate. */
bool place_bucket_is_label(const char *bucket);

#endif
