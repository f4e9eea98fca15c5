#include "hf/link.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void the_next_page_is_found_among_the_links(void **state)
{
    (void)state;
    static const struct {
        const char *header, *target; /* NULL: none */
    } rows[] = {
        {"<https://h/a?cursor=1>; rel=\"next\"", "https://h/a?cursor=1"},
        {"<https://h/a?cursor=1>;rel=next", "https://h/a?cursor=1"},
        {"</a?x,y;z>; rel=\"next\"", "/a?x,y;z"},
        {"<a>; rel=\"prev\", <b>; rel=\"next\"", "b"},
        {"<a>; rel=\"prev next\"", "a"},
        {"<a>; rel=\"NEXT\"", "a"},
        {"<a>; title=\"x, <y>; rel=next\"; rel=\"next\"", "a"},
        {"<a>; title=\"say \\\"next\\\"\"; rel=next", "a"},
        {"<a> ; rel = next , <b>", "a"},
        {"<a>; rel=prev; rel=next", NULL},
        {"<a>; rel=\"nextish\"", NULL},
        {"<a>", NULL},
        {"<>; rel=next", NULL},
        {"<a; rel=next", NULL},
        {"<a>; rel=\"next", NULL},
        {"a; rel=next", NULL},
        {"<a>; rel=prev <b>; rel=next", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct span target;
        bool found = hf_link_next(span_of(rows[i].header), &target);
        if (found != (rows[i].target != NULL) || (found && !span_eq(target, span_of(rows[i].target))))
            fail_msg("%s", rows[i].header);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_next_page_is_found_among_the_links),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
