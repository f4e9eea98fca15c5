/* digest, inside: starting one of OpenSSL's algorithms. */
#ifndef BERTH_DIGEST_EVP_PRIV_H
#define BERTH_DIGEST_EVP_PRIV_H

#include "digest/digest.h"

#include <openssl/evp.h>

/* An owned, started context. ERR_UNSUPPORTED where OpenSSL's configuration leaves the algorithm out. */
int evp_start(EVP_MD_CTX **out, enum digest_kind kind, struct err *err);

/* ERR_SYSTEM with OpenSSL's own reason, whose queue is emptied. */
int evp_fail(const char *what, struct err *err);

#endif
