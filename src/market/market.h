/* market: queues of jobs for classes of machines, over SQL; what a server's routes do, without HTTP.
 *
 * Words. A *market* has an address and a queue. A *job* has `count` *executions*; claims, leases and results are
 * theirs, the job's state is derived from them (market/decide.h, where all decisions are pure). A claim is an
 * execution's *epoch*: it grows with every claim, every write of a node names it, and is refused once it moved on.
 *
 * Promises. One execution is claimed by one node at a time, whatever number of servers work on the same database; one
 * result at most is committed for it; a job that was acknowledged (after market_sync(), where power may fail) is never
 * lost, and comes to an end as long as some node lives. Secrets are sealed at rest, and leave only towards the node
 * that holds the claim. Time is the database's.
 *
 * Threads. A struct market is one connection, for one thread at a time; open one per thread, none across fork(). The
 * keys are shared and must outlive it. All calls block on SQL, none on anything else; each is one or a few short
 * transactions, and may be repeated after an error.
 *
 * Ownership. Every function takes its caller, and answers ERR_NOTFOUND for what that one may not see. What goes on the
 * wire comes as an owned json_t, shaped as docs/api.md says ("→ {…}" below names it); `out` may be NULL where nobody
 * wants it. Strings in structs are borrowed for the call. Times are Unix milliseconds.
 *
 * Errors, and what a server makes of them: INVALID 400 invalid · NOTFOUND 404 not_found · DENIED 403 denied (401
 * unauthenticated from market_token_auth()) · EXISTS 409 exists · REFUSED 409 conflict · CHANGED 409 lost (the epoch
 * moved on) · LIMIT 429 limit · UNSUPPORTED 422 unsupported · BUSY, TRANSIENT, TIMEOUT 503 busy · the rest 500
 * internal (their text names the database, and is for the log). */
#ifndef BERTH_MARKET_MARKET_H
#define BERTH_MARKET_MARKET_H

#include "base/json.h"
#include "seal/seal.h"
#include "spec/job.h"

#include <stdint.h>

struct market;

#define MARKET_LEASE_MS      45000
#define MARKET_HEARTBEAT_MS  15000
#define MARKET_DEFINITION_MS 120000 /* how long a claim waits for a confidential definition */
#define MARKET_STOP_GRACE_MS 60000  /* a node that was told to stop and still is at it loses its claim */

#define MARKET_ID_MAX         40 /* ids of jobs ("j-" and 24 characters), tokens ("t-"…), with the NUL */
#define MARKET_ADDRESS_MAX    65 /* of a market, with the NUL */
#define MARKET_NODE_MAX       65 /* a node's id, with the NUL; the same characters as an address */
#define MARKET_NAME_MAX       128
#define MARKET_LIST_MAX       500 /* most entries of one page; 0 asks for MARKET_LIST_DEFAULT */
#define MARKET_LIST_DEFAULT   50
#define MARKET_LOG_BYTES_MAX  (256u << 10)       /* of one call */
#define MARKET_RECORD_MAX     (1u << 20)         /* bytes of a run record in finish */
#define MARKET_PROGRESS_MAX   4096               /* bytes kept of what a node says of how far one execution is */
#define MARKET_SLOTS_MAX      64                 /* executions of one node at a time */
#define MARKET_HOLDS_MAX      4096               /* snapshots one node reports */
#define MARKET_HOLD_BYTES_MAX (INT64_C(1) << 50) /* of one of them; all of a node's add up without an overflow */
#define MARKET_BLOBS_MAX      1000               /* digests of one heartbeat's `add`, `remove`, and of one locate */
#define MARKET_NODE_BLOBS_MAX 100000             /* digests kept of one node; the oldest make room */
#define MARKET_NODE_GONE_MS   INT64_C(604800000) /* unheard of for so long, a node has nothing that a market knows of */
#define MARKET_LABELS_MAX     64
#define MARKET_PEER_BYTES_MAX (INT64_C(1) << 53) /* of one node; it counts no further */
#define MARKET_UPLOADS_MAX    64                 /* recorded for one execution */

struct market_opts {
    const char *db_url;           /* as db_open() takes it */
    const struct seal_keys *keys; /* borrowed */
    uint32_t busy_timeout_ms;     /* 0: the database module's own */
    uint32_t lease_ms;            /* 0: MARKET_LEASE_MS */
    int64_t (*now_ms)(void *ctx); /* NULL: the database's clock; tests bring their own */
    void *now_ctx;
    /* After a commit that somebody may be waiting for; `what` is a market's address (something to claim), a job id (its
     * state or logs) or a node id (something for its control poll). Runs on the calling thread; must not block or call
     * back. Other servers on the same database hear of markets and nodes through market_listen(), and find out about
     * jobs by asking every second or so. NULL: nobody is told. */
    void (*changed)(void *ctx, const char *what);
    void *changed_ctx;
};

/* Opens the database and brings its schema up to date. ERR_UNSUPPORTED: a newer berth wrote it. */
int market_open(struct market **out, const struct market_opts *opts, struct err *err);
void market_free(struct market *m);
int market_alive(struct market *m, struct err *err); /* asks the database */
/* Before what was done for somebody is acknowledged: from here on it outlives a power cut, too. */
int market_sync(struct market *m, struct err *err);
int64_t market_lease_ms(const struct market *m);

/* Wake-ups from other servers, on a connection of its own: they only save time, nothing depends on them. A wait ends
 * with 1 and what changed (as above), or 0 after the time-out or where the database tells nobody anything (SQLite:
 * after the whole time-out). After an error, free it and open another; until then poll. */
struct market_listener;
int market_listen(struct market_listener **out, const char *db_url, struct err *err);
int market_listen_wait(struct market_listener *l, uint32_t timeout_ms, char what[MARKET_NODE_MAX], struct err *err);
void market_listen_free(struct market_listener *l);

/* Housekeeping: expired leases, queue, total and definition time-outs, ended jobs and logs past their retention, old
 * idempotency keys, what nodes had that are gone. Bounded work; `more`: call again at once, else within a second or so.
 * Any number of servers may. */
int market_tick(struct market *m, bool *more, struct err *err);

/* Seal anew what was sealed under a key that is not the key file's first any more; once a pass over all is done, no
 * value needs the older keys but those that can't be opened, and those that a server with an older file still seals.
 * Begin with a pass of zeros; bounded work, `more`: call again. After an error the same pass goes on. */
struct market_reseal {
    unsigned column;
    char row[MARKET_ADDRESS_MAX];
    uint64_t renewed, closed; /* values: sealed anew; that no key in the file opens */
};
int market_reseal(struct market *m, struct market_reseal *pass, bool *more, struct err *err);

/* ---- Who calls */

/* X(name, word, letter in the token) */
#define MARKET_ROLES(X)                                                                                                \
    X(POSTER, "poster", 'p')                                                                                           \
    X(NODE, "node", 'n')                                                                                               \
    X(JOIN, "join", 'j')                                                                                               \
    X(OPERATOR, "operator", 'o')

enum market_role {
#define X(name, word, letter) MARKET_##name,
    MARKET_ROLES(X)
#undef X
};

struct market_caller {
    enum market_role role;
    char token[MARKET_ID_MAX];       /* the token's id: owner of what it posts, key of rate limits */
    char market[MARKET_ADDRESS_MAX]; /* the only market it is for; "": any. Of nodes and join tokens always set */
    char node[MARKET_NODE_MAX];      /* of a node's token: whose it is; "": nobody's before its first hello */
};

/* ERR_DENIED: unknown, revoked or past its time (one text for all three). */
int market_token_auth(struct market *m, struct span token, struct market_caller *out, struct err *err);
/* Whether the caller's token is still good, for whoever goes on working for it after a while: ERR_DENIED. */
int market_token_check(struct market *m, const struct market_caller *c, struct err *err);
/* The first operator's token of an empty database: 1 and the token, 0 where one was made before. */
int market_token_first(struct market *m, char token[SEAL_TOKEN_MAX], struct err *err);

struct market_token_opts {
    enum market_role role;
    const char *name;   /* NULL: "" */
    const char *market; /* NULL: any; needed for node and join, refused for operator */
    int64_t ttl_ms;     /* 0: for ever */
};
/* For operators. → {"token", "id", "role", "name", "market", "created_ms", "expires_ms"} */
int market_token_new(struct market *m, const struct market_caller *c, const struct market_token_opts *o, json_t **out,
                     struct err *err);

struct market_page {
    uint32_t limit;         /* 0: MARKET_LIST_DEFAULT */
    const char *next_token; /* NULL or "": from the beginning. ERR_INVALID where it is none of ours */
};
int market_token_list(struct market *m, const struct market_caller *c, const struct market_page *page, json_t **out,
                      struct err *err); /* → {"tokens", "next_token"} */
int market_token_revoke(struct market *m, const struct market_caller *c, const char *id, struct err *err);

/* ---- Markets. Reading is public. */

#define MARKET_POSTER_JOBS 10000     /* of one poster, unless a market says otherwise */
#define MARKET_KEEP        INT64_MIN /* of a setting: leave it as it is (for a new market: the default) */
struct market_settings {
    const char *name, *description; /* NULL: keep */
    int64_t locality_window_ms;     /* 10,000 */
    int64_t max_attempts;           /* 3 */
    int64_t max_queued;             /* jobs waiting; 100,000 */
    int64_t retention_ms;           /* of ended jobs; 7 days */
    int64_t max_log_bytes;          /* of one execution, all attempts; 16 MiB */
    int64_t max_per_poster;         /* executions of one poster's jobs that have not ended; MARKET_POSTER_JOBS */
};
#define MARKET_SETTINGS_KEEP                                                                                           \
    {                                                                                                                  \
        NULL, NULL, MARKET_KEEP, MARKET_KEEP, MARKET_KEEP, MARKET_KEEP, MARKET_KEEP, MARKET_KEEP                       \
    }
/* Make or change one; `created` (may be NULL) says which. → {"market": MARKET} */
int market_put(struct market *m, const struct market_caller *c, const char *address, const struct market_settings *s,
               bool *created, json_t **out, struct err *err);
int market_get(struct market *m, const char *address, json_t **out, struct err *err);
int market_list(struct market *m, const struct market_page *page, json_t **out, struct err *err); /* → {"markets", …} */

/* The document as a client sent it (JSON or YAML text, secrets in it). Both → the public form, which holds none. */
int market_required_put(struct market *m, const struct market_caller *c, const char *address, struct span document,
                        json_t **out, struct err *err);
int market_required_get(struct market *m, const char *address, json_t **out, struct err *err);

/* ---- Jobs */

#define MARKET_OWN (-1) /* of a time-out: the job file's own */
struct market_credentials {
    const char *access_key_id, *secret_access_key, *session_token, *region; /* NULL: not given */
};
struct market_post {
    const char *market;
    const struct job *job;  /* parsed, not changed; NULL with `confidential` */
    const json_t *requires; /* with `confidential`: what a node must have, see docs/api.md; NULL: nothing */
    uint32_t sealed_count;  /* with `confidential`: executions; 0: 1 */
    bool confidential;
    int64_t timeout_ms, queue_timeout_ms, total_timeout_ms; /* MARKET_OWN: the job's own; 0: none */
    const int32_t *priority;                                /* NULL: the job's own; -100 … 100 */
    const json_t *labels;                                   /* {"k": "v"}, over the job's own; NULL: none */
    const char *publish;                                    /* a URI; NULL: the job's own */
    const struct market_credentials *credentials;           /* NULL: none */
    const char *idempotency_key;                            /* NULL: none */
    struct span body;                                       /* what the key stands for: the request's body */
};
#define MARKET_POST_OWN                                                                                                \
    {                                                                                                                  \
        .timeout_ms = MARKET_OWN, .queue_timeout_ms = MARKET_OWN, .total_timeout_ms = MARKET_OWN                       \
    }
/* → {"job": JOB}. `again` (may be NULL): the same key posted it before. ERR_EXISTS: the key with another body;
 * ERR_LIMIT: the queue is full, or the poster has as much in the market as it may (operators may have any number);
 * ERR_NOTFOUND: no such market; ERR_UNSUPPORTED: its results are to go to a folder, which no node lets strangers name.
 */
int market_job_post(struct market *m, const struct market_caller *c, const struct market_post *post, bool *again,
                    json_t **out, struct err *err);

enum market_order { MARKET_BY_CREATED, MARKET_BY_PRIORITY, MARKET_BY_STATE };
struct market_job_query {
    const char *state, *market, *label_name, *label_value; /* NULL: any; a label by name alone, or with its value */
    enum market_order order;
    bool reverse; /* newest first without it, as the others from high to low */
    struct market_page page;
};
int market_job_list(struct market *m, const struct market_caller *c, const struct market_job_query *q, json_t **out,
                    struct err *err); /* → {"jobs", "next_token"} */

#define MARKET_WITH_HISTORY    0x1u
#define MARKET_WITH_EXECUTIONS 0x2u
/* `id` may be a unique beginning of at least 8 characters, here and below. → {"job", "history"?, "executions"?} */
int market_job_get(struct market *m, const struct market_caller *c, const char *id, unsigned with, json_t **out,
                   struct err *err);
int market_job_history(struct market *m, const struct market_caller *c, const char *id, json_t **out, struct err *err);
int market_job_executions(struct market *m, const struct market_caller *c, const char *id, json_t **out,
                          struct err *err);
/* → {"results": [{"index", "attempt", "exit_code", "published"}]}; a server adds `url`. */
int market_job_results(struct market *m, const struct market_caller *c, const char *id, json_t **out, struct err *err);
/* `reason` NULL or "": who stopped it. → {"job": JOB}; ERR_REFUSED: it has ended. */
int market_job_stop(struct market *m, const struct market_caller *c, const char *id, const char *reason, json_t **out,
                    struct err *err);
/* A confidential job's definition, sealed to the node that claimed it (base64). ERR_CHANGED: claimed anew since. */
int market_job_define(struct market *m, const struct market_caller *c, const char *id, uint32_t index, int64_t epoch,
                      const char *sealed, struct err *err);

/* For the server itself, to sign URLs of results; never on the wire. → {"definition": {"berth": 1, "job"}, "variables":
 * {NAME: VALUE}, "credentials": {…} or null}. Only for the job's own poster: ERR_NOTFOUND for all others. Strings of
 * it are wiped by market_secrets_free(). */
int market_job_secrets(struct market *m, const struct market_caller *c, const char *id, json_t **out, struct err *err);
void market_secrets_free(json_t *secrets);

/* One execution's log from after `cursor` (NULL or "": its beginning), at most about `max_bytes` (0: 256 KiB).
 * → {"events": [{"event": "log" or "gap", "id": CURSOR, "data": {…}}], "cursor", "ended": bool, "state", "exit_code",
 * "reason"}: `ended` once the job has come to its end and nothing follows `cursor`. */
int market_job_logs(struct market *m, const struct market_caller *c, const char *id, uint32_t index, const char *cursor,
                    uint32_t max_bytes, json_t **out, struct err *err);

/* Numbers for /metrics: {"jobs": {MARKET: {STATE: n}}, "nodes": {MARKET: {"ready", …}}, "oldest_queued_ms": {MARKET:
 * n}, "peer_bytes": {MARKET: {"sent", "got"}}} where the ages are of what waits longest, the bytes of all nodes that
 * ever were there. */
int market_numbers(struct market *m, json_t **out, struct err *err);

/* ---- Nodes, as clients see them */

int market_node_list(struct market *m, const struct market_caller *c, const char *market,
                     const struct market_page *page, json_t **out,
                     struct err *err); /* `market` NULL: all. → {"nodes", "next_token"} */
int market_node_get(struct market *m, const struct market_caller *c, const char *id, json_t **out, struct err *err);
enum market_node_action { MARKET_APPROVE, MARKET_REJECT, MARKET_DRAIN, MARKET_UNDRAIN };
/* For operators. A rejected node loses its claims at once, a draining one finishes them. → {"node": NODE} */
int market_node_set(struct market *m, const struct market_caller *c, const char *id, enum market_node_action action,
                    json_t **out, struct err *err);

/* ---- The agent's side. `c` holds the node's own token, and everything is for that node; a server checks the message's
 * "node" with market_check_node(). */

int market_check_node(const struct market_caller *c, const char *node, struct err *err); /* ERR_NOTFOUND */

struct market_hello {
    const char *node, *name, *market;            /* market NULL: the token's own */
    uint32_t slots;                              /* 0: 1 */
    const json_t *info, *labels;                 /* INFO; {"k": "v"}; NULL: none */
    const char *public_key;                      /* base64 of SEAL_PUBLIC_BYTES; NULL: takes no confidential jobs */
    const char *peer_address, *peer_fingerprint; /* NULL: serves no peers */
};
/* By a node's token, or a join token, which makes the node, approved, with a token of its own; the same again until
 * that token was used, since the answer may have been lost; then ERR_EXISTS. → {"node": NODE, "token"?, "lease_ms",
 * "heartbeat_ms", "required_version", "peer_key"?}: `peer_key` (base64) checks the grants that peers bring. */
int market_node_hello(struct market *m, const struct market_caller *c, const struct market_hello *h, json_t **out,
                      struct err *err);
/* → {"required_version", "images", "resources", "variables"}, secrets included: free with market_secrets_free(). */
int market_node_required(struct market *m, const struct market_caller *c, json_t **out, struct err *err);

/* At most `free_slots` executions, perhaps none; never waits: poll again when `changed` names the market, and every
 * second or so. `holds` [{"key", "bytes"}] or NULL: unchanged. → {"claims": [CLAIM]}: free with market_secrets_free().
 */
int market_node_claim(struct market *m, const struct market_caller *c, uint32_t free_slots, const json_t *holds,
                      json_t **out, struct err *err);
/* What a control poll says now; `news`: there is something to say (else wait and ask again). `required_version` is what
 * the node knows. `running` as in docs/api.md; NULL: none. → {"stop", "drain", "required_version"} */
int market_node_control(struct market *m, const struct market_caller *c, const json_t *running,
                        int64_t required_version, bool *news, json_t **out, struct err *err);

struct market_heartbeat {
    const json_t *running; /* [{"job","index","epoch","state","progress"?}]; NULL: none */
    bool ready;
    int64_t required_version;                /* what it is ready for; MARKET_KEEP: does not say */
    const char *readiness;                   /* NULL: "" */
    const json_t *cache;                     /* NULL: unchanged */
    const json_t *holds;                     /* NULL: unchanged */
    const json_t *blobs_add, *blobs_remove;  /* [HEX]; NULL: none */
    int64_t peer_sent_bytes, peer_got_bytes; /* since the node started; 0: nothing so far, or does not say */
    bool blobs_reset;                        /* forget all digests known of this node first */
};
int market_node_heartbeat(struct market *m, const struct market_caller *c, const struct market_heartbeat *h,
                          json_t **out, struct err *err); /* → {"renewed", "lost", "drain", "required_version"} */

/* An execution as its holder names it. All calls with one: ERR_CHANGED where this node does not hold that epoch. */
struct market_ref {
    const char *job; /* the whole id */
    uint32_t index;
    int64_t epoch;
};
/* ERR_REFUSED: a gap, `offset` is above what is known; *next_offset says what is. */
int market_node_logs(struct market *m, const struct market_caller *c, const struct market_ref *x, int stream,
                     uint64_t offset, struct span data, uint64_t *next_offset, struct err *err);
/* Record an upload (NULL: only ask). → {"previous": […]} */
int market_node_uploads(struct market *m, const struct market_caller *c, const struct market_ref *x,
                        const json_t *record, json_t **out, struct err *err);
/* Leave to complete the upload now: moves to publishing and renews the lease. → {"lease_ms"} */
int market_node_commit(struct market *m, const struct market_caller *c, const struct market_ref *x, json_t **out,
                       struct err *err);

struct market_finish {
    const char *outcome; /* "succeeded", "failed", "stopped", "timed_out" */
    bool has_exit_code;
    int32_t exit_code;
    const char *reason;      /* NULL: "" */
    const json_t *published; /* PUBLISHED or NULL */
    const json_t *record;    /* berth.json or NULL */
    bool retry;              /* the node's own fault: try elsewhere, while attempts are left */
};
/* The same again by the same epoch is fine. Records the result: the only one this execution will ever have. */
int market_node_finish(struct market *m, const struct market_caller *c, const struct market_ref *x,
                       const struct market_finish *f, struct err *err);
/* → {"peers": {HEX: [{"node", "address", "fingerprint", "token"}]}, "others"}: live, approved nodes of this market. The
 * token is a grant for that digest by that peer's `peer_key` (seal_grant_check()), good for MARKET_GRANT_MS. `others`:
 * any other node serves peers, whatever it holds; also told where no digest is asked for. `x` NULL: for what the market
 * requires, by an approved node (ERR_DENIED). */
#define MARKET_GRANT_MS  600000
#define MARKET_PEERS_MAX 8 /* of one digest */
int market_node_locate(struct market *m, const struct market_caller *c, const struct market_ref *x,
                       const json_t *digests, json_t **out, struct err *err);
/* → {"sealed": BASE64}; ERR_NOTFOUND so far. */
int market_node_definition(struct market *m, const struct market_caller *c, const struct market_ref *x, json_t **out,
                           struct err *err);

#endif
