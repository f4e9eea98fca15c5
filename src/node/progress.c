#include "node/progress.h"

#include "base/str.h"

#include <stdio.h>

#define REST_BYTES_MAX 384 /* of the entry for the rest: seven counts of 20 digits and their names */

static size_t text_bytes(const json_t *value)
{
    return json_dumpb(value, NULL, 0, JSON_COMPACT) + 1; /* and a comma */
}

/* How many of them fit, with room for the rest where there is one. */
static size_t count_fitting(const json_t *inputs, size_t max)
{
    size_t n = json_array_size(inputs), used = strlen("[]"), with_rest = 0;
    for (size_t i = 0; i < n; i++) {
        used += text_bytes(json_array_get(inputs, i));
        if (used > max)
            return with_rest;
        if (used + REST_BYTES_MAX <= max)
            with_rest = i + 1;
    }
    return n;
}

static int add_counts(json_t *rest, json_t *one, struct err *err)
{
    const char *name;
    json_t *value;
    json_object_foreach(one, name, value)
    {
        int64_t sum = 0, more = 0;
        if (!json_is_integer(value) || !json_get_i64(one, name, &more))
            continue;
        json_get_i64(rest, name, &sum);
        if (__builtin_add_overflow(sum, more, &sum))
            sum = INT64_MAX;
        if (json_put(rest, name, json_integer(sum), err) < 0)
            return -1;
    }
    return 0;
}

static json_t *fold(const json_t *inputs, size_t from, struct err *err)
{
    size_t n = json_array_size(inputs);
    char label[32];
    const char *phase = "ready";
    json_t *rest = json_object();
    snprintf(label, sizeof label, "%zu more", n - from);
    json_put_str(rest, "input", label, err);
    for (size_t i = from; i < n && !err_is_set(err); i++) {
        json_t *one = json_array_get(inputs, i);
        const char *its = json_get_str(one, "phase");
        if (its && str_eq(phase, "ready"))
            phase = its;
        add_counts(rest, one, err);
    }
    if (json_put_str(rest, "phase", phase, err) == 0)
        return rest;
    json_decref(rest);
    return NULL;
}

int progress_fit(json_t *inputs, size_t max, struct err *err)
{
    size_t n = json_array_size(inputs), fitting = count_fitting(inputs, max);
    if (fitting == n)
        return 0;
    json_t *rest = fold(inputs, fitting, err);
    if (!rest)
        return -1;
    while (json_array_size(inputs) > fitting)
        json_array_remove(inputs, json_array_size(inputs) - 1);
    return json_array_append_new(inputs, rest) < 0 ? err_nomem(err) : 0;
}
