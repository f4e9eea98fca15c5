/* Members that both dialects have, read by the rules of value.h. */
#include "spec/dialect.h"

#include "base/path.h"
#include "spec/value.h"

/* Nosana's %%ops.x.host%% and %%global.x%% are filled in when the job runs; until then the text around them may break a
 * rule. */
static bool find_operator(const char *s, struct span *found)
{
    const char *ops = strstr(s, "%%ops."), *start = ops ? ops : strstr(s, "%%global.");
    const char *end = start ? strstr(start + 2, "%%") : NULL;
    if (end)
        *found = (struct span){start, (size_t)(end + 2 - start)};
    return end != NULL;
}

/* Whether a value that breaks a rule may yet become right. It is named as not run, so that nobody runs it as it is. */
static bool is_spared(struct reader *r, const struct node *n, const char *s)
{
    struct span found;
    if (!r->operators || !find_operator(s, &found))
        return false;
    not_run_once(r, node_at(r, n), arena_printf(r->a, "operator '%.*s'", SHOWN(found)));
    return true;
}

void operators_note(struct reader *r, const struct node *n)
{
    const char *key;
    json_t *value;
    struct span found;
    if (json_is_string(n->v) && find_operator(json_string_value(n->v), &found))
        not_run_once(r, node_at(r, n), arena_printf(r->a, "operator '%.*s'", SHOWN(found)));
    json_object_foreach(n->v, key, value)
    {
        struct node member = {.v = value, .up = n, .key = key};
        operators_note(r, &member);
    }
    for (size_t i = 0; i < json_array_size(n->v); i++) {
        struct node item = node_item(n, i);
        operators_note(r, &item);
    }
}

typedef int check_fn(struct span s, struct err *err);

static const char *checked(struct reader *r, const struct node *n, const char *s, check_fn *check)
{
    struct err err = ERR_INIT;
    if (!s || check(span_of(s), &err) == 0 || is_spared(r, n, s))
        return s;
    problem_err(r, n, &err);
    return NULL;
}

static const char *read_checked(struct reader *r, const struct node *object, const char *key, bool required,
                                check_fn *check)
{
    struct node n = node_get(r, object, key);
    const char *s = required ? need_str(r, object, key) : read_given(r, object, key);
    return checked(r, &n, s, check);
}

const char *read_target(struct reader *r, const struct node *object, const char *key)
{
    struct node n = node_get(r, object, key);
    const char *s = need_str(r, object, key), *out = NULL;
    struct err err = ERR_INIT;
    if (!s || value_target(r->a, span_of(s), &out, &err) == 0)
        return out;
    if (is_spared(r, &n, s))
        return s;
    problem_err(r, &n, &err);
    return NULL;
}

const char *read_url(struct reader *r, const struct node *object, const char *key, bool required)
{
    return read_checked(r, object, key, required, value_url);
}

const char *read_bucket(struct reader *r, const struct node *object, const char *key, bool required)
{
    return read_checked(r, object, key, required, value_bucket);
}

const char *read_image(struct reader *r, const struct node *object, const char *key, bool required)
{
    return read_checked(r, object, key, required, value_image);
}

const char *read_hf_repo(struct reader *r, const struct node *object, const char *key)
{
    return read_checked(r, object, key, true, value_hf_repo);
}

const char *read_hf_revision(struct reader *r, const struct node *object, const char *key)
{
    return read_checked(r, object, key, false, value_hf_revision);
}

bool read_hf_layout(struct reader *r, const struct node *object, const char *key)
{
    struct node n = node_get(r, object, key);
    const char *s = read_given(r, object, key);
    struct err err = ERR_INIT;
    bool hub = false;
    if (s && value_hf_layout(span_of(s), &hub, &err) < 0)
        problem_err(r, &n, &err);
    return hub;
}

const char *read_ollama_model(struct reader *r, const struct node *object, const char *key)
{
    return read_checked(r, object, key, true, value_ollama_model);
}

const char *read_regex(struct reader *r, const struct node *object, const char *key)
{
    struct node n = node_get(r, object, key);
    const char *s = read_given(r, object, key);
    struct err err = ERR_INIT;
    if (s && value_regex(s, &err) < 0)
        problem_err(r, &n, &err);
    return s;
}

struct job_strs read_images(struct reader *r, const struct node *object, const char *key)
{
    struct node list = read_list(r, object, key);
    struct job_strs images = node_strs(r, &list);
    for (size_t i = 0; i < images.n; i++) {
        struct node item = node_item(&list, i);
        checked(r, &item, images.v[i], value_image);
    }
    return images;
}

struct job_strs read_files(struct reader *r, const struct node *object, const char *key)
{
    struct node list = read_list(r, object, key);
    struct job_strs files = node_strs(r, &list);
    if (list.v && json_array_size(list.v) == 0)
        warning(r, &list, "an empty list has no effect: every file is taken");
    for (size_t i = 0; i < files.n; i++) {
        struct node item = node_item(&list, i);
        checked(r, &item, files.v[i], path_check_relative);
    }
    return files;
}

struct input *inputs_add(struct reader *r, const struct node *n, struct inputs *list)
{
    if (list->n >= JOB_INPUTS_MAX) {
        problem(r, n, ERR_LIMIT, "more than %d inputs", JOB_INPUTS_MAX);
        return NULL;
    }
    struct input *grown = list_grow(r->a, list->v, list->n, sizeof *grown);
    if (!grown)
        return NULL;
    list->v = grown;
    list->v[list->n] = (struct input){.at = node_at(r, n)};
    return &list->v[list->n++];
}

void env_set(struct reader *r, const struct node *n, struct job_kvs *env, const char *name, const char *value,
             bool secret)
{
    struct err err = ERR_INIT;
    if (!name || !value || r->variables > JOB_ENV_ALL_MAX)
        return; /* the arena has refused, or it is told that they are too many */
    if (value_env_name(span_of(name), &err) < 0) {
        problem_err(r, n, &err);
        return;
    }
    secret = secret || value_name_is_secret(name);
    for (size_t i = 0; i < env->n; i++) {
        if (str_eq(env->v[i].name, name)) {
            env->v[i] = (struct job_kv){.name = name, .value = value, .secret = secret};
            return;
        }
    }
    if (env->n >= JOB_ENV_MAX)
        problem(r, n, ERR_LIMIT, "more than %d environment variables", JOB_ENV_MAX);
    else if (r->variables++ >= JOB_ENV_ALL_MAX)
        problem(r, n, ERR_LIMIT, "more than %d environment variables in all ops", JOB_ENV_ALL_MAX);
    else
        kvs_add(r->a, env, name, value, secret);
}

void env_merge(struct reader *r, const struct node *n, struct job_kvs *env, const struct job_kvs *more, bool secret)
{
    for (size_t i = 0; i < more->n && i <= JOB_ENV_MAX; i++)
        env_set(r, n, env, more->v[i].name, more->v[i].value, secret || more->v[i].secret);
}
