/* known: tokens that were good here lately, so that those who guess at some cost their address, and the others do not.
 *
 * A table of fixed size that remembers pieces of hashes. It grants nothing: every token is looked up, and one that is
 * forgotten (another came into its slot) costs its address one request. Thread-safe. */
#ifndef BERTH_SERVER_KNOWN_H
#define BERTH_SERVER_KNOWN_H

#include "base/str.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define KNOWN_SLOTS 16384

struct known {
    _Atomic(uint64_t) slots[KNOWN_SLOTS]; /* zero to begin with: none */
};

bool known_has(struct known *k, struct span token);
void known_add(struct known *k, struct span token);
void known_drop(struct known *k, struct span token);

#endif
