#include "xfer/verify.h"

#include <pthread.h>
#include <stdlib.h>

#define KINDS_COMBINING (BIT(DIGEST_CRC32) | BIT(DIGEST_CRC32C) | BIT(DIGEST_CRC64NVME))
#define CRC_KINDS       3

static const enum digest_kind crc_kinds[CRC_KINDS] = {DIGEST_CRC32, DIGEST_CRC32C, DIGEST_CRC64NVME};

/* What is known of one part. */
struct part {
    unsigned have; /* BIT(kind)s */
    struct digest_value crc[CRC_KINDS];
};

struct verify {
    uint64_t size, part_bytes, part_count; /* never change */
    unsigned combining, ordered_kinds;     /* never change */
    bool git, passing_all;                 /* never change */

    pthread_mutex_t mu; /* guards the rest */
    struct part *parts;
    unsigned passed; /* kinds in `whole`: of a file that was hashed as it passed by */
    struct digest_value whole[DIGEST_KIND_COUNT];
    unsigned restarts; /* how often verify_forget() made the ordered digests void */

    struct { /* the one thread inside verify_advance() or verify_finish() */
        struct digest *ordered, *git;
        uint64_t hashed;
        unsigned restarts; /* as seen when the digests were started */
    } front;
};

static int crc_slot(enum digest_kind kind)
{
    return kind == DIGEST_CRC32 ? 0 : kind == DIGEST_CRC32C ? 1 : 2;
}

static unsigned wanted_kinds(const struct xfer_want *want)
{
    unsigned kinds = want->compute;
    if (want->has_full && !want->git_blob)
        kinds |= BIT(want->full.kind);
    /* Part-wise CRCs come out of the engine's own parts; other kinds are read from the file at the end. */
    if (want->part_count > 0 && digest_combines(want->parts[0].kind))
        kinds |= BIT(want->parts[0].kind);
    return kinds;
}

int verify_open(struct verify **out, const struct xfer_want *want, uint64_t size, uint64_t part_bytes,
                uint64_t part_count, struct err *err)
{
    unsigned kinds = wanted_kinds(want);
    bool git = want->has_full && want->git_blob;
    *out = NULL;
    if (kinds == 0 && !git && want->part_count == 0)
        return 0;
    struct verify *v = calloc(1, sizeof *v);
    if (!v)
        return err_nomem(err);
    v->size = size;
    v->part_bytes = part_bytes;
    v->part_count = part_count;
    v->combining = kinds & KINDS_COMBINING;
    v->ordered_kinds = kinds & ~KINDS_COMBINING;
    v->git = git;
    v->passing_all = part_count == 1 && size <= VERIFY_INLINE_MAX;
    pthread_mutex_init(&v->mu, NULL);
    v->parts = calloc(part_count, sizeof *v->parts);
    if (!v->parts) {
        verify_free(v);
        return err_nomem(err);
    }
    *out = v;
    return 0;
}

void verify_free(struct verify *v)
{
    if (!v)
        return;
    digest_free(v->front.ordered);
    digest_free(v->front.git);
    pthread_mutex_destroy(&v->mu);
    free(v->parts);
    free(v);
}

unsigned verify_passing_kinds(const struct verify *v)
{
    if (!v)
        return 0;
    return v->combining | (v->passing_all ? v->ordered_kinds : 0);
}

bool verify_is_ordered(const struct verify *v)
{
    return v && !v->passing_all && (v->ordered_kinds != 0 || (v->git && v->size != XFER_SIZE_UNKNOWN));
}

uint64_t verify_hashed(struct verify *v)
{
    pthread_mutex_lock(&v->mu);
    bool stale = v->front.restarts != v->restarts;
    pthread_mutex_unlock(&v->mu);
    return stale ? 0 : v->front.hashed;
}

bool verify_covers(const struct verify *v, const struct xfer_want *want)
{
    unsigned kinds = wanted_kinds(want);
    bool git = want->has_full && want->git_blob;
    if (!v)
        return kinds == 0 && !git && want->part_count == 0;
    return (kinds & ~(v->combining | v->ordered_kinds)) == 0 && (!git || v->git);
}

bool verify_is_cheap(struct verify *v, const struct xfer_want *want)
{
    if (!v)
        return true;
    if (v->git || (want->part_count > 0 && !digest_combines(want->parts[0].kind)))
        return false;
    pthread_mutex_lock(&v->mu);
    bool cheap = v->passed == v->ordered_kinds && want->part_count == 0;
    for (uint64_t i = 0; cheap && v->combining && i < v->part_count; i++)
        cheap = (v->parts[i].have & v->combining) == v->combining;
    pthread_mutex_unlock(&v->mu);
    return cheap;
}

int verify_part(struct verify *v, uint64_t part, struct digest *d, struct err *err)
{
    struct part got = {0};
    struct digest_value whole[DIGEST_KIND_COUNT] = {0};
    unsigned passed = 0;
    for (unsigned k = 0; k < DIGEST_KIND_COUNT; k++) {
        struct digest_value value;
        if ((verify_passing_kinds(v) & BIT(k)) == 0)
            continue;
        if (digest_final(d, (enum digest_kind)k, &value, err) < 0)
            return -1;
        if (digest_combines((enum digest_kind)k)) {
            got.crc[crc_slot((enum digest_kind)k)] = value;
            got.have |= BIT(k);
        } else {
            whole[k] = value;
            passed |= BIT(k);
        }
    }
    pthread_mutex_lock(&v->mu);
    if (part < v->part_count)
        v->parts[part] = got;
    if (passed) {
        memcpy(v->whole, whole, sizeof whole);
        v->passed = passed;
    }
    pthread_mutex_unlock(&v->mu);
    return 0;
}

void verify_forget(struct verify *v, uint64_t first, uint64_t count)
{
    if (!v)
        return;
    pthread_mutex_lock(&v->mu);
    for (uint64_t i = first; i < v->part_count && i - first < count; i++)
        v->parts[i].have = 0;
    v->passed = 0;
    v->restarts++;
    pthread_mutex_unlock(&v->mu);
}

/* ---- in order ---- */

/* Begin the ordered digests, or begin them anew where parts were forgotten meanwhile. */
static int front_start(struct verify *v, uint64_t size, struct err *err)
{
    pthread_mutex_lock(&v->mu);
    unsigned restarts = v->restarts;
    pthread_mutex_unlock(&v->mu);
    bool started = v->front.ordered || v->front.git;
    if (started && v->front.restarts == restarts)
        return 0;
    digest_free(v->front.ordered);
    digest_free(v->front.git);
    v->front.ordered = v->front.git = NULL;
    v->front.hashed = 0;
    v->front.restarts = restarts;
    if (v->ordered_kinds && digest_open(&v->front.ordered, v->ordered_kinds, err) < 0)
        return -1;
    if (!v->git)
        return 0;
    if (digest_open(&v->front.git, BIT(DIGEST_SHA1), err) < 0)
        return -1;
    return digest_git_blob_start(v->front.git, size, err);
}

int verify_advance(struct verify *v, int fd, uint64_t front, const struct cancel *cancel, struct err *err)
{
    if (front_start(v, v->size, err) < 0)
        return -1;
    if (front <= v->front.hashed)
        return 0;
    uint64_t at = v->front.hashed, n = front - at;
    if (v->front.ordered && digest_fd(v->front.ordered, fd, at, n, cancel, err) < 0)
        return -1;
    if (v->front.git && digest_fd(v->front.git, fd, at, n, cancel, err) < 0)
        return -1;
    v->front.hashed = front;
    return 0;
}

/* ---- the end ---- */

static int hash_range(enum digest_kind kind, int fd, uint64_t at, uint64_t n, const struct cancel *cancel,
                      struct digest_value *out, struct err *err)
{
    struct digest *d;
    if (digest_open(&d, BIT(kind), err) < 0)
        return -1;
    int rc = digest_fd(d, fd, at, n, cancel, err);
    if (rc == 0)
        rc = digest_final(d, kind, out, err);
    digest_free(d);
    return rc;
}

static uint64_t part_length(const struct verify *v, uint64_t part, uint64_t size)
{
    uint64_t at = part * v->part_bytes;
    return v->part_count == 1 ? size : size - at < v->part_bytes ? size - at : v->part_bytes;
}

/* The CRC of one engine part: as computed when it passed, else from the file. */
static int part_crc(struct verify *v, enum digest_kind kind, uint64_t part, int fd, uint64_t size,
                    const struct cancel *cancel, struct digest_value *out, struct err *err)
{
    pthread_mutex_lock(&v->mu);
    bool have = (v->parts[part].have & BIT(kind)) != 0;
    *out = v->parts[part].crc[crc_slot(kind)];
    pthread_mutex_unlock(&v->mu);
    if (have)
        return 0;
    return hash_range(kind, fd, part * v->part_bytes, part_length(v, part, size), cancel, out, err);
}

/* The CRC of engine parts [first, end). */
static int combine_parts(struct verify *v, enum digest_kind kind, uint64_t first, uint64_t end, int fd, uint64_t size,
                         const struct cancel *cancel, struct digest_value *out, struct err *err)
{
    for (uint64_t i = first; i < end; i++) {
        struct digest_value crc;
        if (part_crc(v, kind, i, fd, size, cancel, &crc, err) < 0)
            return -1;
        if (i == first)
            *out = crc;
        else
            digest_combine(out, &crc, part_length(v, i, size));
    }
    return 0;
}

static int finish_combining(struct verify *v, int fd, uint64_t size, const struct cancel *cancel, struct xfer_result *r,
                            struct err *err)
{
    for (unsigned i = 0; i < CRC_KINDS; i++) {
        enum digest_kind kind = crc_kinds[i];
        if ((v->combining & BIT(kind)) == 0)
            continue;
        if (combine_parts(v, kind, 0, v->part_count, fd, size, cancel, &r->values[kind], err) < 0)
            return -1;
        r->computed |= BIT(kind);
    }
    return 0;
}

static int finish_ordered(struct verify *v, int fd, uint64_t size, const struct cancel *cancel, struct xfer_result *r,
                          struct digest_value *git, struct err *err)
{
    pthread_mutex_lock(&v->mu);
    bool passed = v->ordered_kinds != 0 && v->passed == v->ordered_kinds;
    for (unsigned k = 0; passed && k < DIGEST_KIND_COUNT; k++) {
        if (v->passed & BIT(k))
            r->values[k] = v->whole[k];
    }
    pthread_mutex_unlock(&v->mu);
    r->computed |= v->ordered_kinds;
    if ((passed || v->ordered_kinds == 0) && !v->git)
        return 0;
    if (front_start(v, size, err) < 0 || verify_advance(v, fd, size, cancel, err) < 0)
        return -1;
    for (unsigned k = 0; v->front.ordered && k < DIGEST_KIND_COUNT; k++) {
        if ((v->ordered_kinds & BIT(k)) && digest_final(v->front.ordered, (enum digest_kind)k, &r->values[k], err) < 0)
            return -1;
    }
    return v->git ? digest_final(v->front.git, DIGEST_SHA1, git, err) : 0;
}

static int mismatch(const struct digest_value *want, const struct digest_value *got, const char *of, struct err *err)
{
    char w[DIGEST_HEX_MAX], g[DIGEST_HEX_MAX];
    err_set(err, ERR_CORRUPT, "%s%s is %s, but the origin states %s", digest_name(want->kind), of, digest_hex(g, got),
            digest_hex(w, want));
    return 1;
}

/* The digest of one stated part: combined from the engine's parts where the grids fit, else read from the file. */
static int stated_part(struct verify *v, const struct xfer_want *want, size_t i, int fd, uint64_t size,
                       const struct cancel *cancel, struct digest_value *out, struct err *err)
{
    enum digest_kind kind = want->parts[i].kind;
    uint64_t at = want->parts_bytes * i;
    uint64_t n = size - at < want->parts_bytes ? size - at : want->parts_bytes;
    bool fits = (v->combining & BIT(kind)) && v->part_count > 1 && want->parts_bytes % v->part_bytes == 0;
    if (!fits || n == 0)
        return hash_range(kind, fd, at, n, cancel, out, err);
    uint64_t first = at / v->part_bytes;
    return combine_parts(v, kind, first, first + (n - 1) / v->part_bytes + 1, fd, size, cancel, out, err);
}

static int compare_parts(struct verify *v, const struct xfer_want *want, int fd, uint64_t size,
                         const struct cancel *cancel, struct xfer_result *r, uint64_t *bad_first, uint64_t *bad_bytes,
                         struct err *err)
{
    uint64_t count = want->parts_bytes == 0 ? 0 : size / want->parts_bytes + (size % want->parts_bytes != 0);
    if (want->part_count == 0)
        return 0;
    if (count != want->part_count)
        return 0; /* the stated parts are of another cut: they say nothing about these bytes */
    for (size_t i = 0; i < want->part_count; i++) {
        struct digest_value got;
        char of[48];
        if (stated_part(v, want, i, fd, size, cancel, &got, err) < 0)
            return -1;
        snprintf(of, sizeof of, " of stated part %zu", i + 1);
        if (!digest_equal(&got, &want->parts[i])) {
            *bad_first = want->parts_bytes * i;
            *bad_bytes = want->parts_bytes;
            return mismatch(&want->parts[i], &got, of, err);
        }
    }
    r->verified = true;
    r->verified_by = want->parts[0];
    return 0;
}

int verify_finish(struct verify *v, const struct xfer_want *want, int fd, uint64_t size, const struct cancel *cancel,
                  struct xfer_result *r, uint64_t *bad_first, uint64_t *bad_bytes, struct err *err)
{
    struct digest_value git = {.kind = DIGEST_SHA1};
    *bad_first = 0;
    *bad_bytes = size;
    if (finish_combining(v, fd, size, cancel, r, err) < 0 || finish_ordered(v, fd, size, cancel, r, &git, err) < 0)
        return -1;
    int rc = compare_parts(v, want, fd, size, cancel, r, bad_first, bad_bytes, err);
    if (rc != 0 || !want->has_full)
        return rc;
    const struct digest_value *got = v->git ? &git : &r->values[want->full.kind];
    if (!digest_equal(got, &want->full))
        return mismatch(&want->full, got, v->git ? " (git blob)" : "", err);
    r->verified = true;
    r->verified_by = want->full;
    return 0;
}
