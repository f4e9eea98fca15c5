/* Which pieces of a sparse file are stored: GNU tar's four forms (its manual, "Storing Sparse Files"). */
#include "archive/tar_priv.h"

#include <string.h>

/* Old GNU headers: pairs of offset and size, a flag that more follow, the file's size. */
enum {
    PAIRS_AT = 386,
    PAIRS_N = 4,
    MORE_AT = 482,
    REAL_SIZE_AT = 483,
    NUMBER_N = 12,
    NEXT_PAIRS_N = 21, /* in blocks of their own, from their beginning */
    NEXT_MORE_AT = 504,
};

#define FIRST_EXTENTS ((size_t)16)
#define DIGITS_MAX    20 /* of a number in a map */

static int bad_map(struct err *err)
{
    return err_set(err, ERR_CORRUPT, "the map of a sparse file in the tar archive is damaged");
}

int tar_extent_add(struct tar *t, uint64_t offset, uint64_t size, struct err *err)
{
    if (t->extents.n == TAR_EXTENTS_MAX)
        return err_set(err, ERR_LIMIT, "a sparse file in the tar archive has more than %zu pieces", TAR_EXTENTS_MAX);
    if (t->extents.n == t->extents.capacity) {
        size_t capacity = t->extents.capacity ? t->extents.capacity * 2 : FIRST_EXTENTS;
        struct tar_extent *v = reallocarray(t->extents.v, capacity, sizeof(*v));
        if (!v)
            return err_nomem(err);
        t->extents.v = v;
        t->extents.capacity = capacity;
    }
    t->extents.v[t->extents.n++] = (struct tar_extent){offset, size};
    return 0;
}

/* In order, apart, within the file, and together as much as is stored. */
int tar_sparse_check(const struct tar *t, uint64_t real_size, struct err *err)
{
    uint64_t end = 0, stored = 0;
    for (size_t i = 0; i < t->extents.n; i++) {
        const struct tar_extent *e = &t->extents.v[i];
        if (e->offset < end || e->offset > real_size || e->size > real_size - e->offset)
            return bad_map(err);
        end = e->offset + e->size;
        stored += e->size;
    }
    return stored == t->stored_left ? 0 : bad_map(err);
}

/* 1: all pairs are used, so more may follow; 0: the list ended among them. */
static int add_pairs(struct tar *t, const uint8_t *p, unsigned pairs, struct err *err)
{
    for (unsigned i = 0; i < pairs; i++, p += (size_t)2 * NUMBER_N) {
        int64_t offset, size;
        if (p[0] == 0 || p[NUMBER_N] == 0)
            return 0;
        if (tar_number(p, NUMBER_N, &offset) < 0 || tar_number(p + NUMBER_N, NUMBER_N, &size) < 0 || offset < 0 ||
            size < 0)
            return bad_map(err);
        if (tar_extent_add(t, (uint64_t)offset, (uint64_t)size, err) < 0)
            return -1;
    }
    return 1;
}

int tar_sparse_old_gnu(struct tar *t, const uint8_t *header, uint64_t *real_size, struct err *err)
{
    int64_t size;
    if (tar_number(header + REAL_SIZE_AT, NUMBER_N, &size) < 0 || size < 0)
        return bad_map(err);
    *real_size = (uint64_t)size;
    if (add_pairs(t, header + PAIRS_AT, PAIRS_N, err) < 0)
        return -1;
    for (bool more = header[MORE_AT];
         more;) { /* ends at TAR_EXTENTS_MAX at the latest: a block without pairs is the last */
        const uint8_t *block = tar_block(t, err);
        if (!block)
            return -1;
        int rc = add_pairs(t, block, NEXT_PAIRS_N, err);
        if (rc < 0)
            return -1;
        more = rc == 1 && block[NEXT_MORE_AT];
    }
    return 0;
}

int tar_sparse_map(struct tar *t, struct span map, struct err *err)
{
    struct err why = ERR_INIT;
    bool more = map.n > 0;
    t->extents.n = 0;
    while (more) {
        struct span offset_text, size_text;
        uint64_t offset = 0, size = 0;
        if (!span_cut(map, ',', &offset_text, &map))
            return bad_map(err);
        more = span_cut(map, ',', &size_text, &map);
        if (span_to_u64(offset_text, &offset, &why) < 0 || span_to_u64(size_text, &size, &why) < 0)
            return bad_map(err);
        if (tar_extent_add(t, offset, size, err) < 0)
            return -1;
    }
    return 0;
}

/* Decimal lines in the first blocks of the content. */
struct lines {
    const uint8_t *p; /* the rest of the block */
    size_t n;
};

static int next_number(struct tar *t, struct lines *in, uint64_t *out, struct err *err)
{
    uint64_t v = 0;
    for (unsigned digits = 0; digits <= DIGITS_MAX; digits++) {
        if (in->n == 0) {
            if (t->stored_left < TAR_BLOCK)
                return bad_map(err);
            in->p = tar_block(t, err);
            if (!in->p)
                return -1;
            in->n = TAR_BLOCK;
            t->stored_left -= TAR_BLOCK;
        }
        const uint8_t c = *in->p++;
        in->n--;
        if (c == '\n' && digits) {
            *out = v;
            return 0;
        }
        if (c < '0' || c > '9' || __builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(c - '0'), &v))
            break;
    }
    return bad_map(err);
}

int tar_sparse_1_0(struct tar *t, struct err *err)
{
    struct lines in = {0};
    uint64_t pieces = 0;
    t->extents.n = 0;
    if (next_number(t, &in, &pieces, err) < 0)
        return -1;
    for (; pieces; pieces--) {
        uint64_t offset = 0, size = 0;
        if (next_number(t, &in, &offset, err) < 0 || next_number(t, &in, &size, err) < 0 ||
            tar_extent_add(t, offset, size, err) < 0)
            return -1;
    }
    return 0;
}
