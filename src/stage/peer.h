/* peer: what two machines of a market say to each other when one fetches a blob from the other. Pure.
 *
 *   GET /v1/blobs/sha256/<64 hex digits>
 *   Authorization: Bearer <grant for that digest>        Range: bytes=…, as any origin takes it
 *   Berth-Origin: <base64 of source, location and version, each ended by a NUL>
 *
 * A digest alone is a claim: whoever serves gives content only if the same origin led it to that content. That the
 * origin lets the job read it is the asking machine's to make sure of. */
#ifndef BERTH_STAGE_PEER_H
#define BERTH_STAGE_PEER_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/json.h"
#include "cache/cache.h"

#define PEER_PATH          "/v1/blobs/sha256/"
#define PEER_ORIGIN_HEADER "Berth-Origin"
#define PEER_ORIGIN_MAX    8192 /* of a header's value; an origin that does not fit is not asked of peers */
#define PEER_ADDRESS_MAX   64   /* "1.2.3.4:5" or "[::1]:5", with the NUL */
#define PEER_DIGEST_MAX    65   /* SHA-256 in hex, with the NUL */
#define PEER_TOKEN_MAX     256
#define PEER_NODE_MAX      65

struct peer {
    char node[PEER_NODE_MAX]; /* its id, for people */
    char address[PEER_ADDRESS_MAX];
    char fingerprint[PEER_DIGEST_MAX]; /* of its key, see struct xfer_policy */
    char token[PEER_TOKEN_MAX];
};

/* One of a server's list. False for what cannot be used: an address that is a name (where that leads is not the
 * server's word), a fingerprint that is no SHA-256, a token that does not fit into a header. */
bool peer_read(const json_t *item, struct peer *out);
/* A numeric address with its port, as peer_read() wants it. */
bool peer_address_ok(struct span address);
bool peer_digest_ok(const char *hex); /* lower case */

/* Append the header's value. ERR_LIMIT: it does not fit. */
int peer_origin_write(const struct cache_origin *origin, struct buf *out, struct err *err);
/* Strings go to the arena; the size is unknown. ERR_INVALID. */
int peer_origin_read(struct span value, struct arena *a, struct cache_origin *out, struct err *err);

/* What a Range header asks of `size` bytes (RFC 9110, 14.2). 1: *first and *n are to be sent; 0: the whole, since there
 * is no range or none that is understood (several, other units); -1: nothing of it is there. */
int peer_range(const char *header, uint64_t size, uint64_t *first, uint64_t *n);

#endif
