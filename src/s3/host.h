/* host: which S3 service a host name belongs to, and what it says about bucket and region. Pure; one table.
 *
 * Forms: "Amazon S3 endpoints and quotas" and "Virtual hosting of buckets" of the Amazon documentation; the S3 pages of
 * Google Cloud Storage, Cloudflare R2, DigitalOcean Spaces, Backblaze B2 and Wasabi. */
#ifndef BERTH_S3_HOST_H
#define BERTH_S3_HOST_H

#include "base/err.h"
#include "base/str.h"

#define S3_REGION_MAX 40

enum s3_service {
    S3_SERVICE_OTHER, /* any host: nothing is known about it */
    S3_SERVICE_AWS,
    S3_SERVICE_GOOGLE,
    S3_SERVICE_R2,
    S3_SERVICE_SPACES,
    S3_SERVICE_B2,
    S3_SERVICE_WASABI,
};

struct s3_host {
    enum s3_service service;
    struct span endpoint;       /* the part of `host` without the bucket */
    struct span bucket;         /* empty where the host names none */
    char region[S3_REGION_MAX]; /* "" where the host tells none */
};

/* `host` in lower case, without port; the spans point into it. ERR_UNSUPPORTED for what is S3's but not plain S3:
 * access points, website endpoints, directory buckets, Outposts. */
int s3_host_read(const char *host, struct s3_host *out, struct err *err);

/* Amazon's own domains, the only ones a learned region may lead to. */
bool s3_host_is_amazon(const char *host);

#endif
