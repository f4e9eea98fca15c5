/* berth publish: a folder to S3 or into an archive, by hand; and what crashed publishes left. */
#include "base/clock.h"
#include "base/fs.h"
#include "base/rng.h"
#include "cli/publishing.h"
#include "cli/table.h"
#include "cli/wiring.h"
#include "publish/managed.h"
#include "spec/spec.h"

#include <fcntl.h>
#include <inttypes.h>

#define OLDER_DEFAULT_MS UINT64_C(86400000)
#define RECORD_MAX       ((size_t)256 << 20)

static struct {
    bool abort_stale;
    uint64_t older_ms, max_bytes, threads;
    const char *grant;
} a = {.older_ms = OLDER_DEFAULT_MS};

static const struct opt options[] = {
    {.name = "max-bytes",
     .type = OPT_BYTES,
     .into = &a.max_bytes,
     .meta = "BYTES",
     .help = "Refuse a folder that holds more (default: 1 TiB)"},
    {.name = "threads",
     .type = OPT_U64,
     .into = &a.threads,
     .meta = "N",
     .help = "Threads that compress (default: one a core, at most 4)"},
    {.name = "grant",
     .type = OPT_STR,
     .into = &a.grant,
     .meta = "FILE",
     .help = "Instead of DEST: a grant of pre-signed URLs, as JSON ('-': standard input)"},
    {.name = "abort-stale",
     .type = OPT_FLAG,
     .into = &a.abort_stale,
     .help = "Instead, abort unfinished uploads of keys that start with DEST's"},
    {.name = "older-than",
     .type = OPT_DURATION,
     .into = &a.older_ms,
     .meta = "TIME",
     .unit_ms = 1000,
     .help = "With --abort-stale: only those begun so long ago (default: 24h)"},
    GLOBAL_OPTIONS,
};

/* ---- where to ---- */

struct destination {
    struct arena *arena;
    struct publisher to;
    bool granted;
    json_t *document; /* of the grant; NULL: a URL alone */
    struct s3_grant grant;
};

static int read_grant(struct destination *d, const char *path, struct err *err)
{
    bool in = str_eq(path, "-");
    AUTO_BUF text;
    buf_init(&text, S3_GRANT_BYTES_MAX);
    if ((in ? cli_read_stdin(&text, err) : fs_read_file(AT_FDCWD, path, S3_GRANT_BYTES_MAX, &text, err)) < 0)
        return -1;
    struct err unsaid = ERR_INIT; /* it quotes what it stumbled over, which may be a signature */
    d->granted = true;
    d->document = json_parse(buf_span(&text), &unsaid);
    if (!d->document)
        err_set(err, ERR_INVALID, "not a grant: this is not JSON");
    if (!d->document || s3_grant_read(d->document, d->arena, &d->grant, err) < 0)
        return err_wrap(err, "%s", in ? "standard input" : path);
    return 0;
}

/* A path is as good as file:// and may be relative; a URL can only have been signed in advance. */
static int read_destination(struct destination *d, const char *text, struct err *err)
{
    bool url = span_starts(span_of(text), SPAN_LIT("https://")) || span_starts(span_of(text), SPAN_LIT("http://"));
    if (url) {
        d->granted = true;
        d->grant = (struct s3_grant){.method = S3_GRANT_PUT, .url = text};
        return 0;
    }
    if (strstr(text, "://") || !strchr(text, '/')) {
        if (spec_parse_publisher(d->arena, span_of(text), &d->to, err) < 0)
            return -1;
        return d->to.kind != PUBLISH_S3MANAGED ? 0 : err_set(err, ERR_USAGE, "s3managed needs a grant: --grant FILE");
    }
    d->to = (struct publisher){.kind = PUBLISH_LOCAL, .key = text, .at = ""};
    return spec_check_publish_key(span_of(text), err) < 0 ? err_wrap(err, "DEST") : 0;
}

static int destination_open(struct destination *d, const struct strv *operands, struct err *err)
{
    d->arena = arena_new(0, err);
    if (!d->arena)
        return -1;
    return a.grant ? read_grant(d, a.grant, err) : read_destination(d, operands->v[operands->n - 1], err);
}

static void destination_release(struct destination *d)
{
    json_decref(d->document);
    arena_free(d->arena);
}

/* ---- what is published, and as what ---- */

/* The id of the job whose results these are, as its record says; else an id of its own. */
static int name_job(int dir_fd, char *out, size_t room, struct err *err)
{
    char id[RNG_ID_MAX];
    struct err ignored = ERR_INIT;
    AUTO_BUF text;
    buf_init(&text, RECORD_MAX);
    AUTO_JSON record = fs_read_file(dir_fd, "berth.json", RECORD_MAX, &text, &ignored) == 0
                           ? json_parse(buf_span(&text), &ignored)
                           : NULL;
    const char *known = record ? json_get_str(record, "id") : NULL;
    if (known && strlen(known) < room && !strchr(known, '/')) {
        snprintf(out, room, "%s", known);
        return 0;
    }
    if (rng_id(id, err) < 0)
        return -1;
    snprintf(out, room, "j-%s", id);
    return 0;
}

struct names {
    char job[64], execution[RNG_ID_MAX + 2], node[64];
};

static int find_names(struct names *n, int dir_fd, struct publish_names *out, struct err *err)
{
    char id[RNG_ID_MAX];
    if (name_job(dir_fd, n->job, sizeof n->job, err) < 0 || rng_id(id, err) < 0)
        return -1;
    snprintf(n->execution, sizeof n->execution, "e-%s", id);
    if (gethostname(n->node, sizeof n->node - 1) < 0 || !n->node[0] || strchr(n->node, '/'))
        snprintf(n->node, sizeof n->node, "node");
    *out = (struct publish_names){n->execution, n->job, n->node, clock_wall_ms()};
    return 0;
}

static void on_progress(void *ctx, uint64_t done, uint64_t total)
{
    ui_publish(ctx, done, total);
}

/* With --json, standard output holds the published result and nothing else. */
static void on_warn(void *ctx, const char *text)
{
    if (globals.json)
        text_line(stderr, "warning: %s", text);
    else
        ui_warn(ctx, text);
}

static int tell(struct ui *ui, const struct publish_result *r, uint64_t ms, struct err *err)
{
    char bytes[HUMAN_MAX], stored[HUMAN_MAX], time[HUMAN_MAX];
    json_t *published = publish_result_json(r, err);
    if (!published)
        return -1;
    publishing_note(ui, published);
    ui_note(ui, "%" PRIu64 " file%s, %s, stored as %s, in %s", r->totals.files, r->totals.files == 1 ? "" : "s",
            human_bytes(bytes, r->totals.bytes), human_bytes(stored, r->stored_bytes), human_duration(time, ms));
    if (globals.json)
        return cli_print_json(published, err);
    json_decref(published);
    return 0;
}

static int publish(struct ui *ui, struct publish_opts *opts, const struct s3_grant *grant, const char *dir,
                   struct err *err)
{
    struct names names;
    struct publish_result result;
    AUTO_FD fd = fs_open_dir(dir, err);
    if (fd < 0 || find_names(&names, fd, &opts->names, err) < 0)
        return -1;
    uint64_t start = clock_mono_ms();
    int rc = grant ? publish_by_grant(fd, grant, opts, NULL, &result, err) : publish_folder(fd, opts, &result, err);
    if (rc < 0)
        return -1;
    rc = tell(ui, &result, clock_mono_ms() - start, err);
    publish_result_release(&result);
    return rc;
}

static void on_stale(void *ctx, const char *key, int64_t begun_ms)
{
    char time[TIME_MAX];
    ui_note(ctx, "aborted the upload of %s, begun %s", key, time_iso(time, begun_ms));
}

static int abort_stale(struct ui *ui, const struct publish_opts *opts, struct err *err)
{
    unsigned aborted = 0;
    const struct publish_stale stale = {a.older_ms, clock_wall_ms(), on_stale, ui};
    if (opts->to->kind != PUBLISH_S3)
        return err_set(err, ERR_USAGE, "--abort-stale is for s3://BUCKET/PREFIX");
    int rc = publish_abort_stale(opts, &stale, &aborted, err);
    ui_note(ui, "%u unfinished upload%s aborted", aborted, aborted == 1 ? "" : "s");
    return rc;
}

static int work(struct cli *cli, struct wiring *w, struct ui *ui, const struct destination *d,
                const struct strv *operands, struct err *err)
{
    struct stage_access access;
    struct publish_opts opts = {.to = &d->to,
                                .http = w->http,
                                .threads = (unsigned)a.threads,
                                .max_bytes = a.max_bytes,
                                .cancel = &cli->cancel,
                                .progress = on_progress,
                                .warn = on_warn,
                                .ctx = ui};
    wiring_access(cli, &access);
    publishing_access(&access, &opts.access);
    opts.access.journal_dir = w->uploads_dir;
    if (a.abort_stale)
        return abort_stale(ui, &opts, err);
    return publish(ui, &opts, d->granted ? &d->grant : NULL, operands->v[0], err);
}

static int run(struct cli *cli, const struct strv *operands, struct err *err)
{
    size_t wanted = a.abort_stale || a.grant ? 1 : 2;
    if (a.abort_stale && a.grant) {
        err_set(err, ERR_USAGE, "--abort-stale and --grant exclude each other");
        return EXIT_USAGE;
    }
    if (cli_want_operands(operands, wanted, wanted, &command_publish, err) < 0)
        return EXIT_USAGE;
    struct destination d = {0};
    struct wiring w = {0};
    struct ui *ui = NULL;
    if (destination_open(&d, operands, err) < 0) {
        destination_release(&d);
        return EXIT_USAGE;
    }
    int rc = ui_new(&ui, cli, err);
    if (rc == 0 && (rc = wiring_open_transfers(&w, cli, err)) == 0)
        rc = work(cli, &w, ui, &d, operands, err);
    ui_free(ui);
    wiring_release(&w);
    destination_release(&d);
    return rc == 0 ? 0 : err->kind == ERR_CANCELLED ? cli_signal_exit_code() : 1;
}

const struct command command_publish = {
    .about = {.name = "publish",
              .summary = "Store a folder in S3, or pack it into an archive",
              .args = "DIR DEST",
              .about =
                  "DEST is s3://BUCKET/KEY[,opt=NAME=VALUE]… (options: endpoint, region, encoding, storage-class, sse, "
                  "sse-kms-key-id, sse-c, tags, acl, if-none-match), a path with a slash in it, or a pre-signed "
                  "https:// URL of a PUT; --grant reads a grant of such URLs. The folder becomes "
                  "one .tar.gz, packed and stored as it is made; with opt=encoding=plain every file becomes an object "
                  "of its own, and manifest.json names them all. Equal folders give equal archives. {executionID}, "
                  "{jobID}, {nodeID}, {date} and {time} in KEY are filled in. With --json, the published result is "
                  "printed as another job's input has it. Needs s3:PutObject and s3:AbortMultipartUpload.",
              .examples =
                  "berth publish out s3://bucket/results/{date}/\n"
                  "berth publish out s3://bucket/results,opt=encoding=plain,opt=endpoint=https://minio.example\n"
                  "berth publish out ./out.tar.gz\n"
                  "berth publish out --grant grant.json\n"
                  "berth publish --abort-stale --older-than 2h s3://bucket/results/"},
    .options = options,
    .run = run,
};
