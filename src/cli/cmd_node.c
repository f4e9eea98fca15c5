/* berth node list, describe, approve, reject, drain, undrain: the machines of a server's markets. */
#include "base/enc.h"
#include "cli/remote.h"
#include "cli/table.h"

#include <stdlib.h>

static struct {
    const char *market;
} a;

static const struct opt list_options[] = {
    {.name = "market",
     .letter = 'm',
     .type = OPT_STR,
     .into = &a.market,
     .meta = "MARKET",
     .help = "Only of this market"},
    GLOBAL_OPTIONS,
};
static const struct opt plain_options[] = {GLOBAL_OPTIONS};

static const struct remote_column list_columns[] = {
    {"ID", "id", CELL_TEXT},
    {"NAME", "name", CELL_TEXT},
    {"STATE", "state", CELL_NODE},
    {">RUNS", "running", CELL_NUMBER},
    {">SLOTS", "slots", CELL_NUMBER},
    {">SEEN", "last_seen_ms", CELL_AGE},
    {"READINESS", "readiness", CELL_READINESS},
    {"MARKET", "market", CELL_TEXT},
    {"GPUS", "info.gpus", CELL_TEXT},
    {">CACHE", "cache.bytes", CELL_BYTES},
    {0},
};
static const struct remote_column node_lines[] = {
    {"id", "id", CELL_TEXT},
    {"name", "name", CELL_TEXT},
    {"market", "market", CELL_TEXT},
    {"state", "state", CELL_TEXT},
    {"live", "live", CELL_YES},
    {"ready", "ready", CELL_YES},
    {"readiness", "readiness", CELL_TEXT},
    {"running", "running", CELL_NUMBER},
    {"slots", "slots", CELL_NUMBER},
    {"version", "info.version", CELL_TEXT},
    {"engine", "info.engine", CELL_TEXT},
    {"machine", "info.arch", CELL_TEXT},
    {"cpus", "info.cpus", CELL_NUMBER},
    {"memory", "info.memory_bytes", CELL_BYTES},
    {"disk", "info.disk_bytes", CELL_BYTES},
    {"gpus", "info.gpus", CELL_TEXT},
    {"labels", "labels", CELL_TEXT},
    {"cache", "cache.bytes", CELL_BYTES},
    {"to peers", "peers.sent_bytes", CELL_BYTES},
    {"from peers", "peers.got_bytes", CELL_BYTES},
    {"last seen", "last_seen_ms", CELL_TIME},
    {0},
};

static int list(struct cli *cli, const struct strv *operands, struct err *err)
{
    struct api *api = NULL;
    AUTO_BUF path;
    buf_init(&path, 1024);
    buf_adds(&path, REMOTE_NODES);
    if (a.market) {
        buf_adds(&path, "?market=");
        percent_encode(&path, span_of(a.market), false);
    }
    if (cli_want_operands(operands, 0, 0, &command_node_list, err) < 0)
        return EXIT_USAGE;
    int rc = buf_check(&path, "market", err) < 0 || remote_open(cli, &api, err) < 0
                 ? -1
                 : remote_list(cli, api, buf_str(&path), "nodes", 0, list_columns, err);
    api_free(api);
    return rc < 0 ? 1 : 0;
}

/* --- one node ----------------------------------------------------------------------------------------------------- */

/* The node that goes by this name, or whose id begins so. */
struct lookup {
    const char *word;
    char *id; /* owned */
    size_t found;
};

static int look_at_page(void *ctx, const json_t *page, struct err *err)
{
    struct lookup *l = ctx;
    const json_t *list = json_object_get(page, "nodes");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *node = json_array_get(list, i);
        const char *id = json_get_str(node, "id");
        if (!id || (!str_eq(json_get_str(node, "name"), l->word) && !span_starts(span_of(id), span_of(l->word))))
            continue;
        if (l->found++ == 0 && !(l->id = str_dup(id, err)))
            return -1;
    }
    return 0;
}

static char *find_node(const struct cli *cli, struct api *api, const char *word, struct err *err)
{
    struct lookup l = {.word = word};
    int rc = api_pages(api, REMOTE_NODES, &cli->cancel, look_at_page, &l, err);
    if (rc == 0 && l.found == 1)
        return l.id;
    if (rc == 0 && l.found == 0) {
        err_set(err, ERR_NOTFOUND, "no node '%.64s'", word);
        err_hint(err, "`berth node list` shows them; an id, its unique beginning or a name will do");
    } else if (rc == 0) {
        err_set(err, ERR_INVALID, "'%.64s' is %zu nodes", word, l.found);
        err_hint(err, "`berth node list` shows their ids");
    }
    free(l.id);
    return NULL;
}

static int call_node(const struct cli *cli, struct api *api, const char *id, const json_t *body, json_t **answer,
                     struct err *err)
{
    AUTO_STR path = api_path(err, REMOTE_NODES "/", id, NULL);
    const struct api_call call = {
        .method = body ? "PUT" : "GET", .path = path, .body = (json_t *)body, .cancel = &cli->cancel};
    return path ? api_call(api, &call, answer, err) : -1;
}

/* By its id, as most calls are; else by what is found for the word. */
static int reach_node(const struct cli *cli, struct api *api, const char *word, const json_t *body, json_t **answer,
                      struct err *err)
{
    struct err first = ERR_INIT;
    if (call_node(cli, api, word, body, answer, &first) == 0)
        return 0;
    if (first.kind != ERR_NOTFOUND && first.kind != ERR_INVALID)
        return err_move(err, &first);
    AUTO_STR id = find_node(cli, api, word, err);
    return id ? call_node(cli, api, id, body, answer, err) : -1;
}

/* Ask for one node, or tell the server what is to become of it. */
static int one(struct cli *cli, const struct strv *operands, const struct command *which, const char *action,
               struct err *err)
{
    struct api *api = NULL;
    AUTO_JSON body = action ? json_object() : NULL;
    AUTO_JSON answer = NULL;
    if (cli_want_operands(operands, 1, 1, which, err) < 0)
        return EXIT_USAGE;
    int rc = (action && (json_put_u64(body, "version", 1, err) < 0 || json_put_str(body, "action", action, err) < 0)) ||
                     remote_open(cli, &api, err) < 0 || reach_node(cli, api, operands->v[0], body, &answer, err) < 0
                 ? -1
                 : 0;
    const json_t *node = json_object_get(answer, "node");
    if (rc == 0 && globals.json)
        rc = cli_print_json(json_incref((json_t *)node), err);
    else if (rc == 0 && action)
        text_line(stdout, "%s %s", json_get_str(node, "id"), json_get_str(node, "state"));
    else if (rc == 0)
        rc = remote_describe(node, node_lines, err);
    api_free(api);
    return rc < 0 ? 1 : 0;
}

static int describe(struct cli *cli, const struct strv *operands, struct err *err)
{
    return one(cli, operands, &command_node_describe, NULL, err);
}

static int approve(struct cli *cli, const struct strv *operands, struct err *err)
{
    return one(cli, operands, &command_node_approve, "approve", err);
}

static int reject(struct cli *cli, const struct strv *operands, struct err *err)
{
    return one(cli, operands, &command_node_reject, "reject", err);
}

static int drain(struct cli *cli, const struct strv *operands, struct err *err)
{
    return one(cli, operands, &command_node_drain, "drain", err);
}

static int undrain(struct cli *cli, const struct strv *operands, struct err *err)
{
    return one(cli, operands, &command_node_undrain, "undrain", err);
}

const struct command command_node_list = {
    .about = {.name = "node list",
              .summary = "The nodes of the server",
              .args = "",
              .about = "With their state, what they run and what they hold.",
              .examples = "berth node list --market nvidia-3090"},
    .options = list_options,
    .run = list,
};
const struct command command_node_describe = {
    .about = {.name = "node describe",
              .summary = "All about one node",
              .args = "ID",
              .about =
                  "Hardware, engine, cache, readiness. A unique beginning of the id will do, and so will its name.",
              .examples = "berth node describe n-1a2b3c4d\nberth node describe gpu-1"},
    .options = plain_options,
    .run = describe,
};
const struct command command_node_approve = {
    .about = {.name = "node approve",
              .summary = "Let a node take jobs",
              .args = "ID",
              .about = "Nodes that come with a token of their own wait for this; those with a join token do not.",
              .examples = "berth node approve n-1a2b3c4d"},
    .options = plain_options,
    .run = approve,
};
const struct command command_node_reject = {
    .about = {.name = "node reject",
              .summary = "Take a node out of its market",
              .args = "ID",
              .about = "It loses its claims at once; they run elsewhere.",
              .examples = "berth node reject n-1a2b3c4d"},
    .options = plain_options,
    .run = reject,
};
const struct command command_node_drain = {
    .about = {.name = "node drain",
              .summary = "Give a node no more jobs",
              .args = "ID",
              .about = "What it runs is finished first.",
              .examples = "berth node drain n-1a2b3c4d"},
    .options = plain_options,
    .run = drain,
};
const struct command command_node_undrain = {
    .about = {.name = "node undrain",
              .summary = "Give a drained node jobs again",
              .args = "ID",
              .about = "The opposite of `berth node drain`.",
              .examples = "berth node undrain n-1a2b3c4d"},
    .options = plain_options,
    .run = undrain,
};
