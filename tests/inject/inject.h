/* inject: makes the n-th call of a kind fail, in berth and in the libraries it stands on. inject.c takes the calls'
 * names and is loaded before the C library; outside of inject_arm() … inject_disarm() it only passes on. */
#ifndef BERTH_TESTS_INJECT_H
#define BERTH_TESTS_INJECT_H

#include <stdbool.h>

/* Name, errno of the failure, calls. */
#define INJECT_KINDS(X)                                                                                                \
    X(MEMORY, "memory", ENOMEM) /* malloc, calloc, realloc, reallocarray, posix_memalign, aligned_alloc */             \
    X(WRITE, "write", ENOSPC)   /* write, pwrite, to files */                                                          \
    X(SYNC, "sync", EIO)        /* fsync, fdatasync, syncfs */                                                         \
    X(RENAME, "rename", EIO)    /* rename, renameat, renameat2, link, linkat */                                        \
    X(OPEN, "open", EMFILE)     /* open, openat, openat2 */                                                            \
    X(SHAPE, "shape", EIO)      /* ftruncate, fallocate, mkdirat, fchmod, unlinkat */                                  \
    X(READ, "read", EIO)        /* read, pread, of files */

enum inject_kind {
#define X(name, word, number) INJECT_##name,
    INJECT_KINDS(X)
#undef X
};

void inject_arm(enum inject_kind kind, unsigned long nth);
bool inject_disarm(void); /* whether a call was made to fail */

#endif
