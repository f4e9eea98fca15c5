/* proc: child processes, without a shell.
 *
 * The child gets only fds 0–2, default signals, and dies with its parent where asked. Secrets go by environment or
 * stdin, never by argv. */
#ifndef BERTH_BASE_PROC_H
#define BERTH_BASE_PROC_H

#include "base/buf.h"
#include "base/cancel.h"

#include <sys/types.h>

struct proc_opts {
    const char *const *argv; /* argv[0] is looked up in PATH */
    const char *const *env;  /* NULL: inherit */
    const char *cwd;         /* NULL: inherit */
    struct span input;       /* written to stdin; empty: /dev/null */
    int input_fd;            /* above 0: is stdin instead, borrowed */
    bool dies_with_us;       /* SIGTERM from the kernel when the calling thread ends, thus when this process dies */
    uint64_t timeout_ms;     /* 0: 60 s; UINT64_MAX: none; then SIGKILL and ERR_TIMEOUT */
    size_t output_max;       /* stdout above it: ERR_LIMIT. 0: 1 MiB */
    const struct cancel *cancel;
};

struct proc_result {
    int exit_code; /* -1 where a signal ended it */
    int signal;    /* 0 where it exited */
    struct buf out;
    struct buf err_text; /* stderr, first 64 KiB */
};

/* Run to the end. A non-zero exit is not an error here: look at the result. Release it in either case.
 * ERR_SYSTEM: how it ended is lost, where SIGCHLD is ignored; ERR_NOTFOUND: no such program; ERR_TIMEOUT,
 * ERR_CANCELLED, ERR_LIMIT: the program and what it started were killed. */
int proc_run(const struct proc_opts *opts, struct proc_result *result, struct err *err);
void proc_result_release(struct proc_result *r);

/* A long-lived child: SIGTERM from the kernel when the thread that calls this ends (PR_SET_PDEATHSIG), by itself or
 * with the process: call it on one that lives as long as the child shall. A Ctrl-C at the terminal is not for it, but
 * for us, who may need it to the end. Output goes to `log_fd` (-1: null). */
int proc_spawn(const char *const *argv, int log_fd, pid_t *pid, struct err *err);
int proc_stop(pid_t pid, uint64_t grace_ms, struct err *err); /* SIGTERM, then SIGKILL; reaps */

#endif
