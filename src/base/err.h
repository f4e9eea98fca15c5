/* err: errors are values.
 *
 * A function that can fail takes `struct err *err` last and returns -1 (or NULL) after setting it. The kind decides
 * what happens next (retry, exit code, HTTP status); the text is for a person and names the thing; the hint says what
 * to try. The first error wins: setting an error that is already set changes nothing, so clean-up code cannot hide the
 * cause. `err` is never NULL. No text ever holds a secret. */
#ifndef BERTH_BASE_ERR_H
#define BERTH_BASE_ERR_H

#include "base/attr.h"

#include <stdbool.h>

/* X(name, word): the word is what `--json` and logs show. */
#define ERR_KINDS(X)                                                                                                   \
    X(NONE, "none")                                                                                                    \
    X(USAGE, "usage")             /* the command line is wrong */                                                      \
    X(INVALID, "invalid")         /* a file or value from the user is wrong */                                         \
    X(UNSUPPORTED, "unsupported") /* known, but berth does not do it */                                                \
    X(NOTFOUND, "not_found")                                                                                           \
    X(DENIED, "denied")       /* 401, 403, EACCES */                                                                   \
    X(CHANGED, "changed")     /* the object changed while it was being read */                                         \
    X(CORRUPT, "corrupt")     /* a digest or a size does not match */                                                  \
    X(TRANSIENT, "transient") /* would be worth trying again; the tries are spent */                                   \
    X(TIMEOUT, "timeout")                                                                                              \
    X(CANCELLED, "cancelled")                                                                                          \
    X(NOSPACE, "no_space")                                                                                             \
    X(LIMIT, "limit") /* a stated ceiling was reached */                                                               \
    X(BUSY, "busy")   /* held by somebody else */                                                                      \
    X(EXISTS, "exists")                                                                                                \
    X(PROTOCOL, "protocol") /* the other side broke the rules of its protocol */                                       \
    X(REFUSED, "refused")   /* berth's own policy says no */                                                           \
    X(NOMEM, "no_memory")                                                                                              \
    X(SYSTEM, "system")

enum err_kind {
#define X(name, word) ERR_##name,
    ERR_KINDS(X)
#undef X
};

#define ERR_TEXT_MAX 1536
#define ERR_HINT_MAX 512

struct err {
    enum err_kind kind;
    char text[ERR_TEXT_MAX];
    char hint[ERR_HINT_MAX];
};

#define ERR_INIT                                                                                                       \
    {                                                                                                                  \
        .kind = ERR_NONE                                                                                               \
    }

static inline bool err_is_set(const struct err *err)
{
    return err->kind != ERR_NONE;
}

/* Each of these returns -1, so that `return err_set(…)` reads well. Control characters in the text become '?'. */
int err_set(struct err *err, enum err_kind kind, const char *fmt, ...) ATTR_PRINTF(3, 4);

/* Like err_set, from errno: appends strerror and picks the kind (ENOENT → NOTFOUND, ENOSPC/EDQUOT → NOSPACE, …). */
int err_sys(struct err *err, const char *fmt, ...) ATTR_PRINTF(2, 3);

/* Out of memory. */
static inline int err_nomem(struct err *err)
{
    err_set(err, ERR_NOMEM, "out of memory");
    return -1;
}

/* For a text with names that others chose: its newlines become '?', so that no name forges a line. Returns -1. */
int err_one_line(struct err *err);

/* Put "what: " before the text, once per module boundary. Newlines in it become '?'. */
int err_wrap(struct err *err, const char *fmt, ...) ATTR_PRINTF(2, 3);

/* What the user can do about it; the first hint wins. */
int err_hint(struct err *err, const char *fmt, ...) ATTR_PRINTF(2, 3);

/* Move `src` to `dst` unless `dst` is set already; `src` is cleared. Returns -1. */
int err_move(struct err *dst, struct err *src);

void err_clear(struct err *err);
const char *err_kind_name(enum err_kind kind);

#endif
