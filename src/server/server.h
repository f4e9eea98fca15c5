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

#define SERVER_PRESIGN_MAX_S 604800 /* as S3 has it */

struct server_opts {
    const char *listen;             /* "127.0.0.1:7480" */
    const char *tls_cert, *tls_key; /* NULL: plain HTTP */
    bool insecure;                  /* plain HTTP for other machines, too */
    const char *db_url;             /* as db_open() takes it */
    const char *key_file;           /* made where it is not there */
    uint32_t lease_ms;              /* 0: the market's own */
    unsigned threads;               /* 0: 8 */
    unsigned requests_per_second;   /* of one token, or of one address without one; 0: 200 */
    uint32_t request_ms;            /* for a request to arrive whole; 0: httpd's own */
    unsigned presign_s;             /* how long URLs of results are good for; 0: 1,800 */
    struct publish_access results;  /* where results are, to sign their URLs; its keys are not used. Borrowed */
    const char *managed;            /* "s3://bucket/prefix" for results of publishers s3managed; NULL: none */
    struct http *http;              /* borrowed */
};

/* Errors: those of httpd_start(), market_open(), seal_keys_open(), managed_open(); ERR_REFUSED: another address than
 * loopback without TLS or `insecure`; ERR_INVALID: presign_s above SERVER_PRESIGN_MAX_S. */
int server_start(struct server **out, const struct server_opts *opts, struct err *err);
const char *server_address(const struct server *s); /* "http://127.0.0.1:7480" */
/* An operator's token: the first of an empty database, or `another` one. 1 and the owned token (free with
 * str_free_secret()); 0: there was a first one already, and no other is wanted. */
int server_operator_token(struct server *s, bool another, char **token, struct err *err);
/* Whether `token` is an operator's in this database: 1 or 0. */
int server_knows_operator(struct server *s, const char *token, struct err *err);
void server_stop(struct server *s);

#endif
