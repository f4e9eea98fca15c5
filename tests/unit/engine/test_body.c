#include "../base/test_base.h"

#include "engine/docker_body.h"

static const char *const command[] = {"sh", "-c", "echo \"hi\"", NULL};
static const char *const entrypoint[] = {"/e", NULL};
static const char *const env[] = {"A=1=2", "B=", "A=3", NULL};
static const char *const labels[] = {"berth.job=j", "flag", NULL};

static struct engine_container full(void)
{
    return (struct engine_container){.name = "n",
                                     .command = command,
                                     .entrypoint = entrypoint,
                                     .env = env,
                                     .labels = labels,
                                     .work_dir = "/w",
                                     .network_none = true,
                                     .cpus = 1.5,
                                     .memory_bytes = 1 << 30,
                                     .pids = 7,
                                     .gpus = UINT32_MAX,
                                     .user = "u"};
}

static char source1[] = "/s,\"1", target1[] = "/t:1", source2[] = "/s2", target2[] = "/t2";
static struct mount_plan mounts_v[] = {{source1, target1, false}, {source2, target2, true}};
static const struct mount_plans two_mounts = {mounts_v, 2}, no_mounts = {NULL, 0};

static void assert_body(json_t *(*make)(const struct create_plan *, struct err *), const struct create_plan *p,
                        const char *want)
{
    AUTO_BUF text;
    struct err err = ERR_INIT;
    buf_init(&text, 1 << 16);
    AUTO_JSON body = make(p, &err);
    if (!body)
        fail_msg("%s", err.text);
    assert_works(json_write(body, false, &text, &err), &err);
    assert_string_equal(buf_str(&text), want);
}

static void docker_is_told_everything_that_was_asked(void **state)
{
    struct engine_container c = full();
    struct create_plan p = {.c = &c,
                            .image = "docker.io/library/i:1",
                            .mounts = &two_mounts,
                            .features = {.init = true, .gpu = GPU_RUNTIME},
                            .nofile = 1024,
                            .nproc = 512};
    (void)state;
    assert_body(
        docker_create_body, &p,
        "{\"Image\":\"docker.io/library/i:1\",\"Cmd\":[\"sh\",\"-c\",\"echo \\\"hi\\\"\"],\"Entrypoint\":[\"/e\"],"
        "\"Env\":[\"A=1=2\",\"B=\",\"A=3\"],\"Labels\":{\"berth.job\":\"j\",\"flag\":\"\"},\"WorkingDir\":\"/w\","
        "\"User\":\"u\",\"HostConfig\":{\"Mounts\":["
        "{\"Type\":\"bind\",\"Source\":\"/s,\\\"1\",\"Target\":\"/t:1\",\"ReadOnly\":true,"
        "\"BindOptions\":{\"Propagation\":\"rprivate\",\"NonRecursive\":true}},"
        "{\"Type\":\"bind\",\"Source\":\"/s2\",\"Target\":\"/t2\",\"ReadOnly\":false,"
        "\"BindOptions\":{\"Propagation\":\"rprivate\",\"NonRecursive\":false}}],"
        "\"Ulimits\":[{\"Name\":\"nofile\",\"Soft\":1024,\"Hard\":1024},"
        "{\"Name\":\"nproc\",\"Soft\":512,\"Hard\":512}],\"NetworkMode\":\"none\",\"LogConfig\":{\"Type\":\"none\"},"
        "\"SecurityOpt\":[\"no-new-privileges\"],\"PidsLimit\":7,\"NanoCpus\":1500000000,\"Memory\":1073741824,"
        "\"MemorySwap\":1073741824,\"Init\":true,"
        "\"DeviceRequests\":[{\"Driver\":\"nvidia\",\"Count\":-1,\"Capabilities\":[[\"gpu\"]]}]}}");
}

static void podman_is_told_the_same_in_its_own_words(void **state)
{
    struct engine_container c = full();
    struct create_plan p = {.c = &c,
                            .image = "docker.io/library/i:1",
                            .mounts = &two_mounts,
                            .features = {.init = true, .gpu = GPU_CDI},
                            .nofile = 1024,
                            .nproc = 512};
    (void)state;
    assert_body(
        podman_create_body, &p,
        "{\"image\":\"docker.io/library/i:1\",\"name\":\"n\",\"command\":[\"sh\",\"-c\",\"echo \\\"hi\\\"\"],"
        "\"entrypoint\":[\"/e\"],\"env\":{\"A\":\"3\",\"B\":\"\"},\"labels\":{\"berth.job\":\"j\",\"flag\":\"\"},"
        "\"work_dir\":\"/w\",\"user\":\"u\",\"create_working_dir\":true,\"httpproxy\":false,\"systemd\":\"false\","
        "\"mounts\":[{\"type\":\"bind\",\"source\":\"/s,\\\"1\",\"destination\":\"/t:1\","
        "\"options\":[\"bind\",\"ro\",\"rprivate\"]},"
        "{\"type\":\"bind\",\"source\":\"/s2\",\"destination\":\"/t2\",\"options\":[\"rbind\",\"rw\",\"rprivate\"]}],"
        "\"r_limits\":[{\"type\":\"nofile\",\"soft\":1024,\"hard\":1024},{\"type\":\"nproc\",\"soft\":512,\"hard\":512}"
        "],"
        "\"resource_limits\":{\"pids\":{\"limit\":7},\"cpu\":{\"period\":100000,\"quota\":150000},"
        "\"memory\":{\"limit\":1073741824,\"swap\":1073741824}},\"log_configuration\":{\"driver\":\"none\"},"
        "\"no_new_privileges\":true,\"netns\":{\"nsmode\":\"none\"},\"init\":true,"
        "\"devices\":[{\"path\":\"nvidia.com/gpu=all\"}]}");
}

static void what_was_not_asked_is_left_to_the_image_and_the_engine(void **state)
{
    struct engine_container c = {0};
    struct create_plan p = {.c = &c, .image = "i", .mounts = &no_mounts, .nofile = 1, .nproc = 2};
    (void)state;
    assert_body(docker_create_body, &p,
                "{\"Image\":\"i\",\"Labels\":{},\"HostConfig\":{\"Mounts\":[],\"Ulimits\":["
                "{\"Name\":\"nofile\",\"Soft\":1,\"Hard\":1},{\"Name\":\"nproc\",\"Soft\":2,\"Hard\":2}],"
                "\"NetworkMode\":\"default\",\"LogConfig\":{\"Type\":\"none\"},"
                "\"SecurityOpt\":[\"no-new-privileges\"],\"PidsLimit\":4096}}");
    assert_body(podman_create_body, &p,
                "{\"image\":\"i\",\"env\":{},\"labels\":{},\"create_working_dir\":true,\"httpproxy\":false,"
                "\"systemd\":\"false\",\"mounts\":[],\"r_limits\":[{\"type\":\"nofile\",\"soft\":1,\"hard\":1},"
                "{\"type\":\"nproc\",\"soft\":2,\"hard\":2}],\"resource_limits\":{\"pids\":{\"limit\":4096}},"
                "\"log_configuration\":{\"driver\":\"none\"},\"no_new_privileges\":true}");
}

static const char *member(const json_t *j, const char *path)
{
    static struct buf text;
    struct err err = ERR_INIT;
    const json_t *at = json_object_get(json_object_get(j, "HostConfig"), path);
    buf_release(&text);
    buf_init(&text, 4096);
    assert_works(json_write(at ? at : json_object_get(j, path), false, &text, &err), &err);
    return buf_str(&text);
}

static void gpus_are_asked_for_by_number_or_by_device(void **state)
{
    struct engine_container c = {.gpus = 2};
    struct create_plan p = {.c = &c, .image = "i", .mounts = &no_mounts, .features = {.gpu = GPU_RUNTIME}};
    struct err err = ERR_INIT;
    (void)state;
    AUTO_JSON by_number = docker_create_body(&p, &err);
    assert_string_equal(member(by_number, "DeviceRequests"),
                        "[{\"Driver\":\"nvidia\",\"Count\":2,\"Capabilities\":[[\"gpu\"]]}]");
    p.features.gpu = GPU_CDI;
    AUTO_JSON by_device = docker_create_body(&p, &err);
    assert_string_equal(member(by_device, "DeviceRequests"),
                        "[{\"Driver\":\"cdi\",\"DeviceIDs\":[\"nvidia.com/gpu=0\",\"nvidia.com/gpu=1\"]}]");
    AUTO_JSON podman = podman_create_body(&p, &err);
    assert_string_equal(member(podman, "devices"), "[{\"path\":\"nvidia.com/gpu=0\"},{\"path\":\"nvidia.com/gpu=1\"}]");
}

static void gpus_that_the_engine_does_not_offer_are_refused_with_a_way_out(void **state)
{
    struct engine_container c = {.gpus = 1};
    struct create_plan p = {.c = &c, .image = "i", .mounts = &no_mounts};
    struct err err = ERR_INIT;
    (void)state;
    assert_int_equal(create_plan_check(&p, &err), -1);
    assert_int_equal(err.kind, ERR_UNSUPPORTED);
    assert_contains(err.hint, "--no-gpu");
    err_clear(&err);
    p.features.gpu = GPU_CDI;
    assert_works(create_plan_check(&p, &err), &err);
    c.gpus = 65;
    assert_fails(create_plan_check(&p, &err), &err, ERR_INVALID);
}

static void on_a_network_of_berths_own_there_are_no_raw_sockets_and_no_ipv6(void **state)
{
    struct engine_container c = {.network = "berth-filtered"};
    struct create_plan p = {.c = &c, .image = "i", .mounts = &no_mounts, .has_ipv6 = true};
    struct err err = ERR_INIT;
    (void)state;
    AUTO_JSON docker = docker_create_body(&p, &err);
    assert_string_equal(member(docker, "NetworkMode"), "\"berth-filtered\"");
    assert_string_equal(member(docker, "CapDrop"), "[\"NET_RAW\"]");
    assert_string_equal(member(docker, "Sysctls"), "{\"net.ipv6.conf.all.disable_ipv6\":\"1\"}");
    AUTO_JSON podman = podman_create_body(&p, &err);
    assert_string_equal(member(podman, "netns"), "{\"nsmode\":\"bridge\"}");
    assert_string_equal(member(podman, "Networks"), "{\"berth-filtered\":{}}");
    assert_string_equal(member(podman, "cap_drop"), "[\"NET_RAW\"]");
    assert_string_equal(member(podman, "sysctl"), "{\"net.ipv6.conf.all.disable_ipv6\":\"1\"}");
}

static void what_the_kernel_does_not_have_is_not_switched_off(void **state)
{
    struct engine_container c = {.network = "berth-filtered"};
    struct create_plan p = {.c = &c, .image = "i", .mounts = &no_mounts};
    struct err err = ERR_INIT;
    (void)state;
    AUTO_JSON docker = docker_create_body(&p, &err);
    AUTO_JSON podman = podman_create_body(&p, &err);
    assert_null(json_object_get(json_object_get(docker, "HostConfig"), "Sysctls"));
    assert_null(json_object_get(podman, "sysctl"));
    assert_string_equal(member(docker, "CapDrop"), "[\"NET_RAW\"]");
    assert_string_equal(member(podman, "cap_drop"), "[\"NET_RAW\"]");
}

static void no_network_is_none_whatever_network_is_named(void **state)
{
    struct engine_container c = {.network = "berth-filtered", .network_none = true};
    struct create_plan p = {.c = &c, .image = "i", .mounts = &no_mounts, .has_ipv6 = true};
    struct err err = ERR_INIT;
    (void)state;
    AUTO_JSON docker = docker_create_body(&p, &err);
    AUTO_JSON podman = podman_create_body(&p, &err);
    assert_string_equal(member(docker, "NetworkMode"), "\"none\"");
    assert_null(json_object_get(json_object_get(docker, "HostConfig"), "Sysctls"));
    assert_string_equal(member(podman, "netns"), "{\"nsmode\":\"none\"}");
    assert_null(json_object_get(podman, "Networks"));
}

static void values_that_json_cannot_carry_are_refused(void **state)
{
    static const char *const bad[] = {"A=\xff", NULL};
    struct engine_container c = {.env = bad};
    struct create_plan p = {.c = &c, .image = "i", .mounts = &no_mounts};
    struct err err = ERR_INIT;
    (void)state;
    assert_null_with(docker_create_body(&p, &err), &err, ERR_INVALID);
    assert_null_with(podman_create_body(&p, &err), &err, ERR_INVALID);
    c = (struct engine_container){.memory_bytes = UINT64_MAX};
    assert_fails(create_plan_check(&p, &err), &err, ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(docker_is_told_everything_that_was_asked),
        cmocka_unit_test(podman_is_told_the_same_in_its_own_words),
        cmocka_unit_test(what_was_not_asked_is_left_to_the_image_and_the_engine),
        cmocka_unit_test(gpus_are_asked_for_by_number_or_by_device),
        cmocka_unit_test(gpus_that_the_engine_does_not_offer_are_refused_with_a_way_out),
        cmocka_unit_test(on_a_network_of_berths_own_there_are_no_raw_sockets_and_no_ipv6),
        cmocka_unit_test(what_the_kernel_does_not_have_is_not_switched_off),
        cmocka_unit_test(no_network_is_none_whatever_network_is_named),
        cmocka_unit_test(values_that_json_cannot_carry_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
