#include "base/buf.h"

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void buf_release(struct buf *b)
{
    free(b->p);
    *b = (struct buf){.max = b->max};
}

void buf_reset(struct buf *b)
{
    b->n = 0;
    b->state = BUF_OK;
    if (b->p)
        b->p[0] = '\0';
}

/* Make room for `more` bytes and the closing NUL. */
static bool buf_grow(struct buf *b, size_t more)
{
    if (b->state != BUF_OK)
        return false;
    if (b->n > b->max || more > b->max - b->n || b->n + more > SIZE_MAX / 4) {
        b->state = BUF_TOO_LONG;
        return false;
    }
    size_t need = b->n + more + 1;
    if (need <= b->cap)
        return true;
    size_t cap = b->cap ? b->cap : 64;
    while (cap < need)
        cap *= 2;
    if (cap - 1 > b->max)
        cap = b->max + 1; /* still at least `need` */
    char *grown = realloc(b->p, cap);
    if (!grown) {
        b->state = BUF_NOMEM;
        return false;
    }
    b->p = grown;
    b->cap = cap;
    b->p[b->n] = '\0';
    return true;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
    if (n == 0 || !buf_grow(b, n))
        return;
    memcpy(b->p + b->n, p, n);
    buf_grew(b, n);
}

void buf_addc(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

void buf_adds(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_add_span(struct buf *b, struct span s)
{
    buf_add(b, s.p, s.n);
}

void buf_vaddf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    size_t room = b->p ? b->cap - b->n : 0;
    int n = vsnprintf(room ? b->p + b->n : NULL, room, fmt, ap);
    if (n >= 0 && (size_t)n >= room && buf_grow(b, (size_t)n))
        vsnprintf(b->p + b->n, b->cap - b->n, fmt, again);
    va_end(again);
    if (n < 0)
        b->state = BUF_NOMEM;
    if (b->state == BUF_OK)
        b->n += (size_t)n;
    else if (b->p)
        b->p[b->n] = '\0';
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(b, fmt, ap);
    va_end(ap);
}

char *buf_reserve(struct buf *b, size_t n)
{
    return buf_grow(b, n) ? b->p + b->n : NULL;
}

void buf_grew(struct buf *b, size_t n)
{
    b->n += n;
    b->p[b->n] = '\0';
}

void buf_drop_front(struct buf *b, size_t n)
{
    if (n > b->n)
        n = b->n;
    if (n == 0)
        return;
    b->n -= n;
    memmove(b->p, b->p + n, b->n + 1);
}

int buf_check(const struct buf *b, const char *what, struct err *err)
{
    switch (b->state) {
    case BUF_TOO_LONG:
        return err_set(err, ERR_LIMIT, "%s is longer than %zu bytes", what, b->max);
    case BUF_NOMEM:
        return err_nomem(err);
    case BUF_OK:
        break;
    }
    return 0;
}

char *buf_take(struct buf *b, const char *what, struct err *err)
{
    if (buf_check(b, what, err) < 0)
        return NULL;
    if (!b->p)
        return str_dup("", err);
    char *taken = b->p;
    *b = (struct buf){.max = b->max};
    return taken;
}
