/* What the unit tests of base share: cmocka's prelude, an error to pass around, a scratch folder. */
#ifndef BERTH_TEST_BASE_H
#define BERTH_TEST_BASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fs.h"

#include <fcntl.h>

/* The call failed with this kind; `err` is clear again afterwards. */
#define assert_fails(call, err, want)                                                                                  \
    do {                                                                                                               \
        assert_int_equal((call), -1);                                                                                  \
        assert_string_equal(err_kind_name((err)->kind), err_kind_name(want));                                          \
        assert_true((err)->text[0] != '\0');                                                                           \
        err_clear(err);                                                                                                \
    } while (0)

/* The call gave nothing, with this kind; `err` is clear again afterwards. */
#define assert_null_with(call, err, want)                                                                              \
    do {                                                                                                               \
        assert_null(call);                                                                                             \
        assert_string_equal(err_kind_name((err)->kind), err_kind_name(want));                                          \
        err_clear(err);                                                                                                \
    } while (0)

/* The call succeeded; the error's text is shown where it did not. */
#define assert_works(call, err)                                                                                        \
    do {                                                                                                               \
        if ((call) < 0)                                                                                                \
            fail_msg("%s: %s", #call, (err)->text);                                                                    \
        assert_false(err_is_set(err));                                                                                 \
    } while (0)

#define assert_contains(text, part)                                                                                    \
    do {                                                                                                               \
        if (!strstr((text), (part)))                                                                                   \
            fail_msg("\"%s\" does not contain \"%s\"", (text), (part));                                                \
    } while (0)

struct scratch {
    char path[64];
    int fd;
};

static inline int scratch_open(void **state)
{
    static struct scratch s;
    snprintf(s.path, sizeof s.path, "/tmp/berth-base-XXXXXX");
    if (!mkdtemp(s.path))
        return -1;
    s.fd = open(s.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = &s;
    return s.fd < 0 ? -1 : 0;
}

static inline int scratch_close(void **state)
{
    struct scratch *s = *state;
    struct err err = ERR_INIT;
    close(s->fd);
    AUTO_FD tmp = fs_open_dir("/tmp", &err);
    return tmp < 0 ? -1 : fs_remove_tree(tmp, s->path + strlen("/tmp/"), &err);
}

#define scratch_test(f) cmocka_unit_test_setup_teardown(f, scratch_open, scratch_close)

#endif
