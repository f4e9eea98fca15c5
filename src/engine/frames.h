/* frames: the engine's multiplexed output stream, taken apart.
 *
 * A container without a terminal writes frames: one byte of stream number, three zero bytes, the payload's length as
 * 32 bits big-endian, the payload (Docker Engine API v1.41, "ContainerAttach", stream format). Pure and without
 * buffers: payloads are views of the input, so a frame of 4 GiB costs as much memory as one of a byte. */
#ifndef BERTH_ENGINE_FRAMES_H
#define BERTH_ENGINE_FRAMES_H

#include "base/err.h"
#include "base/str.h"

#include <stdint.h>

#define FRAME_HEAD_BYTES 8

enum frame_stream { FRAME_STDIN, FRAME_STDOUT, FRAME_STDERR, FRAME_ENGINE /* the engine's own error text */ };

/* All zero is the start of a stream. */
struct frames {
    uint8_t head[FRAME_HEAD_BYTES];
    size_t head_n;
    uint32_t left; /* of the payload */
    enum frame_stream stream;
};

/* Take bytes from the front of `in` (which shrinks) and set *data to the next piece of payload of *stream; an empty
 * *data means that more input is needed. ERR_PROTOCOL for what is not a frame. */
int frames_next(struct frames *f, struct span *in, enum frame_stream *stream, struct span *data, struct err *err);

/* The stream ended: ERR_TRANSIENT where that cut a frame in two. */
int frames_end(const struct frames *f, struct err *err);

#endif
