#include "spec/template.h"

/* What is left of an expression. */
struct scan {
    const char *p, *end;
};

struct term {
    enum { TERM_TEXT, TERM_VAR } kind;
    struct span text; /* literal, or the variable's name */
};

static struct span scan_rest(const struct scan *s)
{
    return (struct span){s->p, (size_t)(s->end - s->p)};
}

static void skip_space(struct scan *s)
{
    while (s->p < s->end && strchr(" \t\r\n", *s->p) && *s->p)
        s->p++;
}

static bool take(struct scan *s, const char *word)
{
    skip_space(s);
    if (!span_starts(scan_rest(s), span_of(word)))
        return false;
    s->p += strlen(word);
    return true;
}

static bool is_name_char(char c)
{
    return ascii_is_digit(c) || c == '_' || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z');
}

/* A whole word: "or" but not "order". */
static bool take_word(struct scan *s, const char *word)
{
    struct scan before = *s;
    if (take(s, word) && (s->p == s->end || !is_name_char(*s->p)))
        return true;
    *s = before;
    return false;
}

static bool take_string(struct scan *s, struct span *out)
{
    static const char *const quotes[] = {"\\\"", "\"", "`"};
    for (size_t i = 0; i < ARRAY_LEN(quotes); i++) {
        if (!take(s, quotes[i]))
            continue;
        struct span rest = scan_rest(s);
        const char *close = memmem(rest.p, rest.n, quotes[i], strlen(quotes[i]));
        if (!close)
            return false;
        *out = (struct span){rest.p, (size_t)(close - rest.p)};
        s->p = close + strlen(quotes[i]);
        /* Escapes inside would need a rule for each of three quotings; back quotes need none. */
        return quotes[i][0] == '`' || !memchr(out->p, '\\', out->n);
    }
    return false;
}

static bool take_field(struct scan *s, struct span *name)
{
    if (!take(s, "."))
        return false;
    *name = (struct span){s->p, 0};
    while (s->p < s->end && is_name_char(*s->p))
        s->p++;
    name->n = (size_t)(s->p - name->p);
    return name->n > 0;
}

static bool take_index(struct scan *s, struct span *name)
{
    return take_word(s, "index") && take(s, ".") && take_string(s, name) && name->n > 0;
}

static bool take_term(struct scan *s, struct term *t)
{
    struct scan start = *s;
    t->kind = TERM_VAR;
    if (take(s, "(") && take_index(s, &t->text) && take(s, ")"))
        return true;
    *s = start;
    if (take_field(s, &t->text))
        return true;
    *s = start;
    t->kind = TERM_TEXT;
    return take_string(s, &t->text);
}

static bool take_expression(struct scan *s, struct term terms[2], size_t *n)
{
    struct scan start = *s;
    *n = 1;
    if (take_word(s, "or")) {
        *n = 2;
        if (!take_term(s, &terms[0]) || !take_term(s, &terms[1]))
            return false;
    } else if (take_index(s, &terms[0].text)) {
        terms[0].kind = TERM_VAR;
    } else {
        *s = start;
        if (!take_term(s, &terms[0]))
            return false;
    }
    return take(s, "}}");
}

static void evaluate(struct reader *r, unsigned line, const struct term *terms, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n; i++) {
        bool last = i + 1 == n;
        const char *value = terms[i].kind == TERM_VAR ? reader_var(r, terms[i].text) : NULL;
        struct span text = terms[i].kind == TERM_TEXT ? terms[i].text : span_of(value);
        if (text.n > 0 || (last && (value || terms[i].kind == TERM_TEXT))) {
            buf_add_span(out, text);
            return;
        }
        if (last)
            problem_line(r, line, ERR_INVALID, "the template value '%.*s' is missing; give it with -V %.*s=VALUE",
                         SHOWN(terms[i].text), SHOWN(terms[i].text));
    }
}

static unsigned count_lines(struct span s)
{
    unsigned n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += s.p[i] == '\n';
    return n;
}

int template_expand(struct reader *r, struct span text, struct buf *out, struct err *err)
{
    unsigned line = 1;
    struct scan s = {text.p, text.p + text.n};
    while (s.p < s.end) {
        struct span rest = scan_rest(&s);
        const char *open = memmem(rest.p, rest.n, "{{", 2);
        struct span plain = {rest.p, open ? (size_t)(open - rest.p) : rest.n};
        buf_add_span(out, plain);
        line += count_lines(plain);
        if (!open)
            break;
        struct scan expression = {open + 2, s.end};
        struct term terms[2];
        size_t n;
        if (!take_expression(&expression, terms, &n)) {
            problem_line(r, line, ERR_INVALID,
                         "a template expression other than {{.name}} and {{or (index . \"name\") \"default\"}}; write "
                         "{{`{{`}} for two braces");
            break;
        }
        evaluate(r, line, terms, n, out);
        line += count_lines((struct span){open, (size_t)(expression.p - open)});
        s.p = expression.p;
    }
    return buf_check(out, "the job file with its template values", err);
}

/* Owned: the text with "{{" as {{`{{`}}. */
static json_t *quoted_text(struct span text, struct err *err)
{
    static const char braces[] = "{{", quoted[] = "{{`{{`}}";
    AUTO_BUF out;
    buf_init(&out, text.n / strlen(braces) * strlen(quoted) + strlen(quoted));
    const char *open;
    while (text.n && (open = memmem(text.p, text.n, braces, strlen(braces)))) {
        buf_add(&out, text.p, (size_t)(open - text.p));
        buf_adds(&out, quoted);
        const char *rest = open + strlen(braces);
        text = (struct span){rest, (size_t)(text.p + text.n - rest)};
    }
    buf_add_span(&out, text);
    if (buf_check(&out, "the text with its braces quoted", err) < 0)
        return NULL;
    json_t *s = json_stringn(buf_str(&out), out.n);
    mem_wipe(out.p, out.n); /* it may be a secret */
    if (!s)
        err_nomem(err);
    return s;
}

static json_t *quoted_value(const json_t *value, struct err *err);

static int add_member(json_t *object, const char *key, const json_t *value, struct err *err)
{
    AUTO_JSON name = quoted_text(span_of(key), err);
    AUTO_JSON copy = name ? quoted_value(value, err) : NULL;
    if (!copy)
        return -1;
    return json_put(object, json_string_value(name), json_incref(copy), err);
}

static json_t *quoted_value(const json_t *value, struct err *err)
{
    if (json_is_string(value))
        return quoted_text((struct span){json_string_value(value), json_string_length(value)}, err);
    AUTO_JSON copy = json_is_object(value)  ? json_object()
                     : json_is_array(value) ? json_array()
                                            : json_copy((json_t *)value);
    const char *key;
    json_t *member;
    if (!copy)
        err_nomem(err);
    json_object_foreach((json_t *)value, key, member)
    {
        if (add_member(copy, key, member, err) < 0)
            return NULL;
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        json_t *item = quoted_value(json_array_get(value, i), err);
        if (!item)
            return NULL;
        if (json_array_append_new(copy, item) < 0)
            err_nomem(err);
    }
    return err_is_set(err) ? NULL : json_incref(copy);
}

json_t *template_quoted(const json_t *document, struct err *err)
{
    return quoted_value(document, err);
}
