#include "httpd/route.h"

static bool add_param(struct route_match *m, struct span name, struct span value)
{
    if (m->n == HTTPD_PARAMS_MAX)
        return false;
    m->names[m->n] = name;
    m->values[m->n++] = value;
    return true;
}

static bool match_path(const struct httpd_route *route, struct span path, struct route_match *m)
{
    struct span pattern = span_of(route->pattern);
    m->n = 0;
    bool more_pattern = true, more_path = true;
    while (more_pattern && more_path) {
        struct span want, have;
        more_pattern = span_cut(pattern, '/', &want, &pattern);
        if (!more_pattern && span_eq(want, SPAN_LIT("*")))
            return add_param(m, want, path);
        more_path = span_cut(path, '/', &have, &path);
        if (want.n > 2 && want.p[0] == '{') {
            if (have.n == 0 || !add_param(m, (struct span){want.p + 1, want.n - 2}, have))
                return false;
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

static int hex_digit(char c)
{
    return ascii_is_digit(c)                                ? c - '0'
           : ascii_lower(c) >= 'a' && ascii_lower(c) <= 'f' ? ascii_lower(c) - 'a' + 10
                                                            : -1;
}

size_t route_unescape(char *text)
{
    char *out = text;
    for (const char *p = text; *p; p++) {
        int high = *p == '%' ? hex_digit(p[1]) : -1, low = high >= 0 ? hex_digit(p[2]) : -1;
        if (low >= 0 && (high | low) != 0) {
            *out++ = (char)(high << 4 | low);
            p += 2;
        } else {
            *out++ = *p;
        }
    }
    *out = 0;
    return (size_t)(out - text);
}
