#include "s3/mirror.h"

#include "base/log.h"

/* A left side that goes on below the front would split a bucket; it never applies, which should not pass in silence. */
static void warn_too_deep(const struct mirrors *m, struct span front)
{
    for (size_t i = 0; i < m->n; i++)
        if (mirror_starts(span_of(m->v[i].from), front))
            log_warn("s3", "mirror has no effect: it has to end at the host or the bucket (from=%s bucket=%.*s)",
                     m->v[i].from, SPAN_FMT(front));
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
    *mirrored = mirrors_apply(m, buf_span(&front), out) || mirrors_apply(m, buf_span(&path_front), out);
    if (!*mirrored) {
        warn_too_deep(m, buf_span(&front));
        buf_add_span(out, buf_span(&front));
    }
    return buf_check(out, "address", err);
}

static int fits(const struct mirrors *m, const struct s3_place *p, bool *out, struct err *err)
{
    AUTO_BUF front, target;
    buf_init(&front, URL_LENGTH_MAX);
    buf_init(&target, URL_LENGTH_MAX);
    place_front(p, "", &front);
    if (buf_check(&front, "address", err) < 0)
        return -1;
    *out = mirrors_apply(m, buf_span(&front), &target);
    return 0;
}

int mirrors_narrow(const struct mirrors *m, struct s3_places *places, struct err *err)
{
    bool fit[S3_PLACES_MAX] = {false}, any = false;
    for (size_t i = 0; i < places->n && places->n > 1 && m->n > 0; i++) {
        if (places->v[i].style != S3_STYLE_PLAIN && fits(m, &places->v[i], &fit[i], err) < 0)
            return -1;
        any |= fit[i];
    }
    size_t kept = 0;
    for (size_t i = 0; i < places->n && any; i++)
        if (fit[i] || places->v[i].style == S3_STYLE_PLAIN)
            places->v[kept++] = places->v[i];
    places->n = any ? kept : places->n;
    return 0;
}
