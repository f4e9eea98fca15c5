/* Members and queries, typed. */
#include "server/server_priv.h"

#include <inttypes.h>

static const json_t *member(const struct call *c, const char *name)
{
    const json_t *v = json_object_get(c->body, name);
    return v && !json_is_null(v) ? v : NULL;
}

int body_need(const struct call *c, const char *name, struct err *err)
{
    return member(c, name) ? 0 : err_set(err, ERR_INVALID, "%s: missing", name);
}

int body_str(const struct call *c, const char *name, const char **out, struct err *err)
{
    const json_t *v = member(c, name);
    if (!v)
        return 0;
    if (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v))
        return err_set(err, ERR_INVALID, "%s: must be a string", name);
    *out = json_string_value(v);
    return 0;
}

int body_i64(const struct call *c, const char *name, int64_t min, int64_t max, int64_t *out, struct err *err)
{
    const json_t *v = member(c, name);
    if (!v)
        return 0;
    if (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max)
        return err_set(err, ERR_INVALID, "%s: must be a whole number from %" PRId64 " to %" PRId64, name, min, max);
    *out = json_integer_value(v);
    return 0;
}

int body_bool(const struct call *c, const char *name, bool *out, struct err *err)
{
    const json_t *v = member(c, name);
    if (!v)
        return 0;
    if (!json_is_boolean(v))
        return err_set(err, ERR_INVALID, "%s: must be true or false", name);
    *out = json_is_true(v);
    return 0;
}

int body_json(const struct call *c, const char *name, json_type type, const json_t **out, struct err *err)
{
    const json_t *v = member(c, name);
    if (!v)
        return 0;
    if (json_typeof(v) != type)
        return err_set(err, ERR_INVALID, "%s: must be %s", name, type == JSON_OBJECT ? "an object" : "an array");
    *out = v;
    return 0;
}

int body_only(const json_t *object, const char *what, const char *const *names, struct err *err)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)object, name, value)
    {
        size_t i = 0;
        while (names[i] && !str_eq(names[i], name))
            i++;
        if (!names[i])
            return err_set(err, ERR_INVALID, "%s.%.60s: unknown", what, name);
    }
    return 0;
}

int query_u32(const struct call *c, const char *name, uint32_t max, uint32_t *out, struct err *err)
{
    const char *text = httpd_query(c->req, name);
    uint64_t n = 0;
    if (!text)
        return 0;
    if (span_to_u64(span_of(text), &n, err) < 0 || n > max) {
        err_clear(err);
        return err_set(err, ERR_INVALID, "%s: must be a whole number up to %u", name, max);
    }
    *out = (uint32_t)n;
    return 0;
}

int query_page(const struct call *c, struct market_page *out, struct err *err)
{
    out->next_token = httpd_query(c->req, "next_token");
    return query_u32(c, "limit", MARKET_LIST_MAX, &out->limit, err);
}
