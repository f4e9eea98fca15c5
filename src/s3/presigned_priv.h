/* presigned, inside: one request by a signed URL, and what its answer means. */
#ifndef BERTH_S3_PRESIGNED_PRIV_H
#define BERTH_S3_PRESIGNED_PRIV_H

#include "s3/fault.h"
#include "s3/presigned_put.h"

#define PRESIGNED_TRIES 6

/* What is asked; `body` or `read_body`, as in http_request. Borrowed. */
struct presigned_ask {
    const char *method, *url;
    const struct http_header *headers; /* of the grant */
    size_t header_count;
    const struct digest_value *md5; /* NULL: not told */
    struct span body;
    int64_t (*read_body)(void *ctx, void *p, size_t max, struct err *err);
    void *ctx;
    uint64_t body_length;
    uint32_t idle_timeout_ms; /* 0: as http_call() has it */
    bool cleaning_up;         /* goes on when all else was cancelled, for a while */
};

/* 0: 2xx, and no error in its body; release `resp`. -1: it is empty, and the error is the answer's. */
int presigned_call(const struct s3_granted_opts *opts, const struct s3_grant *grant, const struct presigned_ask *ask,
                   struct http_response *resp, struct err *err);

/* ETag and version of an object of `size` bytes. */
int presigned_stored(const struct http_response *resp, uint64_t size, struct s3_stored *out, struct err *err);

#endif
