#include "base/path.h"

/* Why a component may not be used, or NULL. */
static const char *component_fault(struct span c)
{
    if (c.n == 0)
        return "has an empty component";
    if (span_eq(c, SPAN_LIT(".")) || span_eq(c, SPAN_LIT("..")))
        return "has a \".\" or \"..\" component";
    if (c.n > PATH_COMPONENT_MAX)
        return "has a component above 255 bytes";
    return NULL;
}

static const char *relative_fault(struct span path)
{
    if (path.n == 0)
        return "is empty";
    if (path.n > PATH_SAFE_MAX)
        return "is too long";
    if (memchr(path.p, '\0', path.n))
        return "has a NUL byte";
    if (path.p[0] == '/')
        return "is absolute";
    struct span rest = path, component;
    bool more;
    do {
        more = span_cut(rest, '/', &component, &rest);
        const char *fault = component_fault(component);
        if (fault)
            return fault;
    } while (more);
    return NULL;
}

int path_check_relative(struct span path, struct err *err)
{
    const char *fault = relative_fault(path);
    if (!fault)
        return 0;
    err_set(err, ERR_REFUSED, "the path \"%.*s\" %s", SPAN_FMT(span_head(path, 256)), fault);
    return err_one_line(err);
}

static int bad_target(struct span target, const char *fault, struct err *err)
{
    err_set(err, ERR_INVALID, "the target \"%.*s\" %s", SPAN_FMT(span_head(target, 256)), fault);
    return err_hint(err, "name an absolute folder or file inside the container, such as /data");
}

/* Cut the last component off "/a/b", which leaves "/a"; "/a" leaves "". */
static void drop_last(struct buf *b)
{
    while (b->n > 0 && b->p[b->n - 1] != '/')
        b->n--;
    if (b->n > 0)
        b->n--;
    if (b->p)
        b->p[b->n] = '\0';
}

static bool is_kernel_folder(struct span path)
{
    static const char *const reserved[] = {"/proc", "/sys", "/dev"};
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++)
        if (span_eq(path, span_of(reserved[i])) || path_is_below(path, span_of(reserved[i])))
            return true;
    return false;
}

int path_normalise_target(struct span target, struct buf *out, struct err *err)
{
    if (target.n == 0 || target.p[0] != '/')
        return bad_target(target, "is not an absolute path", err);
    if (target.n > PATH_SAFE_MAX)
        return bad_target(target, "is too long", err);
    if (memchr(target.p, '\0', target.n))
        return bad_target(target, "has a NUL byte", err);
    buf_reset(out);
    struct span rest = target, component;
    bool more;
    do {
        more = span_cut(rest, '/', &component, &rest);
        if (component.n > PATH_COMPONENT_MAX)
            return bad_target(target, "has a component above 255 bytes", err);
        if (span_eq(component, SPAN_LIT(".."))) {
            drop_last(out);
        } else if (component.n > 0 && !span_eq(component, SPAN_LIT("."))) {
            buf_addc(out, '/');
            buf_add_span(out, component);
        }
    } while (more);
    if (buf_check(out, "the target", err) < 0)
        return -1;
    if (out->n == 0)
        return bad_target(target, "is the container's root folder", err);
    if (is_kernel_folder(buf_span(out)))
        return bad_target(target, "lies in /proc, /sys or /dev, which belong to the kernel", err);
    return 0;
}

struct span path_basename(struct span path)
{
    for (size_t i = path.n; i > 0; i--)
        if (path.p[i - 1] == '/')
            return (struct span){path.p + i, path.n - i};
    return path;
}

bool path_is_below(struct span path, struct span dir)
{
    while (dir.n > 0 && dir.p[dir.n - 1] == '/')
        dir.n--;
    return span_starts(path, dir) && path.n > dir.n + 1 && path.p[dir.n] == '/';
}

void path_link_text(const char *path, const char *to, struct buf *out)
{
    size_t common = 0;
    for (size_t i = 0; path[i] && path[i] == to[i]; i++)
        if (path[i] == '/')
            common = i + 1;
    for (const char *p = path + common; *p; p++)
        if (*p == '/')
            buf_adds(out, "../");
    buf_adds(out, to + common);
}
