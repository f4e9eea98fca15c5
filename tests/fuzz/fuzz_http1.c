/* Heads and chunked bodies from a hostile server. Properties: a head is found at the same place however much follows
 * it; what is parsed lies inside the input; a body gives the same payload whether it arrives whole or byte by byte, and
 * never more than was put in. */
#include "xfer/http1.h"

#include <stdlib.h>

static void require(bool ok)
{
    if (!ok)
        __builtin_trap();
}

static void check_head(struct span in, const struct http1_head *h)
{
    require(h->status >= 100 && h->status <= 999);
    require(h->field_count <= HTTP1_FIELDS_MAX);
    for (size_t i = 0; i < h->field_count; i++) {
        struct span name = h->fields[i].name, value = h->fields[i].value;
        require(name.n > 0 && name.p >= in.p && name.p + name.n <= in.p + in.n);
        require(value.n == 0 || (value.p >= in.p && value.p + value.n <= in.p + in.n));
        require(memchr(name.p, '\n', name.n) == NULL && (value.n == 0 || memchr(value.p, '\n', value.n) == NULL));
    }
    require(h->framing != HTTP1_LENGTH || h->content_length <= INT64_MAX);
}

static int run_body(const struct http1_head *h, struct span in, size_t step, struct buf *out, bool *complete)
{
    struct http1_body b;
    struct err err = ERR_INIT;
    http1_body_start(&b, h);
    for (size_t at = 0; at < in.n && !b.complete;) {
        struct span piece = {in.p + at, in.n - at < step ? in.n - at : step};
        at += piece.n;
        while (piece.n > 0 && !b.complete) {
            struct span data;
            size_t before = piece.n;
            if (http1_body_next(&b, &piece, &data, &err) < 0) {
                require(err.kind == ERR_PROTOCOL);
                return -1;
            }
            require(piece.n < before);
            require(data.n <= before);
            buf_add_span(out, data);
        }
    }
    *complete = b.complete;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span in = {(const char *)data, size};
    struct http1_head h;
    struct err err = ERR_INIT;
    struct buf whole, bytes;
    bool whole_complete = false, bytes_complete = false;
    size_t n = http1_head_length(in);
    require(n <= size && n <= HTTP1_HEAD_MAX);
    if (n == 0)
        return 0;
    require(http1_head_length((struct span){in.p, n}) == n);
    if (http1_parse_head(&h, (struct span){in.p, n}, false, &err) < 0) {
        require(err.kind == ERR_PROTOCOL);
        return 0;
    }
    check_head(in, &h);
    struct http1_range r;
    struct span range = http1_get(&h, "content-range");
    if (range.p && http1_parse_content_range(range, &r, &err) == 0)
        require(r.first <= r.last && r.last < r.total);
    buf_init(&whole, size + 1);
    buf_init(&bytes, size + 1);
    struct span body = {in.p + n, size - n};
    int a = run_body(&h, body, SIZE_MAX, &whole, &whole_complete);
    int b = run_body(&h, body, 1, &bytes, &bytes_complete);
    require(a == b && whole_complete == bytes_complete);
    require(whole.n == bytes.n && memcmp(buf_str(&whole), buf_str(&bytes), whole.n) == 0);
    buf_release(&whole);
    buf_release(&bytes);
    return 0;
}
