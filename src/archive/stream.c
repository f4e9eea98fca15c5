#include "archive/stream_priv.h"

#include <string.h>

static const struct {
    const char *name;
    uint8_t n, bytes[STREAM_MAGIC_BYTES];
} other_formats[] = {
    {"xz", 6, {0xfd, '7', 'z', 'X', 'Z', 0}},      {"zstd", 4, {0x28, 0xb5, 0x2f, 0xfd}},
    {"lz4", 4, {0x04, 0x22, 0x4d, 0x18}},          {"zip", 4, {'P', 'K', 3, 4}},
    {"7z", 6, {'7', 'z', 0xbc, 0xaf, 0x27, 0x1c}},
};

/* "BZh", a level, and what a block (or the end) begins with: the first three alone are how a file may be called. */
static bool is_bzip2(const struct stream *s)
{
    return s->head_n == sizeof s->head && memcmp(s->head, "BZh", 3) == 0 && s->head[3] >= '1' && s->head[3] <= '9' &&
           (memcmp(s->head + 4, "1A", 2) == 0 || memcmp(s->head + 4, "\x17r", 2) == 0);
}

static int other_format(const char *name, struct err *err)
{
    err_set(err, ERR_UNSUPPORTED, "the archive is in %s format", name);
    return err_hint(err, "berth unpacks tar, plain or with gzip");
}

/* Straight from the source, behind the head that was looked at. */
static int64_t read_packed(void *ctx, void *p, size_t max, struct err *err)
{
    struct stream *s = ctx;
    if (s->head_at < s->head_n) {
        size_t n = s->head_n - s->head_at < max ? s->head_n - s->head_at : max;
        memcpy(p, s->head + s->head_at, n);
        s->head_at += n;
        return (int64_t)n;
    }
    if (cancel_check(s->cancel, err) < 0)
        return -1;
    int64_t n = s->read(s->ctx, p, max, err);
    if (n < 0)
        return err_is_set(err) ? -1 : err_set(err, ERR_SYSTEM, "reading the archive failed");
    s->packed += (uint64_t)n;
    return n;
}

static int read_head(struct stream *s, struct err *err)
{
    while (s->head_n < sizeof(s->head)) {
        size_t want = sizeof(s->head) - s->head_n;
        s->head_at = s->head_n; /* nothing to give out yet */
        int64_t n = read_packed(s, s->head + s->head_n, want, err);
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        s->head_n += (size_t)n;
    }
    s->head_at = 0;
    return 0;
}

int stream_init(struct stream *s, archive_read_fn read, void *ctx, const struct archive_unpack_opts *opts,
                struct err *err)
{
    *s = (struct stream){
        .read = read,
        .ctx = ctx,
        .cancel = opts->cancel,
        .max_ratio = opts->limits.max_ratio ? opts->limits.max_ratio : STREAM_DEFAULT_RATIO,
    };
    if (read_head(s, err) < 0)
        return -1;
    if (s->head_n >= 2 && s->head[0] == 0x1f && s->head[1] == 0x8b)
        return gunzip_open(&s->gunzip, read_packed, s, err);
    if (is_bzip2(s))
        return other_format("bzip2", err);
    for (size_t i = 0; i < ARRAY_LEN(other_formats); i++)
        if (s->head_n >= other_formats[i].n && memcmp(s->head, other_formats[i].bytes, other_formats[i].n) == 0)
            return other_format(other_formats[i].name, err);
    return 0;
}

void stream_release(struct stream *s)
{
    gunzip_free(s->gunzip);
    s->gunzip = NULL;
}

int64_t stream_read(struct stream *s, void *p, size_t max, struct err *err)
{
    int64_t n = s->gunzip ? gunzip_read(s->gunzip, p, max, err) : read_packed(s, p, max, err);
    if (n <= 0)
        return n;
    s->unpacked += (uint64_t)n;
    if (s->unpacked > STREAM_RATIO_FROM && s->unpacked / s->max_ratio > s->packed) {
        err_set(err, ERR_LIMIT, "the archive unpacks to more than %u times its size", s->max_ratio);
        return err_hint(err, "this is how a decompression bomb looks; raise the ratio limit if it is none");
    }
    return n;
}
