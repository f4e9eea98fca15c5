/* list_ask: one page of a listing asked for and read, by any thread. */
#ifndef BERTH_S3_LIST_ASK_H
#define BERTH_S3_LIST_ASK_H

#include "s3/list_page.h"
#include "s3/s3_priv.h"

#include <stdatomic.h>

#define LIST_PAGE_KEYS 1000 /* the most that S3 sends */

struct list_ask {
    struct s3 *s3;
    const char *prefix, *delimiter; /* no delimiter: NULL */
    struct span from;               /* of list_write_from(); empty: the first page */
    unsigned max_keys;
    /* The page's NextContinuationToken, as soon as it was read and once for each try; NULL: not wanted. */
    void (*token)(void *ctx, const char *token);
    void *ctx;
    /* Of a page before its turn: once true, ERR_CANCELLED. Such a page is tried once, and given up where it is larger
     * than pages are, since there are several of them in memory. NULL: it is its turn. */
    const atomic_bool *unwanted;
};

/* 0: an answer came. *status is that of the answer; where it is no 2xx, `f` says why. -1: ERR_TRANSIENT, ERR_TIMEOUT,
 * ERR_PROTOCOL, … */
int list_ask(const struct list_ask *ask, struct list_page *page, struct fault *f, int *status, struct err *err);

/* The part of the query that asks for the page after one with this token, or (version 1 servers state none) marker. */
void list_write_from(struct buf *out, const char *token, const char *marker);

#endif
