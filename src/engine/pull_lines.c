#include "engine/pull_lines.h"

#include "base/json.h"

#include <stdio.h>

void pull_lines_init(struct pull_lines *p)
{
    memset(p, 0, sizeof *p);
    buf_init(&p->line, PULL_LINE_MAX);
}

void pull_lines_release(struct pull_lines *p)
{
    buf_release(&p->line);
}

static struct pull_layer *find_layer(struct pull_lines *p, const char *id)
{
    for (size_t i = 0; i < p->layer_count; i++)
        if (str_eq(p->layers[i].id, id))
            return &p->layers[i];
    if (p->layer_count == PULL_LAYERS_MAX || strlen(id) >= PULL_LAYER_ID)
        return NULL;
    struct pull_layer *layer = &p->layers[p->layer_count++];
    *layer = (struct pull_layer){0};
    snprintf(layer->id, sizeof layer->id, "%s", id);
    return layer;
}

static uint64_t positive(const json_t *obj, const char *key)
{
    int64_t v = 0;
    return json_get_i64(obj, key, &v) && v > 0 ? (uint64_t)v : 0;
}

/* Only downloads count: unpacking starts from zero again, which would make a bar run backwards. */
static void note_progress(struct pull_layer *layer, const char *status, const json_t *detail)
{
    uint64_t total = positive(detail, "total");
    if (str_eq(status, "Downloading") && total > 0) {
        uint64_t done = positive(detail, "current");
        layer->total_bytes = total;
        layer->done_bytes = done < total ? done : total;
    } else if (str_eq(status, "Download complete") || str_eq(status, "Pull complete")) {
        layer->done_bytes = layer->total_bytes;
    }
}

static void report(const struct pull_lines *p, const char *status)
{
    uint64_t done = 0, total = 0;
    for (size_t i = 0; i < p->layer_count; i++) {
        if (__builtin_add_overflow(total, p->layers[i].total_bytes, &total))
            return; /* sizes that no machine has: nothing worth showing */
        done += p->layers[i].done_bytes;
    }
    p->progress(p->ctx, status, done, total);
}

static void note_failure(struct pull_lines *p, const json_t *line)
{
    const char *words = json_get_str(json_object_get(line, "errorDetail"), "message");
    if (!words)
        words = json_get_str(line, "error");
    if (!words || p->failed)
        return;
    p->failed = true;
    snprintf(p->failure, sizeof p->failure, "%s", words);
}

static int take_line(struct pull_lines *p, struct err *err)
{
    struct span text = span_trim(buf_span(&p->line));
    if (text.n == 0)
        return 0;
    struct err bad = ERR_INIT;
    AUTO_JSON line = json_parse(text, &bad);
    if (!line && bad.kind == ERR_NOMEM)
        return err_move(err, &bad);
    if (!json_is_object(line))
        return err_set(err, ERR_PROTOCOL, "the engine's pull progress has a line that is not a JSON object");
    note_failure(p, line);
    const char *id = json_get_str(line, "id"), *status = json_get_str(line, "status");
    if (!status)
        return 0;
    struct pull_layer *layer = id ? find_layer(p, id) : NULL;
    if (layer)
        note_progress(layer, status, json_object_get(line, "progressDetail"));
    if (p->progress)
        report(p, status);
    return 0;
}

int pull_lines_feed(struct pull_lines *p, const void *bytes, size_t n, struct err *err)
{
    struct span rest = {bytes, n}, head;
    while (rest.n > 0) {
        bool whole = span_cut(rest, '\n', &head, &rest);
        buf_add_span(&p->line, head);
        if (p->line.state == BUF_TOO_LONG)
            return err_set(err, ERR_PROTOCOL, "the engine's pull progress has a line above %zu bytes", PULL_LINE_MAX);
        if (buf_check(&p->line, "a line of pull progress", err) < 0)
            return -1;
        if (!whole)
            return 0;
        int took = take_line(p, err);
        buf_reset(&p->line);
        if (took < 0)
            return -1;
    }
    return 0;
}

int pull_lines_end(struct pull_lines *p, struct err *err)
{
    int took = take_line(p, err);
    buf_reset(&p->line);
    return took;
}

enum err_kind pull_failure_kind(const char *words)
{
    static const struct {
        const char *words;
        enum err_kind kind;
    } known[] = {
        {"unauthorized", ERR_DENIED},
        {"authentication required", ERR_DENIED},
        {"status code 401", ERR_DENIED},
        {"forbidden", ERR_DENIED},
        {"no basic auth", ERR_DENIED},
        {"invalid username/password", ERR_DENIED},
        {"manifest unknown", ERR_NOTFOUND},
        {"name unknown", ERR_NOTFOUND},
        {"does not exist", ERR_NOTFOUND},
        {"not found", ERR_NOTFOUND},
        {"denied", ERR_DENIED},
        {"no space left", ERR_NOSPACE},
        {"no matching manifest", ERR_UNSUPPORTED},
        {"no image found in image index", ERR_UNSUPPORTED},
        {"invalid reference", ERR_INVALID},
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcasestr(words, known[i].words))
            return known[i].kind;
    return ERR_TRANSIENT;
}
