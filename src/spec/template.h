/* template: {{.name}} placeholders, replaced in the text before it is parsed. Pure.
 *
 * The forms of Go templates that job files use: {{.name}}, {{index . "name"}}, {{or (index . "name") "default"}} (also
 * {{or .name "default"}}; an empty value counts as not given, as it does there) and {{"text"}} for text that holds
 * braces itself. Strings are in double quotes, in `back quotes`, or, inside JSON strings, in \"escaped\" quotes.
 * Everything else between {{ and }} is an error. */
#ifndef BERTH_SPEC_TEMPLATE_H
#define BERTH_SPEC_TEMPLATE_H

#include "spec/read.h"

/* Missing values and bad expressions become problems of the reader. -1 only for ERR_LIMIT and ERR_NOMEM. */
int template_expand(struct reader *r, struct span text, struct buf *out, struct err *err);

/* A copy of a document of the same values whose text, expanded, gives them back: two braces in any string or key are
 * quoted. Owned. */
json_t *template_quoted(const json_t *document, struct err *err);

#endif
