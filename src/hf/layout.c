/* Where files go below the target: as the repository has them, or as the hub's own cache does. */
#include "base/enc.h"
#include "hf/hf_priv.h"

/* "models--owner--name" */
static const char *folder_of(const struct hf *hf, struct arena *a)
{
    const char *name = hf->src->repo + strlen(hf_kind_prefix(hf->kind));
    const char *slash = strchr(name, '/');
    if (!slash)
        return arena_printf(a, "%s%s", hf_kind_folder(hf->kind), name);
    return arena_printf(a, "%s%.*s--%s", hf_kind_folder(hf->kind), (int)(slash - name), name, slash + 1);
}

/* A blob is named by its ETag: the SHA-256, or the git blob id, in hex. */
static int name_blobs(struct hf_resolution *r, const char *folder, struct hf_file *files, struct err *err)
{
    struct hf_link *links = arena_array(r->arena, r->file_count + 1, sizeof *links);
    if (!links)
        return arena_check(r->arena, err);
    for (size_t i = 0; i < r->file_count; i++) {
        char etag[2 * HF_OID_MAX + 1];
        hex_encode(etag, files[i].oid, hf_oid_bytes(&files[i]));
        files[i].target = arena_printf(r->arena, "%s/blobs/%s", folder, etag);
        links[i].path = arena_printf(r->arena, "%s/%s", r->snapshot_path, files[i].path);
        links[i].to = files[i].target;
    }
    r->links = links;
    r->link_count = r->file_count;
    return arena_check(r->arena, err);
}

static int by_target(const void *a, const void *b)
{
    const struct hf_file *x = a, *y = b;
    int order = strcmp(x->target, y->target);
    return order ? order : strcmp(x->path, y->path);
}

/* What several paths share is one file, fetched by the first of them. */
static int keep_one_of_each(struct hf_resolution *r, struct hf_file *files, struct err *err)
{
    size_t kept = 0;
    if (r->file_count > 1)
        qsort(files, r->file_count, sizeof *files, by_target);
    for (size_t i = 0; i < r->file_count; i++) {
        const struct hf_file *last = kept ? &files[kept - 1] : NULL;
        if (!last || !str_eq(last->target, files[i].target)) {
            files[kept++] = files[i];
            continue;
        }
        if (last->size != files[i].size)
            return err_set(err, ERR_PROTOCOL, "the hub states one content for %s and %s, and two sizes", last->path,
                           files[i].path);
        r->total_bytes -= r->total_bytes == UINT64_MAX ? 0 : files[i].size;
    }
    r->file_count = kept;
    return 0;
}

static int lay_out_plain(struct hf_resolution *r, struct hf_file *files)
{
    for (size_t i = 0; i < r->file_count; i++)
        files[i].target = files[i].path;
    return 0;
}

int hf_lay_out(const struct hf *hf, struct hf_resolution *r, struct hf_file *files, struct err *err)
{
    if (!hf->src->hub_layout)
        return lay_out_plain(r, files);
    const char *asked = hf->src->revision ? hf->src->revision : "main";
    const char *folder = folder_of(hf, r->arena);
    r->snapshot_path = arena_printf(r->arena, "%s/snapshots/%s", folder, r->commit);
    if (!hf_is_commit(span_of(asked))) /* which needs no ref */
        r->ref_path = arena_printf(r->arena, "%s/refs/%s", folder, asked);
    if (arena_check(r->arena, err) < 0 || name_blobs(r, folder, files, err) < 0)
        return -1;
    return keep_one_of_each(r, files, err);
}
