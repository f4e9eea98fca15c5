#include "s3/upload_priv.h"

#include "base/clock.h"
#include "base/enc.h"
#include "s3/xml.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#define MD5_BYTES        16
#define PARTS_ROOM_FIRST 64

/* ---- parts ---- */

int upload_parts_add(struct upload_parts *parts, unsigned *number, struct err *err)
{
    if (parts->n == parts->room) {
        size_t room = parts->room ? 2 * parts->room : PARTS_ROOM_FIRST;
        struct upload_part *v = reallocarray(parts->v, room, sizeof *v);
        if (!v)
            return err_nomem(err);
        parts->v = v;
        parts->room = room;
    }
    *number = (unsigned)++parts->n;
    return 0;
}

/* ---- one element of a small answer ---- */

struct pick {
    const char *root, *name;
    char *out; /* "" where it is absent or empty */
    size_t room;
};

static int pick_open(void *ctx, const char *name, unsigned depth, struct err *err)
{
    const struct pick *p = ctx;
    if (depth > 1 || strcmp(name, p->root) == 0)
        return 0;
    return err_set(err, ERR_PROTOCOL, "the answer is no %s", p->root);
}

static int pick_close(void *ctx, const char *name, unsigned depth, struct span text, struct err *err)
{
    struct pick *p = ctx;
    struct span value = span_trim(text);
    if (depth != 2 || strcmp(name, p->name) != 0)
        return 0;
    if (value.n >= p->room)
        return err_set(err, ERR_PROTOCOL, "the answer's %s is too long", p->name);
    memcpy(p->out, value.p, value.n);
    p->out[value.n] = '\0';
    return 0;
}

static int parse(const struct xml_events *events, void *ctx, struct span body, struct err *err)
{
    struct xml *x = xml_open(events, ctx, UPLOAD_ANSWER_MAX, err);
    if (!x)
        return -1;
    int rc = xml_feed(x, body.p, body.n, err);
    if (rc == 0)
        rc = xml_finish(x, err);
    xml_free(x);
    return rc;
}

static int pick(struct span body, struct pick *p, struct err *err)
{
    static const struct xml_events events = {.open = pick_open, .close = pick_close};
    p->out[0] = '\0';
    return parse(&events, p, body, err);
}

int upload_answer_created(struct span body, char id[S3_UPLOAD_ID_MAX], struct err *err)
{
    struct pick p = {.root = "InitiateMultipartUploadResult", .name = "UploadId", .out = id, .room = S3_UPLOAD_ID_MAX};
    if (pick(body, &p, err) < 0)
        return -1;
    return id[0] ? 0 : err_set(err, ERR_PROTOCOL, "the answer has no UploadId");
}

int upload_answer_etag(struct span body, char etag[ETAG_MAX], struct err *err)
{
    struct pick p = {.root = "CompleteMultipartUploadResult", .name = "ETag", .out = etag, .room = ETAG_MAX};
    return pick(body, &p, err);
}

/* ---- pages of unfinished uploads ---- */

struct reading {
    struct upload_page *page;
    struct buf key, id;
    int64_t begun_ms;
    int (*each)(void *ctx, const struct s3_unfinished *upload, struct err *err);
    void *ctx;
    int stopped;
};

static void keep(struct buf *to, struct span text)
{
    buf_reset(to);
    buf_add_span(to, text);
}

static int end_upload(struct reading *r, struct err *err)
{
    if (buf_check(&r->key, "key", err) < 0 || buf_check(&r->id, "upload id", err) < 0)
        return -1;
    if (r->key.n == 0 || r->id.n == 0)
        return err_set(err, ERR_PROTOCOL, "the listing has an upload without key or id");
    const struct s3_unfinished u = {buf_str(&r->key), buf_str(&r->id), r->begun_ms};
    r->stopped = r->each(r->ctx, &u, err);
    buf_reset(&r->key);
    buf_reset(&r->id);
    r->begun_ms = 0;
    return r->stopped;
}

static int in_upload(struct reading *r, const char *name, struct span text)
{
    struct err ignored = ERR_INIT;
    if (strcmp(name, "Key") == 0)
        keep(&r->key, text);
    else if (strcmp(name, "UploadId") == 0)
        keep(&r->id, span_trim(text));
    else if (strcmp(name, "Initiated") == 0 && time_parse_iso(span_trim(text), &r->begun_ms, &ignored) < 0)
        r->begun_ms = 0;
    return 0;
}

static int page_close(void *ctx, const char *name, unsigned depth, struct span text, struct err *err)
{
    struct reading *r = ctx;
    if (depth == 3)
        return in_upload(r, name, text);
    if (depth != 2)
        return 0;
    if (strcmp(name, "Upload") == 0)
        return end_upload(r, err);
    if (strcmp(name, "IsTruncated") == 0)
        r->page->more = span_eq(span_trim(text), SPAN_LIT("true"));
    else if (strcmp(name, "NextKeyMarker") == 0)
        keep(&r->page->next_key, text);
    else if (strcmp(name, "NextUploadIdMarker") == 0)
        keep(&r->page->next_id, span_trim(text));
    return 0;
}

int upload_answer_page(struct span body, struct upload_page *page,
                       int (*each)(void *ctx, const struct s3_unfinished *upload, struct err *err), void *ctx,
                       struct err *err)
{
    static const struct xml_events events = {.close = page_close};
    struct reading r = {.page = page, .each = each, .ctx = ctx};
    buf_init(&r.key, XML_TEXT_MAX);
    buf_init(&r.id, S3_UPLOAD_ID_MAX);
    page->more = false;
    int rc = parse(&events, &r, body, err);
    buf_release(&r.key);
    buf_release(&r.id);
    return r.stopped ? r.stopped : rc;
}

/* ---- parts ---- */

static void add_escaped(struct buf *out, const char *text)
{
    for (; *text; text++)
        switch (*text) {
        case '&':
            buf_adds(out, "&amp;");
            break;
        case '<':
            buf_adds(out, "&lt;");
            break;
        case '>':
            buf_adds(out, "&gt;");
            break;
        case '"':
            buf_adds(out, "&quot;");
            break;
        default:
            buf_addc(out, *text);
        }
}

void upload_write_parts(const struct upload_part *parts, size_t n, struct buf *out)
{
    buf_adds(out, "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for (size_t i = 0; i < n; i++) {
        buf_addf(out, "<Part><PartNumber>%zu</PartNumber><ETag>", i + 1);
        add_escaped(out, parts[i].etag);
        buf_adds(out, "</ETag>");
        if (parts[i].crc32c[0])
            buf_addf(out, "<ChecksumCRC32C>%s</ChecksumCRC32C>", parts[i].crc32c);
        buf_adds(out, "</Part>");
    }
    buf_adds(out, "</CompleteMultipartUpload>");
}

/* The 32 digits of an ETag, with or without its quotes. */
static bool etag_digits(const char *etag, uint8_t out[MD5_BYTES])
{
    struct err ignored = ERR_INIT;
    struct span s = span_of(etag);
    if (s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"')
        s = (struct span){s.p + 1, s.n - 2};
    return hex_decode(out, MD5_BYTES, s, &ignored) == 0;
}

int upload_expected_etag(const struct upload_part *parts, size_t n, char out[ETAG_MAX], struct err *err)
{
    struct digest *d = NULL;
    struct digest_value v;
    uint8_t md5[MD5_BYTES];
    char hex[DIGEST_HEX_MAX];
    out[0] = '\0';
    if (digest_open(&d, BIT(DIGEST_MD5), err) < 0)
        return -1;
    int rc = 0;
    bool all = true;
    for (size_t i = 0; rc == 0 && all && i < n; i++) {
        all = etag_digits(parts[i].etag, md5);
        rc = all ? digest_update(d, md5, sizeof md5, err) : 0;
    }
    if (rc == 0 && all && (rc = digest_final(d, DIGEST_MD5, &v, err)) == 0)
        snprintf(out, ETAG_MAX, "%s-%zu", digest_hex(hex, &v), n);
    digest_free(d);
    return rc;
}
