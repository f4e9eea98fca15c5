#include "archive/tar_head_priv.h"

#include <inttypes.h>
#include <string.h>

#define PAX_NAME      "PaxHeaders"
#define SPARSE_NAME   "GNUSparseFile.0"
#define NAME_BYTES    100
#define OCTAL_MAX     (((uint64_t)1 << 33) - 1) /* eleven octal digits */
#define PAX_MAX       ((size_t)64 << 10)
#define RECORD_DIGITS 20

/* Offsets in a header, and the bytes of each field. */
enum {
    AT_NAME = 0,
    AT_MODE = 100,
    AT_UID = 108,
    AT_GID = 116,
    AT_SIZE = 124,
    AT_MTIME = 136,
    AT_SUM = 148,
    AT_TYPE = 156,
    AT_LINK = 157,
    AT_MAGIC = 257,
    AT_DEVICE_MAJOR = 329,
    AT_DEVICE_MINOR = 337,
};

/* ---- the header block ---- */

static void put_octal(uint8_t *block, size_t at, size_t digits, uint64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%0*" PRIo64, (int)digits, value);
    memcpy(block + at, text, digits);
}

/* What does not fit or is not ASCII stands whole in the pax header; here is its beginning, for eyes. */
static void put_text(uint8_t *block, size_t at, const char *text)
{
    size_t n = strnlen(text, NAME_BYTES);
    for (size_t i = 0; i < n; i++)
        block[at + i] = (unsigned char)text[i] < 0x80 ? (uint8_t)text[i] : '_';
}

static void put_block(struct buf *out, char type, const char *name, const char *link, mode_t mode, uint64_t size,
                      uint64_t mtime)
{
    uint8_t block[TAR_BLOCK] = {0};
    put_text(block, AT_NAME, name);
    put_octal(block, AT_MODE, 7, mode);
    put_octal(block, AT_UID, 7, 0);
    put_octal(block, AT_GID, 7, 0);
    put_octal(block, AT_SIZE, 11, size <= OCTAL_MAX ? size : 0);
    put_octal(block, AT_MTIME, 11, mtime);
    block[AT_TYPE] = (uint8_t)type;
    put_text(block, AT_LINK, link ? link : "");
    memcpy(block + AT_MAGIC, "ustar\00000", 8);
    put_octal(block, AT_DEVICE_MAJOR, 7, 0);
    put_octal(block, AT_DEVICE_MINOR, 7, 0);
    memset(block + AT_SUM, ' ', 8);
    uint32_t sum = 0;
    for (size_t i = 0; i < sizeof block; i++)
        sum += block[i];
    put_octal(block, AT_SUM, 6, sum);
    block[AT_SUM + 6] = '\0';
    buf_add(out, block, sizeof block);
}

/* ---- pax records ---- */

static size_t digits_of(size_t n)
{
    size_t digits = 1;
    for (; n >= 10; n /= 10)
        digits++;
    return digits;
}

/* "<length> <key>=<value>\n": the length counts its own digits, too. */
static void put_record(struct buf *pax, const char *key, struct span value)
{
    size_t rest = 1 + strlen(key) + 1 + value.n + 1, length = rest + digits_of(rest);
    length = rest + digits_of(length);
    buf_addf(pax, "%zu %s=", length, key);
    buf_add_span(pax, value);
    buf_addc(pax, '\n');
}

static void put_number(struct buf *pax, const char *key, uint64_t value)
{
    char text[RECORD_DIGITS + 1];
    int n = snprintf(text, sizeof text, "%" PRIu64, value);
    put_record(pax, key, (struct span){text, (size_t)n});
}

static void put_time(struct buf *pax, struct timespec t)
{
    int64_t seconds = t.tv_sec, fraction = t.tv_nsec;
    bool before = seconds < 0;
    if (before && fraction > 0) { /* -0.25 s is stored as -1 s and 0.75 s */
        seconds++;
        fraction = 1000000000 - fraction;
    }
    char text[64];
    int n = snprintf(text, sizeof text, "%s%" PRId64 ".%09" PRId64, before ? "-" : "", before ? -seconds : seconds,
                     fraction);
    while (text[n - 1] == '0')
        n--;
    n -= text[n - 1] == '.';
    put_record(pax, "mtime", (struct span){text, (size_t)n});
}

static bool is_ascii(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s >= 0x80)
            return false;
    return true;
}

static bool fits(const char *s, size_t room)
{
    return strlen(s) <= room && is_ascii(s);
}

static void put_sparse(struct buf *pax, const struct tar_head *h)
{
    put_number(pax, "GNU.sparse.major", 1);
    put_number(pax, "GNU.sparse.minor", 0);
    put_record(pax, "GNU.sparse.name", span_of(h->path));
    put_number(pax, "GNU.sparse.realsize", h->size);
}

static void put_records(const struct tar_head *h, const char *name, struct buf *pax)
{
    /* Names are UTF-8 by the standard; BINARY says that they are the bytes they are. */
    if (!span_is_utf8(span_of(h->path)) || (h->link && !span_is_utf8(span_of(h->link))))
        put_record(pax, "hdrcharset", SPAN_LIT("BINARY"));
    if (h->sparse)
        put_sparse(pax, h);
    else if (!fits(name, NAME_BYTES))
        put_record(pax, "path", span_of(name));
    if (h->link && !fits(h->link, NAME_BYTES))
        put_record(pax, "linkpath", span_of(h->link));
    if (h->stored > OCTAL_MAX)
        put_number(pax, "size", h->stored);
    if (h->mtime.tv_nsec != 0 || h->mtime.tv_sec < 0 || (uint64_t)h->mtime.tv_sec > OCTAL_MAX)
        put_time(pax, h->mtime);
}

static void put_pax(struct buf *out, struct buf *pax)
{
    put_block(out, 'x', PAX_NAME, NULL, 0644, pax->n, 0);
    size_t padding = tar_padding(pax->n);
    static const char zeros[TAR_BLOCK];
    buf_add(pax, zeros, padding);
    buf_add_span(out, buf_span(pax));
    if (pax->state != BUF_OK)
        out->state = pax->state;
}

void tar_head_write(const struct tar_head *h, struct buf *out)
{
    static const char types[] = {[TAR_FILE] = '0', [TAR_FOLDER] = '5', [TAR_SYMLINK] = '2'};
    AUTO_BUF pax, name;
    buf_init(&pax, PAX_MAX);
    buf_init(&name, PAX_MAX);
    buf_adds(&name, h->path);
    if (h->type == TAR_FOLDER)
        buf_addc(&name, '/');
    put_records(h, buf_str(&name), &pax);
    if (pax.n > 0)
        put_pax(out, &pax);
    bool early = h->mtime.tv_sec < 0 || (uint64_t)h->mtime.tv_sec > OCTAL_MAX;
    put_block(out, types[h->type], h->sparse ? SPARSE_NAME : buf_str(&name), h->link, h->mode & 0777, h->stored,
              early ? 0 : (uint64_t)h->mtime.tv_sec);
    if (name.state != BUF_OK)
        out->state = name.state;
}

void tar_map_write(const struct tar_extent *extents, size_t n, struct buf *out)
{
    static const char zeros[TAR_BLOCK];
    size_t start = out->n;
    buf_addf(out, "%zu\n", n);
    for (size_t i = 0; i < n; i++)
        buf_addf(out, "%" PRIu64 "\n%" PRIu64 "\n", extents[i].offset, extents[i].size);
    buf_add(out, zeros, tar_padding(out->n - start));
}
