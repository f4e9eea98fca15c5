/* Values of a document by type. */
#include "spec/read.h"

#include "base/near.h"

#include <inttypes.h>

static const char *kind_of(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "true or false";
    case JSON_NULL:
        break;
    }
    return "null";
}

static void wrong_type(struct reader *r, const struct node *n, const char *expected)
{
    bool unquoted = r->lines && strcmp(expected, "a string") == 0 && (json_is_number(n->v) || json_is_boolean(n->v));
    problem(r, n, ERR_INVALID, "expected %s, found %s%s", expected, kind_of(n->v),
            unquoted ? "; put the value in quotes" : "");
}

static bool absent(const struct reader *r, const struct node *n)
{
    return !n->v || (r->lenient && json_is_null(n->v));
}

static json_t *find_any_case(json_t *object, const char *key, const char **found)
{
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        if (span_eq_nocase(span_of(name), span_of(key))) {
            *found = name;
            return value;
        }
    }
    return NULL;
}

struct node node_get(const struct reader *r, const struct node *object, const char *key)
{
    struct node n = {.up = object, .key = key};
    if (!json_is_object(object->v))
        return n;
    n.v = r->any_case ? find_any_case(object->v, key, &n.key) : json_object_get(object->v, key);
    return n;
}

struct node node_item(const struct node *list, size_t index)
{
    return (struct node){.v = json_array_get(list->v, index), .up = list, .index = index};
}

bool expect_object(struct reader *r, const struct node *n)
{
    if (json_is_object(n->v))
        return true;
    if (n->v)
        wrong_type(r, n, "an object");
    return false;
}

void refuse_member(struct reader *r, const struct node *object, const char *key, const char *what)
{
    struct node n = node_get(r, object, key);
    if (!absent(r, &n))
        problem(r, &n, ERR_UNSUPPORTED, "not supported: %s", what);
}

struct node read_object(struct reader *r, const struct node *object, const char *key)
{
    struct node n = node_get(r, object, key);
    if (absent(r, &n) || !expect_object(r, &n))
        n.v = NULL;
    return n;
}

struct node need_object(struct reader *r, const struct node *object, const char *key)
{
    struct node n = node_get(r, object, key);
    if (absent(r, &n))
        problem(r, &n, ERR_INVALID, "required, but missing");
    return read_object(r, object, key);
}

struct node read_list(struct reader *r, const struct node *object, const char *key)
{
    struct node n = node_get(r, object, key);
    if (absent(r, &n)) {
        n.v = NULL;
    } else if (!json_is_array(n.v)) {
        wrong_type(r, &n, "a list");
        n.v = NULL;
    }
    return n;
}

const char *node_str(struct reader *r, const struct node *n)
{
    if (absent(r, n))
        return NULL;
    if (!json_is_string(n->v)) {
        wrong_type(r, n, "a string");
        return NULL;
    }
    const char *s = json_string_value(n->v);
    if (strlen(s) != json_string_length(n->v)) {
        problem(r, n, ERR_INVALID, "a string with a NUL character in it");
        return NULL;
    }
    return arena_dup(r->a, s);
}

const char *read_str(struct reader *r, const struct node *object, const char *key)
{
    struct node n = node_get(r, object, key);
    return node_str(r, &n);
}

const char *read_given(struct reader *r, const struct node *object, const char *key)
{
    const char *s = read_str(r, object, key);
    return str_empty(s) ? NULL : s;
}

const char *need_str(struct reader *r, const struct node *object, const char *key)
{
    struct node n = node_get(r, object, key);
    const char *s = node_str(r, &n);
    if (absent(r, &n))
        problem(r, &n, ERR_INVALID, "required, but missing");
    else if (s && !*s)
        problem(r, &n, ERR_INVALID, "required, but empty");
    return str_empty(s) ? NULL : s;
}

bool read_bool(struct reader *r, const struct node *object, const char *key, bool fallback)
{
    struct node n = node_get(r, object, key);
    if (absent(r, &n))
        return fallback;
    if (json_is_boolean(n.v))
        return json_is_true(n.v);
    wrong_type(r, &n, "true or false");
    return fallback;
}

int64_t read_i64(struct reader *r, const struct node *object, const char *key, int64_t min, int64_t max,
                 int64_t fallback)
{
    struct node n = node_get(r, object, key);
    if (absent(r, &n))
        return fallback;
    if (!json_is_integer(n.v)) {
        wrong_type(r, &n, "a whole number");
        return fallback;
    }
    int64_t value = json_integer_value(n.v);
    if (value >= min && value <= max)
        return value;
    problem(r, &n, ERR_INVALID, "expected %" PRId64 " to %" PRId64 ", found %" PRId64, min, max, value);
    return fallback;
}

uint64_t read_u64(struct reader *r, const struct node *object, const char *key, uint64_t min, uint64_t max,
                  uint64_t fallback)
{
    const uint64_t most = INT64_MAX;
    int64_t absent_mark = -1;
    int64_t value =
        read_i64(r, object, key, (int64_t)(min < most ? min : most), (int64_t)(max < most ? max : most), absent_mark);
    return value < 0 ? fallback : (uint64_t)value;
}

void strs_add(struct arena *a, struct job_strs *strs, const char *s)
{
    /* The NULL that follows counts as an entry here. */
    const char **grown = strs->n ? list_grow(a, strs->v, strs->n + 1, sizeof *grown) : arena_array(a, 2, sizeof *grown);
    if (!grown || !s)
        return;
    strs->v = grown;
    strs->v[strs->n++] = s;
    strs->v[strs->n] = NULL;
}

struct job_strs node_strs(struct reader *r, const struct node *list)
{
    struct job_strs strs = {0};
    size_t n = json_array_size(list->v);
    if (n == 0)
        return strs;
    const char **v = arena_array(r->a, n + 1, sizeof *v);
    for (size_t i = 0; v && i < n; i++) {
        struct node item = node_item(list, i);
        const char *s = absent(r, &item) ? "" : node_str(r, &item); /* a bare "-" in YAML is an empty string */
        if (s)
            v[strs.n++] = s;
    }
    strs.v = v;
    return strs;
}

struct job_strs read_strs(struct reader *r, const struct node *object, const char *key)
{
    struct node list = read_list(r, object, key);
    return node_strs(r, &list);
}

void kvs_add(struct arena *a, struct job_kvs *kvs, const char *name, const char *value, bool secret)
{
    struct job_kv *grown = list_grow(a, kvs->v, kvs->n, sizeof *grown);
    if (!grown || !name || !value)
        return;
    kvs->v = grown;
    kvs->v[kvs->n++] = (struct job_kv){.name = name, .value = value, .secret = secret};
}

struct job_kvs read_kvs(struct reader *r, const struct node *object, const char *key)
{
    struct job_kvs kvs = {0};
    struct node map = read_object(r, object, key);
    const char *name;
    json_t *value;
    json_object_foreach(map.v, name, value)
    {
        struct node n = {.v = value, .up = &map, .key = name};
        const char *s = absent(r, &n) ? "" : node_str(r, &n);
        if (s)
            kvs_add(r->a, &kvs, arena_dup(r->a, name), s, false);
    }
    return kvs;
}

static bool is_known(const struct reader *r, const char *key, const char *const *known)
{
    for (; *known; known++)
        if (r->any_case ? span_eq_nocase(span_of(key), span_of(*known)) : str_eq(key, *known))
            return true;
    return false;
}

/* With keys of any case, "Name" and "name" are one key given twice. */
static void check_repeated(struct reader *r, const struct node *n)
{
    const char *first = NULL;
    if (r->problems.found > SPEC_PROBLEMS_MAX) /* enough are told, and each costs a pass over the object */
        return;
    find_any_case(n->up->v, n->key, &first);
    if (first && strcmp(first, n->key) != 0)
        problem(r, n, ERR_INVALID, "given twice, also as '%.*s'", SHOWN(span_of(first)));
}

static void unknown_key(struct reader *r, const struct node *n, const char *const *known)
{
    size_t count = 0;
    while (known[count])
        count++;
    if (r->lenient ? r->warnings.n >= SPEC_NOTES_MAX : r->problems.found > SPEC_PROBLEMS_MAX)
        return;
    const char *near = near_best(span_of(n->key), known, count);
    const char *before = near ? "; did you mean '" : "", *after = near ? "'?" : "";
    if (r->lenient)
        warning(r, n, "unknown field, it has no effect%s%s%s", before, near ? near : "", after);
    else
        problem(r, n, ERR_INVALID, "unknown key%s%s%s", before, near ? near : "", after);
}

bool check_key(struct reader *r, const struct node *member, const char *const *known)
{
    if (!is_known(r, member->key, known))
        return false;
    if (r->any_case)
        check_repeated(r, member);
    return true;
}

void check_keys(struct reader *r, const struct node *object, const char *const *known)
{
    const char *key;
    json_t *value;
    json_object_foreach(object->v, key, value)
    {
        struct node n = {.v = value, .up = object, .key = key};
        if (!check_key(r, &n, known))
            unknown_key(r, &n, known);
    }
}
