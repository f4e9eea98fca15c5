/* url: parse, build and redact http(s) URLs. By libcurl's URL parser (RFC 3986), which stays inside this module. */
#ifndef BERTH_XFER_URL_H
#define BERTH_XFER_URL_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

struct url {
    const char *scheme; /* "http" or "https" */
    const char *host;   /* lower case, IPv6 without brackets */
    uint16_t port;      /* the scheme's default where none is given */
    const char *path;   /* as sent, percent-encoded, at least "/" */
    const char *query;  /* as sent without '?', or NULL */
    bool default_port;
};

#define URL_LENGTH_MAX 16384

/* Strings live in the arena. Spaces and bytes outside ASCII become %XX; dot segments stay (keys may hold them); a
 * fragment is dropped; an address in an odd spelling ("0x7f.1") becomes the address it is. Errors: ERR_INVALID,
 * ERR_UNSUPPORTED (another scheme), ERR_REFUSED (a user name or password inside), ERR_LIMIT. */
int url_parse(struct arena *a, struct span text, struct url *out, struct err *err);
void url_write(const struct url *u, struct buf *out);
void url_authority(const struct url *u, struct buf *out); /* host[:port], as the Host header has it */
/* A reference as Location headers hold it, against its base (RFC 3986, 5). */
int url_resolve(struct arena *a, const struct url *base, struct span reference, struct url *out, struct err *err);

/* For logs and errors: scheme, host and path; the query only as "?…" since it can be a signature. */
void url_redact(struct span text, struct buf *out);
bool url_same_origin(const struct url *a, const struct url *b); /* scheme, host and port */
bool url_is_loopback(const struct url *u); /* "localhost", 127.0.0.0/8 or ::1 as the URL has it; nothing is looked up */

#endif
