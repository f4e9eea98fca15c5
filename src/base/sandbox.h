/* sandbox: a process of its own for work on hostile bytes.
 *
 * Who enters keeps the descriptors that are open, may make and change files beneath one folder, and has no way back:
 * no capability, no new privilege (PR_SET_NO_NEW_PRIVS), no core file, bounded memory; nothing of the file system but
 * the folder (Landlock, where the kernel has version 2 of it: 5.19), but for a look at what is where, how large and how
 * old (stat, which Landlock leaves free); and only the system calls that unpacking needs (seccomp). Any other ends the
 * process with SIGSYS: no program is started, no socket opened, no process looked at, no memory made executable.
 *
 * Meant for a helper with one thread, started for the purpose by proc_run(), so that no secret of its parent is in its
 * memory either. */
#ifndef BERTH_BASE_SANDBOX_H
#define BERTH_BASE_SANDBOX_H

#include "base/err.h"

#include <stdint.h>

/* Of the whole process, libraries and all. */
#define SANDBOX_MEMORY_MAX ((uint64_t)1 << 30)

/* For good, whatever it returns. `folder_fd` is borrowed. ERR_SYSTEM, where a part of it cannot be had that every
 * supported kernel has. */
int sandbox_enter(int folder_fd, struct err *err);

/* Whether this build filters system calls and bounds memory: not with sanitizers, which need more of both. */
bool sandbox_filters(void);

#endif
