/* cli: commands, options, progress and tables; the wiring of everything below.
 *
 * One process runs one command once. A command is a row of a table: what it is called, its options (which drive
 * parsing,
 * --help, completion and the man page) and the function that runs it. */
#ifndef BERTH_CLI_CLI_H
#define BERTH_CLI_CLI_H

#include "base/cancel.h"
#include "base/err.h"
#include "base/opt.h"
#include "base/str.h"
#include "cli/config.h"

#include <stdbool.h>

#define EXIT_USAGE   2
#define EXIT_TIMEOUT 124
#define EXIT_BERTH   125
#define EXIT_SIGINT  130
#define EXIT_SIGTERM 143

/* Options that every command takes; the rows of GLOBAL_OPTIONS fill them. */
struct globals {
    bool help, json, quiet, verbose, no_progress;
    const char *config_file;
    const char *log_format;
    struct strv set; /* NAME=VALUE */
};
extern struct globals globals;

#define GLOBAL_OPTIONS                                                                                                 \
    {.name = "set",                                                                                                    \
     .type = OPT_LIST,                                                                                                 \
     .into = &globals.set,                                                                                             \
     .meta = "NAME=VALUE",                                                                                             \
     .help = "Set a configuration value for this run; see: berth config show"},                                        \
        {.name = "config",                                                                                             \
         .type = OPT_STR,                                                                                              \
         .into = &globals.config_file,                                                                                 \
         .meta = "FILE",                                                                                               \
         .help = "Read this configuration file instead of the user's"},                                                \
        {.name = "json", .type = OPT_FLAG, .into = &globals.json, .help = "Print JSON"},                               \
        {.name = "quiet", .letter = 'q', .type = OPT_FLAG, .into = &globals.quiet, .help = "Say only what failed"},    \
        {.name = "verbose", .letter = 'v', .type = OPT_FLAG, .into = &globals.verbose, .help = "Log what is done"},    \
        {.name = "no-progress",                                                                                        \
         .type = OPT_FLAG,                                                                                             \
         .into = &globals.no_progress,                                                                                 \
         .help = "Print lines instead of bars"},                                                                       \
        {.name = "log-format",                                                                                         \
         .type = OPT_CHOICE,                                                                                           \
         .into = &globals.log_format,                                                                                  \
         .meta = "FORMAT",                                                                                             \
         .help = "How log lines look",                                                                                 \
         .choices = "text|json"},                                                                                      \
        {.name = "help", .letter = 'h', .type = OPT_FLAG, .into = &globals.help, .help = "Show this help"},            \
    {                                                                                                                  \
        .name = NULL                                                                                                   \
    }

struct cli {
    struct config *config;
    struct cancel cancel; /* raised by SIGINT and SIGTERM */
    bool terminal;        /* stderr is one, and bars are wanted */
    bool colour;          /* on stderr */
    bool colour_out;      /* on stdout */
    unsigned width;       /* of stderr; 100 where it is no terminal */
    unsigned width_out;   /* of stdout; 0 where it is no terminal */
};

struct command {
    struct opt_command about;
    const struct opt *options;
    bool stop_at_first; /* the first operand ends the options */
    /* Returns the exit code; with `err` set, that error is printed. */
    int (*run)(struct cli *cli, const struct strv *operands, struct err *err);
};

extern const struct command *const commands[]; /* NULL-terminated, in the order of --help */

extern const struct command command_publish, command_job_get, command_run, command_validate, command_fetch,
    command_docker_run, command_cache_ls, command_cache_stat, command_cache_pin, command_cache_unpin, command_cache_rm,
    command_cache_gc, command_cache_verify, command_cache_path, command_doctor, command_config_show, command_completion,
    command_man, command_version, command_serve, command_job_post, command_job_list, command_job_describe,
    command_job_history, command_job_logs, command_job_stop, command_market_create, command_market_set,
    command_market_list, command_market_required, command_token_create, command_token_list, command_token_revoke,
    command_node_list, command_node_describe, command_node_approve, command_node_reject, command_node_drain,
    command_node_undrain, command_node_start, command_devstack;

/* 130 or 143 when a signal asked for the end. */
int cli_signal_exit_code(void);

/* Standard input to its end, or to a signal: ERR_CANCELLED. `out` bounds it. */
int cli_read_stdin(struct buf *out, struct err *err);

/* One JSON value, pretty, on stdout. Steals `value`; NULL with err set is fine and gives -1. */
int cli_print_json(json_t *value, struct err *err);

/* The error as `--json` shows it, or on stderr for people. */
void cli_print_error(const struct cli *cli, const struct err *err);

/* Exactly / at least so many operands, else ERR_USAGE with the command's own words. */
int cli_want_operands(const struct strv *operands, size_t least, size_t most, const struct command *c, struct err *err);

/* The bash, zsh and fish scripts call `berth completion words WORD…`. */
void cli_complete(const struct strv *words, struct buf *out);

#endif
