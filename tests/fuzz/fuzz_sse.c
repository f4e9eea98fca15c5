/* Server-sent events from a hostile server. Properties: the events are the same however the bytes are cut; data and
 * names stay within their bounds; no event has an id with a NUL or a line break in it; and after a connection is made
 * anew, what comes is read as from its beginning: nothing of half an event is left but the last whole one's id. */
#include "api/sse.h"

#include <stdint.h>
#include <stdlib.h>

static void require(bool ok)
{
    if (!ok)
        __builtin_trap();
}

struct seen {
    struct buf all, without_ids;
    char last_id[SSE_ID_MAX + 1];
};

static int note(void *ctx, const struct api_event *event, struct err *err)
{
    struct seen *s = ctx;
    (void)err;
    require(event->data.n <= SSE_DATA_MAX && strlen(event->id) <= SSE_ID_MAX && strlen(event->event) <= SSE_ID_MAX);
    require(!strpbrk(event->id, "\r\n") && !strpbrk(event->event, "\r\n"));
    strcpy(s->last_id, event->id);
    buf_addf(&s->all, "<%s|%s|", event->event, event->id);
    buf_addf(&s->without_ids, "<%s|", event->event);
    buf_add_span(&s->all, event->data);
    buf_add_span(&s->without_ids, event->data);
    buf_addc(&s->all, '>');
    buf_addc(&s->without_ids, '>');
    return 0;
}

static void seen_init(struct seen *s)
{
    buf_init(&s->all, (size_t)1 << 26);
    buf_init(&s->without_ids, (size_t)1 << 26);
    s->last_id[0] = '\0';
}

static void seen_release(struct seen *s)
{
    buf_release(&s->all);
    buf_release(&s->without_ids);
}

/* In pieces of `step` bytes, after the first one of `first`. */
static int feed(struct sse *s, struct span in, size_t first, size_t step, struct seen *seen)
{
    struct err err = ERR_INIT;
    int rc = 0;
    for (size_t at = 0, n = first; rc == 0 && at < in.n; at += n, n = step)
        rc = sse_feed(s, span_head((struct span){in.p + at, in.n - at}, n), note, seen, &err);
    require(rc == 0 || err.kind == ERR_LIMIT || err.kind == ERR_NOMEM);
    return rc;
}

static void check_cuts(struct span in, size_t first, size_t step)
{
    struct sse a, b;
    struct seen whole, cut;
    sse_init(&a);
    sse_init(&b);
    seen_init(&whole);
    seen_init(&cut);
    int rc = feed(&a, in, in.n + 1, 1, &whole);
    require(rc == feed(&b, in, first, step, &cut));
    require(rc < 0 || span_eq(buf_span(&whole.all), buf_span(&cut.all)));
    seen_release(&whole);
    seen_release(&cut);
    sse_release(&a);
    sse_release(&b);
}

/* A connection that ends after `head`, and another one that brings `tail`. */
static void check_restart(struct span head, struct span tail)
{
    struct sse again, fresh;
    struct seen before, after, only;
    sse_init(&again);
    sse_init(&fresh);
    seen_init(&before);
    seen_init(&after);
    seen_init(&only);
    if (feed(&again, head, head.n + 1, 1, &before) == 0) {
        AUTO_BUF id;
        buf_init(&id, SSE_ID_MAX);
        buf_add_span(&id, buf_span(&again.id));
        sse_restart(&again);
        require(span_eq(buf_span(&again.id), buf_span(&id)));
        int rc = feed(&again, tail, tail.n + 1, 1, &after);
        require(rc == feed(&fresh, tail, tail.n + 1, 1, &only));
        require(rc < 0 || span_eq(buf_span(&after.without_ids), buf_span(&only.without_ids)));
        require(only.last_id[0] == '\0' || str_eq(only.last_id, after.last_id));
    }
    seen_release(&before);
    seen_release(&after);
    seen_release(&only);
    sse_release(&again);
    sse_release(&fresh);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte says where it is cut. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    const struct span in = {(const char *)data + 1, size - 1};
    size_t at = data[0] % (in.n + 1);
    check_cuts(in, 1, 1);
    check_cuts(in, at, 1 + data[0] % 7);
    check_restart(span_head(in, at), (struct span){in.p + at, in.n - at});
    return 0;
}
