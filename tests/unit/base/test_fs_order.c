/* What survives a crash is decided by the order of system calls, so the linker puts these wrappers in between
 * (-Wl,--wrap): they note each call and can make one fail. */
#include "test_base.h"

#include <errno.h>
#include <string.h>

static struct {
    bool on;
    char calls[16]; /* one letter each */
    size_t n;
    size_t fail_at; /* the nth of these calls fails; 0: none */
} trace;

int __real_fsync(int fd);
int __wrap_fsync(int fd);
ssize_t __real_write(int fd, const void *p, size_t n);
ssize_t __wrap_write(int fd, const void *p, size_t n);
int __real_renameat(int from_fd, const char *from, int to_fd, const char *to);
int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to);

/* True: the call goes through. */
static bool note(char letter)
{
    if (!trace.on)
        return true;
    if (trace.n + 1 < sizeof trace.calls)
        trace.calls[trace.n++] = letter;
    if (trace.n != trace.fail_at)
        return true;
    errno = ENOSPC;
    return false;
}

int __wrap_fsync(int fd)
{
    struct stat st;
    bool folder = fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
    return note(folder ? 'F' : 'f') ? __real_fsync(fd) : -1;
}

/* Short, as a write may be at any time. */
ssize_t __wrap_write(int fd, const void *p, size_t n)
{
    return note('w') ? __real_write(fd, p, trace.on && n > 3 ? 3 : n) : -1;
}

int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    return note('r') ? __real_renameat(from_fd, from, to_fd, to) : -1;
}

typedef int replace_fn(int dir_fd, const char *name, const void *p, size_t n, mode_t mode, struct err *err);

static int replace_by(replace_fn *fn, int dir_fd, const char *text, size_t fail_at, struct err *err)
{
    memset(&trace, 0, sizeof trace);
    trace.fail_at = fail_at;
    trace.on = true;
    int rc = fn(dir_fd, "f", text, strlen(text), 0644, err);
    trace.on = false;
    return rc;
}

static int replace(int dir_fd, const char *text, size_t fail_at, struct err *err)
{
    return replace_by(fs_replace_file, dir_fd, text, fail_at, err);
}

static int count(void *ctx, const struct fs_entry *entry, struct err *err)
{
    (void)entry;
    (void)err;
    ++*(unsigned *)ctx;
    return 0;
}

static void content_is_durable_before_its_name_and_the_name_before_success(void **state)
{
    struct err err = ERR_INIT;
    const struct scratch *s = *state;
    assert_works(replace(s->fd, "12345678", 0, &err), &err);
    assert_string_equal(trace.calls, "wwwfrF");
}

static void without_a_sync_the_content_is_still_whole_before_its_name(void **state)
{
    struct err err = ERR_INIT;
    const struct scratch *s = *state;
    AUTO_BUF b;
    buf_init(&b, 100);
    assert_works(replace_by(fs_replace_file_unsynced, s->fd, "12345678", 0, &err), &err);
    assert_string_equal(trace.calls, "wwwr");
    assert_works(fs_read_file(s->fd, "f", 100, &b, &err), &err);
    assert_string_equal(buf_str(&b), "12345678");
}

static void a_failure_at_any_step_leaves_one_whole_file(void **state)
{
    struct err err = ERR_INIT;
    const struct scratch *s = *state;
    assert_works(replace(s->fd, "old", 0, &err), &err);
    for (size_t step = 1; step <= 5; step++) { /* wwfrF */
        unsigned entries = 0;
        AUTO_BUF b;
        buf_init(&b, 100);
        assert_fails(replace(s->fd, "newer", step, &err), &err, ERR_NOSPACE);
        assert_works(fs_walk(s->fd, count, &entries, &err), &err);
        assert_int_equal(entries, 1);
        assert_works(fs_read_file(s->fd, "f", 100, &b, &err), &err);
        assert_string_equal(buf_str(&b), step < 5 ? "old" : "newer"); /* at the last step the name has moved already */
    }
    assert_works(replace(s->fd, "newer", 6, &err), &err); /* there is no sixth */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(content_is_durable_before_its_name_and_the_name_before_success),
        scratch_test(without_a_sync_the_content_is_still_whole_before_its_name),
        scratch_test(a_failure_at_any_step_leaves_one_whole_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
