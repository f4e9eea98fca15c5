/* arena: many small allocations that die together (a parsed job, a listing).
 *
 * Memory comes zeroed. Failure is sticky: after building, arena_check() says whether anything was refused; single calls
 * return NULL. Not thread-safe. */
#ifndef BERTH_BASE_ARENA_H
#define BERTH_BASE_ARENA_H

#include "base/attr.h"
#include "base/err.h"
#include "base/str.h"

struct arena;

/* `max_bytes` bounds the whole; 0: 64 MiB. NULL with ERR_NOMEM. */
struct arena *arena_new(size_t max_bytes, struct err *err);
void arena_free(struct arena *a);

void *arena_alloc(struct arena *a, size_t bytes);
void *arena_array(struct arena *a, size_t count, size_t each); /* overflow-checked */
char *arena_dup(struct arena *a, const char *s);               /* NULL in, NULL out */
char *arena_dup_span(struct arena *a, struct span s);
char *arena_printf(struct arena *a, const char *fmt, ...) ATTR_PRINTF(2, 3);
size_t arena_used(const struct arena *a);
int arena_check(const struct arena *a, struct err *err) ATTR_CHECK; /* ERR_NOMEM or ERR_LIMIT */

#endif
