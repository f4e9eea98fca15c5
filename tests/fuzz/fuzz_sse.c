/* Server-sent events from a hostile server. Properties: the events are the same however the bytes are cut; data and
 * names stay within their bounds; no event has an id with a NUL or a line break in it. */
#include "api/sse.h"

#include <stdint.h>
#include <stdlib.h>

static void require(bool ok)
{
    if (!ok)
        __builtin_trap();
}

static int note(void *ctx, const struct api_event *event, struct err *err)
{
    struct buf *all = ctx;
    (void)err;
    require(event->data.n <= SSE_DATA_MAX && strlen(event->id) <= SSE_ID_MAX && strlen(event->event) <= SSE_ID_MAX);
    require(!strpbrk(event->id, "\r\n") && !strpbrk(event->event, "\r\n"));
    buf_addf(all, "<%s|%s|", event->event, event->id);
    buf_add_span(all, event->data);
    buf_adds(all, ">");
    return 0;
}

static int feed(struct span in, size_t step, struct buf *all)
{
    struct sse s;
    struct err err = ERR_INIT;
    int rc = 0;
    sse_init(&s);
    for (size_t at = 0; rc == 0 && at < in.n; at += step)
        rc = sse_feed(&s, span_head((struct span){in.p + at, in.n - at}, step), note, all, &err);
    require(rc == 0 || err.kind == ERR_LIMIT || err.kind == ERR_NOMEM);
    sse_release(&s);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct span in = {(const char *)data, size};
    struct buf whole, bytes;
    buf_init(&whole, (size_t)1 << 26);
    buf_init(&bytes, (size_t)1 << 26);
    int a = feed(in, size ? size : 1, &whole), b = feed(in, 1, &bytes);
    require(a == b);
    require(a < 0 || span_eq(buf_span(&whole), buf_span(&bytes)));
    buf_release(&whole);
    buf_release(&bytes);
    return 0;
}
