/* publish, inside. */
#ifndef BERTH_PUBLISH_PUBLISH_PRIV_H
#define BERTH_PUBLISH_PUBLISH_PRIV_H

#include "digest/digest.h"
#include "publish/publish.h"
#include "s3/upload.h"

#define PUBLISH_MANIFEST "manifest.json"

/* A client for the publisher's bucket, and what it stands on. */
struct target {
    struct creds *creds;
    struct s3 *s3;
};

/* For the callbacks of one object's upload. */
struct storing {
    const struct publish_opts *opts;
    const struct target *target;
    const char *key;
};
int storing_begun(void *ctx, const char *upload_id, struct err *err); /* ctx: struct storing */
int storing_commit(void *ctx, struct err *err);
int target_open(struct target *t, const struct publish_opts *opts, struct err *err);
void target_release(struct target *t);
struct s3_put_opts target_put_opts(const struct publisher *to);

/* Fills in bucket, endpoint, region and version from what the server took. */
int target_describe(const struct target *t, const struct publish_opts *opts, const char *key,
                    const struct s3_stored *stored, struct publish_result *out, struct err *err);

int publish_gzip(int dir_fd, const struct publish_opts *opts, struct publish_result *out, struct err *err);
int publish_plain(int dir_fd, const struct publish_opts *opts, struct publish_result *out, struct err *err);

/* "left out …" for the first PUBLISH_WARNINGS_MAX; the rest is counted. */
#define PUBLISH_WARNINGS_MAX 20
struct odd_ones {
    const struct publish_opts *opts;
    unsigned n;
};
void odd_ones_tell(void *ctx, const char *path, const char *why); /* ctx: struct odd_ones */
void odd_ones_end(const struct odd_ones *o);

#endif
