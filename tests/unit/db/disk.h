/* How often what SQLite keeps its commits in was written through to the disk: fdatasync() and fsync() of this program,
 * SQLite's included, come by here. */
#ifndef BERTH_TESTS_DB_DISK_H
#define BERTH_TESTS_DB_DISK_H

#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_int log_syncs, folder_syncs;

static int count_sync(int fd, long call)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    path[n > 0 ? n : 0] = '\0';
    const char *dot = strrchr(path, '-'), *last = strrchr(path, '/');
    if (dot && strcmp(dot, "-wal") == 0)
        atomic_fetch_add(&log_syncs, 1);
    else if (last && !strchr(last, '.'))
        atomic_fetch_add(&folder_syncs, 1);
    return (int)syscall(call, fd);
}

int fsync(int fd)
{
    return count_sync(fd, SYS_fsync);
}

int fdatasync(int fd)
{
    return count_sync(fd, SYS_fdatasync);
}

#endif
