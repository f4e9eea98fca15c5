#include "base/yaml_priv.h"

#include "base/yaml.h"

#include <yaml.h>

static void auto_emitter(yaml_emitter_t *e)
{
    yaml_emitter_delete(e);
}

static int write_to_buf(void *ctx, unsigned char *p, size_t n)
{
    struct buf *out = ctx;
    buf_add(out, p, n);
    return out->state == BUF_OK;
}

/* `made` is the result of initialising the event; the emitter takes the event over in any case. */
static int emit(yaml_emitter_t *e, int made, yaml_event_t *event, struct err *err)
{
    if (!made)
        return err_nomem(err);
    if (yaml_emitter_emit(e, event))
        return 0;
    if (e->error == YAML_MEMORY_ERROR)
        return err_nomem(err);
    return err_set(err, ERR_INVALID, "the value cannot be written as YAML: %s", e->problem ? e->problem : "unknown");
}

/* Text of several lines reads best as a block; the emitter itself steps back to quotes where a block cannot hold it. */
static yaml_scalar_style_t style_for(struct span text)
{
    if (memchr(text.p, '\n', text.n))
        return text.p[0] == '\n' || text.p[0] == ' ' ? YAML_DOUBLE_QUOTED_SCALAR_STYLE : YAML_LITERAL_SCALAR_STYLE;
    return yaml_needs_quotes(text) ? YAML_DOUBLE_QUOTED_SCALAR_STYLE : YAML_PLAIN_SCALAR_STYLE;
}

static int emit_scalar(yaml_emitter_t *e, struct span text, yaml_scalar_style_t style, struct err *err)
{
    yaml_event_t event;
    if (text.n > INT32_MAX)
        return err_set(err, ERR_LIMIT, "a text of %zu bytes is too long for YAML", text.n);
    int made = yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text.p, (int)text.n, 1, 1, style);
    return emit(e, made, &event, err);
}

static int emit_string(yaml_emitter_t *e, struct span text, struct err *err)
{
    return emit_scalar(e, text, style_for(text), err);
}

static int emit_value(yaml_emitter_t *e, const json_t *value, unsigned depth, struct err *err);

static int emit_object(yaml_emitter_t *e, const json_t *obj, unsigned depth, struct err *err)
{
    yaml_event_t event;
    const char *key;
    json_t *member;
    int made = yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE);
    if (emit(e, made, &event, err) < 0)
        return -1;
    json_object_foreach((json_t *)obj, key, member) if (emit_string(e, span_of(key), err) < 0 ||
                                                        emit_value(e, member, depth + 1, err) < 0) return -1;
    return emit(e, yaml_mapping_end_event_initialize(&event), &event, err);
}

static int emit_array(yaml_emitter_t *e, const json_t *array, unsigned depth, struct err *err)
{
    yaml_event_t event;
    json_t *item;
    size_t i;
    int made = yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_SEQUENCE_STYLE);
    if (emit(e, made, &event, err) < 0)
        return -1;
    json_array_foreach(array, i, item) if (emit_value(e, item, depth + 1, err) < 0) return -1;
    return emit(e, yaml_sequence_end_event_initialize(&event), &event, err);
}

static int emit_value(yaml_emitter_t *e, const json_t *value, unsigned depth, struct err *err)
{
    if (depth > JSON_DEPTH_MAX)
        return err_set(err, ERR_INVALID, "the value is nested deeper than %d levels", JSON_DEPTH_MAX);
    if (json_is_object(value))
        return emit_object(e, value, depth, err);
    if (json_is_array(value))
        return emit_array(e, value, depth, err);
    if (json_is_string(value))
        return emit_string(e, (struct span){json_string_value(value), json_string_length(value)}, err);
    AUTO_BUF text; /* null, booleans and numbers look the same in both languages */
    buf_init(&text, 64);
    int rc = json_write(value, false, &text, err);
    if (rc == 0)
        rc = emit_scalar(e, buf_span(&text), YAML_PLAIN_SCALAR_STYLE, err);
    return rc;
}

static int emit_document(yaml_emitter_t *e, const json_t *value, struct err *err)
{
    yaml_event_t event;
    if (emit(e, yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING), &event, err) < 0 ||
        emit(e, yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1), &event, err) < 0 ||
        emit_value(e, value, 0, err) < 0 || emit(e, yaml_document_end_event_initialize(&event, 1), &event, err) < 0)
        return -1;
    return emit(e, yaml_stream_end_event_initialize(&event), &event, err);
}

int yaml_write(const json_t *value, struct buf *out, struct err *err)
{
    AUTO(auto_emitter) yaml_emitter_t e;
    if (!yaml_emitter_initialize(&e))
        return err_nomem(err);
    yaml_emitter_set_output(&e, write_to_buf, out);
    yaml_emitter_set_unicode(&e, 1);
    yaml_emitter_set_width(&e, -1);
    struct err why = ERR_INIT;
    int rc = emit_document(&e, value, &why);
    if (buf_check(out, "the YAML text", err) < 0)
        return -1;
    return rc < 0 ? err_move(err, &why) : 0;
}
