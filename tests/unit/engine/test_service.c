/* The private `podman system service`, with a podman of the test's own making, and with the real one where it is. */
#include "../base/test_base.h"

#include "engine/engine.h"

#include <dirent.h>
#include <signal.h>

/* A PATH that has only what the test puts into the scratch folder, and no engine anywhere else. */
static int isolated_open(void **state)
{
    if (scratch_open(state) < 0)
        return -1;
    const struct scratch *s = *state;
    unsetenv("BERTH_ENGINE");
    unsetenv("DOCKER_HOST");
    setenv("XDG_RUNTIME_DIR", s->path, 1);
    return setenv("PATH", s->path, 1);
}

static bool default_socket_exists(void)
{
    return access("/run/podman/podman.sock", F_OK) == 0;
}

static size_t entries(const struct scratch *s)
{
    size_t n = 0;
    DIR *dir = opendir(s->path);
    assert_non_null(dir);
    for (const struct dirent *e; (e = readdir(dir));)
        n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

static void without_podman_there_is_no_engine_and_a_way_out(void **state)
{
    const struct scratch *s = *state;
    struct engine *e = NULL;
    struct err err = ERR_INIT;
    if (default_socket_exists())
        skip();
    assert_int_equal(engine_open(&e, &(struct engine_opts){.where = "podman", .runtime_dir = s->path}, &err), -1);
    assert_int_equal(err.kind, ERR_NOTFOUND);
    assert_contains(err.hint, "DOCKER_HOST");
    assert_int_equal(entries(s), 0);
}

static void a_service_that_does_not_start_says_why_and_leaves_nothing(void **state)
{
    static const char script[] = "#!/bin/sh\necho first line >&2\necho 'newuidmap: not allowed' >&2\nexit 125\n";
    const struct scratch *s = *state;
    struct engine *e = NULL;
    struct err err = ERR_INIT;
    if (default_socket_exists())
        skip();
    assert_works(fs_replace_file(s->fd, "podman", script, sizeof script - 1, 0755, &err), &err);
    assert_int_equal(engine_open(&e, &(struct engine_opts){.where = "podman", .runtime_dir = s->path}, &err), -1);
    assert_contains(err.text, "newuidmap: not allowed");
    assert_int_equal(entries(s), 1);
}

static void a_folder_too_deep_for_a_socket_is_refused(void **state)
{
    char deep[200];
    struct engine *e = NULL;
    struct err err = ERR_INIT;
    (void)state;
    if (default_socket_exists())
        skip();
    memset(deep, 'd', sizeof deep);
    deep[0] = '/';
    deep[sizeof deep - 1] = '\0';
    assert_fails(engine_open(&e, &(struct engine_opts){.where = "podman", .runtime_dir = deep}, &err), &err,
                 ERR_INVALID);
}

static void a_private_service_runs_as_long_as_the_engine_is_open(void **state)
{
    const struct scratch *s = *state;
    struct engine *e = NULL;
    struct engine_info info;
    struct err err = ERR_INIT;
    setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
    if (default_socket_exists() || access("/usr/bin/podman", X_OK) < 0 || !getenv("BERTH_TEST_ENGINES")) {
        print_message("needs podman, and BERTH_TEST_ENGINES to say that engines may be used\n");
        skip();
    }
    assert_works(engine_open(&e, &(struct engine_opts){.where = "podman", .runtime_dir = s->path}, &err), &err);
    assert_int_equal(entries(s), 1);
    assert_works(engine_info(e, &info, &err), &err);
    assert_string_equal(info.name, "podman");
    assert_contains(info.address, s->path);
    const char *path = info.address + strlen("unix://");
    assert_int_equal(access(path, F_OK), 0);
    engine_free(e);
    assert_int_equal(access(path, F_OK), -1);
}

#define isolated_test(f) cmocka_unit_test_setup_teardown(f, isolated_open, scratch_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        isolated_test(without_podman_there_is_no_engine_and_a_way_out),
        isolated_test(a_service_that_does_not_start_says_why_and_leaves_nothing),
        isolated_test(a_folder_too_deep_for_a_socket_is_refused),
        isolated_test(a_private_service_runs_as_long_as_the_engine_is_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
