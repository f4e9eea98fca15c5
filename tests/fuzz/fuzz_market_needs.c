/* What a confidential job asks of a node, as a client sends it. Whatever it is: what is taken means the same when it is
 * read again from where it is stored; its members and its constraints are known ones; every constraint decides on any
 * labels, and its opposite the other way; and a node that has more, or is asked for less, is never refused for it. */
#include "market/market_priv.h"

#include <stdlib.h>

#define ARENA_MAX ((size_t)16 << 20)

static void require(bool holds)
{
    if (!holds)
        abort();
}

static bool one_of(const char *word, const char *const *words)
{
    while (*words && !str_eq(*words, word))
        words++;
    return *words != NULL;
}

/* ---- constraints ---- */

static void check_opposites(const struct match *c, const struct label_set *labels)
{
    static const char *const opposites[][2] = {{"in", "notin"}, {"=", "!="}, {"==", "!="}, {"exists", "!"}};
    struct match one = *c, other = *c;
    for (size_t i = 0; i < ARRAY_LEN(opposites); i++) {
        one.op = opposites[i][0];
        other.op = opposites[i][1];
        require(decide_match(&one, labels) != decide_match(&other, labels));
    }
    one.op = "gt";
    other.op = "lt";
    require(!decide_match(&one, labels) || !decide_match(&other, labels));
    one.op = "exists"; /* what compares is there */
    require(!decide_match(&other, labels) || decide_match(&one, labels));
}

static void check_constraint(const struct match *c, const struct label_set *labels)
{
    static const char *const ops[] = {"in", "notin", "exists", "!", "gt", "lt", "=", "==", "!=", NULL};
    require(c->name && one_of(c->op, ops));
    for (size_t i = 0; i < c->value_count; i++)
        require(c->values[i]);
    check_opposites(c, labels);
}

/* ---- machines ---- */

static void read_labels(const json_t *o, struct arena *a, struct label_set *out)
{
    const char *name;
    json_t *value;
    struct label *v = arena_array(a, json_object_size(o) + 1, sizeof(*v));
    require(v != NULL);
    json_object_foreach((json_t *)o, name, value)
    {
        if (json_is_string(value))
            v[out->n++] = (struct label){name, json_string_value(value)};
    }
    out->v = v;
}

static uint64_t number_in(const json_t *o, const char *key)
{
    int64_t v = 0;
    return json_get_i64(o, key, &v) && v > 0 ? (uint64_t)v : 0;
}

static void read_machine(const json_t *o, struct machine *m)
{
    m->cpus = (double)number_in(o, "cpus");
    m->memory_bytes = number_in(o, "memory_bytes");
    m->disk_bytes = number_in(o, "disk_bytes");
    m->gpus = (uint32_t)(number_in(o, "gpus") % (GPUS_MAX + 1));
    for (size_t i = 0; i < m->gpus; i++)
        m->gpu_mib[i] = (uint32_t)number_in(o, "vram_mib") >> i % 4;
    m->used.cpus = (double)number_in(o, "used_cpus");
    m->used.memory_bytes = number_in(o, "used_bytes");
    m->used.gpus = (uint32_t)number_in(o, "used_gpus");
    m->has_key = true;
}

static void check_fit(const struct needs *needs, struct machine *m)
{
    struct needs less = *needs;
    struct machine more = *m;
    bool fits = decide_fits(needs, m);
    less.constraint_count = 0;
    require(!fits || decide_fits(&less, m));
    more.used.cpus = 0;
    more.used.memory_bytes = more.used.disk_bytes = more.used.gpus = 0;
    require(!fits || decide_fits(needs, &more));
    decide_use(m, needs);
    require(fits || !decide_fits(needs, m));
}

/* ---- requirements ---- */

static void check_taken(const json_t *requires, const json_t *labels_json, const json_t *machine)
{
    static const char *const members[] = {"cpus",    "memory_bytes", "disk_bytes",  "gpus",
                                          "gpu_all", "vram_mib",     "constraints", NULL};
    struct err err = ERR_INIT;
    struct label_set labels = {0};
    struct machine m = {0};
    struct needs needs;
    const char *name;
    json_t *value;
    AUTO_BUF text;
    buf_init(&text, ARENA_MAX);
    struct arena *a = arena_new(ARENA_MAX, &err);
    require(a && json_write(requires, false, &text, &err) == 0);
    require(needs_parse(buf_span(&text), true, a, &needs, &err) == 0);
    json_object_foreach((json_t *) requires, name, value) require(one_of(name, members));
    require(needs.cpus >= 0 && (needs.gpus <= GPUS_MAX || needs.gpus == GPUS_ALL));
    read_labels(labels_json, a, &labels);
    for (size_t i = 0; i < needs.constraint_count; i++)
        check_constraint(&needs.constraints[i], &labels);
    read_machine(machine, &m);
    m.labels = labels;
    check_fit(&needs, &m);
    arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* {"requires": …, "labels": …, "machine": …} */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err err = ERR_INIT;
    AUTO_JSON all = json_parse((struct span){(const char *)data, n}, &err);
    const json_t *requires = json_object_get(all, "requires"), *labels = json_object_get(all, "labels");
    if (!requires)
        return 0;
    err_clear(&err);
    if (needs_check(requires, &err) == 0)
        check_taken(requires, labels, json_object_get(all, "machine"));
    else
        require((err.kind == ERR_INVALID || err.kind == ERR_NOMEM || err.kind == ERR_LIMIT) && err.text[0]);
    struct err why = ERR_INIT;
    require(check_labels(labels, &why) == 0 || why.kind == ERR_INVALID);
    return 0;
}
