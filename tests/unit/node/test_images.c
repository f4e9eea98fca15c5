#include "node/images.h"

#include "base/fs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define HUB   "docker.io/library/busybox"
#define TEAM  "registry.example:5000/team/model"
#define OTHER "registry.example:5000/team/other"
#define ID    "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

struct fixture {
    char dir[64];
    int dir_fd;
    struct images images;
    struct engine_image_guard jobs, own;
};

static void open_it(struct fixture *f)
{
    struct err err = ERR_INIT;
    assert_int_equal(images_open(&f->images, f->dir_fd, &err), 0);
    f->jobs = images_guard(&f->images);
    f->own = images_guard_own(&f->images);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct err err = ERR_INIT;
    snprintf(f->dir, sizeof f->dir, "/tmp/berth-images.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->dir_fd = fs_open_dir(f->dir, &err);
    open_it(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    images_release(&f->images);
    close(f->dir_fd);
    int tmp_fd = fs_open_dir("/tmp", &err);
    assert_int_equal(fs_remove_tree(tmp_fd, f->dir + strlen("/tmp/"), &err), 0);
    close(tmp_fd);
    free(f);
    return 0;
}

static void begin(struct fixture *f, const char *repository, bool with_credentials)
{
    struct err err = ERR_INIT;
    assert_int_equal(f->jobs.begin(f->jobs.ctx, repository, with_credentials, &err), 0);
}

static void end(struct fixture *f, const char *repository, bool with_credentials, bool pulled)
{
    f->jobs.end(f->jobs.ctx, repository, with_credentials, pulled);
}

static bool may(const struct engine_image_guard *g, const char *name, const char *repository)
{
    return g->may_use(g->ctx, name, repository);
}

static void what_was_there_or_came_without_credentials_is_for_all(void **state)
{
    struct fixture *f = *state;
    assert_true(may(&f->jobs, HUB ":latest", HUB));
    begin(f, HUB, false);
    assert_true(may(&f->jobs, HUB ":latest", HUB));
    end(f, HUB, false, true);
    assert_true(may(&f->jobs, HUB ":latest", HUB));
}

static void a_pull_with_credentials_closes_its_repository_before_it_begins(void **state)
{
    struct fixture *f = *state;
    begin(f, TEAM, true);
    assert_false(may(&f->jobs, TEAM ":1", TEAM));
    assert_true(may(&f->jobs, OTHER ":1", OTHER));
    end(f, TEAM, true, true);
    assert_false(may(&f->jobs, TEAM ":1", TEAM));
    assert_false(may(&f->jobs, TEAM "@" ID, TEAM));
    assert_false(may(&f->own, TEAM ":1", TEAM));
}

static void a_closed_repository_stays_closed_over_a_restart(void **state)
{
    struct fixture *f = *state;
    begin(f, TEAM, true);
    images_release(&f->images); /* a crash: what came of it is there */
    open_it(f);
    assert_false(may(&f->jobs, TEAM ":1", TEAM));
    assert_true(may(&f->jobs, OTHER ":1", OTHER));
}

static void credentials_that_open_nothing_close_nothing(void **state)
{
    struct fixture *f = *state;
    begin(f, TEAM, true);
    end(f, TEAM, true, false);
    assert_true(may(&f->jobs, TEAM ":1", TEAM));
    images_release(&f->images);
    open_it(f);
    assert_true(may(&f->jobs, TEAM ":1", TEAM));
}

static void a_failed_pull_opens_nothing_that_another_one_closed(void **state)
{
    struct fixture *f = *state;
    begin(f, TEAM, true); /* with a wrong password, first */
    begin(f, TEAM, true); /* with the right one */
    end(f, TEAM, true, false);
    assert_false(may(&f->jobs, TEAM ":1", TEAM));
    end(f, TEAM, true, true);
    begin(f, TEAM, true);
    end(f, TEAM, true, false);
    begin(f, TEAM, false);
    end(f, TEAM, false, false);
    assert_false(may(&f->jobs, TEAM ":1", TEAM));
}

static void a_pull_without_credentials_shows_that_it_is_for_everybody(void **state)
{
    struct fixture *f = *state;
    begin(f, HUB, true);
    end(f, HUB, true, true);
    assert_false(may(&f->jobs, HUB ":latest", HUB));
    begin(f, HUB, false);
    end(f, HUB, false, true);
    assert_true(may(&f->jobs, HUB ":latest", HUB));
    images_release(&f->images);
    open_it(f);
    assert_true(may(&f->jobs, HUB ":latest", HUB));
}

static void what_the_market_requires_is_for_all_its_jobs(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct strv names = {0}, none = {0};
    begin(f, TEAM, true);
    end(f, TEAM, true, true);
    begin(f, HUB, true);
    end(f, HUB, true, true);
    strv_add(&names, TEAM ":1", &err);
    strv_add(&names, "busybox", &err);
    strv_add(&names, ID, &err);
    assert_int_equal(images_require(&f->images, &names, &err), 0);
    assert_true(may(&f->jobs, TEAM ":1", TEAM));
    assert_false(may(&f->jobs, TEAM ":2", TEAM));
    assert_true(may(&f->jobs, HUB ":latest", HUB));
    assert_true(may(&f->jobs, ID, NULL));
    assert_int_equal(images_require(&f->images, &none, &err), 0);
    assert_false(may(&f->jobs, TEAM ":1", TEAM));
    assert_false(may(&f->jobs, ID, NULL));
    strv_release(&names);
}

static void ids_are_for_what_is_required_alone(void **state)
{
    struct fixture *f = *state;
    assert_false(may(&f->jobs, ID, NULL));
    assert_true(may(&f->own, ID, NULL));
}

static void a_list_that_cannot_be_read_is_not_taken_for_an_empty_one(void **state)
{
    struct fixture *f = *state;
    static const char *const texts[] = {"{\"version\": 1, \"repositories\": [\"docker.io/li", "{}", "[]",
                                        "{\"version\": 1, \"repositories\": [1]}",
                                        "{\"version\": 2, \"repositories\": []}"};
    images_release(&f->images);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct err err = ERR_INIT;
        assert_int_equal(fs_replace_file(f->dir_fd, "images.json", texts[i], strlen(texts[i]), 0600, &err), 0);
        assert_int_equal(images_open(&f->images, f->dir_fd, &err), -1);
        assert_non_null(strstr(err.text, "images.json"));
        assert_true(err.hint[0] != '\0');
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_there_or_came_without_credentials_is_for_all),
        TEST(a_pull_with_credentials_closes_its_repository_before_it_begins),
        TEST(a_closed_repository_stays_closed_over_a_restart),
        TEST(credentials_that_open_nothing_close_nothing),
        TEST(a_failed_pull_opens_nothing_that_another_one_closed),
        TEST(a_pull_without_credentials_shows_that_it_is_for_everybody),
        TEST(what_the_market_requires_is_for_all_its_jobs),
        TEST(ids_are_for_what_is_required_alone),
        TEST(a_list_that_cannot_be_read_is_not_taken_for_an_empty_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
