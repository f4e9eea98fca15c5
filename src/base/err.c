#include "base/err.h"

#include "base/str.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

static const char *const kind_names[] = {
#define X(name, word) word,
    ERR_KINDS(X)
#undef X
};

const char *err_kind_name(enum err_kind kind)
{
    return (size_t)kind < ARRAY_LEN(kind_names) ? kind_names[kind] : "unknown";
}

/* Control characters and bytes that are not UTF-8 (also a character that the end of the text cut in two) become '?'. */
static void make_printable(char *s)
{
    struct span rest = span_of(s);
    while (rest.n > 0) {
        size_t step = span_utf8_step(rest);
        bool bad = step == 0 || (span_starts_control(rest) && *s != '\n');
        step = step ? step : 1;
        if (bad)
            memset(s, '?', step);
        s += step;
        rest.p += step;
        rest.n -= step;
    }
}

int err_set(struct err *err, enum err_kind kind, const char *fmt, ...)
{
    if (err_is_set(err))
        return -1;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    make_printable(err->text);
    err->hint[0] = '\0';
    err->kind = kind;
    return -1;
}

static enum err_kind kind_of_errno(int e)
{
    switch (e) {
    case ENOENT:
    case ENOTDIR:
        return ERR_NOTFOUND;
    case EACCES:
    case EPERM:
    case EROFS:
        return ERR_DENIED;
    case ENOSPC:
    case EDQUOT:
        return ERR_NOSPACE;
    case ENOMEM:
        return ERR_NOMEM;
    case EBUSY:
        return ERR_BUSY;
    case EEXIST:
        return ERR_EXISTS;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    default:
        return ERR_SYSTEM;
    }
}

int err_sys(struct err *err, const char *fmt, ...)
{
    int saved = errno;
    if (err_is_set(err))
        return -1;
    char what[ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    char reason[128];
    return err_set(err, kind_of_errno(saved), "%s: %s", what, strerror_r(saved, reason, sizeof reason));
}

static void drop_newlines(char *s)
{
    while ((s = strchr(s, '\n')))
        *s = '?';
}

int err_one_line(struct err *err)
{
    drop_newlines(err->text);
    return -1;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
    char what[ERR_TEXT_MAX / 2];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    drop_newlines(what);

    char text[ERR_TEXT_MAX];
    size_t n = strlen(what), kept = strlen(err->text);
    if (kept > sizeof text - n - 3)
        kept = sizeof text - n - 3; /* the front names the place, so the end of the cause gives way */
    memcpy(text, what, n);
    memcpy(text + n, ": ", 2);
    memcpy(text + n + 2, err->text, kept);
    text[n + 2 + kept] = '\0';
    make_printable(text);
    memcpy(err->text, text, n + 2 + kept + 1);
    return -1;
}

int err_hint(struct err *err, const char *fmt, ...)
{
    if (err->hint[0])
        return -1;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->hint, sizeof err->hint, fmt, ap);
    va_end(ap);
    make_printable(err->hint);
    drop_newlines(err->hint);
    return -1;
}

int err_move(struct err *dst, struct err *src)
{
    if (!err_is_set(dst))
        *dst = *src;
    err_clear(src);
    return -1;
}

void err_clear(struct err *err)
{
    err->kind = ERR_NONE;
    err->text[0] = '\0';
    err->hint[0] = '\0';
}
