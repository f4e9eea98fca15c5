/* yaml: YAML 1.1 text to a JSON value, with the line of every node. By libyaml.
 *
 * Scalars follow the YAML 1.2 core schema (null, true/false, integers, floats, else strings; quoted is always a
 * string). A key is a scalar, taken by its text ("8080: web" has the key "8080"). No document at all is null. An alias
 * shares its anchor's value: copy before changing a parsed tree. Limits: depth JSON_DEPTH_MAX and nodes YAML_NODES_MAX,
 * both after alias expansion (which stops alias bombs), YAML_ANCHORS_MAX anchors, YAML_DIRECTIVES_MAX %TAG directives,
 * one document. Duplicate keys, merge keys (<<), tags that do not fit (of a key: all but !!str) and numbers that JSON
 * cannot hold are refused. */
#ifndef BERTH_BASE_YAML_H
#define BERTH_BASE_YAML_H

#include "base/json.h"

#define YAML_NODES_MAX      100000
#define YAML_ANCHORS_MAX    1000
#define YAML_DIRECTIVES_MAX 100

struct yaml_lines; /* value → line */

/* Owned value and (where `lines` is not NULL) its line table. ERR_INVALID "line 3: …". */
json_t *yaml_parse(struct span text, struct yaml_lines **lines, struct err *err);
unsigned yaml_line_of(const struct yaml_lines *lines,
                      const json_t *value); /* 0: unknown; null and booleans always are */
void yaml_lines_free(struct yaml_lines *lines);

/* A JSON value as block-style YAML. */
int yaml_write(const json_t *value, struct buf *out, struct err *err);

#endif
