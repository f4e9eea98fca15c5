#include "base/path.h"
#include "stage/stage_priv.h"

bool merge_covers(const char *outer, const char *inner)
{
    return str_eq(outer, inner) || path_is_below(span_of(inner), span_of(outer));
}

/* The outermost target that covers input i's; the first declared one where equal. */
static size_t root_of(const struct input *inputs, size_t n, size_t i)
{
    size_t root = i;
    for (size_t k = 0; k < n; k++) {
        if (!merge_covers(inputs[k].target, inputs[root].target))
            continue;
        if (!str_eq(inputs[k].target, inputs[root].target) || k < root)
            root = k;
    }
    return root;
}

int merge_plan(struct arena *a, const struct input *inputs, size_t n, struct merge_plan *out, struct err *err)
{
    out->groups = arena_array(a, n ? n : 1, sizeof *out->groups);
    size_t *group_of_root = arena_array(a, n ? n : 1, sizeof *group_of_root);
    out->count = 0;
    if (!out->groups || !group_of_root)
        return err_nomem(err);
    for (size_t i = 0; i < n; i++) {
        size_t root = root_of(inputs, n, i);
        if (root == i)
            group_of_root[i] = out->count++;
    }
    for (size_t i = 0; i < n; i++) {
        size_t root = root_of(inputs, n, i);
        struct merge_group *g = &out->groups[group_of_root[root]];
        if (!g->members && !(g->members = arena_array(a, n, sizeof *g->members)))
            return err_nomem(err);
        const char *rest = inputs[i].target + strlen(inputs[root].target);
        g->target = inputs[root].target;
        g->members[g->count++] = (struct merge_member){.input = i, .prefix = *rest == '/' ? rest + 1 : rest};
        g->writable |= inputs[i].writable;
    }
    return 0;
}

struct merged_file {
    struct cache_file file;
    size_t input;
};

static int by_path(const void *a, const void *b)
{
    const struct merged_file *x = a, *y = b;
    int order = strcmp(x->file.path, y->file.path);
    return order ? order : (x->input > y->input) - (x->input < y->input);
}

static const char *prefixed(struct arena *a, const char *prefix, const char *path)
{
    return *prefix ? arena_printf(a, "%s/%s", prefix, path) : path;
}

int merge_trees(struct arena *a, const struct merge_group *group, const struct cache_tree *trees, const bool *as_file,
                const char *(*label)(void *ctx, size_t input), void *ctx, struct cache_tree *out, struct err *err)
{
    size_t files = 0, folders = 0;
    for (size_t m = 0; m < group->count; m++) {
        files += trees[m].file_count;
        folders += trees[m].folder_count + 1;
    }
    struct merged_file *all = arena_array(a, files ? files : 1, sizeof *all);
    const char **dirs = arena_array(a, folders ? folders : 1, sizeof *dirs);
    struct cache_file *kept = arena_array(a, files ? files : 1, sizeof *kept);
    if (!all || !dirs || !kept)
        return arena_check(a, err) < 0 ? -1 : err_nomem(err);
    size_t n = 0, d = 0;
    for (size_t m = 0; m < group->count; m++) {
        const struct merge_member *member = &group->members[m];
        if (*member->prefix && !as_file[m])
            dirs[d++] = member->prefix;
        for (size_t i = 0; i < trees[m].folder_count; i++)
            dirs[d++] = prefixed(a, member->prefix, trees[m].folders[i]);
        for (size_t i = 0; i < trees[m].file_count; i++) {
            all[n].file = trees[m].files[i];
            all[n].file.path = as_file[m] ? member->prefix : prefixed(a, member->prefix, trees[m].files[i].path);
            all[n++].input = member->input;
        }
    }
    if (arena_check(a, err) < 0)
        return -1;
    qsort(all, n, sizeof *all, by_path);
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && str_eq(all[i].file.path, all[i - 1].file.path)) {
            if (str_eq(all[i].file.blob, all[i - 1].file.blob))
                continue;
            err_set(err, ERR_INVALID, "%s and %s both give %s/%s, with different content", label(ctx, all[i - 1].input),
                    label(ctx, all[i].input), group->target, all[i].file.path);
            return err_hint(err, "give one of them another target");
        }
        kept[k++] = all[i].file;
    }
    *out = (struct cache_tree){.files = kept, .file_count = k, .folders = dirs, .folder_count = d};
    return 0;
}
