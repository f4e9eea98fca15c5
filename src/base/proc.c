#include "base/proc.h"

#include "base/clock.h"
#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define DEFAULT_TIMEOUT_MS 60000
#define DEFAULT_OUTPUT_MAX ((size_t)1 << 20)
#define STDERR_KEPT        ((size_t)64 << 10)
#define READ_CHUNK         ((size_t)16 << 10)

/* What the child needs between fork and exec, prepared beforehand: there, only async-signal-safe calls are allowed. */
struct launch {
    const char *program; /* a path */
    const char *const *argv;
    const char *const *env;
    const char *cwd;
    int in_fd, out_fd, err_fd; /* all above 2, so that placing one closes no other */
    int report_fd;             /* above 2, closed by exec: the errno of a failed start goes there */
    bool own_group;            /* so that a kill reaches what the child starts, and a Ctrl-C only us */
    pid_t dies_with_us;        /* our pid, 0: lives on */
};

static char *program_in_path(const char *name, struct err *err)
{
    const char *path = getenv("PATH");
    struct span rest = span_of(path ? path : "/usr/local/bin:/usr/bin:/bin"), folder;
    bool more;
    do {
        more = span_cut(rest, ':', &folder, &rest);
        if (folder.n == 0)
            folder = SPAN_LIT(".");
        AUTO_STR candidate = str_printf(err, "%.*s/%s", SPAN_FMT(folder), name);
        struct stat st;
        if (!candidate)
            return NULL;
        if (access(candidate, X_OK) == 0 && stat(candidate, &st) == 0 && S_ISREG(st.st_mode))
            return str_take(&candidate);
    } while (more);
    err_set(err, ERR_NOTFOUND, "the program \"%s\" is not in PATH", name);
    return NULL;
}

static char *find_program(const char *name, struct err *err)
{
    return strchr(name, '/') ? str_dup(name, err) : program_in_path(name, err);
}

static void child_close_range(unsigned first, unsigned last)
{
    if (first > last || syscall(SYS_close_range, first, last, 0) == 0)
        return;
    long end = sysconf(_SC_OPEN_MAX); /* before Linux 5.9 */
    for (long fd = (long)first; fd < end && fd <= (long)last; fd++)
        close((int)fd);
}

/* Leave only fds 0–2, and the report until exec. */
static bool child_arrange_fds(const struct launch *l)
{
    if (dup2(l->in_fd, STDIN_FILENO) < 0 || dup2(l->out_fd, STDOUT_FILENO) < 0 || dup2(l->err_fd, STDERR_FILENO) < 0)
        return false;
    child_close_range(STDERR_FILENO + 1, (unsigned)l->report_fd - 1);
    child_close_range((unsigned)l->report_fd + 1, UINT_MAX);
    return true;
}

static void child_reset_signals(void)
{
    struct sigaction standard = {.sa_handler = SIG_DFL};
    sigset_t none;
    for (int sig = 1; sig < NSIG; sig++)
        sigaction(sig, &standard, NULL); /* fails for SIGKILL and SIGSTOP, which are never anything else */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Returns only where the program could not be started, with errno. */
static void child_start(const struct launch *l)
{
    if (l->own_group)
        setpgid(0, 0);
    if (l->dies_with_us && prctl(PR_SET_PDEATHSIG, SIGTERM) < 0)
        return;
    if (l->dies_with_us && getppid() != l->dies_with_us) { /* it died before we asked */
        errno = ESRCH;
        return;
    }
    if (l->cwd && chdir(l->cwd) < 0)
        return;
    if (!child_arrange_fds(l))
        return;
    child_reset_signals();
    execve(l->program, (char *const *)l->argv, l->env ? (char *const *)l->env : environ);
}

ATTR_NORETURN static void child_main(const struct launch *l)
{
    child_start(l);
    int why = errno;
    ssize_t ignored = write(l->report_fd, &why, sizeof why);
    (void)ignored;
    _exit(127);
}

/* -1 with errno where nobody can tell how it ended: ECHILD, where SIGCHLD is ignored. */
static int reap(pid_t pid, int *status)
{
    pid_t ended;
    do {
        ended = waitpid(pid, status, 0);
    } while (ended < 0 && errno == EINTR);
    return ended < 0 ? -1 : 0;
}

/* Wait for exec: the report pipe closes without a word where it went well. */
static int await_exec(int report_fd, pid_t pid, const char *name, struct err *err)
{
    int why = 0;
    ssize_t got;
    do {
        got = read(report_fd, &why, sizeof why);
    } while (got < 0 && errno == EINTR);
    if (got != (ssize_t)sizeof why)
        return 0;
    reap(pid, NULL);
    errno = why;
    return err_sys(err, "run %s", name);
}

/* A pipe whose ends are both above 2 (they may not be, where our own standard streams are closed). */
static int make_pipe(int *read_end, int *write_end, struct err *err)
{
    int raw[2];
    if (pipe2(raw, O_CLOEXEC) < 0)
        return err_sys(err, "make a pipe");
    *read_end = fcntl(raw[0], F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    *write_end = fcntl(raw[1], F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    bool failed = *read_end < 0 || *write_end < 0;
    int saved = errno;
    close(raw[0]);
    close(raw[1]);
    errno = saved;
    return failed ? err_sys(err, "make a pipe") : 0;
}

/* Fork and exec. Signals stay blocked until the child has let go of our handlers. */
static pid_t launch(struct launch *l, struct err *err)
{
    AUTO_FD report = -1;
    AUTO_FD report_write = -1;
    AUTO_STR program = find_program(l->argv[0], err);
    sigset_t all, before;
    if (!program || make_pipe(&report, &report_write, err) < 0)
        return -1;
    l->program = program;
    l->report_fd = report_write;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid == 0)
        child_main(l);
    int saved = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = saved;
    if (pid < 0)
        return err_sys(err, "run %s: fork", l->argv[0]);
    close(fd_take(&report_write));
    return await_exec(report, pid, l->argv[0], err) < 0 ? -1 : pid;
}

static int open_null(struct err *err)
{
    AUTO_FD fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    int lifted = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    return lifted < 0 ? err_sys(err, "open /dev/null") : lifted;
}

/* Standard input as a file in memory: nothing to pump, and no SIGPIPE where the child does not read it. */
static int open_input(struct span input, int input_fd, struct err *err)
{
    if (input_fd > 0) {
        int lifted = fcntl(input_fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        return lifted < 0 ? err_sys(err, "prepare the input") : lifted;
    }
    if (input.n == 0)
        return open_null(err);
    AUTO_FD fd = memfd_create("input", MFD_CLOEXEC);
    if (fd < 0)
        return err_sys(err, "memfd_create");
    if (fs_write_all(fd, input.p, input.n, err) < 0)
        return err_wrap(err, "prepare the input");
    if (lseek(fd, 0, SEEK_SET) < 0)
        return err_sys(err, "prepare the input");
    int lifted = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    return lifted < 0 ? err_sys(err, "prepare the input") : lifted;
}

/* pidfds become readable when their process ends (Linux 5.3). */
static int open_pidfd(pid_t pid, struct err *err)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    return fd < 0 ? err_sys(err, "pidfd_open") : fd;
}

struct run {
    const struct proc_opts *opts;
    struct proc_result *result;
    int out_fd, err_fd, pid_fd; /* out_fd and err_fd: -1 after their end */
    uint64_t started_ms, timeout_ms;
};

/* Take what is there; at the end of the stream *fd becomes -1. Standard error above its bound is dropped. */
static int read_some(int *fd, struct buf *into, bool bounded, struct err *err)
{
    char chunk[READ_CHUNK];
    ssize_t got = read(*fd, chunk, sizeof chunk);
    if (got < 0)
        return errno == EINTR || errno == EAGAIN ? 0 : err_sys(err, "read from the program");
    if (got == 0) {
        close(fd_take(fd));
        return 0;
    }
    size_t n = (size_t)got;
    if (!bounded && n > into->max - into->n)
        n = into->max - into->n;
    buf_add(into, chunk, n);
    return buf_check(into, "the program's output", err) < 0 ? -1 : 1;
}

/* The program has ended: take what its pipes still hold, without waiting for anybody who inherited them. */
static int drain(struct run *r, struct err *err)
{
    int rc = 1;
    while (r->out_fd >= 0 && rc > 0)
        rc = read_some(&r->out_fd, &r->result->out, true, err);
    if (rc < 0)
        return -1;
    /* Standard error is bounded by what is kept: a writer that never stops must not hold us here. */
    for (rc = 1; r->err_fd >= 0 && rc > 0 && r->result->err_text.n < STDERR_KEPT;)
        rc = read_some(&r->err_fd, &r->result->err_text, false, err);
    return rc < 0 ? -1 : 0;
}

/* One wait. 1: the program has ended. */
static int run_step(struct run *r, struct err *err)
{
    const struct cancel *cancel = r->opts->cancel;
    uint64_t passed = clock_mono_ms() - r->started_ms;
    if (cancel_check(cancel, err) < 0)
        return -1;
    if (passed >= r->timeout_ms)
        return err_set(err, ERR_TIMEOUT, "no end after %llu ms", (unsigned long long)r->timeout_ms);
    uint64_t left = r->timeout_ms - passed;
    struct pollfd fds[] = {
        {.fd = r->pid_fd, .events = POLLIN},
        {.fd = r->out_fd, .events = POLLIN},
        {.fd = r->err_fd, .events = POLLIN},
        {.fd = cancel ? cancel->event_fd : -1, .events = POLLIN},
    };
    if (poll(fds, ARRAY_LEN(fds), left > INT_MAX ? INT_MAX : (int)left) < 0)
        return errno == EINTR ? 0 : err_sys(err, "poll");
    if (fds[0].revents)
        return drain(r, err) < 0 ? -1 : 1;
    if (fds[1].revents && read_some(&r->out_fd, &r->result->out, true, err) < 0)
        return -1;
    if (fds[2].revents && read_some(&r->err_fd, &r->result->err_text, false, err) < 0)
        return -1;
    return 0;
}

static int follow(struct run *r, pid_t pid, struct err *err)
{
    int rc = 0, status = 0;
    AUTO_FD pid_fd = open_pidfd(pid, err);
    r->pid_fd = pid_fd;
    if (pid_fd < 0)
        rc = -1;
    while (rc == 0)
        rc = run_step(r, err);
    if (rc < 0) {
        kill(-pid, SIGKILL);
        kill(pid, SIGKILL); /* it may have left its group */
    }
    if (reap(pid, &status) == 0) {
        r->result->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        r->result->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    } else if (rc >= 0) {
        rc = err_sys(err, "wait for its end");
    }
    return rc < 0 ? err_wrap(err, "%s", r->opts->argv[0]) : 0;
}

int proc_run(const struct proc_opts *opts, struct proc_result *result, struct err *err)
{
    *result = (struct proc_result){.exit_code = -1};
    buf_init(&result->out, opts->output_max ? opts->output_max : DEFAULT_OUTPUT_MAX);
    buf_init(&result->err_text, STDERR_KEPT);
    AUTO_FD in = open_input(opts->input, opts->input_fd, err);
    AUTO_FD out = -1;
    AUTO_FD out_write = -1;
    AUTO_FD errors = -1;
    AUTO_FD errors_write = -1;
    if (in < 0 || make_pipe(&out, &out_write, err) < 0 || make_pipe(&errors, &errors_write, err) < 0)
        return err_wrap(err, "%s", opts->argv[0]);
    if (fcntl(out, F_SETFL, O_NONBLOCK) < 0 || fcntl(errors, F_SETFL, O_NONBLOCK) < 0)
        return err_sys(err, "%s: fcntl", opts->argv[0]);
    struct launch l = {
        .argv = opts->argv,
        .env = opts->env,
        .cwd = opts->cwd,
        .in_fd = in,
        .out_fd = out_write,
        .err_fd = errors_write,
        .own_group = true,
        .dies_with_us = opts->dies_with_us ? getpid() : 0,
    };
    struct run r = {
        .opts = opts,
        .result = result,
        .started_ms = clock_mono_ms(),
        .timeout_ms = opts->timeout_ms ? opts->timeout_ms : DEFAULT_TIMEOUT_MS,
    };
    pid_t pid = launch(&l, err);
    if (pid < 0)
        return -1;
    close(fd_take(&out_write));
    close(fd_take(&errors_write));
    r.out_fd = fd_take(&out);
    r.err_fd = fd_take(&errors);
    int rc = follow(&r, pid, err);
    auto_close(&r.out_fd);
    auto_close(&r.err_fd);
    return rc;
}

void proc_result_release(struct proc_result *r)
{
    buf_release(&r->out);
    buf_release(&r->err_text);
}

int proc_spawn(const char *const *argv, int log_fd, pid_t *pid, struct err *err)
{
    AUTO_FD null = open_null(err);
    AUTO_FD log = log_fd < 0 ? -1 : fcntl(log_fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (null < 0)
        return err_wrap(err, "%s", argv[0]);
    if (log_fd >= 0 && log < 0)
        return err_sys(err, "%s: log", argv[0]);
    int output = log < 0 ? null : log;
    struct launch l = {
        .argv = argv, .in_fd = null, .out_fd = output, .err_fd = output, .own_group = true, .dies_with_us = getpid()};
    *pid = launch(&l, err);
    return *pid < 0 ? -1 : 0;
}

/* True once the process has ended. */
static bool await_end(int pid_fd, uint64_t wait_ms)
{
    uint64_t started = clock_mono_ms(), passed = 0;
    struct pollfd end = {.fd = pid_fd, .events = POLLIN};
    do {
        uint64_t left = wait_ms - passed;
        int n = poll(&end, 1, left > INT_MAX ? INT_MAX : (int)left);
        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            return false;
        passed = clock_mono_ms() - started;
    } while (passed < wait_ms);
    return false;
}

int proc_stop(pid_t pid, uint64_t grace_ms, struct err *err)
{
    AUTO_FD pid_fd = open_pidfd(pid, err);
    if (pid_fd < 0)
        return err_wrap(err, "stop process %d", (int)pid);
    if (kill(pid, SIGTERM) < 0)
        return err_sys(err, "stop process %d", (int)pid);
    if (!await_end(pid_fd, grace_ms))
        kill(pid, SIGKILL);
    reap(pid, NULL);
    return 0;
}
