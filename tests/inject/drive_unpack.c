/* A packed folder, unpacked elsewhere. */
#include "drive.h"

#include "archive/archive.h"
#include "archive/pack.h"
#include "base/fs.h"

#include <stdio.h>
#include <string.h>

#define FILES      3
#define FILE_BYTES 30000

static char into[256];
static struct buf packed;
static size_t taken;

static int add(void *ctx, const void *p, size_t n, struct err *err)
{
    (void)ctx;
    buf_add(&packed, p, n);
    return buf_check(&packed, "the archive", err);
}

static int zip(void *ctx, const void *p, size_t n, struct err *err)
{
    return gzip_write(ctx, p, n, err);
}

static int pack(const char *dir, struct err *err)
{
    struct archive_totals totals;
    const struct archive_pack_opts opts = {0};
    struct gzip *g;
    AUTO_FD fd = fs_open_dir(dir, err);
    if (fd < 0 || gzip_open(&g, 1, add, NULL, err) < 0)
        return -1;
    int rc = archive_pack(fd, zip, g, &opts, &totals, err);
    if (rc == 0)
        rc = gzip_finish(g, err);
    gzip_free(g);
    return rc;
}

static int prepare(const char *dir)
{
    struct err err = ERR_INIT;
    char from[256], content[FILE_BYTES];
    snprintf(from, sizeof from, "%s/from", dir);
    snprintf(into, sizeof into, "%s/into", dir);
    buf_init(&packed, 1 << 20);
    taken = 0;
    if (fs_mkdirs(from, 0755, &err) < 0 || fs_mkdirs(into, 0755, &err) < 0)
        return -1;
    AUTO_FD fd = fs_open_dir(from, &err);
    for (unsigned i = 0; i < FILES; i++) {
        char folder[16], name[32];
        snprintf(folder, sizeof folder, "d%u/e", i);
        snprintf(name, sizeof name, "d%u/e/f", i);
        drive_fill(i + 1, content, sizeof content);
        if (fs_mkdirs_beneath(fd, folder, 0755, &err) < 0 ||
            fs_replace_file(fd, name, content, sizeof content, 0644, &err) < 0)
            return -1;
    }
    return pack(from, &err);
}

static int64_t take(void *ctx, void *p, size_t max, struct err *err)
{
    (void)ctx;
    (void)err;
    size_t n = packed.n - taken < max ? packed.n - taken : max;
    memcpy(p, packed.p + taken, n);
    taken += n;
    return (int64_t)n;
}

static int run(struct err *err)
{
    const struct archive_unpack_opts opts = {0};
    struct archive_totals totals;
    AUTO_FD fd = fs_open_dir(into, err);
    return fd < 0 ? -1 : archive_unpack(fd, take, NULL, &opts, &totals, err);
}

static bool check(bool succeeded)
{
    bool well = true;
    for (unsigned i = 0; succeeded && i < FILES; i++) {
        char name[32];
        snprintf(name, sizeof name, "d%u/e/f", i);
        well = drive_file_is(into, name, i + 1, FILE_BYTES) && well;
    }
    buf_release(&packed);
    return well;
}

const struct work work_unpack = {"unpack", prepare, run, check};
