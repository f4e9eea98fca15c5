/* archive, inside: the bytes of a tar stream, unpacked where they are gzip's, with their limits. */
#ifndef BERTH_ARCHIVE_STREAM_PRIV_H
#define BERTH_ARCHIVE_STREAM_PRIV_H

#include "archive/archive.h"

#define STREAM_MAGIC_BYTES   6
#define STREAM_RATIO_FROM    ((uint64_t)64 << 20) /* unpacked bytes from which on the ratio counts */
#define STREAM_DEFAULT_RATIO 1000

struct stream {
    archive_read_fn read;
    void *ctx;
    const struct cancel *cancel;
    uint32_t max_ratio;
    struct gunzip *gunzip; /* NULL: plain */
    uint64_t packed, unpacked;
    uint8_t head[STREAM_MAGIC_BYTES];
    size_t head_n, head_at; /* the head was read to look at it, and is given out again */
};

/* Looks at the first bytes. ERR_UNSUPPORTED for other compressions, by name. `s` must stay where it is. */
int stream_init(struct stream *s, archive_read_fn read, void *ctx, const struct archive_unpack_opts *opts,
                struct err *err);
void stream_release(struct stream *s);

/* Like archive_read_fn. ERR_LIMIT: beyond the ratio; ERR_CANCELLED. */
int64_t stream_read(struct stream *s, void *p, size_t max, struct err *err);

#endif
