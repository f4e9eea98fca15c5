#include "test_base.h"

#include "base/proc.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#define ARGV(...)   ((const char *const[]){__VA_ARGS__, NULL})
#define SH(script)  ARGV("/bin/sh", "-c", script)
#define AUTO_RESULT AUTO(proc_result_release) struct proc_result

#define LEAVE_THE_GROUP "leave-the-group"

static void output_errors_and_exit_code_come_back(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_RESULT r;
    struct proc_opts opts = {.argv = ARGV("sh", "-c", "echo out; echo err >&2; exit 3")};
    assert_works(proc_run(&opts, &r, &err), &err);
    assert_int_equal(r.exit_code, 3);
    assert_int_equal(r.signal, 0);
    assert_string_equal(buf_str(&r.out), "out\n");
    assert_string_equal(buf_str(&r.err_text), "err\n");
}

static void a_signal_is_told_from_an_exit(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_RESULT r;
    struct proc_opts opts = {.argv = SH("kill -USR1 $$")};
    assert_works(proc_run(&opts, &r, &err), &err);
    assert_int_equal(r.exit_code, -1);
    assert_int_equal(r.signal, SIGUSR1);
}

static void input_is_read_to_its_end(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    static char text[300000];
    memset(text, 'x', sizeof text);
    AUTO_RESULT r;
    struct proc_opts opts = {.argv = ARGV("cat"), .input = {text, sizeof text}};
    assert_works(proc_run(&opts, &r, &err), &err);
    assert_int_equal(r.out.n, sizeof text);
    AUTO_RESULT none;
    opts.input = (struct span){NULL, 0};
    assert_works(proc_run(&opts, &none, &err), &err);
    assert_int_equal(none.out.n, 0);
    AUTO_RESULT unread; /* a program that does not read it does no harm */
    struct proc_opts deaf = {.argv = ARGV("true"), .input = {text, sizeof text}};
    assert_works(proc_run(&deaf, &unread, &err), &err);
    assert_int_equal(unread.exit_code, 0);
}

static void a_descriptor_can_be_the_standard_input(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "by a pipe", 9), 9);
    close(ends[1]);
    AUTO_RESULT r;
    const struct proc_opts opts = {.argv = ARGV("cat"), .input_fd = ends[0]};
    assert_works(proc_run(&opts, &r, &err), &err);
    assert_string_equal(buf_str(&r.out), "by a pipe");
    assert_int_equal(close(ends[0]), 0); /* still ours */
}

static void environment_and_folder_are_the_given_ones(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_RESULT r;
    struct proc_opts opts = {.argv = SH("pwd; echo $A; env | grep -c HOME"), .env = ARGV("A=b c"), .cwd = "/usr"};
    assert_works(proc_run(&opts, &r, &err), &err);
    assert_string_equal(buf_str(&r.out), "/usr\nb c\n0\n");
}

static void a_program_that_cannot_start_says_why(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_RESULT a;
    AUTO_RESULT b;
    AUTO_RESULT c;
    AUTO_RESULT d;
    struct proc_opts opts = {.argv = ARGV("berth-no-such-program")};
    assert_fails(proc_run(&opts, &a, &err), &err, ERR_NOTFOUND);
    opts.argv = ARGV("/proc/nonexistent/program");
    assert_fails(proc_run(&opts, &b, &err), &err, ERR_NOTFOUND);
    opts.argv = ARGV("/etc");
    assert_fails(proc_run(&opts, &c, &err), &err, ERR_DENIED);
    opts = (struct proc_opts){.argv = ARGV("true"), .cwd = "/proc/nonexistent"};
    assert_fails(proc_run(&opts, &d, &err), &err, ERR_NOTFOUND);
}

static void only_three_descriptors_are_inherited(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    int leaked[40];
    for (size_t i = 0; i < ARRAY_LEN(leaked); i++)
        leaked[i] = dup(0); /* without O_CLOEXEC */
    AUTO_RESULT r;
    struct proc_opts opts = {.argv = SH("for f in /proc/$$/fd/*; do echo ${f##*/}; done")};
    assert_works(proc_run(&opts, &r, &err), &err);
    for (size_t i = 0; i < ARRAY_LEN(leaked); i++)
        close(leaked[i]);
    assert_int_equal(strncmp(buf_str(&r.out), "0\n1\n2\n", 6), 0);
    assert_null(strstr(buf_str(&r.out), "\n4\n"));
    assert_null(strstr(buf_str(&r.out), "\n20\n"));
}

static void signals_are_back_to_default(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    sigset_t all, before;
    sigfillset(&all);
    signal(SIGPIPE, SIG_IGN);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    AUTO_RESULT r;
    struct proc_opts opts = {.argv = ARGV("grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status")};
    assert_works(proc_run(&opts, &r, &err), &err);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    signal(SIGPIPE, SIG_DFL);
    /* 32 and 33 are the C library's own: it lets nobody reset them, and some parents leave them ignored. */
    unsigned long long blocked, ignored, reserved = 3ULL << 31;
    assert_int_equal(sscanf(buf_str(&r.out), "SigBlk: %llx SigIgn: %llx", &blocked, &ignored), 2);
    assert_int_equal(blocked, 0);
    assert_int_equal(ignored & ~reserved, 0);
}

static void too_much_output_ends_the_program(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_RESULT r;
    struct proc_opts opts = {.argv = ARGV("yes"), .output_max = 1000};
    assert_fails(proc_run(&opts, &r, &err), &err, ERR_LIMIT);
    assert_int_equal(r.signal, SIGKILL);
    AUTO_RESULT exact;
    opts = (struct proc_opts){.argv = SH("printf 12345"), .output_max = 5};
    assert_works(proc_run(&opts, &exact, &err), &err);
    assert_string_equal(buf_str(&exact.out), "12345");
}

static void standard_error_is_cut_without_harm(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_RESULT r;
    struct proc_opts opts = {.argv = SH("head -c 500000 /dev/zero | tr '\\0' e >&2; echo done")};
    assert_works(proc_run(&opts, &r, &err), &err);
    assert_int_equal(r.err_text.n, 64 << 10);
    assert_string_equal(buf_str(&r.out), "done\n");
}

/* The child and its own child both keep the pipe; only killing the group lets this end. */
static void a_timeout_kills_the_program_and_what_it_started(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_RESULT r;
    struct proc_opts opts = {.argv = SH("trap '' TERM; sleep 1000 & echo $!; wait"), .timeout_ms = 300};
    assert_fails(proc_run(&opts, &r, &err), &err, ERR_TIMEOUT);
    assert_int_equal(r.signal, SIGKILL);
    pid_t grandchild = (pid_t)strtol(buf_str(&r.out), NULL, 10);
    if (grandchild > 0) /* dead or a zombie that its new parent will reap */
        while (kill(grandchild, 0) == 0) {
            char path[64], content[256] = "";
            snprintf(path, sizeof path, "/proc/%d/stat", (int)grandchild);
            AUTO_FILE f = fopen(path, "re");
            if (!f || !fgets(content, sizeof content, f) || strstr(content, ") Z "))
                break;
        }
}

static void *raise_it(void *arg)
{
    cancel_raise(arg, CANCEL_STOP);
    return NULL;
}

static void cancelling_ends_the_program(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct cancel c;
    pthread_t id;
    assert_works(cancel_init(&c, &err), &err);
    assert_int_equal(pthread_create(&id, NULL, raise_it, &c), 0);
    AUTO_RESULT r;
    struct proc_opts opts = {.argv = ARGV("sleep", "1000"), .cancel = &c, .timeout_ms = UINT64_MAX};
    assert_fails(proc_run(&opts, &r, &err), &err, ERR_CANCELLED);
    pthread_join(id, NULL);
    cancel_release(&c);
}

/* The shell exits at once; the sleeper it left behind keeps the pipe open for longer than any test waits. */
static void a_program_that_leaves_a_sleeper_behind_still_ends(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_RESULT r;
    struct proc_opts opts = {.argv = SH("sleep 1000 & echo $!")};
    assert_works(proc_run(&opts, &r, &err), &err);
    assert_int_equal(r.exit_code, 0);
    kill((pid_t)strtol(buf_str(&r.out), NULL, 10), SIGKILL);
}

static void a_spawned_program_logs_and_is_stopped(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    int ends[2];
    pid_t pid = -1;
    char line[16] = "";
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_works(proc_spawn(SH("echo ready; exec sleep 1000"), ends[1], &pid, &err), &err);
    close(ends[1]);
    assert_int_equal(read(ends[0], line, 6), 6);
    assert_string_equal(line, "ready\n");
    assert_works(proc_stop(pid, 60000, &err), &err);
    assert_int_equal(kill(pid, 0), -1); /* reaped */
    close(ends[0]);
}

static void a_stubborn_program_is_killed(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    int ends[2];
    pid_t pid = -1;
    char line[8];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_works(proc_spawn(SH("trap '' TERM; echo ready; while :; do sleep 1; done"), ends[1], &pid, &err), &err);
    close(ends[1]);
    assert_int_equal(read(ends[0], line, 6), 6); /* the trap is set */
    assert_works(proc_stop(pid, 10, &err), &err);
    assert_int_equal(waitpid(pid, NULL, 0), -1);
    assert_int_equal(errno, ECHILD);
    close(ends[0]);
}

static void a_ctrl_c_does_not_reach_a_spawned_program(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    pid_t pid = -1;
    assert_works(proc_spawn(SH("exec sleep 1000"), -1, &pid, &err), &err);
    assert_int_equal(getpgid(pid), pid); /* terminals signal their foreground group, which is ours */
    assert_works(proc_stop(pid, 60000, &err), &err);
}

static void stopping_what_has_ended_is_fine(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    pid_t pid = -1;
    siginfo_t info;
    assert_works(proc_spawn(ARGV("true"), -1, &pid, &err), &err);
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    assert_works(proc_stop(pid, 60000, &err), &err);
    assert_fails(proc_spawn(ARGV("berth-no-such-program"), -1, &pid, &err), &err, ERR_NOTFOUND);
}

/* An ignored SIGCHLD is inherited through exec, and takes the exit status away. */
static void an_exit_status_that_is_lost_is_no_success(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_RESULT r;
    const struct proc_opts opts = {.argv = SH("exit 3")};
    signal(SIGCHLD, SIG_IGN);
    int rc = proc_run(&opts, &r, &err);
    signal(SIGCHLD, SIG_DFL);
    assert_fails(rc, &err, ERR_SYSTEM);
    assert_int_equal(r.exit_code, -1);
}

/* This program again. It would end by itself, but by another signal. */
static int leave_the_group(void)
{
    alarm(20);
    if (setpgid(0, getpgid(getppid())) < 0 || write(STDOUT_FILENO, "123456", 6) != 6)
        return 1;
    for (;;)
        pause();
}

static void a_program_that_left_its_group_is_killed_all_the_same(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_RESULT r;
    const struct proc_opts opts = {.argv = ARGV("/proc/self/exe", LEAVE_THE_GROUP), .output_max = 5};
    assert_fails(proc_run(&opts, &r, &err), &err, ERR_LIMIT);
    assert_int_equal(r.signal, SIGKILL);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], LEAVE_THE_GROUP) == 0)
        return leave_the_group();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_errors_and_exit_code_come_back),
        cmocka_unit_test(a_signal_is_told_from_an_exit),
        cmocka_unit_test(input_is_read_to_its_end),
        cmocka_unit_test(a_descriptor_can_be_the_standard_input),
        cmocka_unit_test(environment_and_folder_are_the_given_ones),
        cmocka_unit_test(a_program_that_cannot_start_says_why),
        cmocka_unit_test(only_three_descriptors_are_inherited),
        cmocka_unit_test(signals_are_back_to_default),
        cmocka_unit_test(too_much_output_ends_the_program),
        cmocka_unit_test(standard_error_is_cut_without_harm),
        cmocka_unit_test(a_timeout_kills_the_program_and_what_it_started),
        cmocka_unit_test(cancelling_ends_the_program),
        cmocka_unit_test(a_program_that_leaves_a_sleeper_behind_still_ends),
        cmocka_unit_test(a_spawned_program_logs_and_is_stopped),
        cmocka_unit_test(a_stubborn_program_is_killed),
        cmocka_unit_test(a_ctrl_c_does_not_reach_a_spawned_program),
        cmocka_unit_test(stopping_what_has_ended_is_fine),
        cmocka_unit_test(an_exit_status_that_is_lost_is_no_success),
        cmocka_unit_test(a_program_that_left_its_group_is_killed_all_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
