/* berth validate: check job files without running them. */
#include "cli/cli.h"
#include "cli/jobfile.h"
#include "cli/table.h"

#include <limits.h>

static struct {
    bool strict;
    struct strv vars;
} a;

static const struct opt options[] = {
    {.name = "strict", .type = OPT_FLAG, .into = &a.strict, .help = "Treat warnings as errors"},
    {.name = "var",
     .letter = 'V',
     .type = OPT_LIST,
     .into = &a.vars,
     .meta = "NAME=VALUE",
     .help = "Fill the placeholder {{.NAME}}"},
    GLOBAL_OPTIONS,
};

static json_t *strings(const char *const *v, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_string(v[i]));
    return list;
}

static json_t *verdict(const char *file, const struct job *job, const struct err *failure, struct err *err)
{
    static const char *const dialects[] = {"nosana", "bacalhau", "record"};
    AUTO_JSON v = json_object();
    if (json_put_str(v, "file", file, err) < 0 || json_put(v, "ok", json_boolean(job != NULL), err) < 0)
        return NULL;
    if (!job) {
        if (json_put_str(v, "code", err_kind_name(failure->kind), err) < 0 ||
            json_put_str(v, "error", failure->text, err) < 0 ||
            json_put_str(v, "hint", failure->hint[0] ? failure->hint : NULL, err) < 0)
            return NULL;
        return json_incref(v);
    }
    AUTO_JSON later = json_array();
    for (size_t i = 0; later && i < job->unsupported_count; i++)
        json_array_append_new(later, json_string(job->unsupported[i].what));
    if (json_put_str(v, "dialect", dialects[job->dialect], err) < 0 || json_put_str(v, "name", job->name, err) < 0 ||
        json_put_u64(v, "inputs", job->ops[0].input_count, err) < 0 ||
        json_put(v, "warnings", strings(job->warnings, job->warning_count), err) < 0 ||
        json_put(v, "not_run_yet", json_incref(later), err) < 0)
        return NULL;
    return json_incref(v);
}

static void say(const struct cli *cli, const char *file, const struct job *job, const struct err *failure)
{
    AUTO_BUF name;
    buf_init(&name, PATH_MAX);
    text_printable(span_of(file), &name);
    if (!job) {
        printf("%s: %s%s%s\n", buf_str(&name), cli->colour_out ? "\033[31m" : "",
               failure->kind == ERR_UNSUPPORTED ? "unsupported" : "error", cli->colour_out ? "\033[0m" : "");
        struct span rest = span_of(failure->text), line;
        while (rest.n > 0) {
            span_cut(rest, '\n', &line, &rest);
            printf("  %.*s\n", SPAN_FMT(line));
        }
        if (failure->hint[0])
            printf("  hint: %s\n", failure->hint);
        return;
    }
    if (globals.quiet)
        return;
    printf("%s: %sok%s ", buf_str(&name), cli->colour_out ? "\033[32m" : "", cli->colour_out ? "\033[0m" : "");
    text_line(stdout, "(%s, %zu input%s)", job->name, job->ops[0].input_count, job->ops[0].input_count == 1 ? "" : "s");
    for (size_t i = 0; i < job->warning_count; i++)
        text_line(stdout, "  warning: %s", job->warnings[i]);
    for (size_t i = 0; i < job->unsupported_count; i++)
        text_line(stdout, "  berth run does not do this yet: %s (%s)", job->unsupported[i].what,
                  job->unsupported[i].at);
}

static int run(struct cli *cli, const struct strv *operands, struct err *err)
{
    if (cli_want_operands(operands, 1, SIZE_MAX, &command_validate, err) < 0)
        return EXIT_USAGE;
    int code = 0;
    AUTO_JSON all = json_array();
    for (size_t i = 0; i < operands->n && !err_is_set(err); i++) {
        struct job *job = NULL;
        struct err failure = ERR_INIT;
        if (jobfile_parse(operands->v[i], &a.vars, a.strict, &job, &failure) < 0)
            code = 1;
        if (!globals.json) {
            say(cli, operands->v[i], job, &failure);
        } else {
            json_t *v = verdict(operands->v[i], job, &failure, err);
            if (v)
                json_array_append_new(all, v);
        }
        job_free(job);
    }
    strv_release(&a.vars);
    if (globals.json && !err_is_set(err) && cli_print_json(json_incref(all), err) < 0)
        return 1;
    return err_is_set(err) ? 1 : code;
}

const struct command command_validate = {
    .about = {.name = "validate",
              .summary = "Check job files",
              .args = "FILE…",
              .about = "Reads each file as berth run would, without touching the network. Every problem is named with "
                       "its place and, where one is "
                       "near, the known key that may have been meant. Ends with 1 if a file is not valid.",
              .examples =
                  "berth validate job.json\nberth validate --strict jobs/*.yaml\nberth validate --json job.json"},
    .options = options,
    .run = run,
};
