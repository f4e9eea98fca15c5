/* cert: a TLS identity of one's own: an Ed25519 key, and a certificate that it signs itself.
 *
 * Whoever connects knows the key by its *fingerprint*, the SHA-256 of the certificate's public key (the DER form of its
 * SubjectPublicKeyInfo, in lower-case hex), and looks at nothing else in the certificate: name and dates in it are the
 * same for everybody. All of it follows from the key, which is kept in a key file (seal.h) of mode 0600.
 * Sources: RFC 5280, RFC 8410, RFC 7468. */
#ifndef BERTH_SEAL_CERT_H
#define BERTH_SEAL_CERT_H

#include "seal/seal.h"

#define SEAL_CERT_KEY_BYTES  32 /* of a key: its seed (RFC 8032) */
#define SEAL_FINGERPRINT_MAX 65 /* with the NUL */
#define SEAL_PEM_MAX         1024

struct seal_cert {
    char cert[SEAL_PEM_MAX], key[SEAL_PEM_MAX]; /* PEM; wipe the struct (seal_cert_wipe()) after use */
    char fingerprint[SEAL_FINGERPRINT_MAX];
};

/* From the key file at `path`, made where it is not there. Errors as of seal_pair_open(). */
int seal_cert_open(struct seal_cert *out, const char *path, struct err *err);
/* The same from a key; pure. */
int seal_cert_make(struct seal_cert *out, const uint8_t key[SEAL_CERT_KEY_BYTES], struct err *err);
void seal_cert_wipe(struct seal_cert *c);

#endif
