/* berth node start: this machine works for a market. */
#include "base/log.h"
#include "cli/network.h"
#include "cli/publishing.h"
#include "cli/remote.h"
#include "cli/table.h"
#include "cli/ui.h"
#include "cli/wiring.h"
#include "node/node.h"

#include <stdlib.h>

static struct {
    const char *server, *market, *token, *token_file, *name, *state_dir, *results, *engine, *peer_listen, *peer_address;
    uint64_t slots, peer_bandwidth;
    struct strv labels;
    bool no_gpu, keep_results;
} a = {.peer_bandwidth = UINT64_MAX};

static const struct opt options[] = {
    {.name = "server", .type = OPT_STR, .into = &a.server, .meta = "URL", .help = "The server (default: server.url)"},
    {.name = "market",
     .letter = 'm',
     .type = OPT_STR,
     .into = &a.market,
     .meta = "MARKET",
     .help = "Which market to work for (default: the token's)"},
    {.name = "token-file",
     .type = OPT_STR,
     .into = &a.token_file,
     .meta = "FILE",
     .help = "A file with a join token, for the first start (default: BERTH_TOKEN or server.token_file)"},
    {.name = "token",
     .type = OPT_STR,
     .into = &a.token,
     .meta = "TOKEN",
     .help = "The token itself; others on this machine may see it for a moment, so prefer --token-file"},
    {.name = "name", .type = OPT_STR, .into = &a.name, .meta = "NAME", .help = "For people (default: the host's name)"},
    {.name = "slots", .type = OPT_U64, .into = &a.slots, .meta = "N", .help = "Jobs at once (default: 1)"},
    {.name = "label",
     .letter = 'l',
     .type = OPT_LIST,
     .into = &a.labels,
     .meta = "K=V",
     .help = "A label that jobs may ask for"},
    {.name = "state-dir",
     .type = OPT_STR,
     .into = &a.state_dir,
     .meta = "DIR",
     .help = "Where this node keeps its id, token and keys (default: node.state_dir)"},
    {.name = "results-dir",
     .type = OPT_STR,
     .into = &a.results,
     .meta = "DIR",
     .help = "Where jobs leave results until they are published (default: in the state folder)"},
    {.name = "keep-results",
     .type = OPT_FLAG,
     .into = &a.keep_results,
     .help = "Leave results there when the server knows the end of a job"},
    {.name = "peer-listen",
     .type = OPT_STR,
     .into = &a.peer_listen,
     .meta = "ADDRESS:PORT",
     .help = "Let other nodes of the market fetch from this one's cache there; port 0: a free one (default: "
             "node.peer_listen)"},
    {.name = "peer-address",
     .type = OPT_STR,
     .into = &a.peer_address,
     .meta = "ADDRESS[:PORT]",
     .help = "The address under which they reach it (default: node.peer_address, else where it listens)"},
    {.name = "peer-bandwidth",
     .type = OPT_BYTES,
     .into = &a.peer_bandwidth,
     .meta = "BYTES",
     .help = "A second, for all that they fetch from it together, alike for each of them; 0: unlimited (default: "
             "node.peer_bytes_per_second)"},
    {.name = "engine",
     .type = OPT_STR,
     .into = &a.engine,
     .meta = "ENGINE",
     .help = "docker, podman, unix:///PATH or tcp://HOST:PORT"},
    {.name = "no-gpu", .type = OPT_FLAG, .into = &a.no_gpu, .help = "Offer no GPU"},
    GLOBAL_OPTIONS,
};

/* What is on the command line is in every process list: gone as soon as it is known. */
static char *token_of_flag(struct err *err)
{
    char *copy = str_dup(a.token, err);
    mem_wipe((char *)a.token, strlen(a.token));
    a.token = NULL;
    return copy;
}

/* NULL without an error: none was given. */
static char *token_of(const struct cli *cli, struct err *err)
{
    const char *env = getenv("BERTH_TOKEN"), *file = config_text(cli->config, SETTING_SERVER_TOKEN_FILE);
    if (a.token)
        return token_of_flag(err);
    if (a.token_file)
        return api_read_token(a.token_file, err);
    if (!str_empty(env))
        return str_dup(env, err);
    return str_empty(file) ? NULL : api_read_token(file, err);
}

/* $XDG_STATE_HOME/berth-node, ~/.local/state/berth-node, or for root /var/lib/berth-node. */
static char *state_folder(const struct cli *cli, struct err *err)
{
    const char *set = a.state_dir ? a.state_dir : config_text(cli->config, SETTING_NODE_STATE_DIR),
               *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (!str_empty(set))
        return str_dup(set, err);
    if (!str_empty(xdg))
        return str_printf(err, "%s/berth-node", xdg);
    if (geteuid() != 0 && !str_empty(home))
        return str_printf(err, "%s/.local/state/berth-node", home);
    return str_dup("/var/lib/berth-node", err);
}

static void on_say(void *ctx, const char *text)
{
    (void)ctx;
    if (globals.log_format && str_eq(globals.log_format, "json"))
        log_info("node", "%s", text);
    else if (!globals.quiet)
        text_line(stderr, "berth: %s", text);
}

static void log_network(struct engine *engine, enum run_network network)
{
    char text[NETWORK_TEXT_MAX];
    if (network_describe(engine, network, text))
        log_info("node", "%s", text);
    else
        log_warn("node", "%s", text);
}

/* NULL: neither. */
static const char *given_or_set(const struct config *c, const char *given, enum setting setting)
{
    const char *set = config_text(c, setting);
    return given ? given : str_empty(set) ? NULL : set;
}

static int start(struct cli *cli, struct wiring *w, struct err *err)
{
    const struct config *c = cli->config;
    enum run_network network;
    if (network_of(c, &network, err) < 0)
        return -1;
    log_network(w->engine, network);
    AUTO_STR state = state_folder(cli, err);
    AUTO_JSON labels = remote_labels(&a.labels, err);
    char *token = state && labels ? token_of(cli, err) : NULL;
    int rc = -1;
    struct node_opts opts = {
        .server = a.server ? a.server : config_text(c, SETTING_SERVER_URL),
        .ca_file = config_text(c, SETTING_XFER_CA_FILE),
        .token = token,
        .market = a.market,
        .name = a.name,
        .labels = labels,
        .slots = (uint32_t)a.slots,
        .state_dir = state,
        .results_dir = a.results,
        .keep_results = a.keep_results,
        .peer_listen = given_or_set(c, a.peer_listen, SETTING_NODE_PEER_LISTEN),
        .peer_address = given_or_set(c, a.peer_address, SETTING_NODE_PEER_ADDRESS),
        .peer_bytes_per_second =
            a.peer_bandwidth != UINT64_MAX ? a.peer_bandwidth : config_number(c, SETTING_NODE_PEER_BANDWIDTH),
        .bytes_per_second = config_number(c, SETTING_XFER_BANDWIDTH),
        .engine = w->engine,
        .cache = w->cache,
        .xfer = w->xfer,
        .http = w->http,
        .work_root = w->runs_dir,
        .stale_if_error = config_flag(c, SETTING_CACHE_STALE),
        .no_gpu = a.no_gpu,
        .network = network,
        .allow_buckets = config_list(c, SETTING_NODE_ALLOW_BUCKETS),
        .cancel = &cli->cancel,
        .say = on_say,
    };
    wiring_access(cli, &opts.access);
    publishing_access(&opts.access, &opts.publish);
    if (!err_is_set(err))
        rc = node_run(&opts, err);
    str_free_secret(token);
    return rc;
}

static int run(struct cli *cli, const struct strv *operands, struct err *err)
{
    struct wiring w = {0};
    int code = EXIT_USAGE;
    if (cli_want_operands(operands, 0, 0, &command_node_start, err) < 0)
        return EXIT_USAGE;
    if (a.slots > NODE_SLOTS_MAX) {
        err_set(err, ERR_USAGE, "--slots: at most %d", NODE_SLOTS_MAX);
    } else if ((!config_flag(cli->config, SETTING_NODE_PUBLIC_ONLY) ||
                config_override(cli->config, SETTING_XFER_PUBLIC_ONLY, "true", "node.public_only", err) == 0) &&
               (!a.engine || config_override(cli->config, SETTING_ENGINE, a.engine, "--engine", err) == 0)) {
        code = wiring_open_engine(&w, cli, err) == 0 && wiring_open_cache(&w, cli, err) == 0 &&
                       wiring_open_transfers(&w, cli, err) == 0 && start(cli, &w, err) == 0
                   ? 0
                   : 1;
    }
    wiring_release(&w);
    strv_release(&a.labels);
    return code;
}

const struct command command_node_start = {
    .about =
        {.name = "node start",
         .summary = "Run a market's jobs on this machine",
         .args = "",
         .about =
             "Joins a market with a join token, pulls and pins what the market requires, then claims jobs and runs "
             "them until it is stopped. Only calls out, so it works behind NAT; --peer-listen lets other nodes of the "
             "market fetch from its cache what their jobs may read. The first interrupt lets what "
             "runs finish and claims nothing more, a second one gives what runs back to the market. Jobs get the "
             "credentials that came with them; node.allow_buckets names buckets that they may use with this "
             "machine's own. Addresses that are not public are refused to them unless xfer.allow names them or "
             "node.public_only is off, and so they are to containers, unless node.network says otherwise.",
         .examples = "berth node start --server https://berth.example:7480 --market gpu --token-file join.token\n"
                     "berth node start --slots 2 --label disk=nvme\n"
                     "BERTH_NODE_ALLOW_BUCKETS=models berth node start"},
    .options = options,
    .run = run,
};
