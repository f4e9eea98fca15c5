/* json: the one door to JSON. jansson's json_t is berth's JSON value; this adds limits, strictness and errors with
 * paths.
 *
 * Parsing rejects duplicate keys, depth above the limit and trailing bytes; the error names line and column. */
#ifndef BERTH_BASE_JSON_H
#define BERTH_BASE_JSON_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#include <jansson.h>
#include <stdint.h>

#define JSON_DEPTH_MAX 64

static inline void json_release(json_t **j)
{
    json_decref(*j);
}
#define AUTO_JSON AUTO(json_release) json_t *

/* Owned value, or NULL with ERR_INVALID "line 3, column 7: …". */
json_t *json_parse(struct span text, struct err *err);

/* Compact, keys in insertion order; `pretty` indents by two. */
int json_write(const json_t *value, bool pretty, struct buf *out, struct err *err);

/* Borrowed members of an object, NULL where absent or of another type. */
const char *json_get_str(const json_t *obj, const char *key);
bool json_get_i64(const json_t *obj, const char *key, int64_t *out);
bool json_get_bool(const json_t *obj, const char *key, bool fallback);

/* Append a new member; steals `value` (NULL counts as out of memory). Sticky: returns -1 with err once anything failed.
 */
int json_put(json_t *obj, const char *key, json_t *value, struct err *err);
int json_put_str(json_t *obj, const char *key, const char *value, struct err *err); /* NULL value: JSON null */
int json_put_u64(json_t *obj, const char *key, uint64_t value, struct err *err);

/* Overwrite every string in it, before a value that holds secrets is freed. Keys are left. */
void json_wipe(json_t *value);

#endif
