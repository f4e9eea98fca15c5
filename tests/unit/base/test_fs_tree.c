#include "test_base.h"

#include "base/str.h"

#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define FD(state) (((struct scratch *)*(state))->fd)

static void make(int dir_fd, const char *path)
{
    struct err err = ERR_INIT;
    assert_works(fs_mkdirs_beneath(dir_fd, path, 0755, &err), &err);
}

static void touch(int dir_fd, const char *path)
{
    struct err err = ERR_INIT;
    assert_works(fs_replace_file(dir_fd, path, "x", 1, 0644, &err), &err);
}

/* A chain of folders deeper than any path may be long; the innermost holds a file. */
static void make_chain(int dir_fd, const char *name, unsigned depth)
{
    AUTO_FD at = dup(dir_fd);
    for (unsigned i = 0; i < depth; i++) {
        assert_int_equal(mkdirat(at, i ? "d" : name, 0755), 0);
        int next = openat(at, i ? "d" : name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        close(at);
        at = next;
    }
    touch(at, "leaf");
}

static int list(void *ctx, const struct fs_entry *entry, struct err *err)
{
    struct stat st;
    assert_int_equal(fstatat(entry->parent_fd, entry->name, &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_true(st.st_ino == entry->st.st_ino);
    return strv_addf(ctx, err, "%s%s", entry->path, S_ISDIR(st.st_mode) ? "/" : S_ISLNK(st.st_mode) ? "@" : "");
}

static void a_walk_is_sorted_with_parents_first_and_follows_no_link(void **state)
{
    struct err err = ERR_INIT;
    int fd = FD(state);
    struct strv seen = {0};
    make(fd, "b/z/q");
    make(fd, "b/a");
    touch(fd, "b/m");
    touch(fd, "c");
    touch(fd, "a");
    assert_int_equal(symlinkat("/", fd, "root"), 0);
    assert_int_equal(symlinkat("b", fd, "b2"), 0);
    static const char *const want[] = {"a", "b/", "b/a/", "b/m", "b/z/", "b/z/q/", "b2@", "c", "root@"};
    for (int round = 0; round < 2; round++) { /* the folder's own position does not matter */
        assert_works(fs_walk(fd, list, &seen, &err), &err);
        assert_int_equal(seen.n, ARRAY_LEN(want));
        for (size_t i = 0; i < ARRAY_LEN(want); i++)
            assert_string_equal(seen.v[i], want[i]);
        strv_release(&seen);
    }
}

static int stop_at_b(void *ctx, const struct fs_entry *entry, struct err *err)
{
    (void)err;
    ++*(int *)ctx;
    return strcmp(entry->path, "b") == 0 ? 7 : 0;
}

static void a_visitor_can_end_the_walk(void **state)
{
    struct err err = ERR_INIT;
    int visited = 0;
    make(FD(state), "b/below");
    touch(FD(state), "a");
    touch(FD(state), "c");
    assert_int_equal(fs_walk(FD(state), stop_at_b, &visited, &err), 7);
    assert_int_equal(visited, 2);
    assert_false(err_is_set(&err));
}

static int count(void *ctx, const struct fs_entry *entry, struct err *err)
{
    (void)entry;
    (void)err;
    ++*(unsigned *)ctx;
    return 0;
}

static void depth_is_bounded_exactly(void **state)
{
    struct err err = ERR_INIT;
    unsigned n = 0;
    make_chain(FD(state), "fits", FS_WALK_DEPTH_MAX - 1);
    assert_works(fs_walk(FD(state), count, &n, &err), &err);
    assert_int_equal(n, FS_WALK_DEPTH_MAX);
    make_chain(FD(state), "too-deep", FS_WALK_DEPTH_MAX);
    assert_fails(fs_walk(FD(state), count, &n, &err), &err, ERR_LIMIT);
}

static int remove_later_ones(void *ctx, const struct fs_entry *entry, struct err *err)
{
    struct strv *seen = ctx;
    if (strcmp(entry->path, "a") == 0) {
        assert_int_equal(unlinkat(entry->parent_fd, "b", 0), 0);
        assert_int_equal(unlinkat(entry->parent_fd, "d", AT_REMOVEDIR), 0);
    }
    return strv_add(seen, entry->path, err);
}

static void what_vanishes_during_a_walk_is_passed_over(void **state)
{
    struct err err = ERR_INIT;
    struct strv seen = {0};
    touch(FD(state), "a");
    touch(FD(state), "b");
    touch(FD(state), "c");
    make(FD(state), "d");
    assert_works(fs_walk(FD(state), remove_later_ones, &seen, &err), &err);
    assert_int_equal(seen.n, 2);
    assert_string_equal(seen.v[1], "c");
    strv_release(&seen);
}

static bool exists(int dir_fd, const char *name)
{
    return faccessat(dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void a_tree_is_removed_but_nothing_its_links_point_to(void **state)
{
    struct err err = ERR_INIT;
    int fd = FD(state);
    make(fd, "keep");
    touch(fd, "keep/f");
    make(fd, "t/a/b");
    touch(fd, "t/a/f");
    assert_int_equal(symlinkat("../keep", fd, "t/link"), 0);
    assert_int_equal(symlinkat("../../keep", fd, "t/a/link"), 0);
    assert_int_equal(mkfifoat(fd, "t/pipe", 0644), 0);
    assert_works(fs_remove_tree(fd, "t", &err), &err);
    assert_false(exists(fd, "t"));
    assert_true(exists(fd, "keep/f"));
    assert_int_equal(symlinkat("keep", fd, "link"), 0);
    assert_works(fs_remove_tree(fd, "link", &err), &err);
    assert_false(exists(fd, "link"));
    assert_true(exists(fd, "keep/f"));
}

static void absent_and_plain_files_are_fine_to_remove(void **state)
{
    struct err err = ERR_INIT;
    assert_works(fs_remove_tree(FD(state), "none", &err), &err);
    touch(FD(state), "f");
    assert_works(fs_remove_tree(FD(state), "f", &err), &err);
    assert_false(exists(FD(state), "f"));
}

static void only_a_plain_name_can_be_removed(void **state)
{
    struct err err = ERR_INIT;
    static const char *const bad[] = {"", ".", "..", "/", "/tmp/x", "../x", "a/b", "a/..", "a/"};
    make(FD(state), "a/b");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_fails(fs_remove_tree(FD(state), bad[i], &err), &err, ERR_REFUSED);
    assert_true(exists(FD(state), "a/b"));
}

static void a_tree_deeper_than_paths_and_descriptors_allow_is_removed(void **state)
{
    struct err err = ERR_INIT;
    make_chain(FD(state), "deep", 3000);
    assert_works(fs_remove_tree(FD(state), "deep", &err), &err);
    assert_false(exists(FD(state), "deep"));
}

static void folders_closed_to_their_owner_are_removed(void **state)
{
    struct err err = ERR_INIT;
    int fd = FD(state);
    make(fd, "t/closed/in");
    touch(fd, "t/closed/in/f");
    assert_int_equal(fchmodat(fd, "t/closed/in", 0500, 0), 0);
    assert_int_equal(fchmodat(fd, "t/closed", 0000, 0), 0);
    assert_int_equal(fchmodat(fd, "t", 0100, 0), 0);
    assert_works(fs_remove_tree(fd, "t", &err), &err);
    assert_false(exists(fd, "t"));
}

static void a_folder_with_many_entries_is_removed(void **state)
{
    struct err err = ERR_INIT;
    int fd = FD(state);
    char name[32];
    make(fd, "t");
    for (unsigned i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "t/%u", i);
        AUTO_FD made = openat(fd, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
        assert_true(made >= 0);
    }
    assert_works(fs_remove_tree(fd, "t", &err), &err);
    assert_false(exists(fd, "t"));
}

/* In a mount namespace of its own, which takes root; elsewhere there is nothing to mount. */
static void another_file_system_inside_is_left_alone(void **state)
{
    struct err err = ERR_INIT;
    const struct scratch *s = *state;
    char path[100];
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        skip();
    AUTO_FD fd = fs_open_dir(s->path, &err); /* the one in `s` still belongs to the outer namespace */
    make(fd, "t/mounted");
    snprintf(path, sizeof path, "%s/t/mounted", s->path);
    if (mount("tmpfs", path, "tmpfs", 0, NULL) < 0)
        skip();
    touch(fd, "t/mounted/keep");
    int rc = fs_remove_tree(fd, "t", &err);
    bool kept = exists(fd, "t/mounted/keep");
    assert_int_equal(umount(path), 0);
    assert_fails(rc, &err, ERR_REFUSED);
    assert_true(kept);
    assert_works(fs_remove_tree(fd, "t", &err), &err);
}

/* In a child without capabilities: root may do what an owner may not. */
static void folders_deep_below_that_are_closed_are_removed(void **state)
{
    const struct scratch *s = *state;
    int status = -1, fds[70];
    fds[0] = s->fd;
    for (size_t i = 0; i + 1 < ARRAY_LEN(fds); i++) {
        assert_int_equal(mkdirat(fds[i], "d", 0755), 0);
        fds[i + 1] = openat(fds[i], "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fds[i + 1] >= 0);
    }
    for (size_t i = ARRAY_LEN(fds) - 1; i > 0; i--)
        assert_int_equal(fchmod(fds[i], 0555), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct err err = ERR_INIT;
        struct __user_cap_header_struct self = {.version = _LINUX_CAPABILITY_VERSION_3};
        const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
        _exit(syscall(SYS_capset, &self, none) < 0 ? 2 : fs_remove_tree(s->fd, "d", &err) < 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    for (size_t i = 1; i < ARRAY_LEN(fds); i++) {
        (void)!fchmod(fds[i], 0755); /* for the tear-down, where it failed */
        close(fds[i]);
    }
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(a_walk_is_sorted_with_parents_first_and_follows_no_link),
        scratch_test(a_visitor_can_end_the_walk),
        scratch_test(depth_is_bounded_exactly),
        scratch_test(what_vanishes_during_a_walk_is_passed_over),
        scratch_test(a_tree_is_removed_but_nothing_its_links_point_to),
        scratch_test(absent_and_plain_files_are_fine_to_remove),
        scratch_test(only_a_plain_name_can_be_removed),
        scratch_test(a_tree_deeper_than_paths_and_descriptors_allow_is_removed),
        scratch_test(folders_closed_to_their_owner_are_removed),
        scratch_test(folders_deep_below_that_are_closed_are_removed),
        scratch_test(a_folder_with_many_entries_is_removed),
        scratch_test(another_file_system_inside_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
