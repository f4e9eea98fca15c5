/* A stopped container's outputs: copied out, or, where it wrote to a bind mount, made harmless. */
#include "base/fs.h"
#include "job/job_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define ODD_WARNINGS_MAX 20 /* named one by one; the rest is counted */

struct scrub {
    struct run *run;
    const struct output *output;
    unsigned odd;
};

static void warn_odd(struct scrub *s, const char *path, const char *what)
{
    if (s->odd++ < ODD_WARNINGS_MAX)
        run_warn(s->run, "output '%s': %s: %s", s->output->name, path, what);
}

static const char *odd_kind(mode_t mode)
{
    return S_ISFIFO(mode) ? "a FIFO" : S_ISSOCK(mode) ? "a socket" : S_ISCHR(mode) || S_ISBLK(mode) ? "a device" : NULL;
}

/* Links stay as they are and are never followed; what could act on this machine by itself goes. */
static int scrub_entry(void *ctx, const struct fs_entry *e, struct err *err)
{
    struct scrub *s = ctx;
    const char *kind = odd_kind(e->st.st_mode);
    if (kind) {
        if (unlinkat(e->parent_fd, e->name, 0) < 0)
            return err_sys(err, "remove %s %s", kind, e->path);
        char what[64];
        snprintf(what, sizeof what, "%s was left out", kind);
        warn_odd(s, e->path, what);
        return 0;
    }
    if (S_ISLNK(e->st.st_mode) || !(e->st.st_mode & (S_ISUID | S_ISGID)))
        return 0;
    if (fchmodat(e->parent_fd, e->name, e->st.st_mode & 01777, 0) < 0)
        return err_sys(err, "chmod %s", e->path);
    if (!S_ISDIR(e->st.st_mode))
        warn_odd(s, e->path, "its set-user-ID and set-group-ID bits were taken off");
    return 0;
}

static int scrub(struct run *r, const struct output *o, int dir, struct err *err)
{
    struct scrub s = {.run = r, .output = o};
    int rc = fs_walk(dir, scrub_entry, &s, err);
    if (s.odd > ODD_WARNINGS_MAX)
        run_warn(r, "output '%s': %u more such files", o->name, s.odd - ODD_WARNINGS_MAX);
    return rc;
}

static int copy_out(struct run *r, const struct output *o, int dir, struct err *err)
{
    uint64_t max = r->opts->output_max_bytes ? r->opts->output_max_bytes : OUTPUT_MAX_DEFAULT;
    bool found = false;
    if (engine_copy_out(r->opts->engine, r->container, o->path, dir, max, &found, err) < 0)
        return -1;
    if (!found)
        run_warn(r, "output '%s': the container left no %s", o->name, o->path);
    return 0;
}

int run_collect(struct run *r, struct err *err)
{
    for (size_t i = 0; i < r->op->output_count; i++) {
        const struct output *o = &r->op->outputs[i];
        AUTO_STR below = str_printf(err, "outputs/%s", o->name);
        AUTO_FD dir = below ? fs_open_beneath(r->results.dir_fd, below, O_RDONLY | O_DIRECTORY, 0, err) : -1;
        if (dir < 0 || (r->bind_outputs ? scrub(r, o, dir, err) : copy_out(r, o, dir, err)) < 0)
            return err_wrap(err, "output '%s' (%s)", o->name, o->path);
    }
    return 0;
}
