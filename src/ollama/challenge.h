/* challenge: what a registry wants before it answers (WWW-Authenticate; RFC 9110, 11.6.1; Token Authentication
 * Specification). Pure. */
#ifndef BERTH_OLLAMA_CHALLENGE_H
#define BERTH_OLLAMA_CHALLENGE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

struct challenge {
    const char *scheme;                  /* "Bearer", "Basic", … as sent */
    const char *realm, *service, *scope; /* NULL: not given */
};

/* The first challenge of a field; strings live in the arena. ERR_PROTOCOL where there is none. */
int challenge_parse(struct arena *a, struct span field, struct challenge *out, struct err *err);

/* The URL that hands out a token: the realm with service and scope in its query; `scope` where the challenge names
 * none. */
int challenge_token_url(const struct challenge *c, const char *scope, struct buf *out, struct err *err);

#endif
