/* seal, inside: key files. */
#ifndef BERTH_SEAL_SEAL_PRIV_H
#define BERTH_SEAL_SEAL_PRIV_H

#include "seal/seal.h"

#define KEY_BYTES      32
#define KEY_ID_BYTES   8
#define KEYFILE_MAX    4096
#define SEALED_VERSION 1

/* One 32-byte key a line, the current one first, read into locked memory. */
struct keyfile {
    size_t n;
    uint8_t id[SEAL_KEYS_MAX][KEY_ID_BYTES];
    uint8_t key[SEAL_KEYS_MAX][KEY_BYTES];
};

int seal_setup(struct err *err); /* libsodium; again is fine */
/* Owned, of sodium_malloc(); NULL with `err`. `magic` is the first line. */
struct keyfile *keyfile_read(const char *path, const char *magic, bool create, struct err *err);
int keyfile_add(const char *path, const char *magic, struct err *err);

#endif
