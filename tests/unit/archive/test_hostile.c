/* Archives made to do harm (F26, F29). The fixture checks after each that nothing changed beside the folder. */
#include "tar_maker.h"

static void names_that_climb_out_are_refused(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"../outside", "..",   "a/../../outside", "/etc/berth-test",
                                        "/",          "a/..", "./../x"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        TAR_ADD(&f->tar, .name = names[i], .content = "mine now");
        must_refuse(f, ERR_REFUSED, names[i]);
        TAR_ADD(&f->tar, .name = names[i], .type = '5');
        must_refuse(f, ERR_REFUSED, names[i]);
        TAR_ADD(&f->tar, .name = names[i], .type = '2', .link = "a");
        must_refuse(f, ERR_REFUSED, names[i]);
    }
    TAR_ADD(&f->tar, .name = "a..b", .content = "fine");
    TAR_ADD(&f->tar, .name = "...", .content = "fine");
    must_unpack(f);
}

static void names_that_climb_out_are_refused_even_where_odd_entries_are_skipped(void **state)
{
    struct fixture *f = *state;
    f->opts.odd = ARCHIVE_ODD_SKIP;
    TAR_ADD(&f->tar, .name = "../outside", .content = "mine now");
    must_refuse(f, ERR_REFUSED, "../outside");
    TAR_ADD(&f->tar, .name = "short", .content = "mine now", .pax = "19 path=../outside\n");
    must_refuse(f, ERR_REFUSED, "../outside");
}

static void links_that_point_out_are_refused(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *name, *target;
    } links[] = {
        {"l", "/etc/shadow"}, {"l", "../outside"}, {"d/l", "../../outside"}, {"d/l", "x/../../../outside"},
        {"l", ".."},          {"l", "d/.."},       {"l", "./../x"},          {"l", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(links); i++) {
        TAR_ADD(&f->tar, .name = links[i].name, .type = '2', .link = links[i].target);
        must_refuse(f, ERR_REFUSED, links[i].name);
    }
}

/* "b/.." is the link's own folder by its text, and two above it by way of the link b. */
static void a_link_through_a_link_cannot_climb(void **state)
{
    struct fixture *f = *state;
    TAR_ADD(&f->tar, .name = "b", .type = '2', .link = ".");
    TAR_ADD(&f->tar, .name = "x", .type = '2', .link = "b/..");
    must_refuse(f, ERR_REFUSED, "\"x\"");
    TAR_ADD(&f->tar, .name = "d/b", .type = '2', .link = "..");
    TAR_ADD(&f->tar, .name = "d/x", .type = '2', .link = "b/..");
    must_refuse(f, ERR_REFUSED, "\"d/x\"");
}

static void nothing_goes_through_a_link_planted_before(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(symlinkat("../beside", f->in, "planted"), 0);
    TAR_ADD(&f->tar, .name = "planted/file", .content = "x");
    must_refuse(f, ERR_REFUSED, "planted");
    TAR_ADD(&f->tar, .name = "planted/", .type = '5');
    must_refuse(f, ERR_REFUSED, "planted");
    TAR_ADD(&f->tar, .name = "planted/deep/l", .type = '2', .link = "x");
    must_refuse(f, ERR_REFUSED, "planted");
    TAR_ADD(&f->tar, .name = "a", .content = "x");
    TAR_ADD(&f->tar, .name = "planted/h", .type = '1', .link = "a");
    must_refuse(f, ERR_REFUSED, "planted");

    TAR_ADD(&f->tar, .name = "d/", .type = '5'); /* one inside is no way either */
    TAR_ADD(&f->tar, .name = "l", .type = '2', .link = "d");
    TAR_ADD(&f->tar, .name = "l/file", .content = "x");
    must_refuse(f, ERR_REFUSED, "\"l/file\"");
    assert_int_equal(stat_of(f, "d/file").st_mode, 0);
}

static void a_file_replaces_a_planted_link_and_does_not_follow_it(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(symlinkat("../outside", f->in, "planted"), 0);
    TAR_ADD(&f->tar, .name = "planted", .content = "stays inside");
    TAR_ADD(&f->tar, .name = "a", .content = "of a");
    TAR_ADD(&f->tar, .name = "l", .type = '2', .link = "a");
    TAR_ADD(&f->tar, .name = "l", .content = "of l");
    must_unpack(f);
    assert_content(f, "planted", "stays inside");
    assert_content(f, "l", "of l");
    assert_content(f, "a", "of a");
}

static void hard_links_reach_files_of_the_folder_only(void **state)
{
    struct fixture *f = *state;
    static const char *const targets[] = {"../outside", "/etc/passwd", "missing", "link", "linked-folder/x", "d", ""};
    assert_int_equal(symlinkat("../outside", f->in, "link"), 0);
    assert_int_equal(symlinkat("..", f->in, "linked-folder"), 0);
    assert_int_equal(mkdirat(f->in, "d", 0755), 0);
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        TAR_ADD(&f->tar, .name = "h", .type = '1', .link = targets[i]);
        must_refuse(f, ERR_REFUSED, "\"h\"");
        assert_int_equal(stat_of(f, "h").st_mode, 0);
    }
}

static void a_folder_is_never_replaced_and_never_replaces(void **state)
{
    struct fixture *f = *state;
    TAR_ADD(&f->tar, .name = "a/b", .content = "x");
    TAR_ADD(&f->tar, .name = "a", .content = "y");
    must_refuse(f, ERR_REFUSED, "\"a\"");
    TAR_ADD(&f->tar, .name = "f", .content = "x");
    TAR_ADD(&f->tar, .name = "f/g", .content = "y");
    must_refuse(f, ERR_REFUSED, "\"f/g\"");
    TAR_ADD(&f->tar, .name = "f/", .type = '5');
    must_refuse(f, ERR_REFUSED, "\"f\"");
}

static void devices_and_the_like_are_refused(void **state)
{
    struct fixture *f = *state;
    static const char types[] = {'3', '4', '6'};
    for (size_t i = 0; i < sizeof(types); i++) {
        TAR_ADD(&f->tar, .name = "odd", .type = types[i]);
        must_refuse(f, ERR_REFUSED, "\"odd\" is a");
        assert_int_equal(stat_of(f, "odd").st_mode, 0);
    }
}

static void note_skipped(void *ctx, const char *path, const char *why)
{
    buf_addf(ctx, "%s %s\n", path, why);
}

static void odd_entries_are_skipped_and_reported_where_asked(void **state)
{
    struct fixture *f = *state;
    AUTO_BUF seen;
    buf_init(&seen, 4096);
    f->opts.odd = ARCHIVE_ODD_SKIP;
    f->opts.skipped = note_skipped;
    f->opts.skipped_ctx = &seen;
    TAR_ADD(&f->tar, .name = "fifo", .type = '6');
    TAR_ADD(&f->tar, .name = "dev", .type = '3');
    TAR_ADD(&f->tar, .name = "shadow", .type = '2', .link = "/etc/shadow");
    TAR_ADD(&f->tar, .name = "hard", .type = '1', .link = "../outside");
    TAR_ADD(&f->tar, .name = "gone", .type = '1', .link = "fifo");
    TAR_ADD(&f->tar, .name = "good", .content = "good");
    must_unpack(f);
    assert_string_equal(buf_str(&seen), "fifo is a FIFO\ndev is a device\nshadow points to an absolute path\n"
                                        "hard is a hard link that points outside of the folder\n"
                                        "gone is a hard link to an entry that was not unpacked\n");
    assert_int_equal(f->totals.skipped, 5);
    assert_content(f, "good", "good");
    unsigned entries = 0;
    assert_int_equal(fs_walk(f->in, count_entry, &entries, &f->err), 0);
    assert_int_equal(entries, 1);
}

static void content_beyond_the_limit_is_refused_before_it_is_written(void **state)
{
    struct fixture *f = *state;
    f->opts.limits.max_bytes = 10;
    TAR_ADD(&f->tar, .name = "a", .content = "123456");
    TAR_ADD(&f->tar, .name = "b", .content = "1234");
    must_unpack(f);
    buf_reset(&f->tar);
    TAR_ADD(&f->tar, .name = "a", .content = "123456");
    TAR_ADD(&f->tar, .name = "c", .content = "12345");
    must_refuse(f, ERR_LIMIT, "\"c\"");
    assert_int_equal(stat_of(f, "c").st_mode, 0);
    TAR_ADD(&f->tar, .name = "huge", .size = 1ull << 32);
    must_refuse(f, ERR_LIMIT, "\"huge\"");
    f->opts.odd = ARCHIVE_ODD_SKIP; /* what is skipped must be read, and counts */
    TAR_ADD(&f->tar, .name = "odd", .type = 'Q', .size = 1ull << 32);
    must_refuse(f, ERR_LIMIT, "\"odd\"");
}

static void entries_beyond_the_limit_are_refused(void **state)
{
    struct fixture *f = *state;
    f->opts.limits.max_entries = 3;
    for (int i = 0; i < 3; i++)
        TAR_ADD(&f->tar, .name = "same", .content = "x");
    must_unpack(f);
    buf_reset(&f->tar);
    for (int i = 0; i < 4; i++)
        TAR_ADD(&f->tar, .name = "same", .content = "x");
    must_refuse(f, ERR_LIMIT, "3 entries");
    TAR_ADD(&f->tar, .name = "1/2/3/4/5/6/7/8", .content = "x"); /* folders that no entry names */
    must_refuse(f, ERR_LIMIT, "1/2/3");
}

static void paths_too_deep_or_too_long_to_remove_again_are_refused(void **state)
{
    struct fixture *f = *state;
    AUTO_BUF path, pax;
    buf_init(&path, 8192);
    buf_init(&pax, 8192);
    for (int i = 0; i < 200; i++)
        buf_adds(&path, "d/");
    buf_addf(&pax, "410 path=%s\n", buf_str(&path));
    TAR_ADD(&f->tar, .name = "short", .type = '5', .pax = buf_str(&pax));
    must_refuse(f, ERR_REFUSED, "too deep");

    buf_reset(&pax);
    buf_adds(&pax, "265 path=");
    for (int i = 0; i < 255; i++)
        buf_addc(&pax, 'n');
    buf_adds(&pax, "\n");
    TAR_ADD(&f->tar, .name = "short", .content = "as long as a name may be", .pax = buf_str(&pax));
    must_unpack(f);
    buf_reset(&f->tar);
    buf_reset(&pax);
    buf_adds(&pax, "266 path=");
    for (int i = 0; i < 256; i++)
        buf_addc(&pax, 'n');
    buf_adds(&pax, "\n");
    TAR_ADD(&f->tar, .name = "short", .content = "too long", .pax = buf_str(&pax));
    must_refuse(f, ERR_REFUSED, "255 bytes");
}

/* By the long name of GNU tar: "d/d/…". */
static void add_at_depth(struct fixture *f, unsigned depth, char type)
{
    AUTO_BUF path;
    buf_init(&path, 8192);
    for (unsigned i = 0; i < depth; i++)
        buf_adds(&path, i ? "/d" : "d");
    tar_special(&f->tar, 'L', buf_str(&path), path.n + 1);
    TAR_ADD(&f->tar, .name = "short", .type = type);
}

static void what_is_unpacked_can_be_walked(void **state)
{
    struct fixture *f = *state;
    unsigned seen = 0;
    add_at_depth(f, FS_WALK_DEPTH_MAX, '5');
    must_refuse(f, ERR_REFUSED, "too deep");
    add_at_depth(f, FS_WALK_DEPTH_MAX + 1, '0');
    must_refuse(f, ERR_REFUSED, "too deep");
    add_at_depth(f, FS_WALK_DEPTH_MAX - 1, '5');
    add_at_depth(f, FS_WALK_DEPTH_MAX, '0');
    must_unpack(f);
    assert_int_equal(fs_walk(f->in, count_entry, &seen, &f->err), 0);
    assert_int_equal(seen, FS_WALK_DEPTH_MAX);
}

static void a_decompression_bomb_is_refused(void **state)
{
    struct fixture *f = *state;
    const size_t size = (size_t)96 << 20;
    AUTO_BUF plain;
    buf_init(&plain, TAR_MAX);
    struct made_entry e = {.name = "bomb", .mode = 0644};
    tar_header(&plain, &e, '0', size);
    char *zeros = buf_reserve(&plain, size);
    assert_non_null(zeros);
    memset(zeros, 0, size);
    buf_grew(&plain, size);
    tar_end(&plain);
    gzip_add(&f->tar, plain.p, plain.n);

    f->opts.limits.max_ratio = (uint32_t)(plain.n / f->tar.n / 2);
    assert_int_equal(unpack(f), -1);
    assert_int_equal(f->err.kind, ERR_LIMIT);
    assert_non_null(strstr(f->err.text, "times its size"));
    f->opts.limits.max_ratio = (uint32_t)(plain.n / f->tar.n * 2);
    if (unpack(f) < 0)
        fail_msg("%s", f->err.text);
    assert_int_equal(f->totals.bytes, size);
}

/* One entry's headers are bounded: neither memory nor stack grows with what they claim. */
static void endless_headers_are_refused(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 20000; i++)
        tar_special(&f->tar, 'g', "13 comment=x\n", 13);
    TAR_ADD(&f->tar, .name = "a", .content = "x");
    must_refuse(f, ERR_LIMIT, "headers");

    AUTO_BUF map; /* of a sparse file, that goes on and on */
    buf_init(&map, 32 << 20);
    buf_adds(&map, "9000000\n");
    for (int i = 0; i < 2000000; i++)
        buf_addf(&map, "%d\n1\n", 2 * i);
    static const char pax[] = "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n33 GNU.sparse.realsize=104857600\n";
    tar_special(&f->tar, 'x', pax, strlen(pax));
    struct made_entry e = {.name = "map", .mode = 0644};
    tar_header(&f->tar, &e, '0', map.n);
    buf_add_span(&f->tar, buf_span(&map));
    tar_pad(&f->tar);
    must_refuse(f, ERR_LIMIT, "pieces");
}

static void an_archive_cut_anywhere_is_corrupt(void **state)
{
    struct fixture *f = *state;
    TAR_ADD(&f->tar, .name = "a", .content = "aaaa");
    TAR_ADD(&f->tar, .name = "b/", .type = '5');
    TAR_ADD(&f->tar, .name = "c", .content = "cc");
    tar_end(&f->tar);
    for (size_t n = 0; n < f->tar.n - TAR_BLOCK; n += 64) {
        struct feed feed = {.left = {f->tar.p, n}};
        assert_int_equal(unpack_from(f, feed), -1);
        assert_int_equal(f->err.kind, ERR_CORRUPT);
    }
    AUTO_BUF gz;
    buf_init(&gz, TAR_MAX);
    gzip_add(&gz, f->tar.p, f->tar.n);
    for (size_t n = 0; n < gz.n; n++) {
        assert_int_equal(unpack_from(f, (struct feed){.left = {gz.p, n}}), -1);
        assert_int_equal(f->err.kind, ERR_CORRUPT);
    }
    assert_int_equal(unpack_from(f, (struct feed){.left = buf_span(&gz)}), 0);
}

static void other_formats_are_called_by_their_names(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *magic, *name;
    } formats[] = {{"PK\003\004--", "zip"},
                   {"BZh91AY", "bzip2"},
                   {"BZh1\x17r", "bzip2"}, /* of nothing */
                   {"\xfd"
                    "7zXZ\0",
                    "xz"},
                   {"\x28\xb5\x2f\xfd--", "zstd"}};
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        buf_add(&f->tar, formats[i].magic, 6);
        must_refuse(f, ERR_UNSUPPORTED, formats[i].name);
        assert_non_null(strstr(f->err.hint, "gzip"));
    }
    buf_adds(&f->tar, "this is no archive at all");
    must_refuse(f, ERR_CORRUPT, "tar");
}

static void names_forge_no_lines(void **state)
{
    struct fixture *f = *state;
    TAR_ADD(&f->tar, .name = "a\nberth: done", .type = '6');
    must_refuse(f, ERR_REFUSED, "a?berth: done");
    TAR_ADD(&f->tar, .name = "../a\nberth: done");
    must_refuse(f, ERR_REFUSED, "a?berth: done");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ARCHIVE_TEST(names_that_climb_out_are_refused),
        ARCHIVE_TEST(names_forge_no_lines),
        ARCHIVE_TEST(names_that_climb_out_are_refused_even_where_odd_entries_are_skipped),
        ARCHIVE_TEST(links_that_point_out_are_refused),
        ARCHIVE_TEST(a_link_through_a_link_cannot_climb),
        ARCHIVE_TEST(nothing_goes_through_a_link_planted_before),
        ARCHIVE_TEST(a_file_replaces_a_planted_link_and_does_not_follow_it),
        ARCHIVE_TEST(hard_links_reach_files_of_the_folder_only),
        ARCHIVE_TEST(a_folder_is_never_replaced_and_never_replaces),
        ARCHIVE_TEST(devices_and_the_like_are_refused),
        ARCHIVE_TEST(odd_entries_are_skipped_and_reported_where_asked),
        ARCHIVE_TEST(content_beyond_the_limit_is_refused_before_it_is_written),
        ARCHIVE_TEST(entries_beyond_the_limit_are_refused),
        ARCHIVE_TEST(paths_too_deep_or_too_long_to_remove_again_are_refused),
        ARCHIVE_TEST(what_is_unpacked_can_be_walked),
        ARCHIVE_TEST(a_decompression_bomb_is_refused),
        ARCHIVE_TEST(endless_headers_are_refused),
        ARCHIVE_TEST(an_archive_cut_anywhere_is_corrupt),
        ARCHIVE_TEST(other_formats_are_called_by_their_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
