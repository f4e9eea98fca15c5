#include "xfer/mirror.h"

#include "xfer/url.h"

/* Both sides as berth writes URLs: lower-case host, no default port, no slash at the end. */
static const char *normal_side(struct arena *a, struct span text, struct err *err)
{
    struct url url;
    AUTO_BUF out;
    buf_init(&out, URL_LENGTH_MAX);
    if (url_parse(a, text, &url, err) < 0)
        return NULL;
    if (url.query) {
        err_set(err, ERR_INVALID, "mirror '%s' has a query", url.host);
        return NULL;
    }
    url_write(&url, &out);
    if (buf_check(&out, "mirror", err) < 0)
        return NULL;
    while (out.n > 0 && out.p[out.n - 1] == '/')
        out.n--;
    const char *side = arena_dup_span(a, buf_span(&out));
    return arena_check(a, err) < 0 ? NULL : side;
}

int mirrors_read(struct arena *a, const char *const *entries, struct mirrors *out, struct err *err)
{
    size_t n = 0;
    while (entries && entries[n])
        n++;
    *out = (struct mirrors){.v = n ? arena_array(a, n, sizeof *out->v) : NULL};
    if (arena_check(a, err) < 0)
        return -1;
    for (; out->n < n; out->n++) {
        struct span from, to;
        if (!span_cut(span_of(entries[out->n]), '=', &from, &to)) {
            err_set(err, ERR_INVALID, "mirror '%.256s' has no '='", entries[out->n]);
            return err_hint(err, "write it as https://from=http://to");
        }
        struct mirror *m = &out->v[out->n];
        m->from = normal_side(a, span_trim(from), err);
        m->to = m->from ? normal_side(a, span_trim(to), err) : NULL;
        if (!m->to)
            return err_wrap(err, "mirrors");
    }
    return 0;
}

bool mirror_starts(struct span url, struct span start)
{
    if (!span_starts(url, start))
        return false;
    struct span rest = {url.p + start.n, url.n - start.n};
    return rest.n == 0 || rest.p[0] == '/' || rest.p[0] == '?';
}

bool mirrors_apply(const struct mirrors *m, struct span url, struct buf *out)
{
    const struct mirror *best = NULL;
    for (size_t i = 0; i < m->n; i++)
        if (mirror_starts(url, span_of(m->v[i].from)) && (!best || strlen(m->v[i].from) > strlen(best->from)))
            best = &m->v[i];
    if (!best)
        return false;
    size_t from = strlen(best->from);
    buf_adds(out, best->to);
    buf_add(out, url.p + from, url.n - from);
    return true;
}
