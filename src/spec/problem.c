/* Collecting what is wrong with a document, and where. */
#include "spec/read.h"

#include "base/near.h"

#include <stdarg.h>

#define AT_MAX    512
#define DEPTH_MAX (JSON_DEPTH_MAX + 1)
#define NOTE_MAX  512
#define KNOWN_MAX 64
#define MORE_ROOM 48 /* kept free for "… and N more" */

int reader_init(struct reader *r, struct arena *a, const char *file, const char *const *vars, struct err *err)
{
    *r = (struct reader){.a = a, .file = str_empty(file) ? "job file" : file, .vars.v = vars};
    buf_init(&r->problems.text, ERR_TEXT_MAX - MORE_ROOM);
    size_t n = 0;
    while (vars && vars[n])
        n++;
    r->vars.used = arena_array(a, n + 1, sizeof *r->vars.used);
    return r->vars.used ? 0 : arena_check(a, err);
}

const char *reader_var(struct reader *r, struct span name)
{
    for (size_t i = 0; r->vars.v && r->vars.v[i]; i++) {
        struct span head, tail;
        if (!span_cut(span_of(r->vars.v[i]), '=', &head, &tail) || !span_eq(head, name))
            continue;
        r->vars.used[i] = true;
        return tail.p;
    }
    return NULL;
}

void reader_release(struct reader *r)
{
    buf_release(&r->problems.text);
}

void *list_grow(struct arena *a, void *list, size_t n, size_t each)
{
    bool full = (n & (n - 1)) == 0; /* 0 and the powers of two */
    if (!full)
        return list;
    void *grown = arena_array(a, n ? 2 * n : 1, each);
    if (grown && n)
        memcpy(grown, list, n * each);
    return grown;
}

const char *reader_keep(struct reader *r, const struct buf *text)
{
    r->out_of_memory |= text->state == BUF_NOMEM;
    return arena_dup(r->a, buf_str(text));
}

struct span span_shown(struct span s)
{
    size_t n = 0, step;
    while ((step = span_utf8_step((struct span){s.p + n, s.n - n})) > 0 && n + step <= SPEC_SHOWN_MAX)
        n += step;
    return (struct span){n ? s.p : "", n};
}

static void add_path(struct buf *out, const struct node *n)
{
    const struct node *way[DEPTH_MAX];
    size_t depth = 0, start = out->n;
    for (; n && n->up && depth < DEPTH_MAX; n = n->up)
        way[depth++] = n;
    while (depth-- > 0) {
        if (way[depth]->key)
            buf_addf(out, "%s%.*s", out->n > start ? "." : "", SHOWN(span_of(way[depth]->key)));
        else
            buf_addf(out, "[%zu]", way[depth]->index);
    }
}

/* Absent values, nulls and booleans have no line of their own: the nearest thing around them has. */
static unsigned line_of(const struct reader *r, const struct node *n)
{
    unsigned line = 0;
    for (; r->lines && n && line == 0; n = n->up)
        line = n->v ? yaml_line_of(r->lines, n->v) : 0;
    return line;
}

const char *node_at(struct reader *r, const struct node *n)
{
    AUTO_BUF at;
    buf_init(&at, AT_MAX);
    add_path(&at, n);
    unsigned line = line_of(r, n);
    if (line)
        buf_addf(&at, "%sline %u", at.n ? ", " : "", line);
    return reader_keep(r, &at);
}

/* "file:12: " */
static void add_line(const struct reader *r, struct buf *out, const struct node *n)
{
    unsigned line = line_of(r, n);
    buf_adds(out, r->file);
    if (line)
        buf_addf(out, ":%u", line);
    buf_adds(out, ": ");
}

/* "file:12: ops[0].args.image: " */
static void add_place(const struct reader *r, struct buf *out, const struct node *n)
{
    add_line(r, out, n);
    size_t start = out->n;
    add_path(out, n);
    if (out->n > start)
        buf_adds(out, ": ");
}

/* One more line, unless it would not fit whole. */
static void add_problem(struct reader *r, enum err_kind kind, const struct buf *problem_text)
{
    struct buf *text = &r->problems.text;
    struct span line = buf_span(problem_text);
    r->out_of_memory |= problem_text->state == BUF_NOMEM;
    if (r->problems.found++ == 0)
        r->problems.kind = kind;
    bool fits = text->n + line.n + 1 < text->max;
    if (r->problems.found > SPEC_PROBLEMS_MAX || (!fits && text->n > 0))
        return;
    if (text->n)
        buf_addc(text, '\n');
    buf_add_span(text, span_head(line, text->max - text->n - 1));
    r->problems.shown++;
}

static void vproblem(struct reader *r, const struct node *n, enum err_kind kind, const char *fmt, va_list ap)
{
    AUTO_BUF line;
    buf_init(&line, ERR_TEXT_MAX);
    if (r->problems.found <= SPEC_PROBLEMS_MAX) { /* later ones are only counted */
        add_place(r, &line, n);
        buf_vaddf(&line, fmt, ap);
    }
    add_problem(r, kind, &line);
}

void problem(struct reader *r, const struct node *n, enum err_kind kind, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vproblem(r, n, kind, fmt, ap);
    va_end(ap);
}

void problem_here(struct reader *r, const struct node *n, const char *fmt, ...)
{
    AUTO_BUF line;
    buf_init(&line, ERR_TEXT_MAX);
    va_list ap;
    va_start(ap, fmt);
    add_line(r, &line, n);
    buf_vaddf(&line, fmt, ap);
    va_end(ap);
    add_problem(r, ERR_INVALID, &line);
}

void problem_line(struct reader *r, unsigned line, enum err_kind kind, const char *fmt, ...)
{
    AUTO_BUF text;
    buf_init(&text, ERR_TEXT_MAX);
    buf_addf(&text, "%s:%u: ", r->file, line);
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&text, fmt, ap);
    va_end(ap);
    add_problem(r, kind, &text);
}

void problem_err(struct reader *r, const struct node *n, const struct err *cause)
{
    /* A path that may not be written is, in a file, a wrong value. */
    enum err_kind kind = cause->kind == ERR_REFUSED ? ERR_INVALID : cause->kind;
    if (cause->hint[0])
        problem(r, n, kind, "%s; %s", cause->text, cause->hint);
    else
        problem(r, n, kind, "%s", cause->text);
}

void warning(struct reader *r, const struct node *n, const char *fmt, ...)
{
    if (r->warnings.n >= SPEC_NOTES_MAX)
        return;
    AUTO_BUF text;
    buf_init(&text, NOTE_MAX + AT_MAX);
    va_list ap;
    va_start(ap, fmt);
    add_place(r, &text, n);
    buf_vaddf(&text, fmt, ap);
    va_end(ap);
    const char **grown = list_grow(r->a, r->warnings.v, r->warnings.n, sizeof *grown);
    const char *kept = reader_keep(r, &text);
    if (!grown || !kept)
        return;
    r->warnings.v = grown;
    r->warnings.v[r->warnings.n++] = kept;
}

void add_not_run(struct reader *r, const char *at, const char *what)
{
    if (r->unsupported.n >= SPEC_NOTES_MAX || !at || !what)
        return;
    struct unsupported *grown = list_grow(r->a, r->unsupported.v, r->unsupported.n, sizeof *grown);
    if (!grown)
        return;
    r->unsupported.v = grown;
    r->unsupported.v[r->unsupported.n++] = (struct unsupported){.what = what, .at = at};
}

void not_run_once(struct reader *r, const char *at, const char *what)
{
    for (size_t i = 0; i < r->unsupported.n; i++)
        if (str_eq(r->unsupported.v[i].what, what))
            return;
    add_not_run(r, at, what);
}

void not_run(struct reader *r, const struct node *n, const char *fmt, ...)
{
    AUTO_BUF text;
    buf_init(&text, NOTE_MAX);
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&text, fmt, ap);
    va_end(ap);
    if (r->unsupported.n < SPEC_NOTES_MAX)
        add_not_run(r, node_at(r, n), reader_keep(r, &text));
}

void problem_unknown(struct reader *r, const struct node *n, const char *what, const char *found,
                     const char *const *known)
{
    size_t count = 0;
    while (count < KNOWN_MAX && known[count])
        count++;
    const char *near = near_best(span_of(found), known, count);
    if (near) {
        problem(r, n, ERR_INVALID, "unknown %s '%.*s'; did you mean '%s'?", what, SHOWN(span_of(found)), near);
        return;
    }
    AUTO_BUF all;
    buf_init(&all, NOTE_MAX);
    for (size_t i = 0; i < count; i++)
        buf_addf(&all, "%s%s", i ? ", " : "", known[i]);
    r->out_of_memory |= all.state == BUF_NOMEM;
    problem(r, n, ERR_INVALID, "unknown %s '%.*s'; expected %s%s", what, SHOWN(span_of(found)),
            count > 1 ? "one of " : "", buf_str(&all));
}

static void warnings_to_problems(struct reader *r)
{
    for (size_t i = 0; i < r->warnings.n; i++) {
        AUTO_BUF line;
        buf_init(&line, ERR_TEXT_MAX);
        buf_adds(&line, r->warnings.v[i]);
        add_problem(r, ERR_INVALID, &line);
    }
}

int reader_finish(struct reader *r, bool strict, struct err *err)
{
    if (strict)
        warnings_to_problems(r);
    if (r->out_of_memory || r->problems.text.state == BUF_NOMEM)
        return err_nomem(err);
    if (arena_check(r->a, err) < 0)
        return -1;
    if (r->problems.found == 0)
        return 0;
    unsigned more = r->problems.found - r->problems.shown;
    if (more)
        return err_set(err, r->problems.kind, "%s\n… and %u more", buf_str(&r->problems.text), more);
    return err_set(err, r->problems.kind, "%s", buf_str(&r->problems.text));
}
