#include "engine/mounts.h"

#include "base/fs.h"
#include "base/path.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/socket.h>
#include <sys/un.h>

#define MOUNT_POINT_FIELD 4 /* of /proc/self/mountinfo, counting from 0 */

void mount_plans_release(struct mount_plans *p)
{
    for (size_t i = 0; i < p->n; i++) {
        free(p->v[i].source);
        free(p->v[i].target);
    }
    free(p->v);
    *p = (struct mount_plans){0};
}

static int add_plan(struct mount_plans *out, const char *source, const char *target, struct span below, bool writable,
                    struct err *err)
{
    if (out->n == MOUNTS_MAX)
        return err_set(err, ERR_LIMIT, "a container can have at most %d mounts", MOUNTS_MAX);
    struct mount_plan *grown = reallocarray(out->v, out->n + 1, sizeof *grown);
    if (!grown)
        return err_nomem(err);
    out->v = grown;
    struct mount_plan *m = &out->v[out->n];
    *m = (struct mount_plan){.writable = writable};
    m->source = str_printf(err, "%s%.*s", source, SPAN_FMT(below));
    m->target = m->source ? str_printf(err, "%s%.*s", target, SPAN_FMT(below)) : NULL;
    if (!m->target) {
        free(m->source);
        return -1;
    }
    out->n++;
    return 0;
}

/* "\040" → ' ': the kernel writes space, tab, newline and backslash in octal (proc(5)). */
static void unescape(struct buf *out, struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        const char *p = s.p + i;
        bool octal = *p == '\\' && s.n - i > 3 && p[1] >= '0' && p[1] <= '3' && p[2] >= '0' && p[2] <= '7' &&
                     p[3] >= '0' && p[3] <= '7';
        if (octal)
            i += 3;
        buf_addc(out, octal ? (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0')) : *p);
    }
}

static struct span mount_point_of(struct span line)
{
    struct span field = {NULL, 0};
    for (int i = 0; i <= MOUNT_POINT_FIELD; i++)
        if (!span_cut(line, ' ', &field, &line) && i < MOUNT_POINT_FIELD)
            return (struct span){NULL, 0};
    return field;
}

int mount_plans_add(struct mount_plans *out, const struct engine_mount *m, const char *real, struct span mount_info,
                    struct err *err)
{
    struct span line, root = span_of(real);
    if (add_plan(out, m->source, m->target, SPAN_LIT(""), m->writable, err) < 0)
        return -1;
    while (!m->writable && mount_info.n > 0) {
        AUTO_BUF point;
        buf_init(&point, PATH_MAX);
        span_cut(mount_info, '\n', &line, &mount_info);
        unescape(&point, mount_point_of(line));
        if (buf_check(&point, "a mount point", err) < 0)
            return -1;
        if (!path_is_below(buf_span(&point), root))
            continue;
        struct span below = {point.p + root.n, point.n - root.n};
        if (add_plan(out, m->source, m->target, below, false, err) < 0)
            return -1;
    }
    return 0;
}

static int check_shape(const struct engine_mount *m, struct err *err)
{
    if (!m->source || m->source[0] != '/')
        return err_set(err, ERR_INVALID, "mount source \"%s\" is not absolute", m->source ? m->source : "");
    if (!m->target || m->target[0] != '/')
        return err_set(err, ERR_INVALID, "mount target \"%s\" is not absolute", m->target ? m->target : "");
    return 0;
}

static int plan_local(struct mount_plans *out, const struct engine_mount *m, struct span mount_info, struct err *err)
{
    AUTO_STR real = realpath(m->source, NULL);
    if (!real) {
        err_sys(err, "mount source %s", m->source);
        return err_hint(err, "the engine would make an empty folder there; berth does not start the container instead");
    }
    return mount_plans_add(out, m, real, mount_info, err);
}

int mount_plans_make(struct mount_plans *out, const struct engine_container *c, bool local, struct err *err)
{
    AUTO_BUF info;
    *out = (struct mount_plans){0};
    buf_init(&info, MOUNT_INFO_MAX);
    if (local && c->mount_count > 0 && fs_read_file(AT_FDCWD, "/proc/self/mountinfo", MOUNT_INFO_MAX, &info, err) < 0)
        return -1;
    for (size_t i = 0; i < c->mount_count; i++) {
        const struct engine_mount *m = &c->mounts[i];
        int rc = check_shape(m, err);
        if (rc == 0)
            rc = local ? plan_local(out, m, buf_span(&info), err) : mount_plans_add(out, m, "", SPAN_LIT(""), err);
        if (rc < 0) {
            mount_plans_release(out);
            return -1;
        }
    }
    return 0;
}

/* --- whose mounts the engine sees --------------------------------------------------------------------------------- */

/* The process that listens there, as the kernel knows it; 0 where it is out of sight. */
static pid_t listener_of(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct ucred peer = {0};
    socklen_t n = sizeof peer;
    if (strlen(path) >= sizeof at.sun_path)
        return 0;
    memcpy(at.sun_path, path, strlen(path));
    AUTO_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&at, sizeof at) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0)
        return 0;
    return peer.pid;
}

bool mounts_are_shared(const char *address)
{
    static const char scheme[] = "unix://";
    struct stat mine, theirs;
    char path[64];
    if (strncmp(address, scheme, strlen(scheme)) != 0)
        return false;
    pid_t pid = listener_of(address + strlen(scheme));
    snprintf(path, sizeof path, "/proc/%d/ns/mnt", (int)pid);
    return pid > 0 && stat("/proc/self/ns/mnt", &mine) == 0 && stat(path, &theirs) == 0 &&
           mine.st_dev == theirs.st_dev && mine.st_ino == theirs.st_ino;
}
