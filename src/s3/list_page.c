#include "s3/list_page.h"

#include "base/arena.h"
#include "base/clock.h"
#include "s3/xml.h"

#include <stdio.h>

#define NONE UINT32_MAX /* an offset that points nowhere */

/* Strings are offsets into `text`, so that a page of many objects stays small. */
struct entry {
    uint32_t key, etag, class_name;
    uint64_t size;
    int64_t modified_ms;
    bool folder, restored;
};

struct list_page {
    struct xml *xml;
    struct buf text;
    struct entry *entries;
    size_t count, room;
    struct entry open; /* the Contents or CommonPrefixes that is being read */
    bool in_entry, sized;
    bool truncated, url_encoded, whole;
    uint32_t token, marker;
};

static int put_text(struct list_page *p, struct span s, uint32_t *at, struct err *err)
{
    *at = (uint32_t)p->text.n;
    buf_add_span(&p->text, s);
    buf_addc(&p->text, '\0');
    return buf_check(&p->text, "page of a listing", err);
}

static const char *text_at(const struct list_page *p, uint32_t at)
{
    return at == NONE ? NULL : p->text.p + at;
}

static int add_entry(struct list_page *p, struct err *err)
{
    if (p->open.key == NONE)
        return err_set(err, ERR_PROTOCOL, "listing has an object without a key");
    if (!p->open.folder && !p->sized)
        return err_set(err, ERR_PROTOCOL, "listing states no size for '%.256s'", text_at(p, p->open.key));
    if (p->count == LIST_PAGE_OBJECTS_MAX)
        return err_set(err, ERR_PROTOCOL, "page of a listing with more than %d objects", LIST_PAGE_OBJECTS_MAX);
    if (p->count == p->room) {
        size_t room = p->room ? p->room * 2 : 1024;
        struct entry *bigger = reallocarray(p->entries, room, sizeof *bigger);
        if (!bigger)
            return err_nomem(err);
        p->entries = bigger;
        p->room = room;
    }
    p->entries[p->count++] = p->open;
    p->in_entry = false;
    return 0;
}

static int on_open(void *ctx, const char *name, unsigned depth, struct err *err)
{
    struct list_page *p = ctx;
    if (depth == 1 && strcmp(name, "ListBucketResult") != 0)
        return err_set(err, ERR_PROTOCOL, "the answer is a %.64s, not a ListBucketResult", name);
    if (depth != 2)
        return 0;
    bool folder = strcmp(name, "CommonPrefixes") == 0;
    if (folder || strcmp(name, "Contents") == 0) {
        p->open = (struct entry){.key = NONE, .etag = NONE, .class_name = NONE, .folder = folder};
        p->in_entry = true;
        p->sized = false;
    }
    return 0;
}

static int close_in_entry(struct list_page *p, const char *name, struct span text, struct err *err)
{
    if (strcmp(name, p->open.folder ? "Prefix" : "Key") == 0)
        return p->open.key == NONE ? put_text(p, text, &p->open.key, err)
                                   : err_set(err, ERR_PROTOCOL, "listing has an object with two keys");
    if (strcmp(name, "ETag") == 0)
        return text.n ? put_text(p, text, &p->open.etag, err) : 0;
    if (strcmp(name, "StorageClass") == 0)
        return put_text(p, text, &p->open.class_name, err);
    if (strcmp(name, "Size") == 0) {
        struct err bad = ERR_INIT;
        if (span_to_u64(span_trim(text), &p->open.size, &bad) < 0 || p->open.size > INT64_MAX)
            return err_set(err, ERR_PROTOCOL, "listing has a size of '%.*s'", (int)(text.n < 32 ? text.n : 32), text.p);
        p->sized = true;
    }
    if (strcmp(name, "LastModified") == 0) {
        struct err ignored = ERR_INIT; /* a date that can't be read is no date */
        if (time_parse_iso(span_trim(text), &p->open.modified_ms, &ignored) < 0)
            p->open.modified_ms = 0;
    }
    return 0;
}

static int close_in_root(struct list_page *p, const char *name, struct span text, struct err *err)
{
    if (p->in_entry)
        return add_entry(p, err);
    if (strcmp(name, "IsTruncated") == 0)
        p->truncated = span_eq_nocase(span_trim(text), SPAN_LIT("true"));
    else if (strcmp(name, "EncodingType") == 0)
        p->url_encoded = span_eq_nocase(span_trim(text), SPAN_LIT("url"));
    else if (strcmp(name, "NextContinuationToken") == 0 && text.n)
        return put_text(p, text, &p->token, err);
    else if (strcmp(name, "NextMarker") == 0 && text.n)
        return put_text(p, text, &p->marker, err);
    return 0;
}

static int on_close(void *ctx, const char *name, unsigned depth, struct span text, struct err *err)
{
    struct list_page *p = ctx;
    if (depth == 2)
        return close_in_root(p, name, text, err);
    if (depth == 3 && p->in_entry)
        return close_in_entry(p, name, text, err);
    /* Contents/RestoreStatus: a copy of an archived object can be read once it has an expiry date */
    if (depth == 4 && p->in_entry && strcmp(name, "RestoreExpiryDate") == 0)
        p->open.restored = text.n > 0;
    return 0;
}

static const struct xml_events page_events = {on_open, on_close};

struct list_page *list_page_new(struct err *err)
{
    struct list_page *p = calloc(1, sizeof *p);
    if (!p) {
        err_nomem(err);
        return NULL;
    }
    buf_init(&p->text, LIST_PAGE_BYTES_MAX + LIST_PAGE_OBJECTS_MAX);
    if (list_page_reset(p, err) < 0) {
        list_page_free(p);
        return NULL;
    }
    return p;
}

void list_page_free(struct list_page *p)
{
    if (!p)
        return;
    xml_free(p->xml);
    buf_release(&p->text);
    free(p->entries);
    free(p);
}

int list_page_reset(struct list_page *p, struct err *err)
{
    xml_free(p->xml);
    p->xml = xml_open(&page_events, p, LIST_PAGE_BYTES_MAX, err);
    buf_reset(&p->text);
    p->count = 0;
    p->in_entry = p->truncated = p->url_encoded = p->whole = false;
    p->token = p->marker = NONE;
    return p->xml ? 0 : -1;
}

int list_page_feed(struct list_page *p, const void *bytes, size_t n, struct err *err)
{
    return xml_feed(p->xml, bytes, n, err);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int list_decode(char *text, struct err *err)
{
    const char *from = text;
    char *to = text;
    for (; *from; from++) {
        if (*from != '%') {
            *to++ = *from == '+' ? ' ' : *from;
            continue;
        }
        int high = hex_digit(from[1]), low = high < 0 ? -1 : hex_digit(from[2]);
        if (low < 0 || (high | low) == 0)
            return err_set(err, ERR_PROTOCOL, "listing has a badly encoded key near '%.32s'", from);
        *to++ = (char)(high << 4 | low);
        from += 2;
    }
    *to = '\0';
    return 0;
}

int list_page_finish(struct list_page *p, struct err *err)
{
    if (xml_finish(p->xml, err) < 0)
        return -1;
    for (size_t i = 0; p->url_encoded && i < p->count; i++)
        if (list_decode(p->text.p + p->entries[i].key, err) < 0)
            return -1;
    if (p->url_encoded && p->marker != NONE && list_decode(p->text.p + p->marker, err) < 0)
        return -1;
    p->whole = true;
    return 0;
}

size_t list_page_count(const struct list_page *p)
{
    return p->whole ? p->count : 0;
}

static bool archived_class(const char *name)
{
    return name && (strcmp(name, "GLACIER") == 0 || strcmp(name, "DEEP_ARCHIVE") == 0);
}

void list_page_get(const struct list_page *p, size_t i, struct s3_object *out)
{
    const struct entry *e = &p->entries[i];
    const char *class_name = text_at(p, e->class_name);
    *out = (struct s3_object){.key = text_at(p, e->key),
                              .size = e->size,
                              .etag = text_at(p, e->etag),
                              .modified_ms = e->modified_ms,
                              .storage_class = class_name,
                              .archived = archived_class(class_name) && !e->restored,
                              .folder = e->folder};
}

bool list_page_truncated(const struct list_page *p)
{
    return p->truncated;
}

const char *list_page_token(const struct list_page *p)
{
    return text_at(p, p->token);
}

const char *list_page_marker(const struct list_page *p)
{
    const char *last = NULL;
    for (size_t i = 0; i < p->count; i++) {
        const char *key = text_at(p, p->entries[i].key);
        if (!last || strcmp(key, last) > 0)
            last = key;
    }
    return p->marker != NONE ? text_at(p, p->marker) : last;
}
