/* The names of downloaded files: whatever a server proposes, one safe component of valid UTF-8 comes out. */
#include "base/path.h"
#include "stage/file_name_priv.h"
#include "stage/url_answer_priv.h"

#include <stdlib.h>

#define TEXTS 3

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void check_name(const char *disposition, const char *final_url, const char *asked_url)
{
    struct err unsafe = ERR_INIT;
    AUTO_BUF name;
    buf_init(&name, FILE_NAME_TEXT_MAX);
    file_name_choose(disposition, final_url, asked_url, &name);
    must(buf_check(&name, "name", &unsafe) == 0 && path_check_relative(buf_span(&name), &unsafe) == 0);
    must(!memchr(name.p, '/', name.n) && !memchr(name.p, '\\', name.n) && span_is_utf8(buf_span(&name)));
    for (size_t i = 0; i < name.n; i++)
        must((unsigned char)name.p[i] >= 0x20 && name.p[i] != 0x7f);
}

static void check_answer(const char *one, const char *two)
{
    struct http_header headers[] = {{"etag", one},           {"repr-digest", two},   {"digest", one},
                                    {"content-length", two}, {"content-range", one}, {"x-amz-request-id", "1"},
                                    {"last-modified", two},  {"content-type", one}};
    struct http_response resp = {.status = 200, .headers = headers, .header_count = ARRAY_LEN(headers)};
    struct url_answer a;
    url_answer_read(&resp, &a);
    must(!url_answer_differs(&a, &a));
    must(!url_etag_is_strong(a.etag) || str_eq(a.etag, one));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Three texts, each ended by a line feed. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span rest = {(const char *)data, size}, one;
    char *texts[TEXTS] = {0};
    struct err err = ERR_INIT;
    for (size_t i = 0; i < TEXTS; i++) {
        span_cut(rest, '\n', &one, &rest);
        texts[i] = str_dup_span(one, &err);
    }
    if (texts[0] && texts[1] && texts[2]) {
        check_name(texts[0], texts[1], texts[2]);
        check_name(NULL, texts[1], texts[1]);
        check_answer(texts[0], texts[1]);
    }
    for (size_t i = 0; i < TEXTS; i++)
        free(texts[i]);
    return 0;
}
