/* Which op waits for which: ids, groups and depends_on of a Nosana job. */
#include "spec/dialect.h"
#include "spec/nosana.h"

static size_t find_op(const struct op *ops, size_t n, const char *id)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(ops[i].id, id))
            return i;
    return n;
}

static void check_unique(struct reader *r, const struct node *list, const struct op *ops, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct node op = node_item(list, i), id = node_get(r, &op, "id");
        size_t first = find_op(ops, n, ops[i].id);
        if (first < i && *ops[i].id)
            problem(r, &id, ERR_INVALID, "'%.*s' is the id of ops[%zu] already", SHOWN(span_of(ops[i].id)), first);
    }
}

/* waits[i * n + j]: op i waits for op j. */
static void note_waits(struct reader *r, const struct node *list, const struct op *ops, size_t n, bool *waits)
{
    for (size_t i = 0; i < n; i++) {
        struct node op = node_item(list, i), execution = node_get(r, &op, "execution");
        struct node depends = node_get(r, &execution, "depends_on");
        for (size_t k = 0; k < ops[i].depends_on.n; k++) {
            struct node n_dep = node_item(&depends, k);
            const char *id = ops[i].depends_on.v[k];
            size_t j = find_op(ops, n, id);
            if (j == n)
                problem(r, &n_dep, ERR_INVALID, "no op has the id '%.*s'", SHOWN(span_of(id)));
            else if (!str_eq(ops[i].group, ops[j].group))
                problem(r, &n_dep, ERR_INVALID, "op '%.*s' is not in the same group", SHOWN(span_of(id)));
            else
                waits[i * n + j] = true;
        }
    }
}

static bool can_run(const bool *waits, const bool *ran, size_t n, size_t i)
{
    for (size_t j = 0; j < n; j++)
        if (waits[i * n + j] && !ran[j])
            return false;
    return true;
}

static void check_circle(struct reader *r, const struct node *list, const struct op *ops, size_t n, const bool *waits,
                         bool *ran)
{
    for (bool moved = true; moved;) {
        moved = false;
        for (size_t i = 0; i < n; i++) {
            if (!ran[i] && can_run(waits, ran, n, i))
                ran[i] = moved = true;
        }
    }
    for (size_t i = 0; i < n; i++) {
        struct node op = node_item(list, i);
        if (ran[i])
            continue;
        problem(r, &op, ERR_INVALID, "op '%.*s' waits for itself, through depends_on", SHOWN(span_of(ops[i].id)));
        return;
    }
}

void nosana_check_order(struct reader *r, const struct node *list, const struct op *ops, size_t n)
{
    bool *waits = arena_array(r->a, n * n, sizeof *waits), *ran = arena_array(r->a, n, sizeof *ran);
    if (!waits || !ran)
        return;
    check_unique(r, list, ops, n);
    note_waits(r, list, ops, n, waits);
    check_circle(r, list, ops, n, waits, ran);
}
