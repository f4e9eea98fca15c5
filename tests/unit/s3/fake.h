/* fake: stands in for the network and for credentials. A script of answers is played in order; every request is held
 * against the one it expects. */
#ifndef BERTH_TEST_S3_FAKE_H
#define BERTH_TEST_S3_FAKE_H

#include "s3/s3.h"

struct fake_answer {
    const char *expect;  /* "GET http://host/path?query", compared as a start */
    int status;          /* 0: the call fails with ERR_TRANSIENT after the body */
    const char *headers; /* "name: value\n" lines; NULL */
    const char *body;    /* NULL */
};

/* Play `answers` (ends with a NULL expect) from now on. */
void fake_play(const struct fake_answer *answers);
bool fake_played_out(void);
const char *fake_headers(void); /* that the last request was sent with, one a line */

/* Instead of a script: all is answered by a function, on the thread that asks. NULL: the script again. */
typedef int fake_server(void *ctx, const struct http_request *req, struct http_response *resp, struct err *err);
void fake_serve(fake_server *serve, void *ctx);

/* An answer as the engine would show it; release it. */
void fake_response(struct http_response *out, int status, const char *headers, const char *body);

/* Credentials that are what is given, until they are renewed. */
struct creds *fake_creds(const char *id, const char *secret);
void fake_creds_renew_as(struct creds *c, const char *id); /* what the next renewal gives */
unsigned fake_creds_expired(const struct creds *c);        /* times they were said to have expired */

#endif
