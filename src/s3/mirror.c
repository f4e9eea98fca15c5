#include "s3/mirror.h"

#include "base/log.h"

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

/* "https://h/a" starts "https://h/a" and "https://h/a/b", not "https://h/ab". */
static bool starts_at_segment(struct span text, struct span start)
{
    if (!span_starts(text, start))
        return false;
    struct span rest = {text.p + start.n, text.n - start.n};
    return rest.n == 0 || span_starts(rest, SPAN_LIT("/"));
}

static const struct mirror *longest(const struct mirrors *m, struct span front)
{
    const struct mirror *best = NULL;
    for (size_t i = 0; i < m->n; i++)
        if (starts_at_segment(front, span_of(m->v[i].from)) && (!best || strlen(m->v[i].from) > strlen(best->from)))
            best = &m->v[i];
    return best;
}

/* A left side that goes on below the front would split a bucket; it never applies, which should not pass in silence. */
static void warn_too_deep(const struct mirrors *m, struct span front)
{
    for (size_t i = 0; i < m->n; i++)
        if (starts_at_segment(span_of(m->v[i].from), front))
            log_warn("s3", "mirror has no effect: it has to end at the host or the bucket (from=%s bucket=%.*s)",
                     m->v[i].from, SPAN_FMT(front));
}

static bool apply(const struct mirrors *m, struct span front, struct buf *out)
{
    const struct mirror *hit = longest(m, front);
    if (!hit)
        return false;
    size_t from = strlen(hit->from);
    buf_adds(out, hit->to);
    buf_add(out, front.p + from, front.n - from);
    return true;
}

int mirrors_front(const struct mirrors *m, const struct s3_place *p, const char *region, struct buf *out,
                  bool *mirrored, struct err *err)
{
    AUTO_BUF front, path_front;
    buf_init(&front, URL_LENGTH_MAX);
    buf_init(&path_front, URL_LENGTH_MAX);
    place_front(p, region, &front);
    place_path_front(p, region, &path_front);
    if (buf_check(&front, "address", err) < 0 || buf_check(&path_front, "address", err) < 0)
        return -1;
    *mirrored = apply(m, buf_span(&front), out) || apply(m, buf_span(&path_front), out);
    if (!*mirrored) {
        warn_too_deep(m, buf_span(&front));
        buf_add_span(out, buf_span(&front));
    }
    return buf_check(out, "address", err);
}
