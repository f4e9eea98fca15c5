/* berth job post: a job file to a market. */
#include "base/clock.h"
#include "base/rng.h"
#include "cli/confidential.h"
#include "cli/jobfile.h"
#include "cli/remote.h"

#include <inttypes.h>
#include <stdlib.h>

#define EVENT_MAX ((size_t)4 << 20)

static struct {
    const char *file, *market, *publish, *credentials, *key;
    uint64_t timeout_ms, queue_ms, total_ms;
    double priority;
    struct strv vars, labels;
    bool wait, follow, id_only, confidential;
} a = {.priority = -1e9};

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
        fprintf(stderr, "berth: %s: %s\n", a.file, job->warnings[i]);
    *requires = confidential_requires(job, err);
    job_free(job);
    if (!*requires)
        return NULL;
    return spec_read(buf_span(&text), &so, err);
}

static int put_credentials(json_t *body, struct err *err)
{
    static const struct {
        const char *env, *name;
    } from[] = {{"AWS_ACCESS_KEY_ID", "access_key_id"},
                {"AWS_SECRET_ACCESS_KEY", "secret_access_key"},
                {"AWS_SESSION_TOKEN", "session_token"},
                {"AWS_REGION", "region"}};
    if (!a.credentials)
        return 0;
    if (!str_eq(a.credentials, "env"))
        return err_set(err, ERR_USAGE, "--credentials: '%.64s' is not env, which takes them from AWS_*", a.credentials);
    json_t *c = json_object();
    for (size_t i = 0; i < ARRAY_LEN(from); i++)
        if (!str_empty(getenv(from[i].env)) && json_put_str(c, from[i].name, getenv(from[i].env), err) < 0)
            return -1;
    if (!json_object_get(c, "access_key_id") || !json_object_get(c, "secret_access_key")) {
        json_decref(c);
        return err_set(err, ERR_USAGE,
                       "--credentials env: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both set");
    }
    return json_put(body, "credentials", c, err);
}

static int put_number(json_t *body, const char *name, uint64_t value, struct err *err)
{
    return value ? json_put_u64(body, name, value, err) : 0;
}

/* What only the node is to read, and what the server needs to find one. */
struct posting {
    json_t *body;
    json_t *sealed; /* NULL: not confidential */
};

static void posting_release(struct posting *p)
{
    json_decref(p->body);
    json_decref(p->sealed);
}

/* Members of the job itself go to the sealed part where there is one. */
static int put_job(struct posting *p, struct err *err)
{
    json_t *requires = NULL, *into = p->sealed ? p->sealed : p->body;
    int rc = json_put(into, "definition", read_definition(&requires, err), err);
    if (rc == 0 && a.publish)
        rc = json_put_str(into, "publish", a.publish, err);
    if (rc == 0)
        rc = put_credentials(into, err);
    if (rc == 0 && p->sealed)
        rc = json_put(p->body, "requires", json_incref(requires), err);
    json_decref(requires);
    return rc;
}

static int make_posting(struct posting *p, struct err *err)
{
    p->body = json_object();
    p->sealed = a.confidential ? json_object() : NULL;
    json_t *body = p->body;
    return put_job(p, err) < 0 || json_put_u64(body, "version", 1, err) < 0 ||
                   json_put_str(body, "market", a.market, err) < 0 ||
                   json_put(body, "labels", remote_labels(&a.labels, err), err) < 0 ||
                   put_number(body, "timeout_ms", a.timeout_ms, err) < 0 ||
                   put_number(body, "queue_timeout_ms", a.queue_ms, err) < 0 ||
                   put_number(body, "total_timeout_ms", a.total_ms, err) < 0 ||
                   (a.confidential && json_put(body, "confidential", json_true(), err) < 0) ||
                   (a.priority > -1e8 && json_put(body, "priority", json_integer((json_int_t)a.priority), err) < 0)
               ? -1
               : 0;
}

static int send_posting(const struct cli *cli, struct api *api, const struct posting *p, json_t **job, struct err *err)
{
    char made_key[RNG_ID_MAX];
    AUTO_JSON answer = NULL;
    if (rng_id(made_key, err) < 0)
        return -1;
    /* With a key a lost answer costs a repetition, not a second job. */
    const struct api_call call = {
        .path = REMOTE_JOBS, .body = p->body, .idempotency_key = a.key ? a.key : made_key, .cancel = &cli->cancel};
    if (api_call(api, &call, &answer, err) < 0)
        return -1;
    *job = json_incref(json_object_get(answer, "job"));
    return *job && json_get_str(*job, "id") ? 0 : err_set(err, ERR_PROTOCOL, "the server's answer names no job");
}

/* The first line of those that follow. */
static int say_event(json_t *job, struct err *err)
{
    AUTO_JSON event = json_object();
    AUTO_BUF line;
    buf_init(&line, EVENT_MAX);
    if (json_put_str(event, "event", "posted", err) < 0 || json_put(event, "job", json_incref(job), err) < 0 ||
        json_write(event, false, &line, err) < 0)
        return -1;
    puts(buf_str(&line));
    return 0;
}

static int say_posted(json_t *job, struct err *err)
{
    const char *id = json_get_str(job, "id");
    int rc = 0;
    if (a.id_only)
        puts(id);
    else if (globals.json && a.follow)
        rc = say_event(job, err);
    else if (globals.json && !a.wait)
        rc = cli_print_json(json_incref(job), err);
    else if (!globals.quiet)
        fprintf(stderr, "posted %s to %s\n", id, a.market);
    fflush(stdout);
    return rc;
}

/* Until its end; with --json, what became of it. An interruption ends the waiting, not the job. */
static int wait_for(struct cli *cli, struct api *api, const char *id, int *code, struct err *err)
{
    AUTO_JSON answer = NULL;
    AUTO_STR path = api_path(err, REMOTE_JOBS "/", id, NULL);
    if (!path || remote_logs(cli, api, id, 0, true, a.follow, code, err) < 0) {
        if (err->kind == ERR_CANCELLED)
            err_hint(err, "the job goes on: `berth job logs --follow %s` shows it, `berth job stop %s` ends it", id,
                     id);
        return -1;
    }
    if (!globals.json || a.follow || a.id_only)
        return 0;
    return api_call(api, &(struct api_call){.path = path, .cancel = &cli->cancel}, &answer, err) < 0
               ? -1
               : cli_print_json(json_incref(json_object_get(answer, "job")), err);
}

static int post(struct cli *cli, struct api *api, int *code, struct err *err)
{
    struct posting p = {0};
    json_t *job = NULL;
    int rc =
        make_posting(&p, err) < 0 || send_posting(cli, api, &p, &job, err) < 0 || say_posted(job, err) < 0 ? -1 : 0;
    const char *id = json_get_str(job, "id");
    if (rc == 0 && p.sealed)
        rc = confidential_deliver(cli, api, id, p.sealed, err);
    *code = 0;
    if (rc == 0 && (a.wait || a.follow))
        rc = wait_for(cli, api, id, code, err);
    json_decref(job);
    posting_release(&p);
    return rc;
}

static int run(struct cli *cli, const struct strv *operands, struct err *err)
{
    struct api *api = NULL;
    if (cli_want_operands(operands, 0, 1, &command_job_post, err) < 0)
        return EXIT_USAGE;
    if (operands->n == 1 && !a.file)
        a.file = operands->v[0];
    if (!a.file || !a.market) {
        err_set(err, ERR_USAGE, "job post: %s is missing", a.file ? "--market" : "--file");
        err_hint(err, "berth job post --file job.json --market gpu --timeout 10");
        return EXIT_USAGE;
    }
    int code = EXIT_BERTH;
    if (remote_open(cli, &api, err) < 0 || post(cli, api, &code, err) < 0)
        code = err->kind == ERR_CANCELLED ? cli_signal_exit_code() : EXIT_BERTH;
    api_free(api);
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
                  "it. With --wait it waits for the end and ends with the container's exit code, with --follow it "
                  "shows the log meanwhile. An interrupted wait leaves the job alone; `berth job stop` stops it.",
              .examples = "berth job post --file s3-public.json --market nvidia-3090 --timeout 10\n"
                          "berth job post --file job.json --market gpu --follow\n"
                          "berth job post --file job.yaml --market gpu --wait --publish s3://bucket/results/{jobID}/\n"
                          "id=$(berth job post -f job.json -m gpu --id-only)"},
    .options = options,
    .run = run,
};
