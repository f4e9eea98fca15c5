/* table: rows and columns that align, for people. Widths count columns of the terminal, not bytes: wide characters are
 * two, combining ones none. What could drive a terminal (control characters, ECMA-48) is shown as '?': cells hold what
 * others wrote. */
#ifndef BERTH_CLI_TABLE_H
#define BERTH_CLI_TABLE_H

#include "base/buf.h"

#include <stdio.h>

#define TABLE_COLUMNS_MAX 12

struct table;

/* `heads`: NULL-terminated; a leading '>' aligns that column to the right. */
struct table *table_new(const char *const *heads, struct err *err);
void table_free(struct table *t);
/* Make lines fit a terminal: cells are cut, the widest first, but neither those of the first column, which name the
 * thing, nor numbers; where that is not enough, the last columns are left out. 0: don't. */
void table_fit(struct table *t, unsigned width);
/* One cell a head, copied; NULL is shown as "-". */
int table_row(struct table *t, const char *const *cells, struct err *err);
/* Bold heads with `colour`. */
int table_write(const struct table *t, bool colour, struct buf *out, struct err *err);

/* Columns of the terminal; for bars and tables. */
size_t text_width(struct span s);
/* Without control characters: line breaks and tabs become blanks, others '?'. */
void text_printable(struct span s, struct buf *out);
/* The same, but line breaks stay. */
void text_printable_lines(struct span s, struct buf *out);
/* One printable line to a stream; its end is added. */
void text_line(FILE *to, const char *fmt, ...) ATTR_PRINTF(2, 3);
/* Cut to at most `width` columns, with "…" where something was cut. */
void text_fit(struct span s, size_t width, struct buf *out);

#endif
