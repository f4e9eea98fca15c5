/* JSON values to text, laid out as jansson does it. jansson's own writer hands out every token by itself and looks at
 * each character twice: a run record of 10,000 inputs took it four times as long. */
#include "base/json.h"

#include <inttypes.h>

#define WRITE_DEPTH_MAX (4 * JSON_DEPTH_MAX) /* what was parsed may have been put into something else */
#define INDENT          2

struct writer {
    struct buf *out;
    bool pretty;
    unsigned depth;
};

static int write_value(struct writer *w, const json_t *value, struct err *err);

static void write_escape(struct buf *out, unsigned char c)
{
    static const char letters[] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    char letter = c < sizeof letters ? letters[c] : (char)(c < ' ' ? 0 : c);
    if (letter)
        buf_add(out, (char[]){'\\', letter}, 2);
    else
        buf_addf(out, "\\u%04X", c);
}

/* Most text stands for itself, and is copied in one go. */
static bool write_plain(struct buf *out, struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == '"' || s.p[i] == '\\')
            return false;
    char *to = s.n < SIZE_MAX - 2 ? buf_reserve(out, s.n + 2) : NULL;
    if (!to)
        return false;
    to[0] = '"';
    memcpy(to + 1, s.p, s.n);
    to[s.n + 1] = '"';
    buf_grew(out, s.n + 2);
    return true;
}

static void write_text(struct buf *out, struct span s)
{
    size_t plain = 0; /* where the characters begin that stand for themselves */
    if (write_plain(out, s))
        return;
    buf_addc(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c >= ' ' && c != '"' && c != '\\')
            continue;
        buf_add(out, s.p + plain, i - plain);
        write_escape(out, c);
        plain = i + 1;
    }
    buf_add(out, s.p + plain, s.n - plain);
    buf_addc(out, '"');
}

/* With the 15 digits that keep 0.1 readable where it reads back from them; else with 17. */
static int write_real(struct buf *out, const json_t *value, struct err *err)
{
    char text[40];
    double number = json_real_value(value);
    snprintf(text, sizeof text, "%.15g", number);
    size_t digits = strtod(text, NULL) == number ? 15 : 17;
    size_t n = json_dumpb(value, text, sizeof text, JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));
    if (n == 0 || n > sizeof text)
        return err_nomem(err);
    buf_add(out, text, n);
    return 0;
}

/* A comma after what came before, and in the pretty layout a line of its own for what comes. */
static void write_break(struct writer *w, bool comma)
{
    static const char line[] = "\n                                                                ";
    size_t indent = w->pretty ? (size_t)w->depth * INDENT : 0,
           first = indent < sizeof line - 2 ? indent : sizeof line - 2;
    if (comma)
        buf_addc(w->out, ',');
    if (w->pretty)
        buf_add(w->out, line, 1 + first);
    for (size_t left = indent - first; left > 0; left--)
        buf_addc(w->out, ' ');
}

static int write_members(struct writer *w, const json_t *object, struct err *err)
{
    bool first = true;
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)object, key, member)
    {
        write_break(w, !first);
        first = false;
        write_text(w->out, span_of(key));
        buf_add(w->out, ": ", w->pretty ? 2 : 1);
        if (write_value(w, member, err) < 0)
            return -1;
    }
    return 0;
}

static int write_items(struct writer *w, const json_t *array, struct err *err)
{
    size_t n = json_array_size(array);
    for (size_t i = 0; i < n; i++) {
        write_break(w, i > 0);
        if (write_value(w, json_array_get(array, i), err) < 0)
            return -1;
    }
    return 0;
}

static int write_container(struct writer *w, const json_t *value, struct err *err)
{
    bool object = json_is_object(value);
    size_t n = object ? json_object_size(value) : json_array_size(value);
    if (w->depth == WRITE_DEPTH_MAX)
        return err_set(err, ERR_INVALID, "the value cannot be written as JSON: it nests deeper than %d levels",
                       WRITE_DEPTH_MAX);
    buf_addc(w->out, object ? '{' : '[');
    w->depth++;
    if ((object ? write_members : write_items)(w, value, err) < 0)
        return -1;
    w->depth--;
    if (n > 0)
        write_break(w, false);
    buf_addc(w->out, object ? '}' : ']');
    return w->out->state == BUF_OK ? 0 : -1; /* the caller names what was written */
}

static int write_value(struct writer *w, const json_t *value, struct err *err)
{
    char digits[24];
    int n;
    switch (json_typeof(value)) {
    case JSON_OBJECT:
    case JSON_ARRAY:
        return write_container(w, value, err);
    case JSON_STRING:
        write_text(w->out, (struct span){json_string_value(value), json_string_length(value)});
        return 0;
    case JSON_INTEGER:
        n = snprintf(digits, sizeof digits, "%" PRId64, (int64_t)json_integer_value(value));
        buf_add(w->out, digits, (size_t)n);
        return 0;
    case JSON_REAL:
        return write_real(w->out, value, err);
    case JSON_TRUE:
    case JSON_FALSE:
        buf_adds(w->out, json_is_true(value) ? "true" : "false");
        return 0;
    case JSON_NULL:
        buf_adds(w->out, "null");
        return 0;
    }
    return err_set(err, ERR_INVALID, "the value cannot be written as JSON");
}

int json_write(const json_t *value, bool pretty, struct buf *out, struct err *err)
{
    struct writer w = {.out = out, .pretty = pretty};
    if (!value)
        return err_set(err, ERR_INVALID, "the value cannot be written as JSON");
    if (write_value(&w, value, err) < 0 && err_is_set(err))
        return -1;
    return buf_check(out, "the JSON text", err);
}
