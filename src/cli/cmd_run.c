/* berth run and berth docker run: one job on this machine. */
#include "base/clock.h"
#include "base/fs.h"
#include "base/yaml.h"
#include "cli/confidential.h"
#include "cli/jobfile.h"
#include "cli/posting.h"
#include "cli/publishing.h"
#include "cli/ui.h"
#include "cli/wiring.h"
#include "job/run.h"
#include "spec/spec.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

static struct {
    const char *results, *engine, *pull, *publish;
    bool no_gpu, strict, publish_partial;
    uint64_t timeout_ms, stage_timeout_ms, grace_ms, log_max;
    struct strv vars;
    uint64_t partition_index, partition_count;
} a;

#define RUN_OPTIONS                                                                                                    \
    {.name = "results",                                                                                                \
     .letter = 'r',                                                                                                    \
     .type = OPT_STR,                                                                                                  \
     .into = &a.results,                                                                                               \
     .meta = "DIR",                                                                                                    \
     .help = "Where stdout, stderr, exitCode, outputs/ and berth.json go (default: ./berth-<job>)"},                   \
        {.name = "engine",                                                                                             \
         .type = OPT_STR,                                                                                              \
         .into = &a.engine,                                                                                            \
         .meta = "ENGINE",                                                                                             \
         .help = "docker, podman, unix:///PATH or tcp://HOST:PORT"},                                                   \
        {.name = "pull",                                                                                               \
         .type = OPT_CHOICE,                                                                                           \
         .into = &a.pull,                                                                                              \
         .meta = "WHEN",                                                                                               \
         .choices = "missing|always|never",                                                                            \
         .help = "When to pull the image"},                                                                            \
        {.name = "no-gpu", .type = OPT_FLAG, .into = &a.no_gpu, .help = "Run without the GPU that the job asks for"},  \
        {.name = "stage-timeout",                                                                                      \
         .type = OPT_DURATION,                                                                                         \
         .into = &a.stage_timeout_ms,                                                                                  \
         .meta = "TIME",                                                                                               \
         .help = "Give up when the inputs are not ready after so long",                                                \
         .unit_ms = 1000},                                                                                             \
        {.name = "stop-grace",                                                                                         \
         .type = OPT_DURATION,                                                                                         \
         .into = &a.grace_ms,                                                                                          \
         .meta = "TIME",                                                                                               \
         .help = "Time between asking the container to stop and killing it (default: 10s)",                            \
         .unit_ms = 1000},                                                                                             \
        {.name = "publish-partial",                                                                                    \
         .type = OPT_FLAG,                                                                                             \
         .into = &a.publish_partial,                                                                                   \
         .help = "Publish what there is when the run was interrupted, too"},                                           \
    {                                                                                                                  \
        .name = "log-max", .type = OPT_BYTES, .into = &a.log_max, .meta = "BYTES",                                     \
        .help = "Keep at most so much of stdout and of stderr (default: 1 GiB)"                                        \
    }

static const struct opt run_options[] = {
    RUN_OPTIONS,
    {.name = "timeout",
     .type = OPT_DURATION,
     .into = &a.timeout_ms,
     .meta = "TIME",
     .unit_ms = 1000,
     .help = "Stop the container after so long (default: the job's own)"},
    {.name = "var",
     .letter = 'V',
     .type = OPT_LIST,
     .into = &a.vars,
     .meta = "NAME=VALUE",
     .help = "Fill the placeholder {{.NAME}} of the job file"},
    {.name = "publish",
     .type = OPT_STR,
     .into = &a.publish,
     .meta = "PUB",
     .help = "Publish the results there, whatever the job file says: s3://BUCKET/KEY[,opt=NAME=VALUE]"},
    {.name = "strict", .type = OPT_FLAG, .into = &a.strict, .help = "Treat warnings about the job file as errors"},
    {.name = "partition",
     .type = OPT_U64,
     .into = &a.partition_index,
     .meta = "N",
     .help = "Run as execution N of a partitioned job (with --partitions)"},
    {.name = "partitions",
     .type = OPT_U64,
     .into = &a.partition_count,
     .meta = "COUNT",
     .help = "Number of executions that share the inputs of a partitioned job"},
    GLOBAL_OPTIONS,
};

static enum engine_pull pull_of(const char *word)
{
    return str_eq(word, "always")  ? ENGINE_PULL_ALWAYS
           : str_eq(word, "never") ? ENGINE_PULL_NEVER
                                   : ENGINE_PULL_MISSING;
}

/* ./berth-<name>, or with -2, -3 … where that is taken. */
static char *results_dir_for(const struct job *job, struct err *err)
{
    if (a.results)
        return str_dup(a.results, err);
    AUTO_BUF name;
    buf_init(&name, 64);
    for (const char *p = job->name; *p && name.n < 40; p++)
        buf_addc(&name, (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ? *p : '-');
    for (unsigned k = 1; k <= 10000; k++) {
        AUTO_STR dir =
            k == 1 ? str_printf(err, "berth-%s", buf_str(&name)) : str_printf(err, "berth-%s-%u", buf_str(&name), k);
        if (!dir)
            return NULL;
        if (access(dir, F_OK) != 0)
            return str_take(&dir);
    }
    err_set(err, ERR_EXISTS, "too many folders called berth-%s-…", buf_str(&name));
    err_hint(err, "name one with --results");
    return NULL;
}

static void say_times(struct ui *ui, const struct run_result *r, const char *dir)
{
    char t[6][HUMAN_MAX], fetched[HUMAN_MAX], cached[HUMAN_MAX];
    ui_note(ui, "inputs %s (%s fetched, %s cached) · image %s · start %s · run %s · results %s",
            human_duration(t[0], r->phase_ms[RUN_RESOLVING] + r->phase_ms[RUN_DOWNLOADING]),
            human_bytes(fetched, r->bytes_fetched), human_bytes(cached, r->bytes_cached),
            human_duration(t[1], r->phase_ms[RUN_PULLING]), human_duration(t[2], r->phase_ms[RUN_STARTING]),
            human_duration(t[3], r->phase_ms[RUN_RUNNING]), dir);
}

static void say_end(struct ui *ui, const struct run_result *r)
{
    switch (r->end) {
    case ENGINE_OOM:
        ui_warn(ui, "the container ran out of memory and was killed; raise its memory limit");
        break;
    case ENGINE_TIMED_OUT:
        ui_warn(ui, "the container was stopped: its time was up");
        break;
    case ENGINE_STOPPED:
        ui_warn(ui, "interrupted; the container was stopped");
        break;
    case ENGINE_NOT_STARTED:
    case ENGINE_EXITED:
        break;
    }
}

static void sweep(struct wiring *w, struct ui *ui)
{
    struct err err = ERR_INIT;
    unsigned removed = 0;
    if (job_sweep(w->engine, w->runs_dir, &removed, &err) < 0)
        ui_warn(ui, err.text);
    else if (removed > 0)
        ui_note(ui, "removed %u container%s that killed runs had left", removed, removed == 1 ? "" : "s");
}

static int run_with(struct cli *cli, const struct job *job, struct wiring *w, struct ui *ui, struct err *err)
{
    AUTO_STR dir = results_dir_for(job, err);
    if (!dir)
        return EXIT_BERTH;
    struct run_opts opts = {
        .job = job,
        .engine = w->engine,
        .stage = {.cache = w->cache,
                  .xfer = w->xfer,
                  .http = w->http,
                  .stale_if_error = config_flag(cli->config, SETTING_CACHE_STALE),
                  .partition_index = (uint32_t)a.partition_index,
                  .partition_count = (uint32_t)a.partition_count},
        .results_dir = dir,
        .work_root = w->runs_dir,
        .no_gpu = a.no_gpu,
        .pull = pull_of(a.pull),
        .timeout_ms = a.timeout_ms,
        .stage_timeout_ms = a.stage_timeout_ms,
        .stop_grace_ms = a.grace_ms,
        .log_max_bytes = a.log_max,
        .publish_partial = a.publish_partial,
        .cancel = &cli->cancel,
        .stopped_exit_code = cli_signal_exit_code,
        .events = ui_run_events(ui),
    };
    wiring_access(cli, &opts.stage.access);
    publishing_access(&opts.stage.access, &opts.publish);
    opts.publish.journal_dir = w->uploads_dir;
    struct run_result result;
    int rc = job_run(&opts, &result, err);
    int code = result.exit_code;
    if (rc == 0) {
        say_end(ui, &result);
        if (result.end == ENGINE_NOT_STARTED && result.record)
            ui_warn(ui, json_get_str(result.record, "reason") ? json_get_str(result.record, "reason") : "not started");
        say_times(ui, &result, dir);
        publishing_note(ui, json_object_get(result.record, "published"));
    }
    ui_event(ui, "result", json_incref(result.record));
    run_result_release(&result);
    return code;
}

static int run_job(struct cli *cli, const struct job *job, struct err *err)
{
    struct wiring w = {0};
    struct ui *ui = NULL;
    if (ui_new(&ui, cli, err) < 0)
        return EXIT_BERTH;
    for (size_t i = 0; i < job->warning_count; i++)
        ui_warn(ui, job->warnings[i]);
    int code = EXIT_BERTH;
    if (spec_check_runnable(job, err) == 0 &&
        (!a.engine || config_override(cli->config, SETTING_ENGINE, a.engine, "--engine", err) == 0) &&
        wiring_open_engine(&w, cli, err) == 0 && wiring_open_cache(&w, cli, err) == 0 &&
        wiring_open_transfers(&w, cli, err) == 0) {
        sweep(&w, ui);
        code = run_with(cli, job, &w, ui, err);
    }
    wiring_release(&w);
    ui_free(ui);
    return code;
}

static int run(struct cli *cli, const struct strv *operands, struct err *err)
{
    struct job *job = NULL;
    if (cli_want_operands(operands, 1, 1, &command_run, err) < 0)
        return EXIT_USAGE;
    if ((a.partition_count > 0 && a.partition_index >= a.partition_count) || a.partition_count > UINT32_MAX ||
        (a.partition_count == 0 && a.partition_index > 0)) {
        err_set(err, ERR_USAGE, "--partition must be below --partitions");
        return EXIT_USAGE;
    }
    if (jobfile_parse(operands->v[0], &a.vars, a.strict, &job, err) < 0)
        return EXIT_BERTH;
    int code = EXIT_USAGE;
    if (!a.publish || spec_override_publisher(job, span_of(a.publish), err) == 0)
        code = run_job(cli, job, err);
    job_free(job);
    strv_release(&a.vars);
    return code;
}

const struct command command_run = {
    .about = {.name = "run",
              .summary = "Run a job file on this machine",
              .args = "FILE",
              .about =
                  "Reads a Nosana job definition or a Bacalhau specification (JSON or YAML; - is standard input), "
                  "brings its inputs here, "
                  "verified and from the cache where they have not changed, mounts them read-only, runs the container "
                  "and keeps stdout, "
                  "stderr, exitCode, outputs and the record berth.json in the results folder. Ends with the "
                  "container's exit code; "
                  "124 timed out, 125 berth itself failed, 126 and 127 the command could not be run, 130 interrupted.",
              .examples = "berth run job.json\nberth run job.yaml -V bucket=data --results out\n"
                          "berth run --publish s3://bucket/results/{jobID}/ job.json\n"
                          "berth run --no-gpu --timeout 10m job.json\ncat job.json | berth run -"},
    .options = run_options,
    .run = run,
};

/* --- docker run --------------------------------------------------------------------------------------------------- */

static struct {
    struct strv inputs, outputs, env, labels, constraints, domains;
    const char *publish, *entrypoint, *work_dir, *name, *network;
    const char *market, *credentials;
    double cpu;
    uint64_t memory, gpu, count;
    bool dry_run, wait, follow, id_only;
} d;

static const struct opt docker_options[] = {
    {.name = "input",
     .letter = 'i',
     .type = OPT_LIST,
     .into = &d.inputs,
     .meta = "SRC",
     .help = "An input: URI[:DST] or src=URI,dst=PATH,opt=K=V"},
    {.name = "output",
     .letter = 'o',
     .type = OPT_LIST,
     .into = &d.outputs,
     .meta = "NAME:PATH",
     .help = "Keep the container's PATH as outputs/NAME"},
    {.name = "publisher",
     .letter = 'p',
     .type = OPT_STR,
     .into = &d.publish,
     .meta = "PUB",
     .help = "Where results are published"},
    {.name = "env", .letter = 'e', .type = OPT_LIST, .into = &d.env, .meta = "K=V", .help = "Environment variable"},
    {.name = "workdir",
     .letter = 'w',
     .type = OPT_STR,
     .into = &d.work_dir,
     .meta = "DIR",
     .help = "Working directory"},
    {.name = "entrypoint", .type = OPT_STR, .into = &d.entrypoint, .meta = "CMD", .help = "Instead of the image's"},
    {.name = "label", .letter = 'l', .type = OPT_LIST, .into = &d.labels, .meta = "K=V", .help = "Label of the job"},
    {.name = "constraint",
     .letter = 'c',
     .type = OPT_LIST,
     .into = &d.constraints,
     .meta = "EXPR",
     .help = "Which nodes may run it"},
    {.name = "name", .type = OPT_STR, .into = &d.name, .meta = "NAME", .help = "Name of the job"},
    {.name = "cpu", .type = OPT_NUMBER, .into = &d.cpu, .meta = "CORES", .help = "CPU limit"},
    {.name = "memory", .type = OPT_BYTES, .into = &d.memory, .meta = "BYTES", .help = "Memory limit"},
    {.name = "gpu", .type = OPT_U64, .into = &d.gpu, .meta = "N", .help = "GPUs"},
    {.name = "count", .type = OPT_U64, .into = &d.count, .meta = "N", .help = "Executions"},
    {.name = "network",
     .type = OPT_CHOICE,
     .into = &d.network,
     .meta = "MODE",
     .choices = "none|full|http",
     .help = "Network of the container (default: none)"},
    {.name = "domain", .type = OPT_LIST, .into = &d.domains, .meta = "HOST", .help = "Domain for --network http"},
    {.name = "timeout",
     .type = OPT_DURATION,
     .into = &a.timeout_ms,
     .meta = "TIME",
     .unit_ms = 1000,
     .help = "Stop the container after so long"},
    {.name = "dry-run", .type = OPT_FLAG, .into = &d.dry_run, .help = "Print the job as YAML instead of running it"},
    {.name = "market",
     .letter = 'm',
     .type = OPT_STR,
     .into = &d.market,
     .meta = "MARKET",
     .help = "Post it to this market of server.url instead of running it here"},
    {.name = "wait",
     .type = OPT_FLAG,
     .into = &d.wait,
     .help = "With --market: wait for its end, and end with its exit code"},
    {.name = "follow", .type = OPT_FLAG, .into = &d.follow, .help = "With --market: wait, and show its log meanwhile"},
    {.name = "id-only", .type = OPT_FLAG, .into = &d.id_only, .help = "With --market: print nothing but the job's id"},
    {.name = "credentials",
     .type = OPT_STR,
     .into = &d.credentials,
     .meta = "FROM",
     .help = "With --market: hand over credentials for its inputs and results: env (AWS_*)"},
    RUN_OPTIONS,
    GLOBAL_OPTIONS,
};

static int print_yaml(const struct job *job, struct err *err)
{
    AUTO_JSON j = spec_to_bacalhau(job, false, err);
    AUTO_BUF out;
    buf_init(&out, SPEC_FILE_MAX);
    if (!j)
        return -1;
    if (globals.json)
        return cli_print_json(json_incref(j), err);
    if (yaml_write(j, &out, err) < 0 || buf_check(&out, "job", err) < 0)
        return -1;
    fwrite(out.p, 1, out.n, stdout);
    return 0;
}

/* What is for one way of running it is refused with the other, rather than ignored. */
static int check_where(struct err *err)
{
    const struct {
        const char *option;
        bool given, posted;
    } options[] = {{"wait", d.wait, true},
                   {"follow", d.follow, true},
                   {"id-only", d.id_only, true},
                   {"credentials", d.credentials, true},
                   {"results", a.results, false},
                   {"engine", a.engine, false},
                   {"pull", a.pull, false},
                   {"no-gpu", a.no_gpu, false},
                   {"stage-timeout", a.stage_timeout_ms, false},
                   {"stop-grace", a.grace_ms, false},
                   {"publish-partial", a.publish_partial, false},
                   {"log-max", a.log_max, false}};
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        if (!options[i].given || options[i].posted == (d.market != NULL))
            continue;
        err_set(err, ERR_USAGE, "docker run: --%s has no effect %s --market", options[i].option,
                options[i].posted ? "without" : "with");
        return options[i].posted
                   ? err_hint(err, "--market MARKET posts the job; without it, it runs here, and the command waits")
                   : err_hint(err, "where a node of the market runs it, that is for the node; `berth job get ID` "
                                   "fetches the results");
    }
    return 0;
}

static int post_it(struct cli *cli, const struct job *job, struct err *err)
{
    const struct posting_opts o = {
        .market = d.market, .credentials = d.credentials, .wait = d.wait, .follow = d.follow, .id_only = d.id_only};
    json_t *definition = spec_to_bacalhau(job, true, err);
    return posting_send(cli, &o, definition, definition ? confidential_requires(job, err) : NULL, err);
}

/* What doesn't fit is above every limit that a job's numbers have. */
static uint32_t fitted(uint64_t n)
{
    return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

static int docker_run(struct cli *cli, const struct strv *operands, struct err *err)
{
    if (cli_want_operands(operands, 1, SIZE_MAX, &command_docker_run, err) < 0 || check_where(err) < 0)
        return EXIT_USAGE;
    const struct spec_docker_run r = {
        .image = operands->v[0],
        .command = operands->n > 1 ? (const char *const *)operands->v + 1 : NULL,
        .inputs = &d.inputs,
        .outputs = &d.outputs,
        .env = &d.env,
        .labels = &d.labels,
        .constraints = &d.constraints,
        .publisher = d.publish,
        .entrypoint = d.entrypoint,
        .work_dir = d.work_dir,
        .name = d.name,
        .network = d.network,
        .domains = &d.domains,
        .cpu = d.cpu,
        .memory_bytes = d.memory,
        .timeout_ms = a.timeout_ms,
        .gpu = fitted(d.gpu),
        .count = fitted(d.count),
    };
    struct job *job = NULL;
    int code = EXIT_BERTH;
    if (spec_from_docker_run(&r, &job, err) == 0)
        code = d.dry_run  ? (print_yaml(job, err) < 0 ? EXIT_BERTH : 0)
               : d.market ? post_it(cli, job, err)
                          : run_job(cli, job, err);
    job_free(job);
    strv_release(&d.inputs);
    strv_release(&d.outputs);
    strv_release(&d.env);
    strv_release(&d.labels);
    strv_release(&d.constraints);
    strv_release(&d.domains);
    return code;
}

const struct command command_docker_run = {
    .about =
        {.name = "docker run",
         .summary = "Run one image with inputs, without a job file",
         .args = "IMAGE [COMMAND…]",
         .about = "Builds the same job as a file would and runs it here, posts it to a market with --market, or prints "
                  "it with --dry-run. Options end at IMAGE.",
         .examples =
             "berth docker run -i s3://bucket/data/:/data ubuntu ls /data\n"
             "berth docker run -i src=s3://b/f.csv,dst=/in,opt=region=eu-west-1 -o out:/out ubuntu wc -l /in/f.csv\n"
             "berth docker run --market gpu --follow --gpu 1 -i hf://owner/name:/model image serve /model\n"
             "berth docker run --dry-run -i s3://b/k:/in ubuntu true > job.yaml"},
    .options = docker_options,
    .stop_at_first = true,
    .run = docker_run,
};
