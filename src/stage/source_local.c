/* A local folder or file as a source: mounted where it lies, not copied into the cache.
 *
 * The path is followed to where it really is before the allow-list is asked, and opened there without following links,
 * so that what was judged is what is meant. It is looked at again right before it is mounted: what a job with write
 * access put in its place meanwhile is refused. `berth fetch` copies: files and folders; links, devices and the like
 * are left out. */
#include "base/fs.h"
#include "base/path.h"
#include "stage/stage_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct local_file {
    const char *path; /* below the target */
    uint64_t size;
    int64_t modified_ms;
};

struct source_local_state {
    struct source base;
    char *real; /* where the path leads to; base.host_path */
    dev_t device;
    ino_t inode;
    /* For berth fetch, after resolve(): */
    struct arena *arena;
    struct local_file *files;
    const char **folders;
    size_t room, folder_room; /* of the arrays */
    size_t left_out;          /* links and the like */
    int root_fd;              /* the folder, or that of the file; -1 */
};

static struct source_local_state *state_of(struct source *s)
{
    return (struct source_local_state *)s;
}

/* --- may it be used? ---------------------------------------------------------------------------------------------- */

static bool is_within(const char *real, const char *folder)
{
    return str_eq(folder, "/") || str_eq(real, folder) || path_is_below(span_of(real), span_of(folder));
}

static int check_allowed(const struct source_local_state *s, struct err *err)
{
    const char *const *allow = s->base.stage->opts.access.local_allow;
    for (size_t i = 0; allow && allow[i]; i++) {
        AUTO_STR folder = realpath(allow[i], NULL);
        if (folder && is_within(s->real, folder))
            return 0;
    }
    const char *path = s->base.input->local.path;
    if (str_eq(path, s->real))
        err_set(err, ERR_REFUSED, "%s: local folders have to be allowed, and this one is not", path);
    else
        err_set(err, ERR_REFUSED, "%s: it leads to %s, which is not an allowed local folder", path, s->real);
    return err_hint(err, "allow it with --set local.allow=%s, or by local.allow in the configuration", s->real);
}

/* Whether `real` is `folder` or lies below it. Told by the folders themselves: a mount may give one a second path. */
static int lies_in(const char *real, const char *folder, bool *lies, struct err *err)
{
    struct stat want, st;
    AUTO_STR at = str_dup(real, err);
    *lies = false;
    if (!at)
        return -1;
    if (stat(folder, &want) < 0)
        return err_sys(err, "look at %s", folder);
    while (*at && !*lies) {
        if (stat(at, &st) < 0)
            return err_sys(err, "look at %s", at);
        *lies = st.st_dev == want.st_dev && st.st_ino == want.st_ino;
        *strrchr(at, '/') = '\0';
    }
    return 0;
}

/* The index, the key, other jobs' inputs and results: to be neither read nor written by any job. */
static int check_apart(const struct source_local_state *s, const char *own, struct err *err)
{
    bool holds = false, held = false;
    AUTO_STR folder = realpath(own, NULL);
    if (!folder)
        return errno == ENOENT ? 0 : err_sys(err, "look at %s", own);
    if (lies_in(folder, s->real, &holds, err) < 0 || lies_in(s->real, folder, &held, err) < 0)
        return -1;
    if (!holds && !held)
        return 0;
    if (held)
        err_set(err, ERR_REFUSED, "%s: it belongs to berth's own folder %s, which no job may see", s->real, folder);
    else
        err_set(err, ERR_REFUSED, "%s: berth's own folder %s lies in it, which no job may see", s->real, folder);
    return err_hint(err, "name a folder that lies apart from what berth keeps: its cache and, on a node, its state");
}

static int check_not_ours(const struct source_local_state *s, struct err *err)
{
    const struct stage_opts *o = &s->base.stage->opts;
    if ((o->cache && check_apart(s, cache_dir(o->cache), err) < 0) ||
        (o->work_dir && check_apart(s, o->work_dir, err) < 0))
        return -1;
    for (const char *const *own = o->access.local_private; own && *own; own++)
        if (check_apart(s, *own, err) < 0)
            return -1;
    return 0;
}

/* Opened where it really is, every step confined: a link that came meanwhile is not followed. */
static int open_real(const struct source_local_state *s, int flags, struct err *err)
{
    AUTO_FD root = fs_open_dir("/", err);
    return root < 0 ? -1 : fs_open_beneath(root, s->real + 1, flags, 0, err);
}

/* The engine may be root: what berth's own user may not read, or write, a job of theirs may not either. */
static int check_own_access(const struct source_local_state *s, int fd, bool folder, struct err *err)
{
    char proc[32];
    int want = R_OK | (folder ? X_OK : 0) | (s->base.input->writable ? W_OK : 0);
    snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
    if (faccessat(AT_FDCWD, proc, want, AT_EACCESS) == 0)
        return 0;
    return err_sys(err, "%s: %s it", s->real, want & W_OK ? "read and write" : "read");
}

static int look(struct source_local_state *s, struct stat *st, struct err *err)
{
    AUTO_FD fd = open_real(s, O_PATH | O_NOFOLLOW, err);
    if (fd < 0)
        return -1;
    if (fstat(fd, st) < 0)
        return err_sys(err, "look at %s", s->real);
    if (!S_ISDIR(st->st_mode) && !S_ISREG(st->st_mode))
        return err_set(err, ERR_UNSUPPORTED, "%s is neither a folder nor a regular file", s->real);
    return check_own_access(s, fd, S_ISDIR(st->st_mode), err);
}

static int find(struct source_local_state *s, struct err *err)
{
    const char *path = s->base.input->local.path;
    struct stat st;
    s->real = realpath(path, NULL);
    if (!s->real) {
        err_sys(err, "local folder %s", path);
        return err_hint(err, "the path is one of this machine; is it spelt right, and is the disk mounted?");
    }
    if (str_eq(s->real, "/")) {
        err_set(err, ERR_REFUSED, "%s: the whole file system is no input", path);
        return err_hint(err, "name the folder that the job needs");
    }
    if (check_allowed(s, err) < 0 || check_not_ours(s, err) < 0 || look(s, &st, err) < 0)
        return -1;
    s->device = st.st_dev;
    s->inode = st.st_ino;
    s->base.host_path = s->real;
    s->base.single = S_ISREG(st.st_mode);
    return 0;
}

int source_local_recheck(struct source *base, struct err *err)
{
    struct source_local_state *s = state_of(base);
    struct stat st;
    if (look(s, &st, err) < 0)
        return -1;
    if (st.st_dev == s->device && st.st_ino == s->inode)
        return 0;
    return err_set(err, ERR_CHANGED, "%s was replaced by another folder or file since the job was checked", s->real);
}

/* --- what berth fetch copies -------------------------------------------------------------------------------------- */

/* Room for one more, doubled when it is used up; the arena bounds the whole. */
static void *grow(struct arena *a, void *array, size_t n, size_t *room, size_t each)
{
    if (n < *room)
        return array;
    size_t more = *room ? 2 * *room : 64;
    void *larger = arena_array(a, more, each);
    if (!larger)
        return NULL;
    if (n > 0)
        memcpy(larger, array, n * each);
    *room = more;
    return larger;
}

static int add_file(struct source_local_state *s, const char *path, const struct stat *st, struct err *err)
{
    struct local_file *files = grow(s->arena, s->files, s->base.file_count, &s->room, sizeof *files);
    if (!files)
        return arena_check(s->arena, err) < 0 ? -1 : err_nomem(err);
    s->files = files;
    files[s->base.file_count++] = (struct local_file){.path = arena_dup(s->arena, path),
                                                      .size = (uint64_t)st->st_size,
                                                      .modified_ms = (int64_t)st->st_mtim.tv_sec * 1000};
    return arena_check(s->arena, err);
}

static int add_folder(struct source_local_state *s, const char *path, struct err *err)
{
    const char **folders = grow(s->arena, s->folders, s->base.folder_count, &s->folder_room, sizeof *folders);
    if (!folders)
        return arena_check(s->arena, err) < 0 ? -1 : err_nomem(err);
    s->folders = folders;
    folders[s->base.folder_count++] = arena_dup(s->arena, path);
    s->base.folders = folders;
    return arena_check(s->arena, err);
}

static int list_entry(void *ctx, const struct fs_entry *e, struct err *err)
{
    struct source_local_state *s = ctx;
    if (cancel_check(&s->base.stage->stop, err) < 0)
        return -1;
    if (S_ISDIR(e->st.st_mode))
        return add_folder(s, e->path, err);
    if (S_ISREG(e->st.st_mode))
        return add_file(s, e->path, &e->st, err);
    s->left_out++;
    return 0;
}

static int list_one(struct source_local_state *s, struct err *err)
{
    const char *name = strrchr(s->real, '/') + 1;
    AUTO_STR folder = str_dup_span((struct span){s->real, (size_t)(name - s->real)}, err);
    struct stat st;
    if (!folder || (s->root_fd = fs_open_dir(folder, err)) < 0)
        return -1;
    if (fstatat(s->root_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(err, "look at %s", s->real);
    return add_file(s, name, &st, err);
}

static int list_all(struct source_local_state *s, struct err *err)
{
    s->root_fd = open_real(s, O_RDONLY | O_DIRECTORY, err);
    if (s->root_fd < 0 || fs_walk(s->root_fd, list_entry, s, err) != 0)
        return -1;
    if (s->left_out > 0)
        stage_warn(s->base.stage, s->base.index, "%s: %zu links, devices or the like are left out", s->real,
                   s->left_out);
    return 0;
}

static int resolve_local(struct source *base, struct err *err)
{
    struct source_local_state *s = state_of(base);
    if (source_local_recheck(base, err) < 0)
        return -1;
    if (base->stage->opts.cache) /* mounted as it is: nothing to list */
        return 0;
    base->file_count = base->folder_count = s->room = s->folder_room = s->left_out = 0;
    auto_close(&s->root_fd);
    s->root_fd = -1;
    arena_free(s->arena);
    s->arena = arena_new(STAGE_TREE_BYTES_MAX, err);
    if (!s->arena)
        return -1;
    return base->single ? list_one(s, err) : list_all(s, err);
}

static void file_local(struct source *base, size_t i, struct source_file *out)
{
    const struct source_local_state *s = state_of(base);
    const struct local_file *f = &s->files[i];
    *out = (struct source_file){
        .path = f->path, .location = s->real, .size = f->size, .modified_ms = f->modified_ms, .proved = true};
}

static int copy_local(struct source *base, size_t i, int to_fd, uint64_t *size, struct err *err)
{
    const struct source_local_state *s = state_of(base);
    enum fs_copy_how how;
    struct stat st;
    AUTO_FD from = fs_open_beneath(s->root_fd, s->files[i].path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, err);
    if (from < 0)
        return -1;
    if (fstat(from, &st) < 0)
        return err_sys(err, "look at %s", s->files[i].path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_CHANGED, "%s: no longer a regular file", s->files[i].path);
    *size = (uint64_t)st.st_size;
    if (fs_copy_content(from, to_fd, *size, &how, err) < 0)
        return err_wrap(err, "copy %s", s->files[i].path);
    return 0;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static int describe_local(const struct source *base, json_t *into, struct err *err)
{
    const struct source_local_state *s = (const struct source_local_state *)base;
    return json_put_str(into, "path", s->real, err);
}

static void free_local(struct source *base)
{
    struct source_local_state *s = state_of(base);
    auto_close(&s->root_fd);
    arena_free(s->arena);
    free(s->real);
    free(base->identity);
    free(base->label);
    free(s);
}

static const struct source_ops ops_local = {
    .name = "local",
    .resolve = resolve_local,
    .file = file_local,
    .copy = copy_local,
    .describe = describe_local,
    .free = free_local,
};

int source_local_new(struct source **out, struct stage *stage, size_t index, struct err *err)
{
    struct source_local_state *s = calloc(1, sizeof *s);
    const struct input *in = &stage->inputs[index];
    if (!s)
        return err_nomem(err);
    s->base = (struct source){.ops = &ops_local, .input = in, .stage = stage, .index = index};
    s->root_fd = -1;
    int rc = find(s, err);
    if (rc == 0) {
        s->base.label = str_printf(err, in->target ? "file://%s → %s" : "file://%s", in->local.path, in->target);
        s->base.identity = str_printf(err, "file://%s\nsource=local", s->real);
        rc = s->base.label && s->base.identity ? 0 : -1;
    }
    if (rc < 0) {
        free_local(&s->base);
        return -1;
    }
    *out = &s->base;
    return 0;
}
