/* Tar archives by hand, so that they can say what no honest program would, and a folder to unpack them into. */
#ifndef BERTH_TESTS_TAR_MAKER_H
#define BERTH_TESTS_TAR_MAKER_H

#include "archive/archive.h"
#include "archive/tar_priv.h"

#include "base/attr.h"
#include "base/fs.h"
#include "base/path.h"
#include "base/rng.h"

#include <fcntl.h>
#include <isa-l/igzip_lib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TAR_MAX ((size_t)256 << 20)

struct made_entry {
    const char *name;
    char type; /* 0: '0' */
    unsigned mode;
    const char *link;
    const char *content; /* text; NULL: none */
    uint64_t size;       /* stated size, where it is not that of the content */
    const char *pax;     /* records for a pax header before it, ready made */
    int64_t mtime;
};

static inline void tar_pad(struct buf *tar)
{
    static const char zeros[TAR_BLOCK];
    buf_add(tar, zeros, (TAR_BLOCK - tar->n % TAR_BLOCK) % TAR_BLOCK);
}

/* An octal number of `digits` digits, the highest dropped. */
static inline void tar_octal(char *field, int digits, uint64_t v)
{
    for (; digits > 0; v >>= 3)
        field[--digits] = (char)('0' + (v & 7));
}

/* POSIX.1-1988 ustar header: name 0, mode 100, uid 108, gid 116, size 124, mtime 136, checksum 148, type 156, link 157,
 * magic 257. */
static inline void tar_header(struct buf *tar, const struct made_entry *e, char type, uint64_t size)
{
    char h[TAR_BLOCK] = {0};
    snprintf(h, 100, "%s", e->name);
    tar_octal(h + 100, 7, e->mode);
    tar_octal(h + 108, 7, 0);
    tar_octal(h + 116, 7, 0);
    tar_octal(h + 124, 11, size);
    tar_octal(h + 136, 11, (uint64_t)e->mtime);
    memset(h + 148, ' ', 8);
    h[156] = type;
    snprintf(h + 157, 100, "%s", e->link ? e->link : "");
    memcpy(h + 257, "ustar\00000", 8);
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof(h); i++)
        sum += (unsigned char)h[i];
    tar_octal(h + 148, 6, sum);
    h[154] = '\0';
    buf_add(tar, h, sizeof(h));
}

static inline void tar_special(struct buf *tar, char type, const char *text, size_t n)
{
    struct made_entry e = {.name = "special", .mode = 0644};
    tar_header(tar, &e, type, n);
    buf_add(tar, text, n);
    tar_pad(tar);
}

static inline void tar_add(struct buf *tar, struct made_entry e)
{
    size_t n = e.content ? strlen(e.content) : 0;
    char type = e.type;
    if (!type)
        type = '0';
    if (!e.mode)
        e.mode = type == '5' ? 0755 : 0644;
    if (e.pax)
        tar_special(tar, 'x', e.pax, strlen(e.pax));
    tar_header(tar, &e, type, e.size ? e.size : n);
    buf_add(tar, e.content ? e.content : "", n);
    tar_pad(tar);
}

#define TAR_ADD(tar, ...) tar_add(tar, (struct made_entry){__VA_ARGS__})

static inline void tar_end(struct buf *tar)
{
    static const char zeros[2 * TAR_BLOCK];
    buf_add(tar, zeros, sizeof(zeros));
}

static inline void gzip_add(struct buf *out, const void *p, size_t n)
{
    static struct isal_zstream z;
    static uint8_t level[ISAL_DEF_LVL1_DEFAULT];
    isal_deflate_init(&z);
    z.level = 1;
    z.level_buf = level;
    z.level_buf_size = sizeof(level);
    z.gzip_flag = IGZIP_GZIP;
    z.end_of_stream = 1;
    z.next_in = (uint8_t *)p;
    z.avail_in = (uint32_t)n;
    do {
        const size_t step = (size_t)1 << 16;
        char *room = buf_reserve(out, step);
        assert_non_null(room);
        z.next_out = (uint8_t *)room;
        z.avail_out = (uint32_t)step;
        assert_int_equal(isal_deflate(&z), COMP_OK);
        buf_grew(out, step - z.avail_out);
    } while (z.internal_state.state != ZSTATE_END);
}

/* Gives out a buffer in pieces: of a fixed size, or of random sizes up to it. */
struct feed {
    struct span left;
    size_t step; /* 0: all at once */
    struct rng *rng;
};

static inline int64_t feed_read(void *ctx, void *p, size_t max, struct err *err)
{
    struct feed *f = ctx;
    (void)err;
    size_t n = f->left.n < max ? f->left.n : max;
    if (f->step && n > f->step)
        n = f->step;
    if (f->rng && n > 1)
        n = 1 + (size_t)rng_below(f->rng, n);
    memcpy(p, f->left.p, n);
    f->left.p += n;
    f->left.n -= n;
    return (int64_t)n;
}

struct fixture {
    char base[64]; /* holds `in`, and what must stay as it is beside it */
    int base_fd, in;
    struct buf tar;
    struct archive_unpack_opts opts;
    struct archive_totals totals;
    struct err err;
};

#define ARCHIVE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_make, fixture_remove)

static inline int fixture_make(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    if (!f)
        return -1;
    snprintf(f->base, sizeof(f->base), "/tmp/berth-archive-XXXXXX");
    if (!mkdtemp(f->base))
        return -1;
    f->base_fd = fs_open_dir(f->base, &f->err);
    if (mkdirat(f->base_fd, "in", 0755) < 0 || mkdirat(f->base_fd, "beside", 0755) < 0 ||
        fs_replace_file(f->base_fd, "outside", "untouched", 9, 0644, &f->err) < 0)
        return -1;
    f->in = fs_open_beneath(f->base_fd, "in", O_RDONLY | O_DIRECTORY, 0, &f->err);
    buf_init(&f->tar, TAR_MAX);
    *state = f;
    return f->in < 0 ? -1 : 0;
}

static inline int count_entry(void *ctx, const struct fs_entry *entry, struct err *err)
{
    (void)entry;
    (void)err;
    ++*(unsigned *)ctx;
    return 0;
}

/* Whatever a test unpacked, nothing may have changed beside the folder. */
static inline int fixture_remove(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    AUTO_BUF outside;
    buf_init(&outside, 100);
    unsigned beside = 0;
    AUTO_FD beside_fd = fs_open_beneath(f->base_fd, "beside", O_RDONLY | O_DIRECTORY, 0, &err);
    AUTO_FD tmp = fs_open_dir("/tmp", &err);
    int rc = fs_walk(beside_fd, count_entry, &beside, &err);
    if (rc == 0)
        rc = fs_read_file(f->base_fd, "outside", 100, &outside, &err);
    bool intact = rc == 0 && beside == 0 && str_eq(buf_str(&outside), "untouched");
    close(f->in);
    close(f->base_fd);
    buf_release(&f->tar);
    if (fs_remove_tree(tmp, path_basename(span_of(f->base)).p, &err) < 0)
        intact = false;
    free(f);
    return intact ? 0 : -1;
}

static inline int unpack_from(struct fixture *f, struct feed feed)
{
    err_clear(&f->err);
    assert_int_equal(buf_check(&f->tar, "test archive", &f->err), 0);
    return archive_unpack(f->in, feed_read, &feed, &f->opts, &f->totals, &f->err);
}

static inline int unpack(struct fixture *f)
{
    return unpack_from(f, (struct feed){.left = buf_span(&f->tar)});
}

static inline void must_unpack(struct fixture *f)
{
    tar_end(&f->tar);
    if (unpack(f) < 0)
        fail_msg("%s", f->err.text);
}

static inline void must_refuse(struct fixture *f, enum err_kind kind, const char *names)
{
    tar_end(&f->tar);
    assert_int_equal(unpack(f), -1);
    if (f->err.kind != kind || !strstr(f->err.text, names))
        fail_msg("%s: %s", err_kind_name(f->err.kind), f->err.text);
    buf_reset(&f->tar);
}

static inline struct stat stat_of(struct fixture *f, const char *path)
{
    struct stat st = {0};
    if (fstatat(f->in, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        st.st_mode = 0;
    return st;
}

static inline void assert_content(struct fixture *f, const char *path, const char *content)
{
    struct err err = ERR_INIT;
    AUTO_BUF got;
    buf_init(&got, 1 << 20);
    if (fs_read_file(f->in, path, 1 << 20, &got, &err) < 0)
        fail_msg("%s", err.text);
    assert_string_equal(buf_str(&got), content);
}

#endif
