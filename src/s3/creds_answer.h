/* creds_answer: the documents in which programs and services give keys. Pure.
 *
 * Four JSON dialects, told apart in one table, and the XML of STS. What is malformed is ERR_PROTOCOL, and no error
 * quotes the document. */
#ifndef BERTH_S3_CREDS_ANSWER_H
#define BERTH_S3_CREDS_ANSWER_H

#include "base/json.h"
#include "s3/creds_priv.h"

#define ANSWER_BYTES_MAX ((size_t)256 << 10)

enum answer_dialect {
    ANSWER_PROCESS,   /* credential_process, Version 1 */
    ANSWER_CONTAINER, /* AWS_CONTAINER_CREDENTIALS_*_URI */
    ANSWER_INSTANCE,  /* EC2 instance metadata */
    ANSWER_SSO,       /* GetRoleCredentials of the SSO portal */
};
int answer_json(enum answer_dialect dialect, struct span text, struct creds_grant *out, struct err *err);

/* An answer of STS to AssumeRole or AssumeRoleWithWebIdentity: keys, else a fault. */
struct answer_fault {
    char code[64];
    char message[256];
};
int answer_sts(struct span text, struct creds_grant *out, struct err *err);
void answer_sts_fault(struct span text, struct answer_fault *out); /* fields it lacks are "" */

/* The strings of a parsed document, overwritten. */
void answer_wipe(json_t *document);

#endif
