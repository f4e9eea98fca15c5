#include "archive/tar_priv.h"

#include <string.h>

#define READ_BYTES ((size_t)128 << 10)

/* Where the fields of a header block lie (POSIX.1-2001, ustar interchange format). */
enum {
    NAME_AT = 0,
    NAME_N = 100,
    MODE_AT = 100,
    SIZE_AT = 124,
    MTIME_AT = 136,
    CHECKSUM_AT = 148,
    TYPE_AT = 156,
    LINK_AT = 157,
    MAGIC_AT = 257,
    PREFIX_AT = 345,
    PREFIX_N = 155,
    SHORT_N = 8, /* mode, checksum */
    LONG_N = 12, /* size, mtime */
};

int tar_init(struct tar *t, struct stream *stream, struct err *err)
{
    *t = (struct tar){.stream = stream};
    buf_init(&t->pax.path, TAR_SPECIAL_MAX);
    buf_init(&t->pax.link, TAR_SPECIAL_MAX);
    buf_init(&t->pax.sparse_name, TAR_SPECIAL_MAX);
    buf_init(&t->name, TAR_SPECIAL_MAX);
    buf_init(&t->link, TAR_SPECIAL_MAX);
    buf_init(&t->special, TAR_SPECIAL_MAX);
    t->block = malloc(READ_BYTES);
    return t->block ? 0 : err_nomem(err);
}

void tar_release(struct tar *t)
{
    buf_release(&t->pax.path);
    buf_release(&t->pax.link);
    buf_release(&t->pax.sparse_name);
    buf_release(&t->name);
    buf_release(&t->link);
    buf_release(&t->special);
    free(t->extents.v);
    free(t->block);
    *t = (struct tar){0};
}

int tar_cut_short(struct err *err)
{
    return err_set(err, ERR_CORRUPT, "the tar archive is cut short");
}

/* 1: at least one byte is there, 0: the stream has ended. */
static int fill(struct tar *t, struct err *err)
{
    if (t->at < t->n)
        return 1;
    int64_t n = stream_read(t->stream, t->block, READ_BYTES, err);
    if (n < 0)
        return -1;
    t->at = 0;
    t->n = (size_t)n;
    return n > 0;
}

const uint8_t *tar_block(struct tar *t, struct err *err)
{
    if (t->n - t->at < TAR_BLOCK) { /* move what is there to the front, and add to it */
        memmove(t->block, t->block + t->at, t->n - t->at);
        t->n -= t->at;
        t->at = 0;
    }
    while (t->n - t->at < TAR_BLOCK) {
        int64_t n = stream_read(t->stream, t->block + t->n, READ_BYTES - t->n, err);
        if (n <= 0) {
            if (n == 0)
                tar_cut_short(err);
            return NULL;
        }
        t->n += (size_t)n;
    }
    const uint8_t *p = t->block + t->at;
    t->at += TAR_BLOCK;
    return p;
}

static int skip(struct tar *t, uint64_t bytes, struct err *err)
{
    while (bytes) {
        int rc = fill(t, err);
        if (rc <= 0)
            return rc < 0 ? -1 : tar_cut_short(err);
        uint64_t n = t->n - t->at < bytes ? t->n - t->at : bytes;
        t->at += (size_t)n;
        bytes -= n;
    }
    return 0;
}

static uint64_t padding_of(uint64_t size)
{
    return (TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK;
}

/* What follows a special header, into t->special. */
static int read_special(struct tar *t, uint64_t size, struct err *err)
{
    buf_reset(&t->special);
    if (size > TAR_SPECIAL_MAX)
        return err_set(err, ERR_LIMIT, "a name or an attribute in the tar archive is too long");
    for (uint64_t left = size; left;) {
        int rc = fill(t, err);
        if (rc <= 0)
            return rc < 0 ? -1 : tar_cut_short(err);
        size_t n = t->n - t->at < left ? t->n - t->at : (size_t)left;
        buf_add(&t->special, t->block + t->at, n);
        t->at += n;
        left -= n;
    }
    if (buf_check(&t->special, "a header of the tar archive", err) < 0)
        return -1;
    return skip(t, padding_of(size), err);
}

static int base_256(const uint8_t *field, size_t n, int64_t *out)
{
    uint64_t v = field[0] & 0x40 ? UINT64_MAX : 0; /* the sign, below the bit that marks this form */
    v = v << 6 | (field[0] & 0x3f);
    for (size_t i = 1; i < n; i++) {
        if ((int64_t)v > INT64_MAX >> 8 || (int64_t)v < INT64_MIN >> 8)
            return -1;
        v = v << 8 | field[i];
    }
    *out = (int64_t)v;
    return 0;
}

int tar_number(const uint8_t *field, size_t n, int64_t *out)
{
    if (field[0] & 0x80)
        return base_256(field, n, out);
    size_t i = 0;
    int64_t v = 0;
    while (i < n && field[i] == ' ')
        i++;
    for (; i < n && field[i] >= '0' && field[i] <= '7'; i++) /* at most 12 digits: 36 bits */
        v = v << 3 | (field[i] - '0');
    for (; i < n; i++)
        if (field[i] != ' ' && field[i] != '\0')
            return -1;
    *out = v;
    return 0;
}

/* Historic tars added the bytes up as signed ones. */
static bool checksum_fits(const uint8_t *h)
{
    int64_t stated, sum = 0, signed_sum = 0;
    for (size_t i = 0; i < TAR_BLOCK; i++) {
        uint8_t byte = i >= CHECKSUM_AT && i < CHECKSUM_AT + SHORT_N ? ' ' : h[i];
        sum += byte;
        signed_sum += (int8_t)byte;
    }
    return tar_number(h + CHECKSUM_AT, SHORT_N, &stated) == 0 && (stated == sum || stated == signed_sum);
}

static bool all_zero(const uint8_t *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* The stream is read to its end, for gzip's last checksum. */
static int read_padding(struct tar *t, struct err *err)
{
    uint64_t left = TAR_PADDING_MAX;
    int rc;
    while ((rc = fill(t, err)) > 0) {
        size_t n = t->n - t->at;
        if (n > left || !all_zero(t->block + t->at, n)) {
            err_set(err, ERR_UNSUPPORTED, "more bytes follow the end of the tar archive");
            return err_hint(err, "archives that were appended to one another must be unpacked one by one");
        }
        left -= n;
        t->at = t->n;
    }
    return rc;
}

static struct span field_text(const uint8_t *field, size_t n)
{
    return (struct span){(const char *)field, strnlen((const char *)field, n)};
}

/* The name and link of the header itself, where no long one came before. */
static int take_short_names(struct tar *t, const uint8_t *h, struct err *err)
{
    if (!t->long_name) {
        buf_reset(&t->name);
        struct span prefix = field_text(h + PREFIX_AT, PREFIX_N);
        if (memcmp(h + MAGIC_AT, "ustar", 6) == 0 && prefix.n) { /* with its NUL: GNU has other things there */
            buf_add_span(&t->name, prefix);
            buf_addc(&t->name, '/');
        }
        buf_add_span(&t->name, field_text(h + NAME_AT, NAME_N));
    }
    if (!t->long_link) {
        buf_reset(&t->link);
        buf_add_span(&t->link, field_text(h + LINK_AT, NAME_N));
    }
    return buf_check(&t->name, "a name", err) < 0 || buf_check(&t->link, "a link", err) < 0 ? -1 : 0;
}

static void set_type(struct tar_entry *e, uint8_t type)
{
    e->type = TAR_ODD;
    switch (type) {
    case '0':
    case '\0': /* before POSIX a folder was told by its slash alone */
        e->type = span_ends(e->name, SPAN_LIT("/")) ? TAR_FOLDER : TAR_FILE;
        break;
    case '7': /* "contiguous" */
    case 'S': /* sparse, as old GNU tar has it */
        e->type = TAR_FILE;
        break;
    case '1':
        e->type = TAR_HARD_LINK;
        break;
    case '2':
        e->type = TAR_SYMLINK;
        break;
    case '3':
    case '4':
        e->odd = "is a device";
        break;
    case '5':
    case 'D': /* GNU: a folder, and a list of names as its content */
        e->type = TAR_FOLDER;
        break;
    case '6':
        e->odd = "is a FIFO";
        break;
    default:
        e->odd = "is of an unknown type";
        break;
    }
}

/* Links, devices, folders and FIFOs have no content, whatever size they state. */
static bool has_content(uint8_t type)
{
    return type < '1' || type > '6';
}

static int set_extents(struct tar *t, const uint8_t *h, struct tar_entry *e, struct err *err)
{
    const bool old_gnu = h[TYPE_AT] == 'S';
    if (!old_gnu && !t->pax.sparse)
        return tar_extent_add(t, 0, e->size, err);
    if (old_gnu) {
        if (tar_sparse_old_gnu(t, h, &e->size, err) < 0)
            return -1;
    } else {
        if (!t->pax.has_real_size)
            return err_set(err, ERR_CORRUPT, "a sparse file in the tar archive does not state its size");
        e->size = t->pax.real_size;
        if (t->pax.major == 1 && t->pax.minor == 0 && tar_sparse_1_0(t, err) < 0)
            return -1;
    }
    return tar_sparse_check(t, e->size, err);
}

static int make_entry(struct tar *t, const uint8_t *h, uint64_t size, struct tar_entry *e, struct err *err)
{
    const struct tar_pax *pax = &t->pax;
    int64_t mode, mtime;
    *e = (struct tar_entry){0};
    if (tar_number(h + MODE_AT, SHORT_N, &mode) < 0 || tar_number(h + MTIME_AT, LONG_N, &mtime) < 0)
        return err_set(err, ERR_CORRUPT, "a header of the tar archive has a number that is none");
    if (take_short_names(t, h, err) < 0)
        return -1;
    e->name = buf_span(pax->sparse_name_set ? &pax->sparse_name : pax->has_path ? &pax->path : &t->name);
    e->link = buf_span(pax->has_link ? &pax->link : &t->link);
    e->mode = (mode_t)mode & 07777;
    e->mtime = pax->has_mtime ? pax->mtime : (struct timespec){.tv_sec = (time_t)mtime};
    set_type(e, h[TYPE_AT]);

    t->stored_left = has_content(h[TYPE_AT]) ? (pax->has_size ? pax->size : size) : 0;
    t->padding = padding_of(t->stored_left);
    e->size = t->stored_left;
    return e->type == TAR_FILE ? set_extents(t, h, e, err) : 0;
}

/* 1: the header was about what follows, 0: it is an entry's own. */
static int read_special_header(struct tar *t, uint8_t type, uint64_t size, struct err *err)
{
    struct buf *into = type == 'L' ? &t->name : &t->link;
    switch (type) {
    case 'x': /* pax; X is Sun's */
    case 'X':
    case 'g':
        if (read_special(t, size, err) < 0 || tar_pax_read(t, buf_span(&t->special), type == 'g', err) < 0)
            return -1;
        return 1;
    case 'L': /* GNU's long names, with their NUL */
    case 'K':
        if (read_special(t, size, err) < 0)
            return -1;
        buf_reset(into);
        buf_add(into, buf_str(&t->special), strnlen(buf_str(&t->special), t->special.n));
        *(type == 'L' ? &t->long_name : &t->long_link) = true;
        return 1;
    case 'V': /* a volume's label; an old ACL */
    case 'A':
        return read_special(t, size, err) < 0 ? -1 : 1;
    case 'M':
        return err_set(err, ERR_UNSUPPORTED, "the tar archive is one of several volumes");
    default:
        return 0;
    }
}

static int finish_last(struct tar *t, struct err *err)
{
    uint64_t left = t->stored_left;
    t->stored_left = 0;
    if (skip(t, left, err) < 0 || skip(t, t->padding, err) < 0)
        return -1;
    t->padding = 0;
    t->extents.n = t->extents.at = 0;
    t->extents.done = 0;
    t->long_name = t->long_link = false;
    tar_pax_reset(t);
    return 0;
}

int tar_next(struct tar *t, struct tar_entry *entry, struct err *err)
{
    if (finish_last(t, err) < 0)
        return -1;
    for (unsigned headers = 0; headers <= TAR_HEADERS_MAX; headers++) {
        uint8_t h[TAR_BLOCK];
        int64_t size;
        const uint8_t *p = tar_block(t, err);
        if (!p)
            return -1;
        memcpy(h, p, sizeof(h)); /* reading on moves the block */
        if (all_zero(h, sizeof(h)))
            return headers ? tar_cut_short(err) : read_padding(t, err);
        if (!checksum_fits(h) || tar_number(h + SIZE_AT, LONG_N, &size) < 0 || size < 0)
            return err_set(err, ERR_CORRUPT,
                           "not a tar archive, or a damaged one: no valid header where one should be");
        int rc = read_special_header(t, h[TYPE_AT], (uint64_t)size, err);
        if (rc < 0)
            return -1;
        if (rc == 0)
            return make_entry(t, h, (uint64_t)size, entry, err) < 0 ? -1 : 1;
    }
    return err_set(err, ERR_LIMIT, "more than %d headers for one entry of the tar archive", TAR_HEADERS_MAX);
}

int64_t tar_read(struct tar *t, const uint8_t **p, uint64_t *offset, struct err *err)
{
    while (t->extents.at < t->extents.n && t->extents.done == t->extents.v[t->extents.at].size) {
        t->extents.at++;
        t->extents.done = 0;
    }
    if (t->extents.at == t->extents.n)
        return 0;
    int rc = fill(t, err);
    if (rc <= 0)
        return rc < 0 ? -1 : tar_cut_short(err);
    const struct tar_extent *extent = &t->extents.v[t->extents.at];
    uint64_t left = extent->size - t->extents.done;
    size_t n = t->n - t->at < left ? t->n - t->at : (size_t)left;
    *p = t->block + t->at;
    *offset = extent->offset + t->extents.done;
    t->at += n;
    t->extents.done += n;
    t->stored_left -= n;
    return (int64_t)n;
}
