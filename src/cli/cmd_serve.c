/* berth serve: the server of markets. */
#include "api/api.h"
#include "base/fs.h"
#include "base/log.h"
#include "cli/publishing.h"
#include "cli/wiring.h"
#include "seal/seal.h"
#include "server/server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>

#define TOKEN_NAME      "operator.token"
#define TOKEN_FILES_MAX 100

static struct {
    const char *listen, *db, *state_dir, *key_file, *cert, *key;
    bool insecure, operator_token, new_key;
} a;

static const struct opt options[] = {
    {.name = "listen",
     .type = OPT_STR,
     .into = &a.listen,
     .meta = "ADDRESS:PORT",
     .help = "Where to listen; port 0: a free one (default: 127.0.0.1:7480)"},
    {.name = "db",
     .type = OPT_STR,
     .into = &a.db,
     .meta = "URL",
     .help = "sqlite:/PATH or postgresql://…; all servers of a fleet share one PostgreSQL"},
    {.name = "state-dir",
     .type = OPT_STR,
     .into = &a.state_dir,
     .meta = "DIR",
     .help = "Keys, the first token, and the database where none is named"},
    {.name = "key-file",
     .type = OPT_STR,
     .into = &a.key_file,
     .meta = "FILE",
     .help = "The keys that seal secrets; made where it is not there"},
    {.name = "tls-cert", .type = OPT_STR, .into = &a.cert, .meta = "FILE", .help = "Certificate (PEM)"},
    {.name = "tls-key", .type = OPT_STR, .into = &a.key, .meta = "FILE", .help = "Its key (PEM)"},
    {.name = "insecure",
     .type = OPT_FLAG,
     .into = &a.insecure,
     .help = "Listen beyond this machine without TLS: something in front encrypts"},
    {.name = "operator-token",
     .type = OPT_FLAG,
     .into = &a.operator_token,
     .help = "Make another operator's token, where the first one got lost"},
    {.name = "new-key",
     .type = OPT_FLAG,
     .into = &a.new_key,
     .help = "Only add a key to the key file, which seals from the next start on"},
    GLOBAL_OPTIONS,
};

static unsigned small(const struct cli *cli, enum setting s)
{
    uint64_t n = config_number(cli->config, s);
    return n < UINT32_MAX ? (unsigned)n : UINT32_MAX;
}

static const char *chosen(const struct cli *cli, const char *flag, enum setting s)
{
    return flag ? flag : config_text(cli->config, s);
}

/* --- the operator's token ----------------------------------------------------------------------------------------- */

/* What may lie in the state folder: the token that was made last, and before it those of other databases. */
static char *token_file(const char *state, unsigned n, struct err *err)
{
    return n == 0 ? str_printf(err, "%s/" TOKEN_NAME, state) : str_printf(err, "%s/" TOKEN_NAME ".%u", state, n);
}

static int is_known(struct server *s, const char *path, struct err *err)
{
    struct err unread = ERR_INIT;
    char *token = api_read_token(path, &unread);
    int rc = token ? server_knows_operator(s, token, err) : 0;
    str_free_secret(token);
    return rc;
}

/* The file with a token that this database knows; NULL without an error: none. */
static char *find_token(struct server *s, const char *state, struct err *err)
{
    for (unsigned n = 0; n < TOKEN_FILES_MAX; n++) {
        AUTO_STR path = token_file(state, n, err);
        int known = !path ? -1 : access(path, F_OK) < 0 ? 0 : is_known(s, path, err);
        if (known < 0)
            return NULL;
        if (known)
            return str_take(&path);
    }
    return NULL;
}

/* It may be the only one to another database. Its place is then taken by the new one, in one step. */
static int keep_aside(const char *state, const char *path, struct err *err)
{
    for (unsigned n = 1; n < TOKEN_FILES_MAX; n++) {
        AUTO_STR aside = token_file(state, n, err);
        if (!aside)
            return -1;
        if (link(path, aside) == 0) {
            if (!globals.quiet)
                fprintf(stderr, "berth: the token in %s is none that this database knows; it is kept in %s\n", path,
                        aside);
            return 0;
        }
        if (errno == ENOENT)
            return 0;
        if (errno != EEXIST)
            return err_sys(err, "keep %s as %s", path, aside);
    }
    err_set(err, ERR_LIMIT, "%s: there are %d tokens of other databases already", state, TOKEN_FILES_MAX - 1);
    return err_hint(err, "remove those that are of no use, then `berth serve --operator-token`");
}

static int write_token(struct server *s, const char *state, const char *path, const char *token, struct err *err)
{
    int known = access(path, F_OK) < 0 ? 1 : is_known(s, path, err);
    if (known < 0 || (!known && keep_aside(state, path, err) < 0))
        return -1;
    char *line = str_printf(err, "%s\n", token);
    int rc = line ? fs_replace_file(AT_FDCWD, path, line, strlen(line), 0600, err) : -1;
    str_free_secret(line);
    return rc;
}

/* An operator's token into `path`, where one is due: 1, else 0. */
static int keep_token(struct server *s, const char *state, const char *path, struct err *err)
{
    char *token = NULL;
    int made = server_operator_token(s, a.operator_token, &token, err);
    if (made == 1 && write_token(s, state, path, token, err) < 0)
        made = -1;
    str_free_secret(token);
    return made;
}

/* What a person must know: where, and who may. */
static int announce(struct server *s, const char *state, struct err *err)
{
    AUTO_STR path = token_file(state, 0, err);
    int made = path ? keep_token(s, state, path, err) : -1;
    if (made < 0)
        return -1;
    AUTO_STR known = find_token(s, state, err); /* made by this start, or by an earlier one */
    if (err_is_set(err))
        return -1;
    if (globals.json) {
        AUTO_JSON out = json_object();
        if (json_put_str(out, "url", server_address(s), err) < 0 ||
            json_put_str(out, "token_file", made ? path : NULL, err) < 0 || cli_print_json(json_incref(out), err) < 0)
            return -1;
    } else {
        printf("berth server at %s\n", server_address(s));
        if (known)
            printf("operator's token: %s\nfrom here: export BERTH_SERVER_URL=%s BERTH_SERVER_TOKEN_FILE=%s\n", known,
                   server_address(s), known);
    }
    return fflush(stdout) == 0 ? 0 : err_sys(err, "write to standard output");
}

/* --- serving ------------------------------------------------------------------------------------------------------ */

static void wait_for_the_end(const struct cli *cli)
{
    struct pollfd end = {.fd = cli->cancel.event_fd, .events = POLLIN};
    while (cancel_level_of(&cli->cancel) == CANCEL_NONE)
        poll(&end, 1, -1);
}

/* What older keys sealed still opens. */
static int add_key(const char *key_file, struct err *err)
{
    if (seal_keys_rotate(key_file, err) < 0)
        return err_wrap(err, "key file");
    if (!globals.json) {
        printf("a new key is in %s: copy it to all servers of the fleet, then restart them\n", key_file);
        return 0;
    }
    AUTO_JSON out = json_object();
    return json_put_str(out, "key_file", key_file, err) < 0 ? -1 : cli_print_json(json_incref(out), err);
}

static int serve(struct cli *cli, const char *state, struct wiring *w, struct err *err)
{
    struct config *c = cli->config;
    struct stage_access access;
    struct server *server = NULL;
    AUTO_STR own_db = str_printf(err, "sqlite:%s/market.db", state);
    AUTO_STR own_keys = str_printf(err, "%s/keys", state);
    if (!own_db || !own_keys)
        return -1;
    const char *db = chosen(cli, a.db, SETTING_SERVE_DB), *keys = chosen(cli, a.key_file, SETTING_SERVE_KEY_FILE);
    struct server_opts opts = {
        .listen = chosen(cli, a.listen, SETTING_SERVE_LISTEN),
        .tls_cert = chosen(cli, a.cert, SETTING_SERVE_TLS_CERT),
        .tls_key = chosen(cli, a.key, SETTING_SERVE_TLS_KEY),
        .insecure = a.insecure || config_flag(c, SETTING_SERVE_INSECURE),
        .db_url = str_empty(db) ? own_db : db,
        .key_file = str_empty(keys) ? own_keys : keys,
        .lease_ms = small(cli, SETTING_SERVE_LEASE),
        .threads = small(cli, SETTING_SERVE_THREADS),
        .requests_per_second = small(cli, SETTING_SERVE_RATE),
        .request_ms = small(cli, SETTING_SERVE_REQUEST),
        .presign_s = small(cli, SETTING_SERVE_PRESIGN) / 1000,
        .managed = config_text(c, SETTING_SERVE_MANAGED),
        .http = w->http,
    };
    wiring_access(cli, &access);
    publishing_access(&access, &opts.results);
    if (a.new_key)
        return add_key(opts.key_file, err);
    if (!strchr(opts.listen, ':'))
        return err_set(err, ERR_USAGE, "--listen: '%.64s' is not ADDRESS:PORT", opts.listen);
    if (server_start(&server, &opts, err) < 0)
        return -1;
    int rc = announce(server, state, err);
    if (rc == 0)
        wait_for_the_end(cli);
    server_stop(server);
    return rc;
}

/* $XDG_STATE_HOME/berth, ~/.local/state/berth, or for root /var/lib/berth. */
static char *state_folder(const struct cli *cli, struct err *err)
{
    const char *set = chosen(cli, a.state_dir, SETTING_SERVE_STATE_DIR), *xdg = getenv("XDG_STATE_HOME"),
               *home = getenv("HOME");
    if (!str_empty(set))
        return str_dup(set, err);
    if (!str_empty(xdg))
        return str_printf(err, "%s/berth", xdg);
    if (geteuid() != 0 && !str_empty(home))
        return str_printf(err, "%s/.local/state/berth", home);
    return str_dup("/var/lib/berth", err);
}

static int run(struct cli *cli, const struct strv *operands, struct err *err)
{
    struct wiring w = {0};
    if (cli_want_operands(operands, 0, 0, &command_serve, err) < 0)
        return EXIT_USAGE;
    AUTO_STR state = state_folder(cli, err);
    int rc = !state || fs_mkdirs(state, 0700, err) < 0 || wiring_open_http(&w, cli, err) < 0
                 ? -1
                 : serve(cli, state, &w, err);
    wiring_release(&w);
    return rc < 0 ? 1 : 0;
}

const struct command command_serve = {
    .about = {.name = "serve",
              .summary = "Serve markets: the REST API that jobs are posted to and nodes work for",
              .args = "",
              .about =
                  "Keeps markets, jobs and nodes in SQL: an SQLite file of its own on one machine, or one PostgreSQL "
                  "for any number of servers. Listens on this machine only unless told otherwise, and elsewhere "
                  "only with TLS. The first start makes an operator's token and says where it lies.",
              .examples = "berth serve\nberth serve --listen 0.0.0.0:7480 --tls-cert cert.pem --tls-key key.pem\n"
                          "berth serve --db postgresql://berth@db.example/berth --key-file /etc/berth/keys"},
    .options = options,
    .run = run,
};
