/* berth job get: published results back to a folder. */
#include "base/clock.h"
#include "base/fs.h"
#include "cli/remote.h"
#include "cli/ui.h"
#include "cli/wiring.h"
#include "job/get.h"
#include "spec/spec.h"

#include <fcntl.h>
#include <inttypes.h>

#define DOCUMENT_MAX ((size_t)256 << 20)

static struct {
    const char *dir;
    bool raw, merge;
    uint64_t max_bytes;
} a;

static const struct opt options[] = {
    {.name = "output-dir",
     .letter = 'd',
     .type = OPT_STR,
     .into = &a.dir,
     .meta = "DIR",
     .help = "Where the results go; absent or empty (default: ./job-<short id>)"},
    {.name = "merge",
     .type = OPT_FLAG,
     .into = &a.merge,
     .help = "Put several executions into one folder; an error where their files differ"},
    {.name = "raw", .type = OPT_FLAG, .into = &a.raw, .help = "Keep the archive as it was published"},
    {.name = "max-bytes",
     .type = OPT_BYTES,
     .into = &a.max_bytes,
     .meta = "BYTES",
     .help = "Unpack at most so much (default: 1 TiB)"},
    GLOBAL_OPTIONS,
};

/* ---- what is asked for: documents on disk, and places ---- */

struct wanted {
    struct arena *arena;
    json_t *documents; /* all that were read: executions borrow from them */
    struct job_executions all;
    bool several; /* a folder each, though there be only one */
    char *dir;
};

static int read_document(struct wanted *w, const char *path, struct err *err)
{
    AUTO_BUF text;
    buf_init(&text, DOCUMENT_MAX);
    if (fs_read_file(AT_FDCWD, path, DOCUMENT_MAX, &text, err) < 0)
        return err->kind != ERR_NOTFOUND
                   ? -1
                   : err_hint(err, "name a job of the server (j-…), a record such as "
                                   "berth-job/berth.json, or where a result lies: s3:// or https://");
    json_t *document = json_parse(buf_span(&text), err);
    if (!document)
        return err_wrap(err, "%s", path);
    if (json_array_append_new(w->documents, document) < 0)
        return err_nomem(err);
    w->several = w->several || json_is_array(document) || json_object_get(document, "results");
    return job_executions_read(&w->all, document, w->arena, err) < 0 ? err_wrap(err, "%s", path) : 0;
}

/* "j-1a2b3c4d…", and no file of that name here: a job of the server. */
static bool is_job_id(const char *text)
{
    return strncmp(text, "j-", 2) == 0 && !strchr(text, '/') && access(text, F_OK) < 0;
}

/* One result is the job's; more are its executions'. */
static int read_results(struct wanted *w, const char *id, const json_t *answer, struct err *err)
{
    const json_t *results = json_object_get(answer, "results");
    if (json_array_size(results) == 0) {
        err_set(err, ERR_NOTFOUND, "job %s has no results", id);
        return err_hint(err, "`berth job describe %s` says what became of it", id);
    }
    size_t first = w->all.n;
    w->several = w->several || json_array_size(results) > 1;
    if (job_executions_read(&w->all, answer, w->arena, err) < 0)
        return -1;
    AUTO_STR name = job_short_name(id, err);
    if (!name)
        return -1;
    if (name[0])
        w->all.v[first].id = arena_dup(w->arena, name);
    return arena_check(w->arena, err);
}

static int read_job(struct wanted *w, const struct cli *cli, const char *id, struct err *err)
{
    struct api *api = NULL;
    json_t *answer = NULL;
    AUTO_STR path = api_path(err, REMOTE_JOBS "/", id, "/results");
    int rc = !path || remote_open(cli, &api, err) < 0
                 ? -1
                 : api_call(api, &(struct api_call){.path = path, .cancel = &cli->cancel}, &answer, err);
    api_free(api);
    if (rc == 0 && json_array_append_new(w->documents, answer) < 0)
        rc = err_nomem(err);
    return rc == 0 ? read_results(w, id, answer, err) : -1;
}

static int read_place(struct wanted *w, const char *text, struct err *err)
{
    struct job_execution one = {.index = -1};
    if (spec_parse_input(w->arena, span_of(text), &one.input, err) < 0)
        return -1;
    if (one.input.kind != SOURCE_S3 && one.input.kind != SOURCE_URL)
        return err_set(err, ERR_USAGE, "results are got from s3:// or https://");
    one.input.target = NULL;
    if (one.input.kind == SOURCE_S3)
        one.input.s3.exact_key = true;
    AUTO_STR name = job_short_name(one.input.kind == SOURCE_S3 ? one.input.s3.key : one.input.url.url, err);
    if (!name)
        return -1;
    one.id = name[0] ? arena_dup(w->arena, name) : NULL;
    return arena_check(w->arena, err) < 0 ? -1 : job_executions_add(&w->all, &one, err);
}

/* As the user says, without slashes at the end; else after the first one's id. */
static int choose_dir(struct wanted *w, struct err *err)
{
    const char *id = w->all.v[0].id;
    w->dir = a.dir ? str_dup(a.dir, err) : str_printf(err, "job-%s", id ? id : "results");
    if (!w->dir)
        return -1;
    for (size_t n = strlen(w->dir); n > 1 && w->dir[n - 1] == '/'; n--)
        w->dir[n - 1] = '\0';
    return 0;
}

static int read_wanted(struct wanted *w, const struct cli *cli, const struct strv *operands, struct err *err)
{
    w->arena = arena_new(0, err);
    w->documents = json_array();
    if (!w->arena || !w->documents)
        return err_nomem(err);
    w->several = operands->n > 1;
    for (size_t i = 0; i < operands->n; i++) {
        const char *text = operands->v[i];
        int rc = is_job_id(text)       ? read_job(w, cli, text, err)
                 : strstr(text, "://") ? read_place(w, text, err)
                                       : read_document(w, text, err);
        if (rc < 0)
            return -1;
    }
    if (a.merge && a.raw)
        return err_set(err, ERR_USAGE, "--merge and --raw exclude each other");
    return job_executions_name(&w->all, w->arena, err) < 0 ? -1 : choose_dir(w, err);
}

static void wanted_release(struct wanted *w)
{
    job_executions_release(&w->all);
    json_decref(w->documents);
    arena_free(w->arena);
    free(w->dir);
}

/* ---- getting ---- */

static void on_stage(void *ctx, const struct stage *stage, size_t inputs)
{
    ui_stage(ctx, stage, inputs);
}

static int tell(struct ui *ui, const struct job_got *got, const char *dir, uint64_t ms, struct err *err)
{
    char bytes[HUMAN_MAX], time[HUMAN_MAX];
    ui_note(ui, "%s: %" PRIu64 " file%s, %s, %s, in %s", dir, got->totals.files, got->totals.files == 1 ? "" : "s",
            human_bytes(bytes, got->totals.bytes),
            got->verified ? "verified" : "not verified (no checksum of the whole is known)", human_duration(time, ms));
    if (!globals.json)
        return 0;
    AUTO_JSON out = json_object();
    if (json_put_str(out, "dir", dir, err) < 0 || json_put_u64(out, "files", got->totals.files, err) < 0 ||
        json_put_u64(out, "bytes", got->totals.bytes, err) < 0 ||
        json_put(out, "verified", json_boolean(got->verified), err) < 0)
        return -1;
    return cli_print_json(json_incref(out), err);
}

static int get(struct cli *cli, const struct wiring *w, struct ui *ui, const struct wanted *wanted, struct err *err)
{
    struct job_got got;
    struct job_get_opts opts = {
        .stage = {.xfer = w->xfer, .http = w->http, .job_id = "get", .cancel = &cli->cancel},
        .dir = wanted->dir,
        .raw = a.raw,
        .limits = {.max_bytes = a.max_bytes},
        .watch = globals.json ? NULL : on_stage,
        .watch_ctx = ui,
    };
    wiring_access(cli, &opts.stage.access);
    uint64_t start = clock_mono_ms();
    int rc = wanted->several ? job_get_all(&wanted->all, a.merge, &opts, &got, err)
                             : job_get(&wanted->all.v[0].input, &opts, &got, err);
    if (rc < 0)
        return -1;
    return tell(ui, &got, opts.dir, clock_mono_ms() - start, err);
}

static int run(struct cli *cli, const struct strv *operands, struct err *err)
{
    if (cli_want_operands(operands, 1, JOB_EXECUTIONS_MAX, &command_job_get, err) < 0)
        return EXIT_USAGE;
    struct wanted wanted = {0};
    struct wiring w = {0};
    struct ui *ui = NULL;
    int rc = read_wanted(&wanted, cli, operands, err);
    if (rc == 0 && (rc = ui_new(&ui, cli, err)) == 0 && (rc = wiring_open_transfers(&w, cli, err)) == 0)
        rc = get(cli, &w, ui, &wanted, err);
    ui_free(ui);
    wiring_release(&w);
    wanted_release(&wanted);
    return rc == 0 ? 0 : err->kind == ERR_CANCELLED ? cli_signal_exit_code() : 1;
}

const struct command command_job_get = {
    .about = {.name = "job get",
              .summary = "Get published results back",
              .args = "ID|FILE|URL…",
              .about = "ID is a job of the server; FILE is a run's berth.json, or a published result as `berth publish "
                       "--json` prints it; URL is "
                       "s3://BUCKET/KEY[,opt=NAME=VALUE] or a pre-signed https:// URL. The archive is fetched by "
                       "parallel ranges, verified where a checksum is known, and unpacked so that nothing leaves the "
                       "folder, which appears when all is there. An interrupted get is taken up again. Several, or a "
                       "FILE with a list, get a folder each, or one together with --merge. Needs s3:GetObject.",
              .examples = "berth job get j-1a2b3c4d\nberth job get berth-job/berth.json\nberth job get result.json "
                          "--output-dir out\n"
                          "berth job get --merge --output-dir all 0/berth.json 1/berth.json\n"
                          "berth job get --raw s3://bucket/results/j-1a2b.tar.gz,opt=checksum-256=SUM"},
    .options = options,
    .run = run,
};
