/* yaml_priv: the scalar rules that reading and writing share (YAML 1.2 core schema). */
#ifndef BERTH_BASE_YAML_PRIV_H
#define BERTH_BASE_YAML_PRIV_H

#include "base/json.h"

/* What an unquoted scalar means: null, a boolean, a number, else a string. Owned; NULL with `err` set where the number
 * does not fit. */
json_t *yaml_resolve_plain(struct span text, unsigned line, struct err *err);
json_t *yaml_new_string(struct span text, struct err *err);

/* Whether a string would be read as something else if it stood unquoted, here or by a YAML 1.1 reader. */
bool yaml_needs_quotes(struct span text);

#endif
