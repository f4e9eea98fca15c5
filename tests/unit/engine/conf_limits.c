#include "conformance.h"

#define MEMORY_BYTES ((uint64_t)64 << 20)

static void run_limited(const struct rig *r, const char *script, struct outcome *o)
{
    const char *argv[4];
    struct err err = ERR_INIT;
    struct engine_container c = rig_container(r, argv, script);
    c.memory_bytes = MEMORY_BYTES;
    c.cpus = 0.5;
    c.pids = 16;
    c.nofile = 512;
    assert_works(rig_run(r, &c, NULL, o, &err), &err);
}

/* The number that comes first in the container's output. */
static uint64_t first_number(const struct outcome *o)
{
    uint64_t n = 0;
    struct err err = ERR_INIT;
    struct span line, rest;
    span_cut(buf_span(&o->out), '\n', &line, &rest);
    assert_works(span_to_u64(line, &n, &err), &err);
    return n;
}

static void running_out_of_memory_is_told(void **state)
{
    struct outcome o = {0};
    run_limited(*state, "echo up; exec tail /dev/zero", &o);
    assert_int_equal(o.exit.end, ENGINE_OOM);
    assert_int_equal(o.exit.exit_code, 137);
    assert_string_equal(buf_str(&o.out), "up\n");
    outcome_release(&o);
}

static void a_child_that_runs_out_of_memory_is_told_where_it_fails_the_container(void **state)
{
    struct outcome o = {0};
    run_limited(*state, "sleep 0.2; tail /dev/zero || exit 3", &o);
    assert_int_equal(o.exit.end, ENGINE_OOM);
    assert_int_equal(o.exit.exit_code, 3);
    outcome_release(&o);
}

static void a_container_that_copes_with_a_killed_child_has_exited(void **state)
{
    struct outcome o = {0};
    run_limited(*state, "tail /dev/zero; echo coped", &o);
    assert_int_equal(o.exit.end, ENGINE_EXITED);
    assert_int_equal(o.exit.exit_code, 0);
    assert_contains(buf_str(&o.out), "coped");
    outcome_release(&o);
}

static void a_container_that_kills_itself_has_exited(void **state)
{
    struct outcome o = {0};
    run_limited(*state, "sleep 0.2; sh -c 'kill -9 $$'; exit 137", &o);
    assert_int_equal(o.exit.end, ENGINE_EXITED);
    assert_int_equal(o.exit.exit_code, 137);
    outcome_release(&o);
}

static void there_is_no_swap_above_the_memory_limit(void **state)
{
    struct outcome o = {0};
    run_limited(*state,
                "d=/sys/fs/cgroup; if [ -e $d/memory/memory.memsw.limit_in_bytes ]; then "
                "cat $d/memory/memory.memsw.limit_in_bytes; else echo $(($(cat $d/memory.max) + "
                "$(cat $d/memory.swap.max 2>/dev/null || echo 0))); fi",
                &o);
    assert_int_equal(first_number(&o), MEMORY_BYTES);
    outcome_release(&o);
}

static void processes_are_limited(void **state)
{
    struct outcome o = {0};
    run_limited(*state, "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 1000 & done; echo all",
                &o);
    assert_int_equal(o.exit.end, ENGINE_EXITED);
    assert_int_not_equal(o.exit.exit_code, 0);
    assert_contains(buf_str(&o.err), "fork");
    outcome_release(&o);
}

static void processes_are_limited_without_being_asked(void **state)
{
    struct outcome o = {0};
    rig_sh(*state, "cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max", &o);
    assert_int_equal(first_number(&o), 4096);
    outcome_release(&o);
}

static void cpu_time_is_limited(void **state)
{
    struct outcome o = {0};
    run_limited(*state,
                "d=/sys/fs/cgroup/cpu; if [ -e $d ]; then q=$(cat $d/cpu.cfs_quota_us); p=$(cat $d/cpu.cfs_period_us); "
                "else read q p < /sys/fs/cgroup/cpu.max; fi; echo $((q * 100 / p))",
                &o);
    assert_int_equal(first_number(&o), 50);
    outcome_release(&o);
}

static void privileges_are_never_gained(void **state)
{
    struct outcome o = {0};
    rig_sh(*state, "grep NoNewPrivs: /proc/self/status", &o);
    assert_string_equal(buf_str(&o.out), "NoNewPrivs:\t1\n");
    outcome_release(&o);
}

static void dangerous_capabilities_are_absent(void **state)
{
    enum { CAP_NET_ADMIN = 12, CAP_SYS_MODULE = 16, CAP_SYS_PTRACE = 19, CAP_SYS_ADMIN = 21 };
    static const int absent[] = {CAP_NET_ADMIN, CAP_SYS_MODULE, CAP_SYS_PTRACE, CAP_SYS_ADMIN};
    struct outcome o = {0};
    rig_sh(*state, "sed -n 's/^CapBnd:.//p' /proc/self/status", &o);
    uint64_t bounding = strtoull(buf_str(&o.out), NULL, 16);
    for (size_t i = 0; i < ARRAY_LEN(absent); i++)
        assert_false(bounding >> absent[i] & 1);
    outcome_release(&o);
}

static void ulimits_are_set_with_soft_and_hard_alike(void **state)
{
    struct outcome o = {0};
    run_limited(*state, "ulimit -Sn; ulimit -Hn; [ $(ulimit -Su) = $(ulimit -Hu) ] && echo alike", &o);
    assert_string_equal(buf_str(&o.out), "512\n512\nalike\n");
    outcome_release(&o);
}

static void an_init_is_process_one_where_the_engine_has_one(void **state)
{
    const struct rig *r = *state;
    struct outcome o = {0};
    rig_sh(r, "cat /proc/1/comm; :", &o);
    assert_string_equal(buf_str(&o.out), !r->info.has_init                ? "sh\n"
                                         : str_eq(r->info.name, "podman") ? "catatonit\n"
                                                                          : "docker-init\n");
    outcome_release(&o);
}

static void without_network_there_is_only_loopback(void **state)
{
    struct outcome o = {0};
    rig_sh(*state, "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '", &o);
    assert_string_equal(buf_str(&o.out), "lo\n");
    outcome_release(&o);
}

static void with_a_network_it_runs_in_a_namespace_of_its_own(void **state)
{
    const struct rig *r = *state;
    const char *argv[4];
    char ours[64];
    struct err err = ERR_INIT;
    struct outcome o = {0};
    struct engine_container c = rig_container(r, argv, "readlink /proc/self/ns/net");
    ssize_t n = readlink("/proc/self/ns/net", ours, sizeof ours - 1);
    assert_true(n > 0);
    ours[n] = '\0';
    c.network_none = false;
    assert_works(rig_run(r, &c, NULL, &o, &err), &err);
    assert_int_equal(o.exit.exit_code, 0);
    assert_true(span_starts(buf_span(&o.out), SPAN_LIT("net:[")));
    assert_null(strstr(buf_str(&o.out), ours));
    outcome_release(&o);
}

static void a_gpu_that_is_not_there_is_refused_before_anything_runs(void **state)
{
    const struct rig *r = *state;
    const char *argv[4];
    char id[CONTAINER_ID_MAX];
    struct err err = ERR_INIT;
    struct engine_container c = rig_container(r, argv, ":");
    c.gpus = UINT32_MAX;
    if (r->info.gpu_nvidia)
        skip();
    assert_int_equal(engine_create(r->engine, &c, id, &err), -1);
    assert_int_equal(err.kind, ERR_UNSUPPORTED);
    assert_contains(err.hint, "--no-gpu");
}

static void what_no_engine_could_give_is_refused(void **state)
{
    const struct rig *r = *state;
    static const char *const bad_env[] = {"=x", NULL};
    const char *argv[4];
    char id[CONTAINER_ID_MAX];
    struct err err = ERR_INIT;
    struct engine_container c = rig_container(r, argv, ":");
    c.cpus = -1;
    assert_fails(engine_create(r->engine, &c, id, &err), &err, ERR_INVALID);
    c.cpus = 0;
    c.env = bad_env;
    assert_fails(engine_create(r->engine, &c, id, &err), &err, ERR_INVALID);
    c.env = NULL;
    c.image = "Not An Image";
    assert_fails(engine_create(r->engine, &c, id, &err), &err, ERR_INVALID);
}

/* What is seen from here is what the engine says of itself. */
static void facts_are_what_the_engine_would_say(void **state)
{
    struct rig *r = *state;
    struct engine_info facts;
    struct err err = ERR_INIT;
    assert_works(engine_facts(r->engine, true, &facts, &err), &err);
    assert_string_equal(facts.name, r->info.name);
    assert_string_equal(facts.version, r->info.version);
    assert_string_equal(facts.api_version, r->info.api_version);
    assert_string_equal(facts.address, r->info.address);
    assert_int_equal(facts.rootless, r->info.rootless);
    assert_int_equal(facts.has_init, r->info.has_init);
    assert_int_equal(facts.same_mounts, r->info.same_mounts);
    assert_int_equal(facts.gpu_nvidia, r->info.gpu_nvidia);
}

static const struct CMUnitTest tests[] = {
    rig_test(facts_are_what_the_engine_would_say),
    rig_test(running_out_of_memory_is_told),
    rig_test(a_child_that_runs_out_of_memory_is_told_where_it_fails_the_container),
    rig_test(a_container_that_copes_with_a_killed_child_has_exited),
    rig_test(a_container_that_kills_itself_has_exited),
    rig_test(there_is_no_swap_above_the_memory_limit),
    rig_test(processes_are_limited),
    rig_test(processes_are_limited_without_being_asked),
    rig_test(cpu_time_is_limited),
    rig_test(privileges_are_never_gained),
    rig_test(dangerous_capabilities_are_absent),
    rig_test(ulimits_are_set_with_soft_and_hard_alike),
    rig_test(an_init_is_process_one_where_the_engine_has_one),
    rig_test(without_network_there_is_only_loopback),
    rig_test(with_a_network_it_runs_in_a_namespace_of_its_own),
    rig_test(a_gpu_that_is_not_there_is_refused_before_anything_runs),
    rig_test(what_no_engine_could_give_is_refused),
};
const struct part part_limits = {tests, ARRAY_LEN(tests)};
