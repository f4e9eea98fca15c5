/* Walking a folder and writing each entry. Measuring is packing with content that is not read. */
#include "archive/pack.h"

#include "archive/name_priv.h"
#include "archive/sparse_priv.h"
#include "archive/tar_head_priv.h"
#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

#define READ_BYTES       ((size_t)256 << 10)
#define HEAD_MAX         ((size_t)16 << 20) /* of one entry: the map of a sparse file is the largest part */
#define MAX_BYTES        ((uint64_t)1 << 40)
#define MAX_ENTRIES      1000000
#define LINK_TARGET_ROOM 4096

struct pack {
    const struct archive_pack_opts *opts;
    archive_write_fn write;
    void *ctx;
    bool measuring;
    uint64_t tar_bytes;
    struct archive_totals *totals;
    uint8_t *block; /* READ_BYTES */
    struct buf head;
    struct extents extents;
};

static int emit(struct pack *p, const void *bytes, size_t n, struct err *err)
{
    p->tar_bytes += n;
    return p->measuring || n == 0 ? 0 : p->write(p->ctx, bytes, n, err);
}

static int emit_head(struct pack *p, const struct tar_head *h, struct err *err)
{
    buf_reset(&p->head);
    tar_head_write(h, &p->head);
    if (h->sparse)
        tar_map_write(p->extents.v, p->extents.n, &p->head);
    return buf_check(&p->head, h->path, err) < 0 ? -1 : emit(p, p->head.p, p->head.n, err);
}

static int emit_padding(struct pack *p, uint64_t content, struct err *err)
{
    static const uint8_t zeros[TAR_BLOCK];
    return emit(p, zeros, tar_padding(content), err);
}

/* ---- what is left out ---- */

static void tell(const struct pack *p, const char *path, const char *why)
{
    if (p->opts->odd && !p->measuring)
        p->opts->odd(p->opts->ctx, path, why);
}

static int leave_out(struct pack *p, const char *path, const char *why)
{
    p->totals->skipped++;
    tell(p, path, why);
    return 0;
}

static const char *odd_kind(mode_t mode)
{
    return S_ISFIFO(mode)                   ? "a FIFO was left out"
           : S_ISSOCK(mode)                 ? "a socket was left out"
           : S_ISCHR(mode) || S_ISBLK(mode) ? "a device was left out"
                                            : "an entry of unknown kind was left out";
}

/* ---- limits ---- */

static int count(struct pack *p, const char *path, uint64_t *which, uint64_t bytes, struct err *err)
{
    const struct archive_pack_opts *o = p->opts;
    struct archive_totals *t = p->totals;
    uint64_t most = o->max_entries ? o->max_entries : MAX_ENTRIES, room = o->max_bytes ? o->max_bytes : MAX_BYTES;
    if (t->files + t->folders + t->links >= most)
        return err_set(err, ERR_LIMIT, "more than %" PRIu64 " files and folders", most);
    if (bytes > room - t->bytes)
        return err_set(err, ERR_LIMIT, "%s: more than %" PRIu64 " bytes in all", path, room);
    ++*which;
    t->bytes += bytes;
    return 0;
}

/* ---- entries ---- */

static int pack_folder(struct pack *p, const struct fs_entry *e, struct err *err)
{
    const struct tar_head h = {.type = TAR_FOLDER, .path = e->path, .mode = e->st.st_mode, .mtime = e->st.st_mtim};
    return count(p, e->path, &p->totals->folders, 0, err) < 0 ? -1 : emit_head(p, &h, err);
}

static int pack_link(struct pack *p, const struct fs_entry *e, struct err *err)
{
    char target[LINK_TARGET_ROOM];
    ssize_t n = readlinkat(e->parent_fd, e->name, target, sizeof target - 1);
    if (n < 0)
        return errno == ENOENT ? 0 : err_sys(err, "read the link %s", e->path);
    target[n] = '\0';
    const char *fault = archive_link_fault(e->path, (struct span){target, (size_t)n});
    if (fault) {
        char why[160];
        snprintf(why, sizeof why, "a link that %s was left out", fault);
        return leave_out(p, e->path, why);
    }
    const struct tar_head h = {
        .type = TAR_SYMLINK, .path = e->path, .link = target, .mode = 0777, .mtime = e->st.st_mtim};
    return count(p, e->path, &p->totals->links, 0, err) < 0 ? -1 : emit_head(p, &h, err);
}

static int read_piece(const struct pack *p, int fd, const char *path, size_t n, uint64_t offset, struct err *err)
{
    struct err why = ERR_INIT;
    if (fs_pread_all(fd, p->block, n, offset, &why) == 0)
        return 0;
    if (why.kind == ERR_CORRUPT)
        return err_set(err, ERR_CHANGED, "%s became shorter while it was read", path);
    err_move(err, &why);
    return err_wrap(err, "%s", path);
}

/* `size`: of the whole file, which is counted already. */
static int pack_extent(struct pack *p, int fd, const char *path, const struct tar_extent *x, uint64_t size,
                       struct err *err)
{
    for (uint64_t done = 0; done < x->size;) {
        size_t n = x->size - done < READ_BYTES ? (size_t)(x->size - done) : READ_BYTES;
        if (cancel_check(p->opts->cancel, err) < 0 || read_piece(p, fd, path, n, x->offset + done, err) < 0 ||
            emit(p, p->block, n, err) < 0)
            return -1;
        done += n;
        if (p->opts->progress)
            p->opts->progress(p->opts->ctx, p->totals->bytes - size + x->offset + done);
    }
    return 0;
}

static int pack_content(struct pack *p, int fd, const char *path, uint64_t size, struct err *err)
{
    uint64_t stored = extents_bytes(&p->extents);
    if (p->measuring)
        p->tar_bytes += stored;
    for (size_t i = 0; !p->measuring && i < p->extents.n; i++)
        if (pack_extent(p, fd, path, &p->extents.v[i], size, err) < 0)
            return -1;
    return emit_padding(p, stored, err);
}

/* How many bytes of content the header announces: those of the pieces, behind those of the map. */
static int announce(struct pack *p, struct tar_head *h, struct err *err)
{
    h->stored = extents_bytes(&p->extents);
    if (!h->sparse)
        return 0;
    AUTO_BUF map;
    buf_init(&map, HEAD_MAX);
    tar_map_write(p->extents.v, p->extents.n, &map);
    h->stored += map.n;
    return buf_check(&map, h->path, err);
}

/* Set-ID and sticky bits end with mode & 0777; it is told where it changes what a program may do. */
static void tell_set_id(const struct pack *p, const char *path, mode_t mode)
{
    if (mode & (S_ISUID | S_ISGID))
        tell(p, path, "its set-user-ID and set-group-ID bits were dropped");
}

static int pack_file(struct pack *p, const struct fs_entry *e, struct err *err)
{
    AUTO_FD fd = openat(e->parent_fd, e->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    if (fd < 0)
        return errno == ENOENT ? 0 : err_sys(err, "open %s", e->path);
    if (fstat(fd, &st) < 0)
        return err_sys(err, "look at %s", e->path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_CHANGED, "%s was replaced while it was read", e->path);
    struct tar_head h = {
        .type = TAR_FILE, .path = e->path, .mode = st.st_mode, .mtime = st.st_mtim, .size = (uint64_t)st.st_size};
    if (count(p, e->path, &p->totals->files, h.size, err) < 0 ||
        extents_find(&p->extents, fd, &st, &h.sparse, err) < 0 || announce(p, &h, err) < 0)
        return -1;
    tell_set_id(p, e->path, st.st_mode);
    return emit_head(p, &h, err) < 0 ? -1 : pack_content(p, fd, e->path, h.size, err);
}

static int visit(void *ctx, const struct fs_entry *e, struct err *err)
{
    struct pack *p = ctx;
    struct err why = ERR_INIT;
    if (cancel_check(p->opts->cancel, err) < 0)
        return -1;
    if (path_check_relative(span_of(e->path), &why) < 0)
        return leave_out(p, e->path, "its path is too long for an archive; it was left out");
    if (S_ISDIR(e->st.st_mode))
        return pack_folder(p, e, err);
    if (S_ISREG(e->st.st_mode))
        return pack_file(p, e, err);
    return S_ISLNK(e->st.st_mode) ? pack_link(p, e, err) : leave_out(p, e->path, odd_kind(e->st.st_mode));
}

/* Two zero blocks end an archive. */
static int emit_end(struct pack *p, struct err *err)
{
    static const uint8_t zeros[2 * TAR_BLOCK];
    return emit(p, zeros, sizeof zeros, err);
}

static int pack(struct pack *p, int dir_fd, struct err *err)
{
    *p->totals = (struct archive_totals){0};
    buf_init(&p->head, HEAD_MAX);
    p->block = p->measuring ? NULL : malloc(READ_BYTES);
    int rc = p->measuring || p->block ? fs_walk(dir_fd, visit, p, err) : err_nomem(err);
    if (rc == 0)
        rc = emit_end(p, err);
    buf_release(&p->head);
    extents_release(&p->extents);
    free(p->block);
    return rc;
}

int archive_pack(int dir_fd, archive_write_fn write, void *ctx, const struct archive_pack_opts *opts,
                 struct archive_totals *totals, struct err *err)
{
    struct pack p = {.opts = opts, .write = write, .ctx = ctx, .totals = totals};
    return pack(&p, dir_fd, err);
}

int archive_measure(int dir_fd, const struct archive_pack_opts *opts, uint64_t *tar_bytes,
                    struct archive_totals *totals, struct err *err)
{
    struct pack p = {.opts = opts, .measuring = true, .totals = totals};
    int rc = pack(&p, dir_fd, err);
    *tar_bytes = p.tar_bytes;
    return rc;
}
