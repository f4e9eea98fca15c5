#include "cli/table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <wchar.h>

#define CELL_MAX      65536
#define CUT_LEAST     12 /* columns of the terminal that a cell keeps where it is cut */
#define COLUMN_GAP    2
#define COLUMNS_LEAST 2 /* shown however narrow it is */
#define NO_CHARACTER  0xfffd

struct table {
    size_t columns;
    unsigned fit;
    const char *heads[TABLE_COLUMNS_MAX];
    bool right[TABLE_COLUMNS_MAX];
    struct strv cells; /* row after row */
};

/* The character at the front, its bytes taken off; a byte that begins none stands for itself. */
static wchar_t next_character(struct span *s)
{
    static const unsigned char first_bits[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    size_t step = span_utf8_step(*s);
    unsigned c = step ? (unsigned char)s->p[0] & first_bits[step] : NO_CHARACTER;
    for (size_t i = 1; i < step; i++)
        c = c << 6 | ((unsigned char)s->p[i] & 0x3f);
    step = step ? step : 1;
    s->p += step;
    s->n -= step;
    return (wchar_t)c;
}

static size_t columns_of(wchar_t c)
{
    int n = wcwidth(c);
    return n < 0 ? 1 : (size_t)n;
}

size_t text_width(struct span s)
{
    size_t n = 0;
    while (s.n > 0)
        n += columns_of(next_character(&s));
    return n;
}

void text_fit(struct span s, size_t width, struct buf *out)
{
    if (text_width(s) <= width) {
        buf_add_span(out, s);
        return;
    }
    struct span rest = s;
    size_t kept = 0, n = 0;
    while (rest.n > 0 && (n += columns_of(next_character(&rest))) < width)
        kept = s.n - rest.n;
    buf_add(out, s.p, kept);
    buf_adds(out, "…");
}

void text_printable(struct span s, struct buf *out)
{
    while (s.n > 0) {
        const char *from = s.p;
        wchar_t c = next_character(&s);
        if (c == L'\n' || c == L'\t')
            buf_addc(out, ' ');
        else if (c < 0x20 || (c >= 0x7f && c < 0xa0) || c == NO_CHARACTER)
            buf_addc(out, '?');
        else
            buf_add(out, from, (size_t)(s.p - from));
    }
}

void text_printable_lines(struct span s, struct buf *out)
{
    struct span line;
    while (span_cut(s, '\n', &line, &s)) {
        text_printable(line, out);
        buf_addc(out, '\n');
    }
    text_printable(line, out);
}

void text_line(FILE *to, const char *fmt, ...)
{
    AUTO_BUF text, clean;
    buf_init(&text, CELL_MAX);
    buf_init(&clean, CELL_MAX);
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&text, fmt, ap);
    va_end(ap);
    text_printable(buf_span(&text), &clean);
    fprintf(to, "%s\n", buf_str(&clean));
}

struct table *table_new(const char *const *heads, struct err *err)
{
    struct table *t = calloc(1, sizeof *t);
    if (!t) {
        err_nomem(err);
        return NULL;
    }
    for (; heads[t->columns] && t->columns < TABLE_COLUMNS_MAX; t->columns++) {
        t->right[t->columns] = heads[t->columns][0] == '>';
        t->heads[t->columns] = heads[t->columns] + t->right[t->columns];
    }
    return t;
}

void table_free(struct table *t)
{
    if (!t)
        return;
    strv_release(&t->cells);
    free(t);
}

void table_fit(struct table *t, unsigned width)
{
    t->fit = width;
}

int table_row(struct table *t, const char *const *cells, struct err *err)
{
    for (size_t c = 0; c < t->columns; c++) {
        AUTO_BUF clean;
        buf_init(&clean, CELL_MAX);
        text_printable(span_of(cells[c] ? cells[c] : "-"), &clean);
        if (buf_check(&clean, "table cell", err) < 0 || strv_add(&t->cells, buf_str(&clean), err) < 0)
            return -1;
    }
    return 0;
}

static void pad(struct buf *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_addc(out, ' ');
}

static void write_line(const struct table *t, size_t shown, const size_t *widths, const char *const *cells,
                       struct buf *out)
{
    for (size_t c = 0; c < shown; c++) {
        size_t width = text_width(span_of(cells[c])), room = width < widths[c] ? widths[c] - width : 0;
        if (t->right[c])
            pad(out, room);
        text_fit(span_of(cells[c]), widths[c], out);
        if (c + 1 < shown)
            pad(out, (t->right[c] ? 0 : room) + COLUMN_GAP);
    }
    buf_addc(out, '\n');
}

/* The widest column that may be cut, the last of several; 0: none. */
static size_t widest(const struct table *t, const size_t *widths)
{
    size_t at = 0;
    for (size_t c = 1; c < t->columns; c++) {
        size_t least = text_width(span_of(t->heads[c]));
        if (!t->right[c] && widths[c] > (least > CUT_LEAST ? least : CUT_LEAST) && (!at || widths[c] >= widths[at]))
            at = c;
    }
    return at;
}

/* How many columns there is room for. */
static size_t make_fit(const struct table *t, size_t *widths)
{
    size_t shown = t->columns, all = 0, at;
    for (size_t c = 0; c < shown; c++)
        all += widths[c] + (c ? COLUMN_GAP : 0);
    for (; t->fit && all > t->fit && (at = widest(t, widths)) > 0; all--)
        widths[at]--;
    for (; t->fit && all > t->fit && shown > COLUMNS_LEAST; shown--)
        all -= widths[shown - 1] + COLUMN_GAP;
    return shown;
}

int table_write(const struct table *t, bool colour, struct buf *out, struct err *err)
{
    size_t widths[TABLE_COLUMNS_MAX] = {0};
    for (size_t c = 0; c < t->columns; c++)
        widths[c] = text_width(span_of(t->heads[c]));
    for (size_t i = 0; t->columns > 0 && i < t->cells.n; i++) {
        size_t w = text_width(span_of(t->cells.v[i]));
        if (w > widths[i % t->columns])
            widths[i % t->columns] = w;
    }
    size_t shown = make_fit(t, widths);
    if (colour)
        buf_adds(out, "\033[1m");
    write_line(t, shown, widths, t->heads, out);
    if (colour)
        buf_adds(out, "\033[0m");
    for (size_t i = 0; i + t->columns <= t->cells.n; i += t->columns)
        write_line(t, shown, widths, (const char *const *)&t->cells.v[i], out);
    return buf_check(out, "table", err);
}
