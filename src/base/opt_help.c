#include "base/opt.h"

#define HELP_WIDTH_DEFAULT 80
#define HELP_WIDTH_MIN     40
#define MEANING_MAX        1024
#define HELP_COLUMN_MAX    30 /* where the sentences start at most; longer options get a line of their own */

static const char *meta_of(const struct opt *o)
{
    return o->meta ? o->meta : o->choices ? o->choices : "VALUE";
}

/* Columns on a terminal: characters, as nothing wide stands in option tables. */
static size_t columns(struct span s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return n;
}

static void add_spaces(struct buf *out, size_t n)
{
    while (n-- > 0)
        buf_addc(out, ' ');
}

/* Words of one paragraph from column `at` on, wrapped at `width`, further lines indented to `indent`. */
static void wrap(struct buf *out, struct span text, size_t at, size_t indent, size_t width)
{
    struct span rest = text, word;
    bool more, fresh = true;
    do {
        more = span_cut(rest, ' ', &word, &rest);
        size_t n = columns(word);
        if (word.n == 0)
            continue;
        if (!fresh && at + 1 + n > width) {
            buf_addc(out, '\n');
            add_spaces(out, indent);
            at = indent;
            fresh = true;
        }
        if (!fresh) {
            buf_addc(out, ' ');
            at++;
        }
        buf_add_span(out, word);
        at += n;
        fresh = false;
    } while (more);
    buf_addc(out, '\n');
}

/* "  -n, --name DIR" */
static void add_left(struct buf *out, const struct opt *o)
{
    if (o->letter)
        buf_addf(out, "  -%c, --%s", o->letter, o->name);
    else
        buf_addf(out, "      --%s", o->name);
    if (o->type != OPT_FLAG)
        buf_addf(out, " %s", meta_of(o));
}

static size_t left_columns(const struct opt *o)
{
    return 6 + 2 + strlen(o->name) + (o->type == OPT_FLAG ? 0 : 1 + columns(span_of(meta_of(o))));
}

static size_t help_column(const struct opt *opts)
{
    size_t column = 0;
    for (const struct opt *o = opts; o->name; o++) {
        size_t n = left_columns(o) + 2;
        if (!o->hidden && n > column && n <= HELP_COLUMN_MAX)
            column = n;
    }
    return column ? column : HELP_COLUMN_MAX;
}

/* What the option means; where a name stands for its choices, with these: "When to pull (missing, always or never)". */
static void add_meaning(struct buf *out, const struct opt *o)
{
    buf_adds(out, o->help ? o->help : "");
    if (o->type != OPT_CHOICE || !o->meta)
        return;
    struct span rest = span_of(o->choices), choice;
    const char *before = " (", *last = "";
    while (span_cut(rest, '|', &choice, &rest)) {
        buf_addf(out, "%s%.*s", before, SPAN_FMT(choice));
        before = ", ";
        last = " or ";
    }
    buf_addf(out, "%s%.*s)", *last ? last : before, SPAN_FMT(choice));
}

static void add_option_help(struct buf *out, const struct opt *o, size_t column, size_t width)
{
    AUTO_BUF meaning;
    buf_init(&meaning, MEANING_MAX);
    add_meaning(&meaning, o);
    size_t left = left_columns(o);
    add_left(out, o);
    if (left + 2 > column) {
        buf_addc(out, '\n');
        left = 0;
    }
    add_spaces(out, column - left);
    wrap(out, buf_span(&meaning), column, column, width);
}

static bool any_shown(const struct opt *opts)
{
    for (const struct opt *o = opts; o->name; o++)
        if (!o->hidden)
            return true;
    return false;
}

/* Each line of `text` is a paragraph; an empty one stays empty. */
static void add_paragraphs(struct buf *out, const char *text, size_t width)
{
    struct span rest = span_of(text), line;
    bool more;
    do {
        more = span_cut(rest, '\n', &line, &rest);
        if (more || line.n > 0)
            wrap(out, line, 0, 0, width);
    } while (more);
}

static void add_lines(struct buf *out, const char *text, const char *before)
{
    struct span rest = span_of(text), line;
    bool more;
    do {
        more = span_cut(rest, '\n', &line, &rest);
        if (more || line.n > 0)
            buf_addf(out, "%s%.*s\n", before, SPAN_FMT(line));
    } while (more);
}

void opt_help(const struct opt_command *cmd, const struct opt *opts, unsigned width, struct buf *out)
{
    size_t columns_max = width == 0 ? HELP_WIDTH_DEFAULT : width < HELP_WIDTH_MIN ? HELP_WIDTH_MIN : width;
    buf_addf(out, "Usage: berth %s%s", cmd->name, any_shown(opts) ? " [OPTIONS]" : "");
    if (!str_empty(cmd->args))
        buf_addf(out, " %s", cmd->args);
    buf_adds(out, "\n\n");
    add_paragraphs(out, str_empty(cmd->about) ? cmd->summary : cmd->about, columns_max);
    if (any_shown(opts))
        buf_adds(out, "\nOptions:\n");
    size_t column = help_column(opts);
    for (const struct opt *o = opts; o->name; o++)
        if (!o->hidden)
            add_option_help(out, o, column, columns_max);
    if (!str_empty(cmd->examples)) {
        buf_adds(out, "\nExamples:\n");
        add_lines(out, cmd->examples, "  ");
    }
}

/* scdoc marks bold with '*' and underline with '_', and comments, headings and lists at the start of a line. */
static void add_scdoc(struct buf *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        bool line_start = p == text || p[-1] == '\n';
        if (strchr("*_\\", *p) || (line_start && strchr("#;-|[]`", *p)))
            buf_addc(out, '\\');
        buf_addc(out, *p);
    }
}

static void add_option_man(struct buf *out, const struct opt *o)
{
    buf_addc(out, '\n');
    if (o->letter)
        buf_addf(out, "*-%c*, ", o->letter);
    buf_adds(out, "*--");
    add_scdoc(out, o->name);
    buf_addc(out, '*');
    if (o->type != OPT_FLAG) {
        buf_adds(out, " _");
        add_scdoc(out, meta_of(o));
        buf_addc(out, '_');
    }
    AUTO_BUF meaning;
    buf_init(&meaning, MEANING_MAX);
    add_meaning(&meaning, o);
    buf_adds(out, "\n\t");
    add_scdoc(out, buf_str(&meaning));
    buf_addc(out, '\n');
}

void opt_man(const struct opt_command *cmd, const struct opt *opts, struct buf *out)
{
    buf_adds(out, "## berth ");
    add_scdoc(out, cmd->name);
    buf_adds(out, "\n\n*berth ");
    add_scdoc(out, cmd->name);
    buf_adds(out, any_shown(opts) ? "* [_OPTIONS_]" : "*");
    if (!str_empty(cmd->args)) {
        buf_addc(out, ' ');
        add_scdoc(out, cmd->args);
    }
    buf_adds(out, "\n\n");
    add_scdoc(out, str_empty(cmd->about) ? cmd->summary : cmd->about);
    buf_addc(out, '\n');
    for (const struct opt *o = opts; o->name; o++)
        if (!o->hidden)
            add_option_man(out, o);
    if (!str_empty(cmd->examples)) {
        buf_adds(out, "\n```\n");
        add_lines(out, cmd->examples, "");
        buf_adds(out, "```\n");
    }
    buf_addc(out, '\n');
}
