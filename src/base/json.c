#include "base/json.h"

/* jansson's scanner passes over a refused allocation, and a string would lose its end unnoticed. So each refusal is
 * noted here, and whoever calls jansson asks afterwards. */
static _Thread_local bool refused;

static void *noting_malloc(size_t n)
{
    void *p = malloc(n);
    refused |= !p;
    return p;
}

__attribute__((constructor)) static void watch_allocations(void)
{
    json_set_alloc_funcs(noting_malloc, free);
}

/* Find where the text nests deeper than JSON_DEPTH_MAX, before a parser recurses into it; and NUL bytes, which the
 * parser takes for the end. */
static int check_text(struct span text, struct err *err)
{
    unsigned depth = 0, line = 1;
    const char *line_start = text.p;
    bool quoted = false;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (c == '\n') {
            line++;
            line_start = text.p + i + 1;
        }
        if (c == '\0')
            return err_set(err, ERR_INVALID, "line %u, column %zu: a NUL byte", line,
                           (size_t)(text.p + i - line_start) + 1);
        if (quoted && c == '\\') {
            i++;
        } else if (c == '"') {
            quoted = !quoted;
        } else if (!quoted && (c == '{' || c == '[')) {
            if (++depth > JSON_DEPTH_MAX)
                return err_set(err, ERR_INVALID, "line %u, column %zu: nested deeper than %d levels", line,
                               (size_t)(text.p + i - line_start) + 1, JSON_DEPTH_MAX);
        } else if (!quoted && (c == '}' || c == ']')) {
            depth -= depth > 0;
        }
    }
    return 0;
}

/* The parser's own words end with the text around the fault, which may be a secret. Only a repeated key is named. */
static int report(const json_error_t *e, struct err *err)
{
    struct span text = span_of(e->text);
    const char *near = strstr(e->text, " near ");
    if (near && json_error_code(e) != json_error_duplicate_key)
        text.n = (size_t)(near - e->text);
    return err_set(err, ERR_INVALID, "line %d, column %d: %.*s", e->line, e->column, SPAN_FMT(text));
}

json_t *json_parse(struct span text, struct err *err)
{
    json_error_t e;
    if (check_text(text, err) < 0)
        return NULL;
    refused = false;
    AUTO_JSON value = json_loadb(text.p ? text.p : "", text.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    if (refused)
        err_nomem(err);
    else if (!value)
        report(&e, err);
    return refused ? NULL : json_incref(value);
}

static bool reads_back(const json_t *value, unsigned depth);

static bool members_read_back(const json_t *obj, unsigned depth)
{
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)obj, key, member) if (!reads_back(member, depth)) return false;
    return true;
}

/* Whether every number with a fraction survives with the 15 digits that keep 0.1 readable; else 17 are written. */
static bool reads_back(const json_t *value, unsigned depth)
{
    if (depth > JSON_DEPTH_MAX)
        return false;
    if (json_is_real(value)) {
        char text[40];
        double number = json_real_value(value);
        snprintf(text, sizeof text, "%.15g", number);
        return strtod(text, NULL) == number;
    }
    if (json_is_object(value))
        return members_read_back(value, depth + 1);
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!reads_back(json_array_get(value, i), depth + 1))
            return false;
    return true;
}

static int dump_to_buf(const char *p, size_t n, void *ctx)
{
    struct buf *out = ctx;
    buf_add(out, p, n);
    return out->state == BUF_OK ? 0 : -1;
}

int json_write(const json_t *value, bool pretty, struct buf *out, struct err *err)
{
    unsigned layout = pretty ? JSON_INDENT(2) : JSON_COMPACT, digits = reads_back(value, 0) ? 15 : 17;
    size_t flags = JSON_ENCODE_ANY | layout | JSON_REAL_PRECISION(digits);
    refused = false;
    int rc = json_dump_callback(value, dump_to_buf, out, flags);
    if (buf_check(out, "the JSON text", err) < 0)
        return -1;
    if (refused)
        return err_nomem(err);
    return rc < 0 ? err_set(err, ERR_INVALID, "the value cannot be written as JSON") : 0;
}

const char *json_get_str(const json_t *obj, const char *key)
{
    return json_string_value(json_object_get(obj, key));
}

bool json_get_i64(const json_t *obj, const char *key, int64_t *out)
{
    const json_t *value = json_object_get(obj, key);
    if (!json_is_integer(value))
        return false;
    *out = json_integer_value(value);
    return true;
}

bool json_get_bool(const json_t *obj, const char *key, bool fallback)
{
    const json_t *value = json_object_get(obj, key);
    return json_is_boolean(value) ? json_is_true(value) : fallback;
}

int json_put(json_t *obj, const char *key, json_t *value, struct err *err)
{
    if (err_is_set(err) || !value || !obj) {
        json_decref(value);
        return err_nomem(err);
    }
    if (json_object_set_new(obj, key, value) < 0)
        return span_is_utf8(span_of(key)) ? err_nomem(err) : err_set(err, ERR_INVALID, "a key is not UTF-8");
    return 0;
}

int json_put_str(json_t *obj, const char *key, const char *value, struct err *err)
{
    if (value && !span_is_utf8(span_of(value)))
        return err_set(err, ERR_INVALID, "the value of \"%s\" is not UTF-8", key);
    return json_put(obj, key, value ? json_string_nocheck(value) : json_null(), err);
}

int json_put_u64(json_t *obj, const char *key, uint64_t value, struct err *err)
{
    if (value > INT64_MAX)
        return err_set(err, ERR_LIMIT, "the value of \"%s\" is above what JSON numbers hold here", key);
    return json_put(obj, key, json_integer((json_int_t)value), err);
}

void json_wipe(json_t *value)
{
    const char *key;
    size_t i;
    json_t *item;
    if (json_is_string(value))
        mem_wipe((char *)json_string_value(value), json_string_length(value));
    json_object_foreach(value, key, item) json_wipe(item);
    json_array_foreach(value, i, item) json_wipe(item);
}
