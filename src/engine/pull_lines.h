/* pull_lines: the progress of a pull, one JSON object a line, as the engine's POST /images/create answers.
 *
 * Podman reports failures inside the stream after a status of 200, so every line is read. Pure; bounded: a line holds
 * PULL_LINE_MAX bytes, and PULL_LAYERS_MAX layers are counted (more go unseen in the sums, not in the outcome). */
#ifndef BERTH_ENGINE_PULL_LINES_H
#define BERTH_ENGINE_PULL_LINES_H

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

#define PULL_LINE_MAX   ((size_t)64 << 10)
#define PULL_LAYERS_MAX 256
#define PULL_LAYER_ID   72

struct pull_layer {
    char id[PULL_LAYER_ID];
    uint64_t done_bytes, total_bytes;
};

struct pull_lines {
    struct buf line;
    struct pull_layer layers[PULL_LAYERS_MAX];
    size_t layer_count;
    bool failed;
    char failure[ERR_TEXT_MAX / 2]; /* the engine's words, of the first failure */
    void (*progress)(void *ctx, const char *status, uint64_t done_bytes, uint64_t total_bytes); /* may be NULL */
    void *ctx;
};

void pull_lines_init(struct pull_lines *p);
void pull_lines_release(struct pull_lines *p);

/* ERR_PROTOCOL for a line that is too long or is not JSON. A failure that a line reports is not an error of this call:
 * it is noted, and the rest is still read. */
int pull_lines_feed(struct pull_lines *p, const void *bytes, size_t n, struct err *err);
int pull_lines_end(struct pull_lines *p, struct err *err); /* a last line without line end */

/* What kind of error a registry's refusal is, told by the engine's words, which is all there is. */
enum err_kind pull_failure_kind(const char *words);

#endif
