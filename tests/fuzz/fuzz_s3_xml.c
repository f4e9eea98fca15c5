/* However a listing is cut into pieces, it is the same page or the same refusal; and what is handed out is bounded. */
#include "s3/list_page.h"

#include "s3/objects.h"

#include <stdlib.h>

#define MUST(x)                                                                                                        \
    do {                                                                                                               \
        if (!(x))                                                                                                      \
            abort();                                                                                                   \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct list_page *read_page(const uint8_t *p, size_t n, size_t step, struct err *err)
{
    struct list_page *page = list_page_new(err);
    MUST(page);
    int rc = 0;
    for (size_t at = 0; rc == 0 && at < n; at += step)
        rc = list_page_feed(page, p + at, n - at < step ? n - at : step, err);
    if (rc == 0)
        rc = list_page_finish(page, err);
    MUST((rc == 0) == !err_is_set(err));
    if (rc == 0)
        return page;
    MUST(err->kind == ERR_PROTOCOL && list_page_count(page) == 0);
    list_page_free(page);
    return NULL;
}

static void compare(const struct list_page *a, const struct list_page *b)
{
    MUST(list_page_count(a) == list_page_count(b));
    MUST(list_page_truncated(a) == list_page_truncated(b));
    MUST(str_eq(list_page_token(a), list_page_token(b)));
    MUST(str_eq(list_page_marker(a), list_page_marker(b)));
    for (size_t i = 0; i < list_page_count(a); i++) {
        struct s3_object x, y;
        list_page_get(a, i, &x);
        list_page_get(b, i, &y);
        MUST(str_eq(x.key, y.key) && str_eq(x.etag, y.etag) && x.size == y.size && x.modified_ms == y.modified_ms);
        MUST(x.key && strlen(x.key) <= LIST_PAGE_BYTES_MAX && x.size <= INT64_MAX);
    }
}

/* What is packed comes back. */
static void pack(const struct list_page *page)
{
    struct err err = ERR_INIT;
    struct s3_objects *o = s3_objects_new(&err);
    MUST(o);
    bool all = true;
    for (size_t i = 0; all && i < list_page_count(page); i++) {
        struct s3_object x;
        list_page_get(page, i, &x);
        all = s3_objects_add(o, &x, &err) == 0;
    }
    MUST(s3_objects_sort(o, &err) == 0 || err_is_set(&err));
    struct s3_object before = {0};
    AUTO_STR last = NULL;
    for (size_t i = 0; i < s3_objects_count(o); i++) {
        s3_objects_get(o, i, &before);
        MUST(!last || strcmp(last, before.key) <= 0);
        free(last);
        last = strdup(before.key);
        MUST(last);
    }
    s3_objects_free(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct err whole_err = ERR_INIT, parts_err = ERR_INIT;
    struct list_page *whole = read_page(data + 1, size - 1, size, &whole_err);
    struct list_page *parts = read_page(data + 1, size - 1, data[0] + (size_t)1, &parts_err);
    MUST((whole == NULL) == (parts == NULL));
    if (whole) {
        compare(whole, parts);
        pack(whole);
    }
    list_page_free(whole);
    list_page_free(parts);
    return 0;
}
