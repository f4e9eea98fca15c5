#include "base/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdint.h>

#define ARENA_DEFAULT_MAX ((size_t)64 << 20)
#define ARENA_BLOCK_BYTES ((size_t)16 << 10)

struct block {
    struct block *next;
    size_t used, size;
    alignas(max_align_t) char bytes[];
};

enum refusal { REFUSED_NOTHING, REFUSED_LIMIT, REFUSED_NOMEM };

struct arena {
    struct block *newest;
    size_t used, max;
    enum refusal refused; /* sticky */
};

struct arena *arena_new(size_t max_bytes, struct err *err)
{
    struct arena *a = calloc(1, sizeof *a);
    if (!a) {
        err_nomem(err);
        return NULL;
    }
    a->max = max_bytes ? max_bytes : ARENA_DEFAULT_MAX;
    return a;
}

void arena_free(struct arena *a)
{
    if (!a)
        return;
    for (struct block *b = a->newest; b;) {
        struct block *next = b->next;
        free(b);
        b = next;
    }
    free(a);
}

static void *refuse(struct arena *a, enum refusal why)
{
    if (a->refused == REFUSED_NOTHING)
        a->refused = why;
    return NULL;
}

/* A block for `bytes`. Large pieces get a block of their own, behind the newest, so that its free rest stays in use. */
static struct block *add_block(struct arena *a, size_t bytes)
{
    bool own = bytes > ARENA_BLOCK_BYTES / 4;
    size_t size = own ? bytes : ARENA_BLOCK_BYTES;
    struct block *b = calloc(1, sizeof *b + size);
    if (!b)
        return NULL;
    b->size = size;
    if (own && a->newest) {
        b->next = a->newest->next;
        a->newest->next = b;
    } else {
        b->next = a->newest;
        a->newest = b;
    }
    return b;
}

void *arena_alloc(struct arena *a, size_t bytes)
{
    const size_t unit = alignof(max_align_t);
    if (a->refused != REFUSED_NOTHING)
        return NULL;
    if (bytes > a->max - a->used || bytes > SIZE_MAX - unit)
        return refuse(a, REFUSED_LIMIT);
    size_t rounded = bytes ? (bytes + unit - 1) / unit * unit : unit;
    if (rounded > a->max - a->used)
        return refuse(a, REFUSED_LIMIT);
    struct block *b = a->newest;
    if (!b || rounded > b->size - b->used)
        b = add_block(a, rounded);
    if (!b)
        return refuse(a, REFUSED_NOMEM);
    void *p = b->bytes + b->used;
    b->used += rounded;
    a->used += rounded;
    return p;
}

void *arena_array(struct arena *a, size_t count, size_t each)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, each, &bytes))
        return refuse(a, REFUSED_LIMIT);
    return arena_alloc(a, bytes);
}

char *arena_dup(struct arena *a, const char *s)
{
    return s ? arena_dup_span(a, span_of(s)) : NULL;
}

char *arena_dup_span(struct arena *a, struct span s)
{
    if (s.n == SIZE_MAX)
        return refuse(a, REFUSED_LIMIT);
    char *copy = arena_alloc(a, s.n + 1);
    if (copy && s.n)
        memcpy(copy, s.p, s.n);
    return copy;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *text = n < 0 ? refuse(a, REFUSED_NOMEM) : arena_alloc(a, (size_t)n + 1);
    if (text)
        vsnprintf(text, (size_t)n + 1, fmt, again);
    va_end(again);
    return text;
}

size_t arena_used(const struct arena *a)
{
    return a->used;
}

int arena_check(const struct arena *a, struct err *err)
{
    if (a->refused == REFUSED_LIMIT)
        return err_set(err, ERR_LIMIT, "more than %zu bytes of memory would be needed", a->max);
    return a->refused == REFUSED_NOMEM ? err_nomem(err) : 0;
}
