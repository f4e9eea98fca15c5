/* pax records: "<length> <key>=<value>\n", the length being that of the whole record (POSIX.1-2001, pax). */
#include "archive/tar_priv.h"

#include <string.h>

static int bad_record(struct err *err)
{
    return err_set(err, ERR_CORRUPT, "a pax header of the tar archive has a record that is none");
}

void tar_pax_reset(struct tar *t)
{
    struct tar_pax *pax = &t->pax;
    struct buf path = pax->path, link = pax->link, sparse_name = pax->sparse_name;
    *pax = (struct tar_pax){.path = path, .link = link, .sparse_name = sparse_name};
}

static int take_u64(struct span value, uint64_t *out, struct err *err)
{
    struct err why = ERR_INIT;
    return span_to_u64(value, out, &why) < 0 || *out > INT64_MAX ? bad_record(err) : 0;
}

static int take_text(struct span value, struct buf *out, struct err *err)
{
    buf_reset(out);
    buf_add_span(out, value);
    return buf_check(out, "a pax record", err);
}

/* "1700000000.123", before 1970 with a minus: seconds and a fraction of any length. */
static int take_time(struct span value, struct timespec *out, struct err *err)
{
    struct span whole, fraction;
    uint64_t seconds = 0;
    long nanoseconds = 0, unit = 100000000;
    const bool before = span_starts(value, SPAN_LIT("-"));
    if (before)
        value = (struct span){value.p + 1, value.n - 1};
    span_cut(value, '.', &whole, &fraction);
    if (take_u64(whole, &seconds, err) < 0)
        return -1;
    for (size_t i = 0; i < fraction.n; i++, unit /= 10) {
        if (fraction.p[i] < '0' || fraction.p[i] > '9')
            return bad_record(err);
        nanoseconds += unit * (fraction.p[i] - '0');
    }
    *out = (struct timespec){.tv_sec = (time_t)seconds, .tv_nsec = nanoseconds};
    if (before && nanoseconds)
        *out = (struct timespec){.tv_sec = -(time_t)seconds - 1, .tv_nsec = 1000000000 - nanoseconds};
    else if (before)
        out->tv_sec = -(time_t)seconds;
    return 0;
}

/* The three forms in which GNU tar says that a file is sparse; each record comes in its order. */
static int take_sparse(struct tar *t, struct span key, struct span value, struct err *err)
{
    struct tar_pax *pax = &t->pax;
    uint64_t n = 0;
    pax->sparse = true;
    if (span_eq(key, SPAN_LIT("name"))) {
        pax->sparse_name_set = true;
        return take_text(value, &pax->sparse_name, err);
    }
    if (span_eq(key, SPAN_LIT("map")))
        return tar_sparse_map(t, value, err);
    if (take_u64(value, &n, err) < 0)
        return -1;
    if (span_eq(key, SPAN_LIT("major"))) {
        pax->major = n;
    } else if (span_eq(key, SPAN_LIT("minor"))) {
        pax->minor = n;
    } else if (span_eq(key, SPAN_LIT("size")) || span_eq(key, SPAN_LIT("realsize"))) {
        pax->has_real_size = true;
        pax->real_size = n;
    } else if (span_eq(key, SPAN_LIT("offset"))) { /* form 0.0: the size follows */
        return tar_extent_add(t, n, 0, err);
    } else if (span_eq(key, SPAN_LIT("numbytes"))) {
        if (t->extents.n == 0)
            return bad_record(err);
        t->extents.v[t->extents.n - 1].size = n;
    }
    return 0; /* "numblocks" and others say nothing that is needed */
}

static int take_record(struct tar *t, struct span key, struct span value, struct err *err)
{
    struct tar_pax *pax = &t->pax;
    const struct span sparse = SPAN_LIT("GNU.sparse.");
    if (span_starts(key, sparse))
        return take_sparse(t, (struct span){key.p + sparse.n, key.n - sparse.n}, value, err);
    /* An empty value takes back what an earlier record said. */
    if (span_eq(key, SPAN_LIT("path"))) {
        pax->has_path = value.n > 0;
        return take_text(value, &pax->path, err);
    }
    if (span_eq(key, SPAN_LIT("linkpath"))) {
        pax->has_link = value.n > 0;
        return take_text(value, &pax->link, err);
    }
    if (span_eq(key, SPAN_LIT("size"))) {
        pax->has_size = value.n > 0;
        return value.n ? take_u64(value, &pax->size, err) : 0;
    }
    if (span_eq(key, SPAN_LIT("mtime"))) {
        pax->has_mtime = value.n > 0;
        return value.n ? take_time(value, &pax->mtime, err) : 0;
    }
    return 0;
}

/* What a header for all entries cannot mean. */
static bool is_of_one_file(struct span key)
{
    return span_eq(key, SPAN_LIT("path")) || span_eq(key, SPAN_LIT("linkpath")) || span_eq(key, SPAN_LIT("size")) ||
           span_starts(key, SPAN_LIT("GNU.sparse."));
}

int tar_pax_read(struct tar *t, struct span records, bool global, struct err *err)
{
    while (records.n) {
        struct span digits, rest, key, value;
        uint64_t length = 0;
        if (!span_cut(records, ' ', &digits, &rest) || take_u64(digits, &length, err) < 0)
            return bad_record(err);
        if (length > records.n || length < digits.n + 2 || records.p[length - 1] != '\n')
            return bad_record(err);
        struct span record = {rest.p, (size_t)length - digits.n - 2}; /* without the space and the newline */
        if (!span_cut(record, '=', &key, &value) || key.n == 0)
            return bad_record(err);
        if (global && is_of_one_file(key))
            return err_set(err, ERR_UNSUPPORTED, "the tar archive has one \"%.*s\" for all its entries",
                           SPAN_FMT(span_head(key, 64)));
        if (!global && take_record(t, key, value, err) < 0)
            return -1;
        records = (struct span){records.p + length, records.n - (size_t)length};
    }
    return 0;
}
