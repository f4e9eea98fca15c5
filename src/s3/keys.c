#include "s3/keys.h"

/* "a/b/00" → "a/b/" */
static size_t folder_length(struct span key)
{
    while (key.n > 0 && key.p[key.n - 1] != '/')
        key.n--;
    return key.n;
}

int keys_plan(struct arena *a, const struct source_s3 *src, const char *key, const char *version_id,
              struct keys_plan *out, struct err *err)
{
    struct span k = span_of(key);
    bool folder = k.n == 0 || k.p[k.n - 1] == '/', star = k.n > 0 && k.p[k.n - 1] == '*';
    *out = (struct keys_plan){.mode = KEYS_PREFIX, .key = key, .prefix = key, .base_n = k.n};
    if (src->files.n > 0) {
        out->mode = KEYS_FILES;
        out->prefix = folder ? key : arena_printf(a, "%s/", key);
        out->base_n = folder ? k.n : k.n + 1;
    } else if (star && !version_id) {
        out->prefix = arena_dup_span(a, (struct span){k.p, k.n - 1});
        out->base_n = folder_length((struct span){k.p, k.n - 1});
    } else if (!folder && (src->exact_key || version_id)) {
        out->mode = KEYS_OBJECT;
        out->base_n = folder_length(k);
    } else if (!folder) {
        out->mode = KEYS_FOLDER_OR_OBJECT;
        out->prefix = arena_printf(a, "%s/", key);
        out->base_n = k.n + 1;
    }
    return arena_check(a, err);
}

/* Every file met so far that is a start of the present path is also one of the path before: it sorts between. */
int tree_check_add(struct tree_check *t, const char *path, struct err *err)
{
    size_t n = strlen(path), common = 0;
    if (n > S3_KEY_LENGTH_MAX)
        return err_set(err, ERR_REFUSED, "path '%.64s…' is longer than %d bytes", path, S3_KEY_LENGTH_MAX);
    while (common < n && common < t->last_n && path[common] == t->last[common])
        common++;
    if (t->begun && common == n && n == t->last_n)
        return err_set(err, ERR_REFUSED, "'%.512s' is there twice", path);
    while (t->file_count > 0 && t->files[t->file_count - 1] > common)
        t->file_count--;
    for (size_t i = 0; i < t->file_count; i++) {
        if (path[t->files[i]] != '/')
            continue;
        err_set(err, ERR_REFUSED, "'%.*s' is an object, and '%.512s' needs it to be a folder",
                (int)(t->files[i] < 512 ? t->files[i] : 512), path, path);
        return err_hint(err, "choose among them with a longer prefix or a Filter, or name the objects one by one");
    }
    memcpy(t->last, path, n + 1);
    t->last_n = n;
    t->begun = true;
    if (n > 0 && path[n - 1] != '/')
        t->files[t->file_count++] = n;
    return 0;
}
