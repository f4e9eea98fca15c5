/* As many hard links as a file can have, which takes a while to make. */
#include "fixture.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define EXT4_MAGIC 0xef53
#define EXT4_LINKS 65000

static void a_blob_with_all_the_links_it_can_have_goes_on_in_a_second_inode(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct statfs fs;
    struct stat first, last;
    size_t n = EXT4_LINKS + 1;
    char id[SNAPSHOT_ID_MAX], path[512];
    assert_int_equal(statfs(f->cache, &fs), 0);
    if (fs.f_type != EXT4_MAGIC)
        skip();
    struct cache_blob a = store(f->c, f->lease, "a", 1, 10, true);
    struct arena *arena = arena_new(0, &err);
    struct cache_file *files = arena_array(arena, n, sizeof *files);
    for (size_t i = 0; i < n; i++)
        files[i] = (struct cache_file){arena_printf(arena, "%05zu", i), a.id, 10};
    struct cache_tree tree = {.files = files, .file_count = n};
    assert_ok(cache_snapshot_make(f->c, f->lease, &tree, id, &err), err);
    snprintf(path, sizeof path, "%s/views/%s/00000", f->cache, id);
    assert_int_equal(stat(path, &first), 0);
    snprintf(path, sizeof path, "%s/views/%s/%05d", f->cache, id, EXT4_LINKS);
    assert_int_equal(stat(path, &last), 0);
    assert_int_equal(last.st_mode, S_IFREG | 0444);
    assert_int_not_equal(first.st_ino, last.st_ino);
    assert_agreement(f);
    struct cache_verify_result v;
    assert_ok(cache_verify(f->c, &(struct cache_verify_opts){0}, &v, &err), err);
    assert_int_equal(v.damaged + v.missing + v.orphans, 0);
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_blob_with_all_the_links_it_can_have_goes_on_in_a_second_inode, fixture_setup,
                                        fixture_teardown),
    };
    return cmocka_run_group_tests_name("cache links", tests, NULL, NULL);
}
