#include "api/sse.h"

void sse_init(struct sse *s)
{
    *s = (struct sse){.at_start = true};
    buf_init(&s->line, SSE_LINE_MAX);
    buf_init(&s->data, SSE_DATA_MAX);
    buf_init(&s->event, SSE_ID_MAX);
    buf_init(&s->id, SSE_ID_MAX);
    buf_init(&s->next_id, SSE_ID_MAX);
}

void sse_release(struct sse *s)
{
    buf_release(&s->line);
    buf_release(&s->data);
    buf_release(&s->event);
    buf_release(&s->id);
    buf_release(&s->next_id);
}

static void forget_event(struct sse *s)
{
    buf_reset(&s->data);
    buf_reset(&s->event);
    s->has_data = false;
}

static void set(struct buf *b, struct span value)
{
    buf_reset(b);
    buf_add_span(b, value);
}

void sse_restart(struct sse *s)
{
    buf_reset(&s->line);
    forget_event(s);
    set(&s->next_id, buf_span(&s->id));
    s->after_cr = false;
    s->at_start = true;
}

static void take_field(struct sse *s, struct span line)
{
    struct span name, value;
    struct err err = ERR_INIT;
    uint64_t ms = 0;
    span_cut(line, ':', &name, &value);
    if (value.n && value.p[0] == ' ')
        value = (struct span){value.p + 1, value.n - 1};
    if (span_eq(name, SPAN_LIT("data"))) {
        if (s->has_data)
            buf_addc(&s->data, '\n');
        buf_add_span(&s->data, value);
        s->has_data = true;
    } else if (span_eq(name, SPAN_LIT("event"))) {
        set(&s->event, value);
    } else if (span_eq(name, SPAN_LIT("id")) && !memchr(value.p ? value.p : "", 0, value.n)) {
        set(&s->next_id, value);
    } else if (span_eq(name, SPAN_LIT("retry")) && span_to_u64(value, &ms, &err) == 0) {
        s->retry_ms = ms;
    }
}

static int end_line(struct sse *s, int (*each)(void *, const struct api_event *, struct err *), void *ctx,
                    struct err *err)
{
    struct span line = buf_span(&s->line);
    if (s->at_start && span_starts(line, SPAN_LIT("\xef\xbb\xbf")))
        line = (struct span){line.p + 3, line.n - 3};
    s->at_start = false;
    int rc = 0;
    if (line.n > 0 && line.p[0] != ':') {
        take_field(s, line);
    } else if (line.n == 0) {
        set(&s->id, buf_span(&s->next_id));
        if (s->has_data) {
            const struct api_event e = {s->event.n ? buf_str(&s->event) : "message", buf_str(&s->id),
                                        buf_span(&s->data)};
            rc = each(ctx, &e, err);
        }
        forget_event(s);
    }
    buf_reset(&s->line);
    if (buf_check(&s->data, "event", err) < 0 || buf_check(&s->next_id, "event id", err) < 0 ||
        buf_check(&s->id, "event id", err) < 0 || buf_check(&s->event, "event name", err) < 0)
        return -1;
    return rc;
}

int sse_feed(struct sse *s, struct span bytes, int (*each)(void *ctx, const struct api_event *event, struct err *err),
             void *ctx, struct err *err)
{
    for (size_t i = 0; i < bytes.n;) {
        char c = bytes.p[i];
        if (c == '\n' && s->after_cr) {
            s->after_cr = false;
            i++;
            continue;
        }
        s->after_cr = false;
        if (c == '\n' || c == '\r') {
            s->after_cr = c == '\r';
            i++;
            int rc = end_line(s, each, ctx, err);
            if (rc != 0)
                return rc;
            continue;
        }
        size_t n = i;
        while (n < bytes.n && bytes.p[n] != '\n' && bytes.p[n] != '\r')
            n++;
        buf_add(&s->line, bytes.p + i, n - i);
        if (buf_check(&s->line, "line of an event stream", err) < 0)
            return -1;
        i = n;
    }
    return 0;
}
