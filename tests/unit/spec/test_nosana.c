#include "test_spec.h"

static void a_full_op_becomes_the_model(void **state)
{
    (void)state;
    AUTO_JOB job = must_parse(NOSANA(", 'cmd': ['a', 'b'], 'entrypoint': ['e'], 'env': {'K': 'v'}, 'work_dir': '/w', "
                                     "'gpu': true, 'private': true, 'required_vram': 24, 'authentication': {'docker': "
                                     "{'server': 's', 'username': 'u', 'password': 'p', 'email': 'e'}}"));
    const struct op *op = &job->ops[0];
    assert_int_equal(job->dialect, JOB_NOSANA);
    assert_string_equal(job->name, "one");
    assert_string_equal(job->type, "container");
    assert_int_equal(job->count, 1);
    assert_string_equal(op->id, "one");
    assert_string_equal(op->image, "img");
    assert_int_equal(op->command.n, 2);
    assert_string_equal(op->command.v[1], "b");
    assert_null(op->command.v[2]);
    assert_string_equal(op->entrypoint.v[0], "e");
    assert_string_equal(op->work_dir, "/w");
    assert_true(op->private_logs);
    assert_int_equal(op->limits.gpu_count, GPU_ALL);
    assert_int_equal(op->limits.required_vram_mib, 24 * 1024);
    assert_int_equal(op->network, NETWORK_FULL);
    assert_string_equal(op->auth.username, "u");
    assert_string_equal(op->auth.password, "p");
    assert_int_equal(job->unsupported_count, 0);
}

static void a_string_command_goes_to_the_shell(void **state)
{
    (void)state;
    AUTO_JOB job = must_parse(NOSANA(", 'cmd': 'echo hi', 'entrypoint': 'tini'"));
    assert_int_equal(job->ops[0].command.n, 3);
    assert_string_equal(job->ops[0].command.v[0], "/bin/sh");
    assert_string_equal(job->ops[0].command.v[1], "-c");
    assert_string_equal(job->ops[0].command.v[2], "echo hi");
    assert_int_equal(job->ops[0].entrypoint.n, 1);
}

static void what_global_says_is_the_fallback(void **state)
{
    (void)state;
    AUTO_JOB job = must_parse("{'version': '0.1', 'type': 'container', 'global': {'image': 'g', 'gpu': true, "
                              "'entrypoint': 'ge', 'env': {'A': '1', 'B': '2'}, 'work_dir': '/g'}, 'ops': ["
                              "{'id': 'x', 'type': 'container/run', 'args': {}},"
                              "{'id': 'y', 'type': 'container/run', 'args': {'image': 'o', 'gpu': false, 'entrypoint': "
                              "[], 'env': {'B': '3'}, 'work_dir': '/o'}}]}");
    const struct op *x = &job->ops[0], *y = &job->ops[1];
    assert_string_equal(x->image, "g");
    assert_int_equal(x->limits.gpu_count, GPU_ALL);
    assert_string_equal(x->entrypoint.v[0], "ge");
    assert_string_equal(x->work_dir, "/g");
    assert_string_equal(y->image, "o");
    assert_int_equal(y->limits.gpu_count, 0);
    assert_int_equal(y->entrypoint.n, 0);
    assert_string_equal(y->work_dir, "/o");
    assert_int_equal(y->env.n, 2);
    assert_string_equal(y->env.v[0].value, "1");
    assert_string_equal(y->env.v[1].value, "3");
}

static void variables_that_hold_secrets_are_marked(void **state)
{
    (void)state;
    AUTO_JOB job = must_parse(NOSANA(", 'env': {'MODE': 'x', 'HF_TOKEN': 'x', 'db_password': 'x'}"));
    assert_false(job->ops[0].env.v[0].secret);
    assert_true(job->ops[0].env.v[1].secret);
    assert_true(job->ops[0].env.v[2].secret);
    AUTO_JOB all = must_parse(NOSANA(", 'private': true, 'env': {'MODE': 'x'}"));
    assert_true(all->ops[0].env.v[0].secret);
}

static void results_have_a_pattern_and_the_logs_it_is_for(void **state)
{
    (void)state;
    AUTO_JOB job = must_parse("{'version': '0.1', 'type': 'container', 'ops': [{'id': 'one', 'type': 'container/run', "
                              "'args': {'image': 'img'}, 'results': {'both': 'a.*', 'err': {'regex': 'b', 'logType': "
                              "['stderr']}}}]}");
    const struct op *op = &job->ops[0];
    assert_int_equal(op->result_count, 2);
    assert_string_equal(op->results[0].regex, "a.*");
    assert_true(op->results[0].from_stdout && op->results[0].from_stderr);
    assert_true(!op->results[1].from_stdout && op->results[1].from_stderr);
}

static void a_result_pattern_that_does_not_compile_is_a_warning(void **state)
{
    (void)state;
    must_warn(
        "{'version': '0.1', 'type': 'container', 'ops': [{'id': 'one', 'type': 'container/run', 'args': {'image': "
        "'img'}, 'results': {'r': '('}}]}",
        "ops[0].results.r: '(' is not a regular expression");
}

static void meta_is_open(void **state)
{
    (void)state;
    AUTO_JOB job = must_parse(NOSANA_ROOT(", 'meta': {'trigger': 'cli', 'system_requirements': {'required_vram': 8}}"));
    assert_int_equal(job->meta.n, 2);
    assert_string_equal(job->meta.v[0].value, "cli");
    assert_string_equal(job->meta.v[1].value, "{\"required_vram\":8}");
}

static void mistakes_are_named_with_their_path(void **state)
{
    (void)state;
    static const struct fault faults[] = {
        {NOSANA(", 'imge': 'x'"), "job: ops[0].args.imge: unknown key; did you mean 'image'?"},
        {NOSANA(", 'zzzzzz': 'x'"), "job: ops[0].args.zzzzzz: unknown key"},
        {NOSANA_ROOT(", 'Ops': 1"), "Ops: unknown key; did you mean 'ops'?"},
        {NOSANA(", 'cmd': 5"), "ops[0].args.cmd: expected a string, found a number"},
        {NOSANA(", 'cmd': ['a', 5]"), "ops[0].args.cmd[1]: expected a string, found a number"},
        {NOSANA(", 'env': {'A': 1}"), "ops[0].args.env.A: expected a string, found a number"},
        {NOSANA(", 'env': []"), "ops[0].args.env: expected an object, found a list"},
        {NOSANA(", 'env': {'A=B': 'x'}"), "is not a name for an environment variable"},
        {NOSANA(", 'gpu': 'yes'"), "ops[0].args.gpu: expected true or false, found a string"},
        {NOSANA(", 'gpu': null"), "ops[0].args.gpu: expected true or false, found null"},
        {NOSANA(", 'image2': null, 'work_dir': null"), "ops[0].args.work_dir: expected a string, found null"},
        {NOSANA(", 'required_vram': -1"), "expected 0 to"},
        {NOSANA(", 'authentication': {'docker': {'password': 'p'}}"), "a password without a username"},
        {NOSANA(", 'authentication': {'podman': {}}"), "authentication.podman: unknown key"},
        {"{'version': '0.2', 'type': 'container', 'ops': []}", "version: expected '0.1', found '0.2'"},
        {"{'version': '0.1', 'ops': [{}]}", "type: required, but missing"},
        {"{'version': '0.1', 'type': 'vm', 'ops': [{}]}", "type: expected 'container', found 'vm'"},
        {"{'version': '0.1', 'type': 'container', 'ops': []}", "ops: expected 1 to 256 ops, found 0"},
        {"{'version': '0.1', 'type': 'container', 'ops': {}}", "ops: expected a list, found an object"},
        {"{'version': '0.1', 'type': 'container', 'ops': [7]}", "ops[0]: expected an object, found a number"},
        {"{'version': '0.1', 'type': 'container', 'ops': [{'id': 'a b', 'type': 'container/run', 'args': {'image': "
         "'i'}}]}",
         "ops[0].id: an id must not have spaces"},
        {"{'version': '0.1', 'type': 'container', 'ops': [{'id': 'a', 'type': 'container/runs', 'args': {}}]}",
         "ops[0].type: unknown op type 'container/runs'; did you mean 'container/run'?"},
        {"{'version': '0.1', 'type': 'container', 'ops': [{'id': 'a', 'type': 'container/run', 'args': {}}]}",
         "ops[0].args.image: required, but missing"},
        {"{'version': '0.1', 'type': 'container', 'ops': [{'id': 'a', 'type': 'container/run'}]}",
         "ops[0].args.image: required, but missing"},
    };
    ALL_INVALID(faults);
}

#define TWO_OPS(first, second)                                                                                         \
    "{'version': '0.1', 'type': 'container', 'ops': [{'id': 'a', 'type': 'container/run', 'args': {'image': "          \
    "'i'}" first "}, {'id': 'b', 'type': 'container/run', 'args': {'image': 'i'}" second "}]}"

static void the_order_of_ops_makes_sense(void **state)
{
    (void)state;
    static const struct fault faults[] = {
        {"{'version': '0.1', 'type': 'container', 'ops': [{'id': 'a', 'type': 'container/run', 'args': {'image': "
         "'i'}}, "
         "{'id': 'a', 'type': 'container/run', 'args': {'image': 'i'}}]}",
         "ops[1].id: 'a' is the id of ops[0] already"},
        {TWO_OPS("", ", 'execution': {'depends_on': ['c']}"), "no op has the id 'c'"},
        {TWO_OPS("", ", 'execution': {'group': 'g', 'depends_on': ['a']}"), "op 'a' is not in the same group"},
        {TWO_OPS(", 'execution': {'group': 'g', 'depends_on': ['b']}",
                 ", 'execution': {'group': 'g', 'depends_on': ['a']}"),
         "op 'a' waits for itself, through depends_on"},
    };
    ALL_INVALID(faults);
    AUTO_JOB job =
        must_parse(TWO_OPS(", 'execution': {'group': 'g'}", ", 'execution': {'group': 'g', 'depends_on': ['a']}"));
    assert_string_equal(job->ops[1].group, "g");
    assert_string_equal(job->ops[1].depends_on.v[0], "a");
}

static void what_is_understood_but_not_run_is_named(void **state)
{
    (void)state;
    must_not_run(TWO_OPS("", ""), "several ops");
    must_not_run(TWO_OPS(", 'execution': {'group': 'g'}", ", 'execution': {'group': 'g'}"), "execution group 'g'");
    must_not_run(NOSANA(", 'expose': 80"), "expose");
    must_not_run(NOSANA(", 'expose': '80-90'"), "expose");
    must_not_run(NOSANA(", 'expose': [80, '90-95', {'port': 8080, 'type': 'web', 'health_checks': []}]"), "expose");
    must_not_run(NOSANA(", 'volumes': [{'name': 'v', 'dest': '/v'}]"), "volumes");
    must_not_run(NOSANA(", 'restart_policy': {'policy': 'on-failure', 'restart_tries': 3}"), "restart_policy");
    must_not_run(NOSANA(", 'cmd': ['%%ops.x.host%%:80']"), "operator '%%ops.x.host%%'");
    must_not_run(NOSANA_RESOURCE("{'__spread__': '%%global.variables.R%%'}"), "__spread__");
    must_not_run(NOSANA_ROOT(", 'logistics': {'send': {}}"), "logistics");
    must_not_run("{'version': '0.1', 'type': 'container', 'ops': [{'id': 'v', 'type': 'container/create-volume', "
                 "'args': {'name': 'v'}}]}",
                 "container/create-volume 'v'");
}

static void only_an_operator_is_spared_the_rules(void **state)
{
    (void)state;
    must_not_run(NOSANA_RESOURCE("{'type': 'S3', 'url': 'https://h/x', 'target': '%%global.variables.T%%'}"),
                 "operator");
    must_be_invalid(NOSANA_RESOURCE("{'type': 'S3', 'url': 'https://h/x', 'target': '../%%x'}"), "absolute path");
    must_be_invalid(NOSANA_RESOURCE("{'type': 'S3', 'url': 'https://h/x', 'target': '../%%ops.x'}"), "absolute path");
    must_be_invalid(BACALHAU_S3("            Endpoint: \"%%ops.x.host%%\"\n"), "not a URL");
}

static void what_is_not_run_is_checked_all_the_same(void **state)
{
    (void)state;
    static const struct fault faults[] = {
        {NOSANA(", 'expose': 0"), "ops[0].args.expose: expected a port"},
        {NOSANA(", 'expose': [70000]"), "ops[0].args.expose[0]: expected a port"},
        {NOSANA(", 'expose': '90-80'"), "expected a port"},
        {NOSANA(", 'expose': [{'type': 'web'}]"), "expose[0].port: expected a port"},
        {NOSANA(", 'expose': [{'port': 1, 'type': 'wep'}]"), "did you mean 'web'?"},
        {NOSANA(", 'volumes': [{'name': 'v', 'dest': 'v'}]"), "is not an absolute path"},
        {NOSANA(", 'restart_policy': {'policy': 'sometimes'}"), "unknown restart policy 'sometimes'"},
        {NOSANA(", 'restart_policy': {'policy': 'always', 'tries': 1}"), "restart_policy.tries: unknown key"},
    };
    ALL_INVALID(faults);
    must_fail(NOSANA(", 'output': '/x'"), ERR_UNSUPPORTED, "ops[0].args.output: not supported: output of an op");
}

static void what_has_no_effect_is_a_warning(void **state)
{
    (void)state;
    must_warn(NOSANA_ROOT(", 'deployment_id': 'd'"), "deployment_id: has no effect");
    must_warn(NOSANA(", 'aliases': ['a']"), "aliases have no effect");
    must_warn(NOSANA_ROOT(", 'global': {'variables': {'A': 'b'}}"), "variables have no effect");
    struct err err = ERR_INIT;
    AUTO_JOB strict = try_parse(NOSANA_ROOT(", 'deployment_id': 'd'"), NULL, true, &err);
    assert_null(strict);
    assert_non_null(strstr(err.text, "deployment_id"));
}

static void yaml_reads_the_same(void **state)
{
    (void)state;
    AUTO_JOB job =
        must_parse("version: \"0.1\"\ntype: container\nops:\n  - id: one\n    type: container/run\n    args:\n"
                   "      image: img\n      cmd: [ls, /x]\n");
    assert_int_equal(job->dialect, JOB_NOSANA);
    assert_int_equal(job->ops[0].command.n, 2);
    assert_string_equal(job->ops[0].at, "ops[0], line 4");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_op_becomes_the_model),
        cmocka_unit_test(a_string_command_goes_to_the_shell),
        cmocka_unit_test(what_global_says_is_the_fallback),
        cmocka_unit_test(variables_that_hold_secrets_are_marked),
        cmocka_unit_test(results_have_a_pattern_and_the_logs_it_is_for),
        cmocka_unit_test(a_result_pattern_that_does_not_compile_is_a_warning),
        cmocka_unit_test(meta_is_open),
        cmocka_unit_test(mistakes_are_named_with_their_path),
        cmocka_unit_test(the_order_of_ops_makes_sense),
        cmocka_unit_test(what_is_understood_but_not_run_is_named),
        cmocka_unit_test(only_an_operator_is_spared_the_rules),
        cmocka_unit_test(what_is_not_run_is_checked_all_the_same),
        cmocka_unit_test(what_has_no_effect_is_a_warning),
        cmocka_unit_test(yaml_reads_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
