/* berth devstack: a server and its nodes on this machine, to try things out; gone at the end.
 *
 * They are ordinary `berth serve` and `berth node start` processes, which die with this one. */
#include "base/fs.h"
#include "base/json.h"
#include "base/proc.h"
#include "cli/remote.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define NODES_MAX     16
#define ALLOW         "xfer.allow=127.0.0.0/8,::1" /* servers to try things out with are on this machine */
#define ARGS_MAX      64
#define LOOK_MS       100
#define START_TRIES   600 /* looks for the server's address */
#define READY_TRIES   6000
#define STOP_GRACE_MS 15000
#define LOG_SHOWN     1200
#define ERROR_LEAD    "berth: "
#define HINT_LEAD     "  hint: "
#define LOG_READ_MAX  ((size_t)64 << 20)

static struct {
    uint64_t nodes, slots;
    const char *market, *listen, *dir;
} a = {.nodes = 1, .slots = 2, .market = "dev", .listen = "127.0.0.1:0"};

static const struct opt options[] = {
    {.name = "nodes",
     .type = OPT_U64,
     .into = &a.nodes,
     .meta = "N",
     .help = "How many nodes, each with a cache of its own (default: 1)"},
    {.name = "slots",
     .type = OPT_U64,
     .into = &a.slots,
     .meta = "N",
     .help = "Jobs that one node runs at a time (default: 2)"},
    {.name = "market",
     .letter = 'm',
     .type = OPT_STR,
     .into = &a.market,
     .meta = "MARKET",
     .help = "Name of the market (default: dev)"},
    {.name = "listen",
     .type = OPT_STR,
     .into = &a.listen,
     .meta = "ADDRESS:PORT",
     .help = "Where the server listens (default: a free port)"},
    {.name = "dir",
     .type = OPT_STR,
     .into = &a.dir,
     .meta = "DIR",
     .help = "Keep everything there, instead of in a folder that is removed"},
    GLOBAL_OPTIONS,
};

struct child {
    pid_t pid;
    char *log;
};

struct stack {
    char *dir;
    bool own_dir;
    char *url, *operator_file, *join_file;
    struct child server, nodes[NODES_MAX];
    size_t node_count;
    struct api *api;
};

/* --- processes ---------------------------------------------------------------------------------------------------- */

/* This program again; `words` end with NULL. What configures this command configures them. */
static int start_self(struct stack *s, struct child *c, const char *name, const char *const *words, struct err *err)
{
    const char *argv[ARGS_MAX] = {"/proc/self/exe"};
    size_t n = 1;
    for (; *words && n < ARGS_MAX / 2; words++)
        argv[n++] = *words;
    if (globals.config_file) {
        argv[n++] = "--config";
        argv[n++] = globals.config_file;
    }
    for (size_t i = 0; i < globals.set.n && n + 2 < ARGS_MAX; i++) {
        argv[n++] = "--set";
        argv[n++] = globals.set.v[i];
    }
    argv[n] = NULL;
    c->log = str_printf(err, "%s/%s.log", s->dir, name);
    if (!c->log)
        return -1;
    AUTO_FD fd = open(c->log, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
    return fd < 0 ? err_sys(err, "open %s", c->log) : proc_spawn(argv, fd, &c->pid, err);
}

/* What it said last: an error as `--json` prints it, or as people read it, "berth: …" with the hint on the next line;
 * else the end of the log. */
static int last_words(struct span log, const char *what, struct err *err)
{
    struct err parsing = ERR_INIT;
    struct span head = log, line = log, hint = {0};
    for (size_t i = 0; i + 1 < log.n; i++)
        if (log.p[i] == '\n')
            line = (struct span){log.p + i + 1, log.n - i - 1};
    AUTO_JSON said = json_parse(line, &parsing);
    const json_t *error = json_object_get(said, "error");
    if (json_get_str(error, "message")) {
        err_set(err, ERR_SYSTEM, "%s ended: %s", what, json_get_str(error, "message"));
        return json_get_str(error, "hint") ? err_hint(err, "%s", json_get_str(error, "hint")) : -1;
    }
    if (span_starts(line, SPAN_LIT(HINT_LEAD))) {
        hint = (struct span){line.p + strlen(HINT_LEAD), line.n - strlen(HINT_LEAD)};
        head.n = span_trim((struct span){log.p, (size_t)(line.p - log.p)}).n;
    }
    if (head.n > LOG_SHOWN)
        head = (struct span){head.p + head.n - LOG_SHOWN, LOG_SHOWN};
    if (span_starts(head, SPAN_LIT(ERROR_LEAD)))
        head = (struct span){head.p + strlen(ERROR_LEAD), head.n - strlen(ERROR_LEAD)};
    err_set(err, ERR_SYSTEM, "%s ended: %.*s", what, SPAN_FMT(head));
    return hint.n ? err_hint(err, "%.*s", SPAN_FMT(hint)) : -1;
}

/* An error with the end of its log, where the child has ended. */
static int check_alive(struct child *c, const char *what, struct err *err)
{
    int status = 0;
    if (waitpid(c->pid, &status, WNOHANG) != c->pid)
        return 0;
    c->pid = 0;
    AUTO_BUF text;
    struct err reading = ERR_INIT;
    buf_init(&text, LOG_READ_MAX);
    fs_read_file(AT_FDCWD, c->log, LOG_READ_MAX, &text, &reading);
    return last_words(span_trim(buf_span(&text)), what, err);
}

static void stop_child(struct child *c)
{
    struct err err = ERR_INIT;
    if (c->pid > 0)
        proc_stop(c->pid, STOP_GRACE_MS, &err);
    c->pid = 0;
    free(c->log);
}

/* --- the server --------------------------------------------------------------------------------------------------- */

static int read_address(struct stack *s, const struct cli *cli, struct err *err)
{
    for (int i = 0; i < START_TRIES; i++) {
        struct err none = ERR_INIT;
        AUTO_BUF text;
        buf_init(&text, LOG_READ_MAX);
        if (fs_read_file(AT_FDCWD, s->server.log, LOG_READ_MAX, &text, &none) == 0) {
            AUTO_JSON said = json_parse(buf_span(&text), &none);
            const char *url = json_get_str(said, "url"), *token = json_get_str(said, "token_file");
            if (url) {
                s->url = str_dup(url, err);
                s->operator_file = token ? str_dup(token, err) : str_printf(err, "%s/server/operator.token", s->dir);
                return s->url && s->operator_file ? 0 : -1;
            }
        }
        if (check_alive(&s->server, "the server", err) < 0 || cancel_sleep_ms(&cli->cancel, LOOK_MS, err) < 0)
            return -1;
    }
    return err_set(err, ERR_TIMEOUT, "the server does not say where it listens; see %s", s->server.log);
}

/* What files and environment set for the server that they are meant for, its database before all, is not for this one;
 * what --set says on this command line, is: it comes later. */
static int start_server(struct stack *s, const struct cli *cli, struct err *err)
{
    AUTO_STR state = str_printf(err, "%s/server", s->dir);
    AUTO_STR db = str_printf(err, "sqlite:%s/server/market.db", s->dir);
    AUTO_STR keys = str_printf(err, "%s/server/keys", s->dir);
    const char *const words[] = {"serve",       "--json",
                                 "--listen",    a.listen,
                                 "--state-dir", state,
                                 "--db",        db,
                                 "--key-file",  keys,
                                 "--set",       "serve.tls_cert=",
                                 "--set",       "serve.tls_key=",
                                 "--set",       "serve.insecure=false",
                                 "--set",       "serve.managed_bucket=",
                                 NULL};
    if (!state || !db || !keys || start_self(s, &s->server, "server", words, err) < 0 || read_address(s, cli, err) < 0)
        return -1;
    char *token = api_read_token(s->operator_file, err);
    int rc = token ? api_open(&s->api, &(struct api_opts){.server = s->url, .token = token}, err) : -1;
    str_free_secret(token);
    return rc;
}

static int set_up_market(struct stack *s, struct err *err)
{
    AUTO_STR path = api_path(err, REMOTE_MARKETS "/", a.market, NULL);
    AUTO_JSON market = json_pack("{s:i, s:s}", "version", 1, "description", "a devstack");
    AUTO_JSON role =
        json_pack("{s:i, s:s, s:s, s:s}", "version", 1, "role", "join", "name", "devstack", "market", a.market);
    AUTO_JSON token = NULL;
    if (!path || !market || !role)
        return err_is_set(err) ? -1 : err_nomem(err);
    if (api_call(s->api, &(struct api_call){.method = "PUT", .path = path, .body = market}, NULL, err) < 0 ||
        api_call(s->api, &(struct api_call){.path = REMOTE_TOKENS, .body = role}, &token, err) < 0)
        return -1;
    const char *text = json_get_str(token, "token");
    s->join_file = str_printf(err, "%s/join.token", s->dir);
    if (!text || !s->join_file)
        return err_set(err, ERR_PROTOCOL, "the server gave no token");
    return fs_replace_file(AT_FDCWD, s->join_file, text, strlen(text), 0600, err);
}

/* --- nodes -------------------------------------------------------------------------------------------------------- */

static int start_node(struct stack *s, size_t i, struct err *err)
{
    char name[32], slots[24];
    snprintf(name, sizeof name, "node-%zu", i + 1);
    snprintf(slots, sizeof slots, "%" PRIu64, a.slots);
    AUTO_STR state = str_printf(err, "%s/%s", s->dir, name);
    AUTO_STR cache = str_printf(err, "cache.dir=%s/%s/cache", s->dir, name);
    const char *const words[] = {"node",
                                 "start",
                                 "--server",
                                 s->url,
                                 "--market",
                                 a.market,
                                 "--token-file",
                                 s->join_file,
                                 "--name",
                                 name,
                                 "--slots",
                                 slots,
                                 "--state-dir",
                                 state,
                                 "--set",
                                 cache,
                                 "--set",
                                 ALLOW,
                                 "--set",
                                 "node.network=full",
                                 "--peer-listen",
                                 "127.0.0.1:0",
                                 "--peer-address",
                                 "127.0.0.1",
                                 NULL};
    if (!state || !cache)
        return -1;
    return start_self(s, &s->nodes[s->node_count++], name, words, err);
}

static size_t ready_nodes(const json_t *answer)
{
    const json_t *nodes = json_object_get(answer, "nodes");
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(nodes); i++)
        n += json_get_bool(json_array_get(nodes, i), "ready", false);
    return n;
}

static int wait_for_nodes(struct stack *s, const struct cli *cli, struct err *err)
{
    for (int i = 0; i < READY_TRIES; i++) {
        AUTO_JSON answer = NULL;
        if (api_call(s->api, &(struct api_call){.path = REMOTE_NODES, .cancel = &cli->cancel}, &answer, err) < 0)
            return -1;
        if (ready_nodes(answer) >= s->node_count)
            return 0;
        for (size_t k = 0; k < s->node_count; k++)
            if (check_alive(&s->nodes[k], "a node", err) < 0)
                return -1;
        if (cancel_sleep_ms(&cli->cancel, LOOK_MS, err) < 0)
            return -1;
    }
    return err_set(err, ERR_TIMEOUT, "the nodes are not ready; see the logs in %s", s->dir);
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

static int make_dir(struct stack *s, struct err *err)
{
    const char *tmp = getenv("TMPDIR");
    if (a.dir) {
        s->dir = realpath(a.dir, NULL);
        if (!s->dir && fs_mkdirs(a.dir, 0700, err) == 0)
            s->dir = realpath(a.dir, NULL);
        return s->dir ? 0 : err_is_set(err) ? -1 : err_sys(err, "%s", a.dir);
    }
    s->dir = str_printf(err, "%s/berth-devstack-XXXXXX", str_empty(tmp) ? "/tmp" : tmp);
    if (!s->dir)
        return -1;
    s->own_dir = mkdtemp(s->dir) != NULL;
    return s->own_dir ? 0 : err_sys(err, "make %s", s->dir);
}

/* `dir` as make_dir() made it, below another folder; it is cut off at that one. */
static void remove_dir(char *dir)
{
    struct err err = ERR_INIT;
    char *slash = strrchr(dir, '/');
    *slash = '\0';
    AUTO_FD parent = fs_open_dir(dir, &err);
    if (parent >= 0)
        fs_remove_tree(parent, slash + 1, &err);
    if (err_is_set(&err))
        fprintf(stderr, "berth: %s/%s is left: %s\n", dir, slash + 1, err.text);
}

static void stack_end(struct stack *s)
{
    for (size_t i = 0; i < s->node_count; i++) /* all at once: each may have a container to stop */
        if (s->nodes[i].pid > 0)
            kill(s->nodes[i].pid, SIGTERM);
    for (size_t i = 0; i < s->node_count; i++)
        stop_child(&s->nodes[i]);
    stop_child(&s->server);
    api_free(s->api);
    if (s->own_dir)
        remove_dir(s->dir);
    free(s->dir);
    free(s->url);
    free(s->operator_file);
    free(s->join_file);
}

static int announce(const struct stack *s, struct err *err)
{
    if (globals.json) {
        json_t *out = json_pack("{s:s, s:s, s:s, s:s, s:I}", "url", s->url, "token_file", s->operator_file, "market",
                                a.market, "dir", s->dir, "nodes", (json_int_t)s->node_count);
        int rc = cli_print_json(out, err);
        fflush(stdout);
        return rc;
    }
    printf("berth devstack: %s (market %s, %zu node%s, dashboard at the same address)\n\n"
           "  export BERTH_SERVER_URL=%s BERTH_SERVER_TOKEN_FILE=%s\n"
           "  berth job post --file job.json --market %s --follow\n\n"
           "Logs are in %s. Ctrl-C ends it%s.\n",
           s->url, a.market, s->node_count, s->node_count == 1 ? "" : "s", s->url, s->operator_file, a.market, s->dir,
           s->own_dir ? " and removes everything" : "");
    fflush(stdout);
    return 0;
}

static int watch(struct stack *s, const struct cli *cli, struct err *err)
{
    while (cancel_level_of(&cli->cancel) == CANCEL_NONE) {
        struct err woken = ERR_INIT;
        if (check_alive(&s->server, "the server", err) < 0)
            return -1;
        for (size_t i = 0; i < s->node_count; i++)
            if (s->nodes[i].pid > 0 && check_alive(&s->nodes[i], "a node", err) < 0)
                return -1;
        (void)cancel_sleep_ms(&cli->cancel, LOOK_MS, &woken);
    }
    return 0;
}

static int run(struct cli *cli, const struct strv *operands, struct err *err)
{
    struct stack s = {0};
    if (cli_want_operands(operands, 0, 0, &command_devstack, err) < 0)
        return EXIT_USAGE;
    if (a.nodes > NODES_MAX) {
        err_set(err, ERR_USAGE, "--nodes: at most %d", NODES_MAX);
        return EXIT_USAGE;
    }
    if (a.slots == 0) {
        err_set(err, ERR_USAGE, "--slots: at least 1; with 0 the nodes would take no job");
        return EXIT_USAGE;
    }
    int rc = make_dir(&s, err) < 0 || start_server(&s, cli, err) < 0 || set_up_market(&s, err) < 0 ? -1 : 0;
    for (size_t i = 0; i < a.nodes && rc == 0; i++)
        rc = start_node(&s, i, err);
    if (rc == 0 && (rc = wait_for_nodes(&s, cli, err)) == 0 && (rc = announce(&s, err)) == 0)
        rc = watch(&s, cli, err);
    stack_end(&s);
    if (rc < 0 && err->kind == ERR_CANCELLED)
        return cli_signal_exit_code();
    return rc < 0 ? 1 : 0;
}

const struct command command_devstack = {
    .about =
        {.name = "devstack",
         .summary = "A server and nodes on this machine, to try things out",
         .args = "",
         .about =
             "Starts `berth serve` and `berth node start` with a market and tokens in a folder that is removed at "
             "the end. Database and keys are there, too, whatever serve.db and the like name. Each node has a cache "
             "of its own, and jobs may reach servers on this machine; they run in its container engine.",
         .examples = "berth devstack\nberth devstack --nodes 2\nberth devstack --dir ./stack --listen 127.0.0.1:7480"},
    .options = options,
    .run = run,
};
