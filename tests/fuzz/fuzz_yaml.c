/* What parses as YAML is written as YAML that parses to an equal value; so does what parses as JSON. */
#include "base/json.h"
#include "base/yaml.h"

#include <stdlib.h>

#define TEXT_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void expect_same(const json_t *value)
{
    struct err err = ERR_INIT;
    AUTO_BUF yaml;
    AUTO_BUF json;
    buf_init(&yaml, TEXT_MAX);
    buf_init(&json, TEXT_MAX);
    if (yaml_write(value, &yaml, &err) < 0 || json_write(value, false, &json, &err) < 0)
        return; /* longer than the buffer */
    AUTO_JSON again = yaml_parse(buf_span(&yaml), NULL, &err);
    if (!again || !json_equal(again, value))
        abort();
    AUTO_JSON third = json_is_object(value) || json_is_array(value) ? json_parse(buf_span(&json), &err) : NULL;
    if (third && !json_equal(third, value))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    const struct span text = {(const char *)p, n};
    struct err err = ERR_INIT;
    struct yaml_lines *lines = NULL;
    AUTO_JSON yaml = yaml_parse(text, &lines, &err);
    if (!yaml && (!err_is_set(&err) || err.text[0] == '\0'))
        abort();
    if (yaml)
        expect_same(yaml);
    yaml_lines_free(lines);
    err_clear(&err);
    AUTO_JSON json = json_parse(text, &err);
    if (!json && err.text[0] == '\0')
        abort();
    if (json)
        expect_same(json);
    return 0;
}
