/* Whatever a job file says, requests go to a host that it names, or to Amazon's for s3:// and for regions; and the path
 * of a bucket can't be left by its name. Input: url, bucket, key, endpoint, region, each ended by a newline. */
#include "s3/fault.h"
#include "s3/place.h"

#include <stdlib.h>

#define MUST(x)                                                                                                        \
    do {                                                                                                               \
        if (!(x))                                                                                                      \
            abort();                                                                                                   \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *take_line(struct arena *a, struct span *rest)
{
    struct span line;
    span_cut(*rest, '\n', &line, rest);
    return line.n ? arena_dup_span(a, line) : NULL;
}

static void check_place(struct arena *a, const struct s3_place *p, const char *region)
{
    struct err err = ERR_INIT;
    struct url front;
    AUTO_BUF text;
    buf_init(&text, URL_LENGTH_MAX * 2);
    place_front(p, region, &text);
    MUST(text.state == BUF_OK && text.n > 0 && text.p[text.n - 1] != '/');
    for (size_t i = 0; i < text.n; i++)
        MUST((unsigned char)text.p[i] > ' ' && (unsigned char)text.p[i] < 0x7f && text.p[i] != '?' && text.p[i] != '#');
    /* A virtual bucket may make a host that no URL can hold; then no request is made. */
    if (url_parse(a, buf_span(&text), &front, &err) == 0) {
        bool same = span_ends(span_of(front.host), span_of(p->endpoint.host));
        MUST(same || (p->service == S3_SERVICE_AWS && s3_host_is_amazon(front.host)));
        MUST(str_eq(front.scheme, p->endpoint.scheme));
    } else {
        MUST(p->style == S3_STYLE_VIRTUAL);
    }
    MUST(p->key && p->bucket);
    MUST((p->style == S3_STYLE_PATH || p->style == S3_STYLE_VIRTUAL) == (p->bucket[0] != '\0'));
    MUST(!strchr(p->bucket, '/') && strcmp(p->bucket, "..") != 0 && strcmp(p->bucket, ".") != 0);
    MUST((p->style == S3_STYLE_PLAIN) == (p->plain_url != NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = ERR_INIT;
    struct arena *a = arena_new(0, &err);
    MUST(a);
    struct span rest = {(const char *)data, size};
    struct source_s3 src = {.url = take_line(a, &rest)};
    src.bucket = take_line(a, &rest);
    src.key = take_line(a, &rest);
    src.endpoint = take_line(a, &rest);
    const char *region = take_line(a, &rest);
    if (!region || !fault_region_valid(region))
        region = "us-east-1";
    const struct place_opts opts = {.addressing = (enum s3_addressing)(size % 3), .region = region};
    struct s3_places places;
    if (place_find(a, &src, &opts, &places, &err) == 0) {
        MUST(places.n >= 1 && places.n <= S3_PLACES_MAX);
        for (size_t i = 0; i < places.n; i++)
            check_place(a, &places.v[i], region);
    } else {
        MUST(err_is_set(&err));
    }
    arena_free(a);
    return 0;
}
