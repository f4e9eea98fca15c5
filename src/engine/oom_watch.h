/* oom_watch: whether the kernel killed something in a container for want of memory.
 *
 * Podman's inspect never tells, so the container's own memory cgroup is asked, and before it is gone: the engine
 * removes it as soon as the container has ended. Version 1 (memory.oom_control, cgroup.event_control) signals an
 * eventfd once for every kill and once for the removal, so that the count tells both apart even afterwards; version 2
 * signals a change of memory.events, which is then read. (Linux: cgroup-v1/memory.rst, cgroup-v2.rst.)
 * For one thread. */
#ifndef BERTH_ENGINE_OOM_WATCH_H
#define BERTH_ENGINE_OOM_WATCH_H

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>
#include <sys/types.h>

struct oom_watch {
    int control_fd; /* memory.oom_control or memory.events; -1: nothing is watched */
    int event_fd;   /* version 1 only */
    short events;   /* to poll oom_watch_fd() for */
    bool killed;
};

/* All zero bytes is not a valid watch: start with OOM_WATCH_NONE. */
#define OOM_WATCH_NONE                                                                                                 \
    {                                                                                                                  \
        .control_fd = -1, .event_fd = -1                                                                               \
    }

/* Watch the memory cgroup of a process. False where that can't be done (it is gone, or its cgroup is not ours to see).
 */
bool oom_watch_open(struct oom_watch *w, pid_t pid);
void oom_watch_release(struct oom_watch *w);

int oom_watch_fd(const struct oom_watch *w); /* to poll for w->events; -1: none */
void oom_watch_look(struct oom_watch *w);    /* after poll, and once more after the container's end */

/* The folder of a process's memory cgroup below `root` ("/sys/fs/cgroup"), from the text of its /proc/<pid>/cgroup
 * (cgroups(7)); *v2 tells the version. False: it has none. Pure. */
bool oom_cgroup_folder(struct span proc_cgroup, const char *root, struct buf *out, bool *v2);

/* "oom_kill 3" in the text of either file. Pure. */
bool oom_count_kills(struct span text, uint64_t *count);

#endif
