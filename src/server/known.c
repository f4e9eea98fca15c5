#include "server/known.h"

#include "seal/seal.h"

#include <string.h>

/* Of the hash that is kept at rest, too: nobody can choose a token that falls upon another's piece. */
static uint64_t piece_of(struct span token)
{
    uint8_t hash[SEAL_HASH_BYTES];
    uint64_t piece;
    seal_token_hash(hash, token);
    memcpy(&piece, hash, sizeof piece);
    return piece ? piece : 1;
}

bool known_has(struct known *k, struct span token)
{
    uint64_t piece = piece_of(token);
    return atomic_load(&k->slots[piece % KNOWN_SLOTS]) == piece;
}

void known_add(struct known *k, struct span token)
{
    uint64_t piece = piece_of(token);
    atomic_store(&k->slots[piece % KNOWN_SLOTS], piece);
}

void known_drop(struct known *k, struct span token)
{
    uint64_t piece = piece_of(token);
    atomic_compare_exchange_strong(&k->slots[piece % KNOWN_SLOTS], &piece, 0);
}
