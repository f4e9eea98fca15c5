/* clock: time. Whatever decides takes its `now` as an argument; only the outermost layer reads a clock.
 *
 * Wall times are UTC milliseconds since 1970; intervals come from the monotonic clock. */
#ifndef BERTH_BASE_CLOCK_H
#define BERTH_BASE_CLOCK_H

#include "base/err.h"
#include "base/str.h"

#include <stdint.h>

int64_t clock_wall_ms(void);
uint64_t clock_mono_ms(void);
uint64_t clock_mono_us(void);

/* "2026-01-31T12:00:00Z" and "…00.123Z"; with compact: "20260131T120000Z" as SigV4 wants it (RFC 3339, ISO 8601). */
#define TIME_MAX 32
char *time_iso(char out[TIME_MAX], int64_t wall_ms);
char *time_compact(char out[TIME_MAX], int64_t wall_ms);
/* RFC 3339 with any offset; finer than a millisecond is dropped. ERR_INVALID. */
int time_parse_iso(struct span s, int64_t *wall_ms, struct err *err);

/* HTTP dates in the three forms of RFC 9110, 5.6.7; a year of two digits below 70 is in this century. ERR_PROTOCOL. */
int time_parse_http(struct span s, int64_t *wall_ms, struct err *err);

#endif
