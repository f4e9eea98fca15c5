/* Both names of each call are defined here: pwrite() and pwrite64(). */
#undef _FILE_OFFSET_BITS
#include "inject.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_int armed = -1;
static atomic_ulong countdown;
static atomic_bool fired;

void inject_arm(enum inject_kind kind, unsigned long nth)
{
    atomic_store(&fired, false);
    atomic_store(&countdown, nth);
    atomic_store(&armed, (int)kind);
}

bool inject_disarm(void)
{
    atomic_store(&armed, -1);
    return atomic_load(&fired);
}

static bool fails(enum inject_kind kind)
{
    static const int numbers[] = {
#define X(name, word, number) number,
        INJECT_KINDS(X)
#undef X
    };
    if (atomic_load(&armed) != (int)kind || atomic_fetch_sub(&countdown, 1) != 1)
        return false;
    atomic_store(&fired, true);
    errno = numbers[kind];
    return true;
}

/* The next library's function of the same name. */
#define NEXT(name)                                                                                                     \
    ({                                                                                                                 \
        static __typeof__(&name) next;                                                                                 \
        if (!next)                                                                                                     \
            next = (__typeof__(&name))(uintptr_t)dlsym(RTLD_NEXT, #name);                                              \
        next;                                                                                                          \
    })

/* ---- memory: dlsym() allocates, and finds nothing yet while libraries are being loaded; a few bytes of our own help
 * ---- */

static char early[65536];
static atomic_size_t early_used;
static _Thread_local
    __attribute__((tls_model("initial-exec"))) volatile bool looking; /* dlsym() calls back, which its header denies */

static void *early_take(size_t n)
{
    size_t at = atomic_fetch_add(&early_used, (n + 15) & ~(size_t)15);
    return at + n <= sizeof early ? early + at : NULL; /* never used before, so zero */
}

static bool is_early(const void *p)
{
    return (const char *)p >= early && (const char *)p < early + sizeof early;
}

/* NULL: not to be had yet. */
static void *look_up(const char *name)
{
    if (looking)
        return NULL;
    looking = true;
    void *found = dlsym(RTLD_NEXT, name);
    looking = false;
    return found;
}

#define NEXT_MEMORY(name)                                                                                              \
    ({                                                                                                                 \
        static __typeof__(&name) known;                                                                                \
        if (!known)                                                                                                    \
            known = (__typeof__(&name))(uintptr_t)look_up(#name);                                                      \
        known;                                                                                                         \
    })

void *malloc(size_t n)
{
    __typeof__(&malloc) next = NEXT_MEMORY(malloc);
    if (!next)
        return early_take(n);
    return fails(INJECT_MEMORY) ? NULL : next(n);
}

void *calloc(size_t n, size_t each)
{
    __typeof__(&calloc) next = NEXT_MEMORY(calloc);
    if (!next)
        return early_take(n * each);
    return fails(INJECT_MEMORY) ? NULL : next(n, each);
}

void *realloc(void *p, size_t n)
{
    __typeof__(&realloc) next = NEXT_MEMORY(realloc);
    if (next && !is_early(p))
        return fails(INJECT_MEMORY) ? NULL : next(p, n);
    size_t had = p ? (size_t)(early + sizeof early - (char *)p) : 0;
    void *moved = malloc(n);
    return moved && p ? memcpy(moved, p, n < had ? n : had) : moved;
}

void *reallocarray(void *p, size_t n, size_t each)
{
    size_t all;
    if (!__builtin_mul_overflow(n, each, &all))
        return realloc(p, all);
    errno = ENOMEM;
    return NULL;
}

int posix_memalign(void **out, size_t align, size_t n)
{
    return fails(INJECT_MEMORY) ? ENOMEM : NEXT_MEMORY(posix_memalign)(out, align, n);
}

void *aligned_alloc(size_t align, size_t n)
{
    return fails(INJECT_MEMORY) ? NULL : NEXT_MEMORY(aligned_alloc)(align, n);
}

void free(void *p)
{
    __typeof__(&free) next = is_early(p) ? NULL : NEXT_MEMORY(free);
    if (next)
        next(p);
}

/* ---- files ---- */

/* Pipes, sockets and eventfds do not run out of space. */
static bool fails_on(enum inject_kind kind, int fd)
{
    struct stat st;
    return atomic_load(&armed) == (int)kind && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && fails(kind);
}

ssize_t write(int fd, const void *p, size_t n)
{
    return fails_on(INJECT_WRITE, fd) ? -1 : NEXT(write)(fd, p, n);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    return fails_on(INJECT_WRITE, fd) ? -1 : NEXT(pwrite)(fd, p, n, at);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
    return fails_on(INJECT_WRITE, fd) ? -1 : NEXT(pwrite64)(fd, p, n, at);
}

ssize_t read(int fd, void *p, size_t n)
{
    return fails_on(INJECT_READ, fd) ? -1 : NEXT(read)(fd, p, n);
}

ssize_t pread(int fd, void *p, size_t n, off_t at)
{
    return fails_on(INJECT_READ, fd) ? -1 : NEXT(pread)(fd, p, n, at);
}

ssize_t pread64(int fd, void *p, size_t n, off64_t at)
{
    return fails_on(INJECT_READ, fd) ? -1 : NEXT(pread64)(fd, p, n, at);
}

int fsync(int fd)
{
    return fails(INJECT_SYNC) ? -1 : NEXT(fsync)(fd);
}

int fdatasync(int fd)
{
    return fails(INJECT_SYNC) ? -1 : NEXT(fdatasync)(fd);
}

int syncfs(int fd)
{
    return fails(INJECT_SYNC) ? -1 : NEXT(syncfs)(fd);
}

int rename(const char *from, const char *to)
{
    return fails(INJECT_RENAME) ? -1 : NEXT(rename)(from, to);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    return fails(INJECT_RENAME) ? -1 : NEXT(renameat)(from_fd, from, to_fd, to);
}

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    return fails(INJECT_RENAME) ? -1 : NEXT(renameat2)(from_fd, from, to_fd, to, flags);
}

int link(const char *from, const char *to)
{
    return fails(INJECT_RENAME) ? -1 : NEXT(link)(from, to);
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
    return fails(INJECT_RENAME) ? -1 : NEXT(linkat)(from_fd, from, to_fd, to, flags);
}

/* The mode is there only where a file may be made; read always, it does no harm. */
#define OPEN_MODE(last)                                                                                                \
    va_list ap;                                                                                                        \
    va_start(ap, last);                                                                                                \
    mode_t mode = va_arg(ap, mode_t);                                                                                  \
    va_end(ap)

int open(const char *path, int flags, ...)
{
    OPEN_MODE(flags);
    return fails(INJECT_OPEN) ? -1 : NEXT(open)(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    OPEN_MODE(flags);
    return fails(INJECT_OPEN) ? -1 : NEXT(open64)(path, flags, mode);
}

int openat(int fd, const char *path, int flags, ...)
{
    OPEN_MODE(flags);
    return fails(INJECT_OPEN) ? -1 : NEXT(openat)(fd, path, flags, mode);
}

int openat64(int fd, const char *path, int flags, ...)
{
    OPEN_MODE(flags);
    return fails(INJECT_OPEN) ? -1 : NEXT(openat64)(fd, path, flags, mode);
}

/* glibc has no openat2() of its own; all six arguments are passed on, whatever the call. */
long syscall(long number, ...)
{
    va_list ap;
    va_start(ap, number);
    long a = va_arg(ap, long), b = va_arg(ap, long), c = va_arg(ap, long), d = va_arg(ap, long), e = va_arg(ap, long),
         f = va_arg(ap, long);
    va_end(ap);
    if (number == SYS_openat2 && fails(INJECT_OPEN))
        return -1;
    return NEXT(syscall)(number, a, b, c, d, e, f);
}

int ftruncate(int fd, off_t n)
{
    return fails(INJECT_SHAPE) ? -1 : NEXT(ftruncate)(fd, n);
}

int ftruncate64(int fd, off64_t n)
{
    return fails(INJECT_SHAPE) ? -1 : NEXT(ftruncate64)(fd, n);
}

int fallocate(int fd, int mode, off_t at, off_t n)
{
    return fails(INJECT_SHAPE) ? -1 : NEXT(fallocate)(fd, mode, at, n);
}

int fallocate64(int fd, int mode, off64_t at, off64_t n)
{
    return fails(INJECT_SHAPE) ? -1 : NEXT(fallocate64)(fd, mode, at, n);
}

int mkdirat(int fd, const char *path, mode_t mode)
{
    return fails(INJECT_SHAPE) ? -1 : NEXT(mkdirat)(fd, path, mode);
}

int fchmod(int fd, mode_t mode)
{
    return fails(INJECT_SHAPE) ? -1 : NEXT(fchmod)(fd, mode);
}

int unlinkat(int fd, const char *path, int flags)
{
    return fails(INJECT_SHAPE) ? -1 : NEXT(unlinkat)(fd, path, flags);
}
