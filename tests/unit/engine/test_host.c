#include "../base/test_base.h"

#include "engine/cdi.h"
#include "engine/engine_priv.h"
#include "engine/mounts.h"
#include "engine/oom_watch.h"

/* ---- mounts ---- */

static const char mount_info[] = "21 1 8:1 / / rw - ext4 /dev/a rw\n"
                                 "30 21 0:5 / /data rw shared:1 - tmpfs t rw\n"
                                 "31 30 0:6 / /data/in\\040ner rw - tmpfs t rw\n"
                                 "32 30 0:7 / /data/back\\134slash/deep rw - tmpfs t rw\n"
                                 "33 21 0:8 / /database rw - tmpfs t rw\n"
                                 "garbage\n";

static void what_is_mounted_within_a_read_only_mount_is_mounted_read_only_too(void **state)
{
    struct mount_plans plans = {0};
    struct err err = ERR_INIT;
    struct engine_mount m = {.source = "/link", .target = "/t"};
    (void)state;
    assert_works(mount_plans_add(&plans, &m, "/data", span_of(mount_info), &err), &err);
    assert_int_equal(plans.n, 3);
    assert_string_equal(plans.v[0].source, "/link");
    assert_string_equal(plans.v[1].source, "/link/in ner");
    assert_string_equal(plans.v[1].target, "/t/in ner");
    assert_string_equal(plans.v[2].target, "/t/back\\slash/deep");
    for (size_t i = 0; i < plans.n; i++)
        assert_false(plans.v[i].writable);
    mount_plans_release(&plans);
}

static void a_writable_mount_takes_what_is_within_along(void **state)
{
    struct mount_plans plans = {0};
    struct err err = ERR_INIT;
    struct engine_mount m = {.source = "/data", .target = "/t", .writable = true};
    (void)state;
    assert_works(mount_plans_add(&plans, &m, "/data", span_of(mount_info), &err), &err);
    assert_int_equal(plans.n, 1);
    mount_plans_release(&plans);
}

static void the_number_of_mounts_is_bounded(void **state)
{
    struct mount_plans plans = {0};
    struct err err = ERR_INIT;
    struct engine_mount m = {.source = "/s", .target = "/t"};
    (void)state;
    for (int i = 0; i < MOUNTS_MAX; i++)
        assert_works(mount_plans_add(&plans, &m, "/s", SPAN_LIT(""), &err), &err);
    assert_fails(mount_plans_add(&plans, &m, "/s", SPAN_LIT(""), &err), &err, ERR_LIMIT);
    mount_plans_release(&plans);
}

/* ---- cgroups ---- */

static void assert_folder(const char *text, const char *want, bool want_v2)
{
    AUTO_BUF folder;
    bool v2 = !want_v2;
    buf_init(&folder, 4096);
    bool found = oom_cgroup_folder(span_of(text), "/cg", &folder, &v2);
    assert_int_equal(found, want != NULL);
    if (want) {
        assert_string_equal(buf_str(&folder), want);
        assert_int_equal(v2, want_v2);
    }
}

static void the_memory_cgroup_is_found_in_every_layout(void **state)
{
    (void)state;
    assert_folder("0::/user.slice/libpod-1.scope\n", "/cg/user.slice/libpod-1.scope", true);
    assert_folder("9:name=systemd:/x\n4:memory:/libpod_parent/libpod-1\n0::/y\n", "/cg/memory/libpod_parent/libpod-1",
                  false);
    assert_folder("0::/y\n5:cpu,memory,pids:/a:b\n", "/cg/memory/a:b", false);
    assert_folder("4:memory:/\n0::/y\n", NULL, false);
    assert_folder("0::/\n", NULL, false);
    assert_folder("", NULL, false);
    assert_folder("nonsense\n4:memoryless:/x\n", NULL, false);
}

static void kills_are_counted_in_both_files(void **state)
{
    uint64_t n = 9;
    (void)state;
    assert_true(oom_count_kills(SPAN_LIT("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), &n));
    assert_int_equal(n, 3);
    assert_true(oom_count_kills(SPAN_LIT("low 0\nhigh 0\nmax 12\noom 4\noom_kill 0\noom_group_kill 0\n"), &n));
    assert_int_equal(n, 0);
    assert_false(oom_count_kills(SPAN_LIT("low 0\n"), &n));
    assert_false(oom_count_kills(SPAN_LIT("oom_kill x\n"), &n));
}

static void a_process_that_is_gone_is_not_watched(void **state)
{
    struct oom_watch w;
    (void)state;
    assert_false(oom_watch_open(&w, 0x7ffffff0));
    assert_int_equal(oom_watch_fd(&w), -1);
    oom_watch_look(&w);
    assert_false(w.killed);
    oom_watch_release(&w);
}

/* ---- CDI ---- */

static void nvidias_devices_are_seen_in_a_cdi_folder(void **state)
{
    const struct scratch *s = *state;
    struct err err = ERR_INIT;
    static const char other[] = "{\"kind\":\"vendor.com/net\"}", gpu[] = "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\n";
    assert_false(cdi_folder_has_nvidia("/no/such/folder"));
    assert_false(cdi_folder_has_nvidia(s->path));
    assert_works(fs_replace_file(s->fd, "net.json", other, sizeof other - 1, 0644, &err), &err);
    assert_works(fs_replace_file(s->fd, "notes.txt", gpu, sizeof gpu - 1, 0644, &err), &err);
    assert_false(cdi_folder_has_nvidia(s->path));
    assert_works(fs_replace_file(s->fd, "nvidia.yaml", gpu, sizeof gpu - 1, 0644, &err), &err);
    assert_true(cdi_folder_has_nvidia(s->path));
}

/* ---- addresses ---- */

static void addresses_say_where_an_engine_listens(void **state)
{
    static const struct {
        const char *text, *socket, *authority;
        bool tls;
    } rows[] = {{"unix:///run/docker.sock", "/run/docker.sock", "", false},
                {"/run/docker.sock", "/run/docker.sock", "", false},
                {"tcp://host:2375", "", "host:2375", false},
                {"tcp://host", "", "host:2375", false},
                {"tcp://[::1]", "", "[::1]:2375", false},
                {"tcp://[::1]:99/", "", "[::1]:99", false},
                {"http://host:1", "", "host:1", false},
                {"https://host", "", "host:2376", true}};
    (void)state;
    unsetenv("DOCKER_TLS_VERIFY");
    unsetenv("DOCKER_CERT_PATH");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct endpoint at;
        struct err err = ERR_INIT;
        assert_works(endpoint_parse(&at, rows[i].text, &err), &err);
        assert_string_equal(at.socket, rows[i].socket);
        assert_string_equal(at.authority, rows[i].authority);
        assert_int_equal(at.tls, rows[i].tls);
    }
    struct endpoint at;
    struct err err = ERR_INIT;
    setenv("DOCKER_TLS_VERIFY", "1", 1);
    assert_works(endpoint_parse(&at, "tcp://host", &err), &err);
    unsetenv("DOCKER_TLS_VERIFY");
    assert_true(at.tls);
    assert_string_equal(at.authority, "host:2376");
}

static void addresses_that_lead_nowhere_are_refused(void **state)
{
    static const struct {
        const char *text;
        enum err_kind kind;
    } rows[] = {{"unix://relative", ERR_INVALID},        {"unix://", ERR_INVALID},    {"tcp://", ERR_INVALID},
                {"tcp://user:pw@host", ERR_INVALID},     {"tcp://h/x", ERR_INVALID},  {"ssh://host", ERR_UNSUPPORTED},
                {"npipe:////./pipe/x", ERR_UNSUPPORTED}, {"dokcer", ERR_UNSUPPORTED}, {"", ERR_UNSUPPORTED}};
    char longest[300];
    struct endpoint at;
    struct err err = ERR_INIT;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_fails(endpoint_parse(&at, rows[i].text, &err), &err, rows[i].kind);
    memset(longest, 'a', sizeof longest);
    longest[0] = '/';
    longest[sizeof longest - 1] = '\0';
    assert_fails(endpoint_parse(&at, longest, &err), &err, ERR_INVALID);
    longest[SOCKET_PATH_MAX] = '\0';
    assert_fails(endpoint_parse(&at, longest, &err), &err, ERR_INVALID);
    longest[SOCKET_PATH_MAX - 1] = '\0';
    assert_works(endpoint_parse(&at, longest, &err), &err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_mounted_within_a_read_only_mount_is_mounted_read_only_too),
        cmocka_unit_test(a_writable_mount_takes_what_is_within_along),
        cmocka_unit_test(the_number_of_mounts_is_bounded),
        cmocka_unit_test(the_memory_cgroup_is_found_in_every_layout),
        cmocka_unit_test(kills_are_counted_in_both_files),
        cmocka_unit_test(a_process_that_is_gone_is_not_watched),
        scratch_test(nvidias_devices_are_seen_in_a_cdi_folder),
        cmocka_unit_test(addresses_say_where_an_engine_listens),
        cmocka_unit_test(addresses_that_lead_nowhere_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
