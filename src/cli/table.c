#include "cli/table.h"

#include <stdlib.h>

struct table {
    size_t columns;
    const char *heads[TABLE_COLUMNS_MAX];
    bool right[TABLE_COLUMNS_MAX];
    struct strv cells; /* row after row */
};

static bool starts_character(char c)
{
    return ((unsigned char)c & 0xc0) != 0x80;
}

size_t text_width(struct span s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += starts_character(s.p[i]);
    return n;
}

void text_fit(struct span s, size_t width, struct buf *out)
{
    if (text_width(s) <= width) {
        buf_add_span(out, s);
        return;
    }
    size_t i = 0, n = 0;
    for (; i < s.n; i++) {
        if (starts_character(s.p[i]) && ++n >= width)
            break;
    }
    buf_add(out, s.p, i);
    buf_adds(out, "…");
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

int table_row(struct table *t, const char *const *cells, struct err *err)
{
    for (size_t c = 0; c < t->columns; c++)
        if (strv_add(&t->cells, cells[c] ? cells[c] : "-", err) < 0)
            return -1;
    return 0;
}

static void pad(struct buf *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_addc(out, ' ');
}

static void write_line(const struct table *t, const size_t *widths, const char *const *cells, struct buf *out)
{
    for (size_t c = 0; c < t->columns; c++) {
        size_t room = widths[c] - text_width(span_of(cells[c]));
        if (t->right[c])
            pad(out, room);
        buf_adds(out, cells[c]);
        if (c + 1 < t->columns)
            pad(out, (t->right[c] ? 0 : room) + 2);
    }
    buf_addc(out, '\n');
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
    if (colour)
        buf_adds(out, "\033[1m");
    write_line(t, widths, t->heads, out);
    if (colour)
        buf_adds(out, "\033[0m");
    for (size_t i = 0; i + t->columns <= t->cells.n; i += t->columns)
        write_line(t, widths, (const char *const *)&t->cells.v[i], out);
    return buf_check(out, "table", err);
}
