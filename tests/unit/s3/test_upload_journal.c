/* What is left for the next process when one is killed in the middle of an upload. */
#include "s3/upload_journal.h"

#include "base/fs.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define NAME "https://s3.example/b/k\n1:2"

static char dir[64];

static int set_up(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/berth-journal.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
    struct err err = ERR_INIT;
    (void)state;
    AUTO_FD tmp = fs_open_dir("/tmp", &err);
    return fs_remove_tree(tmp, dir + strlen("/tmp/"), &err);
}

/* The only file of the folder; false: there is none. */
static bool find_file(char out[512])
{
    DIR *d = opendir(dir);
    bool found = false;
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.') {
            assert_false(found);
            snprintf(out, 512, "%s/%s", dir, e->d_name);
            found = true;
        }
    closedir(d);
    return found;
}

static struct journal_part made_part(unsigned n)
{
    struct journal_part p = {.part = {.size = n * 1000, .crc32c = "AAAAAA=="}};
    struct err err = ERR_INIT;
    snprintf(p.part.etag, sizeof p.part.etag, "\"etag-%u\"", n);
    assert_int_equal(digest_bytes(DIGEST_SHA256, &n, sizeof n, &p.sha256, &err), 0);
    return p;
}

/* An upload of parts 1, 2 and 4, whose process dies then. */
static void write_some(void)
{
    struct upload_journal *j = journal_open(dir, NAME);
    assert_non_null(j);
    assert_string_equal(journal_past(j)->id, "");
    journal_begin(j, "id/+=\"\\", SUMS_CRC32C, "settings");
    static const unsigned numbers[] = {1, 4, 2};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        const struct journal_part p = made_part(numbers[i]);
        journal_add(j, numbers[i], &p);
    }
    journal_close(j, true);
}

static void assert_past(const struct journal_past *past, unsigned number, bool known)
{
    const struct journal_part p = made_part(number);
    bool is = number <= past->count && past->parts[number - 1].part.size > 0;
    assert_int_equal(is, known);
    if (known) {
        assert_string_equal(past->parts[number - 1].part.etag, p.part.etag);
        assert_string_equal(past->parts[number - 1].part.crc32c, p.part.crc32c);
        assert_int_equal(past->parts[number - 1].part.size, p.part.size);
        assert_true(digest_equal(&past->parts[number - 1].sha256, &p.sha256));
    }
}

static void the_next_process_knows_the_upload_and_its_parts(void **state)
{
    (void)state;
    write_some();
    struct upload_journal *j = journal_open(dir, NAME);
    assert_non_null(j);
    const struct journal_past *past = journal_past(j);
    assert_string_equal(past->id, "id/+=\"\\");
    assert_string_equal(past->settings, "settings");
    assert_int_equal(past->sums, SUMS_CRC32C);
    for (unsigned n = 1; n <= 5; n++)
        assert_past(past, n, n == 1 || n == 2 || n == 4);
    const struct journal_part third = made_part(3);
    journal_add(j, 3, &third);
    journal_close(j, true);
    j = journal_open(dir, NAME);
    for (unsigned n = 1; n <= 4; n++)
        assert_past(journal_past(j), n, true);
    journal_close(j, false);
}

static void it_is_its_owners_alone_and_goes_with_its_upload(void **state)
{
    (void)state;
    char file[512];
    struct stat st;
    write_some();
    assert_true(find_file(file));
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    struct upload_journal *j = journal_open(dir, NAME);
    journal_close(j, false);
    assert_false(find_file(file));
}

static void an_upload_that_is_never_begun_leaves_no_file(void **state)
{
    (void)state;
    char file[512];
    struct upload_journal *j = journal_open(dir, NAME);
    assert_non_null(j);
    assert_false(find_file(file));
    journal_close(j, true);
    assert_false(find_file(file));
}

static void another_name_is_another_upload(void **state)
{
    (void)state;
    write_some();
    struct upload_journal *j = journal_open(dir, NAME "3");
    assert_non_null(j);
    assert_string_equal(journal_past(j)->id, "");
    journal_close(j, false);
}

static void wherever_a_crash_cuts_it_whole_lines_count_and_it_can_be_gone_on_with(void **state)
{
    (void)state;
    char file[512];
    struct stat st;
    write_some();
    assert_true(find_file(file));
    assert_int_equal(stat(file, &st), 0);
    for (off_t n = st.st_size - 1; n >= 0; n--) {
        assert_int_equal(truncate(file, n), 0);
        struct upload_journal *j = journal_open(dir, NAME);
        assert_non_null(j);
        const struct journal_past *past = journal_past(j);
        assert_past(past, 2, false); /* the last line */
        if (past->id[0]) {
            bool first = past->count >= 1;
            const struct journal_part p = made_part(3);
            journal_add(j, 3, &p);
            journal_close(j, true);
            j = journal_open(dir, NAME);
            assert_past(journal_past(j), 1, first);
            assert_past(journal_past(j), 3, true);
        }
        journal_close(j, true);
    }
}

static void what_is_no_journal_counts_as_nothing(void **state)
{
    (void)state;
    static const char *const bad[] = {"\n",
                                      "{}\n",
                                      "[]\n",
                                      "{\"berth_upload\":2,\"upload_id\":\"i\",\"sums\":\"md5\",\"settings\":\"s\"}\n",
                                      "{\"berth_upload\":1,\"sums\":\"md5\",\"settings\":\"s\"}\n",
                                      "{\"berth_upload\":1,\"upload_id\":\"\",\"sums\":\"md5\",\"settings\":\"s\"}\n",
                                      "\xff\xfe\n"};
    char file[512];
    write_some();
    assert_true(find_file(file));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err err = ERR_INIT;
        assert_int_equal(fs_replace_file(AT_FDCWD, file, bad[i], strlen(bad[i]), 0600, &err), 0);
        struct upload_journal *j = journal_open(dir, NAME);
        assert_non_null(j);
        assert_string_equal(journal_past(j)->id, "");
        assert_int_equal(journal_past(j)->count, 0);
        journal_close(j, true);
    }
}

static void parts_that_cannot_be_are_not_believed(void **state)
{
    (void)state;
#define HEAD   "{\"berth_upload\":1,\"upload_id\":\"i\",\"sums\":\"md5\",\"settings\":\"s\"}\n"
#define DIGEST "\"sha256\":\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\""
    static const char *const bad[] = {
        HEAD "{\"part\":0,\"size\":1,\"etag\":\"e\",\"crc32c\":\"\"," DIGEST "}\n",
        HEAD "{\"part\":10001,\"size\":1,\"etag\":\"e\",\"crc32c\":\"\"," DIGEST "}\n",
        HEAD "{\"part\":-1,\"size\":1,\"etag\":\"e\",\"crc32c\":\"\"," DIGEST "}\n",
        HEAD "{\"part\":1,\"size\":0,\"etag\":\"e\",\"crc32c\":\"\"," DIGEST "}\n",
        HEAD "{\"part\":1,\"size\":1,\"crc32c\":\"\"," DIGEST "}\n",
        HEAD "{\"part\":1,\"size\":1,\"etag\":\"e\",\"crc32c\":\"longer than any CRC\"," DIGEST "}\n",
        HEAD "{\"part\":1,\"size\":1,\"etag\":\"e\",\"crc32c\":\"\",\"sha256\":\"e3\"}\n"};
    char file[512];
    write_some();
    assert_true(find_file(file));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err err = ERR_INIT;
        assert_int_equal(fs_replace_file(AT_FDCWD, file, bad[i], strlen(bad[i]), 0600, &err), 0);
        struct upload_journal *j = journal_open(dir, NAME);
        assert_string_equal(journal_past(j)->id, "i");
        assert_int_equal(journal_past(j)->count, 0);
        journal_close(j, true);
    }
}

static void only_one_process_has_it(void **state)
{
    (void)state;
    write_some();
    struct upload_journal *first = journal_open(dir, NAME);
    assert_non_null(first);
    assert_null(journal_open(dir, NAME));
    journal_close(first, true);
    first = journal_open(dir, NAME);
    assert_non_null(first);
    journal_close(first, false);
}

static void a_link_in_its_place_is_not_followed(void **state)
{
    (void)state;
    char file[512], target[512];
    struct stat st;
    write_some();
    assert_true(find_file(file));
    snprintf(target, sizeof target, "%s/target", dir);
    assert_int_equal(rename(file, target), 0);
    assert_int_equal(symlink("target", file), 0);
    assert_null(journal_open(dir, NAME));
    assert_int_equal(lstat(target, &st), 0);
    assert_true(st.st_size > 0);
}

static void what_nobody_takes_up_is_removed_after_its_time(void **state)
{
    (void)state;
    char file[512];
    write_some();
    assert_true(find_file(file));
    time_t now = time(NULL), limit = (time_t)(JOURNAL_AGE_MAX_MS / 1000);
    struct timespec young[2] = {{.tv_sec = now}, {.tv_sec = now - limit + 3600}};
    struct timespec old[2] = {{.tv_sec = now}, {.tv_sec = now - limit - 3600}};
    assert_int_equal(utimensat(AT_FDCWD, file, young, 0), 0);
    journal_close(journal_open(dir, "another"), false);
    assert_int_equal(access(file, F_OK), 0);
    assert_int_equal(utimensat(AT_FDCWD, file, old, 0), 0);
    struct upload_journal *held = journal_open(dir, NAME "held by none");
    journal_close(held, false);
    assert_int_not_equal(access(file, F_OK), 0);
}

static void a_folder_that_cannot_be_made_is_no_failure(void **state)
{
    (void)state;
    assert_null(journal_open("/proc/nowhere", NAME));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(the_next_process_knows_the_upload_and_its_parts),
        T(it_is_its_owners_alone_and_goes_with_its_upload),
        T(an_upload_that_is_never_begun_leaves_no_file),
        T(another_name_is_another_upload),
        T(wherever_a_crash_cuts_it_whole_lines_count_and_it_can_be_gone_on_with),
        T(what_is_no_journal_counts_as_nothing),
        T(parts_that_cannot_be_are_not_believed),
        T(only_one_process_has_it),
        T(a_link_in_its_place_is_not_followed),
        T(what_nobody_takes_up_is_removed_after_its_time),
        T(a_folder_that_cannot_be_made_is_no_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
