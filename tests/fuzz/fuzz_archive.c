/* Whatever the bytes, unpacking never leaves its folder: nothing beside it changes, every link in it leads to inside,
 * and nothing but files, folders and links comes out, within the limits. */
#include "archive/archive.h"

#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>

#define MAX_BYTES   ((uint64_t)1 << 20)
#define MAX_ENTRIES 64
#define BLOCK       512

/* The first byte of an input. */
enum { FIX_CHECKSUMS = 1, SKIP_ODD = 2, STRIP_ONE = 4, SMALL_PIECES = 8 };

static struct {
    int base, in, beside;
} folders;

#define MUST(x)                                                                                                        \
    do {                                                                                                               \
        if (!(x))                                                                                                      \
            abort();                                                                                                   \
    } while (0)

static void make_folders(void)
{
    struct err err = ERR_INIT;
    char base[] = "/tmp/berth-fuzz-XXXXXX";
    MUST(mkdtemp(base));
    folders.base = fs_open_dir(base, &err);
    MUST(folders.base >= 0 && mkdirat(folders.base, "beside", 0755) == 0);
    folders.beside = fs_open_beneath(folders.base, "beside", O_RDONLY | O_DIRECTORY, 0, &err);
    MUST(folders.beside >= 0);
}

struct feed {
    const uint8_t *p;
    size_t n, step;
};

static int64_t read_feed(void *ctx, void *p, size_t max, struct err *err)
{
    struct feed *f = ctx;
    (void)err;
    size_t n = f->n < max ? f->n : max;
    n = n < f->step ? n : f->step;
    if (n)
        memcpy(p, f->p, n);
    f->p += n;
    f->n -= n;
    return (int64_t)n;
}

/* Else no mutated header would ever be read. */
static void fix_checksums(uint8_t *p, size_t n)
{
    for (; n >= BLOCK; p += BLOCK, n -= BLOCK) {
        unsigned sum = 0;
        if (memcmp(p + 257, "ustar", 5) != 0)
            continue;
        memset(p + 148, ' ', 8);
        for (size_t i = 0; i < BLOCK; i++)
            sum += p[i];
        char digits[8];
        snprintf(digits, sizeof(digits), "%06o", sum);
        memcpy(p + 148, digits, 7);
    }
}

static int check_entry(void *ctx, const struct fs_entry *entry, struct err *err)
{
    (void)err;
    ++*(uint64_t *)ctx;
    MUST(S_ISREG(entry->st.st_mode) || S_ISDIR(entry->st.st_mode) || S_ISLNK(entry->st.st_mode));
    if (!S_ISLNK(entry->st.st_mode)) {
        MUST((entry->st.st_mode & 07022) == 0);
        return 0;
    }
    /* Followed as far as it goes, it must not lead out; that it may lead nowhere is fine. */
    const struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_BENEATH};
    long fd = syscall(SYS_openat2, folders.in, entry->path, &how, sizeof(how));
    MUST(fd >= 0 || errno != EXDEV);
    if (fd >= 0)
        close((int)fd);
    return 0;
}

static int count_entry(void *ctx, const struct fs_entry *entry, struct err *err)
{
    (void)entry;
    (void)err;
    ++*(uint64_t *)ctx;
    return 0;
}

static void check_tree(const struct archive_totals *totals)
{
    struct err err = ERR_INIT;
    uint64_t entries = 0, beside = 0, base = 0;
    MUST(fs_walk(folders.in, check_entry, &entries, &err) == 0);
    MUST(entries <= (uint64_t)2 * MAX_ENTRIES + 2 && totals->bytes <= MAX_BYTES);
    MUST(fs_walk(folders.beside, count_entry, &beside, &err) == 0 && beside == 0);
    MUST(fs_walk(folders.base, count_entry, &base, &err) == 0 && base == entries + 2); /* with "in" and "beside" */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = ERR_INIT;
    struct archive_totals totals;
    if (size < 1)
        return 0;
    if (!folders.base)
        make_folders();
    MUST(mkdirat(folders.base, "in", 0755) == 0);
    folders.in = fs_open_beneath(folders.base, "in", O_RDONLY | O_DIRECTORY, 0, &err);
    MUST(folders.in >= 0);
    MUST(symlinkat("../beside", folders.in, "planted") == 0); /* as if an earlier step had been careless */

    uint8_t *copy = malloc(size);
    MUST(copy);
    memcpy(copy, data + 1, size - 1);
    if (data[0] & FIX_CHECKSUMS)
        fix_checksums(copy, size - 1);
    struct feed feed = {copy, size - 1, data[0] & SMALL_PIECES ? 7 : SIZE_MAX};
    const struct archive_unpack_opts opts = {
        .limits = {.max_bytes = MAX_BYTES, .max_entries = MAX_ENTRIES},
        .odd = data[0] & SKIP_ODD ? ARCHIVE_ODD_SKIP : ARCHIVE_ODD_REFUSE,
        .strip_components = data[0] & STRIP_ONE ? 1 : 0,
    };
    int rc = archive_unpack(folders.in, read_feed, &feed, &opts, &totals, &err);
    MUST((rc == 0) == !err_is_set(&err));
    free(copy);

    struct stat st;
    if (fstatat(folders.in, "planted", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode)) {
        char target[16] = "";
        if (readlinkat(folders.in, "planted", target, sizeof(target) - 1) > 0 && strcmp(target, "../beside") == 0)
            MUST(unlinkat(folders.in, "planted", 0) == 0); /* ours, not the archive's */
    }
    check_tree(&totals);
    close(folders.in);
    err_clear(&err);
    MUST(fs_remove_tree(folders.base, "in", &err) == 0);
    return 0;
}
