#include "s3/creds_ini.h"

struct walk {
    struct span rest;
    struct ini_item item;
    bool in_section;
    size_t indent; /* of the setting being read */
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static size_t indent_of(struct span line)
{
    size_t n = 0;
    while (n < line.n && is_blank(line.p[n]))
        n++;
    return n;
}

static bool is_comment(char c)
{
    return c == '#' || c == ';';
}

/* Up to white space that a comment follows. */
static struct span without_comment(struct span s)
{
    for (size_t i = 1; i < s.n; i++)
        if (is_comment(s.p[i]) && is_blank(s.p[i - 1]))
            return span_trim(span_head(s, i));
    return s;
}

static struct span unquote(struct span s)
{
    if (s.n >= 2 && (s.p[0] == '"' || s.p[0] == '\'') && s.p[s.n - 1] == s.p[0])
        return (struct span){s.p + 1, s.n - 2};
    return s;
}

static int broken(const struct walk *w, const char *why, struct err *err)
{
    return err_set(err, ERR_INVALID, "line %u: %s", w->item.line, why);
}

static int read_section(struct walk *w, struct span line, struct err *err)
{
    struct span inside, after;
    if (!span_cut((struct span){line.p + 1, line.n - 1}, ']', &inside, &after))
        return broken(w, "a section has no closing bracket", err);
    after = span_trim(after);
    if (after.n && !is_comment(after.p[0]))
        return broken(w, "something stands after a section's closing bracket", err);
    inside = span_trim(inside);
    size_t kind_n = 0;
    while (kind_n < inside.n && !is_blank(inside.p[kind_n]))
        kind_n++;
    bool two_words = kind_n < inside.n && inside.p[0] != '"' && inside.p[0] != '\'';
    struct span name = two_words ? span_trim((struct span){inside.p + kind_n, inside.n - kind_n}) : inside;
    w->item.kind = span_head(inside, two_words ? kind_n : 0);
    w->item.section = unquote(name);
    w->item.name = w->item.value = (struct span){line.p, 0};
    w->in_section = true;
    return 0;
}

static int read_setting(struct walk *w, struct span line, struct err *err)
{
    if (!w->in_section)
        return broken(w, "a setting stands before the first section", err);
    if (!span_cut(line, '=', &w->item.name, &w->item.value))
        return broken(w, "neither a section, nor a setting (name = value), nor a comment", err);
    w->item.name = span_trim(w->item.name);
    w->item.value = span_trim(w->item.value);
    if (w->item.name.n == 0)
        return broken(w, "a setting has no name", err);
    if (w->item.value.n && is_comment(w->item.value.p[0])) /* "name = # comment" */
        w->item.value.n = 0;
    w->item.value = without_comment(w->item.value);
    return 0;
}

/* Lines that go on with the value: it grows over them, unless it is empty. Blank ones in between do not end it. Their
 * number. */
static unsigned take_continuation(struct walk *w)
{
    unsigned lines = 0;
    while (w->rest.n) {
        struct span line, rest;
        span_cut(w->rest, '\n', &line, &rest);
        struct span text = span_trim(line);
        if (text.n && indent_of(line) <= w->indent)
            break;
        if (text.n && !is_comment(text.p[0]) && w->item.value.n)
            w->item.value.n = (size_t)(text.p + text.n - w->item.value.p);
        w->rest = rest;
        lines++;
    }
    return lines;
}

/* 1: an item was read; 0: the end. */
static int next_item(struct walk *w, unsigned *next_line, struct err *err)
{
    struct span line;
    while (w->rest.n) {
        span_cut(w->rest, '\n', &line, &w->rest);
        w->item.line = (*next_line)++;
        w->indent = indent_of(line);
        line = span_trim(line);
        if (line.n == 0 || is_comment(line.p[0]))
            continue;
        if (memchr(line.p, '\0', line.n))
            return broken(w, "a NUL byte", err);
        if (line.p[0] == '[')
            return read_section(w, line, err) < 0 ? -1 : 1;
        if (read_setting(w, line, err) < 0)
            return -1;
        *next_line += take_continuation(w);
        return 1;
    }
    return 0;
}

int ini_walk(struct span text, int (*visit)(void *ctx, const struct ini_item *item, struct err *err), void *ctx,
             struct err *err)
{
    struct walk w = {.rest = text};
    unsigned next_line = 1;
    if (span_starts(text, SPAN_LIT("\xef\xbb\xbf"))) /* a byte order mark, from an editor */
        w.rest = (struct span){text.p + 3, text.n - 3};
    for (;;) {
        int rc = next_item(&w, &next_line, err);
        if (rc <= 0)
            return rc;
        rc = visit(ctx, &w.item, err);
        if (rc != 0)
            return rc;
    }
}

/* ---- looking up ---- */

struct lookup {
    struct span kind, section, name;
    bool found;
    struct span value;
};

static int match(void *ctx, const struct ini_item *item, struct err *err)
{
    struct lookup *l = ctx;
    (void)err;
    if (!span_eq(item->kind, l->kind) || !span_eq(item->section, l->section) || !span_eq_nocase(item->name, l->name))
        return 0;
    l->found = true;
    l->value = item->value;
    return 0;
}

static struct lookup look_up(struct span text, const char *kind, const char *section, const char *name)
{
    struct err unused = ERR_INIT;
    struct lookup l = {.kind = span_of(kind), .section = span_of(section), .name = span_of(name)};
    return ini_walk(text, match, &l, &unused) == 0 ? l : (struct lookup){.found = false};
}

bool ini_has(struct span text, const char *kind, const char *section)
{
    return look_up(text, kind, section, "").found;
}

struct span ini_get(struct span text, const char *kind, const char *section, const char *name)
{
    return look_up(text, kind, section, name).value;
}
