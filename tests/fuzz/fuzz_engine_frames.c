/* Frames and pull progress of an engine: whatever it sends, in whatever pieces, nothing is invented. */
#include "engine/frames.h"
#include "engine/pull_lines.h"

#include <assert.h>

/* What came out by one way of cutting the input into pieces. */
struct taken {
    size_t bytes[FRAME_ENGINE + 1];
    uint64_t sum; /* depends on every byte, its stream and its order */
    int outcome;
};

static struct taken take_frames(const uint8_t *p, size_t n, size_t step)
{
    struct taken t = {0};
    struct frames f = {0};
    struct err err = ERR_INIT;
    for (size_t at = 0; at < n && t.outcome == 0; at += step) {
        struct span in = {(const char *)p + at, n - at < step ? n - at : step};
        while (in.n > 0 && t.outcome == 0) {
            enum frame_stream stream = FRAME_STDIN;
            struct span data;
            size_t before = in.n;
            t.outcome = frames_next(&f, &in, &stream, &data, &err);
            if (t.outcome < 0)
                break;
            assert(in.n < before && data.n <= before && stream <= FRAME_ENGINE);
            t.bytes[stream] += data.n;
            for (size_t i = 0; i < data.n; i++)
                t.sum = t.sum * 31 + (uint8_t)data.p[i] * 4u + stream;
        }
    }
    if (t.outcome == 0)
        t.outcome = frames_end(&f, &err);
    assert((t.outcome < 0) == err_is_set(&err));
    return t;
}

static void check_frames(const uint8_t *p, size_t n)
{
    struct taken whole = take_frames(p, n, n ? n : 1);
    size_t total = 0;
    for (size_t i = 0; i <= FRAME_ENGINE; i++)
        total += whole.bytes[i];
    assert(total <= n);
    for (size_t step = 1; step <= 9; step += 4) {
        struct taken pieces = take_frames(p, n, step);
        assert(memcmp(pieces.bytes, whole.bytes, sizeof whole.bytes) == 0);
        assert(pieces.sum == whole.sum && pieces.outcome == whole.outcome);
    }
}

static void check_sums(void *ctx, const char *status, uint64_t done, uint64_t total)
{
    (void)ctx;
    assert(status && done <= total);
}

static void check_lines(const uint8_t *p, size_t n)
{
    static struct pull_lines lines;
    struct err err = ERR_INIT;
    pull_lines_init(&lines);
    lines.progress = check_sums;
    int rc = pull_lines_feed(&lines, p, n, &err);
    if (rc == 0)
        rc = pull_lines_end(&lines, &err);
    assert((rc < 0) == err_is_set(&err));
    assert(lines.layer_count <= PULL_LAYERS_MAX);
    pull_lines_release(&lines);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    check_frames(p, n);
    check_lines(p, n);
    return 0;
}
