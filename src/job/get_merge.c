/* Results of several executions in one folder. What is equal becomes one; what differs is an error before anything is
 * moved; stdout, stderr, exitCode and berth.json are each execution's own, in a folder of its name. */
#include "base/fs.h"
#include "base/path.h"
#include "digest/digest.h"
#include "job/get_priv.h"

#include <fcntl.h>
#include <limits.h>

#define MERGE_MEMORY_MAX ((size_t)1 << 30) /* of paths */

struct item {
    const char *path;
    const char *link; /* NULL: none */
    uint64_t size;
    mode_t mode;
    size_t execution;
};

struct merging {
    int from_fd, out_fd;
    const char *const *names;
    const struct job_executions *x;
    const struct cancel *cancel;
    struct arena *arena;
    struct item *v;
    size_t n, room;
    size_t reading; /* the execution whose folder is walked */
};

static const char *name_of(const struct merging *m, const struct item *it)
{
    return m->x->v[it->execution].name;
}

static bool is_own(const struct item *it)
{
    static const char *const own[] = {"stdout", "stderr", "exitCode", "berth.json"};
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        if (!S_ISDIR(it->mode) && strcmp(it->path, own[i]) == 0)
            return true;
    return false;
}

/* ---- what there is ---- */

static int read_link(struct merging *m, const struct fs_entry *e, const char **out, struct err *err)
{
    char target[PATH_MAX];
    ssize_t n = readlinkat(e->parent_fd, e->name, target, sizeof target);
    if (n < 0)
        return err_sys(err, "read the link %s", e->path);
    *out = arena_dup_span(m->arena, (struct span){target, (size_t)n});
    return 0;
}

static int note(void *ctx, const struct fs_entry *e, struct err *err)
{
    struct merging *m = ctx;
    if (m->n == m->room) {
        size_t room = m->room ? 2 * m->room : 1024;
        struct item *v = reallocarray(m->v, room, sizeof *v);
        if (!v)
            return err_nomem(err);
        m->v = v;
        m->room = room;
    }
    struct item it = {.path = arena_dup(m->arena, e->path),
                      .size = (uint64_t)e->st.st_size,
                      .mode = e->st.st_mode,
                      .execution = m->reading};
    if ((S_ISLNK(it.mode) && read_link(m, e, &it.link, err) < 0) || arena_check(m->arena, err) < 0)
        return -1;
    m->v[m->n++] = it;
    return 0;
}

static int walk_all(struct merging *m, struct err *err)
{
    for (m->reading = 0; m->reading < m->x->n; m->reading++) {
        AUTO_FD fd = fs_open_beneath(m->from_fd, m->names[m->reading], O_RDONLY | O_DIRECTORY, 0, err);
        if (fd < 0 || fs_walk(fd, note, m, err) < 0)
            return -1;
    }
    return 0;
}

/* Equal paths side by side, in the order of the executions; folders before what they hold. */
static int compare(const void *left, const void *right)
{
    const struct item *a = left, *b = right;
    int order = strcmp(a->path, b->path);
    return order ? order : (a->execution > b->execution) - (a->execution < b->execution);
}

/* ---- whether it goes together ---- */

static int open_item(const struct merging *m, const struct item *it, struct err *err)
{
    AUTO_FD fd = fs_open_beneath(m->from_fd, m->names[it->execution], O_RDONLY | O_DIRECTORY, 0, err);
    return fd < 0 ? -1 : fs_open_beneath(fd, it->path, O_RDONLY, 0, err);
}

static int hash(const struct merging *m, const struct item *it, struct digest_value *out, struct err *err)
{
    struct digest *d = NULL;
    AUTO_FD fd = open_item(m, it, err);
    if (fd < 0 || digest_open(&d, BIT(DIGEST_SHA256), err) < 0)
        return -1;
    int rc = digest_fd(d, fd, 0, it->size, m->cancel, err);
    if (rc == 0)
        rc = digest_final(d, DIGEST_SHA256, out, err);
    digest_free(d);
    return rc < 0 ? err_wrap(err, "%.700s", it->path) : 0;
}

static int differ(const struct merging *m, const struct item *a, const struct item *b, const char *how, struct err *err)
{
    err_set(err, ERR_EXISTS, "%.700s: executions %s and %s have different %s of this name", a->path, name_of(m, a),
            name_of(m, b), how);
    return err_hint(err, "get them without merging, each in its own folder");
}

static int check_pair(const struct merging *m, const struct item *a, const struct item *b, struct err *err)
{
    struct digest_value of_a, of_b;
    if ((a->mode & S_IFMT) != (b->mode & S_IFMT))
        return differ(m, a, b, "things", err);
    if (S_ISLNK(a->mode))
        return strcmp(a->link, b->link) == 0 ? 0 : differ(m, a, b, "links", err);
    if (S_ISDIR(a->mode))
        return 0;
    if (a->size != b->size)
        return differ(m, a, b, "files", err);
    if (hash(m, a, &of_a, err) < 0 || hash(m, b, &of_b, err) < 0)
        return -1;
    return digest_equal(&of_a, &of_b) ? 0 : differ(m, a, b, "files", err);
}

/* A name of an execution is taken by its own folder. */
static int check_names(const struct merging *m, const struct item *it, struct err *err)
{
    for (size_t i = 0; i < m->x->n && !strchr(it->path, '/'); i++)
        if (strcmp(it->path, m->x->v[i].name) == 0) {
            err_set(err, ERR_EXISTS, "execution %s has a result of its own called %s, as an execution is",
                    name_of(m, it), it->path);
            return err_hint(err, "get them without merging, each in its own folder");
        }
    return 0;
}

static bool is_again(const struct merging *m, size_t i)
{
    return i > 0 && strcmp(m->v[i - 1].path, m->v[i].path) == 0;
}

static int check_all(const struct merging *m, struct err *err)
{
    for (size_t i = 0; i < m->n; i++) {
        if (is_own(&m->v[i]))
            continue;
        if (check_names(m, &m->v[i], err) < 0 || (is_again(m, i) && check_pair(m, &m->v[i - 1], &m->v[i], err) < 0))
            return -1;
    }
    return 0;
}

/* ---- moving ---- */

static int move(const struct merging *m, const struct item *it, const char *to, struct err *err)
{
    AUTO_FD fd = fs_open_beneath(m->from_fd, m->names[it->execution], O_RDONLY | O_DIRECTORY, 0, err);
    if (fd < 0)
        return -1;
    return renameat(fd, it->path, m->out_fd, to) < 0 ? err_sys(err, "put %.700s in its place", it->path) : 0;
}

static int move_own(const struct merging *m, const struct item *it, struct err *err)
{
    AUTO_STR to = str_printf(err, "%s/%s", name_of(m, it), it->path);
    if (!to || fs_mkdirs_beneath(m->out_fd, name_of(m, it), 0755, err) < 0)
        return -1;
    return move(m, it, to, err);
}

static int move_all(const struct merging *m, struct err *err)
{
    for (size_t i = 0; i < m->n; i++) {
        const struct item *it = &m->v[i];
        bool own = is_own(it);
        if (!own && is_again(m, i))
            continue;
        int rc = own                 ? move_own(m, it, err)
                 : S_ISDIR(it->mode) ? fs_mkdirs_beneath(m->out_fd, it->path, (it->mode & 0777) | S_IRWXU, err)
                                     : move(m, it, it->path, err);
        if (rc < 0)
            return -1;
    }
    return 0;
}

/* What is moved from is no longer whole: should this end halfway, it must not be found under its name. */
static int set_aside(struct merging *m, struct err *err)
{
    if (fs_mkdirs_beneath(m->from_fd, GET_MERGING, 0700, err) < 0)
        return -1;
    int aside = fs_open_beneath(m->from_fd, GET_MERGING, O_RDONLY | O_DIRECTORY, 0, err);
    if (aside < 0)
        return -1;
    for (size_t i = 0; i < m->x->n; i++)
        if (renameat(m->from_fd, m->names[i], aside, m->names[i]) < 0) {
            err_sys(err, "set execution %s aside", m->x->v[i].name);
            close(aside);
            return -1;
        }
    m->from_fd = aside;
    return 0;
}

static int merge(struct merging *m, struct err *err)
{
    if (walk_all(m, err) < 0)
        return -1;
    if (m->n > 0)
        qsort(m->v, m->n, sizeof *m->v, compare);
    if (check_all(m, err) < 0 || set_aside(m, err) < 0)
        return -1;
    int rc = move_all(m, err);
    close(m->from_fd);
    return rc;
}

int get_merge(int from_fd, const char *const *names, const struct job_executions *x, int out_fd,
              const struct cancel *cancel, struct err *err)
{
    struct merging m = {.from_fd = from_fd, .out_fd = out_fd, .names = names, .x = x, .cancel = cancel};
    m.arena = arena_new(MERGE_MEMORY_MAX, err);
    int rc = m.arena ? merge(&m, err) : -1;
    free(m.v);
    arena_free(m.arena);
    return rc;
}
