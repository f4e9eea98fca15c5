#include "market/hold.h"

#include "base/buf.h"
#include "digest/digest.h"

#include <stdlib.h>

#define HOLD_TEXT_MAX (4u << 20)

static void add(struct buf *b, const char *s)
{
    buf_addc(b, '|');
    buf_adds(b, s ? s : "");
}

/* A signed URL changes with every signing: what stands before its query is the place. */
static void add_url(struct buf *b, const char *url, bool signed_url)
{
    struct span all = span_of(url), place = all, query;
    if (signed_url)
        span_cut(all, '?', &place, &query);
    buf_addc(b, '|');
    buf_add_span(b, place);
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int add_files(struct buf *b, const struct job_strs *files, struct err *err)
{
    const char **sorted = calloc(files->n + 1, sizeof(*sorted));
    if (!sorted)
        return err_nomem(err);
    for (size_t i = 0; i < files->n; i++)
        sorted[i] = files->v[i];
    qsort((void *)sorted, files->n, sizeof(*sorted), compare);
    buf_addc(b, '|');
    for (size_t i = 0; i < files->n; i++)
        buf_addf(b, "%s\n", sorted[i]);
    free((void *)sorted);
    return 0;
}

static int add_s3(struct buf *b, const struct source_s3 *s, struct err *err)
{
    if (s->url) {
        add_url(b, s->url, true);
    } else {
        add(b, s->endpoint);
        buf_addf(b, "/%s/%s%s", s->bucket ? s->bucket : "", s->key ? s->key : "", s->exact_key ? "!" : "");
    }
    add(b, s->version_id ? s->version_id : s->checksum_sha256);
    if (add_files(b, &s->files, err) < 0)
        return -1;
    const struct partition *p = &s->partition;
    add(b, s->filter);
    if (p->kind != PARTITION_NONE)
        buf_addf(b, "|%d,%u,%u,%s,%s", (int)p->kind, p->start, p->end, p->pattern ? p->pattern : "",
                 p->date_format ? p->date_format : "");
    return 0;
}

static int describe(const struct input *in, struct buf *b, struct err *err)
{
    static const char *const kinds[] = {
#define X(name, word) word,
        SOURCE_KINDS(X)
#undef X
    };
    buf_adds(b, kinds[in->kind]);
    switch (in->kind) {
    case SOURCE_S3:
        return add_s3(b, &in->s3, err);
    case SOURCE_HF:
        add(b, in->hf.repo);
        add(b, in->hf.revision ? in->hf.revision : "main");
        if (in->hf.hub_layout)
            buf_adds(b, "|hub");
        return add_files(b, &in->hf.files, err);
    case SOURCE_OLLAMA:
        add(b, in->ollama.model);
        return 0;
    case SOURCE_URL:
    case SOURCE_PRESIGNED:
        add_url(b, in->url.url, in->url.presigned);
        return 0;
    case SOURCE_LOCAL:
        break;
    }
    return 0;
}

int hold_key(const struct input *in, char out[HOLD_KEY_MAX], struct err *err)
{
    AUTO_BUF b;
    struct digest_value value;
    buf_init(&b, HOLD_TEXT_MAX);
    if (in->kind == SOURCE_LOCAL)
        return 0;
    if (describe(in, &b, err) < 0 || buf_check(&b, "an input", err) < 0 ||
        digest_bytes(DIGEST_SHA256, b.p, b.n, &value, err) < 0)
        return -1;
    digest_hex(out, &value);
    return 1;
}
