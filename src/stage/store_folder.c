/* A plain folder as the place where fetched bytes are kept (`berth fetch`). Partial files lie in .berth-partial, named
 * by the hash of path and version so that a restart finds them, and move into place when they are whole and verified.
 */
#include "base/fs.h"
#include "base/path.h"
#include "stage/stage_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <search.h>

#define PARTIAL_NAME_MAX 80
#define LINK_NAME        "link"      /* while it is made; one at a time */
#define PARTIAL_KEY_MAX  (64u << 10) /* path, location and version together */

static int partial_name(const char *path, const struct source_file *file, char out[PARTIAL_NAME_MAX], struct err *err)
{
    struct digest_value v;
    char hex[DIGEST_HEX_MAX];
    AUTO_BUF key;
    buf_init(&key, PARTIAL_KEY_MAX);
    buf_addf(&key, "%s\n%s\n%s", path, file->location, file->version ? file->version : "");
    if (buf_check(&key, "name of a partial file", err) < 0 || digest_bytes(DIGEST_SHA256, key.p, key.n, &v, err) < 0)
        return -1;
    snprintf(out, PARTIAL_NAME_MAX, "%.40s", digest_hex(hex, &v));
    return 0;
}

char *store_folder_path(const struct stage_input *in, const char *path, struct err *err)
{
    const char *target = in->stage->inputs[in->index].target;
    while (target && *target == '/')
        target++;
    return target && *target ? str_printf(err, "%s/%s", target, path) : str_dup(path, err);
}

/* --- two inputs, one path ----------------------------------------------------------------------------------------- */

struct claim {
    char *path;
    char *what; /* location and version, or where a link leads */
    bool has_content;
    struct digest_value content; /* what the bytes will be held against, too strong for chance */
    size_t input;
};

static int compare_claims(const void *a, const void *b)
{
    return strcmp(((const struct claim *)a)->path, ((const struct claim *)b)->path);
}

static void claim_free(void *node)
{
    struct claim *c = node;
    free(c->path);
    free(c->what);
    free(c);
}

/* Takes `what` over. */
static struct claim *claim_new(const struct stage_input *in, const char *path, char *what, struct err *err)
{
    struct claim *c = calloc(1, sizeof *c);
    if (!c) {
        free(what);
        err_nomem(err);
        return NULL;
    }
    c->input = in->index;
    c->path = str_dup(path, err);
    c->what = what;
    if (c->path && c->what)
        return c;
    claim_free(c);
    return NULL;
}

static bool claims_agree(const struct claim *a, const struct claim *b)
{
    return str_eq(a->what, b->what) || (a->has_content && b->has_content && digest_equal(&a->content, &b->content));
}

/* Takes `mine` over (NULL: it could not be made). 0: this input writes the path; 1: another input writes the same
 * there; -1: another writes something else. */
static int claim_path(struct stage *s, struct claim *mine, struct err *err)
{
    if (!mine)
        return -1;
    pthread_mutex_lock(&s->folder.mu);
    struct claim **node = tsearch(mine, &s->folder.claims, compare_claims);
    struct claim *holder = node ? *node : NULL;
    pthread_mutex_unlock(&s->folder.mu);
    if (holder == mine)
        return 0;
    int rc = 1;
    if (!holder)
        rc = err_nomem(err);
    else if (holder->input == mine->input)
        rc = 0; /* resolved again after a change */
    else if (!claims_agree(holder, mine))
        rc = err_set(err, ERR_INVALID, "%s and %s both give %s, with different content", stage_label(s, holder->input),
                     stage_label(s, mine->input), mine->path);
    claim_free(mine);
    return rc;
}

static int claim_file(const struct fetch *f, const struct source_file *file, struct err *err)
{
    struct stage *s = f->in->stage;
    const struct xfer_want *want = file->want;
    if (s->n == 1)
        return 0;
    char *what = str_printf(err, "%s\n%s", file->location, file->version ? file->version : "");
    struct claim *mine = claim_new(f->in, f->path, what, err);
    if (mine && want && want->has_full && (want->full.kind == DIGEST_SHA256 || want->git_blob)) {
        mine->has_content = true;
        mine->content = want->full;
    }
    return claim_path(s, mine, err);
}

void store_folder_release(struct stage *s)
{
    tdestroy(s->folder.claims, claim_free);
    s->folder.claims = NULL;
}

/* --- the store ---------------------------------------------------------------------------------------------------- */

/* Where the origin states no time, the content itself is compared: no byte of it is moved again. */
static bool has_content(const struct stage *s, int fd, const struct source_file *file, struct err *err)
{
    struct digest *d = NULL;
    struct digest_value v;
    const struct xfer_want *want = file->want;
    if (!want || !want->has_full || digest_open(&d, BIT(want->full.kind), err) < 0)
        return false;
    bool same = (!want->git_blob || digest_git_blob_start(d, file->size, err) == 0) &&
                digest_fd(d, fd, 0, file->size, &s->stop, err) == 0 && digest_final(d, want->full.kind, &v, err) == 0 &&
                digest_equal(&v, &want->full);
    digest_free(d);
    return same;
}

static bool has_bytes(int fd, struct span bytes, struct err *err)
{
    char chunk[4096];
    for (size_t at = 0; at < bytes.n;) {
        size_t n = bytes.n - at < sizeof chunk ? bytes.n - at : sizeof chunk;
        if (fs_pread_all(fd, chunk, n, at, err) < 0 || memcmp(chunk, bytes.p + at, n) != 0)
            return false;
        at += n;
    }
    return true;
}

/* What lies there already counts when size and modification time, or digest, or all bytes are the origin's. */
static bool is_there(const struct stage *s, const char *path, const struct source_file *file)
{
    struct stat st;
    struct err ignored = ERR_INIT;
    bool by_time = file->modified_ms != 0;
    int flags = (by_time ? O_PATH : O_RDONLY | O_NONBLOCK) | O_NOFOLLOW;
    if (s->folder.opts->force || file->size == XFER_SIZE_UNKNOWN || (!by_time && !file->want && !file->content.p))
        return false;
    AUTO_FD fd = fs_open_beneath(s->folder.dir_fd, path, flags, 0, &ignored);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != file->size)
        return false;
    if (file->content.p)
        return has_bytes(fd, file->content, &ignored);
    return by_time ? st.st_mtim.tv_sec == file->modified_ms / 1000 : has_content(s, fd, file, &ignored);
}

static int folder_begin(struct fetch *f, const struct source_file *file, enum cache_fill_state *state, struct err *err)
{
    char name[PARTIAL_NAME_MAX];
    f->path = store_folder_path(f->in, file->path, err);
    if (!f->path)
        return -1;
    int claimed = claim_file(f, file, err);
    if (claimed < 0)
        return -1;
    if (claimed > 0 || is_there(f->in->stage, f->path, file)) {
        *state = CACHE_FILL_HIT;
        return 0;
    }
    if (partial_name(f->path, file, name, err) < 0 || !(f->temporary = str_dup(name, err)))
        return -1;
    f->versioned = file->version != NULL;
    *state = CACHE_FILL_MINE;
    return 0;
}

/* The map is bound to the boot of the machine, too: after a power cut nobody knows which of the marked bytes had
 * reached the disk, and not every origin states a digest to check them against. */
static int open_map(struct fetch *f, uint64_t size, struct err *err)
{
    char name[PARTIAL_NAME_MAX + 8], identity[PARTIAL_NAME_MAX + 24];
    int64_t boot = 0;
    snprintf(name, sizeof name, "%s.map", f->temporary);
    f->map_fd = fs_open_beneath(f->in->stage->folder.partial_fd, name, O_RDWR | O_CREAT, 0600, err);
    if (f->map_fd < 0 || fs_boot_id(&boot, err) < 0)
        return -1;
    snprintf(identity, sizeof identity, "%s %lld", f->temporary, (long long)boot);
    return partmap_open(&f->map, f->map_fd, size, XFER_PART_DEFAULT, span_of(identity), err);
}

static int folder_open(struct fetch *f, uint64_t size, int *fd, struct partmap **map, struct err *err)
{
    struct stage *s = f->in->stage;
    bool resumable = f->versioned && size != XFER_SIZE_UNKNOWN && size > XFER_PART_DEFAULT;
    f->fd =
        fs_open_beneath(s->folder.partial_fd, f->temporary, O_RDWR | O_CREAT | (resumable ? 0 : O_TRUNC), 0644, err);
    if (f->fd < 0 || (resumable && open_map(f, size, err) < 0))
        return -1;
    *map = f->map;
    *fd = f->fd;
    return 0;
}

static void close_partial(struct fetch *f)
{
    partmap_free(f->map);
    f->map = NULL;
    if (f->map_fd >= 0)
        close(f->map_fd);
    if (f->fd >= 0)
        close(f->fd);
    f->map_fd = f->fd = -1;
}

static void remove_map(const struct fetch *f)
{
    char name[PARTIAL_NAME_MAX + 8];
    snprintf(name, sizeof name, "%s.map", f->temporary);
    unlinkat(f->in->stage->folder.partial_fd, name, 0);
}

/* Confined: the parent is opened beneath the folder, and only the last component is renamed into it. */
static int move_into_place(const struct stage *s, const char *temporary, const char *path, struct err *err)
{
    struct span base = path_basename(span_of(path));
    AUTO_FD parent = -1;
    if (base.p == path) {
        parent = fcntl(s->folder.dir_fd, F_DUPFD_CLOEXEC, 0);
    } else {
        AUTO_STR dir = str_dup_span((struct span){path, (size_t)(base.p - path) - 1}, err);
        if (!dir)
            return -1;
        struct err missing = ERR_INIT;
        parent = fs_open_beneath(s->folder.dir_fd, dir, O_DIRECTORY | O_RDONLY, 0, &missing);
        if (parent < 0) {
            if (fs_mkdirs_beneath(s->folder.dir_fd, dir, 0755, err) < 0)
                return -1;
            parent = fs_open_beneath(s->folder.dir_fd, dir, O_DIRECTORY | O_RDONLY, 0, err);
        }
    }
    if (parent < 0)
        return err_sys(err, "open the folder of %s", path);
    if (renameat(s->folder.partial_fd, temporary, parent, base.p) < 0) {
        if (errno == EISDIR || errno == ENOTEMPTY || errno == EEXIST)
            return err_set(err, ERR_EXISTS, "%s: a folder is in the way", path);
        return err_sys(err, "move %s into place", path);
    }
    return 0;
}

static int place(const struct fetch *f, const struct source_file *file, struct err *err)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = file->modified_ms / 1000}};
    if (file->modified_ms > 0 && futimens(f->fd, times) < 0)
        return err_sys(err, "set the time of %s", file->path);
    return move_into_place(f->in->stage, f->temporary, f->path, err);
}

static int folder_commit(struct fetch *f, const struct source_file *file, struct err *err)
{
    if (f->map)
        remove_map(f);
    int rc = place(f, file, err);
    if (rc < 0)
        unlinkat(f->in->stage->folder.partial_fd, f->temporary, 0);
    close_partial(f);
    free(str_take(&f->temporary));
    return rc;
}

static void folder_abandon(struct fetch *f, bool keep)
{
    bool resumable = keep && f->map;
    if (f->temporary && !resumable && f->fd >= 0) {
        unlinkat(f->in->stage->folder.partial_fd, f->temporary, 0);
        remove_map(f);
    }
    close_partial(f);
    free(str_take(&f->temporary));
}

/* --- links -------------------------------------------------------------------------------------------------------- */

static bool leads_there(const struct stage *s, const char *path, const struct buf *text)
{
    char held[PATH_MAX];
    struct err ignored = ERR_INIT;
    AUTO_FD fd = fs_open_beneath(s->folder.dir_fd, path, O_PATH | O_NOFOLLOW, 0, &ignored);
    ssize_t n = fd < 0 ? -1 : readlinkat(fd, "", held, sizeof held); /* fails where it is no link */
    return n >= 0 && span_eq((struct span){held, (size_t)n}, buf_span(text));
}

static int make_link(struct stage_input *in, const char *path, const char *to, struct err *err)
{
    struct stage *s = in->stage;
    struct claim *mine = s->n > 1 ? claim_new(in, path, str_printf(err, "link to %s", to), err) : NULL;
    int claimed = s->n > 1 ? claim_path(s, mine, err) : 0;
    if (claimed != 0)
        return claimed < 0 ? -1 : 0;
    AUTO_BUF text;
    buf_init(&text, PATH_MAX);
    path_link_text(path, to, &text);
    if (buf_check(&text, path, err) < 0)
        return -1;
    if (leads_there(s, path, &text))
        return 0;
    if (unlinkat(s->folder.partial_fd, LINK_NAME, 0) < 0 && errno != ENOENT)
        return err_sys(err, "remove what an interrupted fetch left");
    if (symlinkat(buf_str(&text), s->folder.partial_fd, LINK_NAME) < 0)
        return err_sys(err, "make a link");
    int rc = move_into_place(s, LINK_NAME, path, err);
    if (rc < 0)
        unlinkat(s->folder.partial_fd, LINK_NAME, 0);
    return rc;
}

int store_folder_links(struct stage_input *in, struct err *err)
{
    const struct source *src = in->source;
    for (size_t i = 0; i < src->link_count; i++) {
        AUTO_STR path = store_folder_path(in, src->links[i].path, err);
        AUTO_STR to = path ? store_folder_path(in, src->links[i].to, err) : NULL;
        if (!to || make_link(in, path, to, err) < 0)
            return -1;
    }
    return 0;
}

const struct store_ops store_folder = {
    .begin = folder_begin, .open = folder_open, .commit = folder_commit, .abandon = folder_abandon};
