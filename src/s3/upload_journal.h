/* upload_journal: what an upload has stored so far, in a small file, so that a later process can go on with it.
 *
 * One file for each pair of an object and a name of what is stored there; of mode 0600, without secrets, held by a lock
 * while it is used, appended to as parts are stored. A line that a crash cut off counts as not written: that part is
 * then sent again. A journal is a help and no more: where it can't be had or written, the upload goes on without.
 *
 * Format, version 1: a line of JSON for the upload, then one for each part in the order they were stored. */
#ifndef BERTH_S3_UPLOAD_JOURNAL_H
#define BERTH_S3_UPLOAD_JOURNAL_H

#include "s3/upload_priv.h"

#define JOURNAL_AGE_MAX_MS (UINT64_C(30) * 86400000) /* of those that nobody takes up; then they are removed */

struct upload_journal;

struct journal_part {
    struct upload_part part; /* of size 0: not stored yet */
    struct digest_value sha256;
};

/* What an earlier process left. */
struct journal_past {
    char id[S3_UPLOAD_ID_MAX]; /* "": nothing */
    char settings[DIGEST_HEX_MAX];
    enum sums_known sums;
    struct journal_part *parts; /* by number - 1 */
    size_t count;
};

/* `name`: any text. NULL: another process holds it, or it can't be had, which was logged. */
struct upload_journal *journal_open(const char *dir, const char *name);

/* Never changes after journal_open(), but by journal_forget(). */
const struct journal_past *journal_past(const struct upload_journal *j);
void journal_forget(struct upload_journal *j);

/* A new upload; what was there before goes. */
void journal_begin(struct upload_journal *j, const char *id, enum sums_known sums, const char *settings);

/* One thread at a time. */
void journal_add(struct upload_journal *j, unsigned number, const struct journal_part *p);

/* `keep`: the upload is not over; else the file is removed. NULL is fine. */
void journal_close(struct upload_journal *j, bool keep);

#endif
