#include "conformance.h"

#include <pthread.h>

static void stdout_and_stderr_come_apart(void **state)
{
    struct outcome o = {0};
    rig_sh(*state, "printf 'to out'; printf 'to err' >&2; printf ' again'", &o);
    assert_string_equal(buf_str(&o.out), "to out again");
    assert_string_equal(buf_str(&o.err), "to err");
    assert_int_equal(o.exit.end, ENGINE_EXITED);
    assert_int_equal(o.exit.exit_code, 0);
    assert_int_equal(o.started, 1);
    outcome_release(&o);
}

static void no_output_is_no_output(void **state)
{
    struct outcome o = {0};
    rig_sh(*state, ":", &o);
    assert_int_equal(o.out.n, 0);
    assert_int_equal(o.err.n, 0);
    assert_true(o.exit.first_output_ms == UINT64_MAX);
    outcome_release(&o);
}

static void the_exit_code_is_the_commands(void **state)
{
    static const int codes[] = {0, 1, 42, 255};
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        char script[32];
        struct outcome o = {0};
        snprintf(script, sizeof script, "exit %d", codes[i]);
        rig_sh(*state, script, &o);
        assert_int_equal(o.exit.end, ENGINE_EXITED);
        assert_int_equal(o.exit.exit_code, codes[i]);
        outcome_release(&o);
    }
}

/* Every byte value, frames of all sizes, both streams at once: nothing lost, added, changed or in the wrong stream. */
static void ten_mebibytes_arrive_byte_for_byte(void **state)
{
    enum { BYTES = 10 << 20 };
    const struct rig *r = *state;
    const char *argv[4];
    struct err err = ERR_INIT;
    struct outcome o = {0};
    AUTO_STR data = malloc(BYTES);
    uint32_t x = 1;
    assert_non_null(data);
    for (size_t i = 0; i < BYTES; i++) {
        x = x * 1664525u + 1013904223u;
        data[i] = (char)(x >> 24);
    }
    rig_write(r, "data", data, BYTES);
    struct engine_mount mount = {.source = r->folder, .target = "/in"};
    struct engine_container c = rig_container(r, argv, "cat /in/data & cat /in/data >&2; wait");
    c.mounts = &mount;
    c.mount_count = 1;
    assert_works(rig_run(r, &c, NULL, &o, &err), &err);
    assert_int_equal(o.out.n, BYTES);
    assert_int_equal(o.err.n, BYTES);
    assert_memory_equal(o.out.p, data, BYTES);
    assert_memory_equal(o.err.p, data, BYTES);
    outcome_release(&o);
}

static void run_command(const struct rig *r, const char *command, struct outcome *o)
{
    const char *argv[4];
    struct err err = ERR_INIT;
    struct engine_container c = rig_container(r, argv, "");
    argv[0] = command;
    argv[1] = NULL;
    assert_works(rig_run(r, &c, NULL, o, &err), &err);
}

static void a_missing_command_is_127(void **state)
{
    static const char *const commands[] = {"no-such-command", "/no/such/command"};
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        struct outcome o = {0};
        run_command(*state, commands[i], &o);
        assert_int_equal(o.exit.exit_code, 127);
        if (o.exit.end == ENGINE_NOT_STARTED) /* an init says it on stderr instead */
            assert_contains(o.exit.reason, commands[i]);
        else
            assert_contains(buf_str(&o.err), commands[i]);
        outcome_release(&o);
    }
}

static void a_command_that_is_not_executable_is_126(void **state)
{
    static const char *const commands[] = {"/etc/passwd", "/etc"};
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        struct outcome o = {0};
        run_command(*state, commands[i], &o);
        assert_int_equal(o.exit.exit_code, 126);
        outcome_release(&o);
    }
}

static void a_start_that_fails_for_another_reason_is_125_and_says_why(void **state)
{
    const struct rig *r = *state;
    const char *argv[4];
    struct err err = ERR_INIT;
    struct outcome o = {0};
    struct engine_container c = rig_container(r, argv, ":");
    c.user = "nobody-of-this-name";
    assert_works(rig_run(r, &c, NULL, &o, &err), &err);
    assert_int_equal(o.exit.end, ENGINE_NOT_STARTED);
    assert_int_equal(o.exit.exit_code, 125);
    assert_contains(o.exit.reason, "nobody-of-this-name");
    assert_int_equal(o.started, 0);
    outcome_release(&o);
}

static void the_time_limit_ends_even_what_ignores_the_stop_signal(void **state)
{
    const struct rig *r = *state;
    const char *argv[4];
    struct err err = ERR_INIT;
    struct outcome o = {0};
    struct engine_container c = rig_container(r, argv, "trap '' TERM; echo up; while :; do sleep 1000; done");
    struct engine_run_opts opts = {.timeout_ms = 300, .stop_grace_ms = 100};
    assert_works(rig_run(r, &c, &opts, &o, &err), &err);
    assert_int_equal(o.exit.end, ENGINE_TIMED_OUT);
    assert_int_equal(o.exit.exit_code, 137);
    assert_string_equal(buf_str(&o.out), "up\n");
    outcome_release(&o);
}

static void what_ends_in_time_is_not_timed_out(void **state)
{
    const struct rig *r = *state;
    const char *argv[4];
    struct err err = ERR_INIT;
    struct outcome o = {0};
    struct engine_container c = rig_container(r, argv, "exit 3");
    struct engine_run_opts opts = {.timeout_ms = 60000};
    assert_works(rig_run(r, &c, &opts, &o, &err), &err);
    assert_int_equal(o.exit.end, ENGINE_EXITED);
    assert_int_equal(o.exit.exit_code, 3);
    outcome_release(&o);
}

/* Raises the flag to each level in turn, as its words come out. */
struct canceller {
    struct cancel cancel;
    const char *stop_at, *kill_at; /* NULL: never */
};

static int cancel_at_words(void *ctx, const struct outcome *o, struct err *err)
{
    struct canceller *c = ctx;
    (void)err;
    if (c->stop_at && strstr(buf_str(&o->out), c->stop_at))
        cancel_raise(&c->cancel, CANCEL_STOP);
    if (c->kill_at && strstr(buf_str(&o->out), c->kill_at))
        cancel_raise(&c->cancel, CANCEL_KILL);
    return 0;
}

static void run_cancelled(const struct rig *r, const char *script, const char *stop_at, const char *kill_at,
                          struct outcome *o)
{
    const char *argv[4];
    struct err err = ERR_INIT;
    struct canceller canceller = {.stop_at = stop_at, .kill_at = kill_at};
    struct engine_container c = rig_container(r, argv, script);
    assert_works(cancel_init(&canceller.cancel, &err), &err);
    struct engine_run_opts opts = {.cancel = &canceller.cancel, .stop_grace_ms = 60000};
    o->on_output = cancel_at_words;
    o->ctx = &canceller;
    assert_works(rig_run(r, &c, &opts, o, &err), &err);
    cancel_release(&canceller.cancel);
}

static void stopping_lets_the_container_end_in_its_own_way(void **state)
{
    struct outcome o = {0};
    run_cancelled(*state, "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 1000 & wait; done", "up", NULL, &o);
    assert_int_equal(o.exit.end, ENGINE_STOPPED);
    assert_int_equal(o.exit.exit_code, 7);
    assert_string_equal(buf_str(&o.out), "up\nbye\n");
    outcome_release(&o);
}

static void a_second_request_kills_within_the_grace_period(void **state)
{
    struct outcome o = {0};
    run_cancelled(*state, "trap 'echo no' TERM; echo up; while :; do sleep 1000 & wait; done", "up", "no", &o);
    assert_int_equal(o.exit.end, ENGINE_STOPPED);
    assert_int_equal(o.exit.exit_code, 137);
    outcome_release(&o);
}

static void killing_at_once_needs_no_stop_signal(void **state)
{
    struct outcome o = {0};
    run_cancelled(*state, "trap 'echo no' TERM; echo up; while :; do sleep 1000 & wait; done", NULL, "up", &o);
    assert_int_equal(o.exit.end, ENGINE_STOPPED);
    assert_int_equal(o.exit.exit_code, 137);
    assert_string_equal(buf_str(&o.out), "up\n");
    outcome_release(&o);
}

static void what_was_cancelled_before_never_starts(void **state)
{
    const struct rig *r = *state;
    const char *argv[4];
    struct err err = ERR_INIT;
    struct outcome o = {0};
    struct cancel cancel;
    struct engine_container c = rig_container(r, argv, "echo up");
    assert_works(cancel_init(&cancel, &err), &err);
    cancel_raise(&cancel, CANCEL_STOP);
    struct engine_run_opts opts = {.cancel = &cancel};
    assert_works(rig_run(r, &c, &opts, &o, &err), &err);
    assert_int_equal(o.exit.end, ENGINE_STOPPED);
    assert_int_equal(o.out.n, 0);
    assert_int_equal(o.started, 0);
    cancel_release(&cancel);
    outcome_release(&o);
}

static int refuse(void *ctx, const struct outcome *o, struct err *err)
{
    (void)ctx, (void)o;
    return err_set(err, ERR_NOSPACE, "the log's disk is full");
}

static void a_failing_writer_ends_the_run_with_its_error(void **state)
{
    const struct rig *r = *state;
    const char *argv[4];
    struct err err = ERR_INIT;
    struct outcome o = {.on_output = refuse};
    struct engine_container c = rig_container(r, argv, "trap '' TERM; echo up; while :; do sleep 1000; done");
    assert_int_equal(rig_run(r, &c, NULL, &o, &err), -1);
    assert_int_equal(err.kind, ERR_NOSPACE);
    assert_contains(err.text, "the log's disk is full");
    outcome_release(&o);
}

static void a_container_that_closes_its_output_is_waited_for(void **state)
{
    struct outcome o = {0};
    rig_sh(*state, "echo up; exec >&- 2>&-; sleep 0.3; exit 4", &o);
    assert_string_equal(buf_str(&o.out), "up\n");
    assert_int_equal(o.exit.exit_code, 4);
    outcome_release(&o);
}

static void times_are_told(void **state)
{
    struct outcome o = {0};
    rig_sh(*state, "echo up", &o);
    assert_true(o.exit.started_ms > 1600000000000);
    assert_true(o.exit.finished_ms >= o.exit.started_ms);
    assert_true(o.exit.first_output_ms != UINT64_MAX);
    outcome_release(&o);
}

static void environment_folder_user_and_entrypoint_are_as_asked(void **state)
{
    const struct rig *r = *state;
    static const char *const env[] = {"PLAIN=1", "EQUALS=a=b", "EMPTY=", "ODD=ü \"q\" $x", NULL};
    static const char *const entrypoint[] = {"sh", "-c", NULL};
    const char *argv[] = {"echo $PLAIN; echo $EQUALS; echo \"[$EMPTY]\"; echo \"$ODD\"; pwd; id -u; id -g", NULL};
    const char *unused[4];
    struct err err = ERR_INIT;
    struct outcome o = {0};
    struct engine_container c = rig_container(r, unused, "");
    c.command = argv;
    c.entrypoint = entrypoint;
    c.env = env;
    c.user = "12345:54321";
    c.work_dir = "/made/for/it";
    assert_works(rig_run(r, &c, NULL, &o, &err), &err);
    assert_string_equal(buf_str(&o.out), "1\na=b\n[]\nü \"q\" $x\n/made/for/it\n12345\n54321\n");
    outcome_release(&o);
}

static void the_images_own_command_runs_where_none_is_given(void **state)
{
    const struct rig *r = *state;
    const char *argv[4];
    struct err err = ERR_INIT;
    struct outcome o = {0};
    struct engine_container c = rig_container(r, argv, "");
    c.command = NULL; /* the test image's is a shell, which ends without input */
    assert_works(rig_run(r, &c, NULL, &o, &err), &err);
    assert_int_equal(o.exit.end, ENGINE_EXITED);
    assert_int_equal(o.exit.exit_code, 0);
    outcome_release(&o);
}

struct parallel {
    const struct rig *rig;
    unsigned number;
    bool ok;
};

static void *run_one_of_many(void *ctx)
{
    struct parallel *p = ctx;
    char script[40], want[16];
    const char *argv[4];
    struct err err = ERR_INIT;
    struct outcome o = {0};
    char id[CONTAINER_ID_MAX];
    snprintf(script, sizeof script, "echo %u; exit %u", p->number, p->number);
    snprintf(want, sizeof want, "%u\n", p->number);
    struct engine_container c = rig_container(p->rig, argv, script);
    if (engine_create(p->rig->engine, &c, id, &err) == 0) {
        p->ok = rig_follow(p->rig->engine, id, NULL, &o, &err) == 0 && str_eq(buf_str(&o.out), want) &&
                o.exit.exit_code == (int)p->number;
        p->ok = engine_remove(p->rig->engine, id, &err) == 0 && p->ok;
        outcome_release(&o);
    }
    return NULL;
}

static void several_threads_share_one_engine(void **state)
{
    enum { THREADS = 4 };
    struct parallel runs[THREADS];
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        runs[i] = (struct parallel){.rig = *state, .number = i + 1};
        assert_int_equal(pthread_create(&threads[i], NULL, run_one_of_many, &runs[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_true(runs[i].ok);
    }
}

static void a_container_that_is_gone_is_not_found_and_removing_it_again_is_fine(void **state)
{
    const struct rig *r = *state;
    const char *argv[4];
    char id[CONTAINER_ID_MAX];
    struct err err = ERR_INIT;
    struct outcome o = {0};
    assert_fails(rig_follow(r->engine, "0123456789abcdef", NULL, &o, &err), &err, ERR_NOTFOUND);
    outcome_release(&o);
    struct engine_container c = rig_container(r, argv, ":");
    assert_works(engine_create(r->engine, &c, id, &err), &err);
    assert_works(engine_remove(r->engine, id, &err), &err);
    assert_works(engine_remove(r->engine, id, &err), &err); /* absent is fine */
    assert_fails(rig_follow(r->engine, id, NULL, &o, &err), &err, ERR_NOTFOUND);
    outcome_release(&o);
}

static const struct CMUnitTest tests[] = {
    rig_test(stdout_and_stderr_come_apart),
    rig_test(no_output_is_no_output),
    rig_test(the_exit_code_is_the_commands),
    rig_test(ten_mebibytes_arrive_byte_for_byte),
    rig_test(a_missing_command_is_127),
    rig_test(a_command_that_is_not_executable_is_126),
    rig_test(a_start_that_fails_for_another_reason_is_125_and_says_why),
    rig_test(the_time_limit_ends_even_what_ignores_the_stop_signal),
    rig_test(what_ends_in_time_is_not_timed_out),
    rig_test(stopping_lets_the_container_end_in_its_own_way),
    rig_test(a_second_request_kills_within_the_grace_period),
    rig_test(killing_at_once_needs_no_stop_signal),
    rig_test(what_was_cancelled_before_never_starts),
    rig_test(a_failing_writer_ends_the_run_with_its_error),
    rig_test(a_container_that_closes_its_output_is_waited_for),
    rig_test(times_are_told),
    rig_test(environment_folder_user_and_entrypoint_are_as_asked),
    rig_test(the_images_own_command_runs_where_none_is_given),
    rig_test(several_threads_share_one_engine),
    rig_test(a_container_that_is_gone_is_not_found_and_removing_it_again_is_fine),
};
const struct part part_run = {tests, ARRAY_LEN(tests)};
