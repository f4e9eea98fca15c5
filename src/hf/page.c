#include "hf/page.h"

#include "base/enc.h"
#include "base/json.h"

#define GIT_OID_BYTES 20
#define LFS_OID_BYTES 32

bool hf_is_commit(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!ascii_is_digit(s.p[i]) && !(s.p[i] >= 'a' && s.p[i] <= 'f'))
            return false;
    return s.n == HF_COMMIT_LENGTH;
}

static json_t *parse(struct span json, const char *what, struct err *err)
{
    struct err why = ERR_INIT;
    json_t *root = json_parse(json, &why);
    if (!root && why.kind == ERR_NOMEM)
        err_move(err, &why);
    else if (!root)
        err_set(err, ERR_PROTOCOL, "the hub's answer is no %s: %.256s", what, why.text);
    return root;
}

int hf_read_commit(struct arena *a, struct span json, const char **commit, struct err *err)
{
    AUTO_JSON root = parse(json, "description of a repository", err);
    if (!root)
        return -1;
    const char *sha = json_get_str(root, "sha");
    if (!sha || !hf_is_commit(span_of(sha)))
        return err_set(err, ERR_PROTOCOL, "the hub's answer names no commit (sha)");
    *commit = arena_dup(a, sha);
    return arena_check(a, err);
}

static int bad_entry(const char *path, const char *what, struct err *err)
{
    return err_set(err, ERR_PROTOCOL, "the tree's entry '%.512s' has no %s", path, what);
}

static int read_size(const json_t *entry, const char *path, uint64_t *out, struct err *err)
{
    int64_t size;
    if (!json_get_i64(entry, "size", &size) || size < 0)
        return bad_entry(path, "size", err);
    *out = (uint64_t)size;
    return 0;
}

static int read_file(struct arena *a, const json_t *entry, struct hf_file *out, struct err *err)
{
    const char *path = json_get_str(entry, "path");
    if (!path)
        return err_set(err, ERR_PROTOCOL, "an entry of the tree has no path");
    const json_t *lfs = json_object_get(entry, "lfs");
    *out = (struct hf_file){.lfs = json_is_object(lfs)};
    const json_t *facts = out->lfs ? lfs : entry;
    const char *oid = json_get_str(facts, "oid");
    struct err ignored = ERR_INIT;
    if (!oid || hex_decode(out->oid, out->lfs ? LFS_OID_BYTES : GIT_OID_BYTES, span_of(oid), &ignored) < 0)
        return bad_entry(path, out->lfs ? "SHA-256 (lfs.oid)" : "blob id (oid)", err);
    if (read_size(facts, path, &out->size, err) < 0)
        return -1;
    out->path = arena_dup(a, path);
    return arena_check(a, err);
}

int hf_read_tree(struct arena *a, struct span json, int (*each)(void *ctx, const struct hf_file *f, struct err *err),
                 void *ctx, struct err *err)
{
    AUTO_JSON root = parse(json, "page of a tree", err);
    if (!root)
        return -1;
    if (!json_is_array(root))
        return err_set(err, ERR_PROTOCOL, "the hub's answer is no page of a tree: not a list");
    for (size_t i = 0; i < json_array_size(root); i++) {
        const json_t *entry = json_array_get(root, i);
        const char *type = json_get_str(entry, "type");
        struct hf_file f;
        if (!type)
            return err_set(err, ERR_PROTOCOL, "an entry of the tree has no type");
        if (strcmp(type, "file") != 0)
            continue;
        if (read_file(a, entry, &f, err) < 0 || each(ctx, &f, err) < 0)
            return -1;
    }
    return 0;
}
