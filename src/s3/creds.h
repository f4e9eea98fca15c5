/* creds: which credentials a request uses: the job's own, else the default chain, else none.
 *
 * The chain, in order: AWS_ACCESS_KEY_ID …; profile (AWS_PROFILE, ~/.aws/credentials and config: static keys,
 * credential_process, source_profile or credential_source + role_arn by STS AssumeRole, cached SSO token); web identity
 * (AWS_WEB_IDENTITY_TOKEN_FILE); container endpoint (AWS_CONTAINER_CREDENTIALS_*); EC2 IMDSv2. A profile that was asked
 * for by option comes before the environment's keys. A found-but-broken source is an error that names it, not a reason
 * to go on. Documented in: AWS SDKs and Tools Reference Guide, "Standardized credential providers".
 *
 * One thing can't be known without asking the network: whether a machine is an EC2 instance with a role. Where its
 * firmware says that it is none, nobody is asked. Else the first of creds_get(), creds_anonymous() and creds_scope()
 * asks, once, and waits a second at most for a silent address; without an answer the requests are anonymous.
 *
 * A struct creds is shared by all requests with the same credentials; thread-safe. Refresh happens on the thread that
 * asks, on one at a time; the others use the keys at hand while these hold, and a refresh that fails meanwhile is only
 * logged. No error, log line or description holds a secret; no secret is put into a URL or the arguments of a
 * program. */
#ifndef BERTH_S3_CREDS_H
#define BERTH_S3_CREDS_H

#include "base/cancel.h"
#include "base/err.h"
#include "s3/sigv4.h"

#include <stdint.h>

struct creds;

struct creds_opts {
    /* The job's own; access_key_id NULL: none given. Copied. */
    struct s3_keys job;
    bool ambient;           /* the default chain may be used (a job run by its own author) */
    const char *profile;    /* --profile; NULL: AWS_PROFILE, else "default" */
    const char *const *env; /* NULL: the process environment; else "NAME=value" list, for tests */
};

/* Finds the source: reads variables and files, does not call the network or start a program yet. ERR_INVALID,
 * ERR_NOTFOUND (a profile), ERR_UNSUPPORTED, ERR_REFUSED. */
int creds_open(struct creds **out, const struct creds_opts *opts, struct err *err);
void creds_free(struct creds *c);

/* A copy of the present keys, fetched or refreshed if they are absent or end within 5 minutes. The strings of `out` are
 * owned by `storage` until it is released. Anonymous: out->access_key_id is NULL. May block on the network.
 * Errors name the source: ERR_DENIED, ERR_PROTOCOL, ERR_TRANSIENT, ERR_TIMEOUT, ERR_CANCELLED, and those of files. */
struct creds_keys {
    struct s3_keys keys;
    char *storage; /* wiped on release */
    size_t storage_bytes;
};
int creds_get(struct creds *c, const struct cancel *cancel, struct creds_keys *out, struct err *err);
void creds_keys_release(struct creds_keys *k);

/* As creds_get but never blocks: false where a refresh is needed first. */
bool creds_peek(struct creds *c, struct creds_keys *out);

/* After ExpiredToken: forget the keys if they are still those with this access key id. Keys that can't be renewed (the
 * job's, the environment's, a profile's own) stay. */
void creds_expired(struct creds *c, const char *access_key_id);

/* For messages: "the job's own IAM keys (AKIA…1234)", "environment", "profile 'dev'", "none (anonymous)". Never a
 * secret. Borrowed. */
const char *creds_describe(struct creds *c);
const char *creds_region(struct creds *c); /* of the environment or profile; NULL: none. Borrowed. */

/* 32 bytes that are equal for equal identities, and not for equal sessions only: the base of the cache's scope. Of
 * fixed keys id and secret count (an id alone is no secret), of others the role, the sign-on or the program. Asks for
 * keys first where only the answer tells whose they are: containers and instances. ERR_INVALID: anonymous. */
int creds_scope(struct creds *c, uint8_t out[32], struct err *err);

/* True where requests are not signed. False where a source is there, also while it fails. */
bool creds_anonymous(struct creds *c);

#endif
