#include "httpd/route.h"

static bool match_path(const struct httpd_route *route, struct span path, struct route_match *m)
{
    struct span pattern = span_of(route->pattern);
    m->n = 0;
    bool more_pattern = true, more_path = true;
    while (more_pattern && more_path) {
        struct span want, have;
        more_pattern = span_cut(pattern, '/', &want, &pattern);
        more_path = span_cut(path, '/', &have, &path);
        if (want.n > 2 && want.p[0] == '{') {
            if (have.n == 0 || m->n == HTTPD_PARAMS_MAX)
                return false;
            m->names[m->n] = (struct span){want.p + 1, want.n - 2};
            m->values[m->n++] = have;
        } else if (!span_eq(want, have)) {
            return false;
        }
    }
    return more_pattern == more_path;
}

static bool match_method(const struct httpd_route *route, const char *method)
{
    return str_eq(route->method, method) || (str_eq(method, "HEAD") && str_eq(route->method, "GET"));
}

void route_find(const struct httpd_route *routes, size_t n, const char *method, const char *path,
                struct route_match *out)
{
    bool known = false;
    for (size_t i = 0; i < n; i++) {
        struct route_match m = {0};
        if (!match_path(&routes[i], span_of(path), &m))
            continue;
        known = true;
        if (match_method(&routes[i], method)) {
            *out = m;
            out->route = &routes[i];
            out->path_known = true;
            return;
        }
    }
    *out = (struct route_match){.path_known = known};
}

void route_allowed(const struct httpd_route *routes, size_t n, const char *path, struct buf *out)
{
    struct route_match m;
    for (size_t i = 0; i < n; i++) {
        if (!match_path(&routes[i], span_of(path), &m))
            continue;
        buf_addf(out, "%s%s", out->n ? ", " : "", routes[i].method);
        if (str_eq(routes[i].method, "GET"))
            buf_adds(out, ", HEAD");
    }
}
