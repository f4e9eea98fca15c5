#include "xfer/partmap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define SIZE  1000001u
#define PARTS 1001u /* of 1000 bytes */

static int map_fd(void)
{
    int fd = memfd_create("map", MFD_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static struct partmap *open_map(int fd, uint64_t size, uint64_t part, const char *identity)
{
    struct partmap *m;
    struct err err = ERR_INIT;
    if (partmap_open(&m, fd, size, part, span_of(identity), &err) < 0)
        fail_msg("%s", err.text);
    return m;
}

static void mark(struct partmap *m, uint64_t part)
{
    struct err err = ERR_INIT;
    assert_int_equal(partmap_mark(m, part, &err), 0);
}

static void marks_are_there_after_reopening(void **state)
{
    (void)state;
    int fd = map_fd();
    struct partmap *m = open_map(fd, SIZE, 1000, "etag");
    assert_int_equal(partmap_count(m), PARTS);
    assert_int_equal(partmap_part_bytes(m), 1000);
    mark(m, 0);
    mark(m, 191);
    mark(m, 192);
    mark(m, 1000);
    partmap_free(m);
    m = open_map(fd, SIZE, 1000, "etag");
    for (uint64_t i = 0; i < PARTS + 10; i++)
        assert_int_equal(partmap_has(m, i), i == 0 || i == 191 || i == 192 || i == 1000);
    assert_int_equal(partmap_done_bytes(m), 3001);
    partmap_free(m);
    close(fd);
}

static void a_map_of_something_else_starts_empty(void **state)
{
    (void)state;
    static const struct {
        uint64_t size, part;
        const char *identity;
    } others[] = {{SIZE, 1000, "other"}, {SIZE + 1, 1000, "etag"}, {SIZE, 1001, "etag"}};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        int fd = map_fd();
        struct partmap *m = open_map(fd, SIZE, 1000, "etag");
        mark(m, 5);
        partmap_free(m);
        m = open_map(fd, others[i].size, others[i].part, others[i].identity);
        assert_int_equal(partmap_done_bytes(m), 0);
        partmap_free(m);
        close(fd);
    }
}

static void no_damaged_byte_invents_a_mark(void **state)
{
    (void)state;
    int fd = map_fd();
    struct partmap *m = open_map(fd, SIZE, 1000, "etag");
    for (uint64_t i = 0; i < PARTS; i += 2)
        mark(m, i);
    partmap_free(m);
    uint8_t whole[512];
    ssize_t n = pread(fd, whole, sizeof whole, 0);
    assert_true(n > 64);
    for (off_t at = 0; at < n; at++) {
        uint8_t damaged = whole[at] ^ 0x33; /* of two bits that are set, one goes and one comes */
        assert_int_equal(pwrite(fd, whole, (size_t)n, 0), n);
        assert_int_equal(pwrite(fd, &damaged, 1, at), 1);
        m = open_map(fd, SIZE, 1000, "etag");
        for (uint64_t i = 1; i < PARTS; i += 2)
            assert_false(partmap_has(m, i));
        assert_true(partmap_done_bytes(m) < 501 * 1000);
        partmap_free(m);
    }
    close(fd);
}

static void records_in_each_others_places_are_not_believed(void **state)
{
    (void)state;
    int fd = map_fd();
    uint8_t record[32];
    struct partmap *m = open_map(fd, SIZE, 1000, "etag");
    mark(m, 1);
    mark(m, 200);
    partmap_free(m);
    assert_int_equal(pread(fd, record, sizeof record, 64), sizeof record);
    assert_int_equal(pwrite(fd, record, sizeof record, 96), sizeof record);
    m = open_map(fd, SIZE, 1000, "etag");
    assert_true(partmap_has(m, 1));
    assert_int_equal(partmap_done_bytes(m), 1000);
    partmap_free(m);
    close(fd);
}

static void a_truncated_map_keeps_what_is_whole(void **state)
{
    (void)state;
    int fd = map_fd();
    struct partmap *m = open_map(fd, SIZE, 1000, "etag");
    mark(m, 1);
    mark(m, 200);
    partmap_free(m);
    assert_int_equal(ftruncate(fd, 64 + 32 + 7), 0);
    m = open_map(fd, SIZE, 1000, "etag");
    assert_true(partmap_has(m, 1));
    assert_false(partmap_has(m, 200));
    partmap_free(m);
    close(fd);
}

static void marks_can_be_taken_back(void **state)
{
    (void)state;
    int fd = map_fd();
    struct err err = ERR_INIT;
    struct partmap *m = open_map(fd, SIZE, 1000, "etag");
    for (uint64_t i = 0; i < PARTS; i++)
        mark(m, i);
    assert_int_equal(partmap_done_bytes(m), SIZE);
    assert_int_equal(partmap_clear(m, 190, 5, &err), 0);
    assert_int_equal(partmap_clear(m, 1000, UINT64_MAX, &err), 0);
    partmap_free(m);
    m = open_map(fd, SIZE, 1000, "etag");
    for (uint64_t i = 0; i < PARTS; i++)
        assert_int_equal(partmap_has(m, i), !(i >= 190 && i < 195) && i != 1000);
    partmap_free(m);
    close(fd);
}

static void nonsense_is_refused(void **state)
{
    (void)state;
    int fd = map_fd();
    struct partmap *m;
    struct err err = ERR_INIT;
    assert_int_equal(partmap_open(&m, fd, 10, 0, SPAN_LIT("e"), &err), -1);
    err_clear(&err);
    assert_int_equal(partmap_open(&m, fd, UINT64_MAX, 1, SPAN_LIT("e"), &err), -1);
    err_clear(&err);
    m = open_map(fd, 0, 1000, "empty");
    assert_int_equal(partmap_count(m), 0);
    assert_int_equal(partmap_mark(m, 0, &err), -1);
    partmap_free(m);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(marks_are_there_after_reopening),
        cmocka_unit_test(a_map_of_something_else_starts_empty),
        cmocka_unit_test(no_damaged_byte_invents_a_mark),
        cmocka_unit_test(records_in_each_others_places_are_not_believed),
        cmocka_unit_test(a_truncated_map_keeps_what_is_whole),
        cmocka_unit_test(marks_can_be_taken_back),
        cmocka_unit_test(nonsense_is_refused),
    };
    return cmocka_run_group_tests_name("partmap", tests, NULL, NULL);
}
