#include "archive/name_priv.h"

#include "archive/archive.h"
#include "base/fs.h"

#define LINK_TARGET_MAX 4095 /* PATH_MAX without its NUL */

static bool is_dot(struct span s)
{
    return s.n == 0 || (s.n == 1 && s.p[0] == '.');
}

static bool is_dotdot(struct span s)
{
    return s.n == 2 && s.p[0] == '.' && s.p[1] == '.';
}

static int refuse(struct span raw, const char *why, struct err *err)
{
    return err_set(err, ERR_REFUSED, "the entry \"%.*s\" %s", SPAN_FMT(span_head(raw, 256)), why);
}

int name_clean(struct span raw, unsigned strip, bool folder, char out[PATH_SAFE_MAX + 1], struct err *err)
{
    struct span rest = raw, component;
    size_t n = 0, depth = folder;
    bool more = true;
    if (raw.n == 0)
        return refuse(raw, "has no name", err);
    if (raw.p[0] == '/')
        return refuse(raw, "is absolute", err);
    while (more) {
        more = span_cut(rest, '/', &component, &rest);
        if (is_dot(component))
            continue;
        if (is_dotdot(component))
            return refuse(raw, "has a \"..\" component", err);
        if (strip) {
            strip--;
            continue;
        }
        if (n + component.n + 1 > PATH_SAFE_MAX)
            return refuse(raw, "has too long a path", err);
        if (++depth > FS_WALK_DEPTH_MAX)
            return refuse(raw, "lies too deep", err);
        if (n)
            out[n++] = '/';
        memcpy(out + n, component.p, component.n);
        n += component.n;
    }
    out[n] = '\0';
    return n ? path_check_relative((struct span){out, n}, err) : 0;
}

const char *archive_link_fault(const char *path, struct span target)
{
    if (target.n == 0)
        return "has no target";
    if (target.n > LINK_TARGET_MAX || memchr(target.p, '\0', target.n))
        return "has a target that cannot be";
    if (target.p[0] == '/')
        return "points to an absolute path";

    size_t depth = 0; /* of the folder that holds the link */
    for (const char *p = path; *p; p++)
        depth += *p == '/';
    struct span rest = target, component;
    bool more = true, named = false;
    while (more) {
        more = span_cut(rest, '/', &component, &rest);
        if (is_dot(component))
            continue;
        if (!is_dotdot(component)) {
            named = true;
            continue;
        }
        if (named)
            return "has \"..\" after a name in its target";
        if (depth-- == 0)
            return "points outside of the folder";
    }
    return NULL;
}
