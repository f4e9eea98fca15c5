#include "conformance.h"

#define SKIPPED     77 /* meson's word for it */
#define ENGINES_MAX 8
#define ADDRESS_MAX 256
#define TESTS_MAX   128

static struct rig rig;

int rig_open(void **state)
{
    struct err err = ERR_INIT;
    struct engine_opts opts = {.where = rig.address};
    if (engine_open(&rig.engine, &opts, &err) < 0 || engine_info(rig.engine, &rig.info, &err) < 0) {
        print_error("%s: %s\n", rig.address, err.text);
        return -1;
    }
    print_message("engine: %s %s (API %s, cgroup v%s, %s) at %s\n", rig.info.name, rig.info.version,
                  rig.info.api_version, rig.info.cgroup_version, rig.info.runtime, rig.info.address);
    *state = &rig;
    return 0;
}

/* No test may leave a container behind. */
int rig_close(void **state)
{
    struct rig *r = *state;
    struct engine_listed *left = NULL;
    size_t n = 0;
    struct err err = ERR_INIT;
    if (!r) /* it was never opened */
        return 0;
    int rc = engine_list(r->engine, RIG_LABEL, &left, &n, &err);
    for (size_t i = 0; i < n; i++) {
        print_error("left behind: container %s\n", left[i].id);
        engine_remove(r->engine, left[i].id, &err);
    }
    free(left);
    engine_free(r->engine);
    return rc < 0 || n > 0 ? -1 : 0;
}

static size_t gather(struct CMUnitTest tests[TESTS_MAX])
{
    const struct part *const parts[] = {&part_run, &part_limits, &part_files, &part_images};
    size_t n = 0;
    for (size_t p = 0; p < ARRAY_LEN(parts); p++)
        for (size_t i = 0; i < parts[p]->n && n < TESTS_MAX; i++)
            tests[n++] = parts[p]->tests[i];
    return n;
}

int main(void)
{
    static struct CMUnitTest tests[TESTS_MAX];
    const char *engines = getenv("BERTH_TEST_ENGINES"), *image = getenv("BERTH_TEST_IMAGE");
    size_t n = gather(tests);
    int failed = 0;
    if (str_empty(engines)) {
        print_message("skipped: set BERTH_TEST_ENGINES to the addresses of container engines, separated by spaces\n");
        return SKIPPED;
    }
    rig.image = str_empty(image) ? "localhost/busybox:latest" : image;
    rig.registry_image = getenv("BERTH_TEST_REGISTRY_IMAGE");
    for (struct span rest = span_of(engines), one; rest.n > 0;) {
        char address[ADDRESS_MAX];
        span_cut(rest, ' ', &one, &rest);
        if (one.n == 0)
            continue;
        snprintf(address, sizeof address, "%.*s", SPAN_FMT(one));
        rig.address = address;
        failed += _cmocka_run_group_tests(address, tests, n, rig_open, rig_close);
    }
    return failed;
}
