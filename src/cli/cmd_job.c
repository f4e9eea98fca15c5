/* berth job get: published results back to a folder. */
#include "base/clock.h"
#include "base/fs.h"
#include "base/path.h"
#include "cli/remote.h"
#include "cli/ui.h"
#include "cli/wiring.h"
#include "job/get.h"
#include "spec/spec.h"

#include <fcntl.h>
#include <inttypes.h>

#define DOCUMENT_MAX   ((size_t)256 << 20)
#define SHORT_ID_CHARS 8

static struct {
    const char *dir;
    bool raw;
    uint64_t max_bytes;
} a;

static const struct opt options[] = {
    {.name = "output-dir",
     .letter = 'd',
     .type = OPT_STR,
     .into = &a.dir,
     .meta = "DIR",
     .help = "Where the results go; absent or empty (default: ./job-<short id>)"},
    {.name = "raw", .type = OPT_FLAG, .into = &a.raw, .help = "Keep the archive as it was published"},
    {.name = "max-bytes",
     .type = OPT_BYTES,
     .into = &a.max_bytes,
     .meta = "BYTES",
     .help = "Unpack at most so much (default: 1 TiB)"},
    GLOBAL_OPTIONS,
};

/* "results/j-1a2b3c4d5e6f.tar.gz" and "j-1a2b3c4d5e6f" give "1a2b3c4d"; other names stay, up to a dot. */
static char *default_dir(const char *name, struct err *err)
{
    struct span base = path_basename(span_of(name)), id, rest;
    span_cut(base, '?', &id, &rest);
    span_cut(id, '.', &id, &rest);
    if (span_starts(id, SPAN_LIT("j-")) || span_starts(id, SPAN_LIT("e-")))
        id = span_head((struct span){id.p + 2, id.n - 2}, SHORT_ID_CHARS);
    AUTO_BUF dir;
    buf_init(&dir, PATH_COMPONENT_MAX);
    buf_adds(&dir, "job-");
    for (size_t i = 0; i < id.n && i < 64; i++) {
        char c = ascii_lower(id.p[i]);
        buf_addc(&dir, ascii_is_digit(c) || (c >= 'a' && c <= 'z') || c == '-' || c == '_' ? id.p[i] : '-');
    }
    return buf_take(&dir, "folder", err);
}

/* What is asked for: a document on disk, or a place. */
struct wanted {
    struct arena *arena;
    json_t *document;
    struct input input;
    char *dir;
};

static int read_document(struct wanted *w, const char *path, struct err *err)
{
    AUTO_BUF text;
    buf_init(&text, DOCUMENT_MAX);
    if (fs_read_file(AT_FDCWD, path, DOCUMENT_MAX, &text, err) < 0)
        return -1;
    w->document = json_parse(buf_span(&text), err);
    if (!w->document || job_published_read(w->document, w->arena, &w->input, err) < 0)
        return err_wrap(err, "%s", path);
    const char *id = json_get_str(w->document, "id");
    w->dir = default_dir(id ? id : w->input.s3.key, err);
    return w->dir ? 0 : -1;
}

/* "j-1a2b3c4d…", and no file of that name here: a job of the server. */
static bool is_job_id(const char *text)
{
    return strncmp(text, "j-", 2) == 0 && !strchr(text, '/') && access(text, F_OK) < 0;
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
    const json_t *results = json_object_get(answer, "results");
    if (rc == 0 && json_array_size(results) == 0) {
        rc = err_set(err, ERR_NOTFOUND, "job %s has no results", id);
        err_hint(err, "`berth job describe %s` says what became of it", id);
    }
    if (rc == 0 && json_array_size(results) == 1)
        w->document = json_incref(json_array_get(results, 0));
    else if (rc == 0)
        w->document = json_incref(answer);
    json_decref(answer);
    if (rc < 0 || job_published_read(w->document, w->arena, &w->input, err) < 0)
        return -1;
    w->dir = default_dir(id, err);
    return w->dir ? 0 : -1;
}

static int read_place(struct wanted *w, const char *text, struct err *err)
{
    if (spec_parse_input(w->arena, span_of(text), &w->input, err) < 0)
        return -1;
    if (w->input.kind != SOURCE_S3 && w->input.kind != SOURCE_URL)
        return err_set(err, ERR_USAGE, "results are got from s3:// or https://");
    w->input.target = NULL;
    if (w->input.kind == SOURCE_S3)
        w->input.s3.exact_key = true;
    w->dir = default_dir(w->input.kind == SOURCE_S3 ? w->input.s3.key : w->input.url.url, err);
    return w->dir ? 0 : -1;
}

static int read_wanted(struct wanted *w, const struct cli *cli, const char *text, struct err *err)
{
    w->arena = arena_new(0, err);
    if (!w->arena)
        return -1;
    if (is_job_id(text))
        return read_job(w, cli, text, err);
    return strstr(text, "://") ? read_place(w, text, err) : read_document(w, text, err);
}

static void wanted_release(struct wanted *w)
{
    json_decref(w->document);
    arena_free(w->arena);
    free(w->dir);
}

static void on_stage(void *ctx, const struct stage *stage, size_t inputs)
{
    ui_stage(ctx, stage, inputs);
}

static int tell(struct ui *ui, const struct job_got *got, const char *dir, uint64_t ms, struct err *err)
{
    char bytes[HUMAN_MAX], time[HUMAN_MAX];
    ui_note(ui, "%s: %" PRIu64 " files, %s, %s, in %s", dir, got->totals.files, human_bytes(bytes, got->totals.bytes),
            got->verified ? "verified" : "not verified (no checksum of it is known)", human_duration(time, ms));
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
        .dir = a.dir ? a.dir : wanted->dir,
        .raw = a.raw,
        .limits = {.max_bytes = a.max_bytes},
        .watch = globals.json ? NULL : on_stage,
        .watch_ctx = ui,
    };
    wiring_access(cli, &opts.stage.access);
    uint64_t start = clock_mono_ms();
    if (job_get(&wanted->input, &opts, &got, err) < 0)
        return -1;
    return tell(ui, &got, opts.dir, clock_mono_ms() - start, err);
}

static int run(struct cli *cli, const struct strv *operands, struct err *err)
{
    if (cli_want_operands(operands, 1, 1, &command_job_get, err) < 0)
        return EXIT_USAGE;
    struct wanted wanted = {0};
    struct wiring w = {0};
    struct ui *ui = NULL;
    int rc = read_wanted(&wanted, cli, operands->v[0], err);
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
              .args = "ID|FILE|URL",
              .about = "ID is a job of the server; FILE is a run's berth.json, or a published result as `berth publish "
                       "--json` prints it; URL is "
                       "s3://BUCKET/KEY[,opt=NAME=VALUE] or a pre-signed https:// URL. The archive is fetched by "
                       "parallel ranges, verified where a checksum is known, and unpacked so that nothing leaves the "
                       "folder, which appears when all is there. An interrupted get is taken up again. Needs "
                       "s3:GetObject.",
              .examples = "berth job get j-1a2b3c4d\nberth job get berth-job/berth.json\nberth job get result.json "
                          "--output-dir out\n"
                          "berth job get --raw s3://bucket/results/j-1a2b.tar.gz,opt=checksum-256=SUM"},
    .options = options,
    .run = run,
};
