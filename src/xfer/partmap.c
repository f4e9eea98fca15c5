#include "xfer/partmap.h"

#include "base/fs.h"
#include "digest/digest.h"

#include <endian.h>
#include <pthread.h>
#include <stdlib.h>

/* On disk, little-endian: one header, then records of RECORD_BITS marks each. Every record is checked by itself and
 * bound to the header and its own place, so a torn or misplaced one reads as "nothing marked here". */
#define MAGIC        "berthpm1"
#define IDENTITY_N   32
#define RECORD_WORDS 3
#define RECORD_BITS  (RECORD_WORDS * 64)
#define PARTS_MAX    (UINT64_C(1) << 32)

struct header {
    char magic[8];
    uint64_t size, part_bytes;
    uint8_t identity[IDENTITY_N]; /* SHA-256 */
    uint32_t reserved;
    uint32_t check; /* CRC-32C of all before it */
};

struct record {
    uint64_t bits[RECORD_WORDS];
    uint32_t header_check; /* of the header it belongs to */
    uint32_t check;        /* CRC-32C of the record's number and all before it */
};
_Static_assert(sizeof(struct header) == 64 && sizeof(struct record) == 32, "on-disk layout");

struct partmap {
    int fd; /* borrowed */
    uint64_t size, part_bytes, parts, records;
    uint32_t header_check;
    pthread_mutex_t mu;
    uint64_t *bits; /* guarded by mu */
};

static int crc_of(const void *p, size_t n, uint32_t *out, struct err *err)
{
    struct digest_value v;
    if (digest_bytes(DIGEST_CRC32C, p, n, &v, err) < 0)
        return -1;
    memcpy(out, v.bytes, sizeof *out);
    return 0;
}

static int record_check(const struct record *r, uint64_t number, uint32_t *out, struct err *err)
{
    uint8_t text[sizeof number + offsetof(struct record, check)];
    uint64_t le = htole64(number);
    memcpy(text, &le, sizeof le);
    memcpy(text + sizeof le, r, offsetof(struct record, check));
    return crc_of(text, sizeof text, out, err);
}

static int make_header(struct header *h, uint64_t size, uint64_t part_bytes, struct span identity, struct err *err)
{
    struct digest_value id;
    *h = (struct header){.size = htole64(size), .part_bytes = htole64(part_bytes)};
    memcpy(h->magic, MAGIC, sizeof h->magic);
    if (digest_bytes(DIGEST_SHA256, identity.p, identity.n, &id, err) < 0)
        return -1;
    memcpy(h->identity, id.bytes, IDENTITY_N);
    return crc_of(h, offsetof(struct header, check), &h->check, err);
}

static uint64_t record_offset(uint64_t number)
{
    return sizeof(struct header) + number * sizeof(struct record);
}

static int write_record(const struct partmap *m, uint64_t number, struct err *err)
{
    struct record r = {.header_check = m->header_check};
    for (unsigned i = 0; i < RECORD_WORDS; i++)
        r.bits[i] = htole64(m->bits[number * RECORD_WORDS + i]);
    if (record_check(&r, number, &r.check, err) < 0)
        return -1;
    return fs_pwrite_all(m->fd, &r, sizeof r, record_offset(number), err);
}

/* Bits beyond the last part are never believed. */
static void take_record(struct partmap *m, uint64_t number, const struct record *r)
{
    for (unsigned i = 0; i < RECORD_WORDS; i++) {
        uint64_t word = number * RECORD_WORDS + i, first = word * 64, bits = le64toh(r->bits[i]);
        if (first >= m->parts)
            bits = 0;
        else if (m->parts - first < 64)
            bits &= (UINT64_C(1) << (m->parts - first)) - 1;
        m->bits[word] = bits;
    }
}

static int load_records(struct partmap *m, uint64_t file_bytes, struct err *err)
{
    for (uint64_t i = 0; i < m->records && record_offset(i + 1) <= file_bytes; i++) {
        struct record r;
        uint32_t check;
        if (fs_pread_all(m->fd, &r, sizeof r, record_offset(i), err) < 0 || record_check(&r, i, &check, err) < 0)
            return -1;
        if (check == r.check && r.header_check == m->header_check)
            take_record(m, i, &r);
    }
    return 0;
}

/* The file as it is, where its header is the one wanted; else a fresh one. */
static int load(struct partmap *m, const struct header *wanted, struct err *err)
{
    struct stat st;
    struct header found;
    if (fstat(m->fd, &st) < 0)
        return err_sys(err, "part map: fstat");
    uint64_t bytes = st.st_size > 0 ? (uint64_t)st.st_size : 0;
    if (bytes >= sizeof found) {
        if (fs_pread_all(m->fd, &found, sizeof found, 0, err) < 0)
            return -1;
        if (memcmp(&found, wanted, sizeof found) == 0)
            return load_records(m, bytes, err);
    }
    if (ftruncate(m->fd, 0) < 0)
        return err_sys(err, "part map: ftruncate");
    return fs_pwrite_all(m->fd, wanted, sizeof *wanted, 0, err);
}

int partmap_open(struct partmap **out, int fd, uint64_t size, uint64_t part_bytes, struct span identity,
                 struct err *err)
{
    struct header h;
    uint64_t parts = part_bytes == 0 ? 0 : size / part_bytes + (size % part_bytes != 0);
    if (part_bytes == 0 || parts > PARTS_MAX)
        return err_set(err, ERR_INVALID, "part map: %llu bytes in parts of %llu", (unsigned long long)size,
                       (unsigned long long)part_bytes);
    if (make_header(&h, size, part_bytes, identity, err) < 0)
        return -1;
    struct partmap *m = calloc(1, sizeof *m);
    if (!m)
        return err_nomem(err);
    *m = (struct partmap){.fd = fd, .size = size, .part_bytes = part_bytes, .parts = parts};
    m->records = (parts + RECORD_BITS - 1) / RECORD_BITS;
    m->header_check = h.check;
    m->bits = calloc(m->records * RECORD_WORDS + 1, sizeof *m->bits);
    pthread_mutex_init(&m->mu, NULL);
    if (!m->bits || load(m, &h, err) < 0) {
        int rc = m->bits ? -1 : err_nomem(err);
        partmap_free(m);
        return rc;
    }
    *out = m;
    return 0;
}

void partmap_free(struct partmap *m)
{
    if (!m)
        return;
    pthread_mutex_destroy(&m->mu);
    free(m->bits);
    free(m);
}

uint64_t partmap_count(const struct partmap *m)
{
    return m->parts;
}

uint64_t partmap_part_bytes(const struct partmap *m)
{
    return m->part_bytes;
}

static bool has(const struct partmap *m, uint64_t part)
{
    return part < m->parts && (m->bits[part / 64] >> part % 64 & 1) != 0;
}

/* The lock is no part of what a reader sees as the map's value. */
static pthread_mutex_t *lock_of(const struct partmap *m)
{
    return &((struct partmap *)m)->mu;
}

bool partmap_has(const struct partmap *m, uint64_t part)
{
    pthread_mutex_lock(lock_of(m));
    bool yes = has(m, part);
    pthread_mutex_unlock(lock_of(m));
    return yes;
}

uint64_t partmap_done_bytes(const struct partmap *m)
{
    uint64_t bytes = 0;
    pthread_mutex_lock(lock_of(m));
    for (uint64_t i = 0; i < m->parts; i++) {
        if (has(m, i))
            bytes += i + 1 < m->parts ? m->part_bytes : m->size - i * m->part_bytes;
    }
    pthread_mutex_unlock(lock_of(m));
    return bytes;
}

int partmap_mark(struct partmap *m, uint64_t part, struct err *err)
{
    if (part >= m->parts)
        return err_set(err, ERR_INVALID, "part map: there is no part %llu", (unsigned long long)part);
    pthread_mutex_lock(&m->mu);
    m->bits[part / 64] |= UINT64_C(1) << part % 64;
    int rc = write_record(m, part / RECORD_BITS, err);
    pthread_mutex_unlock(&m->mu);
    return rc;
}

int partmap_clear(struct partmap *m, uint64_t first, uint64_t count, struct err *err)
{
    int rc = 0;
    uint64_t end = count > m->parts || first > m->parts - count ? m->parts : first + count;
    pthread_mutex_lock(&m->mu);
    for (uint64_t i = first; i < end; i++) {
        m->bits[i / 64] &= ~(UINT64_C(1) << i % 64);
        bool record_over = i + 1 == end || (i + 1) % RECORD_BITS == 0;
        if (record_over && write_record(m, i / RECORD_BITS, err) < 0)
            rc = -1;
    }
    pthread_mutex_unlock(&m->mu);
    return rc;
}
