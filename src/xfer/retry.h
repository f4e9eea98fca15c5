/* retry: when to try again, and after how long. Pure: clock and randomness are arguments. */
#ifndef BERTH_XFER_RETRY_H
#define BERTH_XFER_RETRY_H

#include "base/rng.h"
#include "base/str.h"

#include <stdint.h>

#define RETRY_TRIES_DEFAULT 5
#define RETRY_BASE_MS       200
#define RETRY_CAP_MS        20000
#define RETRY_AFTER_MAX_MS  120000

bool retry_status(int http_status); /* 408, 429, 500, 502, 503, 504 */

/* Full jitter: uniform in [0, min(cap, base × 2^attempt)], attempt counting from 0; never below `retry_after_ms`. */
uint64_t retry_delay_ms(unsigned attempt, uint64_t retry_after_ms, struct rng *rng);

/* Retry-After as seconds or HTTP date (RFC 9110, 10.2.3); bounded by RETRY_AFTER_MAX_MS; 0 where unusable. */
uint64_t retry_after_ms(struct span header, int64_t now_wall_ms);

/* RateLimit (draft-ietf-httpapi-ratelimit-headers, version 9): `"api";r=0;t=55` says that nothing remains, and that
 * there is more after t seconds. Of several policies the longest wait counts; bounded as above; 0 where requests
 * remain, or for what can't be read. */
uint64_t retry_rate_limit_ms(struct span header);

#endif
