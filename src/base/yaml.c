#include "base/yaml.h"

#include "base/yaml_priv.h"

#include <yaml.h>

#define TAG_PREFIX "tag:yaml.org,2002:"

struct anchor {
    char *name;
    json_t *value;   /* shared with the tree, a reference is held */
    size_t nodes;    /* of its subtree, aliases expanded */
    unsigned height; /* levels below and with it; 0 for a scalar */
};

struct line {
    const json_t *value;
    unsigned line;
};

struct yaml_lines {
    struct line *v;
    size_t n, cap;
};

struct reader {
    yaml_parser_t parser;
    struct anchor *anchors;
    size_t anchor_count;
    size_t nodes;             /* so far, aliases expanded */
    unsigned depth, deepest;  /* deepest: below the node at hand, aliases expanded */
    struct yaml_lines *lines; /* NULL: not wanted */
};

static unsigned line_number(yaml_mark_t mark)
{
    return (unsigned)mark.line + 1;
}

static int parser_error(const struct reader *r, struct err *err)
{
    const yaml_parser_t *p = &r->parser;
    const char *problem = p->problem ? p->problem : "not YAML";
    if (p->error == YAML_MEMORY_ERROR)
        return err_nomem(err);
    if (p->error == YAML_READER_ERROR)
        return err_set(err, ERR_INVALID, "byte %zu: %s", p->problem_offset, problem);
    return err_set(err, ERR_INVALID, "line %u: %s", line_number(p->problem_mark), problem);
}

static void auto_event(yaml_event_t *event)
{
    yaml_event_delete(event);
}
#define AUTO_EVENT AUTO(auto_event) yaml_event_t

static int next_event(struct reader *r, yaml_event_t *event, struct err *err)
{
    return yaml_parser_parse(&r->parser, event) ? 0 : parser_error(r, err);
}

static int count_nodes(struct reader *r, size_t more, unsigned line, struct err *err)
{
    r->nodes += more;
    if (r->nodes > YAML_NODES_MAX)
        return err_set(err, ERR_INVALID, "line %u: more than %d values, aliases expanded", line, YAML_NODES_MAX);
    return 0;
}

static int remember_line(struct reader *r, const json_t *value, unsigned line, struct err *err)
{
    struct yaml_lines *l = r->lines;
    if (!l || json_is_null(value) || json_is_boolean(value)) /* these three are one object each, wherever they stand */
        return 0;
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        struct line *grown = realloc(l->v, cap * sizeof *grown);
        if (!grown)
            return err_nomem(err);
        l->v = grown;
        l->cap = cap;
    }
    l->v[l->n++] = (struct line){value, line};
    return 0;
}

/* `a` without its name. */
static int remember_anchor(struct reader *r, const yaml_char_t *name, struct anchor a, struct err *err)
{
    if (!name)
        return 0;
    if (r->anchor_count >= YAML_ANCHORS_MAX)
        return err_set(err, ERR_INVALID, "more than %d anchors", YAML_ANCHORS_MAX);
    struct anchor *grown = realloc(r->anchors, (r->anchor_count + 1) * sizeof *grown);
    if (!grown)
        return err_nomem(err);
    r->anchors = grown;
    a.name = str_dup((const char *)name, err);
    if (!a.name)
        return -1;
    json_incref(a.value);
    r->anchors[r->anchor_count++] = a;
    return 0;
}

static int check_depth(struct reader *r, unsigned depth, unsigned line, struct err *err)
{
    if (depth > JSON_DEPTH_MAX)
        return err_set(err, ERR_INVALID, "line %u: nested deeper than %d levels", line, JSON_DEPTH_MAX);
    if (depth > r->deepest)
        r->deepest = depth;
    return 0;
}

/* The newest anchor of a name counts. One that is still open is not listed yet, so nothing can contain itself. */
static json_t *expand_alias(struct reader *r, const yaml_event_t *event, struct err *err)
{
    const char *name = (const char *)event->data.alias.anchor;
    unsigned line = line_number(event->start_mark);
    for (size_t i = r->anchor_count; i > 0; i--) {
        const struct anchor *a = &r->anchors[i - 1];
        if (strcmp(a->name, name) != 0)
            continue;
        if (count_nodes(r, a->nodes, line, err) < 0 || check_depth(r, r->depth + a->height, line, err) < 0)
            return NULL;
        return json_incref(a->value);
    }
    err_set(err, ERR_INVALID, "line %u: no anchor \"%s\" stands above", line, name);
    return NULL;
}

static json_t *read_scalar(const yaml_event_t *event, struct err *err)
{
    struct span text = {(const char *)event->data.scalar.value, event->data.scalar.length};
    const char *tag = (const char *)event->data.scalar.tag;
    unsigned line = line_number(event->start_mark);
    bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    struct span kind = span_of(tag);
    if (memchr(text.p, '\0', text.n)) {
        err_set(err, ERR_INVALID, "line %u: a NUL character", line);
        return NULL;
    }
    if (!tag)
        return plain ? yaml_resolve_plain(text, line, err) : yaml_new_string(text, err);
    if (str_eq(tag, "!") || str_eq(tag, TAG_PREFIX "str"))
        return yaml_new_string(text, err);
    json_t *value = NULL;
    if (span_starts(kind, SPAN_LIT(TAG_PREFIX)))
        value = yaml_resolve_plain(text, line, err);
    bool fits = value && ((str_eq(tag, TAG_PREFIX "int") && json_is_integer(value)) ||
                          (str_eq(tag, TAG_PREFIX "float") && json_is_number(value)) ||
                          (str_eq(tag, TAG_PREFIX "bool") && json_is_boolean(value)) ||
                          (str_eq(tag, TAG_PREFIX "null") && json_is_null(value)));
    if (fits)
        return value;
    json_decref(value);
    err_set(err, ERR_INVALID, "line %u: the tag \"%.64s\" does not fit here", line, tag);
    return NULL;
}

static json_t *read_node(struct reader *r, const yaml_event_t *event, struct err *err);

/* A member's key: a scalar, taken by its text. */
static int check_key(const json_t *obj, const yaml_event_t *event, struct err *err)
{
    unsigned line = line_number(event->start_mark);
    if (event->type != YAML_SCALAR_EVENT)
        return err_set(err, ERR_INVALID, "line %u: a key must be plain text", line);
    const char *key = (const char *)event->data.scalar.value, *tag = (const char *)event->data.scalar.tag;
    if (strlen(key) != event->data.scalar.length)
        return err_set(err, ERR_INVALID, "line %u: a NUL character", line);
    if (tag && !str_eq(tag, "!") && !str_eq(tag, TAG_PREFIX "str"))
        return err_set(err, ERR_INVALID, "line %u: the tag \"%.64s\" does not fit here", line, tag);
    if (str_eq(key, "<<") && event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
        return err_set(err, ERR_INVALID, "line %u: merge keys (<<) are not supported", line);
    if (json_object_get(obj, key))
        return err_set(err, ERR_INVALID, "line %u: the key \"%.128s\" is there twice", line, key);
    return 0;
}

static int read_members(struct reader *r, json_t *obj, struct err *err)
{
    for (;;) {
        AUTO_EVENT key = {0};
        AUTO_EVENT event = {0};
        if (next_event(r, &key, err) < 0)
            return -1;
        if (key.type == YAML_MAPPING_END_EVENT)
            return 0;
        if (check_key(obj, &key, err) < 0 || next_event(r, &event, err) < 0)
            return -1;
        json_t *value = read_node(r, &event, err);
        if (!value)
            return -1;
        if (json_object_set_new(obj, (const char *)key.data.scalar.value, value) < 0)
            return err_nomem(err);
    }
}

static int read_items(struct reader *r, json_t *array, struct err *err)
{
    for (;;) {
        AUTO_EVENT event = {0};
        if (next_event(r, &event, err) < 0)
            return -1;
        if (event.type == YAML_SEQUENCE_END_EVENT)
            return 0;
        json_t *value = read_node(r, &event, err);
        if (!value)
            return -1;
        if (json_array_append_new(array, value) < 0)
            return err_nomem(err);
    }
}

static json_t *read_collection(struct reader *r, const yaml_event_t *event, struct err *err)
{
    bool mapping = event->type == YAML_MAPPING_START_EVENT;
    const char *tag = (const char *)(mapping ? event->data.mapping_start.tag : event->data.sequence_start.tag);
    unsigned line = line_number(event->start_mark);
    if (tag && !str_eq(tag, mapping ? TAG_PREFIX "map" : TAG_PREFIX "seq")) {
        err_set(err, ERR_INVALID, "line %u: the tag \"%.64s\" does not fit here", line, tag);
        return NULL;
    }
    if (check_depth(r, r->depth + 1, line, err) < 0)
        return NULL;
    AUTO_JSON value = mapping ? json_object() : json_array();
    if (!value) {
        err_nomem(err);
        return NULL;
    }
    r->depth++;
    int rc = mapping ? read_members(r, value, err) : read_items(r, value, err);
    r->depth--;
    return rc < 0 ? NULL : json_incref(value);
}

static const yaml_char_t *anchor_of(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return event->data.scalar.anchor;
    case YAML_SEQUENCE_START_EVENT:
        return event->data.sequence_start.anchor;
    case YAML_MAPPING_START_EVENT:
        return event->data.mapping_start.anchor;
    default:
        return NULL;
    }
}

/* The value that starts with `event`; owned. */
static json_t *read_node(struct reader *r, const yaml_event_t *event, struct err *err)
{
    unsigned line = line_number(event->start_mark), deepest_outside = r->deepest;
    size_t before = r->nodes;
    if (event->type == YAML_ALIAS_EVENT)
        return expand_alias(r, event, err);
    if (count_nodes(r, 1, line, err) < 0)
        return NULL;
    r->deepest = r->depth;
    AUTO_JSON value = event->type == YAML_SCALAR_EVENT ? read_scalar(event, err) : read_collection(r, event, err);
    struct anchor a = {.value = value, .nodes = r->nodes - before, .height = r->deepest - r->depth};
    if (deepest_outside > r->deepest)
        r->deepest = deepest_outside;
    if (!value || remember_line(r, value, line, err) < 0 || remember_anchor(r, anchor_of(event), a, err) < 0)
        return NULL;
    return json_incref(value);
}

/* Pass over the markers of stream and document, up to the event that says something. */
static int next_content(struct reader *r, yaml_event_t *event, struct err *err)
{
    for (;;) {
        if (next_event(r, event, err) < 0)
            return -1;
        bool marker = event->type == YAML_STREAM_START_EVENT || event->type == YAML_DOCUMENT_START_EVENT ||
                      event->type == YAML_DOCUMENT_END_EVENT;
        if (!marker)
            return 0;
        yaml_event_delete(event);
    }
}

static json_t *read_stream(struct reader *r, struct err *err)
{
    AUTO_EVENT first = {0};
    AUTO_EVENT last = {0};
    if (next_content(r, &first, err) < 0)
        return NULL;
    if (first.type == YAML_STREAM_END_EVENT)
        return json_null();
    AUTO_JSON value = read_node(r, &first, err);
    if (!value || next_content(r, &last, err) < 0)
        return NULL;
    if (last.type != YAML_STREAM_END_EVENT) {
        err_set(err, ERR_INVALID, "line %u: a second document; only one is expected", line_number(last.start_mark));
        return NULL;
    }
    return json_incref(value);
}

static int by_value(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)((const struct line *)a)->value, y = (uintptr_t)((const struct line *)b)->value;
    return (x > y) - (x < y);
}

static void reader_release(struct reader *r)
{
    for (size_t i = 0; i < r->anchor_count; i++) {
        free(r->anchors[i].name);
        json_decref(r->anchors[i].value);
    }
    free(r->anchors);
    yaml_parser_delete(&r->parser);
    yaml_lines_free(r->lines);
}

static json_t *parse_with(struct reader *r, struct span text, struct yaml_lines **lines, struct err *err)
{
    if (lines && !(r->lines = calloc(1, sizeof *r->lines))) {
        err_nomem(err);
        return NULL;
    }
    yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r->parser, (const unsigned char *)(text.p ? text.p : ""), text.n);
    json_t *value = read_stream(r, err);
    if (value && lines) {
        if (r->lines->n > 1)
            qsort(r->lines->v, r->lines->n, sizeof *r->lines->v, by_value);
        *lines = r->lines;
        r->lines = NULL;
    }
    return value;
}

/* libyaml also breaks lines at U+0085, U+2028 and U+2029, whose last bytes these are. */
static bool ends_line(char c)
{
    static const char ends[] = {'\n', '\r', '\x85', '\xa8', '\xa9'};
    return memchr(ends, c, sizeof ends) != NULL;
}

/* libyaml compares each %TAG with all before it, in the midst of one call. Only a line begins with a directive. */
static int check_directives(struct span text, struct err *err)
{
    size_t found = 0;
    const char *end = text.p + text.n;
    for (const char *at = text.p; at < end && (at = memmem(at, (size_t)(end - at), "%TAG", 4)); at += 4)
        found += at == text.p || ends_line(at[-1]);
    if (found <= YAML_DIRECTIVES_MAX)
        return 0;
    return err_set(err, ERR_INVALID, "more than %d %%TAG directives", YAML_DIRECTIVES_MAX);
}

json_t *yaml_parse(struct span text, struct yaml_lines **lines, struct err *err)
{
    struct reader r = {0};
    if (lines)
        *lines = NULL;
    if (check_directives(text, err) < 0)
        return NULL;
    if (!yaml_parser_initialize(&r.parser)) {
        err_nomem(err);
        return NULL;
    }
    json_t *value = parse_with(&r, text, lines, err);
    reader_release(&r);
    return value;
}

unsigned yaml_line_of(const struct yaml_lines *lines, const json_t *value)
{
    struct line wanted = {value, 0};
    if (!lines || lines->n == 0)
        return 0;
    const struct line *found = bsearch(&wanted, lines->v, lines->n, sizeof wanted, by_value);
    return found ? found->line : 0;
}

void yaml_lines_free(struct yaml_lines *lines)
{
    if (!lines)
        return;
    free(lines->v);
    free(lines);
}
