#include "engine/frames.h"

static int read_head(struct frames *f, struct err *err)
{
    const uint8_t *h = f->head;
    if (h[0] > FRAME_ENGINE || h[1] != 0 || h[2] != 0 || h[3] != 0)
        return err_set(err, ERR_PROTOCOL, "the output stream has a frame that starts %02x%02x%02x%02x", h[0], h[1],
                       h[2], h[3]);
    f->stream = (enum frame_stream)h[0];
    f->left = (uint32_t)h[4] << 24 | (uint32_t)h[5] << 16 | (uint32_t)h[6] << 8 | h[7];
    f->head_n = 0;
    return 0;
}

int frames_next(struct frames *f, struct span *in, enum frame_stream *stream, struct span *data, struct err *err)
{
    *data = (struct span){in->p, 0};
    while (in->n > 0 && f->left == 0) {
        f->head[f->head_n++] = (uint8_t)*in->p;
        in->p++;
        in->n--;
        if (f->head_n == FRAME_HEAD_BYTES && read_head(f, err) < 0)
            return -1;
    }
    size_t n = in->n < f->left ? in->n : f->left;
    *data = (struct span){in->p, n};
    *stream = f->stream;
    in->p += n;
    in->n -= n;
    f->left -= (uint32_t)n;
    return 0;
}

int frames_end(const struct frames *f, struct err *err)
{
    if (f->head_n == 0 && f->left == 0)
        return 0;
    return err_set(err, ERR_TRANSIENT, "the engine's output stream ended within a frame");
}
