/* The sandbox, from inside: each case in a child of its own, which says by its end how far it came. */
#include "base/fs.h"
#include "base/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cmocka.h>

enum { NOT_ENTERED = 90, UNHARMED = 91 };

struct place {
    char dir[64];
    int fd;
};

static int set_up(void **state)
{
    static struct place p;
    struct err err = ERR_INIT;
    strcpy(p.dir, "/tmp/berth-sandbox.XXXXXX");
    if (!mkdtemp(p.dir) || (p.fd = fs_open_dir(p.dir, &err)) < 0)
        return -1;
    *state = &p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    struct err err = ERR_INIT;
    close(p->fd);
    AUTO_FD parent = fs_open_dir("/tmp", &err);
    return parent < 0 ? -1 : fs_remove_tree(parent, strrchr(p->dir, '/') + 1, &err);
}

/* How a child ends that enters the sandbox and then does `work`. */
static int end_of(struct place *p, int (*work)(const struct place *))
{
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct err err = ERR_INIT;
        if (sandbox_enter(p->fd, &err) < 0) {
            fprintf(stderr, "%s\n", err.text);
            _exit(NOT_ENTERED);
        }
        _exit(work(p));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void assert_ends_with(struct place *p, int (*work)(const struct place *), int code)
{
    int status = end_of(p, work);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), code);
}

static void assert_is_ended(struct place *p, int (*work)(const struct place *))
{
    if (!sandbox_filters())
        skip(); /* sanitizers need calls that the filter refuses */
    int status = end_of(p, work);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSYS);
}

static bool has_landlock(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >= 2;
}

/* ---- what it is for ---- */

static int make_files(const struct place *p)
{
    struct err err = ERR_INIT;
    AUTO_FD file = -1;
    if (fs_mkdirs_beneath(p->fd, "a/b", 0755, &err) < 0 ||
        (file = fs_open_beneath(p->fd, "a/b/f", O_WRONLY | O_CREAT | O_EXCL, 0600, &err)) < 0)
        return 1;
    if (fs_write_all(file, "text", 4, &err) < 0 || ftruncate(file, 100) < 0 || fchmod(file, 0755) < 0)
        return 2;
    if (linkat(p->fd, "a/b/f", p->fd, "a/g", 0) < 0 || symlinkat("b/f", p->fd, "a/s") < 0)
        return 3;
    if (unlinkat(p->fd, "a/g", 0) < 0)
        return 4;
    void *large = malloc(64 << 20);
    return large ? 0 : 5;
}

static void files_folders_and_links_can_be_made_in_the_folder(void **state)
{
    struct place *p = *state;
    struct stat st;
    assert_ends_with(p, make_files, 0);
    assert_int_equal(fstatat(p->fd, "a/b/f", &st, 0), 0);
    assert_int_equal(st.st_size, 100);
}

/* ---- what it keeps out ---- */

static int read_elsewhere(const struct place *p)
{
    struct err err = ERR_INIT;
    AUTO_FD root = fs_open_beneath(p->fd, ".", O_RDONLY | O_DIRECTORY, 0, &err);
    struct {
        uint64_t flags, mode, resolve;
    } plain = {.flags = O_RDONLY};
    long fd = syscall(SYS_openat2, AT_FDCWD, "/etc/passwd", &plain, sizeof plain);
    return root >= 0 && fd < 0 && errno == EACCES ? 0 : 1;
}

static int write_elsewhere(const struct place *p)
{
    return mkdirat(p->fd, "../berth-sandbox-was-left", 0700) < 0 && errno == EACCES ? 0 : 1;
}

static void nothing_outside_of_the_folder_is_read_or_made(void **state)
{
    if (!has_landlock())
        skip();
    assert_ends_with(*state, read_elsewhere, 0);
    assert_ends_with(*state, write_elsewhere, 0);
}

static int leave_by_a_file(const struct place *p)
{
    return mknodat(p->fd, "fifo", S_IFIFO | 0600, 0) < 0 ? 0 : 1;
}

static void no_special_file_is_made(void **state)
{
    if (sandbox_filters())
        assert_is_ended(*state, leave_by_a_file);
    else if (has_landlock())
        assert_ends_with(*state, leave_by_a_file, 0);
    else
        skip();
}

static int dial(const struct place *p)
{
    (void)p;
    socket(AF_INET, SOCK_STREAM, 0);
    return UNHARMED;
}

static int start_a_program(const struct place *p)
{
    (void)p;
    execl("/bin/true", "true", NULL);
    return UNHARMED;
}

static int multiply(const struct place *p)
{
    (void)p;
    fork();
    return UNHARMED;
}

static int look_at_the_parent(const struct place *p)
{
    (void)p;
    ptrace(PTRACE_ATTACH, getppid(), NULL, NULL);
    return UNHARMED;
}

static int open_the_old_way(const struct place *p)
{
    return openat(p->fd, "f", O_RDONLY) < 0 ? UNHARMED : 0;
}

static void any_other_system_call_ends_the_process(void **state)
{
    assert_is_ended(*state, dial);
    assert_is_ended(*state, start_a_program);
    assert_is_ended(*state, multiply);
    assert_is_ended(*state, look_at_the_parent);
    assert_is_ended(*state, open_the_old_way);
}

static int map_code(const struct place *p)
{
    (void)p;
    void *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return code == MAP_FAILED ? 0 : UNHARMED;
}

static int turn_data_into_code(const struct place *p)
{
    (void)p;
    void *data = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(data, 4096, PROT_READ | PROT_EXEC);
    return UNHARMED;
}

static int touch_a_path(const struct place *p)
{
    const struct timespec times[2] = {{1, 0}, {1, 0}};
    utimensat(AT_FDCWD, p->dir, times, 0);
    return UNHARMED;
}

static int touch_what_is_open(const struct place *p)
{
    const struct timespec times[2] = {{1, 0}, {1, 0}};
    return futimens(p->fd, times) == 0 ? 0 : 1;
}

static void only_what_is_open_gets_another_time(void **state)
{
    assert_ends_with(*state, touch_what_is_open, 0);
    assert_is_ended(*state, touch_a_path);
}

static void no_memory_becomes_code(void **state)
{
    assert_is_ended(*state, map_code);
    assert_is_ended(*state, turn_data_into_code);
}

static int take_all_memory(const struct place *p)
{
    (void)p;
    void *all = mmap(NULL, SANDBOX_MEMORY_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return all == MAP_FAILED && errno == ENOMEM ? 0 : 1;
}

static void memory_is_bounded(void **state)
{
    if (!sandbox_filters())
        skip(); /* sanitizers map terabytes */
    assert_ends_with(*state, take_all_memory, 0);
}

/* Root's way round the modes of files is a capability. */
static int read_what_modes_forbid(const struct place *p)
{
    struct err err = ERR_INIT;
    AUTO_FD fd = fs_open_beneath(p->fd, "closed", O_RDONLY, 0, &err);
    return fd < 0 && err.kind == ERR_DENIED ? 0 : 1;
}

static void root_has_no_more_rights_than_an_owner(void **state)
{
    struct place *p = *state;
    AUTO_FD fd = openat(p->fd, "closed", O_CREAT | O_WRONLY, 0);
    assert_true(fd >= 0);
    assert_ends_with(p, read_what_modes_forbid, 0);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(files_folders_and_links_can_be_made_in_the_folder),
        TEST(nothing_outside_of_the_folder_is_read_or_made),
        TEST(no_special_file_is_made),
        TEST(any_other_system_call_ends_the_process),
        TEST(only_what_is_open_gets_another_time),
        TEST(no_memory_becomes_code),
        TEST(memory_is_bounded),
        TEST(root_has_no_more_rights_than_an_owner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
