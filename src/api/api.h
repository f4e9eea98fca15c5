/* api: the client of a berth server; used by the command line and by nodes.
 *
 * One struct api is a server's address and a token, over a pool of kept-alive connections; any number of threads may
 * use it at once, each call blocks its own. Answers are JSON; docs/api.md says what they hold. An error that the server
 * words comes back with its kind, its message and its hint: INVALID, DENIED (401 and 403), NOTFOUND, EXISTS, REFUSED
 * (409 conflict), CHANGED (409 lost), LIMIT (413, 429), UNSUPPORTED, BUSY (503), SYSTEM (500); ERR_TRANSIENT and
 * ERR_TIMEOUT where no answer came, after the tries. The token goes to this server only, and into no error. */
#ifndef BERTH_API_API_H
#define BERTH_API_API_H

#include "base/cancel.h"
#include "base/err.h"
#include "base/json.h"

#include <stdint.h>

struct api;

#define API_TOKEN_FILE_MAX 4096
#define API_ANSWER_MAX     ((size_t)64 << 20)
#define API_PAGES_MAX      100000 /* of one listing */

struct api_opts {
    const char *server;   /* "https://berth.example:7480"; a path is kept in front of the API's own */
    const char *token;    /* NULL: only what is public. Copied, wiped at the end */
    const char *ca_file;  /* PEM, NULL: the system's */
    uint32_t connections; /* kept; 0: 8 */
};

/* ERR_INVALID for the address; ERR_REFUSED: a token over plain http:// to another machine. */
int api_open(struct api **out, const struct api_opts *opts, struct err *err);
void api_free(struct api *a);
const char *api_server(const struct api *a); /* borrowed */
/* From now on use this one: after a join token was exchanged. Not while calls are under way. ERR_REFUSED as above. */
int api_set_token(struct api *a, const char *token, struct err *err);

/* The first line of a file that only its owner may read (ERR_REFUSED otherwise). Owned; free with str_free_secret(). */
char *api_read_token(const char *path, struct err *err);

struct api_call {
    const char *method;          /* NULL: GET, or POST with a body */
    const char *path;            /* "/api/v1/orchestrator/jobs", encoded, with its query */
    const json_t *body;          /* NULL: none */
    const char *idempotency_key; /* makes a POST one that may be repeated */
    bool repeat;                 /* the call may be repeated though it is a POST: it says so of itself (epochs) */
    uint32_t total_ms;           /* 0: 60,000; for long polls: more than they wait */
    const struct cancel *cancel;
    json_t **refusal; /* gets the whole of an answer that is an error (owned); NULL: not wanted */
};
/* The answer's JSON, owned; {} for an empty one. `out` may be NULL. */
int api_call(struct api *a, const struct api_call *call, json_t **out, struct err *err);

/* Follow "next_token": `each` gets every page (borrowed), -1 ends with its error, 1 ends early. `path` may hold a
 * query. */
int api_pages(struct api *a, const char *path, const struct cancel *cancel,
              int (*each)(void *ctx, const json_t *page, struct err *err), void *ctx, struct err *err);

/* Server-sent events. `each` gets every event: 0 goes on, 1 ends, -1 ends with its error. A connection that is cut is
 * made anew from the last id that was seen, up to `tries` times in a row without an event (0: 10). Blocks until an end:
 * the server's ("end" events are passed on first), the caller's, or ERR_CANCELLED. */
struct api_event {
    const char *event; /* "message" where the server names none */
    const char *id;    /* the last one seen; "" before the first */
    struct span data;
};
struct api_events {
    const char *path; /* with its query */
    int (*each)(void *ctx, const struct api_event *event, struct err *err);
    void *ctx;
    unsigned tries;
    const struct cancel *cancel;
};
int api_events(struct api *a, const struct api_events *what, struct err *err);

/* "/api/v1/…/{id}": `id` percent-encoded into a path; owned. */
char *api_path(struct err *err, const char *before, const char *id, const char *after);

#endif
