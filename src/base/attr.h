/* attr: compiler attributes and scoped clean-up, used everywhere.
 *
 * AUTO_x variables are released when their scope ends; ownership leaves a scope by x_take(), on the last line. */
#ifndef BERTH_BASE_ATTR_H
#define BERTH_BASE_ATTR_H

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ATTR_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#define ATTR_CHECK              __attribute__((warn_unused_result))
#define ATTR_NORETURN           __attribute__((noreturn))
#define ARRAY_LEN(a)            (sizeof(a) / sizeof((a)[0]))
#define BIT(n)                  (1u << (n))

/* Declare a clean-up attribute for a pointer type freed by `fn`; used as `AUTO(x_free_auto) struct x *x = NULL;`. */
#define AUTO(fn) __attribute__((cleanup(fn)))

static inline void auto_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void auto_free(void *p)
{
    free(*(void **)p);
}

static inline void auto_fclose(FILE **f)
{
    if (*f)
        fclose(*f);
}

#define AUTO_FD   AUTO(auto_close) int
#define AUTO_STR  AUTO(auto_free) char *
#define AUTO_FILE AUTO(auto_fclose) FILE *

static inline int fd_take(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

static inline char *str_take(char **s)
{
    char *taken = *s;
    *s = NULL;
    return taken;
}

#endif
