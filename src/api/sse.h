/* sse: server-sent events out of bytes (HTML standard, 9.2.6). Pure. */
#ifndef BERTH_API_SSE_H
#define BERTH_API_SSE_H

#include "api/api.h"

#define SSE_LINE_MAX ((size_t)1 << 20)
#define SSE_DATA_MAX ((size_t)4 << 20)
#define SSE_ID_MAX   ((size_t)1024)

struct sse {
    struct buf line, data, event;
    struct buf id;      /* of the last event that was whole: where a new connection goes on from */
    struct buf next_id; /* of the one that is coming */
    bool after_cr;      /* a LF now belongs to the line that ended */
    bool at_start;      /* a byte order mark may follow */
    bool has_data;
    uint64_t retry_ms; /* what the server asks for; 0: nothing */
};
void sse_init(struct sse *s);
void sse_release(struct sse *s);
/* A new connection: half an event is forgotten, the last id stays. */
void sse_restart(struct sse *s);
/* Calls `each` for every event that is whole now; 1 or -1 from it ends and is returned. ERR_LIMIT: a line or an event
 * above the bounds. */
int sse_feed(struct sse *s, struct span bytes, int (*each)(void *ctx, const struct api_event *event, struct err *err),
             void *ctx, struct err *err);

#endif
