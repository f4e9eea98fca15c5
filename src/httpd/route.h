/* route: which route a method and a path belong to, and what percent-encoding means. Pure. */
#ifndef BERTH_HTTPD_ROUTE_H
#define BERTH_HTTPD_ROUTE_H

#include "base/str.h"
#include "httpd/httpd.h"

struct route_match {
    const struct httpd_route *route; /* NULL: none */
    bool path_known;                 /* another method would do */
    struct span names[HTTPD_PARAMS_MAX];
    struct span values[HTTPD_PARAMS_MAX]; /* of the path */
    size_t n;
};

void route_find(const struct httpd_route *routes, size_t n, const char *method, const char *path,
                struct route_match *out);
/* "GET, HEAD, PUT" for the routes of this path. */
void route_allowed(const struct httpd_route *routes, size_t n, const char *path, struct buf *out);

/* Decode %XX in place; the new length. What is no escape stays, and so does %00: the rest of a path or a value would
 * vanish behind a NUL, and "a%00b" must not pass for "a". */
size_t route_unescape(char *text);

#endif
