/* Makes the nth allocation fail. The linker puts these wrappers between the code under test and the C library
 * (`wrap_allocations` of tests/unit/meson.build), so that an operation can be tried with its first, second, …
 * allocation refused, for every n that it reaches. For one file of a test program. */
#ifndef BERTH_TESTS_REFUSE_H
#define BERTH_TESTS_REFUSE_H

#include "base/attr.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

static size_t countdown; /* the allocation that is refused, counted from here; 0: none */
static bool refused;     /* it was reached */

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__real_calloc(size_t n, size_t each);
void *__wrap_calloc(size_t n, size_t each);
void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__real_reallocarray(void *p, size_t n, size_t each);
void *__wrap_reallocarray(void *p, size_t n, size_t each);
int __real_vasprintf(char **out, const char *fmt, va_list ap);
int __wrap_vasprintf(char **out, const char *fmt, va_list ap) ATTR_PRINTF(2, 0);

static bool refuse(void)
{
    if (countdown == 0 || --countdown > 0)
        return false;
    return refused = true;
}

void *__wrap_malloc(size_t n)
{
    return refuse() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t each)
{
    return refuse() ? NULL : __real_calloc(n, each);
}

void *__wrap_realloc(void *p, size_t n)
{
    return refuse() ? NULL : __real_realloc(p, n);
}

void *__wrap_reallocarray(void *p, size_t n, size_t each)
{
    return refuse() ? NULL : __real_reallocarray(p, n, each);
}

int __wrap_vasprintf(char **out, const char *fmt, va_list ap)
{
    return refuse() ? -1 : __real_vasprintf(out, fmt, ap);
}

#endif
