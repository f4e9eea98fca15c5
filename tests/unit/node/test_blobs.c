#include "base/enc.h"
#include "base/fs.h"
#include "node/blobs.h"
#include "xfer/xfer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char dir[64], cache_dir[80];
    struct cache *cache;
    struct blobs blobs;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct err err = ERR_INIT;
    snprintf(f->dir, sizeof f->dir, "/tmp/berth-blobs.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->cache_dir, sizeof f->cache_dir, "%s/cache", f->dir);
    const struct cache_opts co = {.dir = f->cache_dir};
    assert_int_equal(cache_open(&f->cache, &co, &err), 0);
    blobs_init(&f->blobs);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    blobs_release(&f->blobs);
    cache_free(f->cache);
    AUTO_FD tmp_fd = fs_open_dir("/tmp", &err);
    assert_int_equal(fs_remove_tree(tmp_fd, f->dir + strlen("/tmp/"), &err), 0);
    free(f);
    return 0;
}

/* A blob of four bytes, and its digest. */
static void store(struct fixture *f, uint32_t number, char hex[65])
{
    struct err err = ERR_INIT;
    char key[32];
    struct cache_fill *fill = NULL;
    struct cache_blob blob;
    enum cache_fill_state state;
    struct partmap *map = NULL;
    int fd = -1;
    struct cache_verified how = {.has_digest = true};
    snprintf(key, sizeof key, "blob/%u", number);
    const struct cache_origin origin = {"s3", key, "v1", sizeof number};
    assert_int_equal(cache_fill_begin(f->cache, NULL, &origin, &fill, &blob, &state, &err), 0);
    assert_int_equal(cache_fill_open(fill, sizeof number, 0, &fd, &map, &err), 0);
    assert_int_equal(fs_pwrite_all(fd, &number, sizeof number, 0, &err), 0);
    assert_int_equal(digest_bytes(DIGEST_SHA256, &number, sizeof number, &how.by, &err), 0);
    assert_int_equal(cache_fill_commit(fill, NULL, sizeof number, &how, &blob, &err), 0);
    snprintf(hex, 65, "%.64s", blob.id);
}

static json_t *tell(struct fixture *f, bool *more)
{
    struct err err = ERR_INIT;
    assert_int_equal(cache_fill_flush(f->cache, &err), 0);
    json_t *out = blobs_tell(&f->blobs, f->cache, more, &err);
    if (err_is_set(&err))
        fail_msg("%s", err.text);
    return out;
}

/* How many are added and removed; -1: nothing is told. */
static int told(struct fixture *f, size_t *removed, bool *reset, bool *more)
{
    AUTO_JSON out = tell(f, more);
    *removed = json_array_size(json_object_get(out, "remove"));
    *reset = json_get_bool(out, "reset", false);
    return out ? (int)json_array_size(json_object_get(out, "add")) : -1;
}

static void only_what_changed_is_told_and_at_first_all(void **state)
{
    struct fixture *f = *state;
    char a[65], b[65];
    size_t removed;
    bool reset, more;
    store(f, 1, a);
    assert_int_equal(told(f, &removed, &reset, &more), 1);
    assert_true(reset);
    assert_int_equal(told(f, &removed, &reset, &more), -1);
    store(f, 2, b);
    assert_int_equal(told(f, &removed, &reset, &more), 1);
    assert_false(reset);
    assert_int_equal(removed, 0);
    const struct cache_gc_opts all = {.all = true};
    struct cache_gc_result gone;
    struct err err = ERR_INIT;
    assert_int_equal(cache_gc(f->cache, &all, &gone, &err), 0);
    assert_int_equal(told(f, &removed, &reset, &more), 0);
    assert_int_equal(removed, 2);
    assert_false(more);
}

static void only_what_was_told_is_there_for_others(void **state)
{
    struct fixture *f = *state;
    char a[65], b[65];
    size_t removed;
    bool reset, more;
    store(f, 1, a);
    assert_false(blobs_has(&f->blobs, a));
    told(f, &removed, &reset, &more);
    store(f, 2, b);
    assert_true(blobs_has(&f->blobs, a));
    assert_false(blobs_has(&f->blobs, b));
    assert_false(blobs_has(&f->blobs, ""));
    assert_false(blobs_has(&f->blobs, "../../../../etc/passwd"));
    told(f, &removed, &reset, &more);
    assert_true(blobs_has(&f->blobs, b));
}

static void what_may_not_have_arrived_is_told_anew(void **state)
{
    struct fixture *f = *state;
    char a[65];
    size_t removed;
    bool reset, more;
    store(f, 1, a);
    told(f, &removed, &reset, &more);
    blobs_unsure(&f->blobs);
    assert_int_equal(told(f, &removed, &reset, &more), 1);
    assert_true(reset);
    assert_int_equal(told(f, &removed, &reset, &more), -1);
}

static void more_than_one_message_takes_is_told_in_several(void **state)
{
    struct fixture *f = *state;
    char hex[65];
    size_t removed, n = BLOBS_TOLD_MAX + 10, all = 0;
    bool reset, more = true;
    for (uint32_t i = 0; i < n; i++)
        store(f, i, hex);
    for (int i = 0; i < 2; i++) {
        assert_true(more);
        int added = told(f, &removed, &reset, &more);
        assert_true(added > 0 && added <= BLOBS_TOLD_MAX);
        assert_int_equal(reset, i == 0);
        all += (size_t)added;
    }
    assert_false(more);
    assert_int_equal(all, n);
    assert_int_equal(told(f, &removed, &reset, &more), -1);
    const struct cache_gc_opts gc = {.all = true};
    struct cache_gc_result gone;
    struct err err = ERR_INIT;
    assert_int_equal(cache_gc(f->cache, &gc, &gone, &err), 0);
    for (all = 0, more = true; more; all += removed)
        assert_int_equal(told(f, &removed, &reset, &more), 0);
    assert_int_equal(all, n);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(only_what_changed_is_told_and_at_first_all),
        TEST(only_what_was_told_is_there_for_others),
        TEST(what_may_not_have_arrived_is_told_anew),
        TEST(more_than_one_message_takes_is_told_in_several),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
