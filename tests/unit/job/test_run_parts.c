/* The parts of a run that need no engine: the results folder, the workplace, the watch. */
#include "base/fs.h"
#include "job/job_priv.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/wait.h>

#include <cmocka.h>

struct fixture {
    char dir[64];
    struct err err;
};

static int set_up(void **state)
{
    static struct fixture f;
    f = (struct fixture){.dir = "/tmp/berth-test-XXXXXX"};
    *state = &f;
    return mkdtemp(f.dir) ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    AUTO_FD tmp = fs_open_dir("/tmp", &err);
    return fs_remove_tree(tmp, f->dir + strlen("/tmp/"), &err);
}

static char *read_back(const char *dir, const char *name)
{
    struct err err = ERR_INIT;
    AUTO_BUF text;
    buf_init(&text, 1 << 20);
    AUTO_FD fd = fs_open_dir(dir, &err);
    assert_int_equal(fs_read_file(fd, name, 1 << 20, &text, &err), 0);
    return buf_take(&text, "file", &err);
}

static struct results open_results(struct fixture *f, const char *dir, uint64_t max)
{
    (void)f;
    struct results r = {.dir_fd = -1, .stream_fd = {-1, -1}};
    struct err err = ERR_INIT;
    assert_int_equal(results_open(&r, dir, max, &err), 0);
    return r;
}

static void streams_are_kept_byte_for_byte_up_to_the_limit(void **state)
{
    struct fixture *f = *state;
    char dir[128];
    snprintf(dir, sizeof dir, "%s/out", f->dir);
    struct results r = open_results(f, dir, 6);
    assert_int_equal(results_add(&r, 1, "ab\0c", 4, &f->err), 0);
    assert_int_equal(results_add(&r, 1, "defg", 4, &f->err), 0);
    assert_int_equal(results_add(&r, 2, "e", 1, &f->err), 0);
    assert_int_equal(results_finish(&r, 7, &f->err), 0);
    results_release(&r);
    AUTO_STR out = read_back(dir, "stdout");
    assert_memory_equal(out, "ab\0cde", 6);
    assert_non_null(strstr(out + 6, "2 further bytes of stdout"));
    AUTO_STR code = read_back(dir, "exitCode");
    assert_string_equal(code, "7");
    AUTO_STR second = read_back(dir, "stderr");
    assert_string_equal(second, "e");
}

static void a_folder_with_something_in_it_is_refused(void **state)
{
    struct fixture *f = *state;
    AUTO_FD fd = fs_open_dir(f->dir, &f->err);
    assert_int_equal(fs_replace_file(fd, "mine", "x", 1, 0644, &f->err), 0);
    struct results r = {.dir_fd = -1, .stream_fd = {-1, -1}};
    assert_int_equal(results_open(&r, f->dir, 10, &f->err), -1);
    assert_int_equal(f->err.kind, ERR_EXISTS);
    assert_non_null(strstr(f->err.text, "mine"));
    results_release(&r);
}

static void a_living_run_is_no_orphan_and_a_killed_one_is(void **state)
{
    struct fixture *f = *state;
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        struct workplace w = {.root_fd = -1, .lock_fd = -1};
        struct err err = ERR_INIT;
        char ok = workplace_open(&w, f->dir, "j-1", &err) == 0;
        if (write(ready[1], &ok, 1) == 1)
            pause();
        _exit(1);
    }
    char ok = 0;
    assert_int_equal(read(ready[0], &ok, 1), 1);
    assert_int_equal(ok, 1);
    AUTO_FD root = fs_open_dir(f->dir, &f->err);
    int lock = -1;
    assert_int_equal(workplace_is_orphan(root, "j-1", &lock), 0);
    assert_int_equal(workplace_is_orphan(root, "j-other", &lock), 0);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_int_equal(workplace_is_orphan(root, "j-1", &lock), 1);
    close(lock);
    close(ready[0]);
    close(ready[1]);
}

static void a_released_workplace_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct workplace w = {.root_fd = -1, .lock_fd = -1};
    assert_int_equal(workplace_open(&w, f->dir, "j-2", &f->err), 0);
    assert_int_equal(access(w.path, F_OK), 0);
    AUTO_STR path = str_dup(w.path, &f->err);
    workplace_release(&w, false);
    assert_int_equal(access(path, F_OK), -1);
}

static void wait_raised(const struct cancel *c)
{
    struct pollfd p = {.fd = c->event_fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 10000), 1);
}

static void cancellation_is_passed_on(void **state)
{
    struct fixture *f = *state;
    struct cancel from, to;
    assert_int_equal(cancel_init(&from, &f->err), 0);
    assert_int_equal(cancel_init(&to, &f->err), 0);
    struct watch w = {0};
    assert_int_equal(watch_start(&w, &from, &to, 0, &f->err), 0);
    cancel_raise(&from, CANCEL_STOP);
    wait_raised(&to);
    assert_int_equal(cancel_level_of(&to), CANCEL_STOP);
    assert_false(atomic_load(&w.timed_out));
    watch_end(&w);
    watch_end(&w);
    cancel_release(&from);
    cancel_release(&to);
}

static void the_time_limit_cancels_and_says_so(void **state)
{
    struct fixture *f = *state;
    struct cancel to;
    assert_int_equal(cancel_init(&to, &f->err), 0);
    struct watch w = {0};
    assert_int_equal(watch_start(&w, NULL, &to, 1, &f->err), 0);
    wait_raised(&to);
    watch_end(&w);
    assert_true(atomic_load(&w.timed_out));
    cancel_release(&to);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(streams_are_kept_byte_for_byte_up_to_the_limit),
        T(a_folder_with_something_in_it_is_refused),
        T(a_living_run_is_no_orphan_and_a_killed_one_is),
        T(a_released_workplace_leaves_nothing),
        T(cancellation_is_passed_on),
        T(the_time_limit_cancels_and_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
