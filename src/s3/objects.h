/* objects: very many listed objects in little memory, in the order of their keys.
 *
 * Keys are stored as what differs from the one before, ETags in binary where they are MD5s, numbers as varints: about
 * 40 bytes for a listed key of 60. Listings come sorted, so the order of adding is kept; where one does not, an index
 * of 4 bytes an object puts it right. Objects that were looked at one by one (HEAD) are few and kept as they are.
 *
 * Not thread-safe: reading moves a cursor. */
#ifndef BERTH_S3_OBJECTS_H
#define BERTH_S3_OBJECTS_H

#include "s3/s3.h"

#define S3_OBJECTS_MAX    20000000 /* of one source */
#define S3_KEY_LENGTH_MAX 1024

struct s3_objects;
struct s3_objects *s3_objects_new(struct err *err);
void s3_objects_free(struct s3_objects *o);

/* Copies key, size, ETag and the date (to the second). ERR_LIMIT above S3_OBJECTS_MAX, ERR_PROTOCOL for a key or ETag
 * that no S3 server gives. */
int s3_objects_add(struct s3_objects *o, const struct s3_object *object, struct err *err);

/* All were added: put them in order if they are not. */
int s3_objects_sort(struct s3_objects *o, struct err *err);

size_t s3_objects_count(const struct s3_objects *o);
size_t s3_objects_bytes(const struct s3_objects *o); /* of memory, for tests */

/* Object `i` in order; only what was added is set. Strings are borrowed until the next call. */
void s3_objects_get(struct s3_objects *o, size_t i, struct s3_object *out);

#endif
