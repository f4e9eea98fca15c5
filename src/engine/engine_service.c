#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/proc.h"
#include "engine/engine_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#define START_MAX_MS  20000
#define START_TICK_MS 10
#define STOP_GRACE_MS 5000
#define SOCKET_NAME   "podman.sock"
#define LOG_NAME      "podman.log"
#define LOG_KEPT      ((size_t)64 << 10)

static bool answers(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    AUTO_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    return fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof at) == 0;
}

/* Whether the child has ended; it stays to be reaped. */
static bool has_ended(pid_t pid)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
}

/* The last line of podman's own log is why it did not start. */
static int did_not_start(const char *log_path, const char *what, struct err *err)
{
    AUTO_BUF log;
    struct err unread = ERR_INIT;
    buf_init(&log, LOG_KEPT);
    (void)fs_read_file(AT_FDCWD, log_path, LOG_KEPT, &log, &unread);
    struct span text = span_trim(buf_span(&log));
    const char *line = text.n ? memrchr(text.p, '\n', text.n) : NULL;
    if (line)
        text = (struct span){line + 1, (size_t)(text.p + text.n - line) - 1};
    return err_set(err, ERR_SYSTEM, "podman system service %s: %.*s", what,
                   text.n ? (int)text.n : (int)strlen("it said nothing"), text.n ? text.p : "it said nothing");
}

static int await_socket(const struct engine_service *s, const char *socket_path, const char *log_path, struct err *err)
{
    uint64_t until = clock_mono_ms() + START_MAX_MS;
    while (!answers(socket_path)) {
        if (has_ended(s->pid))
            return did_not_start(log_path, "ended at once", err);
        if (clock_mono_ms() > until)
            return did_not_start(log_path, "does not answer", err);
        if (cancel_sleep_ms(NULL, START_TICK_MS, err) < 0)
            return -1;
    }
    return 0;
}

static int make_folder(struct engine_service *s, const char *runtime_dir, struct err *err)
{
    const char *xdg = getenv("XDG_RUNTIME_DIR"), *tmp = getenv("TMPDIR");
    const char *under = !str_empty(runtime_dir) ? runtime_dir : !str_empty(xdg) ? xdg : !str_empty(tmp) ? tmp : "/tmp";
    int n = snprintf(s->folder, sizeof s->folder, "%s/berth-engine-XXXXXX", under);
    if (n + (int)sizeof SOCKET_NAME + 1 > SOCKET_PATH_MAX) {
        s->folder[0] = '\0';
        return err_set(err, ERR_INVALID, "%s is too long a path for a socket", under);
    }
    if (!mkdtemp(s->folder)) {
        s->folder[0] = '\0';
        return err_sys(err, "a private folder in %s", under);
    }
    return 0;
}

int engine_service_start(struct engine_service *s, const char *runtime_dir, struct endpoint *at, struct err *err)
{
    char where[SOCKET_PATH_MAX + sizeof "unix:///" SOCKET_NAME], log_path[SOCKET_PATH_MAX + sizeof "/" LOG_NAME];
    if (make_folder(s, runtime_dir, err) < 0)
        return -1;
    snprintf(where, sizeof where, "unix://%s/" SOCKET_NAME, s->folder);
    snprintf(log_path, sizeof log_path, "%s/" LOG_NAME, s->folder);
    AUTO_FD log = open(log_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (log < 0)
        return err_sys(err, "open %s", log_path);
    const char *const argv[] = {"podman", "system", "service", "--time=0", where, NULL};
    if (endpoint_parse(at, where, err) < 0)
        return -1;
    if (proc_spawn(argv, log, &s->pid, err) < 0) {
        s->pid = 0;
        return -1;
    }
    return await_socket(s, at->socket, log_path, err);
}

static void remove_in(const char *folder, const char *name)
{
    char path[SOCKET_PATH_MAX + sizeof "/" LOG_NAME];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (unlink(path) < 0 && errno != ENOENT)
        log_warn("engine", "%s is left behind", path);
}

void engine_service_stop(struct engine_service *s)
{
    struct err err = ERR_INIT;
    if (s->pid > 0 && proc_stop(s->pid, STOP_GRACE_MS, &err) < 0)
        log_warn("engine", "podman system service was not stopped (pid=%d reason=%s)", (int)s->pid, err.text);
    if (s->folder[0]) {
        remove_in(s->folder, SOCKET_NAME);
        remove_in(s->folder, LOG_NAME);
        if (rmdir(s->folder) < 0)
            log_warn("engine", "%s is left behind", s->folder);
    }
    *s = (struct engine_service){0};
}
