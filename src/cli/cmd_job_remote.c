/* berth job list, describe, history, logs, stop: jobs of a server. */
#include "base/enc.h"
#include "cli/remote.h"
#include "cli/table.h"

#include <inttypes.h>

#define PATH_BYTES 8192

static struct {
    const char *market, *state, *order, *reason;
    struct strv labels;
    uint64_t limit, index;
    bool reverse, follow, id_only;
} a;

static const struct opt list_options[] = {
    {.name = "market",
     .letter = 'm',
     .type = OPT_STR,
     .into = &a.market,
     .meta = "MARKET",
     .help = "Only of this market"},
    {.name = "state",
     .type = OPT_CHOICE,
     .into = &a.state,
     .meta = "STATE",
     .choices = "queued|claimed|staging|running|publishing|succeeded|failed|stopped|timed_out|expired",
     .help = "Only in this state"},
    {.name = "label",
     .letter = 'l',
     .type = OPT_LIST,
     .into = &a.labels,
     .meta = "K[=V]",
     .help = "Only with this label"},
    {.name = "order-by",
     .type = OPT_CHOICE,
     .into = &a.order,
     .meta = "WHAT",
     .choices = "created|priority|state",
     .help = "The newest first without it"},
    {.name = "reverse", .type = OPT_FLAG, .into = &a.reverse, .help = "The other way round"},
    {.name = "limit", .type = OPT_U64, .into = &a.limit, .meta = "N", .help = "At most so many (default: all)"},
    {.name = "id-only", .type = OPT_FLAG, .into = &a.id_only, .help = "Print nothing but ids"},
    GLOBAL_OPTIONS,
};
static const struct opt plain_options[] = {GLOBAL_OPTIONS};
static const struct opt log_options[] = {
    {.name = "follow", .letter = 'f', .type = OPT_FLAG, .into = &a.follow, .help = "Go on until the job ends"},
    {.name = "index", .type = OPT_U64, .into = &a.index, .meta = "N", .help = "Which execution (default: 0)"},
    GLOBAL_OPTIONS,
};
static const struct opt stop_options[] = {
    {.name = "reason", .type = OPT_STR, .into = &a.reason, .meta = "TEXT", .help = "What its history is to say"},
    GLOBAL_OPTIONS,
};

/* What a narrow terminal has no room for stands last. */
static const struct remote_column list_columns[] = {
    {"ID", "id", CELL_TEXT},          {"NAME", "name", CELL_TEXT},         {"STATE", "state", CELL_TEXT},
    {">AGE", "created_ms", CELL_AGE}, {">EXIT", "exit_code", CELL_NUMBER}, {"REASON", "reason", CELL_TEXT},
    {"MARKET", "market", CELL_TEXT},  {"NODE", "node", CELL_TEXT},         {0},
};
static const struct remote_column job_lines[] = {
    {"id", "id", CELL_TEXT},
    {"name", "name", CELL_TEXT},
    {"market", "market", CELL_TEXT},
    {"state", "state", CELL_TEXT},
    {"reason", "reason", CELL_TEXT},
    {"exit code", "exit_code", CELL_NUMBER},
    {"node", "node", CELL_TEXT},
    {"priority", "priority", CELL_NUMBER},
    {"executions", "executions", CELL_TEXT},
    {"created", "created_ms", CELL_TIME},
    {"finished", "finished_ms", CELL_TIME},
    {"time-out", "timeout_ms", CELL_DURATION},
    {"images", "images", CELL_TEXT},
    {"inputs", "inputs", CELL_TEXT},
    {"publish", "publish", CELL_TEXT},
    {"labels", "labels", CELL_TEXT},
    {0},
};
static const struct remote_column execution_columns[] = {
    {">INDEX", "index", CELL_NUMBER},       {"STATE", "state", CELL_TEXT},   {">ATTEMPT", "attempt", CELL_NUMBER},
    {">EXIT", "exit_code", CELL_NUMBER},    {"REASON", "reason", CELL_TEXT}, {"STARTED", "started_ms", CELL_TIME},
    {"FINISHED", "finished_ms", CELL_TIME}, {"NODE", "node", CELL_TEXT},     {0},
};
static const struct remote_column history_columns[] = {
    {"TIME", "at_ms", CELL_TIME},
    {">INDEX", "index", CELL_NUMBER},
    {">ATTEMPT", "attempt", CELL_NUMBER},
    {"STATE", "to", CELL_TEXT},
    {"REASON", "reason", CELL_TEXT},
    {"NODE", "node", CELL_TEXT},
    {0},
};

static void add_query(struct buf *path, const char *name, const char *value)
{
    if (str_empty(value))
        return;
    buf_addf(path, "%c%s=", memchr(path->p, '?', path->n) ? '&' : '?', name);
    percent_encode(path, span_of(value), false);
}

static int print_id(void *ctx, const json_t *page, struct err *err)
{
    uint64_t *left = ctx;
    const json_t *list = json_object_get(page, "jobs");
    (void)err;
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (*left == 0)
            return 1;
        --*left;
        text_line(stdout, "%s", json_get_str(json_array_get(list, i), "id"));
    }
    return 0;
}

static int list(struct cli *cli, const struct strv *operands, struct err *err)
{
    struct api *api = NULL;
    AUTO_BUF path;
    buf_init(&path, PATH_BYTES);
    buf_adds(&path, REMOTE_JOBS);
    add_query(&path, "market", a.market);
    add_query(&path, "state", a.state);
    add_query(&path, "order_by", a.order);
    add_query(&path, "reverse", a.reverse ? "1" : NULL);
    if (a.labels.n)
        add_query(&path, "label", a.labels.v[0]);
    int rc = cli_want_operands(operands, 0, 0, &command_job_list, err) < 0 || buf_check(&path, "query", err) < 0 ||
                     remote_open(cli, &api, err) < 0
                 ? -1
                 : 0;
    uint64_t left = a.limit ? a.limit : UINT64_MAX;
    if (rc == 0 && a.labels.n > 1)
        rc = err_set(err, ERR_USAGE, "--label: one at a time");
    if (rc == 0)
        rc = a.id_only ? api_pages(api, buf_str(&path), &cli->cancel, print_id, &left, err)
                       : remote_list(cli, api, buf_str(&path), "jobs", a.limit, list_columns, err);
    api_free(api);
    strv_release(&a.labels);
    return rc < 0 ? err->kind == ERR_USAGE ? EXIT_USAGE : 1 : 0;
}

/* GET (or DELETE) of one job. */
static int ask(struct cli *cli, const struct strv *operands, const struct command *which, const char *method,
               const char *after, json_t **out, struct err *err)
{
    struct api *api = NULL;
    AUTO_STR path = NULL;
    int rc =
        cli_want_operands(operands, 1, 1, which, err) < 0 || remote_open(cli, &api, err) < 0 ||
                !(path = api_path(err, REMOTE_JOBS "/", operands->v[0], after)) ||
                api_call(api, &(struct api_call){.method = method, .path = path, .cancel = &cli->cancel}, out, err) < 0
            ? -1
            : 0;
    if (err->kind == ERR_NOTFOUND)
        err_hint(err, "`berth job list` shows the jobs that your token may see");
    api_free(api);
    return rc;
}

/* --- what came from where ----------------------------------------------------------------------------------------- */

static const struct remote_column input_columns[] = {
    {"INPUT", "input", CELL_TEXT},
    {">INDEX", "index", CELL_NUMBER},
    {">FILES", "files", CELL_NUMBER},
    {">BYTES", "bytes", CELL_BYTES},
    {">CACHED", "bytes_cached", CELL_BYTES},
    {">PEERS", "bytes_from_peers", CELL_BYTES},
    {">ORIGIN", "bytes_from_origin", CELL_BYTES},
    {0},
};

static uint64_t figure(const json_t *from, const char *name)
{
    int64_t value = 0;
    return json_get_i64(from, name, &value) && value > 0 ? (uint64_t)value : 0;
}

/* An input of a run record: what it is called, and how many bytes came from where. */
static int add_input(json_t *rows, const json_t *index, const json_t *input, struct err *err)
{
    static const char *const names[] = {"bucket", "repo", "model"};
    const char *source = json_get_str(input, "source"), *target = json_get_str(input, "target"), *name = NULL;
    for (size_t i = 0; i < ARRAY_LEN(names) && !name; i++)
        name = json_get_str(input, names[i]);
    AUTO_STR label = str_printf(err, "%s%s%s → %s", source ? source : "", name ? "://" : "", name ? name : "",
                                target ? target : "-");
    uint64_t received = figure(input, "bytes_received"), peers = figure(input, "bytes_from_peers");
    json_t *row = json_object();
    json_put(row, "index", json_incref((json_t *)index), err);
    json_put_u64(row, "files", figure(input, "files"), err);
    json_put_u64(row, "bytes", figure(input, "bytes"), err);
    json_put_u64(row, "bytes_cached", figure(input, "bytes_cached"), err);
    json_put_u64(row, "bytes_from_peers", peers, err);
    json_put_u64(row, "bytes_from_origin", received > peers ? received - peers : 0, err);
    if (label && json_put_str(row, "input", label, err) == 0 && json_array_append(rows, row) < 0)
        err_nomem(err);
    json_decref(row);
    return err_is_set(err) ? -1 : 0;
}

/* Of the executions that have ended: until then nobody has a record. */
static int print_inputs(struct cli *cli, const json_t *executions, struct err *err)
{
    AUTO_JSON rows = json_array();
    size_t i, k;
    json_t *execution, *input;
    json_array_foreach(executions, i, execution)
    {
        json_array_foreach(json_object_get(json_object_get(execution, "record"), "inputs"), k, input)
        {
            if (add_input(rows, json_object_get(execution, "index"), input, err) < 0)
                return -1;
        }
    }
    if (json_array_size(rows) == 0)
        return 0;
    int rc = remote_table(cli, rows, input_columns, err);
    puts("");
    return rc;
}

static int describe(struct cli *cli, const struct strv *operands, struct err *err)
{
    AUTO_JSON answer = NULL;
    if (ask(cli, operands, &command_job_describe, "GET", "?include=history,executions", &answer, err) < 0)
        return 1;
    if (globals.json)
        return cli_print_json(json_incref(answer), err) < 0;
    remote_describe(json_object_get(answer, "job"), job_lines, err);
    puts("");
    int rc = remote_table(cli, json_object_get(answer, "executions"), execution_columns, err);
    puts("");
    if (rc == 0)
        rc = print_inputs(cli, json_object_get(answer, "executions"), err);
    return rc < 0 || remote_table(cli, json_object_get(answer, "history"), history_columns, err) < 0;
}

static int history(struct cli *cli, const struct strv *operands, struct err *err)
{
    AUTO_JSON answer = NULL;
    if (ask(cli, operands, &command_job_history, "GET", "/history", &answer, err) < 0)
        return 1;
    const json_t *rows = json_object_get(answer, "history");
    return (globals.json ? cli_print_json(json_incref((json_t *)rows), err)
                         : remote_table(cli, rows, history_columns, err)) < 0;
}

static int stop(struct cli *cli, const struct strv *operands, struct err *err)
{
    AUTO_JSON answer = NULL;
    AUTO_BUF query;
    buf_init(&query, PATH_BYTES);
    if (a.reason) {
        buf_adds(&query, "?reason=");
        percent_encode(&query, span_of(a.reason), false);
    }
    if (ask(cli, operands, &command_job_stop, "DELETE", buf_str(&query), &answer, err) < 0)
        return 1;
    const json_t *job = json_object_get(answer, "job");
    if (globals.json)
        return cli_print_json(json_incref((json_t *)job), err) < 0;
    const char *state = json_get_str(job, "state");
    text_line(stdout, "%s %s", json_get_str(job, "id"),
              str_eq(state, "stopped") ? "stopped" : "will be stopped by its node");
    return 0;
}

static int logs(struct cli *cli, const struct strv *operands, struct err *err)
{
    struct api *api = NULL;
    int code = 1;
    if (cli_want_operands(operands, 1, 1, &command_job_logs, err) == 0 && remote_open(cli, &api, err) == 0 &&
        remote_logs(cli, api, operands->v[0], a.index, a.follow, true, &code, err) == 0)
        code = 0;
    else
        code = err->kind == ERR_CANCELLED ? cli_signal_exit_code() : 1;
    if (err->kind == ERR_NOTFOUND && a.index)
        err_hint(err, "`berth job describe %.64s` lists its executions", operands->v[0]);
    else if (err->kind == ERR_NOTFOUND)
        err_hint(err, "`berth job list` shows the jobs that your token may see");
    api_free(api);
    return code;
}

const struct command command_job_list = {
    .about = {.name = "job list",
              .summary = "Jobs of the server, the newest first",
              .args = "",
              .about = "A poster sees its own jobs, an operator all of them.",
              .examples = "berth job list\nberth job list --market gpu --state running\nberth job list --json"},
    .options = list_options,
    .run = list,
};
const struct command command_job_describe = {
    .about = {.name = "job describe",
              .summary = "All about one job",
              .args = "ID",
              .about = "State, executions and history. A unique beginning of the id will do.",
              .examples = "berth job describe j-1a2b3c4d"},
    .options = plain_options,
    .run = describe,
};
const struct command command_job_history = {
    .about = {.name = "job history",
              .summary = "Each step of a job, with its reason",
              .args = "ID",
              .about = "Every change of state of every execution.",
              .examples = "berth job history j-1a2b3c4d --json"},
    .options = plain_options,
    .run = history,
};
const struct command command_job_stop = {
    .about = {.name = "job stop",
              .summary = "Stop a job",
              .args = "ID",
              .about =
                  "At once while it is queued; a running one is stopped by its node, and nothing of it is published.",
              .examples = "berth job stop j-1a2b3c4d --reason 'wrong input'"},
    .options = stop_options,
    .run = stop,
};
const struct command command_job_logs = {
    .about = {.name = "job logs",
              .summary = "A job's output",
              .args = "ID",
              .about =
                  "Standard output to stdout, standard error to stderr. With --follow it goes on until the job ends, "
                  "over lost connections.",
              .examples = "berth job logs j-1a2b3c4d\nberth job logs -f j-1a2b3c4d"},
    .options = log_options,
    .run = logs,
};
