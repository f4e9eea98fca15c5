/* publish, inside: where the bytes of an archive go: an object in S3, or a local file. Hashed on the way by a thread of
 * its own; visible only after sink_finish(). */
#ifndef BERTH_PUBLISH_SINK_PRIV_H
#define BERTH_PUBLISH_SINK_PRIV_H

#include "publish/publish_priv.h"

#define SINK_NAME_MAX   64
#define SINK_SOURCE_MAX 48

struct sink {
    const struct publish_opts *opts;
    struct digest *sha256;
    struct buf key; /* or path */
    uint64_t bytes;
    /* S3 */
    struct target target;
    struct s3_upload *upload;
    struct storing storing;
    char source[SINK_SOURCE_MAX]; /* the folder, for the note of what is stored */
    /* local */
    int dir_fd, fd;
    char temporary[SINK_NAME_MAX]; /* "": none is there */
};

/* `dir_fd`: what is packed. `most`: bytes that will not be exceeded. Release it in any case. */
int sink_open(struct sink *s, int dir_fd, const struct publish_opts *opts, uint64_t most, struct err *err);
int sink_write(struct sink *s, const void *p, size_t n, struct err *err);
int sink_finish(struct sink *s, struct publish_result *out, struct err *err);
bool sink_outdated(const struct sink *s); /* as s3_upload_outdated() */
void sink_release(struct sink *s);        /* what was not finished vanishes */

#endif
