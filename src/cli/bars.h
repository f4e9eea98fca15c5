/* bars: the text of progress bars and of progress lines. Pure: figures in, text out. */
#ifndef BERTH_CLI_BARS_H
#define BERTH_CLI_BARS_H

#include "base/buf.h"
#include "stage/stage.h"

/* Bytes per second over the last seconds, smoothed. */
struct rate {
    uint64_t last_bytes, last_ms;
    double per_second;
    bool started;
};
void rate_add(struct rate *r, uint64_t bytes, uint64_t now_ms);
/* Milliseconds until `left` bytes are here; UINT64_MAX where nobody can say. */
uint64_t rate_eta_ms(const struct rate *r, uint64_t left);

/* "label  ████░░░░  62 %  1.2/2.0 GiB  3/5 files  410 MiB/s  2s left" cut to `width`. */
void bar_line(const char *label, const struct stage_progress *p, const struct rate *rate, unsigned width, bool colour,
              struct buf *out);
/* The same as a sober line without a bar. */
void progress_line(const char *label, const struct stage_progress *p, const struct rate *rate, struct buf *out);
void progress_sum(struct stage_progress *sum, const struct stage_progress *p);

#endif
