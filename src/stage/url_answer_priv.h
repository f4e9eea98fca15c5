/* url_answer: what an HTTP answer says about the file at a URL. Pure.
 *
 * Sizes from Content-Length or Content-Range (RFC 9110, 8.6 and 14.4), validators from ETag and Last-Modified (8.8),
 * digests of the whole file from Repr-Digest (RFC 9530), Digest (RFC 3230), Content-MD5 of whole answers, Google's
 * x-goog-hash, and the ETags of S3 where they are MD5s. */
#ifndef BERTH_STAGE_URL_ANSWER_PRIV_H
#define BERTH_STAGE_URL_ANSWER_PRIV_H

#include "xfer/http.h"
#include "xfer/xfer.h"

#define URL_VALIDATOR_MAX 512 /* longer ETags and dates are as good as none */

struct url_answer {
    uint64_t size;                         /* of the whole file; XFER_SIZE_UNKNOWN */
    int64_t modified_ms;                   /* 0: not said */
    char etag[URL_VALIDATOR_MAX];          /* as sent, "W/" included; empty: none */
    char modified_text[URL_VALIDATOR_MAX]; /* Last-Modified as sent; empty: none */
    bool has_digest;
    struct digest_value digest;
    bool html; /* says that it is a web page */
};

/* Of a 2xx answer, or of a 416 to a request for the first byte (an empty file). */
void url_answer_read(const struct http_response *resp, struct url_answer *out);

/* Strong: equal ETags mean equal bytes (RFC 9110, 8.8.3). */
bool url_etag_is_strong(const char *etag);

/* NULL: `now` may be of the same bytes as `before`; else the name of the validator that differs. */
const char *url_answer_differs(const struct url_answer *before, const struct url_answer *now);

#endif
