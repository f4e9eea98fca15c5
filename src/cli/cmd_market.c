/* berth market …, berth token …: what operators set up. */
#include "base/fs.h"
#include "base/yaml.h"
#include "cli/jobfile.h"
#include "cli/remote.h"
#include "cli/table.h"

#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

static struct {
    const char *name, *description, *file, *role, *market, *out;
    uint64_t window_ms, attempts, queued, per_poster, retention_ms, log_bytes, ttl_ms;
} a = {.window_ms = UINT64_MAX,
       .attempts = UINT64_MAX,
       .queued = UINT64_MAX,
       .per_poster = UINT64_MAX,
       .retention_ms = UINT64_MAX,
       .log_bytes = UINT64_MAX};

#define MARKET_OPTIONS                                                                                                 \
    {.name = "name", .type = OPT_STR, .into = &a.name, .meta = "TEXT", .help = "How people call it"},                  \
        {.name = "description",                                                                                        \
         .type = OPT_STR,                                                                                              \
         .into = &a.description,                                                                                       \
         .meta = "TEXT",                                                                                               \
         .help = "What its nodes are"},                                                                                \
        {.name = "locality-window",                                                                                    \
         .type = OPT_DURATION,                                                                                         \
         .into = &a.window_ms,                                                                                         \
         .meta = "TIME",                                                                                               \
         .unit_ms = 1000,                                                                                              \
         .help = "How long a job waits at most for a node that holds its inputs"},                                     \
        {.name = "max-attempts",                                                                                       \
         .type = OPT_U64,                                                                                              \
         .into = &a.attempts,                                                                                          \
         .meta = "N",                                                                                                  \
         .help = "How often a job is tried"},                                                                          \
        {.name = "max-queued", .type = OPT_U64, .into = &a.queued, .meta = "N", .help = "Jobs that may wait"},         \
        {.name = "max-per-poster",                                                                                     \
         .type = OPT_U64,                                                                                              \
         .into = &a.per_poster,                                                                                        \
         .meta = "N",                                                                                                  \
         .help = "Jobs of one poster that may wait or run"},                                                           \
        {.name = "retention",                                                                                          \
         .type = OPT_DURATION,                                                                                         \
         .into = &a.retention_ms,                                                                                      \
         .meta = "TIME",                                                                                               \
         .unit_ms = 1000,                                                                                              \
         .help = "How long ended jobs are kept"},                                                                      \
    {                                                                                                                  \
        .name = "max-log-bytes", .type = OPT_BYTES, .into = &a.log_bytes, .meta = "BYTES",                             \
        .help = "Kept of one execution's log"                                                                          \
    }

static const struct opt market_options[] = {MARKET_OPTIONS, GLOBAL_OPTIONS};
static const struct opt plain_options[] = {GLOBAL_OPTIONS};
static const struct opt required_options[] = {
    {.name = "set",
     .type = OPT_STR,
     .into = &a.file,
     .meta = "FILE",
     .help = "Make this what every node must hold; - is standard input"},
    GLOBAL_OPTIONS,
};
static const struct opt token_options[] = {
    {.name = "role",
     .type = OPT_CHOICE,
     .into = &a.role,
     .meta = "ROLE",
     .choices = "poster|node|join|operator",
     .help = "What its holder may do"},
    {.name = "name", .type = OPT_STR, .into = &a.name, .meta = "TEXT", .help = "Whose it is"},
    {.name = "market",
     .letter = 'm',
     .type = OPT_STR,
     .into = &a.market,
     .meta = "MARKET",
     .help = "The only market it is for; needed for node and join"},
    {.name = "ttl",
     .type = OPT_DURATION,
     .into = &a.ttl_ms,
     .meta = "TIME",
     .unit_ms = 1000,
     .help = "How long it is good for (default: until revoked)"},
    {.name = "out",
     .letter = 'o',
     .type = OPT_STR,
     .into = &a.out,
     .meta = "FILE",
     .help = "Write the token there (mode 0600) instead of printing it"},
    GLOBAL_OPTIONS,
};

static const struct remote_column market_columns[] = {
    {"MARKET", "address", CELL_TEXT},
    {"NAME", "name", CELL_TEXT},
    {"NODES", "nodes", CELL_TEXT},
    {">QUEUED", "queue.queued", CELL_NUMBER},
    {">RUNNING", "queue.running", CELL_NUMBER},
    {"DESCRIPTION", "description", CELL_TEXT},
    {0},
};
static const struct remote_column market_lines[] = {
    {"market", "address", CELL_TEXT},
    {"name", "name", CELL_TEXT},
    {"description", "description", CELL_TEXT},
    {"nodes", "nodes", CELL_TEXT},
    {"queue", "queue", CELL_TEXT},
    {"window", "locality_window_ms", CELL_DURATION},
    {"attempts", "max_attempts", CELL_NUMBER},
    {"max queued", "max_queued", CELL_NUMBER},
    {"per poster", "max_per_poster", CELL_NUMBER},
    {"retention", "retention_ms", CELL_DURATION},
    {"log bytes", "max_log_bytes", CELL_BYTES},
    {0},
};
static const struct remote_column token_columns[] = {
    {"ID", "id", CELL_TEXT},
    {"ROLE", "role", CELL_TEXT},
    {"NAME", "name", CELL_TEXT},
    {"MARKET", "market", CELL_TEXT},
    {"REVOKED", "revoked", CELL_YES},
    {">AGE", "created_ms", CELL_AGE},
    {"EXPIRES", "expires_ms", CELL_TIME},
    {"NODE", "node", CELL_TEXT},
    {0},
};

/* One call, its answer printed: the member `thing` as lines, or all of it with --json. */
static int call_and_show(struct cli *cli, const struct api_call *call, const char *thing,
                         const struct remote_column *lines, struct err *err)
{
    struct api *api = NULL;
    AUTO_JSON answer = NULL;
    int rc = remote_open(cli, &api, err) < 0 ? -1 : api_call(api, call, &answer, err);
    const json_t *one = thing ? json_object_get(answer, thing) : answer;
    if (rc == 0 && (globals.json || !lines))
        rc = cli_print_json(json_incref((json_t *)one), err);
    else if (rc == 0)
        rc = remote_describe(one, lines, err);
    api_free(api);
    return rc < 0 ? 1 : 0;
}

static int list_of(struct cli *cli, const char *path, const char *things, const struct remote_column *columns,
                   struct err *err)
{
    struct api *api = NULL;
    int rc = remote_open(cli, &api, err) < 0 ? -1 : remote_list(cli, api, path, things, 0, columns, err);
    api_free(api);
    return rc < 0 ? 1 : 0;
}

/* --- markets ------------------------------------------------------------------------------------------------------ */

static int put_given(json_t *body, const char *name, uint64_t value, struct err *err)
{
    return value == UINT64_MAX ? 0 : json_put_u64(body, name, value, err);
}

static json_t *given_settings(struct err *err)
{
    json_t *body = json_object();
    if (json_put_u64(body, "version", 1, err) == 0 && (!a.name || json_put_str(body, "name", a.name, err) == 0) &&
        (!a.description || json_put_str(body, "description", a.description, err) == 0) &&
        put_given(body, "locality_window_ms", a.window_ms, err) == 0 &&
        put_given(body, "max_attempts", a.attempts, err) == 0 && put_given(body, "max_queued", a.queued, err) == 0 &&
        put_given(body, "max_per_poster", a.per_poster, err) == 0 &&
        put_given(body, "retention_ms", a.retention_ms, err) == 0 &&
        put_given(body, "max_log_bytes", a.log_bytes, err) == 0)
        return body;
    json_decref(body);
    return NULL;
}

/* 1: there is one at this address, 0: there is none. */
static int market_is_there(struct cli *cli, const char *address, struct err *err)
{
    struct api *api = NULL;
    struct err asking = ERR_INIT;
    AUTO_JSON answer = NULL;
    AUTO_STR path = api_path(err, REMOTE_MARKETS "/", address, NULL);
    if (!path || remote_open(cli, &api, err) < 0)
        return -1;
    int rc = api_call(api, &(struct api_call){.path = path, .cancel = &cli->cancel}, &answer, &asking);
    api_free(api);
    if (rc == 0)
        return 1;
    return asking.kind == ERR_NOTFOUND || asking.kind == ERR_INVALID ? 0 : err_move(err, &asking);
}

/* The server's PUT makes what is not there; people who mistype an address, or take one twice, mean neither. */
static int put_market(struct cli *cli, const char *address, bool expected, struct err *err)
{
    AUTO_JSON body = given_settings(err);
    AUTO_STR path = api_path(err, REMOTE_MARKETS "/", address, NULL);
    int there = body && path ? market_is_there(cli, address, err) : -1;
    if (there == 0 && expected) {
        err_set(err, ERR_NOTFOUND, "no market '%.64s'", address);
        err_hint(err, "`berth market list` shows them; `berth market create %.64s` makes it", address);
    } else if (there > 0 && !expected) {
        err_set(err, ERR_EXISTS, "market '%.64s' is there already", address);
        err_hint(err, "`berth market set %.64s` changes it", address);
    }
    if (there < 0 || err_is_set(err))
        return 1;
    return call_and_show(cli, &(struct api_call){.method = "PUT", .path = path, .body = body, .cancel = &cli->cancel},
                         "market", market_lines, err);
}

static int market_create(struct cli *cli, const struct strv *operands, struct err *err)
{
    if (cli_want_operands(operands, 1, 1, &command_market_create, err) < 0)
        return EXIT_USAGE;
    return put_market(cli, operands->v[0], false, err);
}

static int market_set(struct cli *cli, const struct strv *operands, struct err *err)
{
    if (cli_want_operands(operands, 1, 1, &command_market_set, err) < 0)
        return EXIT_USAGE;
    if (!a.name && !a.description && a.window_ms == UINT64_MAX && a.attempts == UINT64_MAX && a.queued == UINT64_MAX &&
        a.per_poster == UINT64_MAX && a.retention_ms == UINT64_MAX && a.log_bytes == UINT64_MAX) {
        err_set(err, ERR_USAGE, "market set: nothing to change");
        err_hint(err, "berth market set %.64s --retention 30d; `berth market set --help` lists what there is",
                 operands->v[0]);
        return EXIT_USAGE;
    }
    return put_market(cli, operands->v[0], true, err);
}

static int market_list(struct cli *cli, const struct strv *operands, struct err *err)
{
    if (cli_want_operands(operands, 0, 0, &command_market_list, err) < 0)
        return EXIT_USAGE;
    return list_of(cli, REMOTE_MARKETS, "markets", market_columns, err);
}

static int required_resources(struct cli *cli, const struct strv *operands, struct err *err)
{
    if (cli_want_operands(operands, 1, 1, &command_market_required, err) < 0)
        return EXIT_USAGE;
    AUTO_STR path = api_path(err, REMOTE_MARKETS "/", operands->v[0], "/required-resources");
    if (!path)
        return 1;
    struct api_call call = {.path = path, .cancel = &cli->cancel};
    if (!a.file)
        return call_and_show(cli, &call, NULL, NULL, err);
    AUTO_BUF text;
    struct required_resources *parsed = NULL;
    buf_init(&text, SPEC_FILE_MAX + 1);
    if (!str_eq(a.file, "-") && access(a.file, F_OK) < 0) {
        err_sys(err, "open %s", a.file);
        err_hint(err, "name a file like what `berth market required-resources %.64s` prints", operands->v[0]);
        return 1;
    }
    if (jobfile_read(a.file, &text, err) < 0)
        return 1;
    if (spec_parse_required(buf_span(&text), &(struct spec_opts){.file = a.file}, &parsed, err) < 0)
        return 1;
    required_resources_free(parsed);
    struct span s = span_trim(buf_span(&text));
    AUTO_JSON body = s.n && s.p[0] == '{' ? json_parse(s, err) : yaml_parse(s, NULL, err);
    call.method = "PUT";
    call.body = body;
    return body ? call_and_show(cli, &call, NULL, NULL, err) : 1;
}

/* --- tokens ------------------------------------------------------------------------------------------------------- */

/* To the file, which then stands for it in what is said. */
static int write_token(json_t *answer, const char *token, struct err *err)
{
    char *line = str_printf(err, "%s\n", token);
    int rc = line ? fs_replace_file(AT_FDCWD, a.out, line, strlen(line), 0600, err) : -1;
    str_free_secret(line);
    if (rc < 0)
        return -1;
    if (!globals.json && !globals.quiet)
        text_line(stderr, "written: %s (%s)", a.out, json_get_str(answer, "id"));
    json_object_del(answer, "token");
    return json_put_str(answer, "file", a.out, err);
}

/* What nobody got is not to stay valid. */
static int take_back(struct api *api, const char *id, struct err *err)
{
    struct err why = ERR_INIT;
    AUTO_STR path = api_path(&why, REMOTE_TOKENS "/", id, NULL);
    if (path && api_call(api, &(struct api_call){.method = "DELETE", .path = path}, NULL, &why) == 0)
        return err_hint(err, "the token was revoked again; name a file that can be written");
    return err_hint(err, "the token is valid, though nobody has it: `berth token revoke %s` ends it", id);
}

static int show_token(struct api *api, json_t *answer, struct err *err)
{
    const char *token = json_get_str(answer, "token"), *id = json_get_str(answer, "id");
    if (!token || !id)
        return err_set(err, ERR_PROTOCOL, "the server's answer holds no token");
    if (a.out && write_token(answer, token, err) < 0)
        return take_back(api, id, err);
    if (globals.json)
        return cli_print_json(json_incref(answer), err);
    if (!a.out)
        text_line(stdout, "%s", token);
    return 0;
}

static bool is_of_one_market(const char *role)
{
    return str_eq(role, "join") || str_eq(role, "node");
}

/* Markets may come later, but most that are not there are mistyped. */
static int look_at_market(struct cli *cli, struct err *err)
{
    int there = a.market ? market_is_there(cli, a.market, err) : 1;
    if (there == 0 && !globals.quiet)
        fprintf(stderr, "berth: there is no market '%s' yet\n", a.market);
    return there < 0 ? -1 : 0;
}

static int token_create(struct cli *cli, const struct strv *operands, struct err *err)
{
    struct api *api = NULL;
    AUTO_JSON body = json_object();
    AUTO_JSON answer = NULL;
    if (cli_want_operands(operands, 0, 0, &command_token_create, err) < 0)
        return EXIT_USAGE;
    if (!a.role) {
        err_set(err, ERR_USAGE, "--role is missing");
        err_hint(err, "berth token create --role poster --name alice");
        return EXIT_USAGE;
    }
    if (!a.market && is_of_one_market(a.role)) {
        err_set(err, ERR_USAGE, "--market is missing: a %s token is for one market", a.role);
        err_hint(err, "berth token create --role %s --market nvidia-3090", a.role);
        return EXIT_USAGE;
    }
    int rc = json_put_u64(body, "version", 1, err) < 0 || json_put_str(body, "role", a.role, err) < 0 ||
                     (a.name && json_put_str(body, "name", a.name, err) < 0) ||
                     (a.market && json_put_str(body, "market", a.market, err) < 0) ||
                     (a.ttl_ms && json_put_u64(body, "ttl_ms", a.ttl_ms, err) < 0) || look_at_market(cli, err) < 0 ||
                     remote_open(cli, &api, err) < 0 ||
                     api_call(api, &(struct api_call){.path = REMOTE_TOKENS, .body = body, .cancel = &cli->cancel},
                              &answer, err) < 0
                 ? -1
                 : show_token(api, answer, err);
    api_free(api);
    return rc < 0 ? 1 : 0;
}

static int token_list(struct cli *cli, const struct strv *operands, struct err *err)
{
    if (cli_want_operands(operands, 0, 0, &command_token_list, err) < 0)
        return EXIT_USAGE;
    return list_of(cli, REMOTE_TOKENS, "tokens", token_columns, err);
}

static int token_revoke(struct cli *cli, const struct strv *operands, struct err *err)
{
    struct api *api = NULL;
    AUTO_STR path = NULL;
    AUTO_JSON said = json_object();
    if (cli_want_operands(operands, 1, 1, &command_token_revoke, err) < 0)
        return EXIT_USAGE;
    int rc = remote_open(cli, &api, err) < 0 || !(path = api_path(err, REMOTE_TOKENS "/", operands->v[0], NULL)) ||
                     api_call(api, &(struct api_call){.method = "DELETE", .path = path, .cancel = &cli->cancel}, NULL,
                              err) < 0
                 ? -1
                 : 0;
    api_free(api);
    if (err->kind == ERR_NOTFOUND)
        err_hint(err, "`berth token list` shows the ids");
    if (rc == 0 && globals.json)
        rc = json_put_str(said, "id", operands->v[0], err) < 0 || json_put(said, "revoked", json_true(), err) < 0
                 ? -1
                 : cli_print_json(json_incref(said), err);
    else if (rc == 0 && !globals.quiet)
        fprintf(stderr, "revoked: %s\n", operands->v[0]);
    return rc < 0 ? 1 : 0;
}

const struct command command_market_create = {
    .about = {.name = "market create",
              .summary = "Make a market",
              .args = "MARKET",
              .about = "A market is a queue of jobs for one class of machine. Its address is 1 to 64 of a-z 0-9 - _ .",
              .examples = "berth market create nvidia-3090 --name 'RTX 3090' --description 'one card, 24 GB'\n"
                          "berth market create cpu --max-attempts 1"},
    .options = market_options,
    .run = market_create,
};
const struct command command_market_set = {
    .about = {.name = "market set",
              .summary = "Change a market",
              .args = "MARKET",
              .about = "What is not given stays as it is.",
              .examples = "berth market set nvidia-3090 --locality-window 5s --retention 30d"},
    .options = market_options,
    .run = market_set,
};
const struct command command_market_list = {
    .about = {.name = "market list",
              .summary = "The markets of the server",
              .args = "",
              .about = "With their nodes and queues. Needs no token.",
              .examples = "berth market list\nberth market list --json"},
    .options = plain_options,
    .run = market_list,
};
const struct command command_market_required = {
    .about =
        {.name = "market required-resources",
         .summary = "What every node of a market must hold",
         .args = "MARKET",
         .about =
             "Shows it, or sets it from a file: {\"required_images\": […], \"required_remote_resources\": [{\"type\": "
             "\"S3\", \"url\": …}, …]}. Nodes pull and pin it before they take jobs, and follow changes. "
             "Credentials in it are sealed and never shown.",
         .examples = "berth market required-resources nvidia-3090\n"
                     "berth market required-resources nvidia-3090 --set required.json"},
    .options = required_options,
    .run = required_resources,
};
const struct command command_token_create = {
    .about = {.name = "token create",
              .summary = "Make a token",
              .args = "",
              .about = "Roles: poster (its own jobs), node (one node's own token), join (lets nodes join a market by "
                       "themselves), operator (everything but secrets). Shown this once.",
              .examples = "berth token create --role poster --name alice\n"
                          "berth token create --role join --market nvidia-3090 --ttl 1h --out join.token"},
    .options = token_options,
    .run = token_create,
};
const struct command command_token_list = {
    .about = {.name = "token list",
              .summary = "The tokens of the server",
              .args = "",
              .about = "Who may do what, without the tokens themselves: the server keeps only their hashes.",
              .examples = "berth token list\nberth token list --json"},
    .options = plain_options,
    .run = token_list,
};
const struct command command_token_revoke = {
    .about = {.name = "token revoke",
              .summary = "End a token",
              .args = "ID",
              .about = "From now on the server refuses it.",
              .examples = "berth token revoke t-1a2b3c4d"},
    .options = plain_options,
    .run = token_revoke,
};
