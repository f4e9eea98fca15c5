/* posting: a job's definition to a market of server.url, and what follows: its end, its log. */
#ifndef BERTH_CLI_POSTING_H
#define BERTH_CLI_POSTING_H

#include "cli/cli.h"

struct posting_opts {
    const char *market;
    const char *publish;                     /* NULL: the job's own */
    const char *credentials;                 /* "env"; NULL: none */
    const char *key;                         /* of idempotency; NULL: one is made */
    uint64_t timeout_ms, queue_ms, total_ms; /* 0: the job's own */
    const int64_t *priority;                 /* NULL: the job's own */
    const struct strv *labels;               /* K=V; NULL: none */
    bool confidential;                       /* only the node that claims it may read it */
    bool wait, follow, id_only;              /* wait for its end; show its log meanwhile; print its id alone */
};

/* `definition` and `needs` (as of confidential_requires()) become its own, whatever comes of it; NULL after an error
 * that `err` has already. What the command is to end with: 0 or, after a wait, as the container did. */
int posting_send(struct cli *cli, const struct posting_opts *o, json_t *definition, json_t *needs, struct err *err);

#endif
