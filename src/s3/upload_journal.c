#include "s3/upload_journal.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#define VERSION     1
#define FILE_MAX    ((uint64_t)8 << 20) /* of S3_PARTS_MAX lines, some 300 bytes each */
#define LINE_ROOM   ((size_t)4 << 10)
#define NAME_DIGITS 32
#define SWEEP_MAX   10000 /* files looked at */

struct upload_journal {
    int dir_fd, fd; /* fd -1: no file yet */
    char file[NAME_DIGITS + 1];
    struct journal_past past;
    uint64_t valid_bytes; /* of whole lines */
    bool broken;          /* writing failed once; nothing is written any more */
};

static void give_up(struct upload_journal *j, const struct err *why)
{
    log_warn("s3", "this upload can't be gone on with if it is interrupted (reason=\"%.512s\")", why->text);
    j->broken = true;
}

/* ---- reading ---- */

static bool read_header(struct journal_past *past, const json_t *line)
{
    int64_t version;
    const char *id = json_get_str(line, "upload_id"), *settings = json_get_str(line, "settings");
    const char *sums = json_get_str(line, "sums");
    if (!json_get_i64(line, "berth_upload", &version) || version != VERSION || str_empty(id) || !settings || !sums ||
        strlen(id) >= sizeof past->id || strlen(settings) >= sizeof past->settings)
        return false;
    snprintf(past->id, sizeof past->id, "%s", id);
    snprintf(past->settings, sizeof past->settings, "%s", settings);
    past->sums = str_eq(sums, "crc32c") ? SUMS_CRC32C : SUMS_MD5;
    return true;
}

static bool make_room(struct journal_past *past, size_t count)
{
    if (count <= past->count)
        return true;
    struct journal_part *parts = reallocarray(past->parts, count, sizeof *parts);
    if (!parts)
        return false;
    memset(parts + past->count, 0, (count - past->count) * sizeof *parts);
    past->parts = parts;
    past->count = count;
    return true;
}

static bool read_part(struct journal_past *past, const json_t *line)
{
    int64_t number, size;
    struct journal_part p = {0};
    struct err ignored = ERR_INIT;
    const char *etag = json_get_str(line, "etag"), *crc32c = json_get_str(line, "crc32c");
    const char *sha256 = json_get_str(line, "sha256");
    if (!json_get_i64(line, "part", &number) || number < 1 || number > S3_PARTS_MAX ||
        !json_get_i64(line, "size", &size) || size < 1 || !etag || strlen(etag) >= sizeof p.part.etag || !crc32c ||
        strlen(crc32c) >= sizeof p.part.crc32c || !sha256 ||
        digest_parse(DIGEST_SHA256, span_of(sha256), &p.sha256, &ignored) < 0 || !make_room(past, (size_t)number))
        return false;
    snprintf(p.part.etag, sizeof p.part.etag, "%s", etag);
    snprintf(p.part.crc32c, sizeof p.part.crc32c, "%s", crc32c);
    p.part.size = (uint64_t)size;
    past->parts[number - 1] = p;
    return true;
}

static bool read_line(struct journal_past *past, struct span text)
{
    struct err ignored = ERR_INIT;
    AUTO_JSON line = json_parse(text, &ignored);
    return line && (past->id[0] ? read_part(past, line) : read_header(past, line));
}

/* Up to the first line that is none. */
static void read_lines(struct upload_journal *j, struct span text)
{
    struct span line, rest = text;
    while (span_cut(rest, '\n', &line, &rest) && read_line(&j->past, line))
        j->valid_bytes += line.n + 1;
}

/* What a crash cut off may be longer than what is written over it. */
static int cut(const struct upload_journal *j, struct err *err)
{
    return ftruncate(j->fd, (off_t)j->valid_bytes) == 0 ? 0 : err_sys(err, "shorten the record of an upload");
}

static int read_file(struct upload_journal *j, struct err *err)
{
    struct stat st;
    if (fstat(j->fd, &st) < 0)
        return err_sys(err, "look at the record of an upload");
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid())
        return err_set(err, ERR_REFUSED, "the record of an upload is not a file of this user");
    if (st.st_nlink == 0) /* its upload has just ended */
        return err_set(err, ERR_BUSY, "another process uses the record of this upload");
    if ((uint64_t)st.st_size > FILE_MAX)
        return err_set(err, ERR_LIMIT, "the record of an upload is larger than it can be");
    size_t n = (size_t)st.st_size;
    AUTO_STR text = malloc(n + 1);
    if (!text)
        return err_nomem(err);
    if (fs_pread_all(j->fd, text, n, 0, err) < 0)
        return -1;
    read_lines(j, (struct span){text, n});
    return cut(j, err);
}

/* ---- opening ---- */

static int lock(int fd, struct err *err)
{
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return err_set(err, ERR_BUSY, "another process uses the record of this upload");
    return err_sys(err, "lock the record of an upload");
}

static int open_file(struct upload_journal *j, int flags, struct err *err)
{
    j->fd = openat(j->dir_fd, j->file, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | flags, 0600);
    if (j->fd < 0)
        return err_sys(err, "open the record of an upload");
    if (lock(j->fd, err) == 0)
        return 0;
    auto_close(&j->fd); /* it is another's */
    j->fd = -1;
    return -1;
}

static int open_past(struct upload_journal *j, struct err *err)
{
    struct err why = ERR_INIT;
    if (open_file(j, 0, &why) < 0)
        return why.kind == ERR_NOTFOUND ? 0 : err_move(err, &why);
    return read_file(j, err);
}

static void sweep_one(int dir_fd, const char *name, int64_t now_ms)
{
    struct stat st;
    struct err ignored = ERR_INIT;
    if (strlen(name) != NAME_DIGITS || fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) ||
        (int64_t)st.st_mtime * 1000 + (int64_t)JOURNAL_AGE_MAX_MS > now_ms)
        return;
    AUTO_FD fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0 && lock(fd, &ignored) == 0)
        (void)unlinkat(dir_fd, name, 0);
}

/* Servers abort what is so old, or have it aborted. */
static void sweep(int dir_fd)
{
    int64_t now_ms = clock_wall_ms();
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        auto_close(&fd);
        return;
    }
    const struct dirent *e;
    for (unsigned i = 0; i < SWEEP_MAX && (e = readdir(d)); i++)
        sweep_one(dir_fd, e->d_name, now_ms);
    closedir(d);
}

static int name_file(const char *name, char out[NAME_DIGITS + 1], struct err *err)
{
    struct digest_value v;
    char hex[DIGEST_HEX_MAX];
    if (digest_bytes(DIGEST_SHA256, name, strlen(name), &v, err) < 0)
        return -1;
    snprintf(out, NAME_DIGITS + 1, "%.*s", NAME_DIGITS, digest_hex(hex, &v));
    return 0;
}

static int open_journal(struct upload_journal *j, const char *dir, const char *name, struct err *err)
{
    if (name_file(name, j->file, err) < 0 || fs_mkdirs(dir, 0700, err) < 0)
        return -1;
    j->dir_fd = fs_open_dir(dir, err);
    if (j->dir_fd < 0)
        return -1;
    sweep(j->dir_fd);
    return open_past(j, err);
}

struct upload_journal *journal_open(const char *dir, const char *name)
{
    struct err err = ERR_INIT;
    struct upload_journal *j = calloc(1, sizeof *j);
    if (!j)
        return NULL;
    j->dir_fd = j->fd = -1;
    if (open_journal(j, dir, name, &err) == 0)
        return j;
    if (err.kind == ERR_BUSY)
        log_info("s3", "this upload can't be gone on with (reason=\"%.512s\")", err.text);
    else
        log_warn("s3", "this upload can't be gone on with if it is interrupted (reason=\"%.512s\")", err.text);
    journal_close(j, true);
    return NULL;
}

const struct journal_past *journal_past(const struct upload_journal *j)
{
    return &j->past;
}

void journal_forget(struct upload_journal *j)
{
    free(j->past.parts);
    j->past = (struct journal_past){0};
    j->valid_bytes = 0;
}

/* ---- writing ---- */

static void append(struct upload_journal *j, const json_t *line)
{
    struct err err = ERR_INIT;
    AUTO_BUF text;
    buf_init(&text, LINE_ROOM);
    if (json_write(line, false, &text, &err) == 0) {
        buf_addc(&text, '\n');
        if (buf_check(&text, "line", &err) == 0 && fs_pwrite_all(j->fd, text.p, text.n, j->valid_bytes, &err) == 0) {
            j->valid_bytes += text.n;
            return;
        }
    }
    give_up(j, &err);
}

void journal_begin(struct upload_journal *j, const char *id, enum sums_known sums, const char *settings)
{
    struct err err = ERR_INIT;
    AUTO_JSON line = json_object();
    if (j->broken)
        return;
    j->valid_bytes = 0;
    if ((j->fd < 0 && open_file(j, O_CREAT | O_EXCL, &err) < 0) || cut(j, &err) < 0 ||
        json_put_u64(line, "berth_upload", VERSION, &err) < 0 || json_put_str(line, "upload_id", id, &err) < 0 ||
        json_put_str(line, "sums", sums == SUMS_CRC32C ? "crc32c" : "md5", &err) < 0 ||
        json_put_str(line, "settings", settings, &err) < 0) {
        give_up(j, &err);
        return;
    }
    append(j, line);
}

void journal_add(struct upload_journal *j, unsigned number, const struct journal_part *p)
{
    struct err err = ERR_INIT;
    char hex[DIGEST_HEX_MAX];
    AUTO_JSON line = json_object();
    if (j->broken)
        return;
    if (json_put_u64(line, "part", number, &err) < 0 || json_put_u64(line, "size", p->part.size, &err) < 0 ||
        json_put_str(line, "etag", p->part.etag, &err) < 0 || json_put_str(line, "crc32c", p->part.crc32c, &err) < 0 ||
        json_put_str(line, "sha256", digest_hex(hex, &p->sha256), &err) < 0) {
        give_up(j, &err);
        return;
    }
    append(j, line);
}

void journal_close(struct upload_journal *j, bool keep)
{
    if (!j)
        return;
    if (!keep && j->fd >= 0)
        (void)unlinkat(j->dir_fd, j->file, 0); /* under the lock */
    auto_close(&j->fd);
    auto_close(&j->dir_fd);
    free(j->past.parts);
    free(j);
}
