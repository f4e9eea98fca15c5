#include "node/holds.h"

#include "base/fs.h"
#include "base/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char dir[64], cache_dir[80];
    int dir_fd;
    struct cache *cache;
    char snapshot[SNAPSHOT_ID_MAX];
};

/* A snapshot of no files is one that the cache has, too. */
static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct err err = ERR_INIT;
    snprintf(f->dir, sizeof f->dir, "/tmp/berth-holds.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->cache_dir, sizeof f->cache_dir, "%s/cache", f->dir);
    f->dir_fd = fs_open_dir(f->dir, &err);
    const struct cache_opts co = {.dir = f->cache_dir};
    assert_int_equal(cache_open(&f->cache, &co, &err), 0);
    struct cache_lease *lease = NULL;
    const char *const folders[] = {"empty"};
    const struct cache_tree tree = {.folders = folders, .folder_count = 1};
    assert_int_equal(cache_lease_new(f->cache, "test", &lease, &err), 0);
    assert_int_equal(cache_snapshot_make(f->cache, lease, &tree, f->snapshot, &err), 0);
    cache_lease_free(lease);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    cache_free(f->cache);
    close(f->dir_fd);
    int tmp_fd = fs_open_dir("/tmp", &err);
    assert_int_equal(fs_remove_tree(tmp_fd, f->dir + strlen("/tmp/"), &err), 0);
    close(tmp_fd);
    free(f);
    return 0;
}

static struct input model(const char *name)
{
    return (struct input){.kind = SOURCE_OLLAMA, .ollama = {.model = name}};
}

static void note(struct holds *h, const char *model_name, const char *snapshot, uint64_t bytes)
{
    struct err err = ERR_INIT;
    const struct input in = model(model_name);
    AUTO_JSON staged = json_pack("{s:s, s:I}", "snapshot", snapshot, "bytes", (json_int_t)bytes);
    assert_int_equal(holds_note(h, &in, staged, &err), 0);
}

static json_t *tell(struct fixture *f, struct holds *h, bool all)
{
    struct err err = ERR_INIT;
    json_t *list = holds_tell(h, f->cache, all, &err);
    assert_int_equal(err.kind, ERR_NONE);
    return list;
}

static void open_holds(const struct fixture *f, struct holds *h)
{
    struct err err = ERR_INIT;
    assert_int_equal(holds_open(h, f->dir_fd, &err), 0);
}

static void tells_once_what_changed(void **state)
{
    struct fixture *f = *state;
    struct holds h;
    open_holds(f, &h);
    note(&h, "llama3", f->snapshot, 42);
    AUTO_JSON first = tell(f, &h, false);
    int64_t bytes = 0;
    assert_int_equal(json_array_size(first), 1);
    assert_true(json_get_i64(json_array_get(first, 0), "bytes", &bytes));
    assert_int_equal(bytes, 42);
    assert_int_equal(strlen(json_get_str(json_array_get(first, 0), "key")), 64);
    assert_null(json_object_get(json_array_get(first, 0), "snapshot"));
    note(&h, "llama3", f->snapshot, 42);
    assert_null(tell(f, &h, false));
    AUTO_JSON again = tell(f, &h, true);
    assert_int_equal(json_array_size(again), 1);
    holds_release(&h);
}

static void knows_after_a_restart_what_it_held(void **state)
{
    struct fixture *f = *state;
    struct holds h;
    open_holds(f, &h);
    note(&h, "llama3", f->snapshot, 42);
    holds_release(&h);
    open_holds(f, &h);
    AUTO_JSON list = tell(f, &h, false);
    assert_int_equal(json_array_size(list), 1);
    holds_release(&h);
}

static void forgets_what_the_cache_dropped(void **state)
{
    struct fixture *f = *state;
    struct holds h;
    open_holds(f, &h);
    note(&h, "there", f->snapshot, 1);
    note(&h, "gone", "0000000000000000000000000000000000000000000000000000000000000000", 1);
    AUTO_JSON list = tell(f, &h, false);
    assert_int_equal(json_array_size(list), 1);
    holds_release(&h);
}

static void inputs_without_a_name_or_snapshot_are_passed_over(void **state)
{
    struct fixture *f = *state;
    struct holds h;
    struct err err = ERR_INIT;
    open_holds(f, &h);
    const struct input folder = {.kind = SOURCE_LOCAL, .local = {.path = "/srv"}}, known = model("m");
    AUTO_JSON staged = json_pack("{s:s, s:i}", "snapshot", f->snapshot, "bytes", 1);
    AUTO_JSON none = json_object();
    assert_int_equal(holds_note(&h, &folder, staged, &err), 0);
    assert_int_equal(holds_note(&h, &known, none, &err), 0);
    assert_int_equal(holds_note(&h, &known, NULL, &err), 0);
    AUTO_JSON list = tell(f, &h, true);
    assert_int_equal(json_array_size(list), 0);
    holds_release(&h);
}

static void a_file_that_is_no_good_is_an_empty_list(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {
        "", "{", "[1, {\"key\": 5}, {\"key\": \"short\", \"snapshot\": \"s\", \"bytes\": 1}]", "{}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err err = ERR_INIT;
        struct holds h;
        assert_int_equal(fs_replace_file(f->dir_fd, "holds.json", bad[i], strlen(bad[i]), 0600, &err), 0);
        open_holds(f, &h);
        assert_int_equal(h.n, 0);
        holds_release(&h);
    }
}

static void the_one_used_longest_ago_makes_room(void **state)
{
    struct fixture *f = *state;
    struct holds h;
    open_holds(f, &h);
    for (unsigned i = 0; i < HOLDS_MAX; i++) {
        snprintf(h.v[i].key, sizeof h.v[i].key, "%064u", i);
        snprintf(h.v[i].snapshot, sizeof h.v[i].snapshot, "%s", f->snapshot);
    }
    h.n = HOLDS_MAX;
    note(&h, "new", f->snapshot, 7);
    assert_int_equal(h.n, HOLDS_MAX);
    assert_int_equal(h.v[HOLDS_MAX - 1].bytes, 7);
    assert_int_equal(strtoul(h.v[0].key, NULL, 10), 1);
    holds_release(&h);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(tells_once_what_changed),
        T(knows_after_a_restart_what_it_held),
        T(forgets_what_the_cache_dropped),
        T(inputs_without_a_name_or_snapshot_are_passed_over),
        T(a_file_that_is_no_good_is_an_empty_list),
        T(the_one_used_longest_ago_makes_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
