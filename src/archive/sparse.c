#include "archive/sparse_priv.h"

#include <errno.h>
#include <unistd.h>

#define STAT_BLOCK 512 /* what st_blocks counts in */

uint64_t extents_bytes(const struct extents *x)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < x->n; i++)
        bytes += x->v[i].size;
    return bytes;
}

void extents_release(struct extents *x)
{
    free(x->v);
    *x = (struct extents){0};
}

static int add(struct extents *x, uint64_t offset, uint64_t size, struct err *err)
{
    if (x->n == x->capacity) {
        size_t more = x->capacity ? 2 * x->capacity : 16;
        struct tar_extent *v = reallocarray(x->v, more, sizeof *v);
        if (!v)
            return err_nomem(err);
        x->v = v;
        x->capacity = more;
    }
    x->v[x->n++] = (struct tar_extent){offset, size};
    return 0;
}

/* A piece of data, joined to the one before where the hole between them is small. */
static int add_data(struct extents *x, uint64_t from, uint64_t to, struct err *err)
{
    struct tar_extent *last = x->n ? &x->v[x->n - 1] : NULL;
    uint64_t end = last ? last->offset + last->size : 0;
    if (from - end >= SPARSE_HOLE_MIN)
        return add(x, from, to - from, err);
    if (!last)
        return add(x, 0, to, err);
    last->size = to - last->offset;
    return 0;
}

/* The file's end: data up to it where the last hole is small, else an empty piece that says where it is. */
static int add_end(struct extents *x, uint64_t size, struct err *err)
{
    uint64_t end = x->n ? x->v[x->n - 1].offset + x->v[x->n - 1].size : 0;
    if (size - end >= SPARSE_HOLE_MIN)
        return add(x, size, 0, err);
    return end < size ? add_data(x, end, size, err) : 0;
}

static int look(struct extents *x, int fd, uint64_t size, struct err *err)
{
    for (uint64_t at = 0; at < size;) {
        off_t from = lseek(fd, (off_t)at, SEEK_DATA);
        if (from < 0 && errno == ENXIO)
            break; /* a hole up to the end */
        off_t to = from < 0 ? -1 : lseek(fd, from, SEEK_HOLE);
        bool known = to > from;
        if (known && (uint64_t)from >= size)
            break;
        if (!known || x->n + 2 >= TAR_EXTENTS_MAX)
            return add_data(x, known ? (uint64_t)from : at, size, err); /* all the rest as data */
        at = (uint64_t)to < size ? (uint64_t)to : size;
        if (add_data(x, (uint64_t)from, at, err) < 0)
            return -1;
    }
    return add_end(x, size, err);
}

int extents_find(struct extents *x, int fd, const struct stat *st, bool *sparse, struct err *err)
{
    uint64_t size = (uint64_t)st->st_size;
    x->n = 0;
    *sparse = false;
    if ((uint64_t)st->st_blocks >= size / STAT_BLOCK || size < SPARSE_HOLE_MIN)
        return add(x, 0, size, err);
    if (look(x, fd, size, err) < 0)
        return -1;
    *sparse = x->n > 1 || x->v[0].size < size;
    return 0;
}
