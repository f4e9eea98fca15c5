/* berth job post: a job file to a market. */
#include "cli/confidential.h"
#include "cli/jobfile.h"
#include "cli/posting.h"
#include "cli/remote.h"
#include "cli/table.h"

#include <math.h>

#define PRIORITY_MAX 100 /* either way, as the server has it */

static struct {
    const char *file, *market, *publish, *credentials, *key;
    uint64_t timeout_ms, queue_ms, total_ms;
    double priority;
    struct strv vars, labels;
    bool wait, follow, id_only, confidential;
} a = {.priority = NAN}; /* the job's own */

static const struct opt options[] = {
    {.name = "file",
     .letter = 'f',
     .type = OPT_STR,
     .into = &a.file,
     .meta = "FILE",
     .help = "The job file; - is standard input"},
    {.name = "market",
     .letter = 'm',
     .type = OPT_STR,
     .into = &a.market,
     .meta = "MARKET",
     .help = "Which market is to run it"},
    {.name = "timeout",
     .type = OPT_DURATION,
     .into = &a.timeout_ms,
     .meta = "TIME",
     .unit_ms = 60000,
     .help = "Stop the container after so long; a bare number is minutes"},
    {.name = "queue-timeout",
     .type = OPT_DURATION,
     .into = &a.queue_ms,
     .meta = "TIME",
     .unit_ms = 60000,
     .help = "Give up when no node took it for so long"},
    {.name = "total-timeout",
     .type = OPT_DURATION,
     .into = &a.total_ms,
     .meta = "TIME",
     .unit_ms = 60000,
     .help = "Give up after so long, whatever it is doing"},
    {.name = "priority",
     .type = OPT_NUMBER,
     .into = &a.priority,
     .meta = "N",
     .help = "-100 to 100; each step is worth a minute of waiting"},
    {.name = "label", .letter = 'l', .type = OPT_LIST, .into = &a.labels, .meta = "K=V", .help = "A label of the job"},
    {.name = "var",
     .letter = 'V',
     .type = OPT_LIST,
     .into = &a.vars,
     .meta = "NAME=VALUE",
     .help = "Fill {{.NAME}} in the job file"},
    {.name = "publish",
     .letter = 'p',
     .type = OPT_STR,
     .into = &a.publish,
     .meta = "PUB",
     .help = "Where results go, instead of the job's own: s3://BUCKET/KEY"},
    {.name = "credentials",
     .type = OPT_STR,
     .into = &a.credentials,
     .meta = "FROM",
     .help = "Hand over credentials for its inputs and results: env (AWS_*)"},
    {.name = "confidential",
     .type = OPT_FLAG,
     .into = &a.confidential,
     .help = "Let only the node that claims it read the job: the command waits until one has"},
    {.name = "wait", .type = OPT_FLAG, .into = &a.wait, .help = "Wait for its end, and end with its exit code"},
    {.name = "follow", .type = OPT_FLAG, .into = &a.follow, .help = "Wait, and show its log meanwhile"},
    {.name = "id-only", .type = OPT_FLAG, .into = &a.id_only, .help = "Print nothing but the job's id"},
    {.name = "idempotency-key",
     .type = OPT_STR,
     .into = &a.key,
     .meta = "TEXT",
     .help = "Posting it again with the same key is the same job"},
    GLOBAL_OPTIONS,
};

/* The file as JSON, whatever it was written in; checked here first, since errors here have line numbers. */
static json_t *read_definition(json_t **requires, struct err *err)
{
    AUTO_BUF text;
    struct job *job = NULL;
    buf_init(&text, SPEC_FILE_MAX + 1);
    if (jobfile_read(a.file, &text, err) < 0)
        return NULL;
    const struct spec_opts so = {.file = a.file, .vars = (const char *const *)a.vars.v};
    if (spec_parse(buf_span(&text), &so, &job, err) < 0)
        return NULL;
    for (size_t i = 0; i < job->warning_count && !globals.quiet; i++)
        text_line(stderr, "berth: %s: %s", a.file, job->warnings[i]);
    *requires = confidential_requires(job, err);
    job_free(job);
    if (!*requires)
        return NULL;
    return spec_read(buf_span(&text), &so, err);
}

static int run(struct cli *cli, const struct strv *operands, struct err *err)
{
    if (cli_want_operands(operands, 0, 1, &command_job_post, err) < 0)
        return EXIT_USAGE;
    if (operands->n == 1 && !a.file)
        a.file = operands->v[0];
    if (!a.file || !a.market) {
        err_set(err, ERR_USAGE, "job post: %s is missing", a.file ? "--market" : "--file");
        err_hint(err, "berth job post --file job.json --market gpu --timeout 10");
        return EXIT_USAGE;
    }
    if (!isnan(a.priority) && !(fabs(a.priority) <= PRIORITY_MAX && trunc(a.priority) == a.priority)) {
        err_set(err, ERR_USAGE, "--priority: expected a whole number from %d to %d", -PRIORITY_MAX, PRIORITY_MAX);
        return EXIT_USAGE;
    }
    const int64_t priority = isnan(a.priority) ? 0 : (int64_t)a.priority;
    const struct posting_opts o = {.market = a.market,
                                   .publish = a.publish,
                                   .credentials = a.credentials,
                                   .key = a.key,
                                   .timeout_ms = a.timeout_ms,
                                   .queue_ms = a.queue_ms,
                                   .total_ms = a.total_ms,
                                   .priority = isnan(a.priority) ? NULL : &priority,
                                   .labels = &a.labels,
                                   .confidential = a.confidential,
                                   .wait = a.wait,
                                   .follow = a.follow,
                                   .id_only = a.id_only};
    json_t *requires = NULL, *definition = read_definition(&requires, err);
    int code = posting_send(cli, &o, definition, requires, err);
    strv_release(&a.vars);
    strv_release(&a.labels);
    return code;
}

const struct command command_job_post = {
    .about = {.name = "job post",
              .summary = "Post a job to a market",
              .args = "[FILE]",
              .about =
                  "Sends a job file (either dialect) to the server of server.url, where a node of the market takes "
                  "it. With --wait it waits for the end and ends with the container's exit code, or where a job that "
                  "did not succeed has none, with 124 (its time was up) or 125; with --follow it "
                  "shows the log meanwhile. An interrupted wait leaves the job alone; `berth job stop` stops it.",
              .examples = "berth job post --file s3-public.json --market nvidia-3090 --timeout 10\n"
                          "berth job post --file job.json --market gpu --follow\n"
                          "berth job post --file job.yaml --market gpu --wait --publish s3://bucket/results/{jobID}/\n"
                          "id=$(berth job post -f job.json -m gpu --id-only)"},
    .options = options,
    .run = run,
};
