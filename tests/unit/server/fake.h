/* fake: a server without a listener: requests are handed to it as the frame would, out of a line of text, and nothing
 * goes over a socket. The frame's own part (heads, limits, threads) is not there. */
#ifndef BERTH_TESTS_SERVER_FAKE_H
#define BERTH_TESTS_SERVER_FAKE_H

#include "httpd/httpd_priv.h"
#include "server/server_priv.h"

struct fake_server {
    struct server server;
    struct httpd frame; /* who waits, only */
    struct httpd_route routes[SERVER_ROUTES_MAX];
    size_t route_count;
    char db_url[300], keys_path[300];
};

/* Database and keys lie in `dir`. */
int fake_open(struct fake_server *f, const char *dir, struct err *err);
void fake_close(struct fake_server *f);

struct fake_call {
    const char *method, *target; /* "/api/markets?limit=2" */
    const char *token;           /* NULL: none */
    struct span body;
};
#define FAKE_WAITS   0  /* a long poll that found nothing */
#define FAKE_NOTHING -1 /* no such route */
/* The status of the answer, whose text is appended to `answer`; of a stream as much as there is. */
int fake_call(struct fake_server *f, const struct fake_call *call, struct buf *answer);

#endif
