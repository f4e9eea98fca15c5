#include "test_base.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define FD(state) (((struct scratch *)*(state))->fd)

static void put(int dir_fd, const char *name, const char *text)
{
    struct err err = ERR_INIT;
    assert_works(fs_replace_file(dir_fd, name, text, strlen(text), 0644, &err), &err);
}

static void assert_holds(int dir_fd, const char *name, const char *text)
{
    struct err err = ERR_INIT;
    AUTO_BUF b;
    buf_init(&b, 1 << 20);
    assert_works(fs_read_file(dir_fd, name, 1 << 20, &b, &err), &err);
    assert_string_equal(buf_str(&b), text);
}

static void a_confined_open_finds_what_lies_inside(void **state)
{
    struct err err = ERR_INIT;
    assert_works(fs_mkdirs_beneath(FD(state), "a/b/c", 0755, &err), &err);
    assert_works(fs_mkdirs_beneath(FD(state), "a/b/c", 0755, &err), &err);
    AUTO_FD made = fs_open_beneath(FD(state), "a/b/c/f", O_WRONLY | O_CREAT | O_EXCL, 0640, &err);
    struct stat st;
    assert_true(made >= 0);
    assert_int_equal(fcntl(made, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(fstat(made, &st), 0);
    assert_int_equal(st.st_mode & 07137, 0);
    AUTO_FD again = fs_open_beneath(FD(state), "a/b/../b/c/f", O_RDONLY, 0, &err); /* ".." that stays inside */
    assert_true(again >= 0);
    assert_fails(fs_open_beneath(FD(state), "a/nothing", O_RDONLY, 0, &err), &err, ERR_NOTFOUND);
}

static void no_trick_leads_a_confined_open_outside(void **state)
{
    struct err err = ERR_INIT;
    int fd = FD(state);
    assert_int_equal(mkdirat(fd, "in", 0755), 0);
    put(fd, "in/f", "x");
    assert_int_equal(symlinkat("/etc/passwd", fd, "absolute"), 0);
    assert_int_equal(symlinkat("..", fd, "up"), 0);
    assert_int_equal(symlinkat("in", fd, "inside"), 0);
    assert_int_equal(symlinkat("/proc/self/root", fd, "magic"), 0);
    assert_int_equal(symlinkat("loop", fd, "loop"), 0);
    static const char *const tricks[] = {"/etc/passwd", "../etc", "..",         "in/../..", "in/../../tmp",
                                         "absolute",    "up",     "up/x",       "inside",   "inside/f",
                                         "magic/etc",   "loop",   "in/../up/x", "/",        "./../tmp"};
    for (size_t i = 0; i < ARRAY_LEN(tricks); i++) {
        assert_fails(fs_open_beneath(fd, tricks[i], O_RDONLY, 0, &err), &err, ERR_REFUSED);
        AUTO_BUF b;
        buf_init(&b, 100000);
        assert_fails(fs_read_file(fd, tricks[i], 100000, &b, &err), &err, ERR_REFUSED);
        assert_int_equal(b.n, 0);
    }
    assert_fails(fs_open_beneath(fd, "absolute", O_WRONLY | O_CREAT, 0644, &err), &err, ERR_REFUSED);
}

static void folders_are_made_inside_only(void **state)
{
    struct err err = ERR_INIT;
    const struct scratch *s = *state;
    assert_int_equal(mkdirat(s->fd, "inside", 0755), 0);
    AUTO_FD fd = fs_open_beneath(s->fd, "inside", O_RDONLY | O_DIRECTORY, 0, &err);
    assert_true(fd >= 0);
    assert_int_equal(symlinkat(s->path, fd, "out"), 0);
    assert_int_equal(mkdirat(fd, "d", 0755), 0);
    assert_int_equal(symlinkat("d", fd, "in"), 0);
    put(fd, "f", "x");
    static const char *const refused[] = {"../x", "/x", "d/../x", "", "d//x", "."};
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        assert_fails(fs_mkdirs_beneath(fd, refused[i], 0755, &err), &err, ERR_REFUSED);
    assert_int_equal(fs_mkdirs_beneath(fd, "out/must-not-exist", 0755, &err), -1);
    assert_int_not_equal(faccessat(s->fd, "must-not-exist", F_OK, 0), 0);
    err_clear(&err);
    assert_int_equal(fs_mkdirs_beneath(fd, "in/x", 0755, &err), -1);
    err_clear(&err);
    assert_int_equal(fs_mkdirs_beneath(fd, "f/x", 0755, &err), -1); /* a file in the way */
    assert_contains(err.text, "f/x");
    err_clear(&err);
    assert_int_equal(fs_mkdirs_beneath(fd, "f", 0755, &err), -1);
}

static void trusted_folders_follow_links(void **state)
{
    struct err err = ERR_INIT;
    const struct scratch *s = *state;
    char path[200];
    assert_int_equal(mkdirat(s->fd, "d", 0755), 0);
    assert_int_equal(symlinkat("d", s->fd, "link"), 0);
    snprintf(path, sizeof path, "%s/link/x//y/", s->path);
    assert_works(fs_mkdirs(path, 0700, &err), &err);
    assert_works(fs_mkdirs(path, 0700, &err), &err);
    assert_int_equal(faccessat(s->fd, "d/x/y", F_OK, 0), 0);
    put(s->fd, "f", "x");
    snprintf(path, sizeof path, "%s/f", s->path);
    assert_int_equal(fs_mkdirs(path, 0700, &err), -1);
    err_clear(&err);
    snprintf(path, sizeof path, "%s/f/x", s->path);
    assert_fails(fs_mkdirs(path, 0700, &err), &err, ERR_NOTFOUND);
}

static void files_up_to_the_bound_are_read(void **state)
{
    struct err err = ERR_INIT;
    AUTO_BUF b;
    put(FD(state), "f", "12345");
    put(FD(state), "empty", "");
    buf_init(&b, 100);
    buf_adds(&b, ">");
    assert_works(fs_read_file(FD(state), "f", 5, &b, &err), &err);
    assert_string_equal(buf_str(&b), ">12345");
    assert_fails(fs_read_file(FD(state), "f", 4, &b, &err), &err, ERR_LIMIT);
    assert_works(fs_read_file(FD(state), "empty", 0, &b, &err), &err);
    assert_fails(fs_read_file(FD(state), "none", 5, &b, &err), &err, ERR_NOTFOUND);
    assert_fails(fs_read_file(FD(state), ".", 5, &b, &err), &err, ERR_INVALID);
    assert_string_equal(buf_str(&b), ">12345");
}

static void a_large_file_is_read_whole(void **state)
{
    struct err err = ERR_INIT;
    static char text[300001];
    AUTO_BUF b;
    memset(text, 'x', sizeof text - 1);
    put(FD(state), "f", text);
    buf_init(&b, sizeof text);
    assert_works(fs_read_file(FD(state), "f", sizeof text - 1, &b, &err), &err);
    assert_int_equal(b.n, sizeof text - 1);
    buf_reset(&b);
    assert_fails(fs_read_file(FD(state), "f", sizeof text - 2, &b, &err), &err, ERR_LIMIT);
}

static void a_pipe_in_the_way_neither_blocks_nor_counts_as_a_file(void **state)
{
    struct err err = ERR_INIT;
    AUTO_BUF b;
    buf_init(&b, 100);
    assert_int_equal(mkfifoat(FD(state), "pipe", 0644), 0);
    assert_fails(fs_read_file(FD(state), "pipe", 100, &b, &err), &err, ERR_REFUSED);
}

static void trusted_paths_may_be_absolute(void **state)
{
    struct err err = ERR_INIT;
    const struct scratch *s = *state;
    char path[100];
    snprintf(path, sizeof path, "%s/f", s->path);
    put(AT_FDCWD, path, "trusted");
    assert_holds(AT_FDCWD, path, "trusted");
    assert_holds(s->fd, "f", "trusted");
    AUTO_BUF b;
    buf_init(&b, 100);
    assert_fails(fs_read_file(s->fd, path, 100, &b, &err), &err, ERR_REFUSED);
}

static int count_entry(void *ctx, const struct fs_entry *entry, struct err *err)
{
    (void)entry;
    (void)err;
    ++*(unsigned *)ctx;
    return 0;
}

static unsigned count_entries(int dir_fd)
{
    struct err err = ERR_INIT;
    unsigned n = 0;
    assert_works(fs_walk(dir_fd, count_entry, &n, &err), &err);
    return n;
}

static void replacing_swaps_content_and_mode_at_once(void **state)
{
    struct err err = ERR_INIT;
    struct stat before, after;
    int fd = FD(state);
    mode_t mask = umask(0077);
    put(fd, "f", "old");
    assert_int_equal(fstatat(fd, "f", &before, 0), 0);
    AUTO_FD reader = openat(fd, "f", O_RDONLY | O_CLOEXEC);
    assert_works(fs_replace_file(fd, "f", "newer", 5, 0604, &err), &err);
    umask(mask);
    assert_int_equal(fstatat(fd, "f", &after, 0), 0);
    assert_int_equal(before.st_mode & 0777, 0644);
    assert_int_equal(after.st_mode & 0777, 0604);
    assert_true(before.st_ino != after.st_ino);
    char old[4] = "";
    assert_works(fs_pread_all(reader, old, 3, 0, &err), &err);
    assert_string_equal(old, "old"); /* who had it open sees the old file, whole */
    assert_holds(fd, "f", "newer");
    assert_int_equal(count_entries(fd), 1);
}

static void a_failed_replacement_leaves_the_old_file_and_no_litter(void **state)
{
    struct err err = ERR_INIT;
    int fd = FD(state);
    struct rlimit before, tiny;
    put(fd, "f", "old");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    tiny = before;
    tiny.rlim_cur = 2;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tiny), 0);
    int rc = fs_replace_file(fd, "f", "newer", 5, 0644, &err);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(rc, -1);
    assert_contains(err.text, "write f: ");
    err_clear(&err);
    assert_holds(fd, "f", "old");
    assert_int_equal(mkdirat(fd, "d", 0755), 0);
    assert_int_equal(fs_replace_file(fd, "d", "x", 1, 0644, &err), -1); /* a folder in the way */
    err_clear(&err);
    assert_int_equal(count_entries(fd), 2);
}

static void replacing_is_confined_too(void **state)
{
    struct err err = ERR_INIT;
    int fd = FD(state);
    remove("/tmp/berth-must-not-exist");
    assert_int_equal(symlinkat("/tmp", fd, "out"), 0);
    assert_fails(fs_replace_file(fd, "out/berth-must-not-exist", "x", 1, 0644, &err), &err, ERR_REFUSED);
    assert_fails(fs_replace_file(fd, "../berth-must-not-exist", "x", 1, 0644, &err), &err, ERR_REFUSED);
    assert_fails(fs_replace_file(fd, "none/x", "x", 1, 0644, &err), &err, ERR_NOTFOUND);
    assert_fails(fs_replace_file(fd, "x/", "x", 1, 0644, &err), &err, ERR_INVALID);
    assert_fails(fs_replace_file(fd, "", "x", 1, 0644, &err), &err, ERR_INVALID);
    assert_int_equal(symlinkat("/tmp/berth-must-not-exist", fd, "link"), 0);
    put(fd, "link", "x"); /* the link itself is replaced */
    assert_holds(fd, "link", "x");
    assert_int_not_equal(access("/tmp/berth-must-not-exist", F_OK), 0);
}

static void positioned_reads_and_writes_are_whole_or_an_error(void **state)
{
    struct err err = ERR_INIT;
    char back[8] = "";
    AUTO_FD fd = fs_open_beneath(FD(state), "f", O_RDWR | O_CREAT, 0644, &err);
    assert_works(fs_write_all(fd, "abc", 3, &err), &err);
    assert_works(fs_pwrite_all(fd, "xyz", 3, 100000, &err), &err);
    assert_works(fs_pread_all(fd, back, 3, 100000, &err), &err);
    assert_string_equal(back, "xyz");
    assert_fails(fs_pread_all(fd, back, 4, 100000, &err), &err, ERR_CORRUPT);
    assert_fails(fs_pread_all(fd, back, 4, UINT64_MAX, &err), &err, ERR_LIMIT);
    assert_fails(fs_pwrite_all(fd, back, 4, INT64_MAX - 2, &err), &err, ERR_LIMIT);
    assert_works(fs_fsync(fd, "f", &err), &err);
    assert_fails(fs_fsync(-1, "f", &err), &err, ERR_SYSTEM);
    AUTO_FD read_only = fs_open_beneath(FD(state), "f", O_RDONLY, 0, &err);
    assert_fails(fs_write_all(read_only, "x", 1, &err), &err, ERR_SYSTEM);
}

static void content_is_copied_whole(void **state)
{
    struct err err = ERR_INIT;
    static char text[200001], back[200001];
    for (size_t i = 0; i < sizeof text - 1; i++)
        text[i] = (char)('a' + i % 26);
    put(FD(state), "from", text);
    AUTO_FD from = fs_open_beneath(FD(state), "from", O_RDONLY, 0, &err);
    AUTO_FD to = fs_open_beneath(FD(state), "to", O_RDWR | O_CREAT, 0644, &err);
    enum fs_copy_how how;
    assert_works(fs_copy_content(from, to, sizeof text - 1, &how, &err), &err);
    assert_works(fs_pread_all(to, back, sizeof back - 1, 0, &err), &err);
    assert_string_equal(text, back);
    AUTO_FD part = fs_open_beneath(FD(state), "part", O_RDWR | O_CREAT, 0644, &err);
    struct stat st;
    assert_works(fs_copy_content(from, part, 1000, NULL, &err), &err);
    assert_int_equal(fstat(part, &st), 0);
    assert_int_equal(st.st_size, 1000);
    assert_fails(fs_copy_content(from, part, sizeof text, NULL, &err), &err, ERR_CORRUPT);
}

static void copying_to_another_file_system_works(void **state)
{
    struct err err = ERR_INIT;
    char back[6] = "";
    put(FD(state), "from", "hello");
    AUTO_FD from = fs_open_beneath(FD(state), "from", O_RDONLY, 0, &err);
    AUTO_FD to = memfd_create("to", MFD_CLOEXEC);
    enum fs_copy_how how;
    assert_works(fs_copy_content(from, to, 5, &how, &err), &err);
    assert_int_equal(how, FS_COPY_BYTES);
    assert_works(fs_pread_all(to, back, 5, 0, &err), &err);
    assert_string_equal(back, "hello");
}

static void preallocation_keeps_the_size_and_space_is_counted(void **state)
{
    struct err err = ERR_INIT;
    struct stat st;
    struct fs_space space;
    AUTO_FD fd = fs_open_beneath(FD(state), "f", O_RDWR | O_CREAT, 0644, &err);
    assert_works(fs_preallocate(fd, 100000, &err), &err);
    assert_works(fs_preallocate(fd, 0, &err), &err);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 0);
    assert_fails(fs_preallocate(fd, UINT64_MAX, &err), &err, ERR_LIMIT);
    assert_works(fs_space(FD(state), &space, &err), &err);
    assert_true(space.total_bytes > 0 && space.free_bytes <= space.total_bytes && space.free_inodes > 0);
    assert_fails(fs_space(-1, &space, &err), &err, ERR_SYSTEM);
    assert_int_equal(fs_open_dir("/proc/nonexistent/berth", &err), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(a_confined_open_finds_what_lies_inside),
        scratch_test(no_trick_leads_a_confined_open_outside),
        scratch_test(folders_are_made_inside_only),
        scratch_test(trusted_folders_follow_links),
        scratch_test(files_up_to_the_bound_are_read),
        scratch_test(a_large_file_is_read_whole),
        scratch_test(a_pipe_in_the_way_neither_blocks_nor_counts_as_a_file),
        scratch_test(trusted_paths_may_be_absolute),
        scratch_test(replacing_swaps_content_and_mode_at_once),
        scratch_test(a_failed_replacement_leaves_the_old_file_and_no_litter),
        scratch_test(replacing_is_confined_too),
        scratch_test(positioned_reads_and_writes_are_whole_or_an_error),
        scratch_test(content_is_copied_whole),
        scratch_test(copying_to_another_file_system_works),
        scratch_test(preallocation_keeps_the_size_and_space_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
