/* managed: a place of the operator's where jobs with the publisher s3managed leave their results.
 *
 * The server has the keys; a node gets URLs, signed in advance, for one object: <prefix>/<job>/<index>/<epoch>.tar.gz.
 * Each claim has a key of its own, so that whoever lost it can spoil nothing of the next one's. Thread-safe; a grant
 * waits for the store. */
#ifndef BERTH_SERVER_MANAGED_H
#define BERTH_SERVER_MANAGED_H

#include "market/market.h"
#include "publish/publish.h"

struct managed;

#define MANAGED_CALLS_MAX   2     /* grants made at once; ERR_BUSY beyond: other calls need threads, too */
#define MANAGED_URL_S       21600 /* how long the URLs of a grant are good for */
#define MANAGED_PARTS_AHEAD 64    /* URLs in a grant; further ones are asked for */

/* `place`: "s3://bucket/prefix". `access` without keys: the server's own are used. Borrows both and `http`.
 * ERR_INVALID, and those of s3_open() and creds_open(). */
int managed_open(struct managed **out, const char *place, const struct publish_access *access, struct http *http,
                 struct err *err);
void managed_free(struct managed *m);

/* A grant (s3/grant.h) to store about `bytes` (0: not known); what earlier claims began is aborted. */
int managed_grant(struct managed *m, const struct market_ref *x, uint64_t bytes, json_t **out, struct err *err);
/* One more URL of that upload: of `part`, or where it is 0 of `last`, "complete" or "abort". */
int managed_url(struct managed *m, const struct market_ref *x, const char *upload_id, unsigned part, const char *last,
                struct buf *url, struct err *err);

/* Whether a published result lies where this job's belong; NULL m: nowhere. */
bool managed_holds(const struct managed *m, const char *job, const char *bucket, const char *key);
int managed_get_url(struct managed *m, const char *key, const char *version_id, uint32_t expires_s, struct buf *url,
                    struct err *err);

#endif
