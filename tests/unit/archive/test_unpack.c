/* Honest archives: what comes out is what went in. */
#include "tar_maker.h"

#include "base/sandbox.h"

#include <sys/wait.h>

static void files_folders_and_links_come_out(void **state)
{
    struct fixture *f = *state;
    TAR_ADD(&f->tar, .name = "./", .type = '5');
    TAR_ADD(&f->tar, .name = "./a/", .type = '5', .mode = 0700);
    TAR_ADD(&f->tar, .name = "./a//b.txt", .content = "hello", .mode = 0751, .mtime = 1700000000);
    TAR_ADD(&f->tar, .name = "empty");
    TAR_ADD(&f->tar, .name = "implied/by/c", .content = "c");
    TAR_ADD(&f->tar, .name = "a/link", .type = '2', .link = "../implied/by/c");
    TAR_ADD(&f->tar, .name = "deep/hard", .type = '1', .link = "./a/b.txt");
    must_unpack(f);

    assert_content(f, "a/b.txt", "hello");
    assert_content(f, "empty", "");
    assert_content(f, "implied/by/c", "c");
    assert_content(f, "deep/hard", "hello");
    assert_int_equal(stat_of(f, "a").st_mode, S_IFDIR | 0700);
    struct stat st = stat_of(f, "a/b.txt");
    assert_int_equal(st.st_mode, S_IFREG | 0751);
    assert_int_equal(st.st_mtime, 1700000000);
    assert_int_equal(st.st_ino, stat_of(f, "deep/hard").st_ino);
    char target[32] = "";
    assert_int_equal(readlinkat(f->in, "a/link", target, sizeof(target) - 1), 15);
    assert_string_equal(target, "../implied/by/c");
    assert_int_equal(f->totals.files, 3);
    assert_int_equal(f->totals.folders, 1);
    assert_int_equal(f->totals.links, 2);
    assert_int_equal(f->totals.bytes, 6);
}

static void an_archive_of_nothing_is_fine(void **state)
{
    struct fixture *f = *state;
    must_unpack(f);
    assert_int_equal(f->totals.files + f->totals.folders + f->totals.links, 0);
}

static void gzip_is_told_by_its_first_bytes_in_any_pieces(void **state)
{
    struct fixture *f = *state;
    struct rng rng = {11};
    AUTO_BUF plain, text;
    buf_init(&plain, TAR_MAX);
    buf_init(&text, TAR_MAX);
    for (int i = 0; i < 20000; i++)
        buf_addf(&text, "%llu ", (unsigned long long)rng_next(&rng));
    TAR_ADD(&plain, .name = "a/b", .content = buf_str(&text));
    TAR_ADD(&plain, .name = "c", .content = "short");
    tar_end(&plain);
    gzip_add(&f->tar, plain.p, plain.n);
    for (int round = 0; round < 20; round++) {
        if (unpack_from(f, (struct feed){.left = buf_span(&f->tar), .step = 5000, .rng = &rng}) < 0)
            fail_msg("%s", f->err.text);
        assert_content(f, "a/b", buf_str(&text));
        assert_content(f, "c", "short");
    }
    assert_int_equal(unpack_from(f, (struct feed){.left = buf_span(&f->tar), .step = 1}), 0);
    assert_int_equal(unpack_from(f, (struct feed){.left = buf_span(&plain), .step = 1}), 0);
}

static void names_stay_the_bytes_they_are(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {
        "line\nbreak",       "caf\xc3\xa9", "cafe\xcc\x81", "latin\xe9",
        "tab\t \\ \"'$(x)`", "-rf",         "\xff\xfe",     "\xe2\x84\xab",
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        TAR_ADD(&f->tar, .name = names[i], .content = names[i]);
    must_unpack(f);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_content(f, names[i], names[i]);
    assert_int_equal(f->totals.files, ARRAY_LEN(names));
}

/* The same by pax headers, which are UTF-8 by name: nothing is recomposed or dropped. */
static void names_of_pax_headers_stay_the_bytes_they_are(void **state)
{
    struct fixture *f = *state;
    TAR_ADD(&f->tar, .name = "short1", .content = "composed", .pax = "14 path=caf\xc3\xa9\n");
    TAR_ADD(&f->tar, .name = "short2", .content = "decomposed", .pax = "15 path=cafe\xcc\x81\n");
    TAR_ADD(&f->tar, .name = "short3", .content = "no UTF-8", .pax = "11 path=\xff\xfe\n");
    TAR_ADD(&f->tar, .name = "l", .type = '2', .pax = "19 linkpath=cafe\xcc\x81\n");
    must_unpack(f);
    assert_content(f, "caf\xc3\xa9", "composed");
    assert_content(f, "cafe\xcc\x81", "decomposed");
    assert_content(f, "\xff\xfe", "no UTF-8");
    char target[32] = "";
    assert_true(readlinkat(f->in, "l", target, sizeof(target) - 1) > 0);
    assert_string_equal(target, "cafe\xcc\x81");
}

static void long_names_of_pax_and_gnu_archives_come_out_whole(void **state)
{
    struct fixture *f = *state;
    char folder[201], name[300], pax[400];
    memset(folder, 'd', 200);
    folder[200] = '\0';
    snprintf(name, sizeof(name), "%s/gnu-file", folder);
    tar_special(&f->tar, 'L', name, strlen(name) + 1);
    TAR_ADD(&f->tar, .name = "cut short", .content = "by gnu");
    snprintf(pax, sizeof(pax), "219 path=%s/pax-file\n", folder);
    assert_int_equal(strlen(pax), 219);
    TAR_ADD(&f->tar, .name = "cut short too", .content = "by pax", .pax = pax);
    must_unpack(f);
    assert_content(f, name, "by gnu");
    snprintf(name, sizeof(name), "%s/pax-file", folder);
    assert_content(f, name, "by pax");
}

static void leading_components_are_dropped_from_names_and_hard_links(void **state)
{
    struct fixture *f = *state;
    f->opts.strip_components = 1;
    TAR_ADD(&f->tar, .name = "outputs/", .type = '5');
    TAR_ADD(&f->tar, .name = "outputs/a", .content = "a");
    TAR_ADD(&f->tar, .name = "outputs/sub/b", .type = '1', .link = "outputs/a");
    TAR_ADD(&f->tar, .name = "outputs/sub/l", .type = '2', .link = "../a");
    must_unpack(f);
    assert_content(f, "a", "a");
    assert_content(f, "sub/b", "a");
    assert_true(S_ISLNK(stat_of(f, "sub/l").st_mode));

    buf_reset(&f->tar);
    TAR_ADD(&f->tar, .name = "outputs", .content = "a file where the folder should be");
    must_refuse(f, ERR_REFUSED, "\"outputs\"");
    TAR_ADD(&f->tar, .name = "outputs/l", .type = '2', .link = "../a"); /* inside before, outside now */
    must_refuse(f, ERR_REFUSED, "\"l\"");
}

static void a_later_file_replaces_an_earlier_one(void **state)
{
    struct fixture *f = *state;
    TAR_ADD(&f->tar, .name = "a", .content = "a longer first version");
    TAR_ADD(&f->tar, .name = "kept", .type = '1', .link = "a");
    TAR_ADD(&f->tar, .name = "a", .content = "second");
    TAR_ADD(&f->tar, .name = "a", .type = '1', .link = "a"); /* to itself: nothing to do */
    TAR_ADD(&f->tar, .name = "l", .type = '2', .link = "a");
    TAR_ADD(&f->tar, .name = "l", .content = "was a link");
    must_unpack(f);
    assert_content(f, "a", "second");
    assert_content(f, "kept", "a longer first version");
    assert_content(f, "l", "was a link");
}

static void modes_lose_what_is_dangerous_and_keep_the_owner_in(void **state)
{
    struct fixture *f = *state;
    TAR_ADD(&f->tar, .name = "suid", .mode = 07777);
    TAR_ADD(&f->tar, .name = "shut", .mode = 01, .content = "x");
    TAR_ADD(&f->tar, .name = "readonly", .mode = 0444);
    TAR_ADD(&f->tar, .name = "d/", .type = '5', .mode = 06000);
    TAR_ADD(&f->tar, .name = "d/f", .content = "x");
    TAR_ADD(&f->tar, .name = "tmp/", .type = '5', .mode = 01777);
    must_unpack(f);
    assert_int_equal(stat_of(f, "suid").st_mode, S_IFREG | 0755);
    assert_int_equal(stat_of(f, "shut").st_mode, S_IFREG | 0401);
    assert_int_equal(stat_of(f, "readonly").st_mode, S_IFREG | 0444);
    assert_int_equal(stat_of(f, "d").st_mode, S_IFDIR | 0700);
    assert_int_equal(stat_of(f, "tmp").st_mode, S_IFDIR | 0755);
}

/* GNU.sparse 1.0: the map stands before the data, padded to a block. One byte at 50 MiB, 100 MiB in all. */
static void a_sparse_file_stays_sparse(void **state)
{
    struct fixture *f = *state;
    const uint64_t size = 100ull << 20;
    AUTO_BUF data;
    buf_init(&data, 4096);
    buf_adds(&data, "2\n52428800\n1\n104857600\n0\n");
    while (data.n < TAR_BLOCK)
        buf_addc(&data, '\0');
    buf_addc(&data, 'x');
    static const char pax[] = "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n25 GNU.sparse.name=holes\n"
                              "33 GNU.sparse.realsize=104857600\n";
    tar_special(&f->tar, 'x', pax, strlen(pax));
    struct made_entry e = {.name = "GNUSparseFile.0/holes", .mode = 0644};
    tar_header(&f->tar, &e, '0', data.n);
    buf_add_span(&f->tar, buf_span(&data));
    tar_pad(&f->tar);
    must_unpack(f);

    struct stat st = stat_of(f, "holes");
    assert_int_equal(st.st_size, size);
    assert_true((uint64_t)st.st_blocks * 512 < 1 << 20);
    AUTO_FD fd = openat(f->in, "holes", O_RDONLY | O_CLOEXEC);
    char byte = 0;
    assert_int_equal(pread(fd, &byte, 1, 50 << 20), 1);
    assert_int_equal(byte, 'x');
    assert_int_equal(f->totals.bytes, size);

    f->opts.limits.max_bytes = size - 1; /* holes count */
    assert_int_equal(unpack(f), -1);
    assert_int_equal(f->err.kind, ERR_LIMIT);
}

static void padding_after_the_end_is_read_and_anything_else_refused(void **state)
{
    struct fixture *f = *state;
    static const char zeros[10240];
    TAR_ADD(&f->tar, .name = "a", .content = "a");
    tar_end(&f->tar);
    for (int i = 0; i < 100; i++)
        buf_add(&f->tar, zeros, sizeof(zeros));
    struct feed feed = {.left = buf_span(&f->tar)};
    assert_int_equal(archive_unpack(f->in, feed_read, &feed, &f->opts, &f->totals, &f->err), 0);
    assert_int_equal(feed.left.n, 0);

    TAR_ADD(&f->tar, .name = "b", .content = "of a second archive");
    must_refuse(f, ERR_UNSUPPORTED, "end of the tar archive");
    TAR_ADD(&f->tar, .name = "a", .content = "a");
    tar_end(&f->tar);
    buf_adds(&f->tar, "x"); /* close behind */
    assert_int_equal(unpack(f), -1);
    assert_int_equal(f->err.kind, ERR_UNSUPPORTED);
}

static void unpacking_stops_when_cancelled(void **state)
{
    struct fixture *f = *state;
    struct cancel cancel;
    assert_int_equal(cancel_init(&cancel, &f->err), 0);
    f->opts.cancel = &cancel;
    cancel_raise(&cancel, CANCEL_STOP);
    TAR_ADD(&f->tar, .name = "a", .content = "a");
    must_refuse(f, ERR_CANCELLED, "");
    assert_int_equal(stat_of(f, "a").st_mode, 0);
    cancel_release(&cancel);
}

static int64_t failing_read(void *ctx, void *p, size_t max, struct err *err)
{
    struct feed *feed = ctx;
    if (feed->left.n == 0)
        return err_set(err, ERR_TRANSIENT, "the connection was reset");
    return feed_read(ctx, p, max, err);
}

static void an_error_of_the_source_is_the_error(void **state)
{
    struct fixture *f = *state;
    TAR_ADD(&f->tar, .name = "a", .content = "a", .size = 5000);
    struct feed feed = {.left = buf_span(&f->tar)};
    assert_int_equal(archive_unpack(f->in, failing_read, &feed, &f->opts, &f->totals, &f->err), -1);
    assert_int_equal(f->err.kind, ERR_TRANSIENT);
    assert_non_null(strstr(f->err.text, "reset"));
}

/* As `berth job get` does it: the filter of system calls must let through all that unpacking needs. */
static void hard_links_come_out_in_the_sandbox_too(void **state)
{
    struct fixture *f = *state;
    TAR_ADD(&f->tar, .name = "d/a", .content = "a");
    TAR_ADD(&f->tar, .name = "d/b", .type = '1', .link = "d/a");
    TAR_ADD(&f->tar, .name = "e/c", .type = '1', .link = "d/a");
    tar_end(&f->tar);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct feed feed = {.left = buf_span(&f->tar)};
        _exit(sandbox_enter(f->in, &f->err) < 0
                  ? 2
                  : archive_unpack(f->in, feed_read, &feed, &f->opts, &f->totals, &f->err) < 0);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_content(f, "d/b", "a");
    assert_content(f, "e/c", "a");
}

static void a_name_that_begins_like_bzip2_is_a_name(void **state)
{
    struct fixture *f = *state;
    TAR_ADD(&f->tar, .name = "BZh-notes", .content = "x");
    must_unpack(f);
    assert_content(f, "BZh-notes", "x");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ARCHIVE_TEST(files_folders_and_links_come_out),
        ARCHIVE_TEST(an_archive_of_nothing_is_fine),
        ARCHIVE_TEST(hard_links_come_out_in_the_sandbox_too),
        ARCHIVE_TEST(a_name_that_begins_like_bzip2_is_a_name),
        ARCHIVE_TEST(gzip_is_told_by_its_first_bytes_in_any_pieces),
        ARCHIVE_TEST(names_stay_the_bytes_they_are),
        ARCHIVE_TEST(names_of_pax_headers_stay_the_bytes_they_are),
        ARCHIVE_TEST(long_names_of_pax_and_gnu_archives_come_out_whole),
        ARCHIVE_TEST(leading_components_are_dropped_from_names_and_hard_links),
        ARCHIVE_TEST(a_later_file_replaces_an_earlier_one),
        ARCHIVE_TEST(modes_lose_what_is_dangerous_and_keep_the_owner_in),
        ARCHIVE_TEST(a_sparse_file_stays_sparse),
        ARCHIVE_TEST(padding_after_the_end_is_read_and_anything_else_refused),
        ARCHIVE_TEST(unpacking_stops_when_cancelled),
        ARCHIVE_TEST(an_error_of_the_source_is_the_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
