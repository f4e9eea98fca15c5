/* sigv4: AWS Signature Version 4. Pure: time and credentials are arguments.
 *
 * Rules: "Authenticating Requests (AWS Signature Version 4)" of the Amazon S3 API reference, and the published test
 * suite. S3's variant: the path is encoded once and not normalised, and x-amz-content-sha256 is signed. */
#ifndef BERTH_S3_SIGV4_H
#define BERTH_S3_SIGV4_H

#include "base/buf.h"
#include "base/err.h"

#include <pthread.h>
#include <stdint.h>

struct s3_keys {
    const char *access_key_id; /* NULL: anonymous, nothing is signed */
    const char *secret_access_key;
    const char *session_token; /* NULL: none */
};

struct sigv4_header {
    struct span name, value; /* any case; signed as given, sorted here */
};

#define SIGV4_HEADERS_MAX   64
#define SIGV4_PARAMS_MAX    64
#define SIGV4_EXPIRES_MAX_S 604800 /* a week */

/* The signing key changes once a day; deriving it costs four HMACs. Holds the last one. Thread-safe. */
struct sigv4_cache {
    pthread_mutex_t mu;
    char *secret;    /* owned copy; NULL: empty */
    char scope[160]; /* "20150830/us-east-1/s3" */
    uint8_t key[32];
};
void sigv4_cache_init(struct sigv4_cache *c);
void sigv4_cache_release(struct sigv4_cache *c); /* wiped */

struct sigv4_request {
    const char *method;
    struct span host;                   /* host[:port], as the Host header has it */
    struct span path;                   /* percent-encoded as sent */
    struct span query;                  /* encoded as sent, without '?'; may be empty; sorted here */
    const struct sigv4_header *headers; /* to be signed besides Host and x-amz-date */
    size_t header_count;
    const char *payload_hash; /* hex SHA-256, or "UNSIGNED-PAYLOAD", "STREAMING-…" */
    const char *region, *service;
    int64_t now_ms;
    bool normalise_path;       /* services other than S3: remove dot segments, encode once more */
    struct sigv4_cache *cache; /* NULL: the signing key is derived each time */
};

/* SHA-256 of nothing: the payload hash of a request without a body. */
#define SIGV4_EMPTY_PAYLOAD "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* Appends "Authorization: …\r\n", "x-amz-date", "x-amz-content-sha256" (S3) and "x-amz-security-token" lines to
 * `headers`. ERR_INVALID where a header holds a line break. */
int sigv4_sign(const struct sigv4_request *req, const struct s3_keys *keys, struct buf *headers, struct err *err);

/* The query of a pre-signed URL (without '?'), the request's own query included. expires_s: 1 … 604,800. */
int sigv4_presign(const struct sigv4_request *req, const struct s3_keys *keys, uint32_t expires_s, struct buf *query,
                  struct err *err);

/* The text that is hashed and signed by sigv4_sign(), for tests against the published vectors. */
int sigv4_canonical_request(const struct sigv4_request *req, const struct s3_keys *keys, struct buf *out,
                            struct err *err);

#endif
