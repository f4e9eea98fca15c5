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

/* A file or, where `to` is set, a link. */
struct merged {
    struct cache_file file;
    const char *to;
    size_t input;
};

static int by_path(const void *a, const void *b)
{
    const struct merged *x = a, *y = b;
    int order = strcmp(x->file.path, y->file.path);
    return order ? order : (x->input > y->input) - (x->input < y->input);
}

static bool is_the_same(const struct merged *x, const struct merged *y)
{
    if (x->to || y->to)
        return x->to && y->to && str_eq(x->to, y->to);
    return str_eq(x->file.blob, y->file.blob);
}

static const char *prefixed(struct arena *a, const char *prefix, const char *path)
{
    return *prefix ? arena_printf(a, "%s/%s", prefix, path) : path;
}

/* All that the members have, with room for it. */
struct gathered {
    struct merged *v;
    size_t n, links;
    const char **folders;
    size_t folder_count;
};

static int make_room(struct arena *a, const struct merge_group *group, const struct cache_tree *trees,
                     struct gathered *out, struct err *err)
{
    size_t paths = 0, folders = 0;
    for (size_t m = 0; m < group->count; m++) {
        paths += trees[m].file_count + trees[m].link_count;
        folders += trees[m].folder_count + 1;
    }
    *out = (struct gathered){.v = arena_array(a, paths ? paths : 1, sizeof *out->v),
                             .folders = arena_array(a, folders ? folders : 1, sizeof *out->folders)};
    return arena_check(a, err);
}

static void gather(struct arena *a, const struct merge_member *member, const struct cache_tree *tree, bool as_file,
                   struct gathered *out)
{
    if (*member->prefix && !as_file)
        out->folders[out->folder_count++] = member->prefix;
    for (size_t i = 0; i < tree->folder_count; i++)
        out->folders[out->folder_count++] = prefixed(a, member->prefix, tree->folders[i]);
    for (size_t i = 0; i < tree->file_count; i++) {
        struct merged *m = &out->v[out->n++];
        *m = (struct merged){.file = tree->files[i], .input = member->input};
        m->file.path = as_file ? member->prefix : prefixed(a, member->prefix, tree->files[i].path);
    }
    for (size_t i = 0; i < tree->link_count; i++)
        out->v[out->n++] = (struct merged){.file.path = prefixed(a, member->prefix, tree->links[i].path),
                                           .to = prefixed(a, member->prefix, tree->links[i].to),
                                           .input = member->input};
    out->links += tree->link_count;
}

int merge_trees(struct arena *a, const struct merge_group *group, const struct cache_tree *trees, const bool *as_file,
                const char *(*label)(void *ctx, size_t input), void *ctx, struct cache_tree *out, struct err *err)
{
    struct gathered all;
    if (make_room(a, group, trees, &all, err) < 0)
        return -1;
    for (size_t m = 0; m < group->count; m++)
        gather(a, &group->members[m], &trees[m], as_file[m], &all);
    struct cache_file *files = arena_array(a, all.n - all.links + 1, sizeof *files);
    struct cache_link *links = arena_array(a, all.links + 1, sizeof *links);
    if (arena_check(a, err) < 0)
        return -1;
    qsort(all.v, all.n, sizeof *all.v, by_path);
    *out =
        (struct cache_tree){.files = files, .folders = all.folders, .folder_count = all.folder_count, .links = links};
    for (size_t i = 0; i < all.n; i++) {
        const struct merged *m = &all.v[i], *last = i > 0 ? m - 1 : NULL;
        if (last && str_eq(m->file.path, last->file.path)) {
            if (is_the_same(m, last))
                continue;
            err_set(err, ERR_INVALID, "%s and %s both give %s/%s, with different content", label(ctx, last->input),
                    label(ctx, m->input), group->target, m->file.path);
            return err_hint(err, "give one of them another target");
        }
        if (m->to)
            links[out->link_count++] = (struct cache_link){m->file.path, m->to};
        else
            files[out->file_count++] = m->file;
    }
    return 0;
}
