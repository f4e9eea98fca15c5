/* Unpacking: tar.c reads headers and content, name.c judges the names, place.c makes the files. */
#include "archive/archive.h"

#include "archive/name_priv.h"
#include "archive/place_priv.h"
#include "archive/tar_priv.h"
#include "base/fs.h"

#include <errno.h>

#define DEFAULT_MAX_BYTES   ((uint64_t)1 << 40)
#define DEFAULT_MAX_ENTRIES 1000000
#define FILE_MODE           0755

struct unpack {
    const struct archive_unpack_opts *opts;
    uint64_t max_bytes, max_entries;
    uint64_t entries, content_bytes; /* seen, whether unpacked or skipped */
    struct stream stream;
    struct tar tar;
    struct place place;
    struct archive_totals totals;
    struct err *err;
};

/* Entries that cannot be or may not be unpacked, by the caller's choice. */
static int odd(struct unpack *u, const char *path, const char *why)
{
    if (u->opts->odd == ARCHIVE_ODD_REFUSE)
        return err_set(u->err, ERR_REFUSED, "the entry \"%s\" %s", path, why);
    u->totals.skipped++;
    if (u->opts->skipped)
        u->opts->skipped(u->opts->skipped_ctx, path, why);
    return 0;
}

static int charge(struct unpack *u, const char *path, uint64_t size)
{
    if (u->entries++ >= u->max_entries)
        return err_set(u->err, ERR_LIMIT, "more than %llu entries", (unsigned long long)u->max_entries);
    if (size > u->max_bytes - u->content_bytes) {
        char most[HUMAN_MAX];
        return err_set(u->err, ERR_LIMIT, "the entry \"%s\" takes the content beyond %s", path,
                       human_bytes(most, u->max_bytes));
    }
    u->content_bytes += size;
    return 0;
}

/* Holes of sparse files are left out by the reader, and so stay holes. */
static int write_content(struct unpack *u, int fd, const char *path, uint64_t size)
{
    const uint8_t *p;
    uint64_t offset;
    int64_t n;
    while ((n = tar_read(&u->tar, &p, &offset, u->err)) > 0)
        if (fs_pwrite_all(fd, p, (size_t)n, offset, u->err) < 0)
            return err_wrap(u->err, "\"%s\"", path);
    if (n < 0)
        return err_wrap(u->err, "\"%s\"", path);
    if (ftruncate(fd, (off_t)size) < 0)
        return err_sys(u->err, "set the size of \"%s\"", path);
    return 0;
}

static int unpack_file(struct unpack *u, const struct tar_entry *entry, const char *path)
{
    AUTO_FD fd = -1;
    if (place_file(&u->place, path, &fd, u->err) < 0 || write_content(u, fd, path, entry->size) < 0)
        return -1;
    if (fchmod(fd, (entry->mode & FILE_MODE) | S_IRUSR) < 0)
        return err_sys(u->err, "set the mode of \"%s\"", path);
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, entry->mtime};
    (void)futimens(fd, times); /* a time that the file system cannot hold is no reason to fail */
    u->totals.files++;
    u->totals.bytes += entry->size;
    return 0;
}

static int unpack_symlink(struct unpack *u, const struct tar_entry *entry, const char *path)
{
    const char *fault = archive_link_fault(path, entry->link);
    if (fault)
        return odd(u, path, fault);
    if (place_symlink(&u->place, path, entry->link.p, u->err) < 0) /* a buf's content: with its NUL */
        return -1;
    u->totals.links++;
    return 0;
}

static int unpack_hard_link(struct unpack *u, const struct tar_entry *entry, const char *path)
{
    char target[PATH_SAFE_MAX + 1];
    struct err why = ERR_INIT;
    if (name_clean(entry->link, u->opts->strip_components, false, target, &why) < 0 || !*target)
        return odd(u, path, "is a hard link that points outside of the folder");
    if (place_check_file(&u->place, target, &why) < 0) {
        if (why.kind == ERR_NOTFOUND)
            return odd(u, path, "is a hard link to an entry that was not unpacked");
        if (why.kind == ERR_REFUSED)
            return odd(u, path, "is a hard link to something other than a file of the archive");
        return err_move(u->err, &why);
    }
    if (place_hard_link(&u->place, path, target, u->err) < 0)
        return -1;
    u->totals.links++;
    return 0;
}

static int unpack_folder(struct unpack *u, const struct tar_entry *entry, const char *path)
{
    if (!*path)
        return 0; /* the folder that is unpacked into, which is the caller's */
    if (place_folder(&u->place, path, entry->mode, u->err) < 0)
        return -1;
    u->totals.folders++;
    return 0;
}

static int unpack_entry(struct unpack *u, const struct tar_entry *entry)
{
    char path[PATH_SAFE_MAX + 1];
    const bool folder = entry->type == TAR_FOLDER;
    if (name_clean(entry->name, u->opts->strip_components, folder, path, u->err) < 0 ||
        charge(u, path, entry->size) < 0)
        return -1;
    if (!*path && !folder)
        return err_set(u->err, ERR_REFUSED, "the entry \"%.*s\" has no name left to unpack it to",
                       SPAN_FMT(span_head(entry->name, 256)));
    switch (entry->type) {
    case TAR_FILE:
        return unpack_file(u, entry, path);
    case TAR_FOLDER:
        return unpack_folder(u, entry, path);
    case TAR_SYMLINK:
        return unpack_symlink(u, entry, path);
    case TAR_HARD_LINK:
        return unpack_hard_link(u, entry, path);
    case TAR_ODD:
        break;
    }
    return odd(u, path, entry->odd);
}

static int unpack_all(struct unpack *u)
{
    struct tar_entry entry;
    int rc;
    while ((rc = tar_next(&u->tar, &entry, u->err)) > 0)
        if (unpack_entry(u, &entry) < 0)
            return -1;
    return rc;
}

int archive_unpack(int dir_fd, archive_read_fn read, void *ctx, const struct archive_unpack_opts *opts,
                   struct archive_totals *totals, struct err *err)
{
    struct unpack u = {
        .opts = opts,
        .max_bytes = opts->limits.max_bytes ? opts->limits.max_bytes : DEFAULT_MAX_BYTES,
        .max_entries = opts->limits.max_entries ? opts->limits.max_entries : DEFAULT_MAX_ENTRIES,
        .err = err,
    };
    place_init(&u.place, dir_fd, u.max_entries);
    int rc = stream_init(&u.stream, read, ctx, opts, err);
    if (rc == 0)
        rc = tar_init(&u.tar, &u.stream, err);
    if (rc == 0)
        rc = unpack_all(&u);
    tar_release(&u.tar);
    stream_release(&u.stream);
    place_release(&u.place);
    *totals = u.totals;
    if (rc == 0)
        return 0;
    err_one_line(err);
    return err_wrap(err, "archive");
}
