/* managed: results stored by a grant (s3/grant.h), for who has no credentials: publisher s3managed.
 *
 * The archive is the one that publish_folder() makes. In parts it goes up as it is made. One PUT must know size and
 * checksum in advance: the folder is packed twice, first only to measure, since equal folders give equal archives; it
 * takes no disk and no memory to speak of, only the time. */
#ifndef BERTH_PUBLISH_MANAGED_H
#define BERTH_PUBLISH_MANAGED_H

#include "publish/publish.h"
#include "s3/presigned_put.h"

/* Of `opts`, `to`, `access`, `names` and `begun` are not used. `more` is s3_granted_opts' and gets opts->ctx; NULL is
 * fine. `commit` is called before the request that makes the result appear: the only one, or Complete.
 *
 * `out` is what the grant says of the result, or kind PUBLISH_S3MANAGED and `path` the URL without its query. Errors
 * are those of presigned_put.h and of archive_pack(). */
int publish_by_grant(int dir_fd, const struct s3_grant *grant, const struct publish_opts *opts,
                     int (*more)(void *ctx, enum s3_grant_for what, unsigned part, struct buf *url, struct err *err),
                     struct publish_result *out, struct err *err);

#endif
