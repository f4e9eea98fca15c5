#include "cli/cli.h"

#include "base/log.h"
#include "base/near.h"
#include "cli/table.h"
#include "job/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <unistd.h>

#define HELP_MAX    (256u << 10)
#define STDIN_PIECE ((size_t)64 << 10)

struct globals globals;

const struct command *const commands[] = {
    &command_run,          &command_fetch,        &command_publish,
    &command_job_get,      &command_validate,     &command_docker_run,
    &command_serve,        &command_devstack,     &command_job_post,
    &command_job_list,     &command_job_describe, &command_job_logs,
    &command_job_history,  &command_job_stop,     &command_market_create,
    &command_market_set,   &command_market_list,  &command_market_required,
    &command_node_start,   &command_node_list,    &command_node_describe,
    &command_node_approve, &command_node_reject,  &command_node_drain,
    &command_node_undrain, &command_token_create, &command_token_list,
    &command_token_revoke, &command_cache_ls,     &command_cache_stat,
    &command_cache_pin,    &command_cache_unpin,  &command_cache_rm,
    &command_cache_gc,     &command_cache_verify, &command_cache_path,
    &command_doctor,       &command_config_show,  &command_completion,
    &command_man,          &command_version,      NULL,
};

/* --- secrets ------------------------------------------------------------------------------------------------------ */

/* Keys, tokens and job files with both pass through memory: no core file gets them, and no other process of this user
 * reads them (PR_SET_DUMPABLE in prctl(2)). Who debugs starts berth under the debugger, or attaches as root. Programs
 * that berth starts are as they would be. Where the kernel refuses, berth works all the same. */
static void keep_memory_private(void)
{
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

/* Where whoever started us has closed a standard stream, the next file to be opened would get its number, and what is
 * printed would end up in there. */
static void keep_streams_apart(void)
{
    int fd;
    do {
        fd = open("/dev/null", O_RDWR); /* NOLINT(android-cloexec-open): as standard streams are */
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

/* --- signals: the first asks, the second insists ------------------------------------------------------------------ */

static struct cancel *signal_cancel;
static volatile sig_atomic_t signal_seen;

static void on_signal(int number)
{
    int saved = errno;
    if (!signal_seen)
        signal_seen = number;
    cancel_raise(signal_cancel, cancel_level_of(signal_cancel) == CANCEL_NONE ? CANCEL_STOP : CANCEL_KILL);
    errno = saved;
}

/* What whoever started us has ignored stays so: nohup(1), and a shell that puts us in the background. */
static void catch_signal(int number)
{
    const struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct sigaction before;
    if (sigaction(number, NULL, &before) < 0 || before.sa_handler != SIG_IGN)
        sigaction(number, &act, NULL);
}

static int catch_signals(struct cancel *cancel, struct err *err)
{
    if (cancel_init(cancel, err) < 0)
        return -1;
    signal_cancel = cancel;
    const struct sigaction ignore = {.sa_handler = SIG_IGN}, standard = {.sa_handler = SIG_DFL};
    catch_signal(SIGINT);
    catch_signal(SIGTERM);
    catch_signal(SIGHUP);
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGCHLD, &standard, NULL); /* ignored by who started us, it would take exit codes away */
    return 0;
}

int cli_signal_exit_code(void)
{
    return signal_seen == SIGTERM ? EXIT_SIGTERM : EXIT_SIGINT;
}

/* --- input and output --------------------------------------------------------------------------------------------- */

int cli_read_stdin(struct buf *out, struct err *err)
{
    struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = signal_cancel->event_fd, .events = POLLIN}};
    char piece[STDIN_PIECE];
    for (;;) {
        /* The wait is not in read(2), which goes on after a signal. */
        int ready = poll(fds, ARRAY_LEN(fds), -1);
        if (cancel_check(signal_cancel, err) < 0)
            return -1;
        ssize_t n = ready < 0 ? -1 : read(STDIN_FILENO, piece, sizeof piece);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0)
            return err_sys(err, "read standard input");
        if (n == 0)
            return 0;
        buf_add(out, piece, (size_t)n);
        if (buf_check(out, "standard input", err) < 0)
            return -1;
    }
}

int cli_print_json(json_t *value, struct err *err)
{
    if (!value)
        return -1;
    AUTO_JSON owned = value;
    AUTO_BUF out;
    buf_init(&out, HELP_MAX << 10);
    if (json_write(owned, true, &out, err) < 0)
        return -1;
    buf_addc(&out, '\n');
    if (buf_check(&out, "JSON output", err) < 0)
        return -1;
    (void)fwrite(out.p, 1, out.n, stdout); /* flush_output() tells in the end */
    return 0;
}

static void print_error_json(const struct err *err)
{
    struct err second = ERR_INIT;
    AUTO_JSON outer = json_object();
    json_t *inner = json_object();
    if (json_put_str(inner, "code", err_kind_name(err->kind), &second) == 0 &&
        json_put_str(inner, "message", err->text, &second) == 0 &&
        json_put_str(inner, "hint", err->hint[0] ? err->hint : NULL, &second) == 0 &&
        json_put(outer, "error", inner, &second) == 0)
        json_dumpf(outer, stderr, JSON_COMPACT);
    fputc('\n', stderr);
}

void cli_print_error(const struct cli *cli, const struct err *err)
{
    if (globals.json) {
        print_error_json(err);
        return;
    }
    fprintf(stderr, "%sberth:%s %s\n", cli->colour ? "\033[31m" : "", cli->colour ? "\033[0m" : "", err->text);
    if (err->hint[0])
        fprintf(stderr, "  %shint:%s %s\n", cli->colour ? "\033[36m" : "", cli->colour ? "\033[0m" : "", err->hint);
}

int cli_want_operands(const struct strv *operands, size_t least, size_t most, const struct command *c, struct err *err)
{
    if (operands->n >= least && operands->n <= most)
        return 0;
    if (operands->n < least)
        err_set(err, ERR_USAGE, "%s: something is missing; usage: berth %s %s", c->about.name, c->about.name,
                c->about.args);
    else
        err_set(err, ERR_USAGE, "%s: too many operands, from '%.64s' on; usage: berth %s%s%s", c->about.name,
                operands->v[most], c->about.name, c->about.args[0] ? " " : "", c->about.args);
    return err_hint(err, "berth %s --help shows examples", c->about.name);
}

/* --- finding the command ------------------------------------------------------------------------------------------ */

/* "cache ls" is two words of argv: how many words of it match, 0 for none. */
static int words_matched(const char *name, int argc, char **argv)
{
    struct span rest = span_of(name), word;
    int n = 0;
    while (rest.n > 0) {
        span_cut(rest, ' ', &word, &rest);
        if (n + 1 >= argc || !span_eq(word, span_of(argv[n + 1])))
            return 0;
        n++;
    }
    return n;
}

static const struct command *find_command(int argc, char **argv, int *words)
{
    for (size_t i = 0; commands[i]; i++)
        if ((*words = words_matched(commands[i]->about.name, argc, argv)) > 0)
            return commands[i];
    return NULL;
}

/* "job list" is of the group "job". */
static bool is_of_group(const struct command *c, const char *group)
{
    return span_starts(span_of(c->about.name), span_of(group)) && c->about.name[strlen(group)] == ' ';
}

static bool is_group(const char *word)
{
    bool any = false;
    for (size_t i = 0; commands[i]; i++)
        any |= is_of_group(commands[i], word);
    return any;
}

static int unknown_command(int argc, char **argv, struct err *err)
{
    const char *names[ARRAY_LEN(commands)];
    size_t n = 0;
    for (; commands[n]; n++)
        names[n] = commands[n]->about.name;
    bool group = is_group(argv[1]);
    if (argv[1][0] == '-') {
        err_set(err, ERR_USAGE, "'%s' stands where a command is expected", argv[1]);
        return err_hint(err, "options come after the command, as in: berth run --json job.json");
    }
    if (group && argc == 2) {
        err_set(err, ERR_USAGE, "%s: a second word is missing", argv[1]);
        return err_hint(err, "berth %s --help lists what there is", argv[1]);
    }
    AUTO_STR two = argc > 2 ? str_printf(err, "%s %s", argv[1], argv[2]) : str_dup(argv[1], err);
    if (!two)
        return -1;
    err_set(err, ERR_USAGE, "unknown command '%s'", group ? two : argv[1]);
    const char *near = near_best(span_of(argv[1]), names, n);
    if (!near)
        near = near_best(span_of(two), names, n);
    return near    ? err_hint(err, "did you mean 'berth %s'?", near)
           : group ? err_hint(err, "berth %s --help lists what there is", argv[1])
                   : err_hint(err, "berth --help lists the commands");
}

static void print_overview(const struct cli *cli)
{
    struct err err = ERR_INIT;
    AUTO_BUF out;
    buf_init(&out, HELP_MAX);
    const char *bold = cli->colour_out ? "\033[1m" : "", *plain = cli->colour_out ? "\033[0m" : "";
    buf_addf(
        &out,
        "berth brings a container job's declared inputs to this machine, verified and cached, runs the container, and\n"
        "keeps its results.\n\n%sUsage:%s berth COMMAND [OPTION…]\n\n%sCommands:%s\n",
        bold, plain, bold, plain);
    for (size_t i = 0; commands[i]; i++)
        buf_addf(&out, "  %-25s %s\n", commands[i]->about.name, commands[i]->about.summary);
    buf_addf(&out,
             "\n%sExamples:%s\n  berth run job.json                              run a job file\n"
             "  berth fetch s3://bucket/models/ ./models        download a prefix, verified and resumable\n"
             "  berth validate job.yaml                         check a job file\n"
             "  berth doctor                                    see what is missing on this machine\n\n"
             "berth COMMAND --help explains a command; man berth has it all.\n",
             bold, plain);
    if (buf_check(&out, "help", &err) == 0)
        fwrite(out.p, 1, out.n, stdout);
}

static void print_group(const struct cli *cli, const char *group)
{
    const char *bold = cli->colour_out ? "\033[1m" : "", *plain = cli->colour_out ? "\033[0m" : "";
    printf("%sUsage:%s berth %s COMMAND [OPTION…]\n\n%sCommands:%s\n", bold, plain, group, bold, plain);
    for (size_t i = 0; commands[i]; i++)
        if (is_of_group(commands[i], group))
            printf("  %-25s %s\n", commands[i]->about.name, commands[i]->about.summary);
    printf("\nberth %s COMMAND --help explains one, with examples.\n", group);
}

static int print_help(const struct cli *cli, const struct command *c, struct err *err)
{
    AUTO_BUF out;
    buf_init(&out, HELP_MAX);
    opt_help(&c->about, c->options, cli->width, &out);
    if (buf_check(&out, "help", err) < 0)
        return -1;
    fwrite(out.p, 1, out.n, stdout);
    return 0;
}

/* --- start -------------------------------------------------------------------------------------------------------- */

static void look_at_terminal(struct cli *cli)
{
    const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");
    bool dumb = !term || str_eq(term, "dumb");
    cli->terminal = isatty(STDERR_FILENO) && !dumb;
    cli->colour = cli->terminal && str_empty(no_colour);
    cli->colour_out = isatty(STDOUT_FILENO) && !dumb && str_empty(no_colour);
    struct winsize size = {0};
    cli->width = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 40 ? size.ws_col : 100;
    cli->width_out = isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

static int run_command(struct cli *cli, const struct command *c, int argc, char **argv, struct err *err)
{
    struct strv operands = {0};
    int rc = opt_parse(c->options, argc, argv, c->stop_at_first, &operands, err);
    if (rc == 0 && globals.help) {
        rc = print_help(cli, c, err);
    } else if (rc == 0) {
        const struct config_opts opts = {.user_file = globals.config_file, .flags = &globals.set};
        cli->terminal = cli->terminal && !globals.no_progress;
        log_setup(globals.verbose ? LOG_DEBUG
                  : globals.quiet ? LOG_ERROR
                                  : LOG_WARN,
                  str_eq(globals.log_format, "json") ? LOG_JSON : LOG_TEXT, cli->colour);
        rc = config_load(&cli->config, &opts, err) < 0 ? -1 : c->run(cli, &operands, err);
    }
    strv_release(&operands);
    return rc;
}

static int exit_code(int rc, const struct err *err)
{
    if (!err_is_set(err))
        return rc < 0 ? 1 : rc;
    if (err->kind == ERR_USAGE)
        return EXIT_USAGE;
    if (err->kind == ERR_CANCELLED && signal_seen)
        return cli_signal_exit_code();
    return rc > 0 ? rc : 1;
}

static bool asks_for_help(const char *word)
{
    return str_eq(word, "--help") || str_eq(word, "-h") || str_eq(word, "help");
}

/* `berth --help`, `berth job --help`, `berth help job`: what is not about one command. True where it was shown. */
static bool overview(const struct cli *cli, int argc, char **argv)
{
    bool asked = argc > 1 && asks_for_help(argv[1]);
    if (argc < 2 || (asked && argc == 2))
        print_overview(cli);
    else if (argc == 3 && is_group(argv[1]) && asks_for_help(argv[2]))
        print_group(cli, argv[1]);
    else if (argc == 3 && asked && is_group(argv[2]))
        print_group(cli, argv[2]);
    else
        return false;
    return true;
}

/* What was printed has to get out, but to whoever has seen enough of it (`berth cache ls | head`). */
static int flush_output(int rc)
{
    struct pollfd reader = {.fd = STDOUT_FILENO};
    bool failed = fflush(stdout) != 0;
    int why = failed ? errno : 0;
    if (!failed && !ferror(stdout))
        return rc;
    if (why != EPIPE && (poll(&reader, 1, 0) <= 0 || !(reader.revents & POLLERR)))
        fprintf(stderr, "berth: standard output was not written to its end%s%s\n", why ? ": " : "",
                why ? strerrordesc_np(why) : "");
    return rc == 0 ? 1 : rc;
}

int main(int argc, char **argv)
{
    struct cli cli = {0};
    struct err err = ERR_INIT;
    keep_streams_apart();
    keep_memory_private();
    if (argc > 1 && str_eq(argv[1], UNPACK_HELPER))
        return unpack_helper(argc, argv);
    setlocale(LC_CTYPE, "C.UTF-8");
    look_at_terminal(&cli);
    log_setup(LOG_WARN, LOG_TEXT, cli.colour);
    if (overview(&cli, argc, argv))
        return flush_output(argc < 2 ? EXIT_USAGE : 0);
    if (asks_for_help(argv[1])) { /* `berth help job list` is `berth job list --help` */
        globals.help = true;
        argc--;
        argv++;
    }
    if (str_eq(argv[1], "--version")) {
        puts("berth " BERTH_VERSION);
        return flush_output(0);
    }
    int rc = catch_signals(&cli.cancel, &err), words = 0;
    const struct command *c = rc == 0 ? find_command(argc, argv, &words) : NULL;
    if (rc == 0)
        rc = c ? run_command(&cli, c, argc - words, argv + words, &err) : unknown_command(argc, argv, &err);
    if (err_is_set(&err))
        cli_print_error(&cli, &err);
    config_free(cli.config);
    strv_release(&globals.set);
    return flush_output(exit_code(rc, &err));
}
