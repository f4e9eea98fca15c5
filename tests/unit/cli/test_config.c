#include "cli/config.h"

#include "base/fs.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct fixture {
    char dir[64], file[96], system_file[96];
    struct err err;
    struct config *config;
    struct strv flags;
};

static int set_up(void **state)
{
    static struct fixture f;
    f = (struct fixture){.dir = "/tmp/berth-test-XXXXXX"};
    if (!mkdtemp(f.dir))
        return -1;
    snprintf(f.file, sizeof f.file, "%s/user.yaml", f.dir);
    snprintf(f.system_file, sizeof f.system_file, "%s/system.yaml", f.dir);
    unsetenv("BERTH_CACHE_TTL");
    unsetenv("BERTH_MIRRORS");
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    config_free(f->config);
    strv_release(&f->flags);
    unlink(f->file);
    unlink(f->system_file);
    return rmdir(f->dir);
}

static void write_file(const char *path, const char *text)
{
    struct err err = ERR_INIT;
    AUTO_FD fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(fs_write_all(fd, text, strlen(text), &err), 0);
}

static int load(struct fixture *f)
{
    const struct config_opts opts = {.user_file = f->file, .system_file = f->system_file, .flags = &f->flags};
    return config_load(&f->config, &opts, &f->err);
}

static void later_sources_win_over_earlier_ones(void **state)
{
    struct fixture *f = *state;
    write_file(f->system_file, "cache: {ttl: 1h, max_bytes: 1GB}\nengine: docker\n");
    write_file(f->file, "cache.ttl: 2h\nengine: podman\n");
    setenv("BERTH_CACHE_TTL", "3h", 1);
    assert_int_equal(strv_add(&f->flags, "engine=unix:///x", &f->err), 0);
    assert_int_equal(load(f), 0);
    assert_int_equal(config_number(f->config, SETTING_CACHE_TTL), 3 * 3600 * 1000);
    assert_int_equal(config_number(f->config, SETTING_CACHE_MAX_BYTES), 1000000000);
    assert_string_equal(config_text(f->config, SETTING_ENGINE), "unix:///x");
    AUTO_JSON shown = config_show(f->config, &f->err);
    const json_t *ttl = NULL;
    size_t i;
    json_t *one;
    json_array_foreach(shown, i, one) if (str_eq(json_get_str(one, "name"), "cache.ttl")) ttl = one;
    assert_string_equal(json_get_str(ttl, "from"), "BERTH_CACHE_TTL");
    assert_string_equal(json_get_str(ttl, "value"), "3h");
}

static void lists_come_as_yaml_lists_or_with_commas(void **state)
{
    struct fixture *f = *state;
    write_file(f->file, "mirrors:\n  - https://a=http://b\n  - https://c=http://d\n");
    assert_int_equal(load(f), 0);
    const char *const *mirrors = config_list(f->config, SETTING_MIRRORS);
    assert_string_equal(mirrors[0], "https://a=http://b");
    assert_string_equal(mirrors[1], "https://c=http://d");
    assert_null(mirrors[2]);
}

static void a_misspelt_setting_is_named_with_the_nearest(void **state)
{
    struct fixture *f = *state;
    write_file(f->file, "cache: {tll: 1h}\n");
    assert_int_equal(load(f), -1);
    assert_non_null(strstr(f->err.text, "cache.tll"));
    assert_non_null(strstr(f->err.hint, "cache.ttl"));
}

static void a_value_of_the_wrong_kind_names_file_and_setting(void **state)
{
    struct fixture *f = *state;
    write_file(f->file, "cache.ttl: soon\n");
    assert_int_equal(load(f), -1);
    assert_non_null(strstr(f->err.text, f->file));
    assert_non_null(strstr(f->err.text, "cache.ttl"));
}

static void a_file_that_was_named_must_exist_and_others_need_not(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(load(f), -1);
    assert_int_equal(f->err.kind, ERR_NOTFOUND);
    err_clear(&f->err);
    write_file(f->file, "");
    assert_int_equal(load(f), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(later_sources_win_over_earlier_ones),
        T(lists_come_as_yaml_lists_or_with_commas),
        T(a_misspelt_setting_is_named_with_the_nearest),
        T(a_value_of_the_wrong_kind_names_file_and_setting),
        T(a_file_that_was_named_must_exist_and_others_need_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
