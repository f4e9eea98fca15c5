/* opt: one table per command's options drives parsing, --help, completion and the man page.
 *
 * Options are GNU style: --name VALUE, --name=VALUE, -n VALUE, clustered flags, "--" ends them. Each row of the table
 * says where its value goes; values are checked by type before they are stored. */
#ifndef BERTH_BASE_OPT_H
#define BERTH_BASE_OPT_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#include <stdint.h>

enum opt_type {
    OPT_FLAG,     /* bool * */
    OPT_STR,      /* const char **, borrowed from argv */
    OPT_LIST,     /* struct strv *, may be given again */
    OPT_U64,      /* uint64_t * */
    OPT_BYTES,    /* uint64_t *, "10GB" */
    OPT_DURATION, /* uint64_t * in ms; a bare number counts in `unit_ms` */
    OPT_NUMBER,   /* double *, "0.5" */
    OPT_CHOICE,   /* const char **, one of `choices`, separated by '|' */
};

struct opt {
    const char *name; /* long name without dashes; NULL ends the table */
    char letter;      /* 0: none */
    bool hidden;      /* parsed, but neither shown nor completed */
    enum opt_type type;
    void *into;
    const char *meta;    /* how the value is called in --help: "DIR" */
    const char *help;    /* one sentence */
    const char *choices; /* OPT_CHOICE */
    uint64_t unit_ms;    /* OPT_DURATION */
};

struct opt_command {
    const char *name;     /* "cache ls" */
    const char *summary;  /* one line for the list of commands */
    const char *args;     /* "FILE…" */
    const char *about;    /* paragraphs for --help and the man page */
    const char *examples; /* lines, shown under "Examples:" */
};

/* Parse argv[1…] against the table; what is left over is added to `rest` as owned copies (strv_release).
 * With `stop_at_first`, the first operand ends the options (for `docker run IMAGE CMD…`).
 * An option given again replaces its value, save OPT_LIST. "-" is an operand.
 * ERR_USAGE; for a misspelt option the hint says "did you mean --x?". */
int opt_parse(const struct opt *opts, int argc, char **argv, bool stop_at_first, struct strv *rest, struct err *err);

/* `width` in columns; 0: 80. */
void opt_help(const struct opt_command *cmd, const struct opt *opts, unsigned width, struct buf *out);
void opt_man(const struct opt_command *cmd, const struct opt *opts, struct buf *out); /* a scdoc section */
void opt_complete(const struct opt *opts, struct span word, struct buf *out);         /* one candidate a line */

#endif
