/* The small commands: config show, completion, man, version. */
#include "cli/cli.h"
#include "cli/table.h"

#include <stdlib.h>

#define TEXT_MAX (1u << 20)

static const struct opt options[] = {GLOBAL_OPTIONS};

static int config_show_run(struct cli *cli, const struct strv *operands, struct err *err)
{
    if (cli_want_operands(operands, 0, 0, &command_config_show, err) < 0)
        return EXIT_USAGE;
    AUTO_JSON all = config_show(cli->config, err);
    if (!all)
        return 1;
    if (globals.json)
        return cli_print_json(json_incref(all), err) < 0 ? 1 : 0;
    static const char *const heads[] = {"NAME", "VALUE", "FROM", "MEANING", NULL};
    struct table *t = table_new(heads, err);
    int rc = t ? 0 : -1;
    if (t)
        table_fit(t, cli->width_out);
    size_t i;
    json_t *one;
    json_array_foreach(all, i, one)
    {
        const char *cells[] = {json_get_str(one, "name"), json_get_str(one, "value"), json_get_str(one, "from"),
                               json_get_str(one, "help")};
        if (rc == 0)
            rc = table_row(t, cells, err);
    }
    AUTO_BUF out;
    buf_init(&out, TEXT_MAX);
    if (rc == 0 && (rc = table_write(t, cli->colour_out, &out, err)) == 0)
        fwrite(out.p, 1, out.n, stdout);
    table_free(t);
    return rc < 0 ? 1 : 0;
}

const struct command command_config_show = {
    .about = {.name = "config show",
              .summary = "Every setting, its value and where it came from",
              .args = "",
              .about = "Settings come from --set, BERTH_* environment variables (cache.ttl is BERTH_CACHE_TTL), "
                       "~/.config/berth/config.yaml and /etc/berth/config.yaml, in that order.",
              .examples = "berth config show\nBERTH_CACHE_TTL=2h berth config show --json"},
    .options = options,
    .run = config_show_run,
};

/* --- completion --------------------------------------------------------------------------------------------------- */

/* Whether `word`, which stands before the last one, is an option that takes the last one as its value; where its values
 * are known, those that begin like it. */
static bool complete_value(const struct opt *table, struct span word, struct span last, struct buf *out)
{
    if (!span_starts(word, SPAN_LIT("-")) || span_eq(word, SPAN_LIT("--")))
        return false;
    for (const struct opt *o = table; o->name; o++) {
        bool is_long =
            span_starts(word, SPAN_LIT("--")) && span_eq((struct span){word.p + 2, word.n - 2}, span_of(o->name));
        if (o->type == OPT_FLAG || !(is_long || (word.n == 2 && o->letter && word.p[1] == o->letter)))
            continue;
        struct span rest = span_of(o->choices ? o->choices : ""), choice;
        while (rest.n > 0) {
            span_cut(rest, '|', &choice, &rest);
            if (span_starts(choice, last))
                buf_addf(out, "%.*s\n", SPAN_FMT(choice));
        }
        return true;
    }
    return false;
}

/* Words typed after "berth", the last one unfinished. */
void cli_complete(const struct strv *words, struct buf *out)
{
    const struct command *found = NULL;
    size_t used = 0;
    for (size_t i = 0; commands[i] && !found; i++) {
        struct span rest = span_of(commands[i]->about.name), word;
        size_t n = 0;
        bool same = true;
        while (rest.n > 0 && same) {
            span_cut(rest, ' ', &word, &rest);
            same = n + 1 < words->n && span_eq(word, span_of(words->v[n]));
            n++;
        }
        if (same) {
            found = commands[i];
            used = n;
        }
    }
    struct span last = words->n ? span_of(words->v[words->n - 1]) : SPAN_LIT("");
    if (found && words->n > used) {
        if (words->n >= used + 2 && complete_value(found->options, span_of(words->v[words->n - 2]), last, out))
            return;
        opt_complete(found->options, last, out);
        return;
    }
    /* The next word of every command that begins with the words before the last. */
    struct span said = {0};
    for (size_t i = 0; commands[i]; i++) {
        struct span rest = span_of(commands[i]->about.name), word;
        bool same = true;
        for (size_t k = 0; k + 1 < words->n && same; k++) {
            span_cut(rest, ' ', &word, &rest);
            same = span_eq(word, span_of(words->v[k]));
        }
        span_cut(rest, ' ', &word, &rest);
        if (!same || word.n == 0 || !span_starts(word, last) || span_eq(word, said))
            continue;
        said = word;
        buf_addf(out, "%.*s\n", SPAN_FMT(word));
    }
}

static const char bash_script[] =
    "_berth() {\n"
    "    local IFS=$'\\n'\n"
    "    COMPREPLY=($(berth completion words -- \"${COMP_WORDS[@]:1:COMP_CWORD}\" 2>/dev/null))\n"
    "    [ ${#COMPREPLY[@]} -gt 0 ] || compopt -o default\n"
    "}\n"
    "complete -F _berth berth\n";
static const char zsh_script[] =
    "#compdef berth\n"
    "_berth() {\n"
    "    local -a words_found\n"
    "    words_found=(${(f)\"$(berth completion words -- ${words[2,CURRENT]} 2>/dev/null)\"})\n"
    "    if (( ${#words_found} )); then compadd -a words_found; else _files; fi\n"
    "}\n"
    "compdef _berth berth\n";
static const char fish_script[] =
    "complete -c berth -a '(berth completion words -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'\n";

static int completion_run(struct cli *cli, const struct strv *operands, struct err *err)
{
    (void)cli;
    if (operands->n >= 1 && str_eq(operands->v[0], "words")) {
        const struct strv rest = {operands->v + 1, operands->n - 1};
        AUTO_BUF out;
        buf_init(&out, TEXT_MAX);
        cli_complete(&rest, &out);
        fputs(buf_str(&out), stdout);
        return 0;
    }
    if (cli_want_operands(operands, 1, 1, &command_completion, err) < 0)
        return EXIT_USAGE;
    if (str_eq(operands->v[0], "bash"))
        fputs(bash_script, stdout);
    else if (str_eq(operands->v[0], "zsh"))
        fputs(zsh_script, stdout);
    else if (str_eq(operands->v[0], "fish"))
        fputs(fish_script, stdout);
    else {
        err_set(err, ERR_USAGE, "unknown shell '%s'; known are bash, zsh and fish", operands->v[0]);
        return EXIT_USAGE;
    }
    return 0;
}

const struct command command_completion = {
    .about = {.name = "completion",
              .summary = "Print a completion script for a shell",
              .args = "bash|zsh|fish",
              .about = "The script asks berth itself for the words, so it never falls behind.",
              .examples = "source <(berth completion bash)\nberth completion fish | source"},
    .options = options,
    .run = completion_run,
};

/* --- man, version ------------------------------------------------------------------------------------------------- */

static int man_run(struct cli *cli, const struct strv *operands, struct err *err)
{
    (void)cli;
    if (cli_want_operands(operands, 0, 0, &command_man, err) < 0)
        return EXIT_USAGE;
    AUTO_BUF out;
    buf_init(&out, TEXT_MAX);
    buf_adds(&out, "# COMMANDS\n\n");
    for (size_t i = 0; commands[i]; i++)
        opt_man(&commands[i]->about, commands[i]->options, &out);
    if (buf_check(&out, "manual page", err) < 0)
        return 1;
    fputs(buf_str(&out), stdout);
    return 0;
}

const struct command command_man = {
    .about = {.name = "man",
              .summary = "Print the commands' part of the manual page (scdoc)",
              .args = "",
              .about = "The build makes berth(1) from it.",
              .examples = "berth man"},
    .options = options,
    .run = man_run,
};

static int version_run(struct cli *cli, const struct strv *operands, struct err *err)
{
    (void)cli;
    if (cli_want_operands(operands, 0, 0, &command_version, err) < 0)
        return EXIT_USAGE;
    if (!globals.json) {
        puts("berth " BERTH_VERSION);
        return 0;
    }
    json_t *o = json_object();
    if (json_put_str(o, "version", BERTH_VERSION, err) < 0) {
        json_decref(o);
        return 1;
    }
    return cli_print_json(o, err) < 0 ? 1 : 0;
}

const struct command command_version = {
    .about = {.name = "version", .summary = "Print the version", .args = "", .about = "", .examples = "berth version"},
    .options = options,
    .run = version_run,
};
