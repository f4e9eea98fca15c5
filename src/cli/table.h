/* table: rows and columns that align, for people. Widths count characters of UTF-8, not bytes. */
#ifndef BERTH_CLI_TABLE_H
#define BERTH_CLI_TABLE_H

#include "base/buf.h"

#define TABLE_COLUMNS_MAX 12

struct table;

/* `heads`: NULL-terminated; a leading '>' aligns that column to the right. */
struct table *table_new(const char *const *heads, struct err *err);
void table_free(struct table *t);
/* One cell a head, copied; NULL is shown as "-". */
int table_row(struct table *t, const char *const *cells, struct err *err);
/* Bold heads with `colour`. */
int table_write(const struct table *t, bool colour, struct buf *out, struct err *err);

/* Characters, not bytes; for bars and tables. */
size_t text_width(struct span s);
/* Cut to at most `width` characters, with "…" where something was cut. */
void text_fit(struct span s, size_t width, struct buf *out);

#endif
