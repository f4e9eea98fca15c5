/* remote: what the commands that speak to a server have in common: its address and token from the settings, and tables
 * out of its answers. */
#ifndef BERTH_CLI_REMOTE_H
#define BERTH_CLI_REMOTE_H

#include "api/api.h"
#include "cli/cli.h"

/* server.url, with the token of BERTH_TOKEN or server.token_file; without one only what is public works. */
int remote_open(const struct cli *cli, struct api **out, struct err *err);

#define REMOTE_JOBS    "/api/v1/orchestrator/jobs"
#define REMOTE_NODES   "/api/v1/orchestrator/nodes"
#define REMOTE_MARKETS "/api/markets"
#define REMOTE_TOKENS  "/api/v1/tokens"

enum remote_cell {
    CELL_TEXT,
    CELL_AGE,
    CELL_BYTES,
    CELL_NUMBER,
    CELL_DURATION,
    CELL_TIME,
    CELL_YES,
    CELL_NODE,      /* of a whole node: ready, preparing, gone, draining, pending or rejected */
    CELL_READINESS, /* of a whole node: what it prepares, as long as it does */
};
struct remote_column {
    const char *head;   /* a leading '>' aligns to the right */
    const char *member; /* "info.cpus" */
    enum remote_cell kind;
};
/* Objects of a list as a table on stdout, cut to the terminal's width. */
int remote_table(const struct cli *cli, const json_t *list, const struct remote_column *columns, struct err *err);
/* One object's members, a line each; those that are absent or null are passed over. */
int remote_describe(const json_t *object, const struct remote_column *lines, struct err *err);

/* All pages of "<things>" as one list, printed as a table or, with --json, as JSON; that there are none is said on
 * stderr. `most`: 0: all. */
int remote_list(const struct cli *cli, struct api *api, const char *path, const char *things, uint64_t most,
                const struct remote_column *columns, struct err *err);

/* "k=v" words to {"k": "v"}; owned, NULL with `err`. */
json_t *remote_labels(const struct strv *words, struct err *err);

/* Follow a job's log to stdout and stderr until it ends, with its states on stderr; *exit_code is what the command
 * should end with. `follow` false: what there is now, and no states. */
int remote_logs(const struct cli *cli, struct api *api, const char *id, uint64_t index, bool follow, bool show,
                int *exit_code, struct err *err);

#endif
