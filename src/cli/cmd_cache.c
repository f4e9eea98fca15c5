/* berth cache …: look at the cache and look after it. */
#include "base/clock.h"
#include "cli/table.h"
#include "cli/wiring.h"

#include <inttypes.h>
#include <limits.h>
#include <time.h>

#define NAMES_SHOWN  2  /* of those who pin or lease; --json has all */
#define PIN_BYTES    40 /* of a pin's name */
#define JOB_BYTES    10 /* of a job's id */
#define NAMES_MAX    256
#define MEMBER_MAX   ((size_t)1 << 20)
#define ENGINE_SHOWN 256 /* bytes of an engine's address */

static struct {
    bool repair, all, dry_run, force;
    uint64_t need;
    const char *by;
} a = {.by = "user"};

static const struct opt plain_options[] = {GLOBAL_OPTIONS};
static const struct opt pin_options[] = {
    {.name = "by", .type = OPT_STR, .into = &a.by, .meta = "WHO", .help = "Name of the pin (default: user)"},
    GLOBAL_OPTIONS,
};
static const struct opt rm_options[] = {
    {.name = "force", .letter = 'f', .type = OPT_FLAG, .into = &a.force, .help = "Remove it even if it is pinned"},
    GLOBAL_OPTIONS,
};
static const struct opt gc_options[] = {
    {.name = "all", .type = OPT_FLAG, .into = &a.all, .help = "Remove all that no job uses and nobody pinned"},
    {.name = "need", .type = OPT_BYTES, .into = &a.need, .meta = "BYTES", .help = "Free at least so much"},
    {.name = "dry-run", .letter = 'n', .type = OPT_FLAG, .into = &a.dry_run, .help = "Say what would go"},
    GLOBAL_OPTIONS,
};
static const struct opt verify_options[] = {
    {.name = "repair", .type = OPT_FLAG, .into = &a.repair, .help = "Quarantine what is damaged, mend the index"},
    GLOBAL_OPTIONS,
};

static int with_cache(struct cli *cli,
                      int (*work)(struct cli *cli, struct cache *c, const struct strv *ops, struct err *err),
                      const struct strv *operands, struct err *err)
{
    struct wiring w = {0};
    int rc = wiring_open_cache(&w, cli, err);
    if (rc == 0)
        rc = work(cli, w.cache, operands, err);
    wiring_release(&w);
    return rc < 0 ? 1 : rc;
}

/* --- ls, stat ----------------------------------------------------------------------------------------------------- */

static const char *cell_bytes(const json_t *o, const char *key, char out[HUMAN_MAX])
{
    int64_t n = 0;
    return json_get_i64(o, key, &n) && n >= 0 ? human_bytes(out, (uint64_t)n) : NULL;
}

static const char *cell_age(const json_t *o, const char *key, char out[HUMAN_MAX])
{
    int64_t then = 0, now = clock_wall_ms();
    return json_get_i64(o, key, &then) && then > 0 && now >= then ? human_duration(out, (uint64_t)(now - then)) : NULL;
}

static const char *cell_number(const json_t *o, const char *key, char out[HUMAN_MAX])
{
    int64_t n = 0;
    if (!json_get_i64(o, key, &n))
        return NULL;
    snprintf(out, HUMAN_MAX, "%" PRId64, n);
    return out;
}

/* The first few, each cut to `most` bytes: "j-1a2b3c4d,j-2b3c4d5e+3". NULL: nobody. */
static const char *cell_names(const json_t *o, const char *key, int most, struct buf *out)
{
    const json_t *names = json_object_get(o, key);
    size_t i, n = json_array_size(names);
    for (i = 0; i < n && i < NAMES_SHOWN; i++)
        buf_addf(out, "%s%.*s", i ? "," : "", most, json_string_value(json_array_get(names, i)));
    if (n > i)
        buf_addf(out, "+%zu", n - i);
    return n ? buf_str(out) : NULL;
}

static int add_row(struct table *t, const json_t *e, struct err *err)
{
    char size[HUMAN_MAX], files[HUMAN_MAX], age[HUMAN_MAX], used[HUMAN_MAX], hits[HUMAN_MAX];
    AUTO_BUF pinned, leased;
    buf_init(&pinned, NAMES_MAX);
    buf_init(&leased, NAMES_MAX);
    const char *id = json_get_str(e, "snapshot"), *origin = json_get_str(e, "origin");
    AUTO_STR brief = str_printf(err, "%.12s", id ? id : "");
    struct span first, rest; /* the lines after it tell identities apart; --json has them */
    span_cut(span_of(origin ? origin : "-"), '\n', &first, &rest);
    AUTO_STR place = str_dup_span(first, err);
    if (!brief || !place)
        return -1;
    const char *cells[] = {brief,
                           place,
                           cell_bytes(e, "bytes", size),
                           cell_number(e, "files", files),
                           cell_age(e, "downloaded_ms", age),
                           cell_age(e, "last_used_ms", used),
                           cell_number(e, "hits", hits),
                           cell_names(e, "pinned_by", PIN_BYTES, &pinned),
                           cell_names(e, "leased_by", JOB_BYTES, &leased)};
    return table_row(t, cells, err);
}

static int ls(struct cli *cli, struct cache *c, const struct strv *operands, struct err *err)
{
    (void)operands;
    AUTO_JSON list = cache_list(c, err);
    if (!list)
        return -1;
    if (globals.json)
        return cli_print_json(json_incref(list), err);
    static const char *const heads[] = {"SNAPSHOT", "ORIGIN", ">SIZE",     ">FILES",    ">AGE",
                                        ">USED",    ">HITS",  "PINNED BY", "LEASED BY", NULL};
    struct table *t = table_new(heads, err);
    if (!t)
        return -1;
    int rc = 0;
    size_t i;
    json_t *e;
    json_array_foreach(list, i, e)
    {
        if (rc == 0)
            rc = add_row(t, e, err);
    }
    AUTO_BUF out;
    buf_init(&out, 64u << 20);
    if (rc == 0 && (rc = table_write(t, cli->colour_out, &out, err)) == 0)
        fwrite(out.p, 1, out.n, stdout);
    table_free(t);
    return rc;
}

/* What is told in words that people use: sizes, ages, spans of time. False: as JSON has it. */
static bool in_words(const char *key, const json_t *v, char out[HUMAN_MAX])
{
    struct span name = span_of(key);
    uint64_t n = json_is_integer(v) && json_integer_value(v) >= 0 ? (uint64_t)json_integer_value(v) : 0;
    int64_t age = clock_wall_ms() - (int64_t)n;
    char span[HUMAN_MAX];
    if (json_is_integer(v) && span_ends(name, SPAN_LIT("bytes")))
        human_bytes(out, n);
    else if (json_is_integer(v) && span_ends(name, SPAN_LIT("ttl_ms")))
        human_duration(out, n);
    else if (json_is_integer(v) && span_ends(name, SPAN_LIT("_ms")))
        snprintf(out, HUMAN_MAX, "%.19s ago", human_duration(span, age > 0 ? (uint64_t)age : 0));
    else if (json_is_boolean(v))
        snprintf(out, HUMAN_MAX, "%s", json_is_true(v) ? "yes" : "no");
    else if (json_is_null(v) || (json_is_array(v) && json_array_size(v) == 0))
        snprintf(out, HUMAN_MAX, "-");
    else
        return false;
    return true;
}

/* Lines after the first stand below it. */
static void print_text(const char *key, struct span text)
{
    struct span line, rest = text;
    bool more;
    do {
        more = span_cut(rest, '\n', &line, &rest);
        text_line(stdout, "%-18s %.*s", key, SPAN_FMT(line));
        key = "";
    } while (more);
}

static int print_member(const char *key, const json_t *v, struct err *err)
{
    struct span name = span_of(key);
    char words[HUMAN_MAX];
    AUTO_BUF b;
    buf_init(&b, MEMBER_MAX);
    if (in_words(key, v, words)) {
        name.n -= span_ends(name, SPAN_LIT("_ms")) ? 3 : 0;
        printf("%-18.*s %s\n", SPAN_FMT(name), words);
        return 0;
    }
    if (!json_is_string(v) && json_write(v, false, &b, err) < 0)
        return -1;
    print_text(key, json_is_string(v) ? span_of(json_string_value(v)) : buf_span(&b));
    return 0;
}

static int print_members(json_t *o, struct err *err)
{
    const char *key;
    json_t *v;
    int rc = 0;
    json_object_foreach(o, key, v)
    {
        if (rc == 0)
            rc = print_member(key, v, err);
    }
    return rc;
}

static int stat_one(struct cli *cli, struct cache *c, const struct strv *operands, struct err *err)
{
    (void)cli;
    AUTO_JSON o = cache_stat(c, operands->n ? operands->v[0] : NULL, err);
    if (!o)
        return -1;
    return globals.json ? cli_print_json(json_incref(o), err) : print_members(o, err);
}

/* --- pin, unpin, rm, path ----------------------------------------------------------------------------------------- */

static int pin(struct cli *cli, struct cache *c, const struct strv *operands, struct err *err)
{
    (void)cli;
    char id[SNAPSHOT_ID_MAX];
    return cache_find(c, operands->v[0], id, err) < 0 ? -1 : cache_pin(c, id, a.by, err);
}

static int unpin(struct cli *cli, struct cache *c, const struct strv *operands, struct err *err)
{
    (void)cli;
    char id[SNAPSHOT_ID_MAX];
    return cache_find(c, operands->v[0], id, err) < 0 ? -1 : cache_unpin(c, id, a.by, err);
}

static int rm(struct cli *cli, struct cache *c, const struct strv *operands, struct err *err)
{
    (void)cli;
    char id[SNAPSHOT_ID_MAX], human[HUMAN_MAX];
    uint64_t freed = 0;
    if (cache_find(c, operands->v[0], id, err) < 0 || cache_remove(c, id, a.force, &freed, err) < 0)
        return -1;
    if (globals.json) {
        json_t *o = json_object();
        if (json_put_str(o, "removed", id, err) < 0 || json_put_u64(o, "freed_bytes", freed, err) < 0) {
            json_decref(o);
            return -1;
        }
        return cli_print_json(o, err);
    }
    if (!globals.quiet)
        printf("removed %.12s, freed %s\n", id, human_bytes(human, freed));
    return 0;
}

static int print_path(const char *text, struct err *err)
{
    if (globals.json)
        return cli_print_json(json_pack("{s:s}", "path", text), err);
    puts(text);
    return 0;
}

static int path(struct cli *cli, struct cache *c, const struct strv *operands, struct err *err)
{
    if (operands->n == 0)
        return print_path(config_text(cli->config, SETTING_CACHE_DIR), err);
    char id[SNAPSHOT_ID_MAX];
    AUTO_BUF view;
    buf_init(&view, PATH_MAX);
    if (cache_find(c, operands->v[0], id, err) < 0 || cache_snapshot_view(c, id, &view, err) < 0)
        return -1;
    return print_path(buf_str(&view), err);
}

/* --- gc, verify --------------------------------------------------------------------------------------------------- */

/* Whom to ask about the containers of dead runs, and those that nobody could be asked about. */
struct inquiry {
    struct engine *engine; /* NULL: there is none */
    unsigned unknown;
    char where[ENGINE_SHOWN]; /* the engine of one of them */
};

/* Only its own engine's word that it is gone counts; that it runs is believed of any. */
static enum cache_container ask_engine(void *ctx, const char *engine, const char *container_id)
{
    struct inquiry *q = ctx;
    enum engine_running is = q->engine ? engine_is_running(q->engine, container_id) : ENGINE_RUNNING_UNKNOWN;
    if (is == ENGINE_RUNNING_YES)
        return CACHE_CONTAINER_LIVES;
    if (is == ENGINE_RUNNING_NO && (!engine || str_eq(engine, engine_address(q->engine))))
        return CACHE_CONTAINER_GONE;
    q->unknown++;
    snprintf(q->where, sizeof q->where, "%s%s", engine ? "at " : "that ran it", engine ? engine : "");
    return CACHE_CONTAINER_UNKNOWN;
}

static void say_unknown(const struct inquiry *q, const struct err *no_engine)
{
    if (q->unknown == 0)
        return;
    fprintf(stderr, "berth: %u killed run%s may still have a container: %s\n", q->unknown, q->unknown > 1 ? "s" : "",
            q->engine ? "the engine that was asked is another, or does not tell" : no_engine->text);
    fprintf(stderr, "  hint: what it uses is kept; --set engine=… asks another engine, here the one %s\n", q->where);
}

static int gc(struct cli *cli, struct cache *c, const struct strv *operands, struct err *err)
{
    (void)operands;
    struct wiring engine = {0};
    struct err no_engine = ERR_INIT;
    (void)wiring_open_engine(&engine, cli, &no_engine); /* without one, nothing is known of containers */
    struct inquiry asked = {.engine = engine.engine};
    const struct cache_gc_opts opts = {
        .all = a.all,
        .dry_run = a.dry_run,
        .need_bytes = a.need,
        .container = ask_engine,
        .ctx = &asked,
    };
    struct cache_gc_result r;
    int rc = cache_gc(c, &opts, &r, err);
    say_unknown(&asked, &no_engine);
    wiring_release(&engine);
    if (rc < 0)
        return -1;
    if (globals.json) {
        json_t *o = json_object();
        if (json_put_u64(o, "snapshots", r.snapshots, err) < 0 || json_put_u64(o, "blobs", r.blobs, err) < 0 ||
            json_put_u64(o, "partials", r.partials, err) < 0 || json_put_u64(o, "bytes", r.bytes, err) < 0) {
            json_decref(o);
            return -1;
        }
        return cli_print_json(o, err);
    }
    char human[HUMAN_MAX];
    if (!globals.quiet)
        printf("%s %" PRIu64 " snapshots, %" PRIu64 " blobs, %" PRIu64 " partial files: %s\n",
               a.dry_run ? "would remove" : "removed", r.snapshots, r.blobs, r.partials, human_bytes(human, r.bytes));
    return 0;
}

static void on_verified(void *ctx, uint64_t done, uint64_t total)
{
    const struct cli *cli = ctx;
    char x[HUMAN_MAX], y[HUMAN_MAX];
    if (cli->terminal && !globals.quiet && !globals.json)
        fprintf(stderr, "\r%s of %s\033[K%s", human_bytes(x, done), human_bytes(y, total),
                done >= total ? "\r\033[K" : "");
}

static int verify(struct cli *cli, struct cache *c, const struct strv *operands, struct err *err)
{
    (void)operands;
    const struct cache_verify_opts opts = {
        .repair = a.repair, .cancel = &cli->cancel, .progress = on_verified, .ctx = cli};
    struct cache_verify_result r;
    if (cache_verify(c, &opts, &r, err) < 0)
        return -1;
    uint64_t bad = r.damaged + r.missing + r.orphans;
    if (globals.json) {
        json_t *o = json_object();
        if (json_put_u64(o, "blobs", r.blobs, err) < 0 || json_put_u64(o, "bytes", r.bytes, err) < 0 ||
            json_put_u64(o, "damaged", r.damaged, err) < 0 || json_put_u64(o, "missing", r.missing, err) < 0 ||
            json_put_u64(o, "orphans", r.orphans, err) < 0 || json_put_u64(o, "repaired", r.repaired, err) < 0) {
            json_decref(o);
            return -1;
        }
        if (cli_print_json(o, err) < 0)
            return -1;
    } else {
        char human[HUMAN_MAX];
        printf("%" PRIu64 " blobs, %s: %" PRIu64 " damaged, %" PRIu64 " missing, %" PRIu64 " orphans; %" PRIu64
               " repaired\n",
               r.blobs, human_bytes(human, r.bytes), r.damaged, r.missing, r.orphans, r.repaired);
        if (bad > r.repaired)
            puts("berth cache verify --repair mends this; damaged data is fetched again when it is next used");
    }
    return bad > r.repaired ? 1 : 0;
}

/* --- the commands ------------------------------------------------------------------------------------------------- */

#define CACHE_COMMAND(word, function, least, most)                                                                     \
    static int run_##word(struct cli *cli, const struct strv *operands, struct err *err)                               \
    {                                                                                                                  \
        if (cli_want_operands(operands, least, most, &command_cache_##word, err) < 0)                                  \
            return EXIT_USAGE;                                                                                         \
        return with_cache(cli, function, operands, err);                                                               \
    }
CACHE_COMMAND(ls, ls, 0, 0)
CACHE_COMMAND(stat, stat_one, 0, 1)
CACHE_COMMAND(pin, pin, 1, 1)
CACHE_COMMAND(unpin, unpin, 1, 1)
CACHE_COMMAND(rm, rm, 1, 1)
CACHE_COMMAND(gc, gc, 0, 0)
CACHE_COMMAND(verify, verify, 0, 0)
CACHE_COMMAND(path, path, 0, 1)

#define WHAT "A snapshot is named by its id (six digits or more) or by what it came from, as berth cache ls shows it."

const struct command command_cache_ls = {
    .about =
        {.name = "cache ls",
         .summary = "List what the cache holds",
         .args = "",
         .about =
             "One row a snapshot: where it came from, size, age, last use, hits, pins and the jobs that use it now.",
         .examples = "berth cache ls\nberth cache ls --json"},
    .options = plain_options,
    .run = run_ls};
const struct command command_cache_stat = {.about = {.name = "cache stat",
                                                     .summary = "Figures of the cache, or of one snapshot",
                                                     .args = "[SNAPSHOT]",
                                                     .about = WHAT,
                                                     .examples = "berth cache stat\nberth cache stat 1f3a9c"},
                                           .options = plain_options,
                                           .run = run_stat};
const struct command command_cache_pin = {
    .about = {.name = "cache pin",
              .summary = "Keep a snapshot whatever happens",
              .args = "SNAPSHOT",
              .about = WHAT " A pinned snapshot never expires and is never evicted.",
              .examples = "berth cache pin 1f3a9c"},
    .options = pin_options,
    .run = run_pin};
const struct command command_cache_unpin = {.about = {.name = "cache unpin",
                                                      .summary = "Take a pin back",
                                                      .args = "SNAPSHOT",
                                                      .about = WHAT,
                                                      .examples = "berth cache unpin 1f3a9c"},
                                            .options = pin_options,
                                            .run = run_unpin};
const struct command command_cache_rm = {
    .about = {.name = "cache rm",
              .summary = "Remove a snapshot",
              .args = "SNAPSHOT",
              .about = WHAT " What a running job uses stays; so does what is pinned, without --force.",
              .examples = "berth cache rm 1f3a9c"},
    .options = rm_options,
    .run = run_rm};
const struct command command_cache_gc = {
    .about =
        {.name = "cache gc",
         .summary = "Remove what expired, or more",
         .args = "",
         .about =
             "Removes snapshots past their time to live, data that nothing refers to and old partial downloads. Leases "
             "and pins are spared; the engine is asked which containers of dead runs still live, and what it does not "
             "know of stays.",
         .examples = "berth cache gc\nberth cache gc --need 50GB\nberth cache gc --all --dry-run"},
    .options = gc_options,
    .run = run_gc};
const struct command command_cache_verify = {.about = {.name = "cache verify",
                                                       .summary = "Hash everything again",
                                                       .args = "",
                                                       .about =
                                                           "Reads every blob and compares it with what was verified "
                                                           "when it was fetched. Ends with 1 when something is wrong "
                                                           "and was not repaired.",
                                                       .examples = "berth cache verify\nberth cache verify --repair"},
                                             .options = verify_options,
                                             .run = run_verify};
const struct command command_cache_path = {.about = {.name = "cache path",
                                                     .summary = "Where the cache, or a snapshot, lies",
                                                     .args = "[SNAPSHOT]",
                                                     .about = WHAT,
                                                     .examples = "berth cache path\nls $(berth cache path 1f3a9c)"},
                                           .options = plain_options,
                                           .run = run_path};
