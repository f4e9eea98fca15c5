#include "../base/test_base.h"

#include "engine/image_ref.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const struct {
    const char *text, *full, *registry;
} good[] = {
    {"busybox", "docker.io/library/busybox:latest", "docker.io"},
    {"busybox:1.36", "docker.io/library/busybox:1.36", "docker.io"},
    {"owner/name", "docker.io/owner/name:latest", "docker.io"},
    {"docker.io/busybox", "docker.io/library/busybox:latest", "docker.io"},
    {"index.docker.io/a/b", "docker.io/a/b:latest", "docker.io"},
    {"localhost/name", "localhost/name:latest", "localhost"},
    {"host:5000/name", "host:5000/name:latest", "host:5000"},
    {"127.0.0.1:5000/a/b/c:X_1.-2", "127.0.0.1:5000/a/b/c:X_1.-2", "127.0.0.1:5000"},
    {"[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000"},
    {"ghcr.io/a/b@sha256:" HEX64, "ghcr.io/a/b@sha256:" HEX64, "ghcr.io"},
    {"ghcr.io/a/b:tag@sha256:" HEX64, "ghcr.io/a/b@sha256:" HEX64, "ghcr.io"},
    {"a__b/c-d.e", "docker.io/a__b/c-d.e:latest", "docker.io"},
    {"sha256:" HEX64, "sha256:" HEX64, ""},
};

static void names_are_completed_as_docker_does(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct image_ref ref;
        struct err err = ERR_INIT;
        AUTO_BUF full;
        buf_init(&full, 1024);
        assert_works(image_ref_parse(&ref, span_of(good[i].text), &err), &err);
        image_ref_write(&ref, &full);
        assert_string_equal(buf_str(&full), good[i].full);
        assert_string_equal(ref.registry, good[i].registry);
    }
}

static void a_full_name_stays_what_it_is(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct image_ref ref;
        struct err err = ERR_INIT;
        AUTO_BUF full;
        buf_init(&full, 1024);
        assert_works(image_ref_parse(&ref, span_of(good[i].full), &err), &err);
        image_ref_write(&ref, &full);
        assert_string_equal(buf_str(&full), good[i].full);
    }
}

static void what_is_not_a_name_is_refused_by_name(void **state)
{
    static const char *const bad[] = {"",
                                      "Upper",
                                      "a b",
                                      "a//b",
                                      "/a",
                                      "a/",
                                      "a:",
                                      "a:b:c/",
                                      "a:-tag",
                                      "a:.tag",
                                      "a:t/../x",
                                      "a@",
                                      "a@sha256:123",
                                      "a@md5:" HEX64,
                                      "../a",
                                      "a/../b",
                                      "a?x=1",
                                      "a&tag=b",
                                      "ho st.x/a",
                                      "-a",
                                      "a\nb",
                                      "sha256:" HEX64 "0@x"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct image_ref ref;
        struct err err = ERR_INIT;
        if (image_ref_parse(&ref, span_of(bad[i]), &err) == 0)
            fail_msg("\"%s\" was taken", bad[i]);
        assert_int_equal(err.kind, ERR_INVALID);
    }
}

static void names_that_are_too_long_are_refused(void **state)
{
    char text[IMAGE_REF_MAX + 2];
    (void)state;
    for (size_t n = 200; n < sizeof text; n++) {
        struct image_ref ref;
        struct err err = ERR_INIT;
        memset(text, 'a', n);
        bool fits = image_ref_parse(&ref, (struct span){text, n}, &err) == 0;
        assert_int_equal(fits, n + strlen("library/") < sizeof ref.repository);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_completed_as_docker_does),
        cmocka_unit_test(a_full_name_stays_what_it_is),
        cmocka_unit_test(what_is_not_a_name_is_refused_by_name),
        cmocka_unit_test(names_that_are_too_long_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
