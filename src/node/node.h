/* node: the agent of a market: claims executions from a server, runs them here, reports.
 *
 * Outbound calls only, so it works behind NAT; unless it is told to serve blobs to its peers, the other nodes. A node
 * joins with a join token and has a token of its own from then on, kept with its id and its key pair in the state
 * folder (files of mode 0600). It claims once it holds what its market requires: images pulled, resources staged and
 * pinned.
 *
 * Words: an *execution* is held under an *epoch* by a *lease*. The lease is counted from before the request was sent
 * that brought it, by CLOCK_BOOTTIME, so that a machine that slept knows; when it has run out, the container is killed
 * and nothing is published, whatever the server thinks (self-fencing). A *will* is the last message of an execution,
 * written down before it starts and again at its end: what a crash leaves of it is delivered by the next start.
 *
 * A server that is away stops nothing: calls are repeated, logs are read back from the results folder by offset, and
 * what runs goes on until its lease ends. Strangers' jobs get the credentials that came with them and no others.
 *
 * node_run() blocks; its threads are its own. docs/api.md ("The agent's side") is the protocol. */
#ifndef BERTH_NODE_NODE_H
#define BERTH_NODE_NODE_H

#include "job/run.h"

#define NODE_SLOTS_MAX 64

struct node_opts {
    const char *server;
    const char *ca_file;     /* of the server's certificate; NULL: the system's */
    const char *token;       /* a join token, or the node's own; NULL: the state folder has it. Wiped by nobody here */
    const char *market;      /* NULL: the token's */
    const char *name;        /* for people; NULL: this machine's host name */
    const json_t *labels;    /* {"k": "v"}; NULL: none */
    uint32_t slots;          /* executions at once; 0: 1 */
    const char *state_dir;   /* made where it is not there; one node at a time */
    const char *results_dir; /* NULL: "results" in the state folder. What is in it is the node's to remove */
    bool keep_results;       /* results folders stay after the server knows the end */

    /* Other nodes of the market may fetch blobs of the cache: "127.0.0.1:0", port 0: a free one. NULL: they may not. */
    const char *peer_listen;
    uint64_t peer_bytes_per_second; /* ceiling of what is sent to them, alike to each address that reads; 0: none */
    const char *peer_address;       /* where they reach it, an address with or without a port; NULL: where it listens */
    uint64_t bytes_per_second; /* ceiling of what is fetched from them, as the origins have theirs in `xfer`; 0: none */

    /* What jobs run with: as in struct run_opts. `access` and `publish` are what the operator lets strangers' jobs use:
     * `ambient` is off in both, whatever it says here. All borrowed. */
    struct engine *engine;
    struct cache *cache;
    struct xfer *xfer;
    struct http *http;
    struct stage_access access;
    struct publish_access publish;
    const char *work_root;
    bool stale_if_error, no_gpu;
    enum run_network network; /* of jobs that ask for one, with the exceptions of `access`; where that comes to none,
                               * the reason of their end says so */
    uint64_t log_max_bytes, output_max_bytes, stop_grace_ms; /* 0: the job module's own */
    /* Buckets at the operator's own endpoint that jobs without credentials may use with the operator's. */
    const char *const *allow_buckets;

    /* CANCEL_STOP: no new claims, what runs may finish. CANCEL_KILL: what runs is stopped and given back. */
    const struct cancel *cancel;
    void (*say)(void *ctx, const char *text); /* something a person should know, on any thread; NULL: nobody */
    void *ctx;
};

/* Blocks until it was asked to end and has. ERR_DENIED: the server takes this node no more; ERR_BUSY: another process
 * uses the state folder; ERR_INVALID, ERR_REFUSED: the server's address. A server that does not answer is waited for.
 */
int node_run(const struct node_opts *opts, struct err *err);

#endif
