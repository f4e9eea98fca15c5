/* market, inside: rows, transactions, and the one way an execution moves.
 *
 * Locks, on a database that has them: a transaction takes a node's row first, then jobs in the order of their ids, and
 * a job's row before its executions; so nothing waits in a circle. The claim takes jobs and executions without waiting.
 * Everything of an execution but its log counters is written under its job's row. */
#ifndef BERTH_MARKET_MARKET_PRIV_H
#define BERTH_MARKET_MARKET_PRIV_H

#include "base/arena.h"
#include "db/db.h"
#include "market/decide.h"
#include "market/market.h"

#define EXEC_ID_MAX    (MARKET_ID_MAX + 8) /* "<job>/<index>" */
#define REASON_MAX     512
#define LISTEN_CHANNEL "berth"
#define CHANGED_MAX    32          /* things told of after one commit; more are found by polling */
#define JSON_TEXT_MAX  (64u << 10) /* of info, labels, progress and the like, as stored */
#define NEEDS_TEXT_MAX 4096        /* of one job's requirements: a claim may look at thousands */
#define LEFT_MAX       512         /* executions that a connection remembers not to open */
#define VALUE_NONE     INT64_MAX   /* of a number that may be NULL */

struct market {
    struct db *db;
    struct market_opts opts; /* db_url is not kept */
    struct {
        int64_t now_ms; /* the database's, when the transaction began */
        char changed[CHANGED_MAX][MARKET_NODE_MAX];
        bool others[CHANGED_MAX]; /* servers are told as well */
        size_t changed_count;
    } tx;
    struct left {
        uint64_t what;    /* an execution, hashed; 0: none */
        int64_t until_ms; /* then it is tried again */
    } left[LEFT_MAX];     /* what this connection's keys did not open: passed over for a while */
    uint32_t crowd;       /* over how many of the first in the queue this connection's claims spread: see claim.c */
    struct room {         /* how many may be posted before the queue, or what one poster has in it, is counted again */
        char of[MARKET_ADDRESS_MAX + MARKET_ID_MAX]; /* a market; with a poster */
        int64_t left;
    } queue_room, poster_room;
};

/* Schema, and the one clause in which the databases differ: how rows are locked. */
int schema_migrate(struct db *db, struct err *err);
struct schema_locks {
    const char *claim, *job, *exec;
};
const struct schema_locks *schema_locks(struct db *db);
#define CLAIM_CANDIDATES_MAX 8

/* ---- Transactions */

int market_now(struct market *m, int64_t *now_ms, struct err *err);
int market_begin(struct market *m, struct err *err);                    /* sets tx.now_ms */
int market_begin_at(struct market *m, int64_t now_ms, struct err *err); /* a time asked for a moment ago */
int market_clock(struct market *m, struct err *err);                    /* sets tx.now_ms anew */
int market_end(struct market *m, int rc, struct err *err); /* rc 0: commit and tell, else roll back. Returns rc */
/* To be told after the commit; `others`: to other servers too, which costs the database something. */
void market_changed(struct market *m, const char *what, bool others);

/* ---- Queries: parameters in order, errors sticky until run or next. */

struct query {
    struct db_stmt *s; /* NULL after an error */
    struct err *err;
    int bound;
};
struct query query_on(struct market *m, const char *sql, struct err *err);
void query_i64(struct query *q, int64_t v);
void query_value(struct query *q, int64_t v); /* VALUE_NONE: NULL */
void query_text(struct query *q, const char *v);
void query_span(struct query *q, struct span v);
void query_blob(struct query *q, struct span v); /* p NULL: NULL */
int query_next(struct query *q);                 /* 1, 0, -1 */
int query_run(struct query *q);
int query_start(struct query *q);                  /* as db_start(): to be read with query_next() */
int query_later(struct query *q);                  /* as db_later(): within a transaction, nobody waits for it */
int query_one(struct query *q, int64_t *out);      /* the first column of a row, or 0 where there is none */
int64_t query_get(const struct query *q, int col); /* VALUE_NONE for NULL */
void query_copy(const struct query *q, int col, char *out, size_t size);
char *query_dup(const struct query *q, int col, struct arena *a); /* NULL for NULL */
static inline void query_done(struct query *q)
{
    if (q->s)
        db_done(q->s);
}
#define query_str(q, col, out) query_copy(q, col, out, sizeof(out))

/* ---- JSON */

int put_ms(json_t *o, const char *key, int64_t ms, struct err *err); /* VALUE_NONE: null */
int put_i64(json_t *o, const char *key, int64_t v, struct err *err);
int put_bool(json_t *o, const char *key, bool v, struct err *err);
/* The JSON text of a column, or `fallback` (stolen) for NULL. */
int put_stored(json_t *o, const char *key, const struct query *q, int col, json_t *fallback, struct err *err);
int append(json_t *list, json_t *value, struct err *err); /* steals */
/* Compact text of at most `max` bytes; NULL value: NULL text, which is no error. */
int json_text(const json_t *value, size_t max, const char *what, char **out, struct err *err);
/* Hand `value` over to *out, or release it where nobody wants it; fails where err is set. */
int give(json_t **out, json_t **value, struct err *err);
/* {"k": "v"}, at most MARKET_LABELS_MAX of at most 256 bytes each. */
int check_labels(const json_t *labels, struct err *err);

/* ---- Pages: "<number>.<id>", the last entry seen. */
struct page_at {
    uint32_t limit;
    bool first; /* from the beginning */
    int64_t number;
    char id[MARKET_NODE_MAX];
};
int page_open(const struct market_page *page, struct page_at *at, struct err *err);
struct page_rows {
    const char *things;                                                /* the member that is their list */
    json_t *(*row)(void *ctx, const struct query *q, struct err *err); /* one of them */
    void *ctx;
    int id_column, number_column; /* of what the next page begins after; number_column -1: only the id counts */
};
/* What `q` finds, which is asked for one row more than the page takes, as {THINGS: [ROW], "next_token"}. Of large rows
 * a page has fewer than it was asked for. */
json_t *page_rows(struct query *q, struct page_at *at, const struct page_rows *rows, struct err *err);

/* ---- Who may */
int need_operator(const struct market_caller *c, struct err *err);
int check_address(const char *what, const char *s, struct err *err); /* of a market or node */
/* A token for one market names no other. The answer tells its holder what the token says, and of the other market not
 * even whether there is one. */
int check_token_market(const struct market_caller *c, const char *market, struct err *err);
int new_id(const char *prefix, char out[MARKET_ID_MAX], struct err *err);
/* A new token in the table, inside the caller's transaction; `id` "": a new one. */
int token_make(struct market *m, const struct market_token_opts *o, const char *node, char token[SEAL_TOKEN_MAX],
               char id[MARKET_ID_MAX], struct err *err);
/* Whether the caller's token is still good, asked together with what follows: ERR_DENIED. */
struct query token_start(struct market *m, const struct market_caller *c, struct err *err);
int token_end(struct query *q, int64_t now_ms);

/* ---- Sealing: values bound to what they belong to. */
int seal_json(const struct market *m, const json_t *value, const char *of, const char *name, struct buf *out,
              struct err *err);
json_t *unseal_json(const struct market *m, struct span sealed, const char *of, const char *name, struct err *err);
/* Open what any key of the file sealed, and append it sealed under the first one. */
int seal_anew(const struct market *m, struct span sealed, const char *of, const char *name, struct buf *out,
              struct err *err);
/* The secrets that `definition` (of spec_to_json()) names, by name, from the job they came from: {NAME: VALUE}. */
json_t *job_secrets(const struct job *job, const json_t *definition, struct err *err);

/* ---- What a job asks for, stored as {"cpus", "memory_bytes", "disk_bytes", "gpus", "gpu_all", "vram_mib",
 * "constraints": [{"key","op","values"}]}. */
json_t *needs_of_job(const struct job *job, struct err *err);
int needs_check(const json_t *o, struct err *err); /* from a client */
int needs_read(const json_t *o, bool confidential, struct arena *a, struct needs *out, struct err *err);
int needs_parse(struct span text, bool confidential, struct arena *a, struct needs *out, struct err *err);
/* The keys of what its inputs ask for, hashed; [HEX]. */
json_t *holds_of_job(const struct job *job, struct err *err);

/* ---- Jobs and executions */

struct job_row {
    char id[MARKET_ID_MAX], market[MARKET_ADDRESS_MAX], owner[MARKET_ID_MAX];
    char node[MARKET_NODE_MAX], reason[REASON_MAX];
    int64_t moves, exit_code, finished_ms, queue_timeout_ms;
    enum exec_state state;
    uint32_t counts[EXEC_STATE_COUNT];
    bool confidential;
};
#define JOB_ROW_COLUMNS                                                                                                \
    "j.id, j.market, j.owner, j.node, j.reason, j.moves, j.exit_code, j.finished_ms, j.queue_timeout_ms, j.state,"     \
    " j.counts, j.confidential"
void counts_read(struct span text, uint32_t counts[EXEC_STATE_COUNT]); /* the column `counts`; what is no number is 0 */
void job_read(const struct query *q, int at, struct job_row *j);       /* of JOB_ROW_COLUMNS from column `at` on */
struct exec_row {
    char id[EXEC_ID_MAX], job[MARKET_ID_MAX], market[MARKET_ADDRESS_MAX];
    char node[MARKET_NODE_MAX], avoid_node[MARKET_NODE_MAX], reason[REASON_MAX]; /* node "": none */
    uint32_t index;
    int64_t epoch, queued_ms, claimed_ms, started_ms, finished_ms, exit_code;
    struct exec_facts facts;
};
#define EXEC_COLUMNS                                                                                                   \
    "e.id, e.job, e.market, e.node, e.avoid_node, e.reason, e.idx, e.epoch, e.queued_ms, e.claimed_ms, e.started_ms,"  \
    " e.finished_ms, e.exit_code, e.state, e.attempt, e.max_attempts, e.lease_until_ms, e.definition_until_ms,"        \
    " e.queue_deadline_ms, e.total_deadline_ms, e.stop_as, e.stop_by_ms"
#define EXEC_COLUMN_COUNT 22
void exec_read(const struct query *q, struct exec_row *x); /* of a SELECT that begins with EXEC_COLUMNS */
void exec_id(char out[EXEC_ID_MAX], const char *job, uint32_t index);

/* Lock a job and read it: 1, 0 where there is none, -1. */
int job_lock(struct market *m, const char *id, struct job_row *j, struct err *err);
int job_store(struct market *m, const struct job_row *j, struct err *err);
/* The same for an execution, its job's row and its own; exec_lock_start() alone does not wait for them yet. */
int exec_lock(struct market *m, const char *job, uint32_t index, struct job_row *j, struct exec_row *x,
              struct err *err);
struct query exec_lock_start(struct market *m, const char *job, uint32_t index, struct err *err);
int exec_lock_end(struct query *q, struct job_row *j, struct exec_row *x);
int exec_load(struct market *m, const char *job, uint32_t index, struct exec_row *x, struct err *err); /* 1, 0, -1 */
int exec_store(struct market *m, const struct exec_row *x, struct err *err);
/* Carry out a verdict: the row, the job's counts, the history. `reason` is used where the verdict has none. */
int exec_apply(struct market *m, struct job_row *j, struct exec_row *x, const struct verdict *v, const char *reason,
               struct err *err);
/* The execution this caller holds under that epoch, its job locked; ERR_CHANGED. */
int exec_held(struct market *m, const struct market_caller *c, const struct market_ref *ref, struct job_row *j,
              struct exec_row *x, struct err *err);
/* The same by a mere look, without a lock. */
int exec_peek_held(struct market *m, const struct market_caller *c, const struct market_ref *ref, struct exec_row *x,
                   struct err *err);
int lost_error(const struct market_ref *ref, struct err *err);

/* A job's whole id from a beginning of it, for one who may see it; ERR_NOTFOUND. */
int job_find(struct market *m, const struct market_caller *c, const char *id, char out[MARKET_ID_MAX], struct err *err);
json_t *job_json(struct market *m, const char *id, struct err *err); /* JOB */
int uploads_json(struct market *m, const char *exec, int64_t before_epoch, json_t **out, struct err *err);
int definition_keep(struct market *m, const char *exec, int64_t epoch, const char *sealed, struct err *err);

/* ---- Nodes */

/* Which market the caller's node works for; ERR_DENIED: it may not (yet, or any more). */
int node_approved_market(struct market *m, const struct market_caller *c, char address[MARKET_ADDRESS_MAX],
                         struct err *err);

struct node_row {
    char id[MARKET_NODE_MAX], market[MARKET_ADDRESS_MAX], state[16];
    bool ready, live;
    uint32_t slots, running; /* executions: of node_facts() only */
    int64_t scan_rank, claims, max_window_ms;
    char scan_id[EXEC_ID_MAX];
    struct machine machine; /* its labels lie in the arena */
};
#define NODE_FACTS                                                                                                     \
    "n.id, n.market, n.state, n.ready, n.last_seen_ms, n.slots, n.info, n.labels, n.public_key,"                       \
    " n.scan_rank, n.scan_id, n.claims, (SELECT locality_window_ms FROM markets WHERE address = n.market)"
#define NODE_FACTS_COUNT 13
int node_facts_read(const struct market *m, const struct query *q, int64_t now_ms, struct arena *a,
                    struct node_row *out, struct err *err);
struct query node_facts_start(struct market *m, const char *id, struct err *err);
int node_facts_end(struct market *m, struct query *q, int64_t now_ms, struct arena *a,
                   struct node_row *out); /* ERR_NOTFOUND */
bool node_may_claim(const struct node_row *n);
json_t *node_json(struct market *m, const char *id, struct err *err); /* NODE */
int node_holds_set(struct market *m, const char *node, const json_t *holds, struct err *err);
int need_node(const struct market_caller *c, struct err *err);
int market_required_version(struct market *m, const char *address, int64_t *out, struct err *err);
bool is_sha256(const char *s);

#endif
