/* fault: what an S3 server says when it says no, and what berth tells the user.
 *
 * "Error responses" of the Amazon S3 API reference, with what other implementations answer in its place. Pure. */
#ifndef BERTH_S3_FAULT_H
#define BERTH_S3_FAULT_H

#include "base/err.h"
#include "xfer/http.h"

#include <stdint.h>

#define FAULT_BODY_MAX ((size_t)64 << 10)

/* X(name, the permission that AWS policies call it) */
#define S3_ACTIONS(X)                                                                                                  \
    X(LIST, "s3:ListBucket")                                                                                           \
    X(HEAD, "s3:GetObject")                                                                                            \
    X(GET, "s3:GetObject")                                                                                             \
    X(PUT, "s3:PutObject")                                                                                             \
    X(ABORT, "s3:AbortMultipartUpload")                                                                                \
    X(UPLOADS, "s3:ListBucketMultipartUploads")

enum s3_action {
#define X(name, permission) S3_ACTION_##name,
    S3_ACTIONS(X)
#undef X
};

struct fault {
    int status;
    char code[64]; /* "" where the body has none: HEAD, web servers */
    char message[256];
    char region[64]; /* x-amz-bucket-region, else <Region>, else of <Endpoint>; checked for its form; "" */
    char endpoint[256];
    int64_t date_ms; /* of the answer; 0: none */
};

/* Never fails: a body that can't be read leaves its fields empty. */
void fault_read(struct fault *out, int status, const char *region_header, int64_t date_ms, struct span body);

/* What to do about it. */
enum fault_cure {
    FAULT_FINAL,
    FAULT_RETRY,   /* transient by its code, whatever its status */
    FAULT_REGION,  /* sign for fault.region, at its endpoint */
    FAULT_CLOCK,   /* correct the clock by date_ms */
    FAULT_EXPIRED, /* credentials ended */
};
/* `now_ms` is the clock that signed; `region` the region signed for; anonymous requests have no clock or keys to cure.
 */
enum fault_cure fault_cure(const struct fault *f, bool anonymous, const char *region, int64_t now_ms);

/* Who asked for what. Strings are borrowed; none is a secret. */
struct fault_context {
    enum s3_action action;
    const char *name;        /* "s3://bucket/key" or the URL */
    const char *credentials; /* creds_describe() */
    const char *region, *host;
    bool anonymous, keyed_by_customer, requester_pays, versioned;
};

/* Sets `err` by the fault's code, else its status. Returns -1. */
int fault_report(const struct fault *f, const struct fault_context *c, struct err *err);

/* Whether a region's name has the form of one: it becomes part of a host name. */
bool fault_region_valid(const char *region);

#endif
