/* What archive_pack() and gzip write, read again. That GNU tar, bsdtar and Python agree is
 * tests/it/test_publish_tree.py's. */
#include "archive/pack.h"

#include "archive/deflate_priv.h"
#include "base/fs.h"
#include "base/path.h"
#include "base/rng.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define STREAM_MAX ((size_t)64 << 20)

/* Two folders and a stream between them. */
struct fixture {
    char root[64];
    int from, to;
    struct buf stream;
    struct archive_totals totals;
    unsigned told;
    char said[256];
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct err err = ERR_INIT;
    strcpy(f->root, "/tmp/berth-pack.XXXXXX");
    assert_non_null(mkdtemp(f->root));
    char path[96];
    snprintf(path, sizeof path, "%s/from", f->root);
    assert_int_equal(mkdir(path, 0755), 0);
    f->from = fs_open_dir(path, &err);
    snprintf(path, sizeof path, "%s/to", f->root);
    assert_int_equal(mkdir(path, 0755), 0);
    f->to = fs_open_dir(path, &err);
    assert_true(f->from >= 0 && f->to >= 0);
    buf_init(&f->stream, STREAM_MAX);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    close(f->from);
    close(f->to);
    buf_release(&f->stream);
    AUTO_FD tmp = fs_open_dir("/tmp", &err);
    assert_int_equal(fs_remove_tree(tmp, f->root + 5, &err), 0);
    free(f);
    return 0;
}

static int keep(void *ctx, const void *p, size_t n, struct err *err)
{
    struct fixture *f = ctx;
    buf_add(&f->stream, p, n);
    return buf_check(&f->stream, "stream", err);
}

static void on_odd(void *ctx, const char *path, const char *why)
{
    struct fixture *f = ctx;
    f->told++;
    snprintf(f->said, sizeof f->said, "%s: %s", path, why);
}

static void write_file(int dir, const char *path, const void *p, size_t n)
{
    struct err err = ERR_INIT;
    AUTO_FD fd = openat(dir, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(fs_write_all(fd, p, n, &err), 0);
}

static void pack_all(struct fixture *f)
{
    struct err err = ERR_INIT;
    const struct archive_pack_opts opts = {.odd = on_odd, .ctx = f};
    buf_reset(&f->stream);
    if (archive_pack(f->from, keep, f, &opts, &f->totals, &err) < 0)
        fail_msg("%s", err.text);
}

struct reader {
    const struct buf *stream;
    size_t at;
};

static int64_t give(void *ctx, void *p, size_t max, struct err *err)
{
    struct reader *r = ctx;
    size_t left = r->stream->n - r->at, n = left < max ? left : max;
    (void)err;
    memcpy(p, buf_str(r->stream) + r->at, n);
    r->at += n;
    return (int64_t)n;
}

static void unpack_all(struct fixture *f)
{
    struct err err = ERR_INIT;
    struct reader r = {&f->stream, 0};
    struct archive_totals totals;
    const struct archive_unpack_opts opts = {0};
    if (archive_unpack(f->to, give, &r, &opts, &totals, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(totals.files, f->totals.files);
    assert_int_equal(totals.bytes, f->totals.bytes);
}

/* Both sides hold the same at `path`: kind, permissions, size, time and content. */
static void assert_same(const struct fixture *f, const char *path)
{
    struct stat a, b;
    assert_int_equal(fstatat(f->from, path, &a, AT_SYMLINK_NOFOLLOW), 0);
    assert_int_equal(fstatat(f->to, path, &b, AT_SYMLINK_NOFOLLOW), 0);
    assert_int_equal(a.st_mode & S_IFMT, b.st_mode & S_IFMT);
    if (!S_ISREG(a.st_mode))
        return;
    assert_int_equal(a.st_mode & 0755, b.st_mode & 0777);
    assert_int_equal(a.st_size, b.st_size);
    assert_int_equal(a.st_mtim.tv_sec, b.st_mtim.tv_sec);
    assert_int_equal(a.st_mtim.tv_nsec, b.st_mtim.tv_nsec);
    AUTO_BUF one, two;
    struct err err = ERR_INIT;
    buf_init(&one, STREAM_MAX);
    buf_init(&two, STREAM_MAX);
    assert_int_equal(fs_read_file(f->from, path, STREAM_MAX, &one, &err), 0);
    assert_int_equal(fs_read_file(f->to, path, STREAM_MAX, &two, &err), 0);
    assert_int_equal(one.n, two.n);
    assert_memory_equal(buf_str(&one), buf_str(&two), one.n);
}

static void what_is_packed_comes_back(void **state)
{
    struct fixture *f = *state;
    static const char *const files[] = {"plain", "with\nnewline", "ünïcode \xf0\x9f\x9a\xa2", "bytes\xff\xfe", "-",
                                        " "};
    char longest[PATH_COMPONENT_MAX + 1];
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        write_file(f->from, files[i], "content", i);
    memset(longest, 'n', PATH_COMPONENT_MAX);
    longest[PATH_COMPONENT_MAX] = '\0';
    assert_int_equal(mkdirat(f->from, longest, 0700), 0);
    assert_int_equal(mkdirat(f->from, "empty", 0755), 0);
    assert_int_equal(symlinkat("../plain", f->from, "empty/up"), 0);
    char below[600];
    snprintf(below, sizeof below, "%s/%s", longest, longest);
    write_file(f->from, below, "deep", 4);
    assert_int_equal(fchmodat(f->from, "plain", 0751, 0), 0);
    const struct timespec times[2] = {{1, 0}, {-3, 250000000}}, late[2] = {{1, 0}, {(time_t)1 << 34, 1}};
    assert_int_equal(utimensat(f->from, "-", times, 0), 0);
    (void)utimensat(f->from, " ", late, 0);
    pack_all(f);
    unpack_all(f);
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        assert_same(f, files[i]);
    assert_same(f, below);
    assert_same(f, "empty/up");
    assert_int_equal(f->told, 0);
    assert_int_equal(f->totals.folders, 2);
    assert_int_equal(f->totals.links, 1);
}

static void packing_twice_gives_the_same_bytes(void **state)
{
    struct fixture *f = *state;
    write_file(f->from, "b", "2", 1);
    write_file(f->from, "a", "1", 1);
    pack_all(f);
    AUTO_BUF first;
    buf_init(&first, STREAM_MAX);
    buf_add_span(&first, buf_span(&f->stream));
    assert_int_equal(fchownat(f->from, "b", getuid(), getgid(), 0), 0);
    pack_all(f);
    assert_int_equal(first.n, f->stream.n);
    assert_memory_equal(first.p, f->stream.p, first.n);
}

static void holes_are_not_stored(void **state)
{
    struct fixture *f = *state;
    AUTO_FD fd = openat(f->from, "sparse", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(pwrite(fd, "x", 1, 5 << 20), 1);
    assert_int_equal(ftruncate(fd, 32 << 20), 0);
    AUTO_FD all = openat(f->from, "hole", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(all, 16 << 20), 0);
    pack_all(f);
    assert_true(f->stream.n < 1 << 20);
    unpack_all(f);
    assert_same(f, "sparse");
    assert_same(f, "hole");
    struct stat st;
    assert_int_equal(fstatat(f->to, "hole", &st, 0), 0);
    assert_true(st.st_blocks < 64);
}

static void note_progress(void *ctx, uint64_t bytes)
{
    uint64_t *last = ctx;
    assert_true(bytes >= *last);
    *last = bytes;
}

static int drop(void *ctx, const void *p, size_t n, struct err *err)
{
    (void)ctx;
    (void)p;
    (void)n;
    (void)err;
    return 0;
}

static void progress_goes_forward_to_the_end_through_holes(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    uint64_t last = 0;
    const struct archive_pack_opts opts = {.progress = note_progress, .ctx = &last};
    write_file(f->from, "a", "1", 1);
    AUTO_FD fd = openat(f->from, "b", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    char *content = calloc(1, 1 << 20); /* more than is read at once */
    assert_non_null(content);
    for (off_t at = 0; at <= 4 << 20; at += 2 << 20)
        assert_int_equal(pwrite(fd, content, 1 << 20, at), 1 << 20);
    free(content);
    write_file(f->from, "c", "22", 2);
    assert_int_equal(archive_pack(f->from, drop, NULL, &opts, &f->totals, &err), 0);
    assert_int_equal(last, f->totals.bytes);
    assert_int_equal(last, (5 << 20) + 3);
}

static void what_would_not_be_unpacked_is_left_out_and_told(void **state)
{
    struct fixture *f = *state;
    static const char *const targets[] = {"/etc/shadow", "../outside", "a/../../outside"};
    write_file(f->from, "kept", "k", 1);
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        char name[16];
        snprintf(name, sizeof name, "link%zu", i);
        assert_int_equal(symlinkat(targets[i], f->from, name), 0);
    }
    assert_int_equal(mkfifoat(f->from, "fifo", 0600), 0);
    pack_all(f);
    assert_int_equal(f->told, 4);
    assert_int_equal(f->totals.skipped, 4);
    unpack_all(f);
    assert_same(f, "kept");
    assert_int_equal(faccessat(f->to, "link0", F_OK, AT_SYMLINK_NOFOLLOW), -1);
}

static void set_id_bits_are_dropped_and_told(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    write_file(f->from, "tool", "#!", 2);
    assert_int_equal(fchmodat(f->from, "tool", 04755, 0), 0);
    pack_all(f);
    unpack_all(f);
    assert_int_equal(fstatat(f->to, "tool", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    assert_non_null(strstr(f->said, "tool: its set-user-ID"));
}

static void measuring_gives_the_size_that_packing_writes(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct archive_totals totals;
    uint64_t bytes = 0;
    char name[200] = "é";
    memset(name + 2, 'y', 150);
    write_file(f->from, name, "abc", 3);
    AUTO_FD fd = openat(f->from, "sparse", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(pwrite(fd, "x", 1, 3 << 20), 1);
    assert_int_equal(mkdirat(f->from, "d", 0755), 0);
    pack_all(f);
    const struct archive_pack_opts opts = {0};
    assert_int_equal(archive_measure(f->from, &opts, &bytes, &totals, &err), 0);
    assert_int_equal(bytes, f->stream.n);
    assert_int_equal(totals.bytes, f->totals.bytes);
}

static void ceilings_hold(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    write_file(f->from, "a", "12345", 5);
    write_file(f->from, "b", "12345", 5);
    struct archive_pack_opts opts = {.max_bytes = 9};
    assert_int_equal(archive_pack(f->from, keep, f, &opts, &f->totals, &err), -1);
    assert_int_equal(err.kind, ERR_LIMIT);
    err_clear(&err);
    opts = (struct archive_pack_opts){.max_entries = 1};
    assert_int_equal(archive_pack(f->from, keep, f, &opts, &f->totals, &err), -1);
    assert_int_equal(err.kind, ERR_LIMIT);
}

/* ---- gzip ---- */

static void compress(struct fixture *f, unsigned threads, const uint8_t *p, size_t n, size_t piece)
{
    struct err err = ERR_INIT;
    struct gzip *g = NULL;
    buf_reset(&f->stream);
    assert_int_equal(gzip_open(&g, threads, keep, f, &err), 0);
    for (size_t at = 0; at < n; at += piece)
        assert_int_equal(gzip_write(g, p + at, n - at < piece ? n - at : piece, &err), 0);
    assert_int_equal(gzip_finish(g, &err), 0);
    gzip_free(g);
}

static void assert_expands_to(const struct fixture *f, const uint8_t *p, size_t n)
{
    struct err err = ERR_INIT;
    struct reader r = {&f->stream, 0};
    struct gunzip *g = NULL;
    uint8_t *got = malloc(n + 1);
    size_t have = 0;
    assert_int_equal(gunzip_open(&g, give, &r, &err), 0);
    for (;;) {
        int64_t k = gunzip_read(g, got + have, n + 1 - have, &err);
        if (k < 0)
            fail_msg("%s", err.text);
        if (k == 0)
            break;
        have += (size_t)k;
    }
    gunzip_free(g);
    assert_int_equal(have, n);
    assert_memory_equal(got, p, n);
    free(got);
}

static void fill(uint8_t *p, size_t n, bool random)
{
    struct rng rng = {7};
    for (size_t i = 0; i < n; i++)
        p[i] = random ? (uint8_t)rng_next(&rng) : (uint8_t)(rng_next(&rng) % 3 + 'a');
}

static void gzip_gives_back_its_input_whatever_its_size(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {
        0, 1, 65535, 65536, GZIP_BLOCK_BYTES - 1, GZIP_BLOCK_BYTES, GZIP_BLOCK_BYTES + 1, 7 * GZIP_BLOCK_BYTES + 12345};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        for (int random = 0; random < 2; random++) {
            uint8_t *p = malloc(sizes[i] + 1);
            fill(p, sizes[i], random);
            compress(f, 3, p, sizes[i], 100000);
            assert_true(f->stream.n <= gzip_bound(sizes[i]));
            assert_expands_to(f, p, sizes[i]);
            free(p);
        }
}

static void gzip_gives_the_same_bytes_on_any_number_of_cores(void **state)
{
    struct fixture *f = *state;
    size_t n = 5 * GZIP_BLOCK_BYTES + 777;
    uint8_t *p = malloc(n);
    fill(p, n, false);
    AUTO_BUF first;
    buf_init(&first, STREAM_MAX);
    compress(f, 1, p, n, n);
    buf_add_span(&first, buf_span(&f->stream));
    assert_true(first.n < n / 2);
    for (unsigned threads = 2; threads <= 8; threads++) {
        compress(f, threads, p, n, 1000 * threads);
        assert_int_equal(first.n, f->stream.n);
        assert_memory_equal(first.p, f->stream.p, first.n);
    }
    free(p);
}

/* Content that repeats has what is at its beginning found again, or not, by a table that is kept by hashes. */
static void compression_does_not_depend_on_where_memory_lies(void **state)
{
    (void)state;
    enum { DEFLATERS = 4, PERIOD = 24, BYTES = 20 * PERIOD, CONTENTS = 1 << 14 };
    struct deflater *d[DEFLATERS];
    for (size_t i = 0; i < DEFLATERS; i++)
        assert_non_null(d[i] = deflater_new());
    uint8_t in[BYTES], out[2][2 * BYTES];
    struct rng rng = {7};
    for (int k = 0; k < CONTENTS; k++) {
        for (size_t i = 0; i < BYTES; i++)
            in[i] = i < PERIOD ? (uint8_t)rng_next(&rng) : in[i - PERIOD];
        uint32_t crc[2];
        size_t n = deflate_block(d[0], in, BYTES, out[0], &crc[0]);
        for (size_t i = 1; i < DEFLATERS; i++) {
            assert_int_equal(deflate_block(d[i], in, BYTES, out[1], &crc[1]), n);
            assert_memory_equal(out[0], out[1], n);
            assert_int_equal(crc[0], crc[1]);
        }
    }
    for (size_t i = 0; i < DEFLATERS; i++)
        deflater_free(d[i]);
}

static int refuse(void *ctx, const void *p, size_t n, struct err *err)
{
    (void)ctx, (void)p, (void)n;
    return err_set(err, ERR_NOSPACE, "full");
}

static void gzip_passes_on_what_its_receiver_refuses(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct gzip *g = NULL;
    uint8_t *p = calloc(64, GZIP_BLOCK_BYTES);
    assert_int_equal(gzip_open(&g, 2, refuse, NULL, &err), 0);
    assert_int_equal(gzip_write(g, p, 64 * GZIP_BLOCK_BYTES, &err), -1);
    assert_int_equal(err.kind, ERR_NOSPACE);
    gzip_free(g);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_packed_comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(packing_twice_gives_the_same_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(holes_are_not_stored, set_up, tear_down),
        cmocka_unit_test_setup_teardown(progress_goes_forward_to_the_end_through_holes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_would_not_be_unpacked_is_left_out_and_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(set_id_bits_are_dropped_and_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(measuring_gives_the_size_that_packing_writes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ceilings_hold, set_up, tear_down),
        cmocka_unit_test_setup_teardown(gzip_gives_back_its_input_whatever_its_size, set_up, tear_down),
        cmocka_unit_test_setup_teardown(gzip_gives_the_same_bytes_on_any_number_of_cores, set_up, tear_down),
        cmocka_unit_test(compression_does_not_depend_on_where_memory_lies),
        cmocka_unit_test(gzip_passes_on_what_its_receiver_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
