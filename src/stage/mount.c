/* Snapshots and local folders to mounts: merged where inputs share or nest, copied where the job may write. */
#include "base/clock.h"
#include "base/path.h"
#include "stage/stage_priv.h"

static const char *label_of(void *ctx, size_t input)
{
    return stage_label(ctx, input);
}

/* A single object goes where its target says if that ends in its name (`…/sample.csv` onto /data/sample.csv). */
static bool is_file_mount(const struct stage *s, size_t input, const struct cache_tree *tree)
{
    return s->in[input].source->single && tree->file_count == 1 &&
           span_eq(path_basename(span_of(s->inputs[input].target)), span_of(tree->files[0].path));
}

/* Equal lists of (prefix, snapshot) merge to equal trees, so the merged snapshot can be remembered under their hash. */
static int merged_identity(const struct stage *s, const struct merge_group *g, struct buf *out, struct err *err)
{
    buf_addf(out, "%zu inputs merged", g->count);
    for (size_t m = 0; m < g->count; m++)
        buf_addf(out, "\n%s\t%s\t%d", g->members[m].prefix, s->in[g->members[m].input].own.snapshot,
                 s->in[g->members[m].input].source->single);
    return buf_check(out, "identity of a merged tree", err);
}

static int read_trees(struct stage *s, const struct merge_group *g, struct arena *a, struct cache_tree *trees,
                      bool *as_file, struct err *err)
{
    for (size_t m = 0; m < g->count; m++) {
        size_t i = g->members[m].input;
        if (cache_snapshot_list(s->opts.cache, s->in[i].own.snapshot, a, &trees[m], err) < 0)
            return -1;
        as_file[m] = *g->members[m].prefix && is_file_mount(s, i, &trees[m]);
    }
    return 0;
}

static int merge_snapshots(struct stage *s, const struct merge_group *g, char id[SNAPSHOT_ID_MAX], struct err *err)
{
    AUTO_BUF identity;
    buf_init(&identity, 1 << 20);
    if (merged_identity(s, g, &identity, err) < 0)
        return -1;
    static const uint8_t anybody[32];
    struct cache_entry entry = {.identity = buf_str(&identity)};
    bool found = false;
    if (cache_entry_get(s->opts.cache, s->lease, entry.identity, anybody, &entry, &found, err) < 0)
        return -1;
    if (found) {
        memcpy(id, entry.snapshot, SNAPSHOT_ID_MAX);
        return 0;
    }
    struct arena *a = arena_new(STAGE_TREE_BYTES_MAX, err);
    if (!a)
        return -1;
    struct cache_tree *trees = arena_array(a, g->count, sizeof *trees), merged;
    bool *as_file = arena_array(a, g->count, sizeof *as_file);
    int rc = trees && as_file ? read_trees(s, g, a, trees, as_file, err) : err_nomem(err);
    if (rc == 0)
        rc = merge_trees(a, g, trees, as_file, label_of, s, &merged, err);
    if (rc == 0)
        rc = cache_snapshot_make(s->opts.cache, s->lease, &merged, id, err);
    arena_free(a);
    if (rc < 0)
        return -1;
    entry.identity = buf_str(&identity);
    memcpy(entry.snapshot, id, SNAPSHOT_ID_MAX);
    entry.downloaded_ms = entry.last_used_ms = clock_wall_ms();
    return cache_entry_put(s->opts.cache, &entry, err);
}

/* --- mounts ------------------------------------------------------------------------------------------------------- */

/* A folder goes onto its target, a file below it, unless the target ends in its name, as anywhere. */
static int mount_local(struct stage *s, size_t input, struct stage_mount *out, struct err *err)
{
    struct source *src = s->in[input].source;
    const struct input *in = &s->inputs[input];
    const char *name = strrchr(src->host_path, '/') + 1;
    if (source_local_recheck(src, err) < 0)
        return stage_name_input(err, src->label);
    bool below = src->single && !span_eq(path_basename(span_of(in->target)), span_of(name));
    *out = (struct stage_mount){.source = src->host_path,
                                .target = below ? arena_printf(s->arena, "%s/%s", in->target, name) : in->target,
                                .writable = in->writable};
    return arena_check(s->arena, err);
}

/* The snapshot of a group, and the one file of it that is mounted alone (NULL: the whole tree is). */
static int pick_snapshot(struct stage *s, const struct merge_group *g, char id[SNAPSHOT_ID_MAX], const char **file,
                         struct err *err)
{
    size_t first = g->members[0].input;
    struct cache_tree tree;
    *file = NULL;
    if (g->count > 1)
        return merge_snapshots(s, g, id, err);
    memcpy(id, s->in[first].own.snapshot, SNAPSHOT_ID_MAX);
    if (!s->in[first].source->single)
        return 0;
    if (cache_snapshot_list(s->opts.cache, id, s->arena, &tree, err) < 0)
        return -1;
    *file = is_file_mount(s, first, &tree) ? tree.files[0].path : NULL;
    return 0;
}

static int make_writable(struct stage *s, const struct merge_group *g, const char *view, struct buf *path,
                         struct err *err)
{
    enum writable_how how;
    if (writable_make(s, view, path, &how, err) < 0)
        return err_wrap(err, "writable copy for %s", g->target);
    for (size_t m = 0; m < g->count; m++)
        s->in[g->members[m].input].own.writable = how;
    return 0;
}

static int mount_group(struct stage *s, const struct merge_group *g, struct stage_mount *out, struct err *err)
{
    char id[SNAPSHOT_ID_MAX];
    const char *file;
    if (s->in[g->members[0].input].source->host_path)
        return mount_local(s, g->members[0].input, out, err);
    if (pick_snapshot(s, g, id, &file, err) < 0)
        return -1;
    AUTO_BUF path;
    buf_init(&path, 2 * PATH_SAFE_MAX);
    AUTO_BUF view;
    buf_init(&view, PATH_SAFE_MAX);
    if (cache_snapshot_view(s->opts.cache, id, &view, err) < 0)
        return -1;
    if (!g->writable)
        buf_add_span(&path, buf_span(&view));
    else if (make_writable(s, g, buf_str(&view), &path, err) < 0)
        return -1;
    if (file)
        buf_addf(&path, "/%s", file);
    if (buf_check(&path, "path of a mount", err) < 0)
        return -1;
    *out = (struct stage_mount){
        .source = arena_dup(s->arena, buf_str(&path)), .target = g->target, .writable = g->writable};
    return arena_check(s->arena, err);
}

int mount_all(struct stage *s, struct err *err)
{
    struct merge_plan plan;
    if (merge_plan(s->arena, s->inputs, s->n, &plan, err) < 0)
        return -1;
    s->mounts = arena_array(s->arena, plan.count ? plan.count : 1, sizeof *s->mounts);
    if (!s->mounts)
        return err_nomem(err);
    for (size_t k = 0; k < plan.count; k++) {
        if (mount_group(s, &plan.groups[k], &s->mounts[k], err) < 0)
            return -1;
        s->mount_count++;
    }
    return 0;
}
