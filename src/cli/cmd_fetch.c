/* berth fetch: inputs straight to a folder, no container. */
#include "base/clock.h"
#include "cli/table.h"
#include "cli/ui.h"
#include "cli/wiring.h"
#include "spec/spec.h"

#include <inttypes.h>

static struct {
    bool force, dry_run;
    uint64_t timeout_ms;
} a;

static const struct opt options[] = {
    {.name = "force",
     .type = OPT_FLAG,
     .into = &a.force,
     .help = "Fetch files again that are there with the right size and time"},
    {.name = "dry-run", .letter = 'n', .type = OPT_FLAG, .into = &a.dry_run, .help = "List what would be fetched"},
    GLOBAL_OPTIONS,
};

struct listing {
    json_t *files; /* with --json */
    bool print;    /* a line each */
    uint64_t count, bytes;
};

static void on_file(void *ctx, const char *path, uint64_t size, const char *version)
{
    struct listing *l = ctx;
    l->count++;
    l->bytes += size != XFER_SIZE_UNKNOWN ? size : 0;
    if (l->files) {
        struct err ignored = ERR_INIT; /* out of memory shows as a shorter list, and fails below */
        json_t *one = json_object();
        json_put_str(one, "path", path, &ignored);
        json_put_u64(one, "size", size, &ignored);
        json_put_str(one, "version", version, &ignored);
        json_array_append_new(l->files, one);
    } else if (l->print) {
        char human[HUMAN_MAX];
        text_line(stdout, "%10s  %s", size != XFER_SIZE_UNKNOWN ? human_bytes(human, size) : "?", path);
    }
}

/* With --json, warnings are part of the one answer. */
struct warnings {
    struct ui *ui;
    json_t *texts;
};

static void on_warn(void *ctx, size_t input, const char *text)
{
    struct warnings *w = ctx;
    (void)input; /* the text names what it is about */
    if (w->texts)
        json_array_append_new(w->texts, json_string(text));
    else
        ui_warn(w->ui, text);
}

/* Without a destination, files go right below the folder. */
static int parse_inputs(struct arena *arena, const struct strv *operands, struct input **out, struct err *err)
{
    size_t n = operands->n - 1;
    *out = arena_array(arena, n, sizeof **out);
    if (!*out)
        return err_nomem(err);
    for (size_t i = 0; i < n; i++) {
        struct input *in = &(*out)[i];
        if (spec_parse_input(arena, span_of(operands->v[i]), in, err) < 0)
            return -1;
        if (in->target_default)
            in->target = NULL;
    }
    return 0;
}

static int print_result(const struct listing *l, const json_t *warnings, const struct stage *s, size_t n,
                        const char *dir, uint64_t ms, struct err *err)
{
    AUTO_JSON result = json_object();
    AUTO_JSON inputs = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *record = stage_record(s, i, err);
        if (!record || json_array_append_new(inputs, record) < 0)
            return -1;
    }
    if (json_put_str(result, "dir", dir, err) < 0 || json_put_u64(result, "ms", ms, err) < 0 ||
        json_put(result, "inputs", json_incref(inputs), err) < 0 ||
        json_put(result, "files", json_incref(l->files), err) < 0 ||
        json_put(result, "warnings", json_deep_copy(warnings), err) < 0)
        return -1;
    return cli_print_json(json_incref(result), err);
}

static void tell(struct ui *ui, const struct listing *l, uint64_t ms)
{
    char bytes[HUMAN_MAX], time[HUMAN_MAX], rate[HUMAN_MAX];
    const char *s = l->count == 1 ? "" : "s";
    human_bytes(bytes, l->bytes);
    if (a.dry_run)
        ui_note(ui, "would fetch %" PRIu64 " file%s, %s", l->count, s, bytes);
    else if (l->count == 0)
        ui_note(ui, "nothing to fetch: all is there (%s)", human_duration(time, ms));
    else
        ui_note(ui, "fetched %" PRIu64 " file%s, %s, in %s (%s/s)", l->count, s, bytes, human_duration(time, ms),
                human_bytes(rate, ms ? l->bytes * 1000 / ms : 0));
}

static int fetch(struct cli *cli, struct wiring *w, struct ui *ui, const struct input *inputs, size_t n,
                 const char *dir, struct err *err)
{
    AUTO_JSON texts = globals.json ? json_array() : NULL;
    struct warnings warnings = {ui, texts};
    struct stage_opts opts = {
        .xfer = w->xfer, .http = w->http, .job_id = "fetch", .cancel = &cli->cancel, .warn = on_warn, .ctx = &warnings};
    wiring_access(cli, &opts.access);
    struct stage *s = NULL;
    if (stage_new(&s, &opts, inputs, n, err) < 0)
        return -1;
    struct listing listing = {.files = globals.json ? json_array() : NULL, .print = a.dry_run};
    const struct stage_fetch_opts fo = {
        .dir = dir, .force = a.force, .dry_run = a.dry_run, .each = on_file, .ctx = &listing};
    uint64_t start = clock_mono_ms();
    if (!a.dry_run && !globals.json)
        ui_stage(ui, s, n);
    int rc = stage_fetch(s, &fo, err);
    uint64_t ms = clock_mono_ms() - start;
    ui_stage(ui, NULL, 0);
    if (rc == 0 && globals.json)
        rc = print_result(&listing, texts, s, n, dir, ms, err);
    else if (rc == 0)
        tell(ui, &listing, ms);
    json_decref(listing.files);
    stage_free(s);
    return rc;
}

static int run(struct cli *cli, const struct strv *operands, struct err *err)
{
    if (cli_want_operands(operands, 2, SIZE_MAX, &command_fetch, err) < 0)
        return EXIT_USAGE;
    struct arena *arena = arena_new(0, err);
    struct input *inputs = NULL;
    struct wiring w = {0};
    struct ui *ui = NULL;
    int rc = arena ? parse_inputs(arena, operands, &inputs, err) : -1;
    if (rc == 0 && (rc = ui_new(&ui, cli, err)) == 0 && (rc = wiring_open_transfers(&w, cli, err)) == 0)
        rc = fetch(cli, &w, ui, inputs, operands->n - 1, operands->v[operands->n - 1], err);
    ui_free(ui);
    wiring_release(&w);
    arena_free(arena);
    return rc < 0 ? 1 : 0;
}

const struct command command_fetch = {
    .about = {.name = "fetch",
              .summary = "Download inputs to a folder, no container",
              .args = "SRC… DIR",
              .about = "The same sources, checks and errors as a job's inputs (the -i of docker run), written straight "
                       "below DIR without the cache. "
                       "Interrupted downloads resume; files that are there with the origin's size and modification "
                       "time, or digest where the origin states no time, are left alone.",
              .examples =
                  "berth fetch s3://bucket/models/ ./models\n"
                  "berth fetch 'src=s3://bucket/logs/*,opt=filter=\\.gz$,opt=endpoint=https://minio.example' ./logs\n"
                  "berth fetch 'hf://owner/name@main/*.json' ./model\n"
                  "berth fetch --dry-run s3://bucket/data/ ."},
    .options = options,
    .run = run,
};
