/* One archive: folder → tar → gzip → where it is kept, as one stream. Equal folders give equal streams: one that a
 * crash broke off is made again from its beginning, and only what is missing of it is sent. */
#include "publish/sink_priv.h"

#include "base/log.h"

struct stream {
    const struct publish_opts *opts;
    struct sink sink;
    struct gzip *gzip;
    struct odd_ones odd;
    uint64_t total_bytes;
};

static int to_sink(void *ctx, const void *p, size_t n, struct err *err)
{
    struct stream *s = ctx;
    return sink_write(&s->sink, p, n, err);
}

static int to_gzip(void *ctx, const void *p, size_t n, struct err *err)
{
    struct stream *s = ctx;
    return gzip_write(s->gzip, p, n, err);
}

static void on_progress(void *ctx, uint64_t bytes)
{
    const struct stream *s = ctx;
    if (s->opts->progress)
        s->opts->progress(s->opts->ctx, bytes, s->total_bytes);
}

static void on_odd(void *ctx, const char *path, const char *why)
{
    struct stream *s = ctx;
    odd_ones_tell(&s->odd, path, why);
}

static int pour(struct stream *s, int dir_fd, const struct archive_pack_opts *pack, struct publish_result *out,
                struct err *err)
{
    if (gzip_open(&s->gzip, s->opts->threads, to_sink, s, err) < 0)
        return -1;
    int rc = archive_pack(dir_fd, to_gzip, s, pack, &out->totals, err);
    if (rc == 0)
        rc = gzip_finish(s->gzip, err);
    gzip_free(s->gzip);
    odd_ones_end(&s->odd);
    return rc;
}

static int attempt(struct stream *s, int dir_fd, const struct archive_pack_opts *pack, uint64_t tar_bytes,
                   struct publish_result *out, struct err *err)
{
    s->odd = (struct odd_ones){.opts = s->opts};
    int rc = sink_open(&s->sink, dir_fd, s->opts, gzip_bound(tar_bytes), err);
    if (rc == 0)
        rc = pour(s, dir_fd, pack, out, err);
    if (rc == 0)
        rc = sink_finish(&s->sink, out, err);
    bool again = rc < 0 && sink_outdated(&s->sink);
    sink_release(&s->sink);
    return again ? 1 : rc;
}

int publish_gzip(int dir_fd, const struct publish_opts *opts, struct publish_result *out, struct err *err)
{
    struct stream s = {.opts = opts};
    const struct archive_pack_opts pack = {.max_bytes = opts->max_bytes,
                                           .max_entries = opts->max_entries,
                                           .cancel = opts->cancel,
                                           .odd = on_odd,
                                           .progress = on_progress,
                                           .ctx = &s};
    uint64_t tar_bytes = 0;
    struct err why = ERR_INIT;
    if (archive_measure(dir_fd, &pack, &tar_bytes, &out->totals, err) < 0)
        return -1;
    s.total_bytes = out->totals.bytes;
    int rc = attempt(&s, dir_fd, &pack, tar_bytes, out, &why);
    if (rc == 1) { /* what a crash left is gone now */
        log_info("publish", "beginning anew (reason=\"%.512s\")", why.text);
        err_clear(&why);
        rc = attempt(&s, dir_fd, &pack, tar_bytes, out, &why);
    }
    return rc == 0 ? 0 : err_move(err, &why);
}
