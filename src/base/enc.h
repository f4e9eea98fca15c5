/* enc: hex, base64 (RFC 4648) and percent-encoding (RFC 3986). Decoders are strict. */
#ifndef BERTH_BASE_ENC_H
#define BERTH_BASE_ENC_H

#include "base/buf.h"

#include <stdint.h>

void hex_encode(char *out, const uint8_t *p, size_t n);                 /* out: 2n + 1 bytes, lower case */
int hex_decode(uint8_t *out, size_t n, struct span s, struct err *err); /* s must be exactly 2n digits, either case */
void base64_encode(struct buf *out, const uint8_t *p, size_t n);
int base64_decode(uint8_t *out, size_t max, size_t *n, struct span s, struct err *err); /* padding required */

/* Unreserved characters of RFC 3986 stay, all else becomes %XX; '/' stays with keep_slash (S3 keys in paths). */
void percent_encode(struct buf *out, struct span s, bool keep_slash);
int percent_decode(struct buf *out, struct span s, struct err *err); /* '+' stays '+' */

#endif
