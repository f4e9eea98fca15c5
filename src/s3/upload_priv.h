/* s3, inside: the requests that uploads are made of, and their answers. */
#ifndef BERTH_S3_UPLOAD_PRIV_H
#define BERTH_S3_UPLOAD_PRIV_H

#include "s3/s3_priv.h"
#include "s3/upload.h"

#define ETAG_MAX          256
#define UPLOAD_TRIES      10     /* of a part: with their waits, about half a minute of refusals */
#define COMPLETE_IDLE_MS  600000 /* putting thousands of parts together takes minutes */
#define UPLOAD_ANSWER_MAX ((size_t)4 << 20)

/* ---- sums.c: what lets the server see that a payload arrived as it is ---- */

enum sums_known { SUMS_UNKNOWN, SUMS_CRC32C, SUMS_MD5 };

struct sums {
    char payload[DIGEST_HEX_MAX]; /* for x-amz-content-sha256 */
    char crc32c[16], md5[32];     /* base64; "": not sent */
};

/* Which sums this client's host takes, as far as known. */
enum sums_known sums_known(struct s3 *s3);
void sums_learn(struct s3 *s3, enum sums_known what);

/* Reads the body once. */
int sums_compute(struct s3 *s3, const struct s3_body *body, enum sums_known known, struct sums *out, struct err *err);

/* ---- upload_calls.c ---- */

struct upload_part {
    char etag[ETAG_MAX];
    char crc32c[16]; /* "" where the upload has none */
    uint64_t size;
};

/* `*sums`: what parts are to carry, as the answer tells. */
int upload_create(struct s3 *s3, const char *key, const struct s3_put_opts *opts, char id[S3_UPLOAD_ID_MAX],
                  enum sums_known *sums, struct err *err);
int upload_put_part(struct s3 *s3, const char *key, const char *id, unsigned number, const struct s3_body *body,
                    enum sums_known known, struct upload_part *out, struct err *err);
int upload_complete(struct s3 *s3, const char *key, const char *id, const struct upload_part *parts, size_t n,
                    bool only_new, struct s3_stored *out, struct err *err);

/* ---- upload_answer.c: pure ---- */

/* What is stored of an upload: the parts by their numbers, which begin at 1. */
struct upload_parts {
    struct upload_part *v; /* owned */
    size_t n, room;
};

/* A place for one part more; its number. */
int upload_parts_add(struct upload_parts *parts, unsigned *number, struct err *err);

int upload_answer_created(struct span body, char id[S3_UPLOAD_ID_MAX], struct err *err);
int upload_answer_etag(struct span body, char etag[ETAG_MAX],
                       struct err *err); /* of a completed upload; "": not told */

struct upload_page {
    bool more;
    struct buf next_key, next_id;
};
int upload_answer_page(struct span body, struct upload_page *page,
                       int (*each)(void *ctx, const struct s3_unfinished *upload, struct err *err), void *ctx,
                       struct err *err);

/* The ETag of an object made of these parts: the MD5 of their MD5s and their number. "" where their ETags are none. */
int upload_expected_etag(const struct upload_part *parts, size_t n, char out[ETAG_MAX], struct err *err);

/* The body of CompleteMultipartUpload. */
void upload_write_parts(const struct upload_part *parts, size_t n, struct buf *out);

#endif
