/* list_page: one page of ListObjectsV2, read as it arrives and handed out once it is whole.
 *
 * "ListObjectsV2" of the Amazon S3 API reference; what only ListObjects (version 1) has (NextMarker) is read as well.
 * Pure. A page is at most LIST_PAGE_BYTES_MAX and LIST_PAGE_OBJECTS_MAX; above, and for anything that is not a
 * ListBucketResult, ERR_PROTOCOL. */
#ifndef BERTH_S3_LIST_PAGE_H
#define BERTH_S3_LIST_PAGE_H

#include "s3/s3.h"

#define LIST_PAGE_BYTES_MAX   ((size_t)16 << 20)
#define LIST_PAGE_OBJECTS_MAX 100000 /* 1,000 are asked for; some servers send all they have */

struct list_page;
struct list_page *list_page_new(struct err *err);
void list_page_free(struct list_page *p);
int list_page_reset(struct list_page *p, struct err *err); /* ready for another page, memory kept */

int list_page_feed(struct list_page *p, const void *bytes, size_t n, struct err *err);
int list_page_finish(struct list_page *p, struct err *err); /* then the functions below may be asked */

size_t list_page_count(const struct list_page *p); /* objects and common prefixes */
/* Strings are borrowed until the page's reset or end. */
void list_page_get(const struct list_page *p, size_t i, struct s3_object *out);
bool list_page_truncated(const struct list_page *p);
const char *list_page_token(const struct list_page *p);  /* NextContinuationToken; NULL: none */
const char *list_page_marker(const struct list_page *p); /* NextMarker, else the last key; NULL: none */

/* Percent-decoding as S3 does it in listings ('+' is a space), in place. ERR_PROTOCOL on a bad escape or a NUL. */
int list_decode(char *text, struct err *err);

#endif
