#include "publish/publish.h"

#include "base/clock.h"

#define SUFFIX ".tar.gz"

struct values {
    const struct publish_names *names;
    char date[9], time[7]; /* "20230926", "140530" */
};

static void read_clock(struct values *v)
{
    char text[TIME_MAX]; /* "20230926T140530Z" */
    time_compact(text, v->names->now_ms);
    memcpy(v->date, text, 8);
    memcpy(v->time, text + 9, 6);
}

static const char *value_of(const struct values *v, struct span name)
{
    const struct {
        const char *name, *value;
    } known[] = {
        {"executionID", v->names->execution_id},
        {"jobID", v->names->job_id},
        {"nodeID", v->names->node_id},
        {"date", v->date},
        {"time", v->time},
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (span_eq(name, span_of(known[i].name)))
            return known[i].value;
    return NULL;
}

static int fill_in(const char *pattern, const struct values *v, struct buf *out, struct err *err)
{
    struct span rest = span_of(pattern), before, name;
    while (span_cut(rest, '{', &before, &rest)) {
        buf_add_span(out, before);
        const char *value = span_cut(rest, '}', &name, &rest) ? value_of(v, name) : NULL;
        if (!value)
            return err_set(err, ERR_INVALID, "key '%.256s': unknown placeholder '{%.*s'", pattern,
                           SPAN_FMT(span_head(name, 64)));
        buf_adds(out, value);
    }
    buf_add_span(out, before);
    return 0;
}

int publish_key(const char *pattern, enum publish_encoding encoding, const struct publish_names *names, struct buf *out,
                struct err *err)
{
    struct values v = {.names = names};
    size_t start = out->n;
    read_clock(&v);
    if (fill_in(pattern, &v, out, err) < 0 || buf_check(out, "key", err) < 0)
        return -1;
    struct span key = {out->p + start, out->n - start};
    bool slash = out->n == start || span_ends(key, SPAN_LIT("/"));
    if (encoding == PUBLISH_PLAIN) {
        if (!slash)
            buf_addc(out, '/');
    } else if (slash) {
        buf_addf(out, "%s%s", names->execution_id, SUFFIX);
    } else if (!span_ends(key, SPAN_LIT(SUFFIX))) {
        buf_adds(out, SUFFIX);
    }
    if (buf_check(out, "key", err) < 0)
        return -1;
    if (out->n - start <= PUBLISH_KEY_MAX)
        return 0;
    return err_set(err, ERR_LIMIT, "the key is %zu bytes long; S3 allows %d", out->n - start, PUBLISH_KEY_MAX);
}
