#include "s3/objects.h"

#include "base/enc.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

/* Records lie in chunks and never cross one. Every RESTART_EVERYth record, and the first of a chunk, has its whole key,
 * so that reading at random starts there. */
#define CHUNK_BYTES   ((size_t)1 << 20)
#define RESTART_EVERY 16
#define ETAG_TEXT_MAX 256
#define RECORD_MAX    (S3_KEY_LENGTH_MAX + ETAG_TEXT_MAX + 64)
#define MD5_BYTES     16

enum etag_form { ETAG_NONE, ETAG_MD5, ETAG_PARTS, ETAG_TEXT };

struct cursor {
    size_t next;       /* record that `at` stands before */
    const uint8_t *at; /* NULL: nowhere */
    char key[S3_KEY_LENGTH_MAX + 1];
    size_t key_n;
    char etag[ETAG_TEXT_MAX + 1];
    uint64_t size;
    int64_t modified_ms;
    bool has_etag;
};

struct s3_objects {
    uint8_t **chunks;
    size_t chunk_count, chunk_room, used; /* `used` bytes of the last chunk */
    struct restart {
        uint32_t first; /* record */
        uint32_t chunk, offset;
    } * restarts;
    size_t restart_count, restart_room;
    size_t count;
    char last_key[S3_KEY_LENGTH_MAX + 1];
    size_t last_n;
    bool unsorted;
    uint32_t *order; /* NULL: as added */
    struct cursor cursor;
};

struct s3_objects *s3_objects_new(struct err *err)
{
    struct s3_objects *o = calloc(1, sizeof *o);
    if (!o)
        err_nomem(err);
    return o;
}

void s3_objects_free(struct s3_objects *o)
{
    if (!o)
        return;
    for (size_t i = 0; i < o->chunk_count; i++)
        free(o->chunks[i]);
    free(o->chunks);
    free(o->restarts);
    free(o->order);
    free(o);
}

size_t s3_objects_count(const struct s3_objects *o)
{
    return o->count;
}

size_t s3_objects_bytes(const struct s3_objects *o)
{
    return sizeof *o + o->chunk_count * CHUNK_BYTES + o->chunk_room * sizeof *o->chunks +
           o->restart_room * sizeof *o->restarts + (o->order ? o->count * sizeof *o->order : 0);
}

/* ---- writing ---- */

static uint8_t *put_varint(uint8_t *to, uint64_t v)
{
    while (v >= 0x80) {
        *to++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *to++ = (uint8_t)v;
    return to;
}

static const uint8_t *get_varint(const uint8_t *from, uint64_t *v)
{
    unsigned shift = 0;
    *v = 0;
    do
        *v |= (uint64_t)(*from & 0x7f) << shift;
    while (shift += 7, *from++ & 0x80);
    return from;
}

/* "0123…cdef" and "0123…cdef-12" with quotes and lower-case digits, which is what S3 writes. */
static enum etag_form etag_form(const char *etag, uint8_t md5[MD5_BYTES], uint64_t *parts)
{
    if (!etag)
        return ETAG_NONE;
    struct span s = span_of(etag);
    struct err ignored = ERR_INIT;
    if (s.n < 34 || s.p[0] != '"' || s.p[s.n - 1] != '"' ||
        hex_decode(md5, MD5_BYTES, (struct span){s.p + 1, 32}, &ignored) < 0)
        return ETAG_TEXT;
    for (size_t i = 1; i <= 32; i++)
        if (isupper((unsigned char)s.p[i]))
            return ETAG_TEXT;
    if (s.n == 34)
        return ETAG_MD5;
    struct span count = {s.p + 34, s.n - 35};
    if (s.p[33] != '-' || count.n == 0 || count.p[0] == '0' || span_to_u64(count, parts, &ignored) < 0)
        return ETAG_TEXT;
    return ETAG_PARTS;
}

static uint8_t *put_etag(uint8_t *to, const char *etag)
{
    uint8_t md5[MD5_BYTES];
    uint64_t parts = 0;
    enum etag_form form = etag_form(etag, md5, &parts);
    *to++ = (uint8_t)form;
    if (form == ETAG_MD5 || form == ETAG_PARTS) {
        memcpy(to, md5, MD5_BYTES);
        to += MD5_BYTES;
    }
    if (form == ETAG_PARTS)
        to = put_varint(to, parts);
    if (form == ETAG_TEXT) {
        struct span text = span_of(etag);
        to = put_varint(to, text.n);
        for (size_t i = 0; i < text.n; i++)
            *to++ = (uint8_t)text.p[i];
    }
    return to;
}

static int grow(void **array, size_t *room, size_t each, size_t first, struct err *err)
{
    size_t wanted = *room ? *room * 2 : first;
    void *bigger = reallocarray(*array, wanted, each);
    if (!bigger)
        return err_nomem(err);
    *array = bigger;
    *room = wanted;
    return 0;
}

static int new_chunk(struct s3_objects *o, struct err *err)
{
    if (o->chunk_count == o->chunk_room && grow((void **)&o->chunks, &o->chunk_room, sizeof *o->chunks, 64, err) < 0)
        return -1;
    uint8_t *chunk = malloc(CHUNK_BYTES);
    if (!chunk)
        return err_nomem(err);
    o->chunks[o->chunk_count++] = chunk;
    o->used = 0;
    return 0;
}

/* Whether the next record begins a run; then it is noted where. */
static int begin_run(struct s3_objects *o, bool *begins, struct err *err)
{
    *begins = false;
    if (o->chunk_count == 0 || o->used + RECORD_MAX > CHUNK_BYTES) {
        if (new_chunk(o, err) < 0)
            return -1;
        *begins = true;
    }
    if (o->restart_count > 0 && o->count - o->restarts[o->restart_count - 1].first >= RESTART_EVERY)
        *begins = true;
    if (!*begins)
        return 0;
    if (o->restart_count == o->restart_room &&
        grow((void **)&o->restarts, &o->restart_room, sizeof *o->restarts, 64, err) < 0)
        return -1;
    o->restarts[o->restart_count++] =
        (struct restart){(uint32_t)o->count, (uint32_t)(o->chunk_count - 1), (uint32_t)o->used};
    return 0;
}

int s3_objects_add(struct s3_objects *o, const struct s3_object *object, struct err *err)
{
    size_t key_n = strlen(object->key);
    if (o->count == S3_OBJECTS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d objects in one source", S3_OBJECTS_MAX);
    if (key_n > S3_KEY_LENGTH_MAX)
        return err_set(err, ERR_PROTOCOL, "key '%.64s…' is longer than %d bytes", object->key, S3_KEY_LENGTH_MAX);
    if (object->etag && strlen(object->etag) > ETAG_TEXT_MAX)
        return err_set(err, ERR_PROTOCOL, "ETag of '%.256s' is longer than %d bytes", object->key, ETAG_TEXT_MAX);
    bool begins;
    if (begin_run(o, &begins, err) < 0)
        return -1;

    if (o->count > 0 && strcmp(o->last_key, object->key) > 0)
        o->unsorted = true;
    size_t shared = 0;
    while (!begins && shared < key_n && shared < o->last_n && o->last_key[shared] == object->key[shared])
        shared++;
    uint8_t *start = o->chunks[o->chunk_count - 1] + o->used, *to = start;
    to = put_varint(to, shared);
    to = put_varint(to, key_n - shared);
    memcpy(to, object->key + shared, key_n - shared);
    to += key_n - shared;
    to = put_varint(to, object->size);
    to = put_varint(to, object->modified_ms > 0 ? (uint64_t)object->modified_ms / 1000 : 0);
    to = put_etag(to, object->etag);
    o->used += (size_t)(to - start);
    memcpy(o->last_key, object->key, key_n + 1);
    o->last_n = key_n;
    o->count++;
    return 0;
}

/* ---- reading ---- */

static const uint8_t *read_etag(struct cursor *c, const uint8_t *at)
{
    enum etag_form form = (enum etag_form) * at++;
    uint64_t n = 0;
    c->has_etag = form != ETAG_NONE;
    if (form == ETAG_MD5 || form == ETAG_PARTS) {
        c->etag[0] = '"';
        hex_encode(c->etag + 1, at, MD5_BYTES);
        memcpy(c->etag + 1 + 2 * MD5_BYTES, "\"", 2);
        at += MD5_BYTES;
        if (form == ETAG_PARTS) {
            at = get_varint(at, &n);
            snprintf(c->etag + 1 + 2 * MD5_BYTES, ETAG_TEXT_MAX - 2 * MD5_BYTES, "-%llu\"", (unsigned long long)n);
        }
    } else if (form == ETAG_TEXT) {
        at = get_varint(at, &n);
        memcpy(c->etag, at, n);
        c->etag[n] = '\0';
        at += n;
    }
    return at;
}

static void read_record(struct cursor *c)
{
    uint64_t shared, rest, seconds;
    const uint8_t *at = get_varint(c->at, &shared);
    at = get_varint(at, &rest);
    memcpy(c->key + shared, at, rest);
    c->key_n = shared + rest;
    c->key[c->key_n] = '\0';
    at = get_varint(at + rest, &c->size);
    at = get_varint(at, &seconds);
    c->modified_ms = (int64_t)seconds * 1000;
    c->at = read_etag(c, at);
    c->next++;
}

/* The last run that begins at or before `record`. */
static size_t run_of(const struct s3_objects *o, size_t record)
{
    size_t low = 0, high = o->restart_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (o->restarts[middle].first <= record)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static void seek(const struct s3_objects *o, struct cursor *c, size_t record)
{
    if (c->at && c->next == record + 1)
        return; /* it holds it */
    size_t run = run_of(o, record);
    const struct restart *r = &o->restarts[run];
    if (!c->at || record < c->next || r->first >= c->next) {
        c->next = r->first;
        c->at = o->chunks[r->chunk] + r->offset;
    }
    while (c->next <= record)
        read_record(c);
}

void s3_objects_get(struct s3_objects *o, size_t i, struct s3_object *out)
{
    struct cursor *c = &o->cursor;
    seek(o, c, o->order ? o->order[i] : i);
    *out = (struct s3_object){
        .key = c->key, .size = c->size, .etag = c->has_etag ? c->etag : NULL, .modified_ms = c->modified_ms};
}

/* ---- sorting ---- */

struct sorting {
    const struct s3_objects *objects;
    struct cursor a, b;
};

static int by_key(const void *pa, const void *pb, void *ctx)
{
    struct sorting *s = ctx;
    uint32_t a = *(const uint32_t *)pa, b = *(const uint32_t *)pb;
    seek(s->objects, &s->a, a);
    seek(s->objects, &s->b, b);
    int d = strcmp(s->a.key, s->b.key);
    return d ? d : (a > b) - (a < b);
}

int s3_objects_sort(struct s3_objects *o, struct err *err)
{
    if (!o->unsorted)
        return 0;
    o->order = reallocarray(NULL, o->count, sizeof *o->order);
    struct sorting *s = calloc(1, sizeof *s);
    if (!o->order || !s) {
        free(s);
        return err_nomem(err);
    }
    s->objects = o;
    for (size_t i = 0; i < o->count; i++)
        o->order[i] = (uint32_t)i;
    qsort_r(o->order, o->count, sizeof *o->order, by_key, s);
    free(s);
    return 0;
}
