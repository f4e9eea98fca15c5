/* buf: a growing byte buffer with a named maximum and a sticky error that is checked once.
 *
 * Adding never fails loudly; after the last addition, buf_check() says whether all of it fitted. The content is always
 * followed by a NUL that `n` does not count. */
#ifndef BERTH_BASE_BUF_H
#define BERTH_BASE_BUF_H

#include "base/attr.h"
#include "base/err.h"
#include "base/str.h"

#include <stdarg.h>

enum buf_state { BUF_OK, BUF_TOO_LONG, BUF_NOMEM };

struct buf {
    char *p; /* NULL until the first byte; use buf_str() for a C string */
    size_t n, cap;
    size_t max; /* most bytes it may ever hold */
    enum buf_state state;
};

void buf_init(struct buf *b, size_t max);
void buf_release(struct buf *b);
void buf_reset(struct buf *b); /* empty, error cleared, memory kept */

void buf_add(struct buf *b, const void *p, size_t n);
void buf_addc(struct buf *b, char c);
void buf_adds(struct buf *b, const char *s);
void buf_add_span(struct buf *b, struct span s);
void buf_addf(struct buf *b, const char *fmt, ...) ATTR_PRINTF(2, 3);
void buf_vaddf(struct buf *b, const char *fmt, va_list ap) ATTR_PRINTF(2, 0);

/* Room for `n` more bytes to be written by the caller, or NULL (sticky error set); commit with buf_grew(). */
char *buf_reserve(struct buf *b, size_t n);
void buf_grew(struct buf *b, size_t n);
void buf_drop_front(struct buf *b, size_t n);

static inline const char *buf_str(const struct buf *b)
{
    return b->p ? b->p : "";
}
static inline struct span buf_span(const struct buf *b)
{
    return (struct span){buf_str(b), b->n};
}

/* ERR_LIMIT ("what is longer than … bytes") or ERR_NOMEM where an addition did not fit. */
int buf_check(const struct buf *b, const char *what, struct err *err) ATTR_CHECK;

/* The content as an owned C string; the buffer is empty afterwards. NULL with `err` set on a sticky error. */
char *buf_take(struct buf *b, const char *what, struct err *err);

#define AUTO_BUF AUTO(buf_release) struct buf

#endif
