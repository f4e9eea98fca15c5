/* grant: leave to store one object, by URLs that somebody else has signed in advance.
 *
 * A server that presigns answers with a JSON document; whoever holds it needs no credentials, so it is a secret, as are
 * the queries of its URLs: nothing here puts them into an error or a log. Unknown members are passed over.
 *
 *   {"version": 1, "method": "put", "url": "https://…"}
 *   {"version": 1, "method": "multipart", "part_size": 8388608, "parts": ["https://…", …], "complete": "https://…",
 *    "abort": "https://…"}
 *
 * and, in either, where they apply:
 *
 *   "headers": {"Content-Type": "application/gzip"}    sent as they are with the object, or with each of its parts
 *   "max_bytes": 5368709120                            the object may not become larger
 *   "expires_unix": 1700000000                         told to the user where the URLs are refused
 *   "result": {"Type": "s3", "Params": {…}}            where the object will be, for the published result
 *
 * `parts` may be shorter than the object needs where whoever uploads can ask for more (presigned_put.h). Pure. */
#ifndef BERTH_S3_GRANT_H
#define BERTH_S3_GRANT_H

#include "base/arena.h"
#include "base/json.h"
#include "xfer/http.h"

#include <stdint.h>

#define S3_GRANT_VERSION     1
#define S3_GRANT_BYTES_MAX   ((size_t)32 << 20) /* of a document: ten thousand long URLs */
#define S3_GRANT_HEADERS_MAX 32
#define S3_GRANT_PUT_MAX     ((uint64_t)5 << 30)  /* S3 takes no more in one request */
#define S3_GRANT_PART_MAX    ((uint64_t)64 << 20) /* parts are held in memory, two at least */

enum s3_grant_method { S3_GRANT_PUT, S3_GRANT_MULTIPART };

/* Borrows from the document. */
struct s3_grant {
    enum s3_grant_method method;
    const char *url; /* S3_GRANT_PUT */
    const struct http_header *headers;
    size_t header_count;
    uint64_t part_bytes; /* this and the rest: S3_GRANT_MULTIPART */
    const char **parts;  /* the URL of part i + 1 */
    size_t part_count;
    const char *complete, *abort;
    uint64_t max_bytes;   /* 0: what S3 takes */
    int64_t expires_ms;   /* 0: not told */
    const json_t *result; /* NULL: not told */
};

/* The document must outlive the grant; arrays go to the arena. ERR_INVALID names the member; ERR_UNSUPPORTED: of
 * another version or method. */
int s3_grant_read(const json_t *document, struct arena *a, struct s3_grant *out, struct err *err);

#endif
