/* A path that is accepted stays below its folder, whatever a file system makes of it; a target that is accepted is
 * absolute and normal, and normalising it again changes nothing. */
#include "base/path.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void expect_safe(struct span path)
{
    struct span rest = path, part;
    if (path.n == 0 || path.n > PATH_SAFE_MAX || memchr(path.p, '\0', path.n))
        abort();
    bool more = true;
    while (more) {
        more = span_cut(rest, '/', &part, &rest);
        if (part.n == 0 || part.n > PATH_COMPONENT_MAX || span_eq(part, SPAN_LIT(".")) || span_eq(part, SPAN_LIT("..")))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    const struct span text = {(const char *)p, n};
    struct err err = ERR_INIT;
    if (path_check_relative(text, &err) == 0)
        expect_safe(text);
    else if (!err_is_set(&err))
        abort();
    err_clear(&err);
    AUTO_BUF once;
    AUTO_BUF twice;
    buf_init(&once, 64u << 10);
    buf_init(&twice, 64u << 10);
    if (path_normalise_target(text, &once, &err) < 0)
        return 0;
    if (once.n < 2 || once.p[0] != '/')
        abort();
    expect_safe((struct span){once.p + 1, once.n - 1});
    if (path_normalise_target(buf_span(&once), &twice, &err) < 0 || !span_eq(buf_span(&once), buf_span(&twice)))
        abort();
    return 0;
}
