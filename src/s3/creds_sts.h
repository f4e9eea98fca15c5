/* creds_sts: one question to the AWS Security Token Service (API version 2011-06-15), which answers with keys.
 *
 * Everything travels in the body of a POST, so that no secret stands in a URL. Which endpoint: AWS_ENDPOINT_URL_STS,
 * else the region's own, else (no region, or AWS_STS_REGIONAL_ENDPOINTS=legacy where that means it) the global one. */
#ifndef BERTH_S3_CREDS_STS_H
#define BERTH_S3_CREDS_STS_H

#include "s3/creds_priv.h"

#define STS_FORM_MAX ((size_t)64 << 10)

struct sts {
    const struct creds_env *env;
    char *url;
    char *region; /* signed for */
};
/* `regional`: "regional", "legacy" or NULL. ERR_INVALID for a region that can't be one. */
int sts_open(struct sts *sts, const struct creds_env *env, const char *region, const char *regional, struct err *err);
void sts_release(struct sts *sts);

/* The start of a form ("Action=…&Version=…"), and its further fields; NULL values are left out. */
void sts_form(struct buf *form, const char *action);
void sts_form_add(struct buf *form, const char *name, const char *value);
/* The fields that both ways to a role share. */
int sts_form_role(struct buf *form, const struct creds_env *env, const struct role_settings *role, struct err *err);

/* `signer` NULL: unsigned. */
int sts_call(const struct sts *sts, const struct buf *form, const struct creds_grant *signer,
             const struct cancel *cancel, struct creds_grant *out, struct err *err);

#endif
