/* The tar format in its corners: numbers, pax records, the forms of sparse files, damage. */
#include "tar_maker.h"

static void numbers_are_octal_or_base_256(void **state)
{
    (void)state;
    static const struct {
        const char field[13];
        int64_t value;
        int rc;
    } cases[] = {
        {"00000000644\0", 0644, 0},
        {"      644 \0\0", 0644, 0},
        {"\0\0\0\0\0\0\0\0\0\0\0\0", 0, 0},
        {"777777777777", 0777777777777, 0},
        {"\x80\0\0\0\0\0\0\0\0\0\1\2", 258, 0},
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", -2, 0},
        {"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", INT64_MAX, 0},
        {"\x80\0\0\0\x80\0\0\0\0\0\0\0", 0, -1},
        {"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 0, -1},
        {"0000000064x\0", 0, -1},
        {"-0000000644\0", 0, -1},
        {"00000000698\0", 0, -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t v = 0;
        assert_int_equal(tar_number((const uint8_t *)cases[i].field, 12, &v), cases[i].rc);
        if (cases[i].rc == 0)
            assert_true(v == cases[i].value);
    }
}

static void pax_records_override_the_header(void **state)
{
    struct fixture *f = *state;
    TAR_ADD(&f->tar, .name = "no", .content = "123456", .size = 3,
            .pax = "12 path=yes\n9 size=6\n22 mtime=1600000000.5\n20 comment=whatever\n");
    TAR_ADD(&f->tar, .name = "header's own", .content = "x", .pax = "11 path=no\n8 path=\n");
    TAR_ADD(&f->tar, .name = "next", .content = "untouched by what came before");
    TAR_ADD(&f->tar, .name = "old", .content = "x", .pax = "18 mtime=-1000.25\n");
    must_unpack(f);
    assert_content(f, "yes", "123456");
    assert_content(f, "header's own", "x");
    assert_content(f, "next", "untouched by what came before");
    assert_int_equal(stat_of(f, "yes").st_mtim.tv_sec, 1600000000);
    assert_int_equal(stat_of(f, "yes").st_mtim.tv_nsec, 500000000);
    assert_true(stat_of(f, "old").st_mtim.tv_sec == -1001);
    assert_int_equal(stat_of(f, "old").st_mtim.tv_nsec, 750000000);
}

static void damaged_pax_records_are_corrupt(void **state)
{
    struct fixture *f = *state;
    static const char *const records[] = {
        "path=x\n",
        "9 path=xx\n",
        "12 path=xx\n",
        "99 path=xx\n",
        "10 path=xx ",
        "0 path=xx\n",
        "x path=xx\n",
        "11 pathxxx\n",
        "6 =xx\n",
        "9 size=x\n",
        "11 size=-1\n",
        "2 \n",
        " \n",
        "29 size=18446744073709551615\n",
        "14 mtime=1.2x\n",
        "11 mtime=x\n",
        "-1 path=xx\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(records); i++) {
        TAR_ADD(&f->tar, .name = "a", .content = "x", .pax = records[i]);
        must_refuse(f, ERR_CORRUPT, "pax");
    }
}

static void a_header_for_all_entries_may_comment_and_not_rename(void **state)
{
    struct fixture *f = *state;
    static const char comment[] = "52 comment=0123456789012345678901234567890123456789\n", name[] = "10 path=xx\n";
    tar_special(&f->tar, 'g', comment, strlen(comment)); /* as git archive has it */
    TAR_ADD(&f->tar, .name = "a", .content = "x");
    must_unpack(f);
    buf_reset(&f->tar);
    tar_special(&f->tar, 'g', "11 path=xx\n", 11);
    TAR_ADD(&f->tar, .name = "a", .content = "x");
    must_refuse(f, ERR_UNSUPPORTED, "\"path\"");
    tar_special(&f->tar, 'g', name, strlen(name));
    TAR_ADD(&f->tar, .name = "a", .content = "x");
    must_refuse(f, ERR_CORRUPT, "pax");
}

static void long_links_of_gnu_archives_come_out_whole(void **state)
{
    struct fixture *f = *state;
    char target[301] = "", read_back[400] = "";
    memset(target, 't', 200);
    target[200] = '/';
    memset(target + 201, 'u', 99);
    tar_special(&f->tar, 'K', target, sizeof(target));
    TAR_ADD(&f->tar, .name = "l", .type = '2', .link = "cut short");
    TAR_ADD(&f->tar, .name = "short", .type = '2', .link = "l");
    must_unpack(f);
    assert_int_equal(readlinkat(f->in, "l", read_back, sizeof(read_back) - 1), 300);
    assert_string_equal(read_back, target);
    memset(read_back, 0, sizeof(read_back));
    assert_int_equal(readlinkat(f->in, "short", read_back, sizeof(read_back) - 1), 1);
}

/* "ab" at 4096 and "c" at 12288, 16384 in all, in each form. */
static void assert_two_pieces(struct fixture *f)
{
    char want[16384] = {0}, got[16385];
    want[4096] = 'a';
    want[4097] = 'b';
    want[12288] = 'c';
    AUTO_FD fd = openat(f->in, "holes", O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, got, sizeof(got), 0), sizeof(want));
    assert_memory_equal(got, want, sizeof(want));
    assert_int_equal(unlinkat(f->in, "holes", 0), 0);
}

static void sparse_files_in_pax_form_0_0_and_0_1(void **state)
{
    struct fixture *f = *state;
    TAR_ADD(&f->tar, .name = "holes", .content = "abc",
            .pax = "25 GNU.sparse.size=16384\n26 GNU.sparse.numblocks=2\n26 GNU.sparse.offset=4096\n"
                   "25 GNU.sparse.numbytes=2\n27 GNU.sparse.offset=12288\n25 GNU.sparse.numbytes=1\n");
    must_unpack(f);
    assert_two_pieces(f);
    buf_reset(&f->tar);
    TAR_ADD(&f->tar, .name = "GNUSparseFile.1/holes", .content = "abc",
            .pax = "25 GNU.sparse.size=16384\n26 GNU.sparse.numblocks=2\n25 GNU.sparse.name=holes\n"
                   "33 GNU.sparse.map=4096,2,12288,1\n");
    must_unpack(f);
    assert_two_pieces(f);
}

static void sparse_files_of_old_gnu_archives(void **state)
{
    struct fixture *f = *state;
    enum { PAIRS = 30, PAIR = 24 };
    struct made_entry e = {.name = "holes", .mode = 0644};
    tar_header(&f->tar, &e, 'S', 3);
    char *h = f->tar.p;
    memcpy(h + 257, "ustar  ", 8);
    tar_octal(h + 386, 11, 4096);
    tar_octal(h + 398, 11, 2);
    for (int i = 1; i < 4; i++) { /* empty pieces are allowed */
        tar_octal(h + 386 + i * PAIR, 11, 8192);
        tar_octal(h + 398 + i * PAIR, 11, 0);
    }
    h[482] = 1;
    tar_octal(h + 483, 11, 16384);
    unsigned sum = 0;
    memset(h + 148, ' ', 8);
    for (int i = 0; i < TAR_BLOCK; i++)
        sum += (unsigned char)h[i];
    tar_octal(h + 148, 6, sum);
    h[154] = '\0';
    char more[TAR_BLOCK] = {0};
    tar_octal(more, 11, 12288);
    tar_octal(more + 12, 11, 1);
    buf_add(&f->tar, more, sizeof(more));
    buf_adds(&f->tar, "abc");
    tar_pad(&f->tar);
    TAR_ADD(&f->tar, .name = "next", .content = "next");
    must_unpack(f);
    assert_two_pieces(f);
    assert_content(f, "next", "next");
}

static void maps_that_contradict_themselves_are_corrupt(void **state)
{
    struct fixture *f = *state;
    static const char *const maps[] = {
        "10,2,11,1",                    /* overlap */
        "10,2,5,1",                     /* out of order */
        "10,2,100,1",                   /* beyond the end */
        "10,2,50,2",                    /* more than is stored */
        "10,1,50,1",                    /* less than is stored */
        "10,3,100",                     /* half a pair */
        "10,3,a,0",                     /* no number */
        "18446744073709551615,3,0,0",   /* overflow */
        "10,18446744073709551615,20,4", /* comes to what is stored in 64 bits */
    };
    static const char size[] = "23 GNU.sparse.size=100\n";
    for (size_t i = 0; i < ARRAY_LEN(maps); i++) {
        char pax[128];
        snprintf(pax, sizeof(pax), "%s%zu GNU.sparse.map=%s\n", size, strlen(maps[i]) + 19, maps[i]);
        TAR_ADD(&f->tar, .name = "holes", .content = "abc", .pax = pax);
        must_refuse(f, ERR_CORRUPT, "map of a sparse file");
    }
    TAR_ADD(&f->tar, .name = "holes", .content = "abc", .pax = "28 GNU.sparse.map=10,2,50,1\n");
    must_refuse(f, ERR_CORRUPT, "does not state its size");
    TAR_ADD(&f->tar, .name = "holes", .content = "abc", .pax = "25 GNU.sparse.numbytes=3\n");
    must_refuse(f, ERR_CORRUPT, "pax");
}

static void a_header_whose_checksum_is_wrong_is_corrupt(void **state)
{
    struct fixture *f = *state;
    TAR_ADD(&f->tar, .name = "a", .content = "x");
    TAR_ADD(&f->tar, .name = "b", .content = "x");
    tar_end(&f->tar);
    for (size_t i = 0; i < TAR_BLOCK; i++) {
        size_t at = 2 * TAR_BLOCK + i; /* of the second header */
        f->tar.p[at] ^= 0x01;
        assert_int_equal(unpack(f), -1);
        assert_int_equal(f->err.kind, ERR_CORRUPT);
        f->tar.p[at] ^= 0x01;
    }
    assert_int_equal(unpack(f), 0);
}

static void attributes_without_an_entry_are_corrupt(void **state)
{
    struct fixture *f = *state;
    tar_special(&f->tar, 'x', "11 path=xx\n", 11);
    must_refuse(f, ERR_CORRUPT, "cut short");
}

static void names_with_a_nul_are_refused(void **state)
{
    struct fixture *f = *state;
    static const char path[] = "13 path=a\0b\n", link[] = "18 linkpath=a\0bcd\n";
    tar_special(&f->tar, 'x', "12 path=a\0b\n", 12);
    TAR_ADD(&f->tar, .name = "a", .content = "x");
    must_refuse(f, ERR_REFUSED, "NUL");
    tar_special(&f->tar, 'x', link, sizeof(link) - 1);
    TAR_ADD(&f->tar, .name = "l", .type = '2', .link = "x");
    must_refuse(f, ERR_REFUSED, "\"l\"");
    tar_special(&f->tar, 'x', path, sizeof(path) - 1); /* and a length that is wrong is no way around it */
    TAR_ADD(&f->tar, .name = "a", .content = "x");
    must_refuse(f, ERR_CORRUPT, "pax");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_octal_or_base_256),
        ARCHIVE_TEST(pax_records_override_the_header),
        ARCHIVE_TEST(damaged_pax_records_are_corrupt),
        ARCHIVE_TEST(a_header_for_all_entries_may_comment_and_not_rename),
        ARCHIVE_TEST(long_links_of_gnu_archives_come_out_whole),
        ARCHIVE_TEST(sparse_files_in_pax_form_0_0_and_0_1),
        ARCHIVE_TEST(sparse_files_of_old_gnu_archives),
        ARCHIVE_TEST(maps_that_contradict_themselves_are_corrupt),
        ARCHIVE_TEST(a_header_whose_checksum_is_wrong_is_corrupt),
        ARCHIVE_TEST(attributes_without_an_entry_are_corrupt),
        ARCHIVE_TEST(names_with_a_nul_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
