/* Whatever the path, decoding never lengthens it nor makes a NUL, and a match is the path: its pattern with the values
 * put in gives the path again. What no method reaches has no method allowed. */
#include "httpd/route.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

#define PATH_MAX_BYTES 4096

static const struct httpd_route routes[] = {
    {.method = "GET", .pattern = "/"},
    {.method = "GET", .pattern = "/a/{x}"},
    {.method = "PUT", .pattern = "/a/{x}"},
    {.method = "GET", .pattern = "/a/{x}/b/{y}"},
    {.method = "GET", .pattern = "/{a}/{b}/{c}/{d}/{five}"}, /* one more than a match holds: never found */
    {.method = "GET", .pattern = "/f/{x}/*"},
    {.method = "POST", .pattern = "/{x}"},
};

static void expect(bool holds)
{
    if (!holds)
        abort();
}

static void expect_rejoined(const struct route_match *m, struct span path)
{
    struct buf joined;
    buf_init(&joined, 2 * PATH_MAX_BYTES);
    struct span rest = span_of(m->route->pattern), part;
    size_t used = 0;
    for (bool more = true, first = true; more; first = false) {
        more = span_cut(rest, '/', &part, &rest);
        if (!first)
            buf_addc(&joined, '/');
        bool star = !more && span_eq(part, SPAN_LIT("*"));
        if (star || (part.n > 2 && part.p[0] == '{')) {
            expect(used < m->n &&
                   (star || (m->values[used].n > 0 && !memchr(m->values[used].p, '/', m->values[used].n))));
            part = m->values[used++];
        }
        buf_add_span(&joined, part);
    }
    expect(used == m->n && span_eq(buf_span(&joined), path));
    buf_release(&joined);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const char *const methods[] = {"GET", "HEAD", "PUT", "POST", "DELETE"};
    char path[PATH_MAX_BYTES + 1];
    if (n == 0 || n > PATH_MAX_BYTES || memchr(p, 0, n))
        return 0;
    memcpy(path, p, n);
    path[n] = 0;
    size_t length = route_unescape(path);
    expect(length <= n && strlen(path) == length);

    struct buf allowed;
    buf_init(&allowed, 1024);
    route_allowed(routes, ARRAY_LEN(routes), path, &allowed);
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        struct route_match m;
        route_find(routes, ARRAY_LEN(routes), methods[i], path, &m);
        expect(m.path_known == (allowed.n > 0));
        expect(!m.route == !strstr(buf_str(&allowed), methods[i]));
        if (m.route)
            expect_rejoined(&m, (struct span){path, length});
    }
    buf_release(&allowed);
    return 0;
}
