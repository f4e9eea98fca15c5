#include "cli/remote.h"

#include "base/clock.h"
#include "base/enc.h"
#include "cli/table.h"

#include <inttypes.h>
#include <stdlib.h>

#define PATH_MAX_BYTES 8192
#define OUT_MAX        ((size_t)64 << 20)
#define LOG_PIECE_MAX  ((size_t)1 << 20)
#define CELL_MAX       4096  /* of a table */
#define FIELD_MAX      65536 /* of what describes one thing */
#define STATE_LINE_MAX 4096  /* a state and its reason */

int remote_open(const struct cli *cli, struct api **out, struct err *err)
{
    const char *env = getenv("BERTH_TOKEN"), *file = config_text(cli->config, SETTING_SERVER_TOKEN_FILE);
    char *token = NULL;
    if (!str_empty(env))
        token = str_dup(env, err);
    else if (!str_empty(file))
        token = api_read_token(file, err);
    if (err_is_set(err))
        return err_hint(err,
                        "server.token_file, or BERTH_SERVER_TOKEN_FILE, is to name the file that holds your token");
    const struct api_opts opts = {.server = config_text(cli->config, SETTING_SERVER_URL),
                                  .token = token,
                                  .ca_file = config_text(cli->config, SETTING_XFER_CA_FILE)};
    int rc = api_open(out, &opts, err);
    str_free_secret(token);
    return rc < 0 ? err_hint(err, "an address is like http://127.0.0.1:7480 or https://berth.example; it comes from "
                                  "BERTH_SERVER_URL, or from server.url")
                  : 0;
}

/* --- tables ------------------------------------------------------------------------------------------------------- */

static const json_t *at(const json_t *object, const char *path)
{
    struct span rest = span_of(path), word;
    while (object && rest.n) {
        char key[64];
        span_cut(rest, '.', &word, &rest);
        snprintf(key, sizeof key, "%.*s", SPAN_FMT(word));
        object = json_object_get(object, key);
    }
    return object;
}

static void join(const json_t *v, struct buf *out)
{
    const char *name;
    json_t *one;
    size_t i;
    if (json_is_string(v))
        buf_adds(out, json_string_value(v));
    else if (json_is_integer(v))
        buf_addf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
    else if (json_is_real(v))
        buf_addf(out, "%g", json_real_value(v));
    else if (json_is_boolean(v))
        buf_adds(out, json_is_true(v) ? "yes" : "no");
    json_array_foreach(v, i, one)
    {
        buf_adds(out, i ? ", " : "");
        join(json_is_object(one) ? json_object_get(one, "name") : one, out);
    }
    json_object_foreach((json_t *)v, name, one)
    {
        if (json_is_integer(one) && json_integer_value(one) == 0)
            continue; /* counts */
        buf_addf(out, "%s%s=", out->n ? " " : "", name);
        join(one, out);
    }
}

#define DAY_MS 86400000

/* Days where hours are many to count. */
static const char *long_duration(char out[HUMAN_MAX], uint64_t ms)
{
    uint64_t days = ms / DAY_MS, hours = ms % DAY_MS / (DAY_MS / 24);
    if (days < 2)
        return human_duration(out, ms);
    if (hours)
        snprintf(out, HUMAN_MAX, "%" PRIu64 "d%02" PRIu64 "h", days, hours);
    else
        snprintf(out, HUMAN_MAX, "%" PRIu64 "d", days);
    return out;
}

/* The one word for a node's state, life and readiness, as the dashboard has it. */
static const char *node_word(const json_t *node)
{
    const char *state = json_get_str(node, "state");
    if (str_eq(state, "rejected") || str_eq(state, "pending"))
        return state;
    return !json_get_bool(node, "live", false)   ? "gone"
           : str_eq(state, "draining")           ? state
           : json_get_bool(node, "ready", false) ? "ready"
                                                 : "preparing";
}

static void cell(const json_t *object, const struct remote_column *c, struct buf *out)
{
    char text[TIME_MAX > HUMAN_MAX ? TIME_MAX : HUMAN_MAX];
    const json_t *v = at(object, c->member);
    int64_t n = json_is_integer(v) ? json_integer_value(v) : 0, now = clock_wall_ms();
    if (c->kind == CELL_AGE && n > 0)
        buf_adds(out, long_duration(text, now > n ? (uint64_t)(now - n) : 0));
    else if (c->kind == CELL_BYTES && json_is_integer(v) && n >= 0)
        buf_adds(out, human_bytes(text, (uint64_t)n));
    else if (c->kind == CELL_DURATION && n > 0)
        buf_adds(out, long_duration(text, (uint64_t)n));
    else if (c->kind == CELL_TIME && n > 0)
        buf_adds(out, time_iso(text, n));
    else if (c->kind == CELL_NODE)
        buf_adds(out, node_word(object));
    else if (c->kind == CELL_READINESS)
        join(json_get_bool(object, "ready", false) ? NULL : json_object_get(object, "readiness"), out);
    else if (c->kind == CELL_TEXT || c->kind == CELL_NUMBER || c->kind == CELL_YES)
        join(v, out);
}

int remote_table(const struct cli *cli, const json_t *list, const struct remote_column *columns, struct err *err)
{
    const char *heads[TABLE_COLUMNS_MAX + 1] = {0};
    size_t width = 0, i;
    json_t *one;
    while (width < TABLE_COLUMNS_MAX && columns[width].head) {
        heads[width] = columns[width].head;
        width++;
    }
    struct table *t = table_new(heads, err);
    int rc = t ? 0 : -1;
    if (t)
        table_fit(t, cli->width_out);
    json_array_foreach(list, i, one)
    {
        struct buf text[TABLE_COLUMNS_MAX];
        const char *cells[TABLE_COLUMNS_MAX];
        for (size_t k = 0; k < width; k++) {
            buf_init(&text[k], CELL_MAX);
            cell(one, &columns[k], &text[k]);
            cells[k] = text[k].n ? buf_str(&text[k]) : NULL;
        }
        if (rc == 0)
            rc = table_row(t, cells, err);
        for (size_t k = 0; k < width; k++)
            buf_release(&text[k]);
    }
    AUTO_BUF out;
    buf_init(&out, OUT_MAX);
    if (rc == 0 && (rc = table_write(t, cli->colour_out, &out, err)) == 0)
        fwrite(buf_str(&out), 1, out.n, stdout);
    table_free(t);
    return rc;
}

int remote_describe(const json_t *object, const struct remote_column *lines, struct err *err)
{
    (void)err;
    for (; lines->head; lines++) {
        AUTO_BUF text, clean;
        buf_init(&text, FIELD_MAX);
        buf_init(&clean, FIELD_MAX);
        cell(object, lines, &text);
        text_printable(buf_span(&text), &clean);
        if (clean.n)
            printf("%-14s %s\n", lines->head, buf_str(&clean));
    }
    return 0;
}

struct listing {
    const char *things;
    json_t *all;
    uint64_t most;
};

static int add_page(void *ctx, const json_t *page, struct err *err)
{
    struct listing *l = ctx;
    const json_t *list = json_object_get(page, l->things);
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (l->most && json_array_size(l->all) >= l->most)
            return 1;
        if (json_array_append(l->all, json_array_get(list, i)) < 0)
            return err_nomem(err);
    }
    return 0;
}

int remote_list(const struct cli *cli, struct api *api, const char *path, const char *things, uint64_t most,
                const struct remote_column *columns, struct err *err)
{
    AUTO_JSON all = json_array();
    struct listing l = {things, all, most};
    if (!all)
        return err_nomem(err);
    if (api_pages(api, path, &cli->cancel, add_page, &l, err) < 0)
        return -1;
    if (globals.json)
        return cli_print_json(json_incref(all), err);
    if (json_array_size(all) > 0)
        return remote_table(cli, all, columns, err);
    if (!globals.quiet)
        fprintf(stderr, "no %s\n", things);
    return 0;
}

json_t *remote_labels(const struct strv *words, struct err *err)
{
    json_t *labels = json_object();
    if (!labels)
        err_nomem(err);
    for (size_t i = 0; labels && i < words->n; i++) {
        struct span name, value;
        span_cut(span_of(words->v[i]), '=', &name, &value);
        AUTO_STR n = str_dup_span(name, err);
        if (name.n == 0)
            err_set(err, ERR_USAGE, "'%s' is not NAME=VALUE", words->v[i]);
        if (err_is_set(err) || json_put_str(labels, n, value.p ? value.p : "", err) < 0) {
            json_decref(labels);
            return NULL;
        }
    }
    return labels;
}

/* --- logs --------------------------------------------------------------------------------------------------------- */

struct log_view {
    const struct cli *cli;
    bool show, follow;
    bool open_line; /* the log's last line has no end yet */
    char state[32];
    char reason[256];
    bool has_code;
    int64_t code;
};

static int show_piece(struct log_view *v, const json_t *data, struct err *err)
{
    int64_t stream = 1;
    const char *text = json_get_str(data, "data");
    size_t n = 0;
    json_get_i64(data, "stream", &stream);
    uint8_t *bytes = malloc(LOG_PIECE_MAX);
    int rc = bytes ? base64_decode(bytes, LOG_PIECE_MAX, &n, span_of(text ? text : ""), err) : err_nomem(err);
    if (rc == 0) {
        FILE *to = stream == 2 ? stderr : stdout;
        fwrite(bytes, 1, n, to);
        fflush(to);
        v->open_line = n ? bytes[n - 1] != '\n' : v->open_line;
    }
    free(bytes);
    return rc;
}

/* On a line of its own, also after a log that did not end its last one, and dim, to be told from it. */
static void show_state(struct log_view *v, const char *state, const char *reason)
{
    const struct cli *cli = v->cli;
    AUTO_BUF line, clean;
    buf_init(&line, STATE_LINE_MAX);
    buf_init(&clean, STATE_LINE_MAX);
    bool said = state && reason && strncmp(reason, state, strlen(state)) == 0; /* "claimed by n-…" */
    buf_addf(&line, "%s%s%s", said || !state ? "" : state, said || !state || str_empty(reason) ? "" : ": ",
             reason ? reason : "");
    text_printable(buf_span(&line), &clean);
    fprintf(stderr, "%s%s%s%s\n", v->open_line && cli->terminal ? "\n" : "", cli->colour ? "\033[2m" : "",
            buf_str(&clean), cli->colour ? "\033[0m" : "");
    v->open_line = false;
}

static int on_event(void *ctx, const struct api_event *event, struct err *err)
{
    struct log_view *v = ctx;
    AUTO_JSON data = json_parse(event->data, err);
    if (!data)
        return err_wrap(err, "event stream");
    const char *state = json_get_str(data, "state"), *reason = json_get_str(data, "reason");
    if (globals.json && v->show) {
        AUTO_JSON line = json_object();
        AUTO_BUF out;
        buf_init(&out, LOG_PIECE_MAX * 2);
        if (json_put_str(line, "event", event->event, err) < 0 || json_object_update(line, data) < 0 ||
            json_write(line, false, &out, err) < 0)
            return -1;
        puts(buf_str(&out));
        fflush(stdout);
    } else if (str_eq(event->event, "log") && v->show) {
        return show_piece(v, data, err);
    } else if (str_eq(event->event, "gap") && v->show) {
        fprintf(stderr, "[some of the log was not kept]\n");
    } else if (str_eq(event->event, "state") && v->follow && !globals.quiet) {
        show_state(v, state, reason);
    }
    if (str_eq(event->event, "end")) {
        snprintf(v->state, sizeof v->state, "%s", state ? state : "");
        snprintf(v->reason, sizeof v->reason, "%s", reason ? reason : "");
        v->has_code = json_get_i64(data, "exit_code", &v->code);
    }
    return 0;
}

/* The container's, where it says that the job failed: with several executions, others than those that ended with 0 may
 * have come to an end without a code. A process has 8 bits of it. */
static int exit_code_of(const struct log_view *v)
{
    if (str_eq(v->state, "succeeded"))
        return 0;
    if (v->has_code && v->code > 0 && v->code <= UINT8_MAX)
        return (int)v->code;
    return str_eq(v->state, "timed_out") || str_eq(v->state, "expired") ? EXIT_TIMEOUT : EXIT_BERTH;
}

int remote_logs(const struct cli *cli, struct api *api, const char *id, uint64_t index, bool follow, bool show,
                int *exit_code, struct err *err)
{
    AUTO_STR path = NULL;
    AUTO_STR query = str_printf(err, "/logs?index=%" PRIu64 "%s", index, follow ? "&follow=1" : "");
    struct log_view v = {.cli = cli, .show = show, .follow = follow};
    if (!query || !(path = api_path(err, REMOTE_JOBS "/", id, query)))
        return -1;
    const struct api_events what = {.path = path, .each = on_event, .ctx = &v, .cancel = &cli->cancel};
    if (api_events(api, &what, err) < 0)
        return -1;
    *exit_code = follow ? exit_code_of(&v) : 0;
    return 0;
}
