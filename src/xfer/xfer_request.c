/* From a unit to a request on the wire: what the source says, where an earlier redirect led, the range. */
#include "xfer/http1.h"
#include "xfer/xfer_priv.h"

#include <stdlib.h>

/* Headers that are the engine's own, whoever else sets them. */
static bool is_engines_own(struct span name)
{
    static const char *const own[] = {
        "host", "range", "connection", "user-agent", "accept-encoding", "content-length", "transfer-encoding"};
    for (size_t i = 0; i < ARRAY_LEN(own); i++) {
        if (span_eq_nocase(name, span_of(own[i])))
            return true;
    }
    return false;
}

/* Copy the source's header lines, without the engine's own and, once another origin is asked, without those that say
 * who is asking. */
static int copy_headers(struct exchange *ex, struct err *err)
{
    struct span rest = buf_span(&ex->req.headers);
    if (http1_check_lines(rest, err) < 0)
        return -1;
    while (rest.n > 0) {
        const char *lf = memchr(rest.p, '\n', rest.n);
        struct span line = {rest.p, lf ? (size_t)(lf + 1 - rest.p) : rest.n}, name, value;
        span_cut(line, ':', &name, &value);
        if (!is_engines_own(name) && !(ex->bound_dropped && xfer_header_is_bound(name)))
            buf_add_span(&ex->lines, line);
        rest.p += line.n;
        rest.n -= line.n;
    }
    return 0;
}

static void add_range(struct exchange *ex)
{
    uint64_t first = ex->unit.offset + ex->got, last = ex->unit.offset + ex->unit.length - 1;
    if (!ex->whole)
        buf_addf(&ex->lines, "Range: bytes=%llu-%llu\r\n", (unsigned long long)first, (unsigned long long)last);
}

/* Everything that depends on ex->url and the headers. */
static int finish_request(struct exchange *ex, struct err *err)
{
    const struct xfer_policy *policy = ex->file->rec->policy;
    if (xfer_check_url(policy, &ex->url, err) < 0)
        return -1;
    buf_reset(&ex->url_text);
    buf_reset(&ex->authority);
    buf_reset(&ex->lines);
    url_write(&ex->url, &ex->url_text);
    url_authority(&ex->url, &ex->authority);
    if (copy_headers(ex, err) < 0)
        return -1;
    add_range(ex);
    if (buf_check(&ex->url_text, "URL", err) < 0 || buf_check(&ex->authority, "host", err) < 0 ||
        buf_check(&ex->lines, "request headers", err) < 0)
        return -1;
    size_t root = strlen(ex->url.scheme) + 3 + ex->authority.n;
    ex->wire = (struct lane_request){.method = ex->file->get.head_only ? "HEAD" : "GET",
                                     .url = &ex->url,
                                     .url_text = buf_span(&ex->url_text),
                                     .target = {ex->url_text.p + root, ex->url_text.n - root},
                                     .authority = buf_span(&ex->authority),
                                     .headers = buf_span(&ex->lines)};
    return 0;
}

static int fresh_arena(struct exchange *ex, struct err *err)
{
    arena_free(ex->arena);
    ex->arena = arena_new(0, err);
    return ex->arena ? 0 : -1;
}

/* Ask the source; credentials may have been refreshed or a redirect learned since the last time. */
static int ask_source(struct exchange *ex, struct err *err)
{
    struct xfer_file *f = ex->file;
    uint64_t offset = ex->whole ? 0 : ex->unit.offset + ex->got;
    uint64_t length = ex->whole ? XFER_WHOLE : ex->unit.length - ex->got;
    struct url from_source;
    buf_reset(&ex->req.url);
    buf_reset(&ex->req.headers);
    ex->req.keep_redirects = false;
    pthread_mutex_lock(&f->mu);
    ex->auth_epoch = f->auth_epoch;
    int rc = f->get.source->request(f->get.source_ctx, offset, length, &ex->req, err);
    ex->used_moved = rc == 0 && f->moved_to != NULL;
    ex->bound_dropped = ex->used_moved && f->moved_away;
    if (rc == 0)
        rc = ex->used_moved ? url_parse(ex->arena, span_of(f->moved_to), &from_source, err)
                            : url_parse(ex->arena, buf_span(&ex->req.url), &from_source, err);
    pthread_mutex_unlock(&f->mu);
    if (rc < 0 || buf_check(&ex->req.headers, "request headers", err) < 0 || buf_check(&ex->req.url, "URL", err) < 0)
        return -1;
    ex->url = from_source;
    return 0;
}

int request_build(struct exchange *ex, struct err *err)
{
    ex->whole = ex->unit.length == SCHED_WHOLE || ex->unit.length == 0 ||
                (ex->unit.offset == 0 && ex->got == 0 && ex->unit.length == ex->file->get.size);
    ex->hops = 0;
    if (fresh_arena(ex, err) < 0 || ask_source(ex, err) < 0)
        return -1;
    return finish_request(ex, err);
}

int request_follow(struct exchange *ex, struct err *err)
{
    struct xfer_redirect to;
    if (xfer_redirect_decide(ex->arena, ex->file->rec->policy, ex->wire.method, &ex->url, ex->hops, &ex->resp, &to,
                             err) < 0)
        return -1;
    if (!to.follow)
        return err_set(err, ERR_PROTOCOL, "HTTP %d without a usable Location", ex->resp.status);
    ex->hops++;
    ex->url = to.to;
    ex->bound_dropped = ex->bound_dropped || to.other_origin;
    return finish_request(ex, err);
}
