#include "engine/oom_watch.h"

#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>

#define CGROUP_ROOT     "/sys/fs/cgroup"
#define CGROUP_TEXT_MAX ((size_t)64 << 10)
#define CONTROL_MAX     4096

static bool names_memory(struct span controllers)
{
    struct span one;
    bool more;
    do {
        more = span_cut(controllers, ',', &one, &controllers);
        if (span_eq(one, SPAN_LIT("memory")))
            return true;
    } while (more);
    return false;
}

/* Lines are "<number>:<controllers>:<path>"; version 2 is "0::<path>". On a hybrid machine memory is version 1's. */
bool oom_cgroup_folder(struct span text, const char *root, struct buf *out, bool *v2)
{
    struct span unified = {NULL, 0}, v1 = {NULL, 0};
    while (text.n > 0) {
        struct span line, number, controllers, path;
        span_cut(text, '\n', &line, &text);
        if (!span_cut(line, ':', &number, &line) || !span_cut(line, ':', &controllers, &path))
            continue;
        if (controllers.n == 0 && span_eq(number, SPAN_LIT("0")))
            unified = path;
        else if (names_memory(controllers))
            v1 = path;
    }
    struct span path = v1.p ? v1 : unified;
    if (path.n <= 1) /* the root is nobody's container */
        return false;
    *v2 = !v1.p;
    buf_addf(out, "%s%s%.*s", root, *v2 ? "" : "/memory", SPAN_FMT(path));
    return out->state == BUF_OK;
}

bool oom_count_kills(struct span text, uint64_t *count)
{
    static const struct span key = {"oom_kill ", 9};
    while (text.n > 0) {
        struct span line;
        struct err bad = ERR_INIT;
        span_cut(text, '\n', &line, &text);
        if (span_starts(line, key))
            return span_to_u64((struct span){line.p + key.n, line.n - key.n}, count, &bad) == 0;
    }
    return false;
}

void oom_watch_release(struct oom_watch *w)
{
    auto_close(&w->control_fd);
    auto_close(&w->event_fd);
    w->control_fd = w->event_fd = -1;
}

static bool read_kills(const struct oom_watch *w, uint64_t *count)
{
    char text[CONTROL_MAX];
    ssize_t n = pread(w->control_fd, text, sizeof text, 0);
    return n > 0 && oom_count_kills((struct span){text, (size_t)n}, count);
}

/* cgroup.event_control takes "<eventfd> <fd of memory.oom_control>". */
static bool subscribe_v1(struct oom_watch *w, int folder_fd)
{
    char line[48];
    AUTO_FD control = openat(folder_fd, "cgroup.event_control", O_WRONLY | O_CLOEXEC);
    w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    w->events = POLLIN;
    int n = snprintf(line, sizeof line, "%d %d", w->event_fd, w->control_fd);
    return control >= 0 && w->event_fd >= 0 && write(control, line, (size_t)n) == n;
}

static bool open_folder(struct oom_watch *w, int folder_fd, bool v2)
{
    uint64_t kills = 0;
    w->control_fd = openat(folder_fd, v2 ? "memory.events" : "memory.oom_control", O_RDONLY | O_CLOEXEC);
    w->events = POLLPRI;
    if (w->control_fd < 0 || (!v2 && !subscribe_v1(w, folder_fd)) || !read_kills(w, &kills))
        return false;
    w->killed = kills > 0;
    return true;
}

bool oom_watch_open(struct oom_watch *w, pid_t pid)
{
    char proc[40];
    bool v2 = false;
    struct err unread = ERR_INIT;
    AUTO_BUF text, folder;
    *w = (struct oom_watch)OOM_WATCH_NONE;
    buf_init(&text, CGROUP_TEXT_MAX);
    buf_init(&folder, CONTROL_MAX);
    snprintf(proc, sizeof proc, "/proc/%d/cgroup", (int)pid);
    if (fs_read_file(AT_FDCWD, proc, CGROUP_TEXT_MAX, &text, &unread) < 0 ||
        !oom_cgroup_folder(buf_span(&text), CGROUP_ROOT, &folder, &v2))
        return false;
    AUTO_FD folder_fd = open(folder.p, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder_fd >= 0 && open_folder(w, folder_fd, v2))
        return true;
    oom_watch_release(w);
    return false;
}

int oom_watch_fd(const struct oom_watch *w)
{
    return w->event_fd >= 0 ? w->event_fd : w->control_fd;
}

void oom_watch_look(struct oom_watch *w)
{
    uint64_t kills = 0, signals = 0;
    if (w->control_fd < 0 || w->killed)
        return;
    if (read_kills(w, &kills)) {
        w->killed = kills > 0;
        return;
    }
    /* The cgroup is gone: one signal was for that. */
    if (w->event_fd >= 0 && read(w->event_fd, &signals, sizeof signals) == sizeof signals)
        w->killed = signals > 1;
    oom_watch_release(w);
}
