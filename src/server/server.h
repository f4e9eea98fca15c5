/* server: the REST API of markets (docs/api.md), its metrics and its pages, over HTTP.
 *
 * Servers hold no state but connections: any number of them may work on one PostgreSQL, behind any load balancer. What
 * changes is told to those who wait here by the market's wake-ups, and found by polling otherwise.
 *
 * All functions are for one thread. Secrets that clients send go to the market sealed; none is logged. */
#ifndef BERTH_SERVER_SERVER_H
#define BERTH_SERVER_SERVER_H

#include "base/err.h"
#include "base/str.h"
#include "publish/publish.h"

#include <stdint.h>

struct server;

/* A file of the dashboard. */
struct server_page {
    const char *path, *type;
    struct span bytes; /* lives for ever */
};

struct server_opts {
    const char *listen;             /* "127.0.0.1:7480" */
    const char *tls_cert, *tls_key; /* NULL: plain HTTP */
    bool insecure;                  /* plain HTTP for other machines, too */
    const char *db_url;             /* as db_open() takes it */
    const char *key_file;           /* made where it is not there */
    uint32_t lease_ms;              /* 0: the market's own */
    unsigned threads;               /* 0: 8 */
    unsigned requests_per_second;   /* of one token, or of one address without one; 0: 200 */
    unsigned presign_s;             /* how long URLs of results are good for; 0: 1,800 */
    struct publish_access results;  /* how results are reached, to sign their URLs; borrowed */
    struct http *http;              /* for that; borrowed */
    const struct server_page *pages;
    size_t page_count;
};

/* Errors: those of httpd_start(), market_open(), seal_keys_open(); ERR_REFUSED: another address than loopback without
 * TLS or `insecure`. */
int server_start(struct server **out, const struct server_opts *opts, struct err *err);
const char *server_address(const struct server *s); /* "http://127.0.0.1:7480" */
/* The first operator's token of an empty database: 1 and the owned token (free with str_free_secret()), 0 where one was
 * made before. */
int server_first_token(struct server *s, char **token, struct err *err);
void server_stop(struct server *s);

#endif
