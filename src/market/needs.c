/* What a job asks of a machine: from the job, as stored, and as placement wants it. */
#include "market/hold.h"
#include "market/market_priv.h"

#define CONSTRAINTS_MAX 64
#define VALUES_MAX      256
#define NEEDS_MAX       (64u << 10)

static json_t *constraints_json(const struct job *job, struct err *err)
{
    json_t *list = json_array();
    for (size_t i = 0; i < job->constraint_count; i++) {
        const struct constraint *c = &job->constraints[i];
        json_t *o = json_object(), *values = json_array();
        json_put_str(o, "key", c->key, err);
        json_put_str(o, "op", c->op, err);
        for (size_t k = 0; k < c->values.n; k++)
            append(values, json_string(c->values.v[k]), err);
        json_put(o, "values", values, err);
        append(list, o, err);
    }
    return list;
}

/* Its ops run one after the other: the machine must have what the greediest wants. */
static struct needs greatest(const struct job *job)
{
    struct needs n = {0};
    for (size_t i = 0; i < job->op_count; i++) {
        const struct limits *l = &job->ops[i].limits;
        n.cpus = l->cpu > n.cpus ? l->cpu : n.cpus;
        n.memory_bytes = l->memory_bytes > n.memory_bytes ? l->memory_bytes : n.memory_bytes;
        n.disk_bytes = l->disk_bytes > n.disk_bytes ? l->disk_bytes : n.disk_bytes;
        n.gpus = l->gpu_count > n.gpus ? l->gpu_count : n.gpus;
        n.vram_mib = l->required_vram_mib > n.vram_mib ? l->required_vram_mib : n.vram_mib;
    }
    return n;
}

json_t *needs_of_job(const struct job *job, struct err *err)
{
    json_t *o = json_object();
    const struct needs n = greatest(job);
    if (n.cpus > 0)
        json_put(o, "cpus", json_real(n.cpus), err);
    if (n.memory_bytes)
        json_put_u64(o, "memory_bytes", n.memory_bytes, err);
    if (n.disk_bytes)
        json_put_u64(o, "disk_bytes", n.disk_bytes, err);
    if (n.gpus == GPU_ALL)
        put_bool(o, "gpu_all", true, err);
    else if (n.gpus)
        json_put_u64(o, "gpus", n.gpus, err);
    if (n.vram_mib)
        json_put_u64(o, "vram_mib", n.vram_mib, err);
    if (job->constraint_count)
        json_put(o, "constraints", constraints_json(job, err), err);
    if (!err_is_set(err))
        return o;
    json_decref(o);
    return NULL;
}

static int read_number(const json_t *o, const char *key, uint64_t max, uint64_t *out, struct err *err)
{
    const json_t *v = json_object_get(o, key);
    *out = 0;
    if (!v)
        return 0;
    if (!json_is_integer(v) || json_integer_value(v) < 0 || (uint64_t)json_integer_value(v) > max)
        return err_set(err, ERR_INVALID, "requires.%s: expected a whole number up to %llu", key,
                       (unsigned long long)max);
    *out = (uint64_t)json_integer_value(v);
    return 0;
}

static bool is_one_of(const char *word, const char *const *words)
{
    while (*words && !str_eq(*words, word))
        words++;
    return *words != NULL;
}

static int read_constraint(const json_t *o, struct arena *a, struct match *out, struct err *err)
{
    static const char *const ops[] = {"in", "notin", "exists", "!", "gt", "lt", "=", "==", "!=", NULL};
    const json_t *list = json_object_get(o, "values");
    size_t n = json_array_size(list);
    out->name = arena_dup(a, json_get_str(o, "key"));
    out->op = arena_dup(a, json_get_str(o, "op"));
    const char **values = arena_array(a, n + 1, sizeof(*values));
    if (!out->name || !is_one_of(out->op, ops) || n > VALUES_MAX || (list && !json_is_array(list)) || !values)
        return err_set(err, ERR_INVALID, "requires.constraints: expected {\"key\", \"op\", \"values\"}");
    for (size_t i = 0; i < n; i++) {
        values[i] = arena_dup(a, json_string_value(json_array_get(list, i)));
        if (!values[i])
            return err_set(err, ERR_INVALID, "requires.constraints: a value that is no text");
    }
    out->values = values;
    out->value_count = n;
    return 0;
}

static int read_constraints(const json_t *o, struct arena *a, struct needs *out, struct err *err)
{
    const json_t *list = json_object_get(o, "constraints");
    size_t n = json_array_size(list);
    struct match *v = arena_array(a, n + 1, sizeof(*v));
    if ((list && !json_is_array(list)) || n > CONSTRAINTS_MAX)
        return err_set(err, ERR_INVALID, "requires.constraints: expected a list of at most %d", CONSTRAINTS_MAX);
    for (size_t i = 0; v && i < n; i++)
        if (read_constraint(json_array_get(list, i), a, &v[i], err) < 0)
            return -1;
    out->constraints = v;
    out->constraint_count = n;
    return arena_check(a, err);
}

int needs_read(const json_t *o, bool confidential, struct arena *a, struct needs *out, struct err *err)
{
    uint64_t gpus, vram;
    *out = (struct needs){.confidential = confidential, .cpus = json_number_value(json_object_get(o, "cpus"))};
    if (read_number(o, "memory_bytes", INT64_MAX, &out->memory_bytes, err) < 0 ||
        read_number(o, "disk_bytes", INT64_MAX, &out->disk_bytes, err) < 0 ||
        read_number(o, "gpus", GPUS_MAX, &gpus, err) < 0 || read_number(o, "vram_mib", UINT32_MAX, &vram, err) < 0)
        return -1;
    out->gpus = json_get_bool(o, "gpu_all", false) ? GPUS_ALL : (uint32_t)gpus;
    out->vram_mib = (uint32_t)vram;
    return read_constraints(o, a, out, err);
}

int needs_check(const json_t *o, struct err *err)
{
    static const char *const known[] = {"cpus",    "memory_bytes", "disk_bytes",  "gpus",
                                        "gpu_all", "vram_mib",     "constraints", NULL};
    const char *key;
    json_t *value;
    if (!json_is_object(o))
        return err_set(err, ERR_INVALID, "requires: expected an object");
    json_object_foreach((json_t *)o, key, value)
    {
        if (!is_one_of(key, known))
            return err_set(err, ERR_INVALID, "requires.%.40s: unknown member", key);
    }
    const json_t *cpus = json_object_get(o, "cpus");
    if (cpus && !(json_is_number(cpus) && json_number_value(cpus) >= 0))
        return err_set(err, ERR_INVALID, "requires.cpus: expected a number");
    const json_t *all = json_object_get(o, "gpu_all");
    if (all && !json_is_boolean(all))
        return err_set(err, ERR_INVALID, "requires.gpu_all: expected true or false");
    struct arena *a = arena_new(NEEDS_MAX * 4, err);
    struct needs needs;
    int rc = a ? needs_read(o, true, a, &needs, err) : -1;
    arena_free(a);
    return rc;
}

int needs_parse(struct span text, bool confidential, struct arena *a, struct needs *out, struct err *err)
{
    AUTO_JSON o = json_parse(text, err);
    return o ? needs_read(o, confidential, a, out, err) : err_wrap(err, "stored needs");
}

json_t *holds_of_job(const struct job *job, struct err *err)
{
    json_t *set = json_object(), *list = json_array();
    for (size_t o = 0; o < job->op_count; o++) {
        for (size_t i = 0; i < job->ops[o].input_count && !err_is_set(err); i++) {
            char key[HOLD_KEY_MAX];
            int rc = hold_key(&job->ops[o].inputs[i], key, err);
            if (rc == 1 && !json_object_get(set, key)) {
                json_put(set, key, json_true(), err);
                append(list, json_string(key), err);
            }
        }
    }
    json_decref(set);
    if (!err_is_set(err))
        return list;
    json_decref(list);
    return NULL;
}
